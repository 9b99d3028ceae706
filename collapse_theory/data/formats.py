"""From a path to parts: which files it stands for, and which format each of them is in."""

from __future__ import annotations

import codecs
import contextlib
import errno
import glob
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from collapse_theory.data.nested import is_list
from collapse_theory.data.parts import FramePart, Part, RecordsPart
from collapse_theory.data.records import records_of
from collapse_theory.data.text import Csv, JsonLines, Svmlight, TextPart, json_values
from collapse_theory.data.unpacked import PlainFile, plain_file
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl


@dataclass(frozen=True)
class Format:
    """A format of files: how it is told, and the part that a file of it makes."""

    name: str
    endings: tuple[str, ...]
    starts: tuple[bytes, ...]  # first bytes that tell it, whatever the name
    part: Callable[[PlainFile], Part]
    columnar: bool = False


def _columnar(scan: Callable[[Path], pl.LazyFrame]) -> Callable[[PlainFile], Part]:
    def part(file: PlainFile) -> Part:
        if file.damage is not None:
            raise CollapseError(f"{file.name} can't be unpacked to its end: {file.damage}")
        found = FramePart(name=file.name, lazy=pl.LazyFrame(), keeper=file.keeper)
        with found.damage_named():
            found.lazy = scan(file.path)
        return found

    return part


def _text(kind: type[TextPart]) -> Callable[[PlainFile], Part]:
    return lambda file: kind(name=file.name, file=file)


def _parquet(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False)


def _arrow(path: Path) -> pl.LazyFrame:
    return pl.scan_ipc(path)


def _arrow_stream(path: Path) -> pl.LazyFrame:
    return pl.read_ipc_stream(path).lazy()


def _json_part(file: PlainFile) -> Part:
    values = json_values(file)
    if len(values) == 1:
        values = values[0]
    elif all(is_list(value) and value and isinstance(value[0], Mapping) for value in values):
        values = list(chain.from_iterable(values))
    return RecordsPart(name=file.name, records=records_of(values))


FORMATS = (
    Format("parquet", (".parquet", ".pq"), (b"PAR1",), _columnar(_parquet), True),
    Format("arrow", (".arrow", ".feather", ".ipc"), (b"ARROW1",), _columnar(_arrow), True),
    Format("arrow stream", (), (b"\xff\xff\xff\xff",), _columnar(_arrow_stream), True),
    Format("json", (), (b"[",), _json_part),
    Format(
        "jsonl",
        (".jsonl", ".ndjson", ".json"),
        (b"{",),
        _text(JsonLines),
    ),
    Format(
        "svmlight",
        (),
        (),
        _text(Svmlight),
    ),
    Format(
        "csv",
        (".csv", ".tsv", ".txt", ".trec", ".qrels"),
        (),
        _text(Csv),
    ),
)
"""The formats that are read; a file that tells none is CSV. Another is one entry."""

_OTHERS = {
    b"FEA1": "a Feather file of version 1; write it again by a newer pandas or Arrow",
    b"\x93NUMPY": "an array of NumPy; give np.load(...) to ct.diagnose",
    b"\x89HDF": "an HDF5 file; read it by pandas, and give the frame to ct.diagnose",
    b"SQLite format 3": "a data base; query it, and give the frame to ct.diagnose",
    b"\x80\x04": "a pickle, or made by torch.save; load it, and give what it holds to ct.diagnose",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run git lfs pull",
    b"<!DOCTYPE": "a web page, such as an error's; fetch the file again",
    b"<html": "a web page, such as an error's; fetch the file again",
    b"<?xml": "XML; read it by pandas, and give the frame to ct.diagnose",
    b"\x04\x22\x4d\x18": "packed by LZ4; unpack it, and give what comes out",
    b"\x1f\x9d": "packed by compress; unpack it, and give what comes out",
    b"Rar!": "an archive; unpack it, and give the files in it",
    b"ORC": "an ORC file; write it as Parquet",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SVMLIGHT = re.compile(rb"(#.*\n)*-?[\d.]+ (qid:\d+ )?(\d+:\S+ ?)+\s")


def file_parts(source: str | os.PathLike[str], sources: int, format: str | None) -> list[Part]:
    """Return the parts that a path's files make; of several, empty ones are told."""
    paths, left_out = _files_of(source)
    parts: list[Part] = []
    for path in paths:
        if len(paths) * sources > 1 and path.is_file() and not path.stat().st_size:
            parts.append(RecordsPart(name=str(path), records=[], remark=f"{path} is empty"))
        else:
            parts.append(_file_part(path, format))
    parts[0].remark = parts[0].remark or left_out
    return parts


def _file_part(path: Path, format: str | None = None) -> Part:
    """Return the part that a file makes."""
    known = {one.name: one for one in FORMATS}
    if format is not None and format not in known:
        raise CollapseError(f"no format {format!r}; there are {', '.join(sorted(known))}")
    file = plain_file(path)
    head = file.head()
    if not head:
        raise CollapseError(f"{file.name} is empty: it needs rows")
    found = known[format] if format else _format_of(file, head, Path(path).suffixes)
    _require_readable(found, file, head)
    return found.part(file)


def _format_of(file: PlainFile, head: bytes, suffixes: Sequence[str]) -> Format:
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    known = {one.name: one for one in FORMATS}
    if text.startswith(b"{") and _is_document(file):
        return known["json"]
    for one in FORMATS:
        if text.startswith(one.starts):
            return one
    if _SVMLIGHT.match(head):
        return known["svmlight"]
    by_ending = {ending: one for one in FORMATS for ending in one.endings}
    named = [by_ending[end.lower()] for end in suffixes if end.lower() in by_ending]
    return named[-1] if named else known["csv"]


def _is_document(file: PlainFile) -> bool:
    """Return whether a text that begins with an object is no text of an object a line."""
    with file.path.open("rb") as opened:
        first, second = opened.readline().strip(), opened.readline().strip()
    if second or not first.endswith(b"}"):
        return first.endswith((b"{", b"[", b","))  # printed over several lines
    if b"}{" in first:  # one after another
        return True
    with contextlib.suppress(ValueError, RecursionError):
        return records_of(json.loads(first)) != [json.loads(first)]  # columns, in one object
    return False


def _require_readable(found: Format, file: PlainFile, head: bytes) -> None:
    for start, what in _OTHERS.items():
        if head.startswith(start):
            raise CollapseError(f"{file.name} is {what}")
    if head[257:262] == b"ustar":
        raise CollapseError(f"{file.name} is a tar archive; unpack it, and give the files in it")
    if found.columnar and not head.startswith(found.starts):
        name = found.name.capitalize()
        raise CollapseError(f"{file.name} is no {name} file: it doesn't begin as one")
    if not found.columnar and head.startswith((b"PAR1", b"ARROW1")):
        raise CollapseError(f"{file.name} is a Parquet or Arrow file, not {found.name}")
    controls = found.name == "csv" and _CONTROLS.search(head.partition(b"\n")[0])
    if controls or (not found.columnar and head.count(b"\0") > 8 + len(head) // 8):
        raise CollapseError(f"{file.name} isn't UTF-8 text (or no text at all); save it as UTF-8")


def _files_of(path: str | os.PathLike[str]) -> tuple[list[Path], str]:
    """Return the files that a path, a glob or a folder stands for, and what is left out of it.

    Raises
    ------
    CollapseError
        A ValueError, for a folder without files of rows.
    FileNotFoundError
        Where there is none.
    """
    place, text = Path(path), os.fspath(path)
    if place.is_dir():
        return _files_in(place)
    if text != "-" and not place.exists():
        found = sorted(Path(name) for name in glob.glob(text, recursive=True))
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
        return [file for file in found if file.is_file()], ""
    return [place], ""


def _files_in(folder: Path) -> tuple[list[Path], str]:
    """Return a folder's shards: its Parquet files, else its Arrow files, else its texts."""
    texts = tuple(end for one in FORMATS for end in one.endings if not one.columnar)
    wanted = [one.endings for one in FORMATS if one.columnar and one.endings] + [texts]
    groups: list[list[Path]] = [[] for _ in wanted]
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith((".", "_")) for part in inside):
            endings = {end.lower() for end in file.suffixes[-2:]}
            for ends, files in zip(wanted, groups, strict=True):
                if endings.intersection(ends):
                    files.append(file)
                    break
    groups = [files for files in groups if files]
    if not groups:
        raise CollapseError(
            f"{folder} is a folder without files of rows: none ends by "
            f"{', '.join(end for ends in wanted for end in ends)}"
        )
    others = [file.name for files in groups[1:] for file in files]
    named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    return groups[0], f"left out of {folder}, as other formats: {named}" if others else ""
