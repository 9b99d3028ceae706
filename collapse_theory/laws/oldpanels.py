"""Legendre series on panels that follow each other away from one end of a density."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from collapse_theory.laws.recurrence import (
    integral_from_end,
    times_coordinate,
    ultraspherical_sum,
)

__all__ = ["Panels"]


class Panels(NamedTuple):
    """A density by its distance d from an end, a series on each panel [offsets_i, offsets_{i+1}].

    Attributes
    ----------
    offsets : (m+1,) array
        Distances of the panels' edges, increasing.
    widths : (m,) array
    series, moment_series : (k, m) and (k+1, m) array
        Legendre coefficients in s, which is 1 at a panel's near edge and -1 at its far one: of the
        density, and of (1 - s) times it.
    masses, moments : (m+1,) array
        Mass, and distance times mass, nearer to the end than each edge.
    """

    offsets: np.ndarray
    widths: np.ndarray
    series: np.ndarray
    moment_series: np.ndarray
    masses: np.ndarray
    moments: np.ndarray

    @classmethod
    def of(
        cls, offsets: np.ndarray, rows: np.ndarray, mass: float = 0.0, moment: float = 0.0
    ) -> Self:
        """Return the panels with a row of coefficients each, beyond what lies before the first."""
        widths, series = np.diff(offsets), np.ascontiguousarray(rows.T)
        moment_series = -times_coordinate(series, 0.0, 1.0)
        masses = widths * series[0]
        moments = 0.5 * widths**2 * moment_series[0] + offsets[:-1] * masses
        sums = [np.cumsum(np.append(first, v)) for first, v in ((mass, masses), (moment, moments))]
        return cls(offsets, widths, series, moment_series, *sums)

    def _place(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the panel of each distance, and 1 - s within it."""
        i = np.searchsorted(self.offsets, d, side="right") - 1
        i = np.clip(i, 0, self.widths.size - 1)
        return i, np.clip(2.0 * (d - self.offsets[i]) / self.widths[i], 0.0, 2.0)

    def density(self, d: np.ndarray) -> np.ndarray:
        """Return the density at the distances `d`."""
        i, delta = self._place(d)
        return ultraspherical_sum(self.series[:, i], delta, 0.0)

    def mass(self, d: np.ndarray) -> np.ndarray:
        """Return the mass nearer than `d`."""
        i, delta = self._place(d)
        inside = integral_from_end(self.series[:, i], delta, 0.0, delta)
        return self.masses[i] + 0.5 * self.widths[i] * inside

    def moment(self, d: np.ndarray) -> np.ndarray:
        """Return the distance times mass nearer than `d`."""
        i, delta = self._place(d)
        half = 0.5 * self.widths[i]
        mass = half * integral_from_end(self.series[:, i], delta, 0.0, delta)
        moment = half**2 * integral_from_end(self.moment_series[:, i], delta, 0.0, delta)
        return self.moments[i] + self.offsets[i] * mass + moment

    def bracket(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return low, high and first guess of the distance that holds the mass `target`."""
        i = np.searchsorted(self.masses, target, side="left") - 1
        i = np.clip(i, 0, self.widths.size - 1)
        share = (target - self.masses[i]) / np.maximum(self.masses[i + 1] - self.masses[i], 1e-300)
        low, width = self.offsets[i], self.widths[i]
        return low, self.offsets[i + 1], low + width * np.clip(share, 1e-3, 1.0)
