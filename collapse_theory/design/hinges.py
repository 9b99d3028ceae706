"""What a law is worth under each hinge min(x, m), exactly, from its distribution function.

min(x, m) = m - (m - x)_+ for gaps x >= 0, so everything about a hinge is said by

    K(m; x) = E (m - |x - Y|)_+ = A(x + m) - 2 A(x) + A(x - m),   A(x) = ∫ F up to x, Y ~ mu:

the potential of mu is V_m(x) = m - K(m; x) and its energy J_m = m - E K(m; X). Every concave
increasing U with finite U(0) is sum_m nu_m min(x, m), nu >= 0 (m = 1 is the linear part).
"""

from __future__ import annotations

from dataclasses import dataclass
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
_FINE = np.concatenate([[0.0], np.geomspace(1e-12, 0.01, 24), np.linspace(0.01, 0.5, 65)[1:]])


@dataclass(frozen=True)
class HingeTable:
    """A law under hinges."""

    margins: np.ndarray  # (k,), the hinges' m
    places: np.ndarray  # (p,), points x of [0, 1]
    at: np.ndarray  # (p, k), K(m; x) = m - V_m(x)
    mean: np.ndarray  # (k,), its mean under the law: m - J_m, the hinge's shortfall

    @property
    def gains(self) -> np.ndarray:
        """(V_m(x) - J_m) / (m - J_m): where positive, moving mass to x helps under the hinge."""
        return 1.0 - self.at / self.mean

    def joined(self, margins: np.ndarray, law: RewardLaw) -> HingeTable:
        """Return the table with more hinges."""
        extra = hinge_table(law, self.places, margins)
        return HingeTable(
            np.append(self.margins, margins),
            self.places,
            np.hstack([self.at, extra.at]),
            np.append(self.mean, extra.mean),
        )


def hinge_table(law: RewardLaw, places: np.ndarray, margins: np.ndarray) -> HingeTable:
    """Return what `law`, on [0, 1], is worth under the hinges `margins`, at the points `places`.

    K is right to some 1e-14, its mean to the rule of `law_nodes`: for fits, not for proofs.
    """
    nodes, weights = law_nodes(law)
    area = Area.of(law)
    own = area.closeness(nodes, margins)
    return HingeTable(margins, places, area.closeness(places, margins), weights @ own)


@dataclass(frozen=True)
class Area:
    """A, the integral of a law's distribution function, on [0, 1], and how far off it may be.

    Atoms are exact. Of densities A is a quintic between knots that are dense at the ends of their
    supports, with the value and two derivatives of A there: their own special functions would take
    most of the time of a design. `error` is four times the largest difference from these that was
    seen in the middle of a cell, where a quintic's is largest.
    """

    atoms: tuple[np.ndarray, np.ndarray, np.ndarray]  # places, running masses and moments
    curves: tuple[tuple[np.ndarray, np.ndarray, float], ...]  # knots, coefficients, mass
    error: float

    @classmethod
    def of(cls, law: RewardLaw) -> Self:
        """Return that of a law."""
        places, masses = law.atoms.T
        sums, moments = (np.append(0.0, np.cumsum(of)) for of in (masses, masses * places))
        curves, error = [], 0.0
        for part in law.parts:
            knots, rows = _quintics(part)
            curves.append((knots, rows, part.mass))
            middles = 0.5 * (knots[1:] + knots[:-1])
            seen = _at(knots, rows, middles) - part.cdf_integral(middles)
            error += 4.0 * float(np.abs(seen).max())
        return cls((places, sums, moments), tuple(curves), error)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return A at any points."""
        places, sums, moments = self.atoms
        below = np.searchsorted(places, x, side="right")
        total = x * sums[below] - moments[below]
        for knots, rows, mass in self.curves:
            total += _at(knots, rows, x) + mass * np.maximum(x - knots[-1], 0.0)
        return total

    def closeness(self, x: np.ndarray, margins: np.ndarray) -> np.ndarray:
        """Return K(m; x) = E (m - |x - Y|)_+ for each point and each margin, never negative."""
        x = x[:, None]
        return np.maximum(self(x + margins) - 2.0 * self(x) + self(x - margins), 0.0)


def _quintics(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return knots of a density, and the coefficients of its quintics in shares of their cells."""
    share = np.append(_CELLS, 1.0 - _CELLS[-2::-1])
    x = np.unique(np.append(part.low + (part.high - part.low) * share, part.knots()))
    x = x[np.append(True, np.diff(x) > 4.0 * np.spacing(np.abs(x[1:])))]
    h, area, mass = np.diff(x), part.cdf_integral(x), part.cdf(x)
    slope, turn = h * mass[:-1], h * np.diff(mass)
    rise = np.diff(area) - slope
    # Just inside a cell: at a knot the density may jump. Where it runs off to infinity, a cubic.
    left, right = h**2 * part.pdf(x[:-1] + _INSIDE * h), h**2 * part.pdf(x[1:] - _INSIDE * h)
    wild = np.maximum(left, right) > 10 * turn
    left = np.where(wild, 6 * rise - 2 * turn, left)
    right = np.where(wild, 4 * turn - 6 * rise, right)
    rise, turn, bend = rise - left / 2, turn - left, right - left
    rows = [area[:-1], slope, left / 2, 10 * rise - 4 * turn + bend / 2]
    return x, np.array([*rows, -15 * rise + 7 * turn - bend, 6 * rise - 3 * turn + bend / 2])


def _at(knots: np.ndarray, rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    cell = np.clip(np.searchsorted(knots, x) - 1, 0, len(knots) - 2)
    t = np.clip((x - knots[cell]) / (knots[cell + 1] - knots[cell]), 0.0, 1.0)
    total = rows[-1, cell]
    for row in rows[-2::-1]:
        total = total * t + row[cell]
    return total


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
