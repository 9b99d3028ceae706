"""What every continuous part of a reward law can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.panels import doubling, first_edge, fitted
from collapse_theory.numerics.checks import answer, check_span, finite
from collapse_theory.values import Value

_Hook = Callable[[np.ndarray, bool], np.ndarray]


class Part(Value, ABC):
    """A density of total mass `mass` on [low, high]: what `Density` and `BetaDensity` share.

    A kind says, for points at a distance d from one end and no further than the seam between its
    two sides, how dense it is (`density`), how much mass is nearer (`mass_within`), the integral of
    that over all smaller distances (`area_within`), and within which distance a mass lies
    (`distance_holding`). Distances from the nearer end keep the accuracy that absolute positions
    lose where the density is infinite. All else follows here.

    Attributes
    ----------
    low, high : float
        Ends of the support.
    bounded_below : bool
        Whether `low` is the end of the support, and not where its tail is too thin to be seen.
    mass : float
        Integral of the density, positive.

    Examples
    --------
    >>> from collapse_theory.laws import BetaDensity
    >>> part = BetaDensity(0.5, 0.5)
    >>> part.name, part.mean, part.support
    ('Beta(1/2, 1/2)', 0.5, (0.0, 1.0))
    """

    low: float
    high: float
    mass: Any  # a field or a property
    bounded_below: bool = True

    @property
    @abstractmethod
    def mean(self) -> float:
        """Mean of the part taken as a law by itself."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""

    @property
    @abstractmethod
    def exponents(self) -> tuple[float, float]:
        """The powers p > -1 of the distance that it follows next to `low` and `high`."""

    @abstractmethod
    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """Return `factor` times the density, for factor > 0."""

    @abstractmethod
    def mirrored(self) -> Self:
        """Return the density of low + high - X."""

    @abstractmethod
    def knots(self) -> np.ndarray:
        """Return points, ends included, between which the density is smooth and bends little."""

    @abstractmethod
    def bound(self, low: float, high: float) -> float:
        """Return a number that the density nowhere in [low, high] exceeds."""

    @abstractmethod
    def density(self, d: np.ndarray, upper: bool) -> np.ndarray: ...

    @abstractmethod
    def mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray: ...

    @abstractmethod
    def area_within(self, d: np.ndarray, upper: bool) -> np.ndarray: ...

    @abstractmethod
    def distance_holding(self, target: np.ndarray, upper: bool) -> np.ndarray: ...

    @property
    def support(self) -> tuple[float, float]:
        """The ends (low, high) of the support."""
        return self.low, self.high

    @property
    def interval(self) -> str:
        """The support as text; infinite where `low` only cuts off a tail."""
        low = f"[{self.low:.4g}" if self.bounded_below else "(-inf"
        return f"{low}, {self.high:.4g}]"

    @property
    def name(self) -> str:
        """What the density is, where that has a name."""
        return "density"

    @property
    def _seam(self) -> float:
        """The distance from `low` from which on points are seen from `high`."""
        return 0.5 * (self.high - self.low)

    def from_end(self, d: np.ndarray, upper: bool) -> np.ndarray:
        """Return the density at any distances `d` from one end, those beyond the seam included."""
        width = self.high - self.low
        out, far = np.empty_like(d), d > (width - self._seam if upper else self._seam)
        out[~far] = self.density(d[~far], upper)
        if far.any():
            out[far] = self.density(np.maximum(width - d[far], 0.0), not upper)
        return out

    def pdf(self, x: Any) -> Any:
        """Return the density at `x`, 0 outside the support (it may be infinite at the ends)."""
        x = np.asarray(x, dtype=np.float64)
        inside = self._by_end(self.density, x)
        outside = (x < self.low) | (x > self.high)
        return answer(np.where(outside, 0.0, inside))

    def cdf(self, x: Any) -> Any:
        """Return the mass at or below `x`: exactly 0 below the support, exactly `mass` above."""
        x = np.asarray(x, dtype=np.float64)
        within = self._by_end(self.mass_within, x)
        return answer(np.where(self._upper(x), self.mass - within, within))

    def sf(self, x: Any) -> Any:
        """Return the mass above `x`: exactly `mass` below the support, exactly 0 above."""
        x = np.asarray(x, dtype=np.float64)
        within = self._by_end(self.mass_within, x)
        return answer(np.where(self._upper(x), within, self.mass - within))

    def integral(self, function: _Hook) -> float:
        """Return ∫ of the density times a function of the distance from an end, by panels.

        The function takes distances no further than the seam, and whether they are from `high`. It
        may grow at the ends as a logarithm does, and have kinks.
        """
        total = 0.0
        for upper in (False, True):

            def side(d: np.ndarray, upper: bool = upper) -> np.ndarray:
                held = self.density(d, upper)
                return held * np.where(held > 0.0, function(d, upper), 0.0)

            far = self.high - self.low - self._seam if upper else self._seam
            p, edges = self.exponents[upper], self._edges(upper)
            first = first_edge(side, far, p) if p else 0.0
            inner = edges[(edges > 2.0 * first) & (edges < far)]
            near = doubling(first, inner.min(initial=far)) if p else np.zeros(1)
            total += fitted(side, np.unique(np.concatenate([near, inner, [far]])), p).mass
        return total

    def expect(self, function: Callable[[np.ndarray], np.ndarray]) -> float:
        """Return ∫ function(x) pdf(x) dx."""
        return self.integral(lambda d, upper: function(self.high - d if upper else self.low + d))

    def _edges(self, upper: bool) -> np.ndarray:
        """Return distances from an end between which the density is smooth."""
        return self.high - self.knots() if upper else self.knots() - self.low

    def cdf_integral(self, x: Any) -> Any:
        """Return ∫ cdf(t) dt over t <= `x`: x cdf(x) less ∫ t pdf(t) dt over t <= x.

        It's put together from distances, so a law far from 0 loses nothing to cancellation.
        """
        x = np.asarray(x, dtype=np.float64)
        area = self._by_end(self.area_within, x)
        return answer(np.where(self._upper(x), area + self.mass * (x - self.mean), area))

    def ppf(self, m: Any) -> Any:
        """Return the location below which the mass `m` lies, for 0 <= m <= mass."""
        m = np.asarray(m, dtype=np.float64)
        if not ((m >= 0) & (m <= self.mass)).all():
            raise CollapseError(f"ppf takes masses between 0 and {self.mass!r}, got {m!r}")
        flat, seam = np.atleast_1d(m), self._seam
        lower = flat <= self.mass_within(np.array([seam]), False)
        target = np.where(lower, flat, self.mass - flat)
        out = np.empty_like(flat)
        for upper in (False, True):
            pick = lower != upper
            if pick.any():
                d = self.distance_holding(target[pick], upper)
                out[pick] = self.high - d if upper else self.low + d
        middle = self.low + seam
        out = np.where(lower, np.minimum(out, middle), np.maximum(out, middle))
        return answer(out.reshape(m.shape))

    def _upper(self, x: np.ndarray) -> np.ndarray:
        return x > self.low + self._seam

    def _distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance of `x` from the end that it is seen from, 0 outside the support."""
        d = np.where(self._upper(x), self.high - x, x - self.low)
        return np.maximum(d, 0.0)

    def _by_end(self, hook: _Hook, x: np.ndarray) -> np.ndarray:
        upper, d = np.atleast_1d(self._upper(x), self._distance(x))
        out = np.full_like(d, np.nan)
        for end in (False, True):
            pick = (upper == end) & ~np.isnan(d)
            if pick.any():
                out[pick] = hook(d[pick], end)
        return out.reshape(x.shape)

    def _set_ends(self) -> None:
        self._set(low=finite(self.low, "low"), high=finite(self.high, "high"))
        if not self.low < self.high:
            raise CollapseError(f"low must be below high, got {self.low} and {self.high}")
        check_span(self.low, self.high)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(on [{self.low:.6g}, {self.high:.6g}] of mass {self.mass:.6g})"
        )
