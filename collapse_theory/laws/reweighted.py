"""Densities times a weight: what the continuous parts of a policy's law are made of."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.cells import Cells
from collapse_theory.laws.olddensity import Density
from collapse_theory.laws.oldpanels import Panels
from collapse_theory.laws.part import Part
from collapse_theory.laws.views import View

__all__ = ["ReweightedDensity"]

_LARGE = 600.0  # exp(709) is the largest float


class ReweightedDensity(Density):
    """The sum of several densities on an interval that all of them cover, times a weight.

    A kind gives the logarithm of its weight by the distance from either end. Masses and moments
    come from a Legendre series on each of the cells of `collapse_theory.laws.cells`.

    Attributes
    ----------
    parts : tuple of Density
    """

    parts: tuple[Density, ...]

    @abstractmethod
    def _log_weight(self, d: np.ndarray, upper: bool) -> np.ndarray:
        """Return the logarithm of the weight at the distances `d` from an end."""

    @property
    @abstractmethod
    def _finest(self) -> float:
        """The distance over which the weight may change next to an end."""

    @abstractmethod
    def _first(self, cells: Cells) -> tuple[float, float]:
        """Return the weighted mass, and distance times mass, of the first cell."""

    def _set_parts(self, parts: Any, low: Any, high: Any) -> None:
        parts = (parts,) if isinstance(parts, Part) else tuple(parts)
        if not parts or not all(isinstance(part, Part) for part in parts):
            raise CollapseError(f"parts must be densities, at least one, not {parts!r}")
        object.__setattr__(self, "parts", parts)
        self._set_ends(low, high)
        if any(part.low > self.low or part.high < self.high for part in parts):
            raise CollapseError(
                f"each of the parts {parts!r} must cover [{self.low}, {self.high}] whole"
            )

    @cached_property
    def _cells(self) -> tuple[Cells, Cells]:
        lower, upper = (
            Cells.of(
                View(self.parts, self.low, self.high, end),
                lambda d, end=end: self._log_weight(d, end),
                self._finest,
            )
            for end in (False, True)
        )
        return lower, upper

    def _weighted(self, values: np.ndarray, d: np.ndarray, upper: bool) -> np.ndarray:
        """Return `values` times the weight at the distances `d`; 0 where the weight is 0."""
        logs = self._log_weight(d, upper)
        weight = np.exp(np.minimum(logs, _LARGE))
        # An infinite density meets a weight of 0 at the end of the support.
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            product = np.where(weight == 0.0, 0.0, values * weight)
            huge = logs > _LARGE
            if huge.any():  # times next to nothing, or the law would have more mass than 1
                product[huge] = np.exp(np.log(np.maximum(values[huge], 0.0)) + logs[huge])
        return product

    @cached_property
    def _panels(self) -> tuple[Panels, Panels]:
        lower, upper = (
            cells.panels(self._weighted(cells.values, cells.nodes, end), *self._first(cells))
            for cells, end in zip(self._cells, (False, True), strict=True)
        )
        return lower, upper

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Mean distance from the upper end, and the variance about it."""
        places, masses = [], []
        for cells, upper in zip(self._cells, (False, True), strict=True):
            d, base = cells.points()
            places.append(d if upper else self.high - self.low - d)
            weighted = self._weighted(base, d, upper)
            weighted[0] = self._first(cells)[0]
            masses.append(weighted)
        d, m = np.concatenate(places), np.concatenate(masses)
        m = m / m.sum()
        mean = float(m @ d)
        return mean, float(m @ (d - mean) ** 2)

    @property
    def mean(self) -> float:
        """Mean of the part taken as a law by itself."""
        return self.high - self._moments[0]

    @property
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""
        return self._moments[1]

    @property
    def interval(self) -> str:
        """The support as text; infinite where `low` only cuts off a tail of a part."""
        cut = any(not part.bounded_below and part.low == self.low for part in self.parts)
        low = "(-inf" if cut else f"[{self.low:.4g}"
        return f"{low}, {self.high:.4g}]"

    def _knots(self) -> np.ndarray:
        lower, upper = (cells.edges for cells in self._cells)
        ends = [self.low, self.high]
        return np.unique(np.concatenate([ends, self.low + lower, self.high - upper]))

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        base = View(self.parts, self.low, self.high, upper).density(d)
        return self._weighted(base, d, upper)

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        cells, panels = self._cells[upper], self._panels[upper]
        inner = d < cells.edges[0]
        out = np.empty_like(d)
        out[~inner] = panels.moment(d[~inner])
        if inner.any():
            # The share of the distance is about that of the whole first cell.
            share = panels.moments[0] / (panels.masses[0] * cells.edges[0] or 1.0)
            out[inner] = share * d[inner] * self._mass_within(d[inner], upper)
        return out

    def _bracket(
        self, target: np.ndarray, upper: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        panels, first = self._panels[upper], self._cells[upper].edges[0]
        low, high, start = panels.bracket(target)
        inner = target <= panels.masses[0]
        if inner.any():
            share = panels.moments[0] / (panels.masses[0] * first or 1.0)
            # The mass within d is about d**a, of which the moment is a/(a+1) d times the mass.
            a = max(share, 1e-3) / max(1.0 - share, 1e-3)
            with np.errstate(divide="ignore"):
                ratio = np.log(target[inner]) - np.log(max(panels.masses[0], 1e-300))
            low[inner], high[inner] = 0.0, first
            start[inner] = np.clip(first * np.exp(ratio / a), 1e-300, first)
        return low, high, start
