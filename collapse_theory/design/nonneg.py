"""Nonnegative least squares with sparse answers."""

from __future__ import annotations

import numpy as np

__all__ = ["nonnegative_least_squares"]

# A variable joins while the gradient says that it helps by more than rounding.
JOINS = 1e-12


def nonnegative_least_squares(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return x >= 0 of least |matrix x - right|, by Lawson and Hanson's active sets.

    Written here as SciPy 1.17's own ends the process on columns that are equal up to rounding.
    Columns are scaled to one length; of two that are as good as equal, one is taken.

    Source: Lawson and Hanson, Solving Least Squares Problems (1974), ch. 23.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.design.nonneg import nonnegative_least_squares
    >>> nonnegative_least_squares(np.eye(3), np.array([1.0, -1.0, 2.0]))
    array([1., 0., 2.])
    """
    length = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(length > 0, length, 1.0)
    size = matrix.shape[1]
    x, free = np.zeros(size), np.zeros(size, dtype=bool)
    barred = length == 0
    for _ in range(5 * size):
        pull = scaled.T @ (right - scaled @ x)
        pull[free | barred] = -np.inf
        best = int(np.argmax(pull))
        if not pull[best] > JOINS * np.linalg.norm(right):
            break
        free[best] = True
        before = x
        x, free = _solved(scaled, right, x, free)
        if not free[best]:
            # It left at once: equal to others up to rounding. It may not come back.
            barred[best] = True
            x = before
            free = x > 0
    return x / np.where(length > 0, length, 1.0)


def _solved(
    matrix: np.ndarray, right: np.ndarray, x: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least squares answer on the free variables, those that would be < 0 left out."""
    free = free.copy()
    while free.any():
        trial = np.zeros_like(x)
        trial[free] = np.linalg.lstsq(matrix[:, free], right, rcond=1e-14)[0]
        if (trial[free] > 0).all():
            return trial, free
        out = free & (trial <= 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.min((x / (x - trial))[out])
        x = x + (float(step) if np.isfinite(step) else 0.0) * (trial - x)
        free &= x > 1e-15 * max(float(x.max()), 1e-300)
        x = np.where(free, x, 0.0)
    return np.zeros_like(x), free
