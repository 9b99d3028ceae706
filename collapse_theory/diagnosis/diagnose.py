"""`ct.diagnose`: from a log's rewards to a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from collapse_theory.data.reading import log_of
from collapse_theory.data.reward_log import BadRows, RewardLog, counted
from collapse_theory.diagnosis.index import Groups, Index, collapse_index, two_groups
from collapse_theory.diagnosis.order_statistics import OrderStatistics, RewardMap, map_of
from collapse_theory.diagnosis.predictions import predictions_of
from collapse_theory.diagnosis.summary import KindSummary, pairs_right, summary_of
from collapse_theory.diagnosis.verdict import KIND_PROMPTS, Evidence, verdict_of
from collapse_theory.errors import CollapseError
from collapse_theory.programs import Domain, DomainLike, as_domain
from collapse_theory.utilities import Utility, utility
from collapse_theory.values import Array, Value

DEFAULT_UTILITIES = ("x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)")
"""What the paper's experiments trained; a log is compared with these unless others are given."""

_SATURATED = 0.6  # a two-valued law has a half at each end


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
    interval: Array
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


def diagnose(
    rewards: Any,
    prompts: Any = None,
    kinds: Any = None,
    utility: Utility | str | Sequence[Utility | str] | None = None,
    *,
    ranks: Any = None,
    domain: DomainLike | None = None,
    scale: tuple[float, float] | None = None,
    rng: np.random.Generator | int = 0,
) -> Diagnosis:
    """Tell from a log of rewards whether the model has collapsed.

    index = max(0, 1 - (W + 10 K) / R) on the scale from 0 to 1, with W the variance of order
    statistics between prompts of a kind, K the variance between kinds' means and R the variance
    between prompts whose completions are drawn at random from the pooled log. docs/diagnosis.md
    has the formulas, the verdict's rule and its measured error rates.

    Parameters
    ----------
    rewards : (rows,) array, (P, n) array, or RewardLog
        One reward a completion. A table has a prompt a row.
    prompts : (rows,) array, optional
        Which prompt each reward is of: numbers or text. Not needed with a table or a log.
    kinds : (rows,) array, or (P,) with a table, optional
        Each prompt's kind: numbers or text.
    utility : Utility, str or a sequence of them, optional
        What to compare the log with; the paper's four unless given, () for none.
    ranks : array like `rewards`, optional
        Each completion's true rank, 0 the best.
    domain : Box, Confined, Centered or Free, optional
        Where the utilities' rewards lie; Box() unless given.
    scale : (low, high), optional
        The rewards to call 0 and 1; by default the median prompt's worst and best.
    rng : numpy.random.Generator or int, optional
        For the bootstrap; a seed.

    Returns
    -------
    Diagnosis

    Raises
    ------
    CollapseError
        A ValueError, for rewards that aren't finite, lengths that differ, a prompt of two kinds,
        or no prompt with two completions.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> rng = np.random.default_rng(0)
    >>> optimum = ct.solve("log(x + 0.1)", 8).rewards
    >>> rewards = optimum + 0.02 * rng.standard_normal((50, 8))
    >>> found = ct.diagnose(rewards)
    >>> found.collapsed, found.kinds[0].predictions[0].utility
    (True, 'log(x + 0.1)')
    """
    log = log_of(rewards, prompts, kinds, ranks)
    utilities = _utilities(utility)
    stats = OrderStatistics.of(log.rewards, log.prompts, log.kinds)
    if not stats.count:
        raise CollapseError(
            f"none of the {log.count} prompts has two completions: is the prompt column the right "
            "one? Collapse is about the rewards of several completions of one prompt"
        )
    mapped = RewardMap(*scale) if scale is not None else map_of(stats)
    return _diagnosis(log, stats, mapped, utilities, as_domain(domain), np.random.default_rng(rng))


def _utilities(given: Any) -> list[Utility]:
    if given is None:
        given = DEFAULT_UTILITIES
    several = [given] if isinstance(given, Utility | str) else list(given)
    return list(dict.fromkeys(utility(u) for u in several))


def _diagnosis(
    log: RewardLog,
    stats: OrderStatistics,
    scale: RewardMap | None,
    utilities: list[Utility],
    domain: Domain,
    rng: np.random.Generator,
) -> Diagnosis:
    names = log.kind_names if log.kinds is not None else ("all",)
    counts = {kind: n for kind, n in enumerate(np.bincount(stats.kinds).tolist()) if n}
    judged = [kind for kind, n in counts.items() if n >= KIND_PROMPTS]
    index, groups = _measured(stats.only(judged), scale, rng)
    # Where all rewards are equal any scale will do: it only has a place to stand.
    drawn = scale or RewardMap(float(stats.rewards[0]), float(stats.rewards[0]) + 1.0)
    summaries = {}
    for kind in counts:
        near = predictions_of(utilities, stats, kind, drawn, domain) if scale else ()
        summaries[kind] = summary_of(names[kind], kind, stats, drawn, near)
    kinds = tuple(summaries.values())
    # The Wasserstein-1 distance between two laws that have these curves as quantiles.
    curves = combinations([summaries[kind].curve for kind in judged], 2)
    apart = max((float(np.abs(a - b).mean()) / drawn.width for a, b in curves), default=None)
    sizes = int(stats.sizes.min()), int(stats.sizes.max())
    verdict = verdict_of(
        Evidence(
            index=index,
            groups=groups,
            prompts=sum(counts[kind] for kind in judged) or stats.count,
            kinds=tuple(names[kind] for kind in judged),
            between=apart,
            sizes=sizes,
            constant=scale is None,
            nearest=_nearest(kinds) if sizes[1] > 3 else None,
        )
    )
    small = {names[kind]: n for kind, n in counts.items() if kind not in judged}
    return Diagnosis(
        collapsed=verdict.collapsed,
        reason=verdict.reason,
        advice=verdict.advice,
        index=index and index.value,
        interval=np.array([index.low, index.high] if index else []),
        within=index and index.within,
        kind_variance=index and index.kinds,
        reference=index and index.reference,
        between_kinds=apart,
        scale=scale,
        kinds=kinds,
        prompts=stats.count,
        rows=int(stats.rewards.size),
        completions=sizes,
        pairs_right=(
            None if log.ranks is None else pairs_right(log.rewards, log.prompts, log.ranks)
        ),
        read=log.read,
        bad=log.bad,
        notes=(*log.notes, *_notes(stats.single, small, index), *_saturated(kinds)),
        step=log.step,
    )


def _measured(
    judged: OrderStatistics, scale: RewardMap | None, rng: np.random.Generator
) -> tuple[Index | None, Groups]:
    if scale is None or judged.count < 2:
        return None, Groups(0.0, 0.0)
    mapped = replace(judged, rewards=np.asarray(scale(judged.rewards)))
    index = collapse_index(mapped, rng)
    if mapped.sizes.min() < mapped.sizes.max():
        # Optima of odd and even numbers of completions would make two groups by themselves.
        return index, Groups(0.0, 0.0)
    return index, two_groups(np.clip(mapped.at_levels, -1.0, 2.0))


def _nearest(kinds: Sequence[KindSummary]) -> str | None:
    """Return the utility that all kinds' rewards look like."""
    best = [kind.predictions[0] for kind in kinds if kind.predictions]
    alike = len({near.utility for near in best}) == 1 and all(near.error <= 0.05 for near in best)
    return best[0].utility if alike else None


def _notes(single: int, small: dict[str, int], index: Index | None) -> list[str]:
    """Return what is worth knowing of prompts of one completion, small kinds, and wild rewards."""
    notes = []
    if single:
        notes.append(f"{counted(single, 'prompt')} of one completion left out: it ranks nothing")
    if small:
        listed = ", ".join(f"{name} ({counted(n, 'prompt')})" for name, n in small.items())
        notes.append(f"too few prompts to judge: {listed}")
    if index is not None and index.clipped:
        notes.append(
            f"{counted(index.clipped, 'reward')} further out than one width of the scale; "
            "in the index such rewards count as at that distance"
        )
    return notes


def _saturated(kinds: Sequence[KindSummary]) -> list[str]:
    """Return a note for each kind whose rewards are nearly all at one end."""
    notes = []
    for kind in kinds:
        share, end = max((kind.at_low, "lowest"), (kind.at_high, "highest"))
        if share > _SATURATED:
            notes.append(
                f"{share:.0%} of the rewards of {kind.name!r} are within 0.01 of the {end} on the "
                "scale, and hardly rank anything there; if they are probabilities, their log-odds "
                "spread them out, else a map of ranks (collapse-theory design) does"
            )
    return notes
