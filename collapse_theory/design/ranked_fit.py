"""For n wanted rewards: the smooth mixture under which they are nearest to optimal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.design.nonneg import nonnegative_least_squares
from collapse_theory.design.program import balance
from collapse_theory.design.ranked import forces
from collapse_theory.design.smooth import STAGES, Term, mixture, term_utility
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.programs import Solution
from collapse_theory.utilities import Utility

__all__ = ["RankedCandidate", "attempt", "ranked_fits"]

# Rates of the terms with margins at the wanted gaps, in units of one over the smallest gap.
SHARPNESS = (2.0, 6.0, 20.0)
SHARPEST = 400.0
MOST = 80  # margins at the wanted gaps, evenly picked where there are more


@dataclass(frozen=True)
class RankedCandidate:
    """A utility, its certified optimum, and the mean distance to the wanted rewards."""

    utility: Utility
    solution: Solution
    distance: float


def attempt(utility: Utility, wanted: np.ndarray) -> RankedCandidate | None:
    """Return a utility with its optimum, computed anew."""
    try:
        found = solve(utility, len(wanted))
    except (CollapseError, SolverFailed):
        return None
    return RankedCandidate(utility, found, float(np.abs(found.rewards - wanted).mean()))


def ranked_fits(wanted: np.ndarray, near: float) -> RankedCandidate | None:
    """Return the nearest of the mixtures tried; the first that is nearer than `near`."""
    best = None
    gaps = np.unique((wanted[:, None] - wanted)[np.triu_indices(len(wanted), 1)].round(9))
    gaps = gaps[gaps > 1e-6]
    step = float(np.diff(np.append(0.0, gaps)).clip(2e-3).min())
    margins = gaps[gaps < 1.0 - 1e-9]
    if len(margins) > MOST:
        margins = margins[np.linspace(0, len(margins) - 1, MOST).astype(int)]
    dictionaries = [STAGES[0], STAGES[1]]
    for sharp in SHARPNESS:
        rate = min(sharp / step, SHARPEST)
        dictionaries.append((*STAGES[1], *((m, rate) for m in margins.tolist())))
    for terms in dictionaries:
        for weights in _weights(wanted, terms):
            found = attempt(mixture(terms, weights), wanted)
            if found is not None and (best is None or found.distance < best.distance):
                best = found
            if best is not None and best.distance <= near:
                return best
    return best


def _weights(wanted: np.ndarray, terms: tuple[Term, ...]) -> list[np.ndarray]:
    """Return weights that balance the forces over the wanted gaps, by least squares and by t."""
    n, gaps = len(wanted), -np.diff(wanted)
    i, j = np.triu_indices(n, 1)
    x = wanted[i] - wanted[j]
    utilities = [term_utility(term) for term in terms]
    slopes = np.array([np.broadcast_to(u.d1(x), x.shape) for u in utilities]).T
    shortfall = np.array([float(np.mean(u.shortfall(x, 1.0))) for u in utilities])
    useful = shortfall > 1e-12
    force = forces(slopes, n)
    gains = np.zeros_like(force)
    gains[:, useful] = (force - gaps @ force)[:, useful] / shortfall[useful]
    open_gaps = gaps > 1e-9
    found = []
    system = np.vstack([gains[open_gaps][:, useful], np.full(int(useful.sum()), 10.0)])
    right = np.append(np.zeros(int(open_gaps.sum())), 10.0)
    found.append(nonnegative_least_squares(system, right))
    if not open_gaps.all():
        found.append(balance(gains[:, useful]).weights)
    whole = []
    for weights in found:
        if weights.any():
            full = np.zeros(len(terms))
            full[useful] = weights / shortfall[useful]
            whole.append(full)
    return whole
