"""What a law is worth under each hinge min(x, m), exactly, from its distribution function.

min(x, m) = m - (m - x)_+ for gaps x >= 0, so everything about a hinge is said by

    K(m; x) = E (m - |x - Y|)_+ = A(x + m) - 2 A(x) + A(x - m),   A(x) = ∫ F up to x, Y ~ mu:

the potential of mu is V_m(x) = m - K(m; x) and its energy J_m = m - E K(m; X). Every concave
increasing U with finite U(0) is sum_m nu_m min(x, m), nu >= 0 (m = 1 is the linear part).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.laws import RewardLaw

# Edges, in shares of a part's mass, between which four Gauss-Legendre nodes are put.
_COARSE = np.concatenate([[0.0], np.geomspace(1e-9, 0.02, 8), np.linspace(0.02, 0.5, 17)[1:]])
_FINE = np.concatenate([[0.0], np.geomspace(1e-12, 0.01, 24), np.linspace(0.01, 0.5, 65)[1:]])


@dataclass(frozen=True)
class HingeTable:
    """A law under hinges.

    Attributes
    ----------
    margins : (k,) array
        The hinges' m.
    places : (p,) array
        Points x of [0, 1].
    at : (p, k) array
        K(m; x) = m - V_m(x).
    mean : (k,) array
        Its mean under the law: m - J_m, the hinge's shortfall.
    """

    margins: np.ndarray
    places: np.ndarray
    at: np.ndarray
    mean: np.ndarray

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
    """Return what `law`, on [0, 1], is worth under the hinges `margins`, at the points `places`."""
    nodes, weights = law_nodes(law)
    return HingeTable(
        margins, places, closeness(law, places, margins), weights @ closeness(law, nodes, margins)
    )


def closeness(law: RewardLaw, x: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return K(m; x) = E (m - |x - Y|)_+ for each point and each margin, never negative."""
    area = law.distribution.integral
    middle = 2.0 * area(x)[:, None]
    return np.maximum(
        area(x[:, None] + margins) - middle + area(x[:, None] - margins),
        0.0,
    )


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
