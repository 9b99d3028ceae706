"""The order statistics of each prompt: its rewards sorted, brought to common levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["LEVELS", "Curves", "different", "level_matrix", "sorted_prompts"]

LEVELS = 64
"""At most so many levels: more tell nothing more of whether prompts agree."""


@dataclass(frozen=True)
class Curves:
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
    single : int
        How many prompts had one completion.
    """

    rewards: np.ndarray
    starts: np.ndarray
    kinds: np.ndarray
    single: int

    @property
    def sizes(self) -> np.ndarray:
        """How many completions each prompt has."""
        return np.diff(self.starts)

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return self.starts.size - 1

    @cached_property
    def levels(self) -> int:
        """How many levels prompts are compared at: the median number of completions."""
        return int(min(np.median(self.sizes), LEVELS)) if self.count else 0

    @cached_property
    def at_levels(self) -> np.ndarray:
        """The (P, levels) array of the order statistics at the common levels."""
        found = np.empty((self.count, self.levels))
        sizes = self.sizes
        for size in different(sizes):
            here = np.flatnonzero(sizes == size)
            block = self.rewards[self.starts[here][:, None] + np.arange(size)]
            same = size == self.levels
            found[here] = block if same else block @ level_matrix(size, self.levels).T
        return found

    def rows_of(self, kind: int) -> np.ndarray:
        """Return the rewards of a kind's prompts."""
        return self.rewards[np.repeat(self.kinds == kind, self.sizes)]

    def only(self, kinds: list[int]) -> Curves:
        """Return the curves of these kinds' prompts."""
        keep = np.isin(self.kinds, kinds)
        if keep.all():
            return self
        sizes = self.sizes
        starts = np.concatenate([[0], np.cumsum(sizes[keep])])
        return Curves(self.rewards[np.repeat(keep, sizes)], starts, self.kinds[keep], self.single)


def sorted_prompts(rewards: np.ndarray, prompts: np.ndarray, kinds: np.ndarray | None) -> Curves:
    """Return the order statistics of each prompt.

    Prompts come in an order of their own rewards, so that neither the order of the rows nor the
    names of the prompts changes anything that follows.
    """
    sizes = np.bincount(prompts)
    kind_of = np.zeros(sizes.size, dtype=np.int32)
    if kinds is not None:
        kind_of[prompts] = kinds
    # Rows by prompt, then each prompt's few rewards: ten times as fast as one sort by both.
    values = rewards[np.argsort(prompts, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    _sort_each(values, starts, sizes)
    single = int((sizes == 1).sum())
    many = np.flatnonzero(sizes >= 2)
    if not many.size:
        return Curves(np.empty(0), np.zeros(1, dtype=int), np.empty(0, dtype=int), single)
    starts, sizes, kind_of = starts[many], sizes[many], kind_of[many]
    # Rounding must not decide the order: sums differ in their last bits, ends don't.
    ends = values[starts], values[starts + sizes - 1], values[starts + sizes // 2]
    rank = np.lexsort((*ends, sizes, kind_of))
    starts, sizes, kind_of = starts[rank], sizes[rank], kind_of[rank]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)
    return Curves(values[rows], bounds, kind_of, single)


def different(sizes: np.ndarray) -> list[int]:
    """Return the different values of an array of small counts, sorted."""
    return np.flatnonzero(np.bincount(sizes)).tolist()


def _sort_each(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
    """Sort each prompt's rewards in place, best first."""
    for size in different(sizes):
        if size < 2:
            continue
        rows = starts[sizes == size][:, None] + np.arange(size)
        values[rows] = -np.sort(-values[rows], axis=1)


def level_matrix(size: int, levels: int) -> np.ndarray:
    """Return the (levels, size) matrix that brings `size` sorted rewards to common levels.

    Reward k of n stands at the level (k - 1/2)/n. With more rewards than levels each level is the
    mean of the quantile function over its share; with fewer, values are interpolated linearly
    between the rewards' own levels.

    Examples
    --------
    >>> from collapse_theory.diagnosis.curves import level_matrix
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
