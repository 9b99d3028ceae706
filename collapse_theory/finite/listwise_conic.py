"""The reference for listwise losses: the program written in CVXPY with log_sum_exp."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.finite.conic import GOOD, installed, maximum
from collapse_theory.finite.newton import Answer
from collapse_theory.programs import Certificate
from collapse_theory.programs.listwise import (
    certify_listwise,
    certify_listwise_held,
    score_penalty,
)
from collapse_theory.utilities import PlackettLuce

__all__ = ["conic_listwise"]


def conic_listwise(
    loss: PlackettLuce, n: int, kappa: float | None, max_iterations: int | None = None
) -> Answer:
    """Return the optimal gaps in the box [0, 1], or in all of R under kappa mean r_i**2.

    Raises
    ------
    SolverFailed
        Where no installed solver returns a usable answer.
    """
    scale, best, steps = np.full(n - 1, 1.0 / (n - 1)), None, 0
    for solver, options in installed(max_iterations):
        # The second time in units of the first answer, and of what is left to gain.
        unit = 1.0
        for _ in range(2):
            found = _solve(loss, n, kappa, scale, unit, solver, options)
            if found is None:
                break
            gaps, iterations = found
            steps += iterations
            proof = _proof(loss, gaps, kappa)
            if best is None or proof.relative_gap < best[0]:
                best = proof.relative_gap, gaps, iterations != max_iterations
            scale, unit = np.maximum(gaps, 1e-3 * scale), proof.shortfall or 1.0
        if best is not None and best[0] < GOOD:
            break
    if best is None:
        raise SolverFailed(
            f'no conic solver found the optimum of {loss} for n = {n}; use method="newton"'
        )
    return Answer(best[1], steps, best[2])


def _proof(loss: PlackettLuce, gaps: np.ndarray, kappa: float | None) -> Certificate:
    if kappa is None:
        return certify_listwise(loss, gaps)
    return certify_listwise_held(loss, gaps, kappa)


def _solve(
    loss: PlackettLuce,
    n: int,
    kappa: float | None,
    scale: np.ndarray,
    unit: float,
    solver: str,
    options: dict[str, Any],
) -> tuple[np.ndarray, int] | None:
    """Return gaps and iterations, or None where the solver failed."""
    import cvxpy as cp

    counted, v = loss.stages(n), cp.Variable(n - 1, nonneg=True)
    # In the box the unknowns are shares of it, else scores.
    scale = scale if kappa is None else scale * loss.beta
    gaps = cp.multiply(scale, v)
    scores = (loss.beta if kappa is None else 1.0) * cp.hstack([cp.cumsum(gaps[::-1])[::-1], 0.0])
    stages = [cp.log_sum_exp(scores[i:] - scores[i]) for i in range(counted)]
    objective = -cp.sum(cp.hstack(stages)) / counted
    if kappa is not None:
        centred = scores - cp.sum(scores) / n
        objective -= score_penalty(loss, kappa) / n * cp.sum_squares(centred)
    limits = [scale @ v == 1] if kappa is None else []
    found = maximum(objective / unit, limits, v, solver, options)
    if found is None or found[0].max() <= 0:
        return None
    answer = np.maximum(found[0], 0.0) * scale
    return (answer / answer.sum() if kappa is None else answer / loss.beta), found[1]
