"""The full ranking of n completions: every pair's gap, and the force on each neighbouring gap.

The program is seen through the gaps d_k = r_k - r_{k+1} between neighbours. Every pair's gap is a
sum of them, and the derivative of the objective by d_k is a sum of U' over the pairs that straddle
k. All terms are positive, so both keep full relative accuracy however small a gap is.
"""

from __future__ import annotations

import numpy as np

__all__ = ["as_rewards", "pair_gaps", "straddle"]


def pair_gaps(gaps: np.ndarray) -> np.ndarray:
    """Return the (n, n) matrix of r_i - r_j for i < j, and 1 elsewhere."""
    n = len(gaps) + 1
    between = np.triu(np.broadcast_to(np.concatenate([[0.0], gaps]), (n, n)), 1)
    return np.where(np.tri(n, dtype=bool), 1.0, between.cumsum(axis=1))


def straddle(weights: np.ndarray) -> np.ndarray:
    """Return for k = 1, ..., n-1 the sum of ``weights[i, j]`` over i <= k < j.

    `weights` is zero on and below the diagonal.
    """
    beyond = weights[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.diagonal(beyond.cumsum(axis=0), 1)


def as_rewards(gaps: np.ndarray) -> np.ndarray:
    """Return rewards from 1 (best) to 0, each as its distance to the nearer end."""
    n = len(gaps) + 1
    below_top = np.concatenate([[0.0], np.cumsum(gaps)])
    above_bottom = np.concatenate([np.cumsum(gaps[::-1])[::-1], [0.0]])
    rewards = np.where(np.arange(n) < n / 2, 1.0 - below_top, above_bottom)
    if n % 2 and abs(rewards[n // 2] - 0.5) < 4 * np.finfo(float).eps:
        rewards[n // 2] = 0.5  # by symmetry, whichever end it is counted from
    return np.clip(rewards, 0.0, 1.0)
