"""`RankingTrainer`: TRL's `RewardTrainer` for rankings of any size, and a loss for each kind."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import Trainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from collapse_theory.data.dataset import RankingDataset
from collapse_theory.data.layouts import Score
from collapse_theory.data.messages import is_transcript
from collapse_theory.data.ranking_rows import Kind, Reader
from collapse_theory.errors import CollapseError
from collapse_theory.programs import Centered, Free
from collapse_theory.training.callback import CollapseCallback
from collapse_theory.training.collator import RankingCollator
from collapse_theory.training.labels import RankingLabels
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.training.serving import ServedModel
from collapse_theory.training.tensors import compared
from collapse_theory.training.trainer import require_loss, trainer_loss

logger = logging.getLogger(__name__)

DATA_SETS = Dataset | IterableDataset | RankingDataset


class RankingTrainer(RewardTrainer):
    """TRL's `RewardTrainer` whose loss takes whole rankings, each completion encoded once.

    Its arguments are those of `trl.RewardTrainer`; what TRL adds to Trainer and what it logs of
    rewards stays. docs/training.md#trl tells how texts are put together, and what is left out.

    Parameters
    ----------
    model, args, train_dataset, eval_dataset, processing_class, ...
        As in `trl.RewardTrainer`. Data sets may be any that `RankingDataset` reads, too.
    loss : RankingLoss or PromptAwareRankingLoss, optional
        TRL's own, log-sigmoid of a pair's difference, unless given; with
        ``args.center_rewards_coefficient`` under `Centered`.
    kind : str or callable
        The column of the kind of prompt, or a function of a row.
    score : str, optional
        The column that ranks the completions.
    data_collator : RankingCollator, optional
        Another template, say.
    callbacks
        A `CollapseCallback` is added unless there is one.
    """

    loss_is_scaled_for_ga = True  # the mean over the prompts of the whole accumulated batch

    def __init__(
        self,
        model: Any,
        args: RewardConfig | None = None,
        data_collator: RankingCollator | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        compute_metrics: Any = None,
        callbacks: Sequence[Any] | None = None,
        *more: Any,
        loss: AnyLoss | None = None,
        kind: Kind = "kind",
        score: Score = None,
        **options: Any,
    ) -> None:
        self._loss = _loss(loss, args)
        compute = trainer_loss(self._loss)
        self._read = {"kind": kind, "score": score}
        self._collator = data_collator
        if isinstance(model, ServedModel):
            raise CollapseError("this model gives rewards, as it is served; train its .model")
        given = any(isinstance(one, CollapseCallback) for one in callbacks or ())
        own = [] if given else [CollapseCallback(compute)]
        super().__init__(
            model,
            args,
            data_collator,
            _data_set(train_dataset),
            _data_set(eval_dataset),
            processing_class,
            compute_metrics,
            [*(callbacks or ()), *own],
            *more,
            **options,
        )
        self.data_collator = self._collator
        self.compute_loss_func = compute
        self.label_names = ["labels"]

    # -- data ----------------------------------------------------------------------------

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: Any, dataset_name: str
    ) -> Any:
        """Return rows of rankings, those that are too long left out: the collator encodes them."""
        first = next(iter(dataset))
        if self._collator is None:
            self._collator = RankingCollator(
                processing_class,
                args.max_length,
                kinds=self._loss,
                template="plain" if _plain(first) else "auto",
                pad_to_multiple_of=args.pad_to_multiple_of,
            )
        collator, kinds = self._collator, self._loss.kinds
        if not isinstance(dataset, IterableDataset):
            data = RankingDataset.from_records(dataset, kinds=kinds, **self._read)
            if args.max_length is not None:
                data = data.filter(collator.fits, f"over {args.max_length} tokens long")
            return Dataset.from_list(data.rows())
        reader = Reader(None, kinds=kinds, **self._read)
        reader.ranking(first)
        if reader.unused:  # now, and not by each process that reads the stream
            logger.warning("columns not used: %s", ", ".join(reader.unused))
        rows = dataset.map(lambda row: reader.ranking(row).row(), remove_columns=list(first))
        return rows if args.max_length is None else rows.filter(collator.fits)

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            names = ["prompt", "completions", "ranks", "kind", "turns", "weight"]
            self._signature_columns = [*names, "margins", "pair_weights"]

    # -- the loss ------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch of rankings, and note what `RewardTrainer` logs."""
        labels, mask = inputs["labels"], inputs["attention_mask"]
        inputs["use_cache"] = False
        both: Any = Trainer.compute_loss(self, model, inputs, True, num_items_in_batch)
        value, outputs = both
        mode = "train" if model.training else "eval"
        if mode == "train":
            tokens: Any = self.accelerator.gather_for_metrics(mask.sum())
            self._total_train_tokens += tokens.sum().item() // self._tp_size
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        self._note(self._metrics[mode], outputs["logits"].detach().float(), labels)
        return (value, outputs) if return_outputs else value

    def _note(self, metrics: Any, logits: Any, labels: Mapping[str, Any]) -> None:
        """Note least, mean and largest reward, pairs right and mean margin of a batch."""
        ranks, rewards = labels["ranks"], self._loss.rewards(logits, labels.get("kinds"))
        pairs, weights = compared(ranks), RankingLabels(labels).pairs("pair_weights", 1.0)
        pairs = pairs if weights is None else pairs & (weights > 0)
        gaps = (rewards[:, :, None] - rewards[:, None, :])[pairs]
        there = rewards[ranks >= 0]
        sums = [there.sum(), there.numel(), (gaps > 0).sum(), gaps.sum(), gaps.numel()]
        sums = [torch.as_tensor(s).to(there) for s in (*sums, there.min(), there.max())]
        # One row a process: the batches of processes differ in size.
        found: Any = self.accelerator.gather(torch.stack(sums)[None])
        total, count, right, margin, compared_pairs = found[:, :5].sum(0).tolist()
        metrics["min_reward"].append(found[:, 5].min().item())
        metrics["mean_reward"].append(total / count)
        metrics["max_reward"].append(found[:, 6].max().item())
        if compared_pairs:
            metrics["accuracy"].append(right / compared_pairs)
            metrics["margin"].append(margin / compared_pairs)


def _loss(loss: AnyLoss | None, args: RewardConfig | None) -> AnyLoss:
    """Return the loss, TRL's own unless given."""
    center = None if args is None else args.center_rewards_coefficient
    if loss is None:
        domain = Free() if center is None else Centered(center)
        return RankingLoss("logsigmoid(x)", domain, normalize=False)
    if center is not None:
        raise CollapseError(
            f"center_rewards_coefficient={center:g} is the domain of a loss here, with a known "
            f"optimum: give the loss domain=Centered({center:g}), and leave it out of the config"
        )
    return require_loss(loss, "RankingTrainer")


def _data_set(source: Any) -> Any:
    """Return a data set of TRL's types: as it is, or one of the rankings."""
    if source is None or isinstance(source, Dataset | IterableDataset):
        return source
    if isinstance(source, dict) and all(isinstance(one, DATA_SETS) for one in source.values()):
        return {name: _data_set(one) for name, one in source.items()}
    data = source if isinstance(source, RankingDataset) else RankingDataset.from_records(source)
    return Dataset.from_list(data.rows())


def _plain(row: Mapping[str, Any]) -> bool:
    """Whether a row is a pair of texts, which TRL joins as they are."""
    pair = [row.get(name) for name in ("chosen", "rejected")]
    return all(isinstance(one, str) and not is_transcript(one) for one in pair)
