"""Taylor series of a function that is 0/0 at a gap, from its values on a circle around it.

(1 - exp(-x))/x has a value at 0, and near 0 no digits: its derivatives are differences of numbers
as large as 1/x and 1/x**2. On a circle around 0 nothing cancels, and Cauchy's integrals, by the
trapezoidal rule, are the coefficients to rounding (J. N. Lyness and C. B. Moler, 1967).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.numerics.intervals import Interval

_POINTS, _TERMS = 64, 24
# Within this part of the radius the 24 terms of the series have 16 digits, and U'' 13.
_INSIDE = 0.25
# What rounding of the coefficients, and the terms left out, can be there, relatively, even in U''.
_ROUNDED = 1e-13


@dataclass(frozen=True)
class Taylor:
    """A series in s = (x - centre)/radius, which stands for the function for \\|s\\| < 1/4."""

    centre: float
    radius: float
    coefficients: tuple[float, ...]

    def near(self, x: Any) -> Any:
        """Return at which x the series stands for the function."""
        return abs((x - self.centre) / self.radius) < _INSIDE

    def away(self, x: Any, xp: Any = np) -> Any:
        """Return x, and a place where the function has values for those near the centre."""
        return xp.where(self.near(x), self.centre + self.radius, x)

    def filled(self, x: Any, found: Any, order: int = 0, xp: Any = np) -> Any:
        """Return `found`, the derivative of that order at x, with the series near the centre."""
        near = self.near(x)
        if xp is np and not np.any(near):
            return found
        s = xp.where(near, (x - self.centre) / self.radius, 0.0)
        return xp.where(near, self._sum(s, order), found)

    def _sum(self, s: Any, order: int) -> Any:
        series, total = list(self.coefficients), 0.0
        for _ in range(order):
            series = [k * c / self.radius for k, c in enumerate(series)][1:]
        for coefficient in reversed(series):
            total = total * s + coefficient
        return total

    def bounds(self, x: Interval, found: Any, order: int = 0) -> Interval:
        """Return `found`, between which bounds the derivative is on cells, with the series near."""
        near = self.near(x.low) & self.near(x.high)
        if not np.any(near):
            return found
        s = (
            (np.where(near, end, self.centre) - self.centre) / self.radius
            for end in (x.low, x.high)
        )
        known, found = self._sum(Interval(*s), order), Interval.of(found)
        rounding = _ROUNDED / self.radius**order * max(map(abs, self.coefficients))
        low, high = known.low - rounding, known.high + rounding
        return Interval(np.where(near, low, found.low), np.where(near, high, found.high))


@np.errstate(all="ignore")
def taylor(
    function: Callable[[Any], Any], centre: float, marks: np.ndarray | None = None
) -> Taylor | None:
    """Return the series of an analytic function, or None where it isn't analytic around there.

    Parameters
    ----------
    function
        Takes arrays of complex numbers and of floats.
    centre
        The gap at or next to which it may be 0/0.
    marks
        Further gaps at which the series must agree with the function, where it is near.
    """
    angles = 2.0 * np.pi * (np.arange(_POINTS) + 0.5) / _POINTS
    circle, inner = np.exp(1j * angles), 0.5 ** np.arange(1.0, 11.0)[:, None]
    turn = np.exp(-1j * np.pi * np.fft.fftfreq(_POINTS)) / _POINTS
    for radius in 0.5 ** np.arange(-3.0, 40.0):
        steps = 0.4 * 0.5 ** np.arange(8.0)
        if marks is not None:  # but at the centre itself
            there = (marks - centre) / radius
            near = (np.abs(there) > 1e-4) & (np.abs(there) < _INSIDE)
            steps = np.append(steps, there[near])
        values, real = function(centre + radius * circle), function(centre + radius * steps)
        size = np.abs(values).max()
        # Where it is much larger on the circle than inside, the series has fewer digits.
        if not (np.isfinite(size) and size <= 30 * np.abs(real).max()):
            continue
        found = np.fft.fft(values) * turn
        # Negative powers are a pole, imaginary parts a branch, late terms a singularity nearby.
        if max(np.abs(found[_TERMS:]).max(), np.abs(found.imag).max()) > 3e-13 * size:
            continue
        # An essential singularity, as in exp(-1/x**2), may look flat from afar; nearer, nothing is
        # larger than on the outer circle unless there is one.
        if not np.all(np.abs(function(centre + radius * inner * circle)) <= 2 * size):
            continue
        series = np.where(np.abs(found.real) > 1e-16 * size, found.real, 0.0)[:_TERMS]
        # Nearer the centre 0/0 has fewer digits, a third as many where it is x**3/x**3.
        off = np.abs(np.polyval(series[::-1], steps) - real)
        if np.all(off <= (1e-12 + 1e-14 / np.abs(steps) ** 3) * size):
            return Taylor(float(centre), float(radius), tuple(series.tolist()))
        return None
    return None
