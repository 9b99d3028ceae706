"""Inside prompts: is there a spread, how large is it, and do rewards follow the ranks?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collapse_theory.data.reward_log import RewardLog
from collapse_theory.diagnosis.intervals import Measure, ratio_of_means, share_of
from collapse_theory.diagnosis.order_statistics import OrderStatistics, rows_by_size
from collapse_theory.numerics.precision import precision_of
from collapse_theory.values import Value

# Wild rewards are so many typical distances from their prompt's median, and so many of those that
# nine tenths of the log's rewards keep to: 4.9 standard deviations of a normal law, and no uniform
# draw. A single vector with wild rewards has the first alone.
_WILD, _WIDE = 5.0, 3.0
_COMMON = 0.1
_MAX_COMPARED = 256  # of more completions so many are compared, spread over the ranks
_PAIRS_HELD = 4_000_000  # at a time: 100 MB


@dataclass(frozen=True, eq=False)
class Spread(Value):
    """The rewards of one prompt beside each other, in the log's own units.

    Parameters
    ----------
    flat : Measure
        The share of prompts without a spread: all their rewards are equal, or as near as floats
        tell apart. They give no advantage, and no gradient of a pairwise loss knows them apart.
    gap : Measure
        The median over prompts of (best - worst) / (n - 1), the typical gap of neighbours.
    level : float
        The median size of a reward.
    resolution : float
        Rewards that are no further apart at that level are the same but for rounding.
    precision : str
        The coarsest of bfloat16, float16 and float32 that holds every reward; float64 otherwise.
    tied : Measure
        The share of neighbouring rewards of a prompt that are equal.
    rounding : str
        What the resolution is: "8 steps of float32".
    """

    flat: Measure
    gap: Measure
    level: float
    resolution: float
    precision: str
    tied: Measure
    rounding: str = "8 steps of float32"


def flat_prompts(stats: OrderStatistics) -> np.ndarray:
    """Return which prompts have no spread: best and worst reward differ by rounding alone."""
    return precision_of(stats.rewards).alike(stats.worst, stats.best)


def spread_of(stats: OrderStatistics) -> Spread:
    """Return what is told of the rewards of one prompt beside each other."""
    flat, precision = flat_prompts(stats), precision_of(stats.rewards)
    steps = stats.sizes - 1.0
    level = float(np.median(np.abs(stats.rewards)))
    return Spread(
        flat=share_of(int(flat.sum()), stats.count),
        gap=_median((stats.best - stats.worst) / steps),
        level=level,
        resolution=float(precision.rounding(np.array(level))),
        precision=precision.name,
        rounding=precision.text,
        tied=_share(stats.ties.astype(float), steps),
    )


def _median(values: np.ndarray) -> Measure:
    """Return the median with the interval of order statistics that a sign test gives."""
    ordered = np.sort(values)
    half = 0.5 * values.size - 0.98 * math.sqrt(values.size) - 0.5
    low = max(math.floor(half), 0)
    return Measure(float(np.median(values)), float(ordered[low]), float(ordered[-1 - low]))


def _share(some: np.ndarray, of: np.ndarray) -> Measure:
    """Return a share that prompts have parts in, `some` of each one's `of`.

    It is no larger than the share of prompts that show any, for which Wilson's interval holds
    where few do: a bootstrap of few that aren't 0 knows nothing.
    """
    share = ratio_of_means(some, of)
    weights = of / of.sum()
    prompts = 1 / float(weights @ weights)  # of equal weight, that vary as much
    most = share_of(prompts * float(weights[some > 0].sum()), prompts).high
    return Measure(share.value, min(share.low, 1.0), min(share.high, most) if share.value else most)


def wild_rewards(stats: OrderStatistics) -> np.ndarray:
    """Return how many rewards of each prompt are wild: far from the other rewards of their prompt.

    Further from the prompt's median than five times the typical such distance, that of the prompt
    or that of the log, whichever is larger, and than three times the distance that nine tenths of
    the log's rewards keep to. Prompts of three or fewer show none; and where more than a tenth of
    all are that far, none is an exception: it is how the rewards are spread.
    """
    away = np.empty_like(stats.rewards)
    own = np.zeros(stats.count)
    for here, rows in rows_by_size(stats.starts[:-1], stats.sizes):
        block = stats.rewards[rows]
        away[rows] = np.abs(block - np.median(block, axis=1, keepdims=True))
        own[here] = np.median(away[rows], axis=1)
    typical = np.maximum(own, np.median(away))
    typical[stats.sizes < 4] = np.inf
    if not np.median(away) > 0:
        return np.zeros(stats.count, dtype=int)
    wide = _WIDE * float(np.quantile(away, 0.9))
    far = away > np.maximum(_WILD * np.repeat(typical, stats.sizes), wide)
    if far.mean() > _COMMON:
        return np.zeros(stats.count, dtype=int)
    return stats.sums(far.astype(int))


# -- ranks ---------------------------------------------------------------------------------------


def pairs_right(log: RewardLog) -> Measure | None:
    """Return the share of a prompt's pairs of different ranks in which the better has more reward.

    Equal rewards count half; rank 0 is the best. None where there is no such pair.

    Examples
    --------
    >>> found = pairs_right(RewardLog([1, 0.4, 0.4], [0, 0, 0], ranks=[0, 1, 2]))
    >>> round(found.value, 9)
    0.833333333
    """
    if log.ranks is None:
        return None
    order = np.argsort(log.prompts, kind="stable")
    rewards, ranks = log.rewards[order], log.ranks[order]
    sizes = np.bincount(log.prompts)
    found = []
    for _, rows in rows_by_size(np.cumsum(sizes) - sizes, sizes):
        step = max(_PAIRS_HELD // min(rows.shape[1], _MAX_COMPARED) ** 2, 1)
        for first in range(0, len(rows), step):
            here = rows[first : first + step]
            found.append(_pairs_counted(rewards[here], ranks[here]))
    right, pairs = np.concatenate(found, axis=1) if found else np.zeros((2, 1))
    right, pairs = right[pairs > 0], pairs[pairs > 0]
    if not pairs.size:
        return None
    if pairs.size == 1:
        return Measure(float(right[0] / pairs[0]), 0.0, 1.0)
    # The logarithm of the smaller of the two shares is the better behaved.
    if right.sum() <= 0.5 * pairs.sum():
        return _share(right, pairs)
    wrong = _share(pairs - right, pairs)
    return Measure(float(right.sum() / pairs.sum()), 1 - wrong.high, 1 - wrong.low)


def _pairs_counted(rewards: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return how many pairs of each row are right, and how many there are."""
    size = ranks.shape[1]
    if size > _MAX_COMPARED:
        by_rank = np.argsort(ranks, axis=1, kind="stable")
        some = by_rank[:, np.linspace(0, size - 1, _MAX_COMPARED).astype(int)]
        rewards = np.take_along_axis(rewards, some, axis=1)
        ranks = np.take_along_axis(ranks, some, axis=1)
    first, second = np.triu_indices(ranks.shape[1], 1)
    better = np.nan_to_num(np.sign(ranks[:, second] - ranks[:, first]))  # NaN: a rank isn't known
    agreed = better * np.sign(rewards[:, first] - rewards[:, second])
    counted = np.count_nonzero(better, axis=1)
    return np.stack([0.5 * (counted + agreed.sum(axis=1)), counted.astype(float)])
