"""From rows to rankings: the layout recognised, kinds checked, bad rows named with their line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from collapse_theory.data.layouts import (
    LAYOUTS,
    Layout,
    Score,
    Scored,
    layout_named,
    recognise,
)
from collapse_theory.data.ranking import Ranking, ranks_of_scores
from collapse_theory.data.sources import Broken
from collapse_theory.errors import CollapseError

__all__ = ["gathered"]

Kind = str | Callable[[Mapping[str, Any]], str | None]


@dataclass
class _Group:
    """The completions of one prompt that come a row each."""

    line: int
    kind: str | None
    rows: list[Scored] = field(default_factory=list)


def gathered(
    rows: Iterable[tuple[int, Any]],
    layout: str | None,
    kind: Kind,
    kinds: tuple[str, ...] | None,
    score: Score,
) -> tuple[tuple[Ranking, ...], int, tuple[tuple[int, str], ...]]:
    """Return the rankings, the number of rows and what was bad, by line.

    Raises
    ------
    CollapseError
        Where the first row has the columns of no known layout.
    """
    used = None if layout is None else layout_named(layout)
    found: dict[int, Ranking] = {}
    groups: dict[str, _Group] = {}
    bad: list[tuple[int, str]] = []
    read = 0
    for line, row in rows:
        read += 1
        try:
            if used is None and isinstance(row, Mapping):
                used = _recognised(line, row)
            one, its_kind = _one(row, used, kind, kinds, score)
            if isinstance(one, Ranking):
                found[line] = one
            else:
                _join(groups, one, line, its_kind)
        except _UnknownLayout:
            raise
        except CollapseError as fault:
            bad.append((line, str(fault)))
    for group in groups.values():
        try:
            found[group.line] = _ranking(group)
        except CollapseError as fault:
            bad.append((group.line, str(fault)))
    return tuple(found[line] for line in sorted(found)), read, tuple(sorted(bad))


class _UnknownLayout(CollapseError):
    """No layout has the columns of the first row; nothing else can be read either."""


def _recognised(line: int, row: Mapping[str, Any]) -> Layout:
    used = recognise(row)
    if used is None:
        wanted = "; ".join(f"{one.name}: {', '.join(one.columns)}" for one in LAYOUTS)
        raise _UnknownLayout(
            f"line {line} has the columns {', '.join(map(str, row)) or '(none)'}, which are those "
            f"of no known layout ({wanted})"
        )
    return used


def _one(
    row: Any, used: Layout | None, kind: Kind, kinds: tuple[str, ...] | None, score: Score
) -> tuple[Ranking | Scored, str | None]:
    if isinstance(row, Broken):
        raise CollapseError(row)
    if isinstance(row, Ranking):
        return row, _allowed(row.kind, kinds)
    if not isinstance(row, Mapping) or used is None:
        raise CollapseError(f"a row must be an object with columns, got {type(row).__name__}")
    missing = [name for name in used.columns if row.get(name) is None]
    if missing:
        raise CollapseError(f"no {' and no '.join(missing)} (layout {used.name})")
    its_kind = _allowed(_kind(row, kind), kinds)
    try:
        one = used.read(row, score)
    except (TypeError, ValueError) as fault:
        raise CollapseError(str(fault)) from None
    if isinstance(one, Ranking) and its_kind is not None:
        one = Ranking(one.prompt, one.completions, one.ranks, its_kind, one.turns)
    return one, its_kind


def _kind(row: Mapping[str, Any], kind: Kind) -> str | None:
    value = kind(row) if callable(kind) else row.get(kind)
    if value is None and not callable(kind) and kind != "kind":
        raise CollapseError(f"no column {kind!r} to take the kind from")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise CollapseError(f"the kind must be text, got {value!r}")
    return value


def _allowed(kind: str | None, kinds: tuple[str, ...] | None) -> str | None:
    if kinds is not None and kind not in kinds:
        given = "no kind" if kind is None else f"unknown kind {kind!r}"
        raise CollapseError(f"{given}; the kinds are {', '.join(map(repr, kinds))}")
    return kind


def _join(groups: dict[str, _Group], one: Scored, line: int, kind: str | None) -> None:
    group = groups.setdefault(one.prompt, _Group(line, kind))
    if group.kind != kind:
        raise CollapseError(
            f"kind {kind!r}, but line {group.line} has {group.kind!r} for its prompt"
        )
    group.rows.append(one)


def _ranking(group: _Group) -> Ranking:
    if len(group.rows) < 2:
        raise CollapseError("1 completion: a ranking needs two or more")
    rows = sorted(group.rows, key=lambda row: -row.score)
    ranks = ranks_of_scores(row.score for row in rows)
    return Ranking(rows[0].prompt, tuple(row.completion for row in rows), ranks, group.kind)
