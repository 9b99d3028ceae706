"""The densities on an interval as seen from one of its ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.laws.olddensity import Density

__all__ = ["View"]


@dataclass(frozen=True, eq=False)
class View:
    """The sum of `parts` on [low, high], by the distance from `low`, or if `upper` from `high`.

    Each part covers the whole interval. Where it begins at the very end that is looked from, its
    mass near that end has full relative accuracy; where it begins further out, absolute accuracy.
    """

    parts: tuple[Density, ...]
    low: float
    high: float
    upper: bool

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    @property
    def flush(self) -> bool:
        """Whether every part begins at the end looked from."""
        return all(self._start(part) == 0.0 for part in self.parts)

    def density(self, d: np.ndarray) -> np.ndarray:
        """Return the density at the distances `d`."""
        return self._sum(d, _density)

    def mass(self, d: np.ndarray) -> np.ndarray:
        """Return the mass between the end and the distances `d`."""

        def within(part: Density, s: np.ndarray, upper: bool) -> np.ndarray:
            start = np.array([self._start(part)])
            before = _mass(part, start, upper) if start[0] > 0 else 0.0
            return _mass(part, s, upper) - before

        return self._sum(d, within)

    def first(self, d: float) -> tuple[float, float]:
        """Return mass and distance times mass nearer than a small distance `d`."""
        at, mass, moment = np.array([d]), 0.0, 0.0
        for part in self.parts:
            if self._start(part) == 0.0:
                mass += float(part._mass_within(at, self.upper)[0])
                moment += float(part._moment_within(at, self.upper)[0])
            else:  # A difference of two masses would be rounding alone.
                height = float(_density(part, self._start(part) + 0.5 * at, self.upper)[0])
                mass, moment = mass + height * d, moment + 0.5 * height * d**2
        return mass, moment

    def knots(self) -> np.ndarray:
        """Return the distances strictly within the interval of the parts' knots."""
        places = np.concatenate([part.knots() for part in self.parts])
        d = np.unique(self.high - places if self.upper else places - self.low)
        return d[(d > 0) & (d < self.width)]

    def _start(self, part: Density) -> float:
        """Return how far beyond the end looked from the part begins."""
        return part.high - self.high if self.upper else self.low - part.low

    def _sum(
        self, d: np.ndarray, function: Callable[[Density, np.ndarray, bool], np.ndarray]
    ) -> np.ndarray:
        out = np.zeros_like(d)
        for part in self.parts:
            out += function(part, self._start(part) + d, self.upper)
        return out


def _density(part: Density, s: np.ndarray, upper: bool) -> np.ndarray:
    """Return a part's density at any distance `s` from one of its ends."""
    out, far = np.empty_like(s), s > 0.5 * (part.high - part.low)
    out[~far] = part._density(s[~far], upper)
    if far.any():
        out[far] = part._density(np.maximum(part.high - part.low - s[far], 0.0), not upper)
    return out


def _mass(part: Density, s: np.ndarray, upper: bool) -> np.ndarray:
    """Return a part's mass within any distance `s` of one of its ends."""
    out, far = np.empty_like(s), s > 0.5 * (part.high - part.low)
    out[~far] = part._mass_within(s[~far], upper)
    if far.any():
        rest = np.maximum(part.high - part.low - s[far], 0.0)
        out[far] = part.mass - part._mass_within(rest, not upper)
    return out
