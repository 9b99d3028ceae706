"""Slopes for pairs whose gap lies at a kink of the utility, chosen for the best certificate.

At a kink m any p between U'(m+) and U'(m-) is a supergradient: U(y) <= U(m) + p (y - m) for all y.
With such a p for every pair at a kink, the bound of the certificate holds; the p that make it
smallest solve a linear program, whose dual solution is also what tells whether the optimum is the
only one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.programs.ranking import pair_gaps, straddle
from collapse_theory.utilities import Utility

__all__ = ["is_unique", "pairs_at_kinks", "supergradients"]

NEAR = 1e-6  # pairs with a gap this near a kink count as lying at it
FEW, MOST = 2500, 10000  # pairs at kinks: up to MOST have their own slopes, from FEW on shared


@dataclass(frozen=True)
class AtKinks:
    """The pairs (i, j) at a kink `at`, and the slopes U'(at+) = `low` and U'(at-) = `high`."""

    i: np.ndarray
    j: np.ndarray
    at: np.ndarray
    low: np.ndarray
    high: np.ndarray


def supergradients(
    utility: Utility, x: np.ndarray, upper: np.ndarray, slopes: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return slopes (n, n) for the bound, and what they add to it as a sum over pairs.

    Parameters
    ----------
    utility : Utility
        With kinks.
    x, upper, slopes : numpy.ndarray, shape (n, n)
        The pairs' gaps, which of them are pairs (i < j), and U' there.
    """
    pairs = pairs_at_kinks(utility, x, upper)
    if pairs is None:
        return slopes, 0.0
    base = np.where(upper, slopes, 0.0)
    base[pairs.i, pairs.j] = 0.0
    chosen = np.clip(_best(base, pairs, x), pairs.low, pairs.high)
    gaps = x[pairs.i, pairs.j]
    extra = utility.value(pairs.at) + chosen * (gaps - pairs.at) - utility.value(gaps)
    base[pairs.i, pairs.j] = chosen
    return base, float(np.maximum(extra, 0.0).sum())


def is_unique(utility: Utility, gaps: np.ndarray) -> bool:
    """Whether the optimum with these `gaps` is the only one, for a utility not strictly concave.

    By complementary slackness with one dual solution p: a pair at a kink keeps its gap where p
    lies inside the kink's slopes, may only shrink or only grow where p is one of them, and a tie
    may open only where its force is the largest. A pair keeps its gap where U is curved. The
    optimum is unique if no direction is left.
    """
    from scipy.optimize import linprog

    n = len(gaps) + 1
    if n == 2:
        return float(utility.slope(np.float64(1.0 - 1e-9))) > 0
    x, upper = pair_gaps(gaps), ~np.tri(n, dtype=bool)
    slopes, _ = supergradients(utility, x, upper, utility.slope(x))
    force = straddle(np.where(upper, slopes, 0.0))
    slack = 1e-7 * float(force.max())
    bounds = [(-1.0, 1.0)] * (n - 1)
    for k in np.flatnonzero(gaps < NEAR):
        bounds[k] = (0.0, 1.0) if force[k] > force.max() - slack else (0.0, 0.0)
    equal, most = [np.ones(n - 1)], [np.zeros(n - 1)]
    pairs = pairs_at_kinks(utility, x, upper)
    with np.errstate(all="ignore"):
        curved = upper & (x > NEAR) & (utility.curvature(x) < -1e-9 * utility.slope(x) / x)
    if pairs is not None:
        curved[pairs.i, pairs.j] = False
        rows = _rows(pairs.i, pairs.j, n)
        p, jump = slopes[pairs.i, pairs.j], 1e-7 * (pairs.high - pairs.low)
        shrinks, grows = p > pairs.high - jump, p < pairs.low + jump
        equal.extend(np.unique(rows[~shrinks & ~grows], axis=0))
        most.extend(np.unique(np.concatenate([rows[shrinks], -rows[grows]]), axis=0))
    if curved.any():
        i, j = np.nonzero(curved)
        # An orthonormal basis says the same as the many rows.
        _, size, basis = np.linalg.svd(_rows(i, j, n), full_matrices=False)
        equal.extend(basis[size > 1e-9 * size[0]])
    rng = np.random.default_rng(0)
    for direction in rng.standard_normal((2, n - 1)):
        for sign in (1.0, -1.0):
            found = linprog(
                sign * direction,
                A_ub=np.array(most),
                b_ub=np.zeros(len(most)),
                A_eq=np.array(equal),
                b_eq=np.zeros(len(equal)),
                bounds=bounds,
                method="highs",
            )
            if found.x is None or np.abs(found.x).max() > 1e-6:
                return False
    return True


def _rows(i: np.ndarray, j: np.ndarray, n: int) -> np.ndarray:
    """Return the pairs' gaps as sums of neighbouring gaps: 1 where i <= k < j."""
    steps = np.arange(n - 1)
    return ((steps >= i[:, None]) & (steps < j[:, None])).astype(float)


def pairs_at_kinks(utility: Utility, x: np.ndarray, upper: np.ndarray) -> AtKinks | None:
    """Return the pairs whose gap is as good as at a kink, or None where there are none."""
    kinks = np.array([k for k in utility.kinks if k <= x[upper].max() + NEAR])
    if not len(kinks):
        return None
    nearest = kinks[np.argmin(np.abs(x[..., None] - kinks), axis=-1)]
    i, j = np.nonzero(upper & (np.abs(x - nearest) < NEAR))
    if not len(i):
        return None
    at = nearest[i, j]
    step = 1e-12 * at
    high = utility.slope(at - step)
    return AtKinks(i, j, at, np.minimum(utility.slope(at + step), high), high)


def _best(base: np.ndarray, pairs: AtKinks, x: np.ndarray) -> np.ndarray:
    """Minimise t - sum(p m) subject to: the force on each neighbouring gap is at most t.

    Each pair has its own slope where there are few; where there are many, those between the same
    two levels of ties and equally far apart in rank share one.
    """
    from scipy.sparse import csr_array, eye_array

    n, count = len(base), len(pairs.i)
    spans = pairs.j - pairs.i
    offsets = np.arange(spans.sum()) - np.repeat(spans.cumsum() - spans, spans)
    rows = np.repeat(pairs.i, spans) + offsets
    columns = np.repeat(np.arange(count), spans)
    straddles = csr_array((np.ones(len(rows)), (rows, columns)), shape=(n - 1, count))
    force = straddle(base)
    found = []
    if count <= MOST:
        found.append(_linear_program(force, straddles, pairs, eye_array(count, format="csr")))
    if count > FEW:
        found.append(_linear_program(force, straddles, pairs, _between_levels(pairs, x)))
    return min(found, key=lambda pair: pair[0])[1]


def _linear_program(
    force: np.ndarray, straddles: Any, pairs: AtKinks, basis: Any
) -> tuple[float, np.ndarray]:
    """Return the least t - sum(p m), and p = basis @ c."""
    from scipy.optimize import linprog
    from scipy.sparse import hstack

    members = np.asarray(basis.sum(axis=0)).ravel()
    unit = float(pairs.high.max())
    low, high = (basis.T @ side / members / unit for side in (pairs.low, pairs.high))
    found = linprog(
        np.append(-(basis.T @ pairs.at), 1.0),
        A_ub=hstack([straddles @ basis, -np.ones((len(force), 1))]).tocsr(),
        b_ub=-force / unit,
        bounds=[*zip(low, high, strict=True), (None, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.x is None:
        return np.inf, (pairs.low + pairs.high) / 2
    return float(found.fun), unit * (basis @ found.x[:-1])


def _between_levels(pairs: AtKinks, x: np.ndarray) -> Any:
    """Return indicators of the pairs between the same two levels, equally far apart in rank.

    For k+1 even levels of m ties under min(x, 1/k) that is enough: slope 1 for pairs less than m
    ranks apart and 0 for the others puts the same force on every neighbouring gap.
    """
    from scipy.sparse import csr_array

    n, count = len(x), len(pairs.i)
    level = np.cumsum(np.concatenate([[0.0], np.diagonal(x, 1)]) > NEAR)
    key = (level[pairs.i] * n + level[pairs.j]) * n + pairs.j - pairs.i
    group = np.unique(key, return_inverse=True)[1].ravel()
    return csr_array((np.ones(count), (np.arange(count), group)), shape=(count, group.max() + 1))
