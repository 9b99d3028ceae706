"""What a diagnosis found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collapse_theory.data.reward_log import BadRows
from collapse_theory.diagnosis.scale import RewardMap
from collapse_theory.diagnosis.summary import KindSummary
from collapse_theory.values import Value, frozen_array

__all__ = ["Diagnosis"]


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Value):
    """Whether a reward log shows collapse, and how its rewards are distributed.

    Attributes
    ----------
    collapsed : bool or None
        With kinds: whether all kinds' prompts share one law. Without: whether all prompts share
        one vector of order statistics. None where the log doesn't decide it.
    reason, advice : str
    index : float or None
        max(0, 1 - (within + 10 between) / reference), in [0, 1]; 1 where all prompts have the same
        rewards, 0 where they are no more alike than rewards drawn at random from the log.
    interval : (2,) array
        The index's 95% bootstrap interval over prompts; empty without an index.
    within, kind_variance, reference : float or None
        What the index is made of, on the scale from 0 to 1: the mean variance of order statistics
        between prompts of a kind, the variance between the kinds' means, and the variance between
        prompts made of rewards drawn at random.
    between_kinds : float or None
        The largest Wasserstein-1 distance between two kinds' mean order statistics, on the scale
        from 0 to 1.
    scale : RewardMap or None
        The one map to that scale; None where all rewards are equal.
    kinds : tuple of KindSummary
        A log without kinds has one, called "all".
    prompts, rows : int
        What was judged.
    completions : tuple of int
        The least and the greatest number of completions of a prompt.
    pairs_right : float or None
        The share of pairs that the rewards order as the ranks do.
    read : int
        Rows read, good and bad.
    bad : tuple of BadRows
    notes : tuple of str
    step : float or None
    """

    collapsed: bool | None
    reason: str
    advice: str
    index: float | None
    interval: Any
    within: float | None
    kind_variance: float | None
    reference: float | None
    between_kinds: float | None
    scale: RewardMap | None
    kinds: tuple[KindSummary, ...]
    prompts: int
    rows: int
    completions: tuple[int, ...]
    pairs_right: float | None = None
    read: int = 0
    bad: tuple[BadRows, ...] = ()
    notes: tuple[str, ...] = ()
    step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval", frozen_array(self.interval))

    @property
    def bad_count(self) -> int:
        """How many rows were set aside."""
        return sum(rows.count for rows in self.bad)

    def __getitem__(self, name: str) -> KindSummary:
        for kind in self.kinds:
            if kind.name == name:
                return kind
        raise KeyError(f"no kind {name!r}; there are {', '.join(k.name for k in self.kinds)}")

    def __repr__(self) -> str:
        index = "no index"
        if self.index is not None:
            index = f"index {self.index:.2f} [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"
        return (
            f"Diagnosis(collapsed={self.collapsed}: {index}, {self.prompts} prompts of "
            f"{'-'.join(map(str, dict.fromkeys(self.completions)))} completions; {self.reason})"
        )
