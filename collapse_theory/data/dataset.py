"""Rankings to train and evaluate on, read from files with every bad row named."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.data.layouts import Layout, Score, Scored, layout_named, recognised
from collapse_theory.data.ranking import Ranking, ranks_of_scores
from collapse_theory.data.rows import Bad, Row, row_or_bad, rows
from collapse_theory.errors import CollapseError
from collapse_theory.values import Value

__all__ = ["DatasetReport", "RankingDataset", "unique_names"]

Kind = str | Callable[[Mapping[str, Any]], str | None]
"""The column of the kind of prompt, or a function of the row."""

SHOWN = 3  # bad rows that a message names
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DatasetReport(Value):
    """What a reading found.

    Attributes
    ----------
    read : int
        Rows in the source.
    kept : int
        Rankings made of them.
    bad : tuple of (int, str)
        The line (from 1) of each row that was left out, and the reason.
    """

    read: int
    kept: int
    bad: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        if not self.bad:
            return f"{self.read} rows read, {self.kept} rankings kept, none bad"
        shown = "; ".join(f"line {line}: {reason}" for line, reason in self.bad[:SHOWN])
        more = f"; and {len(self.bad) - SHOWN} more" if len(self.bad) > SHOWN else ""
        return (
            f"{self.read} rows read, {self.kept} rankings kept, {len(self.bad)} bad: {shown}{more}"
        )


@dataclass(frozen=True, eq=False)
class RankingDataset(Value):
    """A sequence of rankings: torch's map-style dataset, which `Trainer` and `DataLoader` take.

    Parameters
    ----------
    rankings : sequence of Ranking
        At least one.
    report : DatasetReport, optional
        What the reading of their source found.

    Examples
    --------
    >>> rows = [{"prompt": "2 + 2?", "completions": ["4", "5"]}, {"prompt": "?", "completions": []}]
    >>> data = RankingDataset.from_records(rows)
    >>> data, data[0].completions
    (RankingDataset(1 ranking of 2 completions), ('4', '5'))
    >>> print(data.report)
    2 rows read, 1 rankings kept, 1 bad: line 2: 0 completion: a ranking needs two or more
    """

    rankings: tuple[Ranking, ...]
    report: DatasetReport | None = None

    def __post_init__(self) -> None:
        rankings = tuple(self.rankings)
        for at, ranking in enumerate(rankings):
            if not isinstance(ranking, Ranking):
                raise CollapseError(
                    f"item {at} is a {type(ranking).__name__}, not a Ranking; dicts and files are "
                    "read by RankingDataset.from_records and RankingDataset.from_file"
                )
        if not rankings:
            raise CollapseError("a dataset needs at least one ranking, got none")
        report = self.report or DatasetReport(len(rankings), len(rankings))
        self._set(rankings=rankings, report=report)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        layout: str | None = None,
        kind: Kind = "kind",
        kinds: Iterable[str] | None = None,
        score: Score = None,
    ) -> Self:
        """Read rankings from JSON lines, a JSON list, CSV or Parquet; text plain or gzip.

        Parameters
        ----------
        path : str or path
        layout : str, optional
            "own", "nectar", "ultrafeedback", "helpsteer" or "pairs"; recognised by the columns of
            the first row unless given.
        kind : str or callable, optional
            The column that holds the kind of prompt (none is needed), or a function of the row.
        kinds : iterable of str, optional
            The kinds that are allowed; a row of another kind, or of none, is bad. Give the loss's.
        score : str or mapping, optional
            The column that ranks the completions; or weights by column, whose sum does.

        Raises
        ------
        CollapseError
            A ValueError: no known layout, or no sensible row.
        OSError
            Where the file can't be read.
        """
        reader = _Reader(layout, kind, kinds, score)
        return cls._gathered(rows(path), reader, f"{os.fspath(path)}: ")

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any] | Ranking],
        *,
        layout: str | None = None,
        kind: Kind = "kind",
        kinds: Iterable[str] | None = None,
        score: Score = None,
    ) -> Self:
        """Read rankings from dicts, such as the rows of a ``datasets.Dataset``.

        Parameters are those of `from_file`; the first record is line 1.
        """
        return cls._gathered(enumerate(records, start=1), _Reader(layout, kind, kinds, score), "")

    @classmethod
    def _gathered(cls, source: Iterable[tuple[int, Any]], reader: _Reader, where: str) -> Self:
        rankings, report = reader.rankings(source, where)
        if not rankings:
            raise CollapseError(f"{where}no ranking is left: {report}")
        if report.bad:
            logger.warning("%s", report)
        return cls(rankings, report)

    def __len__(self) -> int:
        return len(self.rankings)

    def __getitem__(self, index: int) -> Ranking:
        return self.rankings[index]

    def __iter__(self) -> Iterator[Ranking]:
        return iter(self.rankings)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the rankings, in alphabetical order."""
        return tuple(sorted({r.kind for r in self.rankings if r.kind is not None}))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each ranking, no two alike: its prompt, numbered where it comes again."""
        return unique_names(self.rankings)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rankings as dicts, for ``datasets.Dataset.from_list``.

        The collator takes them too, where Trainer leaves the columns in
        (``remove_unused_columns=False``).
        """
        return [
            {
                "prompt": ranking.prompt,
                "completions": list(ranking.completions),
                "ranks": list(ranking.ranks),
                "kind": ranking.kind,
                "turns": [list(turn) for turn in ranking.turns],
            }
            for ranking in self.rankings
        ]

    def select(self, indices: Iterable[int]) -> Self:
        """Return the dataset of these rankings, in this order."""
        return type(self)(tuple(self.rankings[int(at)] for at in indices), self.report)

    def split(self, share: float = 0.1, seed: int = 0) -> tuple[Self, Self]:
        """Return two datasets: the rest, and a random share of the prompts held out.

        Rankings of the same prompt stay together, so that no prompt is on both sides.

        Examples
        --------
        >>> data = RankingDataset.from_records(
        ...     {"prompt": f"Write {i}", "completions": [str(i), "no"]} for i in range(10)
        ... )
        >>> train, held_out = data.split(0.2)
        >>> len(train), len(held_out)
        (8, 2)
        """
        prompts = list(dict.fromkeys((r.turns, r.prompt) for r in self.rankings))
        count = round(share * len(prompts))
        if not 0 < count < len(prompts):
            raise CollapseError(
                f"share={share} of {len(prompts)} prompts leaves one side empty; give a share "
                f"between {1 / len(prompts):.3g} and {1 - 1 / len(prompts):.3g}"
            )
        chosen = np.random.default_rng(seed).permutation(len(prompts))[:count]
        held = {prompts[at] for at in chosen}
        inside = [(r.turns, r.prompt) in held for r in self.rankings]
        parts = [np.flatnonzero(np.equal(inside, side)) for side in (False, True)]
        return self.select(parts[0]), self.select(parts[1])

    def __repr__(self) -> str:
        sizes = sorted({len(r) for r in self.rankings})
        each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        kinds = f", kinds {', '.join(self.kinds)}" if self.kinds else ""
        many = "" if len(self) == 1 else "s"
        return f"RankingDataset({len(self)} ranking{many} of {each} completions{kinds})"


def unique_names(rankings: Sequence[Ranking]) -> tuple[str, ...]:
    """Return each ranking's prompt, with " (2)" and so on where it isn't the first of that name."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    names = []
    for ranking in rankings:
        base = name = ranking.prompt or "(no prompt)"
        while name in taken:
            counts[base] = counts.get(base, 1) + 1
            name = f"{base} ({counts[base]})"
        taken.add(name)
        names.append(name)
    return tuple(names)


# -- from rows to rankings ----------------------------------------------------------------------


@dataclass
class _Group:
    """The completions of one prompt that come a row each."""

    line: int
    kind: str | None
    rows: list[Scored] = field(default_factory=list)

    def ranking(self) -> Ranking:
        if len(self.rows) < 2:
            raise CollapseError("1 completion: a ranking needs two or more")
        ordered = sorted(self.rows, key=lambda row: -row.score)
        ranks = ranks_of_scores(row.score for row in ordered)
        texts = tuple(row.completion for row in ordered)
        return Ranking(ordered[0].prompt, texts, ranks, self.kind)


class _Reader:
    """Rows become rankings: the layout recognised, kinds checked, bad rows named."""

    def __init__(
        self, layout: str | None, kind: Kind, kinds: Iterable[str] | None, score: Score
    ) -> None:
        self.layout: Layout | None = None if layout is None else layout_named(layout)
        self.kind, self.score = kind, score
        self.kinds = None if kinds is None else tuple(kinds)
        self.groups: dict[str, _Group] = {}

    def rankings(
        self, source: Iterable[tuple[int, Any]], where: str
    ) -> tuple[tuple[Ranking, ...], DatasetReport]:
        """Return the rankings in the order of their lines, and what was read and was bad.

        Raises
        ------
        CollapseError
            Where the first row has the columns of no known layout.
        """
        found: dict[int, Ranking] = {}
        bad: list[tuple[int, str]] = []
        read = 0
        for line, row in source:
            read += 1
            if self.layout is None and isinstance(row, Mapping):
                self.layout = recognised(row, f"{where}line {line}")
            try:
                if (one := self._read(line, row)) is not None:
                    found[line] = one
            except CollapseError as fault:
                bad.append((line, str(fault)))
        for group in self.groups.values():
            try:
                found[group.line] = group.ranking()
            except CollapseError as fault:
                bad.append((group.line, str(fault)))
        report = DatasetReport(read, len(found), tuple(sorted(bad)))
        return tuple(found[line] for line in sorted(found)), report

    def _read(self, line: int, row: Any) -> Ranking | None:
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
        group = self.groups.setdefault(one.prompt, _Group(line, kind))
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
