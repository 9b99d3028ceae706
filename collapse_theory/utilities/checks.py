"""Is it concave, does it increase: looked at in thousands of gaps, and closer where in doubt."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from collapse_theory.errors import InvalidUtility, NotConcave, NotIncreasing
from collapse_theory.utilities.base import Utility, number_text

__all__ = ["require_concave", "require_increasing"]

# Rounding in U'' of a sum whose parts cancel is of the order of 1e-16 (|U'|/x + |U''|).
ROUNDING = 1e-11

# Below this gap x*x*x underflows, and derivatives through it say nothing.
SMALLEST = 1e-60


@lru_cache(maxsize=8)
def _grid(width: float) -> np.ndarray:
    """Return gaps in (0, width]: by the decade, evenly, and toward the upper end."""
    decades = np.geomspace(1e-300, 1e-20, 57)
    finer = np.geomspace(1e-20, 1.0, 801)
    even = np.linspace(0.0, 1.0, 2002)[1:]
    near_top = 1.0 - np.geomspace(1e-12, 0.1, 100)
    grid = width * np.unique(np.concatenate([decades, finer, even, near_top]))
    grid.setflags(write=False)
    return grid


def _with_landmarks(grid: np.ndarray, landmarks: tuple[float, ...], width: float) -> np.ndarray:
    """Return the grid with gaps on all scales around each landmark, where bumps may be narrow."""
    inside = np.array([m for m in landmarks if 0 < m <= width])[:64, None]
    if not inside.size:
        return grid
    away = np.geomspace(1e-13, 0.1, 120) * width
    around = np.concatenate([inside - away, inside + away], axis=1).ravel()
    return np.unique(np.concatenate([grid, around[(around > 0) & (around <= width)]]))


def require_concave(utility: Utility, width: float, *, trust: bool = True) -> None:
    """Raise unless U is finite and concave at the gaps in (0, width].

    Families know where they are concave; for others U'' is looked at on a grid, and between
    grid points wherever it comes close to zero. `trust` takes the utility's word for its
    `concave_range`.

    Raises
    ------
    NotConcave
        With a gap x at which U''(x) > 0, or across which U' rises.
    InvalidUtility
        With a gap at which U has no value.
    """
    low, high = utility.concave_range
    if trust and low <= 0 and width <= high * (1 + 1e-15):
        return
    x = _with_landmarks(_grid(width), utility.landmarks, width)
    with np.errstate(all="ignore"):
        value = np.asarray(utility.value(x)) + 0 * x
        first, second = utility.derivatives(x)
    # A steep pole at 0 overflows at small gaps: -x**-20 is -inf below 1e-15.
    pole = np.isneginf(value) & (x < 1e-3)
    bad = ~np.isfinite(value) & ~pole | np.isnan(first) & ~pole & (x > 1e-100)
    if bad.any():
        where = x[np.argmax(bad)]
        raise InvalidUtility(
            f"the utility {utility} has no value at the gap {where:.6g}: it must be finite on (0, "
            f"{number_text(width)}]; a utility without values below 0 can't take a margin"
        )
    excess = _excess(x, first, second)
    worst = _refined(utility, x, excess)
    if worst is not None:
        raise NotConcave(
            f"the utility {utility} is not concave: U''({worst:.6g}) = "
            f"{float(utility.d2(worst)):.3g} > 0; a ranking utility must be concave on (0, "
            f"{number_text(width)}]"
        )
    _require_falling_slope(utility, x, first)


def require_increasing(utility: Utility, width: float) -> None:
    """Raise unless U, concave, increases on [0, width]: U'(width) >= 0.

    Raises
    ------
    NotIncreasing
        With the gap beyond which U falls.
    """
    at = np.array([0.5 * width, width])
    with np.errstate(all="ignore"):
        half, top = utility.slope(at) + 0 * at
    # The left derivative where the upper end is a kink.
    if top < -1e-12 * max(abs(half), 1e-300):
        x = _grid(width)
        with np.errstate(all="ignore"):
            falls = x[np.asarray(utility.slope(x)) < 0]
        raise NotIncreasing(
            f"the utility {utility} falls at the gap {falls[0]:.6g} (U'({number_text(width)}) = "
            f"{top:.3g} < 0): in a box whose gaps reach {number_text(width)} it must increase; "
            "take a smaller box, or a domain in which a maximum is right (Free, Confined)"
        )


def _excess(x: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return U'' less what rounding may explain, in units of |U'|/x + |U''|."""
    with np.errstate(all="ignore"):
        scale = np.abs(first) / x + np.abs(second)
        excess = second / scale - ROUNDING
    return np.where(np.isfinite(excess) & (x > SMALLEST), excess, -1.0)


def _refined(utility: Utility, x: np.ndarray, excess: np.ndarray) -> float | None:
    """Return a gap where U'' > 0, looking between grid points at the peaks of `excess`."""
    if excess.max() > 0:
        # Of all gaps where it is as convex, the widest: U''(1), not U''(1e-300).
        return float(x[np.flatnonzero(excess > 0.5 * excess.max())[-1]])
    inner = np.flatnonzero((excess[1:-1] >= excess[:-2]) & (excess[1:-1] >= excess[2:])) + 1
    peaks = inner[np.argsort(-excess[inner])][:20]
    low, high = x[peaks - 1], x[peaks + 1]
    for _ in range(3):
        fine = np.linspace(low, high, 33, axis=1)
        with np.errstate(all="ignore"):
            first, second = utility.derivatives(fine.ravel())
        values = _excess(fine.ravel(), first, second).reshape(fine.shape)
        if values.size and values.max() > 0:
            return float(fine.ravel()[np.argmax(values)])
        best = np.clip(np.argmax(values, axis=1), 1, 31)
        rows = np.arange(len(best))
        low, high = fine[rows, best - 1], fine[rows, best + 1]
    return None


def _require_falling_slope(utility: Utility, x: np.ndarray, first: np.ndarray) -> None:
    """Catch what U'' doesn't see: a kink at which U' jumps up, as in max(x, y) = -min(-x, -y)."""
    with np.errstate(all="ignore"):
        rise = np.diff(first) / (np.abs(first[1:]) + np.abs(first[:-1]))
    rise = np.where(np.isfinite(rise) & (x[:-1] > SMALLEST), rise, 0.0)
    if rise.max() > 1e-9:
        at = int(np.argmax(rise))
        raise NotConcave(
            f"the utility {utility} is not concave: its slope rises from {first[at]:.6g} to "
            f"{first[at + 1]:.6g} near the gap {x[at + 1]:.6g}"
        )
