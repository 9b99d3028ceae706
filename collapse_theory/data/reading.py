"""Reading a reward log with Polars: every row is used, or counted and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from collapse_theory.data.clean import REASONS, cleaned
from collapse_theory.data.columns import Columns, find_columns
from collapse_theory.data.formats import LogFile, log_file
from collapse_theory.data.frames import Source, damaged, open_source
from collapse_theory.data.reward_log import BadRows, RewardLog
from collapse_theory.errors import CollapseError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_log"]

_NAMED = 5  # of many bad rows, the first so many are named
_MOST_KINDS = 1000
KIND_CHANGES = "a kind that isn't the one of their prompt's other rows"


def read_log(
    path: str | Path,
    *,
    prompt: str | None = None,
    reward: str | None = None,
    kind: str | bool | None = None,
    rank: str | bool | None = None,
    step: str | bool | None = None,
    at: float | None = None,
    where: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    format: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> RewardLog:
    """Read a log of rewards: a CSV, JSON lines or Parquet file, text plain or zipped by gzip.

    A row is one completion's reward. Rows that are no good are set aside, counted and named by
    their lines in `RewardLog.bad`; none is dropped in silence.

    Parameters
    ----------
    path : str or Path
    prompt, reward : str, optional
        The columns' names; "prompt" and "reward" (or "score") unless given.
    kind, rank, step : str or bool, optional
        Names of columns that needn't be there: the prompt's kind, the completion's rank (0 the
        best), the training step. By default those called so; False reads none.
    at : float, optional
        The step to read; the last one unless given.
    where : mapping or sequence of pairs, optional
        Only rows whose column has this value, such as {"split": "train"}.
    format : {"csv", "jsonl", "parquet"}, optional
        Told from the file's first bytes and its name unless given.
    progress : callable, optional
        Is told the share of a text file that has been read, from 0 to 1.

    Returns
    -------
    RewardLog

    Raises
    ------
    CollapseError
        A ValueError, for a file that is empty, no log, or without a single good row.
    OSError
        Where the file can't be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from collapse_theory.diagnosis import read_log
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("prompt,reward\\na,0.9\\na,nan\\na,0.1\\n")
    >>> log = read_log(file)
    >>> log.rewards, str(log.bad[0])
    (array([0.9, 0.1]), '1 with a reward that is NaN or infinite (line 3)')
    """
    file = log_file(path, format)
    pairs = tuple(where.items()) if isinstance(where, Mapping) else tuple(where)

    def choose(there: Sequence[str]) -> Columns:
        return find_columns(there, file.name, prompt, reward, kind, rank, step, pairs)

    import polars as pl

    source = open_source(file, choose, progress)
    try:
        return _log(file, source, at)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(file, error) from None


def _log(file: LogFile, source: Source, at: float | None) -> RewardLog:
    rows = cleaned(source.frame, source.columns)
    if rows.head(1).collect(engine="streaming").is_empty():
        wanted = ", ".join(f"{name}={value}" for name, value in source.columns.where)
        raise CollapseError(f"{file.name} has no rows{' with ' + wanted if wanted else ''}")
    kind_names, last = _kinds_and_step(rows, source.columns)
    if source.columns.step is not None:
        rows = _one_step(rows, last if at is None else at, file)
    elif at is not None:
        raise CollapseError(f"{file.name} has no step column, so no step {at:g} can be chosen")
    if len(kind_names) > _MOST_KINDS:
        raise CollapseError(
            f"{file.name}: the column {source.columns.kind!r} has more than {_MOST_KINDS} "
            "different values; name the right one with --kind-column, or read none with --no-kinds"
        )
    frame = _collected(rows, kind_names)
    reasons = frame["reason"].to_numpy()
    bad = [
        _bad_rows(text, frame["line"].to_numpy()[reasons == number], file)
        for number, text in enumerate(REASONS)
        if number and (reasons == number).any()
    ]
    return _arrays(file, source, frame, kind_names, bad, last if at is None else at)


def _kinds_and_step(rows: pl.LazyFrame, columns: Columns) -> tuple[tuple[str, ...], float | None]:
    """Return the kinds' names, sorted, and the last step."""
    import polars as pl

    names: list[str] = []
    if columns.kind is not None:
        some = rows.select(pl.col("kind").drop_nulls().unique()).head(_MOST_KINDS + 1)
        names = sorted(some.collect(engine="streaming")["kind"].to_list())
    last = None
    if columns.step is not None:
        last = rows.select(pl.col("step").max()).collect(engine="streaming").item()
    return tuple(names), last


def _one_step(rows: pl.LazyFrame, at: float | None, file: LogFile) -> pl.LazyFrame:
    import polars as pl

    if at is None:
        raise CollapseError(f"{file.name}: no row has a step; read none with --no-steps")
    found = rows.select((pl.col("step") == at).any()).collect(engine="streaming").item()
    if not found:
        steps = rows.select(pl.col("step").drop_nulls().unique().sort())
        there = steps.collect(engine="streaming")["step"].to_list()
        texts = [f"{s:g}" for s in (there if len(there) <= 8 else [*there[:4], *there[-4:]])]
        raise CollapseError(f"{file.name} has no step {at:g}; there are {', '.join(texts)}")
    # A row whose step can't be read is of no step: it is named, whichever step is chosen.
    return rows.filter((pl.col("step") == at) | pl.col("step").is_null())


def _collected(rows: pl.LazyFrame, kind_names: tuple[str, ...]) -> pl.DataFrame:
    """Return numbers and codes alone: some 30 bytes a row, however long the prompts are."""
    import polars as pl

    kind = pl.lit(0, pl.UInt32)
    if kind_names:
        kind = pl.col("kind").cast(pl.Enum(kind_names), strict=False).to_physical()
    return rows.select(
        pl.col("prompt").hash(0).alias("prompt"),
        "reward",
        kind.cast(pl.UInt16).fill_null(0).alias("kind"),
        "rank",
        "reason",
        pl.col("line").cast(pl.UInt32),
    ).collect(engine="streaming")


def _bad_rows(reason: str, lines: np.ndarray, file: LogFile) -> BadRows:
    first = np.sort(np.partition(lines, _NAMED)[:_NAMED] if lines.size > _NAMED else lines)
    return BadRows(
        reason,
        int(lines.size),
        tuple(first.tolist()),
        "row" if file.format == "parquet" else "line",
    )


def _arrays(
    file: LogFile,
    source: Source,
    frame: pl.DataFrame,
    kind_names: tuple[str, ...],
    bad: list[BadRows],
    step: float | None,
) -> RewardLog:
    import polars as pl

    read = frame.height
    good = frame.filter(pl.col("reason") == 0)
    del frame
    if good.is_empty():
        raise CollapseError(
            f"{file.name} has no good row among {read}: " + "; ".join(map(str, bad))
        )
    prompts = _numbered(good["prompt"].to_numpy())
    keep = np.ones(good.height, dtype=bool)
    kinds = good["kind"].to_numpy() if kind_names else None
    if kinds is not None and len(kind_names) > 1:
        keep = _of_their_kind(prompts, kinds, len(kind_names))
        if not keep.all():
            bad.append(_bad_rows(KIND_CHANGES, good["line"].to_numpy()[~keep], file))
    if not keep.all():
        prompts = _numbered(prompts[keep])
    return RewardLog(
        rewards=good["reward"].to_numpy()[keep],
        prompts=prompts,
        kinds=None if kinds is None else kinds[keep],
        kind_names=kind_names,
        ranks=good["rank"].to_numpy()[keep] if source.columns.rank else None,
        step=step if source.columns.step else None,
        read=read,
        bad=tuple(bad),
        notes=tuple(source.notes),
    )


def _numbered(keys: np.ndarray) -> np.ndarray:
    """Return the number of each key's prompt, from 0 in the order of first appearance."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = order[new]  # of each key, as the sort is stable
    number = np.empty(first.size, dtype=np.int32)
    number[np.argsort(first)] = np.arange(first.size, dtype=np.int32)
    codes = np.empty(keys.size, dtype=np.int32)
    codes[order] = np.repeat(number, np.diff(np.append(np.flatnonzero(new), keys.size)))
    return codes


def _of_their_kind(prompts: np.ndarray, kinds: np.ndarray, count: int) -> np.ndarray:
    """Return which rows have their prompt's kind: the most frequent one, of equals the first."""
    kind_of = np.empty(prompts.max(initial=-1) + 1, dtype=kinds.dtype)
    kind_of[prompts] = kinds
    same = kinds == kind_of[prompts]
    if same.all():
        return same
    pairs = prompts.astype(np.int64) * count + kinds
    both, first, rows = np.unique(pairs, return_index=True, return_counts=True)
    order = np.lexsort((first, -rows, both // count))
    best = order[np.unique(both[order] // count, return_index=True)[1]]
    kind_of = (both[best] % count).astype(kinds.dtype)
    return kinds == kind_of[prompts]
