"""Rows from one place: of a text, of a frame, of objects in memory; all read alike."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, tee
from typing import Any, TypeAlias

from collapse_theory.data.nested import Row
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

SAMPLE = 1000  # rows that tell what columns hold
RECORD = "__record__"  # the column of a frame with the numbers of its rows
PROBLEM = "__problem__"  # and that with the reasons why there are none, by number; 0 is none

BROKEN_CSV = "more fields than the header"
BROKEN_JSON = "no JSON object on the line"
CUT = "the rest missing: the file is cut off or damaged here"
TWICE = "a key that stands twice in one object"
UNREADABLE = (BROKEN_CSV, BROKEN_JSON, CUT, TWICE)
"""Why a line holds no row: the reasons of `Bad`."""

_CHUNK = 100_000  # rows that are held as Python objects at a time
_BATCH = 1 << 16  # rows of a frame that are looked at together


@dataclass(frozen=True)
class Bad:
    """Why a line holds no row: the `reason` is one of `UNREADABLE`, the `detail` is this line's."""

    reason: str
    detail: str


Numbered = tuple[int, Row | Bad]
Chunk: TypeAlias = "pl.DataFrame | list[Numbered]"


def row_or_bad(value: Any) -> Row | Bad:
    """Return a row that is one: an object with columns."""
    if isinstance(value, Mapping | Bad):
        return value
    what = type(value).__name__
    return Bad(BROKEN_JSON, f"a row must be an object with columns, got {what}")


def in_chunks(rows: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    """Yield rows many at a time."""
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


@dataclass(kw_only=True)
class Part(ABC):
    """Rows of one kind from one place.

    Attributes
    ----------
    name : str
        What messages call it.
    unit : {"line", "row"}
        What the numbers of `rows` count, from 1.
    advice : str
        Begins the sentence that tells to say which column is which.
    remark : str
        What is worth knowing of it, whatever is read.
    """

    name: str
    unit: str = "row"
    advice: str = "S"
    remark: str = ""

    @property
    def decimal_commas(self) -> bool:
        """Whether 0,5 can only be a half: where commas part no fields."""
        return False

    @cached_property
    def sample(self) -> Sequence[Row]:
        """The first rows."""
        return [row for _, row in islice(self.rows(), SAMPLE) if not isinstance(row, Bad)]

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns; of objects those in the first of them."""
        return list(dict.fromkeys(chain.from_iterable(self.sample)))

    @abstractmethod
    def rows(self) -> Iterator[Numbered]:
        """Yield each row with its number, or why there is none."""

    def chunks(self, needed: Sequence[str], numbers: Container[Any] = ()) -> Iterator[Chunk]:
        """Yield the rows many at a time: frames of these columns and `RECORD`, or as they are.

        Some of the columns may be `numbers`; the others' digits count, such as those of names.
        """
        yield from in_chunks(self.rows())

    def notes(self) -> list[str]:
        """Return what is worth knowing of how the part was read."""
        return [self.remark] if self.remark else []


@dataclass(kw_only=True)
class FramePart(Part):
    """A frame of Polars: Parquet, Arrow, or a data frame in memory."""

    lazy: pl.LazyFrame
    keeper: Any = None  # of a file that was unpacked

    @contextlib.contextmanager
    def damage_named(self) -> Iterator[None]:
        """Turn what Polars says of a broken file into an error that names the file."""
        try:
            yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            first = (str(error).splitlines() or [type(error).__name__])[0]
            if "more than one occurrence" in first or "duplicate" in first:
                raise CollapseError(f"{self.name}: {first}; rename one of them") from None
            raise CollapseError(
                f"{self.name} is damaged, or not written to its end ({first}); write it anew, or "
                "leave it out"
            ) from None

    @cached_property
    def names(self) -> list[str]:
        with self.damage_named():
            return self.lazy.collect_schema().names()

    @cached_property
    def sample(self) -> Sequence[Row]:
        with self.damage_named():
            return self.lazy.head(SAMPLE).collect().to_dicts()

    def rows(self) -> Iterator[Numbered]:
        for frame in self.chunks(self.names):
            yield from rows_of(frame)

    def chunks(self, needed: Sequence[str], numbers: Container[Any] = ()) -> Iterator[pl.DataFrame]:
        there = [name for name in needed if name in self.names]
        frame = self.lazy.select(there).with_row_index(RECORD, 1)
        with self.damage_named():
            yield from frame.collect_batches(chunk_size=_BATCH)


def rows_of(frame: pl.DataFrame) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a frame with their numbers."""
    columns = frame.drop(RECORD).iter_rows(named=True)
    yield from zip(frame[RECORD].to_list(), columns, strict=True)


@dataclass(kw_only=True)
class RecordsPart(Part):
    """Objects in memory, which may come once."""

    records: Iterable[Any]

    @cached_property
    def sample(self) -> Sequence[Row]:
        ahead = self.records
        if isinstance(ahead, Iterator):
            ahead, self.records = tee(ahead)
        return [row for row in islice(ahead, SAMPLE) if isinstance(row, Mapping)]

    def rows(self) -> Iterator[Numbered]:
        for number, value in enumerate(self.records, start=1):
            yield number, row_or_bad(value)
