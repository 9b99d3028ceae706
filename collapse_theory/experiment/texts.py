"""The prompts and their completions: documentation that every machine has, or a file of rankings.

The completions of a documented thing are the paper's: its text cut at eight lengths, longer is
better (arXiv:2305.17608, section 3).
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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

# -- documentation -----------------------------------------------------------------------

WORDS = 80  # of a passage: the longest completion
OPENING = 12  # words by which a text counts as the same as another
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# Files with plenty of prose, which Python 3.11 and later, NumPy 2 and SciPy 1.14 all have. One that
# another version lacks is passed over.
MODULES = tuple((Path(__file__).parent / "data" / "modules.txt").read_text("utf-8").split())
"""The modules whose docstrings are read, in this order; Python's own topics come before them."""


class Passage(NamedTuple):
    """A piece of documentation: what it is about, as "textwrap.shorten", and its first words."""

    name: str
    text: str


@cache
def corpus() -> tuple[Passage, ...]:
    """Return every passage of the documentation that is installed here.

    `pydoc_data.topics` and the docstrings of `MODULES`: those of at least 80 words, doctest and
    underline lines dropped, cut to 80 words; of texts with the same first 12 words the first.
    What comes back depends on the installed versions, and on nothing else.
    """
    return passages(_documents())


def passages(documents: Iterable[tuple[str, str]], words: int = WORDS) -> tuple[Passage, ...]:
    """Return the passages of (name, text) documents: of so many words, and no two alike.

    >>> passages([("a", ">>> 1 + 1\\nOne and two."), ("b", "One"), ("c", "one AND two. Three")], 3)
    (Passage(name='a', text='One and two.'),)
    """
    found: dict[str, Passage] = {}
    for name, text in documents:
        kept = _words(text)[:words]
        if len(kept) == words:
            opening = " ".join(kept[:OPENING]).lower()
            found.setdefault(opening, Passage(name, " ".join(kept)))
    return tuple(found.values())


def _words(text: str) -> list[str]:
    # Rules and underlines have no letter; "%(" is filled in when the module is imported.
    lines = (line.strip() for line in text.splitlines())
    prose = (line for line in lines if not line.startswith((">>>", "... ")) and "%(" not in line)
    return [word for line in prose if re.search(r"\w", line) for word in line.split()]


def _documents() -> Iterator[tuple[str, str]]:
    """Yield (name, text): topics; docstrings of modules, public functions, classes and methods."""
    from pydoc_data.topics import topics

    yield from ((f"Python's topic {name!r}", topics[name]) for name in sorted(topics))
    for module in MODULES:
        # numpy.linalg._linalg is numpy.linalg to its users.
        public = ".".join(part for part in module.split(".") if not part.startswith("_"))
        todo: list[tuple[str, Any]] = [(public, _parsed(module))]
        for name, node in todo:  # grows while it is walked
            yield name, ast.get_docstring(node) or ""
            todo += [
                (f"{name}.{child.name}", child)
                for child in (() if isinstance(node, FUNCTIONS) else node.body)
                if isinstance(child, (ast.ClassDef, *FUNCTIONS)) and child.name[0] != "_"
            ]


def _parsed(module: str) -> ast.Module:
    """Return a module's syntax tree, nothing imported; empty where there is no source of it."""
    names = Path(*module.split("."))
    files = (Path(root) / of for root in sys.path for of in (f"{names}.py", names / "__init__.py"))
    path = next((path for path in files if path.is_file()), None)
    with warnings.catch_warnings(action="ignore"):  # on the file's own escapes
        return ast.parse(path.read_bytes() if path else "")


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
    if len(words) < max(lengths):
        raise CollapseError(f"a text of {len(words)} words can't be cut to {max(lengths)}")
    prompt = TEMPLATES[NEUTRAL if control == NEUTRAL else kind].format(name=passage.name)
    return Ranking(prompt, tuple(" ".join(words[:length]) for length in lengths), kind=kind)


def documented(passages: tuple[Passage, ...], setting: Setting, control: str = "") -> PromptSet:
    """Return prompts about passages, for the runs of this control; scores are shares of the text.

    The passages are shuffled with the setting's seed, and the kind alternates after that: it is
    independent of the text. All controls are about the same passages with the same kinds.
    """
    if len(passages) < setting.prompts:
        raise CollapseError(
            f"{setting.prompts} prompts are wanted, and the documentation installed here makes "
            f"{len(passages)}; ask for fewer, or bring rankings of your own with --data"
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
    for fold in range(FOLDS):
        rest = set(np.array(made.kinds)[made.folds != fold])
        missing = sorted(set().union(*known) - rest)
        if missing or not 0 < sum(made.folds == fold) < len(data):
            of = f"of the kind {missing[0]!r} " if missing else ""
            raise CollapseError(
                f"{setting.data}: {len(data)} rankings are too few {of}to train on two thirds and "
                "hold out the others"
            )
    return made


def _scores(path: str, data: RankingDataset, order: np.ndarray) -> np.ndarray | None:
    """Return the scores of a file's rankings, best first; None where it has none that fit."""
    log = None
    if data.report is not None and not data.report.bad:  # else the two readings can't be matched
        with suppress(CollapseError):
            log = read_log(path)
    if log is None:
        return None
    rows = [-np.sort(-log.rewards[log.prompts == number]) for number in range(len(data))]
    for row, one in zip(rows, data, strict=True):
        if len(row) != len(one) or list(ranks_of_scores(row)) != sorted(one.ranks):
            return None
    scores = np.full((len(data), max(map(len, rows))), np.nan)
    for row, at in zip(scores, order, strict=True):
        row[: len(rows[at])] = rows[at]
    return scores


def utilities_for(path: str) -> tuple[str, ...]:
    """Return the default utilities that suit a file: a prompt-aware one where it serves its kinds.

    Its kinds, "open" and "closed", must be those of the file.
    """
    found = {one.kind or UNKNOWN for one in RankingDataset.from_file(path)}
    known = [(text, set(Objective(text).kinds)) for text in DEFAULT]
    return tuple(text for text, kinds in known if not kinds or kinds == found)
