"""A log file as a lazy frame of Polars: straight from the file, or through a look at each line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from collapse_theory.data.clean import REASONS
from collapse_theory.data.columns import Columns
from collapse_theory.data.formats import LogFile
from collapse_theory.data.text import (
    CUT,
    Lines,
    Record,
    Survey,
    csv_records,
    delimiter_of,
    json_records,
    json_text,
    open_text,
    survey,
    wide_fields,
)
from collapse_theory.errors import CollapseError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Source", "damaged", "open_source"]

_CHUNK = 200_000  # rows of text that are held as Python strings at a time
_LOOKED_AT = 1000  # JSON objects whose names are taken as the columns


@dataclass
class Source:
    """The rows of a file, not yet read or already numbers, and which columns are which."""

    frame: pl.LazyFrame
    columns: Columns
    notes: list[str] = field(default_factory=list)


Choose = Callable[[Sequence[str]], Columns]
Progress = Callable[[float], None] | None


def open_source(file: LogFile, choose: Choose, progress: Progress) -> Source:
    """Return the rows of a log file.

    Polars reads Parquet, and text in which nothing can be misread: UTF-8, unzipped, no quotes, and
    as many rows as lines. Anything else is read line by line, so that every bad one is named.
    """
    if file.format == "parquet":
        return _parquet(file, choose)
    found = survey(file.path, file.zipped)
    if found.carriage and found.lines < 2:
        raise CollapseError(
            f"{file.name} ends its lines by carriage returns alone; convert it (mac2unix)"
        )
    plain = not file.zipped and found.utf8 and not (found.carriage or found.blank)
    if plain and (file.format == "jsonl" or not found.quotes):
        source = _scanned(file, choose, found)
        if source is not None:
            return source
    return _line_by_line(file, choose, found, progress)


def _parquet(file: LogFile, choose: Choose) -> Source:
    import polars as pl

    try:
        frame = pl.scan_parquet(
            file.path, row_index_name="__line__", row_index_offset=1, glob=False
        )
        names = [name for name in frame.collect_schema().names() if name != "__line__"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise damaged(file, error) from None
    columns = choose(names)
    return Source(_with_line(frame, columns), columns)


def _with_line(frame: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    import polars as pl

    return frame.select(*columns.needed(), pl.col("__line__").alias("line"))


def damaged(file: LogFile, error: BaseException) -> CollapseError:
    """Return the error of a file that Polars can't read."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CollapseError(f"{file.name} is damaged, or not written to its end: {first}")


def _scanned(file: LogFile, choose: Choose, found: Survey) -> Source | None:
    """Return the rows as Polars scans them, or None where it may have misread some."""
    import polars as pl

    options: dict[str, Any] = {"row_index_name": "__line__"}
    try:
        if file.format == "csv":
            names, mark = _csv_names(file)
            if len(set(names)) < len(names):
                return None
            options |= {"separator": mark, "infer_schema": False, "row_index_offset": 2}
            columns, frame = choose(names), pl.scan_csv(file.path, glob=False, **options)
        else:
            columns = choose(_json_names(file))
            schema = dict.fromkeys(columns.needed(), pl.String)
            frame = pl.scan_ndjson(file.path, schema=schema, row_index_offset=1, **options)
        # Every field is parsed, so that a line that doesn't fit is found now.
        checked = frame.select(pl.len().alias("__rows__"), pl.all().null_count())
        rows = checked.collect(engine="streaming")["__rows__"].item()
    except pl.exceptions.PolarsError:
        return None
    if rows != found.lines - (file.format == "csv"):
        return None
    return Source(_with_line(frame, columns), columns)


def _csv_names(file: LogFile) -> tuple[list[str], str]:
    with open_text(file.path, file.zipped) as raw:
        header = raw.readline().decode().removeprefix("\ufeff").rstrip("\r\n")
    mark = delimiter_of(header)
    return header.split(mark), mark


def _json_names(file: LogFile) -> list[str]:
    """Return the names in the first objects, in the order in which they come."""
    names: dict[str, None] = {}
    with open_text(file.path, file.zipped) as raw:
        for record in islice(json_records(Lines(raw)), _LOOKED_AT):
            names.update(dict.fromkeys(record.fields or {}))
    return list(names)


def _line_by_line(file: LogFile, choose: Choose, found: Survey, progress: Progress) -> Source:
    import polars as pl

    with open_text(file.path, file.zipped) as raw, wide_fields():
        lines = Lines(raw)
        if file.format == "csv":
            names, records = csv_records(lines, file.name)
            columns = choose(names)
            places = [names.index(name) for name in columns.needed()]
        else:
            columns = choose(_json_names(file))
            records, places = json_records(lines), columns.needed()
        frames = []
        while chunk := list(islice(records, _CHUNK)):
            frames.append(_chunk(chunk, columns, places))
            if progress:
                progress(min(lines.number / max(found.lines, 1), 1.0))
        if lines.damaged:
            frames.append(_chunk([Record(lines.number + 1, problem=CUT)], columns, places))
    if not frames:
        raise CollapseError(f"{file.name} has a header and no rows")
    return Source(pl.concat(frames).lazy(), columns, _notes(file, lines))


def _chunk(records: list[Record], columns: Columns, places: Sequence[Any]) -> pl.DataFrame:
    """Return records as numbers: prompts by their hash, so that long texts aren't kept."""
    import polars as pl

    content: dict[str, list[Any]] = {
        name: [record.fields and record.fields.get(place) for record in records]
        if isinstance(place, str)
        else [record.fields and record.fields[place] for record in records]
        for name, place in zip(columns.needed(), places, strict=True)
    }
    if places and isinstance(places[0], str):
        content = {name: [json_text(v) for v in values] for name, values in content.items()}
    frame = pl.DataFrame(content, schema=dict.fromkeys(content, pl.String))
    numbers = [name for name in (columns.reward, columns.rank, columns.step) if name]
    prompt = pl.col(columns.prompt)
    return frame.with_columns(
        pl.when(prompt.str.strip_chars() != "").then(prompt.hash(0).cast(pl.String)),
        *(pl.col(n).str.strip_chars().cast(pl.Float64, strict=False) for n in numbers),
        pl.Series("line", [record.line for record in records], pl.UInt32),
        pl.Series(
            "problem",
            [REASONS.index(record.problem) if record.problem else 0 for record in records],
            pl.UInt8,
        ),
    )


def _notes(file: LogFile, lines: Lines) -> list[str]:
    notes = []
    if lines.odd_count:
        where = ", ".join(map(str, lines.not_utf8))
        more = ", ..." if lines.odd_count > len(lines.not_utf8) else ""
        notes.append(
            f"{lines.odd_count} lines aren't UTF-8 (line {where}{more}); they are read, with the "
            "odd bytes as they are"
        )
    if lines.damaged:
        notes.append(
            f"{file.name} is cut off or damaged after line {lines.number}: what came after it "
            "isn't in this diagnosis"
        )
    return notes
