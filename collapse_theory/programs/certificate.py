"""How far an answer can be from the optimum, computed from the program and the answer alone.

The objective f is concave, so f(s) - f(r) <= <grad f(r), s - r> for every feasible s; what that is
at most depends on what holds the rewards (docs/theory.md#the-certificate):

- in the box of a full ranking, whose extreme points are single gaps of size 1, max_k G_k - sum_k
  G_k d_k with G_k the derivative by the gap d_k (the Frank-Wolfe duality gap: Jaggi 2013);
- in the box of a graph, with h = grad f + B'z and the multipliers z >= 0 of r_a >= r_b, which for a
  feasible s only help: sum_i [max(h_i, 0) - h_i r_i] + z.(r_a - r_b);
- under a penalty sum_i d_i r_i**2, which makes f strongly concave, sum_i h_i**2 / (4 d_i) more;
- otherwise Fenchel's bound: slopes q of the pairs and t of the sums r_a + r_b that balance at every
  node give f(s) <= sum_e w_e [sup_{y >= 0} (U(y - m_e) - q_e y) + t_e**2 / (4c)].

At a kink any slope between U'(m+) and U'(m-) is a supergradient and may stand for U'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.flow import greatest_flow
from collapse_theory.numerics.linear import components, graph_solver, least_tree_paths
from collapse_theory.programs.plackett_luce import ListwiseProgram
from collapse_theory.programs.program import Answer, Program, centred, pair_gaps, straddle
from collapse_theory.utilities import Utility
from collapse_theory.values import Value

EPS = float(np.finfo(np.float64).eps)
AT_KINK = 1e-6  # gaps this near a kink lie at it: their slope may be chosen
INWARD = (0.0, *(10.0**-k for k in range(15, 5, -1)))  # shares of a dual point given up
BALANCE = 1e-12  # the relative gap above which a bound of the second order is worth its time
MOST_PATHS = 2000  # nodes up to which the paths of a forest are worth their memory
SHARES = np.geomspace(0.5, 1e-13, 20)
CLOSED = 1e-13  # gaps below it, relative to the largest reward, are closed up to rounding


@dataclass(frozen=True, eq=False)
class Certificate(Value):
    """Objective and bounds of an answer.

    Attributes
    ----------
    objective : float
        In float64, as it is reported.
    gap : float
        No feasible rewards have an objective above ``objective + gap``: the bound, and what
        rounding can be in it and in `objective`.
    relative_gap : float
        How far the answer itself can be from the optimum, over `shortfall`: without the rounding
        of the reported objective, so that U -> cU + d leaves it unchanged.
    shortfall : float
        U(largest gap) - objective in a box; without one the spread of U over the pairs.
    """

    objective: float
    gap: float
    relative_gap: float
    shortfall: float


def certify(program: Program | ListwiseProgram, answer: Answer) -> Certificate:
    """Return the certificate of an answer to a program.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.programs import Answer, Program, certify
    >>> program = Program.of(ct.Linear(), 3)
    >>> round(certify(program, Answer(gaps=[0.25, 0.25])).gap, 12)  # half the box is left empty
    0.333333333333
    """
    with np.errstate(all="ignore"):
        if answer.gaps is None:
            assert isinstance(program, Program)
            return _in_rewards(program, answer)
        return _in_gaps(program, np.asarray(answer.gaps, dtype=np.float64), answer.slopes)


def _certificate(
    objective: float, bound: float, rounding: float, shortfall: float, saturated: bool = False
) -> Certificate:
    """Return a certificate; `saturated` says that no pair can have more but for rounding."""
    if saturated or bound == 0 or shortfall == math.inf:
        relative = 0.0 if bound < math.inf else math.inf
    else:
        relative = bound / shortfall if shortfall > 0 else math.inf
    return Certificate(objective, bound + rounding, relative, shortfall)


# -- a full ranking, in its gaps -----------------------------------------------------------


@dataclass(frozen=True)
class _Forces:
    """What a full ranking's gaps give.

    value, rounding : the mean utility, and how far from it float64 may be
    force, size : (n-1,) G_k, and the sum of the absolute values of its terms
    shortfall : what gaps are measured by
    extra : what chosen slopes at kinks add to the bound
    saturated : whether U is flat beyond a kink that all pairs have reached
    """

    value: float
    rounding: float
    force: np.ndarray
    size: np.ndarray
    shortfall: float
    extra: float = 0.0
    saturated: bool = False


def _in_gaps(
    program: Program | ListwiseProgram, gaps: np.ndarray, slopes: np.ndarray | None
) -> Certificate:
    n = program.n
    at = (
        _pair_forces(program, gaps, slopes)
        if isinstance(program, Program)
        else _stage_forces(program, gaps)
    )
    if program.box:
        if at.shortfall == 0 or (n == 2 and gaps[0] == 1.0):
            return _certificate(at.value, 0.0, at.rounding, 0.0)  # nothing can be better
        if not np.all(np.isfinite(at.force)):
            return _certificate(at.value, math.inf, 0.0, at.shortfall)
        top = float(at.force.max())
        # sum_k d_k (top - G_k) + top (1 - sum_k d_k): no difference of large numbers.
        missing = math.fsum([1.0, *(-gaps)])
        bound = max(math.fsum(gaps * (top - at.force)) + top * missing + at.extra, 0.0)
        # Each G_k is a sum of n**2 / 4 positive terms: it carries about sqrt(n) units of rounding.
        bound += (4 + math.sqrt(n)) * EPS * top
        return _certificate(at.value, bound, at.rounding, at.shortfall, at.saturated)
    rewards, kappa = centred(gaps), program.kappa
    square = kappa * float(np.mean(rewards**2))
    objective, rounding = at.value - square, at.rounding + (4 + n / 2) * EPS * square
    if not np.any(gaps) and np.all(at.force <= 0):
        return _certificate(objective, 0.0, rounding, 0.0)  # U doesn't rise from 0
    if not np.all(np.isfinite(at.force)):
        return _certificate(objective, math.inf, 0.0, at.shortfall)
    pulls = 2 * kappa / n * np.cumsum(rewards)[:-1]
    h = np.diff(np.concatenate([[0.0], at.force - pulls, [0.0]]))
    errors = (4 + math.sqrt(n)) * EPS * np.concatenate([[0.0], at.size + pulls, [0.0]])
    errors = errors[1:] + errors[:-1]
    if kappa > 0:
        bound = _penalty_bound(h, errors, kappa / n) + at.extra
    else:
        assert isinstance(program, Program)
        bound = _free_bound(program, gaps, h)
        bound += float(errors @ (np.abs(rewards) + np.ptp(rewards)))
    return _certificate(objective, bound, rounding, at.shortfall)


def _penalty_bound(h: np.ndarray, errors: np.ndarray, d: np.ndarray | float) -> float:
    """Return max over s of h.s - sum_i d_i s_i**2, h known up to `errors`."""
    return math.fsum((np.abs(h) + errors) ** 2 / (4 * d))


def _pair_forces(program: Program, gaps: np.ndarray, slopes: np.ndarray | None) -> _Forces:
    utility, n = program.utility, program.n
    matrix, upper = pair_gaps(gaps), ~np.tri(n, dtype=bool)
    x = matrix[upper]
    values, first = utility.value(x), utility.slope(matrix)
    flat = first[upper]
    steep = np.abs(flat) * x
    extra = 0.0
    if program.kinked and np.all(np.isfinite(flat)):
        if slopes is None:
            slopes = dual_flow(program, _as_rewards(program, gaps), AT_KINK).slopes
        chosen, lost = _at_kinks(utility, x, flat, slopes)
        first[upper], extra = chosen, float(np.mean(lost))
    first = np.where(upper, first, 0.0) / len(x)
    size = straddle(np.abs(first)) if not program.box else np.empty(0)
    saturated = False
    if program.box:
        shortfall = float(np.mean(utility.shortfall(x, 1.0)))
        kinks = [kink for kink in utility.kinks if kink < 1]
        # Then the shortfall is rounding too, and nothing to measure a gap by.
        reached = bool(kinks) and x.min() >= kinks[-1] * (1 - 1e-13)
        saturated = reached and bool(utility.slope(np.float64(1.0)) == 0)
    else:
        shortfall = _spread(utility, x, values, np.full(len(x), 1.0 / len(x)), 0.0)
    rounding = _rounding_of_mean(values, steep, n)
    return _Forces(
        float(np.mean(values)), rounding, straddle(first), size, shortfall, extra, saturated
    )


def _rounding_of_mean(values: np.ndarray, steep: np.ndarray, terms: float) -> float:
    """Return how far the mean of U over pairs may be from its true value at the answer.

    A gap that is the sum of `terms` numbers is off by terms/2 units, which moves U by `steep` =
    |U'| x times as much; each U by four units; NumPy's sum in pairs by one for each halving.
    """
    size = float(np.mean(np.abs(values)))
    moved = float(np.mean(np.where(np.isfinite(steep), steep, 0.0)))
    return EPS * ((8 + math.log2(len(values) + 1)) * size + (4 + terms / 2) * moved)


def _as_rewards(program: Program, gaps: np.ndarray) -> np.ndarray:
    above = np.append(np.cumsum(gaps[::-1])[::-1], 0.0)
    return above if program.box else centred(gaps)


def _free_bound(program: Program, gaps: np.ndarray, h: np.ndarray) -> float:
    """Return mean sup_y (U(y) - q y) - mean U for balanced slopes q near U'.

    On all pairs q_ij = U'_ij - (h_i - h_j) / n balances, h the gradient of the sum over pairs.
    """
    n, upper = program.n, ~np.tri(program.n, dtype=bool)
    shift = h * ((n - 1) / 2)
    q = program.utility.slope(pair_gaps(gaps)) - (shift[:, None] - shift)
    x, q = pair_gaps(gaps)[upper], q[upper]
    return _inside(lambda part: float(np.mean(_conjugate_gain(program.utility, x, 0.0, part * q))))


def _stage_forces(program: ListwiseProgram, gaps: np.ndarray) -> _Forces:
    at = program.stages(gaps)
    force = program.utility.beta / program.counted * at.force
    # Every stage carries the rounding of those below it; log1p(tau) moves by at most that. Scores
    # are products, rounded themselves: exp(-158) moves by 158 units in its last place.
    rounding = (8 + program.n) * EPS * abs(at.value) + 2 * EPS * float(force @ gaps)
    return _Forces(at.value, rounding, force, force, program.shortfall(gaps))


# -- a graph, in its rewards ---------------------------------------------------------------


def _in_rewards(program: Program, answer: Answer) -> Certificate:
    graph, utility, r = program.graph, program.utility, np.asarray(answer.rewards)
    gaps, rounded = _edge_gaps(program, answer)
    y = gaps - graph.m
    values, (first, second) = utility.value(y), utility.derivatives(y)
    penalty = program.penalty(r)
    objective = float(graph.w @ values) - penalty
    steep = len(values) * graph.w * np.abs(first) * (np.abs(gaps) + np.abs(graph.m))
    rounding = _rounding_of_mean(len(values) * graph.w * values, steep, 2.0)
    rounding += (4 + math.sqrt(len(gaps))) * EPS * penalty
    short = _graph_shortfall(program, gaps, values)
    satisfied = np.all(gaps == 1.0) if program.box else not np.any(r) and np.all(first <= 0)
    if satisfied:
        return _certificate(objective, 0.0, rounding, 0.0)  # no pair can have more
    slopes, z = answer.slopes, answer.multipliers
    if slopes is None and z is None:
        dual = dual_flow(program, r)
        slopes, z = dual.slopes, dual.multipliers
    z = np.zeros_like(gaps) if z is None else np.maximum(z, 0.0)
    p, lost = _at_kinks(utility, y, first, slopes)
    if not np.all(np.isfinite(p)) or np.any(gaps < 0):
        return _certificate(objective, math.inf, 0.0, short)
    h = graph.divergence(graph.w * p + z) - program.pull(r)
    errors = _errors(program, r, p, z, np.where(p == first, second * rounded, 0.0))
    bound = _graph_bound(program, r, gaps, p, z, h, errors) + float(graph.w @ lost)
    if not program.box:
        return _certificate(objective, bound, rounding, short)
    if bound > BALANCE * short and graph.k <= MOST_PATHS and np.array_equal(p, first):
        moved = np.abs(second) * rounded
        bound = min(bound, _balanced_bound(program, r, gaps, (p, moved), z, h, errors))
    # Nothing is above U(widest); where all pairs have it up to rounding, nothing is missing. At a
    # kink U still falls below it.
    steep = np.maximum(np.abs(first), np.abs(utility.slope(y - AT_KINK * gaps)))
    local = float(graph.w @ (steep * gaps + np.abs(second) * gaps**2))
    bound = min(bound, max(short, 0.0) + EPS * local)
    return _certificate(objective, bound, rounding, short, short <= 16 * EPS * local)


def _edge_gaps(program: Program, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """Return the gaps on the edges, and how far rounding may put them.

    Gaps kept apart stand for themselves on the forest of least gaps, whose sums the others are:
    what they sum up is never larger. They must be those of the rewards up to rounding.
    """
    graph, r = program.graph, np.asarray(answer.rewards)
    gaps, size = graph.differences(r), float(np.abs(r).max())
    if answer.apart is not None and graph.k <= MOST_PATHS:
        edges, paths = least_tree_paths(graph.a, graph.b, graph.k, answer.apart)
        sums = (paths[graph.a] - paths[graph.b]) @ answer.apart[edges]
        if np.all(np.abs(sums - gaps) <= (4 + graph.k) * EPS * size):
            return sums, 2 * graph.k * EPS * np.abs(sums)
    return gaps, np.full_like(gaps, EPS * size)


def _errors(
    program: Program, r: np.ndarray, p: np.ndarray, z: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    """Return how far rounding may put the gradient at each node.

    It is in the sums over a node's pairs, and in U' at rounded gaps, which `moved` is.
    """
    graph = program.graph
    size = graph.gathered(np.abs(graph.w * p) + z) + np.abs(program.pull(r))
    degree = np.bincount(graph.a, minlength=graph.k) + np.bincount(graph.b, minlength=graph.k)
    return EPS * (4 + np.sqrt(degree)) * size + graph.gathered(graph.w * np.abs(moved))


def _graph_bound(
    program: Program,
    r: np.ndarray,
    gaps: np.ndarray,
    p: np.ndarray,
    z: np.ndarray,
    h: np.ndarray,
    errors: np.ndarray,
) -> float:
    slack = math.fsum(z * gaps)
    if program.box:
        # max(h, 0) - h r without a difference of large numbers, whatever h is within its errors.
        # Between the ends a reward may be rounded; at one it is exact.
        unsure = np.where((r == 0) | (r == 1), 0.0, 2 * program.graph.k * EPS)
        up, down = np.maximum(errors + h, 0.0), np.maximum(errors - h, 0.0)
        return math.fsum(up * (1 - r + unsure) + down * (r + unsure)) + slack
    if program.kappa > 0:
        return _penalty_bound(h, errors, program.d) + slack
    found = _dual_bound(program, r, gaps, p, z, h, errors)
    if program.c > 0 and not program.graph.two_sided.any():
        found = min(found, _sums_bound(program, h, errors) + slack)
    return found


def _balanced_bound(
    program: Program,
    r: np.ndarray,
    gaps: np.ndarray,
    slopes: tuple[np.ndarray, np.ndarray],
    z: np.ndarray,
    h: np.ndarray,
    errors: np.ndarray,
) -> float:
    """Return a bound of the second order in the forces that are left between the ends of the box.

    They flow to the ends through the forest of least gaps, whose slopes change by what they carry.
    U(y) - q y is above its value at g by at most |U'(g) - q| times the way from g to where U' = q,
    and that way is tried: U' at g (1 -+ share) lies beyond q. On a closed gap the multiplier
    carries it. `slopes` are U' and how far rounding may put it.
    """
    graph, utility, k = program.graph, program.utility, program.graph.k
    end = (r == 0) | (r == 1)
    node = np.where(end, 0, np.arange(1, k + 1))
    a, b = node[graph.a], node[graph.b]
    part = components(a, b, k + 1)
    if np.any(part[node] != part[0]):
        return math.inf
    edges, paths = least_tree_paths(a, b, k + 1, gaps)
    carried = np.where(end, 0.0, np.abs(h) + errors) @ abs(paths[node])
    g, m, w = gaps[edges], graph.m[edges], graph.w[edges]
    p, moved = (x[edges] for x in slopes)
    less = carried / w + 2 * moved + 8 * EPS * np.abs(p)
    cost = np.where((g == 0) & (z[edges] >= carried), 0.0, np.inf)
    for share in SHARES:
        inside = (utility.slope(g * (1 - share) - m) >= p + less) & (
            utility.slope(g * (1 + share) - m) <= p - less
        )
        cost = np.where(inside & (g > 0), 2 * carried * g * share, cost)
    met = np.bincount(graph.a[edges], carried, k) + np.bincount(graph.b[edges], carried, k)
    up, down = np.maximum(errors + met + h, 0.0), np.maximum(errors + met - h, 0.0)
    lost = np.where(end, up * (1 - r) + down * r, 0.0)
    return math.fsum(cost) + math.fsum(lost) + math.fsum(z * gaps)


def _sums_bound(program: Program, h: np.ndarray, errors: np.ndarray) -> float:
    """Return max_s h.s - c sum_e w_e (s_a + s_b)**2, for a graph on which the sums tell r."""
    graph = program.graph
    rest = h + np.where(h < 0, -1.0, 1.0) * errors
    solve = graph_solver(graph.a, graph.b, 0.0 * graph.w, graph.w, np.zeros(graph.k))
    if solve is None:
        return math.inf
    y = solve(rest)
    left = rest - graph.gathered(graph.w * (y[graph.a] + y[graph.b]))
    if not np.abs(left).sum() <= 1e-6 * np.abs(rest).sum():
        return math.inf  # so nearly two-sided that the system can't be solved
    # Twice it: for the signs of the rounding, and for what the solver left.
    return 2 * float(rest @ y) / (4 * program.c)


def _dual_bound(
    program: Program,
    r: np.ndarray,
    gaps: np.ndarray,
    p: np.ndarray,
    z: np.ndarray,
    h: np.ndarray,
    errors: np.ndarray,
) -> float:
    """Return Fenchel's bound less f(r), with q and t one step of Newton's method from U' and sums.

    Each step moves the slopes along the edges' curvatures until they balance at every node.
    """
    graph, c, w = program.graph, program.c, program.graph.w
    bend = program.slopes(gaps)[1]
    held = z / np.maximum(gaps, 1e-12 * max(float(np.abs(gaps).max()), 1e-300))
    bend = np.where(np.isfinite(bend), bend, 0.0) + np.where(np.isfinite(held), held, 0.0)
    bend = np.maximum(bend, 1e-12 * float(bend.max()))
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

    # t**2/(4c) + c x**2 - t x at t = 2c both, x = sums; sum w (q y + t x) = 0 for the balanced.
    def bound(part: float) -> float:
        gain = _conjugate_gain(program.utility, gaps, graph.m, part * q)
        return math.fsum(w * gain + c * w * (part * both - sums) ** 2)

    return _inside(bound) + float((np.abs(rest) + errors) @ (np.abs(r) + np.ptp(r)))


def _inside(bound: Callable[[float], float]) -> float:
    """Return Fenchel's bound at the balanced slopes, or at the nearest that U can have.

    By rounding they may fall below inf U', where the bound is infinite. Slopes of 0 balance too,
    and with them every part of the slopes.
    """
    return next((b for b in (bound(1.0 - less) for less in INWARD) if b < math.inf), math.inf)


def _conjugate_gain(
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


def _graph_shortfall(program: Program, gaps: np.ndarray, values: np.ndarray) -> float:
    graph, utility = program.graph, program.utility
    if not program.box:
        return _spread(utility, gaps, values, graph.w, graph.m)
    margins = np.unique(graph.m)
    if len(margins) > 30:  # then each margin's own function, which keeps digits, takes too long
        return float(graph.w @ (utility.value(1.0 - graph.m) - values))
    of = [graph.m == m for m in margins]
    short = (
        graph.w[e] @ utility.shortfall(gaps[e] - m, 1.0 - m)
        for e, m in zip(of, margins, strict=True)
    )
    return float(sum(short))


def _spread(
    utility: Utility, gaps: np.ndarray, values: np.ndarray, w: np.ndarray, m: np.ndarray | float
) -> float:
    """Return what a gap is measured by without a box: the spread of U over the pairs' gaps g.

    Or the mean of |U'| g or -U'' g**2 where that is more, as for two completions, which have but
    one gap; just below a kink, where U still rises.
    """
    first, second = utility.derivatives(gaps * (1 - 1e-6) - m)
    curved = float(w @ (np.maximum(-second, 0.0) * gaps**2))
    return max(float(np.ptp(values)), float(w @ (np.abs(first) * gaps)), curved)


# -- kinks ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dual:
    """The flow that balances the forces at rewards as far as they can be balanced.

    Attributes
    ----------
    slopes, multipliers : numpy.ndarray, shape (edges,)
        U' of the pairs, at kinks chosen, and z >= 0 of the closed gaps.
    tail, head, capacity, on : numpy.ndarray, shape (arcs,)
        The network: an arc from b to a on each edge, then those to and from the box, which is the
        node after the last; and what flows on it.
    """

    slopes: np.ndarray
    multipliers: np.ndarray
    tail: np.ndarray
    head: np.ndarray
    capacity: np.ndarray
    on: np.ndarray


def sides(utility: Utility, kink: float) -> tuple[float, float]:
    """Return the slopes just below and just above a kink."""
    below, above = utility.slope(kink * (1 + 1e-12 * np.array([-1.0, 1.0])))
    return float(below), float(min(above, below))


def _at_kinks(
    utility: Utility, y: np.ndarray, first: np.ndarray, slopes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return U', at kinks the given slopes where they are supergradients, and what those cost."""
    p, lost = first.copy(), np.zeros_like(first)
    if slopes is None:
        return p, lost
    for kink in utility.kinks:
        close = np.abs(y - kink) < AT_KINK
        below, above = sides(utility, kink)
        p[close] = np.clip(slopes[close], above, below)
        line = utility.value(np.float64(kink)) + p[close] * (y[close] - kink)
        lost[close] = np.maximum(line - utility.value(y[close]), 0.0)
    return p, lost


def dual_flow(
    program: Program, r: np.ndarray, near: float = CLOSED, gaps: np.ndarray | None = None
) -> Dual:
    """Return the slopes at kinks and the multipliers of closed gaps that leave the least force.

    What the slopes above the kinks leave at a node flows on: from b to a on an edge at a kink, up
    to the jump of its slope, on a closed edge without limit, and at the ends of the box to where
    forces may remain. The greatest such flow is the dual solution where r is optimal. Gaps and
    distances from the ends up to `near`, relative to the largest reward, count as closed. `gaps`
    are those on the edges where differences of r have too few digits.
    """
    graph, utility, k = program.graph, program.utility, program.graph.k
    gaps = graph.differences(r) if gaps is None else gaps
    y = gaps - graph.m
    low = np.array(utility.slope(y), dtype=np.float64)
    jump = np.zeros_like(low)
    for kink in utility.kinks:
        close = np.abs(y - kink) < AT_KINK
        below, above = sides(utility, kink)
        low[close], jump[close] = above, below - above
    closed = gaps <= near * float(np.abs(r).max())
    top = np.flatnonzero(r >= 1 - near) if program.box else np.empty(0, dtype=int)
    bottom = np.flatnonzero(r <= near) if program.box else np.empty(0, dtype=int)
    tail = np.concatenate([graph.b, top, np.full(len(bottom), k)])
    head = np.concatenate([graph.a, np.full(len(top), k), bottom])
    at_box = np.full(len(top) + len(bottom), np.inf)
    capacity = np.concatenate([np.where(closed, np.inf, graph.w * jump), at_box])
    net = graph.divergence(graph.w * low) - program.pull(r)
    on = np.zeros(len(tail))
    if np.all(np.isfinite(net)):
        on = greatest_flow(k + 1, tail, head, capacity, np.append(net, 0.0), passes=2).on
    carried = on[: len(low)]
    slopes = low + np.where(closed, 0.0, carried) / graph.w
    return Dual(slopes, np.where(closed, carried, 0.0), tail, head, capacity, on)
