"""The last digits: with the closed gaps known, Newton's method on the rewards that are left.

Nodes whose gap is closed, or stays at a kink, move as one piece, and pieces at an end of the box
stay there; what remains is smooth. Multipliers of the closed gaps are then brought into balance at
every node: a constraint whose multiplier is negative is let go, one that a step runs into joins (an
active-set method). At kinks the first pieces are taken or left, as their certificate says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from collapse_theory.finite.budget import Budget, line_search
from collapse_theory.numerics.graph_systems import graph_solver
from collapse_theory.numerics.linear import components
from collapse_theory.programs import Answer, Certificate, Program, certify

MOST_SETS = 40  # sets of closed gaps that are tried; two or three are usual
ROUNDED_GAP = 1e-13  # a relative gap of rounding, about 500 units of float64: nothing is left to do
CLOSED_GAP = 1e-12  # of the largest reward: differences below it may be rounding


class Rows(NamedTuple):
    """A value for every constraint: the edges' gaps, the lower and the upper end of the box."""

    edges: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, program: Program, values: np.ndarray) -> Self:
        """Return the rows of an interior point's constraints; those of kinks are left out."""
        e, k = len(program.graph.a), program.graph.k
        if not program.box:
            values = np.append(values[:e], np.zeros(2 * k, dtype=values.dtype))
        return cls(values[:e], values[e : e + k], values[e + k : e + 2 * k])

    @property
    def all(self) -> np.ndarray:
        """The values in one array."""
        return np.concatenate(self)


def polished(
    program: Program, r: np.ndarray, tight: np.ndarray, z: np.ndarray, budget: Budget
) -> tuple[Answer, Certificate] | None:
    """Return rewards and multipliers of the closed gaps, certified; None where a Newton system is
    singular.

    Newton's method on the pieces with these gaps closed, multipliers in balance, those below zero
    let go, and again, while the certificate gets better.

    `tight` and `z` are an interior point's, which tells what is closed at the rewards `r`.
    """
    closed, multipliers = Rows.of(program, tight).all, Rows.of(program, z).all
    best = None
    for _ in range(MOST_SETS):
        found = _newton_on_pieces(program, Rows.of(program, closed), r, budget)
        if found is None:
            return best
        r, joined = found
        if joined is not None:
            closed = closed | joined.all
            continue
        balanced = _balanced(program, closed, r, multipliers)
        if balanced is None:
            return best
        multipliers = np.maximum(balanced, 0.0)
        answer = Answer(rewards=r, multipliers=multipliers[: len(program.graph.a)])
        certificate = certify(program, answer)
        if best is None or certificate.gap < best[1].gap:
            best = answer, certificate
        wrong = balanced < -1e-13 * float(np.abs(balanced).max(initial=1e-300))
        if certificate.relative_gap < ROUNDED_GAP or not wrong.any():
            return best
        closed = closed & ~wrong
    return best


def with_nothing_closed(program: Program, r: np.ndarray, budget: Budget) -> Answer | None:
    """Return the optimum where no constraint holds a reward; None where a step runs into one."""
    open_ = np.zeros(len(program.graph.a) + 2 * program.graph.k, dtype=bool)
    moved = _newton_on_pieces(program, Rows.of(program, open_), r, budget)
    if moved is None or moved[1] is not None:
        return None
    return Answer(rewards=moved[0], multipliers=np.zeros(len(program.graph.a)))


def on_pieces(
    program: Program, closed: Rows, wanted: np.ndarray, r: np.ndarray, budget: Budget
) -> np.ndarray | None:
    """Return the best rewards with these constraints held, the edges' gaps at those `wanted`.

    None where they can't all be held, or a step runs into others.
    """
    moved = _newton_on_pieces(program, closed, r, budget, wanted)
    return None if moved is None or moved[1] is not None else feasible(program, moved[0])


def feasible(program: Program, r: np.ndarray) -> np.ndarray:
    """Return rewards with no gap below the least, from rewards that have some by rounding."""
    graph = program.graph
    r = np.clip(r, 0.0, 1.0) if program.box else r.copy()
    while np.any(graph.differences(r) < program.least_gap):
        np.minimum.at(r, graph.b, r[graph.a])
    return r


def _newton_on_pieces(
    program: Program,
    closed: Rows,
    r: np.ndarray,
    budget: Budget,
    wanted: np.ndarray | None = None,
) -> tuple[np.ndarray, Rows | None] | None:
    """Newton's method on the places of the pieces, with a line search.

    Returns the rewards, and the constraints that the steps ran into, if any.
    """
    pieces = Pieces.of(program, closed, wanted)
    if pieces is None:
        return None
    x, last = pieces.gathered(r), np.inf
    inverted = pieces.gaps(x) < program.least_gap - CLOSED_GAP * float(np.abs(x).max())
    if inverted.any():
        return r, Rows(inverted, closed.low & False, closed.high & False)
    for _ in budget.rounds(40):
        dx, rest = pieces.step(x)
        if dx is None:
            return None
        blocked = pieces.blocked(x, dx)
        if blocked is not None:
            return pieces.placed(x), blocked
        length, scale = float(np.abs(dx).max(initial=0.0)), float(np.abs(x).max())
        x = pieces.line_search(x, dx, rest)
        # Beneath rounding, or small and no longer shrinking as Newton's steps do: rounding too.
        if length < 1e-15 * scale or (length < 1e-8 * scale and length >= 0.3 * last):
            break
        last = length
    return pieces.placed(x), None


@dataclass(frozen=True)
class Pieces:
    """The program in which the rewards of a piece are its place x and fixed offsets.

    Attributes
    ----------
    label, offset : numpy.ndarray, shape (k,)
        The piece of each node, and its reward less the piece's place.
    fixed : numpy.ndarray, shape (pieces,)
        The places of pieces at an end of the box, NaN for those that move.
    """

    program: Program
    label: np.ndarray
    offset: np.ndarray
    fixed: np.ndarray

    @classmethod
    def of(cls, program: Program, closed: Rows, wanted: np.ndarray | None = None) -> Self | None:
        """Return the pieces that these constraints make, None where they can't all be held.

        `wanted` are the gaps of the edges, 0 unless given.
        """
        graph, k = program.graph, program.graph.k
        low, high = np.flatnonzero(closed.low), np.flatnonzero(closed.high)
        i = np.concatenate([graph.a[closed.edges], low, high])
        j = np.concatenate([graph.b[closed.edges], np.full(len(low), k), np.full(len(high), k + 1)])
        label, offset = components(i, j, k + 2), np.zeros(k + 2)
        if wanted is not None:
            rise = np.append(wanted[closed.edges], np.zeros(len(low) + len(high)))
            known = np.zeros(k + 2, dtype=bool)
            known[np.unique(label, return_index=True)[1]] = True
            while np.any(open_ := known[i] != known[j]):
                down, up = open_ & known[i], open_ & known[j]
                offset[j[down]] = offset[i[down]] - rise[down]
                offset[i[up]] = offset[j[up]] + rise[up]
                known[i[open_]] = known[j[open_]] = True
        fixed = np.full(label.max() + 1, np.nan)
        fixed[label[k]], at_high = -offset[k], 1.0 - offset[k + 1]
        if label[k] == label[k + 1] and abs(fixed[label[k]] - at_high) > CLOSED_GAP:
            return None
        fixed[label[k + 1]] = at_high
        return cls(program, label[:k], offset[:k], fixed)

    @cached_property
    def moves(self) -> np.ndarray:
        """Which pieces aren't at an end of the box."""
        return np.isnan(self.fixed)

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
        """Return the sum over the nodes of each label."""
        return np.bincount(self.label, values, len(self.moves))

    def gathered(self, r: np.ndarray) -> np.ndarray:
        """Return the place of each piece by the mean of r."""
        sizes = self.program.graph.sizes
        mass = self.summed(sizes)
        x = self.summed(sizes * (r - self.offset)) / np.where(mass > 0, mass, 1.0)
        return np.where(self.moves, x, self.fixed)

    def placed(self, x: np.ndarray) -> np.ndarray:
        """Return the rewards of the nodes."""
        return x[self.label] + self.offset

    def gaps(self, x: np.ndarray) -> np.ndarray:
        """Return the gap on each edge between pieces, 0 within one."""
        return np.where(self.ends[2], self.program.graph.differences(self.placed(x)), 0.0)

    def forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient at the nodes that move, and the edges' curvature."""
        apart = self.ends[2]
        gaps = np.maximum(self.gaps(x), self.program.least_gap)
        first, bend = self.program.slopes(np.where(apart, gaps, 1.0))
        flow = self.program.graph.divergence(np.where(apart, first, 0.0))
        rest = self.summed(flow - self.program.pull(self.placed(x)))
        return np.where(self.moves, rest, 0.0), np.where(apart, bend, 0.0)

    def step(self, x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Return Newton's step, or None where there is none, and the gradient."""
        a, b, _ = self.ends
        rest, bend = self.forces(x)
        program = self.program
        sums = 2 * program.c * program.graph.w
        d = self.summed(program.stiffness(self.placed(x)))
        solve = graph_solver(a, b, bend, sums, d, keep=self.moves, tol=1e-11)
        if solve is None:
            return None, rest
        dx = solve(rest)
        if program.floating:
            moved = np.zeros_like(dx)
            moved[self.label] = program.graph.centred(dx[self.label])
            dx = moved
        return (dx if np.all(np.isfinite(dx)) else None), rest

    def blocked(self, x: np.ndarray, dx: np.ndarray) -> Rows | None:
        """Return the constraints that the full step would break, of those that can be tight."""
        apart, ahead = self.ends[2], x + dx
        edges = apart & (self.gaps(ahead) < self.program.least_gap) & self.closes
        low = high = np.zeros(self.program.graph.k, dtype=bool)
        if self.program.box:
            r = np.where(self.moves[self.label], self.placed(ahead), 0.5)
            low, high = r < 0, r > 1
        found = Rows(edges, low, high)
        return found if found.all.any() else None

    def line_search(self, x: np.ndarray, dx: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Return the end of the step, shortened until the objective no longer falls there."""
        a, b, _ = self.ends
        gaps, change = self.gaps(x) - self.program.least_gap, dx[a] - dx[b]
        falling = change < 0
        most = float((gaps[falling] / -change[falling]).min()) if falling.any() else np.inf

        def at(alpha: float) -> tuple[np.ndarray, float]:
            there = x + alpha * dx
            return there, float(self.forces(there)[0] @ dx)

        return line_search(at, 1.0 if most >= 1 else 0.9 * most, max(float(rest @ dx), 0.0), 30)[1]


def _balanced(
    program: Program, closed: np.ndarray, r: np.ndarray, multipliers: np.ndarray
) -> np.ndarray | None:
    """Return multipliers near those given that balance the forces at every node that has any.

    Each moves in proportion to its size W, by dz = -W B u where B' W B u is what is left at the
    nodes: the least change in units of W, so that small corrections leave it positive. What turns
    negative counts as zero in the next round, and is left as it is in the last.
    """
    graph = program.graph
    still = graph.divergence(program.slopes(graph.differences(r))[0]) - program.pull(r)
    z = np.where(closed, np.maximum(multipliers, 0.0), 0.0)
    largest = float(z.max(initial=0.0)) or 1.0
    answer, least = None, np.inf
    # Falling floors: at first the small ones may move with the large.
    for floor in (1e-8, 1e-8, 1e-10, 1e-12, 1e-12, 1e-12):
        y = np.maximum(z, 0.0)
        weight = np.where(closed, np.maximum(y, floor * largest), 0.0)
        edges, low, high = Rows.of(program, y)
        heavy = Rows.of(program, weight)
        ground = heavy.low + heavy.high
        loaded = graph.gathered(heavy.edges) + ground > 0
        rest = np.where(loaded, still + graph.divergence(edges) + low - high, 0.0)
        if not float(np.abs(rest).sum()) < least:
            break  # the systems are singular: further rounds bring rounding
        answer, least = z, float(np.abs(rest).sum())
        solve = graph_solver(graph.a, graph.b, heavy.edges, 0.0, ground, tol=1e-10)
        if solve is None:
            break
        up = solve(rest)
        z = y - weight * np.concatenate([graph.differences(up), up, -up])
    return answer
