"""Rows from files: JSON lines and Parquet, plain or gzip, each with the line it came from."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from collapse_theory.errors import CollapseError

__all__ = ["Broken", "rows_of"]

GZIP, PARQUET, ZSTANDARD, BOM = b"\x1f\x8b", b"PAR1", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"


class Broken(str):
    """What is wrong with a line that holds no row."""


def rows_of(path: str | os.PathLike[str]) -> Iterator[tuple[int, Any]]:
    """Yield each row of a file with its line, or `Broken` where a line holds none.

    The content says the format, not the name: Parquet, else JSON lines or one JSON list, gzip or
    plain. Lines are counted from 1, and so are the rows of a Parquet file or a list.

    Raises
    ------
    OSError
        Where the file can't be read.
    CollapseError
        A ValueError, for a Parquet file that is damaged, and for Zstandard.
    """
    target = Path(path)
    with target.open("rb") as file:
        start = file.read(4)
    if start == PARQUET:
        yield from enumerate(_parquet(target), start=1)
        return
    if start == ZSTANDARD:
        raise CollapseError(f"{target} is packed by Zstandard; unpack it first: zstd -d")
    with target.open("rb") as file:
        stream = gzip.GzipFile(fileobj=file) if start[:2] == GZIP else file
        yield from _json(cast("IO[bytes]", stream))


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as fault:
        raise CollapseError(f"{path} is no whole Parquet file: {fault}") from None
    yield from frame.iter_rows(named=True)


def _json(stream: IO[bytes]) -> Iterator[tuple[int, Any]]:
    first = True
    for number, line in _lines(stream):
        if isinstance(line, Broken):
            yield number, line
            return
        text = line.removeprefix(BOM).strip() if number == 1 else line.strip()
        if not text:
            continue
        if first and text.startswith(b"["):
            yield from _list(text + b"\n" + b"".join(_rest(stream)))
            return
        first = False
        yield number, _row(text)


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        for line in stream:
            number += 1
            yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        yield number + 1, Broken(f"the file is damaged from here on: {fault}")


def _rest(stream: IO[bytes]) -> Iterator[bytes]:
    for number, line in _lines(stream):
        if isinstance(line, Broken):
            raise CollapseError(f"the JSON list is cut off after {number} more lines: {line}")
        yield line


def _row(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as fault:
        return Broken(f"not UTF-8 text: {fault.reason} at byte {fault.start} of the line")
    except json.JSONDecodeError as fault:
        return Broken(f"not JSON: {fault.msg} at character {fault.pos + 1} of the line")
    except RecursionError:
        return Broken("not JSON that can be read: too many levels")


def _list(text: bytes) -> Iterator[tuple[int, Any]]:
    rows = _row(text)
    if isinstance(rows, Broken):
        yield 1, rows
        return
    yield from enumerate(rows, start=1)
