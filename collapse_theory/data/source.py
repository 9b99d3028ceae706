"""What rankings and logs are read from: files, folders of shards, data frames, lists, mappings.

A source is one or more parts, each with names of columns and rows; a part that Polars can read as
a whole gives a lazy frame, too.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from collapse_theory.data.columns import COLUMN_NAMES
from collapse_theory.data.text import (
    Bad,
    Csv,
    JsonLines,
    Lines,
    Row,
    Svmlight,
    json_values,
    row_or_bad,
)
from collapse_theory.data.unpacked import PlainFile, plain_file
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

SAMPLE = 1000  # rows that tell what columns hold
RECORD = "__record__"  # the column of a frame that counts its rows, from 1


@dataclass(kw_only=True)
class Part:
    """Rows of one kind from one place.

    Attributes
    ----------
    name : str
        What messages call it.
    unit : {"line", "row"}
        What `rows` counts, from 1.
    advice : str
        Begins the sentence that tells to say which column is which.
    remark : str
        What is worth knowing of it, whatever is read.
    straight : bool
        Whether its rows were read by its frame last, and so counted by `RECORD`.
    """

    name: str
    unit: str = "row"
    advice: str = "S"
    remark: str = ""
    straight: bool = False

    @property
    def decimal_commas(self) -> bool:
        """Whether 0,5 can only be a half: where commas part no fields."""
        return False

    @cached_property
    def sample(self) -> Sequence[Row]:
        """The first rows."""
        return [row for _, row in islice(self.rows(), SAMPLE) if not isinstance(row, Bad)]

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns; of objects those in the first of them."""
        return list(dict.fromkeys(chain.from_iterable(self.sample)))

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        """Yield each row with its number, or why there is none."""
        raise NotImplementedError

    def frame(self, needed: Sequence[str]) -> pl.LazyFrame | None:
        """Return these columns and `RECORD` by Polars, None where it may misread some."""
        return None

    def places(self, records: Sequence[int]) -> list[int]:
        """Return the numbers that `rows` gives to rows as they were read last."""
        return list(records)

    def notes(self) -> list[str]:
        """Return what is worth knowing of how the part was read."""
        return [self.remark] if self.remark else []


@dataclass(kw_only=True)
class TextPart(Part):
    """CSV, or JSON lines."""

    unit: str = "line"
    file: PlainFile
    reader: Callable[[Lines], Csv | JsonLines | Svmlight]

    def __post_init__(self) -> None:
        self.text = self.reader(Lines(self.file))
        if isinstance(self.text, Csv):
            self.advice = "The first line of a CSV file names its columns; s"

    @cached_property
    def names(self) -> list[str]:
        if isinstance(self.text, Csv):
            return self.text.names
        return super().names

    @property
    def decimal_commas(self) -> bool:
        return isinstance(self.text, Csv) and self.text.mark != ","

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        return iter(self.text)

    def frame(self, needed: Sequence[str]) -> pl.LazyFrame | None:
        options: dict[str, Any] = {"row_index_name": RECORD, "row_index_offset": 1}
        try:
            if isinstance(self.text, Csv):
                names = self.text.names
                if (records := self.text.regular()) is None or len(set(names)) < len(names):
                    return None
                options |= {"row_index_offset": 2, "separator": self.text.mark}
                options |= {"infer_schema": False, "new_columns": names, "glob": False}
                frame, records = pl.scan_csv(self.file.path, **options), records - 1
            elif isinstance(self.text, Svmlight):
                return None
            else:
                if (records := _json_line_count(self.file)) is None:
                    return None
                options["schema"] = dict.fromkeys(needed, pl.String)
                frame = pl.scan_ndjson(self.file.path, **options)
            # Every field is parsed, so that a line that doesn't fit is found now.
            checked = frame.select(pl.len().alias("__rows__"), pl.all().null_count())
            read = checked.collect(engine="streaming")["__rows__"].item()
        except pl.exceptions.PolarsError:
            return None
        return frame if read == records else None

    def places(self, records: Sequence[int]) -> list[int]:
        if not (isinstance(self.text, Csv) and self.straight and records):
            return list(records)
        lines = self.text.lines_of(records)
        return [lines[record] for record in records]

    def notes(self) -> list[str]:
        return [*super().notes(), *self.text.lines.notes()]


def _json_line_count(file: PlainFile) -> int | None:
    """Return how many lines a text has, None if one is blank or isn't UTF-8."""
    lines, last, decoder = 0, b"", codecs.getincrementaldecoder("utf-8")()
    if file.damage is not None:
        return None
    with file.path.open("rb") as opened:
        while block := opened.read(1 << 22):
            if b"\n\n" in last + block or b"\n\r\n" in last + block:
                return None
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return None
            lines, last = lines + block.count(b"\n"), block[-2:]
    return lines + (last[-1:] != b"\n")


@dataclass(kw_only=True)
class FramePart(Part):
    """A frame of Polars: Parquet, Arrow, or a data frame in memory."""

    lazy: pl.LazyFrame
    keeper: Any = None  # of a file that was unpacked

    @contextlib.contextmanager
    def damage_named(self) -> Iterator[None]:
        """Turn what Polars says of a broken file into an error that names the file."""
        try:
            yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise CollapseError(
                f"{self.name} is damaged, or not written to its end: {first}"
            ) from None

    @cached_property
    def names(self) -> list[str]:
        with self.damage_named():
            return self.lazy.collect_schema().names()

    @cached_property
    def sample(self) -> Sequence[Row]:
        with self.damage_named():
            return self.lazy.head(SAMPLE).collect().to_dicts()

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        with self.damage_named():
            frame = self.lazy.collect()
        yield from enumerate(frame.iter_rows(named=True), start=1)

    def frame(self, needed: Sequence[str]) -> pl.LazyFrame | None:
        there = [name for name in needed if name in self.names]
        return self.lazy.select(there).with_row_index(RECORD, 1)


@dataclass(kw_only=True)
class RecordsPart(Part):
    """Objects in memory, which may come once."""

    records: Iterable[Any]
    _seen: list[Any] = field(default_factory=list)
    _rest: Iterator[Any] | None = None

    @cached_property
    def sample(self) -> Sequence[Row]:
        self._rest = iter(self.records)
        self._seen = list(islice(self._rest, SAMPLE))
        return [row for row in self._seen if isinstance(row, Mapping)]

    def rows(self) -> Iterator[tuple[int, Row | Bad]]:
        _ = self.sample
        assert self._rest is not None
        seen = self._seen if isinstance(self.records, Iterator) else ()
        rest = chain(seen, self._rest) if seen else self.records
        for number, value in enumerate(rest, start=1):
            yield number, row_or_bad(value)


# -- files --------------------------------------------------------------------------------------


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
    elif all(_is_list(value) and value and isinstance(value[0], Mapping) for value in values):
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
        lambda file: TextPart(name=file.name, file=file, reader=JsonLines),
    ),
    Format(
        "svmlight",
        (),
        (),
        lambda file: TextPart(name=file.name, file=file, reader=Svmlight),
    ),
    Format(
        "csv",
        (".csv", ".tsv", ".txt"),
        (),
        lambda file: TextPart(name=file.name, file=file, reader=Csv),
    ),
)
"""The formats that are read; a file that tells none is CSV. Another is one entry."""

_OTHERS = {
    b"FEA1": "a Feather file of version 1; write it again by a newer pandas or Arrow",
    b"\x93NUMPY": "an array of NumPy; give np.load(...) to ct.diagnose",
    b"\x89HDF": "an HDF5 file; read it by pandas, and give the frame to ct.diagnose",
    b"SQLite format 3": "a data base; query it, and give the frame to ct.diagnose",
    b"\x80\x04": "a pickle, or made by torch.save; load it, and give what it holds to ct.diagnose",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
}
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
    with contextlib.suppress(ValueError, RecursionError):
        return records_of(json.loads(first)) != [json.loads(first)]  # columns, in one object
    return False


def _require_readable(found: Format, file: PlainFile, head: bytes) -> None:
    for start, what in _OTHERS.items():
        if head.startswith(start):
            raise CollapseError(f"{file.name} is {what}")
    if found.columnar and not head.startswith(found.starts):
        name = found.name.capitalize()
        raise CollapseError(f"{file.name} is no {name} file: it doesn't begin as one")
    if not found.columnar and head.startswith((b"PAR1", b"ARROW1")):
        raise CollapseError(f"{file.name} is a Parquet or Arrow file, not {found.name}")
    if not found.columnar and head.count(b"\0") > 8 + len(head) // 8:
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


# -- from anything to parts ---------------------------------------------------------------------


def parts_of(source: Any, format: str | None = None) -> list[Part]:
    """Return the parts of a source.

    Parameters
    ----------
    source : path, glob, folder, "-" or several of them; a data frame or data set; dicts; a mapping
    format : {"arrow", "csv", "json", "jsonl", "parquet"}, optional
        Of files; told from their first bytes and their names unless given.

    Raises
    ------
    CollapseError
        A ValueError, for a file that is none of rows, or what is no source at all.
    OSError
        Where a file can't be read.
    """
    several = source if _is_list(source) and source else [source]
    if all(isinstance(one, str | os.PathLike) for one in several):
        return [part for one in several for part in _file_parts(one, len(several), format)]
    frames = [frame for one in several if (frame := _frame(one)) is not None]
    if frames and len(frames) == len(several):
        return [FramePart(name="the frame", lazy=one, advice=_TABLE) for one in frames]
    return [RecordsPart(name="the data", records=records_of(source))]


_TABLE = "If a row holds a prompt's rewards and nothing else, give its numbers (.to_numpy()); s"


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


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
        columns = {str(name): _column(table[name]) for name in table.columns}
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


def records_of(source: Any) -> Iterable[Any]:
    """Return the rows that values of Python make, in the layouts that JSON files have, too.

    A list of objects; a mapping of columns, of one list of objects, or of a prompt's rewards;
    lists of numbers, a prompt each.

    Examples
    --------
    >>> list(records_of({"prompt": ["a", "b"], "reward": [0.1, 0.2]}))
    [{'prompt': 'a', 'reward': 0.1}, {'prompt': 'b', 'reward': 0.2}]
    >>> list(records_of({"2 + 2?": [0.1, 0.2]}))
    [{'prompt': '2 + 2?', 'reward': [0.1, 0.2]}]
    """
    if isinstance(source, Mapping):
        return _records_of_mapping(source)
    if _is_list(source) and source and all(map(_is_list, source)):
        return [{"prompt": at, "reward": rewards} for at, rewards in enumerate(source)]
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return source
    raise CollapseError(
        f"an object of the type {type(source).__name__} holds no log; give a file, a data frame, "
        "a list of dicts, or rewards with a prompt a row"
    )


def _records_of_mapping(source: Mapping[Any, Any]) -> Iterable[Any]:
    values = list(source.values())
    if values and all(hasattr(value, "column_names") for value in values):
        names = list(map(str, source))
        raise CollapseError(
            f"this holds the data sets {', '.join(names)}; give one of them, data[{names[0]!r}]"
        )
    inner = [
        value for value in values if _is_list(value) and value and isinstance(value[0], Mapping)
    ]
    scalars = sum(not _is_list(value) and not isinstance(value, Mapping) for value in values)
    if len(inner) == 1 and len(inner) + scalars == len(values):
        return inner[0]  # {"data": [...], "version": 1}
    texts = {str(name).casefold() for name in source}
    if texts & COLUMN_NAMES and all(map(_sized, values)):
        columns = [list(v.values()) if isinstance(v, Mapping) else list(v) for v in values]
        if len(set(map(len, columns))) > 1:
            sizes = ", ".join(f"{name} {len(c)}" for name, c in zip(source, columns, strict=True))
            raise CollapseError(f"the columns differ in length: {sizes}")
        return (dict(zip(source, row, strict=True)) for row in zip(*columns, strict=True))
    if values and all(_sized(value) for value in values):
        return [{"prompt": str(name), "reward": value} for name, value in source.items()]
    return [source]


def _sized(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
