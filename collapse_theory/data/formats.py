"""What kind of file a log is: by its first bytes, and by its name where those leave it open."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from collapse_theory.errors import CollapseError

__all__ = ["FORMATS", "LogFile", "log_file"]

FORMATS = ("csv", "jsonl", "parquet")
_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_HEAD = 4096


@dataclass(frozen=True)
class LogFile:
    """A file that can be read: where it is, its format, and whether it is zipped."""

    path: Path
    format: str
    zipped: bool

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)


def log_file(path: str | Path, format: str | None = None) -> LogFile:
    """Return what kind of file a log is.

    Raises
    ------
    CollapseError
        A ValueError, for an unknown format, an empty file, or one that is no log at all.
    OSError
        Where the file can't be read.
    """
    place = Path(path)
    if format is not None and format not in FORMATS:
        raise CollapseError(f"no format {format!r}; there are {', '.join(FORMATS)}")
    if place.is_dir():
        raise CollapseError(f"{place} is a folder; give the log file in it")
    if place.exists() and not place.is_file():
        raise CollapseError(
            f"{place} is no file but a pipe or device, and a log is read twice; "
            "write it into a file first"
        )
    with place.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise CollapseError(f"{place} is empty: a log needs rows")
    zipped = head[:2] == b"\x1f\x8b"
    if zipped:
        head = _unzipped(place)
    if head[:4] == b"PAR1" and zipped:
        raise CollapseError(f"{place} is a zipped Parquet file; unzip it first (gunzip)")
    found = format or _format_of(place, head)
    _check(place, head, found)
    return LogFile(place, found, zipped)


def _unzipped(place: Path) -> bytes:
    try:
        with gzip.open(place, "rb") as file:
            head = file.read1(_HEAD)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CollapseError(
            f"{place} is a gzip file that can't be unzipped from its start: {error}; copy it again"
        ) from None
    if not head:
        raise CollapseError(f"{place} is empty: a log needs rows")
    return head


def _format_of(place: Path, head: bytes) -> str:
    if head[:4] == b"PAR1":
        return "parquet"
    endings = [ending.lower() for ending in place.suffixes]
    if endings and endings[-1] in (".gz", ".gzip"):
        endings.pop()
    if endings and endings[-1] in _ENDINGS:
        return _ENDINGS[endings[-1]]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "jsonl" if text.startswith(b"{") else "csv"


def _check(place: Path, head: bytes, found: str) -> None:
    if found == "parquet":
        if head[:4] != b"PAR1":
            raise CollapseError(f"{place} is no Parquet file: it doesn't begin with PAR1")
        return
    if head[:4] == b"PAR1":
        raise CollapseError(f"{place} is a Parquet file, not {found}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head.count(b"\0") > len(head) // 8:
        raise CollapseError(
            f"{place} isn't UTF-8 text (UTF-16, or no text at all); save it as UTF-8"
        )
    if found == "jsonl" and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        raise CollapseError(
            f"{place} is one JSON list; write one JSON object a line (jq -c '.[]' does)"
        )
