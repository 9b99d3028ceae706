"""Floats of a utility: its constants from exact fractions, its values from anybody's arrays."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.numerics.checks import as_numpy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# How weights, scales and shifts are reckoned: whole numbers as int, at a tenth of the cost.
Exact: TypeAlias = Fraction | int
REMEDY = "take a smaller factor, scale or shift, or measure rewards in other units"


def exact(value: float) -> Exact:
    """Return the number that a float is."""
    return int(value) if value == value // 1 else Fraction(value)


def ratio(above: Exact, below: Exact) -> Exact:
    """Return above / below."""
    return above if below == 1 else Fraction(above) / below


def rounded(number: Exact, power: float = 1.0) -> float:
    """Return the nearest float, to a power, or raise where it overflows."""
    try:
        return float(number) if power == 1 else float(number) ** power
    except (OverflowError, ZeroDivisionError):
        raise InvalidUtility(
            f"a constant or factor of the utility overflows float64; {REMEDY}"
        ) from None


def at_gaps(function: Callable[[Any], Any], x: ArrayLike) -> Any:
    """Return a function of gaps in float64, a scalar for a scalar."""
    if getattr(x, "requires_grad", False):
        raise CollapseError(
            "NumPy would drop the gradient of these gaps: u.value(x, torch) keeps it, "
            "u(x.detach()) does without"
        )
    try:
        gaps = np.asarray(as_numpy(x))
    except ValueError:
        gaps = np.empty(0, dtype=object)  # rows of several lengths
    if gaps.dtype.kind not in "fiu":
        raise CollapseError(f"gaps must be real numbers within float64, not {reprlib.repr(x)}")
    with np.errstate(all="ignore"):
        # The formulas take float64; [()] turns a 0-d array back into a scalar.
        return np.asarray(function(gaps.astype(np.float64)[()]), dtype=np.float64)[()]


def is_number(factor: Any, value: float) -> bool:
    """Whether a factor is this float, and no column of numbers."""
    return isinstance(factor, float) and factor == value


def times(factor: Any, array: Any) -> Any:
    """Return factor * array, where 1 costs nothing: these are the innermost loops."""
    return array if is_number(factor, 1) else factor * array
