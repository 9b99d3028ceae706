"""One training of a head on frozen features: a function of the table, the run and the setting."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from collapse_theory.experiment.encode import Table
from collapse_theory.experiment.setting import Run, Setting
from collapse_theory.experiment.work import Progress, keep, kept
from collapse_theory.training import PromptAwareRankingLoss, RankingLoss

_SEEDING = threading.Lock()  # torch has one generator for all threads


@dataclass(frozen=True, eq=False)
class Trace:
    """What a training went through.

    Attributes
    ----------
    steps : numpy.ndarray, shape (S,)
        Steps done when the logits were noted, the last one at the end.
    logits : numpy.ndarray, shape (S, N, K), float32
        Of all prompts; 0 for padding.
    """

    steps: np.ndarray
    logits: np.ndarray


def identity(setting: Setting, run: Run, table: Table) -> str:
    """Return a hash of all that a run depends on."""
    digest = hashlib.sha256(json.dumps([setting.to_dict(), run.to_dict()]).encode())
    digest.update(table.features.tobytes())
    digest.update(table.ranks.tobytes())
    return digest.hexdigest()


# -- what happens at which step ----------------------------------------------------------


def measured_at(steps: int) -> tuple[int, ...]:
    """Return the steps at which all prompts' rewards are noted: closer together early on.

    Examples
    --------
    >>> measured_at(12)
    (0, 1, 2, 3, 4, 5, 10, 12)
    """
    grid = {0, 1, 2, 3, 4, steps}
    for low, high, step in ((5, 50, 5), (60, 200, 20), (250, 500, 50), (500, steps, 100)):
        grid.update(range(low, high, step))
    return tuple(sorted(step for step in grid if step <= steps))


def rate_at(step: int, steps: int, warmup: int) -> float:
    """Return a step's share of the highest learning rate: a linear rise times a cosine down to 0.

    Examples
    --------
    >>> [round(rate_at(step, 100, 4), 3) for step in (0, 3, 50, 99)]
    [0.25, 0.998, 0.5, 0.0]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def orders(seed: int, steps: int, prompts: int, batch: int) -> np.ndarray:
    """Return the prompts of each step, (steps, batch): a new random order for each epoch.

    Examples
    --------
    >>> sorted(orders(0, 2, 6, 3).ravel().tolist())
    [0, 1, 2, 3, 4, 5]
    """
    epochs = -(-steps * batch // prompts)
    each = [np.random.default_rng((seed, epoch)).permutation(prompts) for epoch in range(epochs)]
    return np.concatenate(each)[: steps * batch].reshape(steps, batch)


# -- the head ----------------------------------------------------------------------------


class Head(nn.Module):
    """A perceptron with two hidden layers and GELU, from features to one logit a completion.

    Features are standardised first, with mean and scale of the `sample` (M, W) of the training
    prompts' completions: the two hidden states differ tenfold in scale. The seed decides the first
    weights; torch's own generator is left as it was.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sample: Tensor, width: int, seed: int) -> None:
        super().__init__()
        mean, scale = sample.double().mean(0), sample.double().std(0, correction=0)
        # A constant feature is 0 for every training text, and stays small for others.
        scale = torch.where(scale > 1e-8, scale, 1.0)
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(len(mean), width),
                nn.GELU(),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Linear(width, 1),
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (...) from features of shape (..., W)."""
        return self.layers((features - self.mean) / self.scale).squeeze(-1)


def train(table: Table, run: Run, setting: Setting, folder: Path, told: Progress) -> Trace:
    """Train a head to the end, or read back what it found; the head goes to ``folder``."""
    path, made_from = folder / "head.safetensors", identity(setting, run, table)
    found = kept(path, made_from, told.say)
    if found is None:
        found = _trained(table, run, setting, told)
        keep(path, made_from, found)
    else:
        told.advance(setting.steps)
    return Trace(np.array(measured_at(setting.steps)), found["logits"])


def _trained(table: Table, run: Run, setting: Setting, told: Progress) -> dict[str, np.ndarray]:
    """Return the logits noted on the way, (S, N, K), and the trained head's weights."""
    features = torch.from_numpy(np.ascontiguousarray(table.features))
    ranks = torch.from_numpy(table.ranks)
    present = ranks >= 0
    loss, known = run.objective.loss(), run.objective.kinds
    kinds = torch.tensor([known.index(kind) if known else 0 for kind in table.kinds])
    head = Head(features[: table.train][present[: table.train]], setting.width, run.seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=setting.rate)
    schedule = LambdaLR(optimizer, lambda step: rate_at(step, setting.steps, setting.warmup))
    grid, noted = set(measured_at(setting.steps)), []

    def note() -> None:
        with torch.inference_mode():
            noted.append(head(features).masked_fill(~present, 0.0).numpy())

    note()
    order = torch.from_numpy(orders(run.seed, setting.steps, table.train, setting.batch))
    for step, rows in enumerate(order, start=1):
        value = loss_of(loss, head(features[rows]), ranks[rows], kinds[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step in grid:
            note()
        told.advance()
    weights = {f"head.{name}": tensor.numpy() for name, tensor in head.state_dict().items()}
    return {"logits": np.stack(noted), **weights}


def loss_of(
    loss: RankingLoss | PromptAwareRankingLoss, logits: Tensor, ranks: Tensor, kinds: Any
) -> Tensor:
    """Return the mean loss of prompts, whichever kind of loss it is."""
    if isinstance(loss, PromptAwareRankingLoss):
        return loss(logits, kinds=kinds, ranks=ranks)
    return loss(logits, ranks)
