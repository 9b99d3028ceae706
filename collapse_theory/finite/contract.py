"""The last digits: with the closed gaps known, Newton's method on the rewards that are left.

Nodes whose gap is closed are one, nodes at an end of the box stay there; what remains is smooth.
Multipliers of the closed gaps are then brought into balance at every node.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.finite.barrier import Point
from collapse_theory.finite.steps import Budget
from collapse_theory.programs.graph import GraphProgram
from collapse_theory.programs.graph_certificates import certify_graph
from collapse_theory.programs.laplacian import graph_solver

__all__ = ["polished"]

ROUNDS = 40
ENOUGH = 1e-13  # of the relative gap
SAME = 1e-12  # gaps below it, relative to the largest reward, may be rounding


@dataclass(frozen=True)
class Closed:
    """Which gaps are closed, and which nodes are at the lower and the upper end of the box."""

    edges: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All three, in the order of the multipliers."""
        return self.edges, self.low, self.high

    def labels(self, program: GraphProgram) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the contracted node of each node, and which of those move; None if none fits.

        The first two contracted nodes are the ends of the box.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        graph, k = program.graph, program.graph.k
        low, high = np.flatnonzero(self.low), np.flatnonzero(self.high)
        i = np.concatenate([graph.a[self.edges], low, high])
        j = np.concatenate([graph.b[self.edges], np.full(len(low), k), np.full(len(high), k + 1)])
        links = coo_array((np.ones(len(i)), (i, j)), shape=(k + 2, k + 2))
        count, label = connected_components(links, directed=False)
        if label[k] == label[k + 1]:
            return None
        order = np.full(count, -1)
        order[label[k]], order[label[k + 1]] = 0, 1
        order[order < 0] = np.arange(2, count)
        moves = np.ones(count, dtype=bool)
        moves[:2] = False
        return order[label[:k]], moves


def polished(
    program: GraphProgram, point: Point, budget: Budget
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rewards and multipliers of the closed gaps, or None where this comes to nothing."""
    closed, multipliers = _closed(program, point)
    r, answer, best = point.r, None, np.inf
    for _ in range(ROUNDS):
        found = _moved(program, closed, r, budget)
        if found is None:
            return answer
        r, joined = found
        if joined is not None:
            closed = Closed(*(row | new for row, new in zip(closed.rows, joined.rows, strict=True)))
            continue
        z = _balanced(program, closed, r, multipliers)
        if z is None:
            return answer
        certificate = certify_graph(program, r, z[0])
        if certificate.gap < best:
            best, answer = certificate.gap, (r, np.maximum(z[0], 0.0))
        least = -1e-13 * float(np.abs(np.concatenate(z)).max(initial=1e-300))
        wrong = [values < least for values in z]
        if certificate.relative_gap < ENOUGH or not any(w.any() for w in wrong):
            return answer
        closed = Closed(*(row & ~w for row, w in zip(closed.rows, wrong, strict=True)))
        multipliers = [np.maximum(v, 0.0) for v in z]
    return answer


def _closed(program: GraphProgram, point: Point) -> tuple[Closed, list[np.ndarray]]:
    """Return the constraints that hold with equality, and all constraints' multipliers."""
    edges, k = len(program.graph.a), program.graph.k
    tight = point.tight(edges)
    parts = [slice(0, edges), slice(edges, edges + k), slice(edges + k, edges + 2 * k)]
    if not program.box:
        never = np.zeros(k, dtype=bool)
        return Closed(tight[:edges], never, never), [point.z[:edges], np.zeros(k), np.zeros(k)]
    return Closed(*(tight[part] for part in parts)), [point.z[part] for part in parts]


def _moved(
    program: GraphProgram, closed: Closed, r: np.ndarray, budget: Budget
) -> tuple[np.ndarray, Closed | None] | None:
    """Newton's method on the contracted nodes.

    Returns the rewards, and the constraints that the steps ran into, if any.
    """
    fits = closed.labels(program)
    if fits is None:
        return None
    small = Contracted(program, *fits)
    x, last = small.gathered(r), np.inf
    inverted = small.gaps(x) < -SAME * float(np.abs(x).max())
    if inverted.any():
        return r, Closed(inverted, closed.low & False, closed.high & False)
    for _ in budget.rounds(40):
        dx, rest = small.step(x)
        if dx is None:
            return None
        blocked = small.blocked(x, dx)
        if blocked is not None:
            return x[small.label], blocked
        length, scale = float(np.abs(dx).max(initial=0.0)), float(np.abs(x).max())
        x = small.searched(x, dx, rest)
        if length < 1e-15 * scale or (length < 1e-8 * scale and length >= 0.3 * last):
            break
        last = length
    return x[small.label], None


@dataclass(frozen=True)
class Contracted:
    """The program in which the nodes with the same label have the same reward."""

    program: GraphProgram
    label: np.ndarray
    moves: np.ndarray

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The two ends of each edge, and whether they differ."""
        a, b = self.label[self.program.graph.a], self.label[self.program.graph.b]
        return a, b, a != b

    @cached_property
    def closes(self) -> np.ndarray:
        """Whether a gap of 0 has a finite force, so that it may close."""
        return np.isfinite(self.program.slopes(np.zeros(len(self.program.graph.a)))[0])

    def summed(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.label, values, len(self.moves))

    def gathered(self, r: np.ndarray) -> np.ndarray:
        """Return the mean of r at each contracted node; the ends of the box are 0 and 1."""
        sizes = self.program.graph.sizes
        mass = self.summed(sizes)
        x = self.summed(sizes * r) / np.where(mass > 0, mass, 1.0)
        x[:2] = 0.0, 1.0
        return x

    def gaps(self, x: np.ndarray) -> np.ndarray:
        a, b, apart = self.ends
        return np.where(apart, x[a] - x[b], 0.0)

    def forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient at the nodes that move, and the edges' curvature."""
        apart = self.ends[2]
        first, bend = self.program.slopes(np.where(apart, np.maximum(self.gaps(x), 0.0), 1.0))
        flow = self.program.graph.divergence(np.where(apart, first, 0.0))
        rest = self.summed(flow - self.program.pull(x[self.label]))
        return np.where(self.moves, rest, 0.0), np.where(apart, bend, 0.0)

    def step(self, x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Return Newton's step, or None where there is none, and the gradient."""
        a, b, _ = self.ends
        rest, bend = self.forces(x)
        program = self.program
        sums, d = 2 * program.c * program.graph.w, 2 * self.summed(program.d)
        solve = graph_solver(a, b, bend, sums, d, keep=self.moves, tol=1e-11)
        if solve is None:
            return None, rest
        dx = solve(rest)
        if program.floating:
            moved = np.zeros_like(dx)
            moved[self.label] = program.graph.centred(dx[self.label])
            dx = moved
        return (dx if np.all(np.isfinite(dx)) else None), rest

    def blocked(self, x: np.ndarray, dx: np.ndarray) -> Closed | None:
        """Return the constraints that the full step would break, of those that can be tight."""
        apart, ahead = self.ends[2], x + dx
        edges = apart & (self.gaps(ahead) < 0) & self.closes
        low = high = np.zeros(self.program.graph.k, dtype=bool)
        if self.program.box:
            ahead = np.where(self.moves, ahead, 0.5)
            low, high = (ahead < 0)[self.label], (ahead > 1)[self.label]
        found = Closed(edges, low, high)
        return found if any(row.any() for row in found.rows) else None

    def searched(self, x: np.ndarray, dx: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Return the end of the step, shortened until the objective no longer falls there."""
        gaps, change = self.gaps(x), self.gaps(dx)
        falling = change < 0
        most = float((gaps[falling] / -change[falling]).min()) if falling.any() else np.inf
        alpha, rise = (1.0 if most >= 1 else 0.9 * most), max(float(rest @ dx), 0.0)
        for _ in range(30):
            if not -float(self.forces(x + alpha * dx)[0] @ dx) > rise:
                break
            alpha *= 0.3
        return x + alpha * dx


def _balanced(
    program: GraphProgram, closed: Closed, r: np.ndarray, multipliers: list[np.ndarray]
) -> list[np.ndarray] | None:
    """Return multipliers near those given that balance the forces at every node that has any.

    Each moves in proportion to its size, so that small corrections leave it positive; what turns
    negative counts as zero in the next round, and is left as it is in the last.
    """
    graph = program.graph
    still = graph.divergence(program.slopes(graph.differences(r))[0]) - program.pull(r)
    z = [
        np.where(c, np.maximum(v, 0.0), 0.0) for c, v in zip(closed.rows, multipliers, strict=True)
    ]
    largest = max(float(v.max(initial=0.0)) for v in z) or 1.0
    answer, least = None, np.inf
    for floor in (1e-8, 1e-8, 1e-10, 1e-12, 1e-12, 1e-12):
        y = [np.maximum(v, 0.0) for v in z]
        weight = [
            np.where(c, np.maximum(v, floor * largest), 0.0)
            for c, v in zip(closed.rows, y, strict=True)
        ]
        ground = weight[1] + weight[2]
        held = graph.gathered(weight[0]) + ground > 0
        rest = np.where(held, still + graph.divergence(y[0]) + y[1] - y[2], 0.0)
        if not float(np.abs(rest).sum()) < least:
            break  # the systems are singular: further rounds bring rounding
        answer, least = z, float(np.abs(rest).sum())
        solve = graph_solver(graph.a, graph.b, weight[0], 0.0, ground, tol=1e-10)
        if solve is None:
            break
        up = solve(rest)
        z = [y[0] - weight[0] * graph.differences(up), y[1] - weight[1] * up, y[2] + weight[2] * up]
    return answer
