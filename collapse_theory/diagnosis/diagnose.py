"""`ct.diagnose`: from a log's rewards to a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from collapse_theory.data.reading import Named, log_of
from collapse_theory.data.reward_log import RewardLog
from collapse_theory.diagnosis.diagnosis import Diagnosis
from collapse_theory.diagnosis.inside import (
    flat_prompts,
    pairs_right,
    spread_of,
    wild_rewards,
)
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.kinds import groups_of, kinds_apart
from collapse_theory.diagnosis.likeness import TAKEN, View, shares_of, view_of
from collapse_theory.diagnosis.missing import as_subsets, by_rank, share_gone
from collapse_theory.diagnosis.normalised import hiding, normalised, same_level
from collapse_theory.diagnosis.order_statistics import OrderStatistics, RewardMap, map_of
from collapse_theory.diagnosis.parts import (
    Part,
    by_split,
    has_maximum,
    is_trained,
    remembered,
    windows,
)
from collapse_theory.diagnosis.permutation import prompts_differ, prompts_differ_beyond_level
from collapse_theory.diagnosis.summary import KindSummary, predictions_of, summary_of
from collapse_theory.diagnosis.verdict import (
    KIND_PROMPTS,
    judged,
    notes_of,
    of_splits,
    verdict_of,
    with_levels,
)
from collapse_theory.errors import CollapseError
from collapse_theory.programs import Box, Domain, DomainLike, Free, as_domain
from collapse_theory.utilities import Utility, utility

_LARGEST = 1e100
DEFAULT_UTILITIES = ("x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)")
"""What the paper's experiments trained; a log is compared with these unless others are given."""

_MOST_PROMPTS = 40_000  # that are compared; of more, so many at random
_ENOUGH = 10  # prompts without wild rewards: then the others are left out of the comparison


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
    **named: Unpack[Named],
) -> Diagnosis:
    """Tell from a log of rewards whether the model has collapsed.

    index = max(0, 1 - W / R), with W the variance of order statistics between prompts of a kind
    and R what it is for prompts whose completions are drawn at random from the pooled log.
    docs/diagnosis.md has the formulas, the verdict's rule and its measured error rates.

    Parameters
    ----------
    rewards : (rows,) array, (P, n) array, RewardLog, or what `read_log` takes
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
    **named
        The columns and rows of a file or a frame, as in `read_log`: prompt="question", ...

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
    log = log_of(rewards, prompts, kinds, ranks, **named)
    _require_ordinary(log.rewards)
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
    found = _Look(log, utilities, held, given, rng).diagnosis()
    notes = (*found.notes, *of_splits(log, splits), *learned_notes)
    return replace(
        found,
        steps=steps if len({part.step for part in steps}) > 1 else (),
        splits=splits,
        memory=learned,
        notes=notes,
    )


def _require_ordinary(rewards: np.ndarray) -> None:
    """Refuse rewards whose squares leave float64."""
    most = int(np.argmax(np.abs(rewards)))
    if np.abs(rewards[most]) > _LARGEST:
        raise CollapseError(
            f"the reward {rewards[most]:g} (number {most}, from 0) is too large to be squared: if "
            "such numbers stand for missing rewards, leave them out or empty, else divide all"
        )
    if 0 < np.ptp(rewards) < 1 / _LARGEST:
        raise CollapseError(
            f"rewards from {rewards.min():g} to {rewards.max():g} are too close to be squared; "
            "multiply all, or log their logarithms"
        )


def _lines(
    parts: Iterable[tuple[str, RewardLog]], domain: Domain, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return a line for each part and split in which a prompt has two completions.

    Each is looked at with the same random numbers: so what is alike has the same figures.
    """
    found = []
    for name, part in parts:
        for split, log in by_split(part):
            if log.rewards.size and np.bincount(log.prompts).max() > 1:
                look = _Look(log, [], domain, None, deepcopy(rng)).diagnosis()
                found.append(look.part(name or split or "", split))
    return tuple(found)


def _utilities(given: Any) -> list[Utility]:
    if given is None:
        given = DEFAULT_UTILITIES
    several = [given] if isinstance(given, Utility | str) else list(given)
    return list(dict.fromkeys(utility(u) for u in several))


class _Look:
    """One look at a log, which must have a prompt of two completions: compared, measured, told."""

    def __init__(
        self,
        log: RewardLog,
        utilities: list[Utility],
        domain: Domain,
        scale: RewardMap | None,
        rng: np.random.Generator,
    ) -> None:
        self.log, self.utilities, self.domain, self.rng = log, utilities, domain, rng
        self.stats = stats = OrderStatistics.of(log.rewards, log.prompts, log.kinds)
        if not stats.count:
            column = dict(log.columns).get("prompt")
            named = f", {column!r}," if column else ""
            raise CollapseError(
                f"none of the {log.count} prompts has two completions: is the prompt column{named} "
                "the right one? Collapse is about the rewards of several completions of one prompt"
            )
        self.level_off = same_level(stats)
        raw = isinstance(domain, Box) and not self.level_off
        self.name = "as they are" if raw else "centred"
        self.shown = stats if raw else stats.centred()
        self.scale = scale or map_of(self.shown)
        self.missing = False  # whether missing completions explain how prompts differ
        self.names = log.kind_names if log.kinds is not None else ("all",)
        self.counts = {k: n for k, n in enumerate(np.bincount(stats.kinds).tolist()) if n}
        self.judged = [kind for kind, n in self.counts.items() if n >= KIND_PROMPTS]

    def diagnosis(self) -> Diagnosis:
        """Return the diagnosis."""
        stats, log = self.stats, self.log
        compared, wild = self._compared()
        width = self.scale.width if self.scale else 1.0
        views = self._views(compared)
        take, several = TAKEN[self.name], len(set(compared.kinds.tolist()))
        apart = kinds_apart(compared, take, self.rng) if views and several > 1 else None
        found = Diagnosis(
            outcome=None,
            reason="",
            advice="",
            notes=(),
            view=self.name,
            views=tuple(_on_scale(view, width) for view in views),
            shares=shares_of(compared) if views else None,
            spread=spread_of(stats),
            kinds_apart=apart and _divided(apart.distance, width),
            kinds_p=apart and apart.p,
            scale=self.scale,
            kinds=self._kinds(),
            prompts=stats.count,
            rows=int(stats.rewards.size),
            compared=compared.count,
            completions=(int(stats.sizes.min()), int(stats.sizes.max())),
            ranked_right=pairs_right(log),
            read=log.read,
            bad=log.bad,
            step=log.step,
        )
        how = normalised(stats, flat_prompts(stats))
        outcome, reason, advice = verdict_of(
            found,
            kinds=several,
            variance=apart and apart.variance / width**2,
            groups=groups_of(compared, take) if found.counts else None,
            normalised=how,
            wild=wild[0],
            hides=hiding(stats),
        )
        found = replace(found, outcome=outcome, reason=reason, advice=advice)
        small = {self.names[k]: n for k, n in self.counts.items() if k not in self.judged}
        notes = notes_of(log, found, stats.single, small, how, self.level_off and not how, wild)
        return replace(found, notes=notes)

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
        fair = None
        if compared.count < 2 or self.scale is None:
            return ()
        free = int(compared.sizes.sum()) - compared.count
        ragged = compared.sizes.min() < compared.sizes.max()
        for name in TAKEN:
            view = view_of(name, compared, self.rng)
            if view is None or (name == "scaled" and compared.sizes.max() < 3):
                continue
            view = judged(view, free)
            allowing = list(self._allowing(name, compared)) if ragged and name != "scaled" else []
            if name == "as they are" and allowing:
                fair = allowing[0]
            if view.outcome is None and any(v.outcome == "collapsed" for v in allowing):
                view = next(v for v in allowing if v.outcome == "collapsed")
                self.missing |= name == self.name
            if name != "scaled" and view.outcome != "collapsed":
                test = prompts_differ if name == "as they are" else prompts_differ_beyond_level
                view = judged(replace(view, p=test(self.stats, self.rng)), free)
            if view.outcome == "one law" and view.ratio.low <= share_gone(compared.sizes):
                view = replace(view, outcome=None)
            found.append(view)
        return with_levels(found, fair)

    def _allowing(self, name: str, compared: OrderStatistics) -> Iterator[View]:
        """Yield the views that allow for missing completions, by ranks and by random subsets."""
        level = name == "as they are"
        for own in (by_rank(self.log, compared, level), as_subsets(compared, level)):
            view = own and view_of(name, compared, self.rng, own)
            if view is not None:
                yield judged(view, 0)

    def _kinds(self) -> tuple[KindSummary, ...]:
        # Where all rewards are equal any scale will do: it only has a place to stand.
        scale = self.scale or RewardMap(self.shown.rewards[0], self.shown.rewards[0] + 1.0)
        utilities, found = self.utilities if self.scale else (), []
        for kind in self.counts:
            own = self.shown.kept(self.shown.kinds == kind)
            block = own.at(np.arange(own.count), self.shown.levels)
            near = predictions_of(utilities, own, block, scale, self.domain, self.missing)
            found.append(summary_of(self.names[kind], own, block, scale, near))
        return tuple(found)


def _on_scale(view: View, width: float) -> View:
    if view.name == "scaled":
        return view
    return replace(view, within=view.within / width**2, reference=view.reference / width**2)


def _divided(measure: Measure, width: float) -> Measure:
    return Measure(measure.value / width, measure.low / width, measure.high / width)
