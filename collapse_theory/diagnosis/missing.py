"""Prompts of which some completions are missing: what collapse still predicts of the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collapse_theory.data.reward_log import RewardLog
from collapse_theory.diagnosis.likeness import Cell, cells_of, distances
from collapse_theory.diagnosis.order_statistics import MAX_LEVELS, OrderStatistics, to_levels

_SUBSETS = 2000  # random ones of each size
_LEAST_WHOLE = 10  # prompts without a gap that the whole vector is taken from

Distances = Callable[[Cell, np.ndarray], np.ndarray]
Take = Callable[[np.ndarray], np.ndarray]


def as_subsets(stats: OrderStatistics, take: Take, rng: np.random.Generator) -> Distances | None:
    """Return distances that allow for completions missing at random; None where that can't be.

    The mean curve of the prompts with most completions (at least ten of a kind have so many) is
    the whole vector. Of its random subsets of m the order statistics have the mean E_m and the
    variance V_m: a prompt of m is |q - E_m|^2 - V_m away, 0 on average if that is all that differs.
    """
    whole: dict[int, np.ndarray] = {}
    for cell in cells_of(stats, _LEAST_WHOLE):
        if cell.size <= MAX_LEVELS:
            whole[cell.kind] = cell.block.mean(axis=0)  # cells come by size: the largest is last
    if not whole or int(stats.sizes.max()) > MAX_LEVELS:
        return None

    def away(cell: Cell, block: np.ndarray) -> np.ndarray:
        curve = whole.get(cell.kind)
        if curve is None or cell.size >= curve.size:
            return distances(block)
        picked = np.argsort(rng.random((_SUBSETS, curve.size)), axis=1)[:, : cell.size]
        some = take(to_levels(-np.sort(-curve[picked], axis=1), block.shape[1]))
        chance = float(some.var(axis=0).mean())
        # A wild reward is no further from the mean than twice the furthest subset's.
        most = 2 * np.abs(some - some.mean(axis=0)).max() + 1e-300
        apart = np.clip(block - some.mean(axis=0), -most, most)
        return (apart**2).mean(axis=1) - chance

    return away


def by_rank(log: RewardLog, stats: OrderStatistics, level: bool) -> Distances | None:
    """Return distances between the rewards of one rank, where ranks say which ones are missing.

    The mean of each rank, and of each prompt where its level doesn't count (`level` False), are
    fitted by turns. None without ranks, with unknown
    ones or such as come twice in a prompt, or with many.
    """
    if log.ranks is None or not log.ranks.max() < MAX_LEVELS:  # NaN isn't
        return None
    number = np.full(log.count, -1)
    number[stats.names] = np.arange(stats.count)
    prompt, rank = number[log.prompts], log.ranks.astype(int)
    used = prompt >= 0
    table = np.full((stats.count, int(rank.max()) + 1), np.nan)
    table[prompt[used], rank[used]] = log.rewards[used]
    if np.count_nonzero(~np.isnan(table)) < np.count_nonzero(used):
        return None
    there = ~np.isnan(table)
    rest = np.where(there, table, 0.0)
    counts, of_prompt = np.maximum(there.sum(axis=0), 1), there.sum(axis=1)
    kinds = [stats.kinds == kind for kind in np.unique(stats.kinds)]
    for _ in range(1 if level else 30):
        for here in kinds:
            counts = np.maximum(there[here].sum(axis=0), 1)
            rest[here] = (rest[here] - rest[here].sum(axis=0) / counts) * there[here]
        if not level:
            rest = (rest - (rest.sum(axis=1) / of_prompt)[:, None]) * there
    apart = (rest**2).sum(axis=1) / of_prompt

    def away(cell: Cell, block: np.ndarray) -> np.ndarray:
        return apart[cell.prompts] * (len(block) / (len(block) - 1))

    return away
