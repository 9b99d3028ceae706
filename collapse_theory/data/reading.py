"""Reading a reward log: every row is used, or counted and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from collapse_theory.data.columns import REASONS, Columns, find_columns
from collapse_theory.data.reward_log import BadRows, RewardLog
from collapse_theory.data.rows import DataFile, Rows, data_file
from collapse_theory.data.scan import row_by_row, scan
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

_NAMED = 5  # of many bad rows, the first so many are named
_MAX_KINDS = 1000
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
) -> RewardLog:
    """Read a log of rewards: CSV, JSON lines, a JSON list or Parquet; text plain or gzip.

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
    format : {"csv", "json", "jsonl", "parquet"}, optional
        "json" is one list; told from the file's first bytes and its name unless given.

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
    file = data_file(path, format)
    pairs = tuple(where.items()) if isinstance(where, Mapping) else tuple(where)
    wanted = {"prompt": prompt, "reward": reward, "kind": kind, "rank": rank, "step": step}
    columns = find_columns(file.names(), str(file), wanted, pairs)
    with file.damage_named():
        frame, source = scan(file, columns), Rows(file)
        if frame is None:
            frame = row_by_row(source, columns)
        return _log(file, frame, columns, at, tuple(source.notes()))


def _log(
    file: DataFile,
    rows: pl.LazyFrame,
    columns: Columns,
    at: float | None,
    notes: tuple[str, ...],
) -> RewardLog:
    count, asked, kind_names, last = _facts(file, rows, columns)
    wanted = " and ".join(f"{name}={value}" for name, value in columns.where)
    left_out = {f"something else than {wanted}": count - asked}
    rows = rows.filter("asked")
    if "step" in columns.names:
        at = last if at is None else at
        rows = _one_step(file, rows, at)
    elif at is not None:
        raise CollapseError(f"{file} has no step column, so no step {at:g} can be chosen")
    good, bad = _judged(file, rows, kind_names)
    judged = good.height + sum(rows.count for rows in bad)
    left_out[f"another step than {at:g}" if at is not None else ""] = asked - judged
    prompts, kinds = _numbered(good["prompt"].to_numpy()), None
    keep = np.ones(good.height, dtype=bool)
    if kind_names:
        kinds = good["kind"].to_numpy()
        keep = _of_their_kind(prompts, kinds, len(kind_names))
        kinds = kinds[keep]
    if not keep.all():
        bad.append(_bad_rows(file, KIND_CHANGES, good["line"].to_numpy()[~keep]))
        prompts = _numbered(prompts[keep])
    return RewardLog(
        rewards=good["reward"].to_numpy()[keep],
        prompts=prompts,
        kinds=kinds,
        kind_names=kind_names,
        ranks=good["rank"].to_numpy()[keep] if "rank" in columns.names else None,
        step=at,
        read=count,
        bad=tuple(bad),
        left_out=tuple(BadRows(reason, n) for reason, n in left_out.items() if n),
        columns=tuple(columns.names.items()),
        notes=notes,
    )


def _facts(
    file: DataFile, rows: pl.LazyFrame, columns: Columns
) -> tuple[int, int, tuple[str, ...], float | None]:
    """Return how many rows there are, and are asked for; the kinds, sorted; the last step."""
    asked = pl.col("asked")
    kinds = pl.col("kind").filter(asked).drop_nulls().unique().head(_MAX_KINDS + 1).implode()
    last_step = pl.col("step").filter(asked).max()
    facts = rows.select(pl.len(), asked.sum(), kinds, last_step).collect(engine="streaming")
    count, used, names, last = facts.row(0)
    if not used:
        wanted = ", ".join(f"{name}={value}" for name, value in columns.where)
        raise CollapseError(f"{file} has no rows{' with ' + wanted if wanted else ''}")
    if len(names) > _MAX_KINDS:
        raise CollapseError(
            f"{file}: the column {columns.names['kind']!r} has more than {_MAX_KINDS} "
            "different values; name the right one with --kind (kind=...), or read none with "
            "--no-kinds (kind=False)"
        )
    return count, used, tuple(sorted(names)), last


def _one_step(file: DataFile, rows: pl.LazyFrame, at: float | None) -> pl.LazyFrame:
    if at is None:
        raise CollapseError(f"{file}: no row has a step; read none with --no-steps (step=False)")
    step = pl.col("step")
    if not rows.select((step == at).any()).collect(engine="streaming").item():
        steps = rows.select(step.drop_nulls().unique().sort()).collect(engine="streaming")
        there = steps["step"].to_list()
        texts = [f"{s:g}" for s in (there if len(there) <= 8 else [*there[:4], *there[-4:]])]
        raise CollapseError(f"{file} has no step {at:g}; there are {', '.join(texts)}")
    # A row whose step can't be read is of no step: it is named, whichever step is chosen.
    return rows.filter((step == at) | step.is_null())


def _judged(
    file: DataFile, rows: pl.LazyFrame, kind_names: tuple[str, ...]
) -> tuple[pl.DataFrame, list[BadRows]]:
    """Return the good rows as numbers, some 30 bytes each however long the prompts, and the bad."""
    kind = pl.lit(0, pl.UInt32)
    if kind_names:
        kind = pl.col("kind").cast(pl.Enum(kind_names), strict=False).to_physical()
    frame = rows.select(
        "prompt",
        "reward",
        kind.cast(pl.UInt16).fill_null(0).alias("kind"),
        "rank",
        "reason",
        pl.col("line").cast(pl.UInt32),
    ).collect(engine="streaming")
    reasons, lines = frame["reason"].to_numpy(), frame["line"].to_numpy()
    bad = [
        _bad_rows(file, reason, lines[reasons == number])
        for number, reason in enumerate(REASONS)
        if number and (reasons == number).any()
    ]
    good = frame.filter(pl.col("reason") == 0)
    if good.is_empty():
        raise CollapseError(
            f"{file} has no good row among {frame.height}: " + "; ".join(map(str, bad))
        )
    return good, bad


def _bad_rows(file: DataFile, reason: str, lines: np.ndarray) -> BadRows:
    first = np.sort(np.partition(lines, _NAMED)[:_NAMED] if lines.size > _NAMED else lines)
    return BadRows(reason, int(lines.size), tuple(first.tolist()), file.format.unit)


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
