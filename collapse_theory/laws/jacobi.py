"""Jacobi series: densities with a power of the distance at both ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.olddensity import Density
from collapse_theory.laws.recurrence import (
    end_values,
    integral_from_end,
    reflected,
    times_coordinate,
    ultraspherical_sum,
)
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import check_map, finite, finite_array
from collapse_theory.values import frozen_array

__all__ = ["JacobiDensity"]


@dataclass(frozen=True, eq=False, repr=False)
class JacobiDensity(Density):
    """A weight (1-s^2)^p times a series of Jacobi polynomials on [low, high].

    pdf(x) = (1-s^2)^p sum_k coefficients_k P_k^{(p,p)}(s),  s = (2x - low - high) / (high - low)

    The density is per unit of x, so the mass is (high - low) / 2 times the integral over s.

    Parameters
    ----------
    p : float
        Exponent at both ends, above -1; 0 makes it a Legendre series.
    coefficients : (k,) array
        Coefficients of P_k^{(p,p)} in its standard norm.
    low, high : float
        Ends of the support.

    Raises
    ------
    CollapseError
        A ValueError, for p <= -1, no coefficients, a density that is negative or without mass.

    Examples
    --------
    >>> from collapse_theory.laws import JacobiDensity
    >>> semicircle = JacobiDensity(0.5, [0.5], -2.0, 2.0)
    >>> round(semicircle.mass, 12), round(semicircle.variance, 12)
    (1.570796326795, 1.0)
    """

    p: float
    coefficients: Any
    low: float = 0.0
    high: float = 1.0
    mass: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", finite(self.p, "p"))
        if self.p <= -1:
            raise CollapseError(f"p must be above -1 for the density to have a mass, not {self.p}")
        array = frozen_array(finite_array(self.coefficients, "coefficients", 1))
        object.__setattr__(self, "coefficients", array)
        if array.size == 0:
            raise CollapseError("a JacobiDensity needs at least one coefficient")
        self._set_ends(self.low, self.high)
        self._set_mass(self._half * self._weight_mass * float(array[0]))

    @property
    def _weight_mass(self) -> float:
        return float(2.0 ** (2 * self.p + 1) * special.beta(self.p + 1, self.p + 1))

    @cached_property
    def _series(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients in the norm R_k(1) = 1, as seen from the lower and from the upper end."""
        a = self.coefficients * end_values(self.coefficients.size, self.p)
        return reflected(a), a

    @cached_property
    def _moment_series(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of (1 - t) times the density: t measured towards the end in question."""
        below, above = self._series
        return -times_coordinate(below, self.p, 1.0), -times_coordinate(above, self.p, 1.0)

    @property
    def _center(self) -> float:
        a = self._series[True]
        return float(a[1] / (a[0] * (2 * self.p + 3))) if a.size > 1 else 0.0

    @property
    def mean(self) -> float:
        """Mean of the part taken as a law by itself."""
        return self.low + self._half * (1.0 + self._center)

    @property
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""
        a = self._series[True]
        centered = times_coordinate(a, self.p, self._center)
        squared = times_coordinate(centered, self.p, self._center)
        return float(self._half**2 * squared[0] / a[0])

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        low, scale = check_map(low, scale)
        ends = low + scale * self.low, low + scale * self.high
        return type(self)(self.p, self.coefficients / scale, *ends)

    def _bracket(
        self, target: np.ndarray, upper: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # The inverse for the weight alone is right at the end but for a factor.
        low, high, start = super()._bracket(target, upper)
        weight = special.betaincinv(self.p + 1, self.p + 1, np.minimum(0.5 * start / high, 0.5))
        return low, high, np.clip(2.0 * high * weight, 1e-300, high)

    def _knots(self) -> np.ndarray:
        # A polynomial of degree k turns about once between two of k+1 Chebyshev points.
        angles = np.linspace(0.0, 0.5 * np.pi, self.coefficients.size + 1)
        inner = self.low + 2.0 * self._half * np.sin(angles[1:-1]) ** 2
        return np.concatenate([[self.low], inner, [self.high]])

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        delta = d / self._half
        with np.errstate(divide="ignore"):
            weight = (delta * (2.0 - delta)) ** self.p
        return weight * ultraspherical_sum(self._series[upper], delta, self.p)

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._half * self._integral(self._series[upper], d / self._half)

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._half**2 * self._integral(self._moment_series[upper], d / self._half)

    def _integral(self, a: np.ndarray, delta: np.ndarray) -> np.ndarray:
        of_weight = self._weight_mass * special.betainc(self.p + 1, self.p + 1, 0.5 * delta)
        return integral_from_end(a, delta, self.p, of_weight)
