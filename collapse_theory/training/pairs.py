"""Which pairs of a batch count, and how much: from ranks, padding, ties and weights by rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from collapse_theory.errors import CollapseError
from collapse_theory.programs import Comparisons
from collapse_theory.training.batches import as_tensor

__all__ = ["as_ranks", "by_rank", "compared", "tables", "within"]


def by_rank(pair_weights: Any) -> Comparisons | None:
    """Return the weights by rank as comparisons in which completion p is the one of rank p.

    Parameters
    ----------
    pair_weights : array_like of shape (K, K), Comparisons or None
        Entry (p, q), p < q, is for the pair in which rank p is better than rank q; entries on and
        below the diagonal are not read.

    Raises
    ------
    CollapseError
        For a table that isn't square, negative weights, no weight above 0; comparisons that put a
        rank above a better one, hold some equal, or give one pair several margins.

    Examples
    --------
    >>> by_rank(np.eye(4, k=1))
    Comparisons(n=4, 3 pairs)
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
    wrong = pair_weights.better > pair_weights.worse
    if wrong.any():
        at = int(np.argmax(wrong))
        raise CollapseError(
            f"pair_weights puts {pair_weights.better[at]} above {pair_weights.worse[at]}, but "
            "completions there are ranks: 0 is best, and p > q stands for a pair of rank p < q"
        )
    _require_one_margin(pair_weights)
    return pair_weights


def _from_table(pair_weights: Any) -> Comparisons:
    if isinstance(pair_weights, Tensor):
        pair_weights = pair_weights.detach().cpu()
    try:
        table = np.asarray(pair_weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise CollapseError(f"pair_weights must be numbers, got {pair_weights!r}") from None
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise CollapseError(
            f"pair_weights must have shape (K, K), one entry a pair of ranks; got {table.shape}"
        )
    better, worse = np.triu_indices(len(table), 1)
    return Comparisons(len(table), better, worse, table[better, worse])


def _require_one_margin(pairs: Comparisons) -> None:
    key = pairs.better * pairs.n + pairs.worse
    for pair in np.unique(key[np.any(pairs.margins) & np.ones(len(key), dtype=bool)]):
        if np.ptp(pairs.margins[key == pair]) > 0:
            raise CollapseError(
                f"pair_weights gives the pair {pair // pairs.n} > {pair % pairs.n} several "
                "margins; a loss takes one margin a pair"
            )


def tables(pairs: Comparisons) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the margins of each pair of ranks, shape (K, K) each."""
    weights, margins = np.zeros((2, pairs.n, pairs.n))
    np.add.at(weights, (pairs.better, pairs.worse), pairs.weights)
    margins[pairs.better, pairs.worse] = pairs.margins
    return weights, margins


def within(pairs: Comparisons | None, ranks: tuple[int, ...]) -> Comparisons | None:
    """Return the comparisons of completions with these ranks; None where no pair counts.

    >>> within(None, (0, 1, 1))
    Comparisons(n=3, 2 pairs)
    """
    rank = np.asarray(ranks, dtype=np.int64)
    better, worse = np.nonzero(rank[:, None] < rank[None, :])
    if pairs is None:
        return Comparisons(len(rank), better, worse) if len(better) else None
    weights, margins = (table[rank[better], rank[worse]] for table in tables(pairs))
    if not np.any(weights > 0):
        return None
    return Comparisons(len(rank), better, worse, weights, (), margins)


# -- tensors -----------------------------------------------------------------------------


def as_ranks(ranks: Any, logits: Tensor, most: int | None) -> Tensor:
    """Return ranks as a tensor of whole numbers, (B, K) or (1, K), beside logits (B, K).

    Without ranks the logits come best first. `most` is the number of ranks that pair weights are
    given for.
    """
    count = logits.shape[1]
    if ranks is None:
        _require_within(count - 1, most)
        return torch.arange(count, device=logits.device)[None, :]
    found = as_tensor("ranks", ranks, logits.device)
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise CollapseError(
            f"ranks must be whole numbers (0 is best, -1 is padding), got {found.dtype}"
        )
    if found.ndim == 1:
        found = found[None, :]
    if found.ndim != 2 or found.shape[1] != count or found.shape[0] not in (1, len(logits)):
        raise CollapseError(
            f"ranks must have the shape of the logits, {tuple(logits.shape)}; got "
            f"{tuple(found.shape)}"
        )
    # The largest rank is read from the device only where weights by rank ask for it.
    if most is not None and not torch.compiler.is_compiling() and found.numel():
        _require_within(int(found.max()), most)
    return found.long()


def _require_within(largest: int, most: int | None) -> None:
    if most is not None and largest >= most:
        raise CollapseError(
            f"rank {largest} has no pair weights: they are given for the ranks 0, ..., {most - 1}"
        )


def compared(ranks: Tensor) -> Tensor:
    """Return for each prompt which pairs count: entry (i, j) where i is better than j.

    Ties and padding (ranks below 0) are in no pair.

    >>> compared(torch.tensor([[0, 1, 1, -1]]))[0].int()
    tensor([[0, 1, 1, 0],
            [0, 0, 0, 0],
            [0, 0, 0, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    first, second = ranks[:, :, None], ranks[:, None, :]
    return (first < second) & (first >= 0)
