"""The program of a listwise loss: its stages, its gradient in the gaps, what it is measured by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError, NoOptimum, OutOfRange
from collapse_theory.numerics.checks import count
from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.domain import Domain
from collapse_theory.utilities import PlackettLuce
from collapse_theory.values import shown_by_repr

PENALTIES = 1e-100, 1e100  # on scores: within them squares stay in float64


def program_text(self: Any) -> str:
    """Return the call of `Program.of` that makes a program again."""
    pairs = self.comparisons
    given = [self.loss, self.n, self.domain, *([] if pairs is None else [pairs])]
    return f"Program.of({', '.join(map(repr, given))})"


@dataclass(frozen=True, repr=False)
class ListwiseProgram:
    """The program of a Plackett-Luce loss, in the gaps of a full ranking.

    The objective is the mean log-likelihood of a pick, less kappa mean r_i**2 without a box.
    """

    loss: PlackettLuce
    domain: Domain
    n: int
    utility: PlackettLuce  # of gaps in units of the box's width
    kappa: float
    comparisons = None
    full = True
    kinked = False

    @classmethod
    def of(
        cls, loss: PlackettLuce, n: int | None, domain: Domain, pairs: Comparisons | None
    ) -> Self:
        """Return the program, checked; a listwise loss takes no comparisons."""
        if pairs is not None:
            raise CollapseError(
                f"{loss} is the likelihood of a whole ranking, best first, so it takes no "
                "comparisons: give n (and top=k in PlackettLuce where only the best k are ranked), "
                "or solve the comparisons with a utility of a gap, such as logsigmoid(x)"
            )
        domain.require_known("a listwise loss")
        n = count(n)
        if domain.bounded:
            return cls(loss, domain, n, loss.scaled(domain.width), 0.0)
        program = cls(loss, domain, n, loss, domain.penalty(n))
        if program.kappa == 0:
            which = "two completions leave no penalty" if domain.sums > 0 else "no penalty"
            raise NoOptimum(
                f"nothing holds the rewards under {domain} ({which}): the likelihood of {loss} "
                "rises towards 1 as the gaps grow. Use a penalty (Confined, or Centered with n > "
                "2) or a box"
            )
        score_penalty(loss, program.kappa)
        return program

    __repr__ = program_text
    _repr_pretty_ = shown_by_repr

    @property
    def box(self) -> bool:
        """Whether rewards lie in [0, 1]."""
        return self.domain.bounded

    @property
    def counted(self) -> int:
        """How many picks count."""
        return self.loss.stages(self.n)

    def stages(self, gaps: np.ndarray) -> Stages:
        """Return what every stage sees at these gaps (n-1,)."""
        return stages_of(self.utility.beta * gaps, self.counted)

    def shortfall(self, gaps: np.ndarray) -> float:
        """Return what a certificate is measured by.

        In the box, how far the mean of the stages is below that of stages each at its own best;
        under a penalty, what it gains over equal rewards.
        """
        scores = self.utility.beta * gaps
        if not self.box:
            return _above_equal(scores, self.counted)
        missing = self.utility.beta * max(math.fsum((1.0, *(-gaps).tolist())), 0.0)
        return _below_the_best(scores, missing, self.utility, self.counted)


def score_penalty(loss: PlackettLuce, kappa: float) -> float:
    """Return kappa / beta**2, the weight of the penalty on the scores beta r.

    Raises
    ------
    OutOfRange
        Where it is outside [1e-100, 1e100].
    """
    penalty = kappa / loss.beta / loss.beta
    if not PENALTIES[0] <= penalty <= PENALTIES[1]:
        raise OutOfRange(
            f"kappa / beta**2 = {penalty:.3g} is outside [{PENALTIES[0]:g}, {PENALTIES[1]:g}] for "
            f"{loss} and kappa = {kappa:g}: measure rewards in other units"
        )
    return penalty


@dataclass(frozen=True)
class Stages:
    """What every stage of a Plackett-Luce ranking sees (docs/listwise.md).

    odds : (stages,) tau_k, the odds against the pick of each counted stage
    force : (n-1,) G_k, the derivative of the sum over stages by beta d_k, those below the last
        counted stage too
    """

    odds: np.ndarray
    force: np.ndarray

    @property
    def value(self) -> float:
        """The mean log-likelihood of a stage."""
        return 0.0 - float(np.log1p(self.odds).sum()) / len(self.odds)


def stages_of(scores: np.ndarray, counted: int) -> Stages:
    """Return odds and forces from the gaps (n-1,) between neighbouring scores beta r.

    Stage i picks completion i among those from i on. With S_k = sum_{j >= k} exp(beta r_j),
    tau_k = S_{k+1} / exp(beta r_k) and G_k = S_{k+1} sum_{i <= k} 1 / S_i follow from recursions
    without a subtraction, tau_k = exp(-beta d_k) (1 + tau_{k+1}) and G_k = (1 + G_{k-1})
    tau_k / (1 + tau_k), so they keep full relative accuracy at any scale.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.programs.plackett_luce import stages_of
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


def _below_the_best(scores: np.ndarray, missing: float, unit: PlackettLuce, counted: int) -> float:
    """Return how far the stages' mean is below that of stages each at its own best in the box.

    That has its pick at the top and the rest at the bottom: the mean of log(1 + tau_i) -
    log(1 + (n-i) exp(-width)), from positive terms. `missing` is how far the best score is below
    the top of the box, the worst being at the bottom.
    """
    n, width = len(scores) + 1, unit.beta
    above_bottom = np.concatenate([np.cumsum(scores[::-1])[::-1], [0.0]])
    below_top = missing + np.concatenate([[0.0], np.cumsum(scores)])
    # sum over j > i of exp(-(s_i - s_j)) - exp(-s_i), by a recursion.
    excess, total = [], 0.0
    lifts = -np.expm1(-above_bottom[1:][::-1])
    for near, lift in zip(np.exp(-scores[::-1]).tolist(), lifts.tolist(), strict=True):
        total = near * (total + lift)
        excess.append(total)
    below = np.arange(n - 1, 0, -1.0)
    left = np.exp(-above_bottom[:-1]) * -np.expm1(-below_top[:-1])
    each = np.log1p((np.array(excess[::-1]) + below * left) / (1.0 + below * np.exp(-width)))
    return float(each[:counted].sum()) / counted


def _above_equal(scores: np.ndarray, counted: int) -> float:
    """Return what the stages' mean gains over equal rewards, from positive terms.

    It is the mean of log(n-i+1) - log(1 + tau_i).
    """
    lost, total = [], 0.0
    for below, gap in enumerate(scores[::-1].tolist(), start=1):
        # sum over j > i of 1 - exp(-(s_i - s_j)).
        total = below * -math.expm1(-gap) + math.exp(-gap) * total
        lost.append(total)
    share = np.array(lost[::-1]) / np.arange(len(scores) + 1, 1, -1.0)
    return float(np.mean(-np.log1p(-share[:counted])))
