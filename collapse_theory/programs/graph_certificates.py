"""How far rewards on a comparison graph can be from the optimum, from the program and the answer.

The multipliers z >= 0 of r_a >= r_b are part of the answer: for feasible s, z adds only what helps.
With h = grad f(r) + B'z, concavity gives f(s) - f(r) <= h.(s - r) + z.(r_a - r_b). In the box
that is at most sum_i [max(h_i, 0) - h_i r_i] + z.(r_a - r_b); under a penalty sum d_i r_i**2 at
most sum_i h_i**2 / (4 d_i) + z.(r_a - r_b). Otherwise the bound is Fenchel's: slopes q of the pairs
and t of the sums r_a + r_b that balance at every node give
f(s) <= sum_e w_e [sup_{y >= 0} (U(y - m_e) - q_e y) + t_e**2 / (4c)] for every s. They are made by
one step of Newton's method from U' and 2c (r_a + r_b).
"""

from __future__ import annotations

import math

import numpy as np

from collapse_theory.programs.certificates import EPS, Certificate
from collapse_theory.programs.graph import GraphProgram
from collapse_theory.programs.laplacian import graph_solver
from collapse_theory.utilities import Utility

__all__ = ["certify_graph"]

NEAR = 1e-6  # gaps this near a kink take the slope they are given


def certify_graph(
    program: GraphProgram,
    r: np.ndarray,
    z: np.ndarray,
    slopes: np.ndarray | None = None,
) -> Certificate:
    """Return the certificate of feasible rewards `r` (k,) with multipliers `z` (edges,).

    `slopes` are those of the pairs at kinks.
    """
    graph = program.graph
    gaps, z = graph.differences(r), np.maximum(z, 0.0)
    with np.errstate(all="ignore"):
        y = gaps - graph.m
        values = program.utility.value(y)
        first, second = program.utility.derivatives(y)
        p, extra = _at_kinks(program.utility, y, first, slopes)
        short = _shortfall(program, gaps, values)
        objective = program.objective(r)
        sated = np.all(gaps == 1.0) if program.box else not np.any(gaps) and np.all(first <= 0)
        if sated and (program.box or not np.any(r)):
            return Certificate(objective, 0.0, 0.0)  # no pair can have more
        if not np.all(np.isfinite(p)) or np.any(gaps < 0):
            return Certificate(objective, math.inf, short)
        flow = graph.w * p + z
        h = graph.divergence(flow) - program.pull(r)
        # Sums over a node's pairs, and U' at gaps that are differences of rounded rewards.
        size = graph.gathered(np.abs(graph.w * p) + z) + np.abs(program.pull(r))
        largest = float(np.abs(r).max())
        bend = graph.gathered(graph.w * np.abs(np.where(p == first, second, 0.0))) * largest
        degree = np.bincount(graph.a, minlength=graph.k) + np.bincount(graph.b, minlength=graph.k)
        rounding = EPS * ((4 + np.sqrt(degree)) * size + bend)
        gap = _bound(program, r, gaps, p, z, h, rounding) + float(graph.w @ extra)
        # At a kink U still falls below it.
        steep = np.maximum(np.abs(first), np.abs(program.utility.slope(y - NEAR * gaps)))
        local = float(graph.w @ (steep * gaps + np.abs(second) * gaps**2))
    if program.box:
        # Nothing is above U(widest); where all pairs have it up to rounding, nothing is missing.
        sated = short <= 16 * EPS * local
        return Certificate(objective, min(gap, max(short, 0.0) + EPS * local), short, sated)
    scale = float(graph.w @ np.abs(values)) + float(program.d @ r**2)
    return Certificate(objective, gap + 4 * EPS * scale, short)


def _bound(
    program: GraphProgram,
    r: np.ndarray,
    gaps: np.ndarray,
    p: np.ndarray,
    z: np.ndarray,
    h: np.ndarray,
    rounding: np.ndarray,
) -> float:
    slack = math.fsum(z * gaps)
    if program.box:
        # max(h, 0) - h r without a difference of large numbers.
        missing = np.where(h > 0, h * (1 - r), -h * r)
        return max(math.fsum(missing) + slack, 0.0) + math.fsum(rounding)
    if np.any(program.d):
        rest = np.abs(h) + rounding
        return math.fsum(rest**2 / (4 * program.d)) + slack
    found = _dual_gap(program, r, gaps, p, z, h, rounding)
    if program.c > 0 and not program.graph.two_sided.any():
        found = min(found, _curved_gap(program, h, rounding) + slack)
    return found


def _curved_gap(program: GraphProgram, h: np.ndarray, rounding: np.ndarray) -> float:
    """Return max_d h.d - c sum_e w_e (d_a + d_b)**2, for a graph on which the sums tell r."""
    graph = program.graph
    signs = np.where(h < 0, -1.0, 1.0)
    rest = h + signs * rounding
    solve = graph_solver(graph.a, graph.b, 0.0 * graph.w, graph.w, np.zeros(graph.k))
    if solve is None:
        return math.inf
    y = solve(rest)
    left = rest - graph.gathered(graph.w * (y[graph.a] + y[graph.b]))
    if not np.abs(left).sum() <= 1e-6 * np.abs(rest).sum():
        return math.inf  # so nearly two-sided that the system can't be solved
    # Twice it: for the signs of the rounding, and for what the solver left.
    return 2 * float(rest @ y) / (4 * program.c)


def _dual_gap(
    program: GraphProgram,
    r: np.ndarray,
    gaps: np.ndarray,
    p: np.ndarray,
    z: np.ndarray,
    h: np.ndarray,
    rounding: np.ndarray,
) -> float:
    """Return sum_e w_e [sup (U(y) - q y) + t**2 / (4c)] - f(r) for balanced q and t."""
    graph, c = program.graph, program.c
    w = graph.w
    bend = newton_system(program, r, z)
    solve = graph_solver(graph.a, graph.b, bend, 2 * c * w, np.zeros(graph.k))
    if solve is None:
        return math.inf
    q, sums = p + z / w, r[graph.a] + r[graph.b]
    both, rest = sums.copy(), h
    for _ in range(3):  # the second and third time for what the solver left
        dr = solve(rest)
        if not np.all(np.isfinite(dr)):
            return math.inf
        q = q - bend / w * graph.differences(dr)
        both = both + dr[graph.a] + dr[graph.b]
        rest = graph.divergence(w * q) - graph.gathered(2 * c * w * both)
    gain = _conjugate_gain(program.utility, gaps, graph.m, q)
    # t**2/(4c) + c x**2 - t x at t = 2c both, x = sums; sum w (q y + t x) = 0 for the balanced.
    gain = w * gain + c * w * (both - sums) ** 2
    unbalanced = float((np.abs(rest) + rounding) @ (np.abs(r) + np.ptp(r)))
    return math.fsum(gain) + unbalanced


def _conjugate_gain(utility: Utility, gaps: np.ndarray, m: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return sup_{y >= 0} [U(y - m) - q y] - [U(g - m) - q g], bounded from above."""
    low, high = np.zeros_like(gaps), np.maximum(2 * gaps, 1e-3)
    for _ in range(80):
        open_ = utility.slope(high - m) > q
        if not open_.any():
            break
        low, high = np.where(open_, high, low), np.where(open_, 2 * high, high)
    else:
        return np.full_like(gaps, np.inf)  # no gap has the slope q: the bound says nothing
    for _ in range(60):
        middle = (low + high) / 2
        rising = utility.slope(middle - m) > q
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    # From the side of the greatest: U(y) - q y rises by at most its slope times what is left.
    at_zero = utility.slope(low - m) - q
    left = np.where((high > low) & np.isfinite(at_zero), np.maximum(at_zero, 0) * (high - low), 0)
    best = np.where(np.isfinite(at_zero), low, high)
    gain = utility.value(best - m) - utility.value(gaps - m) - q * (best - gaps)
    return np.maximum(gain + left, 0.0)


def _at_kinks(
    utility: Utility, y: np.ndarray, first: np.ndarray, slopes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return U', at kinks the given slopes where they are supergradients, and what those cost."""
    p, extra = first.copy(), np.zeros_like(first)
    if slopes is None:
        return p, extra
    for at in utility.kinks:
        close = np.abs(y - at) < NEAR
        high, low = utility.slope(at * (1 + 1e-12 * np.array([-1.0, 1.0])))
        chosen = np.clip(slopes[close], min(low, high), high)
        p[close] = chosen
        lost = utility.value(np.float64(at)) + chosen * (y[close] - at) - utility.value(y[close])
        extra[close] = np.maximum(lost, 0.0)
    return p, extra


def _shortfall(
    program: GraphProgram,
    gaps: np.ndarray,
    values: np.ndarray,
) -> float:
    """Return what the gap is measured by: U(widest) - U in the box, else the spread of U."""
    graph, utility = program.graph, program.utility
    if not program.box:
        # Just below a kink, where U still rises.
        first, second = utility.derivatives(gaps * (1 - 1e-6) - graph.m)
        curved = float(graph.w @ (np.maximum(-second, 0.0) * gaps**2))
        return max(float(np.ptp(values)), float(graph.w @ (np.abs(first) * gaps)), curved)
    margins = np.unique(graph.m)
    if len(margins) > 30:
        return float(graph.w @ (utility.value(1.0 - graph.m) - values))
    total = 0.0
    for m in margins:
        of = graph.m == m
        total += float(graph.w[of] @ utility.shortfall(gaps[of] - m, 1.0 - m))
    return total


def newton_system(program: GraphProgram, r: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the edges' weights in Newton's system: -w U'', and z / gap where a gap is closed."""
    graph = program.graph
    gaps = graph.differences(r)
    with np.errstate(all="ignore"):
        bend = program.slopes(gaps)[1]
        held = z / np.maximum(gaps, 1e-12 * max(float(np.abs(gaps).max()), 1e-300))
    bend = np.where(np.isfinite(bend), bend, 0.0) + np.where(np.isfinite(held), held, 0.0)
    return np.maximum(bend, 1e-12 * float(bend.max()))
