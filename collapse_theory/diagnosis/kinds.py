"""Do kinds of prompts differ, named ones or groups that nobody named?"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np

from collapse_theory.diagnosis.intervals import NORMAL, Measure
from collapse_theory.diagnosis.likeness import cells_of, held
from collapse_theory.diagnosis.order_statistics import OrderStatistics

_DEALS = 499  # of the kinds' names, over the prompts of one size
_MOST = 2000  # prompts of one size that are dealt to; more tell no more
_GROUPED = 10  # prompts from which on groups are looked for
_RARE = 0.02  # a larger share of the prompts is a group, and not held as wild


class Apart(NamedTuple):
    """How far the kinds' mean curves are apart, in the units of the rewards."""

    distance: Measure  # the largest mean one of two kinds' curves, over the sizes that both have
    variance: float  # between the kinds' curves, each counted alike, freed of what chance adds
    p: float  # the share of deals of the kinds' names with as large a variance: exact


def kinds_apart(
    stats: OrderStatistics, take: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator
) -> Apart | None:
    """Return how far kinds are apart; None where no two kinds share a number of completions."""
    by_size: dict[int, list[tuple[int, np.ndarray]]] = {}
    for cell in cells_of(stats, exact=True):
        block = held(take(cell.block))
        by_size.setdefault(cell.size, []).append((cell.kind, block))
    shared = [cells for cells in by_size.values() if len(cells) > 1]
    if not shared:
        return None
    variance = weight = 0.0
    dealt = np.zeros(_DEALS + 1)
    for cells in shared:
        count = sum(len(block) for _, block in cells)
        variance += count * _between(cells)
        weight += count
        dealt += count * _dealt(cells, rng)
    p = float(np.count_nonzero(dealt >= dealt[0] * (1 - 1e-9)) / (_DEALS + 1))
    return Apart(_furthest(shared), max(variance / weight, 0.0), p)


def _between(cells: list[tuple[int, np.ndarray]]) -> float:
    means = np.stack([block.mean(axis=0) for _, block in cells])
    own = [float(block.var(axis=0, ddof=1).mean()) / len(block) for _, block in cells]
    apart = float(((means - means.mean(axis=0)) ** 2).mean())
    return apart - (1 - 1 / len(cells)) * float(np.mean(own))


def _dealt(cells: list[tuple[int, np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Return the variance between the kinds' curves, first as they are, then for each deal."""
    cells = [(kind, block[rng.permutation(len(block))[:_MOST]]) for kind, block in cells]
    rows = np.concatenate([block for _, block in cells])
    names = np.repeat(np.arange(len(cells)), [len(block) for _, block in cells])
    deals = np.tile(names, (_DEALS + 1, 1))
    deals[1:] = rng.permuted(deals[1:], axis=1)
    counts = np.bincount(names)
    means = np.stack([(deals == k).astype(float) @ rows / counts[k] for k in range(len(cells))])
    return ((means - means.mean(axis=0)) ** 2).mean(axis=(0, 2))


def _furthest(shared: list[list[tuple[int, np.ndarray]]]) -> Measure:
    """Return the largest Wasserstein-1 distance of two kinds' mean curves, with its interval.

    Where the curves lie above one another it is a difference of two means of one number a prompt,
    the sum over the levels with those signs; its interval is that of this difference.
    """
    kinds = sorted({kind for cells in shared for kind, _ in cells})
    best = Measure(0.0, 0.0, 0.0)
    for pair in combinations(kinds, 2):
        total = square = weight = 0.0
        for blocks in map(dict, shared):
            if all(kind in blocks for kind in pair):
                a, b = (blocks[kind] for kind in pair)
                signs = np.sign(a.mean(axis=0) - b.mean(axis=0)) / a.shape[1]
                x, y = a @ signs, b @ signs
                count = len(a) + len(b)
                total += count * float(x.mean() - y.mean())
                square += count**2 * float(x.var(ddof=1) / len(a) + y.var(ddof=1) / len(b))
                weight += count
        if weight and total / weight >= best.value:
            value, half = total / weight, NORMAL * math.sqrt(square) / weight
            best = Measure(value, max(value - half, 0.0), value + half)
    return best


class Groups(NamedTuple):
    """The best split of prompts in two along their first principal component."""

    # The share of all variance between prompts that the split explains; 2/pi at most for Gaussian
    # variation.
    explained: float
    smaller: int  # how many prompts the smaller group has,
    share: float  # and their share of all
    # How far apart the groups' means are along the component, in standard deviations of the less
    # compact group: 2.6 for the halves of a normal law, 3.5 for those of a uniform one.
    apart: float
    square: float  # the mean over levels of the squared difference of the groups' mean rewards
    # How many levels the groups differ at: of d their differences, (sum d^2)^2 / sum d^4. One
    # alone is a reward between two grades that is rounded now to this, now to that.
    levels: float


def two_groups(block: np.ndarray) -> tuple[Groups, np.ndarray] | None:
    """Return the best split in two, and which prompts are on its second side.

    Of (P, levels) rewards; None where prompts are the same but for rounding.

    Examples
    --------
    >>> import numpy as np
    >>> found, second = two_groups(np.array([[1, 0.6, 0.3, 0]] * 3 + [[1, 1, 0, 0.0]] * 2))
    >>> round(found.explained, 9), found.smaller, round(found.levels, 1)
    (1.0, 2, 1.9)
    """
    centred = block - block.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    total = values.sum()
    if not total > 1e-20 * max(1.0, float((block**2).sum())):
        return None
    along = centred @ vectors[:, -1]
    scores = np.sort(along)
    count = scores.size
    sizes = np.arange(1, count)
    sums = np.cumsum(scores)[:-1]
    # Between two groups of a centred sample: s^2 / k + s^2 / (P - k).
    between = sums**2 * (1.0 / sizes + 1.0 / (count - sizes))
    best = int(np.argmax(between))
    second = along > scores[best]
    widest = max(float(along[side].std()) for side in (second, ~second))
    distance = float(along[second].mean() - along[~second].mean())
    smaller = min(best + 1, count - best - 1)
    apart = block[second].mean(axis=0) - block[~second].mean(axis=0)
    groups = Groups(
        explained=float(min(between[best] / total, 1.0)),
        smaller=smaller,
        share=smaller / count,
        apart=distance / widest if widest > 0 else math.inf,
        square=float((apart**2).mean()),
        levels=float((apart**2).sum() ** 2 / (apart**4).sum()),
    )
    return groups, second


def groups_of(stats: OrderStatistics, take: Callable[[np.ndarray], np.ndarray]) -> Groups | None:
    """Return the best split in two of the prompts of most completions; None for few such prompts.

    Optima of odd and of even numbers of completions are two groups by themselves, and so are
    prompts from which this or that completion is missing: those of most completions are whole.
    """
    whole = np.flatnonzero(stats.sizes == stats.sizes.max())
    if whole.size < _GROUPED:
        return None
    block = take(stats.at(whole, int(stats.sizes.max())))
    found = two_groups(held(block, _RARE))
    return found and found[0]
