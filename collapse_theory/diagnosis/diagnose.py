"""`ct.diagnose`: from a log's rewards to a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from collapse_theory.capacity import Memory
from collapse_theory.data.reading import log_of
from collapse_theory.data.reward_log import BadRows, Note, RewardLog
from collapse_theory.diagnosis.inside import (
    Spread,
    flat_prompts,
    normalised,
    pairs_right,
    same_level,
    spread_of,
    wild_rewards,
)
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.kinds import groups_of, kinds_apart
from collapse_theory.diagnosis.likeness import TAKEN, Shares, View, shares_of, view_of
from collapse_theory.diagnosis.missing import as_subsets, by_rank, share_gone
from collapse_theory.diagnosis.order_statistics import OrderStatistics, RewardMap, map_of
from collapse_theory.diagnosis.parts import Part, by_split, is_trained, windows
from collapse_theory.diagnosis.permutation import prompts_differ, prompts_differ_beyond_level
from collapse_theory.diagnosis.predictions import predictions_of
from collapse_theory.diagnosis.remarks import LEVEL_OFF, notes_of, of_splits
from collapse_theory.diagnosis.remembered import has_maximum, remembered
from collapse_theory.diagnosis.summary import KindSummary, summary_of
from collapse_theory.diagnosis.verdict import (
    KIND_PROMPTS,
    Evidence,
    judged,
    verdict_of,
    with_levels,
)
from collapse_theory.display import latex_number
from collapse_theory.errors import CollapseError
from collapse_theory.programs import Box, Domain, DomainLike, Free, as_domain
from collapse_theory.utilities import Utility, utility
from collapse_theory.values import Array, Value

SHOWN = "prompts", "rows", "mean", "sd", "tied"  # of a kind, in a notebook

DEFAULT_UTILITIES = ("x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)")
"""What the paper's experiments trained; a log is compared with these unless others are given."""

_MOST_PROMPTS = 40_000  # that are compared; of more, so many at random
_ENOUGH = 10  # prompts without wild rewards: then the others are left out of the comparison


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

    index = max(0, 1 - W / R), with W the variance of order statistics between prompts of a kind
    and R what it is for prompts whose completions are drawn at random from the pooled log.
    docs/diagnosis.md has the formulas, the verdict's rule and its measured error rates.

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
        Where the utilities' rewards lie; Box() unless given. Outside a box a pairwise loss never
        sees a prompt's level: then it is the centred rewards that count.
    scale : (low, high), optional
        The rewards to call 0 and 1; by default the median prompt's worst and best.
    rng : numpy.random.Generator or int, optional
        For what is drawn; a seed.

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
    >>> found.outcome, found.kinds[0].predictions[0].utility
    ('collapsed', 'log(x + 0.1)')
    """
    log = log_of(rewards, prompts, kinds, ranks)
    utilities, held, rng = _utilities(utility), as_domain(domain), np.random.default_rng(rng)
    given = RewardMap(*scale) if scale is not None else None
    steps = _lines(windows(log), held, rng) if log.steps is not None else ()
    if log.steps is not None and log.step is not None:
        log = log.only(log.steps == log.step, log.step)
    splits = _lines([("", log)], held, rng) if len(log.split_names) > 1 else ()
    trained = [code for code, name in enumerate(log.split_names) if is_trained(name)]
    learned, learned_notes = None, ()
    if splits and trained:
        rows = np.isin(log.splits, trained)
        if isinstance(held, Free) and utility is not None and len(utilities) == 1:
            learned, learned_notes = remembered(log, rows, utilities[0])
            if learned or learned_notes:  # without a maximum it has no optimum to compare with
                utilities = [u for u in utilities if has_maximum(u)]
        log = log.only(rows, log.step)
    found = _Look.at(log, utilities, held, given, rng).diagnosis()
    notes = (*found.notes, *of_splits(log, splits), *learned_notes)
    return replace(
        found,
        steps=steps if len({part.step for part in steps}) > 1 else (),
        splits=splits,
        memory=learned,
        notes=notes,
    )


def _lines(
    parts: Iterable[tuple[str, RewardLog]], domain: Domain, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return a line for each part and split in which a prompt has two completions."""
    found = []
    for name, part in parts:
        for split, log in by_split(part):
            if log.rewards.size and np.bincount(log.prompts).max() > 1:
                look = _Look.at(log, [], domain, None, rng).diagnosis()
                found.append(look.part(name or split or "", split))
    return tuple(found)


def _utilities(given: Any) -> list[Utility]:
    if given is None:
        given = DEFAULT_UTILITIES
    several = [given] if isinstance(given, Utility | str) else list(given)
    return list(dict.fromkeys(utility(u) for u in several))


@dataclass
class _Look:
    """One look at a log: what is compared, measured and said."""

    log: RewardLog
    stats: OrderStatistics
    utilities: list[Utility]
    domain: Domain
    given: RewardMap | None
    rng: np.random.Generator

    @classmethod
    def at(
        cls,
        log: RewardLog,
        utilities: list[Utility],
        domain: Domain,
        scale: RewardMap | None,
        rng: np.random.Generator,
    ) -> Self:
        """Return a look at a log, which must have a prompt of two completions."""
        stats = OrderStatistics.of(log.rewards, log.prompts, log.kinds)
        if not stats.count:
            column = dict(log.columns).get("prompt")
            named = f", {column!r}," if column else ""
            raise CollapseError(
                f"none of the {log.count} prompts has two completions: is the prompt column{named} "
                "the right one? Collapse is about the rewards of several completions of one prompt"
            )
        return cls(log, stats, utilities, domain, scale, rng)

    def __post_init__(self) -> None:
        self.level_off = same_level(self.stats)
        raw = isinstance(self.domain, Box) and not self.level_off
        self.name = "as they are" if raw else "centred"
        self.names = self.log.kind_names if self.log.kinds is not None else ("all",)
        self.counts = {k: n for k, n in enumerate(np.bincount(self.stats.kinds).tolist()) if n}
        self.judged = [kind for kind, n in self.counts.items() if n >= KIND_PROMPTS]

    def diagnosis(self) -> Diagnosis:
        """Return the diagnosis."""
        stats, log = self.stats, self.log
        flat = flat_prompts(stats)[0]
        spread = spread_of(stats)
        how = normalised(stats, flat)
        compared, wild = self._compared()
        shown = stats if self.name == "as they are" else stats.centred()
        scale = self.given or map_of(shown)
        views = self._views(compared) if scale is not None else ()
        counts = next((view for view in views if view.name == self.name), None)
        take, several = TAKEN[self.name], len(set(compared.kinds.tolist())) > 1
        apart = kinds_apart(compared, take, self.rng) if views and several else None
        kinds = self._kinds(shown, scale)
        width = scale.width if scale else 1.0
        sizes = int(stats.sizes.min()), int(stats.sizes.max())
        right = None
        if log.ranks is not None:
            right = pairs_right(log.rewards, log.prompts, log.ranks)
        on_scale = tuple(_on_scale(view, width) for view in views)
        verdict = verdict_of(
            Evidence(
                view=next((v for v in on_scale if v.name == self.name), None),
                others=on_scale,
                spread=spread,
                total=stats.count,
                prompts=compared.count,
                kinds=tuple(self.names[kind] for kind in sorted(set(compared.kinds.tolist()))),
                apart=apart,
                groups=groups_of(compared, take) if counts and not several else None,
                width=width,
                sizes=sizes,
                normalised=how,
                wild=wild[0],
                nearest=_nearest(kinds) if sizes[1] > 3 else None,
            )
        )
        small = {self.names[k]: n for k, n in self.counts.items() if k not in self.judged}
        notes = notes_of(log, stats, spread, how, wild, small, kinds, right, verdict.outcome)
        if self.level_off and how is None and verdict.outcome != "no spread":
            notes = (*notes, LEVEL_OFF)
        return Diagnosis(
            outcome=verdict.outcome,
            reason=verdict.reason,
            advice=verdict.advice,
            notes=notes,
            view=self.name,
            views=on_scale,
            shares=shares_of(compared) if views else None,
            spread=spread,
            kinds_apart=apart and _divided(apart.distance, width),
            kinds_p=apart and apart.p,
            scale=scale,
            kinds=kinds,
            prompts=stats.count,
            rows=int(stats.rewards.size),
            compared=compared.count,
            completions=sizes,
            ranked_right=right,
            read=log.read,
            bad=log.bad,
            step=log.step,
        )

    def _compared(self) -> tuple[OrderStatistics, tuple[int, int]]:
        """Return the prompts to compare; and how many have wild rewards, and how many those are.

        Those of kinds large enough; without prompts of wild rewards, unless they are the most; at
        most 40,000. The permutation tests take those with wild rewards, too: left out, prompts
        would no longer be draws of one law.
        """
        keep = np.isin(self.stats.kinds, self.judged)
        wild = wild_rewards(self.stats)
        tame = keep & (wild == 0)
        if tame.sum() >= max(_ENOUGH, 0.5 * keep.sum()):
            keep = tame
        if keep.sum() > _MOST_PROMPTS:
            some = self.rng.permutation(np.flatnonzero(keep))[:_MOST_PROMPTS]
            keep = np.zeros_like(keep)
            keep[some] = True
        return self.stats.kept(keep), (int((wild > 0).sum()), int(wild.sum()))

    def _views(self, compared: OrderStatistics) -> tuple[View, ...]:
        """Return the three views, each with its own outcome."""
        found: list[View] = []
        if compared.count < 2:
            return ()
        free = int(compared.sizes.sum()) - compared.count
        ragged = compared.sizes.min() < compared.sizes.max()
        for name in TAKEN:
            view = view_of(name, compared, self.rng)
            if view is None or (name == "scaled" and compared.sizes.max() < 3):
                continue
            view = judged(view, free)
            allowing = list(self._allowing(name, compared)) if ragged and name != "scaled" else []
            if view.outcome is None:
                view = next((v for v in allowing if v.outcome == "collapsed"), view)
            if name != "scaled" and view.outcome != "collapsed":
                test = prompts_differ if name == "as they are" else prompts_differ_beyond_level
                view = judged(replace(view, p=test(self.stats, self.rng)), free)
            if view.outcome == "one law" and view.ratio.low <= share_gone(compared.sizes):
                view = replace(view, outcome=None)
            found.append(view)
        fair = next(self._allowing("as they are", compared), None) if ragged else None
        return with_levels(found, fair)

    def _allowing(self, name: str, compared: OrderStatistics) -> Iterator[View]:
        """Yield the views that allow for missing completions, by ranks and by random subsets."""
        level = name == "as they are"
        for own in (by_rank(self.log, compared, level), as_subsets(compared, level)):
            view = own and view_of(name, compared, self.rng, own)
            if view is not None:
                yield judged(view, 0)

    def _kinds(self, shown: OrderStatistics, scale: RewardMap | None) -> tuple[KindSummary, ...]:
        # Where all rewards are equal any scale will do: it only has a place to stand.
        drawn = scale or RewardMap(float(shown.rewards[0]), float(shown.rewards[0]) + 1.0)
        found = []
        for kind in self.counts:
            near = predictions_of(self.utilities, shown, kind, drawn, self.domain) if scale else ()
            found.append(summary_of(self.names[kind], kind, shown, drawn, near))
        return tuple(found)


def _on_scale(view: View, width: float) -> View:
    if view.name == "scaled":
        return view
    return replace(view, within=view.within / width**2, reference=view.reference / width**2)


def _divided(measure: Measure, width: float) -> Measure:
    return Measure(measure.value / width, measure.low / width, measure.high / width)


def _nearest(kinds: Sequence[KindSummary]) -> str | None:
    """Return the utility that all kinds' rewards look like."""
    best = [kind.predictions[0] for kind in kinds if kind.predictions]
    alike = len({near.utility for near in best}) == 1 and all(near.error <= 0.05 for near in best)
    return best[0].utility if alike else None
