"""What is asked of numbers that come from outside, in one voice, and the shape of an answer."""

from __future__ import annotations

import inspect
import math
import operator
import reprlib
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError

# Rewards within these have squares, densities and moments that floats hold.
LARGEST, SMALLEST = 1e150, 1e-280
MOST_COUNTED = 10**8  # completions: their rewards alone are a gigabyte
MOST_RANKED = 5000  # completions: the pairs of more take gigabytes and minutes


def finite(value: Any, what: str, error: type[CollapseError] = CollapseError) -> float:
    """Return `value` as a float, or say that `what` must be a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool | str):
        raise error(f"{what} must be a number, not {reprlib.repr(value)}")
    if not math.isfinite(number):
        raise error(f"{what} must be finite, not {number}")
    return number


def positive(value: Any, what: str, error: type[CollapseError] = CollapseError) -> float:
    """Return `value` as a float, or say that `what` must be positive and finite."""
    number = finite(value, what, error)
    if number <= 0:
        raise error(f"{what} must be positive, not {number}")
    return number


def whole(value: Any, what: str, least: int = 1) -> int:
    """Return `value` as an int of at least `least`; True, 2.0 and "2" are no whole numbers."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise CollapseError(f"{what} must be a whole number, {least} or more, not {value!r}")
    return number


def count(n: Any, most: int = MOST_COUNTED) -> int:
    """Return the number of completions as an int of at least 2, no more than can be listed."""
    try:
        value = operator.index(n)
    except TypeError:
        raise CollapseError(f"n must be a whole number of completions, got {n!r}") from None
    if isinstance(n, bool) or value < 2:
        raise CollapseError(f"a ranking needs at least 2 completions, got n = {n!r}")
    if value > most:
        shown, why = reprlib.repr(value), ": rewards are listed" if most == MOST_COUNTED else ""
        raise CollapseError(
            f"n must be at most {most:,}{why}; got n = {shown}. ct.limit(u) is the law of more"
        )
    return value


def ranked(n: Any, most: int = MOST_RANKED) -> int:
    """Return the number of completions of a ranking all of whose pairs are looked at."""
    value = count(n)
    if value > most:
        raise CollapseError(
            f"n = {value} completions have {value * (value - 1) // 2} pairs, more than can be "
            f"looked at one by one (here at most n = {most}); the limit law predicts the rewards "
            "of so many: ct.limit(u).rewards(n)"
        )
    return value


def bracketless(kind: type) -> str:
    """Return what to write instead of a class of values, given where a value was meant."""
    ours = kind.__module__.startswith("collapse_theory.")
    name = f"ct.{kind.__name__}" if ours else kind.__name__
    parameters = inspect.signature(kind).parameters.values()
    needed = [one.annotation for one in parameters if one.default is inspect.Parameter.empty]
    if needed:
        what = "a number" if len(needed) == 1 else "values"
        shown = ("[1, 0]" if "Array" in str(each) else "0.1" for each in needed)
        return f"{name} needs {what}: {name}({', '.join(shown)})"
    return f"{name} needs brackets: {name}()"


def as_numpy(values: Any) -> Any:
    """Return an array of another library as one that NumPy reads; all else as it is.

    Tensors of torch come from wherever they are, without their gradient, half precision as single;
    arrays of CuPy by their `get`, others by DLPack; a list of such arrays one by one.
    """
    if isinstance(values, list | tuple) and any(map(_foreign, set(map(type, values)))):
        return [as_numpy(value) for value in values]
    if not _foreign(type(values)):
        return values
    array: Any = values
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        half = array.is_floating_point() and array.element_size() < 4
        return (array.float() if half else array).numpy()
    return array.get() if callable(getattr(array, "get", None)) else np.from_dlpack(array)


def _foreign(kind: type) -> bool:
    """Whether NumPy doesn't read such arrays by itself, or reads them only in part."""
    alone = hasattr(kind, "__dlpack__") and not hasattr(kind, "__array__")
    return alone or hasattr(kind, "detach") or hasattr(kind, "__cuda_array_interface__")


def numbers(values: Any, what: str) -> np.ndarray:
    """Return `values` as a float64 array, NaN and infinities included."""
    try:
        return np.asarray(as_numpy(values), dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        shown = reprlib.repr(values)
        raise CollapseError(f"{what} must be an array of numbers, not {shown}") from None


def finite_array(values: Any, what: str, ndim: int) -> np.ndarray:
    """Return `values` as a float64 array of `ndim` axes, or say what is wrong with it."""
    array = numbers(values, what)
    if array.ndim != ndim:
        raise CollapseError(f"{what} must have {ndim} axes, not the shape {array.shape}")
    if not np.isfinite(array).all():
        raise CollapseError(f"{what} must be finite; found {array[~np.isfinite(array)][0]}")
    return array


def check_map(low: Any, scale: Any) -> tuple[float, float]:
    """Return the checked numbers of the map x -> low + scale x."""
    low, scale = finite(low, "low"), positive(scale, "scale")
    check_span(low, low)
    check_span(0.0, scale)
    return low, scale


def check_span(low: float, high: float) -> None:
    """Refuse rewards whose squares, or the inverse of whose range, are beyond floats."""
    if max(abs(low), abs(high)) > LARGEST or 0 < high - low < SMALLEST:
        raise CollapseError(
            f"rewards must lie within +-{LARGEST:g}, at least {SMALLEST:g} apart, not at {low:g} "
            f"and {high:g}; give them in larger or smaller units"
        )


def answer(x: np.ndarray) -> Any:
    """Return a 0-d array as a Python float, any other array as it is."""
    return float(x) if x.ndim == 0 else x
