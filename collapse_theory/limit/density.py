"""The density of a limit law: a weight at the ends times a series in a graded coordinate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.polynomial.chebyshev import chebval

from collapse_theory.laws.olddensity import Density
from collapse_theory.limit.coordinate import Grading
from collapse_theory.numerics.series import evaluate
from collapse_theory.values import frozen_array

__all__ = ["GradedDensity"]

_TAIL = 1e-15


@dataclass(frozen=True, eq=False, repr=False)
class GradedDensity(Density):
    """A symmetric density (x (1-x))^p sum_k coefficients_k T_k(2 sigma(x)^2 - 1) on [low, high].

    x is the position in units of the width, and sigma the coordinate of `limit.grading`, in which
    the layers of limit laws are smooth. The density is per unit of the position.

    Parameters
    ----------
    coefficients : (k,) array
        Chebyshev coefficients.
    power : float
        Exponent p > -1 of the weight; 0 where the density is finite at the ends.
    scale, order : float
        The grading: width of a layer (order inf), or root taken at an algebraic end.
    low, high : float
        Ends of the support.

    Raises
    ------
    CollapseError
        A ValueError, for a density that is negative or without mass.
    """

    coefficients: Any
    power: float = 0.0
    scale: float = 1.0
    order: float = math.inf
    low: float = 0.0
    high: float = 1.0
    mass: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", frozen_array(self.coefficients))
        self._set_ends(self.low, self.high)
        half = self._part(np.array([0.5]), 0)
        self._set_mass(float(2.0 * self._width * half[0] * 0.5 ** (1.0 + self.power)))

    @property
    def _width(self) -> float:
        return self.high - self.low

    @property
    def _grading(self) -> Grading:
        return Grading(self.scale, self.order)

    @property
    def mean(self) -> float:
        """Mean of the part taken as a law by itself: the middle."""
        return self.low + self._half

    @property
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""
        y, weight = self._grading.end_rule(np.array([0.5]), self.power, self._count)
        square = (weight * self._smooth(y) * (0.5 - y) ** 2).sum() * 0.5 ** (1.0 + self.power)
        return float(2.0 * self._width * square / self.mass) * self._width**2

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        ends = low + scale * self.low, low + scale * self.high
        fields = self.power, self.scale, self.order
        return type(self)(self.coefficients / scale, *fields, *ends)

    @property
    def _count(self) -> int:
        return self.coefficients.size + 24

    def _smooth(self, y: np.ndarray) -> np.ndarray:
        """Return the density over x**power, for distances `y` in units of the width."""
        c = 1.0 - y
        smooth = evaluate(self.coefficients, self._grading.sigma(y, c))
        return smooth * c**self.power if self.power else smooth

    def _part(self, x: np.ndarray, moment: int) -> np.ndarray:
        """Return ∫_0^x y^moment density dy over x^(1 + power + moment), in units of the width."""
        y, weight = self._grading.end_rule(x, self.power + moment, self._count)
        return (weight * self._smooth(y)).sum(axis=1)

    @cached_property
    def _series(self) -> tuple[np.ndarray, np.ndarray]:
        """Chebyshev series in 2 sigma - 1 of `_part`, which is smooth where the density is."""
        return self._fitted(lambda x: self._part(x, 0)), self._fitted(lambda x: self._part(x, 1))

    def _fitted(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        count = 32
        while True:
            angle = (np.arange(count) + 0.5) * (np.pi / count)
            values = function(self._grading.place(0.5 + 0.5 * np.cos(angle)))
            k = np.arange(count)
            series = (2.0 / count) * np.cos(np.outer(k, angle)) @ values
            series[0] *= 0.5
            tail = np.abs(series[-4:]).max() / np.abs(series).max()
            if tail < _TAIL * count or count >= 1024:
                return series
            count *= 2

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        x = d / self._width
        with np.errstate(divide="ignore"):
            return self._smooth(x) * x**self.power if self.power else self._smooth(x)

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._width * self._integral(d / self._width, 0)

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._width**2 * self._integral(d / self._width, 1)

    def _integral(self, x: np.ndarray, moment: int) -> np.ndarray:
        s = 2.0 * self._grading.sigma(x, 1.0 - x) - 1.0
        return chebval(s, self._series[moment]) * x ** (1.0 + self.power + moment)

    def _bracket(
        self, target: np.ndarray, upper: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high, start = super()._bracket(target, upper)
        # Exact for the weight alone.
        share = np.clip(start / high, 0.0, 1.0) ** (1.0 / (1.0 + self.power))
        return low, high, np.maximum(high * share, 1e-300)
