"""Beta densities, the uniform one among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from collapse_theory.laws.olddensity import Density
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import check_map, positive

__all__ = ["BetaDensity"]

# Below this share of the mass the quantile comes from the package's own solver.
_TINY = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class BetaDensity(Density):
    """The density of a Beta(a, b) law on [low, high], with a mass of its own.

    pdf(x) = mass u^(a-1) (1-u)^(b-1) / (B(a, b) (high - low)),  u = (x - low) / (high - low)

    Parameters
    ----------
    a, b : float
        Exponents at `low` and `high`, positive; 1 and 1 make it uniform.
    low, high : float
        Ends of the support.
    mass : float
        Total mass.

    Raises
    ------
    CollapseError
        A ValueError, for exponents or a mass that aren't positive, or low >= high.

    Examples
    --------
    >>> from collapse_theory.laws import BetaDensity
    >>> arcsine = BetaDensity(0.5, 0.5)
    >>> round(arcsine.cdf(0.25), 12)
    0.333333333333
    """

    a: float
    b: float
    low: float = 0.0
    high: float = 1.0
    mass: float = 1.0

    def __post_init__(self) -> None:
        for name in ("a", "b", "mass"):
            object.__setattr__(self, name, positive(getattr(self, name), name))
        self._set_ends(self.low, self.high)

    @property
    def mean(self) -> float:
        """Mean of the part taken as a law by itself."""
        return self.low + (self.high - self.low) * self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""
        total = self.a + self.b
        return (self.high - self.low) ** 2 * (self.a / total) * (self.b / total) / (total + 1)

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        low, scale = check_map(low, scale)
        ends = low + scale * self.low, low + scale * self.high
        return type(self)(self.a, self.b, *ends, self.mass)

    def _exponents(self, upper: bool) -> tuple[float, float]:
        return (self.b, self.a) if upper else (self.a, self.b)

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        u = d / (self.high - self.low)
        logarithm = special.xlogy(a - 1, u) + special.xlog1py(b - 1, -u) - special.betaln(a, b)
        with np.errstate(over="ignore"):  # at the last denormal numbers the density is infinite
            return self.mass / (self.high - self.low) * np.exp(logarithm)

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        return self.mass * special.betainc(a, b, d / (self.high - self.low))

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        width = self.high - self.low
        return self.mass * width * a / (a + b) * special.betainc(a + 1, b, d / width)

    def _distance_holding(self, target: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        share = target / self.mass
        d = (self.high - self.low) * special.betaincinv(a, b, np.maximum(share, _TINY))
        # SciPy 1.17 answers NaN or nonsense for many shares below 1e-20 (a = 5, share = 1e-165).
        tiny = share < _TINY
        if tiny.any():
            d[tiny] = super()._distance_holding(target[tiny], upper)
        return d

    def _bracket(
        self, target: np.ndarray, upper: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Near the end the mass within d is mass (d / width)^a / (a B(a, b)).
        a, b = self._exponents(upper)
        low, high, _ = super()._bracket(target, upper)
        with np.errstate(divide="ignore"):
            logarithm = np.log(target / self.mass) + np.log(a) + special.betaln(a, b)
        return low, high, np.minimum(2.0 * high * np.exp(np.minimum(logarithm / a, 0.0)), high)

    def __repr__(self) -> str:
        return (
            f"BetaDensity(a={self.a:.6g}, b={self.b:.6g}, low={self.low:.6g}, "
            f"high={self.high:.6g}, mass={self.mass:.6g})"
        )
