"""Of several optima of a piecewise linear utility, the one of least sum of squared gaps.

It is the limit of the optima of U - eps y**2. Given one optimal dual solution, the optima are the
feasible rewards whose gaps are where U(y) - slope y is greatest, and whose ends are where the
forces push: a polyhedron, on which a quadratic program is solved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from collapse_theory.finite.active_set import Pieces, Rows, on_pieces
from collapse_theory.finite.budget import Budget
from collapse_theory.lazy import clarabel
from collapse_theory.programs import Box, Program
from collapse_theory.programs.dual import Dual
from collapse_theory.utilities import Squared

MAX_PIECES = 2000  # and ten times as many edges: above, the vertex found stays
SAME_FORCE = 1e-9  # of the largest: slopes and forces that differ by less are equal up to rounding
NEAR_END = 1e-5  # of an end of their range, gaps and rewards are there: the solver knows no more
SOLVERS = (1e-12, 1e-10, 1e-8)  # tolerances, as far as the solver takes them


def least_squares(program: Program, dual: Dual) -> np.ndarray | None:
    """Return the rewards (k,) of least sum of w (gap - margin)**2 among the optimal ones.

    A full ranking goes from end to end of the box; parts of a graph that nothing holds lie in its
    middle. None where the solver finds none.
    """
    graph = program.graph
    low, high = _ranges(program, dual)
    flow = graph.w * dual.slopes + dual.multipliers
    forces, size = graph.divergence(flow), float(np.max(graph.gathered(np.abs(flow))))
    small = SAME_FORCE * max(size, float(graph.w.min()))
    at_low, at_high = forces < -small, forces > small
    if program.full:  # its best and its worst are at the ends
        at_high[0] = at_low[-1] = True
    # What all optima share moves as one piece: few are left.
    pieces = Pieces.of(program, Rows(low == high, at_low, at_high), low)
    found = None if pieces is None else _quadratic(pieces, low, high)
    if pieces is None or found is None:
        return None
    r = _exact(program, np.clip(pieces.placed(found), 0.0, 1.0), low, high)
    return _in_the_middle(program, r, at_low | at_high)


def _quadratic(pieces: Pieces, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """Return the places of least sum of w (gap - margin)**2, with gaps between `low` and `high`.

    By Clarabel itself, which comes with CVXPY: for few completions CVXPY takes ten times as long.
    """
    from scipy import sparse

    graph, k = pieces.program.graph, len(pieces.fixed)
    a, b, apart = pieces.ends
    # Edges between the same two pieces, at other offsets, are one.
    key, of = np.unique(a[apart] * k + b[apart], return_inverse=True)
    edges, shift = len(key), graph.differences(pieces.offset)[apart]
    least, most = np.full(edges + k, -np.inf), np.full(edges + k, np.inf)
    np.maximum.at(least, of, low[apart] - shift)
    np.minimum.at(most, of, high[apart] - shift)
    np.maximum.at(least, edges + pieces.label, -pieces.offset)
    np.minimum.at(most, edges + pieces.label, 1.0 - pieces.offset)
    least[edges:] = np.where(pieces.moves, least[edges:], pieces.fixed)
    most[edges:] = np.where(pieces.moves, most[edges:], pieces.fixed)
    if max(k, edges // 10) > MAX_PIECES:
        return None
    i, j, w = key // k, key % k, np.bincount(of, graph.w[apart] / graph.w.max(), edges)
    # Gaps between pieces, then their places.
    ends = np.concatenate([np.column_stack([i, j]).ravel(), np.arange(k)])
    signs = np.concatenate([np.tile([1.0, -1.0], edges), np.ones(k)])
    starts = np.concatenate([np.arange(0, 2 * edges, 2), np.arange(2 * edges, 2 * edges + k + 1)])
    each = sparse.csr_array((signs, ends, starts), shape=(edges + k, k))
    fixed = least == most
    above, below = ~fixed & np.isfinite(most), ~fixed & np.isfinite(least)
    rows = np.concatenate([np.flatnonzero(x) for x in (fixed, above, below)])
    way = np.repeat([1.0, 1.0, -1.0], [np.count_nonzero(x) for x in (fixed, above, below)])
    matrix = each[rows]
    matrix.data *= np.repeat(way, np.diff(matrix.indptr))
    # The half of x'square x above the diagonal: w_e (x_i - x_j)**2.
    order, degree = np.arange(k), np.bincount(i, w, k) + np.bincount(j, w, k)
    places = np.append(np.minimum(i, j), order), np.append(np.maximum(i, j), order)
    square = sparse.csc_matrix((np.append(-w, degree), places), shape=(k, k))
    pull = np.bincount(of, graph.w[apart] / graph.w.max() * (shift - graph.m[apart]), edges)
    line = np.bincount(i, pull, k) - np.bincount(j, pull, k)
    limits = np.concatenate([most[fixed], most[above], -least[below]])
    return _minimum(square, line, sparse.csc_matrix(matrix), limits, int(fixed.sum()))


def _minimum(square: Any, line: Any, matrix: Any, limits: Any, equal: int) -> np.ndarray | None:
    """Return the x of least x'square x / 2 + line'x with matrix x <= limits, the first equal.

    Of the symmetric `square` the upper half is given.
    """
    cones = [clarabel.ZeroConeT(equal), clarabel.NonnegativeConeT(len(limits) - equal)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for tol in SOLVERS:
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
        found = clarabel.DefaultSolver(square, line, matrix, limits, cones, settings).solve()
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
    closed = dual.multipliers > SAME_FORCE * float(dual.multipliers.max(initial=0.0))
    low[closed], high[closed] = 0.0, 0.0
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
