"""Which mixture of utilities makes a law optimal: a linear program with its dual, a sparse fit.

Both choose weights of columns, one a utility: how much moving mass to each point x would help.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed

# A variable joins while the gradient says that it helps by more than rounding.
JOINS = 1e-12
# The weight of the row that stands for sum w = 1, in units of the gains.
SUM = 10.0


class Balance(NamedTuple):
    """A solution of the program and of its dual."""

    # t: under the mixture no point's potential is above the energy by more than t, in units of the
    # mixture's shortfall.
    excess: float
    weights: np.ndarray  # (k,), each column's share in that shortfall: nonnegative, with sum 1
    # (p,), the dual solution: masses at the points, with sum 1. Moving mass there helps under each
    # column by t at least.
    direction: np.ndarray


def balance(gains: np.ndarray) -> Balance:
    r"""Return the mixture under which a law is nearest to optimal.

    minimise t  subject to  sum_k w_k gains[x, k] <= t for all x,   sum_k w_k = 1,   w >= 0.

    Its dual maximises min_k sum_x d_x gains[x, k] over masses d; both have the value t, which is
    nonnegative where the points carry the law.

    `gains` (p, k) are (V_k(x) - J_k) / (U_k(1) - J_k): columns scaled by their shortfall, without
    which hinges of 1e-6 and of 1 would be hard to solve for together.
    """
    from scipy.optimize import linprog

    points, columns = gains.shape
    found = linprog(
        np.append(np.zeros(columns), 1.0),
        A_ub=np.hstack([gains, -np.ones((points, 1))]),
        b_ub=np.zeros(points),
        A_eq=np.append(np.ones(columns), 0.0)[None, :],
        b_eq=[1.0],
        bounds=[(0.0, None)] * columns + [(None, None)],
        method="highs",
    )
    if found.x is None:
        raise SolverFailed(f"HiGHS found no mixture of hinges: {found.message}")
    weights = np.maximum(found.x[:-1], 0.0)
    direction = np.maximum(-found.ineqlin.marginals, 0.0)
    return Balance(float(found.x[-1]), weights / weights.sum(), direction / direction.sum())


def sparse_mixture(gains: np.ndarray) -> np.ndarray:
    r"""Return weights w >= 0 that minimise sum_x (sum_k w_k gains[x, k])^2 near sum w = 1.

    An active-set method, so that few weights are positive. A last row stands for sum w = 1, which
    scaling may make exact: the aim is homogeneous.
    """
    points, columns = gains.shape
    system = np.vstack([gains, np.full(columns, SUM)])
    return nonnegative_least_squares(system, np.append(np.zeros(points), SUM))


def nonnegative_least_squares(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return x >= 0 of least |matrix x - right|, by Lawson and Hanson's active sets.

    Written here as SciPy 1.17's `nnls` ends the process on columns that are equal up to rounding,
    and its `lsq_linear` stops short of the optimum on such. Columns are scaled to one length; of
    two that are as good as equal, one is taken.

    Source: Lawson and Hanson, Solving Least Squares Problems (1974), ch. 23.
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
        found, kept = _solved(scaled, right, x, free)
        if kept[best]:
            x, free = found, kept
        else:  # it left at once: equal to others up to rounding. It may not come back.
            barred[best], free[best] = True, False
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
