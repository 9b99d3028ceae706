"""The columns that public ranking data comes in: one small reader a layout, and their registry.

A layout is recognised by its columns. Each reader turns one row into a `Ranking`, or, where a row
holds a single completion (HelpSteer), into a `Scored` that is gathered by prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from collapse_theory.data.columns import as_number, opened
from collapse_theory.data.ranking import Ranking, finite_number, ranks_of_scores
from collapse_theory.data.text import Bad, Row, row_or_bad
from collapse_theory.errors import CollapseError

Score = str | Mapping[str, float] | None
"""Which column ranks the completions, or a weighted sum of columns; None for the layout's own."""
Kind = str | Callable[[Row], str | None]
"""The column of the kind of prompt, or a function of the row."""
Turns = tuple[tuple[str, str], ...]
REPLY = "\n\nAssistant:"  # what comes before every reply in Anthropic's transcripts


@dataclass(frozen=True)
class Scored:
    """One completion and its score, of a layout that has a row for each."""

    prompt: str
    completion: str
    score: float


@dataclass(frozen=True)
class Layout:
    """A layout of columns: its name, the columns that tell it, and the reader of one row."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Row, Score], Ranking | Scored]


def _own(row: Row, score: Score) -> Ranking:
    """Completions best first, or with `ranks` (low is good) or `scores` (high is good)."""
    if isinstance(score, Mapping):
        raise CollapseError("score= is one column here: a sum of columns needs one row a response")
    if score is not None and row.get(score) is None:
        raise CollapseError(f"no column {score!r} to rank by; name one by score=")
    ranks, column = row.get("ranks"), score or "scores"
    if (score or ranks is None) and row.get(column) is not None:
        scores, completions = _list(row, column), _list(row, "completions")
        if len(scores) != len(completions):
            raise CollapseError(
                f"{len(completions)} completions but {len(scores)} scores: give one a completion"
            )
        ranks = ranks_of_scores(scores)
    ranks = () if ranks is None else opened(ranks)
    return Ranking(_text(row, "prompt"), opened(row["completions"]), ranks)


def _nectar(row: Row, score: Score) -> Ranking:
    """Nectar (berkeley-nest): a list of answers, each with its rank, 1 the best."""
    answers = _objects(row, "answers")
    ranks = ranks_of_scores(-finite_number("rank", answer.get("rank")) for answer in answers)
    texts = tuple(answer.get("answer", "") for answer in answers)
    return Ranking(_text(row, "prompt"), texts, ranks)


def _ultrafeedback(row: Row, score: Score) -> Ranking:
    """UltraFeedback (openbmb): a list of completions, each with ratings by aspect and scores."""
    answers = _objects(row, "completions")
    ranks = ranks_of_scores(_feedback(answer, score) for answer in answers)
    texts = tuple(answer.get("response", "") for answer in answers)
    return Ranking(_text(row, "instruction"), texts, ranks)


def _feedback(answer: Row, score: Score) -> float:
    # Not overall_score first: in the published file some 1s of it are written as 10.
    if score is not None:
        return _scored(answer, score)
    if answer.get("fine-grained_score") is not None:
        return _scored(answer, "fine-grained_score")
    aspects = answer.get("annotations") or {}
    ratings = [a.get("Rating") for a in aspects.values() if isinstance(a, Mapping)]
    known = [float(r) for r in ratings if r is not None and str(r).strip().isdigit()]
    return sum(known) / len(known) if known else _scored(answer, "overall_score")


def _helpsteer(row: Row, score: Score) -> Scored:
    """HelpSteer and HelpSteer2 (nvidia): one response a row, ratings 0 to 4 by attribute."""
    prompt, response = _text(row, "prompt"), _text(row, "response")
    return Scored(prompt, response, _scored(row, score or "helpfulness"))


def _pairs(row: Row, score: Score) -> Ranking:
    """A chosen and a rejected completion: texts or messages, with a prompt or with none.

    Messages that both share are the context; without a prompt, transcripts in Anthropic's form are
    parted after the last reply that both share.
    """
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        return _of_messages(chosen, rejected, prompt)
    turns: Turns = ()
    if prompt is None:
        prompt, chosen, rejected = _transcripts(chosen, rejected)
    elif isinstance(prompt, list | tuple):
        turns, prompt = _parted(_messages(prompt, "prompt"))
    return Ranking(prompt, (chosen, rejected), turns=turns)


def _of_messages(chosen: Any, rejected: Any, prompt: Any) -> Ranking:
    before = _messages(prompt, "prompt") if isinstance(prompt, list | tuple) else ()
    one = (*before, *_messages(chosen, "chosen"))
    other = (*before, *_messages(rejected, "rejected"))
    if not before and isinstance(prompt, str) and one[0][0] == "assistant":
        # The messages are the replies alone.
        one, other = (("user", prompt), *one), (("user", prompt), *other)
    if len(one) != len(other) or one[:-1] != other[:-1]:
        raise CollapseError("chosen and rejected differ before their last message")
    turns, asked = _parted(one[:-1])
    return Ranking(asked, (one[-1][1], other[-1][1]), turns=turns)


def _messages(values: Any, name: str) -> Turns:
    if not isinstance(values, list | tuple) or not values:
        raise CollapseError(f"{name} must be text or a list of messages, got {values!r:.40}")
    turns = []
    for message in values:
        there = message if isinstance(message, Mapping) else {}
        role, text = there.get("role"), there.get("content")
        if not (isinstance(role, str) and isinstance(text, str)):
            raise CollapseError(f"a message of {name} needs a role and a content that are text")
        turns.append((role, text))
    return tuple(turns)


def _parted(turns: Turns) -> tuple[Turns, str]:
    """Part the last message, the prompt, from those before it."""
    if not turns:
        return (), ""
    if turns[-1][0] != "user":
        raise CollapseError(f"the last message before the reply is by {turns[-1][0]!r}, not 'user'")
    return turns[:-1], turns[-1][1]


def _transcripts(chosen: str, rejected: str) -> tuple[str, str, str]:
    same = takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))
    shared = "".join(one for one, _ in same)
    if REPLY not in shared:
        return "", chosen, rejected
    at = shared.rfind(REPLY) + len(REPLY)
    return shared[:at].strip(), chosen[at:].strip(), rejected[at:].strip()


def _text(row: Row, name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str):
        raise CollapseError(f"{name} must be text, got {type(text).__name__}")
    if not text.strip():
        raise CollapseError(f"the {name} is empty")
    return text


def _list(row: Row, name: str) -> list[Any]:
    values = opened(row[name])
    if not isinstance(values, list | tuple):
        raise CollapseError(f"{name} must be a list, got {type(values).__name__}")
    return list(values)


def _objects(row: Row, name: str) -> list[Row]:
    values = _list(row, name)
    for value in values:
        if not isinstance(value, Mapping):
            raise CollapseError(f"{name} must hold objects, got {type(value).__name__}")
    return values


def _scored(row: Row, score: str | Mapping[str, float]) -> float:
    weights = {score: 1.0} if isinstance(score, str) else score
    total = 0.0
    for name, weight in weights.items():
        if name not in row:
            raise CollapseError(f"no column {name!r} to rank by; name one by score=")
        total += weight * finite_number(name, as_number(row[name]))
    return total


LAYOUTS = (
    Layout("nectar", ("prompt", "answers"), _nectar),
    Layout("ultrafeedback", ("instruction", "completions"), _ultrafeedback),
    Layout("own", ("prompt", "completions"), _own),
    Layout("helpsteer", ("prompt", "response"), _helpsteer),
    Layout("pairs", ("chosen", "rejected"), _pairs),
)
"""Tried in this order; to read another layout is one reader and one line here."""


def _layout_named(name: str) -> Layout:
    """Return the layout of that name."""
    known = {layout.name: layout for layout in LAYOUTS}
    if name not in known:
        raise CollapseError(f"unknown layout {name!r}; known: {', '.join(known)}")
    return known[name]


def _recognised(row: Row, where: str) -> Layout:
    """Return the layout whose columns a row has.

    Raises
    ------
    CollapseError
        Where it has those of none; `where` names the row.

    Examples
    --------
    >>> _recognised({"prompt": "", "chosen": "yes", "rejected": "no"}, "line 1").name
    'pairs'
    """
    for layout in LAYOUTS:
        if all(name in row for name in layout.columns):
            return layout
    wanted = "; ".join(f"{one.name}: {', '.join(one.columns)}" for one in LAYOUTS)
    raise CollapseError(
        f"{where} has the columns {', '.join(map(str, row)) or '(none)'}, which are those "
        f"of no known layout ({wanted})"
    )


# -- from rows to rankings ----------------------------------------------------------------------


@dataclass
class _Group:
    """The completions of one prompt that come a row each."""

    line: int
    order: int  # of the first row among all that are read
    kind: str | None
    rows: list[Scored] = field(default_factory=list)

    def ranking(self) -> Ranking:
        if len(self.rows) < 2:
            raise CollapseError("1 completion: a ranking needs two or more")
        ordered = sorted(self.rows, key=lambda row: -row.score)
        ranks = ranks_of_scores(row.score for row in ordered)
        texts = tuple(row.completion for row in ordered)
        return Ranking(ordered[0].prompt, texts, ranks, self.kind)


class Reader:
    """Rows become rankings: the layout recognised, kinds checked, bad rows named."""

    def __init__(
        self, layout: str | None, kind: Kind, kinds: Iterable[str] | None, score: Score
    ) -> None:
        self.layout: Layout | None = None if layout is None else _layout_named(layout)
        self.kind, self.score = kind, score
        self.kinds = None if kinds is None else tuple(kinds)
        self.read = 0  # rows so far
        self.place = ""  # the file that is read, where there are several
        self.bad: list[tuple[int, str]] = []  # their lines, and why
        self.groups: dict[str, _Group] = {}

    def rankings(self, source: Iterable[tuple[int, Any]], where: str = "") -> tuple[Ranking, ...]:
        """Return the rankings in the order of their lines.

        Raises
        ------
        CollapseError
            Where the first row has the columns of no known layout; `where` names the source.
        """
        found: dict[int, Ranking] = {}
        for line, row in source:
            self.read += 1  # counts lines of several files on
            if self.layout is None and isinstance(row, Mapping):
                self.layout = _recognised(row, f"{where}line {line}")
            with self._bad_named(line):
                if (one := self._ranking(line, row)) is not None:
                    found[self.read] = one
        for group in self.groups.values():
            with self._bad_named(group.line):
                found[group.order] = group.ranking()
        return tuple(found[order] for order in sorted(found))

    @contextlib.contextmanager
    def _bad_named(self, line: int) -> Iterator[None]:
        try:
            yield
        except CollapseError as fault:
            self.bad.append((line, f"{self.place}{fault}"))

    def _ranking(self, line: int, row: Any) -> Ranking | None:
        """Return a row's ranking; None where the row has joined those of its prompt."""
        if isinstance(row, Ranking):
            self._require_allowed(row.kind)
            return row
        row = row_or_bad(row)
        if isinstance(row, Bad):
            raise CollapseError(row.detail)
        assert self.layout is not None  # that of the first row with columns
        missing = [name for name in self.layout.columns if row.get(name) is None]
        if missing:
            raise CollapseError(f"no {' and no '.join(missing)} (layout {self.layout.name})")
        kind = self._kind_of(row)
        try:
            one = self.layout.read(row, self.score)
        except (TypeError, ValueError) as fault:
            raise CollapseError(str(fault)) from None
        if isinstance(one, Ranking):
            return one if kind is None else replace(one, kind=kind)
        group = self.groups.setdefault(one.prompt, _Group(line, self.read, kind))
        if group.kind != kind:
            raise CollapseError(
                f"kind {kind!r}, but line {group.line} has {group.kind!r} for its prompt"
            )
        group.rows.append(one)
        return None

    def _kind_of(self, row: Row) -> str | None:
        kind = self.kind(row) if callable(self.kind) else row.get(self.kind)
        if kind is None and not callable(self.kind) and self.kind != "kind":
            raise CollapseError(f"no column {self.kind!r} to take the kind from")
        if isinstance(kind, int) and not isinstance(kind, bool):
            kind = str(kind)
        elif kind is not None and (not isinstance(kind, str) or not kind.strip()):
            raise CollapseError(f"the kind must be text, got {kind!r}")
        self._require_allowed(kind)
        return kind

    def _require_allowed(self, kind: str | None) -> None:
        if self.kinds is not None and kind not in self.kinds:
            given = "no kind" if kind is None else f"unknown kind {kind!r}"
            raise CollapseError(f"{given}; the kinds are {', '.join(map(repr, self.kinds))}")
