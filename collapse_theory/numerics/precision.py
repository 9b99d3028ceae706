"""Which differences of floats are rounding: those of a model's sums in float32 or coarser."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FLOAT32_STEPS = 8  # a network's sums in float32 differ by some last places for no reason
HALF_STEPS = 2  # half precision's grid holds short decimals too: neighbours alone are rounding
_HALVES = (("bfloat16", 16), ("float16", 13))  # bits of float32's fraction that they lack


class Precision(NamedTuple):
    """The coarsest float that holds some numbers, and what is rounding of these.

    Models compute in float32 or coarser, whatever a log is written in: eight steps of float32 are
    rounding, and two of bfloat16 or float16 where all numbers lie on that grid.
    """

    name: str
    text: str  # such as "8 steps of float32"
    steps: float  # of float32

    def rounding(self, size: np.ndarray) -> np.ndarray:
        """Return up to which distance numbers of a size are the same; 0 at 0."""
        size = np.minimum(np.abs(size), np.finfo(np.float32).max)
        _, exponent = np.frexp(size)
        step = np.ldexp(1.0, np.maximum(exponent - 24, -149))
        return np.where(size > 0, self.steps * step, 0.0)

    def alike(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Whether two numbers differ by no more than rounding."""
        return high - low <= self.rounding(np.maximum(np.abs(low), np.abs(high)))


def precision_of(values: np.ndarray) -> Precision:
    """Return the precision of some numbers.

    Examples
    --------
    >>> import numpy as np
    >>> found = precision_of(np.array([1.5, 0.25]))
    >>> found.text, bool(found.alike(np.array(1.0), np.array(1.5)))
    ('2 steps of bfloat16', False)
    """
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    plain = f"{FLOAT32_STEPS} steps of float32", float(FLOAT32_STEPS)
    if not np.array_equal(single.astype(np.float64), values):
        # As decimals of a float32 are written: the nearest float64 to seven or more digits.
        return Precision("float64", *plain)
    bits = single.view(np.uint32)
    for name, lost in _HALVES:
        whole = not np.array_equal(values, np.round(values))
        if whole and not (bits & np.uint32((1 << lost) - 1)).any():
            return Precision(name, f"{HALF_STEPS} steps of {name}", HALF_STEPS * 2.0**lost)
    return Precision("float32", *plain)
