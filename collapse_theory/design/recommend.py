"""A utility for each kind of prompt, from scores of real completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.design.design import Design, design
from collapse_theory.design.slope import MAX_SLOPE
from collapse_theory.design.target import SPREAD, Target
from collapse_theory.errors import CollapseError
from collapse_theory.laws import RewardLaw, empirical_law
from collapse_theory.values import Array, Value

ALL = "all prompts"
SHARE = 0.01  # scores within this share of the range of an end count as being there


@dataclass(frozen=True, eq=False)
class KindAdvice(Value):
    """One kind of prompt: what its scores look like, and the design for them.

    Attributes
    ----------
    kind : str
    prompts, scores : int
        How many there are.
    low, middle, high : float
        Shares of the scores within 1% of the range of the lowest score, of the highest, and the
        rest.
    error : float
        How far (Wasserstein-1) the law of the scores may be from the one behind them, with prompts
        as the independent units.
    design : Design
        For the law of the scores, every prompt counting the same.
    """

    kind: str
    prompts: int
    scores: int
    low: float
    middle: float
    high: float
    error: float
    design: Design


@dataclass(frozen=True, eq=False, repr=False)
class Recommendation(Value):
    """A design for each kind of prompt, with the evidence.

    Attributes
    ----------
    low, high : float
        The ends of the scores' range over all kinds, mapped onto 0 and 1.
    advice : tuple of KindAdvice
    between : numpy.ndarray, shape (kinds, kinds)
        Wasserstein-1 distances between the kinds' wanted laws.
    """

    low: float
    high: float
    advice: tuple[KindAdvice, ...]
    between: Array

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, in alphabetical order."""
        return tuple(advice.kind for advice in self.advice)

    def __getitem__(self, kind: str) -> Design:
        """Return the design for a kind."""
        for advice in self.advice:
            if advice.kind == kind:
                return advice.design
        raise KeyError(f"no kind is called {kind!r}; there are {', '.join(self.kinds)}")

    def differ(self, first: str, second: str) -> bool:
        """Whether two kinds' laws are farther apart than their sampling errors explain."""
        i, j = (self.kinds.index(kind) for kind in (first, second))
        return bool(self.between[i, j] > self.advice[i].error + self.advice[j].error)

    def __repr__(self) -> str:
        texts = (f"{advice.kind!r}: {advice.design!r}" for advice in self.advice)
        return f"Recommendation({', '.join(texts)})"


def recommend(
    scores: Any,
    prompts: Any = None,
    kinds: Any = None,
    *,
    tol: float = 0.005,
    max_slope: float = MAX_SLOPE,
) -> Recommendation:
    """Return a utility for each kind of prompt, from scores of real completions.

    The wanted law of a kind is the law of its scores, every prompt counting the same, on the common
    scale of all scores. Its sampling error takes prompts as the independent units.

    Parameters
    ----------
    scores : mapping {prompt: scores}, or array of scores
        Judge scores or ratings of completions.
    prompts : array, optional
        The prompt of each score, where `scores` is an array.
    kinds : mapping {prompt: kind} or array, optional
        The kind of each prompt, or of each score where `scores` is an array; one kind unless given.
    tol, max_slope : float
        As in `collapse_theory.design`.

    Returns
    -------
    Recommendation

    Raises
    ------
    CollapseError
        A ValueError: scores that are no finite numbers or all equal, a prompt without a kind or
        with two.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> scores = {"a": [0, 1, 0, 1], "b": [1, 0, 1, 0], "c": [0, 0.5, 0.5, 1], "d": [0, 0.5, 1]}
    >>> found = ct.recommend(scores, kinds={"a": "closed", "b": "closed", "c": "open", "d": "open"})
    >>> found["closed"].utility
    Linear()
    """
    values, owner, kind_of = _arrays(scores, prompts, kinds)
    low, high = float(values.min()), float(values.max())
    if not low < high:
        raise CollapseError(f"all scores are {low:.6g}; nothing tells the completions apart")
    unit = (values - low) / (high - low)
    labels = sorted(set(kind_of))
    codes = np.array([labels.index(kind) for kind in kind_of])
    advice = tuple(
        _advice(label, unit, owner, codes[owner] == k, (low, high), tol, max_slope)
        for k, label in enumerate(labels)
    )
    laws = [_wanted(unit[codes[owner] == k], owner[codes[owner] == k]) for k in range(len(labels))]
    between = [[first.distance(second) for second in laws] for first in laws]
    return Recommendation(low, high, advice, np.array(between))


def _wanted(unit: np.ndarray, owner: np.ndarray) -> RewardLaw:
    """Return the law of the scores with weights 1 over the number of their prompt's scores."""
    _, index, counts = np.unique(owner, return_inverse=True, return_counts=True)
    return empirical_law(unit, 1.0 / counts[index])


def _advice(
    label: str,
    unit: np.ndarray,
    owner: np.ndarray,
    chosen: np.ndarray,
    ends: tuple[float, float],
    tol: float,
    max_slope: float,
) -> KindAdvice:
    own, who = unit[chosen], owner[chosen]
    law = _wanted(own, who)
    if len(law.atoms) < 2:
        raise CollapseError(
            f"all scores of the kind {label!r} are equal; no ranking comes from them"
        )
    error = _clustered_error(own, who, law)
    # On the kind's own range: a utility's law always reaches from end to end of its box.
    bottom, top = (float(end) for end in law.support)
    width = top - bottom
    mapped = law if (bottom, top) == (0.0, 1.0) else law.mapped(-bottom / width, 1.0 / width)
    scale = ends[1] - ends[0]
    target = Target(
        _clipped(mapped), ends[0] + scale * bottom, ends[0] + scale * top, error / width
    )
    near_low = float(law.cdf(bottom + SHARE * width))
    near_high = 1.0 - float(law.distribution(np.array(top - SHARE * width), side="left"))
    return KindAdvice(
        kind=label,
        prompts=len(np.unique(who)),
        scores=len(own),
        low=near_low,
        middle=1.0 - near_low - near_high,
        high=near_high,
        error=error,
        design=design(target, tol=tol, max_slope=max_slope),
    )


def _clipped(law: RewardLaw) -> RewardLaw:
    atoms = law.atoms.copy()
    atoms[[0, -1], 0] = 0.0, 1.0
    return RewardLaw(atoms)


def _clustered_error(unit: np.ndarray, owner: np.ndarray, law: RewardLaw) -> float:
    """Return the sampling error with prompts as the units: their own F_p(x) vary around F(x).

    2 ∫ sqrt(sum_p (F_p(x) - F(x))^2 / (P (P - 1))) dx over P prompts, on 512 points; for a
    single prompt its scores are the units.
    """
    _, index, counts = np.unique(owner, return_inverse=True, return_counts=True)
    size = len(counts)
    x = (np.arange(512) + 0.5) / 512
    column = np.searchsorted(x, unit)
    steps = np.zeros((size, 513))
    np.add.at(steps, (index, column), 1.0 / counts[index])
    below = np.cumsum(steps, axis=1)[:, :-1]
    if size == 1:
        spread = below[0] * (1.0 - below[0]) / counts[0]
    else:
        spread = ((below - below.mean(axis=0)) ** 2).sum(axis=0) / (size * (size - 1))
    return SPREAD * float(np.sqrt(spread).mean())


def _arrays(scores: Any, prompts: Any, kinds: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the scores, the number of each one's prompt, and the prompts' kinds."""
    if isinstance(scores, Mapping):
        if prompts is not None:
            raise CollapseError("scores by prompt name the prompts already; leave prompts out")
        if not scores:
            raise CollapseError("there are no scores")
        names = list(scores)
        lists = [_numbers(values, f"the prompt {name!r}") for name, values in scores.items()]
        owner = np.repeat(np.arange(len(names)), [len(values) for values in lists])
        return np.concatenate(lists), owner, _kinds_of(names, kinds)
    values = _numbers(scores, "all prompts")
    if prompts is None:
        raise CollapseError("say which prompt each score belongs to: recommend(scores, prompts)")
    given = np.asarray(prompts)
    if given.shape != values.shape:
        raise CollapseError(f"{values.size} scores need as many prompts, got shape {given.shape}")
    unique, owner = np.unique(given, return_inverse=True)
    names = unique.tolist()
    if kinds is None or isinstance(kinds, Mapping):
        return values, owner, _kinds_of(names, kinds)
    labels = np.asarray(kinds)
    if labels.shape != values.shape:
        raise CollapseError(f"{values.size} scores need as many kinds, got shape {labels.shape}")
    own: list[str | None] = [None] * len(names)
    for at, label in zip(owner.tolist(), labels.tolist(), strict=True):
        if own[at] is not None and own[at] != str(label):
            raise CollapseError(
                f"the prompt {names[at]!r} has two kinds, {own[at]!r} and {label!r}"
            )
        own[at] = str(label)
    return values, owner, [str(kind) for kind in own]


def _kinds_of(names: list[Any], kinds: Any) -> list[str]:
    if kinds is None:
        return [ALL] * len(names)
    if not isinstance(kinds, Mapping):
        raise CollapseError("with scores by prompt, kinds must be a mapping {prompt: kind}")
    missing = [name for name in names if name not in kinds]
    if missing:
        raise CollapseError(f"{len(missing)} prompts have no kind, the first is {missing[0]!r}")
    return [str(kinds[name]) for name in names]


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise CollapseError(f"the scores of {what} must be numbers, got {values!r}") from None
    if not array.size:
        raise CollapseError(f"there are no scores for {what}")
    if not np.isfinite(array).all():
        raise CollapseError(
            f"the scores of {what} must be finite; one is {array[~np.isfinite(array)][0]}"
        )
    return array
