"""How far the rewards of an answer can be from the optimal ones, from the program and the answer.

With v the way from the rewards r to optimal ones, H the mean of -f'' along it and h the forces that
multipliers z >= 0 of the closed gaps leave, concavity and the optimality of both ends give

    sum_e w_e |U''| (v_a - v_b)**2 + penalties + sum_e z_e |v_a - v_b| <= h.v     (z of closed gaps)

Where v is short enough, |v_a - v_b| <= reach_e on every edge, U'' is bounded on the gaps within
reach and z_e |v_a - v_b| >= z_e / reach_e (v_a - v_b)**2: a quadratic form Q bounds the left side,
and Cauchy's inequality in Q bounds v. If that keeps every |v_a - v_b| below its reach, no longer v
is possible either, as the left side grows along the way (docs/theory.md#the-error-of-the-rewards).

How Q bounds v is in `collapse_theory.programs.quadratic_bound`; here is what Q is made from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from collapse_theory.programs.certificate import certify
from collapse_theory.programs.domain import Box
from collapse_theory.programs.dual import AT_KINK, Dual, dual_flow, holds_all, sides
from collapse_theory.programs.pair_sums import all_gaps, all_straddling, pair_gaps
from collapse_theory.programs.plackett_luce import ListwiseProgram
from collapse_theory.programs.program import EPS, Answer, Program
from collapse_theory.programs.quadratic_bound import QuadraticBound
from collapse_theory.programs.smooth_bounds import MARGIN, curvature
from collapse_theory.utilities import Utility

MOST_REWARDS = 1500  # rewards: beyond, the dense systems take seconds
MOST_FORCES = 3000  # rewards: beyond, all pairs take seconds
_CELLS, _ROWS = np.linspace(0.0, 1.0, 257), 200  # of gaps, and rewards, looked at together
MOST_PAIRS = 20_000  # pairs of a program with kinks: beyond, its flows take seconds
# Of the largest reward: gaps up to it may be rounding and are closed, the second where the first
# leaves an error that isn't small.
CLOSED, SMALL = (16 * EPS, 1e-12), 1e-9
HOLDS = np.geomspace(1.0, 1e-6, 7)  # shares of the least weight that hold at kinks
NARROW_CELL = 1e-3  # relative to a gap: within it U'' is told by samples, up to a factor of 2


def rewards_error(
    program: Program | ListwiseProgram, rewards: np.ndarray, gaps: np.ndarray
) -> float:
    """Return a bound of |reward - optimal reward| for all completions in a pair; inf without one.

    Parameters
    ----------
    program : Program or ListwiseProgram
    rewards, gaps : numpy.ndarray, shapes (n,) and (n-1,)
        As a solution has them: in the completions' order, and between the sorted rewards.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> from collapse_theory.programs import Program
    >>> from collapse_theory.programs.reward_error import rewards_error
    >>> program = Program.of(ct.Quadratic(0.5), 4)
    >>> rewards = np.array([1.0, 0.75, 0.25, 0.0])
    >>> bool(rewards_error(program, rewards, -np.diff(rewards)) < 1e-14)  # these are optimal
    True
    """
    width = program.domain.unit
    size = float(np.abs(rewards).max())
    if program.n == 2 and program.box:
        return 0.0 if gaps[0] == width else math.inf
    strict = isinstance(program, Program) and program.utility.strictly_concave
    if program.n == 3 and program.full and program.box and strict and gaps[0] == gaps[1]:
        return 4 * EPS * size  # the only optimum is symmetric
    if program.domain.own:
        return math.inf
    ordered = not (isinstance(program, Program) and program.least_gap < 0)
    found = math.inf
    with np.errstate(all="ignore"):
        if not program.box:
            found = _strongly_concave(program, rewards, gaps)
        elif program.n > MOST_REWARDS and isinstance(program, Program):
            smooth = program.full and not program.kinked
            found = _of_many(program, gaps / width) if smooth else math.inf
        for near in CLOSED if ordered and program.n <= MOST_REWARDS else ():
            here = _at_answer(program, rewards, gaps / width, near)
            found = found if here is None else min(found, here.bound())
            if found < SMALL * size / width:
                break
    # Sums of gaps are rounded, and so is their map to the box.
    return width * found + (2 + program.n / 4) * EPS * size


def _strongly_concave(
    program: Program | ListwiseProgram, rewards: np.ndarray, gaps: np.ndarray
) -> float:
    """Return a bound from the penalty alone: f falls by sum_i d_i v_i**2 or more.

    Under Free the curvature of U holds smooth rankings as a penalty does, as far as it is known.
    """
    widest = math.inf
    if program.full:
        answer, least = Answer(gaps=gaps), program.kappa / program.n
        if least == 0 and isinstance(program, Program) and not program.kinked:
            widest = float(gaps.sum())
            least = curvature(program.utility, widest) / (program.n - 1)
    else:
        assert isinstance(program, Program)
        used = program.graph.node_of >= 0
        r = np.empty(program.graph.k)
        r[program.graph.node_of[used]] = rewards[used]
        answer, least = Answer(rewards=r), float(program.d.min())
    if not least > 0:
        return math.inf
    found = certify(program, answer)
    error = math.sqrt(found.relative_gap * found.shortfall / least)
    return error if 2 * error < MARGIN * widest else math.inf


def error_by_gap(program: Program | ListwiseProgram, gaps: np.ndarray | None, gap: float) -> float:
    """Return a bound for a smooth full ranking in the box from the gap of its objective alone.

    With v and m as in `_of_many`, f is m/(n-1) |v|**2 short of the best; made symmetric, an answer
    is no worse. The `gaps` are None where they are symmetric.
    """
    if not (isinstance(program, Program) and program.box and program.full and not program.kinked):
        return math.inf
    with np.errstate(all="ignore"):
        least = _least_curvature(program.utility)
    if not least > 0:
        return math.inf
    moved = 0.0 if gaps is None else float(np.abs(np.cumsum(gaps - gaps[::-1])).max()) / 2
    return program.domain.unit * math.sqrt(gap * (program.n - 1) / 2 / least) + moved


def _least_curvature(utility: Utility) -> float:
    """Return what -U'' isn't below at any gap of the unit box; 0 or less without a bound."""
    return -float(np.nan_to_num(utility.curvature_bound(_CELLS[:-1], _CELLS[1:]), nan=0.0).max())


def _of_many(program: Program, gaps: np.ndarray) -> float:
    """Return a bound for a smooth full ranking in the box from the least curvature of any gap.

    The optimum is symmetric. From the answer, made so, v sums to 0, hence sum_{i<j} (v_i - v_j)**2
    = n |v|**2, and m <= -U'' gives 2m/(n-1) |v|**2 <= h.v. Of n entries two at least are as large.
    """
    utility, n = program.utility, program.n
    given = gaps
    gaps, _ = _closed(gaps, math.isfinite(utility.slope_at_zero), CLOSED[0])
    gaps = (gaps + gaps[::-1]) / 2
    moved = float(np.abs(np.cumsum(gaps - given)).max())
    least = _least_curvature(utility)
    if not least > 0:
        return math.inf
    push, unsure = np.zeros(n), np.zeros(n)  # of the rewards below, by symmetry of those above
    for rows in np.array_split(np.arange(n - 1), -(-n // _ROWS)):
        below = np.arange(1, n) > rows[:, None]
        x = np.where(below, gaps, 0.0).cumsum(axis=1)
        x, units = np.minimum(x, 1 - 4 * EPS), (n / 2 + 4) * EPS + abs(1 - gaps.sum())
        push[rows] = np.where(below, utility.slope(x), 0.0).sum(axis=1)
        unsure[rows] = np.where(below, slope_noise(utility, x, units * x), 0.0).sum(axis=1)
    unsure += 32 * EPS * push  # NumPy sums in pairs, sixteen numbers at a time
    pairs = n * (n - 1) / 2
    force = np.cumsum(push - push[::-1])[:-1] / pairs
    closed = _multipliers(force, gaps)
    forces = (push - push[::-1]) / pairs + np.append(closed, 0.0) - np.append(0.0, closed)
    left = np.abs(forces[1:-1]) + (unsure + unsure[::-1])[1:-1] / pairs
    return float(np.linalg.norm(left)) * (n - 1) / (2 * math.sqrt(2) * least) + moved


def _at_answer(
    program: Program | ListwiseProgram, rewards: np.ndarray, gaps: np.ndarray, near: float
) -> QuadraticBound | None:
    """Return the program at an answer, gaps up to `near` of the largest reward closed."""
    if isinstance(program, Program) and (program.kinked or program.floating or not program.full):
        return _of_graph(program, rewards, gaps, near)
    return _of_ranking(program, gaps, near)


def _curvature(
    utility: Utility, y: np.ndarray, reach: np.ndarray, least: np.ndarray | float
) -> np.ndarray:
    """Return what -U'' isn't below between y - reach, or `least`, and y + reach."""
    low, high = np.maximum(y - reach, least), y + reach
    samples = [-utility.curvature(low + t * (high - low)) for t in (0.0, 0.5, 1.0)]
    seen = np.min(np.nan_to_num(samples, nan=0.0, posinf=1e300), axis=0) / 2
    if utility.own_functions:
        return np.maximum(seen, 0.0)
    proved = -utility.curvature_bound(low, high)
    proved = np.where(np.isfinite(proved), proved, 0.0)
    narrow = high - low <= 2 * NARROW_CELL * np.abs(y)
    return np.maximum(np.where(narrow, np.maximum(proved, seen), proved), 0.0)


def slope_noise(utility: Utility, y: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """Return how far rounding may put U' at gaps that are rounded by `rounded`.

    What U' itself has is seen at neighbouring floats, where it should change by U'' times the step.
    """
    first, second = utility.derivatives(y)
    seen = np.zeros_like(y)
    for units in (-2.0, -1.0, 1.0, 2.0):
        near = y * (1 + units * EPS)
        seen = np.maximum(seen, np.abs(utility.slope(near) - first - second * (near - y)))
    found = 2 * np.nan_to_num(seen) + 4 * EPS * np.abs(first)
    return found + np.abs(second) * (rounded + EPS * np.abs(y))


def _of_ranking(
    program: Program | ListwiseProgram, gaps: np.ndarray, near: float
) -> QuadraticBound | None:
    """Return a smooth full ranking at its gaps; in the box both of its ends are node 0."""
    n, kappa = program.n, program.kappa
    i, j = np.triu_indices(n, 1)
    extent = float(gaps.sum())
    finite = isinstance(program, ListwiseProgram) or math.isfinite(program.utility.slope_at_zero)
    gaps, moved = _closed(gaps, finite, near * extent)
    slopes, unsure, bend = (
        _of_pairs(program, gaps) if isinstance(program, Program) else _of_picks(program, gaps)
    )
    if not np.all(np.isfinite(slopes)):
        return None
    place, pull, closed = np.arange(n), np.zeros(n), np.zeros(n - 1)
    if program.box:
        place = place % (n - 1)
        force = all_straddling(slopes, n)
        closed = _multipliers(force, gaps)
    else:
        from_top = np.concatenate([[0.0], gaps.cumsum()])
        pull = 2 * kappa / n * (from_top.mean() - from_top)
    on_pairs = [(place[i], slopes), (place[j], -slopes)]
    on_closed = [(place[:-1], closed), (place[1:], -closed)]
    forces = _summed(place.max() + 1, [*on_pairs, *on_closed, (place, -pull)])
    sharp = np.zeros(len(i))
    sharp[(j - i) == 1] = closed
    squares = 2 * kappa / n * np.eye(len(forces))
    loose = (2 + n / 4) * EPS * np.abs(pull).max() * np.ones(len(forces))
    return QuadraticBound(
        extent,
        program.box,
        place[i],
        place[j],
        bend,
        sharp,
        unsure,
        forces,
        squares,
        loose,
        moved=moved,
    )


Pairs = tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]


def _of_pairs(program: Program, gaps: np.ndarray) -> Pairs:
    """Return w U' of the pairs of a ranking, how far rounding may put it, and bounds of -w U''."""
    utility, (i, j) = program.utility, np.triu_indices(program.n, 1)
    x, units = all_gaps(gaps), EPS * (j - i) / 2
    if program.box:
        # The gaps as they are if they sum to 1; those of 1 seen from below, if U has a kink there.
        x, units = np.minimum(x, 1 - 4 * EPS), units + 4 * EPS + abs(1 - math.fsum(gaps))
    unsure = slope_noise(utility, x, units * x) / len(x)
    return (
        utility.slope(x) / len(x),
        unsure,
        lambda reach: _curvature(utility, x, reach, 0.0) / len(x),
    )


def _of_picks(program: ListwiseProgram, gaps: np.ndarray) -> Pairs:
    """Return the same of a listwise loss: with the picks' probabilities p_k at stage k, the pull of
    k on j is their p_kj, and -f'' the mean over stages of the p_ki p_kj.

    Where no score difference changes by more than t, they change by factors within exp(+-2t).
    """
    n, counted, beta = program.n, program.counted, program.utility.beta
    i, j = np.triu_indices(n, 1)
    scores = -beta * np.concatenate([[0.0], gaps.cumsum()])
    picks = np.where(np.arange(n) >= np.arange(counted)[:, None], scores, -np.inf)
    picks = np.exp(picks - scores[:counted, None])
    picks /= picks.sum(axis=1, keepdims=True)
    weight = beta * beta / counted * (picks.T @ picks)[i, j]
    slopes = np.where(i < counted, beta / counted * picks[np.minimum(i, counted - 1), j], 0.0)
    units = (8 + 2 * n) * EPS + 2 * EPS * beta * float(gaps.sum())
    return slopes, units * slopes, lambda reach: weight * math.exp(-2 * beta * float(reach.max()))


def _multipliers(force: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return those of closed gaps in the box, where the force on all open ones is the same."""
    return np.where(gaps == 0, np.maximum(force[np.argmax(gaps)] - force, 0.0), 0.0)


def _of_graph(
    program: Program, rewards: np.ndarray, gaps: np.ndarray, near: float
) -> QuadraticBound | None:
    """Return a comparison graph, or a ranking with kinks; in the box node 0 is the box."""
    graph, utility, w, k = program.graph, program.utility, program.graph.w, program.graph.k
    if program.kinked and len(w) > MOST_PAIRS:
        return None
    r, x, terms, moved = _nodes(program, rewards, gaps, near)
    if np.any(x < 0):
        return None
    y, dual = x - graph.m, dual_flow(program, r, 0.0, x)
    if not np.all(np.isfinite(dual.slopes)):
        return None
    rounded = EPS * ((1 + terms / 2) * x + np.abs(graph.m))
    unsure, sharp, slack = w * slope_noise(utility, y, rounded), dual.multipliers.copy(), 0.0
    for kink in utility.kinks:
        there = np.abs(y - kink) < AT_KINK
        below, above = sides(utility, kink)
        firm = w * np.maximum(np.minimum(dual.slopes - above, below - dual.slopes), 0.0)
        sharp = np.where(there, firm + sharp, sharp)
        unsure = np.where(there, 4 * EPS * w * abs(below), unsure)  # the slope is a chosen one
        slack += 2 * float((w * (below - above) * np.abs(y - kink))[there].sum())

    def bend(reach: np.ndarray) -> np.ndarray:
        on_pairs = w * _curvature(utility, y, reach[: len(w)], -graph.m)
        return np.append(on_pairs, np.zeros(len(held)))

    # From b to a, as the flow goes: pairs, then nodes at an end of the box and the box.
    held = np.flatnonzero((dual.capacity + dual.back)[len(w) :])
    on_box = dual.on[len(w) :][held]
    a = np.append(graph.a, np.where(on_box < 0, held, k))
    b = np.append(graph.b, np.where(on_box < 0, k, held))
    flow = np.append(w * dual.slopes + dual.multipliers, np.abs(on_box))
    pull, degree = program.pull(r), graph.gathered(np.ones(len(w)))
    forces = _summed(k + 1, [(a, flow), (b, -flow), (np.arange(k), -pull)])
    loose = (8 + degree) * EPS * (np.abs(pull) + np.abs(program.pull(np.abs(r))))
    squares = _squares(program, bend(0 * flow))
    forces = forces[:k]
    if program.box:
        a, b = (a + 1) % (k + 1), (b + 1) % (k + 1)
        forces, loose, squares = np.append(0, forces), np.append(0, loose), np.pad(squares, (1, 0))
    elif program.floating:
        forces = graph.centred(forces / graph.sizes) * graph.sizes
    left = float(np.abs(forces).sum() + unsure.sum())
    return QuadraticBound(
        float(np.ptp(r)),
        program.box,
        a,
        b,
        bend,
        np.append(sharp, np.abs(on_box)),
        np.append(unsure, np.zeros(len(held))) + 2 * EPS * np.abs(flow),
        forces,
        squares,
        loose,
        slack,
        moved,
        _rigid(program, dual, slack, left) + moved,
        graph if program.floating else None,
    )


def _rigid(program: Program, dual: Dual, slack: float, left: float) -> float:
    """Return how far rewards can move for a loss of `slack`, forces `left`, by the kinks alone.

    Whatever set of nodes moves, it loses what the dual flow can still change on the arcs across
    its border, per unit; of these there is one of at least `share` if such arcs connect all.
    """
    unit = float(program.graph.w.min())
    flat = program.kinked or not program.utility.strictly_concave
    for share in HOLDS * unit if program.box and flat else ():
        if holds_all(program, dual, share):
            return slack / (share - left) if share > left else math.inf
    return math.inf


def _nodes(
    program: Program, rewards: np.ndarray, gaps: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return the nodes' rewards, the edges' gaps, of how many terms, and how far both were moved.

    Small gaps are closed, but for those of pairs whose slope would be infinite.
    """
    graph, k, domain = program.graph, program.graph.k, program.domain
    rewards = np.sort(rewards)[::-1] if program.full else rewards
    # Those of the same reward in an order that no pair contradicts.
    depth = np.append(graph.longest_paths[0], 0)[graph.node_of]
    order, r, place = np.lexsort((depth, -rewards)), np.empty(k), np.empty(k, dtype=int)
    used = graph.node_of[order] >= 0
    r[graph.node_of[order[used]]] = rewards[order[used]]
    place[graph.node_of[order[used]]] = np.flatnonzero(used)
    given = gaps
    if isinstance(domain, Box):
        r = (r - domain.low) / domain.unit
        given, place = np.concatenate([[1 - r.max()], gaps, [r.min()]]), place + 1
    a, b = place[graph.a], place[graph.b]
    closes = np.ones(len(given), dtype=bool)
    closes[a[b == a + 1]] = math.isfinite(program.utility.slope_at_zero)
    steps, moved = _closed(given, closes, near * float(np.abs(r).max()))
    r = r - np.append(0.0, np.cumsum(steps - given))[place]
    if program.box:
        below, above = np.append(0.0, np.cumsum(steps)), np.append(0.0, np.cumsum(steps[::-1]))
        r = np.where(below[place] == 0, 1.0, np.where(above[::-1][place] == 0, 0.0, r))
    return r, np.where(a < b, pair_gaps(steps)[a, b], -1.0), b - a, moved


def _closed(steps: np.ndarray, closes: np.ndarray | bool, least: float) -> tuple[np.ndarray, float]:
    """Return gaps, those up to `least` closed where they can, and how much that is.

    The largest takes it up.
    """
    small = closes & (steps <= least)
    moved = float(steps[small].sum())
    steps = np.where(small, 0.0, steps)
    steps[np.argmax(steps)] += moved
    return steps, moved


def _squares(program: Program, weights: np.ndarray) -> np.ndarray:
    """Return the quadratic form of the penalties; under none, one that is 0 on centred rewards.

    Any does for that, and one of the least of the pairs' weights takes no digits of others.
    """
    graph = program.graph
    form = np.diag(2 * program.d)
    ends = np.concatenate([graph.a, graph.b])
    np.add.at(form, (ends, ends), np.tile(2 * program.c * graph.w, 2))
    for i, j in ((graph.a, graph.b), (graph.b, graph.a)):
        np.add.at(form, (i, j), 2 * program.c * graph.w)
    if program.floating:
        same = np.equal.outer(graph.part, graph.part) * np.outer(graph.sizes, graph.sizes)
        form += same * weights[weights > 0].min(initial=1.0)
    return form


def _summed(k: int, terms: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return at each node the exact sum, rounded once, of the terms (node, value)."""
    node = np.concatenate([at for at, _ in terms])
    value = np.concatenate([values for _, values in terms])
    order = np.argsort(node, kind="stable")
    ends, value = np.searchsorted(node[order], np.arange(k + 1)).tolist(), value[order].tolist()
    return np.array([math.fsum(value[i:j]) for i, j in pairwise(ends)])
