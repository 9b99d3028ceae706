"""What a closed form is: a name, a source and a function that gives the answer, or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from collapse_theory.laws import RewardLaw
from collapse_theory.utilities import Utility

__all__ = [
    "PAPER",
    "ExactGaps",
    "FiniteForm",
    "LimitForm",
    "finite_form",
    "limit_form",
    "only_term",
]

Kind = TypeVar("Kind", bound=Utility)
PAPER = "Song, Cai, Lee, Su (2023), Reward Collapse in Aligning LLMs, arXiv:2305.17608"


@dataclass(frozen=True)
class ExactGaps:
    """The gaps of n optimal rewards in the box [0, 1]."""

    gaps: np.ndarray
    unique: bool = True


LawFunction = Callable[[Utility], RewardLaw | None]
GapsFunction = Callable[[Utility, int], ExactGaps | None]


@dataclass(frozen=True)
class LimitForm:
    """A closed form of the limit law in the box [0, 1]."""

    name: str
    reference: str
    law: LawFunction
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class FiniteForm:
    """A closed form of the optimum for n completions in the box [0, 1]."""

    name: str
    reference: str
    gaps: GapsFunction
    examples: tuple[str, ...] = ()


def limit_form(name: str, reference: str, *examples: str) -> Callable[[LawFunction], LimitForm]:
    """Make a closed form of a function from a utility to its limit law, or None.

    `examples` are texts of utilities that it holds for: the command `table` checks them.
    """
    return lambda law: LimitForm(name, reference, law, examples)


def finite_form(name: str, reference: str, *examples: str) -> Callable[[GapsFunction], FiniteForm]:
    """Make a closed form of a function from a utility and n to exact gaps, or None.

    `examples` are texts of utilities that it holds for: the command `table` checks them.
    """
    return lambda gaps: FiniteForm(name, reference, gaps, examples)


def only_term(utility: Utility, kind: type[Kind]) -> tuple[float, Kind] | None:
    """Return (weight, term) where the utility is one term of `kind`, up to a constant."""
    if len(utility.terms) != 1:
        return None
    weight, term = utility.terms[0]
    return (weight, term) if isinstance(term, kind) else None
