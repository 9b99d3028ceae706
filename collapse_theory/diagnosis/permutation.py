"""Do prompts differ by more than chance? Permutation tests, exact for draws of one law.

If all rewards of a log are draws of one law, whatever the prompt, then dealing them out to the
prompts anew changes nothing but chance: the share of deals in which prompts differ as much is an
exact p (Lehmann and Romano, "Testing Statistical Hypotheses", 2005, section 15.2). Rewards enter
by their ranks among all, so that wild ones and any monotone map change nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from collapse_theory.diagnosis.order_statistics import OrderStatistics, different

_MOST_ROWS = (
    20_000  # of more, whole prompts are drawn: a difference that so many don't show is tiny
)
_LONG = 64  # completions of a prompt that are kept before prompts are left out
_WORK = 2_000_000  # rewards that are dealt out in all
_LEAST, _MOST = 199, 499  # deals
_BLOCK = 50_000  # rewards dealt out at once: what stays in a processor's cache


def prompts_differ(stats: OrderStatistics, rng: np.random.Generator) -> float:
    """Return the p of prompts that differ in level, spread or skewness, against one law for all."""
    stats = _some(stats, rng)
    return _chance(_ranks(stats.rewards), stats.sizes, rng)


def prompts_differ_beyond_level(stats: OrderStatistics, rng: np.random.Generator) -> float | None:
    """Return the p of prompts that differ in spread, against one law but for a level of each.

    The completions of a prompt are paired at random; a difference of two doesn't know the level,
    and the sizes of all differences are draws of one law, for the same test. None where hardly a
    prompt has two pairs.
    """
    stats = stats.kept(stats.sizes >= 4)
    if stats.count < 5:
        return None
    stats = _some(stats, rng)
    sizes = stats.sizes
    prompt = np.repeat(np.arange(stats.count), sizes)
    dealt = stats.rewards[np.lexsort((rng.random(prompt.size), prompt))]
    pairs = sizes // 2
    first = np.repeat(stats.starts[:-1], pairs) + 2 * (
        np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    )
    return _chance(_ranks(np.abs(dealt[first] - dealt[first + 1])), pairs, rng)


def _some(stats: OrderStatistics, rng: np.random.Generator) -> OrderStatistics:
    """Return at most 20,000 rewards: of long prompts some, then some of the prompts, at random."""
    sizes, most = stats.sizes, max(_MOST_ROWS // stats.count, _LONG)
    if sizes.max() > most:
        prompt = np.repeat(np.arange(stats.count), sizes)
        dealt = stats.rewards[np.lexsort((rng.random(prompt.size), prompt))]
        place = np.arange(prompt.size) - np.repeat(stats.starts[:-1], sizes)
        starts = np.concatenate([[0], np.cumsum(np.minimum(sizes, most))])
        stats = replace(stats, rewards=dealt[place < most], starts=starts)
    order = rng.permutation(stats.count)
    keep = np.zeros(stats.count, dtype=bool)
    keep[order[np.cumsum(stats.sizes[order]) <= _MOST_ROWS]] = True
    return stats.kept(keep)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the mean ranks of values, as numbers between -1 and 1."""
    _, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * (counts + 1)
    return (2.0 * middle / max(values.size - 1, 1) - 1.0)[code]


def _chance(ranks: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> float:
    deals = int(np.clip(_WORK // ranks.size, _LEAST, _MOST))
    at_once = max(_BLOCK // ranks.size, 1)
    found = [_differences(ranks[None], sizes)]
    for first in range(0, deals, at_once):
        dealt = np.tile(ranks, (min(at_once, deals - first), 1))
        found.append(_differences(rng.permuted(dealt, axis=1, out=dealt), sizes))
    each = np.concatenate(found)
    # All rows are alike under the hypothesis, the log's own among them: so is what follows.
    spread = each.std(axis=0)
    excess = (each - each.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    largest = excess.max(axis=1)
    return float(np.count_nonzero(largest >= largest[0] - 1e-9) / (deals + 1))


def _differences(dealt: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return how prompts differ in mean, standard deviation and third moment, by (deals, rows).

    In the last two from prompts of the same size, since they grow with it.
    """
    squares, starts = dealt * dealt, np.cumsum(sizes) - sizes
    first, second, third = (
        np.add.reduceat(power, starts, axis=1) / sizes
        for power in (dealt, squares, squares * dealt)
    )
    spread = np.sqrt(np.maximum(second - first**2, 0.0))
    skew = np.cbrt(third - 3 * first * second + 2 * first**3)
    for size in different(sizes):
        for moment in (spread, skew):
            moment[:, sizes == size] -= moment[:, sizes == size].mean(axis=1, keepdims=True)
    return np.stack([moment**2 @ sizes for moment in (first, spread, skew)], axis=1)
