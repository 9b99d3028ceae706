"""What is seen of a function in samples: is it concave, does it increase, how does it start.

Families know these things of themselves; formulas and one's own functions are looked at in
thousands of gaps, and closer where in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from collapse_theory.errors import InvalidUtility, NotConcave, NotIncreasing

Formula: TypeAlias = Any  # utilities.formula's, which looks at its utilities here
Derivatives = Callable[[Any], tuple[Any, Any]]

# Rounding in U'' of a sum whose parts cancel is of the order of 1e-16 (|U'|/x + |U''|); in one that
# divides by powers of x it is of the order of 1e-16 |U|/x**2: less isn't seen in values of U.
ROUNDING, UNSEEN = 1e-11, 1e-14

# Below this gap x*x*x underflows, and derivatives through it say nothing.
SMALLEST = 1e-60


# How concavity is known, the weakest first.
HOW = SAMPLED, BOUNDED, COMPOSED = "sampled", "proved by interval bounds", "proved by composition"

# The cells that a proof begins with, in units of the largest gap; and gaps one a decade.
_CELLS = np.concatenate([np.geomspace(SMALLEST, 0.1, 60), np.linspace(0.1, 1.0, 10)[1:]])
_DECADES = np.geomspace(SMALLEST, 1.0, 61)
# Halvings that leave a cell of rounding's width; how many cells are halved at once, and of more
# the ones that are.
_SPLITS, _MOST_CELLS, _WORST_CELLS = 50, 3000, 256
_OVERLAP = 1e-12


def number_text(value: float) -> str:
    """Return the shortest text that reads back as `value`."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


# -- concave and increasing --------------------------------------------------------------


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


def _with_kinks(grid: np.ndarray, kinks: tuple[float, ...], width: float) -> np.ndarray:
    """Return the grid with gaps on all scales around each kink, where bumps may be narrow."""
    inside = np.array([k for k in kinks if 0 < k <= width])[:64, None]
    away = np.geomspace(1e-13, 0.1, 120) * width
    around = np.concatenate([inside - away, inside + away], axis=1).ravel()
    return np.unique(np.concatenate([grid, around[(around > 0) & (around <= width)]]))


def require_concave(utility: Formula, width: float) -> None:
    """Raise unless U is finite and concave at the gaps in (0, width].

    Raises
    ------
    NotConcave
        With a gap x at which U''(x) > 0, or across which U' rises.
    InvalidUtility
        With a gap at which U has no value.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.utilities import require_concave
    >>> require_concave(ct.utility("log(x)"), 1.0)
    """
    low, high = utility.concave_range
    if low > 0 or width > high * (1 + 1e-15):
        concavity(utility, width)


def concavity(utility: Formula, width: float) -> str:
    """Return how it is known that U is concave at the gaps in (0, width], or raise.

    Bounds of U'' prove it, on one cell or many; else U'' is looked at on a grid, and between grid
    points wherever it comes close to zero.
    """
    composed = bool(utility.curvature_bound(np.zeros(1), np.array([width]))[0] <= 0)
    proved, worst = (True, None) if composed else _searched(utility, width)
    # Where U is concave, it has values between any two gaps where it has.
    x = width * _DECADES if proved else _with_kinks(_grid(width), utility.kinks, width)
    value, first = _value_and_slope(utility, x)
    _require_values(utility, x, value, first)
    if not proved:
        worst = _refined(utility, x) or worst
        if worst is None:
            _require_falling_slope(utility, x, value, first)
        else:
            bend = float(utility.derivatives(np.float64(worst))[1])
            why = f"U''({worst:.6g}) = {bend:.3g} > 0" if bend > 0 else f"it jumps at {worst:.15g}"
            raise NotConcave(
                f"the utility {utility} is not concave: {why}; a ranking utility must be concave "
                f"on (0, {number_text(width)}]{_hint(first)}"
            )
    if np.all(np.abs(first) * x <= 4e-15 * np.abs(value)):
        raise InvalidUtility(f"the utility {utility} is a constant: it doesn't depend on the gap")
    return COMPOSED if composed else BOUNDED if proved else SAMPLED


def _value_and_slope(utility: Formula, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        try:
            return np.asarray(utility.value(x) + 0.0 * x), np.asarray(utility.slope(x))
        except InvalidUtility:
            raise
        except Exception as fault:  # of a class of one's own
            raise InvalidUtility(
                f"value and derivatives of {utility} must return real numbers for an array of "
                f"gaps; they raised {type(fault).__name__}: {fault}"
            ) from fault


def _require_values(utility: Formula, x: np.ndarray, value: np.ndarray, first: np.ndarray) -> None:
    # A steep pole at 0 overflows at small gaps: -x**-20 is -inf below 1e-15, -exp(1/x) below .0014;
    # x**-20, a loss, bends at others.
    pole = np.isinf(value) & (x < 1e-2)
    bad = ~np.isfinite(value) & ~pole | np.isnan(first) & ~pole & (x > 1e-100)
    if bad.any():
        where = x[np.argmax(bad)]
        raise InvalidUtility(
            f"the utility {utility} has no value at the gap {where:.6g}: it must be finite on (0, "
            f"{number_text(x.max())}]; a utility without values below 0 can't take a margin"
        )


def _hint(first: np.ndarray) -> str:
    """Return what to do with what falls at all gaps: it was written to be made small."""
    falls = np.all(first[np.isfinite(first)] <= 0)
    return "; it falls, so it looks like a loss: pass its negative" if falls else ""


def require_increasing(utility: Formula, width: float) -> None:
    """Raise unless U, concave, increases on [0, width]: U'(width) >= 0.

    Raises
    ------
    NotIncreasing
        With the gap beyond which U falls.
    InvalidUtility
        Where U is a constant in float64.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.utilities import require_increasing
    >>> require_increasing(ct.utility("log(x)"), 1.0)
    """
    at = np.array([0.5 * width, width])
    with np.errstate(all="ignore"):
        half, top = utility.slope(at) + 0 * at
        if top == 0 and utility.gain(np.float64(0.0), width, np.float64(width)) == 0:
            raise InvalidUtility(
                f"the utility {utility} is a constant up to rounding: it doesn't depend on gaps up "
                f"to {number_text(width)}"
            )
    # The left derivative where the upper end is a kink.
    if top < -1e-12 * np.clip(abs(half), 1e-300, 1e300):
        x = _grid(width)
        with np.errstate(all="ignore"):
            first = utility.slope(x) + 0 * x
        falls = x[first < 0]
        raise NotIncreasing(
            f"the utility {utility} falls at the gap {falls[0]:.6g} (U'({number_text(width)}) = "
            f"{top:.3g} < 0): in a box whose gaps reach {number_text(width)} it must increase; "
            "take a smaller box, or a domain in which a maximum is right (Free, Confined)"
            + _hint(first)
        )


def _excess(utility: Formula, x: np.ndarray) -> np.ndarray:
    """Return U'' less what rounding may explain, in units of |U'|/x + |U''|."""
    with np.errstate(all="ignore"):
        value, (first, second) = utility.value(x), utility.derivatives(x)
        scale = np.abs(first) / x + np.abs(second)
        excess = (second - UNSEEN * np.abs(value) / x / x) / scale - ROUNDING
    return np.where(np.isfinite(excess) & (x > SMALLEST), excess, -1.0)


def _refined(utility: Formula, x: np.ndarray) -> float | None:
    """Return a gap where U'' > 0, looking between grid points at the peaks of it."""
    excess = _excess(utility, x)
    if excess.max() > 0:
        # Of all gaps where it is as convex, the widest: U''(1), not U''(1e-300).
        return float(x[np.flatnonzero(excess > 0.5 * excess.max())[-1]])
    inner = np.flatnonzero((excess[1:-1] >= excess[:-2]) & (excess[1:-1] >= excess[2:])) + 1
    peaks = inner[np.argsort(-excess[inner])][:20]
    low, high = x[peaks - 1], x[peaks + 1]
    for _ in range(3):
        fine = np.linspace(low, high, 33, axis=1)
        values = _excess(utility, fine.ravel()).reshape(fine.shape)
        if values.size and values.max() > 0:
            return float(fine.ravel()[np.argmax(values)])
        best = np.clip(np.argmax(values, axis=1), 1, 31)
        rows = np.arange(len(best))
        low, high = fine[rows, best - 1], fine[rows, best + 1]
    return None


def _searched(utility: Formula, width: float) -> tuple[bool, float | None]:
    """Return whether bounds prove that U'' <= 0 on (0, width], and a gap where it isn't, if found.

    Cells on which U'' isn't bounded by 0 are halved, up to rounding's width; of many those that
    could hold the most convexity, seen in U: a bump at the zero of an inner function is found so.
    """
    low, high, complete = width * _CELLS[:-1], width * _CELLS[1:], True
    for _ in range(_SPLITS):
        # Each cell reaches into the next ones, so that a pole between two is inside of both.
        past = np.minimum(high * (1 + _OVERLAP), width)
        bound = utility.curvature_bound(low * (1 - _OVERLAP), past)
        if np.isnan(bound).all():
            return False, None  # functions of one's own, of which no bounds are known
        left = ~(bound <= 0)
        low, high, bound = low[left], high[left], bound[left]
        middle = np.where(high > 2 * low, np.sqrt(low) * np.sqrt(high), low + (high - low) / 2)
        narrow = high - low <= 1e-13 * high
        wrong = _excess(utility, middle) > 0
        if narrow.any():
            wrong[narrow] |= _steps(utility, middle[narrow])
        if wrong.any():
            return False, float(middle[np.flatnonzero(wrong)[-1]])
        kept = np.flatnonzero(~narrow)
        if len(kept) > _MOST_CELLS:
            rise = np.where(np.isnan(bound), np.inf, bound) * (high - low) ** 2
            with np.errstate(all="ignore"):
                kept = kept[(rise > UNSEEN * np.abs(utility.value(middle)))[kept]]
            kept = kept[np.argsort(-rise[kept])][:_WORST_CELLS]
        complete &= len(kept) == len(low)
        if not kept.size:
            break
        low, high = (
            np.concatenate(ends) for ends in ((low[kept], middle[kept]), (middle[kept], high[kept]))
        )
    return complete and not low.size, None


def _steps(utility: Formula, x: np.ndarray) -> np.ndarray:
    """Return whether U rises or falls near these gaps by more than slopes around them allow."""
    below, above = x * (1 - 1e-13), x * (1 + 1e-13)
    with np.errstate(all="ignore"):
        first, last = utility.value(below), utility.value(above)
        slopes = np.maximum(*(np.abs(utility.slope(x * share)) for share in (1 - 1e-9, 1 + 1e-9)))
        # Of U's own size more can't be told: (x + 0.4 - abs(x - 0.4))/2 is rounded at 0.4.
        size = 1e-14 * np.abs(utility.value(np.float64(1.0)))
        allowed = 4e-13 * x * slopes + 1e-12 * (np.abs(first) + np.abs(last)) + size
        return np.abs(last - first) > allowed


def _require_falling_slope(
    utility: Formula, x: np.ndarray, value: np.ndarray, first: np.ndarray
) -> None:
    """Catch what U'' doesn't see: a kink at which U' jumps up, as in max(x, y) = -min(-x, -y)."""
    with np.errstate(all="ignore"):
        rise = np.diff(first) - UNSEEN * np.abs(value / x)[:-1]
        rise /= np.abs(first[1:]) + np.abs(first[:-1])
    rise = np.where(np.isfinite(rise) & (x[:-1] > SMALLEST), rise, 0.0)
    if rise.max() > 1e-9:
        at = int(np.argmax(rise))
        raise NotConcave(
            f"the utility {utility} is not concave: its slope rises from {first[at]:.6g} to "
            f"{first[at + 1]:.6g} near the gap {x[at + 1]:.6g}{_hint(first)}"
        )


# -- near 0, and strictly ----------------------------------------------------------------


def slope_at_zero(derivatives: Derivatives) -> float:
    """Return U'(0), which may be inf, from a formula that may be 0*inf at the gap 0 itself."""

    def slope(x: float) -> float:
        with np.errstate(all="ignore"):
            return float(derivatives(np.float64(x))[0])

    at_zero = slope(0.0)
    if math.isfinite(at_zero):
        return at_zero
    # Does the slope still grow near 0?
    near, nearer = slope(1e-60), slope(1e-100)
    settled = math.isfinite(nearer) and abs(near - nearer) <= 1e-9 * abs(nearer)
    return nearer if settled else math.inf


def exponent_at_zero(derivatives: Derivatives) -> float:
    """Return the p of U'(x) ~ x**(p-1) near 0, for U'(0) = inf."""

    def local(power: int) -> float:  # 1 + x U''/U' at x = 10**power
        x = 10.0**power
        with np.errstate(all="ignore"):
            first, second = (float(d) for d in derivatives(np.float64(x)))
        ratio = second / first * x if first > 0 else math.nan
        # U'' can underflow to 0 or overflow long before U' does.
        return 1 + ratio if math.isfinite(ratio) and ratio else math.nan

    for power in (-120, -60, -30, -15, -10, -7, -5):
        half = power // 2
        here, there = local(power), local(half)
        if math.isfinite(here) and math.isfinite(there):
            break
    else:
        return 1.0
    if abs(here - there) <= 1e-7:
        return round(here, 9) + 0.0
    # A factor log x leaves p + c/log x: drop the second term.
    return round((power * here - half * there) / (power - half), 3) + 0.0


def strictly_concave(derivatives: Derivatives) -> bool:
    """Whether U'' < 0 at all of a thousand gaps in (0, 1]."""
    return bool(np.all(_bent(derivatives, np.linspace(0.001, 1.0, 1000))))


def strictly_concave_formula(derivatives: Derivatives, kinks: tuple[float, ...]) -> bool:
    """Whether U'' < 0 somewhere in each piece of (0, 1] between kinks.

    A formula is analytic between its kinks: affine on all of a piece, or strictly concave there.
    """
    pieces = pairwise([0.0, *(k for k in kinks if k < 1), 1.0])
    places = (low + (high - low) * np.linspace(0.01, 0.99, 99) for low, high in pieces)
    return all(np.any(_bent(derivatives, x)) for x in places)


def _bent(derivatives: Derivatives, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        first, second = derivatives(x)
    return second < -ROUNDING * np.abs(first) / x
