"""Rows from one place, all read alike: of a text, of a frame, of values of Python."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, tee
from typing import Any, TypeAlias

from collapse_theory.data.columns import COLUMN_NAMES, PROMPTS
from collapse_theory.data.nested import Row, folded, is_list
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


def records_of(source: Any) -> Iterable[Any]:
    """Return the rows that values of Python make, in the layouts that JSON files have, too.

    A list of objects; a mapping of columns, of one list of objects, or of a prompt's rewards;
    lists of numbers, a prompt each.

    Examples
    --------
    >>> list(records_of({"prompt": ["a", "b"], "reward": [0.1, 0.2]}))
    [{'prompt': 'a', 'reward': 0.1}, {'prompt': 'b', 'reward': 0.2}]
    >>> list(records_of({"2 + 2?": [0.1, 0.2]}))
    [{'prompt': '2 + 2?', 'reward': [0.1, 0.2]}]
    """
    if hasattr(source, "read"):
        raise CollapseError("an open file is not read; give its path, or - for standard input")
    if isinstance(source, Mapping):
        return _records_of_mapping(source)
    if is_list(source) and source and all(map(_is_wrapped, source)):
        return [one["row"] for one in source]
    if is_list(source) and source and all(map(is_list, source)):
        return [{"prompt": at, "reward": rewards} for at, rewards in enumerate(source)]
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return source
    raise CollapseError(
        f"an object of the type {type(source).__name__} holds no log; give a file, a data frame, "
        "a list of dicts, or rewards with a prompt a row"
    )


def _records_of_mapping(source: Mapping[Any, Any]) -> Iterable[Any]:
    values = list(source.values())
    if values and all(hasattr(value, "column_names") for value in values):
        raise _several("data sets", list(source))
    tables = {name: value for name, value in source.items() if _is_table(value)}
    if len(tables) > 1:
        raise _several("tables", list(tables))
    if tables:  # {"version": 1, "data": [...]}
        return records_of(next(iter(tables.values())))
    if {"columns", "data"} <= set(source):  # pandas, orient="split"
        return (dict(zip(source["columns"], row, strict=True)) for row in source["data"])
    if _is_table(values):  # pandas, orient="index"
        return values
    texts = set(map(folded, source))
    if texts & COLUMN_NAMES and all(map(_sized, values)):
        columns = [list(v.values()) if isinstance(v, Mapping) else list(v) for v in values]
        if len(set(map(len, columns))) > 1:
            sizes = ", ".join(f"{name} {len(c)}" for name, c in zip(source, columns, strict=True))
            raise CollapseError(f"the columns differ in length: {sizes}")
        return (dict(zip(source, row, strict=True)) for row in zip(*columns, strict=True))
    if values and all(map(_sized, values)):
        return [{"prompt": str(name), "reward": value} for name, value in source.items()]
    return [source]


def _several(what: str, names: list[Any]) -> CollapseError:
    listed = ", ".join(map(str, names))
    return CollapseError(f"this holds the {what} {listed}; give one of them, data[{names[0]!r}]")


def _is_table(value: Any) -> bool:
    """Whether this is a list of objects that name their prompts."""
    row: Any = value[0] if is_list(value) and value else None
    row = row["row"] if _is_wrapped(row) else row
    return isinstance(row, Mapping) and not PROMPTS.isdisjoint(map(folded, row))


def _is_wrapped(value: Any) -> bool:
    """Whether this holds a row, beside its number, as the data sets' viewer gives them."""
    return isinstance(value, Mapping) and isinstance(value.get("row"), Mapping)


def _sized(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
