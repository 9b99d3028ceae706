"""How far the rewards of an answer can be from the optimal ones, from the program and the answer.

With v the way from the rewards r to optimal ones, H the mean of -f'' along it and h the forces that
multipliers z >= 0 of the closed gaps leave, concavity and the optimality of both ends give

    sum_e w_e |U''| (v_a - v_b)**2 + penalties + sum_e z_e |v_a - v_b| <= h.v     (z of closed gaps)

Where v is short enough, |v_a - v_b| <= reach_e on every edge, U'' is bounded on the gaps within
reach and z_e |v_a - v_b| >= z_e / reach_e (v_a - v_b)**2: a quadratic form Q bounds the left side,
and Cauchy's inequality in Q bounds v. If that keeps every |v_a - v_b| below its reach, no longer v
is possible either, as the left side grows along the way (docs/theory.md#the-error-of-the-rewards).

How Q bounds v is in `collapse_theory.programs.reward_chain`; here is what Q is made from.
"""

from __future__ import annotations

import math

import numpy as np

from collapse_theory.numerics.linear import components
from collapse_theory.programs.certificate import certify
from collapse_theory.programs.domain import Box
from collapse_theory.programs.dual import AT_KINK, Dual, dual_flow, sides
from collapse_theory.programs.pair_sums import pair_gaps, straddle
from collapse_theory.programs.plackett_luce import ListwiseProgram
from collapse_theory.programs.program import EPS, Answer, Program
from collapse_theory.programs.reward_chain import Chain, Edges
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
            chain = _chain(program, rewards, gaps / width, near)
            if chain is not None:
                found = min(found, chain.bound(), chain.rigid)
            if found < SMALL * size / width:
                break
    # Sums of gaps are rounded, and so is their map to the box.
    return width * found + (2 + program.n / 4) * EPS * size


def _strongly_concave(
    program: Program | ListwiseProgram, rewards: np.ndarray, gaps: np.ndarray
) -> float:
    """Return a bound from the penalty alone: f falls by sum_i d_i v_i**2 or more."""
    if program.full:
        answer, least = Answer(gaps=gaps), program.kappa / program.n
    else:
        assert isinstance(program, Program)
        used = program.graph.node_of >= 0
        r = np.empty(program.graph.k)
        r[program.graph.node_of[used]] = rewards[used]
        answer, least = Answer(rewards=r), float(program.d.min())
    if not least > 0:
        return math.inf
    found = certify(program, answer)
    square = found.relative_gap * found.shortfall / least
    return math.sqrt(square) if square < math.inf else math.inf


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
    closed, ends = _wall(force, gaps)
    forces = (push - push[::-1]) / pairs + ends + np.append(closed, 0.0) - np.append(0.0, closed)
    left = np.abs(forces[1:-1]) + (unsure + unsure[::-1])[1:-1] / pairs
    return float(np.linalg.norm(left)) * (n - 1) / (2 * math.sqrt(2) * least) + moved


def _chain(
    program: Program | ListwiseProgram, rewards: np.ndarray, gaps: np.ndarray, near: float
) -> Chain | None:
    """Return the chain of an answer, gaps up to `near` of the largest reward closed."""
    if isinstance(program, ListwiseProgram):
        return _of_stages(program, gaps)
    if program.full and not program.kinked:
        return _of_ranking(program, gaps, near)
    return _of_graph(program, rewards, gaps, near)


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


def _left(table: np.ndarray, *more: np.ndarray) -> np.ndarray:
    """Return the forces at the places of a ranking, summed exactly: U' by pairs, then `more`."""
    signed = table - table.T
    rows = np.column_stack([signed, *more]).tolist()
    return np.array([math.fsum(row) for row in rows])


def _of_ranking(program: Program, gaps: np.ndarray, near: float) -> Chain | None:
    """Return the chain of a smooth full ranking."""
    utility, n = program.utility, program.n
    i, j = np.triu_indices(n, 1)
    extent = float(gaps.sum())
    gaps, moved = _closed(gaps, math.isfinite(utility.slope_at_zero), near * extent)
    from_top = np.concatenate([[0.0], gaps.cumsum()])
    x, units = pair_gaps(gaps)[i, j], EPS * (j - i) / 2
    if program.box:
        # The gaps as they are if they sum to 1; those of 1 seen from below, if U has a kink there.
        x, units = np.minimum(x, 1 - 4 * EPS), units + 4 * EPS + abs(1 - from_top[-1])
    table = np.zeros((n, n))
    table[i, j] = utility.slope(x) / len(x)
    if not np.all(np.isfinite(table)):
        return None
    unsure = slope_noise(utility, x, units * x) / len(x)
    closed = np.zeros(n - 1)
    if program.box:
        closed, push = _wall(straddle(table), gaps)
        forces = _left(table, push, np.append(closed, 0.0), -np.append(0.0, closed))
        squares, loose = np.zeros(n), np.zeros(n)
    else:
        rewards = from_top.mean() - from_top
        pull = 2 * program.kappa / n * rewards
        forces = _left(table, -pull)
        loose = (2 + n / 4) * EPS * np.abs(pull).max() * np.ones(n)
        squares = np.full(n, 2 * program.kappa / n)
        if program.floating:
            squares = np.full((n, n), float(_curvature(utility, x, 0.0 * x, 0.0).max()) / len(x))
    sharp = np.zeros(len(x))
    sharp[(j - i) == 1] = closed

    def bend(reach: np.ndarray) -> np.ndarray:
        return _curvature(utility, x, reach, 0.0) / len(x)

    edges = Edges(i, j, bend, sharp, unsure)
    return Chain(n, extent, program.box, edges, forces, squares, loose, moved=moved)


def _wall(force: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the multipliers of closed gaps in the box, and what its ends push at the rewards."""
    level = float(force[np.argmax(gaps)])
    closed = np.where(gaps == 0, np.maximum(level - force, 0.0), 0.0)
    push = np.zeros(len(gaps) + 1)
    push[0], push[-1] = -level, level
    return closed, push


def _of_stages(program: ListwiseProgram, gaps: np.ndarray) -> Chain | None:
    """Return the chain of a listwise loss: with the picks' probabilities p_k at stage k, -f'' is
    the mean over stages of the p_ki p_kj, each pair's weight.

    Where no score difference changes by more than t, they change by factors within exp(+-2t).
    """
    n, counted, beta = program.n, program.counted, program.utility.beta
    i, j = np.triu_indices(n, 1)
    scores = -beta * np.concatenate([[0.0], gaps.cumsum()])
    picks = np.where(np.arange(n) >= np.arange(counted)[:, None], scores, -np.inf)
    picks = np.exp(picks - scores[:counted, None])
    picks /= picks.sum(axis=1, keepdims=True)
    weight = beta * beta / counted * (picks.T @ picks)[i, j]
    force = beta / counted * program.stages(gaps).force
    sharp = np.zeros(len(i))
    units = (8 + 2 * n) * EPS + 2 * EPS * beta * float(gaps.sum())
    if program.box:
        closed, push = _wall(force, gaps)
        sharp[(j - i) == 1] = closed
        closed = np.concatenate([[0.0], closed, [0.0]])
        ends = np.concatenate([[0.0], force, [0.0]])
        forces = np.diff(ends + closed) + push
        squares = np.zeros(n)
    else:
        places = np.concatenate([[0.0], gaps.cumsum()])
        pull = 2 * program.kappa / n * (places.mean() - places)
        ends = np.concatenate([[0.0], force, [0.0]])
        forces, squares = np.diff(ends) - pull, np.full(n, 2 * program.kappa / n)
    loose = 2 * units * (np.append(force, 0.0) + np.append(0.0, force))

    def bend(reach: np.ndarray) -> np.ndarray:
        return weight * math.exp(-2 * beta * float(reach.max()))

    edges = Edges(i, j, bend, sharp, np.zeros(len(i)))
    return Chain(n, float(gaps.sum()), program.box, edges, forces, squares, loose)


def _of_graph(program: Program, rewards: np.ndarray, gaps: np.ndarray, near: float) -> Chain | None:
    """Return the chain of a comparison graph, or of a ranking with kinks.

    In the box its upper and lower end are two more nodes, k and k + 1.
    """
    graph, utility, w, k = program.graph, program.utility, program.graph.w, program.graph.k
    if program.kinked and len(w) > MOST_PAIRS:
        return None
    order, r, steps, moved = _places(program, rewards, gaps, near)
    at = np.argsort(order)
    if np.any(at[graph.a] >= at[graph.b]):
        return None  # a gap below 0
    x = pair_gaps(steps)[at[graph.a], at[graph.b]]
    y, dual = x - graph.m, dual_flow(program, r, 0.0, x)
    if not np.all(np.isfinite(dual.slopes)):
        return None
    # From b to a, as the flow goes: pairs, then nodes on the box and its ends.
    a, b = np.where(dual.head == k, k, dual.head), np.where(dual.tail == k, k + 1, dual.tail)
    none = np.zeros(len(a) - len(w))
    rounded = EPS * ((2 + k / 2) * x + np.abs(graph.m))
    unsure, sharp, slack = w * slope_noise(utility, y, rounded), dual.multipliers.copy(), 0.0
    for kink in utility.kinks:
        there = np.abs(y - kink) < AT_KINK
        below, above = sides(utility, kink)
        firm = w * np.maximum(np.minimum(dual.slopes - above, below - dual.slopes), 0.0)
        sharp = np.where(there, firm + sharp, sharp)
        unsure = np.where(there, 4 * EPS * w * abs(below), unsure)  # the slope is a chosen one
        slack += 2 * float((w * (below - above) * np.abs(y - kink))[there].sum())
    flow = np.append(w * dual.slopes + dual.multipliers, dual.on[len(w) :])
    pull, node = program.pull(r), np.arange(k)
    forces = _summed(k + 2, [(a, flow), (b, -flow), (node, -pull)])
    degree = np.bincount(graph.a, minlength=k) + np.bincount(graph.b, minlength=k)
    loose = (8 + degree) * EPS * (np.abs(pull) + np.abs(program.pull(np.abs(r))))
    squares = _squares(program)
    if program.box:
        forces[k:] = 0.0  # the ends stay
        squares, loose = np.pad(squares, (0, 2)), np.pad(loose, (0, 2))

    def bend(reach: np.ndarray) -> np.ndarray:
        return np.append(w * _curvature(utility, y, reach[: len(w)], -graph.m), none)

    edges = Edges(
        at[a],
        at[b],
        bend,
        np.append(sharp, dual.on[len(w) :]),
        np.append(unsure, none) + 2 * EPS * np.abs(flow),
    )
    return Chain(
        len(order),
        float(steps.sum()),
        program.box,
        edges,
        forces[order],
        squares[np.ix_(order, order)],
        loose[order],
        slack,
        moved,
        _rigid(program, dual, slack, float(np.abs(forces).sum() + unsure.sum())) + moved,
    )


def _rigid(program: Program, dual: Dual, slack: float, left: float) -> float:
    """Return how far rewards can move for a loss of `slack`, forces `left`, by the kinks alone.

    Whatever set of nodes moves, it loses what the dual flow can still change on the arcs across
    its border, per unit; of these there is one of at least `share` if such arcs connect all.
    """
    k, unit = program.graph.k, float(program.graph.w.min())
    flat = program.kinked or not program.utility.strictly_concave
    for share in HOLDS * unit if program.box and flat else ():
        onward, back = dual.capacity - dual.on > share, dual.on > share
        i = np.append(dual.tail[onward], dual.head[back])
        j = np.append(dual.head[onward], dual.tail[back])
        if not components(i, j, k + 1, directed=True).any():
            return slack / (share - left) if share > left else math.inf
    return math.inf


def _places(
    program: Program, rewards: np.ndarray, gaps: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return the order of the nodes, their rewards, the gaps, and what these were moved in all."""
    graph, k = program.graph, program.graph.k
    rewards = np.sort(rewards)[::-1] if program.full else rewards
    # Those of the same reward in an order that no pair contradicts.
    depth = np.append(graph.longest_paths[0], 0)[graph.node_of]
    node = graph.node_of[np.lexsort((depth, -rewards))]
    inside = np.flatnonzero(node >= 0)
    places = np.sort(inside[np.unique(node[inside], return_index=True)[1]])
    order = node[places]
    steps = np.add.reduceat(gaps, places[:-1]) if k > 1 else gaps[:0]
    steps[-1] = gaps[places[-2] : places[-1]].sum()
    r = np.empty(k)
    r[graph.node_of[graph.node_of >= 0]] = rewards[graph.node_of >= 0]
    closes = np.full(k - 1, math.isfinite(program.utility.slope_at_zero))
    if isinstance(program.domain, Box):
        r = (r - program.domain.low) / program.domain.unit
        order = np.concatenate([[k], order, [k + 1]])
        steps = np.concatenate([[1 - r[order[1]]], steps, [r[order[-2]]]])
        closes = np.concatenate([[True], closes, [True]])
    steps, moved = _closed(steps, closes, near * float(np.abs(r).max()))
    if program.box:
        r = np.where(r <= near, 0.0, np.where(r >= 1 - near, 1.0, r))
    return order, r, steps, moved


def _closed(steps: np.ndarray, closes: np.ndarray | bool, least: float) -> tuple[np.ndarray, float]:
    """Return gaps, those up to `least` closed where they can, and how much that is.

    The largest takes it up.
    """
    small = closes & (steps <= least)
    moved = float(steps[small].sum())
    steps = np.where(small, 0.0, steps)
    steps[np.argmax(steps)] += moved
    return steps, moved


def _squares(program: Program) -> np.ndarray:
    """Return the quadratic form of the penalties; under none, one that is 0 on centred rewards."""
    graph = program.graph
    form = np.diag(2 * program.d)
    if program.c > 0:
        sums = 2 * program.c * graph.w
        for i, j in (
            (graph.a, graph.a),
            (graph.a, graph.b),
            (graph.b, graph.a),
            (graph.b, graph.b),
        ):
            np.add.at(form, (i, j), sums)
    if program.floating:
        same = np.equal.outer(graph.part, graph.part)
        form += same * np.outer(graph.sizes, graph.sizes) * float(graph.w.max())
    return form


def _summed(k: int, terms: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return at each node the exact sum, rounded once, of the terms (node, value)."""
    node = np.concatenate([at for at, _ in terms])
    value = np.concatenate([values for _, values in terms])
    order = np.argsort(node, kind="stable")
    ends = np.searchsorted(node[order], np.arange(1, k))
    return np.array([math.fsum(part) for part in np.split(value[order], ends)])
