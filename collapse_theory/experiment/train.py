"""One training of the head: every bit is a function of the table, the run and the setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from collapse_theory.experiment.checkpoint import Checkpoint, Checkpoints
from collapse_theory.experiment.features import Table
from collapse_theory.experiment.head import Head, new_head
from collapse_theory.experiment.progress import Progress
from collapse_theory.experiment.runs import Run
from collapse_theory.experiment.schedule import measured, prompts_of_step, rate_at
from collapse_theory.experiment.settings import Setting
from collapse_theory.experiment.workers import threads
from collapse_theory.training.loss import PromptAwareRankingLoss, RankingLoss

__all__ = ["Trace", "loss_of", "train"]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of each parameter


@dataclass(frozen=True, eq=False)
class Trace:
    """What a training went through.

    Attributes
    ----------
    steps : numpy.ndarray, shape (S,)
        Steps done when the logits were noted, the last one at the end.
    logits : numpy.ndarray, shape (S, N, K), float32
        Of all prompts.
    """

    steps: np.ndarray
    logits: np.ndarray


def train(
    table: Table, run: Run, setting: Setting, checkpoints: Checkpoints, progress: Progress
) -> Trace:
    """Train a head to the end, from the newest checkpoint on where there is one.

    The head's matrices are small: a second thread costs more than it does.
    """
    with threads(1):
        training = _Training(table, run, setting)
        latest = checkpoints.latest()
        if latest is not None:
            training.restore(latest)
        progress.advance(training.step)
        while training.step < setting.steps:
            training.advance()
            progress.advance()
            if training.step % setting.checkpoint_every == 0 or training.step == setting.steps:
                checkpoints.save(training.checkpoint())
        checkpoints.keep_only(setting.steps)
    return training.trace()


class _Training:
    """A training between two steps."""

    def __init__(self, table: Table, run: Run, setting: Setting) -> None:
        self.setting, self.seed, self.prompts = setting, run.seed, table.train
        self.features = torch.from_numpy(np.ascontiguousarray(table.features))
        self.ranks = torch.from_numpy(table.ranks)
        self.present = self.ranks >= 0
        self.loss = run.objective.loss()
        known = run.objective.kinds
        self.kinds = torch.tensor([known.index(kind) if known else 0 for kind in table.kinds])
        sample = self.features[: table.train][self.present[: table.train]]
        self.head: Head = new_head(sample, setting.width, run.seed)
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=setting.rate)
        self.grid = measured(setting.steps)
        self.step = 0
        self.noted = [self._logits()]

    def advance(self) -> None:
        """Make one step; note the logits where they are to be measured."""
        setting = self.setting
        rows = prompts_of_step(self.seed, self.step, self.prompts, setting.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, setting.steps, setting.rate, setting.warmup)
        at = torch.from_numpy(rows)
        value = loss_of(self.loss, self.head(self.features[at]), self.ranks[at], self.kinds[at])
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        self.step += 1
        if self.step == self.grid[len(self.noted)]:
            self.noted.append(self._logits())

    def _logits(self) -> Tensor:
        with torch.inference_mode():
            return self.head(self.features).masked_fill(~self.present, 0.0).clone()

    def trace(self) -> Trace:
        logits = torch.stack(self.noted).numpy()
        return Trace(np.array(self.grid[: len(logits)]), logits)

    def checkpoint(self) -> Checkpoint:
        """Return all that going on needs: there's no random state, as the step says the prompts."""
        tensors = {f"head.{name}": t.detach() for name, t in self.head.state_dict().items()}
        tensors["logits"] = torch.stack(self.noted)
        if self.step < self.setting.steps:
            for name, parameter in self.head.named_parameters():
                state = self.optimizer.state[parameter]
                tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS}
        return Checkpoint(self.step, tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to where a checkpoint was made."""
        tensors, self.step = checkpoint.tensors, checkpoint.step
        weights = self.head.state_dict()
        self.head.load_state_dict({name: tensors[f"head.{name}"] for name in weights})
        self.noted = list(tensors["logits"])
        if self.step < self.setting.steps:
            for name, parameter in self.head.named_parameters():
                self.optimizer.state[parameter] = {
                    moment: tensors[f"{moment}.{name}"].clone() for moment in MOMENTS
                }


def loss_of(
    loss: RankingLoss | PromptAwareRankingLoss, logits: Tensor, ranks: Tensor, kinds: Any
) -> Tensor:
    """Return the mean loss of prompts, whichever kind of loss it is."""
    if isinstance(loss, PromptAwareRankingLoss):
        return loss(logits, kinds=kinds, ranks=ranks)
    return loss(logits, ranks)
