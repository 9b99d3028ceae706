"""A schedule of losses: the utility changes during training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from collapse_theory.errors import CollapseError
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.training.serving import serve
from collapse_theory.training.trainer import TrainerLoss, each, require_loss

logger = logging.getLogger(__name__)


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

    Raises
    ------
    CollapseError
        A ValueError: shares outside [0, 1), none at 0, stages of other kinds or domains.

    Examples
    --------
    >>> from collapse_theory.training import RankingLoss, trainer_loss
    >>> compute = trainer_loss(RankingLoss("x"))
    >>> schedule = UtilitySchedule(compute, {0: "x", 0.5: "log(x + 0.1)"})
    Traceback (most recent call last):
        ...
    collapse_theory.errors.CollapseError: UtilitySchedule takes a RankingLoss or a ..., got str
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
            raise CollapseError(
                "the stages must have the same kinds and domains, one after another"
            )

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the loss of the stage that this step is in."""
        done = state.global_step / max(state.max_steps, 1)
        loss = [loss for at, loss in self.stages.items() if at <= done][-1]
        if loss is not self.compute.loss:
            logger.info("step %d: the loss is %r from here on", state.global_step + 1, loss)
            self.compute.loss = loss
            if kwargs.get("model") is not None:
                serve(kwargs["model"], loss)
