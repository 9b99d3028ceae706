"""The collapse index: how much more alike prompts are than draws from the pooled log would be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.diagnosis.curves import Curves, different, level_matrix

__all__ = ["KIND_WEIGHT", "Index", "collapse_index"]

KIND_WEIGHT = 10.0
"""How much the variance between kinds counts beside that between prompts of a kind."""

_DRAWS = 8192  # simulated prompts of the reference: their variance is then right to about 2%
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
        Variance between the kinds' mean curves, freed of what chance adds.
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
    curves: Curves, rng: np.random.Generator, draws: int = 1000, level: float = 0.95
) -> Index:
    """Return the collapse index of prompts whose rewards are on the scale from 0 to 1.

    Parameters
    ----------
    curves : Curves
        Rewards on the scale from 0 to 1, at least two prompts.
    rng : numpy.random.Generator
    draws : int
        How many times prompts are drawn anew for the interval.
    level : float
        What share of them the interval holds.
    """
    low, high = -_BEYOND, 1.0 + _BEYOND
    far = (curves.rewards < low) | (curves.rewards > high)
    reference = _reference(np.clip(curves.rewards, low, high), curves, rng)
    sums = [
        _Sums.of(block, rng) for block in _by_kind(np.clip(curves.at_levels, low, high), curves)
    ]
    within, kinds = _variances([s.total() for s in sums])
    again, between = _variances([s.drawn(rng, draws) for s in sums], noise=2)
    again = again * (len(curves.kinds) / (len(curves.kinds) - 1))  # for prompts drawn twice
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


def _by_kind(at_levels: np.ndarray, curves: Curves) -> list[np.ndarray]:
    return [at_levels[curves.kinds == kind] for kind in different(curves.kinds)]


def _reference(rewards: np.ndarray, curves: Curves, rng: np.random.Generator) -> float:
    """Return the variance between prompts made of random rewards of the log, of the same sizes."""
    pool = np.sort(rewards)
    counts = np.bincount(curves.sizes)
    sizes = different(curves.sizes)
    shares = np.maximum(np.round(_DRAWS * counts[sizes] / curves.count), 1).astype(int)
    total, squares, drawn = np.zeros(curves.levels), 0.0, 0
    for size, share in zip(sizes, shares.tolist(), strict=True):
        picked = -np.sort(-pool[rng.integers(pool.size, size=(share, size))], axis=1)
        if size != curves.levels:
            picked = picked @ level_matrix(size, curves.levels).T
        total += picked.sum(axis=0)
        squares += (picked**2).sum()
        drawn += share
    return float((squares / drawn - (total / drawn) @ (total / drawn)) / curves.levels)


@dataclass(frozen=True)
class _Moments:
    """Sums over the prompts of a kind; a row for each draw of the bootstrap."""

    counts: np.ndarray  # (draws,)
    sums: np.ndarray  # (draws, levels)
    squares: np.ndarray  # (draws,)


@dataclass(frozen=True)
class _Sums:
    """Sums over groups of prompts of one kind: one prompt a group, or several where many."""

    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray, rng: np.random.Generator) -> _Sums:
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

    def total(self) -> _Moments:
        weights = np.ones((1, self.counts.size))
        return self._weighted(weights)

    def drawn(self, rng: np.random.Generator, draws: int) -> _Moments:
        size = self.counts.size
        weights = rng.multinomial(size, np.full(size, 1.0 / size), size=draws)
        return self._weighted(weights.astype(float))

    def _weighted(self, weights: np.ndarray) -> _Moments:
        return _Moments(weights @ self.counts, weights @ self.sums, weights @ self.squares)


def _variances(kinds: list[_Moments], noise: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance within kinds and between their means, a value for each draw.

    Means of few prompts differ by chance, which is taken off: once for a log, twice (`noise`) for
    one drawn from it, whose means have the log's chance and their own.
    """
    levels = kinds[0].sums.shape[1]
    means = np.stack([k.sums / k.counts[:, None] for k in kinds])
    scatter = np.stack(
        [
            np.maximum(k.squares - k.counts * (m**2).sum(axis=1), 0)
            for k, m in zip(kinds, means, strict=True)
        ]
    )
    counts = np.stack([k.counts for k in kinds])
    free = np.maximum(counts.sum(axis=0) - len(kinds), 1)
    within = scatter.sum(axis=0) / free / levels
    if len(kinds) == 1:
        return within, np.zeros_like(within)
    between = ((means - means.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0) / levels
    own = scatter / np.maximum(counts - 1, 1) / counts / levels
    chance = (1 - 1 / len(kinds)) * own.mean(axis=0)
    return within, np.maximum(between - noise * chance, 0.0)
