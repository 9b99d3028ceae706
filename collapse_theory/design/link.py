"""The monotone link: from the rewards that a utility collapses to, to the rewards wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.laws import RewardLaw
from collapse_theory.utilities.base import Utility
from collapse_theory.values import Value, frozen_array

__all__ = ["Link", "law_link", "reward_link"]

POINTS = 513


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
    knots: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", frozen_array(self.knots))
        object.__setattr__(self, "values", frozen_array(self.values))

    def __call__(self, rewards: Any) -> Any:
        """Return what to report for the model's rewards (a number or an array)."""
        found = np.interp(np.asarray(rewards, dtype=np.float64), self.knots, self.values)
        return float(found) if np.ndim(rewards) == 0 else found

    def __repr__(self) -> str:
        low, high = self.values[[0, -1]]
        return f"Link(trained with {self.utility}, [0, 1] to [{low:.4g}, {high:.4g}])"


def law_link(utility: Utility, law: RewardLaw, wanted: RewardLaw, low: float, high: float) -> Link:
    """Return Q∘F for a law without atoms, tabulated at its quantiles and at the jumps of Q."""
    share = np.sin(np.linspace(0.0, np.pi / 2, POINTS)) ** 2
    # A jump of the wanted distribution function makes Q level; where Q jumps, two knots meet.
    below = wanted.cdf(wanted.atoms[:2000, 0])
    steps = np.concatenate([below - 1e-9, below + 1e-9, below - wanted.atoms[:2000, 1]])
    share = np.unique(np.concatenate([share, np.clip(steps, 0.0, 1.0)]))
    knots = law.ppf(share)
    kept = np.append(True, np.diff(knots) > 0)
    values = low + (high - low) * wanted.ppf(share)
    return Link(utility, knots[kept], values[kept])


def reward_link(
    utility: Utility, rewards: np.ndarray, wanted: np.ndarray, low: float, high: float
) -> Link:
    """Return the map that takes n rewards, all different, to the n wanted ones."""
    return Link(utility, rewards[::-1], low + (high - low) * wanted[::-1])
