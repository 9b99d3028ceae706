"""The program of a listwise loss: its stages, its gradient in the gaps, and the certificates.

Stage i of a Plackett-Luce ranking picks completion i among those from i on. In the gaps d_k between
neighbours, with scores beta r and S_k = sum_{j >= k} exp(beta r_j),

    tau_k = S_{k+1} / exp(beta r_k)          the odds against the pick of stage k,
    G_k = S_{k+1} sum_{i <= k} 1 / S_i       the derivative of the sum over stages by beta d_k.

Both follow from recursions without a subtraction, tau_k = exp(-beta d_k) (1 + tau_{k+1}) and
G_k = (1 + G_{k-1}) tau_k / (1 + tau_k), so they keep full relative accuracy at any scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import OutOfRange
from collapse_theory.programs.certificates import EPS, Certificate
from collapse_theory.programs.held import centred
from collapse_theory.utilities import PlackettLuce

__all__ = ["Stages", "certify_listwise", "certify_listwise_held", "score_penalty", "stages_of"]

LEAST, MOST = 1e-100, 1e100  # of the penalty on scores: within it squares stay in float64


@dataclass(frozen=True)
class Stages:
    """What every stage sees.

    Attributes
    ----------
    odds : (stages,) array
        tau_k, the odds against the pick of each counted stage.
    force : (n-1,) array
        G_k, also for the gaps below the last counted stage.
    """

    odds: np.ndarray
    force: np.ndarray

    @property
    def value(self) -> float:
        """The mean log-likelihood of a stage."""
        return 0.0 - float(np.mean(np.log1p(self.odds)))


def stages_of(scores: np.ndarray, counted: int) -> Stages:
    """Return odds and forces from the gaps (n-1,) between neighbouring scores beta r.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.programs.listwise import stages_of
    >>> stages_of(np.zeros(2), 2).odds.tolist(), stages_of(np.zeros(2), 2).force.round(4).tolist()
    ([2.0, 1.0], [0.6667, 0.8333])
    """
    odds, tau = [], 0.0
    for near in np.exp(-scores[::-1]).tolist():
        tau = near * (1.0 + tau)
        odds.append(tau)
    odds.reverse()
    force, pushed = [], 0.0
    for k, tau in enumerate(odds):
        pushed = (pushed + 1.0 if k < counted else pushed) * (tau / (1.0 + tau))
        force.append(pushed)
    return Stages(np.array(odds[:counted]), np.array(force))


def score_penalty(loss: PlackettLuce, kappa: float) -> float:
    """Return kappa / beta**2, the weight of the penalty on the scores beta r.

    Raises
    ------
    OutOfRange
        Where it is outside [1e-100, 1e100].
    """
    penalty = kappa / loss.beta / loss.beta
    if not LEAST <= penalty <= MOST:
        raise OutOfRange(
            f"kappa / beta**2 = {penalty:.3g} is outside [{LEAST:g}, {MOST:g}] for {loss} and "
            f"kappa = {kappa:g}: measure rewards in other units"
        )
    return penalty


def certify_listwise(unit: PlackettLuce, gaps: np.ndarray) -> Certificate:
    """Return the certificate of the rewards with these `gaps` (n-1,) in the box [0, 1].

    As for pairs, f* - f <= max_k G_k - sum_k G_k d_k. `shortfall` is how much the stages' mean is
    below that of stages each at its own best: its pick at 1 and the rest at 0.
    """
    stages, counted = len(gaps), unit.stages(len(gaps) + 1)
    scores = unit.beta * gaps
    found = stages_of(scores, counted)
    missing = max(math.fsum([1.0, *(-gaps)]), 0.0)
    shortfall = _shortfall(scores, unit.beta * missing, unit.beta, counted)
    if shortfall == 0.0:
        return Certificate(found.value, 0.0, 0.0)  # every stage at its own best
    force = unit.beta / counted * found.force
    top = float(force.max())
    bound = math.fsum(gaps * (top - force)) + top * missing
    rounding = (4 + math.sqrt(stages)) * EPS * top
    return Certificate(found.value, max(bound, 0.0) + rounding, shortfall)


def _shortfall(scores: np.ndarray, missing: float, width: float, counted: int) -> float:
    """Return the mean of log(1 + tau_i) - log(1 + (n-i) exp(-width)), from positive terms.

    `missing` is how far the best score is below the top of the box, the worst being at the bottom.
    """
    n = len(scores) + 1
    above_bottom = np.concatenate([np.cumsum(scores[::-1])[::-1], [0.0]])
    below_top = missing + np.concatenate([[0.0], np.cumsum(scores)])
    # sum over j > i of exp(-(s_i - s_j)) - exp(-s_i), by a recursion.
    excess, total = [], 0.0
    lifts = -np.expm1(-above_bottom[1:][::-1])
    for near, lift in zip(np.exp(-scores[::-1]).tolist(), lifts.tolist(), strict=True):
        total = near * (total + lift)
        excess.append(total)
    below = np.arange(n - 1, 0, -1.0)
    room = np.exp(-above_bottom[:-1]) * -np.expm1(-below_top[:-1])
    each = np.log1p((np.array(excess[::-1]) + below * room) / (1.0 + below * np.exp(-width)))
    return float(np.mean(each[:counted]))


def certify_listwise_held(loss: PlackettLuce, gaps: np.ndarray, kappa: float) -> Certificate:
    """Return the certificate of the mean log-likelihood less kappa mean r_i**2, at mean 0.

    The penalty's modulus is m = 2 kappa / n, and f* - f <= |grad f|**2 / (2m). `shortfall` is what
    the ranking gains over equal rewards.
    """
    n, counted = len(gaps) + 1, loss.stages(len(gaps) + 1)
    rewards = centred(gaps)
    found = stages_of(loss.beta * gaps, counted)
    force = loss.beta / counted * found.force
    pulls = 2 * kappa / n * np.cumsum(rewards)[:-1]
    rest = np.diff(np.concatenate([[0.0], force - pulls, [0.0]]))
    rounding = (4 + math.sqrt(n)) * EPS * np.concatenate([[0.0], force + pulls, [0.0]])
    rest = np.abs(rest) + rounding[1:] + rounding[:-1]
    square = kappa * float(np.mean(rewards**2))
    gap = n * math.fsum(rest**2) / (4 * kappa) + 4 * EPS * (abs(found.value) + square)
    return Certificate(found.value - square, gap, _spread(loss.beta * gaps, counted))


def _spread(scores: np.ndarray, counted: int) -> float:
    """Return the mean over stages of log(n-i+1) - log(1 + tau_i), from positive terms."""
    lost, total = [], 0.0
    for below, gap in enumerate(scores[::-1].tolist(), start=1):
        # sum over j > i of 1 - exp(-(s_i - s_j)).
        total = below * -math.expm1(-gap) + math.exp(-gap) * total
        lost.append(total)
    share = np.array(lost[::-1]) / np.arange(len(scores) + 1, 1, -1.0)
    with np.errstate(divide="ignore"):
        return float(np.mean(-np.log1p(-share[:counted])))
