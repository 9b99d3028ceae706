"""Newton's method for a head, and what its last Hessian says of prompts left out."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from collapse_theory.capacity.head_program import HeadProgram, root_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import blas, lapack
from collapse_theory.programs.program import EPS

# Of the rewards: a step this short is the last, and needs no new Hessian (its error is squared).
SHORT = 1e-12
KEPT = 10  # a Hessian is kept while each step is so much shorter than the one before
NEAR = 1e-6  # of the rewards: steps below it that stop shrinking are rounding


class Optimum(NamedTuple):
    """Where Newton's method ended."""

    weights: np.ndarray
    factor: np.ndarray  # of Cholesky, lower, of -Hess F
    iterations: int
    converged: bool


def newton(program: HeadProgram, penalty: float, weights: np.ndarray, budget: int) -> Optimum:
    """Return where Newton's method with backtracking ends: w + t (-Hess F)^-1 grad F.

    A Hessian takes the time of d/10 gradients, so it is kept while steps shrink; the last one is
    that of the optimum.
    """

    def objective(rewards: np.ndarray, w: np.ndarray) -> float:
        value = float(program.utilities(rewards).sum()) - penalty * float(w @ w)
        return value if math.isfinite(value) else -math.inf

    rewards, before, moved = program.rewards(weights), math.inf, 0.0
    factor, fresh = np.empty((0, 0)), False
    # What gaps are small beside: far below it a first step is exact, and more are rounding.
    slope, bend = map(abs, map(float, program.utility.derivatives(np.float64(0.0))))
    unit = slope / bend if bend > 0 else 0.0
    value = objective(rewards, weights)
    for done in range(budget + 1):
        if not fresh or done == budget:
            gradient, hessian = program.newton(rewards)
            factor, fresh, moved = _factor(hessian, 2 * penalty), True, 0.0
        else:
            gradient = program.gradient(rewards)
        if done == budget:
            break
        gradient -= 2 * penalty * weights
        step = lapack.dpotrs(factor, gradient, lower=1)[0]
        move = program.rewards(step)
        size = float(np.abs(move).max())
        scale = float(np.abs(rewards).max()) + size
        still = size <= SHORT * scale or (done > 0 and size <= EPS * unit)
        if still or (max(before, size) <= NEAR * scale and size > before / 2):
            weights, rewards = weights + step, rewards + move
            if moved <= max(SHORT * scale, EPS * unit):
                return Optimum(weights, factor, done + 1, True)
            fresh = False
            continue
        # Half of it, and so on, until F rises as it should; rounding of F decides nothing.
        least, rise, t = value - 16 * EPS * (abs(value) + slope * unit), float(gradient @ step), 1.0
        while True:
            value = objective(rewards + t * move, weights + t * step)
            if value >= least + 1e-4 * t * rise or t < EPS:
                break
            t /= 2
        weights, rewards = weights + t * step, rewards + t * move
        moved += size
        fresh = t == 1 and size <= before / KEPT
        before = size if fresh else math.inf
    return Optimum(weights, factor, budget, False)


def _factor(hessian: np.ndarray, ridge: float) -> np.ndarray:
    """Return Cholesky's factor of the lower half of hessian + ridge I."""
    where = np.diag_indices(len(hessian))
    top = float(hessian[where].max()) + ridge
    # A penalty below the rounding of the sums can be lost in them: as much is put back.
    for extra in (0.0, 1e-15, 1e-13, 1e-11, 1e-8):
        shifted = hessian.copy(order="F")
        shifted[where] += ridge + extra * top
        factor, failed = lapack.dpotrf(shifted, lower=1, overwrite_a=1)
        if not failed:
            return factor
    raise CollapseError("the features or the penalty are outside float64: scale the features")


class LeftOut(NamedTuple):
    """What the head would say of each prompt without it, and what it has of itself."""

    rewards: np.ndarray
    freedom: float
    reward_freedom: int
    memory: float
    prompts: int


def left_out(program: HeadProgram, factor: np.ndarray, rewards: np.ndarray) -> LeftOut:
    """Return rewards after one step of Newton's method from w on the others' objective.

    By Woodbury's identity with S = Phi_p H^-1 Phi_p' and a L = R R': r - (I - a S L)^-1 a S G, of
    which (I - a S L)^-1 S is S + S R (I - R' S R)^-1 R' S. freedom = sum tr(R' S R), memory = mean
    a tr(C S C)/(n - 1).
    """
    left, freedom, memories, whole = rewards.copy(), [], [], 0
    inverse = lapack.dtrtri(factor, lower=1)[0]
    for part, phi in program.prompts.blocks():
        rows = phi.reshape(-1, program.prompts.d)
        half = blas.dtrmm(1.0, inverse, rows.T, lower=1).T.reshape(phi.shape)
        own = np.matmul(half, half.transpose(0, 2, 1))
        force, bend = program.forces(part, rewards)
        root, push = root_of(bend), np.matmul(own, force[:, :, None])
        across = np.matmul(own, root)
        kept, ways = np.linalg.eigh(np.matmul(root.transpose(0, 2, 1), across))
        # Below 1, as H without prompt p is at least 2 lambda; rounding may say otherwise.
        turned = np.matmul(np.matmul(across, ways).transpose(0, 2, 1), force[:, :, None])
        turned /= np.maximum(1 - kept, EPS)[:, :, None]
        left[part.rows] -= (push + np.matmul(np.matmul(across, ways), turned)).ravel()
        freedom.append(float(kept.sum()))
        at = part.edges
        share = np.bincount(at.better // part.n, at.weights, part.size)
        counts = share > 0
        spread = np.trace(own, axis1=1, axis2=2) - own.sum(axis=(1, 2)) / part.n
        memories.append((share * spread)[counts] / max(part.n - 1, 1))
        whole += int(counts.sum()) * (part.n - 1)
    memory = np.concatenate(memories)
    return LeftOut(left, math.fsum(freedom), whole, float(memory.mean()), len(memory))
