"""What `ct.diagnose` returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.capacity import Memory
from collapse_theory.data.reward_log import BadRows, Note
from collapse_theory.diagnosis.inside import Spread
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.likeness import Shares, View
from collapse_theory.diagnosis.order_statistics import RewardMap
from collapse_theory.diagnosis.parts import Part
from collapse_theory.diagnosis.summary import KindSummary
from collapse_theory.display import latex_number
from collapse_theory.values import Array, Value

SHOWN = "prompts", "rows", "mean", "sd", "tied"  # of a kind, in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Value):
    """Whether a reward log shows collapse, and how its rewards are distributed.

    Attributes
    ----------
    outcome : {"collapsed", "one law", "own laws", "no spread"} or None
        One vector of order statistics for all prompts; one law from which all prompts draw; laws
        of their own; no spread inside prompts. None where the log doesn't decide it.
    reason, advice : str
    notes : tuple of Note
        Whatever else bears on it, each with a `code`.
    view : {"as they are", "centred"}
        The view that counts: that of the loss, and centred where all prompts have the same mean.
        `views` holds it and the others.
    views : tuple of View
        How alike prompts are: rewards as they are, less their prompt's mean, and that divided by
        its standard deviation.
    shares : Shares or None
        What the variance of the rewards is made of: rank, level, scale, shape.
    spread : Spread
        The rewards of one prompt beside each other.
    kinds_apart : Measure or None
        The largest Wasserstein-1 distance between two kinds' mean order statistics, on the scale
        from 0 to 1, over the numbers of completions that both have; `kinds_p` is the p of kinds
        that differ, by dealing out their names anew.
    scale : RewardMap or None
        The one map to that scale; None where all rewards are equal.
    kinds : tuple of KindSummary
        In the view that counts. A log without kinds has one, called "all".
    prompts, rows : int
        What was read of use: prompts of two or more completions.
    compared : int
        The prompts that the views compare.
    completions : tuple of int
        The least and the greatest number of completions of a prompt.
    ranked_right : Measure or None
        The share of pairs that the rewards order as the ranks do.
    read : int
        Rows read, good and bad.
    bad : tuple of BadRows
    step : float or None
        The step that was judged: the last.
    steps : tuple of Part
        The course by step, where the log has several.
    splits : tuple of Part
        Prompts that were trained on beside those held out, where the log says which; then it is
        the former that were judged.
    memory : Memory or None
        How much of the former the model has learned by heart, as `ct.memory` measures it: where
        the log has ranks, the domain is Free, and one utility is given, that of training.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> rewards = ct.solve("log(x + 0.1)", 8).rewards
    >>> noise = np.random.default_rng(0).normal(0, 0.02, (40, 8))
    >>> found = ct.diagnose(rewards + noise)
    >>> found.outcome, found.collapsed, found["all"].predictions[0].utility
    ('collapsed', True, 'log(x + 0.1)')
    """

    outcome: str | None
    reason: str
    advice: str
    notes: tuple[Note, ...]
    view: str
    views: tuple[View, ...]
    shares: Shares | None
    spread: Spread
    kinds_apart: Measure | None
    kinds_p: float | None
    scale: RewardMap | None
    kinds: tuple[KindSummary, ...]
    prompts: int
    rows: int
    compared: int
    completions: tuple[int, ...]
    ranked_right: Measure | None = None
    read: int = 0
    bad: tuple[BadRows, ...] = ()
    step: float | None = None
    steps: tuple[Part, ...] = ()
    splits: tuple[Part, ...] = ()
    memory: Memory | None = None

    @property
    def collapsed(self) -> bool | None:
        """True for "collapsed", False for "one law" and "own laws", else None."""
        return {"collapsed": True, "one law": False, "own laws": False}.get(self.outcome or "")

    @property
    def counts(self) -> View | None:
        """The view that counts, None where no two prompts can be compared."""
        return next((view for view in self.views if view.name == self.view), None)

    @property
    def width(self) -> float:
        """The length that the scale maps to 1; 1 without a scale."""
        return self.scale.width if self.scale else 1.0

    @property
    def index(self) -> float | None:
        """1 - W / R of the view that counts, at least 0."""
        return self.counts and self.counts.index.value

    @property
    def interval(self) -> Array:
        """The index's 95% interval over prompts; empty without an index."""
        return np.array([self.counts.index.low, self.counts.index.high] if self.counts else [])

    @property
    def within(self) -> float | None:
        """W of the view that counts, on the scale from 0 to 1."""
        return self.counts and self.counts.within

    @property
    def reference(self) -> float | None:
        """R of the view that counts, on the scale from 0 to 1."""
        return self.counts and self.counts.reference

    @property
    def between_kinds(self) -> float | None:
        """How far the kinds' mean curves are apart, without its interval."""
        return self.kinds_apart and self.kinds_apart.value

    @property
    def pairs_right(self) -> float | None:
        """The share of pairs ranked right, without its interval."""
        return self.ranked_right and self.ranked_right.value

    @property
    def bad_count(self) -> int:
        """How many rows were set aside."""
        return sum(rows.count for rows in self.bad)

    def part(self, name: str, split: str | None = None) -> Part:
        """Return the diagnosis in one line, to be put beside others."""
        return Part(
            name=name,
            step=self.step,
            split=split,
            prompts=self.prompts,
            outcome=self.outcome,
            ratio=self.counts and self.counts.ratio,
            rank=self.shares and self.shares.rank,
            level=self.shares and self.shares.level,
            flat=self.spread.flat,
            gap=self.spread.gap,
            right=self.ranked_right,
        )

    def __getitem__(self, name: str) -> KindSummary:
        for kind in self.kinds:
            if kind.name == name:
                return kind
        raise KeyError(f"no kind {name!r}; there are {', '.join(k.name for k in self.kinds)}")

    def __repr__(self) -> str:
        index = f"index {self.counts.index}" if self.counts else "no index"
        return (
            f"Diagnosis({self.outcome}: {index}, {self.prompts} prompts of "
            f"{'-'.join(map(str, dict.fromkeys(self.completions)))} completions; {self.reason})"
        )

    def _lines(self) -> tuple[str, ...]:
        return repr(self), self.advice, *(note.text for note in self.notes)

    def _columns(self) -> dict[str, tuple]:
        nearest = (k.predictions[0] if k.predictions else None for k in self.kinds)
        return {
            "kind": tuple(k.name for k in self.kinds),
            **{f: tuple(getattr(k, f) for k in self.kinds) for f in SHOWN},
            "nearest": tuple(p and f"{p.utility}, off by {p.error:.2g}" for p in nearest),
        }

    def _latex(self) -> str | None:
        if self.counts is None:
            return None
        index = self.counts.index
        value, low, high = (latex_number(x) for x in (index.value, index.low, index.high))
        return rf"\max(0, 1 - W/R) = {value} \in [{low}, {high}]"
