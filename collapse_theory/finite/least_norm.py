"""The least-norm rewards with all gaps at least 1: exact, by minimum cuts and an active set.

Minimise sum s_i r_i**2 subject to r_a - r_b >= 1. The edges at 1 tie nodes into rigid pieces. At
the optimum each piece has mean 0, so its rewards are whole numbers less their mean, and multipliers
z >= 0 of its edges carry the surplus s_i r_i of its upper nodes down to its lower ones: a flow.

From the levels of the longest paths, the best set of nodes to raise or lower by 1 is a minimum cut
(steepest descent for L-natural-convex functions: Murota, Discrete Convex Analysis, 2003, section
10.3). Then pieces move to mean 0 until they meet others, and split where the flow shows that a part
of one is better off alone; every move lowers the norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.finite.closures import best_closure, carried
from collapse_theory.finite.steps import Budget
from collapse_theory.programs.graph import Graph
from collapse_theory.programs.paths import depths

__all__ = ["LeastNorm", "least_norm"]

ROUNDS = 100_000
FEW = 0.01  # sets of fewer nodes, as a part of all, are left to the pieces
STEPS = 32  # at most: what is far from its place then goes there in one move
NOTHING = 1e-12  # gains below it, relative to all, are rounding
EDGE = 1e-9  # gaps this near 1, relative to the largest reward, are 1: what differs is rounding


@dataclass(frozen=True)
class LeastNorm:
    """The rewards of the nodes, the multipliers of the edges, and how many cuts and moves it took.

    `settled` says whether no piece was left to split.
    """

    r: np.ndarray
    z: np.ndarray
    iterations: int
    settled: bool


def least_norm(graph: Graph, most: int = ROUNDS) -> LeastNorm:
    """Return the rewards of least norm with all gaps at least 1, and their multipliers."""
    budget = Budget(most)
    return _by_pieces(graph, _by_steps(graph, budget), budget)


def _by_steps(graph: Graph, budget: Budget) -> np.ndarray:
    """Raise or lower the best set by 1 while that moves many nodes, between whole numbers."""
    above, below = depths(graph.k, graph.a, graph.b), depths(graph.k, graph.b, graph.a)
    assert above is not None
    assert below is not None
    a, b, s = graph.a, graph.b, graph.sizes
    r = np.floor((below - above) / 2)
    for _ in budget.rounds(STEPS):
        tight = graph.differences(r) < 2
        up = best_closure(graph.k, a[tight], b[tight], -(2 * r + 1) * s)
        down = best_closure(graph.k, b[tight], a[tight], (2 * r - 1) * s)
        # What each changes in sum s r**2.
        by_up, by_down = s[up] @ (2 * r + 1)[up], s[down] @ (1 - 2 * r)[down]
        many = up if by_up <= by_down else down
        if min(by_up, by_down) >= 0 or many.sum() <= FEW * graph.k:
            break
        r = r + up if by_up <= by_down else r - down
    return r


def _by_pieces(graph: Graph, r: np.ndarray, budget: Budget) -> LeastNorm:
    """Move rigid pieces toward mean 0; join those that meet, split those that are better apart."""
    a, b = graph.a, graph.b
    held = _at_one(graph, r)
    for _ in budget.rounds(ROUNDS):
        piece, aim = _means(graph, r, held)
        meets = (piece[a] != piece[b]) & (aim[a] - aim[b] < 1 - _rounding(aim))
        if meets.any():
            slack = np.maximum(graph.differences(r)[meets] - 1, 0.0)
            speed = slack + 1 - graph.differences(aim)[meets]
            at = slack / speed
            r = r + float(at.min()) * (aim - r)
            held = held.copy()
            held[np.flatnonzero(meets)[at <= float(at.min()) * (1 + 1e-9)]] = True
            continue
        r = aim
        tight = _at_one(graph, r)
        gain = -graph.sizes * r
        raised = best_closure(graph.k, a[tight], b[tight], gain)
        if not gain @ raised > NOTHING * float(np.abs(gain).sum()):
            return LeastNorm(r, _multipliers(graph, r), budget.used, True)
        held = tight & ~(raised[a] & ~raised[b])
    return LeastNorm(r, _multipliers(graph, r), budget.used, False)


def _rounding(r: np.ndarray) -> float:
    return 1e-13 * float(np.abs(r).max() + 1)


def _at_one(graph: Graph, r: np.ndarray) -> np.ndarray:
    return graph.differences(r) - 1 < EDGE * float(np.abs(r).max())


def _means(graph: Graph, r: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the piece of each node, and the rewards with all pieces at mean 0.

    Within a piece rewards differ by whole numbers.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(held.sum()), (graph.a[held], graph.b[held])), shape=(graph.k,) * 2)
    count, piece = connected_components(links, directed=False)
    first = np.unique(piece, return_index=True)[1]
    steps = np.rint(r - r[first][piece])
    mass = np.bincount(piece, graph.sizes, count)
    return piece, steps - (np.bincount(piece, graph.sizes * steps, count) / mass)[piece]


def _multipliers(graph: Graph, r: np.ndarray) -> np.ndarray:
    """Return z >= 0 (edges,), of the gaps at 1 alone, that balance sizes r as far as they can."""
    tight, z = _at_one(graph, r), np.zeros(len(graph.a))
    z[tight] = carried(graph.k, graph.a[tight], graph.b[tight], -graph.sizes * r)
    return z
