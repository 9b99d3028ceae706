"""Rows from one place: of a text, of a frame, of objects in memory; all read alike."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Any

from collapse_theory.data.columns import is_number
from collapse_theory.data.text import (
    BROKEN_CSV,
    UNREADABLE,
    Bad,
    Csv,
    JsonLines,
    Lines,
    Row,
    Svmlight,
    row_or_bad,
)
from collapse_theory.data.unpacked import NO_TEXT, PlainFile
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

SAMPLE = 1000  # rows that tell what columns hold
RECORD = "__record__"  # the column of a frame that counts its rows, from 1


@dataclass(kw_only=True)
class Part(ABC):
    """Rows of one kind from one place.

    Attributes
    ----------
    name : str
        What messages call it.
    unit : {"line", "row"}
        What `rows` counts, from 1.
    advice : str
        Begins the sentence that tells to say which column is which.
    remark : str
        What is worth knowing of it, whatever is read.
    straight : bool
        Whether its rows were read by its frame last, and so counted by `RECORD`.
    """

    name: str
    unit: str = "row"
    advice: str = "S"
    remark: str = ""
    straight: bool = False

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
    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        """Yield each row with its number, or why there is none."""

    def frame(self, needed: Sequence[str]) -> pl.LazyFrame | None:
        """Return these columns and `RECORD` by Polars, None where it may misread some."""
        return None

    def places(self, records: Sequence[int]) -> list[int]:
        """Return the numbers that `rows` gives to rows as they were read last."""
        return list(records)

    def notes(self) -> list[str]:
        """Return what is worth knowing of how the part was read."""
        return [self.remark] if self.remark else []


@dataclass(kw_only=True)
class TextPart(Part):
    """CSV, or JSON lines."""

    unit: str = "line"
    file: PlainFile
    reader: Callable[[Lines], Csv | JsonLines | Svmlight]
    by_line: bool = False  # whether `RECORD` counts lines

    def __post_init__(self) -> None:
        self.text = self.reader(Lines(self.file))
        if isinstance(self.text, Csv):
            self.advice = "The first line of a CSV file names its columns; s"
            if any(map(is_number, self.text.names)):
                self.advice = (
                    "The first line of a CSV file names its columns, and here it holds a number: "
                    "put a line of names, such as prompt,reward, before it, or s"
                )
            if len(self.text.names) == 1 and " " in self.text.names[0].strip():
                self.advice = "Names are parted by commas, tabs, semicolons or bars, not blanks; s"

    @cached_property
    def names(self) -> list[str]:
        if isinstance(self.text, Csv):
            return self.text.names
        return super().names

    @property
    def decimal_commas(self) -> bool:
        return isinstance(self.text, Csv) and self.text.mark != ","

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        return iter(self.text)

    def frame(self, needed: Sequence[str]) -> pl.LazyFrame | None:
        text, path = self.text, self.file.path
        if isinstance(text, Svmlight) or self.file.damage is not None:
            return None
        if isinstance(text, Csv) and text.plain():
            self.by_line = True
            return self._fields(text, needed)
        if (rows := text.regular()) is None:
            return None
        options: dict[str, Any] = {"row_index_name": RECORD, "row_index_offset": 1}
        try:
            if isinstance(text, Csv):
                options |= {"separator": text.mark, "new_columns": text.names, "glob": False}
                frame = pl.scan_csv(path, infer_schema=False, **options)
            else:
                schema = dict.fromkeys(needed, pl.String)
                frame = pl.scan_ndjson(path, schema=schema, **options)
            # Every field is parsed, so that a line that doesn't fit is found now.
            checked = frame.select(pl.len().alias("__rows__"), pl.all().null_count())
            read = checked.collect(engine="streaming")["__rows__"].item()
        except pl.exceptions.PolarsError:
            return None
        return frame if read == rows else None

    def _fields(self, text: Csv, needed: Sequence[str]) -> pl.LazyFrame:
        """Return the fields of lines without quotes, numbered by their lines, as `Csv` has them."""
        line, fields, count = pl.col("__line__"), pl.col("__fields__"), len(text.names)
        lines = pl.scan_csv(
            self.file.path,
            has_header=False,
            separator=NO_TEXT,
            quote_char=None,
            new_columns=["__line__"],
            infer_schema=False,
            row_index_name=RECORD,
            row_index_offset=1,
            glob=False,
        )
        lines = lines.filter(pl.col(RECORD) > text.head, line.str.strip_chars(" \t\r") != "")
        bare = line.str.strip_suffix("\r")
        parted = bare.str.extract_all(r"\S+") if text.mark == " " else bare.str.split(text.mark)
        lines = lines.with_columns(parted.alias("__fields__"))
        if text.comments:
            lines = lines.filter(~(line.str.starts_with("#") & (fields.list.len() != count)))
        more = fields.list.slice(count).list.join("").str.strip_chars() != ""
        broken = pl.lit(1 + UNREADABLE.index(BROKEN_CSV), pl.UInt8)
        places = {name: place for place, name in enumerate(text.names)}
        return lines.select(
            RECORD,
            pl.when(more).then(broken).otherwise(pl.lit(0, pl.UInt8)).alias("__problem__"),
            *(
                fields.list.get(places[name], null_on_oob=True).alias(name)
                for name in needed
                if name in places
            ),
        )

    def places(self, records: Sequence[int]) -> list[int]:
        if self.by_line or not self.straight or isinstance(self.text, Svmlight) or not records:
            return list(records)
        wanted, numbered = set(records), enumerate(self.text.starts(), start=1)
        lines = {record: line for record, line in islice(numbered, max(wanted)) if record in wanted}
        return [lines[record] for record in records]

    def notes(self) -> list[str]:
        return [*super().notes(), *self.text.lines.notes()]


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

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        with self.damage_named():
            frame = self.lazy.collect()
        yield from enumerate(frame.iter_rows(named=True), start=1)

    def frame(self, needed: Sequence[str]) -> pl.LazyFrame | None:
        there = [name for name in needed if name in self.names]
        return self.lazy.select(there).with_row_index(RECORD, 1)


@dataclass(kw_only=True)
class RecordsPart(Part):
    """Objects in memory, which may come once."""

    records: Iterable[Any]
    _seen: list[Any] = field(default_factory=list)
    _rest: Iterator[Any] | None = None

    @cached_property
    def sample(self) -> Sequence[Row]:
        self._rest = iter(self.records)
        self._seen = list(islice(self._rest, SAMPLE))
        return [row for row in self._seen if isinstance(row, Mapping)]

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        _ = self.sample
        assert self._rest is not None
        seen = self._seen if isinstance(self.records, Iterator) else ()
        rest = chain(seen, self._rest) if seen else self.records
        for number, value in enumerate(rest, start=1):
            yield number, row_or_bad(value)
