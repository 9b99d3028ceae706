"""The reference: the program written in CVXPY from the utility's own conic form.

Written plainly, in the rewards, the program of log x fails from n = 64 on: the cones of gaps of
very different sizes are badly scaled. For a full ranking the unknowns are gaps in units of a guess
of them, each pair's gap enters its cone in units of its guessed size, and the optimum's symmetry
halves it all; solved twice, the second time in units of the first answer. On a graph the rewards
are the unknowns: only as a reference.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError, NoConicForm, SolverFailed
from collapse_theory.finite.active_set import feasible
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.interior_point import first_rewards
from collapse_theory.finite.penalised_gaps import first_guess, require_in_range
from collapse_theory.finite.symmetric import SymmetricRanking, half_pairs, initial_gaps
from collapse_theory.programs import Answer, ListwiseProgram, Program, certify
from collapse_theory.programs.plackett_luce import score_penalty

# Tried in turn, with the options that make each as exact as it can be.
SOLVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("CLARABEL", {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}),
    ("CLARABEL", {}),
    ("ECOS", {"abstol": 1e-10, "reltol": 1e-10, "feastol": 1e-10}),
    ("SCS", {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 5_000}),
)
LIMITS = {"CLARABEL": "max_iter", "ECOS": "max_iters", "SCS": "max_iters"}
FEW_COMPLETIONS = 50  # up to which the slowest solver is worth its time beside another's answer
MOST_COMPLETIONS = 200  # of a full ranking: half a minute
GOOD_GAP = 1e-8  # the relative gap with which the first solver will do: what it reaches at best
FAIR_GAP = 1e-6  # that with which a later one will: the tolerance of this method
LEAST_SHARE = 1e-3  # of a guessed gap, below which the second guess doesn't go


class Conic:
    """CVXPY's conic solvers."""

    name = "conic"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Any program; utilities of sin, atan, tanh or erf raise NoConicForm."""
        return True

    def __call__(self, program: Program | ListwiseProgram, budget: Budget) -> Answer:
        """Return an optimum.

        Raises
        ------
        NoConicForm
            For utilities of sin, atan, tanh or erf.
        SolverFailed
            Where no installed solver returns a usable answer.
        """
        if program.full and program.n > MOST_COMPLETIONS:
            raise CollapseError(
                f'method="conic" takes at most {MOST_COMPLETIONS} completions (half a minute), got '
                f'n = {program.n}; use method="newton"'
            )
        if isinstance(program, ListwiseProgram):
            found = _refined(program, _stages(program), budget)
        else:
            found = _refined(program, _pairs(program), budget) if program.full else None
            found = found or _on_graph(program, budget)
        if found is None:
            raise SolverFailed(
                f"no conic solver found the optimum of {program.loss} for n = {program.n}; use "
                'method="newton"'
            )
        return found


def _installed(budget: Budget) -> Iterator[tuple[str, dict[str, Any]]]:
    import cvxpy as cp

    for name, options in SOLVERS:
        if name in cp.installed_solvers():
            yield name, options | ({LIMITS[name]: budget.limit} if budget.asked else {})


def maximum(
    objective: Any, limits: list[Any], v: Any, solver: str, options: dict[str, Any]
) -> tuple[np.ndarray, int] | None:
    """Return the maximising v and iterations, or None where the solver failed."""
    import cvxpy as cp

    problem = cp.Problem(cp.Maximize(objective), limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(solver=solver, **options)
    except (cp.SolverError, ValueError):
        return None
    if v.value is None or not np.all(np.isfinite(v.value)):
        return None
    stats = problem.solver_stats
    return np.asarray(v.value), int((stats.num_iters if stats else 0) or 0)


# -- full rankings, in their gaps ----------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    """A program in unknowns of which each is `scale` times a v >= 0.

    `objective` writes it for v and a scale, and what is to be gained at most; in the box
    `scale @ v` is `total`; `gaps` are those between neighbours.
    """

    scale: np.ndarray
    objective: Callable[[Any, np.ndarray, float], Any]
    total: float | None
    gaps: Callable[[np.ndarray], np.ndarray]

    def normed(self, unknowns: np.ndarray) -> np.ndarray:
        """Return them with the sum that they must have."""
        return unknowns if self.total is None else unknowns * (self.total / unknowns.sum())


def _pairs(program: Program) -> _Written:
    """Return the program of gaps, in half gaps: the optimum is symmetric."""
    import cvxpy as cp

    utility, n = program.utility, program.n
    matrix, weights = half_pairs(n)
    share, to_middle = weights / weights.sum(), np.triu(np.ones((n // 2, n // 2)))

    def objective(v: Any, scale: np.ndarray, left: float) -> Any:
        reference = matrix @ scale
        ratio = (matrix * scale / reference[:, None]) @ v
        first, second = utility.derivatives(reference)
        size = np.abs(first) * reference
        if not program.box:  # at a maximum of U the slopes are rounding
            size = np.maximum(size, -second * reference**2)
        unit = float(share @ size) or 1.0
        value = (share / unit) @ utility.conic(cp, ratio, reference)
        if program.kappa > 0:
            value -= 2 * program.kappa / n / unit * cp.sum_squares((to_middle * scale) @ v)
        return value

    start = initial_gaps(utility, n) if program.box else first_guess(utility, n, program.kappa)
    require_in_range(start)
    total = 0.5 if program.box else None
    return _Written(start, objective, total, SymmetricRanking(utility, n).gaps)


def _stages(program: ListwiseProgram) -> _Written:
    """Return the listwise program: in the box the unknowns are shares of it, else scores."""
    import cvxpy as cp

    loss, n, counted = program.loss, program.n, program.counted
    beta = program.utility.beta if program.box else 1.0

    def objective(v: Any, scale: np.ndarray, left: float) -> Any:
        gaps = cp.multiply(scale, v)
        scores = beta * cp.hstack([cp.cumsum(gaps[::-1])[::-1], 0.0])
        stages = [cp.log_sum_exp(scores[i:] - scores[i]) for i in range(counted)]
        value = -cp.sum(cp.hstack(stages)) / counted
        if program.kappa > 0:
            centred = scores - cp.sum(scores) / n
            value -= score_penalty(loss, program.kappa) / n * cp.sum_squares(centred)
        return value / left

    start = np.full(n - 1, 1.0 / (n - 1)) * (1.0 if program.box else loss.beta)
    unit = 1.0 if program.box else loss.beta
    return _Written(start, objective, 1.0 if program.box else None, lambda gaps: gaps / unit)


@np.errstate(all="ignore")  # a steep pole
def _refined(
    program: Program | ListwiseProgram, written: _Written, budget: Budget
) -> Answer | None:
    """Solve twice, the second time in units of the first answer, kept away from its zeros."""
    import cvxpy as cp

    scale, best, least, left = written.scale, None, np.inf, 1.0
    for rank, (solver, options) in enumerate(_installed(budget)):
        if best is not None and solver == "SCS" and program.n > FEW_COMPLETIONS:
            break  # a first-order method: ten seconds and more
        for _ in range(2):
            v = cp.Variable(len(scale), nonneg=True)
            limits = [] if written.total is None else [scale @ v == written.total]
            found = maximum(written.objective(v, scale, left), limits, v, solver, options)
            if found is None or found[0].max() <= 0:
                break
            size, budget.used = scale * np.maximum(found[0], 0.0), budget.used + found[1]
            size = written.normed(size)
            scale = written.normed(np.maximum(size, LEAST_SHARE * scale))
            answer = Answer(written.gaps(size), converged=found[1] != budget.limit)
            certificate = certify(program, answer)
            left = certificate.shortfall or 1.0
            if best is None or certificate.relative_gap < least:
                best, least = answer, certificate.relative_gap
        if best is not None and least < (FAIR_GAP if rank else GOOD_GAP):
            break
    return None if best is None else replace(best, iterations=budget.used)


# -- graphs, in their rewards --------------------------------------------------------------


def _on_graph(program: Program, budget: Budget) -> Answer | None:
    """Solve in the rewards, in units of their expected spread; None where every solver fails."""
    import cvxpy as cp

    if program.domain.own or not program.domain.ordered:
        raise NoConicForm(
            f"the reference knows Box, Confined, Centered and Free alone, not {program.domain}; "
            'use method="newton"'
        )
    graph, start = program.graph, first_rewards(program)
    scale = 1.0 if program.box else float(np.ptp(start))
    v = cp.Variable(graph.k)
    gaps = v[graph.a] - v[graph.b]
    reference = np.full(len(graph.a), scale)
    value = graph.w @ program.utility.conic(cp, gaps - graph.m / scale, reference)
    if program.kappa > 0:
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
    for solver, options in _installed(budget):
        found = maximum(value, limits, v, solver, options)
        if found is None:
            continue
        return Answer(
            rewards=feasible(program, scale * found[0]),
            multipliers=np.asarray(falls.dual_value) / scale,
            iterations=found[1],
            converged=not budget.asked or found[1] != budget.limit,
        )
    return None
