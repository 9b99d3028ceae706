"""A callback of `Trainer`: how far the rewards are from what the loss leads to, as it trains."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from collapse_theory.data.ranking import Ranking
from collapse_theory.data.reward_log_writer import RewardLogWriter
from collapse_theory.errors import CollapseError
from collapse_theory.figures.saving import save
from collapse_theory.training.collator import as_ranking
from collapse_theory.training.evaluation import Evaluated, evaluated
from collapse_theory.training.live import figure_path, live_figure
from collapse_theory.training.measures import Measures, measure, rewards_of
from collapse_theory.training.trainer import AnyLoss, TrainerLoss

__all__ = ["CollapseCallback"]

logger = logging.getLogger(__name__)


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
        found = loss.loss if isinstance(loss, TrainerLoss) else loss
        if not isinstance(found, AnyLoss):
            raise CollapseError(
                "CollapseCallback takes a RankingLoss or a PromptAwareRankingLoss, got "
                f"{type(loss).__name__}"
            )
        self.loss = found
        self.file = None if file is None else RewardLogWriter(file)
        self.figure = None if figure is None else figure_path(figure)
        self.bands = bands
        self.measures: dict[str, Measures] = {}
        self._dataset: Any = None
        self._evaluated: Evaluated | None = None
        self._warned = False

    # -- as compute_metrics --------------------------------------------------------------

    def __call__(self, prediction: Any, compute_result: bool | None = None) -> dict[str, float]:
        """Return the measures of what Trainer has evaluated, by name without prefix."""
        if compute_result is not None:
            raise CollapseError(
                "CollapseCallback measures whole evaluations: give "
                "TrainingArguments(batch_eval_metrics=False), the default"
            )
        done = evaluated(prediction.predictions, prediction.label_ids)
        rankings = _rankings(self._dataset) if self._dataset is not None else None
        done = done.of(rankings, self._kinds_of(done))
        self._evaluated = done
        return self._measured(done).log(self.bands)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember which dataset is evaluated: the rows' prompts and kinds are in it."""
        self._dataset = getattr(kwargs.get("eval_dataloader"), "dataset", None)

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
        done, self._evaluated = self._evaluated, None
        if done is None:
            done = self._by_itself(args, state, split, metrics, **kwargs)
        self._dataset = None
        if done is None:
            return
        self.measures[split] = measures = self._measured(done)
        if state.is_world_process_zero:
            self._write(state, split, done, measures)

    def _by_itself(
        self, args: Any, state: Any, split: str, metrics: Any, **kwargs: Any
    ) -> Evaluated | None:
        loader, model = kwargs.get("eval_dataloader"), kwargs.get("model")
        if loader is None or model is None:
            return None
        if not self._warned:
            self._warned = True
            logger.warning(
                "CollapseCallback evaluates by itself, and its numbers don't reach TensorBoard and "
                "others; give it as compute_metrics too: "
                "Trainer(compute_metrics=callback, callbacks=[callback])"
            )
        rankings = _rankings(loader.dataset)
        done = _own_pass(model, rankings, loader.collate_fn, args.eval_batch_size)
        done = done.of(rankings, None)
        found = {f"{split}_{name}": v for name, v in self._measured(done).log(self.bands).items()}
        if metrics is not None:
            metrics.update(found)
        last = state.log_history[-1] if state.log_history else {}
        if last.get("step") == state.global_step and f"{split}_loss" in last:
            last.update(found)
        else:
            state.log_history.append({**found, "step": state.global_step})
        return done

    def _kinds_of(self, done: Evaluated) -> Sequence[str | None] | None:
        """Return the kinds by the labels, where there is no dataset to take them from."""
        names = getattr(self.loss, "kinds", None)
        if names is None or done.kinds is None:
            return None
        return [names[int(k)] for k in done.kinds]

    def _measured(self, done: Evaluated) -> Measures:
        return measure(self.loss, done.logits, done.ranks, done.names_of_kinds)

    # -- what it writes ------------------------------------------------------------------

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
        kinds = done.names_of_kinds or [None] * len(done.ranks)
        rewards = rewards_of(self.loss, done.logits, kinds)
        names = done.prompts or [f"prompt {row + 1}" for row in range(len(done.ranks))]
        return [
            {
                "prompt": names[row],
                "kind": kinds[row],
                "rank": int(done.ranks[row, at]),
                "reward": float(rewards[row, at]),
            }
            for row in range(len(done.ranks))
            for at in np.flatnonzero(done.ranks[row] >= 0)
        ]


def _split_of(metrics: Any) -> str:
    """Return the prefix of an evaluation's metrics: "eval", or "eval_name" for a named set."""
    for name in metrics or ():
        for end in ("_loss", "_runtime"):
            if name.endswith(end):
                return name.removesuffix(end)
    return "eval"


def _rankings(dataset: Any) -> list[Ranking]:
    return [as_ranking(dataset[row]) for row in range(len(dataset))]


@torch.no_grad()
def _own_pass(model: Any, rankings: Sequence[Ranking], collate: Any, size: int) -> Evaluated:
    """Evaluate all rankings, the same on each process; the model is left as it was."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    parts = []
    try:
        for start in range(0, len(rankings), size):
            batch = collate(rankings[start : start + size])
            labels = batch.pop("labels")
            inputs = {name: value.to(device) for name, value in batch.items()}
            logits = model(**inputs).logits.float().reshape(-1).cpu()
            parts.append((logits, labels))
    finally:
        model.train(training)
    return Evaluated.joined(parts)
