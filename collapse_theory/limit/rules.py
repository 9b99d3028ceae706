"""Quadrature: rules for integrals over the box that a kernel |x - y| splits at y = x."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.limit.grading import Grading

__all__ = [
    "Ends",
    "Nodes",
    "batches",
    "end_rule",
    "gauss",
    "layered",
    "log_rule",
    "power_rule",
    "sides",
    "singular_sides",
]

_PANEL = 64


class Nodes(NamedTuple):
    """A rule for each of several points x, shapes (points, nodes).

    Attributes
    ----------
    gap : |x - y|, exact near 0 where x - y would cancel
    weight : weight of the node in the integral over y
    y, c : distance of the node from the lower and from the upper end
    """

    gap: np.ndarray
    weight: np.ndarray
    y: np.ndarray
    c: np.ndarray


@lru_cache(maxsize=64)
def gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a symmetric Gauss-Legendre rule on [-1, 1] with `count` nodes or a few more.

    Above 64 nodes it is a composite rule: finding the nodes of one rule costs count**3.
    """
    panels = -(-count // _PANEL)
    z, w = np.polynomial.legendre.leggauss(-(-count // panels))
    centers = (2.0 * np.arange(panels) + 1.0) / panels - 1.0
    nodes = (centers[:, None] + z / panels).ravel()
    weights = np.tile(w / panels, panels)
    # Exactly symmetric, so that distances from both ends may be read off one array.
    return 0.5 * (nodes - nodes[::-1]), 0.5 * (weights + weights[::-1])


def layered(length: np.ndarray, scale: float, count: int) -> tuple[np.ndarray, ...]:
    """Return distances from both ends and weights on [0, length], graded toward both ends.

    Gauss-Legendre in log((t + scale)/(length - t + scale)): functions with layers of the width
    `scale`, or singularities that far outside, are smooth there. Shapes (len(length), nodes).
    """
    z, w = gauss(count)
    length = length[:, None]
    span = np.log1p(length / scale)
    e = np.exp(span * z)
    t = scale * np.expm1(span * (1.0 + z)) / (1.0 + e)
    weight = span * w * (length + 2.0 * scale) * e / (1.0 + e) ** 2
    return t, t[:, ::-1], weight


def sides(x: np.ndarray, scale: float, count: int) -> Nodes:
    """Return a rule over [0, 1] for each x <= 1/2, split at x, for kernels and laws with layers."""
    gap_below, y_below, w_below = layered(x, scale, count)
    gap_above, c_above, w_above = layered(1.0 - x, scale, count)
    y = np.concatenate([y_below, x[:, None] + gap_above], axis=1)
    c = np.concatenate([(1.0 - x)[:, None] + gap_below, c_above], axis=1)
    gap = np.concatenate([gap_below, gap_above], axis=1)
    return Nodes(gap, np.concatenate([w_below, w_above], axis=1), y, c)


@lru_cache(maxsize=256)
def _jacobi(count: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gauss rule on [0, 1] for the weight s**alpha."""
    z, w = special.roots_jacobi(count, 0.0, alpha)
    return 0.5 * (1.0 + z), w * 0.5 ** (alpha + 1.0)


def end_rule(
    x: np.ndarray, grading: Grading, power: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for ∫_0^x y**power f(y) dy / x**(1 + power), f as smooth as a law.

    Shapes (len(x), nodes).
    """
    if grading.order == math.inf:
        t, _, weight = layered(x, grading.scale, count)
        return t, weight / x[:, None] * (t / x[:, None]) ** power
    # y = x s**order makes f smooth in s.
    s, w = _jacobi(count, grading.order * (1.0 + power) - 1.0)
    y = x[:, None] * s**grading.order
    return y, np.broadcast_to(grading.order * w, y.shape)


def batches(x: np.ndarray) -> list[np.ndarray]:
    """Return the indices of points to treat together: some hundred at most, of a kind.

    Points near the end need longer rules, for a piece that grows with -log x.
    """
    kinds = np.digitize(x, [1e-300, 1e-15, 1e-4])
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    return [part for group in groups for part in np.array_split(group, 1 + group.size // 300)]


class Ends(NamedTuple):
    """What is singular: the kernel like gap**kernel near 0, the law like x**law at the ends.

    Attributes
    ----------
    kernel, law : float
        Exponents above -1.
    order : int
        The law is smooth in x**(1/order) but for its power.
    terms : int
        Number of its coefficients.
    smoothing : int
        Near a singularity of the kernel, gap = length * s**smoothing: whatever powers and
        logarithms it mixes, they are smooth enough in s.
    nodes : int
        How many are used there.
    """

    kernel: float
    law: float
    order: int
    terms: int
    smoothing: int = 12
    nodes: int = 32


def singular_sides(x: np.ndarray, ends: Ends) -> Nodes:
    """Return a rule over [0, 1] for each x <= 1/2, split at x, all of them positive or all 0.

    Pieces, on each side of x: next to it, next to the end, and by logarithm the distances between.
    The rule integrates each of the law's terms, not only their decaying sum: what it missed would
    be free for a fit to use.
    """
    if not x.any():
        return _from_end(x, ends)
    here = x[:, None]
    gap_below, y_below, w_below = _side(x, x, ends)
    gap_above, c_above, w_above = _side(1.0 - x, x, ends)
    gap = np.concatenate([gap_below, gap_above], axis=1)
    y = np.concatenate([y_below, here + gap_above], axis=1)
    c = np.concatenate([(1.0 - here) + gap_below, c_above], axis=1)
    return Nodes(gap, np.concatenate([w_below, w_above], axis=1), y, c)


def _side(length: np.ndarray, x: np.ndarray, ends: Ends) -> tuple[np.ndarray, ...]:
    """Return gaps from x, distances from the end on this side, and weights.

    A piece next to x is shorter than x, the distance of the lower end, which shows from above too.
    """
    half = 0.5 * length
    near = 0.25 * np.minimum(x, half)
    first, w_first = power_rule(near, ends.kernel, ends.smoothing, ends.nodes)
    # The integrand is analytic in a strip of half-width pi about the real log gap.
    spread = float(np.log((half / near).max()))
    middle, w_middle = log_rule(near, half, 8 + ends.terms // 2 + int(2.0 * spread))
    last, w_last = power_rule(half, ends.law, ends.order, ends.terms + 12)
    beyond = length[:, None]
    gap = np.concatenate([first, middle, beyond - last], axis=1)
    end = np.concatenate([beyond - first, beyond - middle, last], axis=1)
    return gap, end, np.concatenate([w_first, w_middle, w_last], axis=1)


def _from_end(x: np.ndarray, ends: Ends) -> Nodes:
    """Return the rule for x = 0, where both singularities fall together."""
    half = np.full(x.size, 0.5)
    far = ends.terms + 12
    # A multiple of the order, so that the law stays smooth.
    smoothing = ends.order * -(-ends.smoothing // ends.order)
    both = min(ends.kernel, 0.0) + ends.law
    low, w_low = power_rule(half, both, smoothing, ends.nodes + far)
    high, w_high = power_rule(half, ends.law, ends.order, far)
    y = np.concatenate([low, 1.0 - high], axis=1)
    c = np.concatenate([1.0 - low, high], axis=1)
    return Nodes(y, np.concatenate([w_low, w_high], axis=1), y, c)


def power_rule(
    length: np.ndarray, power: float, smoothing: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a rule on [0, length] for t**power f(t), with f smooth in t**(1/smoothing)."""
    s, w = _jacobi(count, smoothing * (1.0 + power) - 1.0)
    return length[:, None] * s**smoothing, length[:, None] * smoothing * w * s ** (
        -smoothing * power
    )


def log_rule(low: np.ndarray, high: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a Gauss rule in log t on [low, high]."""
    z, w = gauss(count)
    half = 0.5 * np.log(high / low)[:, None]
    t = low[:, None] * np.exp(half * (1.0 + z))
    return t, half * w * t
