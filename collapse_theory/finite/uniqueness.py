"""Whether the optimum is the only one, for utilities that aren't strictly concave."""

from __future__ import annotations

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.finite.interior_point import path_end
from collapse_theory.numerics.linear import components
from collapse_theory.programs import Program

NO_CURVATURE = 1e-7  # of U'/gap: -U'' below it doesn't hold a gap


def is_determined(program: Program, r: np.ndarray | None = None) -> bool:
    """Whether no other rewards are as good, but for a common shift where nothing is held.

    `r` are optimal rewards of the nodes, asked for under a penalty of one's own.

    What all optima share are the constraints that hold with equality at all of them, the gaps at
    which U is curved, and what a penalty fixes; the optimum is the only one if every reward follows
    from these.
    """
    if program.domain.own:
        # Else gaps are fixed, and their common place where the cost is curved at one of them.
        bent = r is not None and bool(np.any(program.stiffness(r) > 0))
        return program.domain.strict or (program.utility.strictly_concave and bent)
    if program.utility.strictly_concave or program.kappa > 0:
        return True
    with np.errstate(all="ignore"):
        barrier, point, _ = path_end(program, Budget(200))
        gaps = point.s[: len(program.graph.a)]
        first, bend = program.slopes(gaps)
        curved = bend * gaps > NO_CURVATURE * np.abs(first)
    rows, _ = barrier.rigid(point)
    return _follows(program, rows.edges | curved, np.flatnonzero(rows.low | rows.high))


def _follows(program: Program, rigid: np.ndarray, ends: np.ndarray) -> bool:
    """Whether fixed gaps on the rigid edges and nodes at the ends fix all rewards."""
    graph, k = program.graph, program.graph.k
    if program.c > 0:
        # The sums r_a + r_b are fixed: all of a part follows, or it has one direction left, in
        # which every gap of it changes.
        left = graph.two_sided.copy()
        left[graph.part[graph.a[rigid]]] = False
        return not left.any()
    i = np.concatenate([graph.a[rigid], ends])
    j = np.concatenate([graph.b[rigid], np.full(len(ends), k)])
    label = components(i, j, k + 1)
    if program.box:
        return not label.any()
    return len(np.unique(label[:k])) == graph.part.max() + 1
