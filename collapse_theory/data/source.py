"""From anything to parts: paths, data frames and data sets, dicts, mappings, lists."""

from __future__ import annotations

import os
from typing import Any

from collapse_theory.data.formats import file_parts
from collapse_theory.data.nested import is_list
from collapse_theory.data.parts import FramePart, Part, RecordsPart
from collapse_theory.data.records import records_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl


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
    several = source if is_list(source) and source else [source]
    if all(isinstance(one, str | os.PathLike) for one in several):
        return [part for one in several for part in file_parts(one, len(several), format)]
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
