"""Which completions tie: interior-point methods for the gaps e >= 0 of the half program."""

from __future__ import annotations

import numpy as np

from collapse_theory.finite.half import Half
from collapse_theory.finite.steps import Budget, constrained, room, solver

__all__ = ["follow_path", "interior"]


def interior(half: Half, e: np.ndarray, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """Maximise with e >= 0 by a primal-dual interior-point method.

    Returns e and the multipliers of e >= 0 (in units of the level lambda), by which those that
    end at zero are told: e < z.
    """
    h = len(e)
    gradient, hessian = half.derivatives(e)
    unit = 2.0 * float(gradient @ e)
    if unit == 0.0:
        return e, np.zeros(h)  # U' underflows at all gaps: nothing to gain in float64
    lam = float(gradient.max()) / unit + 1e-2
    z = lam - gradient / unit
    for _ in budget.rounds(80):
        unit = 2.0 * float(gradient @ e)
        if unit == 0.0 or not np.isfinite(unit):
            break
        residual, mu = gradient / unit + z - lam, float(e @ z) / h
        # A looser residual tells ties wrongly where U is nearly linear (log sigma(0.2x), n = 260).
        if np.abs(residual).max() < 1e-9 and mu * h < 1e-10:
            break
        step = _predictor_corrector(hessian / unit, gradient / unit - lam, e, z)
        if step is None:
            break
        de, dz, dlam, centring = step
        keep = min(max(0.9, 1.0 - mu * h), 0.9999)
        primal, dual = min(1.0, keep * room(e, de)), min(1.0, keep * room(z, dz))
        rise = float((gradient / unit + centring / e) @ de)
        trial = e
        for _ in range(10):
            trial = e + primal * de
            gradient, hessian = half.derivatives(trial)
            fall = -float((gradient / unit + centring / trial) @ de)
            if fall <= max(rise, 1e-12):
                break
            # Past the maximum along the step, on the concave barrier objective: back by the secant.
            shrink = max(rise / (rise + fall), 0.1) if rise > 0 else 0.1
            primal, dual = primal * shrink, dual * shrink
        e, z, lam = trial / (2.0 * trial.sum()), z + dual * dz, lam + dual * dlam
    return e, z


def follow_path(half: Half, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """Follow the maxima of objective + mu sum(log e) as mu falls: slow, and always converges.

    Each is a concave program, and each step of Newton's method is searched to where the objective
    stops rising.
    """
    h = half.size
    e = np.full(h, 0.5 / h)
    gradient, hessian = half.derivatives(e)
    z = np.zeros(h)
    for mu in 10.0 ** -np.arange(1.0, 9.0) / h:
        for _ in range(60):
            unit = 2.0 * float(gradient @ e)
            if unit == 0.0:
                return e, z
            rest = gradient / unit + mu / e
            step = constrained(hessian / unit + np.diag(mu / e**2), e, rest, np.ones(h))
            if step is None:
                return e, z
            de, z = step * e, mu / e
            rise = float(rest @ de)
            alpha, low, high = min(1.0, 0.99 * room(e, de)), 0.0, np.inf
            for _ in budget.rounds(30):
                trial = e + alpha * de
                gradient, hessian = half.derivatives(trial)
                slope = float((gradient / unit + mu / trial) @ de)
                if abs(slope) <= 0.5 * rise or (slope > 0 and not np.isfinite(high)):
                    break
                low, high = (alpha, high) if slope > 0 else (low, alpha)
                alpha = (low + high) / 2
            else:
                return e, z
            e = trial / (2.0 * trial.sum())
            if rise < 1e-6 * mu:
                break
    return e, z


def _predictor_corrector(
    hessian: np.ndarray, rest: np.ndarray, e: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float] | None:
    """Return the steps of e, z and lambda, and the product e z that they aim at."""
    solve = solver(hessian + np.diag(z / e))
    if solve is None:
        return None
    ones = solve(np.ones_like(e))

    def step(target: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, float]:
        # G - H de + z + dz = lam + dlam,  z de + e dz = target - e z,  sum(de) = 0.
        push = solve(rest + target / e)
        dlam = float(push.sum() / ones.sum())
        de = push - dlam * ones
        return de, target / e - z - z / e * de, dlam

    mu = float(e @ z) / len(e)
    de, dz, _ = step(0.0)
    primal, dual = min(1.0, room(e, de)), min(1.0, room(z, dz))
    ahead = float((e + primal * de) @ (z + dual * dz)) / len(e)
    centring = (ahead / mu) ** 3 * mu
    second = de * dz if min(primal, dual) > 0.1 else 0.0
    de, dz, dlam = step(centring - second)
    sound = np.all(np.isfinite(de)) and np.all(np.isfinite(dz))
    return (de, dz, dlam, centring) if sound else None
