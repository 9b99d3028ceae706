"""The loss for transformers' `Trainer`: it counts the prompts of an accumulated batch right."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import RankingLabels, kind_table, require_labels, to_grid
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.utilities import PlackettLuce


class TrainerLoss:
    """The loss for ``Trainer(compute_loss_func=trainer_loss(loss))``.

    Trainer counts the prompts of all the batches that make one step, on all processes; the sum of
    the prompts' losses is divided by it. So accumulated gradients are those of one large batch,
    the last and smaller one included.

    Parameters
    ----------
    loss : RankingLoss or PromptAwareRankingLoss

    Raises
    ------
    CollapseError
        A ValueError, in the call: a model with several labels, a collator with other kinds than
        the loss has.

    Examples
    --------
    >>> from collapse_theory.training import RankingLoss, trainer_loss
    >>> labels = RankingLabels(ranks=torch.tensor([[0, 1, 2], [1, 0, -1]]))
    >>> outputs = {"logits": torch.tensor([[2.0], [0.0], [-2.0], [0.0], [1.0]])}
    >>> loss = RankingLoss("logsigmoid(x)")
    >>> value = trainer_loss(loss)(outputs, labels)
    >>> bool(value == loss(outputs["logits"], labels["ranks"])), tuple(outputs["logits"].shape)
    (True, (2, 3))
    """

    def __init__(self, loss: AnyLoss) -> None:
        self.loss = require_loss(loss, "trainer_loss")

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Tensor:
        """Return the batch's share of the mean over the prompts of the accumulated batch.

        Parameters
        ----------
        outputs : ModelOutput
            Its ``logits``, one a completion, become (B, K), so that evaluation sees a row a prompt.
        labels : RankingLabels
            As `RankingCollator` makes them.
        num_items_in_batch : Tensor or int, optional
            The prompts of the whole accumulated batch, of all processes; those of `labels` unless
            given.
        """
        require_labels(labels)
        if not isinstance(outputs, MutableMapping) or "logits" not in outputs:
            raise CollapseError(
                f"the model returned a {type(outputs).__name__} without logits; use a model for "
                "sequence classification with num_labels=1 and return_dict=True"
            )
        outputs["logits"] = grid = to_grid(outputs["logits"], labels["ranks"])
        value, counts = prompt_losses(self.loss, grid, labels)
        share = counts * labels.get("weights", 1.0)
        return (share * value).sum() / self._total(labels, share, num_items_in_batch)

    def _total(self, labels: Any, share: Tensor, counted: Any) -> Any:
        """Return the weight of the whole accumulated batch, of which this is a part."""
        if counted is None:
            counted = share.sum()
        elif not isinstance(counted, Tensor):
            return counted or 1
        elif counted.numel() > 1:
            raise CollapseError(
                "several devices in one process (DataParallel) count prompts wrongly; start one "
                "process a device: torchrun --nproc-per-node N script.py"
            )
        elif by_rank(self.loss) and bool((RankingLabels(labels).ne(-100) != share).any()):
            raise CollapseError(
                "the weights by rank leave prompts without a pair, which Trainer has counted; make "
                "the collator as RankingCollator(tokenizer, kinds=loss), with the loss itself"
            )
        counted = counted.reshape(())
        return torch.where(counted > 0, counted, 1.0)

    def __repr__(self) -> str:
        return f"trainer_loss({self.loss!r})"


trainer_loss = TrainerLoss


def prompt_losses(loss: AnyLoss, grid: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
    """Return each prompt's loss, and which compare a pair, (B,), from logits (B, K) and labels."""
    if loss.kinds is not None:
        _require_table(labels, loss.kinds)
    own, ranks = RankingLabels(labels), labels["ranks"]
    margins, weights = own.pairs("margins", 0.0), own.pairs("pair_weights", 1.0)
    if weights is not None and any(isinstance(one.utility, PlackettLuce) for one in each(loss)):
        ranks, weights = _tied(ranks, weights)
    return loss.loss_and_counts(grid, labels.get("kinds"), ranks, margins, weights)


def each(loss: AnyLoss) -> list[RankingLoss]:
    """Return the losses of the kinds; a loss for all kinds is one."""
    return [loss.of_kind(kind) for kind in loss.kinds or (None,)]


def by_rank(loss: AnyLoss) -> bool:
    """Whether weights by rank may leave a prompt without a pair."""
    return any(one.pair_weights is not None for one in each(loss))


def _tied(ranks: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return ranks with pairs of weight 0 tied, as a loss of whole rankings has it.

    So identical completions are in no pick of each other. Other weights stay, and such a loss
    refuses them.
    """
    first = ranks[:, :, None]
    pairs = (first < ranks[:, None, :]) & (first >= 0)
    left_out = pairs & (weights == 0)
    best = first.masked_fill(~left_out, torch.iinfo(ranks.dtype).max).amin(1)
    ones = bool((weights[pairs & ~left_out] == 1).all())
    return torch.minimum(ranks, best), None if ones else weights


def _require_table(labels: Any, kinds: Sequence[str]) -> None:
    """Raise unless the labels' kinds are indices into `kinds`."""
    listed, table = ", ".join(map(repr, kinds)), labels.get("table")
    advice = "make the collator as RankingCollator(tokenizer, kinds=loss.kinds)"
    if labels.get("kinds") is None:
        raise CollapseError(f"the loss has the kinds {listed}, the labels none; {advice}")
    if table is not None and bool((table != kind_table(kinds)).any()):
        raise CollapseError(
            f"the collator was given other kinds than the loss has, or another order: {listed}; "
            f"{advice}"
        )


def require_loss(loss: Any, user: str) -> AnyLoss:
    if not isinstance(loss, AnyLoss):
        raise CollapseError(
            f"{user} takes a RankingLoss or a PromptAwareRankingLoss, got {type(loss).__name__}"
        )
    return loss
