"""The optimum of n completions where rewards are unbounded: held by a penalty, or by the labels.

In the gaps e_k of the half program (the optimum is symmetric about 0) the condition is
G_k(e) = pi_k(e): the force that opens a gap against the penalty's pull, which for kappa mean r_i**2
is a sum of rewards, positive like the force. Newton's method on log G = log pi is as robust as in
the box. Without a penalty G_k = 0, for utilities with a maximum, and Newton's method is searched
along its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import NoOptimum
from collapse_theory.finite.half import Half
from collapse_theory.finite.newton import Answer
from collapse_theory.finite.start import start
from collapse_theory.finite.steps import Budget, room
from collapse_theory.lazy import lapack
from collapse_theory.utilities import Utility

__all__ = ["first_guess", "unbounded"]

MAX_ITERATIONS = 300
WIDEST = 1e150  # of a half gap: beyond, nothing holds the rewards


@dataclass(frozen=True)
class _Program:
    """Half the sum over pairs of U, less `pull` times half the sum of squared rewards C_i."""

    half: Half
    pull: float

    def forces(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return G, pi and the negative Hessian of the whole."""
        force, hessian = self.half.derivatives(e)
        centre = e[::-1].cumsum()[::-1]
        order = np.arange(1.0, len(e) + 1)
        pulls = self.pull * centre.cumsum()
        return force, pulls, hessian + self.pull * np.minimum.outer(order, order)


def unbounded(utility: Utility, n: int, kappa: float, max_iterations: int | None = None) -> Answer:
    """Return the optimal gaps under mean U - kappa mean r_i**2 with rewards in all of R.

    Raises
    ------
    NoOptimum
        Where the optimum's gaps leave float64.
    """
    budget = Budget(MAX_ITERATIONS if max_iterations is None else max_iterations)
    if utility.slope_at_zero <= 0:
        return Answer(np.zeros(n - 1), 0, True)  # no gap is worth opening
    # Half the sum over pairs is n(n-1)/4 times the mean; 2/n sum over the half of C_i**2.
    program = _Program(Half(utility, n), kappa * (n - 1))
    with np.errstate(all="ignore"):
        e, converged = _newton(program, first_guess(utility, n, kappa), budget)
    return Answer(program.half.gaps(e), budget.used, converged)


def first_guess(utility: Utility, n: int, kappa: float) -> np.ndarray:
    """Return half gaps of a plausible shape, at the best scale."""
    program = _Program(Half(utility, n), kappa * (n - 1))
    steep = np.isinf(utility.slope_at_zero)
    shape = start(utility, n, tiny=True) if steep else np.full(n // 2, 0.5 / (n // 2))
    with np.errstate(all="ignore"):
        return _scaled(program, shape)


def _scaled(program: _Program, shape: np.ndarray) -> np.ndarray:
    """Return the multiple of `shape` that is the best: the force along it is zero."""

    def excess(log_scale: float) -> float:
        e = np.exp(log_scale) * shape
        force, pulls, _ = program.forces(e)
        return float((force - pulls) @ shape)

    return np.exp(_root(excess)) * shape


def _root(falling: Callable[[float], float]) -> float:
    """Return where a falling function of a logarithm changes sign."""
    low = high = 0.0
    step = 1.0
    while falling(high) > 0:
        low, high, step = high, high + step, 2 * step
        if high > np.log(WIDEST):
            raise NoOptimum("the optimum has gaps outside float64: the penalty is too weak")
    step = 1.0
    while low == high or not falling(low) > 0:
        low, step = low - step, 2 * step
        if low < -np.log(WIDEST):
            raise NoOptimum("the optimum has gaps outside float64: the penalty is too strong")
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _newton(program: _Program, e: np.ndarray, budget: Budget) -> tuple[np.ndarray, bool]:
    last, converged = np.inf, False
    state = program.forces(e)
    for _ in budget.rounds(MAX_ITERATIONS):
        force, pulls, hessian = state
        both = (force > 0) & (pulls > 0)
        ratio = np.where(both, force, 1.0) / np.where(both, pulls, 1.0)
        # log G = log pi where both are positive: nearly linear for powers and exponential tails.
        pushes = np.where(both, force * np.log(ratio), force - pulls), force - pulls
        steps = _solve(hessian, np.column_stack(pushes))
        if steps is None:
            return e, False
        size = float(np.abs(steps[:, 0] / e).max())
        if converged and size >= 0.5 * last:
            return e, True
        alpha, step = 0.0, steps[:, 0]
        for step in steps.T:
            alpha, state = _searched(program, e, step, force - pulls)
            if alpha > 1e-2:
                break
        e = e + alpha * step
        converged, last = size < 1e-9, size
        if size < 1e-15:
            return e, True
    return e, converged


def _searched(
    program: _Program, e: np.ndarray, step: np.ndarray, residual: np.ndarray
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Shorten the step until the objective doesn't fall at its end as steeply as it rose."""
    rise = max(float(residual @ step), 1e-300)
    alpha = min(1.0, 0.9 * room(e, step))
    state = program.forces(e + alpha * step)
    for _ in range(40):
        fall = float((state[1] - state[0]) @ step)
        if fall <= rise:
            break
        alpha *= max(rise / (rise + fall), 0.1)
        state = program.forces(e + alpha * step)
    return alpha, state


def _solve(hessian: np.ndarray, push: np.ndarray) -> np.ndarray | None:
    scale = 1.0 / np.sqrt(hessian.diagonal())
    scaled = hessian * scale * scale[:, None]
    if not np.isfinite(scaled.sum()):
        return None
    factor, failed = lapack.dpotrf(scaled, lower=1, overwrite_a=1)
    if failed:
        return None
    return scale[:, None] * lapack.dpotrs(factor, scale[:, None] * push, lower=1)[0]
