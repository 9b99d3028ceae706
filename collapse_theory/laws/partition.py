"""A law cut at its atoms and at the ends of its densities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from collapse_theory.laws.atoms import running_sum
from collapse_theory.laws.law import RewardLaw
from collapse_theory.laws.part import Part

__all__ = ["Partition"]


@dataclass(frozen=True, eq=False)
class Partition:
    """The points of a law where it may have an atom or change its densities, and the gaps between.

    Attributes
    ----------
    points, masses : (p,) array
        The points and the masses of the atoms there, 0 where there is none.
    inner : (p-1,) array
        Masses between neighbouring points.
    parts : tuple of tuple of Density
        The densities over each gap; empty for a law without densities.
    """

    points: np.ndarray
    masses: np.ndarray
    inner: np.ndarray
    parts: tuple[tuple[Part, ...], ...]

    @classmethod
    def of(cls, law: RewardLaw) -> Self:
        """Cut `law`."""
        ends = [end for part in law.parts for end in part.support]
        points = np.unique(np.concatenate([law.atoms[:, 0], ends]))
        masses = np.zeros(points.size)
        masses[np.searchsorted(points, law.atoms[:, 0])] = law.atoms[:, 1]
        inner = np.zeros(points.size - 1)
        for part in law.parts:
            # A gap that is the whole part holds its mass to the last digit.
            inner += np.diff(part.cdf(points))
        parts: tuple[tuple[Part, ...], ...] = ()
        if law.parts:
            parts = tuple(
                tuple(p for p in law.parts if p.low <= low and p.high >= high)
                for low, high in pairwise(points.tolist())
            )
        return cls(points, masses, inner, parts)

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Mass below, and mass above, each side of each point: (p, 2) arrays, before and after."""
        every = np.empty(2 * self.points.size - 1)
        every[::2], every[1::2] = self.masses, self.inner
        below, above = running_sum(every), running_sum(every[::-1])[::-1]
        return below.reshape(-1, 2), above.reshape(-1, 2)

    @property
    def below(self) -> np.ndarray:
        """The (p, 2) array of the masses below each point, without and with its atom."""
        return self._sums[0]

    @property
    def above(self) -> np.ndarray:
        """The (p, 2) array of the masses above each point, with and without its atom."""
        return self._sums[1]

    @property
    def total(self) -> float:
        """The mass of the law: 1 but for rounding."""
        return float(self.below[-1, 1])
