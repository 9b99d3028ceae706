"""Quadrature: Gauss rules for powers, logarithms and layers, and rules split at y = x.

A kernel U(|x - y|) has a kink or a singularity at y = x. The rules over [0, 1] are split there, and
give the gap |x - y| and the distances of y from both ends as numbers of their own, which
differences of positions would cancel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# The most nodes of one Gauss-Legendre rule: finding them costs count**3.
_PANEL = 64
# Points whose rules are made at once, and how far from the end those are that need longer ones:
# twice as many groups would save a tenth of the nodes, and cost more than these.
_MOST_POINTS, _NEAR_END = 300, 1e-5

# Distances from one end of a piece, from the other, and weights: (points, nodes) each. On a side of
# x the first are the gaps from x.
_Piece = tuple[np.ndarray, np.ndarray, np.ndarray]


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

    @classmethod
    def joined(cls, *sides: Nodes) -> Nodes:
        """Return rules for parts of an integral as one."""
        return cls(*(np.concatenate(part, axis=1) for part in zip(*sides, strict=True)))


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


def layered(length: np.ndarray, scale: float, count: int) -> _Piece:
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


@lru_cache(maxsize=256)
def jacobi(count: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gauss rule on [0, 1] for the weight s**alpha, nodes near 0 to their last digits.

    With s = t**2, the t are the singular values of a bidiagonal matrix whose squared entries are
    p_j (1 - p_(j-1)), with the canonical moments p_2k = k/(2k+1+alpha) and p_(2k-1) = (k+alpha)/
    (2k+alpha) of the weight (Dette and Studden, The Theory of Canonical Moments, sections 1.3 and
    1.4): an error of rounding in t is none of count**2 times that in s, which for alpha near -1
    would be 1e-10 in the weight of the first node. 1 - s comes from the mirrored weight, with
    1 - p_(2k-1), in the same way. The weights are in proportion to 1/(s (1-s) P'(s)**2) (Szego,
    Orthogonal Polynomials, (15.3.1)), where P' is the product of the distances of the other nodes.
    """
    k = np.arange(1, count + 1)
    even = (k / (2.0 * k + 1.0 + alpha))[:-1]
    odd, rest = np.array([k + alpha, k]) / (2.0 * k + alpha), 1.0 - np.append(0.0, even)
    matrices = np.zeros((2, count, count))
    matrices[:, k - 1, k - 1] = np.sqrt(odd * rest)
    matrices[:, k[:-1] - 1, k[:-1]] = np.sqrt(even * (1.0 - odd[:, :-1]))
    t, u = np.linalg.svd(matrices, compute_uv=False)
    t, u = t[::-1], u[:, None]
    # In units of the capacity of [0, 1], 1/4, in which products of many distances stay moderate.
    apart = 4.0 * np.where(
        t + t[:, None] < 1.4, (t - t[:, None]) * (t + t[:, None]), (u - u.T) * (u + u.T)
    )
    np.fill_diagonal(apart, t * u[:, 0])
    weight = apart.prod(axis=1) ** -2.0
    weight /= weight.sum()
    # Errors of t that are common to all tilt the weights by 1e-14; the mean of s is known.
    from_mean = t**2 - (alpha + 1.0) / (alpha + 2.0)
    if count > 1:
        weight *= 1.0 - from_mean * (weight @ from_mean) / (weight @ from_mean**2)
    return t**2, weight / ((alpha + 1.0) * weight.sum())


def power_rule(
    length: np.ndarray, power: float, smoothing: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a rule on [0, length] for t**power f(t), with f smooth in t**(1/smoothing)."""
    s, w = jacobi(count, smoothing * (1.0 + power) - 1.0)
    weight = length[:, None] * smoothing * w * s ** (-smoothing * power)
    return length[:, None] * s**smoothing, weight


def log_rule(low: np.ndarray, high: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a Gauss rule in log t on [low, high]."""
    z, w = gauss(count)
    half = 0.5 * np.log(high / low)[:, None]
    t = low[:, None] * np.exp(half * (1.0 + z))
    return t, half * w * t


def batches(x: np.ndarray, singular: bool) -> list[np.ndarray]:
    """Return the indices of points to treat together: some hundred at most.

    Where the kernel is singular, points near the end need longer rules, for a piece that grows with
    -log x, and 0 has a rule of its own.
    """
    groups = [np.arange(x.size)]
    if singular:
        near = x < _NEAR_END
        groups = [np.flatnonzero(part) for part in (x == 0.0, near & (x > 0.0), ~near)]
    return [
        part
        for group in groups
        if group.size
        for part in np.array_split(group, 1 + group.size // _MOST_POINTS)
    ]


class Ends(NamedTuple):
    """What is singular: the kernel like gap**kernel near 0, the law like x**law at the ends.

    kernel, law : exponents above -1
    order, terms : the law is smooth in x**(1/order) but for its power, and has so many coefficients
    smoothing, nodes : near a singularity of the kernel, gap = length * s**smoothing at so many
        nodes: whatever powers and logarithms it mixes, they are smooth enough in s
    """

    kernel: float
    law: float
    order: int
    terms: int
    smoothing: int = 12
    nodes: int = 32


def layered_sides(x: np.ndarray, scale: float, count: int) -> tuple[Nodes, Nodes]:
    """Return rules for what lies below and above each x <= 1/2, where layers are `scale` wide."""
    return _split(x, layered(x, scale, count), layered(1.0 - x, scale, count))


def singular_sides(x: np.ndarray, ends: Ends) -> tuple[Nodes, Nodes]:
    """Return rules for what lies below and above each x <= 1/2, all of them positive or all 0.

    Pieces, on each side of x: next to it, next to the end, and by logarithm the distances between.
    The rules integrate each of the law's terms, not only their decaying sum: what they missed would
    be free for a fit to use.
    """
    if not x.any():
        return _from_end(x, ends)
    # A piece next to x is shorter than x, the distance of the lower end, which shows from above
    # too.
    near = 0.125 * x, 0.25 * np.minimum(x, 0.5 * (1.0 - x))
    below, above = (
        _joined(_nearest(length, r, ends), *_beyond(length, r, ends))
        for length, r in zip((x, 1.0 - x), near, strict=True)
    )
    return _split(x, below, above)


def outer_sides(x: np.ndarray, ends: Ends) -> tuple[Nodes, Nodes]:
    """Return rules for what lies below x - x/4 and above x + x/4; `next_to` does the rest."""
    near = 0.25 * x
    below, above = (_joined(*_beyond(length, near, ends)) for length in (x, 1.0 - x))
    return _split(x, below, above)


def next_to(x: np.ndarray, ends: Ends) -> tuple[np.ndarray, np.ndarray]:
    """Return distances t <= x/4 and weights, for integrals over both sides of x at once.

    One side alone may diverge: U'(t) ~ t**(p-1), which the difference of the density at x - t and
    x + t makes t**p.
    """
    return power_rule(0.25 * x, ends.kernel, ends.smoothing, ends.nodes)


def _nearest(length: np.ndarray, near: np.ndarray, ends: Ends) -> _Piece:
    gap, weight = power_rule(near, ends.kernel, ends.smoothing, ends.nodes)
    return gap, length[:, None] - gap, weight


def _beyond(length: np.ndarray, near: np.ndarray, ends: Ends) -> tuple[_Piece, _Piece]:
    """Return the rules between the gap `near` and the end, which is `length` away."""
    half, whole = 0.5 * length, length[:, None]
    # The integrand is analytic in a strip of half-width pi about the real log gap.
    spread = float(np.log((half / near).max()))
    middle, w = log_rule(near, half, 8 + 3 * ends.terms // 4 + int(2.0 * spread))
    last, w_last = power_rule(half, ends.law, ends.order, ends.terms + 12)
    return (middle, whole - middle, w), (whole - last, last, w_last)


def _joined(*pieces: _Piece) -> _Piece:
    gap, end, weight = (np.concatenate(part, axis=1) for part in zip(*pieces, strict=True))
    return gap, end, weight


def _split(x: np.ndarray, below: _Piece, above: _Piece) -> tuple[Nodes, Nodes]:
    (gap, end, weight), (gap_above, end_above, weight_above) = below, above
    lower = Nodes(gap, weight, end, (1.0 - x)[:, None] + gap)
    return lower, Nodes(gap_above, weight_above, x[:, None] + gap_above, end_above)


def _from_end(x: np.ndarray, ends: Ends) -> tuple[Nodes, Nodes]:
    """Return the rule for x = 0, where both singularities fall together; none lies below."""
    half = np.full(x.size, 0.5)
    far = ends.terms + 12
    # A multiple of the order, so that the law stays smooth.
    smoothing = ends.order * -(-ends.smoothing // ends.order)
    both = min(ends.kernel, 0.0) + ends.law
    low, w_low = power_rule(half, both, smoothing, ends.nodes + far)
    high, w_high = power_rule(half, ends.law, ends.order, far)
    above = _joined((low, 1.0 - low, w_low), (1.0 - high, high, w_high))
    none = np.empty((x.size, 0))
    return _split(x, (none, none, none), above)
