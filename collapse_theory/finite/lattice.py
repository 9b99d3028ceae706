"""Piecewise linear utilities in the box, on any comparisons: exact, by minimum cuts.

Where all kinks and margins are multiples of 1/D, some optimum has all rewards at multiples of 1/D:
the program is the dual of a minimum-cost flow (Ahuja, Hochbaum, Orlin, Management Science 49
(2003), 950-964). The best set of nodes to raise, or to lower, by a step is a minimum cut; steps
halve down to 1/D, where none is left. The last flow is the dual solution: the slope of each pair
and the multiplier of each closed gap. One node more stands for the box: a node at the upper end
can be raised only with it, and it only with those at the lower end; raising it and others is
lowering the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from collapse_theory.finite.flows import Flow, greatest_flow
from collapse_theory.finite.steps import Budget
from collapse_theory.programs.graph import GraphProgram

__all__ = ["LatticePoint", "fineness", "on_lattice"]

FINEST = 1000  # D at most: beyond, the interior-point method is as good
MARGINS = 30  # different ones, at most
SAME = 1e-12


@dataclass(frozen=True)
class LatticePoint:
    """Rewards (k,), multipliers of r_a >= r_b and slopes U' (edges,), and what is known of them.

    `forces` (k,) is what the pairs' slopes and multipliers leave at each node: below 0 only where
    the reward is 0, above only where it is 1. `unique` says whether no other rewards are as good.
    """

    r: np.ndarray
    z: np.ndarray
    slopes: np.ndarray
    forces: np.ndarray
    unique: bool
    iterations: int
    converged: bool


def fineness(program: GraphProgram) -> int | None:
    """Return the least D of which all kinks and margins are multiples, None where there is none.

    None too where U isn't piecewise linear, or rewards aren't in the box.
    """
    utility, margins = program.utility, np.unique(program.graph.m)
    if not program.box or utility.strictly_concave or len(margins) > MARGINS:
        return None
    low, high = -float(margins.max()), 1.0 - float(margins.min())
    kinks = [kink for kink in utility.kinks if low < kink < high]
    breaks = [Fraction(x).limit_denominator(FINEST) for x in (*kinks, *margins.tolist())]
    near = all(
        abs(float(f) - x) < SAME for f, x in zip(breaks, (*kinks, *margins.tolist()), strict=True)
    )
    step = lcm(*(f.denominator for f in breaks))
    if not near or step > FINEST:
        return None
    # Concave and as high in the middle as a line: a line.
    ends = np.array([low, *sorted(kinks), high])
    values = np.asarray(utility.value(ends))
    middle = np.asarray(utility.value((ends[1:] + ends[:-1]) / 2))
    size = SAME * (1 + float(np.abs(values).max()))
    straight = np.all(np.abs(middle - (values[1:] + values[:-1]) / 2) <= size)
    return step if straight else None


def on_lattice(program: GraphProgram, fine: int, budget: Budget) -> LatticePoint:
    """Return an optimum with all rewards at multiples of 1/fine."""
    graph = program.graph
    p = np.clip(np.floor(graph.levels * (fine + 1)), 0, fine)
    step = 2 ** int(np.log2(fine))
    while True:
        cell = _Cell(program, fine, p, step)
        spent = next(budget.rounds(1), None) is None
        # The second pass, for what rounding to whole units leaves, is for the last step's end.
        flow = cell.flow(1)
        better = cell.moved(flow)
        if step == 1 and better is None:
            flow = cell.flow(2)
            better = cell.moved(flow)
        if better is None and step > 1 and not spent:
            step //= 2
        elif better is None or spent:
            return cell.at_one(budget.used, better is None and step == 1)
        else:
            p = better


@dataclass(frozen=True)
class _Cell:
    """Around rewards p / fine: what the objective gains as gaps widen, or loses as they close."""

    program: GraphProgram
    fine: int
    p: np.ndarray
    step: int

    def worth(self, y: np.ndarray) -> np.ndarray:
        graph = self.program.graph
        return graph.w * self.program.utility.value(y / self.fine - graph.m)

    def changes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what widening each gap by a step adds, and what closing it by one loses."""
        y, step = self.program.graph.differences(self.p), self.step
        now = self.worth(y)
        # Beyond the box U goes on along its last line: such gaps can't come about.
        wider = np.minimum(y + step, self.fine)
        gain = np.where(wider > y, (self.worth(wider) - now) * step / np.maximum(wider - y, 1), 0.0)
        lost = np.where(y >= step, now - self.worth(np.maximum(y - step, 0)), np.inf)
        return gain, lost

    def flow(self, passes: int) -> Flow:
        graph = self.program.graph
        gain, _ = self.changes()
        net = np.append(graph.divergence(gain), 0.0)
        return greatest_flow(graph.k + 1, *self.arcs(), net, passes)

    def arcs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tails, heads and capacities: of the pairs, then of the box."""
        graph, k = self.program.graph, self.program.graph.k
        gain, lost = self.changes()
        top = np.flatnonzero(self.p + self.step > self.fine)
        bottom = np.flatnonzero(self.p < self.step)
        tail = np.concatenate([graph.b, top, np.full(len(bottom), k)])
        head = np.concatenate([graph.a, np.full(len(top), k), bottom])
        open_ = np.full(len(top) + len(bottom), np.inf)
        return tail, head, np.concatenate([np.maximum(lost - gain, 0.0), open_])

    def moved(self, flow: Flow) -> np.ndarray | None:
        """Return the better rewards that the cut shows, None where there are none."""
        raised, box = flow.raised[:-1], bool(flow.raised[-1])
        p = np.where(raised, self.p, self.p - self.step) if box else self.p + self.step * raised
        y, old = (self.program.graph.differences(q) for q in (p, self.p))
        now, before = self.worth(y), self.worth(old)
        more = float((now - before).sum())
        return p if more > SAME * float(np.abs(now - before).sum() + np.abs(before).sum()) else None

    def at_one(self, iterations: int, settled: bool) -> LatticePoint:
        """Return the point with its dual solution; `settled` says whether it is an optimum."""
        graph, edges = self.program.graph, len(self.program.graph.a)
        flow = self.flow(2)
        gain, lost = self.changes()
        on, closed = flow.on[:edges] / self.step, np.isinf(lost)
        slopes = self.fine * (gain / self.step + np.where(closed, 0.0, on)) / graph.w
        z = np.where(closed, self.fine * on, 0.0)
        forces = graph.divergence(graph.w * slopes + z)
        unique = settled and self.is_joined(flow)
        return LatticePoint(self.p / self.fine, z, slopes, forces, unique, iterations, settled)

    def is_joined(self, flow: Flow) -> bool:
        """Whether no set of nodes can move at no loss: each reaches each where flow can change."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        k = self.program.graph.k
        tail, head, room = self.arcs()
        least = 1e-9 * float(self.program.graph.w.min())
        onward, back = room - flow.on > least, flow.on > least
        i, j = np.append(tail[onward], head[back]), np.append(head[onward], tail[back])
        links = coo_array((np.ones(len(i)), (i, j)), shape=(k + 1, k + 1))
        return connected_components(links, directed=True, connection="strong")[0] == 1
