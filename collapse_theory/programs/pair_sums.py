"""The pairs of a full ranking: their gaps as sums of the gaps between neighbours, and sums of them.

Every pair's gap is a sum of neighbours' gaps, and the derivative by one of these is a sum over the
pairs that straddle it: all terms are positive, so both keep full relative accuracy
(docs/theory.md#in-the-gaps). They are products with a matrix of zeros and ones for few completions,
where a ranking is a row of a stack of them, and running sums for many.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

# Completions up to which products with a matrix are faster than running sums, whose number doesn't
# depend on n (measured: 3 times at 8, 1.2 times at 33).
FEW = 33


def pair_gaps(gaps: np.ndarray) -> np.ndarray:
    """Return the (n, n) matrix of r_i - r_j for i < j, and 1 elsewhere."""
    upper = _upper(len(gaps) + 1)
    between = np.where(upper, np.append(0.0, gaps), 0.0).cumsum(axis=1)
    return np.where(upper, between, 1.0)


@lru_cache(maxsize=4)
def _upper(n: int) -> np.ndarray:
    return ~np.tri(n, dtype=bool)


def straddle(weights: np.ndarray) -> np.ndarray:
    """Return for k = 1, ..., n-1 the sum of ``weights[i, j]`` over i <= k < j.

    `weights` is zero on and below the diagonal.
    """
    beyond = weights[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.diagonal(beyond.cumsum(axis=0), 1)


@lru_cache(maxsize=32)
def incidence(n: int) -> np.ndarray:
    """Return the (pairs, n-1) matrix that says which gaps lie between the two of each pair."""
    i, j = np.triu_indices(n, 1)
    k = np.arange(n - 1)
    return ((i[:, None] <= k) & (k < j[:, None])).astype(float)


def all_gaps(gaps: np.ndarray) -> np.ndarray:
    """Return the gaps (..., pairs) of rankings from those between neighbours (..., n-1).

    Pairs are in the order of ``numpy.triu_indices(n, 1)``.
    """
    n = gaps.shape[-1] + 1
    if n <= FEW:
        return gaps.dot(incidence(n).T)
    if gaps.ndim > 1:
        return np.stack([all_gaps(row) for row in gaps])
    return pair_gaps(gaps)[_upper(n)]


def all_straddling(values: np.ndarray, n: int) -> np.ndarray:
    """Return the sums (..., n-1) of values (..., pairs) over the pairs that straddle each gap."""
    if n <= FEW:
        return values.dot(incidence(n))
    if values.ndim > 1:
        return np.stack([all_straddling(row, n) for row in values])
    square = np.zeros((n, n))
    square[_upper(n)] = values
    return straddle(square)


def pair_sums(values: np.ndarray) -> np.ndarray:
    """Return at each completion (..., n) the sum of values (..., pairs) over the pairs in which it
    is the better less that over those in which it is the worse.
    """
    pairs = values.shape[-1]
    n = (1 + math.isqrt(1 + 8 * pairs)) // 2
    rows = values.reshape(-1, pairs)
    i, j = np.triu_indices(n, 1)
    at, size = n * np.arange(len(rows))[:, None], n * len(rows)
    better, worse = (np.bincount((at + k).ravel(), rows.ravel(), size) for k in (i, j))
    return (better - worse).reshape(*values.shape[:-1], n)
