"""What a law is worth under each hinge min(x, m), exactly, from its distribution function.

min(x, m) = m - (m - x)_+ for gaps x >= 0, so everything about a hinge is said by

    K(m; x) = E (m - |x - Y|)_+ = A(x + m) - 2 A(x) + A(x - m),   A(x) = ∫ F up to x, Y ~ mu:

the potential of mu is V_m(x) = m - K(m; x) and its energy J_m = m - E K(m; X). Every concave
increasing U with finite U(0) is sum_m nu_m min(x, m), nu >= 0 (m = 1 is the linear part).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.laws import BetaDensity, RewardLaw

# Edges, in shares of a part's mass, between which four Gauss-Legendre nodes are put.
_COARSE = np.concatenate([[0.0], np.geomspace(1e-9, 0.02, 8), np.linspace(0.02, 0.5, 17)[1:]])
# Shares of a part's width, from its nearer end, between which ∫ F is a cubic.
_CUBIC = np.concatenate([[0.0], np.geomspace(1e-10, 0.02, 300), np.linspace(0.02, 0.5, 500)[1:]])
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

    Exact for atoms. K of densities by cubics is right to 1e-8 from m = .03 on, and to 1e-3 at
    m = 1e-5: for fits, not for proofs.
    """
    nodes, weights = law_nodes(law, fold=True)
    area = _by_cubics(law) if law.parts else law.distribution.integral
    own = closeness(law, nodes, margins, area)
    return HingeTable(margins, places, closeness(law, places, margins, area), weights @ own)


def closeness(
    law: RewardLaw,
    x: np.ndarray,
    margins: np.ndarray,
    area: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return K(m; x) = E (m - |x - Y|)_+ for each point and each margin, never negative.

    `area` is A, exact unless given.
    """
    area = area or law.distribution.integral
    x = x[:, None]
    return np.maximum(area(x + margins) - 2.0 * area(x) + area(x - margins), 0.0)


def _by_cubics(law: RewardLaw) -> Callable[[np.ndarray], np.ndarray]:
    """Return A with the integrals of the parts' distribution functions as piecewise cubics.

    Their own special functions would take most of the time of a design.
    """
    share = np.append(_CUBIC, 1.0 - _CUBIC[-2::-1])
    curves = []
    for part in law.parts:
        x = np.unique(part.low + (part.high - part.low) * share)
        curves.append((part, x, part.cdf_integral(x), part.cdf(x)))
    places, masses = law.atoms.T
    sums, moments = (np.append(0.0, np.cumsum(of)) for of in (masses, masses * places))

    def area(x: np.ndarray) -> np.ndarray:
        below = np.searchsorted(places, x, side="right")
        total = x * sums[below] - moments[below]
        for part, knots, values, slopes in curves:
            k = np.clip(np.searchsorted(knots, x) - 1, 0, knots.size - 2)
            width = knots[k + 1] - knots[k]
            t = np.clip((x - knots[k]) / width, 0.0, 1.0)
            # Hermite's cubic, from the value at the left knot on.
            rise = t * t * (3.0 - 2.0 * t) * (values[k + 1] - values[k])
            bend = t * (1.0 - t) * width * ((1.0 - t) * slopes[k] - t * slopes[k + 1])
            total += values[k] + rise + bend + part.mass * np.maximum(x - knots[-1], 0.0)
        return total

    return area


def law_nodes(
    law: RewardLaw, fine: bool = False, fold: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights that integrate over the law: its atoms, and nodes in quantiles.

    With `fold`, for functions that are even where the law is: K(m; 1 - x) = K(m; x). Half the
    points then do, with twice the weight.
    """
    half = _FINE if fine else _COARSE
    edges = np.concatenate([half, 1.0 - half[-2::-1]])
    z, w = np.polynomial.legendre.leggauss(4)
    share = (edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (1.0 + z)).ravel()
    weight = (np.diff(edges)[:, None] * 0.5 * w).ravel()
    nodes, weights = [law.atoms[:, 0]], [law.atoms[:, 1]]
    for part in law.parts:
        nodes.append(part.ppf(np.clip(share, 0.0, 1.0) * part.mass))
        weights.append(weight * part.mass)
    x, w = np.concatenate(nodes), np.concatenate(weights)
    if not (fold and _even(law)):
        return x, w
    kept = x <= 0.5
    return x[kept], np.where(x == 0.5, 1.0, 2.0)[kept] * w[kept]


def _even(law: RewardLaw) -> bool:
    """Whether a law is plainly its own mirror image, to the last digit."""
    (places, masses), parts = law.atoms.T, law.parts
    return (
        all(isinstance(p, BetaDensity) and p.a == p.b and p.low + p.high == 1.0 for p in parts)
        and bool((places + places[::-1] == 1.0).all())
        and bool((masses == masses[::-1]).all())
    )
