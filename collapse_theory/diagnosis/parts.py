"""The parts of a log beside each other, a line each: steps of training, splits, two logs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from collapse_theory.capacity import Memory, memory, ranked_rows
from collapse_theory.data.reward_log import Note, RewardLog
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.errors import CollapseError, NoOptimum
from collapse_theory.finite import solve
from collapse_theory.programs import Free
from collapse_theory.utilities import Utility
from collapse_theory.values import Value

_WINDOWS = 12  # of more steps, so many windows of steps that follow each other

MEASURES = {
    "ratio": "W/R",
    "rank": "rank",
    "level": "level",
    "flat": "no spread",
    "gap": "gap",
    "right": "pairs right",
}
"""What is told of a part, with its heading in tables."""


@dataclass(frozen=True, eq=False)
class Part(Value):
    """What a diagnosis says of a part of a log, in one line.

    Parameters
    ----------
    name : str
    step : float or None
        The last step in it.
    split : str or None
        Which split it is of, where the log has several.
    prompts : int
    outcome : str or None
    ratio : Measure or None
        W / R of the view that counts.
    rank, level : Measure or None
        Shares of the variance of the rewards: that of the mean reward of each rank, all of it
        after a collapse, and that of prompts' levels.
    flat, gap : Measure
        The share of prompts without a spread, and the typical gap of neighbours.
    right : Measure or None
        The share of pairs ranked right.
    """

    name: str
    step: float | None
    split: str | None
    prompts: int
    outcome: str | None
    ratio: Measure | None
    rank: Measure | None
    level: Measure | None
    flat: Measure
    gap: Measure
    right: Measure | None


def windows(log: RewardLog) -> Iterator[tuple[str, RewardLog]]:
    """Yield the rows of each step with their name, or of windows of steps, of about as many rows.

    A prompt at one step and at another are two prompts.
    """
    assert log.steps is not None
    steps, codes, counts = np.unique(log.steps, return_inverse=True, return_counts=True)
    window = np.arange(steps.size)
    if steps.size > _WINDOWS:
        window = np.minimum((np.cumsum(counts) - 1) * _WINDOWS // log.steps.size, _WINDOWS - 1)
    for number in np.unique(window):
        here = np.flatnonzero(window == number)
        first, last = steps[here[0]], steps[here[-1]]
        name = f"{last:g}" if here.size == 1 else f"{first:g} to {last:g}"
        part = log.only(window[codes] == number, float(last))
        both = part.prompts.astype(np.int64) * steps.size + codes[window[codes] == number]
        yield name, part.renumbered(both)


def by_split(log: RewardLog) -> Iterator[tuple[str | None, RewardLog]]:
    """Yield the rows of each split with its name; the log itself where there is one, or none."""
    if log.splits is None or len(log.split_names) < 2:
        yield None, log
        return
    for code, name in enumerate(log.split_names):
        yield name, log.only(log.splits == code, log.step)


def is_trained(split: str) -> bool:
    """Whether a split is called as prompts that were trained on are."""
    return split.lower().startswith("train")


def remembered(
    log: RewardLog, trained: np.ndarray, utility: Utility
) -> tuple[Memory | None, tuple[Note, ...]]:
    """Return the memory of a model that was trained on the rows `trained`, and notes on it."""
    if log.ranks is None or trained.all() or not trained.any():
        return None, ()
    learned, unseen = (
        ranked_rows(log.rewards[rows], log.ranks[rows], log.prompts[rows])
        for rows in (trained, ~trained)
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # the notes tell of pairs ranked wrong
            found = memory(learned, unseen, utility)
    except CollapseError as fault:
        return None, (Note("memory", f"how much was learned by heart isn't known: {fault}"),)
    return found, (Note("memory", f"learned by heart, by {utility}: {found.text}"),)


def has_maximum(utility: Utility) -> bool:
    """Whether it holds rewards by itself, so that there is an optimum under Free."""
    try:
        solve(utility, 2, Free())
    except NoOptimum:
        return False
    return True


# -- two of them ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Change(Value):
    """How a measure differs between two parts.

    Parameters
    ----------
    name : str
    before, after : Measure
    sure : bool
        Whether the difference is larger than the two intervals leave open, as if both were
        independent: less than 1.96 of its standard errors are chance. Prompts that both logs hold
        make differences surer than that.
    """

    name: str
    before: Measure
    after: Measure
    sure: bool

    def __str__(self) -> str:
        word = "rose" if self.after.value > self.before.value else "fell"
        if not self.sure:
            return f"{self.name} may not have changed: {self.before}, then {self.after}"
        return f"{self.name} {word} from {self.before} to {self.after}"


def changes(before: Part, after: Part) -> tuple[Change, ...]:
    """Return how each measure that both parts have differs.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.diagnosis import changes, diagnose
    >>> log = np.random.default_rng(0).normal(size=(40, 4))
    >>> before, after = diagnose(log).part("before"), diagnose(np.sort(log) / 9).part("after")
    >>> [change.name for change in changes(before, after) if change.sure]
    ['gap']
    """
    found = []
    for field, name in MEASURES.items():
        one, other = getattr(before, field), getattr(after, field)
        if one is not None and other is not None:
            error = math.hypot(_half(one), _half(other))
            found.append(Change(name, one, other, abs(other.value - one.value) > error))
    return tuple(found)


def _half(measure: Measure) -> float:
    half = 0.5 * (measure.high - measure.low)
    return half if math.isfinite(half) else math.inf
