"""What every continuous part of a reward law can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.part import Part
from collapse_theory.numerics.checks import answer, finite
from collapse_theory.numerics.roots import invert_increasing

__all__ = ["Density"]

_Hook = Callable[[np.ndarray, bool], np.ndarray]


class Density(Part, ABC):
    """A density of total mass `mass` on [low, high]: the base of the kinds of continuous part.

    A kind says, for points at a distance d from one end and no further than the middle, how dense
    it is (`_density`), how much mass is nearer (`_mass_within`), and how much distance times mass
    (`_moment_within`). Distances from the nearer end keep the accuracy that absolute positions
    lose where the density is infinite. All else follows here.

    Attributes
    ----------
    low, high : float
        Ends of the support.
    mass : float
        Integral of the density, positive.
    mean : float
        Mean of the part taken as a law by itself: ∫ x pdf(x) dx / mass.
    variance : float
        Second central moment of the part taken as a law by itself.
    """

    low: float
    high: float
    mass: float
    # Whether `low` is the end of the support, and not where its tail has become too thin to see.
    bounded_below = True

    @property
    @abstractmethod
    def mean(self) -> float:
        """Mean of the part taken as a law by itself."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""

    @abstractmethod
    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""

    @abstractmethod
    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        """Return the density at the distances `d` from an end."""

    @abstractmethod
    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        """Return the mass nearer to an end than `d`."""

    @abstractmethod
    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        """Return the distance times mass nearer to an end than `d`."""

    def _bracket(
        self, target: np.ndarray, upper: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return low, high and first guess of the distance that holds the mass `target`."""
        half = np.full_like(target, self._half)
        whole = self._mass_within(half[:1], upper)
        return np.zeros_like(target), half, half * np.minimum(target / whole, 1.0)

    @property
    def exponents(self) -> tuple[float, float]:
        raise NotImplementedError

    def scaled(self, factor: float) -> Self:
        raise NotImplementedError

    def mirrored(self) -> Self:
        raise NotImplementedError

    def knots(self) -> np.ndarray:
        return self._knots()

    def bound(self, low: float, high: float) -> float:
        raise NotImplementedError

    def _knots(self) -> np.ndarray:
        """Return points, ends included, between which the density is smooth and bends little."""
        return np.array([self.low, self.high])

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
    def _half(self) -> float:
        return 0.5 * (self.high - self.low)

    def pdf(self, x: Any) -> Any:
        """Return the density at `x`, 0 outside the support (it may be infinite at the ends)."""
        x = np.asarray(x, dtype=np.float64)
        inside = self._by_end(self._density, x)
        outside = (x < self.low) | (x > self.high)
        return answer(np.where(outside, 0.0, inside))

    def cdf(self, x: Any) -> Any:
        """Return the mass at or below `x`: exactly 0 below the support, exactly `mass` above."""
        x = np.asarray(x, dtype=np.float64)
        within = self._by_end(self._mass_within, x)
        return answer(np.where(self._upper(x), self.mass - within, within))

    def partial_mean(self, x: Any) -> Any:
        """Return ∫ t pdf(t) dt over t <= `x`; at `high` it is mass times mean."""
        x = np.asarray(x, dtype=np.float64)
        within = self._by_end(self._mass_within, x)
        moment = self._by_end(self._moment_within, x)
        above = self.mass * self.mean - (self.high * within - moment)
        return answer(np.where(self._upper(x), above, self.low * within + moment))

    def cdf_integral(self, x: Any) -> Any:
        """Return ∫ cdf(t) dt over t <= `x`, which is x cdf(x) - partial_mean(x).

        It's put together from distances, so a law far from 0 loses nothing to cancellation.
        """
        x = np.asarray(x, dtype=np.float64)
        d = self._distance(x)
        within = self._by_end(self._mass_within, x)
        area = d * within - self._by_end(self._moment_within, x)
        above = area + self.mass * (x - self.mean)
        return answer(np.where(self._upper(x), above, np.maximum(area, 0.0)))

    def ppf(self, m: Any) -> Any:
        """Return the location below which the mass `m` lies, for 0 <= m <= mass.

        Raises
        ------
        CollapseError
            A ValueError, if `m` is negative, above `mass` or NaN.
        """
        m = np.asarray(m, dtype=np.float64)
        if not ((m >= 0) & (m <= self.mass)).all():
            raise CollapseError(f"ppf takes masses between 0 and {self.mass!r}, got {m!r}")
        flat = np.atleast_1d(m)
        lower = flat <= self._mass_within(np.array([self._half]), False)
        target = np.where(lower, flat, self.mass - flat)
        out = np.empty_like(flat)
        for upper in (False, True):
            pick = lower != upper
            if pick.any():
                d = np.minimum(self._distance_holding(target[pick], upper), self._half)
                out[pick] = self.high - d if upper else self.low + d
        return answer(out.reshape(m.shape))

    def _distance_holding(self, target: np.ndarray, upper: bool) -> np.ndarray:
        def evaluate(d: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self._mass_within(d, upper), self._density(d, upper)

        low, high, start = self._bracket(target, upper)
        return invert_increasing(evaluate, target, low, high, start)

    def _upper(self, x: np.ndarray) -> np.ndarray:
        return x > self.low + self._half

    def _distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance of `x` from the nearer end, 0 outside the support."""
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

    def _set_ends(self, low: Any, high: Any) -> None:  # pyright: ignore
        object.__setattr__(self, "low", finite(low, "low"))
        object.__setattr__(self, "high", finite(high, "high"))
        if not self.low < self.high:
            raise CollapseError(f"low must be below high, got {self.low} and {self.high}")

    def _set_mass(self, mass: float) -> None:
        """Set a derived mass, and refuse a density that can't be one."""
        object.__setattr__(self, "mass", mass)
        if not (mass > 0 and np.isfinite(mass)):
            raise CollapseError(f"the density has the mass {mass}; it must be positive and finite")
        # A sample: it catches a sign error, and lets the rounding of a solver pass.
        d = self._half * np.sin(np.linspace(0.02, 0.5 * np.pi, 17)) ** 2
        least = min(self._density(d, False).min(), self._density(d, True).min())
        if not least >= -1e-3 * mass / (2 * self._half):
            raise CollapseError(f"the density is negative or NaN somewhere: {least}")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(on [{self.low:.6g}, {self.high:.6g}] of mass {self.mass:.6g})"
        )
