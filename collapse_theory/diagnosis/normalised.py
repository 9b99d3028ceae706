"""Was something taken off each prompt's rewards before they were logged, as of advantages?"""

from __future__ import annotations

import numpy as np

from collapse_theory.diagnosis.missing import share_gone
from collapse_theory.diagnosis.order_statistics import OrderStatistics

RANKS = "ranks"
_ALL = 0.95  # so many of the prompts that are looked at must be normalised
_FEWEST = 5  # prompts
_NEAR = 5e-3, 0.02  # to 0 and to 1: of two decimals, or divided by s.d. + 1e-4
_CONSTANT = 0.02  # of how the rewards of a rank vary: so little varies what was made the same
_ROUNDING = 1e-6  # of the spread: so little differ means that were all made the same
_CLIPPED = 3  # rewards that are the log's highest, or its lowest, are clipped there
_ENDS = 0.85  # of the share of completions that are left: so many prompts still have an end
_HIDING = 0.1  # of the rewards at an end are more than some saturated ones
_GRADES = 11  # different rewards at most, of which the ends come to many prompts by themselves


def normalised(stats: OrderStatistics, flat: np.ndarray) -> str | None:
    """Return how each prompt's rewards were normalised, such as "mean 0 and s.d. 1" or "ranks".

    None where they weren't, and where prompts of four or more completions are all the same: those
    aren't less alike for having been normalised.

    What shows in all prompts (or in all of the most completions, of which none is missing, and
    none clipped) is their mean and standard deviation, the sum, that of a softmax or of the
    exponentials of a log-softmax, and their two ends.
    """
    some = stats.kept(~flat)
    if some.count < _FEWEST:
        return None
    hidden = _hidden(some)
    whole = some.kept(hidden == 0)
    for part in (some, whole) if whole.count < some.count else (some,):
        if part.count >= _FEWEST and (how := _how(part)) is not None:
            return None if _identical(part) else how
    if (how := _ends_alike(some)) is not None:
        return how if how == RANKS or not _identical(some) else None
    return "mean 0 and s.d. 1" if _standardised(some, hidden) else None


def hiding(stats: OrderStatistics) -> str:
    """Return a sentence on what a log may hide, for one that isn't decided; "" for others."""
    values = np.unique(stats.rewards).size
    if 2 < values <= _GRADES:
        return (
            f" Rewards take {values} values only: rounded to them, prompts of one vector differ "
            "by a whole step where it lies between two."
        )
    at_ends = [stats.rewards == end for end in (stats.rewards.min(), stats.rewards.max())]
    shares = [float(np.mean(there)) for there in at_ends]
    if sum(shares) >= _HIDING and values > _GRADES:
        low, high = stats.rewards.min(), stats.rewards.max()
        return (
            f" {shares[0]:.0%} of the rewards are the log's lowest, {low:g}, and {shares[1]:.0%} "
            f"its highest, {high:g}: where they were clipped, what they were can't be seen."
        )
    ragged = stats.sizes.min() < stats.sizes.max()
    if ragged and abs(stats.rewards.mean()) < _HIDING / 2 > abs(stats.rewards.var() - 1):
        return (
            " Over the log their mean is near 0 and their variance near 1: if each prompt's were "
            "normalised before completions went missing, log them as they were."
        )
    return ""


def same_level(stats: OrderStatistics) -> bool:
    """Whether prompts differ, and all have the same mean, best or worst reward but for rounding.

    Then someone has taken their level off. Where several rewards are at an end, it is a bound.
    """
    best, worst = stats.best, stats.worst
    small = _ROUNDING * np.median(best - worst)
    if stats.count < _FEWEST or max(np.ptp(best), np.ptp(worst)) <= small:
        return False
    second, last = stats.rewards[stats.starts[:-1] + 1], stats.rewards[stats.starts[1:] - 2]
    of_best = np.ptp(best) <= small and _holds(best - second > small)
    of_worst = np.ptp(worst) <= small and _holds(last - worst > small)
    return bool(np.ptp(stats.means) <= small or of_best or of_worst)


def _hidden(stats: OrderStatistics) -> np.ndarray:
    """Return how many of the most completions each prompt lacks, or has at the log's very ends.

    Where several are at an end and the rest has many values, rewards were clipped there.
    """
    ends = np.zeros(stats.rewards.size)
    for end in (stats.rewards.min(), stats.rewards.max()):
        there = stats.rewards == end
        ends += there if np.count_nonzero(there) >= _CLIPPED else 0
    clipped = stats.sums(ends)
    return stats.sizes.max() - stats.sizes + clipped.astype(int)


def _how(stats: OrderStatistics) -> str | None:
    """Return what all prompts have in common that normalising makes."""
    sizes, mean = stats.sizes, stats.means
    spread = np.sqrt(np.maximum(stats.sums(stats.rewards**2) / sizes - mean**2, 0.0))
    free = np.sqrt(sizes / (sizes - 1))
    unit = (np.abs(spread**2 - 1) < _NEAR[1]) | (np.abs((spread * free) ** 2 - 1) < _NEAR[1])
    if _holds((np.abs(mean) < _NEAR[0]) & unit):
        return "mean 0 and s.d. 1"
    several = sizes.max() > 2  # the optimum of two is (1, 0)
    if several and stats.rewards.min() > 0 and _holds(np.abs(mean * sizes - 1) < _NEAR[0]):
        return "the sum 1"
    negative = several and stats.rewards.max() <= 0
    if negative and _holds(np.abs(stats.sums(np.exp(stats.rewards)) - 1) < _NEAR[0]):
        return "a log-softmax"
    root = np.sqrt(mean**2 + spread**2)
    widths = (spread, "s.d."), (spread * free, "s.d."), (root, "root mean square")
    for own, name in widths if several else ():
        if _constant(own, stats):
            level = f"mean {np.median(mean):.3g} and " if _constant(mean, stats) else ""
            return f"{level or 'the '}{name} {np.median(own):.3g}"
    return None


def _holds(prompts: np.ndarray) -> bool:
    return float(np.mean(prompts)) >= _ALL


def _constant(values: np.ndarray, stats: OrderStatistics) -> bool:
    """Whether a number of each prompt is the same for all, while their shapes vary.

    Noise on one vector varies a prompt's mean and standard deviation by its own size over the
    root of the completions.
    """
    block = stats.centred().at_levels
    away = block - np.median(block, axis=0)
    varies = float(np.median(np.sqrt((away**2).mean(axis=1))))
    near = np.abs(values - np.median(values)) <= _CONSTANT * varies
    return varies > _ROUNDING * float(np.ptp(stats.rewards)) and _holds(near)


def _ends_alike(stats: OrderStatistics) -> str | None:
    """Tell of prompts that all end at the same two values, one reward at each; of ranks.

    Or, where completions are missing at random, as many as still have their end. A judge's zeros
    and ones come several to a prompt, and few values alone are grades.
    """
    best, worst = stats.best, stats.worst
    high, low = np.median(best), np.median(worst)
    inner = (stats.rewards > low) & (stats.rewards < high)
    single = stats.sums(inner.astype(float)) >= stats.sizes - 2
    gone = share_gone(stats.sizes)
    least = _ALL if gone > 0.5 or gone == 0 else _ENDS * (1 - gone)
    most = stats.sizes.max()
    beyond = best.max() > high or worst.min() < low
    if min(np.mean(best == high), np.mean(worst == low)) < least or np.mean(single) <= 0.5:
        return None
    if gone > 0 and beyond:
        return None
    values = np.unique(stats.rewards)
    if values.size == most and np.all(np.diff(values) == 1) and most > 2:
        # As many whole numbers as completions: prompts of tied grades have fewer.
        return RANKS if _holds(single) else None
    return f"ends {low:g} and {high:g}" if values.size > _GRADES or most == 2 else None


def _identical(stats: OrderStatistics) -> bool:
    block = stats.at_levels
    alike = np.ptp(block, axis=0).max() <= 1e-9 * np.ptp(block)
    return bool(alike) and stats.sizes.max() > 3 and len(set(stats.sizes.tolist())) == 1


def _standardised(stats: OrderStatistics, hidden: np.ndarray) -> bool:
    """Whether prompts that lack one reward would have mean 0 and s.d. 1 with it.

    The one that is missing or clipped is what takes the mean to 0; so the squares are known. Of
    prompts that lack more nothing follows.
    """
    most = int(stats.sizes.max())
    ends = stats.rewards.min(), stats.rewards.max()
    seen = np.where(np.isin(stats.rewards, ends), 0.0, stats.rewards)
    seen = np.where(np.repeat(hidden + stats.sizes == most, stats.sizes), stats.rewards, seen)
    total, squares = stats.sums(seen), stats.sums(seen**2)
    for size in (most, most + 1) if stats.sizes.min() < most else (most,):
        one = hidden + (size - most) == 1
        square = (squares + total**2)[one]
        unit = [np.abs(square / of - 1) < _NEAR[1] for of in (size, size - 1)]
        # Squares that vary by themselves: those of one vector might happen to fit.
        varies = one.sum() >= _FEWEST and squares[one].std() > _NEAR[1] * size
        if varies and _holds(unit[0] | unit[1]):
            return True
    return False
