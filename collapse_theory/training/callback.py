"""Callbacks of transformers' `Trainer`: how far rewards are from the prediction; a schedule."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from collapse_theory.data.ranking import Ranking
from collapse_theory.data.ranking_rows import ranking_of
from collapse_theory.data.reward_log import RewardLogWriter
from collapse_theory.errors import CollapseError
from collapse_theory.figures.saving import save
from collapse_theory.training.labels import to_grid
from collapse_theory.training.live_figure import figure_path, live_figure
from collapse_theory.training.measures import (
    Evaluated,
    Measures,
    evaluated,
    remembered,
    rewards_of,
)
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.training.serving import serve
from collapse_theory.training.trainer import (
    TrainerLoss,
    each,
    is_stream,
    require_loss,
    require_trainer,
    trainer_above,
)

logger = logging.getLogger(__name__)


class CollapseCallback(TrainerCallback):
    """Measure at each evaluation how far the rewards are from what the loss leads to.

    ``Trainer(callbacks=[callback])``: it measures what Trainer has evaluated, on all processes
    together, as its ``compute_metrics`` or beside those given. So its numbers go where the
    trainer's do: to TensorBoard and others, and to ``metric_for_best_model``.

    docs/training.md#the-callback has their names. A small ``gap`` says that the collapse is
    reached, not that the model is good: choose by ``loss`` or ``pairs_right`` (`keep_best`).

    Parameters
    ----------
    loss : RankingLoss, PromptAwareRankingLoss, or what `trainer_loss` made of it
    file : str or path, optional
        JSON lines, one a completion: prompt, kind, rank, reward, step, split. ``collapse-theory
        diagnose`` reads it. Resumed training goes on with it; a new one begins it anew.
    figure : str or path, optional
        A PNG, PDF or SVG file, drawn anew at each evaluation. With several evaluation sets their
        names are added to it.
    train_prompts : int
        How many training prompts are evaluated too, always the same ones, for ``collapse_train``,
        ``pairs_right_train`` and ``memory``. 0 for none.

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
        train_prompts: int = 64,
    ) -> None:
        self._given = loss
        require_loss(self.loss, "CollapseCallback")
        self.file = None if file is None else RewardLogWriter(file)
        self.figure = None if figure is None else figure_path(figure)
        self.train_prompts = train_prompts
        self.measures: dict[str, Measures] = {}
        self._seen: dict[str, Any] = {}  # what is evaluated: the callback's arguments, the step
        self._found: tuple[Evaluated, Measures] | None = None
        self._train: tuple[int, Evaluated, Measures] | None = None
        self._nan_said = False

    @property
    def loss(self) -> AnyLoss:
        """The loss; where it was given as `trainer_loss` made it, that of the moment."""
        return self._given.loss if isinstance(self._given, TrainerLoss) else self._given

    # -- as compute_metrics --------------------------------------------------------------

    def __call__(self, prediction: Any) -> dict[str, float]:
        """Return the measures of what Trainer has evaluated, by name without prefix."""
        dataset: Any = getattr(self._seen.get("eval_dataloader"), "dataset", None)
        rankings = None  # a stream can't be read again; its kinds are in the labels
        if dataset is not None and not is_stream(dataset):
            rankings = [ranking_of(dataset[row]) for row in range(len(dataset))]
        done = evaluated(prediction.predictions, prediction.label_ids, rankings, self.loss.kinds)
        self._found = done, done.measures(self.loss)
        if np.isnan(done.logits[done.ranks >= 0]).any() and not self._nan_said:
            self._nan_said = True
            logger.warning(
                "the model returned NaN in the evaluation at step %s: what is made of it is left "
                "out of the log (said once)",
                self._seen.get("step"),
            )
        train = self._evaluated_train()
        if train is None:
            return self._found[1].log()
        return self._found[1].log(train[1], remembered(self.loss, train[0], done))

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember what is evaluated: the rows' prompts and kinds are in its dataset."""
        self._seen = {**kwargs, "step": state.global_step, "size": args.eval_batch_size}

    def _evaluated_train(self) -> tuple[Evaluated, Measures] | None:
        """Return the evaluation of the same few training prompts, once a step."""
        loader: Any = self._seen.get("train_dataloader")
        dataset: Any = getattr(loader, "dataset", None)
        if not self.train_prompts or dataset is None or is_stream(dataset):
            return None
        step, model, size = (self._seen[name] for name in ("step", "model", "size"))
        if self._train is None or self._train[0] != step:
            count = min(self.train_prompts, len(dataset))
            spread = np.linspace(0, len(dataset) - 1, count).round().astype(int)
            rankings = [ranking_of(dataset[int(row)]) for row in np.unique(spread)]
            done = evaluate_all(model, rankings, loader.collate_fn, size)
            self._train = step, done, done.measures(self.loss)
        return self._train[1:]

    # -- as a callback -------------------------------------------------------------------

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Join the Trainer's metrics, refuse what misleads, have the model saved to be served."""
        trainer = trainer_above()
        if trainer is not None:
            require_trainer(trainer, self.loss)
            if args.batch_eval_metrics or args.prediction_loss_only:
                raise CollapseError(
                    "CollapseCallback measures whole evaluations: give TrainingArguments("
                    "batch_eval_metrics=False, prediction_loss_only=False), the defaults"
                )
            self._join(trainer)
        if kwargs.get("model") is not None:
            serve(kwargs["model"], self.loss)

    def _join(self, trainer: Any) -> None:
        given = trainer.compute_metrics
        if given is None:
            trainer.compute_metrics = self
        elif given is not self and not (isinstance(given, partial) and self in given.args):
            trainer.compute_metrics = partial(_both, given, self)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin the file anew, or where training is resumed drop what is from a later step."""
        # Not called before for a callback that came later.
        self.on_init_end(args, state, control, **kwargs)
        if self.file is not None and state.is_world_process_zero:
            self.file.begin(state.global_step)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Write the file and the figure."""
        found, self._found, self._seen = self._found, None, {}
        if found is None:
            logger.warning(
                "CollapseCallback measured nothing of this evaluation, as Trainer didn't know it; "
                "give it when that is made: Trainer(callbacks=[callback])"
            )
            return self.on_init_end(args, state, control, **kwargs)
        split = _split_of(metrics)
        self.measures[split] = found[1]
        if state.is_world_process_zero:
            self._write(state, split, *found)

    def _write(self, state: Any, split: str, done: Evaluated, measures: Measures) -> None:
        try:
            if self.file is not None:
                rewards, names = rewards_of(self.loss, done.logits, done.kinds), done.prompts
                at = np.nonzero(done.ranks >= 0)
                table = zip(at[0].tolist(), done.ranks[at].tolist(), rewards[at], strict=True)
                lines = [
                    {"prompt": names[k], "kind": done.kinds[k], "rank": rank, "reward": float(r)}
                    for k, rank, r in table
                ]
                self.file.write(state.global_step, split.removeprefix("eval_"), lines)
            if self.figure is not None:
                drawn = live_figure(measures, state.log_history, split, state.global_step)
                save(drawn, figure_path(self.figure, split))
        except OSError as fault:
            # A full disk must not end a training that has run for days.
            logger.warning("the rewards of step %d aren't written: %s", state.global_step, fault)


def _split_of(metrics: Any) -> str:
    """Return the prefix of an evaluation's metrics: "eval", or "eval_name" for a named set."""
    for name in metrics or ():
        for end in ("_loss", "_runtime"):
            if name.endswith(end):
                return name.removesuffix(end)
    return "eval"


def _both(given: Any, own: CollapseCallback, prediction: Any) -> dict[str, Any]:
    return {**given(prediction), **own(prediction)}


@torch.no_grad()
def evaluate_all(model: Any, rankings: Sequence[Ranking], collate: Any, size: int) -> Evaluated:
    """Evaluate all rankings, the same on each process; the model is left as it was."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    logits, labels = [], []
    try:
        for start in range(0, len(rankings), size):
            batch = collate(rankings[start : start + size])
            labels.append(batch.pop("labels"))
            inputs = {name: value.to(device) for name, value in batch.items()}
            made = model(**inputs).logits.float().reshape(-1).cpu()
            logits.append(to_grid(made, labels[-1]["ranks"]))
    finally:
        model.train(training)
    return evaluated(logits, labels, rankings)


class UtilitySchedule(TrainerCallback):
    """Change the loss of a Trainer at given shares of the training.

    Give it after the `CollapseCallback`, if that is made of the same `trainer_loss`: it then
    measures by the loss of the moment. Resumed training goes on with the stage that it is in.

    Parameters
    ----------
    compute : what `trainer_loss` made
        ``trainer.compute_loss_func`` of a `RankingTrainer`.
    stages : mapping of float to RankingLoss or PromptAwareRankingLoss
        The loss from each share of the steps on, the first from 0. Kinds and domains are the same
        in all: the head goes on with what its logits stand for.

    Examples
    --------
    >>> from collapse_theory.training import RankingLoss, trainer_loss
    >>> compute = trainer_loss(RankingLoss("x"))
    >>> schedule = UtilitySchedule(compute, {0: compute.loss, 0.5: RankingLoss("log(x + 0.1)")})
    """

    def __init__(self, compute: TrainerLoss, stages: Mapping[float, AnyLoss]) -> None:
        if not isinstance(compute, TrainerLoss):
            raise CollapseError(f"give what trainer_loss made, got {type(compute).__name__}")
        self.compute = compute
        self.stages = {at: require_loss(stages[at], "UtilitySchedule") for at in sorted(stages)}
        if not self.stages or next(iter(self.stages)) != 0 or not max(self.stages) < 1:
            raise CollapseError(
                f"the shares must begin at 0 and be below 1, got {', '.join(map(str, stages))}"
            )
        alike = {(one.kinds, *(of.domain for of in each(one))) for one in self.stages.values()}
        if len(alike) > 1:
            raise CollapseError("the stages must have the same kinds and domains")

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse stages that the Trainer's settings or data don't go with."""
        if (trainer := trainer_above()) is not None:
            for loss in self.stages.values():
                require_trainer(trainer, loss)

    on_train_begin = on_init_end

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the loss of the stage that this step is in."""
        done = state.global_step / max(state.max_steps, 1)
        loss = [loss for at, loss in self.stages.items() if at <= done][-1]
        if loss is not self.compute.loss:
            logger.info("step %d: the loss is %r from here on", state.global_step + 1, loss)
            self.compute.loss = loss
            if kwargs.get("model") is not None:
                serve(kwargs["model"], loss)
