"""A reward log as a lazy frame of Polars: straight from the file, or row by row."""

from __future__ import annotations

import codecs
import json
from itertools import islice
from typing import Any

from collapse_theory.data.columns import REASONS, Columns, cleaned
from collapse_theory.data.rows import Bad, DataFile, Row, Rows, csv_header
from collapse_theory.lazy import polars as pl

_BLOCK = 1 << 20
_CHUNK = 100_000  # rows that are held as Python objects at a time


def scan(file: DataFile, columns: Columns) -> pl.LazyFrame | None:
    """Return the rows that Polars reads, as `cleaned` has them; None where it may misread some.

    It reads Parquet, and text in which nothing can be misread: unzipped UTF-8, no quotes in CSV,
    as many rows as lines.
    """
    options: dict[str, Any] = {"row_index_name": "__line__", "row_index_offset": 1}
    if file.format.name == "parquet":
        return _cleaned(pl.scan_parquet(file.path, glob=False, **options), columns)
    csv = file.format.name == "csv"
    if file.zipped or file.format.name == "json" or (lines := _plain_lines(file, csv)) is None:
        return None
    try:
        if csv:
            names, mark = csv_header(Rows(file))
            if len(set(names)) < len(names):
                return None
            options |= {"row_index_offset": 2, "new_columns": names, "separator": mark}
            frame = pl.scan_csv(file.path, glob=False, infer_schema=False, **options)
        else:
            options["schema"] = dict.fromkeys(columns.needed(), pl.String)
            frame = pl.scan_ndjson(file.path, **options)
        # Every field is parsed, so that a line that doesn't fit is found now.
        checked = frame.select(pl.len().alias("__rows__"), pl.all().null_count())
        read = checked.collect(engine="streaming")["__rows__"].item()
    except pl.exceptions.PolarsError:
        return None
    return _cleaned(frame, columns) if read == lines - csv else None


def _cleaned(frame: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    problem = pl.lit(0, pl.UInt8).alias("__problem__")
    return cleaned(frame.select(*columns.needed(), "__line__", problem), columns)


def _plain_lines(file: DataFile, csv: bool) -> int | None:
    """Return how many lines a text has in which Polars misreads nothing; None for another."""
    lines, last, decoder = 0, b"", codecs.getincrementaldecoder("utf-8")()
    with file.open() as opened:
        while block := opened.read(_BLOCK):
            blank = b"\n\n" in block or last + block[:1] == b"\n\n"
            if blank or b"\r" in block or (csv and b'"' in block):
                return None
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return None
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def row_by_row(rows: Rows, columns: Columns) -> pl.LazyFrame:
    """Return all rows as `cleaned` has them: so many at a time that long texts aren't held."""
    source, frames = iter(rows), [_chunk([], columns)]
    while chunk := list(islice(source, _CHUNK)):
        frames.append(_chunk(chunk, columns))
    return pl.concat(frames).lazy()


def _chunk(rows: list[tuple[int, Row | Bad]], columns: Columns) -> pl.DataFrame:
    there = [{} if isinstance(row, Bad) else row for _, row in rows]
    problems = [REASONS.index(row.reason) if isinstance(row, Bad) else 0 for _, row in rows]
    content = {name: [_as_text(row.get(name)) for row in there] for name in columns.needed()}
    frame = pl.DataFrame(content, schema=dict.fromkeys(content, pl.String)).with_columns(
        pl.Series("__line__", [line for line, _ in rows], pl.UInt32),
        pl.Series("__problem__", problems, pl.UInt8),
    )
    return cleaned(frame.lazy(), columns).collect()


def _as_text(value: Any) -> str | None:
    """Return a value as text; a chat of several messages as its JSON."""
    if value is None or isinstance(value, str):
        return value
    if type(value) in (int, float):  # ten times as fast as json.dumps, to the same
        return repr(value)
    return json.dumps(value, sort_keys=True)
