"""The prompts and their completions: documentation that every machine has, or a file of rankings.

The completions of a documented thing are the paper's: its text cut at eight lengths, longer is
better (arXiv:2305.17608, section 3).
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from collapse_theory.data import DatasetReport, Ranking, RankingDataset
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.setting import (
    DEFAULT,
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

# Files with plenty of prose, which Python 3.11 and later, NumPy 2 and SciPy 1.14 all have. One that
# another version lacks is passed over.
_STANDARD = """
argparse ast asyncio.events asyncio.locks asyncio.streams asyncio.tasks base64 bdb cmd code
collections concurrent.futures._base configparser copy dataclasses datetime difflib dis doctest
email.header email.message email.policy email.utils fileinput fractions ftplib functools graphlib
gzip heapq hmac html.parser http.client http.cookiejar http.server imaplib importlib.abc inspect
ipaddress json.encoder locale logging logging.config logging.handlers mimetypes optparse pdb
pickletools pkgutil platform plistlib poplib profile pstats pyclbr pydoc random sched selectors
shelve shutil smtplib socket socketserver ssl statistics string subprocess sysconfig tarfile
tempfile textwrap threading timeit tokenize trace traceback types typing unittest.case unittest.mock
urllib.parse urllib.request uuid warnings wave wsgiref.handlers xml.etree.ElementTree xmlrpc.client
xmlrpc.server zipfile
"""
_NUMPY = """
numpy._core.fromnumeric numpy._core.numeric numpy.fft._pocketfft numpy.lib._arraysetops_impl
numpy.lib._function_base_impl numpy.lib._nanfunctions_impl numpy.lib._npyio_impl
numpy.lib._shape_base_impl numpy.lib._twodim_base_impl numpy.linalg._linalg numpy.ma.core
numpy.polynomial.chebyshev numpy.polynomial.polynomial
"""
_SCIPY = """
scipy.cluster.hierarchy scipy.integrate._quadpack_py scipy.interpolate._bsplines scipy.linalg._basic
scipy.linalg._decomp scipy.ndimage._filters scipy.ndimage._morphology scipy.optimize._minimize
scipy.optimize._root scipy.signal._filter_design scipy.signal._signaltools
scipy.sparse.linalg._isolve.iterative scipy.spatial.distance scipy.special._basic
scipy.stats._stats_py
"""
MODULES = tuple(f"{_STANDARD} {_NUMPY} {_SCIPY}".split())
"""The modules whose docstrings are read, in this order; Python's own topics come before them."""


class Passage(NamedTuple):
    """A piece of documentation: what it is about, as "textwrap.shorten", and its first words."""

    name: str
    text: str


@functools.cache
def corpus() -> tuple[Passage, ...]:
    """Return every passage of the documentation that is installed here.

    `pydoc_data.topics` and the docstrings of `MODULES`: those of at least 80 words, doctest and
    underline lines dropped, cut to 80 words; of texts with the same first 12 words the first.
    What comes back depends on the installed versions, and on nothing else.
    """
    return passages(_documents())


def passages(documents: Iterable[tuple[str, str]], words: int = WORDS) -> tuple[Passage, ...]:
    """Return the passages of (name, text) documents: of so many words, and no two alike.

    Examples
    --------
    >>> passages([("a", ">>> 1 + 1\\nOne and two."), ("b", "One"), ("c", "one AND two. Three")], 3)
    (Passage(name='a', text='One and two.'),)
    """
    found: dict[tuple[str, ...], Passage] = {}
    for name, text in documents:
        kept = _words(text)[:words]
        if len(kept) == words:
            opening = tuple(word.lower() for word in kept[:OPENING])
            found.setdefault(opening, Passage(name, " ".join(kept)))
    return tuple(found.values())


def _words(text: str) -> list[str]:
    # Rules and underlines have no letter; "%(" is filled in when the module is imported.
    lines = (line.strip() for line in text.splitlines())
    prose = (line for line in lines if not line.startswith((">>>", "... ")) and "%(" not in line)
    return [word for line in prose if re.search(r"\w", line) for word in line.split()]


def _documents() -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"Python's topic {name!r}", topics[name]
    for module in MODULES:
        tree = _parsed(module)
        if tree is not None:
            # numpy.linalg._linalg is numpy.linalg to its users.
            public = ".".join(part for part in module.split(".") if not part.startswith("_"))
            yield from _docstrings(public, tree)


def _parsed(module: str) -> ast.Module | None:
    """Return a module's syntax tree, nothing run; None where there is no source of it here."""
    # Only the top package's place is looked up: for a submodule find_spec imports its parents.
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    places = [Path(spec.origin)] if spec and spec.has_location and spec.origin else []
    if rest:
        bases = [Path(at, *rest) for at in (spec and spec.submodule_search_locations) or ()]
        places = [p for at in bases for p in (at.with_suffix(".py"), at / "__init__.py")]
    path = next((path for path in places if path.is_file()), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the file's own escapes, no business of ours
            return None if path is None else ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _docstrings(name: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (name, docstring) of a module, its public functions, classes and their methods."""
    todo = [(name, node)]
    for name, node in todo:  # grows while it is walked
        text = ast.get_docstring(node)  # pyright: ignore[reportArgumentType]
        if text:
            yield name, text
        if isinstance(node, ast.Module | ast.ClassDef):
            todo += [
                (f"{name}.{child.name}", child)
                for child in node.body
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not child.name.startswith("_")
            ]


# -- prompts -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PromptSet(Value):
    """Prompts to train on and prompts held out, each of a kind, completions best first.

    `report` says what the reading of a file found.
    """

    train: tuple[Ranking, ...]
    held_out: tuple[Ranking, ...]
    report: DatasetReport | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(train=tuple(map(_best_first, self.train)))
        self._set(held_out=tuple(map(_best_first, self.held_out)))

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """All of them, those to train on first."""
        return self.train + self.held_out

    @property
    def counts(self) -> tuple[tuple[str, int, int], ...]:
        """Kind, prompts to train on and prompts held out."""
        train, held = (Counter(str(r.kind) for r in part) for part in (self.train, self.held_out))
        return tuple((kind, train[kind], held[kind]) for kind in sorted(train | held))


def _best_first(one: Ranking) -> Ranking:
    # Sorted by rank, tied completions in the order in which they came.
    pairs = sorted(zip(one.ranks, one.completions, strict=True), key=lambda pair: pair[0])
    completions, ranks = tuple(text for _, text in pairs), tuple(rank for rank, _ in pairs)
    return Ranking(one.prompt, completions, ranks, one.kind or UNKNOWN, one.turns)


def ranking(passage: Passage, kind: str, control: str = "") -> Ranking:
    """Return a passage as a prompt of this kind with its eight completions, best first.

    Examples
    --------
    >>> made = ranking(Passage("str.upper", "word " * 80), "closed")
    >>> made.prompt, [len(text.split()) for text in made.completions]
    ('What does str.upper do? Give the exact answer.', [74, 68, 62, 56, 34, 28, 22, 16])
    """
    lengths = LENGTHS[OPEN if control in (SAME_LENGTHS, NEUTRAL) else kind]
    words = passage.text.split()
    if len(words) < max(lengths):
        raise CollapseError(f"a text of {len(words)} words can't be cut to {max(lengths)}")
    prompt = TEMPLATES[NEUTRAL if control == NEUTRAL else kind].format(name=passage.name)
    return Ranking(prompt, tuple(" ".join(words[:length]) for length in lengths), kind=kind)


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
    if len(passages) < count:
        raise CollapseError(
            f"{count} prompts are wanted, and the documentation installed here makes "
            f"{len(passages)}; ask for fewer, or bring rankings of your own with --data"
        )
    order = np.random.default_rng(setting.seed).permutation(len(passages))[:count]
    made = tuple(ranking(passages[at], KINDS[place % 2], control) for place, at in enumerate(order))
    return PromptSet(made[: setting.train], made[setting.train :])


def prompt_sets(setting: Setting, runs: Sequence[Run]) -> dict[str, PromptSet]:
    """Return the prompts of the runs by control; "" are those of the runs that are none.

    A CollapseError says where there's no sensible row, too few prompts, a kind without a utility.
    """
    if setting.data:
        return {"": _from_file(setting)}
    for objective in setting.objectives:
        for kind in set(KINDS) - set(objective.kinds) if objective.aware else ():
            raise CollapseError(
                f"{str(objective)!r} has no utility for the kind {kind!r}; the prompts are of "
                f"the kinds {' and '.join(KINDS)}, or those of your own --data"
            )
    passages = corpus()
    controls = sorted({"", *(run.control for run in runs)})
    return {control: documented(passages, setting, control) for control in controls}


def _from_file(setting: Setting) -> PromptSet:
    # A row of a kind that a prompt-aware objective doesn't serve is bad.
    known = [set(objective.kinds) for objective in setting.objectives if objective.aware]
    allowed = sorted(set.intersection(*known)) if known else None
    data = RankingDataset.from_file(setting.data, kinds=allowed or None)
    share = setting.held_out / (setting.train + setting.held_out)
    try:
        train, held_out = data.split(share, setting.seed)
    except CollapseError:
        raise CollapseError(
            f"{setting.data}: {len(data)} rankings are too few to train on some and hold out others"
        ) from None
    for kind in sorted(set().union(*known) - {one.kind for one in train}):
        raise CollapseError(f"{setting.data}: no training prompt is of the kind {kind!r}")
    return PromptSet(tuple(train), tuple(held_out), data.report)


def utilities_for(path: str) -> tuple[str, ...]:
    """Return the default utilities that suit a file: a prompt-aware one where it serves its kinds.

    Its kinds, "open" and "closed", must be those of the file.
    """
    found = {one.kind or UNKNOWN for one in RankingDataset.from_file(path)}
    known = [(text, set(Objective(text).kinds)) for text in DEFAULT]
    return tuple(text for text, kinds in known if not kinds or kinds == found)
