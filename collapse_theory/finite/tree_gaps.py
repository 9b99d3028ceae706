"""Gaps on a graph to all their digits: Newton's method in the gaps of a spanning tree.

Where U'(0) is infinite, or weights differ by many orders, gaps are far below the rounding of the
rewards, whose differences they are. The forest of least gaps has all others as sums without
cancellation (Kruskal 1956), and in its gaps, each scaled by its own curvature, Newton's system is
as well conditioned as in the gaps of a full ranking, however stiff some are. The two ends of the
box are one node, gaps across it sums with 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from collapse_theory.finite.active_set import Rows
from collapse_theory.finite.budget import LEAST_GAP, Budget
from collapse_theory.numerics.linear import cholesky, components, least_tree_paths
from collapse_theory.programs import Program

MOST_STEPS = 100  # of Newton's method; 10 to 40 are usual
OPENED = 1e-12  # of the way to equal gaps, by which all gaps are opened to begin with
JUST_INSIDE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class _Tree:
    """Rewards and gaps as sums of unknowns: those of a forest's gaps, then the roots' places.

    Attributes
    ----------
    edges : numpy.ndarray of int
        Those of the forest.
    nodes, gaps : sparse arrays, shapes (k, unknowns) and (edges, unknowns)
        What each reward, and each gap, sums up.
    base, rise : numpy.ndarray, shapes (k,) and (edges,)
        What they are where all unknowns are 0.
    """

    edges: np.ndarray
    nodes: Any
    gaps: Any
    base: np.ndarray
    rise: np.ndarray

    @classmethod
    def of(cls, program: Program, closed: Rows, gaps: np.ndarray) -> Self:
        """Return the forest of the least of these gaps, with the closed ones contracted."""
        from scipy.sparse import csr_array, hstack

        graph, k = program.graph, program.graph.k
        low, high = np.flatnonzero(closed.low), np.flatnonzero(closed.high)
        i = np.concatenate([graph.a[closed.edges], low, high])
        j = np.concatenate([graph.b[closed.edges], np.full(len(low), k), np.full(len(high), k + 1)])
        label = components(i, j, k + 2)
        top = (label[:k] == label[k + 1]).astype(float)
        count = int(label.max()) + 1
        # The box is node 0, so that it is the root of what hangs on it.
        label = (np.where(label == label[k + 1], label[k], label)[:k] - label[k]) % count
        a, b = label[graph.a], label[graph.b]
        edges, paths = least_tree_paths(a, b, count, gaps)
        part = components(a, b, count)
        places = np.equal.outer(part, np.flatnonzero(np.bincount(part) > 0)).astype(float)
        places[:, part[0]] = 0.0  # the box stays where it is
        both: Any = hstack([paths, csr_array(places)], format="csr")
        nodes = both[label]
        # A path from the box begins at its lower end, or at 1.
        base = top - paths[label] @ graph.differences(top)[edges]
        return cls(edges, nodes, nodes[graph.a] - nodes[graph.b], base, graph.differences(base))

    def at(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gaps and the rewards where the unknowns are u."""
        return self.rise + self.gaps @ u, self.base + self.nodes @ u

    def newton(
        self, program: Program, gaps: np.ndarray, r: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the gradient in the unknowns, and Newton's step."""
        graph = program.graph
        gradient, bend = self.gradient(program, gaps, r)
        sums = self.nodes[graph.a] + self.nodes[graph.b]
        held = program.stiffness(r)
        terms = (self.gaps, bend), (self.nodes, held), (sums, 2 * program.c * graph.w)
        hessian = np.zeros((len(gradient), len(gradient)))
        for rows, weight in terms:
            if np.any(weight):
                hessian += (rows.T @ (rows * weight[:, None])).toarray()
        moves = hessian.diagonal() > 0
        solve = cholesky(hessian[np.ix_(moves, moves)]) if moves.any() else np.zeros_like
        if solve is None:
            return None
        step = np.zeros_like(gradient)
        step[moves] = solve(gradient[moves])
        return gradient, step

    def gradient(
        self, program: Program, gaps: np.ndarray, r: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient in the unknowns, and the edges' curvatures."""
        moves = abs(self.gaps).sum(axis=1) > 0
        first, bend = program.slopes(np.where(moves, gaps, 1.0))
        gradient = self.gaps.T @ np.where(moves, first, 0.0) - self.nodes.T @ program.pull(r)
        return gradient, np.where(moves, bend, 0.0)


def in_tree_gaps(
    program: Program, closed: Rows, r: np.ndarray, budget: Budget
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the rewards and the gaps on the edges, with these constraints held.

    Newton's method begins at `r`, with gaps open far enough to have digits. None where it leads
    nowhere.
    """
    spread = program.graph.levels * (1.0 if program.box else float(np.ptp(r)))
    place = np.where(closed.low, 0.0, np.where(closed.high, 1.0, r + OPENED * (spread - r)))
    gaps, last = np.where(closed.edges, 0.0, program.graph.differences(place)), np.inf
    tree = _Tree.of(program, closed, gaps)
    for _ in budget.rounds(MOST_STEPS):
        tree = _Tree.of(program, closed, gaps)
        t = len(tree.edges)
        roots = tree.nodes[:, t:].toarray()
        place = place - tree.base - tree.nodes[:, :t] @ gaps[tree.edges]
        u = np.concatenate([gaps[tree.edges], np.linalg.lstsq(roots, place, rcond=None)[0]])
        gaps, place = tree.at(u)
        if np.any(gaps < 0):
            return None
        found = tree.newton(program, gaps, place)
        if found is None or not np.all(np.isfinite(found[1])):
            return None
        gradient, step = found
        change = np.abs(step[:t] / u[:t])
        size = float(change.max(initial=0.0))
        u = _line_search(program, tree, u, step, gradient)
        gaps, place = tree.at(u)
        if gaps[tree.edges].min(initial=1.0) < LEAST_GAP:
            return None
        # Beneath rounding, or small and no longer shrinking as Newton's steps do: rounding too.
        if size < 1e-14 or (size < 1e-8 and size >= 0.3 * last):
            break
        last = size
    if program.box:
        inside = np.clip(place, LEAST_GAP, JUST_INSIDE)
        place = np.where(abs(tree.nodes).sum(axis=1) > 0, inside, tree.base)
    return place, gaps


def _line_search(
    program: Program, tree: _Tree, u: np.ndarray, step: np.ndarray, gradient: np.ndarray
) -> np.ndarray:
    """Return the unknowns after a step, shortened until no gap closes and f no longer falls there.

    Forest gaps e move in their logarithms: with U' ~ e**-k near a gap, Newton's step for a power
    changes log e by -log(1 - k de/e) / k, however far below 0 the plain one ends. That is taken
    where the logarithms leave other gaps, which are signed sums, little room.
    """
    t, gaps = len(tree.edges), tree.at(u)[0]
    first, second = program.utility.derivatives(u[:t] - program.graph.m[tree.edges])
    k = np.clip(np.nan_to_num(-second * u[:t] / first), 1e-6, 1e6)
    rate = step[:t] / u[:t]
    logs = np.where(rate < 0, -np.log1p(-k * np.minimum(rate, 0)) / k, np.log1p(np.abs(rate)))

    def curved(alpha: float) -> tuple[np.ndarray, np.ndarray]:
        ahead = np.append(u[:t] * np.exp(alpha * logs), u[t:] + alpha * step[t:])
        return ahead, np.append(ahead[:t] * logs, step[t:])

    def plain(alpha: float) -> tuple[np.ndarray, np.ndarray]:
        return u + alpha * step, step

    change = tree.gaps @ step
    falling = change < 0
    most = float((gaps[falling] / -change[falling]).min()) if falling.any() else np.inf
    ahead = u
    for path, first_try, tries in ((curved, 1.0, 8), (plain, 1.0 if most > 1 else 0.99 * most, 40)):
        rise = max(float(gradient @ path(0.0)[1]), 0.0)
        for alpha in first_try * 0.4 ** np.arange(tries):
            ahead, along = path(float(alpha))
            now, place = tree.at(ahead)
            if np.all((now > 0) | (gaps == 0)) and not rise < -float(
                tree.gradient(program, now, place)[0] @ along
            ):
                return ahead
    return ahead
