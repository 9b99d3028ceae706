"""A plain file from whatever holds it: packed files, pipes, UTF-16, lines that end by \\r alone.

What is no plain file is copied into one, beside those of the system's temporary files, and
deleted with the last that reads it. So whatever reads may read twice, and lazily.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
import os
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError)
_BLOCK = 1 << 20
_HEAD = 4096  # bytes that tell what a file is
_STILL_PACKED = "(\ufffd/\ufffd".encode()  # what Polars makes of a damaged file, taken for text
NO_TEXT = "\x1e"  # a mark that parts nothing: no text has it
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Folder:
    """A folder that is deleted with the last that holds it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="collapse-theory-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class PlainFile:
    """A file that can be read as it is.

    Attributes
    ----------
    name : str
        What messages call it: the path that was given.
    path : Path
    damage : str or None
        Why what came next couldn't be unpacked.
    """

    name: str
    path: Path
    damage: str | None = None
    keeper: Any = None  # the folder of a copy, which is deleted with it

    def copy(self) -> PlainFile:
        """Return the place for a copy, which is deleted with the last that holds it."""
        keeper = _Folder()
        return replace(self, path=keeper.path / "copy", keeper=(self.keeper, keeper))

    def head(self) -> bytes:
        """Return its first bytes."""
        with self.path.open("rb") as file:
            return file.read(_HEAD)


def plain_file(path: str | os.PathLike[str]) -> PlainFile:
    """Return the plain file that a path leads to; "-" is the standard input.

    One that can't be unpacked from its start is refused.
    """
    place = Path(path)
    found = PlainFile(str(place), place)
    if str(place) == "-":
        found = _copied(replace(found, name="standard input"), sys.stdin.buffer)
    elif place.exists() and not place.is_file():  # a pipe
        with place.open("rb") as file:
            found = _copied(found, file)
    head = found.head()
    while opened := next((way for start, way in _PACKINGS if head.startswith(start)), None):
        found = opened(found)
        head = found.head()
    for start, encoding in _ENCODINGS:
        if head.startswith(start):
            return _rewritten(found, encoding, "strict")
    if b"\r" in head and b"\n" not in head and b"\0" not in head and not _has_line_ends(found):
        return _rewritten(found, "utf-8", "surrogateescape")
    return found


def _has_line_ends(file: PlainFile) -> bool:
    with file.path.open("rb") as opened:
        return any(b"\n" in block for block in iter(lambda: opened.read(_BLOCK), b""))


def _copied(file: PlainFile, opened: Any) -> PlainFile:
    """Return a copy of all that can be read; of a text that breaks off, the whole lines."""
    copy, damage = file.copy(), None
    with copy.path.open("wb") as out:
        try:
            for block in iter(lambda: opened.read1(_BLOCK), b""):
                out.write(block)
        except _DAMAGED as error:
            if getattr(error, "errno", None):  # no space left, or no right to read
                raise
            damage = str(error)
    if damage is not None:
        if not copy.path.stat().st_size:
            raise CollapseError(f"{file.name} can't be unpacked from its start: {damage}")
        with copy.path.open("rb") as cut, mmap(cut.fileno(), 0, access=ACCESS_READ) as held:
            end = held.rfind(b"\n") + 1
        if end:
            os.truncate(copy.path, end)
    return replace(copy, damage=damage)


def _by(opener: Callable[[Path, str], Any]) -> Callable[[PlainFile], PlainFile]:
    def unpacked(file: PlainFile) -> PlainFile:
        with opener(file.path, "rb") as opened:
            return _copied(file, opened)

    return unpacked


def _zstandard(file: PlainFile) -> PlainFile:
    """Unpack Zstandard, of text alone: Polars reads each line as a field of one column."""
    copy = file.copy()
    options: dict[str, Any] = {"has_header": False, "separator": NO_TEXT, "quote_char": None}
    with contextlib.suppress(pl.exceptions.PolarsError, OSError):
        lines = pl.read_csv(
            file.path, new_columns=["line"], infer_schema=False, encoding="utf8-lossy", **options
        )
        lines.fill_null("").write_csv(copy.path, include_header=False, quote_style="never")
        if not copy.head().startswith(_STILL_PACKED):
            return copy
    raise CollapseError(
        f"{file.name} can't be unpacked: it is cut off or damaged, or holds no text. Unpack it "
        "(zstd -d), and give what comes out"
    )


_PACKINGS = (
    (b"\x1f\x8b", _by(gzip.open)),
    (b"BZh", _by(bz2.open)),
    (b"\xfd7zXZ\0", _by(lzma.open)),
    (b"\x28\xb5\x2f\xfd", _zstandard),
)
"""How packed files begin, and who unpacks them; another is one line."""


def _rewritten(file: PlainFile, encoding: str, errors: str) -> PlainFile:
    """Return a copy in UTF-8 whose lines end by \\n."""
    copy = file.copy()
    try:
        with (
            file.path.open(encoding=encoding, errors=errors) as text,
            copy.path.open("w", encoding="utf-8", errors=errors, newline="\n") as out,
        ):
            shutil.copyfileobj(text, out, _BLOCK)
    except UnicodeError as error:
        raise CollapseError(
            f"{file.name} isn't {encoding} as its first bytes say: {error}"
        ) from None
    return copy
