"""Densities given by a Legendre series on each of many panels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.olddensity import Density
from collapse_theory.laws.oldpanels import Panels
from collapse_theory.laws.recurrence import reflected
from collapse_theory.numerics.checks import check_map, finite_array
from collapse_theory.values import frozen_array

__all__ = ["PiecewiseDensity"]


@dataclass(frozen=True, eq=False, repr=False)
class PiecewiseDensity(Density):
    """A Legendre series on each panel [edges_i, edges_{i+1}].

    pdf(x) = sum_k coefficients_{ik} P_k(s),  s in [-1, 1] the coordinate of x in its panel i

    Parameters
    ----------
    edges : (m+1,) array
        Ends of the panels, increasing.
    coefficients : (m, k) array
        Legendre coefficients, one row a panel; the density is per unit of x.

    Raises
    ------
    CollapseError
        A ValueError, for edges that don't increase, shapes that don't agree, or a density that is
        negative or without mass.

    Examples
    --------
    >>> from collapse_theory.laws import PiecewiseDensity
    >>> tent = PiecewiseDensity([0.0, 0.5, 1.0], [[1.0, 1.0], [1.0, -1.0]])
    >>> tent.cdf(0.5), tent.pdf(0.5)
    (0.5, 2.0)
    """

    edges: Any
    coefficients: Any
    low: float = field(init=False)
    high: float = field(init=False)
    mass: float = field(init=False)

    def __post_init__(self) -> None:
        edges = frozen_array(finite_array(self.edges, "edges", 1))
        coefficients = frozen_array(finite_array(self.coefficients, "coefficients", 2))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "coefficients", coefficients)
        if edges.size < 2 or not (np.diff(edges) > 0).all():
            raise CollapseError(f"edges must be two or more increasing numbers, not {edges}")
        if coefficients.shape[0] != edges.size - 1 or coefficients.shape[1] == 0:
            raise CollapseError(
                f"{edges.size - 1} panels need as many rows of coefficients, "
                f"not the shape {coefficients.shape}"
            )
        self._set_ends(edges[0], edges[-1])
        self._check_panels()
        self._set_mass(float(self._views[False].masses[-1]))

    def _check_panels(self) -> None:
        # Each panel's mass, as a sample over the whole support can miss a narrow one.
        masses = np.diff(self.edges) * self.coefficients[:, 0]
        if masses.min() < -1e-3 * abs(masses.sum()):
            where = int(np.argmin(masses))
            raise CollapseError(f"panel {where} has the negative mass {masses[where]}")

    @cached_property
    def _views(self) -> tuple[Panels, Panels]:
        """The panels as seen from the lower and from the upper end."""
        below = Panels.of(self.edges - self.low, reflected(self.coefficients))
        above = Panels.of((self.high - self.edges)[::-1], self.coefficients[::-1])
        return below, above

    @property
    def mean(self) -> float:
        """Mean of the part taken as a law by itself."""
        return self.low + float(self._views[False].moments[-1]) / self.mass

    @property
    def variance(self) -> float:
        """Second moment about `mean` of the part taken as a law by itself."""
        half = 0.5 * np.diff(self.edges)
        middle = self.edges[:-1] + half - self.mean
        a = np.zeros((3, half.size))
        a[: min(3, self.coefficients.shape[1])] = self.coefficients.T[:3]
        # ∫ (middle + half t)^2 (a_0 + a_1 t + a_2 P_2(t)) dt, over two.
        each = middle**2 * a[0] + 2 * middle * half * a[1] / 3 + half**2 * (a[0] + 0.4 * a[2]) / 3
        return float((2 * half * each).sum() / self.mass)

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0.

        Every panel keeps its mass where rounding changes its width: one of 1e-12 next to 1 may
        have none left at 1e6, and then the next panel takes its mass.
        """
        low, scale = check_map(low, scale)
        edges = low + scale * self.edges
        keep = np.diff(edges) > 0
        edges = np.concatenate([edges[:-1][keep], edges[-1:]])
        masses = np.diff(self.edges)[:, None] * self.coefficients
        rows = masses[keep]
        if not keep.all() and keep.any():
            takers = np.minimum(np.cumsum(keep), len(rows) - 1)[~keep]
            np.add.at(rows[:, 0], takers, masses[~keep, 0])
        return type(self)(edges, rows / np.diff(edges)[:, None])

    def _knots(self) -> np.ndarray:
        # A polynomial of degree k turns about once between two of k+1 Chebyshev points.
        count = self.coefficients.shape[1]
        share = np.sin(np.linspace(0.0, 0.5 * np.pi, count + 1)[:-1]) ** 2
        inner = self.edges[:-1, None] + np.diff(self.edges)[:, None] * share
        return np.append(inner.ravel(), self.edges[-1])

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._views[upper].density(d)

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._views[upper].mass(d)

    def _moment_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._views[upper].moment(d)

    def _bracket(
        self, target: np.ndarray, upper: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._views[upper].bracket(target)
