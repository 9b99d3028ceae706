"""The rows of a file, each with its line: JSON lines, a JSON list, CSV or Parquet; plain or gzip.

What can be read is read, and a line that can't be is named. Lines are counted from 1, and so are
the rows of a Parquet file and of a JSON list.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

Row = Mapping[str, Any]

BROKEN_CSV = "more fields than the header"
BROKEN_JSON = "no JSON object on the line"
CUT = "the rest missing: the gzip file is cut off or damaged here"
UNREADABLE = (BROKEN_CSV, BROKEN_JSON, CUT)
"""Why a line holds no row: the reasons of `Bad`."""

GZIP, PARQUET, ZSTANDARD, BOM = b"\x1f\x8b", b"PAR1", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
DAMAGED_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
_HEAD = 4096  # bytes that tell what a file is
_BLOCK = 1 << 20
_JSON_NAMES_FROM = 1000  # JSON objects whose names are taken as the columns
_DELIMITERS = (",", "\t", ";", "|")
# A quoted field may run over lines; one that runs on for more than so many was never closed.
_LONGEST_FIELD = 2000


@dataclass(frozen=True)
class Bad:
    """Why a line holds no row: the `reason` is one of `UNREADABLE`, the `detail` is this line's."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Format:
    """A format of files: how it is told, and how its rows and the names of its columns are read."""

    name: str
    endings: tuple[str, ...]
    starts: tuple[bytes, ...]  # first bytes that tell it, whatever the name
    rows: Callable[[Rows], Iterator[tuple[int, Row | Bad]]]
    names: Callable[[Rows], list[str]]
    unit: str = "line"  # what is counted: lines of a text, or rows


@dataclass(frozen=True)
class DataFile:
    """A file that can be read: where it is, its format, and whether it is zipped."""

    path: Path
    format: Format
    zipped: bool

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> BufferedReader | gzip.GzipFile:
        """Open the file's bytes, unzipped where it is zipped."""
        opened = gzip.open if self.zipped else open
        return opened(self.path, "rb")

    def names(self) -> list[str]:
        """Return the names of the columns; of JSON those in the first objects."""
        return self.format.names(Rows(self))

    @contextlib.contextmanager
    def damage_named(self) -> Iterator[None]:
        """Turn what Polars says of a broken Parquet file into an error that names the file."""
        try:
            yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise CollapseError(f"{self} is damaged, or not written to its end: {first}") from None


def rows(path: str | os.PathLike[str]) -> Rows:
    """Return the rows of a file: an iterable of (line, row), or (line, `Bad`) where there is none.

    Raises
    ------
    CollapseError
        A ValueError, for a file that is none of rows: see `data_file`.
    OSError
        Where the file can't be read.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "rows.jsonl"
    >>> _ = file.write_text('{"prompt": "2 + 2?"}\\n\\n{"prompt": ')
    >>> list(rows(file))
    [(1, {'prompt': '2 + 2?'}), (3, Bad(reason='no JSON object on the line',
      detail='not JSON: Expecting value at character 12 of the line'))]
    """
    return Rows(data_file(path))


@dataclass
class Rows:
    """The rows of a file, and what was met on the way to the one that was read last."""

    file: DataFile
    line: int = 0
    damage: str | None = None  # what is wrong with the gzip stream after `line`
    odd_count: int = 0  # lines of CSV that aren't UTF-8, read for all that
    odd_lines: list[int] = field(default_factory=list)  # the first few of them
    _opened: Any = None

    def __iter__(self) -> Iterator[tuple[int, Row | Bad]]:
        yield from self.file.format.rows(self)
        if self.damage is not None:
            yield self.line + 1, Bad(CUT, f"the file is damaged from here on: {self.damage}")

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line of a text file without its end; of a damaged one all whole lines."""
        self.line = 0
        with self.file.open() as self._opened:
            try:
                for raw in self._opened:
                    self.line += 1
                    if self.line == 1:
                        raw = raw.removeprefix(BOM)
                    yield self.line, raw.removesuffix(b"\n").removesuffix(b"\r")
            except DAMAGED_GZIP as error:
                self.damage = str(error)

    def notes(self) -> list[str]:
        """Return what is worth knowing of how the file was read."""
        found = []
        if self.odd_count:
            more = ", ..." if self.odd_count > len(self.odd_lines) else ""
            found.append(
                f"{self.odd_count} lines aren't UTF-8 (line {', '.join(map(str, self.odd_lines))}"
                f"{more}); they are read, with the odd bytes as they are"
            )
        if self.damage is not None:
            found.append(
                f"{self.file} is cut off or damaged after line {self.line}: what came after it "
                "isn't in this diagnosis"
            )
        return found


# -- what a file is -----------------------------------------------------------------------------


def data_file(path: str | os.PathLike[str], format: str | None = None) -> DataFile:
    """Return what kind of file this is: by its first bytes, by its name where they leave it open.

    Raises
    ------
    CollapseError
        A ValueError, for an unknown format, a folder, a pipe, an empty file, or one that holds
        neither text nor Parquet.
    OSError
        Where the file can't be read.
    """
    place = Path(path)
    known = {one.name: one for one in FORMATS}
    if format is not None and format not in known:
        raise CollapseError(f"no format {format!r}; there are {', '.join(sorted(known))}")
    if place.is_dir():
        raise CollapseError(f"{place} is a folder; give the file in it")
    if place.exists() and not place.is_file():
        raise CollapseError(
            f"{place} is no file but a pipe or device, and a file is read twice; "
            "write it into a file first"
        )
    with place.open("rb") as file:
        head = file.read(_HEAD)
    zipped = head.startswith(GZIP)
    if zipped:
        head = _unzipped(place)
    if not head:
        raise CollapseError(f"{place} is empty: it needs rows")
    found = DataFile(place, known[format] if format else _format_of(place, head), zipped)
    _require_readable(found, head)
    return found


def _unzipped(place: Path) -> bytes:
    try:
        with gzip.open(place, "rb") as file:
            return file.read1(_HEAD)
    except DAMAGED_GZIP as error:
        raise CollapseError(
            f"{place} is a gzip file that can't be unzipped from its start: {error}; copy it again"
        ) from None


def _format_of(place: Path, head: bytes) -> Format:
    text = head.removeprefix(BOM).lstrip()
    for one in FORMATS:
        if text.startswith(one.starts):
            return one
    endings = [end.lower() for end in place.suffixes if end.lower() not in (".gz", ".gzip")]
    by_ending = {ending: one for one in FORMATS for ending in one.endings}
    return by_ending.get(endings[-1] if endings else "", FORMATS[-1])


def _require_readable(file: DataFile, head: bytes) -> None:
    parquet = file.format.name == "parquet"
    if head.startswith(ZSTANDARD):
        raise CollapseError(f"{file} is packed by Zstandard; unpack it first: zstd -d")
    if head.startswith(PARQUET):
        if file.zipped:
            raise CollapseError(f"{file} is a zipped Parquet file; unzip it first (gunzip)")
        if not parquet:
            raise CollapseError(f"{file} is a Parquet file, not {file.format.name}")
    elif parquet:
        raise CollapseError(f"{file} is no Parquet file: it doesn't begin with PAR1")
    elif head.startswith(UTF_16) or head.count(b"\0") > 8 + len(head) // 8:
        raise CollapseError(
            f"{file} isn't UTF-8 text (UTF-16, or no text at all); save it as UTF-8"
        )
    elif b"\r" in head and b"\n" not in head and not _has_line_ends(file):
        raise CollapseError(
            f"{file} ends its lines by carriage returns alone; convert it (mac2unix)"
        )


def _has_line_ends(file: DataFile) -> bool:
    with file.open() as opened, contextlib.suppress(*DAMAGED_GZIP):
        while block := opened.read1(_BLOCK):
            if b"\n" in block:
                return True
    return False


# -- JSON ---------------------------------------------------------------------------------------


def row_or_bad(value: Any) -> Row | Bad:
    """Return a row that is one: an object with columns."""
    if isinstance(value, Mapping | Bad):
        return value
    what = type(value).__name__
    return Bad(BROKEN_JSON, f"a row must be an object with columns, got {what}")


def _json_line_rows(source: Rows) -> Iterator[tuple[int, Row | Bad]]:
    for number, raw in source.lines():
        if raw.strip():
            yield number, _json_row(raw)


def _json_row(raw: bytes) -> Row | Bad:
    try:
        return row_or_bad(json.loads(raw.decode()))
    except (ValueError, RecursionError) as error:
        return Bad(BROKEN_JSON, _json_fault(error))


def _json_fault(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text: {error.reason} at byte {error.start} of the line"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.colno} of the line"
    return "not JSON that can be read: too many levels"


def _json_list_rows(source: Rows) -> Iterator[tuple[int, Row | Bad]]:
    text = b"\n".join(raw for _, raw in source.lines())
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        fault = f"line {getattr(error, 'lineno', 1)}: {_json_fault(error)}"
        if source.damage is not None:
            fault = f"it is cut off or damaged after line {source.line}: {source.damage}"
        raise CollapseError(f"{source.file} is one JSON list that isn't whole; {fault}") from None
    several = found if isinstance(found, list) else [found]
    yield from enumerate(map(row_or_bad, several), start=1)


def _json_names(source: Rows) -> list[str]:
    names: dict[str, None] = {}
    for _, row in islice(source, _JSON_NAMES_FROM):
        names.update(dict.fromkeys(() if isinstance(row, Bad) else row))
    return list(names)


# -- CSV ----------------------------------------------------------------------------------------


def csv_header(source: Rows) -> tuple[list[str], str]:
    """Return the names of a CSV file's columns, and what separates them."""
    return _header(_texts(source))


def _csv_rows(source: Rows) -> Iterator[tuple[int, Row | Bad]]:
    """Yield the records of a CSV file.

    A field in quotes may run over lines. Where quotes don't match, a line is taken by itself: so
    one bad line never takes others with it.
    """
    lines = _texts(source)
    names, mark = _header(lines)
    waiting: deque[tuple[int, str]] = deque()  # read ahead in search of a closing quote

    def following() -> Iterator[tuple[int, str]]:
        while (item := waiting.popleft() if waiting else next(lines, None)) is not None:
            yield item

    for number, text in following():
        if not text.strip(" \t"):
            continue
        fields, ahead = None, []
        if text.count('"') % 2:
            ahead, closed = _up_to_quote(islice(following(), _LONGEST_FIELD))
            fields = _fields([text, *(line for _, line in ahead)], mark) if closed else None
        if fields is None or len(fields) != len(names):
            waiting.extendleft(reversed(ahead))
            # A quote that is no quotation mark, such as for inches, is a part of its field.
            fields = _fields([text], mark) or text.split(mark)
        while len(fields) > len(names) and not fields[-1].strip():
            fields.pop()
        if len(fields) > len(names):
            yield number, Bad(BROKEN_CSV, f"{len(fields)} fields under {len(names)} names")
        else:  # what is missing at the end stays away; what needs it says so
            yield number, dict(zip(names, fields, strict=False))


def _texts(source: Rows) -> Iterator[tuple[int, str]]:
    for number, raw in source.lines():
        try:
            yield number, raw.decode()
        except UnicodeDecodeError:
            source.odd_count += 1
            source.odd_lines += [number] if len(source.odd_lines) < 5 else []
            # Two prompts that differ in such bytes stay two prompts.
            yield number, raw.decode(errors="backslashreplace")


def _header(lines: Iterable[tuple[int, str]]) -> tuple[list[str], str]:
    """Take the first line that isn't blank: names, parted by the mark that it holds most of."""
    text = next((text for _, text in lines if text.strip()), "")
    mark = max(_DELIMITERS, key=lambda mark: (text.count(mark), mark == ","))
    # A header that the csv module refuses (a stray \r, an open quote) is split at the marks.
    return [name.strip() for name in _fields([text], mark) or text.split(mark)], mark


def _up_to_quote(lines: Iterable[tuple[int, str]]) -> tuple[list[tuple[int, str]], bool]:
    """Return the lines up to one with an odd number of quotes, and whether there is one."""
    ahead = []
    for item in lines:
        ahead.append(item)
        if item[1].count('"') % 2:
            return ahead, True
    return ahead, False


def _fields(lines: list[str], mark: str) -> list[str] | None:
    """Return the fields of one record, None where its quotes don't match."""
    if len(lines) == 1 and '"' not in lines[0]:
        return lines[0].split(mark)
    before = csv.field_size_limit(2**31 - 1)  # prompts of any length
    try:
        found = list(csv.reader([f"{line}\n" for line in lines], delimiter=mark, strict=True))
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(before)
    return found[0] if len(found) == 1 else None


# -- Parquet ------------------------------------------------------------------------------------


def _parquet_rows(source: Rows) -> Iterator[tuple[int, Row | Bad]]:
    with source.file.damage_named():
        frame = pl.read_parquet(source.file.path, glob=False)
    yield from enumerate(frame.iter_rows(named=True), start=1)


def _parquet_names(source: Rows) -> list[str]:
    with source.file.damage_named():
        return pl.scan_parquet(source.file.path, glob=False).collect_schema().names()


FORMATS = (
    Format("parquet", (".parquet", ".pq"), (PARQUET,), _parquet_rows, _parquet_names, "row"),
    Format("json", (), (b"[",), _json_list_rows, _json_names, "row"),
    Format("jsonl", (".jsonl", ".ndjson", ".json"), (b"{",), _json_line_rows, _json_names),
    Format("csv", (".csv", ".tsv", ".txt"), (), _csv_rows, lambda source: csv_header(source)[0]),
)
"""The formats that are read; a file that tells none is CSV. Another is one entry."""
