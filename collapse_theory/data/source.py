"""From anything to parts: paths and what their files are, data frames, dicts, mappings, lists."""

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
from typing import Any

from collapse_theory.data.nested import is_list
from collapse_theory.data.parts import FramePart, Part, RecordsPart, records_of
from collapse_theory.data.text import Csv, JsonLines, Svmlight, json_values
from collapse_theory.data.unpacked import PlainFile, plain_file
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl


def parts_of(source: Any, format: str | None = None) -> list[Part]:
    """Return the parts of what `read_log` takes; a file that holds no rows is refused.

    The `format` of files is told from their first bytes and their names unless given.
    """
    several = source if is_list(source) and source else [source]
    if all(isinstance(one, str | os.PathLike) for one in several):
        return [part for one in several for part in _file_parts(one, len(several), format)]
    frames = [frame for one in several if (frame := _frame(one)) is not None]
    if frames and len(frames) == len(several):
        return [FramePart(name="the frame", lazy=one, advice=_TABLE) for one in frames]
    return [RecordsPart(name="the data", records=records_of(source))]


_TABLE = "If a row holds a prompt's rewards and nothing else, give its numbers (.to_numpy()); s"


def _frame(source: Any) -> pl.LazyFrame | None:
    """Return a data frame, a data set or an Arrow table as a frame of Polars; else None."""
    home = type(source).__module__.partition(".")[0]
    if home == "polars":
        if isinstance(source, pl.Series):
            return None
        return source.lazy()
    if home == "pandas" and hasattr(source, "columns"):
        named = any(name is not None for name in source.index.names)
        table = source.reset_index() if named else source
        names = [str(name) for name in table.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise CollapseError(f"the frame has several columns {twice[0]!r}; rename them")
        columns = {name: _column(table.iloc[:, at]) for at, name in enumerate(names)}
        return pl.DataFrame(columns, strict=False).lazy()
    if hasattr(source, "to_polars"):  # datasets.Dataset
        return source.to_polars().lazy()
    if hasattr(source, "__arrow_c_stream__") or home == "pyarrow":
        return pl.DataFrame(source).lazy()
    if getattr(getattr(source, "dtype", None), "names", None):  # NumPy's records
        return pl.DataFrame({name: source[name] for name in source.dtype.names}).lazy()
    return None


def _column(series: Any) -> Any:
    """Return a column of pandas without asking for pyarrow; missing values are null."""
    if series.dtype.kind in "iufb" and type(series.dtype).__module__.startswith("numpy"):
        return series.to_numpy()
    gone = series.isna()
    return [None if none else value for value, none in zip(series.tolist(), gone, strict=True)]


# -- files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A format of files: how it is told, and what reads it, as a text or as columns."""

    name: str
    endings: tuple[str, ...] = ()
    starts: tuple[bytes, ...] = ()  # first bytes that tell it, whatever the name
    text: Callable[..., Part] | None = None
    columns: Callable[[Path], pl.LazyFrame] | None = None

    def part(self, file: PlainFile) -> Part:
        """Return the part that a file makes."""
        if self.text is not None:
            return self.text(name=file.name, file=file)
        assert self.columns is not None
        if file.damage is not None:
            raise CollapseError(f"{file.name} can't be unpacked to its end: {file.damage}")
        found = FramePart(name=file.name, lazy=pl.LazyFrame(), keeper=file.keeper)
        with found.damage_named():
            found.lazy = self.columns(file.path)
        return found


def _json_part(name: str, file: PlainFile) -> Part:
    values = json_values(file)
    if len(values) == 1:
        values = values[0]
    elif all(is_list(value) and value and isinstance(value[0], Mapping) for value in values):
        values = list(chain.from_iterable(values))
    return RecordsPart(name=name, records=records_of(values))


_KNOWN = (
    Format(
        "parquet",
        (".parquet", ".pq"),
        (b"PAR1",),
        columns=lambda path: pl.scan_parquet(path, glob=False),
    ),
    Format("arrow", (".arrow", ".feather", ".ipc"), (b"ARROW1",), columns=lambda p: pl.scan_ipc(p)),
    Format(
        "arrow stream",
        starts=(b"\xff\xff\xff\xff",),
        columns=lambda path: pl.read_ipc_stream(path).lazy(),
    ),
    Format("json", starts=(b"[",), text=_json_part),
    Format("jsonl", (".jsonl", ".ndjson", ".json"), (b"{",), JsonLines),
    Format("svmlight", text=Svmlight),
    Format("csv", (".csv", ".tsv", ".txt", ".trec", ".qrels"), text=Csv),
)
FORMATS = {one.name: one for one in _KNOWN}
"""The formats that are read, by name; a file that tells none is CSV. Another is one entry."""

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
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it, and give the file in it",
    b"7z\xbc\xaf": "a 7z archive; unpack it, and give the file in it",
    b"Rar!": "an archive; unpack it, and give the files in it",
    b"ORC": "an ORC file; write it as Parquet",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SVMLIGHT = re.compile(rb"(#.*\n)*-?[\d.]+ (qid:\d+ )?(\d+:\S+ ?)+\s")


def _file_parts(source: str | os.PathLike[str], sources: int, format: str | None) -> list[Part]:
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
    if format is not None and format not in FORMATS:
        raise CollapseError(f"no format {format!r}; there are {', '.join(sorted(FORMATS))}")
    file = plain_file(path)
    head = file.head()
    if not head:
        raise CollapseError(f"{file.name} is empty: it needs rows")
    found = FORMATS[format] if format else _format_of(file, head, Path(path).suffixes)
    _require_readable(found, file, head)
    return found.part(file)


def _format_of(file: PlainFile, head: bytes, suffixes: Sequence[str]) -> Format:
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"{") and _is_document(file):
        return FORMATS["json"]
    for one in FORMATS.values():
        if text.startswith(one.starts):
            return one
    if _SVMLIGHT.match(head):
        return FORMATS["svmlight"]
    by_ending = {ending: one for one in FORMATS.values() for ending in one.endings}
    named = [by_ending[end.lower()] for end in suffixes if end.lower() in by_ending]
    return named[-1] if named else FORMATS["csv"]


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
    if found.columns and not head.startswith(found.starts):
        name = found.name.capitalize()
        raise CollapseError(f"{file.name} is no {name} file: it doesn't begin as one")
    if found.text and head.startswith((b"PAR1", b"ARROW1")):
        raise CollapseError(f"{file.name} is a Parquet or Arrow file, not {found.name}")
    controls = found.name == "csv" and _CONTROLS.search(head.partition(b"\n")[0])
    if controls or (found.text and head.count(b"\0") > 8 + len(head) // 8):
        raise CollapseError(f"{file.name} isn't UTF-8 text (or no text at all); save it as UTF-8")


def _files_of(path: str | os.PathLike[str]) -> tuple[list[Path], str]:
    """Return the files that a path, a glob or a folder stands for, and what is left out of it."""
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
    texts = tuple(end for one in FORMATS.values() if one.text for end in one.endings)
    wanted = [one.endings for one in FORMATS.values() if one.columns and one.endings] + [texts]
    found: dict[Path, int] = {}
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
        endings = {end.lower() for end in file.suffixes[-2:]}
        kinds = [kind for kind, ends in enumerate(wanted) if endings.intersection(ends)]
        if kinds and file.is_file() and not hidden:
            found[file] = kinds[0]
    if not found:
        raise CollapseError(
            f"{folder} is a folder without files of rows: none ends by "
            f"{', '.join(end for ends in wanted for end in ends)}"
        )
    best = min(found.values())
    others = [file.name for file, kind in found.items() if kind > best]
    named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    shards = [file for file, kind in found.items() if kind == best]
    return shards, f"left out of {folder}, as other formats: {named}" if others else ""
