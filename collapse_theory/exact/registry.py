"""What a closed form is: a name, a source and a formula that gives the answer, or None.

The lists are looked through in their order: what this package knows, then what users add.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Answer
from collapse_theory.utilities import Linear, Quadratic, Squared, Utility

Kind = TypeVar("Kind", bound=Utility)
Found = TypeVar("Found", RewardLaw, Answer)
MOST_LISTED = 2 * 10**5  # the atoms and steps of a law are lists
PAPER = "Song, Cai, Lee, Su (2023), Reward Collapse in Aligning LLMs, arXiv:2305.17608"


@dataclass(frozen=True)
class Form(Generic[Found]):
    """A closed form: of the limit law, or of the optimum of n completions.

    In the box [0, 1] it is called with a utility and, for n completions, with n; under a penalty
    with its kappa last, 0 for the domain Free. It gives the answer with its source, or None where
    it doesn't hold. The `examples` are texts of utilities that it holds for: the command `table`
    and the tests check them.
    """

    name: str
    reference: str
    formula: Callable[..., Any]
    examples: tuple[str, ...] = ()

    def __call__(self, *program: Any) -> Found | None:
        found: Any = self.formula(*program)
        if found is not None and not isinstance(found, Answer | RewardLaw):
            found = Answer(-np.diff(np.asarray(found, dtype=np.float64)))
        return None if found is None else cast("Found", replace(found, reference=self.reference))


LIMIT_FORMS: list[Form[RewardLaw]] = []
FINITE_FORMS: list[Form[Answer]] = []
HELD_LIMIT_FORMS: list[Form[RewardLaw]] = []
HELD_FINITE_FORMS: list[Form[Answer]] = []


def closed(
    forms: list[Form[Found]], name: str, reference: str, *examples: str
) -> Callable[[Callable[..., Any]], Form[Found]]:
    """Make a closed form of the function below, and add it to those of its kind.

    Parameters
    ----------
    forms : list
        What it gives, and where: `LIMIT_FORMS` and `FINITE_FORMS` in the box [0, 1],
        `HELD_LIMIT_FORMS` and `HELD_FINITE_FORMS` under a penalty kappa mean r_i**2.
    name, reference : str
        What it is called, and its source.
    *examples : str
        Utilities that it holds for.

    Raises
    ------
    CollapseError
        Where another of that kind has the name.

    Examples
    --------
    The function gives a law, or n rewards, the best first; its answers are certified like any
    other. For U' = -log x and n = 4 the product of the gaps 2y and 1/2 + y is 1/2 - y:

    >>> import collapse_theory as ct
    >>> from collapse_theory.exact import FINITE_FORMS, closed
    >>> @closed(FINITE_FORMS, "entropy", "the slopes of all gaps balance", "x - x*log(x)")
    ... def entropy(utility, n):
    ...     y = (2**0.5 - 1) / 2
    ...     holds = n == 4 and utility == ct.utility("x - x*log(x)")
    ...     return [1, 0.5 + y, 0.5 - y, 0] if holds else None
    >>> found = ct.solve("x - x*log(x)", 4, method="exact")
    >>> found.relative_gap < 1e-14, found.reference
    (True, 'the slopes of all gaps balance')
    >>> FINITE_FORMS.remove(entropy)
    """

    def add(formula: Callable[..., Any]) -> Form[Found]:
        made: Form[Found] = Form(name, reference, formula, examples)
        for i, form in enumerate(forms):
            if form.name == name:
                one, other = ((f.__module__, f.__qualname__) for f in (form.formula, formula))
                if one != other:
                    raise CollapseError(f"another closed form is called {name!r}")
                forms[i] = made  # the same function, defined again
                return made
        forms.append(made)
        return made

    return add


def listed(count: float, what: str, instead: str) -> None:
    """Raise for a law of more parts than are listed; `instead` says what is near it."""
    if not count <= MOST_LISTED:
        raise CollapseError(
            f"the limit law has {count:.3g} {what}, more than the {MOST_LISTED} that are listed at "
            f"most; {instead}"
        )


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
