"""The proximal map of many prompts at once: what a model with a memory says of what it learned.

    r = argmax over r in R^n of f(r) - |r - xi|**2 / (2 gamma),   f(r) = mean_{i<j} U(r_i - r_j)

for full rankings, best first, U continued below 0. Strongly concave: Newton's method, every prompt
with its own step, all in the same arrays. `ct.solve` with `ct.Anchored` is the same for one prompt
with a certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.programs.program import EPS
from collapse_theory.utilities import Utility

MOST_STEPS = 60  # 5 to 15 are usual
SHARES = 10.0 ** np.arange(-12, 1)  # of a memory: from the centers to where U is flat
STEEP = 1e3  # times U'(0): from such slopes Newton's method comes down by factors of e
NEAR = 1e-6  # of the rewards: steps below it that stop shrinking are rounding
FALL = 0.25  # of the slope at its beginning: what is small at a step's end
MOST_ENTRIES = 2_000_000  # of an array at once, some 16 MB


@dataclass(frozen=True)
class Ranked:
    """Full rankings of n completions under a utility of all their gaps, as arrays over prompts."""

    utility: Utility
    n: int

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The better and the worse completion of each pair."""
        return np.triu_indices(self.n, 1)

    def value(self, rewards: np.ndarray) -> np.ndarray:
        """Return f of each row, shape (N,)."""
        i, j = self.pairs
        return self.utility.value(rewards[:, i] - rewards[:, j]).mean(axis=1)

    def derivatives(self, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return grad f (N, n) and L, minus its Hessian (N, n, n)."""
        i, j = self.pairs
        return self.at_gaps(rewards[:, i] - rewards[:, j])

    def at_gaps(self, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `derivatives` where the pairs have these gaps."""
        i, j = self.pairs
        first, second = self.utility.derivatives(gaps)
        table = np.zeros((len(gaps), self.n, self.n))
        table[:, i, j] = first / len(i)
        gradient = table.sum(axis=2) - table.sum(axis=1)
        table[:, i, j] = table[:, j, i] = second / len(i)
        diagonal = np.arange(self.n)
        table[:, diagonal, diagonal] = -table.sum(axis=2)
        return gradient, table


def proximal(
    ranked: Ranked, centers: np.ndarray, memory: float, start: np.ndarray | None = None
) -> np.ndarray:
    """Return the rewards of each prompt, (N, n), from its centers and gamma, begun at `start`.

    >>> import collapse_theory as ct
    >>> from collapse_theory.utilities import continued
    >>> proximal(Ranked(continued(ct.Linear()), 2), np.array([[0.0, 1.0]]), 0.25)
    array([[0.25, 0.75]])
    """
    start = _start(ranked, centers) if start is None else start
    rows = max(1, MOST_ENTRIES // ranked.n**2)
    parts = range(0, len(centers), rows)
    return np.concatenate(
        [_path(ranked, centers[p : p + rows], memory, start[p : p + rows]) for p in parts]
    )


def _path(ranked: Ranked, xi: np.ndarray, memory: float, start: np.ndarray) -> np.ndarray:
    """Return the rewards; those that Newton's method doesn't find by way of smaller memories."""
    r, left = _solved(ranked, xi, memory, start)
    if len(left):
        near, lost = _start(ranked, xi[left]), left
        for share in SHARES:
            near, lost = _solved(ranked, xi[left], share * memory, near)
        if len(lost):
            raise SolverFailed(
                f"{len(lost)} of {len(r)} prompts have no optimum in float64, for "
                f"{ranked.utility} and memory {memory:g}; ct.solve with ct.Anchored says more"
            )
        r[left] = near
    return r


def _start(ranked: Ranked, xi: np.ndarray) -> np.ndarray:
    """Return the centers, and equal rewards where U is as steep there as exp(-b x) can be."""
    lowest = -np.ptp(xi, axis=1)
    with np.errstate(all="ignore"):
        steep = ~(ranked.utility.slope(lowest) <= STEEP * ranked.utility.slope_at_zero)
    return np.where(steep[:, None], xi.mean(axis=1, keepdims=True), xi)


@np.errstate(all="ignore")  # a step that leaves float64 is shortened
def _solved(
    ranked: Ranked, xi: np.ndarray, memory: float, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rewards, and which rows are short of the optimum."""
    r, todo, last = r.copy(), np.arange(len(r)), np.full(len(r), np.inf)
    for _ in range(MOST_STEPS):
        here, center = r[todo], xi[todo]
        step, rise = _newton(ranked, here, center, memory)
        ahead = here + _lengths(ranked, here, center, memory, step, rise)[:, None] * step
        r[todo] = ahead
        size = np.abs(step).max(axis=1) / np.abs(ahead).max(axis=1, initial=1e-300)
        # Converged, or near it and no longer falling: only rounding is left.
        done = (size < 1e-15) | ((size < NEAR) & (size >= 0.3 * last[todo]))
        last[todo] = size
        todo = todo[~done]
        if not len(todo):
            break
    return r, todo


def _lengths(
    ranked: Ranked,
    r: np.ndarray,
    xi: np.ndarray,
    memory: float,
    step: np.ndarray,
    rise: np.ndarray,
) -> np.ndarray:
    """Return how much of each step to take: all unless f falls at its end, then up to its maximum.

    At gap 0 a tangent's curvature ends, and whole steps would go to and fro. Along a step the slope
    of f falls, from `rise` on: secants and a bracket find where it is small.
    """
    alpha, low, high = np.ones(len(r)), np.zeros(len(r)), np.full(len(r), np.inf)
    above, below = rise.copy(), np.full(len(r), -np.inf)
    short = np.abs(step).max(axis=1) <= 1e-9 * np.abs(r).max(axis=1)  # slopes are rounding there
    for _ in range(40):
        ahead = r + alpha[:, None] * step
        slope = ((memory * ranked.derivatives(ahead)[0] - (ahead - xi)) * step).sum(axis=1)
        slope = np.where(np.isnan(slope), -np.inf, slope)
        done = short | (np.abs(slope) <= FALL * rise) | ((high == np.inf) & (slope >= 0))
        if done.all():
            break
        long = slope < 0
        high, below = np.where(long, alpha, high), np.where(long, slope, below)
        low, above = np.where(long, low, alpha), np.where(long, above, slope)
        share = np.clip(np.nan_to_num(above / (above - below)), 0.1, 0.9)
        alpha = np.where(done, alpha, low + share * (high - low))
    return alpha


def _newton(
    ranked: Ranked, r: np.ndarray, xi: np.ndarray, memory: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return Newton's step for gamma f(r) - |r - xi|**2 / 2, and the slope along it."""
    gradient, minus = ranked.derivatives(r)
    force = memory * gradient - (r - xi)
    force -= force.mean(axis=1, keepdims=True)  # rounding: the mean is that of the centers
    # Beside a large memory the identity is lost in rounding. L is 0 along (1, ..., 1), where the
    # force has no part; where it is 0 otherwise, among tangents, a unit in the last place is left.
    size = memory * np.trace(minus, axis1=1, axis2=2)[:, None, None]
    matrix = memory * minus + (1 + EPS * size) * np.eye(ranked.n) + size / ranked.n
    step = np.linalg.solve(matrix, force[:, :, None])[:, :, 0]
    return step, (force * step).sum(axis=1)
