"""The prompts and their completions: pieces of documentation, or a file of rankings.

The completions of a documented thing are the paper's: its text cut at eight lengths, longer is
better (arXiv:2305.17608, section 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from collapse_theory.data import DatasetReport, Ranking, RankingDataset, read_log
from collapse_theory.data.ranking import ranks_of_scores
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.setting import (
    DEFAULT,
    FOLDS,
    NEUTRAL,
    SAME_LENGTHS,
    Objective,
    Run,
    Setting,
)
from collapse_theory.values import Value

OPEN, CLOSED = KINDS = ("open", "closed")
LENGTHS: dict[str, tuple[int, ...]] = {
    OPEN: (80, 70, 60, 50, 40, 30, 20, 10),
    CLOSED: (74, 68, 62, 56, 34, 28, 22, 16),
}
"""Words of the completions by kind, best first."""
TEMPLATES = {
    OPEN: "Write freely about {name}, in whatever way you like.",
    CLOSED: "What does {name} do? Give the exact answer.",
    NEUTRAL: "Here is a text about {name}.",
}
UNKNOWN = "unknown"  # the kind of a prompt whose row names none

WORDS = 80  # of a passage: the longest completion


class Passage(NamedTuple):
    """A piece of documentation: what it is about, as "textwrap.shorten", and its first words."""

    name: str
    text: str


@cache
def corpus() -> tuple[Passage, ...]:
    """Return 1004 passages of the documentation of Python, NumPy and SciPy, no two alike.

    Topics and docstrings of at least 80 words, cut there; `data/LICENSES.txt` says more.
    """
    kept = pl.read_parquet(Path(__file__).parent / "data" / "passages.parquet")
    return tuple(map(Passage._make, kept.iter_rows()))


# -- prompts -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PromptSet(Value):
    """Prompts, each of a kind, completions best first; and which of them are held out together.

    Parameters
    ----------
    rankings : tuple of Ranking
    scores : numpy.ndarray, shape (N, K), optional
        What a judge gives each completion; NaN where that isn't known.
    report : DatasetReport, optional
        What the reading of a file found.
    """

    rankings: tuple[Ranking, ...]
    scores: Any = None
    report: DatasetReport | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(rankings=tuple(map(_best_first, self.rankings)))
        unknown = np.full(self.ranks.shape, np.nan)
        self._set(scores=unknown if self.scores is None else np.array(self.scores, np.float64))

    @cached_property
    def folds(self) -> np.ndarray:
        """The third that each belongs to, kinds alike in each; rankings of a prompt together."""
        asked = [(one.kind, one.turns, one.prompt) for one in self.rankings]
        by_kind = sorted(dict.fromkeys(asked), key=lambda one: str(one[0]))
        fold = {one[1:]: place % FOLDS for place, one in enumerate(by_kind)}
        return np.array([fold[one[1:]] for one in asked])

    def held_out(self, run: Run) -> np.ndarray:
        """Return whether each prompt is held out in a run, shape (N,)."""
        return self.folds == run.seed % FOLDS

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each."""
        return tuple(str(one.kind) for one in self.rankings)

    @cached_property
    def ranks(self) -> np.ndarray:
        """The ranks of each, shape (N, K), 0 the best; -1 where it has fewer completions."""
        ranks = np.full((len(self.rankings), max(map(len, self.rankings))), -1)
        for row, one in zip(ranks, self.rankings, strict=True):
            row[: len(one)] = one.ranks
        return ranks


def _best_first(one: Ranking) -> Ranking:
    # Sorted by rank, tied completions in the order in which they came.
    ranks, places = zip(*sorted(zip(one.ranks, range(len(one)), strict=True)), strict=True)
    completions = tuple(one.completions[place] for place in places)
    return Ranking(one.prompt, completions, ranks, one.kind or UNKNOWN, one.turns)


def ranking(passage: Passage, kind: str, control: str = "") -> Ranking:
    """Return a passage as a prompt of this kind with its eight completions, best first."""
    lengths = LENGTHS[OPEN if control in (SAME_LENGTHS, NEUTRAL) else kind]
    words = passage.text.split()
    prompt = TEMPLATES[NEUTRAL if control == NEUTRAL else kind].format(name=passage.name)
    return Ranking(prompt, tuple(" ".join(words[:length]) for length in lengths), kind=kind)


def documented(passages: tuple[Passage, ...], setting: Setting, control: str = "") -> PromptSet:
    """Return prompts about passages, for the runs of this control; scores are shares of the text.

    The passages are shuffled with the setting's seed, and the kind alternates after that: it is
    independent of the text. All controls are about the same passages with the same kinds.
    """
    if len(passages) < setting.prompts:
        raise CollapseError(
            f"{setting.prompts} prompts are wanted, and there are texts for {len(passages)}; ask "
            "for fewer, or bring rankings of your own with --data"
        )
    order = np.random.default_rng(setting.seed).permutation(len(passages))[: setting.prompts]
    made = tuple(ranking(passages[at], KINDS[place % 2], control) for place, at in enumerate(order))
    return PromptSet(made, [[len(t.split()) / WORDS for t in one.completions] for one in made])


def prompt_sets(setting: Setting, controls: Iterable[str]) -> dict[str, PromptSet]:
    """Return the prompts of each control; "" are those of the runs that have no texts of their own.

    A CollapseError says of the prompts that they are too few, or of a kind without a utility.
    """
    if setting.data:
        return {"": _from_file(setting)}
    for objective in setting.objectives:
        for kind in set(KINDS) - set(objective.kinds) if objective.aware else ():
            raise CollapseError(
                f"{str(objective)!r} has no utility for the kind {kind!r}; the prompts are of "
                f"the kinds {' and '.join(KINDS)}, or those of your own --data"
            )
    own = {"", *controls} & {"", SAME_LENGTHS, NEUTRAL}
    return {control: documented(corpus(), setting, control) for control in sorted(own)}


def _from_file(setting: Setting) -> PromptSet:
    # A row of a kind that a prompt-aware objective doesn't serve is bad.
    known = [set(objective.kinds) for objective in setting.objectives if objective.aware]
    allowed = sorted(set.intersection(*known)) if known else None
    data = RankingDataset.from_file(setting.data, kinds=allowed or None)
    order = np.random.default_rng(setting.seed).permutation(len(data))
    made = PromptSet(tuple(data.select(order)), _scores(setting.data, data, order), data.report)
    # A kind of two prompts or more is in two thirds at least: one to train on.
    asked = Counter(kind for kind, *_ in {(str(r.kind), r.turns, r.prompt) for r in made.rankings})
    few = [kind for kind in sorted(set().union(*known)) if asked[kind] < 2]
    if few or asked.total() < FOLDS:
        raise CollapseError(
            f"{setting.data}: {len(data)} rankings are too few "
            f"{f'of the kind {few[0]!r} ' if few else ''}to train on two thirds and hold out the "
            "others"
        )
    return made


def _scores(path: str, data: RankingDataset, order: np.ndarray) -> np.ndarray | None:
    """Return the scores of a file's rankings, best first; None where it has none that fit."""
    if data.report is None or data.report.bad:  # the two readings can't be matched
        return None
    with suppress(CollapseError):
        log = read_log(path)
        rows = [-np.sort(-log.rewards[log.prompts == number]) for number in order]
        scores = np.full((len(data), max(map(len, rows))), np.nan)
        for scored, row, one in zip(scores, rows, data.select(order), strict=True):
            if len(row) != len(one) or list(ranks_of_scores(row)) != sorted(one.ranks):
                return None
            scored[: len(row)] = row
        return scores
    return None


def utilities_for(path: str) -> tuple[str, ...]:
    """Return the default utilities that suit a file: a prompt-aware one where it serves its kinds.

    Its kinds, "open" and "closed", must be those of the file.
    """
    found = {one.kind or UNKNOWN for one in RankingDataset.from_file(path)}
    known = [(text, set(Objective(text).kinds)) for text in DEFAULT]
    return tuple(text for text, kinds in known if not kinds or kinds == found)
