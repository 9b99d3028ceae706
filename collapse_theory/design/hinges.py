"""What a law is worth under each hinge min(x, m), exactly, from its distribution function.

min(x, m) = m - (m - x)_+ for gaps x >= 0, so everything about a hinge is said by

    K(m; x) = E (m - |x - Y|)_+ = A(x + m) - 2 A(x) + A(x - m),   A(x) = ∫ F up to x, Y ~ mu:

the potential of mu is V_m(x) = m - K(m; x) and its energy J_m = m - E K(m; X). Every concave
increasing U with finite U(0) is sum_m nu_m min(x, m), nu >= 0 (m = 1 is the linear part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np

from collapse_theory.laws import RewardLaw
from collapse_theory.laws.part import Part

# Edges, in shares of a part's mass, between which four Gauss-Legendre nodes are put.
_COARSE = np.concatenate([[0.0], np.geomspace(1e-9, 0.02, 8), np.linspace(0.02, 0.5, 17)[1:]])
# Shares of a part's width, from its nearer end, between which ∫ F is a quintic, and those of a cell
# that count as inside it.
_CELLS = np.concatenate([[0.0], np.geomspace(1e-10, 0.02, 300), np.linspace(0.02, 0.5, 500)[1:]])
_INSIDE = 1e-6
_BLOCK = 16_000  # values at a time: what stays in a processor's cache
_FINE = np.concatenate([[0.0], np.geomspace(1e-12, 0.01, 24), np.linspace(0.01, 0.5, 65)[1:]])


def hinge_gains(
    law: RewardLaw, places: np.ndarray, margins: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return gains (p, k) of a law on [0, 1], and the shortfalls (k,) that they are in units of.

    (V_m(x) - J_m) / (m - J_m) at places x (p,) for each margin m; with `weights`, (margins, k), of
    mixtures of these hinges. Where a gain is positive moving mass to x helps. K is right to some
    1e-14, its mean to the rule of `law_nodes`: for fits, not for proofs.
    """
    nodes, rule = law_nodes(law)
    area = Area.of(law)
    shortfall, gains = rule @ area.closeness(nodes, margins), -area.closeness(places, margins)
    gains += shortfall
    if weights is not None:
        shortfall, gains = shortfall @ weights, gains @ weights
    return gains / shortfall, shortfall


@dataclass(frozen=True)
class Area:
    """A, the integral of a law's distribution function, on [0, 1], and how far off it may be.

    Atoms are exact. Of densities A is a quintic between knots that are dense at the ends of their
    supports, with the value and two derivatives of A there: their own special functions would take
    most of the time of a design. `error` is four times the largest difference from these that was
    seen in the middle of a cell, where a quintic's is largest.
    """

    atoms: tuple[np.ndarray, np.ndarray, np.ndarray]  # places, running masses and moments
    knots: np.ndarray  # (c + 1,), none without densities
    rows: np.ndarray  # (c, 6), the quintics' coefficients, in shares of their cells
    end: tuple[float, float]  # A at the last knot, and its slope from there on
    error: float

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, law: RewardLaw) -> Self:
        """Return that of a law."""
        places, masses = law.atoms.T
        sums, moments = (np.append(0.0, np.cumsum(of)) for of in (masses, masses * places))
        atoms = places, sums, moments
        if not law.parts:
            return cls(atoms, np.empty(0), np.empty((0, 6)), (0.0, 0.0), 0.0)
        knots, rows, last = _quintics(law.parts)
        found = cls(atoms, knots, rows, (last, sum(part.mass for part in law.parts)), 0.0)
        middles = 0.5 * (knots[1:] + knots[:-1])
        seen = found._smooth(middles) - sum(part.cdf_integral(middles) for part in law.parts)
        return replace(found, error=4.0 * float(np.abs(seen).max()))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return A at any points."""
        places, sums, moments = self.atoms
        below = np.searchsorted(places, x, side="right")
        total = x * sums[below] - moments[below]
        if self.knots.size:
            low, high = self.knots[[0, -1]]
            last, mass = self.end
            inside = (x > low) & (x < high)
            total += np.where(x >= high, last + mass * (x - high), 0.0)
            total[inside] += self._smooth(x[inside])
        return total

    def _smooth(self, x: np.ndarray) -> np.ndarray:
        """Return what the densities add at points (k,) between the knots."""
        cell = np.searchsorted(self.knots, x) - 1
        low = self.knots[cell]
        share = (x - low) / (self.knots[cell + 1] - low)
        row = self.rows.take(cell, axis=0)
        total = row[:, 5]
        for power in (4, 3, 2, 1, 0):
            total = total * share + row[:, power]
        return total

    def closeness(self, x: np.ndarray, margins: np.ndarray) -> np.ndarray:
        """Return K(m; x) = E (m - |x - Y|)_+ for each point and each margin, never negative."""
        found, step = np.empty((x.size, margins.size)), _BLOCK // max(margins.size, 1) + 1
        for first in range(0, x.size, step):
            here = x[first : first + step, None]
            found[first : first + step] = (
                self(here + margins) - 2 * self(here) + self(here - margins)
            )
        return np.maximum(found, 0.0, out=found)


def _quintics(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray, float]:
    """Return knots of densities, the coefficients of A's quintics there, and A at the last knot."""
    share = np.append(_CELLS, 1.0 - _CELLS[-2::-1])
    own = [part.low + (part.high - part.low) * share for part in parts]
    x = np.unique(np.concatenate([*own, *(part.knots() for part in parts)]))
    x = x[np.append(True, np.diff(x) > 4.0 * np.spacing(np.abs(x[1:])))]
    h = np.diff(x)
    area = np.sum([part.cdf_integral(x) for part in parts], axis=0)
    mass = np.sum([part.cdf(x) for part in parts], axis=0)
    slope, turn = h * mass[:-1], h * np.diff(mass)
    rise = np.diff(area) - slope
    # Just inside a cell: at a knot the density may jump. Where it runs off to infinity, a cubic.
    left = h**2 * sum(part.pdf(x[:-1] + _INSIDE * h) for part in parts)
    right = h**2 * sum(part.pdf(x[1:] - _INSIDE * h) for part in parts)
    wild = np.maximum(left, right) > 10 * turn
    left = np.where(wild, 6 * rise - 2 * turn, left)
    right = np.where(wild, 4 * turn - 6 * rise, right)
    rise, turn, bend = rise - left / 2, turn - left, right - left
    rows = [area[:-1], slope, left / 2, 10 * rise - 4 * turn + bend / 2]
    rows += [-15 * rise + 7 * turn - bend, 6 * rise - 3 * turn + bend / 2]
    return x, np.array(rows).T.copy(), float(area[-1])


@lru_cache(maxsize=8)
def law_nodes(law: RewardLaw, fine: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights that integrate over the law: its atoms, and nodes in quantiles."""
    half = _FINE if fine else _COARSE
    edges = np.concatenate([half, 1.0 - half[-2::-1]])
    z, w = np.polynomial.legendre.leggauss(4)
    share = (edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (1.0 + z)).ravel()
    weight = (np.diff(edges)[:, None] * 0.5 * w).ravel()
    nodes, weights = [law.atoms[:, 0]], [law.atoms[:, 1]]
    for part in law.parts:
        nodes.append(part.ppf(np.clip(share, 0.0, 1.0) * part.mass))
        weights.append(weight * part.mass)
    return np.concatenate(nodes), np.concatenate(weights)
