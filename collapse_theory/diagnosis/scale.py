"""The one map of a log's rewards to the scale from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.diagnosis.curves import Curves
from collapse_theory.errors import CollapseError
from collapse_theory.values import Value

__all__ = ["RewardMap", "map_by_ends", "map_of"]


@dataclass(frozen=True, eq=False)
class RewardMap(Value):
    """The map (reward - low) / (high - low), one for all prompts of a log.

    Parameters
    ----------
    low, high : float
        What is mapped to 0 and to 1.
    rule : str
        Where the two come from.

    Examples
    --------
    >>> from collapse_theory.diagnosis import RewardMap
    >>> scale = RewardMap(-2.0, 6.0, "given")
    >>> print(scale)
    (reward + 2) / 8
    >>> scale(4.0)
    0.75
    """

    low: float
    high: float
    rule: str = "given"

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise CollapseError(
                f"a scale needs two finite rewards, low < high; not {self.low:g}, {self.high:g}"
            )

    @property
    def width(self) -> float:
        """The length that is mapped to 1."""
        return self.high - self.low

    def __call__(self, rewards: np.ndarray | float) -> np.ndarray | float:
        """Return the rewards on the scale from 0 to 1."""
        return (rewards - self.low) / self.width

    def __str__(self) -> str:
        if self.low == 0:
            return f"reward / {self.width:.6g}"
        return f"(reward {'-' if self.low > 0 else '+'} {abs(self.low):.6g}) / {self.width:.6g}"


def map_of(curves: Curves) -> RewardMap | None:
    """Return the map of a log: the median prompt's worst reward to 0, its best to 1.

    Medians over prompts, so that a few wild rewards don't set the scale. Where most prompts have
    equal rewards, the log's lowest and highest reward; None where all rewards are equal.
    """
    worst, best = curves.rewards[curves.starts[1:] - 1], curves.rewards[curves.starts[:-1]]
    low, high = float(np.median(worst)), float(np.median(best))
    if low < high:
        return RewardMap(low, high, "the median prompt's worst reward to 0, its best to 1")
    low, high = float(worst.min()), float(best.max())
    if low < high:
        return RewardMap(low, high, "the lowest reward to 0, the highest to 1")
    return None


def map_by_ends(vectors: list[np.ndarray], weights: np.ndarray) -> tuple[float, float]:
    """Return the weighted medians of the worst and of the best reward of sorted vectors."""
    ends = []
    for place in (-1, 0):
        values = np.array([vector[place] for vector in vectors])
        order = np.argsort(values)
        share = np.cumsum(weights[order]) / weights.sum()
        ends.append(float(values[order][np.searchsorted(share, 0.5 - 1e-12)]))
    return ends[0], ends[1]
