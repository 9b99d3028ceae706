"""What an evaluation gives: logits and ranks by prompt, with the prompts they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from collapse_theory.data.dataset import unique_names
from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import to_grid

__all__ = ["Evaluated", "evaluated"]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Logits and ranks, (B, K), padding of rank -1; kinds by number, and names where known."""

    logits: np.ndarray
    ranks: np.ndarray
    kinds: np.ndarray | None = None
    names_of_kinds: Sequence[str | None] | None = None
    prompts: Sequence[str] | None = None

    def of(
        self, rankings: Sequence[Ranking] | None, kinds: Sequence[str | None] | None
    ) -> Evaluated:
        """Return the same with the rankings' prompts and kinds; with `kinds` where none are known.

        Raises
        ------
        CollapseError
            Where the rows aren't those of the rankings.
        """
        if rankings is None:
            return replace(self, names_of_kinds=kinds)
        same = len(rankings) == len(self.ranks) and all(
            tuple(row[row >= 0].tolist()) == ranking.ranks
            for row, ranking in zip(self.ranks, rankings, strict=True)
        )
        if not same:
            raise CollapseError(
                f"{len(self.ranks)} rows were evaluated, but not those of the {len(rankings)} "
                "rankings in their order; evaluate a RankingDataset, with "
                'train_sampling_strategy="random" and dataloader_drop_last=False'
            )
        listed = [ranking.kind for ranking in rankings]
        return replace(self, names_of_kinds=listed, prompts=unique_names(rankings))

    @classmethod
    def joined(cls, parts: Iterable[tuple[Tensor, Any]]) -> Evaluated:
        """Return the batches of one evaluation, (logits, labels) each, as one."""
        grids = [(to_grid(logits, labels["ranks"]).numpy(), labels) for logits, labels in parts]
        return evaluated(
            [grid for grid, _ in grids],
            [{name: value.numpy() for name, value in labels.items()} for _, labels in grids],
        )


def evaluated(predictions: Any, labels: Any) -> Evaluated:
    """Return what Trainer's evaluation gave to compute_metrics.

    Raises
    ------
    CollapseError
        Where the labels or the predictions aren't those of `RankingCollator` and `trainer_loss`.
    """
    if isinstance(labels, list):  # eval_do_concat_batches=False
        logits = _stacked([_first(part) for part in predictions], 0.0)
        ranks = _stacked([part["ranks"] for part in labels], -1)
        kinds = [part["kinds"] for part in labels] if "kinds" in labels[0] else None
        return _checked(logits, ranks, None if kinds is None else np.concatenate(kinds))
    if not hasattr(labels, "keys") or "ranks" not in labels:
        raise CollapseError(
            "the labels aren't those of RankingCollator; give Trainer "
            "data_collator=RankingCollator(tokenizer)"
        )
    return _checked(_first(predictions), labels["ranks"], labels.get("kinds"))


def _first(predictions: Any) -> np.ndarray:
    # Some models return more than logits, which come first.
    return np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)


def _checked(logits: np.ndarray, ranks: np.ndarray, kinds: Any) -> Evaluated:
    if logits.shape != ranks.shape:
        raise CollapseError(
            f"logits of shape {logits.shape} for ranks of shape {ranks.shape}; give Trainer "
            "compute_loss_func=trainer_loss(loss)"
        )
    ranks = np.maximum(ranks, -1)  # Trainer pads with -100
    return Evaluated(np.where(ranks >= 0, logits, 0.0), ranks, kinds)


def _stacked(parts: Sequence[np.ndarray], padding: float) -> np.ndarray:
    width = max(part.shape[1] for part in parts)
    rows = [
        np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=padding)
        for part in parts
    ]
    return np.concatenate(rows)
