"""The linear program: which mixture of hinges makes a law optimal, or what improves on all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import SolverFailed

__all__ = ["Balance", "balance"]


@dataclass(frozen=True)
class Balance:
    """A solution of the program and of its dual.

    Attributes
    ----------
    excess : float
        t: under the mixture no point's potential is above the energy by more than t, in units of
        the mixture's shortfall.
    weights : (k,) array
        The share of each column in the mixture's shortfall; nonnegative, with sum 1.
    direction : (p,) array
        The dual solution: masses at the points, with sum 1. Moving mass there helps under each
        column by t at least.
    """

    excess: float
    weights: np.ndarray
    direction: np.ndarray


def balance(gains: np.ndarray) -> Balance:
    r"""Return the mixture under which a law is nearest to optimal.

    minimise t  subject to  sum_k w_k gains[x, k] <= t for all x,   sum_k w_k = 1,   w >= 0.

    Its dual maximises min_k sum_x d_x gains[x, k] over masses d; both have the value t, which is
    nonnegative where the points carry the law.

    Parameters
    ----------
    gains : (p, k) array
        (V_k(x) - J_k) / (U_k(1) - J_k): columns scaled by their shortfall, without which hinges of
        1e-6 and of 1 would be hard to solve for together.

    Raises
    ------
    SolverFailed
        Where HiGHS finds no solution.
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
