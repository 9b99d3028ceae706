"""The rows of a text, CSV or JSON lines, with their lines: many at once by Polars, or one by one.

Lines are counted from 1. What Polars may misread, or refuses, is read line by line: so what is
wrong is named, and one bad line never takes others with it.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
from abc import abstractmethod
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from collapse_theory.data.columns import is_number
from collapse_theory.data.parts import (
    BROKEN_CSV,
    BROKEN_JSON,
    CUT,
    PROBLEM,
    RECORD,
    TWICE,
    UNREADABLE,
    Bad,
    Chunk,
    Numbered,
    Part,
    in_chunks,
    row_or_bad,
)
from collapse_theory.data.unpacked import NO_TEXT, PlainFile
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

Block = tuple[int, bytes]  # whole lines, with the number of the first
_BOM = codecs.BOM_UTF8
_BLOCK = 1 << 23
_DELIMITERS = (",", "\t", ";", "|")
# A quoted field may run over lines; one that runs on for more than so many was never closed.
_LONGEST_FIELD = 2000
_QUOTE, _END, _RETURN = b'"\n\r'
_ROWS_ASKED = 5  # whether R named them
_ODD_NAMED = 5
_BLANKS = re.compile(r"\s*")
# A line of TREC's judgements (qrels), and one of its runs: the names that they go without.
_TREC = (
    (r"\S+\s+Q?0\s+\S+\s+-?\d+\s*", "query_id iteration document label"),
    (
        r"\S+\s+Q?0\s+\S+\s+\d+\s+-?[\d.]+\S*\s+\S+\s*",
        "query_id iteration document position score run",
    ),
)


@dataclass(kw_only=True)
class TextPart(Part):
    """The rows of a text, and what was odd about the lines that were read last."""

    unit: str = "line"
    file: PlainFile

    head = 0  # lines before the rows
    quoted = False  # whether a field in quotes may run over lines

    def __post_init__(self) -> None:
        self.odd: list[int] = []  # lines that aren't UTF-8, read for all that
        self.count = 0

    @abstractmethod
    def lines(self, blocks: Iterable[Block]) -> Iterator[Numbered]:
        """Yield the row of each line, or why there is none."""

    def frame(self, block: Block, needed: Sequence[str], numbers: Container[Any]) -> Chunk | None:
        """Return the rows of a block by Polars, None where it may read others than `lines`."""
        return None

    def rows(self) -> Iterator[Numbered]:
        yield from self.lines(self.blocks())
        yield from self.cut()

    def chunks(self, needed: Sequence[str], numbers: Container[Any] = ()) -> Iterator[Chunk]:
        blocks = self.blocks()
        for block in blocks:
            if (frame := self.frame(block, needed, numbers)) is not None:
                yield frame
            else:  # a quote may be open at its end
                yield from in_chunks(self.lines(chain([block], blocks if self.quoted else ())))
        yield list(self.cut())

    def blocks(self) -> Iterator[Block]:
        """Yield whole lines, many at a time.

        Where fields are quoted a block ends within one only where that is too long for one.
        """
        self.odd, self.count = [line for line in self.odd if line <= self.head], self.head
        with self.file.path.open("rb") as opened:
            start = 0
            while opened.read(len(_BOM)) == _BOM:
                start += len(_BOM)
            opened.seek(start)
            for _ in range(self.head):
                opened.readline()
            while block := opened.read(_BLOCK):
                lines = [block, opened.readline()]
                inside = self.quoted and sum(line.count(b'"') for line in lines) % 2
                while inside and len(lines) < _LONGEST_FIELD and (line := opened.readline()):
                    lines.append(line)
                    inside = line.count(b'"') % 2 == 0
                block, first = b"".join(lines), self.count + 1
                self.count += block.count(b"\n") + (not block.endswith(b"\n"))
                yield first, block

    def texts(self, blocks: Iterable[Block]) -> Iterator[tuple[int, str]]:
        """Yield each line as text, without its end."""
        for number, raw in lines_of(blocks):
            try:
                yield number, raw.decode()
            except UnicodeDecodeError:
                self.odd.append(number)
                # Two prompts that differ in such bytes stay two prompts.
                yield number, raw.decode(errors="backslashreplace")

    def cut(self) -> Iterator[tuple[int, Bad]]:
        """Yield the place where the file breaks off, if it does."""
        if (damage := self.file.damage) is not None:
            detail = f"the file is damaged from here on: {damage}"
            yield self.count + 1, Bad(CUT, detail)

    def notes(self) -> list[str]:
        found = super().notes()
        if self.odd:
            more = ", ..." if len(self.odd) > _ODD_NAMED else ""
            found.append(
                f"{len(self.odd)} lines aren't UTF-8 (line "
                f"{', '.join(map(str, self.odd[:_ODD_NAMED]))}{more}); they are read, with the odd "
                "bytes as they are"
            )
        if self.file.damage is not None:
            found.append(
                f"{self.name} is cut off or damaged after line {self.count}: what came after it "
                "isn't in this diagnosis"
            )
        return found


def lines_of(blocks: Iterable[Block]) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, without its end."""
    for first, block in blocks:
        for number, raw in enumerate(io.BytesIO(block), start=first):
            yield number, raw.removesuffix(b"\n").removesuffix(b"\r")


# -- JSON ---------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class JsonLines(TextPart):
    """A text of one JSON object a line."""

    def lines(self, blocks: Iterable[Block]) -> Iterator[Numbered]:
        for number, raw in lines_of(blocks):
            if raw.strip():
                try:
                    yield number, row_or_bad(_JSON.decode(raw.decode()))
                except (ValueError, RecursionError) as error:
                    reason = TWICE if isinstance(error, _Twice) else BROKEN_JSON
                    yield number, Bad(reason, _json_fault(error))

    def frame(self, block: Block, needed: Sequence[str], numbers: Container[Any]) -> Chunk | None:
        first, text = block
        texts = dict.fromkeys(needed, pl.String)
        floats = {n: pl.Float64 for n in needed if n in numbers and self._holds_numbers(n)}
        frame = _read_json(text, texts | floats)
        # What is no number is null, or refused.
        if floats and (frame is None or any(frame[name].null_count() for name in floats)):
            frame = _read_json(text, texts)
        # Of a key that stands twice Polars takes the first value. To count one takes a twentieth of
        # the reading: prompts and rewards, which come first.
        twice = (text.count(b'"%b"' % name.encode()) for name in needed[:2])
        if frame is None or any(count > frame.height for count in twice):
            return None
        places: Sequence[int] = range(first, self.count + 1)
        if frame.height != len(places):
            places = [number for number, raw in lines_of([block]) if raw.strip()]
        if frame.height != len(places):
            return None
        return frame.with_columns(pl.Series(RECORD, places, pl.UInt32))

    def _holds_numbers(self, name: str) -> bool:
        values = [row.get(name) for row in self.sample]
        return bool(values) and all(type(value) in (int, float) for value in values)


def _read_json(block: bytes, schema: Mapping[str, Any]) -> pl.DataFrame | None:
    """Return the columns of a block, None where Polars refuses it."""
    with contextlib.suppress(pl.exceptions.PolarsError):
        return pl.read_ndjson(block, schema=schema)
    return None


class _Twice(ValueError):
    """A key stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Twice(f"the key {twice!r} stands twice in one object")
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_object)


def _json_fault(error: Exception) -> str:
    if isinstance(error, _Twice):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.colno} of the line"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return f"not JSON: {error}"


def json_values(file: PlainFile) -> list[Any]:
    """Return the JSON values that a whole text holds, one after another, over any lines."""
    try:
        text = file.path.read_bytes().removeprefix(_BOM).decode()
        at, found = _after_blanks(text, 0), []
        while at < len(text):
            value, at = _JSON.raw_decode(text, at)
            found.append(value)
            at = _after_blanks(text, at)
    except _Twice as error:
        raise CollapseError(f"{file.name}: {error}") from None
    except (ValueError, RecursionError) as error:
        where = f"line {getattr(error, 'lineno', 1)}: {_json_fault(error)}"
        if file.damage is not None:
            where = f"it is cut off or damaged: {file.damage}"
        raise CollapseError(f"{file.name} is JSON that isn't whole; {where}") from None
    return found


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


# -- CSV ----------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Csv(TextPart):
    """A text of fields under a line of names, parted by one of four marks, or all by blanks.

    TREC's judgements and runs have no line of names.

    What stands before the names is passed over: blank lines, comments (#), and Excel's "sep=;".
    A field in quotes may run over lines. Where quotes don't match, a line is taken by itself.
    """

    quoted = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.comments = 0
        self.fields, self.mark, self.head = self._header()
        self.advice = "The first line of a CSV file names its columns; s"
        if any(map(is_number, self.fields)):
            self.advice = (
                "The first line of a CSV file names its columns, and here it holds a number: "
                "put a line of names, such as prompt,reward, before it, or s"
            )
        if len(self.fields) == 1 and " " in self.fields[0].strip():
            self.advice = "Names are parted by commas, tabs, semicolons or bars, not blanks; s"

    @cached_property
    def names(self) -> list[str]:
        return self.fields

    @property
    def decimal_commas(self) -> bool:
        return self.mark != ","

    def _header(self) -> tuple[list[str], str, int]:
        """Return the names, the mark between them, and their last line."""
        lines, said = self.texts(self.blocks()), ""
        for line in lines:
            text = line[1]
            if text[:4].lower() == "sep=" and len(text.strip()) == 5:
                said = text[4]
            elif text.startswith("#") and text[1:2] not in _DELIMITERS:
                self.comments += 1
            elif text.strip():
                break
        else:
            return [], ",", 0
        head, text = line
        for form, trec in _TREC:
            if re.fullmatch(form, text):
                return trec.split(), " ", head - 1
        record = [text]
        if text.count('"') % 2:  # a name runs over lines
            ahead, closed = _up_to_quote(lines)
            record += [line for _, line in ahead] if closed else []
            head += len(record) - 1
        mark = said or max(_DELIMITERS, key=lambda mark: (text.count(mark), mark == ","))
        if mark not in text and (rows := [row for _, row in islice(lines, _ROWS_ASKED) if row]):
            alike = {len(row.split()) for row in [text, *rows]}
            if len(alike) == 1 and max(alike) > 1:
                return text.split(), " ", head
        # A header that the csv module refuses (a stray \r, an open quote) is split at the marks.
        names = [name.strip() for name in _fields(record, mark) or text.split(mark)]
        some = [_fields([row], mark) for _, row in islice(lines, _ROWS_ASKED) if row.strip()]
        if len(some) > 1 and all(row and len(row) == len(names) + 1 and row[-1] for row in some):
            names = ["", *names]  # R's names of rows have no name themselves
        return names, mark, head

    def frame(self, block: Block, needed: Sequence[str], numbers: Container[Any]) -> Chunk | None:
        needed = [name for name in needed if name in self.fields]
        frame = self._regular(*block, needed)
        return self._split(*block, needed) if frame is None and b'"' not in block[1] else frame

    def lines(self, blocks: Iterable[Block]) -> Iterator[Numbered]:
        names, mark, lines = self.fields, self.mark, self.texts(blocks)
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
            if len(fields) != len(names) and self.comments and text.startswith("#"):
                continue
            if len(fields) > len(names):
                yield number, Bad(BROKEN_CSV, f"{len(fields)} fields under {len(names)} names")
            else:  # what is missing at the end stays away; what needs it says so
                yield number, dict(zip(names, fields, strict=False))

    def _split(self, first: int, block: bytes, needed: Sequence[str]) -> pl.DataFrame | None:
        """Return the fields of lines without quotes, parted at each mark."""
        line, fields, count = pl.col("__line__"), pl.col("__fields__"), len(self.fields)
        lines = _read_csv(block, ["__line__"], NO_TEXT, quote_char=None)
        if NO_TEXT.encode() in block or lines is None:
            return None
        lines = lines.with_row_index(RECORD, first)
        lines = lines.filter(line.str.strip_chars(" \t\r") != "")
        bare = line.str.strip_suffix("\r")
        parted = bare.str.extract_all(r"\S+") if self.mark == " " else bare.str.split(self.mark)
        lines = lines.with_columns(parted.alias("__fields__"))
        if self.comments:
            lines = lines.filter(~(line.str.starts_with("#") & (fields.list.len() != count)))
        more = fields.list.slice(count).list.join("").str.strip_chars() != ""
        broken = pl.lit(1 + UNREADABLE.index(BROKEN_CSV), pl.UInt8)
        places = {name: place for place, name in enumerate(self.fields)}
        return lines.select(
            RECORD,
            pl.when(more).then(broken).otherwise(pl.lit(0, pl.UInt8)).alias(PROBLEM),
            *(fields.list.get(places[name], null_on_oob=True).alias(name) for name in needed),
        )

    def _regular(self, first: int, block: bytes, needed: Sequence[str]) -> pl.DataFrame | None:
        """Return the fields by Polars, None where it may read others than `lines`."""
        starts = None if self.mark == " " or self.comments else _starts(block, self.mark)
        if starts is None:
            return None
        places = {name: str(place) for place, name in enumerate(self.fields)}
        frame = _read_csv(block, places.values(), self.mark)
        if frame is None or frame.height != len(starts):
            return None
        numbers = pl.Series(RECORD, starts, pl.UInt32) + first
        return frame.select(numbers, *(pl.col(places[name]).alias(name) for name in needed))


def _read_csv(block: bytes, names: Iterable[str], mark: str, **options: Any) -> pl.DataFrame | None:
    """Return the fields of a block as texts, None where Polars refuses it."""
    schema = dict.fromkeys(names, pl.String)
    with contextlib.suppress(pl.exceptions.PolarsError):
        return pl.read_csv(block, has_header=False, separator=mark, schema=schema, **options)
    return None


def _starts(block: bytes, mark: str) -> Sequence[int] | np.ndarray | None:
    """Return on which line of a block each record begins, from 0; None of what isn't regular.

    That is: quotes open a field and close it, or are doubled within; no line is blank, and carriage
    returns end lines alone.
    """
    text = b"\n" + block + (b"" if block.endswith(b"\n") else b"\n")
    if b'"' not in block:
        odd = b"\n\n" in text or b"\n\r\n" in text
        odd = odd or text.count(b"\r") != text.count(b"\r\n")
        return None if odd else range(text.count(b"\n") - 1)
    data = np.frombuffer(text, np.uint8)
    here, last = data[1:], data[:-1]
    quote, end, returned = here == _QUOTE, here == _END, last == _RETURN
    after = np.cumsum(quote, dtype=np.uint8) % 2 == 1  # whether their number is odd
    outside = ~np.concatenate([[False], after[:-1]])
    marked, before = ord(mark), np.concatenate([[False], last[:-1] == _END])
    wrong = quote & (last != marked) & (last != _END) & (last != _QUOTE)  # opens within a field
    wrong |= (last == _QUOTE) & ~quote & (here != marked) & ~end & (here != _RETURN)  # text follows
    wrong |= returned & ~end
    wrong |= end & ((last == _END) | (returned & before))  # a blank line
    if after[-1] or (wrong & outside).any():
        return None
    ends = np.flatnonzero(outside[end])
    return np.concatenate([[0], 1 + ends[:-1]])


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
        return lines[0].split(None if mark == " " else mark)
    before = csv.field_size_limit(2**31 - 1)  # prompts of any length
    try:
        found = list(csv.reader([f"{line}\n" for line in lines], delimiter=mark, strict=True))
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(before)
    return found[0] if len(found) == 1 else None


# -- labels and features ------------------------------------------------------------------------


@dataclass(kw_only=True)
class Svmlight(TextPart):
    """A text of a label, a query and features a line (svmlight, LETOR), or LightGBM's two files.

    LightGBM has no queries in the lines: a file of the same name and .query holds their sizes.
    """

    def lines(self, blocks: Iterable[Block]) -> Iterator[Numbered]:
        beside = Path(f"{self.file.name}.query")
        sizes = map(int, beside.read_text().split()) if beside.is_file() else None
        query, left = -1, 0
        for number, text in self.texts(blocks):
            label, _, rest = text.strip().partition(" ")
            if not label or label.startswith("#"):
                continue
            if rest.startswith("qid:"):
                yield number, {"qid": rest[4:].partition(" ")[0], "label": label}
                continue
            if sizes is None:
                raise CollapseError(
                    f"{self.name} has labels, but no queries: neither qid:1 in each line, nor "
                    f"their sizes in {beside.name} beside it"
                )
            while not left:
                query, left = query + 1, next(sizes, -1)
            left -= 1
            yield number, {"qid": str(query) if left >= 0 else None, "label": label}
