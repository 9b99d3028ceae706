"""Where to look for R first: the best law of one shape, the one that its ends have."""

from __future__ import annotations

import numpy as np

from collapse_theory.errors import NoOptimum, SolverFailed
from collapse_theory.lazy import special
from collapse_theory.numerics.roots import bisect, bracket
from collapse_theory.utilities.base import Utility

__all__ = ["first_radius"]

_NODES = 12


def first_radius(utility: Utility, kappa: float) -> float:
    """Return the radius at which (R**2 - x**2)**((1-p)/2) gains nothing by growing.

    E[U'(R g) g] = 2 kappa R var for its gaps g and variance at R = 1. The left side falls with R.

    Raises
    ------
    NoOptimum
        Where the left side never falls below 0 and kappa = 0.
    """
    q = 0.5 * (1.0 - utility.exponent)
    # Two rules without common points, as U'(0) may be infinite.
    (x, v), (y, w) = (special.roots_jacobi(k, q, q) for k in (_NODES, _NODES + 1))
    gap = np.abs(x[:, None] - y).ravel()
    weight = np.outer(v, w).ravel() / (v.sum() * w.sum())
    variance = 1.0 / (2.0 * q + 3.0)

    def gain(z: float) -> float:
        radius = float(np.exp(z))
        with np.errstate(all="ignore"):
            pull = weight @ (utility.slope(radius * gap) * gap)
        # Underflow to 0 is no fall: U may level off.
        return float(pull) - 2.0 * kappa * radius * variance or 5e-324

    low, high = bracket(
        gain,
        none_above=NoOptimum(
            f"nothing holds the rewards under {utility}: the objective rises without bound, or "
            "to a value that it never reaches, as the gaps grow. Use a penalty (Confined, "
            "Centered), a box, or a utility with a maximum (LabelSmoothing, Squared); the "
            "direction in which unbounded training goes is ct.max_margin(n)"
        ),
        none_below=SolverFailed(f"no radius is large enough for {utility} to leave"),
    )
    return float(np.exp(bisect(gain, low, high, 1e-3)))
