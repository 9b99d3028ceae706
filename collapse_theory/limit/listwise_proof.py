"""How far a law is from the best one of a listwise loss, from the law alone.

With Q(t) the score at the rank t, from 0 for the best to 1, the objective is

    J(Q) = ∫ [Q(t) - log S(t)] dt,    S(t) = ∫_t^1 exp(Q(s)) ds,

concave in Q, and its derivative by the gap at a score x is F(x) = S A with A(t) = ∫_0^t ds / S(s).
In a box of width w, J* - J <= w max F - ∫ F dx over the box; under a penalty kappa ∫ Q**2 the
derivative by Q itself, v = 1 - exp(Q) A - 2 kappa Q, gives J* - J <= ∫ v**2 dt / (4 kappa).

Computed are sigma = exp(-x) S and alpha = exp(x) A as functions of the score x, by panels from one
end to the other: integrals of positive terms, which run over no orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Scan", "box_gap", "held_gap", "scan", "smooth_scan"]

EPS = float(np.finfo(np.float64).eps)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
LAGUERRE = np.polynomial.laguerre.laggauss(48)


def _antiderivatives() -> np.ndarray:
    """Return the matrix from values at the nodes to integrals from -1 to each node."""
    degrees = np.arange(NODES.size)
    values = np.polynomial.legendre.legvander(NODES, NODES.size)
    # ∫ P_k = (P_{k+1} - P_{k-1}) / (2k+1), and x + 1 for k = 0.
    lower = np.column_stack([np.ones(NODES.size) * -1.0, values[:, : NODES.size - 1]])
    integrals = (values[:, 1:] - lower) / (2 * degrees + 1)
    series = (degrees + 0.5)[:, None] * values[:, :-1].T * WEIGHTS
    return integrals @ series


INTEGRALS = _antiderivatives()


@dataclass(frozen=True)
class Scan:
    """sigma and alpha at scores `x`, each with its share of the mass and of the length."""

    x: np.ndarray
    mass: np.ndarray
    length: np.ndarray
    sigma: np.ndarray
    alpha: np.ndarray
    bottom: float
    top: float

    @property
    def force(self) -> np.ndarray:
        """F at the scores `x`."""
        return self.sigma * self.alpha


def scan(
    density: Callable[[np.ndarray], np.ndarray],
    edges: np.ndarray,
    bottom: float = 0.0,
    top: float = 0.0,
) -> Scan:
    """Return sigma and alpha on panels, of a law with atoms `bottom` and `top` at its ends.

    Parameters
    ----------
    density : callable
        Of the scores inside, for arrays.
    edges : (k+1,) array
        Of the panels, increasing.
    bottom, top : float
        The masses of the atoms.
    """
    half = 0.5 * np.diff(edges)
    x = 0.5 * (edges[1:] + edges[:-1])[:, None] + half[:, None] * NODES
    rho = density(x)
    into = np.exp(x - edges[:-1, None])  # from the lower edge, as long panels would overflow else
    below = half[:, None] * ((rho * into) @ INTEGRALS.T)
    whole = half * ((rho * into) @ WEIGHTS)
    start, fall, at = bottom, np.exp(-2 * half), []
    for add, factor in zip(whole.tolist(), fall.tolist(), strict=True):
        at.append(start)
        start = (start + add) * factor
    sigma = (np.array(at)[:, None] + below) / into
    # The atom at the top adds log(S_after / S_before) to A.
    back = np.log1p(top / start) if start > 0 else np.inf
    rate = rho / sigma
    part = rate / into  # exp(-(y - lower edge)) dmu / sigma
    above = half[:, None] * (part @ (WEIGHTS[None, :] - INTEGRALS).T)
    totals, at = half * (part @ WEIGHTS), []
    for add, factor in zip(totals[::-1].tolist(), fall[::-1].tolist(), strict=True):
        at.append(back * factor)
        back = add + back * factor
    alpha = (np.array(at[::-1])[:, None] + above) * into
    weights = half[:, None] * WEIGHTS
    return Scan(x, weights * rho, weights, sigma, alpha, bottom, top)


def smooth_scan(density: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> Scan:
    """Return sigma and alpha at the points `x` of a density that changes little over a unit.

    The integrals over exp(-t) are by Gauss and Laguerre; masses and lengths are left to the caller.
    """
    t, weight = LAGUERRE

    def sigma(y: np.ndarray) -> np.ndarray:
        return density(y[..., None] - t) @ weight

    near = x[:, None] + t
    alpha = (density(near) / sigma(near)) @ weight
    return Scan(x, np.zeros_like(x), np.zeros_like(x), sigma(x), alpha, 0.0, 0.0)


def box_gap(found: Scan) -> float:
    """Return the bound in a box, with what rounding may hide."""
    edge_low = found.sigma.flat[0] * found.alpha.flat[0]
    force = [float(found.force.max())]
    # Within an atom S A turns where log of the mass ratio is one.
    if found.bottom:
        level = edge_low / found.bottom
        force.append(found.bottom * (np.exp(level - 1.0) if level < 1 else level))
    if found.top:
        last = found.sigma.flat[-1]
        whole = last + found.top
        force.append(whole / np.e if last < whole / np.e else float(last * np.log(whole / last)))
    highest = float(max(force))
    width = float(found.length.sum())
    bound = float(((highest - found.force) * found.length).sum())
    return max(bound, 0.0) + 16 * EPS * width * highest


def held_gap(found: Scan, kappa: float) -> float:
    """Return the bound under the penalty kappa ∫ Q**2, with what rounding may hide."""
    rest = np.abs(1.0 - found.alpha - 2 * kappa * found.x)
    rounding = 8 * EPS * (1.0 + found.alpha + 2 * kappa * np.abs(found.x))
    return float(((rest + rounding) ** 2 * found.mass).sum()) / (4 * kappa)
