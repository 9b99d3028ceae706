"""Newton's method in the half gaps of full rankings under a penalty, or under none.

A step solves H x = G log(G / pi) for the change x of the half gaps e, that on log G = log pi
(finite/log_gaps.py); where the line search takes less than a hundredth of it, H x = G - pi. Without
a box nothing says how far apart the rewards are: the start is a plausible shape at the best scale.
For one ranking e has the shape (h,), for many (m, h), and a step is one of all that aren't done.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from collapse_theory.errors import NoOptimum
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.log_newton import HalfGaps, Utilities, rows_of, settles
from collapse_theory.finite.symmetric import SymmetricRanking, equal_gaps, initial_gaps
from collapse_theory.numerics.linear import solved

LARGEST_GAP = 1e150  # beyond it squares leave float64: nothing holds the rewards
SCALE = 0.3  # to which the scale of a start is found, as a logarithm
MOST_STEPS, MOST_TRIES = 300, 40  # of Newton's method, 4 to 20 are usual; of lengths of a step
SHORT = 1e-2  # of a step on log G = log pi: where less is taken, that on G = pi goes further
LEAST_SHRINK = 0.1  # the least factor by which a step that leads too far is multiplied at once

# G, pi and the negative Hessian of the whole.
State: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Penalised:
    """Half the sum over pairs of U, less half of e'(pulls)e, the penalty as half gaps have it."""

    half: SymmetricRanking
    pulls: np.ndarray

    @classmethod
    def of(cls, utility: Utilities, n: int, kappa: float) -> Penalised:
        """Return the programs with penalty kappa mean r_i**2.

        Half the sum over pairs is n(n-1)/4 times the mean, and mean r_i**2 is 2/n times the sum of
        the squares of C_i = e_i + ... + e_h: in all (n-1) kappa/2 sum C_i**2.
        """
        return cls(SymmetricRanking(utility, n), kappa * (n - 1) * _overlaps(n // 2))

    def rows(self, at: Any) -> Penalised:
        """Return those of some rows."""
        half = self.half
        return Penalised(SymmetricRanking(rows_of(half.utility, at), half.n), self.pulls)

    def forces(self, e: np.ndarray) -> State:
        """Return G, pi and the negative Hessian of the whole."""
        force, hessian = self.half.derivatives(e)
        return force, e.dot(self.pulls), hessian + self.pulls


@lru_cache(maxsize=8)
def _overlaps(h: int) -> np.ndarray:
    """Return the number of C_i that e_k and e_l both are in: min(k, l)."""
    order = np.arange(1.0, h + 1)
    return np.minimum.outer(order, order)


def penalised_gaps(utility: Utilities, n: int, kappa: float, budget: Budget) -> HalfGaps:
    """Return the optimal half gaps: of a stack of utilities, of which all have an infinite U'(0) or
    all one above 0, a row each.

    They are inf where nothing in float64 holds them, 0 where the penalty closes them.
    """
    program, e = Penalised.of(utility, n, kappa), first_guess(utility, n, kappa)
    found = HalfGaps.start(e)
    rows: Any = np.arange(len(e)) if e.ndim > 1 else ...
    state, last, near = program.forces(e), np.inf, np.False_
    for k in budget.rounds(MOST_STEPS):
        force, pulls, hessian = state
        both, rest = (force > 0) & (pulls > 0), force - pulls
        right = np.empty((*e.shape, 2))
        # log G = log pi where both are positive: nearly linear for powers and exponential tails.
        right[..., 0] = np.where(both, force * np.log(force / pulls), rest)
        right[..., 1] = rest
        steps = solved(hessian, right)
        size = np.abs(steps[..., 0] / e).max(axis=-1)
        over, going, before = near & (size >= 0.5 * last), size < np.inf, e
        e, state = _stepped(program, e, steps, rest)
        near = size < 1e-9
        done = over | (size < 1e-15) | (near & settles(size, last))
        last, ends = size, done | ~going
        if ends.any():
            e = np.where((going & ~over)[..., None], e, before)
            found.put(rows, HalfGaps(e, done, np.False_, np.False_, k + 1))
            if ends.all():
                return found
            stay = ~ends
            rows, e, last, near = rows[stay], e[stay], last[stay], near[stay]
            program, state = program.rows(stay), _taken(state, stay)
    found.put(rows, HalfGaps(e, near, np.False_, np.False_, budget.used))
    return found


def first_guess(utility: Utilities, n: int, kappa: float) -> np.ndarray:
    """Return half gaps of a plausible shape, at the scale where the force along it is zero.

    They are inf where the penalty is too weak for any scale in float64, 0 where it is too strong.
    """
    program, slope = Penalised.of(utility, n, kappa), utility.slope_at_zero
    shape = initial_gaps(utility, n, tiny=True) if np.max(slope) == np.inf else equal_gaps(n)

    def rises(log_scale: Any) -> Any:
        e = np.exp(log_scale)[..., None] * shape
        return np.vecdot(program.half.slopes(e) - e.dot(program.pulls), shape) > 0

    up = rises(np.zeros(np.shape(slope)))
    near, far, step = 0.0, np.where(up, 1.0, -1.0), 1.0
    while np.any(same := rises(far) == up) and step < np.log(LARGEST_GAP):
        # The next is farther on the same side; brackets stay.
        near, step = np.where(same, far, near), 2.0 * step
        far = np.where(same, np.copysign(2.0 * step - 1.0, far), far)
    none = np.where(same, np.copysign(np.inf, far), 0.0)
    while np.any(np.abs(far - near) > SCALE):
        middle = (near + far) / 2
        before = rises(middle) == up
        near, far = np.where(before, middle, near), np.where(before, far, middle)
    return np.exp((near + far) / 2 + none)[..., None] * shape


def require_in_range(e: np.ndarray) -> None:
    """Raise where a first guess left float64."""
    if not (np.all(np.isfinite(e)) and np.all(e > 0)):
        too = "strong" if np.all(e == 0) else "weak"
        raise NoOptimum(f"the optimum has gaps outside float64: the penalty is too {too}")


def _stepped(
    program: Penalised, e: np.ndarray, steps: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, State]:
    """Return where the steps on log G = log pi lead, or where those are cut short, on G = pi."""
    alpha, ahead, state = _line_search(program, e, steps[..., 0], rest)
    short = ~(alpha > SHORT)
    if short.any():
        at = np.flatnonzero(short) if short.ndim else ...
        _, *other = _line_search(program.rows(at), e[at], steps[at][..., 1], rest[at])
        _put((ahead, *state), at, (other[0], *other[1]))
    return ahead, state


def _line_search(
    program: Penalised, e: np.ndarray, step: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, State]:
    """Return how much of each step is taken, where that leads, and the forces there.

    As `budget.line_search`, of many at once.
    """
    rise = np.maximum(np.vecdot(rest, step), 1e-300)
    steepest = (step / e).min(axis=-1)
    alpha = np.where(steepest < -0.9, -0.9 / steepest, 1.0)
    ahead = e + alpha[..., None] * step
    state = program.forces(ahead)
    for _ in range(MOST_TRIES):
        slope = np.vecdot(state[0] - state[1], step)
        over = ~(slope >= -rise)
        if not over.any():
            break
        at = np.flatnonzero(over) if over.ndim else ...
        shrink = rise / (rise - slope)
        alpha = np.where(over, alpha * np.where(shrink > LEAST_SHRINK, shrink, LEAST_SHRINK), alpha)
        ahead = e + alpha[..., None] * step
        _put(state, at, program.rows(at).forces(ahead[at]))
    return alpha, ahead, state


def _put(arrays: Any, rows: Any, values: Any) -> None:
    for array, value in zip(arrays, values, strict=True):
        array[rows] = value


def _taken(state: State, rows: np.ndarray) -> State:
    force, pulls, hessian = state
    return force[rows], pulls[rows], hessian[rows]
