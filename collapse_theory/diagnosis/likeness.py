"""How alike prompts are: their order statistics as they are, without level, and without scale.

Prompts are compared with those of their own kind that have as many completions: a cell. In a cell
of P prompts, with q the (P, levels) array of order statistics, W is the variance of a level's
reward over prompts, mean over the levels; R is what W would be for prompts made of rewards drawn
at random from the whole log. docs/diagnosis.md has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from collapse_theory.diagnosis.intervals import Measure, ratio_of_means, widened
from collapse_theory.diagnosis.order_statistics import OrderStatistics, different, to_levels
from collapse_theory.values import Value

_HELD = 1.15  # times: where wild rewards are held varies with the prompts, too; so wide intervals
# hold the ratio of the population in 95% of the logs of benchmarks/calibrate_diagnosis.py
_DRAWN = 1_000_000  # rewards of a cell, at most
_SIMULATED = 8192  # prompts of each cell's size: R is then right to about 2%
_TAIL, _REACH = 0.1, 0.5  # at a level, rewards further than half the middle 80% beyond that are
# held there: wild ones don't decide, and a group of more than a tenth of the prompts still does
_PLACES = np.concatenate([2.0 ** -np.arange(8, 4, -1), np.arange(1, 16) / 16])
_PLACES = np.concatenate([_PLACES, 1 - _PLACES[:4][::-1]])
"""Quantiles of the pool between which a reward's part in R is told, finer at the ends."""

_MANY_SIZES = 12  # completions from which on sizes within 15% make one cell
_RATIO = 1.15


@dataclass(frozen=True)
class Cell:
    """Prompts of one kind and one size: where they stand, and their (prompts, levels) rewards."""

    prompts: np.ndarray
    size: int
    kind: int
    block: np.ndarray


def cells_of(stats: OrderStatistics, exact: bool = False) -> Iterator[Cell]:
    """Yield the prompts of each kind and size, where there are two or more.

    Unless sizes are to be `exact`, those within 15% make one cell from 12 completions on, and are
    brought to the smallest one's levels, at most 64: an optimum of 13 and one of 14 are nearly the
    same there.
    """
    sizes = stats.sizes
    lowest = sizes.copy()
    for size in different(sizes):
        if size > _MANY_SIZES and not exact:
            step = math.floor(math.log(size / _MANY_SIZES, _RATIO))
            lowest[sizes == size] = math.ceil(_MANY_SIZES * _RATIO**step)
    for kind in different(stats.kinds):
        of_kind = stats.kinds == kind
        for size in different(lowest[of_kind]):
            here = np.flatnonzero(of_kind & (lowest == size))
            if here.size >= 2:
                yield Cell(here, size, kind, stats.at(here, size))


@dataclass(frozen=True, eq=False)
class View(Value):
    """How alike prompts are in one view of their rewards.

    Parameters
    ----------
    name : {"as they are", "centred", "scaled"}
    ratio : Measure
        W / R: 0 where all prompts have the same rewards, 1 where they are as different as draws
        from one law, above 1 where they are more so.
    within, reference : float
        W and R, on the scale from 0 to 1 (scaled: in each prompt's own standard deviations).
    p : float or None
        The chance that prompts of one law differ so much; exact for rewards as they are and, with
        four completions or more, for centred ones. None where no such test is.
    outcome : {"collapsed", "one law", "own laws"} or None
        What this view by itself says.
    """

    name: str
    ratio: Measure
    within: float
    reference: float
    p: float | None = None
    outcome: str | None = None

    @property
    def index(self) -> Measure:
        """1 - W / R, at least 0: 1 where all prompts have the same rewards."""
        value, low, high = (
            min(max(1.0 - r, 0.0), 1.0) for r in (self.ratio.value, self.ratio.high, self.ratio.low)
        )
        return Measure(value, low, high)


def centred(block: np.ndarray) -> np.ndarray:
    """Return rewards without their prompt's level, the mean."""
    return block - block.mean(axis=1, keepdims=True)


def scaled(block: np.ndarray) -> np.ndarray:
    """Return rewards without their prompt's level and scale, the standard deviation."""
    rest = centred(block)
    spread = np.sqrt((rest**2).mean(axis=1, keepdims=True))
    return np.divide(rest, spread, out=np.zeros_like(rest), where=spread > 0)


TAKEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as they are": lambda block: block,
    "centred": centred,
    "scaled": scaled,
}


def view_of(
    name: str,
    stats: OrderStatistics,
    rng: np.random.Generator,
    own: Callable[[Cell, np.ndarray], tuple[np.ndarray, float]] | None = None,
) -> View | None:
    """Return how alike prompts are in a view; None where no cell has two prompts.

    `own` may give another squared distance of each prompt from what it shares, such as one that
    allows for missing completions, and how much the prompts of the cell count.
    """
    take = TAKEN[name]
    pool = _pool(stats, name)
    # The part of the pool that each of its rewards is in.
    places = np.searchsorted(np.quantile(pool, _PLACES), pool, side="right")
    apart, chance, weights = [], [], 0.0
    for cell in cells_of(stats):
        block = take(cell.block)
        reference, hold, by_place = _reference(pool, places, cell, take, rng)
        found, weight = (distances(block, hold), 1.0) if own is None else own(cell, block)
        apart.append(weight * found)
        weights += weight * len(block)
        # R is a functional of the pool: to first order each reward moves it by what draws that
        # hold a reward from its place have above the others. So few prompts' R is in the interval.
        moved = stats.sums(by_place[places] - reference) / stats.sizes
        chance.append(weight * (reference + cell.size * moved[cell.prompts]))
    if not apart:
        return None
    top, below = np.concatenate(apart), np.concatenate(chance)
    if not below.mean() > 0:
        return None
    ratio = widened(ratio_of_means(top, below), _HELD)
    # Less than what missing completions make is 0: a variance.
    ratio = replace(ratio, value=max(ratio.value, 0.0))
    return View(name, ratio, max(float(top.sum()), 0.0) / weights, float(below.sum()) / weights)


def distances(block: np.ndarray, hold: bool = True) -> np.ndarray:
    """Return each prompt's mean squared distance from the mean curve, freed of one prompt's share.

    `hold` keeps wild rewards of a level from deciding.
    """
    values = held(block) if hold else block
    return ((values - values.mean(axis=0)) ** 2).mean(axis=1) * (len(block) / (len(block) - 1))


def held(blocks: np.ndarray, tail: float = _TAIL) -> np.ndarray:
    """Return (..., prompts, levels) rewards with those that are wild for their level held."""
    low, high = np.quantile(blocks, [tail, 1 - tail], axis=-2, keepdims=True)
    reach = _REACH * (high - low)
    return np.clip(blocks, low - reach, high + reach)


def _pool(stats: OrderStatistics, name: str) -> np.ndarray:
    """Return the rewards to draw from, prompt after prompt; centred ones with their variance kept.

    Taking off the mean of n rewards takes 1/n of their variance.
    """
    if name == "as they are":
        return stats.rewards
    sizes = stats.sizes
    return stats.centred().rewards * np.repeat(np.sqrt(sizes / (sizes - 1.0)), sizes)


def _reference(
    pool: np.ndarray,
    places: np.ndarray,
    cell: Cell,
    take: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[float, bool, np.ndarray]:
    """Return R of a cell, whether wild rewards are held, and R by a reward's place.

    As many prompts at a time as the cell has: what the tails of so few cost W, they cost R. Where
    most levels would be held at one value, as with a judge's zeros, none is held.
    """
    levels = cell.block.shape[1]
    simulated = max(min(_SIMULATED, _DRAWN // cell.size), 20)
    count = min(len(cell.block), simulated)
    groups = simulated // count
    picked = rng.integers(pool.size, size=(groups * count, cell.size))
    drawn = take(to_levels(-np.sort(-pool[picked], axis=1), levels)).reshape(groups, count, levels)
    kept = held(drawn)
    hold = bool(np.mean(np.ptp(kept, axis=1) > 0) > 0.5)
    kept = kept if hold else drawn
    apart = ((kept - kept.mean(axis=1, keepdims=True)) ** 2).mean(axis=2) * (count / (count - 1))
    reference = float(apart.mean())
    where = places[picked].ravel()
    counts = np.bincount(where, minlength=_PLACES.size + 1)
    sums = np.bincount(where, np.repeat(apart.ravel(), cell.size), _PLACES.size + 1)
    return reference, hold, np.where(counts > 0, sums / np.maximum(counts, 1), reference)


# -- shares of the variance ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shares(Value):
    """What the variance of a log's rewards is made of; the four add up to 1.

    Parameters
    ----------
    rank : Measure
        The mean reward of each rank: all of it after a collapse.
    level, scale, shape : Measure
        How prompts differ from that: by their mean, by a multiple of the mean curve, by the rest.
    """

    rank: Measure
    level: Measure
    scale: Measure
    shape: Measure


def shares_of(stats: OrderStatistics) -> Shares | None:
    """Return the shares of the variance; None where there is none.

    A prompt's distance from the mean curve of its cell has three orthogonal parts: its mean, its
    projection on the curve without its mean, and the rest.
    """
    parts = []
    for cell in cells_of(stats):
        curve = cell.block.mean(axis=0)
        free = len(cell.block) / (len(cell.block) - 1)
        away = cell.block - curve
        level = away.mean(axis=1) ** 2
        flat = curve - curve.mean()
        square = float((flat**2).mean())
        slope = (away @ flat) / flat.size
        scale = slope**2 / square if square > 0 else np.zeros(len(away))
        shape = np.maximum((away**2).mean(axis=1) - level - scale, 0.0)
        rank = np.full(len(away), square)
        parts.append(np.stack([rank, free * level, free * scale, free * shape]))
    if not parts:
        return None
    each = np.concatenate(parts, axis=1)
    total = each.sum(axis=0)
    if not total.any():
        return None
    found = (ratio_of_means(part, total) for part in each)
    return Shares(*(Measure(m.value, m.low, min(m.high, 1.0)) for m in found))
