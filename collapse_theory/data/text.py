"""CSV and JSON lines, line by line: what can be read is, and each line that can't is named."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from collapse_theory.errors import CollapseError

__all__ = [
    "CUT",
    "Lines",
    "Record",
    "Survey",
    "csv_records",
    "delimiter_of",
    "json_records",
    "json_text",
    "open_text",
    "survey",
    "wide_fields",
]

BROKEN_CSV = "more fields than the header"
BROKEN_JSON = "no JSON object on the line"
CUT = "the rest missing: the gzip file is cut off or damaged here"
_BLOCK = 1 << 20
_DELIMITERS = (",", "\t", ";", "|")
# A quoted field may run over lines; one that runs on for longer than this was never closed.
_LONGEST = 2000


@dataclass
class Survey:
    """What a look at all bytes of a text file tells."""

    lines: int = 0
    quotes: bool = False
    blank: bool = False  # lines without anything on them
    carriage: bool = False  # carriage returns that end no line by "\r\n" alone
    utf8: bool = True
    damage: str | None = None  # what is wrong with the gzip stream


@dataclass
class Record:
    """One row of a text file: where it begins, and its fields or why it has none."""

    line: int
    fields: Any = None
    problem: str | None = None


@dataclass
class Lines:
    """The lines of a text file, with what was met on the way."""

    file: BinaryIO
    number: int = 0
    damaged: bool = False
    not_utf8: list[int] = field(default_factory=list)
    odd_count: int = 0

    def __iter__(self) -> Iterator[str]:
        rest = b""
        for block in self._blocks():
            *whole, rest = (rest + block).split(b"\n")
            for raw in whole:
                yield self._text(raw)
        if rest and not self.damaged:  # of a damaged file the last line is a part of one
            yield self._text(rest)

    def _blocks(self) -> Iterator[bytes]:
        try:
            while block := self.file.read1(_BLOCK):  # pyright: ignore[reportAttributeAccessIssue]
                yield block
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.damaged = True

    def _text(self, raw: bytes) -> str:
        self.number += 1
        if self.number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            return raw.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            self.odd_count += 1
            if len(self.not_utf8) < 5:
                self.not_utf8.append(self.number)
            # Two prompts that differ in such bytes stay two prompts.
            return raw.removesuffix(b"\r").decode(errors="backslashreplace")


def open_text(path: Path, zipped: bool) -> BinaryIO:
    """Open a text file's bytes, unzipped where it is zipped."""
    return cast(BinaryIO, gzip.open(path, "rb")) if zipped else path.open("rb")


def survey(path: Path, zipped: bool) -> Survey:
    """Look at all bytes once: are there quotes, odd line ends, bytes that are no text?"""
    found, decoder, last = Survey(), codecs.getincrementaldecoder("utf-8")(), b""
    with open_text(path, zipped) as file:
        try:
            while block := file.read(_BLOCK):
                found.lines += block.count(b"\n")
                found.quotes = found.quotes or b'"' in block
                found.carriage = found.carriage or b"\r" in block
                if found.utf8:
                    with contextlib.suppress(UnicodeDecodeError):
                        found.utf8 = False
                        decoder.decode(block)
                        found.utf8 = True
                found.blank = found.blank or b"\n\n" in last + block
                last = block[-1:]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            found.damage = str(error)
    found.lines += last not in (b"", b"\n")
    return found


@contextlib.contextmanager
def wide_fields() -> Iterator[None]:
    """Let the csv module read prompts of any length; its limit comes back on leaving."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def delimiter_of(header: str) -> str:
    """Return what separates the names in a header: the mark that it holds most of."""
    return max(_DELIMITERS, key=lambda mark: (header.count(mark), mark == ","))


def csv_records(lines: Lines, source: str) -> tuple[list[str], Iterator[Record]]:
    """Return the header of a CSV file and its records.

    A field in quotes may run over lines. Where quotes don't match, a line is taken by itself: so
    one bad line never takes others with it.
    """
    rows = enumerate(iter(lines), start=1)
    for _, header in rows:
        if header.strip():
            break
    else:
        raise CollapseError(f"{source} is empty: a log needs a header line and rows")
    mark = delimiter_of(header)
    # A header that the csv module refuses (a stray \r, an open quote) is split at the marks.
    names = [name.strip() for name in _parsed([header], mark) or header.split(mark)]
    return names, _csv_rows(rows, mark, len(names))


def _csv_rows(rows: Iterator[tuple[int, str]], mark: str, width: int) -> Iterator[Record]:
    waiting: deque[tuple[int, str]] = deque()  # read ahead in search of a closing quote

    def following() -> tuple[int, str] | None:
        return waiting.popleft() if waiting else next(rows, None)

    while (item := following()) is not None:
        number, text = item
        if not text.strip(" \t"):
            continue
        if text.count('"') % 2:
            whole, ahead = _closed(text, following, mark, width)
            if whole is not None:
                yield Record(number, whole)
                continue
            waiting.extendleft(reversed(ahead))
        yield _one_line(number, text, mark, width)


def _closed(
    text: str, following: Callable[[], tuple[int, str] | None], mark: str, width: int
) -> tuple[list[str] | None, list[tuple[int, str]]]:
    """Return the fields of a record whose quotes close on a later line, or the lines looked at."""
    ahead: list[tuple[int, str]] = []
    while len(ahead) < _LONGEST and (item := following()) is not None:
        ahead.append(item)
        if item[1].count('"') % 2:
            fields = _parsed([text, *(line for _, line in ahead)], mark)
            return (fields if fields and len(fields) == width else None), ahead
    return None, ahead


def _parsed(lines: list[str], mark: str) -> list[str] | None:
    try:
        found = list(csv.reader([f"{line}\n" for line in lines], delimiter=mark, strict=True))
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None


def _one_line(number: int, text: str, mark: str, width: int) -> Record:
    # Fields that are missing at the end stay empty; what needs them says so.
    fields: list[Any] | None = _parsed([text], mark)
    if fields is None:  # a quote that is no quotation mark, such as for inches
        fields = text.split(mark)
    while len(fields) > width and not fields[-1].strip():
        fields.pop()
    if len(fields) > width:
        return Record(number, problem=BROKEN_CSV)
    return Record(number, fields + [None] * (width - len(fields)))


def json_records(lines: Lines) -> Iterator[Record]:
    """Yield the objects of a JSON lines file."""
    for number, text in enumerate(lines, start=1):
        if not text.strip(" \t"):
            continue
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            yield Record(number, found)
        else:
            yield Record(number, problem=BROKEN_JSON)


def json_text(value: Any) -> str | None:
    """Return what a JSON value is as text; a chat of several messages is its JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, sort_keys=True)
