"""How far the rewards of a set of prompts are from what the loss leads to, kind by kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from collapse_theory.data.dataset import unique_names
from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import require_labels
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.predictions import patterns
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.values import Array, Value

# Levels of mean quantile functions where prompts differ in their number of completions: a multiple
# of the common numbers (4, 8, 16, ...), for which they are exact.
LEVELS = 128


@dataclass(frozen=True, eq=False)
class KindMeasures(Value):
    """What is measured on the prompts of one kind.

    Attributes
    ----------
    kind : str or None
    prompts, pairs : int
        The number of prompts, and of pairs that are compared.
    distance : float
        Wasserstein-1 between all rewards and all predicted rewards, of the prompts that have a
        prediction; NaN if none has.
    gap : float
        Mean of optimum less objective over the same prompts, in the scale of U; 0 is total
        collapse.
    right : float
        Share of the compared pairs whose better completion has the higher logit; equal ones half.
    mean, std, predicted : numpy.ndarray, shape (K,)
        By place in the ranking, best first, of the prompts with the commonest number of
        completions: mean and standard deviation over prompts, and the prediction's mean.
    curve, predicted_curve : numpy.ndarray
        Mean quantile functions of all prompts, best first, on levels that all kinds share.
    """

    kind: str | None
    prompts: int
    pairs: int
    distance: float
    gap: float
    right: float
    mean: Array
    std: Array
    predicted: Array
    curve: Array
    predicted_curve: Array


@dataclass(frozen=True, eq=False)
class Measures(Value):
    """What is measured on a set of prompts.

    Attributes
    ----------
    kinds : tuple of KindMeasures
    between, between_predicted : float
        The largest mean absolute difference between two kinds' mean curves, measured and
        predicted; NaN for a single kind.
    """

    kinds: tuple[KindMeasures, ...]
    between: float
    between_predicted: float

    def log(self, bands: int = 16) -> dict[str, float]:
        """Return the measures as plain numbers by name, those that aren't known left out.

        `bands` is the largest number of completions for which mean and standard deviation by rank
        are among them.
        """
        values = {
            "distance": _mean(self.kinds, "distance", "prompts"),
            "gap": _mean(self.kinds, "gap", "prompts"),
            "pairs_right": _mean(self.kinds, "right", "pairs"),
            "between_kinds": self.between,
            "between_kinds_predicted": self.between_predicted,
        }
        for one in self.kinds:
            start = "" if one.kind is None else f"{one.kind}_"
            values[f"{start}distance"] = one.distance
            values[f"{start}gap"] = one.gap
            values[f"{start}pairs_right"] = one.right
            if len(one.mean) <= bands:
                for place, (mean, std) in enumerate(zip(one.mean, one.std, strict=True), start=1):
                    values[f"{start}mean_rank_{place}"] = float(mean)
                    values[f"{start}std_rank_{place}"] = float(std)
        return {name: value for name, value in values.items() if not np.isnan(value)}


def _mean(kinds: Sequence[KindMeasures], name: str, weight: str) -> float:
    values = np.array([getattr(one, name) for one in kinds])
    weights = np.array([getattr(one, weight) for one in kinds], dtype=float)
    return float(values @ weights / weights.sum()) if weights.sum() > 0 else float("nan")


def rewards_of(loss: AnyLoss, logits: Any, kinds: Sequence[str | None]) -> np.ndarray:
    """Return the rewards, float64, shape (B, K), that logits stand for under each prompt's kind."""
    tensor = torch.from_numpy(np.array(logits, dtype=np.float64))
    names = np.array(kinds, dtype=object)
    made = np.empty(tensor.shape)
    for kind in set(kinds):
        rows = np.flatnonzero(names == kind)
        made[rows] = loss.of_kind(kind).rewards(tensor[rows]).numpy()
    return made


def measure(
    loss: AnyLoss, logits: Any, ranks: Any, kinds: Sequence[str | None] | None = None
) -> Measures:
    """Return how far the rewards of prompts are from what the loss leads to.

    Parameters
    ----------
    loss : RankingLoss or PromptAwareRankingLoss
    logits : array_like, shape (B, K)
    ranks : array_like of int, shape (B, K)
        0 the best, equal for ties, below 0 for padding.
    kinds : sequence of str or None, shape (B,), optional
        The kind of each prompt; a loss without kinds is measured by kind too.

    Returns
    -------
    Measures

    Raises
    ------
    CollapseError
        A ValueError, for a kind that has no utility.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.training import RankingLoss
    >>> loss = RankingLoss("x - 0.5*x**2")
    >>> found = measure(loss, np.log([[3, 1, 1 / 3], [1, 3, 1 / 3]]), [[0, 1, 2], [0, 1, 2]])
    >>> found.kinds[0].distance, found.kinds[0].right.__round__(3)
    (0.16666..., 0.833)
    """
    logits, ranks = np.asarray(logits, dtype=np.float64), np.asarray(ranks)
    names = [None] * len(ranks) if kinds is None else list(kinds)
    rewards = rewards_of(loss, logits, names)
    sizes = (ranks >= 0).sum(axis=1)
    levels = int(sizes[0]) if np.all(sizes == sizes[0]) else LEVELS
    found = []
    for kind in sorted(set(names), key=lambda name: (name is not None, name)):
        rows = np.flatnonzero([name == kind for name in names])
        one = loss.of_kind(kind)
        found.append(_kind(one, kind, logits[rows], rewards[rows], ranks[rows], levels))
    curves = [one.curve for one in found], [one.predicted_curve for one in found]
    return Measures(tuple(found), *(_largest_distance(each) for each in curves))


def _kind(
    loss: RankingLoss,
    kind: str | None,
    logits: np.ndarray,
    rewards: np.ndarray,
    ranks: np.ndarray,
    levels: int,
) -> KindMeasures:
    sizes = (ranks >= 0).sum(axis=1)
    ordered, expected = _best_first(rewards, ranks), _predictions(loss, ranks)
    there = ~np.isnan(expected)  # no padding, and no prompt without a prediction
    known = there.any(axis=1)
    size = int(np.bincount(sizes).argmax())
    common = ordered[sizes == size, :size]
    predicted = expected[known & (sizes == size), :size]
    distance, gap = np.nan, np.nan
    if known.any():
        distance = float(np.abs(np.sort(ordered[there]) - np.sort(expected[there])).mean())
        gap = loss.gap(rewards[known], ranks[known])
    right, pairs = _pairs_right(logits, ranks)
    return KindMeasures(
        kind=kind,
        prompts=len(ranks),
        pairs=pairs,
        distance=distance,
        gap=gap,
        right=right,
        mean=common.mean(axis=0),
        std=common.std(axis=0),
        predicted=predicted.mean(axis=0) if len(predicted) else np.zeros(0),
        curve=_curve(ordered, sizes, levels),
        predicted_curve=_curve(expected[known], sizes[known], levels),
    )


def _best_first(rewards: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return each prompt's rewards by rank, tied completions by reward, padding last."""
    ranks = np.where(ranks >= 0, ranks, np.iinfo(ranks.dtype).max)
    return np.take_along_axis(rewards, np.lexsort((-rewards, ranks)), axis=1)


def _predictions(loss: RankingLoss, ranks: np.ndarray) -> np.ndarray:
    """Return each prompt's optimum by rank, shape (B, K), NaN for padding.

    NaN too where nothing holds the rewards, or where the utility has no answer for ties
    (Plackett-Luce). Prompts of the same ranks share theirs.
    """
    found = np.full(ranks.shape, np.nan)
    if not loss.domain.ordered:
        return found  # Anchored is of one prompt
    for pattern, rows in patterns(ranks):
        with suppress(CollapseError):
            solution = loss.predictions.of_ranks(pattern)
            if solution is not None:
                found[rows, : len(pattern)] = solution.rewards
    return found


def _pairs_right(logits: np.ndarray, ranks: np.ndarray) -> tuple[float, int]:
    first, second = ranks[:, :, None], ranks[:, None, :]
    compared = (first < second) & (first >= 0)
    gaps = (logits[:, :, None] - logits[:, None, :])[compared]
    share = (gaps > 0).mean() + (gaps == 0).mean() / 2 if gaps.size else np.nan
    return float(share), gaps.size


def _curve(rows: np.ndarray, sizes: np.ndarray, levels: int) -> np.ndarray:
    """Return the mean of the rows as step functions, at the middles of equal levels."""
    if not len(rows):
        return np.zeros(0)
    at = (np.arange(levels) + 0.5) / levels
    return np.take_along_axis(rows, (at * sizes[:, None]).astype(int), axis=1).mean(axis=0)


def _largest_distance(curves: Sequence[np.ndarray]) -> float:
    if len(curves) < 2 or any(len(curve) == 0 for curve in curves):
        return float("nan")
    return max(float(np.abs(one - other).mean()) for one, other in combinations(curves, 2))


# -- what Trainer gives ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Logits and ranks of an evaluation, (B, K), padding of rank -1; kinds and names of prompts."""

    logits: np.ndarray
    ranks: np.ndarray
    kinds: Sequence[str | None]
    prompts: Sequence[str]


def evaluated(
    predictions: Any,
    labels: Any,
    rankings: Sequence[Ranking] | None,
    kinds: Sequence[str] | None = None,
) -> Evaluated:
    """Return what Trainer's evaluation gave to compute_metrics: whole, or a list of batches.

    Prompts and kinds are those of the rankings; where these aren't known, the kinds are those that
    the labels index.

    Raises
    ------
    CollapseError
        Where the labels or the predictions aren't those of `RankingCollator` and `trainer_loss`,
        or the rows aren't those of the rankings.
    """
    whole = not isinstance(labels, list)  # eval_do_concat_batches=False gives lists
    parts = [(predictions, labels)] if whole else zip(predictions, labels, strict=True)
    logits, ranks, numbers = [], [], []
    for outputs, label in parts:
        require_labels(label)
        # Some models return more than logits, which come first.
        logits.append(np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs))
        ranks.append(np.maximum(label["ranks"], -1))  # Trainer pads with -100
        numbers.extend(label.get("kinds", ()))
        if logits[-1].shape != ranks[-1].shape:
            raise CollapseError(
                f"logits of shape {logits[-1].shape} for ranks of shape {ranks[-1].shape}; give "
                "Trainer compute_loss_func=trainer_loss(loss)"
            )
    order = _stacked(ranks, -1)
    grid = np.where(order >= 0, _stacked(logits, 0.0), 0.0)
    if rankings is not None:
        _require_rows(order, rankings)
        return Evaluated(grid, order, [one.kind for one in rankings], unique_names(rankings))
    names = [kinds[int(k)] for k in numbers] if kinds and numbers else [None] * len(order)
    return Evaluated(grid, order, names, [f"prompt {row + 1}" for row in range(len(order))])


def _require_rows(ranks: np.ndarray, rankings: Sequence[Ranking]) -> None:
    same = len(rankings) == len(ranks) and all(
        tuple(row[row >= 0].tolist()) == ranking.ranks
        for row, ranking in zip(ranks, rankings, strict=True)
    )
    if not same:
        raise CollapseError(
            f"{len(ranks)} rows were evaluated, but not those of the {len(rankings)} rankings in "
            "their order; evaluate a RankingDataset, with "
            'train_sampling_strategy="random" and dataloader_drop_last=False'
        )


def _stacked(parts: Sequence[np.ndarray], padding: float) -> np.ndarray:
    width = max(part.shape[1] for part in parts)
    sides = (((0, 0), (0, width - part.shape[1])) for part in parts)
    pairs = zip(parts, sides, strict=True)
    return np.concatenate([np.pad(part, side, constant_values=padding) for part, side in pairs])
