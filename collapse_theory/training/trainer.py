"""Transformers' `Trainer`: the loss that counts accumulated prompts right, and the callback."""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

from collapse_theory.data.layouts import ranking_of
from collapse_theory.data.ranking import Ranking
from collapse_theory.data.reward_log import RewardLogWriter
from collapse_theory.errors import CollapseError
from collapse_theory.figures.saving import save
from collapse_theory.training.labels import RankingLabels, kind_table, require_labels, to_grid
from collapse_theory.training.live import figure_path, live_figure
from collapse_theory.training.measures import (
    Evaluated,
    Measures,
    evaluated,
    measure,
    rewards_of,
)
from collapse_theory.training.prompt_aware import AnyLoss

logger = logging.getLogger(__name__)


# -- the loss ----------------------------------------------------------------------------


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
        self.loss = _require_loss(loss, "trainer_loss")

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
        elif _weighs_ranks(self.loss) and bool((RankingLabels(labels).ne(-100) != share).any()):
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
    own = RankingLabels(labels)
    pairs = own.pairs("margins", 0.0), own.pairs("pair_weights", 1.0)
    return loss.loss_and_counts(grid, labels.get("kinds"), labels["ranks"], *pairs)


def _weighs_ranks(loss: AnyLoss) -> bool:
    kinds = [None] if loss.kinds is None else loss.kinds
    return any(loss.of_kind(kind).pair_weights is not None for kind in kinds)


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


def _require_loss(loss: Any, user: str) -> AnyLoss:
    if not isinstance(loss, AnyLoss):
        raise CollapseError(
            f"{user} takes a RankingLoss or a PromptAwareRankingLoss, got {type(loss).__name__}"
        )
    return loss


# -- the callback ------------------------------------------------------------------------


class CollapseCallback(TrainerCallback):
    """Measure at each evaluation how far the rewards are from what the loss leads to.

    Give it twice: ``Trainer(compute_metrics=callback, callbacks=[callback])``. Then it measures
    what Trainer has evaluated, on all processes together, and its numbers go to the trainer's log:
    to TensorBoard and others, and to ``metric_for_best_model``. Given as a callback alone it
    evaluates by itself, and the numbers reach the metrics and the log history only.

    The names, with the prefix of the evaluation (``eval_``) and per kind (``eval_open_``):
    ``distance`` (Wasserstein-1 to the prediction), ``gap`` (to the optimum, 0 is total collapse),
    ``pairs_right``, ``mean_rank_1`` and ``std_rank_1`` and so on (1 the best); and
    ``eval_between_kinds`` with ``eval_between_kinds_predicted``. `Measures` says what each is.

    Parameters
    ----------
    loss : RankingLoss, PromptAwareRankingLoss, or what `trainer_loss` made of it
    file : str or path, optional
        JSON lines, one a completion: prompt, kind, rank, reward, step, split. ``collapse-theory
        diagnose`` reads it. Resumed training goes on with it; a new one begins it anew.
    figure : str or path, optional
        A PNG, PDF or SVG file, drawn anew at each evaluation. With several evaluation sets their
        names are added to it.
    bands : int
        The largest number of completions for which mean and standard deviation by rank are logged.

    Attributes
    ----------
    measures : dict
        The last `Measures` by evaluation set ("eval" where there is one).
    """

    def __init__(
        self,
        loss: AnyLoss | TrainerLoss,
        *,
        file: str | os.PathLike[str] | None = None,
        figure: str | os.PathLike[str] | None = None,
        bands: int = 16,
    ) -> None:
        inner = loss.loss if isinstance(loss, TrainerLoss) else loss
        self.loss = _require_loss(inner, "CollapseCallback")
        self.file = None if file is None else RewardLogWriter(file)
        self.figure = None if figure is None else figure_path(figure)
        self.bands = bands
        self.measures: dict[str, Measures] = {}
        self._dataset: Any = None
        self._evaluated: tuple[Evaluated, Measures] | None = None
        self._warned = False

    # -- as compute_metrics --------------------------------------------------------------

    def __call__(self, prediction: Any, compute_result: bool | None = None) -> dict[str, float]:
        """Return the measures of what Trainer has evaluated, by name without prefix."""
        if compute_result is not None:
            raise CollapseError(
                "CollapseCallback measures whole evaluations: give "
                "TrainingArguments(batch_eval_metrics=False), the default"
            )
        rankings = None if self._dataset is None else _rankings(self._dataset)
        done = evaluated(prediction.predictions, prediction.label_ids, rankings, self.loss.kinds)
        return self._measured(done).log(self.bands)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember which dataset is evaluated: the rows' prompts and kinds are in it."""
        self._dataset = getattr(kwargs.get("eval_dataloader"), "dataset", None)

    def _measured(self, done: Evaluated) -> Measures:
        measures = measure(self.loss, done.logits, done.ranks, done.kinds)
        self._evaluated = done, measures
        return measures

    # -- as a callback -------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin the file anew, or where training is resumed drop what is from a later step."""
        if self.file is not None and state.is_world_process_zero:
            self.file.begin(state.global_step)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Measure, unless compute_metrics has, and write the file and the figure."""
        split = _split_of(metrics)
        loader, model = kwargs.get("eval_dataloader"), kwargs.get("model")
        if self._evaluated is None and loader is not None and model is not None:
            rankings = _rankings(loader.dataset)
            self._measured(evaluate_all(model, rankings, loader.collate_fn, args.eval_batch_size))
            self._note(state, split, metrics)
        found, self._evaluated, self._dataset = self._evaluated, None, None
        if found is not None:
            self.measures[split] = found[1]
            if state.is_world_process_zero:
                self._write(state, split, *found)

    def _note(self, state: Any, split: str, metrics: Any) -> None:
        """Add the measures of its own pass to the metrics and the history, where Trainer's are."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "CollapseCallback evaluates by itself, and its numbers don't reach TensorBoard and "
                "others; give it as compute_metrics too: "
                "Trainer(compute_metrics=callback, callbacks=[callback])"
            )
        assert self._evaluated is not None
        values = self._evaluated[1].log(self.bands)
        found = {f"{split}_{name}": value for name, value in values.items()}
        if metrics is not None:
            metrics.update(found)
        last = state.log_history[-1] if state.log_history else {}
        if last.get("step") == state.global_step and f"{split}_loss" in last:
            last.update(found)
        else:
            state.log_history.append({**found, "step": state.global_step})

    def _write(self, state: Any, split: str, done: Evaluated, measures: Measures) -> None:
        try:
            if self.file is not None:
                name = split.removeprefix("eval_")
                self.file.write(state.global_step, name, self._rows(done))
            if self.figure is not None:
                drawn = live_figure(measures, state.log_history, split, state.global_step)
                save(drawn, figure_path(self.figure, split))
        except OSError as fault:
            # A full disk must not end a training that has run for days.
            logger.warning("the rewards of step %d aren't written: %s", state.global_step, fault)

    def _rows(self, done: Evaluated) -> list[dict[str, Any]]:
        rewards = rewards_of(self.loss, done.logits, done.kinds)
        return [
            {
                "prompt": done.prompts[row],
                "kind": done.kinds[row],
                "rank": int(done.ranks[row, at]),
                "reward": float(rewards[row, at]),
            }
            for row, at in np.argwhere(done.ranks >= 0)
        ]


def _split_of(metrics: Any) -> str:
    """Return the prefix of an evaluation's metrics: "eval", or "eval_name" for a named set."""
    for name in metrics or ():
        for end in ("_loss", "_runtime"):
            if name.endswith(end):
                return name.removesuffix(end)
    return "eval"


def _rankings(dataset: Any) -> list[Ranking]:
    return [ranking_of(dataset[row]) for row in range(len(dataset))]


@torch.no_grad()
def evaluate_all(model: Any, rankings: Sequence[Ranking], collate: Any, size: int) -> Evaluated:
    """Evaluate all rankings, the same on each process; the model is left as it was."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    logits, ranks = [], []
    try:
        for start in range(0, len(rankings), size):
            batch = collate(rankings[start : start + size])
            labels = batch.pop("labels")["ranks"]
            inputs = {name: value.to(device) for name, value in batch.items()}
            made = model(**inputs).logits.float().reshape(-1).cpu()
            logits.append(to_grid(made, labels).numpy())
            ranks.append({"ranks": labels.numpy()})
    finally:
        model.train(training)
    return evaluated(logits, ranks, rankings)
