"""Beta densities, the uniform one among them, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from collapse_theory.laws.part import Part
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import check_map, positive
from collapse_theory.numerics.roots import invert_increasing

# Below this share of the mass the quantile comes from the package's own solver.
_TINY_SHARE = 1e-12
# A bump narrower than this share of the support is framed by knots, at these deviations from the
# mean: between them any rule sees it.
_NARROW_SHARE, _FRAME_DEVIATIONS = 0.1, np.array([-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0])


@dataclass(frozen=True, eq=False, repr=False)
class BetaDensity(Part):
    """The density of a Beta(a, b) law on [low, high], with a mass of its own.

    pdf(x) = mass u^(a-1) (1-u)^(b-1) / (B(a, b) (high - low)),  u = (x - low) / (high - low)

    Parameters
    ----------
    a, b : float
        Exponents at `low` and `high`, positive; 1 and 1 make it uniform.
    low, high : float
        Ends of the support.
    mass : float
        Total mass, positive.

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
        super().__post_init__()
        self._set(**{name: positive(getattr(self, name), name) for name in ("a", "b", "mass")})
        self._set_ends()

    @property
    def name(self) -> str:
        """The family and its exponents, as fractions where they are simple ones."""
        return "uniform" if self.a == self.b == 1 else f"Beta({_short(self.a)}, {_short(self.b)})"

    @property
    def mean(self) -> float:
        return self.low + (self.high - self.low) * self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        total = self.a + self.b
        return (self.high - self.low) ** 2 * (self.a / total) * (self.b / total) / (total + 1)

    @property
    def exponents(self) -> tuple[float, float]:
        return self.a - 1.0, self.b - 1.0

    def mapped(self, low: float, scale: float) -> Self:
        low, scale = check_map(low, scale)
        ends = low + scale * self.low, low + scale * self.high
        return type(self)(self.a, self.b, *ends, self.mass)

    def scaled(self, factor: float) -> Self:
        mass = self.mass * positive(factor, "factor")
        return type(self)(self.a, self.b, self.low, self.high, mass)

    def mirrored(self) -> Self:
        return type(self)(self.b, self.a, self.low, self.high, self.mass)

    def knots(self) -> np.ndarray:
        ends, deviation = np.array([self.low, self.high]), self.variance**0.5
        if deviation > _NARROW_SHARE * (self.high - self.low):
            return ends
        frame = self.mean + deviation * _FRAME_DEVIATIONS
        return np.unique(np.concatenate([ends, frame.clip(self.low, self.high)]))

    def bound(self, low: float, high: float) -> float:
        low, high = max(low, self.low), min(high, self.high)
        if not low <= high:
            return 0.0
        places, bend = [low, high], self.a + self.b - 2.0
        if bend != 0.0:  # one turning point at most, its mode or its lowest point
            turn = self.low + (self.high - self.low) * (self.a - 1.0) / bend
            if low < turn < high:
                places.append(turn)
        return float(np.max(self.pdf(np.array(places))))

    def _exponents(self, upper: bool) -> tuple[float, float]:
        return (self.b, self.a) if upper else (self.a, self.b)

    def density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        u = d / (self.high - self.low)
        logarithm = special.xlogy(a - 1, u) + special.xlog1py(b - 1, -u) - special.betaln(a, b)
        with np.errstate(over="ignore"):  # at the last denormal numbers the density is infinite
            return self.mass / (self.high - self.low) * np.exp(logarithm)

    def mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        return self.mass * special.betainc(a, b, d / (self.high - self.low))

    def area_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        width = self.high - self.low
        moment = self.mass * width * a / (a + b) * special.betainc(a + 1, b, d / width)
        return np.maximum(d * self.mass_within(d, upper) - moment, 0.0)

    def distance_holding(self, target: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        share = target / self.mass
        d = (self.high - self.low) * special.betaincinv(a, b, np.maximum(share, _TINY_SHARE))
        # SciPy 1.17 answers NaN or nonsense for many shares below 1e-20 (a = 5, share = 1e-165).
        tiny = share < _TINY_SHARE
        if tiny.any():
            d[tiny] = self._tiny_distance(target[tiny], upper)
        return d

    def _tiny_distance(self, target: np.ndarray, upper: bool) -> np.ndarray:
        a, b = self._exponents(upper)
        half = np.full_like(target, 0.5 * (self.high - self.low))
        # Near the end the mass within d is mass (d / width)^a / (a B(a, b)).
        with np.errstate(divide="ignore"):
            logarithm = np.log(target / self.mass) + np.log(a) + special.betaln(a, b)
        start = np.minimum(2.0 * half * np.exp(np.minimum(logarithm / a, 0.0)), half)

        def evaluate(d: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self.mass_within(d, upper), self.density(d, upper)

        return invert_increasing(evaluate, target, np.zeros_like(half), half, start)

    def __repr__(self) -> str:
        return (
            f"BetaDensity(a={self.a:.6g}, b={self.b:.6g}, low={self.low:.6g}, "
            f"high={self.high:.6g}, mass={self.mass:.6g})"
        )


def _short(number: float) -> str:
    near = Fraction(number).limit_denominator(9)
    return str(near) if abs(float(near) - number) <= 2.0**-51 * number else f"{number:.6g}"
