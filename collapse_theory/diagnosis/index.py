"""How alike prompts are: the collapse index, and whether they fall into two groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from collapse_theory.diagnosis.order_statistics import OrderStatistics, different, to_levels

KIND_WEIGHT = 10.0
"""How much the variance between kinds counts beside that between prompts of a kind."""

_REFERENCE_PROMPTS = 8192  # that are simulated: their variance is then right to about 2%
_BLOCKS = 2048  # of more prompts so many groups are drawn in the bootstrap
_BEYOND = 1.0  # rewards further out than this many widths of the scale count as at that distance


@dataclass(frozen=True)
class Index:
    """The collapse index and what it is made of, on the scale from 0 to 1.

    Attributes
    ----------
    value, low, high : float
        max(0, 1 - (within + 10 kinds) / reference), with its bootstrap interval.
    within : float
        Variance of order statistics between prompts of one kind, mean over the levels.
    kinds : float
        Variance between the kinds' mean order statistics, freed of what chance adds.
    kinds_low : float
        The lower end of the interval of 10 kinds / reference.
    explained_low : float
        The lower end of the interval of kinds / (kinds + within), the share that the kind explains.
    reference : float
        The variance between prompts whose completions are drawn at random from the pooled log.
    clipped : int
        How many rewards lie further out than one width of the scale.
    """

    value: float
    low: float
    high: float
    within: float
    kinds: float
    kinds_low: float
    explained_low: float
    reference: float
    clipped: int


def collapse_index(
    prompts: OrderStatistics, rng: np.random.Generator, draws: int = 1000, level: float = 0.95
) -> Index:
    """Return the collapse index of prompts whose rewards are on the scale from 0 to 1.

    Parameters
    ----------
    prompts : OrderStatistics
        Rewards on the scale from 0 to 1, at least two prompts.
    rng : numpy.random.Generator
    draws : int
        How many times prompts are drawn anew for the interval.
    level : float
        What share of them the interval holds.
    """
    low, high = -_BEYOND, 1.0 + _BEYOND
    far = (prompts.rewards < low) | (prompts.rewards > high)
    reference = _reference(np.clip(prompts.rewards, low, high), prompts, rng)
    at_levels = np.clip(prompts.at_levels, low, high)
    sums = [_Moments.of(at_levels[prompts.kinds == k], rng) for k in different(prompts.kinds)]
    within, kinds = _variances([s.total() for s in sums])
    again, between = _variances([s.drawn(rng, draws) for s in sums], noise=2)
    again = again * (len(prompts.kinds) / (len(prompts.kinds) - 1))  # for prompts drawn twice
    scale = 1.0 / max(reference, 1e-300)
    share = KIND_WEIGHT * between * scale
    spread = 1.0 - again * scale - share
    tail = 0.5 * (1 - level)
    bounds = np.clip(np.quantile(spread, [tail, 1 - tail]), 0, 1)
    value = 1.0 - float(within[0] + KIND_WEIGHT * kinds[0]) * scale
    return Index(
        value=float(np.clip(value, 0, 1)),
        low=float(bounds[0]),
        high=float(bounds[1]),
        within=float(within[0]),
        kinds=float(kinds[0]),
        kinds_low=float(np.quantile(share, tail)),
        explained_low=float(np.quantile(between / np.maximum(between + again, 1e-300), tail)),
        reference=float(reference),
        clipped=int(far.sum()),
    )


def _reference(rewards: np.ndarray, prompts: OrderStatistics, rng: np.random.Generator) -> float:
    """Return the variance between prompts made of random rewards of the log, of the same sizes."""
    pool = np.sort(rewards)
    counts = np.bincount(prompts.sizes)
    sizes = different(prompts.sizes)
    shares = np.maximum(np.round(_REFERENCE_PROMPTS * counts[sizes] / prompts.count), 1).astype(int)
    total, squares, drawn = np.zeros(prompts.levels), 0.0, 0
    for size, share in zip(sizes, shares.tolist(), strict=True):
        picked = -np.sort(-pool[rng.integers(pool.size, size=(share, size))], axis=1)
        picked = to_levels(picked, prompts.levels)
        total += picked.sum(axis=0)
        squares += (picked**2).sum()
        drawn += share
    return float((squares / drawn - (total / drawn) @ (total / drawn)) / prompts.levels)


@dataclass(frozen=True)
class _Moments:
    """Sums over prompts of one kind: a row a group of prompts, or a row a draw of the bootstrap."""

    counts: np.ndarray  # (rows,)
    sums: np.ndarray  # (rows, levels)
    squares: np.ndarray  # (rows,)

    @classmethod
    def of(cls, block: np.ndarray, rng: np.random.Generator) -> Self:
        """Return those of a (prompts, levels) array: one prompt a row, or several where many."""
        squares = np.einsum("ij,ij->i", block, block)
        if len(block) <= _BLOCKS:
            return cls(np.ones(len(block)), block, squares)
        group = rng.permutation(np.arange(len(block)) % _BLOCKS)
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(_BLOCKS))
        counts = np.bincount(group, minlength=_BLOCKS).astype(float)
        return cls(
            counts,
            np.add.reduceat(block[order], starts, axis=0),
            np.add.reduceat(squares[order], starts),
        )

    def weighted(self, weights: np.ndarray) -> _Moments:
        """Return the sums with each row counted as often as a row of `weights` says."""
        return _Moments(weights @ self.counts, weights @ self.sums, weights @ self.squares)

    def total(self) -> _Moments:
        return self.weighted(np.ones((1, self.counts.size)))

    def drawn(self, rng: np.random.Generator, draws: int) -> _Moments:
        size = self.counts.size
        weights = rng.multinomial(size, np.full(size, 1.0 / size), size=draws)
        return self.weighted(weights.astype(float))


def _variances(kinds: list[_Moments], noise: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance within kinds and between their means, a value for each draw.

    With P_g prompts of kind g, their mean m_g and scatter S_g = sum |q - m_g|^2 / levels, and G
    kinds: W = sum S_g / (P - G), K = mean |m_g - m|^2 / levels - c, at least 0. Means of few
    prompts differ by chance, c = (1 - 1/G) mean S_g / (P_g - 1) / P_g, which is taken off: once
    for a log, twice (`noise`) for one drawn from it, whose means have the log's chance and their
    own.
    """
    levels = kinds[0].sums.shape[1]
    counts = np.stack([k.counts for k in kinds])
    means = np.stack([k.sums for k in kinds]) / counts[:, :, None]
    squares = np.stack([k.squares for k in kinds])
    scatter = np.maximum(squares - counts * (means**2).sum(axis=2), 0)
    free = np.maximum(counts.sum(axis=0) - len(kinds), 1)
    within = scatter.sum(axis=0) / free / levels
    if len(kinds) == 1:
        return within, np.zeros_like(within)
    between = ((means - means.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0) / levels
    own = scatter / np.maximum(counts - 1, 1) / counts / levels
    chance = (1 - 1 / len(kinds)) * own.mean(axis=0)
    return within, np.maximum(between - noise * chance, 0.0)


@dataclass(frozen=True)
class Groups:
    """The best split of prompts in two along their first principal component.

    Attributes
    ----------
    explained : float
        The share of all variance between prompts that the split explains: near 1 for two groups,
        each with its own vector; 2/pi at most for Gaussian variation.
    smaller : float
        The share of prompts in the smaller group.
    """

    explained: float
    smaller: float


def two_groups(at_levels: np.ndarray) -> Groups:
    """Return how well a split in two explains that prompts differ.

    Parameters
    ----------
    at_levels : (P, levels) array

    Examples
    --------
    >>> import numpy as np
    >>> found = two_groups(np.repeat([[1.0, 0.5, 0.0], [1.0, 1.0, 0.0]], 3, axis=0))
    >>> round(found.explained, 9), found.smaller
    (1.0, 0.5)
    """
    centred = at_levels - at_levels.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    total = values.sum()
    if not total > 1e-20 * max(1.0, float((at_levels**2).sum())):
        return Groups(0.0, 0.0)
    scores = np.sort(centred @ vectors[:, -1])
    count = scores.size
    sizes = np.arange(1, count)
    sums = np.cumsum(scores)[:-1]
    # Between two groups of a centred sample: s^2 / k + s^2 / (P - k).
    between = sums**2 * (1.0 / sizes + 1.0 / (count - sizes))
    best = int(np.argmax(between))
    small = min(best + 1, count - best - 1) / count
    return Groups(float(min(between[best] / total, 1.0)), float(small))
