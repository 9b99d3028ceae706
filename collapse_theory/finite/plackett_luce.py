"""Newton's method for listwise losses, in O(n) a step.

The scores s = beta r are ranked, best first. Completions below the last counted stage are alike:
they move together, as a tail. With the odds tau and the forces G of `programs/plackett_luce.py` the
gradient by s_k is (tau_k - G_{k-1}) / (1 + tau_k), and the negative Hessian is

    diag(alpha) - sum_k p_k p_k',    alpha_k = (1 + G_{k-1}) / (1 + tau_k),

p_k the probabilities at stage k. For the step x_k = (1 + tau_k) z_k - tau_k z_{k+1} it is
tridiagonal in z, as p_k' x = z_k; nothing cancels in its diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.exact.plackett_luce import PenalisedScores
from collapse_theory.finite.budget import Budget, line_search
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.programs.plackett_luce import Stages, score_penalty, stages_of

MOST_STEPS = 500  # of Newton's method; 10 to 30 are usual
MIN_KAPPA = 1e-12  # the smallest kappa whose limit law is a start
SETTLED = 1e-9  # steps this small, relative to the scores, are Newton's own: then until rounding


@dataclass(frozen=True)
class _Scores:
    """Counted scores as their gaps (counted,), the last down to a tail of `tail` completions."""

    gaps: np.ndarray
    tail: int

    @cached_property
    def stages(self) -> Stages:
        return stages_of(np.append(self.gaps, np.zeros(self.tail - 1)), len(self.gaps))

    @property
    def odds(self) -> np.ndarray:
        return self.stages.odds

    @cached_property
    def before(self) -> np.ndarray:
        """G_{k-1} of each stage k."""
        return np.append(0.0, self.force[:-1])

    @property
    def force(self) -> np.ndarray:
        return self.stages.force[: len(self.gaps)]

    @cached_property
    def centred(self) -> np.ndarray:
        """The scores (counted + 1,), the last the tail's, with mean 0 over all completions."""
        below = np.append(0.0, -np.cumsum(self.gaps))
        n = len(self.gaps) + self.tail
        return below - (below[:-1].sum() + self.tail * below[-1]) / n


class ScoreNewton:
    """Newton's method in the scores of a listwise loss."""

    name = "newton"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether it is a listwise program."""
        return isinstance(program, ListwiseProgram)

    def __call__(self, program: ListwiseProgram, budget: Budget) -> Answer:
        """Return the optimal gaps."""
        gaps, converged = (_in_box if program.box else _penalised)(program, budget)
        return Answer(gaps, iterations=budget.used, converged=converged, unique=True)


def _penalised(program: ListwiseProgram, budget: Budget) -> tuple[np.ndarray, bool]:
    """Newton's method with a line search under a penalty, r in all of R."""
    loss, n, counted = program.loss, program.n, program.counted
    tail, kappa = n - counted, score_penalty(loss, program.kappa)
    weights = np.append(np.ones(counted), tail)
    pull = 2 * kappa * counted / n  # of the sum over stages, by a score
    # The limit law where all stages count: a plausible scale where few do.
    start = PenalisedScores(max(kappa, MIN_KAPPA)).density.ppf((np.arange(n, 0, -1.0) - 0.5) / n)
    at = _Scores(-np.diff(np.append(start[:counted], start[counted:].mean())), tail)
    last, converged = np.inf, False
    for _ in budget.rounds(MOST_STEPS):
        rest = at.force - pull * np.cumsum(at.centred[:-1])
        gradient = np.diff(np.concatenate([[0.0], rest, [0.0]]))
        step = _penalised_step(at, gradient, pull, weights)
        size = float(np.abs(step).max() / np.abs(at.centred).max())
        if converged and size >= 0.5 * last:
            break
        at = _line_search(at, step, float(gradient @ step), pull)
        converged, last = size < SETTLED, size
        if size < 1e-15:
            break
    gaps = np.append(at.gaps, np.zeros(tail - 1)) / loss.beta
    return gaps, converged


def _penalised_step(
    at: _Scores, gradient: np.ndarray, pull: float, weights: np.ndarray
) -> np.ndarray:
    odds, tail = at.odds, weights[-1]
    alpha = (1 + at.before) / (1 + odds)
    own = alpha + pull
    last = tail * (np.exp(-at.gaps[-1]) * alpha[-1] + pull)
    diagonal = np.append((1 + odds) * at.before + odds + pull * (1 + odds) ** 2, last)
    diagonal[1:] += own * odds**2
    right = np.append((1 + odds) * gradient[:-1], gradient[-1])
    right[1:] -= odds * gradient[:-1]
    z = _tridiagonal(diagonal, -own * (1 + odds) * odds, right)
    return np.append((1 + odds) * z[:-1] - odds * z[1:], z[-1])


def _tridiagonal(diagonal: np.ndarray, beside: np.ndarray, right: np.ndarray) -> np.ndarray:
    from scipy.linalg import solveh_banded

    if len(right) == 1:
        return right / diagonal
    return solveh_banded(np.vstack([np.append(0.0, beside), diagonal]), right)


def _line_search(at: _Scores, step: np.ndarray, rise: float, pull: float) -> _Scores:
    """Shorten the step until the objective doesn't fall at its end as steeply as it rose."""
    change = -np.diff(step)
    falling = change < 0
    alpha = min(1.0, 0.9 * float(np.min(at.gaps[falling] / -change[falling], initial=np.inf)))

    def ahead(alpha: float) -> tuple[_Scores, float]:
        trial = _Scores(at.gaps + alpha * change, at.tail)
        rest = trial.force - pull * np.cumsum(trial.centred[:-1])
        return trial, float(rest @ change)

    return line_search(ahead, alpha, abs(rise))[1]


def _in_box(program: ListwiseProgram, budget: Budget) -> tuple[np.ndarray, bool]:
    """Projected Newton steps from equal spacing in the box [0, 1].

    Completions at an end with a force that holds them there stay; the others take a Newton step,
    cut off at the ends (Bertsekas 1982, Projected Newton methods).
    """
    n, counted, width = program.n, program.counted, program.utility.beta
    tail = n - counted
    scores = width * np.linspace(1.0, 0.0, counted + 1)[:-1]
    at, last, converged = _from_scores(scores, tail), np.inf, False
    for _ in budget.rounds(MOST_STEPS):
        gradient = (at.odds - at.before) / (1 + at.odds)
        fixed = ((scores == width) & (gradient >= 0)) | ((scores == 0) & (gradient <= 0))
        step = np.zeros(counted)
        if not fixed.all():
            free = np.flatnonzero(~fixed)
            block = slice(free[0], free[-1] + 1)
            step[block] = _box_step(at, gradient, block)
        new, scores_new = _projected(at, scores, step, width)
        size = float(np.abs(scores_new - scores).max() / width)
        if converged and size >= 0.5 * last:
            break
        at, scores = new, scores_new
        converged, last = size < SETTLED, size
        if size < 1e-15:
            break
    gaps = np.append(at.gaps, np.zeros(tail - 1)) / width
    return gaps / gaps.sum(), converged


def _from_scores(scores: np.ndarray, tail: int) -> _Scores:
    return _Scores(-np.diff(np.append(scores, 0.0)), tail)


def _box_step(at: _Scores, gradient: np.ndarray, block: slice) -> np.ndarray:
    """Return the Newton step of the free scores: those before and after stay at the ends."""
    odds, before = at.odds[block], at.before[block]
    own = (1 + before) / (1 + odds)
    diagonal = (1 + odds) * before + odds
    diagonal[1:] += (own * odds**2)[:-1]
    # Stages of the tied at the top see the free ones as one sum.
    above = at.odds[: block.start]
    shares = np.cumprod((above / (1 + above))[::-1])
    diagonal[0] -= float(shares @ shares)
    right = (1 + odds) * gradient[block]
    right[1:] -= (odds * gradient[block])[:-1]
    z = _tridiagonal(diagonal, -(own * (1 + odds) * odds)[:-1], right)
    return (1 + odds) * z - odds * np.append(z[1:], 0.0)


def _projected(
    at: _Scores, scores: np.ndarray, step: np.ndarray, width: float
) -> tuple[_Scores, np.ndarray]:
    """Return the longest of the halved steps, cut off at the ends, that is no loss."""
    now, alpha = at.stages.value, 1.0
    trial, new = at, scores
    for _ in range(40):
        # In order: a better reward for the better of two is never a loss.
        new = np.sort(np.clip(scores + alpha * step, 0.0, width))[::-1]
        trial = _from_scores(new, at.tail)
        if trial.stages.value >= now * (1 + 1e-14):  # the value is negative
            break
        alpha *= 0.5
    return trial, new
