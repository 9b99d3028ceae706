"""The rows of a text, CSV or JSON, each with its line: what can be read, and what is wrong else.

Lines are counted from 1.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from collapse_theory.data.unpacked import NO_TEXT, PlainFile
from collapse_theory.errors import CollapseError

Row = Mapping[str, Any]

BROKEN_CSV = "more fields than the header"
BROKEN_JSON = "no JSON object on the line"
CUT = "the rest missing: the file is cut off or damaged here"
UNREADABLE = (BROKEN_CSV, BROKEN_JSON, CUT)
"""Why a line holds no row: the reasons of `Bad`."""

_BOM = codecs.BOM_UTF8
_BLOCK = 1 << 22
_DELIMITERS = (",", "\t", ";", "|")
# A quoted field may run over lines; one that runs on for more than so many was never closed.
_LONGEST_FIELD = 2000
_QUOTE, _END, _RETURN = b'"\n\r'
_ROWS_ASKED = 5  # whether R named them
_BLANKS = re.compile(r"\s*")
# A line of TREC's judgements (qrels), and one of its runs: the names that they go without.
_TREC = (
    (r"\S+\s+Q?0\s+\S+\s+-?\d+\s*", "query_id iteration document label"),
    (
        r"\S+\s+Q?0\s+\S+\s+\d+\s+-?[\d.]+\S*\s+\S+\s*",
        "query_id iteration document position score run",
    ),
)


@dataclass(frozen=True)
class Bad:
    """Why a line holds no row: the `reason` is one of `UNREADABLE`, the `detail` is this line's."""

    reason: str
    detail: str


@dataclass
class Lines:
    """The lines of a text file, and what was odd about those that were read."""

    file: PlainFile
    odd_count: int = 0  # lines that aren't UTF-8, read for all that
    odd_lines: list[int] = field(default_factory=list)  # the first few of them
    count: int = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line without its end."""
        self.count = self.odd_count = 0
        with self.file.path.open("rb") as opened:
            for raw in opened:
                self.count += 1
                if self.count == 1:
                    raw = raw.removeprefix(_BOM)
                yield self.count, raw.removesuffix(b"\n").removesuffix(b"\r")

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield each line as text."""
        self.odd_lines = []
        for number, raw in self:
            try:
                yield number, raw.decode()
            except UnicodeDecodeError:
                self.odd_count += 1
                self.odd_lines += [number] if len(self.odd_lines) < 5 else []
                # Two prompts that differ in such bytes stay two prompts.
                yield number, raw.decode(errors="backslashreplace")

    def cut(self) -> Iterator[tuple[int, Bad]]:
        """Yield the place where the file breaks off, if it does."""
        if (damage := self.file.damage) is not None:
            detail = f"the file is damaged from here on: {damage}"
            yield self.count + 1, Bad(CUT, detail)

    def notes(self) -> list[str]:
        """Return what is worth knowing of how the file was read."""
        found = []
        if self.odd_count:
            more = ", ..." if self.odd_count > len(self.odd_lines) else ""
            found.append(
                f"{self.odd_count} lines aren't UTF-8 (line {', '.join(map(str, self.odd_lines))}"
                f"{more}); they are read, with the odd bytes as they are"
            )
        if self.file.damage is not None:
            found.append(
                f"{self.file.name} is cut off or damaged after line {self.count}: what came after "
                "it isn't in this diagnosis"
            )
        return found


# -- JSON ---------------------------------------------------------------------------------------


def row_or_bad(value: Any) -> Row | Bad:
    """Return a row that is one: an object with columns."""
    if isinstance(value, Mapping | Bad):
        return value
    what = type(value).__name__
    return Bad(BROKEN_JSON, f"a row must be an object with columns, got {what}")


@dataclass
class JsonLines:
    """A text of one JSON object a line."""

    lines: Lines

    def __iter__(self) -> Iterator[tuple[int, Row | Bad]]:
        for number, raw in self.lines:
            if raw.strip():
                yield number, self._row(raw)
        yield from self.lines.cut()

    def starts(self) -> Iterator[int]:
        """Yield the line of each row."""
        return (number for number, raw in self.lines if raw.strip())

    def regular(self) -> int | None:
        """Return how many rows there are; None of a text that isn't UTF-8."""
        count = 0
        with self.lines.file.path.open("rb") as opened:
            while lines := opened.readlines(_BLOCK):
                try:
                    b"".join(lines).decode()
                except UnicodeDecodeError:
                    return None
                count += sum(map(bool, map(bytes.strip, lines)))
        return count

    @staticmethod
    def _row(raw: bytes) -> Row | Bad:
        try:
            return row_or_bad(json.loads(raw.decode()))
        except (ValueError, RecursionError) as error:
            return Bad(BROKEN_JSON, _json_fault(error))


def _json_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.colno} of the line"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return f"not JSON: {error}"


def json_values(file: PlainFile) -> list[Any]:
    """Return the JSON values that a text holds, one after another, over any lines.

    Raises
    ------
    CollapseError
        A ValueError, for a text that is cut off or no JSON.
    """
    try:
        text = file.path.read_bytes().removeprefix(_BOM).decode()
        decode, at, found = json.JSONDecoder().raw_decode, _after_blanks(text, 0), []
        while at < len(text):
            value, at = decode(text, at)
            found.append(value)
            at = _after_blanks(text, at)
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


class Csv:
    """A text of fields under a line of names, parted by one of four marks, or all by blanks.

    TREC's judgements and runs have no line of names.

    What stands before the names is passed over: blank lines, comments (#), and Excel's "sep=;".
    A field in quotes may run over lines. Where quotes don't match, a line is taken by itself: so
    one bad line never takes others with it.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.comments = self.first = 0  # and the line on which the names begin
        self.names, self.mark, self.head = self._header()

    def _header(self) -> tuple[list[str], str, int]:
        """Return the names, the mark between them, and their line."""
        lines, said = self.lines.texts(), ""
        for number, text in lines:
            head = self.first = number
            if text[:4].lower() == "sep=" and len(text.strip()) == 5:
                said = text[4]
            elif text.startswith("#") and text[1:2] not in _DELIMITERS:
                self.comments += 1
            elif text.strip():
                break
        else:
            return [], ",", 0
        for line, trec in _TREC:
            if re.fullmatch(line, text):
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

    def __iter__(self) -> Iterator[tuple[int, Row | Bad]]:
        names, mark, head = self.names, self.mark, self.head
        lines = ((number, text) for number, text in self.lines.texts() if number > head)
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
        yield from self.lines.cut()

    def starts(self) -> Iterator[int]:
        """Yield the line on which each row begins."""
        return (number for number, _ in self)

    def plain(self) -> bool:
        """Whether the text is UTF-8 without quotes: then a line is a row, parted at each mark."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.lines.file.path.open("rb") as opened:
            while block := opened.read(_BLOCK):
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    return False
                if b'"' in block or NO_TEXT.encode() in block:
                    return False
        return True

    def regular(self) -> int | None:
        """Return how many rows there are where Polars reads the file as `__iter__` does.

        That is: names from the first line on, all of it UTF-8; quotes open a field and close it, or
        are doubled within; no line is blank, and carriage returns end lines alone. Else None.
        """
        if self.first != 1 or self.mark == " " or len(set(self.names)) < len(self.names):
            return None
        decoder, tail = codecs.getincrementaldecoder("utf-8")(), b" \n"
        count, inside = -1, False  # the line of names is no row
        with self.lines.file.path.open("rb") as opened:
            opened.seek(len(_BOM) if opened.read(len(_BOM)) == _BOM else 0)
            while block := opened.read(_BLOCK):
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    return None
                found = _ended(tail + block, inside, self.mark)
                if found is None:
                    return None
                count, inside, tail = count + found[0], found[1], (tail + block)[-2:]
        return None if inside else count + (tail[-1:] != b"\n")


def _ended(text: bytes, inside: bool, mark: str) -> tuple[int, bool] | None:
    """Return how many records end in a text after its first two bytes, and how it ends; or None.

    `inside` is whether it begins and ends in quotes; None is for what isn't regular.
    """
    if not inside and b'"' not in text[1:]:
        returns = text.count(b"\r") - text.endswith(b"\r")
        odd = b"\n\n" in text or b"\n\r\n" in text or text.count(b"\r\n") != returns
        return None if odd else (text.count(b"\n", 2), False)
    data = np.frombuffer(text, np.uint8)
    here, last, one_before = data[2:], data[1:-1], data[:-2]
    quote, end, returned = here == _QUOTE, here == _END, last == _RETURN
    after = (np.cumsum(quote) + inside) % 2 == 1
    outside = ~np.concatenate([[inside], after[:-1]])
    marked = ord(mark)
    wrong = quote & (last != marked) & (last != _END) & (last != _QUOTE)  # opens within a field
    wrong |= (last == _QUOTE) & ~quote & (here != marked) & ~end & (here != _RETURN)  # text follows
    wrong |= returned & ~end
    wrong |= end & ((last == _END) | (returned & (one_before == _END)))  # a blank line
    return None if (wrong & outside).any() else (int((end & outside).sum()), bool(after[-1]))


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


@dataclass
class Svmlight:
    """A text of a label, a query and features a line (svmlight, LETOR), or LightGBM's two files.

    LightGBM has no queries in the lines: a file of the same name and .query holds their sizes.
    """

    lines: Lines

    def __iter__(self) -> Iterator[tuple[int, Row | Bad]]:
        sizes, query, left = self._sizes(), -1, 0
        for number, text in self.lines.texts():
            label, _, rest = text.strip().partition(" ")
            if not label or label.startswith("#"):
                continue
            if rest.startswith("qid:"):
                yield number, {"qid": rest[4:].partition(" ")[0], "label": label}
                continue
            while not left:
                query, left = query + 1, next(sizes, -1)
            left -= 1
            yield number, {"qid": str(query) if left >= 0 else None, "label": label}
        yield from self.lines.cut()

    def _sizes(self) -> Iterator[int]:
        beside = Path(f"{self.lines.file.name}.query")
        if beside.is_file():
            yield from map(int, beside.read_text().split())
