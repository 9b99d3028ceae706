"""The labels of a batch of rankings, as `Trainer` carries them: counted right, padded, gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.training.tensors import compared, several_ranks

PADDING = -1
TRAINER_PADS = -100  # with it Trainer, and what gathers for it, makes rows of one length


class RankingLabels(dict[str, Any]):
    """A dict of tensors, a row a prompt.

    `ranks` (B, K): 0 the best, equal ranks for ties, below 0 for padding. `weights` (B,): how much
    each prompt counts. `margins` and `pair_weights` (B, W): the entries of the rankings' tables of
    pairs, which `pairs` puts back. With kinds `kinds` (B,), indices into the collator's kinds.

    Trainer counts the items of an accumulated batch as ``labels.ne(-100).sum()``. Here that is the
    weight of the prompts with something to compare, so that a batch of prompts in parts has the
    mean, and the gradient, of the whole.

    Examples
    --------
    >>> labels = RankingLabels(ranks=torch.tensor([[0, 1, 1], [0, 1, -1], [0, 0, 0]]))
    >>> labels.ne(-100).sum()
    tensor(2.)
    """

    def ne(self, other: Any) -> Tensor:
        """Return how much each prompt counts, shape (B,); `other` is what Trainer pads with."""
        ranks, pairs = self["ranks"], self.pairs("pair_weights", 1.0)
        some = (
            several_ranks(ranks) if pairs is None else (compared(ranks) & (pairs > 0)).any((1, 2))
        )
        return some.float() * self.get("weights", 1.0)

    def pairs(self, name: str, absent: float) -> Tensor | None:
        """Return the table (B, K, K) of that name; None where no prompt has one."""
        entries, size = self.get(name), self["ranks"].shape[1]
        if entries is None or entries.shape[1] == 1:
            return None
        entries = pad(entries, (0, max(size**2 - entries.shape[1], 0)), value=TRAINER_PADS)
        entries = entries.masked_fill(entries == TRAINER_PADS, absent)
        return entries[:, shells(size).to(entries.device)]

    def to(self, *args: Any, **kwargs: Any) -> RankingLabels:
        """Return the labels with each tensor moved as `Tensor.to` moves it."""
        return type(self)({name: value.to(*args, **kwargs) for name, value in self.items()})


def shells(size: int) -> Tensor:
    """Return where each entry of a table (K, K) is in a row of labels.

    The table of fewer completions is at the beginning of a longer row: Trainer pads rows at the
    end, and so pads tables.

    >>> shells(3)
    tensor([[0, 3, 8],
            [1, 2, 7],
            [4, 5, 6]])
    """
    i, j = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.where(j <= i, i**2 + j, (j + 1) ** 2 - 1 - i)


def labels_of(rankings: Sequence[Ranking], alike: Sequence[Sequence[int]]) -> RankingLabels:
    """Return the labels of rankings, without their kinds.

    `alike` has a number for each completion, equal where completions can't be told apart: their
    pairs don't count.
    """
    size = max(len(ranking) for ranking in rankings)
    ranks = [[*ranking.ranks, *[PADDING] * (size - len(ranking))] for ranking in rankings]
    counted = []
    for ranking, same in zip(rankings, alike, strict=True):
        own = ranking.pair_weights
        if identical(ranking, same):
            own = (1.0 if own is None else own) * np.not_equal.outer(same, same)
        counted.append(own)
    return RankingLabels(
        ranks=torch.tensor(ranks),
        weights=torch.tensor([ranking.weight for ranking in rankings], dtype=torch.float32),
        margins=_entries([ranking.margins for ranking in rankings]),
        pair_weights=_entries(counted),
    )


def identical(ranking: Ranking, same: Sequence[int]) -> bool:
    """Whether completions of different ranks can't be told apart, by their numbers."""
    return len(set(same)) < len(set(zip(same, ranking.ranks, strict=True)))


def _entries(tables: Sequence[Any]) -> Tensor:
    width = max((len(table) ** 2 for table in tables if table is not None), default=1)
    entries = torch.full((len(tables), width), float(TRAINER_PADS))
    for row, table in zip(entries, tables, strict=True):
        if table is not None:
            row[shells(len(table))] = torch.from_numpy(np.array(table)).float()
    return entries


def require_labels(labels: Any) -> None:
    """Raise unless the labels are those that the collator made, or a dict of their tensors."""
    if not isinstance(labels, Mapping) or "ranks" not in labels:
        raise CollapseError(
            f"labels must be those of RankingCollator, got {type(labels).__name__}; give Trainer "
            "data_collator=RankingCollator(tokenizer)"
        )


def to_grid(logits: Tensor, ranks: Tensor) -> Tensor:
    """Return logits (B, K), 0 for padding, from those of the completions one after another.

    >>> logits = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> to_grid(logits, torch.tensor([[0, 1, 2], [1, 0, -1]]))
    tensor([[1., 2., 3.],
            [4., 5., 0.]])
    """
    present = ranks >= 0
    count = int(present.sum())
    if logits.numel() != count:
        advice = "use RankingCollator for the batches, and one process a device (torchrun)"
        if logits.ndim > 1 and logits.shape[0] == count:
            advice = f"the model has {logits.shape[-1]} labels; load it with num_labels=1"
        raise CollapseError(
            f"{count} completions but logits of shape {tuple(logits.shape)}: {advice}"
        )
    grid = torch.zeros(ranks.shape, dtype=logits.dtype, device=logits.device)
    # Row by row, as the collator put the completions: no copy a prompt.
    return grid.masked_scatter(present, logits.reshape(-1))
