"""Of several optima of a piecewise linear utility, the one of least sum of squared gaps.

It is the limit of the optima of U - eps y**2. Given one optimal dual solution, the optima are the
feasible rewards whose gaps are where U(y) - slope y is greatest, and whose ends are where the
forces push: a polyhedron, on which a quadratic program is solved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from collapse_theory.finite.active_set import Rows, on_pieces
from collapse_theory.finite.budget import Budget
from collapse_theory.lazy import clarabel
from collapse_theory.programs import Box, Program
from collapse_theory.programs.dual import Dual
from collapse_theory.programs.program import Graph
from collapse_theory.utilities import Squared

MAX_NODES = 2000  # and ten times as many edges: above, the vertex found stays
SAME_FORCE = 1e-9  # of the largest: slopes and forces that differ by less are equal up to rounding
NEAR_END = 1e-6  # of an end of their range, gaps and rewards are there: the solver knows no more
SOLVERS = (1e-12, 1e-10, 1e-8)  # tolerances, as far as the solver takes them


def least_squares(program: Program, dual: Dual) -> np.ndarray | None:
    """Return the rewards (k,) of least sum of w (gap - margin)**2 among the optimal ones.

    A full ranking goes from end to end of the box; parts of a graph that nothing holds lie in its
    middle. None where the solver finds none.
    """
    graph = program.graph
    if graph.k > MAX_NODES or len(graph.a) > 10 * MAX_NODES:
        return None
    low, high = _ranges(program, dual)
    flow = graph.w * dual.slopes + dual.multipliers
    forces, size = graph.divergence(flow), float(np.max(graph.gathered(np.abs(flow))))
    small = SAME_FORCE * max(size, float(graph.w.min()))
    at_low, at_high = forces < -small, forces > small
    if program.full:  # its best and its worst are at the ends
        at_high[0] = at_low[-1] = True
    found = _quadratic(graph, np.where(at_high, 1.0, 0.0), np.where(at_low, 0.0, 1.0), low, high)
    if found is None:
        return None
    found = _in_the_middle(program, np.clip(found, 0.0, 1.0), at_low | at_high)
    return _exact(program, found, low, high)


def _quadratic(
    graph: Graph, least: np.ndarray, most: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray | None:
    """Return the rewards between `least` and `most`, with gaps between `low` and `high`, of least
    sum of w (gap - margin)**2.

    By Clarabel itself, which comes with CVXPY: for few completions CVXPY takes ten times as long.
    """
    from scipy import sparse

    edges, k = len(graph.a), graph.k
    rows = np.tile(np.arange(edges), 2)
    signs = np.repeat([1.0, -1.0], edges)
    gaps = sparse.csc_array((signs, (rows, np.append(graph.a, graph.b))), shape=(edges, k))
    each: Any = sparse.vstack([gaps, sparse.identity(k)], format="csr")
    low, high = np.append(low, least), np.append(high, most)
    fixed = low == high
    matrix = sparse.vstack([each[fixed], each[~fixed], -each[~fixed]], format="csc")
    limits = np.concatenate([low[fixed], high[~fixed], -low[~fixed]])
    cones = [
        clarabel.ZeroConeT(int(fixed.sum())),
        clarabel.NonnegativeConeT(2 * int((~fixed).sum())),
    ]
    weighted = sparse.diags(graph.w / graph.w.max()) @ gaps
    square = sparse.csc_matrix(sparse.triu(gaps.T @ weighted))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for tol in SOLVERS:
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
        line = -(weighted.T @ graph.m)
        found = clarabel.DefaultSolver(
            square, line, sparse.csc_matrix(matrix), limits, cones, settings
        ).solve()
        if found.status == clarabel.SolverStatus.Solved:
            return np.array(found.x)
    return None


def _ranges(program: Program, dual: Dual) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest gap at which U(gap - margin) - slope gap is greatest."""
    graph, utility = program.graph, program.utility
    low, high = np.empty(len(graph.a)), np.empty(len(graph.a))
    for m in np.unique(graph.m):
        of = np.flatnonzero(graph.m == m)
        kinks = [kink + m for kink in utility.kinks if 0 < kink + m < 1]
        ends = np.array([0.0, *sorted(kinks), 1.0])
        values = np.asarray(utility.value(ends - m))
        fall = -np.diff(values) / np.diff(ends)  # rising
        q, scale = -dual.slopes[of], SAME_FORCE * float(np.abs(fall).max())
        low[of] = ends[np.searchsorted(fall, q - scale)]
        high[of] = ends[np.searchsorted(fall, q + scale)]
    held = dual.multipliers > SAME_FORCE * float(dual.multipliers.max(initial=0.0))
    low[held], high[held] = 0.0, 0.0
    return low, high


def _exact(program: Program, r: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the least squares with the gaps that are at an end of their range kept there.

    The quadratic program knows r to half its digits only: a sum of squares is flat.
    """
    gaps = program.graph.differences(r)
    wanted = np.where(np.abs(gaps - low) <= np.abs(gaps - high), low, high)
    closed = Rows(np.abs(gaps - wanted) < NEAR_END, r < NEAR_END, r > 1 - NEAR_END)
    squares = replace(program, loss=Squared(0.0), domain=Box())
    exact = on_pieces(squares, closed, wanted, r, Budget())
    return r if exact is None or np.abs(exact - r).max() > NEAR_END else exact


def _in_the_middle(program: Program, r: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Move the parts that nothing holds to the middle of the box."""
    part = program.graph.part
    count = int(part.max()) + 1
    top, bottom = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(top, part, r)
    np.minimum.at(bottom, part, r)
    free = np.bincount(part, held, count) == 0
    return r + np.where(free, 0.5 - (top + bottom) / 2, 0.0)[part]
