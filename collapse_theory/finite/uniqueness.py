"""Whether the optimum is the only one, for utilities that aren't strictly concave."""

from __future__ import annotations

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.finite.interior_point import GraphBarrier, first_rewards, interior_point
from collapse_theory.numerics.linear import components
from collapse_theory.programs import Program

__all__ = ["is_determined"]

RIGID = 1e-7  # curvature below it, relative to U'/gap, is none


def is_determined(program: Program) -> bool:
    """Whether no other rewards are as good, but for a common shift where nothing is held.

    The path of interior points ends at an optimum at which exactly those constraints hold with
    equality that do so at all optima (Goldman and Tucker 1956). What all optima share are those
    gaps, the gaps at which U is curved, and what a penalty fixes; the optimum is the only one if
    every reward follows from these.
    """
    if program.utility.strictly_concave or program.kappa > 0:
        return True
    edges, k = len(program.graph.a), program.graph.k
    with np.errstate(all="ignore"):
        barrier, start = GraphBarrier(program).start(first_rewards(program))
        point, _ = interior_point(barrier.at, start, Budget(200))
        gaps = point.s[:edges]
        first, bend = program.slopes(gaps)
        rigid = bend * gaps > RIGID * np.abs(first)
    tight = point.tight(edges)
    rigid |= tight[:edges]
    ends = 2 * k if program.box else 0
    lifted = tight[edges + ends :].reshape(2, -1, edges)
    rigid |= (lifted[0] & lifted[1]).any(axis=0)  # at a kink, with a slope inside its jump
    low, high = (tight[edges : edges + k], tight[edges + k : edges + ends]) if ends else ([], [])
    return _follows(program, rigid, np.flatnonzero(low), np.flatnonzero(high))


def _follows(program: Program, rigid: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether fixed gaps on the rigid edges and fixed ends fix all rewards."""
    graph, k = program.graph, program.graph.k
    if program.c > 0:
        # The sums r_a + r_b are fixed: all of a part follows, or it has one direction left, in
        # which every gap of it changes.
        left = graph.two_sided.copy()
        left[graph.part[graph.a[rigid]]] = False
        return not left.any()
    ends = np.concatenate([low, high])
    i = np.concatenate([graph.a[rigid], ends])
    j = np.concatenate([graph.b[rigid], np.full(len(ends), k)])
    label = components(i, j, k + 1)
    if program.box:
        return not label.any()
    return len(np.unique(label[:k])) == graph.part.max() + 1
