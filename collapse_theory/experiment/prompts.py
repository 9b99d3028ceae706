"""The prompts of the experiment: which are trained on, which are held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from collapse_theory.data.dataset import DatasetReport, RankingDataset
from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.completions import KINDS, ranking
from collapse_theory.experiment.corpus import Passage, require
from collapse_theory.experiment.objectives import DEFAULT, Objective
from collapse_theory.experiment.runs import NEUTRAL, SAME_LENGTHS
from collapse_theory.experiment.settings import Setting
from collapse_theory.values import Value

__all__ = ["PromptSet", "documented", "from_file", "utilities_for"]

UNKNOWN = "unknown"  # the kind of a prompt whose row names none


@dataclass(frozen=True, eq=False)
class PromptSet(Value):
    """Prompts to train on and prompts held out, completions best first.

    Attributes
    ----------
    train, held_out : tuple of Ranking
        Each with a kind.
    report : DatasetReport or None
        What the reading of a file found.
    """

    train: tuple[Ranking, ...]
    held_out: tuple[Ranking, ...]
    report: DatasetReport | None = None

    def __post_init__(self) -> None:
        for name in ("train", "held_out"):
            object.__setattr__(self, name, tuple(map(_best_first, getattr(self, name))))

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """All of them, those to train on first."""
        return self.train + self.held_out

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each of the rankings."""
        return tuple(str(one.kind) for one in self.rankings)

    @property
    def ranks(self) -> np.ndarray:
        """The rank of each completion, shape (N, K), -1 where a prompt has fewer."""
        table = np.full((len(self.rankings), max(map(len, self.rankings))), -1)
        for row, one in zip(table, self.rankings, strict=True):
            row[: len(one)] = one.ranks
        return table


def documented(passages: tuple[Passage, ...], setting: Setting, control: str = "") -> PromptSet:
    """Return prompts about passages, for the runs of this control.

    The passages are shuffled with the setting's seed, and the kind alternates after that: it is
    independent of the text. All controls are about the same passages with the same kinds.

    Examples
    --------
    >>> texts = tuple(Passage(f"no. {i}", f"{i} " * 80) for i in range(9))
    >>> made = documented(texts, Setting(train=4, held_out=2))
    >>> [one.kind for one in made.rankings], made.train[0].prompt
    (['open', 'closed', 'open', 'closed', 'open', 'closed'],
     'Write freely about no. 4, in whatever way you like.')
    """
    count = setting.train + setting.held_out
    require(passages, count)
    order = np.random.default_rng(setting.seed).permutation(len(passages))[:count]
    made = tuple(
        ranking(
            passages[at],
            KINDS[place % 2],
            same_lengths=control in (SAME_LENGTHS, NEUTRAL),
            neutral=control == NEUTRAL,
        )
        for place, at in enumerate(order)
    )
    return PromptSet(made[: setting.train], made[setting.train :])


def from_file(setting: Setting) -> PromptSet:
    """Return the prompts of the setting's file, with the setting's share of them held out.

    Raises
    ------
    CollapseError
        A ValueError: no sensible row, or too few prompts.
    OSError
        Where the file can't be read.
    """
    wanted = {kind for objective in setting.objectives for kind in objective.kinds}
    data = RankingDataset.from_file(setting.data, kinds=_required(setting) or None)
    share = setting.held_out / (setting.train + setting.held_out)
    try:
        train, held_out = data.split(share, setting.seed)
    except CollapseError:
        raise CollapseError(
            f"{setting.data}: {len(data)} rankings are too few to train on some and hold out others"
        ) from None
    train, held_out = _kinds_named(train), _kinds_named(held_out)
    for kind in sorted(wanted - {one.kind for one in train}):
        raise CollapseError(f"{setting.data}: no training prompt is of the kind {kind!r}")
    return PromptSet(train, held_out, data.report)


def utilities_for(path: str) -> tuple[str, ...]:
    """Return the default utilities that suit a file.

    The prompt-aware one where its kinds, "open" and "closed", are those of the file.
    """
    found = {one.kind for one in _kinds_named(RankingDataset.from_file(path))}
    return tuple(
        text
        for text in DEFAULT
        if not Objective.parse(text).aware or found == set(Objective.parse(text).kinds)
    )


def _required(setting: Setting) -> tuple[str, ...]:
    """Return the kinds that all prompt-aware objectives serve: a row of another is bad."""
    known = [set(objective.kinds) for objective in setting.objectives if objective.aware]
    return tuple(sorted(set.intersection(*known))) if known else ()


def _kinds_named(rankings: Iterable[Ranking]) -> tuple[Ranking, ...]:
    return tuple(
        one
        if one.kind is not None
        else Ranking(one.prompt, one.completions, one.ranks, UNKNOWN, one.turns)
        for one in rankings
    )


def _best_first(one: Ranking) -> Ranking:
    ranks = one.ranks or ()
    order = sorted(range(len(one)), key=ranks.__getitem__)
    if order == list(range(len(one))):
        return one
    completions = tuple(one.completions[at] for at in order)
    return Ranking(one.prompt, completions, tuple(ranks[at] for at in order), one.kind, one.turns)
