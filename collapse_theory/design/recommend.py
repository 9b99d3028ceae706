"""A utility for each kind of prompt, from scores of real completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from collapse_theory.data.reward_log import RewardLog
from collapse_theory.design.design import Design, design
from collapse_theory.design.slope import MAX_SLOPE
from collapse_theory.design.target import SPREAD, Target
from collapse_theory.errors import CollapseError
from collapse_theory.laws import RewardLaw, empirical_law
from collapse_theory.lazy import Later
from collapse_theory.numerics.precision import precision_of
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from collapse_theory.data.reading import Named

reading: Any = Later("collapse_theory.data.reading")  # a tenth of what the import takes

ALL = "all prompts"
END = 0.01  # scores within this share of the prompt's range of an end count as being there
MOST_RANKED = 64  # completions a prompt up to which the design is for so many, else for many


@dataclass(frozen=True, eq=False)
class KindAdvice(Value):
    """One kind of prompt: what its scores look like within a prompt, and the design for them.

    Attributes
    ----------
    prompts, scores : int
        How many there are.
    flat : int
        How many of the prompts have no spread: none of their completions is better than another.
        These, and prompts of a single completion, count for nothing below.
    between : float
        The share of the scores' variance that lies between prompts, in their levels. A pairwise
        loss doesn't see it, and no utility makes it; NaN where all scores are equal.
    low, middle, high : float
        Shares of the scores within 1% of their own prompt's lowest score, of its highest, and the
        rest.
    error : float
        How far (Wasserstein-1) the law of the scores within a prompt may be from the one behind
        them, with prompts as the independent units.
    design : Design or None
        For the law within a prompt; of as many completions as the typical prompt has, up to 64.
    reason : str
        What the design is for, or why there is none.
    """

    kind: str
    prompts: int
    scores: int
    flat: int
    between: float
    low: float
    middle: float
    high: float
    error: float
    design: Design | None
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Recommendation(Value):
    """A design for each kind of prompt, with the evidence.

    Attributes
    ----------
    low, high : float
        The ends of the scores' range over all kinds.
    advice : tuple of KindAdvice
    between : numpy.ndarray, shape (kinds, kinds)
        Wasserstein-1 distances between the kinds' laws within a prompt; NaN where one has none.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> scores = {"first": [1, 2, 3], "second": [0, 0, 1]}
    >>> found = ct.recommend(scores, kinds={"first": "open", "second": "closed"})
    >>> found.kinds, found["open"].utility
    (('closed', 'open'), Linear())
    """

    low: float
    high: float
    advice: tuple[KindAdvice, ...]
    between: Array

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, in alphabetical order."""
        return tuple(advice.kind for advice in self.advice)

    def __getitem__(self, kind: str) -> Design | None:
        """Return the design for a kind; None where no completion beats another."""
        for advice in self.advice:
            if advice.kind == kind:
                return advice.design
        raise KeyError(f"no kind is called {kind!r}; there are {', '.join(self.kinds)}")

    def differ(self, first: str, second: str) -> bool | None:
        """Whether two kinds' laws are farther apart than their sampling errors explain.

        None where one of them has no spread within prompts.
        """
        i, j = (self.kinds.index(kind) for kind in (first, second))
        if np.isnan(self.between[i, j]):
            return None
        return bool(self.between[i, j] > self.advice[i].error + self.advice[j].error)

    def __repr__(self) -> str:
        texts = (f"{advice.kind!r}: {advice.design!r}" for advice in self.advice)
        return f"Recommendation({', '.join(texts)})"

    def _lines(self) -> tuple[str, ...]:
        return tuple(f"{a.kind}: {a.design or 'no design'}; {a.reason}" for a in self.advice)

    def _columns(self) -> dict[str, tuple]:
        shown = ("kind", "prompts", "scores", "flat", "between", "low", "middle", "high", "error")
        return {name: tuple(getattr(a, name) for a in self.advice) for name in shown}


def recommend(
    scores: Any,
    prompts: Any = None,
    kinds: Any = None,
    *,
    tol: float = 0.005,
    max_slope: float = MAX_SLOPE,
    **named: Unpack[Named],
) -> Recommendation:
    """Return a utility for each kind of prompt, from scores of real completions.

    The wanted law of a kind is that of the scores *within* a prompt: each prompt's own, from its
    lowest score at 0 to its highest at 1, every prompt counting the same. How high a prompt scores
    as a whole is nothing that a comparison of its completions shows, nor that a utility shapes.
    Wanted are its quantiles for as many completions as the typical prompt has.

    Parameters
    ----------
    scores : mapping {prompt: scores}, array of scores, rows of scores, or what `read_log` takes
        Judge scores or ratings of completions; a table or ragged lists have a prompt a row. Of a
        file or a frame the rows of the last step count.
    prompts : array, optional
        The prompt of each score, where `scores` is an array.
    kinds : mapping {prompt: kind} or array, optional
        The kind of each prompt or row, or of each score where `scores` is an array; one kind
        unless given.
    tol, max_slope : float
        As in `collapse_theory.design`.
    **named
        The columns and rows of a file or a frame, as in `read_log`: prompt="question", ...

    Returns
    -------
    Recommendation
        With `design=None`, and the reason, for a kind in which no completion beats another.

    Raises
    ------
    CollapseError
        A ValueError: scores that are no finite numbers (in rows NaN is one that is missing), a
        prompt without a kind or with two.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> scores = {"a": [0, 1, 0, 1], "b": [5, 9, 5, 9], "c": [0, 0.5, 0.5, 1], "d": [2, 3, 4]}
    >>> found = ct.recommend(scores, kinds={"a": "closed", "b": "closed", "c": "open", "d": "open"})
    >>> found["closed"].utility
    Linear()
    >>> ct.recommend({"a": [1, 1, 1], "b": [0, 0, 0]}).advice[0].reason
    'no completion is better than another in any of the 2 prompts'
    """
    log = scores_of(scores, prompts, kinds, **named)
    values, owner = log.rewards, log.prompts
    names = log.kind_names if log.kinds is not None else (ALL,)
    own = np.zeros(values.size, int) if log.kinds is None else log.kinds
    labels = sorted(set(np.array(names)[own].tolist()))
    told = []
    for kind in labels:
        here = own == names.index(kind)
        told.append(_advice(kind, values[here], owner[here], tol, max_slope))
    between = np.array([[_apart(first, second) for _, second in told] for _, first in told])
    advice = tuple(one for one, _ in told)
    return Recommendation(float(values.min()), float(values.max()), advice, between)


def _advice(
    kind: str, values: np.ndarray, owner: np.ndarray, tol: float, max_slope: float
) -> tuple[KindAdvice, RewardLaw | None]:
    """Return the advice for scores of one kind, and their law within a prompt, None without one."""
    _, index, counts = np.unique(owner, return_inverse=True, return_counts=True)
    ordered, starts = values[np.argsort(index, kind="stable")], np.cumsum(counts) - counts
    low, high = (of.reduceat(ordered, starts) for of in (np.minimum, np.maximum))
    # What is apart by rounding alone is no spread, as in a diagnosis.
    spread = ~precision_of(values).alike(low, high)
    flat = int((~spread & (counts > 1)).sum())
    means, total = np.bincount(index, values) / counts, float(values.var())
    between = float((means[index] - values.mean()).var()) / total if total else np.nan
    seen = kind, len(counts), len(values), flat, between
    if not spread.any():
        reason = f"no completion is better than another in any of the {len(counts)} prompts"
        return KindAdvice(*seen, np.nan, np.nan, np.nan, np.nan, None, reason), None
    kept = spread[index]
    unit = (values[kept] - low[index[kept]]) / (high - low)[index[kept]]
    own, sizes = (np.cumsum(spread) - 1)[index[kept]], counts[spread]
    # Every prompt counts the same.
    law, error, n = empirical_law(unit, 1.0 / sizes[own]), _error(unit, own), int(np.median(sizes))
    at_low, below_high = law.cdf(END), law.distribution(np.array(1.0 - END), "left")
    # What rewards 0 and 1 stand for, on the scores' own scale: a typical prompt's ends.
    ends = float(low[spread].mean()), float(high[spread].mean())
    target = Target(law, *ends, error, size=unit.size)
    found = design(target, n if n <= MOST_RANKED else None, tol=tol, max_slope=max_slope)
    reason = f"for the law of the scores within a prompt, of {n} completions"
    if n == 2:
        reason += ": two are 1 and 0 under every utility; their order is all they show"
    if flat:
        reason += f"; {flat} of {len(counts)} prompts have no spread, and don't count"
    shares = float(at_low), float(below_high - at_low), float(1.0 - below_high)
    return KindAdvice(*seen, *shares, error, found, reason), law


def _error(unit: np.ndarray, owner: np.ndarray) -> float:
    """Return the sampling error with prompts as the units: their own F_p(x) vary around F(x).

    2 ∫ sqrt(sum_p (F_p(x) - F(x))^2 / (P (P - 1))) dx over P prompts, on 512 points; for a single
    prompt its scores are the units.
    """
    counts = np.bincount(owner)
    size = len(counts)
    x = (np.arange(512) + 0.5) / 512
    steps = np.zeros((size, 513))
    np.add.at(steps, (owner, np.searchsorted(x, unit)), 1.0 / counts[owner])
    below = np.cumsum(steps, axis=1)[:, :-1]
    if size == 1:
        spread = below[0] * (1.0 - below[0]) / counts[0]
    else:
        spread = ((below - below.mean(axis=0)) ** 2).sum(axis=0) / (size * (size - 1))
    return SPREAD * float(np.sqrt(spread).mean())


def _apart(first: RewardLaw | None, second: RewardLaw | None) -> float:
    return np.nan if first is None or second is None else first.distance(second)


def scores_of(
    scores: Any, prompts: Any = None, kinds: Any = None, **named: Unpack[Named]
) -> RewardLog:
    """Return scores in any of their forms as a log, of the last step where there are several."""
    if named or reading.holds_rows(scores):
        log: RewardLog = reading.log_of(scores, prompts, kinds, **named)
        return log if log.steps is None else log.only(log.steps == log.step, log.step)
    by_prompt = isinstance(scores, Mapping)
    if by_prompt:
        if prompts is not None:
            raise CollapseError("scores by prompt name the prompts already; leave prompts out")
        prompts, scores = list(map(str, scores)), list(scores.values())
        if kinds is not None and not isinstance(kinds, Mapping):
            raise CollapseError("with scores by prompt, kinds must be a mapping {prompt: kind}")
    if isinstance(kinds, Mapping):
        given = {str(prompt): str(kind) for prompt, kind in kinds.items()}
        names = list(map(str, range(len(scores)) if prompts is None else prompts))
        if without := [name for name in names if name not in given]:
            raise CollapseError(f"{len(without)} prompts have no kind, the first is {without[0]!r}")
        kinds = [given[name] for name in names]
    log = RewardLog.of(scores, prompts, kinds)
    if log.left_out and by_prompt:
        raise CollapseError(f"scores by prompt must be finite: {log.left_out[0]}; leave them out")
    return log
