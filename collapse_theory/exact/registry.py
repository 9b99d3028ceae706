"""What a closed form is: a name, a source and a formula that gives the answer, or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Answer
from collapse_theory.utilities import Linear, Quadratic, Squared, Utility

Kind = TypeVar("Kind", bound=Utility)
Found = TypeVar("Found", RewardLaw, Answer)
PAPER = "Song, Cai, Lee, Su (2023), Reward Collapse in Aligning LLMs, arXiv:2305.17608"


@dataclass(frozen=True)
class Form(Generic[Found]):
    """A closed form in the box [0, 1]: of the limit law, or of the optimum of n completions.

    Called with a utility on [0, 1], and with n where it is one of n completions, it gives the
    answer with its source, or None where it doesn't hold. The `examples` are texts of utilities
    that it holds for: the command `table` and the tests check them.
    """

    name: str
    reference: str
    formula: Callable[..., Found | None]
    examples: tuple[str, ...] = ()

    def __call__(self, *program: Any) -> Found | None:
        found = self.formula(*program)
        return None if found is None else replace(found, reference=self.reference)


def closed(
    name: str, reference: str, *examples: str
) -> Callable[[Callable[..., Found | None]], Form[Found]]:
    """Make a closed form of the function below: from a utility, or from a utility and n."""
    return lambda formula: Form(name, reference, formula, examples)


def only_term(utility: Utility, kind: type[Kind]) -> tuple[float, Kind] | None:
    """Return (weight, term) where the utility is one term of `kind`, up to a constant."""
    if len(utility.terms) != 1:
        return None
    weight, term = utility.terms[0]
    return (weight, term) if isinstance(term, kind) else None


def parabola(utility: Utility) -> tuple[float, float] | None:
    """Return (a, b) where U = a x - b x**2 + const with a > 0, else None."""
    slope = square = 0.0
    for weight, term in utility.terms:
        if not isinstance(term, Linear | Quadratic | Squared):
            return None
        slope += weight * float(term.d1(0.0))
        square -= weight * float(term.d2(0.0)) / 2
    return (slope, square) if slope > 0 else None
