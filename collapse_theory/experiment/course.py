"""A run on its way: what is measured at every step at which the logits were noted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from collapse_theory.experiment.features import Table
from collapse_theory.experiment.train import Trace, loss_of
from collapse_theory.training.loss import PromptAwareRankingLoss, RankingLoss
from collapse_theory.training.measures import measure, rewards_of
from collapse_theory.values import Value, frozen_array

__all__ = ["Course", "course_of"]

AnyLoss = RankingLoss | PromptAwareRankingLoss


@dataclass(frozen=True, eq=False)
class Course(Value):
    """What was measured on the way, arrays of shape (S,).

    Attributes
    ----------
    steps : array
    distance : array
        Of the training prompts to the prediction, Wasserstein-1, the worst kind.
    between, held_between : array
        The kinds' distance on training and on held-out prompts.
    right, held_right : array
        Share of pairs ranked right, the worst kind.
    loss, held_loss : array
    """

    steps: Any
    distance: Any
    between: Any
    held_between: Any
    right: Any
    held_right: Any
    loss: Any
    held_loss: Any

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            object.__setattr__(self, name, frozen_array(getattr(self, name)))


def course_of(loss: AnyLoss, table: Table, trace: Trace) -> Course:
    """Return what a trace went through."""
    places = np.arange(table.ranks.shape[1])
    # All steps at once where every prompt has the same completions, none of them tied: measuring
    # one step after another takes as long as the training.
    found = all_steps if np.all(table.ranks == places) else step_by_step
    (train, held) = (
        found(loss, trace.logits[:, part], table.ranks[part], np.array(table.kinds[part]))
        for part in (slice(None, table.train), slice(table.train, None))
    )
    return Course(
        steps=trace.steps,
        distance=train[0],
        between=train[1],
        held_between=held[1],
        right=train[2],
        held_right=held[2],
        loss=train[3],
        held_loss=held[3],
    )


def step_by_step(
    loss: AnyLoss, logits: np.ndarray, ranks: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    """Return distance, between, right and loss, shape (4, S), of logits (S, N, K)."""
    rows = []
    for each in logits:
        found = measure(loss, each, ranks, kinds.tolist())
        distance = max(one.distance for one in found.kinds)
        right = min(one.right for one in found.kinds)
        rows.append((distance, found.between, right, _losses(loss, each[None], ranks, kinds)[0]))
    return np.array(rows).T


def all_steps(
    loss: AnyLoss, logits: np.ndarray, ranks: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    """Return the same where all prompts have the ranks 0, ..., K-1."""
    steps, prompts, size = logits.shape
    rewards = rewards_of(loss, logits.reshape(-1, size), kinds.tolist() * steps)
    rewards = rewards.reshape(steps, prompts, size)
    better, worse = np.triu_indices(size, 1)
    gaps = logits[:, :, better].astype(np.float64) - logits[:, :, worse]
    marks = (gaps > 0) + 0.5 * (gaps == 0)
    distances, rights, curves = [], [], []
    for kind in sorted(set(kinds.tolist())):
        rows = kinds == kind
        aware = isinstance(loss, PromptAwareRankingLoss)
        predicted = (loss[kind] if aware else loss).predict(size).rewards  # pyright: ignore
        expected = np.sort(np.repeat(predicted, rows.sum()))
        mine = np.sort(rewards[:, rows].reshape(steps, -1), axis=1)
        distances.append(np.abs(mine - expected).mean(axis=1))
        rights.append(marks[:, rows].mean(axis=(1, 2)))
        curves.append(rewards[:, rows].mean(axis=1))
    apart = [np.abs(one - other).mean(axis=1) for one, other in combinations(curves, 2)]
    between = np.max(apart, axis=0) if apart else np.full(steps, np.nan)
    return np.array(
        [
            np.max(distances, axis=0),
            between,
            np.min(rights, axis=0),
            _losses(loss, logits, ranks, kinds),
        ]
    )


def _losses(loss: AnyLoss, logits: np.ndarray, ranks: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return the mean loss at each step, (S,)."""
    order, names = torch.from_numpy(ranks), kinds.tolist()
    with torch.inference_mode():
        each = torch.from_numpy(logits.astype(np.float64))
        return np.array([float(loss_of(loss, one, order, names)) for one in each])
