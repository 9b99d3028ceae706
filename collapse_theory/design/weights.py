"""Weights of pairs under which any wanted rewards are the optimum."""

from __future__ import annotations

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.programs import Comparisons
from collapse_theory.utilities import Utility

MAX_STEPS = 200
# Optimality conditions met this well, relative to the force, count as met.
BALANCED = 1e-12
TIED_GAP = 1e-9
MOST_COMPLETIONS = 400  # up to which all pairs get weights of their own


def adjacent_weights(u: Utility, rewards: np.ndarray) -> Comparisons:
    """Return neighbours in rank with the weights 1/U'(gap).

    Under sum_i w_i U(r_i - r_{i+1}) the optimum in the box has w_i U'(gap_i) constant wherever
    completions differ, so these weights give any rewards from 1 down to 0 exactly (U strictly
    concave; ties need U'(0) < inf).
    """
    n, weights = len(rewards), 1.0 / _slopes(u, -np.diff(rewards))
    return Comparisons(n, np.arange(n - 1), np.arange(1, n), weights / weights.mean())


def pair_weights(u: Utility, rewards: np.ndarray) -> Comparisons:
    r"""Return weights of all pairs, the nearest to equal under which `rewards` are the optimum.

    minimise sum_{i<j} (w_ij - 1)^2  subject to  sum_{i <= k < j} w_ij U'(r_i - r_j) = c for all k,
    w >= 0, with c free: the forces on all gaps are equal. With multipliers y, sum y = 0, the answer
    is w = max(0, 1 + B^T y), a system of n - 1 equations that Newton's method solves in a few steps
    (it is piecewise linear). A pair of weight 0 drops out. Where rewards are tied the force may be
    less than c: those conditions join only where they would be broken.
    """
    n = len(rewards)
    i, j = np.triu_indices(n, 1)
    slopes = _slopes(u, rewards[i] - rewards[j])
    if n > MOST_COMPLETIONS:
        return adjacent_weights(u, rewards)
    k = np.arange(n - 1)[:, None]
    forces = np.where((i <= k) & (k < j), slopes / slopes.mean(), 0.0)
    tied = -np.diff(rewards) <= TIED_GAP
    level = ~tied
    for _ in range(n):
        weights = _nearest_to_equal(forces[level])
        if weights is None:
            return adjacent_weights(u, rewards)
        pull = forces @ weights
        over = tied & ~level & (pull > pull[~tied].mean() * (1.0 + 1e-9))
        if not over.any():
            return Comparisons(n, i, j, weights / weights.mean())
        level |= over
    return adjacent_weights(u, rewards)


def _slopes(u: Utility, gaps: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        slopes = np.asarray(u.d1(gaps)) + 0.0 * gaps
    if not np.isfinite(slopes).all():
        raise CollapseError(
            f"the wanted rewards have ties, and {u} has an infinite slope at the gap 0, which "
            "keeps all rewards apart; take a utility such as log(x + 0.1)"
        )
    if not (slopes > 0).all():
        raise CollapseError(f"{u} is flat at some wanted gap: no weight can balance it")
    return slopes


def _nearest_to_equal(forces: np.ndarray) -> np.ndarray | None:
    """Return w = max(0, 1 + B^T y) with B w level and sum y = 0, or None without convergence."""
    size = len(forces)
    # Rows of equal length, so that the equations are of one size.
    y = np.zeros(size)
    merit = np.inf
    for _ in range(MAX_STEPS):
        weights, residual = _residual(forces, y)
        now = float(np.abs(residual).max() / np.abs(forces @ weights).max())
        if now < BALANCED:
            return weights
        active = weights > 0
        hessian = forces[:, active] @ forces[:, active].T
        hessian += 1e-13 * np.trace(hessian) / size * np.eye(size)
        border = np.block([[hessian, -np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
        level = float((forces @ weights).mean())
        step = np.linalg.solve(border, np.append(-(forces @ weights) + level, 0.0))[:size]
        length = 1.0
        for _ in range(40):
            trial = _residual(forces, y + length * step)[1]
            if np.abs(trial).max() < np.abs(residual).max() or length < 1e-9:
                break
            length *= 0.5
        y = y + length * step
        if now >= merit and length < 1e-9:
            return None
        merit = min(merit, now)
    return None


def _residual(forces: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = np.maximum(1.0 + y @ forces, 0.0)
    pull = forces @ weights
    return weights, pull - pull.mean()
