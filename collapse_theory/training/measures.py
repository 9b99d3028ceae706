"""How far the rewards of a set of prompts are from what the loss leads to, kind by kind."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce
from itertools import combinations
from typing import Any

import numpy as np
import torch
from transformers.trainer_pt_utils import nested_concat

from collapse_theory.capacity import memory, ranked_rows
from collapse_theory.data.dataset import unique_names
from collapse_theory.data.ranking import Ranking
from collapse_theory.diagnosis import diagnose
from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import PADDING, TRAINER_PADS, RankingLabels, require_labels
from collapse_theory.training.loss import RankingLoss, mean_of_known
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.values import Array, Value

logger = logging.getLogger(__name__)

# Levels of mean quantile functions where prompts differ in their number of completions: a multiple
# of the common numbers (4, 8, 16, ...), for which they are exact.
LEVELS = 128

# Of a dozen numbers to an evaluation eight aren't of a kind.
MOST_KINDS = 4

PAST = np.iinfo(np.int64).max  # the rank of padding where it is sorted last


@dataclass(frozen=True, eq=False)
class KindMeasures(Value):
    """What is measured on the prompts of one kind.

    Attributes
    ----------
    kind : str or None
    prompts, pairs : int
        The number of prompts, and of pairs that are compared.
    distance, gap : float
        Of the prompts that have a prediction, NaN for none: Wasserstein-1 between all rewards and
        all predicted ones; mean of optimum less objective, in the scale of U, 0 at total collapse.
    right : float
        Share of the compared pairs whose better completion has the higher logit; equal ones half.
    mean, std, predicted : numpy.ndarray, shape (K,)
        By place in the ranking, best first, of the prompts with the commonest number of
        completions: mean and standard deviation over prompts, and the prediction's mean.
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
        return self._mean("right", "pairs")

    def _mean(self, name: str, weight: str) -> float:
        values = np.array([getattr(one, name) for one in self.kinds])
        weights = np.array([getattr(one, weight) for one in self.kinds], dtype=float)
        return float(values @ weights / weights.sum()) if weights.sum() > 0 else float("nan")

    def log(self, train: Measures | None = None, memory: float = np.nan) -> dict[str, float]:
        """Return a dozen plain numbers at most, those that are known (docs/training.md).

        `train` are the measures of training prompts, `memory` is as `remembered` gives it.
        """
        values = {
            "collapse": self.collapse,
            "pairs_right": self.right,
            "gap": self._mean("gap", "prompts"),
            "distance": self._mean("distance", "prompts"),
            "between_kinds": self.between,
            "memory": memory,
        }
        if train is not None:
            values |= {"collapse_train": train.collapse, "pairs_right_train": train.right}
        if len(self.kinds) <= MOST_KINDS:
            named = (one for one in self.kinds if one.kind is not None)
            values |= {f"{one.kind}_distance": one.distance for one in named}
        return {name: value for name, value in values.items() if not np.isnan(value)}


# -- measuring ---------------------------------------------------------------------------


def rewards_of(loss: AnyLoss, logits: Any, kinds: Sequence[str | None]) -> np.ndarray:
    """Return the rewards, float64, shape (B, K), that logits stand for under each prompt's kind."""
    return loss.rewards(torch.from_numpy(np.array(logits, dtype=np.float64)), list(kinds)).numpy()


def measure(
    loss: AnyLoss,
    logits: Any,
    ranks: Any,
    kinds: Sequence[str | None] | None = None,
    margins: Any = None,
    pair_weights: Any = None,
    index: bool = True,
) -> Measures:
    """Return how far the rewards of prompts are from what the loss leads to.

    Parameters
    ----------
    loss : RankingLoss or PromptAwareRankingLoss
    logits, ranks : array_like, shape (B, K)
    kinds : sequence of str or None, shape (B,), optional
        The kind of each prompt; a loss without kinds is measured by kind too.
    margins, pair_weights : array_like, shape (B, K, K), optional
        As in the loss's call. Pairs of weight 0 aren't among those ranked right.
    index : bool
        Whether the index of collapse is computed: it takes most of the time.

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
    names: Any = np.array([None] * len(ranks) if kinds is None else list(kinds), dtype=object)
    rewards = rewards_of(loss, logits, names)
    sizes = (ranks >= 0).sum(axis=1)
    levels = int(sizes[0]) if np.all(sizes == sizes[0]) else LEVELS
    found, curves, expected_curves = [], [], []
    for kind in sorted(set(names), key=lambda name: (name is not None, name)):
        rows = names == kind
        own = {"margins": margins, "pair_weights": pair_weights}
        own = {name: None if of is None else np.asarray(of)[rows] for name, of in own.items()}
        right, pairs = _pairs_right(logits[rows], ranks[rows], own["pair_weights"])
        one = loss.of_kind(kind)
        expected, gaps = one.against(rewards[rows], ranks[rows], **own, skip=True)
        expected = _best_first(expected, np.sort(np.where(ranks[rows] >= 0, ranks[rows], PAST), 1))
        ordered, there = _best_first(rewards[rows], ranks[rows]), ~np.isnan(expected)
        distance = np.abs(np.sort(ordered[there]) - np.sort(expected[there]))
        size = int(np.bincount(sizes[rows]).argmax())
        common, known = ordered[sizes[rows] == size, :size], there.any(axis=1)
        predicted = expected[known & (sizes[rows] == size), :size]
        found.append(
            KindMeasures(
                kind,
                prompts=int(rows.sum()),
                pairs=pairs,
                distance=float(distance.mean()) if distance.size else np.nan,
                gap=mean_of_known(gaps),
                right=right,
                mean=common.mean(axis=0),
                std=common.std(axis=0),
                predicted=predicted.mean(axis=0) if len(predicted) else np.zeros(0),
            )
        )
        curves.append(_curve(ordered, sizes[rows], levels))
        expected_curves.append(_curve(expected[known], sizes[rows][known], levels))
    between, expected_between = map(_largest_distance, (curves, expected_curves))
    collapse = _index(loss, rewards, ranks, names) if index else float("nan")
    return Measures(tuple(found), between, expected_between, collapse)


def _index(loss: AnyLoss, rewards: np.ndarray, ranks: np.ndarray, kinds: np.ndarray) -> float:
    """Return the index of collapse; NaN where rewards aren't finite or nothing can be compared."""
    rows, places = np.nonzero(ranks >= 0)
    names, domain = None if None in kinds else kinds[rows], loss.of_kind(kinds[0]).domain
    with suppress(CollapseError):
        index = diagnose(rewards[rows, places], rows, names, (), domain=domain).index
        return float("nan") if index is None else float(index)
    return float("nan")


def _best_first(rewards: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return each prompt's rewards by rank, tied completions by reward, padding last."""
    ranks = np.where(ranks >= 0, ranks, PAST)
    return np.take_along_axis(rewards, np.lexsort((-rewards, ranks)), axis=1)


def _pairs_right(
    logits: np.ndarray, ranks: np.ndarray, pair_weights: np.ndarray | None
) -> tuple[float, int]:
    """Return the share of compared pairs ranked right, equal ones half, and how many there are."""
    first, second = ranks[:, :, None], ranks[:, None, :]
    which = (first < second) & (first >= 0)
    which &= True if pair_weights is None else pair_weights > 0
    gaps = (logits[:, :, None] - logits[:, None, :])[which]
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
    tables = (train.margins, train.pair_weights, held_out.margins, held_out.pair_weights)
    if isinstance(loss, RankingLoss) and all(of is None for of in (loss.pair_weights, *tables)):
        with suppress(CollapseError), warnings.catch_warnings(action="ignore"):
            learned, unseen = map(_full_rankings, (train, held_out))
            return memory(learned, unseen, loss.utility, domain=loss.domain).gamma
    return float("nan")


def _full_rankings(done: Evaluated) -> Any:
    at = np.nonzero(done.ranks >= 0)
    return ranked_rows(done.logits[at], done.ranks[at], at[0])


def evaluated(
    predictions: Any,
    labels: Any,
    rankings: Sequence[Ranking] | None,
    kinds: Sequence[str] | None = None,
) -> Evaluated:
    """Return what Trainer's evaluation gave to compute_metrics: whole, or a list of batches.

    Prompts and kinds are those of the rankings; where these aren't known, the kinds are those that
    the labels index. Labels, logits or rows that are others than `RankingCollator`, `trainer_loss`
    and the rankings have are an error.
    """
    if isinstance(labels, list):  # eval_do_concat_batches=False
        joined = partial(nested_concat, padding_index=TRAINER_PADS)
        predictions, labels = reduce(joined, predictions), reduce(joined, labels)
    require_labels(labels)
    # Some models return more than logits, which come first.
    logits = np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)
    tensors = {name: torch.from_numpy(np.asarray(of).copy()) for name, of in labels.items()}
    own = RankingLabels(tensors)
    ranks = np.maximum(own["ranks"].numpy(), PADDING)
    if logits.shape != ranks.shape:
        raise CollapseError(
            f"logits of shape {logits.shape} for ranks of shape {ranks.shape}; give Trainer "
            "compute_loss_func=trainer_loss(loss)"
        )
    names: Sequence[str | None] = [None] * len(ranks)
    prompts: Sequence[str] = [f"prompt {row + 1}" for row in range(len(ranks))]
    if rankings is not None:
        rankings = _evaluated(ranks, rankings)
        names, prompts = [one.kind for one in rankings], unique_names(rankings)
    elif kinds and "kinds" in own:
        names = [kinds[int(k)] for k in own["kinds"]]
    tables = own.pairs("margins", 0.0), own.pairs("pair_weights", 1.0)
    tables = (None if of is None else of.numpy() for of in tables)
    return Evaluated(np.where(ranks >= 0, logits, 0.0), ranks, names, prompts, *tables)


def _evaluated(ranks: np.ndarray, rankings: Sequence[Ranking]) -> Sequence[Ranking]:
    """Return the rankings that were evaluated: all, or without a last batch that was left out."""
    many, given = len(ranks), len(rankings)
    ours = [ranking.ranks for ranking in rankings[:many]]
    if not many or ours != [tuple(row[row >= 0].tolist()) for row in ranks]:
        raise CollapseError(
            f"{many} rows were evaluated, but not those of the {given} rankings in "
            'their order; evaluate a RankingDataset, with train_sampling_strategy="random"'
        )
    if many < given:
        logger.warning(
            "the last %d of %d prompts weren't evaluated: dataloader_drop_last=True leaves them "
            "out",
            given - many,
            given,
        )
    return rankings[:many]
