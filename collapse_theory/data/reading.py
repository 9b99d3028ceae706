"""Reading a reward log: every row is used, or counted and named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypedDict, Unpack

import numpy as np

from collapse_theory.data.columns import COLUMN_NAMES, Columns, Wanted, find_columns
from collapse_theory.data.frames import NAMED_STEP, REASONS, judged
from collapse_theory.data.nested import folded, is_number, picked, shown
from collapse_theory.data.parts import Part
from collapse_theory.data.remarks import Origin, odd_counts, remarks
from collapse_theory.data.reward_log import BadRows, Note, RewardLog, as_notes, is_array
from collapse_theory.data.source import parts_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

_NAMED = 5  # of many bad rows, the first so many are named
_MAX_KINDS = 1000
KIND_CHANGES = "a kind that isn't the one of their prompt's other rows"


def read_log(
    source: Any,
    *,
    prompt: str | None = None,
    reward: str | None = None,
    kind: str | bool | None = None,
    rank: str | bool | None = None,
    step: str | bool | None = None,
    split: str | bool | None = None,
    at: float | None = None,
    every_step: bool = False,
    where: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    format: str | None = None,
) -> RewardLog:
    """Read a log of rewards from a file, a folder, a data frame, or what else holds rows.

    Files are CSV, JSON lines, JSON, Parquet and Arrow, plain or packed (gzip, bz2, xz, zst). A row
    is one completion's reward, or a prompt with a list of rewards, with pairs of a completion and
    its score, or with the scores of a chosen and a rejected completion. Rows that are no good are
    set aside, counted and named by their lines in `RewardLog.bad`; none is dropped in silence.

    Parameters
    ----------
    source : path, glob, folder, "-", data frame, data set, list of dicts, mapping, array, lists
        A data frame is one of Polars, pandas or Arrow; a mapping holds columns, or each prompt's
        rewards; an array or ragged lists have a prompt a row, and NaN is missing. "-" is the
        standard input; several paths make one log.
    prompt, reward : str, optional
        The columns' names, "scores.overall" within objects; guessed from common names (prompt,
        question_id, instruction, ...; reward, score, rating, ...) unless given.
    kind, rank, step, split : str or bool, optional
        Names of columns that needn't be there: the prompt's kind, the completion's rank (0 the
        best), the training step, the split (train, test, ...). By default those called so; False
        reads none.
    at : float, optional
        The step to read; the last one unless given.
    every_step : bool
        Read the rows of all steps, each with its step in `RewardLog.steps`.
    where : mapping or sequence of pairs, optional
        Only rows whose column has this value, such as {"split": "train"}.
    format : {"arrow", "arrow stream", "csv", "json", "jsonl", "parquet"}, optional
        "json" is any JSON but an object a line; told from the file's first bytes and its name
        unless given.

    Returns
    -------
    RewardLog
        Its `columns` say what was read as what, its `notes` what is odd.

    Raises
    ------
    CollapseError
        A ValueError, for a source that is empty, no log, or without a single good row.
    OSError
        Where a file can't be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from collapse_theory.diagnosis import read_log
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("question_id,score\\na,0.9\\na,nan\\na,0.1\\n")
    >>> log = read_log(file)
    >>> log.rewards, str(log.bad[0])
    (array([0.9, 0.1]), '1 with a reward that is NaN or infinite (line 3)')
    >>> log.columns
    (('prompt', 'question_id'), ('reward', 'score'))
    >>> read_log([{"prompt": "2 + 2?", "rewards": [0.9, 0.1]}]).rewards
    array([0.9, 0.1])
    """
    if is_array(source):
        return RewardLog.of(source)
    wanted = {"prompt": prompt, "reward": reward, "kind": kind, "rank": rank, "step": step}
    wanted |= {"split": split}
    return Reading.of(parts_of(source, format), wanted, where, at, every_step).log()


class Named(TypedDict, total=False):
    """What `read_log` is told of columns and rows; functions that take a log take it, too."""

    prompt: str | None
    reward: str | None
    kind: str | bool | None
    rank: str | bool | None
    step: str | bool | None
    split: str | bool | None
    at: float | None
    where: Mapping[str, str] | Sequence[tuple[str, str]]
    format: str | None


def holds_rows(source: Any) -> bool:
    """Whether this is read by columns: a path, a frame, dicts, a log; no array, no scores alone."""
    if isinstance(source, Mapping):
        return not COLUMN_NAMES.isdisjoint(map(folded, source))
    return not is_array(source)


def log_of(
    source: Any,
    prompts: Any = None,
    kinds: Any = None,
    ranks: Any = None,
    **named: Unpack[Named],
) -> RewardLog:
    """Return the log that a source holds, of all steps, or that rewards and their prompts make.

    Raises
    ------
    CollapseError
        As `read_log` and `RewardLog.of` do; for a log or a frame that is given prompts besides.
    """
    if unknown := set(named) - set(Named.__annotations__):
        raise CollapseError(
            f"no argument is called {min(unknown)!r}; a log's columns and rows are named by "
            f"{', '.join(Named.__annotations__)}"
        )
    if hasattr(source, "as_reward_log"):  # a summary
        source = source.as_reward_log()
    alone = prompts is kinds is ranks is None
    if isinstance(source, RewardLog):
        if alone and not named:
            return source
        raise CollapseError("a RewardLog has its own prompts, kinds and ranks; give it alone")
    if alone:
        return read_log(source, every_step=True, **named)
    if named or isinstance(source, str | Mapping) or hasattr(source, "columns"):
        raise CollapseError(
            "a file, a mapping or a data frame has its own prompts, kinds and ranks; name their "
            "columns: prompt=..., reward=..., kind=..., rank=..."
        )
    return RewardLog.of(source, prompts, kinds, ranks)


@dataclass
class Reading:
    """One reading of a log: rows many at a time, and what becomes of the others."""

    parts: Sequence[Part]
    columns: Columns
    at: float | None
    every_step: bool = False
    read: int = 0
    bad: list[BadRows] = field(default_factory=list)
    left_out: list[BadRows] = field(default_factory=list)
    notes: list[Note | str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        wanted: Wanted,
        where: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        at: float | None = None,
        every_step: bool = False,
    ) -> Self:
        """Return the reading of parts by the columns that are wanted, or guessed from the first."""
        pairs = tuple(where.items()) if isinstance(where, Mapping) else tuple(where)
        first = next((part for part in parts if part.names), parts[0])
        columns = find_columns(first.names, first.sample, first.name, first.advice, wanted, pairs)
        for part in parts:
            if part is not first and part.names:
                named = {role: columns.names.get(role) for role in ("prompt", "reward")}
                find_columns(part.names, part.sample, part.name, part.advice, named, pairs)
        found = cls(parts, columns, at, every_step and at is None)
        for role, holds, what in (("step", _is_step, "no numbers"), ("kind", _is_name, "nothing")):
            name = str(columns.names.get(role))
            values = [picked(row, name) for row in first.sample]
            if role in columns.guessed and values and not any(map(holds, values)):
                text = f"the column {name!r} holds {what}, and so isn't read as {role}s"
                names = {r: path for r, path in columns.names.items() if r != role}
                found.notes.append(text)
                found.columns = columns = replace(columns, names=names)
        if at is not None and "step" not in found.columns.names:
            raise CollapseError(f"{found.name} has no step column, so no step {at:g} can be chosen")
        return found

    @property
    def name(self) -> str:
        first = self.parts[0].name
        return first if len(self.parts) == 1 else f"{first} and {len(self.parts) - 1} more"

    @property
    def origin(self) -> Origin:
        """What is known of the rows besides themselves."""
        paths = set(self.columns.paths())
        return Origin(
            self.columns.described(),
            tuple(sorted(self.columns.guessed & set(self.columns.names))),
            self.columns.others,
            tuple(name for name in self.parts[0].names if name not in paths),
        )

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows that `where` asks for, as `frames.judged` has them; count the others."""
        used = 0
        for number, part in enumerate(self.parts):
            before = self.read
            for rows in judged(part, self.columns, number):
                self.read += rows.height
                asked = rows.filter("asked") if self.columns.where else rows
                used += asked.height
                if asked.height:
                    yield asked
            self.notes += part.notes()
            if self.read == before and not part.remark and len(self.parts) > 1:
                self.notes.append(f"{part.name} has no rows")
        if not self.read:
            raise CollapseError(f"{self.name} has no rows")
        wanted = [f"{name}={value}" for name, value in self.columns.where]
        if not used:
            raise CollapseError(f"{self.name} has no rows with {', '.join(wanted)}")
        if used < self.read:
            passed = f"something else than {' and '.join(wanted)}"
            self.left_out.append(BadRows(passed, self.read - used))

    def of_one_step(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, float | None]:
        """Return the rows of the step that is asked for, the last unless one is, and that step.

        A row whose step can't be read is of no step: it is named, whichever step is chosen.
        """
        if "step" not in self.columns.names:
            return rows, None
        step: Any = rows["step"].max() if self.at is None else self.at
        return rows.filter((pl.col("step") == step) | pl.col("step").is_null()), step

    def require_step(self, steps: Iterable[float]) -> None:
        """Refuse what has no row of the step that is asked for, or none of any step."""
        there = sorted(steps)
        if "step" in self.columns.names and not there:
            raise CollapseError(
                f"{self.name}: no row of {self.columns.names['step']!r} has a step; read none with "
                "--no-steps (step=False)"
            )
        if self.at is not None and self.at not in there:
            texts = [f"{s:g}" for s in (there if len(there) <= 8 else [*there[:4], *there[-4:]])]
            raise CollapseError(
                f"{self.name} has no step {self.at:g}; there are {', '.join(texts)}"
            )

    def log(self) -> RewardLog:
        """Return the log."""
        rows = pl.concat(list(self.batches()))
        if "step" in self.columns.names:
            self.require_step(rows["step"].drop_nulls().unique().to_list())
        last, step = self.of_one_step(rows)
        if not self.every_step:
            if last.height < rows.height:
                passed = f"another step than {step:g}"
                self.left_out.append(BadRows(passed, rows.height - last.height))
            rows = last.drop("step", strict=False)
        good = self._good(rows)
        facts = {"step": step, "lists": self.columns.lists, "read": self.read}
        return made_log(
            good, self.origin, self._set_aside, self.bad, self.left_out, self.notes, **facts
        )

    def _good(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the good rows, and set the others aside by their reasons."""
        reasons = frame["reason"].to_numpy()
        for number, reason in enumerate(REASONS):
            if number and (reasons == number).any():
                self._set_aside(reason, frame.filter(pl.col("reason") == number))
        good = frame.filter(pl.col("reason") == 0)
        if good.is_empty():
            raise CollapseError(
                f"{self.name} has no good row among {frame.height}: "
                + "; ".join(map(str, self.bad))
                + self._such_as()
            )
        return good

    def _such_as(self) -> str:
        """Return what the first row has as its prompt and reward."""
        row = next((part.sample[0] for part in self.parts if part.sample), {})
        paths = replace(self.columns, where=()).paths()
        held = [f"{path!r} holds {shown(picked(row, path))}" for path in paths]
        return f". In the first row {', '.join(held)}" if held else ""

    def _set_aside(self, reason: str, rows: pl.DataFrame) -> None:
        first = rows.select("part", "record").unique().sort("part", "record").head(_NAMED)
        one = len(self.parts) == 1
        lines = [line if one else f"{self.parts[at].name}:{line}" for at, line in first.iter_rows()]
        self.bad.append(BadRows(reason, rows.height, tuple(lines), self.parts[0].unit))


def _is_step(value: Any) -> bool:
    text = "" if value is None else str(value)
    return is_number(text) or bool(re.match(NAMED_STEP, text))


def _is_name(value: Any) -> bool:
    return value is not None and bool(str(value).strip())


def made_log(
    rows: pl.DataFrame,
    origin: Origin,
    set_aside: Callable[[str, pl.DataFrame], None],
    bad: Sequence[BadRows],
    left_out: Sequence[BadRows],
    notes: Iterable[Note | str],
    **facts: Any,
) -> RewardLog:
    """Return the log of good rows, as `frames.judged` has them; `set_aside` is told of others."""
    rows, kinds = _numbered(rows), (None, ())
    if "kind" in rows.columns:
        if rows["kind"].n_unique() > _MAX_KINDS:
            raise CollapseError(
                f"the column {dict(origin.columns)['kind']!r} has more than {_MAX_KINDS} different "
                "values; name the right one with --kind (kind=...), or read none with --no-kinds "
                "(kind=False)"
            )
        same = _of_their_kind(rows)
        if not same.all():
            set_aside(KIND_CHANGES, rows.filter(~same))
            rows = _numbered(rows.filter(same))
        kinds = coded_names(rows["kind"])
    steps = rows["step"].to_numpy() if "step" in rows.columns else None
    # What comes again at another step is no repetition.
    last = rows if steps is None else rows.filter(steps == steps.max())
    if "odd" in rows.columns:
        origin = origin.with_odd(odd_counts(last))
    found, no_ranks = remarks(last, origin)
    ranked = "rank" in rows.columns and not no_ranks
    splits = coded_names(rows["split"]) if "split" in rows.columns else (None, ())
    return RewardLog(
        rewards=rows["reward"].to_numpy(),
        prompts=rows["number"],
        kinds=kinds[0],
        kind_names=kinds[1],
        ranks=rows["rank"].fill_null(np.nan).to_numpy() if ranked else None,
        bad=tuple(bad),
        left_out=tuple(left_out),
        columns=tuple((r, c) for r, c in origin.columns if not (r == "rank" and no_ranks)),
        notes=as_notes([*notes, *found]),
        steps=steps,
        splits=splits[0],
        split_names=splits[1],
        **facts,
    )


def coded_names(column: pl.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each name, and the names, sorted; "" is none."""
    names = sorted({name or "" for name in column.unique().to_list()})
    codes = column.cast(pl.Enum(names)).to_physical()
    return codes.fill_null(0).to_numpy(), tuple(names)  # "" comes first


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the `number` of their prompts, from 0 in the order of first appearance."""
    prompts = rows.select("prompt")
    numbers = prompts.unique(maintain_order=True).with_row_index("number")
    return rows.with_columns(prompts.join(numbers, "prompt", maintain_order="left")["number"])


def _of_their_kind(rows: pl.DataFrame) -> np.ndarray:
    """Return which rows have their prompt's kind: the most frequent one, of equals the first."""
    prompts, kinds = rows["number"].to_numpy(), rows["kind"].to_physical().to_numpy()
    kind_of = np.empty(rows.height, dtype=kinds.dtype)
    kind_of[prompts] = kinds
    same = kinds == kind_of[prompts]
    if same.all():
        return same
    each = rows.group_by("number", "kind", maintain_order=True).len()
    each = each.sort("len", descending=True, maintain_order=True)
    best = each.unique("number", keep="first").select("number", theirs="kind")
    both = rows.join(best, "number", maintain_order="left")
    return both.select(pl.col("kind") == pl.col("theirs")).to_series().to_numpy()
