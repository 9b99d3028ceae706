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

_POINTS, _TERMS = 64, 24
# Within this part of the radius the 24 terms of the series have 16 digits, and U'' 13.
_INSIDE = 0.25


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
        s, total = xp.where(near, (x - self.centre) / self.radius, 0.0), 0.0
        series = list(self.coefficients)
        for _ in range(order):
            series = [k * c / self.radius for k, c in enumerate(series)][1:]
        for coefficient in reversed(series):
            total = total * s + coefficient
        return xp.where(near, total, found)


def taylor(function: Callable[[Any], Any], centre: float) -> Taylor | None:
    """Return the series of an analytic function, or None where it isn't analytic around there.

    Parameters
    ----------
    function
        Takes arrays of complex numbers and of floats.
    centre
        The gap at or next to which it may be 0/0.
    """
    angles = 2.0 * np.pi * (np.arange(_POINTS) + 0.5) / _POINTS
    for radius in 0.5 ** np.arange(0.0, 40.0):
        steps = 0.4 * 0.5 ** np.arange(8.0)
        checked = centre + radius * steps
        with np.errstate(all="ignore"):
            values = function(centre + radius * np.exp(1j * angles))
            real = function(checked)
        size = np.abs(values).max()
        if not np.isfinite(size):
            continue
        k = np.fft.fftfreq(_POINTS, 1.0 / _POINTS)
        found = np.fft.fft(values) / _POINTS * np.exp(-1j * np.pi * k / _POINTS)
        # Negative powers are a pole, imaginary parts a branch, late terms a singularity nearby.
        if max(np.abs(found[_TERMS:]).max(), np.abs(found.imag).max()) > 3e-13 * size:
            continue
        made = Taylor(float(centre), float(radius), tuple(found.real[:_TERMS].tolist()))
        # Nearer the centre 0/0 has fewer digits, a third as many where it is x**3/x**3.
        series = np.polynomial.polynomial.polyval((checked - centre) / radius, found.real[:_TERMS])
        off = np.abs(series - real)
        return made if np.all(off <= (1e-12 + 1e-14 / steps**3) * size) else None
    return None
