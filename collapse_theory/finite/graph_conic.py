"""The reference for comparisons: the program written in CVXPY from the utility's conic form."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.programs.graph import GraphProgram

__all__ = ["conic_graph"]

# As exact as it can be, and as it comes.
SOLVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("CLARABEL", {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}),
    ("CLARABEL", {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}),
    ("CLARABEL", {}),
    ("SCS", {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 20_000}),
)


def conic_graph(
    program: GraphProgram, start: np.ndarray, max_iterations: int | None = None
) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Return rewards, the multipliers of r_a >= r_b, iterations, and whether it converged.

    Raises
    ------
    NoConicForm
        For utilities of sin, atan, tanh or erf.
    SolverFailed
        Where the solver returns no usable answer.
    """
    import cvxpy as cp

    scale = 1.0 if program.box else float(np.ptp(start))
    problem, v, falls = _written(cp, program, scale)
    for solver, options in SOLVERS:
        limit = "max_iters" if solver == "SCS" else "max_iter"
        most = {} if max_iterations is None else {limit: max_iterations}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                problem.solve(solver=solver, **(options | most))
        except (cp.SolverError, ValueError):
            continue
        if v.value is None or not np.all(np.isfinite(v.value)):
            continue
        stats = problem.solver_stats
        steps = int((stats.num_iters if stats else 0) or 0)
        z = np.asarray(falls.dual_value) / scale
        return scale * np.asarray(v.value), z, steps, steps != max_iterations
    raise SolverFailed(
        f'no conic solver found the optimum of {program.utility}; use method="newton"'
    )


def _written(cp: Any, program: GraphProgram, scale: float) -> tuple[Any, Any, Any]:
    """Return the problem in rewards over `scale`, its variable, and r_a >= r_b."""
    graph = program.graph
    v = cp.Variable(graph.k)
    gaps = v[graph.a] - v[graph.b]
    reference = np.full(len(graph.a), scale)
    value = graph.w @ program.utility.conic(cp, gaps - graph.m / scale, reference)
    if np.any(program.d):
        value -= cp.sum_squares(cp.multiply(np.sqrt(program.d) * scale, v))
    if program.c > 0:
        root = np.sqrt(program.c * graph.w) * scale
        value -= cp.sum_squares(cp.multiply(root, v[graph.a] + v[graph.b]))
    falls = gaps >= 0
    limits: list[Any] = [falls]
    if program.box:
        limits += [v >= 0, v <= 1]
    if program.floating:
        parts = np.equal.outer(np.arange(graph.part.max() + 1), graph.part) * graph.sizes
        limits.append(parts @ v == 0)
    return cp.Problem(cp.Maximize(value), limits), v, falls
