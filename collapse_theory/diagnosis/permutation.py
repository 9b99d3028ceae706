"""Do prompts differ by more than chance? Permutation tests, exact for draws of one law.

If all rewards of a log are draws of one law, whatever the prompt, then dealing them out to the
prompts anew changes nothing but chance: the share of deals in which prompts differ as much is an
exact p (Lehmann and Romano, "Testing Statistical Hypotheses", 2005, section 15.2). Rewards enter
by their ranks among all, so that wild ones and any monotone map change nothing.
"""

from __future__ import annotations

import numpy as np

from collapse_theory.diagnosis.order_statistics import OrderStatistics

_MOST_ROWS = (
    20_000  # of more, whole prompts are drawn: a difference that so many don't show is tiny
)
_WORK = 2_000_000  # rewards that are dealt out in all
_LEAST, _MOST = 199, 499  # deals


def prompts_differ(stats: OrderStatistics, rng: np.random.Generator) -> float:
    """Return the p of prompts that differ in level, spread or skewness, against one law for all."""
    keep = _some(stats, rng)
    stats = stats.kept(keep)
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
    stats = stats.kept(_some(stats, rng))
    sizes = stats.sizes
    prompt = np.repeat(np.arange(stats.count), sizes)
    dealt = stats.rewards[np.lexsort((rng.random(prompt.size), prompt))]
    pairs = sizes // 2
    first = np.repeat(stats.starts[:-1], pairs) + 2 * (
        np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    )
    return _chance(_ranks(np.abs(dealt[first] - dealt[first + 1])), pairs, rng)


def _some(stats: OrderStatistics, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(stats.count)
    keep = np.zeros(stats.count, dtype=bool)
    keep[order[np.cumsum(stats.sizes[order]) <= _MOST_ROWS]] = True
    return keep if keep.sum() > 1 else np.ones(stats.count, dtype=bool)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the mean ranks of values, as numbers between -1 and 1."""
    _, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * (counts + 1)
    return (2.0 * middle / max(values.size - 1, 1) - 1.0)[code]


def _chance(ranks: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> float:
    deals = int(np.clip(_WORK // ranks.size, _LEAST, _MOST))
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    _, same = np.unique(sizes, return_inverse=True)
    found = np.empty((deals + 1, 3))
    found[0] = _differences(ranks, starts, sizes, same)
    dealt = ranks.copy()
    for deal in range(1, deals + 1):
        rng.shuffle(dealt)
        found[deal] = _differences(dealt, starts, sizes, same)
    # All rows are alike under the hypothesis, the log's own among them: so is what follows.
    spread = found.std(axis=0)
    excess = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    largest = excess.max(axis=1)
    return float(np.count_nonzero(largest >= largest[0] - 1e-9) / (deals + 1))


def _differences(
    ranks: np.ndarray, starts: np.ndarray, sizes: np.ndarray, same: np.ndarray
) -> np.ndarray:
    """Return how prompts differ in mean, in standard deviation and in third moment.

    The last two against prompts of the same size, since they grow with it.
    """
    squares = ranks * ranks
    powers = ranks, squares, squares * ranks
    first, second, third = (np.add.reduceat(power, starts) / sizes for power in powers)
    square = np.maximum(second - first**2, 0.0)
    skew = np.cbrt(third - 3 * first * second + 2 * first**3)
    found = [float(sizes @ first**2)]
    counts = np.bincount(same)
    for moment in (np.sqrt(square), skew):
        apart = moment - (np.bincount(same, weights=moment) / counts)[same]
        found.append(float(sizes @ apart**2))
    return np.array(found)
