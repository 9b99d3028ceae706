"""What the experiment found: every figure, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.experiment.course import Course, course_of
from collapse_theory.experiment.features import Table
from collapse_theory.experiment.runs import Run
from collapse_theory.experiment.settings import Setting
from collapse_theory.experiment.train import Trace
from collapse_theory.training.measures import Measures, measure
from collapse_theory.values import Value

__all__ = ["Findings", "RunFindings", "Side", "run_findings"]


@dataclass(frozen=True, eq=False)
class Side(Value):
    """What a run found on the training prompts, or on those held out. The worst kind counts.

    Attributes
    ----------
    measures : Measures
        Kind by kind.
    """

    measures: Measures

    @property
    def error(self) -> float:
        """Mean over ranks of |mean reward - predicted reward|."""
        return max(_mean_error(one) for one in self.measures.kinds)

    @property
    def distance(self) -> float:
        """Wasserstein-1 between all rewards and the predicted ones."""
        return max(one.distance for one in self.measures.kinds)

    @property
    def std(self) -> float:
        """Standard deviation of a rank's reward over prompts, mean over ranks."""
        return max(float(one.std.mean()) for one in self.measures.kinds)

    @property
    def std_largest(self) -> float:
        """The same, at the rank at which it is largest."""
        return max(float(one.std.max()) for one in self.measures.kinds)

    @property
    def gap(self) -> float:
        """Optimum less mean objective, in the scale of U."""
        return max(one.gap for one in self.measures.kinds)

    @property
    def right(self) -> float:
        """Share of pairs whose better completion has the higher logit."""
        return min(one.right for one in self.measures.kinds)

    @property
    def between(self) -> float:
        """Mean over ranks of the difference between the kinds' mean rewards; NaN for one kind."""
        return self.measures.between

    @property
    def between_predicted(self) -> float:
        """The same of the predicted rewards."""
        return self.measures.between_predicted


@dataclass(frozen=True, eq=False)
class RunFindings(Value):
    """One run, measured at its end and on the way."""

    run: Run
    train: Side
    held_out: Side
    course: Course


@dataclass(frozen=True, eq=False)
class Findings(Value):
    """All runs.

    Attributes
    ----------
    setting : Setting
    runs : tuple of RunFindings
    prompts : tuple of (str, int, int)
        Kind, prompts to train on, prompts held out.
    length_first, length_last : float
        Held-out R^2 of a linear fit of a completion's number of words from the first and from the
        last hidden state; NaN where nothing was encoded apart from training.
    cut, texts : int
        Completions that were cut at the longest length, of so many.
    versions : tuple of (str, str)
        Packages that the texts and the numbers come from.
    """

    setting: Setting
    runs: tuple[RunFindings, ...]
    prompts: tuple[tuple[str, int, int], ...]
    length_first: float
    length_last: float
    cut: int
    texts: int
    versions: tuple[tuple[str, str], ...]

    def of(self, *, control: str = "", aware: bool | None = None) -> tuple[RunFindings, ...]:
        """Return the runs of this control; prompt-aware or fixed ones alone where `aware` says."""
        return tuple(
            one
            for one in self.runs
            if one.run.control == control and aware in (None, one.run.objective.aware)
        )


def run_findings(table: Table, run: Run, trace: Trace) -> RunFindings:
    """Return what a run found."""
    loss = run.objective.loss()
    train, held_out = (
        Side(measure(loss, trace.logits[-1][part], table.ranks[part], list(table.kinds[part])))
        for part in (slice(None, table.train), slice(table.train, None))
    )
    return RunFindings(run, train, held_out, course_of(loss, table, trace))


def _mean_error(one: Any) -> float:
    if not len(one.predicted):
        return float("nan")
    return float(np.abs(one.mean - one.predicted).mean())
