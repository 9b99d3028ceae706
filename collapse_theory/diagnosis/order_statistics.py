"""The order statistics of each prompt: its rewards sorted, on common levels and on one scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.values import Value

MAX_LEVELS = 64
"""At most so many levels: more tell nothing more of whether prompts agree."""


def different(sizes: np.ndarray) -> list[int]:
    """Return the different values of an array of small counts, sorted."""
    return np.flatnonzero(np.bincount(sizes)).tolist()


def rows_by_size(starts: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the prompts of each size from 2 on, with the (prompts, size) array of their rows.

    Arrays of prompts of one size are worked on at once: most logs have one size or a few.
    """
    for size in different(sizes):
        if size >= 2:
            here = np.flatnonzero(sizes == size)
            yield here, starts[here][:, None] + np.arange(size)


@dataclass(frozen=True)
class OrderStatistics:
    """Each prompt's sorted rewards, best first.

    Attributes
    ----------
    rewards : (rows,) array
        Prompt after prompt, each from its best reward to its worst; prompts of one completion, in
        which nothing is ranked, are left out.
    starts : (P + 1,) array of int
        Where each prompt begins.
    kinds : (P,) array of int
        The number of each prompt's kind; all 0 without kinds.
    names : (P,) array of int
        The prompt's number in the log.
    single : int
        How many prompts had one completion.
    """

    rewards: np.ndarray
    starts: np.ndarray
    kinds: np.ndarray
    names: np.ndarray
    single: int

    @classmethod
    def of(cls, rewards: np.ndarray, prompts: np.ndarray, kinds: np.ndarray | None = None) -> Self:
        """Return the order statistics of rewards, with the number of each one's prompt and kind.

        Prompts come in an order of their own rewards, so that neither the order of the rows nor
        the names of the prompts changes anything that follows.
        """
        sizes = np.bincount(prompts)
        kind_of = np.zeros(sizes.size, dtype=np.int32)
        if kinds is not None:
            kind_of[prompts] = kinds
        # Rows by prompt, then each prompt's few rewards: ten times as fast as one sort by both.
        values = rewards[np.argsort(prompts, kind="stable")]
        starts = np.cumsum(sizes) - sizes
        for _, rows in rows_by_size(starts, sizes):
            values[rows] = -np.sort(-values[rows], axis=1)
        many, single = np.flatnonzero(sizes >= 2), int((sizes == 1).sum())
        starts, sizes, kind_of = starts[many], sizes[many], kind_of[many]
        # Rounding must not decide the order: sums differ in their last bits, ends don't.
        ends = values[starts], values[starts + sizes - 1], values[starts + sizes // 2]
        rank = np.lexsort((*ends, sizes, kind_of))
        starts, sizes, many = starts[rank], sizes[rank], many[rank]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        order = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)
        return cls(values[order], bounds, kind_of[rank], many, single)

    @property
    def sizes(self) -> np.ndarray:
        """How many completions each prompt has."""
        return np.diff(self.starts)

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return self.starts.size - 1

    @property
    def best(self) -> np.ndarray:
        """Each prompt's highest reward."""
        return self.rewards[self.starts[:-1]]

    @property
    def worst(self) -> np.ndarray:
        """Each prompt's lowest reward."""
        return self.rewards[self.starts[1:] - 1]

    @property
    def means(self) -> np.ndarray:
        """Each prompt's mean reward."""
        return self.sums(self.rewards) / self.sizes

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return each prompt's sum of values, one a reward."""
        return np.add.reduceat(values, self.starts[:-1])

    @cached_property
    def levels(self) -> int:
        """How many levels prompts are compared at: the median number of completions."""
        return int(min(np.median(self.sizes), MAX_LEVELS)) if self.count else 0

    @cached_property
    def at_levels(self) -> np.ndarray:
        """The (P, levels) array of the order statistics at the common levels."""
        return self.at(np.arange(self.count), self.levels)

    @property
    def ties(self) -> np.ndarray:
        """How many neighbours of each prompt are equal."""
        equal = np.concatenate([[0], np.cumsum(self.rewards[1:] == self.rewards[:-1])])
        return equal[self.starts[1:] - 1] - equal[self.starts[:-1]]

    def at(self, here: np.ndarray, levels: int) -> np.ndarray:
        """Return some prompts' order statistics at so many levels, at most 64."""
        levels = min(levels, MAX_LEVELS)
        found = np.empty((here.size, levels))
        for some, rows in rows_by_size(self.starts[:-1][here], self.sizes[here]):
            found[some] = to_levels(self.rewards[rows], levels)
        return found

    def centred(self) -> OrderStatistics:
        """Return those of rewards less their prompt's mean."""
        return replace(self, rewards=self.rewards - np.repeat(self.means, self.sizes))

    def kept(self, keep: np.ndarray) -> OrderStatistics:
        """Return those of some prompts, given by a (P,) mask."""
        if keep.all():
            return self
        sizes = self.sizes
        starts = np.concatenate([[0], np.cumsum(sizes[keep])])
        rewards = self.rewards[np.repeat(keep, sizes)]
        return replace(
            self, rewards=rewards, starts=starts, kinds=self.kinds[keep], names=self.names[keep]
        )


def level_matrix(size: int, levels: int) -> np.ndarray:
    """Return the (levels, size) matrix that brings `size` sorted rewards to common levels.

    Reward k of n stands at the level (k - 1/2)/n. With more rewards than levels each level is the
    mean of the quantile function over its share; with fewer, values are interpolated linearly
    between the rewards' own levels.

    Examples
    --------
    >>> level_matrix(4, 2)
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
    """
    if size >= levels:
        edges = np.arange(levels + 1)[:, None] * (size / levels)
        covered = np.clip(edges - np.arange(size), 0.0, 1.0)
        return np.diff(covered, axis=0) * (levels / size)
    place = np.clip((np.arange(levels) + 0.5) * (size / levels) - 0.5, 0, size - 1)
    low = np.minimum(place.astype(int), size - 2)
    matrix = np.zeros((levels, size))
    matrix[np.arange(levels), low] = 1 - (place - low)
    matrix[np.arange(levels), low + 1] += place - low
    return matrix


def to_levels(rewards: np.ndarray, levels: int) -> np.ndarray:
    """Return sorted rewards, (n,) or (prompts, n), at common levels."""
    size = rewards.shape[-1]
    return rewards if size == levels else rewards @ level_matrix(size, levels).T


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
        self._set(low=float(self.low), high=float(self.high))
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


def map_of(prompts: OrderStatistics) -> RewardMap | None:
    """Return the map of a log: the median prompt's worst reward to 0, its best to 1.

    Medians over prompts, so that a few wild rewards don't set the scale. Where most prompts have
    equal rewards, the log's lowest and highest reward; None where all rewards are equal.
    """
    low, high = float(np.median(prompts.worst)), float(np.median(prompts.best))
    if low < high:
        return RewardMap(low, high, "the median prompt's worst reward to 0, its best to 1")
    low, high = float(prompts.rewards.min()), float(prompts.rewards.max())
    return RewardMap(low, high, "the lowest reward to 0, the highest to 1") if low < high else None
