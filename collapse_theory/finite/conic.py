"""The reference: the program written in CVXPY from the utility's own conic form.

Written plainly, in the rewards, the program of log x fails from n = 64 on: the cones of gaps of
very different sizes are badly scaled. Here the unknowns are gaps in units of a guess of them, each
pair's gap enters its cone in units of its guessed size, and the optimum's symmetry halves it all.

Where several rewards are optimal (piecewise linear utilities), a small multiple of the sum of
squared gaps is taken off: below a threshold that picks, exactly, the least sum of squares among the
optimal ones (Mangasarian and Meyer 1979), which is the limit of strictly concave optima.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.exact.finite import mirrored
from collapse_theory.finite.newton import Answer
from collapse_theory.finite.snap import snapped
from collapse_theory.finite.start import start
from collapse_theory.finite.unbounded import first_guess
from collapse_theory.programs import certify, certify_held, is_unique
from collapse_theory.utilities import Utility

__all__ = ["conic", "conic_held", "installed", "maximum"]

# Tried in turn, with the options that make each as exact as it can be.
SOLVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("CLARABEL", {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}),
    ("CLARABEL", {}),
    ("ECOS", {"abstol": 1e-10, "reltol": 1e-10, "feastol": 1e-10}),
    ("SCS", {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 5_000}),
)
LIMITS = {"CLARABEL": "max_iter", "ECOS": "max_iters", "SCS": "max_iters"}
TIE_BREAK = 1e-4  # times U' at small gaps: the weight of the squared gaps, to pick an optimum
GOOD = 1e-8  # the relative gap that ends the search
FAIR = 1e-6  # the one that is worth no slower solver


def conic(utility: Utility, n: int, max_iterations: int | None = None) -> Answer:
    """Return the optimal gaps of n completions in the box [0, 1], from a conic solver.

    Raises
    ------
    NoConicForm
        For utilities of sin, atan, tanh or erf.
    SolverFailed
        Where no installed solver returns a usable answer.
    """
    matrix, weights = half_pairs(n)
    unique = utility.strictly_concave
    if n == 2:
        return Answer(np.ones(1), 0, True, unique or is_unique(utility, np.ones(1)))
    scale = start(utility, n)
    best, steps = None, 0
    for rank, (solver, options) in enumerate(installed(max_iterations)):
        # The second time in units of the first answer, kept away from its zeros; where several
        # rewards may be optimal, without the tie-break, which misleads where U is curved.
        for pull in (0.0, 0.0) if unique else (TIE_BREAK, 0.0):
            found = _solve(utility, matrix, weights, scale, pull, solver, options)
            if found is None:
                break
            e, iterations = found
            steps += iterations
            gaps = mirrored(e, n)
            gaps = snapped(utility, gaps) if pull else gaps
            quality = certify(utility, gaps).relative_gap
            if best is None or quality < best[0]:
                best = quality, gaps, iterations != max_iterations
            if pull and quality < GOOD:
                break
            scale = np.maximum(e, 1e-3 * scale)
            scale *= 0.5 / scale.sum()
        if best is not None and best[0] < (FAIR if rank else GOOD):
            break
    if best is None:
        raise SolverFailed(
            f'no conic solver found the optimum of {utility} for n = {n}; use method="newton"'
        )
    _, gaps, converged = best
    return Answer(gaps, steps, converged, unique or is_unique(utility, gaps))


def half_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pairs of a symmetric ranking: gaps as rows over the half gaps, counts."""
    h = n // 2
    order = np.arange(h)
    to_middle = (order[None, :] >= order[:, None]).astype(float)  # C_i = e_i + ... + e_h
    i, j = np.triu_indices(h, 1)
    side = to_middle[i] - to_middle[j]
    a, b = np.triu_indices(h)
    across = to_middle[a] + to_middle[b]
    rows = [side, across, to_middle] if n % 2 else [side, across]
    counts = [np.full(len(i), 2.0), np.where(a == b, 1.0, 2.0), np.full(h, 2.0)]
    return np.concatenate(rows), np.concatenate(counts[: len(rows)])


def installed(max_iterations: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    import cvxpy as cp

    for name, options in SOLVERS:
        if name in cp.installed_solvers():
            limit = {} if max_iterations is None else {LIMITS[name]: max_iterations}
            yield name, options | limit


def _solve(
    utility: Utility,
    matrix: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    pull: float,
    solver: str,
    options: dict[str, Any],
) -> tuple[np.ndarray, int] | None:
    """Return half gaps that sum to 1/2, and iterations, or None where the solver failed."""
    import cvxpy as cp

    reference = matrix @ scale
    v = cp.Variable(len(scale), nonneg=True)
    ratio = (matrix * scale / reference[:, None]) @ v
    share = weights / weights.sum()
    unit = float(share @ (np.asarray(utility.slope(reference)) * reference)) or 1.0
    objective = (share / unit) @ utility.conic(cp, ratio, reference)
    if pull:
        pull *= min(utility.slope_at_zero, float(utility.slope(reference).max())) / unit
        objective -= pull * cp.sum_squares(cp.multiply(np.sqrt(share) * reference, ratio))
    found = maximum(objective, [scale @ v == 0.5], v, solver, options)
    if found is None or found[0].max() <= 0:
        return None
    e = scale * np.maximum(found[0], 0.0)
    return e * (0.5 / e.sum()), found[1]


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


def conic_held(utility: Utility, n: int, kappa: float, max_iterations: int | None = None) -> Answer:
    """Return the optimal gaps under mean U - kappa mean r_i**2 from a conic solver.

    Raises
    ------
    NoConicForm
        For utilities of sin, atan, tanh or erf.
    SolverFailed
        Where no installed solver returns a usable answer.
    """
    import cvxpy as cp

    matrix, weights = half_pairs(n)
    scale, best, steps = first_guess(utility, n, kappa), None, 0
    share = weights / weights.sum()
    to_middle = np.triu(np.ones((n // 2, n // 2)))
    for solver, options in installed(max_iterations):
        for _ in range(2):
            reference = matrix @ scale
            v = cp.Variable(len(scale), nonneg=True)
            ratio = (matrix * scale / reference[:, None]) @ v
            first, second = utility.derivatives(reference)
            # At a maximum of U the slopes are rounding.
            unit = float(share @ np.maximum(np.abs(first) * reference, -second * reference**2))
            held = 2 * kappa / n * cp.sum_squares((to_middle * scale) @ v)
            objective = ((share @ utility.conic(cp, ratio, reference)) - held) / (unit or 1.0)
            found = maximum(objective, [], v, solver, options)
            if found is None:
                break
            gaps = mirrored(scale * np.maximum(found[0], 0.0), n)
            steps += found[1]
            quality = certify_held(utility, gaps, kappa).relative_gap
            if best is None or quality < best[0]:
                best = quality, gaps
            scale = np.maximum(scale * found[0], 1e-3 * scale)
        if best is not None and best[0] < GOOD:
            break
    if best is None:
        raise SolverFailed(
            f'no conic solver found the optimum of {utility} for n = {n}; use method="newton"'
        )
    return Answer(best[1], steps, True)
