"""How far the rewards of a set of prompts are from what the loss leads to, kind by kind."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch

from collapse_theory.capacity import memory, ranked_rows
from collapse_theory.data.dataset import unique_names
from collapse_theory.data.ranking import Ranking
from collapse_theory.diagnosis import diagnose
from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import PADDING, RankingLabels, require_labels
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.predictions import patterns
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.values import Array, Value

logger = logging.getLogger(__name__)

# Levels of mean quantile functions where prompts differ in their number of completions: a multiple
# of the common numbers (4, 8, 16, ...), for which they are exact.
LEVELS = 128

# Of a dozen numbers to an evaluation eight aren't of a kind.
MOST_KINDS = 4

# Whether a larger one is better; None for those that don't say which model is better.
LARGER_IS_BETTER = {
    "loss": False,
    "pairs_right": True,
    "gap": False,
    "distance": False,
    "collapse": None,
    "between_kinds": None,
    "memory": None,
}


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
    collapse : float
        The index of `collapse_theory.diagnose`: 1 where all prompts of a kind have the same
        rewards, 0 where they differ as draws from one law do; NaN where it isn't known.
    """

    kinds: tuple[KindMeasures, ...]
    between: float
    between_predicted: float
    collapse: float = float("nan")

    @property
    def right(self) -> float:
        """The share of all compared pairs that are ranked right."""
        return _mean(self.kinds, "right", "pairs")

    def log(self, train: Measures | None = None, memory: float = np.nan) -> dict[str, float]:
        """Return a dozen plain numbers at most, by name; those that aren't known are left out.

        ``collapse``, ``pairs_right``, both also of training prompts (``_train``); ``memory``, as
        `remembered` gives it; ``between_kinds``, ``gap`` and ``distance``, the latter by kind too
        where there are up to four (``open_distance``).
        """
        values = {
            "collapse": self.collapse,
            "pairs_right": self.right,
            "gap": _mean(self.kinds, "gap", "prompts"),
            "distance": _mean(self.kinds, "distance", "prompts"),
            "between_kinds": self.between,
            "memory": memory,
        }
        if train is not None:
            values |= {"collapse_train": train.collapse, "pairs_right_train": train.right}
        if len(self.kinds) <= MOST_KINDS:
            named = (one for one in self.kinds if one.kind is not None)
            values |= {f"{one.kind}_distance": one.distance for one in named}
        return {name: value for name, value in values.items() if not np.isnan(value)}


def keep_best(metric: str = "pairs_right") -> dict[str, Any]:
    """Return the training arguments that keep the best checkpoint by a measure.

    Choose by "loss", the utility of held-out prompts, or "pairs_right". A small "gap" or "distance"
    says that the collapse the loss leads to is reached, not that the model is good.

    Raises
    ------
    CollapseError
        A ValueError, for a measure that doesn't say which model is better.

    Examples
    --------
    >>> keep_best("gap")["greater_is_better"]
    False
    """
    larger = _larger_is_better(metric)
    best = {"metric_for_best_model": metric, "greater_is_better": larger}
    return {"load_best_model_at_end": True, **best}


def _larger_is_better(metric: str) -> bool | None:
    """Return whether a larger measure is better; None where the name is of no measure."""
    for name, larger in LARGER_IS_BETTER.items():
        if metric == name or metric.endswith(f"_{name}"):
            if larger is None:
                raise CollapseError(
                    f"{metric!r} doesn't say which model is better; choose by 'loss', the utility "
                    "of held-out prompts, or by 'pairs_right'"
                )
            return larger
    return None


def require_direction(metric: str | None, greater_is_better: bool | None) -> None:
    """Raise for a measure that transformers would keep the worst checkpoint by.

    >>> require_direction("eval_gap", False)
    >>> require_direction("gap", True)
    Traceback (most recent call last):
        ...
    collapse_theory.errors.CollapseError: metric_for_best_model='gap' with ...
    """
    larger = None if metric is None else _larger_is_better(metric)
    if larger is not None and greater_is_better is not None and larger != bool(greater_is_better):
        raise CollapseError(
            f"metric_for_best_model={metric!r} with greater_is_better={greater_is_better} keeps "
            f"the worst checkpoint, and so does transformers' default; give greater_is_better="
            f"{larger}, or TrainingArguments(..., **keep_best({metric!r}))"
        )


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
    loss: AnyLoss,
    logits: Any,
    ranks: Any,
    kinds: Sequence[str | None] | None = None,
    margins: Any = None,
    pair_weights: Any = None,
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
    margins, pair_weights : array_like, shape (B, K, K), optional
        The prompts' own, as in the loss's call. Pairs of weight 0 aren't among those ranked right.

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
        own = (None if of is None else np.asarray(of)[rows] for of in (margins, pair_weights))
        own = Prompts(logits[rows], rewards[rows], ranks[rows], *own)
        found.append(_kind(one, kind, own, levels))
    curves = [one.curve for one in found], [one.predicted_curve for one in found]
    between, expected = (_largest_distance(each) for each in curves)
    return Measures(tuple(found), between, expected, _index(loss, rewards, ranks, names))


def _index(
    loss: AnyLoss, rewards: np.ndarray, ranks: np.ndarray, kinds: Sequence[str | None]
) -> float:
    """Return the index of collapse; NaN where rewards aren't finite or nothing can be compared."""
    rows, places = np.nonzero(ranks >= 0)
    names = None if None in kinds else np.array(kinds, dtype=object)[rows]
    domain = loss.of_kind(kinds[0]).domain
    with suppress(CollapseError):
        index = diagnose(rewards[rows, places], rows, names, (), domain=domain).index
        return float("nan") if index is None else float(index)
    return float("nan")


class Prompts(NamedTuple):
    """Prompts of one kind, (B, K), padding of rank -1; their own tables of pairs, (B, K, K)."""

    logits: np.ndarray
    rewards: np.ndarray
    ranks: np.ndarray
    margins: np.ndarray | None
    pair_weights: np.ndarray | None


def _kind(loss: RankingLoss, kind: str | None, of: Prompts, levels: int) -> KindMeasures:
    sizes = (of.ranks >= 0).sum(axis=1)
    ordered, (expected, best) = _best_first(of.rewards, of.ranks), _predictions(loss, of)
    there = ~np.isnan(expected)  # no padding, and no prompt without a prediction
    known = there.any(axis=1)
    size = int(np.bincount(sizes).argmax())
    common = ordered[sizes == size, :size]
    predicted = expected[known & (sizes == size), :size]
    distance, gap = np.nan, np.nan
    if known.any():
        distance = float(np.abs(np.sort(ordered[there]) - np.sort(expected[there])).mean())
        own = {"margins": of.margins, "pair_weights": of.pair_weights}
        own = {name: None if table is None else table[known] for name, table in own.items()}
        made = loss.objective(torch.from_numpy(of.rewards[known]), of.ranks[known], **own)
        gap = float((best[known] - made.numpy()).mean())
    right, pairs = _pairs_right(of)
    return KindMeasures(
        kind=kind,
        prompts=len(of.ranks),
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


def _predictions(loss: RankingLoss, of: Prompts) -> tuple[np.ndarray, np.ndarray]:
    """Return each prompt's optimum by rank, shape (B, K), NaN for padding, and its objective.

    NaN too where nothing holds the rewards, or where the utility has no answer for ties
    (Plackett-Luce). Prompts of the same ranks share theirs, but for those with tables of pairs.
    """
    found, best = np.full(of.ranks.shape, np.nan), np.full(len(of.ranks), np.nan)
    if not loss.domain.ordered:
        return found, best  # Anchored is of one prompt
    plain = of.margins is None and of.pair_weights is None
    groups = patterns(of.ranks) if plain else ((None, [row]) for row in range(len(of.ranks)))
    for pattern, rows in groups:
        with suppress(CollapseError):
            if pattern is not None:
                solution = loss.predictions.of_ranks(pattern)
            else:
                tables = (None if t is None else t[rows[0]] for t in (of.margins, of.pair_weights))
                solution = loss.predictions.of_prompt(of.ranks[rows[0]], *tables)
            if solution is not None:
                made = solution.rewards
                if pattern is None:
                    ranks = of.ranks[rows[0]]
                    made = _best_first(made[None], ranks[ranks >= 0][None])[0]
                found[rows, : len(made)], best[rows] = made, solution.objective
    return found, best


def _pairs_right(of: Prompts) -> tuple[float, int]:
    first, second = of.ranks[:, :, None], of.ranks[:, None, :]
    compared = (first < second) & (first >= 0)
    compared &= True if of.pair_weights is None else of.pair_weights > 0
    gaps = (of.logits[:, :, None] - of.logits[:, None, :])[compared]
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
    """Logits and ranks of an evaluation, (B, K), padding of rank -1; kinds and names of prompts.

    `margins` and `pair_weights`, (B, K, K), are the prompts' own, where any has some.
    """

    logits: np.ndarray
    ranks: np.ndarray
    kinds: Sequence[str | None]
    prompts: Sequence[str]
    margins: np.ndarray | None = None
    pair_weights: np.ndarray | None = None

    def measures(self, loss: AnyLoss) -> Measures:
        """Return what is measured of it."""
        tables = self.margins, self.pair_weights
        return measure(loss, self.logits, self.ranks, self.kinds, *tables)


def remembered(loss: AnyLoss, train: Evaluated, held_out: Evaluated) -> float:
    """Return the gamma of `collapse_theory.memory`: how much of its prompts a model has learned.

    NaN where that law says nothing: kinds with losses of their own, a domain that holds rewards, a
    utility with kinks, fewer than 20 full rankings on a side, weights or margins of pairs.
    """
    own = (train.margins, train.pair_weights, held_out.margins, held_out.pair_weights)
    if not isinstance(loss, RankingLoss):
        return float("nan")
    if any(table is not None for table in (*own, loss.pair_weights)):
        return float("nan")
    learned, unseen = (
        ranked_rows(side.logits[at], side.ranks[at], at[0])
        for side in (train, held_out)
        for at in (np.nonzero(side.ranks >= 0),)
    )
    with suppress(CollapseError), warnings.catch_warnings(action="ignore"):
        return memory(learned, unseen, loss.utility, domain=loss.domain).gamma
    return float("nan")


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
    logits, rows, numbers = [], [], []
    for outputs, label in parts:
        require_labels(label)
        # Some models return more than logits, which come first.
        logits.append(np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs))
        rows.append({name: np.asarray(value) for name, value in label.items()})
        numbers.extend(label.get("kinds", ()))
        if logits[-1].shape != rows[-1]["ranks"].shape:
            raise CollapseError(
                f"logits of shape {logits[-1].shape} for ranks of shape "
                f"{rows[-1]['ranks'].shape}; give Trainer compute_loss_func="
                "trainer_loss(loss)"
            )
    there = [name for name in ("ranks", "margins", "pair_weights") if name in rows[0]]
    stacked = {name: _stacked([row[name] for row in rows], -100) for name in there}
    order = np.maximum(stacked["ranks"], PADDING).astype(np.int64)  # Trainer pads with -100
    grid = np.where(order >= 0, _stacked(logits, 0.0), 0.0)
    labeled = RankingLabels({name: torch.from_numpy(value) for name, value in stacked.items()})
    own = labeled.pairs("margins", 0.0), labeled.pairs("pair_weights", 1.0)
    tables = [None if of is None else of.numpy() for of in own]
    if rankings is not None:
        rankings = _of_rows(order, rankings)
        prompts = unique_names(rankings)
        return Evaluated(grid, order, [one.kind for one in rankings], prompts, *tables)
    known = [kinds[int(k)] for k in numbers] if kinds and numbers else [None] * len(order)
    prompts = [f"prompt {row + 1}" for row in range(len(order))]
    return Evaluated(grid, order, known, prompts, *tables)


def _of_rows(ranks: np.ndarray, rankings: Sequence[Ranking]) -> Sequence[Ranking]:
    """Return the rankings that were evaluated: all, or without the last batch, which was left out.

    Raises
    ------
    CollapseError
        Where others, or in another order, were.
    """
    same = 0 < len(ranks) <= len(rankings) and all(
        tuple(row[row >= 0].tolist()) == ranking.ranks
        for row, ranking in zip(ranks, rankings, strict=False)
    )
    if not same:
        raise CollapseError(
            f"{len(ranks)} rows were evaluated, but not those of the {len(rankings)} rankings in "
            'their order; evaluate a RankingDataset, with train_sampling_strategy="random"'
        )
    if len(ranks) < len(rankings):
        logger.warning(
            "the last %d of %d prompts weren't evaluated: dataloader_drop_last=True leaves them "
            "out",
            len(rankings) - len(ranks),
            len(rankings),
        )
    return rankings[: len(ranks)]


def _stacked(parts: Sequence[np.ndarray], padding: float) -> np.ndarray:
    width = max(part.shape[1] for part in parts)
    sides = (((0, 0), (0, width - part.shape[1])) for part in parts)
    pairs = zip(parts, sides, strict=True)
    return np.concatenate([np.pad(part, side, constant_values=padding) for part, side in pairs])
