"""The loss for transformers' `Trainer`, and what of its settings and data it would get wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, MutableMapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from collapse_theory.data.dataset import RankingDataset
from collapse_theory.data.layouts import LAYOUTS
from collapse_theory.errors import CollapseError
from collapse_theory.training.collator import RankingCollator
from collapse_theory.training.labels import RankingLabels, require_labels, to_grid
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.training.tensors import compared
from collapse_theory.utilities import PlackettLuce

# Whether a larger measure is better; None for those that don't say which model is better.
LARGER_IS_BETTER = {
    "loss": False,
    "pairs_right": True,
    "gap": False,
    "distance": False,
    "collapse": None,
    "between_kinds": None,
    "memory": None,
}


class TrainerLoss:
    """The loss for ``Trainer(compute_loss_func=trainer_loss(loss))``.

    Trainer counts the prompts of all the batches that make one step, on all processes; the sum of
    the prompts' losses is divided by it. So accumulated gradients are those of one large batch,
    the last and smaller one included.

    A model with several labels, a collator with other kinds than the loss has, and settings and
    data of a Trainer that mislead are errors, in the first call if not before (`CollapseCallback`).

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
        self._trainer: int | None = None  # that was looked at

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Tensor:
        """Return the batch's share of the mean over the prompts of the accumulated batch.

        The ``logits`` of the outputs, one a completion, become (B, K), so that evaluation sees a
        row a prompt. `num_items_in_batch` are the prompts of the whole accumulated batch, of all
        processes; those of `labels`, as `RankingCollator` makes them, unless given.
        """
        if (trainer := trainer_above()) is not None:
            if self._trainer != id(trainer):
                require_trainer(trainer, self.loss)
                self._trainer = id(trainer)
            for one in each(self.loss):
                one.step = trainer.state.global_step + 1
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
            total = share.sum()
            return torch.where(total > 0, total, 1.0)
        if not isinstance(counted, Tensor):
            return counted or 1
        if counted.numel() > 1:
            raise CollapseError(
                "several devices in one process (DataParallel) count prompts wrongly; start one "
                "process a device: torchrun --nproc-per-node N script.py"
            )
        counted = counted.reshape(())
        return torch.where(counted > 0, counted, 1.0)

    def __repr__(self) -> str:
        return f"trainer_loss({self.loss!r})"


trainer_loss = TrainerLoss


def prompt_losses(loss: AnyLoss, grid: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
    """Return each prompt's loss, and which compare a pair, (B,), from logits (B, K) and labels."""
    own, ranks = RankingLabels(labels), labels["ranks"]
    margins, weights = own.pairs("margins", 0.0), own.pairs("pair_weights", 1.0)
    if weights is not None and any(isinstance(one.utility, PlackettLuce) for one in each(loss)):
        ranks, weights = _tied(ranks, weights)
    return loss.loss_and_counts(grid, labels.get("kinds"), ranks, margins, weights)


def each(loss: AnyLoss) -> list[RankingLoss]:
    """Return the losses of the kinds; a loss for all kinds is one."""
    return [loss.of_kind(kind) for kind in loss.kinds or (None,)]


def _tied(ranks: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return ranks with pairs of weight 0 tied, as a loss of whole rankings has it.

    So identical completions are in no pick of each other. Other weights stay, and such a loss
    refuses them.
    """
    pairs = compared(ranks)
    left_out = pairs & (weights == 0)
    best = ranks[:, :, None].masked_fill(~left_out, torch.iinfo(ranks.dtype).max).amin(1)
    ones = bool((weights[pairs & ~left_out] == 1).all())
    return torch.minimum(ranks, best), None if ones else weights


def require_loss(loss: Any, user: str) -> AnyLoss:
    """Return the loss, or say that the user of it takes no such thing."""
    if not isinstance(loss, AnyLoss):
        raise CollapseError(
            f"{user} takes a RankingLoss or a PromptAwareRankingLoss, got {type(loss).__name__}"
        )
    return loss


# -- Trainer's arguments -------------------------------------------------------------------


def keep_best(metric: str = "pairs_right") -> dict[str, Any]:
    """Return the training arguments that keep the best checkpoint by a measure.

    Choose by "loss", the utility of held-out prompts, or "pairs_right". A small "gap" or "distance"
    says that the collapse the loss leads to is reached, not that the model is good.

    Examples
    --------
    >>> keep_best("gap")["greater_is_better"]
    False
    """
    best = {"metric_for_best_model": metric, "greater_is_better": _larger_is_better(metric)}
    return {"load_best_model_at_end": True, **best}


def _larger_is_better(metric: str) -> bool | None:
    """Return whether a larger measure is better; None where the name is of no measure."""
    measure = metric.removesuffix("_train")
    for name, larger in LARGER_IS_BETTER.items():
        if measure == name or measure.endswith(f"_{name}"):
            if larger is None:
                raise CollapseError(
                    f"{metric!r} doesn't say which model is better; choose by 'loss', the utility "
                    "of held-out prompts, or by 'pairs_right'"
                )
            return larger
    return None


def trainer_above() -> Any:
    """Return the Trainer by which this is called, None without one: it shows itself to nobody."""
    frame = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if getattr(found, "callback_handler", None) is not None:
            return found
        frame = frame.f_back
    return None


def require_trainer(trainer: Any, loss: AnyLoss) -> None:
    """Raise for what a Trainer would ignore, stumble over later, or do the opposite of."""
    args, evaluated = trainer.args, trainer.eval_dataset
    evaluated = evaluated.values() if isinstance(evaluated, dict) else [evaluated]
    sets = [(trainer.train_dataset, True), *((one, False) for one in evaluated)]
    sets = [(data, train) for data, train in sets if data is not None]
    _require_arguments(args)
    _require_collator(trainer.data_collator, loss)
    if args.remove_unused_columns and any(hasattr(data, "column_names") for data, _ in sets):
        trainer._set_signature_columns_if_needed()
        kept = set(trainer._signature_columns)
        if not any(kept.issuperset(layout.columns) for layout in LAYOUTS):
            raise CollapseError(
                "Trainer leaves out the columns that the model doesn't take, and so the rankings "
                "of a datasets.Dataset: give TrainingArguments(remove_unused_columns=False)"
            )
    for data, train in sets:
        if is_stream(data):
            _require_stream(args, train)
        elif args.dataloader_drop_last:
            batch = (args.train_batch_size if train else args.eval_batch_size) * args.world_size
            if len(data) < batch:
                raise CollapseError(
                    f"dataloader_drop_last=True leaves nothing of {len(data)} prompts in batches "
                    f"of {batch}"
                )
        for one in _with_tables(data):
            _require_tables(loss, *one)


def _require_arguments(args: Any) -> None:
    if args.label_smoothing_factor:
        raise CollapseError(
            f"label_smoothing_factor={args.label_smoothing_factor:g} smooths labels of classes, "
            "and Trainer ignores it here; the loss of smoothed pairs is "
            f"RankingLoss(ct.LabelSmoothing({args.label_smoothing_factor:g}), domain)"
        )
    metric, given = args.metric_for_best_model, args.greater_is_better
    larger = None if metric is None else _larger_is_better(metric)
    if larger is not None and given is not None and larger != bool(given):
        raise CollapseError(
            f"metric_for_best_model={metric!r} with greater_is_better={given} keeps the worst "
            f"checkpoint, and so does transformers' default; give greater_is_better={larger}, or "
            f"TrainingArguments(..., **keep_best({metric!r}))"
        )


def _require_collator(collator: Any, loss: AnyLoss) -> None:
    """Raise for a `RankingCollator` whose labels mean something else to the loss."""
    if not isinstance(collator, RankingCollator):
        return
    if loss.kinds is not None and collator.kinds != loss.kinds:
        raise CollapseError(
            "the collator was given no kinds, or other kinds than the loss has, or another order: "
            f"{', '.join(map(repr, loss.kinds))}; make it as RankingCollator(tokenizer, "
            "kinds=loss.kinds)"
        )
    weighed = [one.pair_weights for one in each(loss) if one.pair_weights is not None]
    if collator.loss is None and any(2 * len(of.weights) < of.n * (of.n - 1) for of in weighed):
        raise CollapseError(
            "weights by rank may leave prompts without a pair, which Trainer would count; make the "
            "collator as RankingCollator(tokenizer, kinds=loss), with the loss itself"
        )


def _require_stream(args: Any, train: bool) -> None:
    """Raise for streams under several processes: only training can have a part for each."""
    if args.world_size < 2:
        return
    if not train:
        raise CollapseError(
            "several processes and a stream to evaluate on: its last batches are filled up with "
            "rows that were there before, and nothing tells which; evaluate a data set of known "
            "length, such as RankingDataset.from_records(stream)"
        )
    if args.accelerator_config.dispatch_batches is not False:
        raise CollapseError(
            "several processes and a stream to train on: Trainer would cut batches of completions "
            'apart; give TrainingArguments(accelerator_config={"dispatch_batches": False}), by '
            "which each process reads its own part"
        )


def is_stream(data: Any) -> bool:
    """Whether a data set can't be asked for a row by its number."""
    return isinstance(data, IterableDataset) or not hasattr(data, "__len__")


def _with_tables(data: Any) -> Iterator[tuple[str | None, Any, Any]]:
    """Yield kind, margins and pair weights of rows that have some; of a stream the first's."""
    rows: Iterable[Any] = ()
    if isinstance(data, RankingDataset):
        rows = (vars(ranking) for ranking in data)
    elif hasattr(data, "column_names") and is_stream(data):
        rows = islice(data, 1)
    elif there := {"margin", "margins", "pair_weights"} & set(getattr(data, "column_names", ())):
        rows = data.select_columns([*there, *({"kind"} & set(data.column_names))])
    for row in rows:
        margins, weights = row.get("margins"), row.get("pair_weights")
        margins = row.get("margin") if margins is None else margins
        if margins is not None or weights is not None:
            yield row.get("kind"), margins, weights


def _require_tables(loss: AnyLoss, kind: str | None, margins: Any, weights: Any) -> None:
    if loss.kinds is not None and kind not in loss.kinds:
        return  # the collator names it
    own = loss.of_kind(kind)
    plain = weights is None or bool(np.isin(weights, (0, 1)).all())
    listwise = isinstance(own.utility, PlackettLuce)
    own.require_tables(bool(np.any(margins)), listwise and not plain)
