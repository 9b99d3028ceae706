"""The losses inside transformers' `Trainer`: one function, accumulated gradients counted right."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from torch import Tensor

from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import RankingLabels, require_table, to_grid
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import PromptAwareRankingLoss

__all__ = ["TrainerLoss", "prompt_losses", "trainer_loss"]

AnyLoss = RankingLoss | PromptAwareRankingLoss


class TrainerLoss:
    """A loss as `Trainer` calls it; made by `trainer_loss`."""

    def __init__(self, loss: AnyLoss) -> None:
        if not isinstance(loss, RankingLoss | PromptAwareRankingLoss):
            raise CollapseError(
                "trainer_loss takes a RankingLoss or a PromptAwareRankingLoss, got "
                f"{type(loss).__name__}"
            )
        self.loss = loss

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
        labels = _labels(labels)
        grid = to_grid(_logits(outputs), labels["ranks"])
        outputs["logits"] = grid
        total = prompt_losses(self.loss, grid, labels).sum()
        return total / _prompts(labels, num_items_in_batch)

    def __repr__(self) -> str:
        return f"trainer_loss({self.loss!r})"


def trainer_loss(loss: AnyLoss) -> TrainerLoss:
    """Return the loss for ``Trainer(compute_loss_func=...)``.

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
    >>> import torch
    >>> from collapse_theory.training import RankingLoss, trainer_loss
    >>> from collapse_theory.training.labels import RankingLabels
    >>> labels = RankingLabels(ranks=torch.tensor([[0, 1, 2], [1, 0, -1]]))
    >>> outputs = {"logits": torch.tensor([[2.0], [0.0], [-2.0], [0.0], [1.0]])}
    >>> loss = RankingLoss("logsigmoid(x)")
    >>> value = trainer_loss(loss)(outputs, labels)
    >>> bool(value == loss(outputs["logits"], labels["ranks"])), tuple(outputs["logits"].shape)
    (True, (2, 3))
    """
    return TrainerLoss(loss)


def prompt_losses(loss: AnyLoss, grid: Tensor, labels: Any) -> Tensor:
    """Return each prompt's loss, shape (B,), from logits (B, K) and labels."""
    if isinstance(loss, PromptAwareRankingLoss):
        require_table(labels, loss.kinds)
        return loss.per_prompt(grid, kinds=labels["kinds"], ranks=labels["ranks"])
    return loss.per_prompt(grid, labels["ranks"])


def _labels(labels: Any) -> RankingLabels:
    if not isinstance(labels, MutableMapping) or "ranks" not in labels:
        raise CollapseError(
            f"labels must be those of RankingCollator, got {type(labels).__name__}; give Trainer "
            "data_collator=RankingCollator(tokenizer)"
        )
    return labels if isinstance(labels, RankingLabels) else RankingLabels(labels)


def _logits(outputs: Any) -> Tensor:
    if not isinstance(outputs, MutableMapping) or "logits" not in outputs:
        raise CollapseError(
            f"the model returned a {type(outputs).__name__} without logits; use a model for "
            "sequence classification with num_labels=1 and return_dict=True"
        )
    return outputs["logits"]


def _prompts(labels: RankingLabels, counted: Any) -> Any:
    if counted is None:
        counted = labels.ne(-100).sum()
    if isinstance(counted, Tensor):
        if counted.numel() > 1:
            raise CollapseError(
                "several devices in one process (DataParallel) count prompts wrongly; start one "
                "process a device: torchrun --nproc-per-node N script.py"
            )
        return counted.reshape(()).clamp(min=1)
    return max(counted, 1)
