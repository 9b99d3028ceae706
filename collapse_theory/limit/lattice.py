"""Laws on a grid, of points or of cells: kernels, potentials, and the points that kinks ask for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.numerics.quadrature import gauss, power_rule
from collapse_theory.utilities.base import Utility

__all__ = ["Cells", "Points", "distinct", "kink_points"]

# Below this distance two points of a grid are one.
_SAME = 1e-12
_MOST = 200


def kink_points(kinks: tuple[float, ...]) -> np.ndarray:
    """Return the points of [0, 1] that steps of the kinks' lengths reach from its ends.

    A law has atoms where the density's equation has point sources: a kink away from the atoms at
    the ends, and so on. At most a few hundred points, those of the fewest steps.
    """
    points = np.array([0.0, 1.0])
    steps = np.array([s * k for k in kinks if k < 1.0 for s in (1.0, -1.0)])
    while steps.size and points.size < _MOST:
        reached = (points[:, None] + steps).ravel()
        reached = reached[(reached > -_SAME) & (reached < 1.0 + _SAME)]
        merged = distinct(np.concatenate([points, np.clip(reached, 0.0, 1.0)]))
        if merged.size == points.size:
            break
        points = merged
    return points


def distinct(points: np.ndarray) -> np.ndarray:
    """Return the sorted points, those closer than rounding counted once."""
    points = np.sort(points)
    return points[np.append(True, np.diff(points) > _SAME)]


class Points(NamedTuple):
    """Point masses at `places`, increasing from 0 to 1, for U(0) finite."""

    utility: Utility
    places: np.ndarray

    def kernel(self) -> np.ndarray:
        """Return U(1) - U of the gap, for each two points."""
        return self.utility.shortfall(np.abs(self.places[:, None] - self.places), 1.0)

    def potential(self, masses: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return T(x)."""
        gaps = np.abs(x[:, None] - self.places)
        return self.utility.shortfall(gaps, 1.0) @ masses

    def least(self, masses: np.ndarray) -> float:
        """Return the least T(x) over [0, 1].

        U(|x - a|) is concave on either side of a, so T is convex between neighbouring atoms:
        closing in on the least of nine points finds its minimum there.
        """
        atoms = self.places[masses > 0]
        ends = distinct(np.concatenate([atoms, [0.0, 1.0]]))
        low, high = ends[:-1], ends[1:]
        lowest = np.inf
        for _ in range(8):
            x = np.linspace(low, high, 9)
            t = self.potential(masses, x.ravel()).reshape(x.shape)
            at = np.argmin(t, axis=0)
            lowest = min(lowest, float(t.min()))
            column = np.arange(at.size)
            low, high = x[np.maximum(at - 1, 0), column], x[np.minimum(at + 1, 8), column]
        # A minimum at a kink is missed by closing in, but not by looking there.
        shifts = [s * k for k in self.utility.kinks for s in (1.0, -1.0)]
        kinked = (atoms[:, None] + np.array([0.0, *shifts])).ravel()
        kinked = kinked[(kinked >= 0.0) & (kinked <= 1.0)]
        return min(lowest, float(self.potential(masses, kinked).min()))


class Cells(NamedTuple):
    """Masses spread evenly over `cells` equal cells of [0, 1], for U(0) = -inf."""

    utility: Utility
    cells: int

    def kernel(self) -> np.ndarray:
        """Return U(1) - U of the gap, averaged over each two cells."""
        h, d = 1.0 / self.cells, np.arange(2, self.cells)
        z, w = gauss(16)
        # The mean over two cells d apart: ∫ (1 - |s|) S(h |d + s|) ds over -1 < s < 1.
        s = np.concatenate([0.5 * (z - 1.0), 0.5 * (z + 1.0)])
        weight = 0.5 * np.concatenate([w, w]) * (1.0 - np.abs(s))
        far = self._shortfall(h * (d[:, None] + s)) @ weight
        u, v = self._near()
        own = 2.0 * float(v @ ((1.0 - u) * self._shortfall(h * u)))
        right = 0.5 * w * (1.0 - 0.5 * (1.0 + z)) * self._shortfall(h * (1.5 + 0.5 * z))
        next_to = float(v @ (u * self._shortfall(h * u)) + right.sum())
        row = np.concatenate([[own, next_to], far])
        i = np.arange(self.cells)
        return row[np.abs(i[:, None] - i)]

    def potential(self, masses: np.ndarray, offset: float) -> np.ndarray:
        """Return T at the `offset` in [0, 1] of each cell."""
        h = 1.0 / self.cells
        z, w = gauss(16)
        u, v = self._near()
        own = 0.0
        for part in (offset, 1.0 - offset):
            if part > 0:
                own += part * float(v @ self._shortfall(h * part * u))
        d = np.arange(1, self.cells)
        s, half = 0.5 * (1.0 + z), 0.5 * w
        # The cells above begin d - offset away, those below end d - 1 + offset away; a rule for
        # singular ends, as the nearest may touch.
        above = np.append(0.0, [self._cell(h, k - offset, s, half, u, v) for k in d])
        below = np.append(0.0, [self._cell(h, k - 1.0 + offset, s, half, u, v) for k in d])
        i = np.arange(self.cells)
        apart = i[None, :] - i[:, None]
        table = np.where(apart > 0, above[np.abs(apart)], below[np.abs(apart)])
        table[i, i] = own
        return table @ masses

    def _cell(
        self, h: float, start: float, s: np.ndarray, half: np.ndarray, u: np.ndarray, v: np.ndarray
    ) -> float:
        if start < 1e-9:
            return float(v @ self._shortfall(h * (start + u)))
        if start < 1.0:
            # By logarithm, as the singularity is near.
            span = 0.5 * np.log1p(1.0 / start)
            t = start * np.exp(span * (2.0 * s))
            return float((2.0 * half * span * t) @ self._shortfall(h * t))
        return float(half @ self._shortfall(h * (start + s)))

    def _near(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a rule on [0, 1] for functions as singular at 0 as the utility."""
        u, v = power_rule(np.ones(1), self.utility.exponent, 12, 40)
        return u[0], v[0]

    def _shortfall(self, gaps: np.ndarray) -> np.ndarray:
        # U increases, so beyond 1 rounding alone could come below 0.
        return self.utility.shortfall(np.minimum(gaps, 1.0), 1.0)
