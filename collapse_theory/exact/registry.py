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

Found = TypeVar("Found", RewardLaw, Answer)
Kinds = type[Utility] | tuple[type[Utility], ...]
SMALLEST = 5e-324  # float above 0
MOST_LISTED = 4 * 10**5  # the atoms and steps of a law are lists
PAPER = "Song, Cai, Lee, Su (2023), Reward Collapse in Aligning LLMs, arXiv:2305.17608"


@dataclass(frozen=True)
class Form(Generic[Found]):
    """A closed form: of the limit law, or of the optimum of n completions.

    In the box [0, 1] it is called with a utility and, for n completions, with n; under a penalty
    with its kappa last, 0 for the domain Free. It gives the answer with its source, or None where
    it doesn't hold. The `examples` are texts of utilities that it holds for: the command `table`
    and the tests check them.

    A formula `of` families is given the bare F of U = w F + c, and kappa/w, which has the same
    optimum; the objective of its law is that of F.
    """

    name: str
    reference: str
    formula: Callable[..., Any]
    examples: tuple[str, ...] = ()
    of: Kinds = ()
    held: bool = False

    def __call__(self, utility: Utility, *program: Any) -> Found | None:
        found: Any = self._found(utility, *program)
        if found is not None and not isinstance(found, Answer | RewardLaw):
            found = Answer(-np.diff(np.asarray(found, dtype=np.float64)))
        return None if found is None else cast("Found", replace(found, reference=self.reference))

    def _found(self, utility: Utility, *program: Any) -> Any:
        if not self.of:
            return self.formula(utility, *program)
        (weight, bare), *others = utility.terms
        if others or not isinstance(bare, self.of):
            return None
        if self.held:
            kappa = np.float64(program[-1])
            # A share beneath float64 is no 0, which would be the domain Free.
            program = (*program[:-1], np.maximum(kappa / weight, np.sign(kappa) * SMALLEST))
        found = self.formula(bare, *program)
        if isinstance(found, RewardLaw) and found.objective is not None:
            objective = utility.constant + weight * found.objective
            return replace(found, objective=objective)
        return found


LIMIT_FORMS: list[Form[RewardLaw]] = []
FINITE_FORMS: list[Form[Answer]] = []
HELD_LIMIT_FORMS: list[Form[RewardLaw]] = []
HELD_FINITE_FORMS: list[Form[Answer]] = []


def closed(
    forms: list[Form[Found]],
    name: str,
    reference: str,
    *examples: str,
    of: Kinds = (),
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
    of : family or tuple of families, optional
        Those whose members the function is given, for any weight and constant; see `Form`.

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
        held = forms is HELD_LIMIT_FORMS or forms is HELD_FINITE_FORMS
        made: Form[Found] = Form(name, reference, formula, examples, of, held)
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


def parabola(utility: Utility) -> tuple[float, float] | None:
    """Return (a, b) where U = a x - b x**2 + const with a > 0, else None."""
    slope = square = 0.0
    for weight, term in utility.terms:
        if not isinstance(term, Linear | Quadratic | Squared):
            return None
        slope += weight * float(term.d1(0.0))
        square -= weight * float(term.d2(0.0)) / 2
    return (slope, square) if slope > 0 else None
