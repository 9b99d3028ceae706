"""Piecewise linear utilities: from an answer to eight digits to the exact vertex beside it.

At the optimum neighbouring rewards tie, or pairs have gaps at a kink of the utility. Those
equations, read off the approximate answer, and the least sum of squares among what they leave open,
give the answer to rounding.
"""

from __future__ import annotations

import numpy as np

from collapse_theory.programs.certificates import certify
from collapse_theory.utilities import Utility

__all__ = ["snapped"]

NEAR = 1e-5


def snapped(utility: Utility, gaps: np.ndarray) -> np.ndarray:
    """Return the least-squares gaps on the face that `gaps` lies near, where that is no worse."""
    best = gaps
    for near in (NEAR, NEAR / 30):
        exact = _on_face(utility, gaps, near)
        if exact is None:
            continue
        if certify(utility, exact).objective >= certify(utility, best).objective - 1e-9:
            return exact
    return best


def _on_face(utility: Utility, gaps: np.ndarray, near: float) -> np.ndarray | None:
    n = len(gaps) + 1
    loose = np.flatnonzero(gaps > near)
    # Levels of tied rewards; unknown are the gaps between neighbouring levels.
    level = np.concatenate([[0], np.cumsum(gaps > near)])
    sizes = np.bincount(level)
    count = len(loose)
    i, j = np.triu_indices(count + 1, 1)
    steps = np.arange(count)
    rows = ((steps >= i[:, None]) & (steps < j[:, None])).astype(float)
    widths = rows @ gaps[loose]
    equations, sides = [np.ones(count)], [1.0]
    for kink in utility.kinks:
        at = np.abs(widths - kink) < near
        equations.extend(rows[at])
        sides.extend([kink] * int(at.sum()))
    equations, sides = np.array(equations), np.array(sides)
    # Least sum over pairs of squared gaps subject to the equations.
    pairs = (sizes[i] * sizes[j])[:, None]
    quadratic = rows.T @ (pairs * rows)
    m = len(sides)
    system = np.block([[quadratic, equations.T], [equations, np.zeros((m, m))]])
    found = np.linalg.lstsq(system, np.concatenate([np.zeros(count), sides]), rcond=1e-13)[0]
    inner = found[:count]
    if np.abs(equations @ inner - sides).max() > 1e-12 or inner.min() < -1e-12:
        return None
    exact = np.zeros(n - 1)
    exact[loose] = np.where(inner > 1e-12, inner, 0.0)  # where two levels meet after all
    return exact
