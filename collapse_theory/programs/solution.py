"""The answer to a program: rewards, the gaps between them and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from collapse_theory.laws import empirical_law
from collapse_theory.programs.domains import Domain
from collapse_theory.utilities import Loss
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from collapse_theory.laws import RewardLaw
    from collapse_theory.programs.comparisons import Comparisons

__all__ = ["Solution"]


@dataclass(frozen=True, eq=False)
class Solution(Value):
    """The optimal rewards of n completions.

    Attributes
    ----------
    rewards : numpy.ndarray, shape (n,)
        Best first; no units.
    gaps : numpy.ndarray, shape (n-1,)
        Between neighbours. They can be far below 1e-16, where differences of `rewards` are 0.
    objective : float
        The mean of U over pairs; of PlackettLuce, the mean log-likelihood of a pick.
    gap : float
        A bound: no feasible rewards have an objective above ``objective + gap``.
    relative_gap : float
        `gap` over U(largest gap) - objective, unchanged under U -> cU + d; see DESIGN 2.3 for the
        other domains, and `programs.listwise` for PlackettLuce.
    status : str
        "optimal", "inaccurate" (the certificate is short of the tolerance) or "max_iterations".
    method : str
        What found the rewards.
    iterations : int
    unique : bool
        Whether no other rewards are as good.
    utility, domain
        The program.
    reference : str or None
        The source of a closed form.
    comparisons : Comparisons or None
        The pairs that count; None for the full ranking, best first. With them the rewards are in
        the completions' own order, and `gaps` are those between the sorted rewards.
    undetermined : tuple of int
        Completions whose reward is a convention: in no pair, or in a part of the comparisons that
        nothing ties to the largest part (Free).
    """

    rewards: Array
    gaps: Array
    objective: float
    gap: float
    relative_gap: float
    status: str
    method: str
    iterations: int
    unique: bool
    utility: Loss
    domain: Domain
    reference: str | None = None
    comparisons: Comparisons | None = None
    undetermined: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """The number of completions."""
        return len(self.rewards)

    @cached_property
    def law(self) -> RewardLaw:
        """The empirical law of the rewards: mass 1/n at each."""
        return empirical_law(self.rewards)

    def __repr__(self) -> str:
        with np.printoptions(precision=4, suppress=True, threshold=12, edgeitems=3):
            rewards = str(self.rewards).replace("\n", "")
        note = "" if self.unique else ", one optimum of several"
        return (
            f"Solution({self.utility}, n={self.n}: rewards {rewards}, objective "
            f"{self.objective:.6g}, relative gap {self.relative_gap:.1e}, {self.status} by "
            f"{self.method}{note})"
        )
