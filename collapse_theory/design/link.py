"""The monotone link: from the rewards that a utility collapses to, to the rewards wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.design.target import Target
from collapse_theory.laws import RewardLaw
from collapse_theory.numerics.checks import answer
from collapse_theory.utilities import Utility
from collapse_theory.values import Array, Value

POINTS = 513
MOST_JUMPS = 2000  # atoms of the wanted law whose jumps get knots of their own


@dataclass(frozen=True, eq=False, repr=False)
class Link(Value):
    """A monotone map from the rewards of a trained model to the rewards to report.

    For laws it is Q∘F, with F the distribution function of the utility's law and Q the wanted
    quantile function, tabulated: linear between the `knots`, and level beyond them.

    Attributes
    ----------
    utility : Utility
        What to train with; rewards in the box [0, 1].
    knots, values : (k,) arrays
        Rewards of the model, rising, and what is reported for each, never falling.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> link = ct.design("beta(4, 2)").link
    >>> link([0.0, 0.5, 1.0]).round(3)
    array([0.   , 0.686, 1.   ])
    """

    utility: Utility
    knots: Array
    values: Array

    @classmethod
    def of_laws(cls, utility: Utility, law: RewardLaw, target: Target) -> Link:
        """Return Q∘F for a law without atoms, tabulated at its quantiles and at the jumps of Q."""
        wanted, atoms = target.law, target.law.atoms[:MOST_JUMPS]
        share = np.sin(np.linspace(0.0, np.pi / 2, POINTS)) ** 2
        # A jump of the wanted distribution function makes Q level; where Q jumps, two knots meet.
        below = wanted.cdf(atoms[:, 0])
        steps = np.concatenate([below - 1e-9, below + 1e-9, below - atoms[:, 1]])
        share = np.unique(np.concatenate([share, np.clip(steps, 0.0, 1.0)]))
        knots = law.ppf(share)
        kept = np.append(True, np.diff(knots) > 0)
        return cls(utility, knots[kept], target.unmapped(wanted.ppf(share))[kept])

    @classmethod
    def of_rewards(
        cls, utility: Utility, rewards: np.ndarray, wanted: np.ndarray, target: Target
    ) -> Link:
        """Return the map that takes n rewards, all different, to the n wanted ones."""
        return cls(utility, rewards[::-1], target.unmapped(wanted[::-1]))

    def __call__(self, rewards: Any) -> Any:
        """Return what to report for the model's rewards: a number, an array, or a torch tensor.

        A tensor comes back as one, of its dtype and on its device, with the slope as gradient.
        """
        if hasattr(rewards, "new_tensor"):
            return self._of_tensor(rewards)
        return answer(np.interp(np.asarray(rewards, dtype=np.float64), self.knots, self.values))

    def _of_tensor(self, rewards: Any) -> Any:
        # NumPy's own answer, whatever the device; what is added is 0, and carries the gradient.
        rewards = rewards if rewards.is_floating_point() else rewards.float()
        fixed = rewards.detach()
        places = fixed.cpu().double().numpy()
        found = fixed.new_tensor(np.interp(places, self.knots, self.values))
        if not rewards.requires_grad:
            return found
        slopes = np.diff(self.values) / np.maximum(np.diff(self.knots), np.finfo(np.float32).tiny)
        pieces = np.concatenate([[0.0], slopes, [0.0]])
        return found + fixed.new_tensor(pieces[np.searchsorted(self.knots, places)]) * (
            rewards - fixed
        )

    def __repr__(self) -> str:
        low, high = self.values[[0, -1]]
        return f"Link(trained with {self.utility}, [0, 1] to [{low:.4g}, {high:.4g}])"
