"""The choice among utilities: smooth mixtures first, and the law of each by the forward solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.design.hinges import hinge_table
from collapse_theory.design.mixture import (
    STAGES,
    Term,
    hinge_utility,
    mixer,
    mixture,
    smooth_columns,
    smoothed_hinges,
)
from collapse_theory.design.program import balance, sparse_mixture
from collapse_theory.design.proof import proof_grid
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.laws import RewardLaw
from collapse_theory.limit import limit
from collapse_theory.programs import Solution
from collapse_theory.utilities import Utility

# A fit this near needs no finer one.
GOOD_DISTANCE = 5e-4
# Rates of the terms whose margins are differences of a law's atoms.
RATES = (60.0, 160.0)
MOST_LEVELS = 12
ROUNDING = 1e-13  # of distances: what is nearer by less is no better
# Of hinges smoothed to log-sigmoids: the first rate, and the sharpest that the forward solver
# resolves in about a second.
FIRST_RATE, SHARPEST = 100.0, 210.0


@dataclass(frozen=True)
class Candidate:
    """A utility, what the forward solver makes of it, and how far that is from what is wanted.

    `solution` is the optimum of n rewards where n of them are wanted, `law` the law of the rewards.
    """

    utility: Utility
    law: RewardLaw
    distance: float
    solution: Solution | None = None


def nearer(first: Candidate | None, second: Candidate | None) -> Candidate | None:
    """Return the candidate that is nearer, the first of two that are as near up to rounding."""
    if first is None or second is None:
        return first or second
    return second if second.distance < first.distance - ROUNDING else first


def forward(utility: Utility, wanted: RewardLaw | np.ndarray) -> Candidate | None:
    """Return a utility with its law or its optimal rewards, computed anew; None without any.

    The distance to a wanted law is Wasserstein-1, that to wanted rewards the mean over them.
    """
    try:
        if isinstance(wanted, RewardLaw):
            law = limit(utility)
            return Candidate(utility, law, law.distance(wanted))
        solution = solve(utility, len(wanted))
    except (CollapseError, SolverFailed):
        return None
    distance = float(np.abs(solution.rewards - wanted).mean())
    return Candidate(utility, solution.law, distance, solution)


def search(shape: RewardLaw, wanted: RewardLaw, allowed: float, which: slice) -> Candidate | None:
    """Return the nearest of the smooth fits of some stages, or the first that is near enough."""
    best = None
    for terms in stages(shape)[which]:
        best = nearer(best, smooth_fit(shape, wanted, terms))
        if best is not None and best.distance <= min(GOOD_DISTANCE, allowed / 5):
            break
    return best


def stages(law: RewardLaw) -> tuple[tuple[Term, ...], ...]:
    """Return the dictionaries to try for a law, plain ones first.

    Atoms inside the box ask for terms at their differences, as sharp as the levels are wanted.
    """
    atoms = law.atoms[:, 0]
    inner = atoms[(atoms > 1e-9) & (atoms < 1.0 - 1e-9)]
    if not inner.size or inner.size > MOST_LEVELS:
        return STAGES
    apart = np.unique(np.abs(atoms[:, None] - atoms).round(9))
    apart = apart[(apart > 0.01) & (apart < 1.0 - 1e-9)]
    base = STAGES[0] if not law.parts else STAGES[1]
    return tuple((*base, *((m, rate) for m in apart.tolist())) for rate in RATES)


def smooth_fit(law: RewardLaw, wanted: RewardLaw, terms: tuple[Term, ...]) -> Candidate | None:
    r"""Return the mixture of terms under which `law` is nearest to optimal.

    The weights w >= 0 with sum 1 make the potential as level as they can over the support:

        minimise  sum_x (sum_j w_j gains[x, j])^2,

    by `sparse_mixture`. The law that counts is the forward solver's; `wanted` is what its distance
    is measured to.
    """
    mix = mixer(terms)
    places = proof_grid(law) if law.parts else law.atoms[:, 0]
    gains, shortfall = smooth_columns(hinge_table(law, places, mix.margins), mix)
    weights = sparse_mixture(gains)
    if not weights.any():
        return None
    return forward(mixture(terms, weights / shortfall), wanted)


def graded_fit(law: RewardLaw, tol: float) -> Candidate | None:
    """Return a utility for graded levels: hinges found by the program, smoothed where that will do.

    The linear program over hinges at the differences of the levels is exact. Smoothing over a width
    1/b spreads each level over about as much, so the distance is a multiple of 1/b: the rate that
    the tolerance asks for is found from a first one. Where it would be too sharp the hinges stay.
    """
    margins, weights = _graded_mixture(law)
    if margins is None or weights is None:
        return None
    rate = FIRST_RATE
    for _ in range(2):
        found = forward(smoothed_hinges(margins, weights, rate), law)
        if found is not None and found.distance <= tol:
            return found
        if found is None or rate > FIRST_RATE:
            break
        rate = float(f"{1.2 * rate * found.distance / tol:.3g}")
        if rate > SHARPEST:
            break
    found = forward(hinge_utility(margins, weights), law)
    return found if found is not None and found.distance <= tol else None


def _graded_mixture(law: RewardLaw) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return margins and weights of hinges under which a discrete law is optimal, if there are."""
    atoms = law.atoms[:, 0]
    if law.parts or len(atoms) > MOST_LEVELS:
        return None, None
    apart = np.abs(atoms[:, None] - atoms).ravel()
    margins = np.unique(np.append(apart[apart > 1e-9], 1.0).round(12))
    # The potential of atoms is largest, if anywhere above them, a hinge's length away.
    reached = (atoms[:, None, None] + margins[:, None] * np.array([-1.0, 1.0])).ravel()
    places = np.unique(np.concatenate([atoms, reached[(reached >= 0) & (reached <= 1)]]))
    table = hinge_table(law, places, margins)
    found = balance(table.gains)
    kept = found.weights > 1e-9
    if found.excess > 1e-7:
        return None, None
    return margins[kept], (found.weights / table.mean)[kept]
