"""Where the rewards run when nothing holds them: the direction of unbounded training.

Under log-sigmoid with no penalty the gaps grow for ever, as the logarithm of time. Gradient flow's
direction is that of the least-norm rewards with all compared gaps at least 1, whatever the weights
and margins: the hard-margin support vector machine on separable data (Soudry, Hoffer, Nacson,
Gunasekar, Srebro 2018, theorem 3), its data being the differences e_better - e_worse. For a full
ranking they are equally spaced: the gaps between neighbours are at least 1, and the sum of squares
about the mean is a sum of squares of gaps, so it is least where all of them are 1.

On a graph: minimise sum s_i r_i**2 subject to r_a - r_b >= 1. The edges at 1 tie nodes into rigid
pieces. At the optimum each piece has mean 0, so its rewards are whole numbers less their mean, and
multipliers z >= 0 of its edges carry the surplus s_i r_i of its upper nodes down to its lower ones:
a flow. From the levels of the longest paths, the best set of nodes to raise or lower by 1 is a
minimum cut (steepest descent for L-natural-convex functions: Murota, Discrete Convex Analysis,
2003, section 10.3). Then pieces move to mean 0 until they meet others, and split where the flow
shows that a part of one is better off alone; every move lowers the norm.

Which nodes are best raised together is the maximum closure problem: where the gaps r_a - r_b of
some edges mustn't shrink, b can be raised only together with a, and the set with the greatest sum
of gains follows from the greatest flow from the nodes that gain, along those edges, to nodes that
lose (Picard, Management Science 22 (1976), 1268-1272). Where raising nothing is best, the flow
takes every gain to a loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.numerics.checks import count
from collapse_theory.numerics.flow import Flow, Network
from collapse_theory.numerics.graph_systems import graph_solver
from collapse_theory.numerics.linear import components, spanning_forest
from collapse_theory.programs import Comparisons, Free, Solution
from collapse_theory.programs.graph import Graph
from collapse_theory.utilities import Hinge

TOLERANCE = 1e-12  # of the relative gap; the cuts end at an exact answer
EPS = float(np.finfo(np.float64).eps)
MOST_MOVES = 100_000  # of pieces; hundreds are many
FEW_NODES = 0.01  # of all: smaller sets are left to the pieces
MOST_STEPS = 32  # at most: what is far from its place then goes there in one move
NO_GAIN = 1e-12  # of the sum of all gains: less is rounding
NO_FLOW = 1e-12  # of the greatest multiplier: smaller ones are rounding
AT_ONE = 1e-9  # of the largest reward: gaps this near 1 are 1 up to rounding


@dataclass(frozen=True, eq=False, repr=False)
class MaxMargin(Solution):
    """A `Solution` of least norm, with how far behind its direction the rewards stay."""

    @cached_property
    def offset(self) -> np.ndarray:
        """What each pair's gap tends to less log t, under log-sigmoid with nothing that holds it.

        gap_e(t) = log t + log(w_e / (alpha_e sum w)) + o(1) on the support, where the multipliers
        alpha of r_better - r_worse >= 1 balance: on each node sum alpha_e (e_better - e_worse) is
        its reward (times its size, where completions are held equal). A margin m is a weight
        w exp(m). NaN off the support, where gaps grow faster.

        Of gradient flow dr/dt = grad f, f the weighted mean of log sigma(r_better - r_worse); in
        the order of the pairs, of a full ranking of (0, 1), (0, 2), ..., (n-2, n-1).

        Examples
        --------
        >>> import collapse_theory as ct
        >>> ct.max_margin(3).offset.round(6)  # log(4 / (3*2 * k (3-k))) between neighbours
        array([-1.098612,       nan, -1.098612])
        """
        pairs = self.comparisons or Comparisons.full(self.n)
        graph = Graph.of(pairs)
        r = np.empty(graph.k)
        r[graph.node_of[graph.node_of >= 0]] = self.rewards[graph.node_of >= 0]
        a, b = graph.node_of[pairs.better], graph.node_of[pairs.worse]
        weight = graph.w * np.exp(graph.m)
        known = support(graph, r)
        rho = behind(graph, known, weight, r)
        on = np.zeros((graph.k, graph.k), dtype=bool)
        on[graph.a[known], graph.b[known]] = True
        return np.where(on[a, b], rho[a] - rho[b], np.nan)


def max_margin(n_or_comparisons: int | Comparisons) -> MaxMargin:
    """Return the least-norm rewards with all compared gaps at least 1.

    Minimises mean r_i**2 subject to r_better - r_worse >= 1 for every pair, groups held equal;
    each connected part then has mean 0. It is the direction in which gradient flow on log-sigmoid
    takes the rewards when nothing holds them.

    Parameters
    ----------
    n_or_comparisons : int or Comparisons
        The number of completions of a full ranking, best first; or the pairs. Weights and margins
        don't change the direction.

    Returns
    -------
    MaxMargin
        A `Solution` with utility Hinge(1) under Free, of which it is the optimum of least norm;
        `objective` is -mean r_i**2, `gap` bounds how much closer to 0 it could be, by the dual
        program, and `relative_gap` is in units of mean r_i**2. Its `offset` says how far behind
        log t each gap stays.

    Notes
    -----
    Soudry, Hoffer, Nacson, Gunasekar, Srebro, "The Implicit Bias of Gradient Descent on Separable
    Data", JMLR 19 (2018), theorem 3.

    Examples
    --------
    >>> from collapse_theory.finite.max_margin import max_margin
    >>> max_margin(4).rewards
    array([ 1.5,  0.5, -0.5, -1.5])
    """
    if isinstance(n_or_comparisons, Comparisons):
        pairs, method = n_or_comparisons, "cuts"
        graph = Graph.of(pairs)
        found = least_norm(graph)
        r = found.r / min(float(graph.differences(found.r).min()), 1.0)
        rewards = np.where(graph.node_of >= 0, r[graph.node_of], 0.0)
        gap, iterations = _dual_gap(graph, r, found.z) / pairs.n, found.iterations
        undetermined = tuple(np.flatnonzero(graph.floating).tolist())
    else:
        n, pairs, method = count(n_or_comparisons), None, "closed form"
        rewards, gap, iterations, undetermined = (n - 1) / 2 - np.arange(n), 0.0, 0, ()
    size = float(np.mean(rewards**2))
    return MaxMargin(
        rewards=rewards,
        gaps=-np.diff(np.sort(rewards)[::-1]),
        objective=-size,
        gap=gap,
        relative_gap=gap / size,
        status="optimal" if gap <= TOLERANCE * size else "inaccurate",
        method=method,
        iterations=iterations,
        unique=True,
        utility=Hinge(1.0),
        domain=Free(),
        reference="Soudry et al. (2018), theorem 3",
        comparisons=pairs,
        undetermined=undetermined,
    )


def _dual_gap(graph: Graph, r: np.ndarray, z: np.ndarray) -> float:
    """Return sum sizes r**2 less the greatest lower bound along the ray of z."""
    push = graph.divergence(z)
    quadratic, linear = float(push**2 @ (1 / graph.sizes)), float(z.sum())
    # max_t 2 t linear - t**2 quadratic.
    norm = math.fsum(graph.sizes * r**2)
    return max(norm - linear**2 / quadratic, 0.0) + 16 * EPS * norm


# -- the least-norm rewards ----------------------------------------------------------------


@dataclass(frozen=True)
class LeastNorm:
    """The rewards of the nodes, the multipliers of the edges, and how many cuts and moves it took.

    `settled` says whether no piece was left to split.
    """

    r: np.ndarray
    z: np.ndarray
    iterations: int
    settled: bool


def least_norm(graph: Graph, most: int = MOST_MOVES) -> LeastNorm:
    """Return the rewards of least norm with all gaps at least 1, and their multipliers."""
    budget = Budget(most)
    return _by_pieces(graph, _by_steps(graph, budget), budget)


def _by_steps(graph: Graph, budget: Budget) -> np.ndarray:
    """Raise or lower the best set by 1 while that moves many nodes, between whole numbers."""
    above, below = graph.longest_paths
    a, b, s = graph.a, graph.b, graph.sizes
    r = np.floor((below - above) / 2)
    for _ in budget.rounds(MOST_STEPS):
        tight = graph.differences(r) < 2
        up = maximum_closure(graph.k, a[tight], b[tight], -(2 * r + 1) * s)
        down = maximum_closure(graph.k, b[tight], a[tight], (2 * r - 1) * s)
        # What each changes in sum s r**2.
        by_up, by_down = s[up] @ (2 * r + 1)[up], s[down] @ (1 - 2 * r)[down]
        many = up if by_up <= by_down else down
        if min(by_up, by_down) >= 0 or many.sum() <= FEW_NODES * graph.k:
            break
        r = r + up if by_up <= by_down else r - down
    return r


def _by_pieces(graph: Graph, r: np.ndarray, budget: Budget) -> LeastNorm:
    """Move rigid pieces toward mean 0; join those that meet, split those that are better apart."""
    a, b = graph.a, graph.b
    rigid = _at_one(graph, r)
    for _ in budget.rounds(MOST_MOVES):
        piece, aim = _means(graph, r, rigid)
        meets = (piece[a] != piece[b]) & (aim[a] - aim[b] < 1 - _rounding(aim))
        if meets.any():
            slack = np.maximum(graph.differences(r)[meets] - 1, 0.0)
            speed = slack + 1 - graph.differences(aim)[meets]
            at = slack / speed
            r = r + float(at.min()) * (aim - r)
            rigid = rigid.copy()
            rigid[np.flatnonzero(meets)[at <= float(at.min()) * (1 + 1e-9)]] = True
            continue
        r = aim
        tight = _at_one(graph, r)
        gain = -graph.sizes * r
        raised = maximum_closure(graph.k, a[tight], b[tight], gain)
        if not gain @ raised > NO_GAIN * float(np.abs(gain).sum()):
            return LeastNorm(r, _multipliers(graph, r), budget.used, True)
        rigid = tight & ~(raised[a] & ~raised[b])
    return LeastNorm(r, _multipliers(graph, r), budget.used, False)


def _rounding(r: np.ndarray) -> float:
    return 1e-13 * float(np.abs(r).max() + 1)


def _at_one(graph: Graph, r: np.ndarray) -> np.ndarray:
    return graph.differences(r) - 1 < AT_ONE * float(np.abs(r).max())


def _means(graph: Graph, r: np.ndarray, rigid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the piece of each node, and the rewards with all pieces at mean 0.

    Within a piece rewards differ by whole numbers.
    """
    piece = components(graph.a[rigid], graph.b[rigid], graph.k)
    first = np.unique(piece, return_index=True)[1]
    steps = np.rint(r - r[first][piece])
    mass = np.bincount(piece, graph.sizes)
    return piece, steps - (np.bincount(piece, graph.sizes * steps) / mass)[piece]


def _multipliers(graph: Graph, r: np.ndarray) -> np.ndarray:
    """Return z >= 0 (edges,), of the gaps at 1 alone, that balance sizes r as far as they can."""
    tight, z = _at_one(graph, r), np.zeros(len(graph.a))
    z[tight] = carried(graph.k, graph.a[tight], graph.b[tight], -graph.sizes * r)
    return z


# -- how far behind ------------------------------------------------------------------------


def support(graph: Graph, r: np.ndarray) -> np.ndarray:
    """Return which edges have a multiplier above 0 in some dual solution.

    Those that have one in the dual solution found, and those on a cycle of arcs along which it can
    change: from b to a on any edge at 1, and back where there is something to take off.
    """
    tight, z = np.flatnonzero(_at_one(graph, r)), _multipliers(graph, r)
    a, b = graph.a[tight], graph.b[tight]
    back = z[tight] > NO_FLOW * float(z.max())
    part = components(
        np.concatenate([b, a[back]]), np.concatenate([a, b[back]]), graph.k, directed=True
    )
    return tight[back | (part[a] == part[b])]


def behind(graph: Graph, on: np.ndarray, weight: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return rho (nodes,) with sum over the edges `on` of w exp(rho_b - rho_a) balancing r.

    Along r log t + rho the slopes of log-sigmoid are w exp(rho_b - rho_a) / t, and sizes dr/dt =
    sizes r / t. It minimises sum w exp(rho_b - rho_a) + sum sizes r rho, strictly convex in the
    gaps: damped Newton steps.
    """
    a, b, w = graph.a[on], graph.b[on], weight[on]
    pull, k = graph.sizes * r, graph.k
    rho = r * np.log(w.sum() / float(pull @ r))
    for _ in range(MOST_STEPS * 4):
        slope = w * np.exp(rho[b] - rho[a])
        rest = np.bincount(a, slope, k) - np.bincount(b, slope, k) - pull
        solve = graph_solver(a, b, slope, 0.0, np.zeros(k), tol=1e-13)
        if solve is None:
            break
        step = solve(rest)
        widest = float(np.abs(step[a] - step[b]).max())
        rho = rho + step * min(1.0, 1.0 / max(widest, 1e-300))
        if widest < 1e-14:
            break
    return rho


# -- the maximum closure ---------------------------------------------------------------------


def maximum_closure(k: int, a: np.ndarray, b: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return the set (k,) of the greatest sum of `gain` that has a wherever it has b.

    The edges have no cycles.
    """
    core = _condensed(k, a, b, gain)
    return _flow(core, 1).raised[core.label]


def carried(k: int, a: np.ndarray, b: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return z (edges,) >= 0 that takes each gain from b to a on the edges to where it is lost.

    It is as exact as float64 where raising nothing is best and each connected part sums to 0;
    elsewhere what can't be taken stays.
    """
    core = _condensed(k, a, b, gain)
    z = np.zeros(len(a))
    z[core.edge] = _flow(core, 2).on
    left = gain + np.bincount(a, z, k) - np.bincount(b, z, k)
    z = z + _along_forest(k, a, b, left, core.merged)
    return np.maximum(z, 0.0)


@dataclass(frozen=True)
class _Core:
    """What is left of a graph whose nodes are merged: label (k,), gains, ends, the edges' numbers.

    Long paths make flows slow, and most of them are no question: a node that gains and needs one
    other goes with it, and so does one that loses and is needed by one other.
    `merged` are the edges along which nodes were merged: a forest.
    """

    label: np.ndarray
    gain: np.ndarray
    a: np.ndarray
    b: np.ndarray
    edge: np.ndarray
    merged: np.ndarray


def _condensed(k: int, a: np.ndarray, b: np.ndarray, gain: np.ndarray) -> _Core:
    """Merge nodes that are surely raised together, until few are left that are."""
    label, edge, merged = np.arange(k), np.arange(len(a)), [np.zeros(0, dtype=np.int64)]
    while len(a):
        size = len(gain)
        needs, needed = np.bincount(b, minlength=size), np.bincount(a, minlength=size)
        along = ((gain[b] >= 0) & (needs[b] == 1)) | ((gain[a] < 0) & (needed[a] == 1))
        if not along.any():
            break
        merged.append(edge[along])
        new = components(a[along], b[along], size)
        count = int(new.max()) + 1
        gain, label = np.bincount(new, gain, count), new[label]
        a, b = new[a], new[b]
        key, first = np.unique(a * count + b, return_index=True)
        apart = key // count != key % count
        a, b, edge = a[first[apart]], b[first[apart]], edge[first[apart]]
        if along.sum() < 0.01 * size:
            break
    return _Core(label, gain, a, b, edge, np.concatenate(merged))


def _flow(core: _Core, passes: int) -> Flow:
    network = Network.of(len(core.gain), core.b, core.a)
    return network.greatest_flow(np.full(len(core.a), np.inf), core.gain, passes)


def _along_forest(
    k: int, a: np.ndarray, b: np.ndarray, left: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Return what flows from b to a on the `edges` of a forest to bring `left` to 0."""
    node, parent, number = spanning_forest(a[edges], b[edges], k)
    rest, flow, carried = [*left.tolist(), 0.0], np.zeros(len(a)), np.empty(k)
    back = zip(node[::-1].tolist(), parent[::-1].tolist(), strict=True)
    for at, (child, above) in enumerate(back):
        rest[above] += rest[child]
        carried[at] = rest[child]
    inner, carried = number >= 0, carried[::-1]
    edge = edges[number[inner]]
    flow[edge] = np.where(b[edge] == node[inner], 1.0, -1.0) * carried[inner]
    return flow
