"""The labels of a batch of rankings, in a form that `Trainer` moves, gathers, pads and counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from collapse_theory.errors import CollapseError

__all__ = ["PADDING", "RankingLabels", "kind_table", "require_table", "to_grid"]

PADDING = -1


class RankingLabels(dict[str, Any]):
    """A dict of tensors: `ranks` (B, K), and with kinds `kinds` (B,) and `table` (B,).

    `ranks` has 0 for the best, equal ranks for ties, -1 for padding (Trainer pads with -100, which
    is padding too). `kinds` are indices into the collator's kinds;
    `table` is a digest of those kinds, so that a loss with others notices.

    Trainer counts the items of an accumulated batch as ``labels.ne(-100).sum()``. Here an item is
    a prompt with something to compare, so that a batch of prompts in parts has the mean, and the
    gradient, of the whole.

    Examples
    --------
    >>> labels = RankingLabels(ranks=torch.tensor([[0, 1, 1], [0, 1, -1], [0, 0, 0]]))
    >>> labels.ne(-100).sum()
    tensor(2)
    """

    def ne(self, other: Any) -> Tensor:
        """Return which prompts count, bool, shape (B,); `other` is what Trainer pads with."""
        ranks = self["ranks"]
        present = ranks >= 0
        lowest = ranks.masked_fill(~present, torch.iinfo(ranks.dtype).max).amin(1)
        return ranks.amax(1) > lowest

    def to(self, *args: Any, **kwargs: Any) -> RankingLabels:
        """Return the labels with each tensor moved as `Tensor.to` moves it."""
        return type(self)({name: value.to(*args, **kwargs) for name, value in self.items()})


def kind_table(kinds: Sequence[str]) -> int:
    """Return a number that tells a list of kinds from any other, the same in all processes."""
    text = "\0".join(kinds).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


def require_table(labels: Any, kinds: Sequence[str]) -> None:
    """Raise unless the labels' kinds are indices into `kinds`.

    Raises
    ------
    CollapseError
        A ValueError, naming what the collator should be given.
    """
    listed = ", ".join(map(repr, kinds))
    if labels.get("kinds") is None:
        raise CollapseError(
            f"the loss has the kinds {listed}, the labels none; make the collator as "
            "RankingCollator(tokenizer, kinds=loss.kinds)"
        )
    table = labels.get("table")
    if table is not None and bool((table != kind_table(kinds)).any()):
        raise CollapseError(
            f"the collator was given other kinds than the loss has, or another order: {listed}; "
            "make it as RankingCollator(tokenizer, kinds=loss.kinds)"
        )


def to_grid(logits: Tensor, ranks: Tensor) -> Tensor:
    """Return logits of shape (B, K) from those of the completions one after another.

    Padding has the logit 0.

    Raises
    ------
    CollapseError
        Unless there is one logit a completion.

    Examples
    --------
    >>> logits = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> to_grid(logits, torch.tensor([[0, 1, 2], [1, 0, -1]]))
    tensor([[1., 2., 3.],
            [4., 5., 0.]])
    """
    present = ranks >= 0
    count = int(present.sum())
    if logits.numel() != count:
        many = logits.shape[-1] if logits.ndim > 1 and logits.shape[0] == count else None
        advice = (
            f"the model has {many} labels; load it with num_labels=1"
            if many
            else "use RankingCollator for the batches, and one process a device (torchrun)"
        )
        raise CollapseError(
            f"{count} completions but logits of shape {tuple(logits.shape)}: {advice}"
        )
    grid = torch.zeros(ranks.shape, dtype=logits.dtype, device=logits.device)
    # Row by row, as the collator put the completions: no copy a prompt.
    return grid.masked_scatter(present, logits.reshape(-1))
