"""What the methods for n completions share: linear systems, step lengths, iterations counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from collapse_theory.lazy import lapack

__all__ = ["Budget", "constrained", "room", "solver"]


class Budget:
    """Counts iterations over the phases of a solve."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def rounds(self, at_most: int) -> Iterator[int]:
        for k in range(at_most):
            if self.used >= self.limit:
                return
            self.used += 1
            yield k

    @property
    def spent(self) -> bool:
        return self.used >= self.limit


def solver(hessian: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the solver of systems with `hessian`, for steps of which the sum is zero.

    On those 4 * ones((h, h)) adds nothing; it makes the matrix regular where some gaps have no
    curvature of their own (in units of lambda, a matrix of ordinary size on (e_k) is 1).
    """
    matrix = hessian + 4.0
    scale = 1.0 / np.sqrt(matrix.diagonal())
    scaled = matrix * scale * scale[:, None]
    if not np.isfinite(scaled.sum()):
        return None
    # LAPACK itself: for n = 8 scipy.linalg's wrappers take longer than the factorisation.
    factor, failed = lapack.dpotrf(scaled, lower=1, overwrite_a=1)
    if failed:
        return None

    def solve(right: np.ndarray) -> np.ndarray:
        weights = scale if right.ndim == 1 else scale[:, None]
        return weights * lapack.dpotrs(factor, weights * right, lower=1)[0]

    return solve


def constrained(
    hessian: np.ndarray, e: np.ndarray, push: np.ndarray, direction: np.ndarray
) -> np.ndarray | None:
    """Solve H E y = push - nu direction for y with sum(e y) = 0, E = diag(e)."""
    solve = solver(hessian)
    if solve is None:
        return None
    y = solve(np.column_stack([push, direction])) / e[:, None]
    along = float(e @ y[:, 1])
    if along == 0.0:  # the curvature has left the range of float64
        return None
    nu = float(e @ y[:, 0]) / along
    step = y[:, 0] - nu * y[:, 1]
    return step if np.all(np.isfinite(step)) else None


def room(value: np.ndarray, change: np.ndarray) -> float:
    """Return the largest step that keeps `value` nonnegative."""
    steepest = float((change / value).min())
    return -1.0 / steepest if steepest < 0 else np.inf
