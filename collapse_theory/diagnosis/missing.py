"""Prompts of which some completions are missing: what collapse still predicts of the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collapse_theory.data.reward_log import RewardLog
from collapse_theory.diagnosis.likeness import Cell, cells_of, centred
from collapse_theory.diagnosis.order_statistics import MAX_LEVELS, OrderStatistics
from collapse_theory.lazy import special

_SURE = 0.1  # of R: what noise of their own adds to how prompts without a gap differ
Distances = Callable[[Cell, np.ndarray], tuple[np.ndarray, float]]


def subset_means(size: int, whole: int) -> np.ndarray:
    """Return the (size, whole) chances that the k-th of a random subset is the j-th of all.

    Of n, sorted, the k-th of m drawn is the j-th with C(j, k) C(n-1-j, m-1-k) / C(n, m), from 0
    (David and Nagaraja, "Order Statistics", 2003, section 2.1, for a population of n).

    Examples
    --------
    >>> subset_means(2, 3)
    array([[0.66666667, 0.33333333, 0.        ],
           [0.        , 0.33333333, 0.66666667]])
    """
    k, j = np.arange(size)[:, None], np.arange(whole)
    return np.asarray(
        special.comb(j, k) * special.comb(whole - 1 - j, size - 1 - k) / special.comb(whole, size)
    )


def share_gone(sizes: np.ndarray) -> float:
    """Return the share of completions that are missing, if as many were there and went at random.

    Sizes are binomial then, with the variance of the mean times that share; 0 where they vary by
    more. About so large is W / R for random subsets of one vector: no larger one, and they may be
    draws of a law as well.
    """
    share = float(sizes.var() / sizes.mean())
    return share if share <= 1 else 0.0


def as_subsets(stats: OrderStatistics, level: bool) -> Distances | None:
    """Return distances that allow for completions missing at random; None where that can't be.

    The whole vector v has as many rewards as the largest prompt of a kind, and is fitted by least
    squares: random subsets of m have the mean order statistics E_m = A_m v, `subset_means`. Their
    variance V_m about these is known, too: mean(v^2) - mean(E_m^2), less that of a subset's mean
    where levels don't count. A prompt of m is |q - E_m|^2 - V_m away, 0 on average if that is all
    that differs; it counts the less the more V_m is of R, some (n - m)/(n - 1).
    """
    if int(stats.sizes.max()) > MAX_LEVELS:
        return None
    cells: dict[int, list[tuple[int, np.ndarray]]] = {}
    for cell in cells_of(stats):
        block = cell.block if level else centred(cell.block)
        cells.setdefault(cell.kind, []).append((cell.size, block))
    whole = {kind: _fitted(some) for kind, some in cells.items()}
    if any(sum(len(block) for _, block in some) < whole[k][0].size for k, some in cells.items()):
        return None

    def away(cell: Cell, block: np.ndarray) -> tuple[np.ndarray, float]:
        v, leverage = whole[cell.kind]
        m, n = cell.size, v.size
        mean = subset_means(m, n) @ v
        variance = float((v**2).mean() - (mean**2).mean())
        if not level:
            variance -= float(v.var()) * (n - m) / (m * (n - 1))
        # A wild reward is no further from the mean than twice the furthest subset's.
        most = 2 * max(abs(v[:m] - mean).max(), abs(v[n - m :] - mean).max())
        most = most or 2 * float(np.ptp(v)) + 1e-300
        apart = np.clip(block - mean, -most, most)
        apart = (apart**2).mean(axis=1) / (1 - leverage[m] / len(block)) - max(variance, 0.0)
        return apart, 1 / ((n - m) / max(n - 1, 1) + _SURE) ** 2

    return away


def _fitted(cells: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, dict[int, float]]:
    """Return the vector whose subsets have the mean order statistics of the cells.

    And by size the share that the cell's own mean has in its fitted one: all of it where each is
    fitted by itself, and then distances are freed of one prompt's part in the mean.
    """
    from scipy.optimize import nnls

    n = max(size for size, _ in cells)
    weights = np.concatenate([np.full(size, len(block) ** 0.5) for size, block in cells])
    means = np.concatenate([block.mean(axis=0) for _, block in cells])
    matrix = np.concatenate([subset_means(size, n) for size, _ in cells]) * weights[:, None]
    inverse = np.linalg.pinv(matrix)
    own = (matrix * inverse.T).sum(axis=1)
    starts = np.cumsum([0, *(size for size, _ in cells)])[:-1]
    leverage = np.add.reduceat(own, starts) / [size for size, _ in cells]
    sizes = [size for size, _ in cells]
    # Sorted: the worst reward, of either sign, and gaps above it, none of them negative.
    above = np.triu(np.ones((n, n)))[:, :-1]
    basis = np.column_stack([np.ones(n), -np.ones(n), above])
    v = basis @ nnls(matrix @ basis, weights * means)[0]
    return v, dict(zip(sizes, leverage.tolist(), strict=True))


def by_rank(log: RewardLog, stats: OrderStatistics, level: bool) -> Distances | None:
    """Return distances between the rewards of one rank, where ranks say which ones are missing.

    The mean of each rank, and of each prompt where its level doesn't count (`level` False), are
    fitted by turns. None without ranks, with unknown ones or such as come twice in a prompt, or
    with many.
    """
    if log.ranks is None or not log.ranks.max() < MAX_LEVELS:  # NaN isn't
        return None
    number = np.full(log.count, -1)
    number[stats.names] = np.arange(stats.count)
    prompt, rank = number[log.prompts], log.ranks.astype(int)
    used = prompt >= 0
    table = np.full((stats.count, int(rank.max()) + 1), np.nan)
    table[prompt[used], rank[used]] = log.rewards[used]
    if np.count_nonzero(~np.isnan(table)) < np.count_nonzero(used):
        return None
    there = ~np.isnan(table)
    rest = np.where(there, table, 0.0)
    of_prompt = there.sum(axis=1)
    kinds = [stats.kinds == kind for kind in np.unique(stats.kinds)]
    for _ in range(1 if level else 30):
        for here in kinds:
            counts = np.maximum(there[here].sum(axis=0), 1)
            rest[here] = (rest[here] - rest[here].sum(axis=0) / counts) * there[here]
        if not level:
            rest = (rest - (rest.sum(axis=1) / of_prompt)[:, None]) * there
    apart = (rest**2).sum(axis=1) / of_prompt

    def away(cell: Cell, block: np.ndarray) -> tuple[np.ndarray, float]:
        return apart[cell.prompts] * (len(block) / (len(block) - 1)), 1.0

    return away
