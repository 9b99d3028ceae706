"""What the forces that are left at the nodes of a comparison graph allow the objective to gain.

With slopes p of the pairs and multipliers z of closed gaps, h = B'(w p + z) - the penalties' pull
is left at the nodes; f(s) - f(r) <= h.(s - r) + z.(r_a - r_b) less what U and the penalties bend
(docs/theory.md#the-certificate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.numerics.graph_systems import graph_solver
from collapse_theory.numerics.linear import components, least_tree_paths
from collapse_theory.programs.program import EPS, Program
from collapse_theory.utilities import Utility

SHARES = np.geomspace(0.5, 1e-13, 20)  # of a gap, within which a changed slope is looked for
FAR = 1e15  # a gap at which U' is the least that it can be
FLAT = 1e-12  # of the largest curvature: the least that a step of Newton's method counts with


@dataclass(frozen=True)
class GraphForces:
    """An answer on a graph: its rewards and gaps, the slopes and multipliers of the edges.

    `unsure` is how far rounding may put the slopes.
    """

    program: Program
    r: np.ndarray
    gaps: np.ndarray
    slopes: np.ndarray
    unsure: np.ndarray
    z: np.ndarray

    @cached_property
    def left(self) -> np.ndarray:
        """The forces h."""
        graph = self.program.graph
        return graph.divergence(graph.w * self.slopes + self.z) - self.program.pull(self.r)

    @cached_property
    def errors(self) -> np.ndarray:
        """How far rounding may put h: in the sums over a node's pairs, and in the slopes."""
        graph = self.program.graph
        size = graph.gathered(np.abs(graph.w * self.slopes) + self.z)
        size += np.abs(self.program.pull(self.r))
        degree = graph.gathered(np.ones(len(graph.a)))
        return EPS * (4 + np.sqrt(degree)) * size + graph.gathered(graph.w * self.unsure)

    @property
    def slack(self) -> float:
        """What the multipliers cost where their gaps aren't closed."""
        return math.fsum(self.z * self.gaps)

    def bound(self) -> float:
        """Return the bound of the first order in the box, of the second without one."""
        program, r, h, errors = self.program, self.r, self.left, self.errors
        if program.box:
            # max(h, 0) - h r without a difference of large numbers, whatever h is within its
            # errors. Between the ends a reward may be rounded; at one it is exact.
            unsure = np.where((r == 0) | (r == 1), 0.0, 2 * program.graph.k * EPS)
            up, down = np.maximum(errors + h, 0.0), np.maximum(errors - h, 0.0)
            return math.fsum(up * (1 - r + unsure) + down * (r + unsure)) + self.slack
        if program.kappa > 0:
            return under_squares(h, errors, program.d) + self.slack
        if program.domain.own:
            return self.under_cost() + self.slack
        found = self.fenchel()
        if program.c > 0 and not program.graph.two_sided.any():
            found = min(found, self.under_sums() + self.slack)
        return found

    def under_cost(self) -> float:
        """Return what is left of y r <= cost(r) + conjugate(y), y the forces over the shares.

        It is convex in y, so that it is the largest at one of the ends of what y may be.
        """
        program, r, m = self.program, self.r, self.program.shares
        force = self.left + program.pull(r)
        y = (force + np.multiply.outer([-1.0, 1.0], self.errors)) / m
        cost, conjugate = program.domain.cost(r), program.domain.conjugate(y)
        size = np.abs(cost) + np.abs(conjugate) + np.abs(y * r)
        lost = np.maximum(conjugate + cost - y * r, 0.0) + 4 * EPS * size
        return math.fsum(m * lost.max(axis=0))

    def through_the_forest(self) -> float:
        """Return a bound of the second order in the forces left between the ends of the box.

        They flow to the ends through the forest of least gaps, whose slopes change by what they
        carry. U(y) - q y is above its value at g by at most |U'(g) - q| times the way from g to
        where U' = q, and that way is tried: U' at g (1 -+ share) lies beyond q. On a closed gap the
        multiplier carries it.
        """
        graph, utility, k = self.program.graph, self.program.utility, self.program.graph.k
        end = (self.r == 0) | (self.r == 1)
        node = np.where(end, 0, np.arange(1, k + 1))
        a, b = node[graph.a], node[graph.b]
        part = components(a, b, k + 1)
        if np.any(part[node] != part[0]):
            return math.inf
        edges, paths = least_tree_paths(a, b, k + 1, self.gaps)
        carried = np.where(end, 0.0, np.abs(self.left) + self.errors) @ abs(paths[node])
        g, m, w, p = self.gaps[edges], graph.m[edges], graph.w[edges], self.slopes[edges]
        less = carried / w + 2 * self.unsure[edges] + 8 * EPS * np.abs(p)
        cost = np.where((g == 0) & (self.z[edges] >= carried), 0.0, np.inf)
        for share in SHARES:
            within = (utility.slope(g * (1 - share) - m) >= p + less) & (
                utility.slope(g * (1 + share) - m) <= p - less
            )
            cost = np.where(within & (g > 0), 2 * carried * g * share, cost)
        met = np.bincount(graph.a[edges], carried, k) + np.bincount(graph.b[edges], carried, k)
        up = np.maximum(self.errors + met + self.left, 0.0)
        down = np.maximum(self.errors + met - self.left, 0.0)
        lost = np.where(end, up * (1 - self.r) + down * self.r, 0.0)
        return math.fsum(cost) + math.fsum(lost) + self.slack

    def under_sums(self) -> float:
        """Return max_s h.s - c sum_e w_e (s_a + s_b)**2, for a graph whose sums tell r."""
        graph = self.program.graph
        rest = self.left + np.where(self.left < 0, -1.0, 1.0) * self.errors
        solve = graph_solver(graph.a, graph.b, 0.0 * graph.w, graph.w, np.zeros(graph.k))
        if solve is None:
            return math.inf
        y = solve(rest)
        left = rest - graph.gathered(graph.w * (y[graph.a] + y[graph.b]))
        if not np.abs(left).sum() <= 1e-6 * np.abs(rest).sum():
            return math.inf  # so nearly two-sided that the system can't be solved
        # Twice it: for the signs of the rounding, and for what the solver left.
        return 2 * float(rest @ y) / (4 * self.program.c)

    def fenchel(self) -> float:
        """Return Fenchel's bound less f(r), q and t a step of Newton's method from U' and sums.

        Each step moves the slopes along the edges' curvatures until they balance at every node.
        """
        program, graph, r, gaps = self.program, self.program.graph, self.r, self.gaps
        c, w = program.c, graph.w
        bend = program.slopes(gaps)[1]
        held = self.z / np.maximum(gaps, FLAT * max(float(np.abs(gaps).max()), 1e-300))
        bend = np.where(np.isfinite(bend), bend, 0.0) + np.where(np.isfinite(held), held, 0.0)
        bend = np.maximum(bend, FLAT * float(bend.max()))
        solve = graph_solver(graph.a, graph.b, bend, 2 * c * w, np.zeros(graph.k))
        if solve is None:
            return math.inf
        q, sums = self.slopes + self.z / w, r[graph.a] + r[graph.b]
        both, rest = sums.copy(), self.left
        for _ in range(3):  # the second and third time for what the solver left
            dr = solve(rest)
            if not np.all(np.isfinite(dr)):
                return math.inf
            q = q - bend / w * graph.differences(dr)
            both = both + dr[graph.a] + dr[graph.b]
            rest = graph.divergence(w * q) - graph.gathered(2 * c * w * both)

        q = possible(program.utility, q, self.slopes)  # at the price of what is left over
        rest = graph.divergence(w * q) - graph.gathered(2 * c * w * both)

        # t**2/(4c) + c x**2 - t x at t = 2c both, x = sums; sum w (q y + t x) = 0 for the balanced.
        gain = conjugate_gain(program.utility, gaps, graph.m, q)
        bound = math.fsum(w * gain + c * w * (both - sums) ** 2)
        return bound + float((np.abs(rest) + self.errors) @ (np.abs(r) + np.ptp(r)))


def under_squares(h: np.ndarray, errors: np.ndarray, d: np.ndarray | float) -> float:
    """Return max over s of h.s - sum_i d_i s_i**2, h known up to `errors`."""
    return math.fsum((np.abs(h) + errors) ** 2 / (4 * d))


def possible(utility: Utility, q: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return q, but the slopes themselves where U has no slope as small."""
    return np.where(q > utility.slope(np.float64(FAR)), q, slopes)


def conjugate_gain(
    utility: Utility, gaps: np.ndarray, m: np.ndarray | float, q: np.ndarray
) -> np.ndarray:
    """Return sup_{y >= 0} [U(y - m) - q y] - [U(g - m) - q g], bounded from above.

    Newton's method for U'(y - m) = q from the gap itself, in a bracket that is halved where a step
    would leave it. U(s) - q s is above its value at y by at most |U'(y) - q| times the way to the
    root, which is of the second order in the last step.
    """
    low, high = np.zeros_like(gaps), np.maximum(2 * gaps, 1e-3)
    for _ in range(80):
        rising = utility.slope(high - m) > q
        if not rising.any():
            break
        low, high = np.where(rising, high, low), np.where(rising, 2 * high, high)
    else:
        return np.full_like(gaps, np.inf)  # no gap has the slope q: the bound says nothing
    at_zero = utility.slope(low - m) <= q
    y, way = np.where(at_zero, 0.0, np.clip(gaps, low, high)), high
    for _ in range(100):
        first, second = utility.derivatives(y - m)
        rising = first > q
        low, high = np.where(rising, y, low), np.where(rising, high, y)
        ahead = y - (first - q) / second
        newton = (ahead >= low) & (ahead <= high)
        ahead = np.where(newton, ahead, (low + high) / 2)
        way = np.where(newton, np.abs(ahead - y), high - low)
        y = np.where(at_zero, 0.0, ahead)
        if np.all(at_zero | (newton & (way <= 1e-9 * y)) | (high - low <= 4 * EPS * high)):
            break
    gain = utility.value(y - m) - utility.value(gaps - m) - q * (y - gaps)
    left = np.where(at_zero, 0.0, np.abs(utility.slope(y - m) - q) * way)
    return np.maximum(gain, 0.0) + left
