"""How far smooth gaps of very many completions can be from the optimum, in O(log n) sums.

The bound is that of programs/certificate.py, max_k G_k - sum_k G_k d_k, with G of the gaps as
polynomials. The gaps themselves have a G as near as their logarithms are, times E_k, the sum of
x |U''(x)| over the pairs that straddle k. What G rests on besides is looked at with other rewards
and shorter segments than the solver's, and what may be missed is measured, with a margin, by the
last Legendre coefficients: of U' on the segments, of gaps and forces on the panels; and by the
last Euler-Maclaurin term (docs/theory.md#very-many-completions).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.programs.index_sums import Rule, Straddling, Walks
from collapse_theory.programs.smooth_gaps import NEAR, P, SmoothGaps, rules
from collapse_theory.utilities import Linear, Utility

EPS = float(np.finfo(np.float64).eps)
# Finer than those of the solver, whose sums are thus looked at with others.
_RULE, _REWARDS = Rule(NEAR, 0.5), -np.cos(np.pi * np.arange(P) / (P - 1))
# A polynomial of degree 15 is nowhere above its largest value at 64 Chebyshev points, measured from
# the middle of its range, times this (Ehlich, Zeller 1964).
_SAMPLES = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
BEYOND = 2.0  # times the widest gap: so far U is made to rise, and rewards may spread on the way
# How far beyond the widest gap U is looked at for its curvature, in how many cells.
MARGIN, CELLS = 0.1, 256
_BETWEEN = 1.0 / np.cos(np.pi * 15 / 128)


class Bound(NamedTuple):
    """The mean utility, its rounding error, how far it is from the best at most, U(1) less it."""

    objective: float
    rounding: float
    bound: float
    shortfall: float


class _Sums(NamedTuple):
    """Sums (T,) over the sources right of each target: of U' and what its segments' nodes can miss,
    of the last Euler-Maclaurin terms of U', of x |U''|, of U(1) - U and what nodes can miss.
    """

    force: np.ndarray
    error: np.ndarray
    last: np.ndarray
    bend: np.ndarray
    short: np.ndarray
    short_error: np.ndarray


def smooth_bound(utility: Utility, gaps: SmoothGaps, rough: float) -> Bound:
    """Return the bound for gaps whose logarithms are within `rough` of the polynomials."""
    lay, n, tied = gaps.layout.halved(), gaps.n, gaps.tied
    z = gaps.layout.resampled(gaps.logs, lay)
    at = Straddling.of(lay, tied, _RULE, _REWARDS)
    poles = utility.exponent <= 0
    found, off = _sums(utility, at.walks, z, near=not poles)
    force, last, bend = (at.sums @ at.sides(v) for v in (found.force, found.last, found.bend))
    if poles:
        near, by_logs = at.windows.forces(utility, z)
        force, bend = force + near, bend - by_logs.sum(axis=1)  # sum of x U'' over the pairs
    error = _missed(at, found, force, last)
    top = _highest(at, force)
    if tied > 1:  # k of the group against the others, and against all that are elsewhere
        slope, on_tied = utility.slope_at_zero, float(found.force[0])
        k = min(max((tied + on_tied / slope) / 2, 1.0), tied - 1.0)  # a parabola's highest point
        top = max(top, k * (tied - k) * slope + k * on_tied)
    mass, inside = lay.mass * np.exp(z), at.to_nodes @ force
    off = 2.0 * (off + rough) * (float(bend.max()) + float(mass @ (at.to_nodes @ bend)))
    rounding = EPS * (4 + math.sqrt(at.walks.steps)) * (top + float(bend.max()))
    total = float(mass.sum())
    bound = max(float(mass @ (top - inside)), 0.0) + top * abs(1.0 - total)
    bound += 2.0 * error + off + rounding
    short = at.over_pairs(found.short)
    if tied > 1:
        short += tied * (tied - 1.0) * float(utility.shortfall(np.float64(0.0), 1.0))
    pairs, best = 0.5 * n * (n - 1.0), float(utility.value(np.float64(1.0)))
    size = abs(best) + float(utility.lost(np.float64(1.0)))
    lost = at.over_pairs(found.short_error) + EPS * (8 + math.log2(n)) * short
    moved = (rough + off / max(top, 1e-300) + EPS * (4 + math.log2(n))) * float(mass @ inside)
    rounded = EPS * (8 + 2 * math.log2(n)) * (size + short / pairs) + (lost + moved) / pairs
    return Bound(best - short / pairs, rounded, bound / pairs, short / pairs)


# -- under a penalty -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pull:
    """What holds rewards of mean 0, as a sum over pairs of slope x + curve x**2 / 2."""

    slope: float
    curve: float

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first two derivatives."""
        return self.slope + self.curve * x, np.full_like(x, self.curve)

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return what it takes off the utility of a gap."""
        return x * (self.slope + self.curve * x / 2)


def pulled(utility: Utility, n: int, kappa: float, widest: float) -> tuple[Utility, Pull]:
    """Return a utility that rises up to gaps beyond the `widest`, and what pulls against it.

    With mean 0 a penalty on squares is one on the gaps of pairs. Where none holds the rewards, U
    falls at wide gaps: a line is added to it, and taken off again.
    """
    if kappa > 0:
        return utility, Pull(0.0, kappa * (n - 1) / n)
    slope = -2.0 * float(utility.slope(np.float64(BEYOND * widest)))
    return utility + slope * Linear(), Pull(slope, 0.0)


@dataclass(frozen=True)
class _Pulled:
    """A utility less a pull."""

    utility: Utility
    pull: Pull

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (first, second), (pull, bend) = self.utility.derivatives(x), self.pull.derivatives(x)
        return first - pull, second - bend

    def shortfall(self, x: np.ndarray, _: float) -> np.ndarray:
        return self.pull.value(x) - self.utility.value(x)


def penalised_bound(utility: Utility, gaps: SmoothGaps, rough: float, kappa: float) -> Bound:
    """Return the bound under a penalty of weight `kappa`, for gaps as in `smooth_bound`.

    With h_i the force that is left on a reward, f(s) - f(r) <= sum_i h_i**2 n / (4 kappa). On a
    panel |h| is taken at its largest, between rewards and with what may be missed. Without a
    penalty kappa is that of the curvature m of U, n m / (n-1): then Fenchel's bound with the slopes
    U'(r_i - r_j) - (h_i - h_j) / n, which balance, is the same, as long as they are slopes of U
    where it is curved by m.
    """
    lay, n, r = gaps.layout.halved(), gaps.n, rules()
    z = gaps.layout.resampled(gaps.logs, lay)
    at, pairs = Straddling.of(lay, 1, _RULE, _REWARDS), 0.5 * n * (n - 1.0)
    widest = float(lay.mass @ np.exp(z))
    rising, pull = pulled(utility, n, kappa, widest)
    both_of: Any = (_Pulled(rising, pull), rising)
    (found, off), (plain, _) = (_sums(u, at.walks, z, near=True) for u in both_of)

    def both(values: np.ndarray) -> np.ndarray:
        return np.abs(values[: lay.m]) + np.abs(values[lay.m : 2 * lay.m])

    sizes = both(plain.force) + both(plain.force - found.force)
    unsure = both(found.error) + both(found.last) + 2.0 * (off + rough) * both(found.bend)
    unsure += EPS * (4 + math.sqrt(at.walks.steps)) * (sizes + both(found.bend))
    force, squares, largest = at.sides(found.force), 0.0, 0.0
    for _, count, u in at.lay.own:
        own = slice(u, u + (P if count > 1 else 1))
        most = float(np.abs(force[own]).max())
        if count > 1:
            nodes = at.to_nodes[own, own] @ force[own]
            values = r.rows(_SAMPLES) @ nodes
            middle, half = (values.max() + values.min()) / 2, np.ptp(values) / 2
            most = max(most, float(abs(middle) + half * _BETWEEN)) + float(r.tail(nodes))
        most += float(unsure[own].max())
        squares, largest = squares + 2.0 * count * most**2, max(largest, most)

    def mean(of: Callable[[np.ndarray], np.ndarray]) -> float:
        total = np.zeros(len(at.walks.targets))
        for s, _, x in at.walks.seen(z):
            total += np.bincount(s.target, (s.weight * of(x)).sum(axis=1), len(total))
        return at.over_pairs(total) / pairs

    moves = mean(lambda x: (np.abs(rising.slope(x)) + pull.derivatives(x)[0]) * x)
    size = mean(lambda x: np.abs(rising.value(x)) + 2 * pull.value(x))
    rounded = EPS * (8 + 2 * math.log2(n)) * size + at.over_pairs(found.short_error) / pairs
    rounded += (rough + off + EPS * (4 + math.log2(n))) * moves
    seen = utility.value(np.geomspace(float(np.exp(z.min())), widest, 64))
    spread = max(float(np.ptp(seen)), mean(lambda x: np.abs(utility.slope(x)) * x))
    if kappa == 0:
        kappa = n / (n - 1) * curvature(utility, widest, 2.0 * largest / n)
    bound = squares / pairs**2 * n / (4.0 * kappa) if kappa > 0 else math.inf
    return Bound(-at.over_pairs(found.short) / pairs, rounded, bound, spread)


def curvature(utility: Utility, widest: float, change: float = 0.0) -> float:
    """Return the least -U'' at gaps at which U' is within `change` of that at one up to the widest,
    0 where they may lie further out than is looked.
    """
    ends = np.linspace(0.0, (1 + MARGIN) * widest, CELLS + 1)
    bound, bend = utility.curvature_bound(ends[:-1], ends[1:]), utility.derivatives(ends[1:])[1]
    # Of one's own functions no bounds are known: half of what is seen at the ends of the cells.
    seen = np.maximum(bend, np.append(bend[0], bend[:-1])) / 2
    least = -float(np.max(np.where(np.isnan(bound), seen, bound)))
    return least if change < MARGIN * widest * least else 0.0


# -- what is missed --------------------------------------------------------------------------------


def _missed(at: Straddling, found: _Sums, force: np.ndarray, last: np.ndarray) -> float:
    """Return how far any G may be off.

    The errors of U' at the P rewards of a panel are taken for all of its rewards; an oscillation of
    F of degree 14 and more between them adds up to less than a 16th of itself, as the integral of
    the Legendre polynomial P_k is at most 2/(2k+1). The last Euler-Maclaurin term is counted whole.
    """
    m, r, total, between = at.lay.m, rules(), 0.0, 0.0
    error, F = found.error[:m] + found.error[m : 2 * m], at.sides(found.force)
    for _, n, u in at.lay.own:
        own = slice(u, u + (P if n > 1 else 1))
        total += n * float(error[own].max())
        if n > 1:
            nodes = at.to_nodes[own, own]
            total += n * float(r.tail(nodes @ F[own])) / 16
            between = max(between, float(r.tail(nodes @ force[own])))
    return total + between + float(np.abs(last).max())


def _highest(at: Straddling, force: np.ndarray) -> float:
    """Return an upper bound of all G, as polynomials on the panels."""
    highest = float(force.max())
    for _, _, u in at.lay.panels:
        own = slice(u, u + P)
        values = rules().rows(_SAMPLES) @ at.to_nodes[own, own] @ force[own]
        middle, half = (values.max() + values.min()) / 2, np.ptp(values) / 2
        highest = max(highest, float(middle + half * _BETWEEN))
    return highest


def _sums(utility: Utility, walks: Walks, z: np.ndarray, near: bool) -> tuple[_Sums, float]:
    """Return the sums, and how far distances may be off, as logarithms."""
    T, r, off = len(walks.targets), rules(), 0.0
    sums = _Sums(*np.zeros((6, T)))
    for k, (s, g, x) in enumerate(walks.seen(z)):
        first, second = utility.derivatives(x)
        short, nodes = utility.shortfall(x, 1.0), x.shape[1] == P
        each = [(sums.short, s.weight * short)]
        if k > 0 or near:
            each += [(sums.force, s.weight * first), (sums.bend, s.weight * np.abs(x * second))]
        if nodes and len(x):
            # An integral by P nodes has errors of degree 2P and more: the tail's, times less.
            each += [(sums.error, _tail(first) * s.weight), (sums.last, s.last * first)]
            each += [(sums.short_error, _tail(short) * s.weight)]
            # A sum of gaps up to a node misses an integral of what is of degree P and more.
            off = max(off, float((r.tail(g) / g.mean(axis=1)).max()) / 16)
        for total, values in each:
            total += np.bincount(s.target, values.sum(axis=1), T)
    return sums, off


def _tail(values: np.ndarray) -> np.ndarray:
    """Return (k, 1), tails of values (k, P) times the square root of their share."""
    tail, size = rules().tail(values), np.abs(values).max(axis=1)
    return (tail * np.sqrt(tail / np.where(size > 0, size, 1.0)))[:, None]
