"""The share of pairs that the rewards order as the ranks do."""

from __future__ import annotations

import numpy as np

from collapse_theory.diagnosis.curves import different

__all__ = ["pairs_right"]

_MOST = 256  # of more completions so many are compared
_BLOCK = 4_000_000  # pairs held at a time


def pairs_right(rewards: np.ndarray, prompts: np.ndarray, ranks: np.ndarray) -> float:
    """Return the share of a prompt's pairs of different ranks in which the better has more reward.

    Equal rewards count half. NaN where there is no such pair.

    Parameters
    ----------
    rewards, prompts, ranks : (rows,) arrays
        Rank 0 is the best.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.diagnosis.pairs import pairs_right
    >>> pairs_right(np.array([1.0, 0.4, 0.4]), np.array([0, 0, 0]), np.array([0, 1, 2]))
    0.8333333333333334
    """
    order = np.argsort(prompts, kind="stable")
    rewards, ranks = rewards[order], ranks[order]
    sizes = np.bincount(prompts)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    right = pairs = 0.0
    for size in different(sizes):
        if size < 2:
            continue
        here = starts[sizes == size]
        step = max(_BLOCK // (min(size, _MOST) ** 2), 1)
        for first in range(0, here.size, step):
            rows = here[first : first + step, None] + np.arange(size)
            good, counted = _counted(rewards[rows], ranks[rows])
            right, pairs = right + good, pairs + counted
    return right / pairs if pairs else float("nan")


def _counted(rewards: np.ndarray, ranks: np.ndarray) -> tuple[float, int]:
    """Return how many pairs of the rows are right, and how many there are."""
    size = ranks.shape[1]
    if size > _MOST:
        by_rank = np.argsort(ranks, axis=1, kind="stable")
        some = by_rank[:, np.linspace(0, size - 1, _MOST).astype(int)]
        rewards = np.take_along_axis(rewards, some, axis=1)
        ranks = np.take_along_axis(ranks, some, axis=1)
    first, second = np.triu_indices(ranks.shape[1], 1)
    better = np.sign(ranks[:, second] - ranks[:, first])
    agreed = better * np.sign(rewards[:, first] - rewards[:, second])
    counted = int(np.count_nonzero(better))
    return 0.5 * (counted + float(agreed.sum())), counted
