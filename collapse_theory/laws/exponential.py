"""Sums of hyperbolic cosines: the laws of sums of exponential utilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.olddensity import Density
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import check_map, finite, finite_array
from collapse_theory.values import frozen_array

__all__ = ["ExponentialSumDensity"]


@dataclass(frozen=True, eq=False, repr=False)
class ExponentialSumDensity(Density):
    """A constant and cosines hyperbolic about the middle of [low, high].

    pdf(x) = constant + sum_k weights_k cosh(rates_k (x - mid)) / cosh(rates_k (high - low) / 2)

    so a weight is its term's value at the two ends, and nothing overflows at any rate.

    Parameters
    ----------
    constant : float
        Constant part of the density.
    rates, weights : (k,) arrays
        Rates (positive) and weights (of either sign, while the density stays nonnegative).
    low, high : float
        Ends of the support.

    Raises
    ------
    CollapseError
        A ValueError, for rates that aren't positive, a density that is negative or without mass.

    Examples
    --------
    >>> from collapse_theory.laws import ExponentialSumDensity
    >>> part = ExponentialSumDensity(0.5, [3.0], [0.1], 0.0, 1.0)
    >>> round(part.pdf(1.0), 12), round(part.mass, 6)
    (0.6, 0.560343)
    """

    constant: float
    rates: Any
    weights: Any
    low: float = 0.0
    high: float = 1.0
    mass: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "constant", finite(self.constant, "constant"))
        for name in ("rates", "weights"):
            array = frozen_array(finite_array(getattr(self, name), name, 1))
            object.__setattr__(self, name, array)
        if self.rates.shape != self.weights.shape or not (self.rates > 0).all():
            raise CollapseError(
                f"one weight per positive rate is needed, got rates {self.rates} "
                f"and weights {self.weights}"
            )
        self._set_ends(self.low, self.high)
        self._set_mass(2.0 * float(self._mass_within(np.array([self._half]), False)[0]))

    @property
    def mean(self) -> float:
        """Mean of the part taken as a law by itself: the middle."""
        return self.low + self._half

    @property
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""
        h = self._half
        z = self.rates * h
        large = np.maximum(z, 1.0)
        t = np.tanh(large)
        exact = t / large - 2.0 / large**2 + 2.0 * t / large**3
        # The exact form cancels at small rates; there integrate y^2 cosh(z y) term by term.
        small = np.minimum(z, 1.0)
        j = np.arange(12)[:, None]
        terms = small ** (2 * j) / (special.factorial(2 * j) * (2 * j + 3))
        series = terms.sum(axis=0) / np.cosh(small)
        each = np.where(z > 1.0, exact, series)
        total = self.constant / 3.0 + float(self.weights @ each)
        return 2.0 * h**3 * total / self.mass

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        low, scale = check_map(low, scale)
        ends = low + scale * self.low, low + scale * self.high
        return type(self)(self.constant / scale, self.rates / scale, self.weights / scale, *ends)

    def _terms(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rate * d, exp(-rate (width - d)) and 1 + exp(-rate width), one row a term."""
        rates = self.rates[:, None]
        width = self.high - self.low
        return rates * d, np.exp(-rates * (width - d)), 1.0 + np.exp(-rates * width)

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        z, far, scale = self._terms(d)
        return self.constant + self.weights @ ((np.exp(-z) + far) / scale)

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        # sinh(rh) - sinh(r(h-d)), over cosh(rh), as a product: no cancellation at small d.
        z, far, scale = self._terms(d)
        return self.constant * d + (self.weights / self.rates) @ (
            -np.expm1(-z) * (1.0 + far) / scale
        )

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        # ∫ t e^(-rt) dt is P(2, rd) / r^2, P the incomplete gamma function, good at small rates.
        z, far, scale = self._terms(d)
        near = special.gammainc(2.0, z)
        each = (near + far * (-z * np.expm1(-z) - near)) / scale
        return 0.5 * self.constant * d**2 + (self.weights / self.rates**2) @ each
