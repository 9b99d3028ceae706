"""Comparisons whose completions are ranks: how much each pair of ranks counts, and its margin."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import numbers
from collapse_theory.programs.comparisons import Comparisons


def by_rank(pair_weights: Any) -> Comparisons | None:
    """Return the weights by rank as comparisons in which completion p is the one of rank p.

    Of an array (K, K) entry (p, q), p < q, is for the pair in which rank p is better than rank q;
    the other entries are not read.

    Raises
    ------
    CollapseError
        For a table that isn't square, negative weights, no weight above 0; comparisons that put a
        rank above a better one, hold some equal, or give one pair several margins.

    Examples
    --------
    >>> by_rank(np.eye(4, k=1))
    Comparisons(n=4, better=[0, 1, 2], worse=[1, 2, 3])
    """
    if pair_weights is None:
        return None
    if not isinstance(pair_weights, Comparisons):
        return _from_table(pair_weights)
    if pair_weights.equal:
        raise CollapseError(
            f"pair_weights holds {pair_weights.equal} equal, which a loss can't; give tied "
            "completions the same rank instead"
        )
    better, worse = pair_weights.better, pair_weights.worse
    for p, q in zip(better[better > worse], worse[better > worse], strict=True):
        raise CollapseError(
            f"pair_weights puts {p} above {q}, but completions there are ranks: 0 is best, and "
            "p > q stands for a pair of rank p < q"
        )
    other = pair_weights.margins != tables(pair_weights)[1][better, worse]
    for p, q in zip(better[other], worse[other], strict=True):
        raise CollapseError(
            f"pair_weights gives the pair {p} > {q} several margins; a loss takes one margin a pair"
        )
    return pair_weights


def _from_table(pair_weights: Any) -> Comparisons:
    table = numbers(pair_weights, "pair_weights")
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise CollapseError(
            f"pair_weights must have shape (K, K), one entry a pair of ranks; got {table.shape}"
        )
    better, worse = np.triu_indices(len(table), 1)
    return Comparisons(len(table), better, worse, table[better, worse])


def tables(pairs: Comparisons) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the margins of each pair of ranks, shape (K, K) each."""
    weights, margins = np.zeros((2, pairs.n, pairs.n))
    np.add.at(weights, (pairs.better, pairs.worse), pairs.weights)
    margins[pairs.better, pairs.worse] = pairs.margins
    return weights, margins


def within(
    pairs: Comparisons | None,
    ranks: Any,
    margins: np.ndarray | None = None,
    pair_weights: np.ndarray | None = None,
) -> Comparisons | None:
    """Return the comparisons of completions with these ranks, padding below 0; None without a pair.

    Margins and weights (K, K) of the completions' own pairs add to those by rank, or multiply them.

    >>> within(None, (0, 1, 1))
    Comparisons(n=3, better=[0, 0], worse=[1, 2])
    """
    rank = np.asarray(ranks, dtype=np.int64)
    better, worse = np.nonzero((rank[:, None] < rank[None, :]) & (rank[:, None] >= 0))
    weights, shifts = np.ones(len(better)), np.zeros(len(better))
    if pairs is not None:
        weights, shifts = (table[rank[better], rank[worse]] for table in tables(pairs))
    if pair_weights is not None:
        weights = weights * pair_weights[better, worse]
    if margins is not None:
        shifts = shifts + margins[better, worse]
    if not np.any(weights > 0):
        return None
    return Comparisons(len(rank), better, worse, weights, (), shifts)
