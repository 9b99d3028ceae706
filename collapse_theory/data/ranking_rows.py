"""From rows, in any layout, to rankings: one at a time, or gathered by prompt; bad rows named."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collapse_theory.data.layouts import (
    Layout,
    Noted,
    Score,
    Scored,
    layout_named,
    ranked,
    recognised,
)
from collapse_theory.data.messages import asked
from collapse_theory.data.nested import Row, as_number, opened
from collapse_theory.data.parts import Bad, row_or_bad
from collapse_theory.data.ranking import Ranking, ranks_of_scores
from collapse_theory.errors import CollapseError

Kind = str | Callable[[Row], str | None]
"""The column of the kind of prompt, or a function of the row."""
# Columns that any layout may have, and the fields of a ranking that they are.
EXTRAS = {
    "margin": "margins",
    "margins": "margins",
    "pair_weights": "pair_weights",
    "weight": "weight",
}


def ranking_of(
    row: Ranking | Row, *, layout: str | None = None, kind: Kind = "kind", score: Score = None
) -> Ranking:
    """Return the ranking that a row holds, in any layout with a ranking to a row.

    `RankingDataset` and `RankingCollator` read rows by it, and ``datasets.Dataset.map`` can:
    ``data.map(lambda row: ranking_of(row).row())``. The parameters are those of
    `RankingDataset.from_file`.

    Raises
    ------
    CollapseError
        A ValueError that says what is wrong with the row.

    Examples
    --------
    >>> ranking_of({"prompt": "2 + 2?", "completions": ["5", "4"], "scores": [0.1, 0.9]}).ranks
    (1, 0)
    """
    return Reader(layout, kind, None, score).ranking(row)


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
        texts = [row.completion for row in ordered]
        return replace(ranked(ordered[0].prompt, texts, ranks), kind=self.kind)


class Reader:
    """Rows become rankings: the layout recognised, kinds checked, bad rows named."""

    def __init__(
        self, layout: str | None, kind: Kind, kinds: Iterable[str] | None, score: Score
    ) -> None:
        self.layout: Layout | None = None if layout is None else layout_named(layout)
        self.kind, self.score = kind, score
        self.kinds = None if kinds is None else tuple(kinds)
        self.read = 0  # rows so far
        self.place = ""  # the file that is read, where there are several
        self.bad: list[tuple[int, str]] = []  # their lines, and why
        self.groups: dict[str, _Group] = {}
        self.columns: dict[str, bool] = {}  # that were seen, and whether any row's was read

    @property
    def unused(self) -> tuple[str, ...]:
        """The columns that no row's reading used."""
        return tuple(name for name, read in self.columns.items() if not read)

    def rankings(self, source: Iterable[tuple[int, Any]], where: str = "") -> tuple[Ranking, ...]:
        """Return the rankings in the order of their lines; `where` names the source in errors."""
        found: dict[int, Ranking] = {}
        for line, row in source:
            self.read += 1  # counts lines of several files on
            self._recognise(row, f"{where}line {line}")
            with self._bad_named(line):
                if isinstance(one := self._one(row), Ranking):
                    found[self.read] = one
                else:
                    self._gather(line, *one)
        for group in self.groups.values():
            with self._bad_named(group.line):
                found[group.order] = group.ranking()
        return tuple(found[order] for order in sorted(found))

    def ranking(self, row: Any) -> Ranking:
        """Return the ranking of one row, or raise what is wrong with it."""
        self._recognise(row, "the row")
        one = self._one(row)
        if isinstance(one, Ranking):
            return one
        raise CollapseError(
            "the row holds one completion; RankingDataset gathers such rows by their prompt"
        )

    def _recognise(self, row: Any, where: str) -> None:
        if self.layout is None and isinstance(row, Mapping):
            self.layout = recognised(row, self.score, where)

    @contextlib.contextmanager
    def _bad_named(self, line: int) -> Iterator[None]:
        try:
            yield
        except CollapseError as fault:
            self.bad.append((line, f"{self.place}{fault}"))

    def _one(self, row: Any) -> Ranking | tuple[Scored, str | None]:
        """Return a row's ranking, or its one completion and kind."""
        if isinstance(row, Ranking):
            self._require_allowed(row.kind)
            turns, prompt = asked(row.prompt, row.turns)
            return row if prompt is row.prompt else replace(row, prompt=prompt, turns=turns)
        row = row_or_bad(row)
        if isinstance(row, Bad):
            raise CollapseError(row.detail)
        assert self.layout is not None  # that of the first row with columns
        row = Noted(row)
        missing = [name for name in self.layout.columns if row.get(name) is None]
        if missing:
            raise CollapseError(f"no {' and no '.join(missing)} (layout {self.layout.name})")
        kind = self._kind_of(row)
        try:
            one = self.layout.read(row, self.score)
            if isinstance(one, Ranking):
                more = {EXTRAS[name]: row.get(name) for name in EXTRAS if row.get(name) is not None}
                more = {name: as_number(opened(value)) for name, value in more.items()}
                one = replace(one, kind=kind, **more) if more or kind is not None else one
        except (KeyError, TypeError, ValueError) as fault:
            raise CollapseError(str(fault)) from None
        for name in row:
            self.columns[name] = self.columns.get(name, False) or name in row.read
        return one if isinstance(one, Ranking) else (one, kind)

    def _gather(self, line: int, one: Scored, kind: str | None) -> None:
        key = one.prompt if isinstance(one.prompt, str) else json.dumps(one.prompt, default=str)
        group = self.groups.setdefault(key, _Group(line, self.read, kind))
        if group.kind != kind:
            raise CollapseError(
                f"kind {kind!r}, but line {group.line} has {group.kind!r} for its prompt"
            )
        group.rows.append(one)

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
