"""The dual solution of given rewards: slopes at kinks, multipliers of closed gaps, as one flow.

At a kink any slope between U'(m+) and U'(m-) is a supergradient and may stand for U'. Which slopes
and multipliers leave the least force at the nodes is a greatest flow (docs/theory.md
#the-certificate).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.linear import components
from collapse_theory.programs.program import Program
from collapse_theory.utilities import Utility

AT_KINK = 1e-6  # gaps this near a kink lie at it: their slope may be chosen
ROUNDED = 1e-15  # of the largest gap: within it rewards may round
CLOSED = 1e-13  # gaps below it, relative to the largest reward, are closed up to rounding


@dataclass(frozen=True)
class Dual:
    """The flow that balances the forces at rewards as far as they can be balanced.

    slopes, multipliers : (edges,) U' of the pairs, at kinks chosen, and z >= 0 of the closed gaps
    capacity, back, on : (arcs,) what may flow on the arcs of the graph's `network`, against them,
        and what does
    raised : (nodes + 1,) bool, the nodes that what is left of the forces could still reach
    """

    slopes: np.ndarray
    multipliers: np.ndarray
    capacity: np.ndarray
    back: np.ndarray
    on: np.ndarray
    raised: np.ndarray


def sides(utility: Utility, kink: float) -> tuple[float, float]:
    """Return the slopes just below and just above a kink."""
    below, above = utility.slope(kink * (1 + 1e-12 * np.array([-1.0, 1.0])))
    return float(below), float(min(above, below))


def at_kinks(
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
        # U(kink) + p (y - kink) - U(y), as U(kink) <= U(y) + U'(y) (kink - y): nothing cancels.
        # A gap that is the kink but for rounding stands for the kink.
        off = y - kink
        apart = close & (np.abs(off) > ROUNDED * np.abs(y).max())
        lost[apart] = np.maximum((p - first)[apart] * off[apart], 0.0)
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
    closed = gaps - program.least_gap <= near * float(np.abs(r).max())
    jumps = np.where(closed, np.inf, graph.w * jump)
    top, bottom = r >= 1 - near, r <= near
    capacity, back = at_ends(jumps, top & program.box, bottom & program.box)
    net = graph.divergence(graph.w * low) - program.pull(r)
    on, raised = np.zeros(len(capacity)), np.zeros(k + 1, dtype=bool)
    if np.all(np.isfinite(net)):
        flow = graph.network.greatest_flow(capacity, np.append(net, 0.0), 2, back)
        on, raised = flow.on, flow.raised
    carried = on[: len(low)]
    slopes = low + np.where(closed, 0.0, carried) / graph.w
    return Dual(slopes, np.where(closed, carried, 0.0), capacity, back, on, raised)


def at_ends(
    capacity: np.ndarray, top: np.ndarray, bottom: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what may flow on a graph's network and against it: on edges up to `capacity`, from
    nodes at the top to the box, and from the box to those at the bottom, without limit.
    """
    none = np.zeros(len(capacity))
    forth, back = (np.where(at, np.inf, 0.0) for at in (top, bottom))
    return np.concatenate([capacity, forth]), np.concatenate([none, back])


def holds_all(program: Program, dual: Dual, least: float) -> bool:
    """Whether no set of nodes can move at a loss of `least` or less per unit.

    It loses what the flow can still change across its border: each node reaches each where that is
    more.
    """
    onward, back = dual.capacity - dual.on > least, dual.back + dual.on > least
    network = program.graph.network
    i = np.append(network.tail[onward], network.head[back])
    j = np.append(network.head[onward], network.tail[back])
    return not components(i, j, program.graph.k + 1, directed=True).any()
