"""Many programs at once: Newton's method for all utilities of one form together.

The method and the certificates are those of `solve`, which takes one row where this takes many.
What it doesn't take is solved by `solve`, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.finite.log_gaps import LogGaps
from collapse_theory.finite.log_newton import half_gaps
from collapse_theory.finite.penalised_gaps import penalised_gaps
from collapse_theory.finite.solve import solve
from collapse_theory.finite.symmetric import SymmetricRanking
from collapse_theory.numerics.checks import count
from collapse_theory.programs import (
    TOLERANCE,
    Domain,
    DomainLike,
    Program,
    Solution,
    certify_rows,
)
from collapse_theory.programs.pair_sums import FEW
from collapse_theory.programs.program import WIDEST_CHECKED, smooth
from collapse_theory.programs.solution import ranked_rewards
from collapse_theory.programs.table import Table, Utilities, asked
from collapse_theory.utilities import (
    Loss,
    Stack,
    Utility,
    form,
    named,
)
from collapse_theory.values import Array

FAR = 1e9  # a gap at which a utility with a maximum falls
_UNLIMITED = 10**9  # rounds of all rows together: each row's own are limited
_NUMBERS = ("objective", "gap", "relative_gap")
_COLUMNS = ("rewards", "gaps", *_NUMBERS, "status", "method", "iterations", "unique", "reference")
_SHOWN = 16  # rewards fit in a line of a table
_PAIRS_AT_ONCE = 2**16  # of rows: what Newton's method holds of more leaves the processor's caches


@dataclass(frozen=True, eq=False, kw_only=True)
class Solutions(Table):
    """The optimal rewards of many programs, a row each; ``solutions[i]`` is a `Solution`.

    Attributes
    ----------
    utilities : tuple of Utility or PlackettLuce
    domain : Domain
    rewards : numpy.ndarray, shape (m, n)
        Best first; no units.
    gaps : numpy.ndarray, shape (m, n-1)
        Between neighbours.
    objective, gap, relative_gap : numpy.ndarray, shape (m,)
        As of a `Solution`: `gap` bounds what is missing to the optimum, rounding included.
    status, method : tuple of str
    iterations : tuple of int
    unique : tuple of bool
    reference : tuple of (str or None)
    alone : tuple of int
        The rows that were solved one by one, as `solve` does: utilities with kinks or without
        strict concavity, listwise losses, domains and numbers of completions that aren't
        vectorised, and what Newton's method in one sweep left short of the tolerance.
    names : tuple of str
        Of the parameters that were given as arrays.
    parameters : numpy.ndarray, shape (m, len(names))

    Examples
    --------
    >>> import collapse_theory as ct
    >>> found = ct.solve_many(["x", "log(x)", "-1/x"], 4)
    >>> len(found), found.rewards.shape, found[1].rewards.round(3)
    (3, (3, 4), array([1.   , 0.724, 0.276, 0.   ]))
    """

    rewards: Array
    gaps: Array
    objective: Array
    gap: Array
    relative_gap: Array
    status: tuple[str, ...]
    method: tuple[str, ...]
    iterations: tuple[int, ...]
    unique: tuple[bool, ...]
    reference: tuple[str | None, ...]
    alone: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """The number of completions."""
        return self.rewards.shape[1]

    def __getitem__(self, i: int) -> Solution:
        i = range(len(self))[i]
        found: dict[str, Any] = {name: getattr(self, name)[i] for name in _COLUMNS}
        found |= {name: float(found[name]) for name in _NUMBERS}
        return Solution(**found, utility=self.utilities[i], domain=self.domain)

    def __iter__(self) -> Iterator[Solution]:
        return (self[i] for i in range(len(self)))

    def to_frame(self) -> Any:
        """Return a Polars data frame with a row a program, its rewards as a column of lists."""
        return self._frame(
            {
                "n": [self.n] * len(self),
                "rewards": self.rewards.tolist(),
                **{name: getattr(self, name) for name in _COLUMNS[2:-1]},
                "alone": np.isin(np.arange(len(self)), self.alone),
            }
        )

    def _columns(self) -> dict[str, Any]:
        rewards = {"rewards": self.rewards.round(4)} if self.n <= _SHOWN else {}
        numbers = {"relative gap": self.relative_gap, "status": self.status}
        return {"utility": self.utilities, **rewards, **numbers}

    def __repr__(self) -> str:
        optimal, alone = self.status.count("optimal"), len(self.alone)
        return (
            f"Solutions({len(self):,} programs, n={self.n}, {self.domain}: {optimal:,} optimal, "
            f"largest relative gap {self.relative_gap.max():.1e}, {alone:,} solved one by one)"
        )


def solve_many(
    utilities: Utilities,
    n: int,
    domain: DomainLike | None = None,
    *,
    tol: float | None = None,
    **parameters: Any,
) -> Solutions:
    """Return the optimal rewards of n completions under each of many utilities.

    Utilities of one form (the same families, whatever their weights, shifts and parameters) are
    solved together, some 50 times as fast as one by one; the answers are those of `solve` up to
    rounding, with the same certificates. What can't be solved together is solved one by one, and
    listed in ``alone``.

    Parameters
    ----------
    utilities : iterable of Utility, PlackettLuce or str; or a callable or str with `parameters`
        The utilities; or what makes them of the parameters: a family, a function, or a text with
        the parameters' names in it.
    n : int
        The number of completions, at least 2.
    domain : Box, Confined, Centered, Free or a pair, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given.
    tol : float, optional
        As in `solve`.
    **parameters : array_like, shape (m,) or ()
        One number a program, or one for all.

    Returns
    -------
    Solutions
        A row a program.

    Raises
    ------
    CollapseError
        A ValueError that names the first utility at fault; nothing is solved before all are
        checked.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> found = ct.solve_many(ct.LogSigmoid, 4, beta=[1.0, 10.0, 100.0])
    >>> found.rewards.round(3)
    array([[1.   , 1.   , 0.   , 0.   ],
           [1.   , 0.668, 0.332, 0.   ],
           [1.   , 0.667, 0.333, 0.   ]])
    >>> bool(found.relative_gap.max() < 1e-12), found.alone
    (True, ())
    >>> ct.solve_many("log(x + c)", 8, c=np.geomspace(0.01, 1, 1000))[500].status
    'optimal'
    """
    n, given = count(n), asked(utilities, parameters, domain, tol)
    losses, held = given["utilities"], given["domain"]
    groups, alone = _grouped(losses, n, held)
    with np.errstate(all="ignore"):
        stacks = [_checked(losses, rows, n, held) for rows in groups]
    for i in alone:
        named(i, losses[i], lambda loss: Program.of(loss, n, held))
    table: dict[int, tuple[Any, ...]] = {}
    for rows, stack in zip(groups, stacks, strict=True):
        some = 2 * _PAIRS_AT_ONCE // n**2
        for at in np.split(np.arange(len(rows)), range(some, len(rows), some)):
            with np.errstate(all="ignore"):
                for i, found in zip(at, _together(stack.rows(at), n, held, tol), strict=True):
                    if found:
                        table[int(rows[i])] = found
    alone = tuple(i for i in range(len(losses)) if i not in table)
    for i in alone:
        one = named(i, losses[i], lambda loss: solve(loss, n, held, tol=tol))
        table[i] = tuple(getattr(one, name) for name in _COLUMNS)
    columns = zip(*(table[i] for i in range(len(losses))), strict=True)
    fields: dict[str, Any] = dict(zip(_COLUMNS, columns, strict=True))
    return Solutions(alone=alone, **given, **fields)


# -- what is solved together --------------------------------------------------------------


def _grouped(losses: Sequence[Loss], n: int, domain: Domain) -> tuple[list[np.ndarray], list[int]]:
    """Return the rows of each form that can be solved together, and the rows that can't."""
    groups: dict[Any, list[int]] = {}
    alone: list[int] = []
    possible = domain.ordered and not domain.own and n <= FEW
    for i, loss in enumerate(losses):
        key = form(loss) if possible and isinstance(loss, Utility) else None
        groups.setdefault(key, []).append(i)
    for key in list(groups):
        one = losses[groups[key][0]]
        if key is None or not (isinstance(one, Utility) and smooth(one)):
            alone += groups.pop(key)
    return [np.array(rows) for rows in groups.values()], alone


def _checked(losses: Sequence[Loss], rows: np.ndarray, n: int, domain: Domain) -> Stack:
    """Return the utilities of these rows, checked as those of one program are."""
    stack = Stack.of([losses[i] for i in rows], domain.unit)
    if domain.bounded:
        top = stack.slope(np.repeat([[0.5, 1.0]], len(stack), axis=0))[:, 1]
        doubtful = ~(top > 0) | (domain.width > 1)
    else:
        # Concave for certain, and held: by a penalty, or because U falls in the end.
        low, high = np.array([losses[i].concave_range for i in rows]).T
        concave = (low <= 0) & (high >= WIDEST_CHECKED)
        falls = stack.slope(np.full((len(stack), 1), FAR))[:, 0] < 0
        doubtful = ~(concave & (falls | (domain.penalty(n) > 0)))
    for i in rows[doubtful]:
        named(i, losses[i], lambda loss: Program.of(loss, n, domain))
    return stack


def _together(stack: Stack, n: int, domain: Domain, tol: float | None) -> list[Any]:
    """Return the entries of the columns for each program; None for those left to `solve`."""
    found: list[Any] = [None] * len(stack)
    # Where U' underflows at equal gaps they are the answer, if one that takes more to say; where it
    # isn't above 0 at a gap of 0 none is opened.
    widest, kappa = (np.inf, None) if domain.bounded else (WIDEST_CHECKED, domain.penalty(n))
    least = stack.slope(np.full((len(stack), 1), 1.0 / (n - 1) if domain.bounded else 0.0))[:, 0]
    steep = np.isinf(stack.slope_at_zero)
    limit = TOLERANCE if tol is None else min(tol, TOLERANCE)
    for kind in (steep & (least > 0), ~steep & (least > 0)):
        rows = np.flatnonzero(kind)
        if not len(rows):
            continue
        some, budget = stack if len(rows) == len(stack) else stack.rows(rows), Budget(_UNLIMITED)
        half = (
            half_gaps(some, n, budget) if kappa is None else penalised_gaps(some, n, kappa, budget)
        )
        gaps = SymmetricRanking(some, n).gaps(half.e)
        known = half.converged & (gaps.sum(axis=1) <= widest)
        placed = zip(ranked_rewards(domain, gaps), domain.unit * gaps, strict=True)
        each = zip(
            rows, placed, certify_rows(some, gaps, kappa), known, half.rounds.tolist(), strict=True
        )
        for i, arrays, one, certain, rounds in each:
            if certain and one.relative_gap <= limit:
                numbers = one.objective, one.gap, one.relative_gap
                found[i] = (*arrays, *numbers, "optimal", LogGaps.name, rounds, True, None)
    return found
