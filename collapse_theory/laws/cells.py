"""Quadrature for a density times a weight: cells that suit the ends of one, the slope of the other.

Cells double in width from the end of an interval to its middle, so that a power or a layer at the
end is smooth within each; within the innermost cell, 2**-52 of the smallest scale, only the mass
and its centre of gravity count, which every density knows in closed form or as well as that. A
cell on which the weight changes by more than exp(3) is halved, unless it holds next to nothing, and
so is one on which the density itself bends more than the nodes can follow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, Self

import numpy as np

from collapse_theory.laws.oldpanels import Panels
from collapse_theory.laws.views import View

__all__ = ["Cells"]

_ORDER = 24  # (3 + 8**0.5)**-24 is 4e-19: a singularity as far off as the cell is wide
_DEPTH = 52
_STEEP = 3.0
_NEGLIGIBLE = 45.0  # exp(-45) is 3e-20
# Of the mass: the last terms of a cell's series, above the rounding of densities, and the error of
# its mass, above that of distribution functions.
_TAIL, _MISSED = 3e-14, 1e-6
_ROUNDS, _MOST = 24, 10_000

_Weight = Callable[[np.ndarray], np.ndarray]


@cache
def _gauss() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes s and weights on [-1, 1], and the matrix from values there to Legendre series."""
    s, weights = np.polynomial.legendre.leggauss(_ORDER)
    basis = np.polynomial.legendre.legvander(s, _ORDER - 1) * weights[:, None]
    return s, weights, basis * (np.arange(_ORDER) + 0.5)


class Cells(NamedTuple):
    """The half of an interval next to one end: its cells, and the density at their nodes.

    Attributes
    ----------
    view : View
    edges : (m+1,) array
        Distances of the cells' edges; the first cell is the one before edges[0].
    nodes, values : (m, 24) array
        Distances of Gauss's nodes and the density there.
    mass, moment : float
        Mass, and distance times mass, before edges[0].
    """

    view: View
    edges: np.ndarray
    nodes: np.ndarray
    values: np.ndarray
    mass: float
    moment: float

    @classmethod
    def of(cls, view: View, log_weight: _Weight, finest: float) -> Self:
        """Return the cells for a weight, given by its logarithm, of the smallest scale `finest`."""
        edges = _refined(view, _graded(view, finest), log_weight)
        nodes, values = _sampled(view, edges)
        last = np.inf
        for _ in range(_ROUNDS):
            missed, tails = _misfits(view, edges, values)
            # Tails that halving the cells doesn't shorten are the density's own rounding.
            wrong = missed | (tails > _TAIL) if tails.max() < 0.25 * last else missed
            if not wrong.any() or edges.size > _MOST:
                break
            last = np.inf if missed.any() else float(tails.max())
            edges = _halved(edges, wrong)
            nodes, values = _sampled(view, edges)
        values = values * _agreement(view, edges, values)
        return cls(view, edges, nodes, values, *view.first(float(edges[0])))

    @property
    def center(self) -> float:
        """The centre of gravity of the first cell."""
        first = float(self.edges[0])
        # Some densities know moments next to the end to absolute accuracy only.
        return min(max(self.moment / self.mass, 0.0), first) if self.mass > 0 else 0.5 * first

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and masses that stand for the density in integrals."""
        masses = 0.5 * np.diff(self.edges)[:, None] * _gauss()[1] * self.values
        d = np.append(self.center, self.nodes.ravel())
        return d, np.append(self.mass, masses.ravel())

    def panels(self, values: np.ndarray, mass: float, moment: float) -> Panels:
        """Return the density with `values` at the nodes, and what the first cell then holds."""
        return Panels.of(self.edges, values @ _gauss()[2], mass, moment)


def _graded(view: View, finest: float) -> np.ndarray:
    """Return edges that double from about 2**-52 finest to the middle, and the densities' knots."""
    half = 0.5 * view.width
    depth = _DEPTH + max(0, int(np.ceil(np.log2(half / finest))))
    doubling = half * 2.0 ** -np.arange(min(depth, 1000), -1.0, -1.0)
    first = doubling[0]
    knots = view.knots()
    knots = knots[(knots > 2.0 * first) & (knots < half)]
    if knots.size == 0:
        return doubling
    # A knot next to a point of the doubling takes its place: slivers help nobody.
    at = np.clip(np.searchsorted(knots, doubling), 1, max(knots.size - 1, 1))
    near = np.minimum(
        np.abs(doubling - knots[np.minimum(at, knots.size - 1)]), np.abs(doubling - knots[at - 1])
    )
    keep = near > 0.1 * doubling
    keep[[0, -1]] = True
    return np.unique(np.concatenate([doubling[keep], knots]))


def _refined(view: View, edges: np.ndarray, log_weight: _Weight) -> np.ndarray:
    """Return `edges` with cells halved where the weight is steep and the product counts."""
    for _ in range(40):
        logs = np.maximum(log_weight(edges), -1e300)
        with np.errstate(divide="ignore"):
            log_mass = np.log(np.maximum(np.diff(view.mass(edges)), 0.0))
        low, high = np.minimum(logs[:-1], logs[1:]), np.maximum(logs[:-1], logs[1:])
        counts = np.zeros(low.size, dtype=bool)
        # The weight for masses and moments, its square for the effective sample size.
        for power in (1.0, 2.0):
            sure = (log_mass + power * low).max()
            counts |= log_mass + power * high > sure - _NEGLIGIBLE
        split = counts & (high - low > _STEEP)
        if not split.any():
            break
        edges = _halved(edges, split)
    return edges


def _halved(edges: np.ndarray, split: np.ndarray) -> np.ndarray:
    middles = 0.5 * (edges[:-1] + edges[1:])[split]
    return np.unique(np.concatenate([edges, middles]))


def _sampled(view: View, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes of all cells, and the density there."""
    nodes = edges[:-1, None] + np.diff(edges)[:, None] * (0.5 - 0.5 * _gauss()[0])
    return nodes, view.density(nodes.ravel()).reshape(nodes.shape)


def _misfits(view: View, edges: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells hold a bump that their nodes miss, and how long each series' tail is."""
    series = np.diff(edges)[:, None] * (values @ _gauss()[2])
    masses = np.diff(view.mass(edges))
    total = max(float(masses.sum()), 1e-300)
    missed = np.abs(series[:, 0] - masses) > _MISSED * total
    return missed, np.abs(series[:, -2:]).max(axis=1) / total


def _agreement(view: View, edges: np.ndarray, values: np.ndarray) -> float:
    """Return the factor near 1 by which the density's rounding differs from the masses'.

    The masses are the more accurate: a constant such as the beta function of (1e6, 1e6) is wrong by
    1e-8 in a density, where a distribution function comes from another formula.
    """
    low, high = view.mass(edges[[0, -1]])
    found = float(np.diff(edges) @ (values @ _gauss()[2][:, 0]))
    if not (view.flush and found > 0):
        return 1.0
    factor = float(high - low) / found
    return factor if abs(factor - 1.0) < 1e-6 else 1.0
