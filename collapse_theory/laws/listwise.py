"""The density of Plackett-Luce rewards under a penalty: bounded above, with a Gaussian tail."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.laws.olddensity import Density
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import check_map, finite, positive

__all__ = ["ListwiseDensity"]

TAIL = 2.0**-60  # the mass below `low`: less than rounding in the total
FEW = 20  # nodes where the density changes by a few e-folds
MANY = 120  # nodes for the variance, over some forty e-folds


@cache
def _nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


@dataclass(frozen=True, eq=False, repr=False)
class ListwiseDensity(Density):
    """The law of origin + scale X, where X has mean 0 and on (-inf, 1/(2 kappa)] the density

    K (1 + 2 kappa - 2 kappa x) exp(2 kappa x - kappa x**2) = K (g + g'),  g = exp(2kx - kx**2).

    As kappa grows 2 kappa X tends to 1 - E, with E exponential of mean 1; as it falls
    sqrt(2 kappa) X tends to a standard normal variable. The support has no lower end: `low` is
    where a mass of 2**-60 is left, which doesn't show in float64.

    Parameters
    ----------
    kappa : float
        Positive.
    origin, scale : float
        The mean, and the positive factor of X.

    Raises
    ------
    CollapseError
        A ValueError, for a kappa or a scale that isn't positive.

    Examples
    --------
    >>> from collapse_theory.laws import ListwiseDensity
    >>> part = ListwiseDensity(0.5)
    >>> part.high, round(part.variance, 6), round(part.cdf(0.0), 6)
    (1.0, 0.443791, 0.445664)
    """

    kappa: float
    origin: float = 0.0
    scale: float = 1.0
    low: float = field(init=False)
    high: float = field(init=False)
    mass: float = field(init=False, default=1.0)
    bounded_below = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", positive(self.kappa, "kappa"))
        object.__setattr__(self, "origin", finite(self.origin, "origin"))
        object.__setattr__(self, "scale", positive(self.scale, "scale"))
        high = self.origin + self.scale * (0.5 / self.kappa)
        self._set_ends(high - self.scale * self._reach, high)

    @property
    def mean(self) -> float:
        """Mean of the law: the origin."""
        return self.origin

    @property
    def variance(self) -> float:
        """Second moment about `mean`: 1/(2 kappa) - 1 + K g(1/(2 kappa)), times scale**2."""
        top = 0.5 / self.kappa
        if self.kappa < 2:
            return self.scale**2 * (top - 1.0 + self._top)
        # The terms above cancel for large kappa.
        nodes, weights = _nodes(MANY)
        v = 0.5 * self._reach * (nodes + 1.0)
        square = (weights * self._at(v)) @ (v - top) ** 2
        return self.scale**2 * float(0.5 * self._reach * square)

    @property
    def log_factor(self) -> float:
        """The logarithm of K, the factor of the density of X."""
        if self._peak >= 0:
            return math.log(self._crown) - self.kappa
        return math.log(self._top) - 1.0 + 0.25 / self.kappa

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        low, scale = check_map(low, scale)
        return type(self)(self.kappa, low + scale * self.origin, scale * self.scale)

    # In v = 1/(2 kappa) - x, the distance from the top, g is `_top` times
    # h(v) = exp((1-2k) v - k v**2) = exp(k peak**2 - k (v - peak)**2), the density
    # 2 k (1+v) h = h - h', and its integrals are those of h.

    @property
    def _peak(self) -> float:
        """Where h is largest; negative where it falls from the top on."""
        return (0.5 - self.kappa) / self.kappa

    @cached_property
    def _gauss(self) -> float:
        """Half the integral of exp(-k v**2)."""
        return 0.5 * math.sqrt(math.pi / self.kappa)

    @cached_property
    def _crown(self) -> float:
        """K times the largest g where that is below the top."""
        z = math.sqrt(self.kappa) * self._peak
        return 1.0 / (math.exp(-(z**2)) + self._gauss * float(special.erfc(-z)))

    @cached_property
    def _top(self) -> float:
        """K g(1/(2 kappa)), the share of the mass that is g' and not g."""
        z = math.sqrt(self.kappa) * self._peak
        if z >= 0:
            return self._crown * math.exp(-(z**2))
        return 1.0 / (1.0 + self._gauss * float(special.erfcx(-z)))

    def _weighed(self, v: np.ndarray) -> np.ndarray:
        """Return K g."""
        k = self.kappa
        if self._peak >= 0:
            return self._crown * np.exp(-k * (v - self._peak) ** 2)
        return self._top * np.exp((1.0 - 2.0 * k) * v - k * v**2)

    def _at(self, v: np.ndarray) -> np.ndarray:
        return 2.0 * self.kappa * (1.0 + v) * self._weighed(v)

    def _beyond(self, v: np.ndarray) -> np.ndarray:
        """Return the mass further from the top than `v`, in full relative accuracy."""
        z = math.sqrt(self.kappa) * (v - self._peak)
        far = self._weighed(v) * special.erfcx(np.maximum(z, 0.0))
        if self._peak > 0:
            far = np.where(z < 0, self._crown * special.erfc(np.minimum(z, 0.0)), far)
        return self._weighed(v) + self._gauss * far

    def _within(self, v: np.ndarray) -> np.ndarray:
        """Return the mass nearer to the top than `v`."""
        root = math.sqrt(self.kappa)
        z = root * (v - self._peak)
        out = 1.0 - self._beyond(v)
        if self._peak > 0:
            # By erfcx(-z), as the far side of a Gaussian is lost in its whole.
            rising = self._weighed(v) * (self._gauss * special.erfcx(np.maximum(-z, 0.0)) - 1.0)
            first = self._top * (self._gauss * special.erfcx(root * self._peak) - 1.0)
            out = np.where(z < 0, np.maximum(rising - first, 0.0), out)
        return np.where(self._near(v), self._summed(v, 0), out)

    def _near(self, v: np.ndarray) -> np.ndarray:
        """Whether the density changes so little up to `v` that a few nodes integrate it."""
        return abs(1.0 - 2.0 * self.kappa) * v + self.kappa * v**2 <= 2.0

    def _summed(self, v: np.ndarray, moment: int) -> np.ndarray:
        nodes, weights = _nodes(FEW)
        t = np.where(self._near(v), v, 0.0)[..., None] * (0.5 * (nodes + 1.0))
        return 0.5 * v * (self._at(t) * t**moment * weights).sum(axis=-1)

    def _moment(self, v: np.ndarray) -> np.ndarray:
        """Return the distance from the top times mass up to `v`."""
        plain = self._within(v) / (2.0 * self.kappa) - v * self._weighed(v)
        return np.where(self._near(v), self._summed(v, 1), plain)

    @cached_property
    def _reach(self) -> float:
        """The distance from the top beyond which the mass `TAIL` lies."""
        low, high = 0.0, 1.0 / math.sqrt(self.kappa) + max(self._peak, 0.0)
        while float(self._beyond(np.array(high))) > TAIL:
            low, high = high, 2.0 * high
        for _ in range(60):
            middle = 0.5 * (low + high)
            more = float(self._beyond(np.array(middle))) > TAIL
            low, high = (middle, high) if more else (low, middle)
        return high

    def _from_top(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return d / self.scale if upper else np.maximum(self._reach - d / self.scale, 0.0)

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._at(self._from_top(d, upper)) / self.scale

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        v = self._from_top(d, upper)
        if upper:
            return self._within(v)
        return np.maximum(self._beyond(v) - self._beyond(np.array(self._reach)), 0.0)

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        v = self._from_top(d, upper)
        if upper:
            return self.scale * self._moment(v)
        within = self._mass_within(d, False)
        last = self._reach * self._weighed(np.array(self._reach))
        moment = within / (2.0 * self.kappa) + v * self._weighed(v) - last
        return self.scale * np.maximum(self._reach * within - moment, 0.0)

    def __repr__(self) -> str:
        scaled: Any = "" if self.scale == 1 else f", scale={self.scale:.6g}"
        placed = "" if self.origin == 0 else f", origin={self.origin:.6g}"
        return f"ListwiseDensity(kappa={self.kappa:.6g}{placed}{scaled})"
