"""From a wanted law back to a utility: inverse design, with proofs of what is out of reach."""

from __future__ import annotations

from collapse_theory.design.design import Design, design
from collapse_theory.design.link import Link
from collapse_theory.design.proof import Proof
from collapse_theory.design.recommend import Recommendation, recommend
from collapse_theory.design.target import Target, target_of

__all__ = [
    "Design",
    "Link",
    "Proof",
    "Recommendation",
    "Target",
    "design",
    "recommend",
    "target_of",
]


def __dir__() -> list[str]:
    return __all__
