"""Reading a reward log: every row is used, or counted and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from collapse_theory.data.columns import Columns, Wanted, find_columns, picked
from collapse_theory.data.frames import REASONS, frame_of
from collapse_theory.data.parts import Part
from collapse_theory.data.remarks import remarks
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


def log_of(source: Any, prompts: Any = None, kinds: Any = None, ranks: Any = None) -> RewardLog:
    """Return the log that a source holds, of all steps, or that rewards and their prompts make.

    Raises
    ------
    CollapseError
        As `read_log` and `RewardLog.of` do; for a log or a frame that is given prompts besides.
    """
    if hasattr(source, "as_reward_log"):  # a summary
        source = source.as_reward_log()
    if isinstance(source, RewardLog):
        if prompts is kinds is ranks is None:
            return source
        raise CollapseError("a RewardLog has its own prompts, kinds and ranks; give it alone")
    if prompts is kinds is ranks is None:
        return read_log(source, every_step=True)
    if isinstance(source, str | Mapping) or hasattr(source, "columns"):
        raise CollapseError(
            "a file, a mapping or a data frame has its own prompts, kinds and ranks; name their "
            "columns: read_log(source, prompt=..., reward=...)"
        )
    return RewardLog.of(source, prompts, kinds, ranks)


@dataclass(frozen=True)
class Sums:
    """What can be counted of a log: rows by what becomes of them, and the good ones to come."""

    read: int
    rows: int
    low: float
    high: float
    bad: Mapping[str, int]
    good: pl.LazyFrame


@dataclass
class Reading:
    """One reading of a log: its parts as one frame, and what becomes of the rows."""

    parts: Sequence[Part]
    columns: Columns
    at: float | None
    every_step: bool
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
        return cls(parts, columns, at, every_step and at is None)

    @property
    def name(self) -> str:
        first = self.parts[0].name
        return first if len(self.parts) == 1 else f"{first} and {len(self.parts) - 1} more"

    def log(self) -> RewardLog:
        """Return the log."""
        rows, read = self._asked()
        if self.every_step and "step" in self.columns.names:  # all rows are held anyway
            rows = self._collected(rows).lazy()
        rows, asked = self._one_step(rows)
        frame = self._collected(rows)
        asked = self._passed(asked, frame.height)
        return self._made(self._good(frame), asked if read is None else read)

    def sums(self) -> Sums:
        """Return what is counted of the log, without its rows."""
        rows, read = self._asked()
        rows, asked = self._one_step(rows)
        reason, reward = pl.col("reason"), pl.col("reward")
        good = reward.filter(reason == 0)
        counts = [(reason == number).sum().alias(why) for number, why in enumerate(REASONS)]
        facts = rows.select(*counts, low=good.min(), high=good.max())
        *found, low, high = facts.collect(engine="streaming").row(0)
        asked = self._passed(asked, sum(found))
        bad = {why: n for why, n in zip(REASONS, found, strict=True) if n and why}
        low, high = (low, high) if found[0] else (np.inf, -np.inf)
        return Sums(read or asked, found[0], low, high, bad, rows.filter(reason == 0))

    def _asked(self) -> tuple[pl.LazyFrame, int | None]:
        """Return the rows that `where` asks for, and how many there are in all, if it does."""
        frames = [frame_of(part, self.columns, at) for at, part in enumerate(self.parts)]
        rows = pl.concat(frames)
        for part in self.parts:
            self.notes += part.notes()
        if not self.columns.where:
            return rows, None
        asked = pl.col("asked")
        read, used = rows.select(pl.len(), asked.sum()).collect(engine="streaming").row(0)
        wanted = [f"{name}={value}" for name, value in self.columns.where]
        if not used:
            raise CollapseError(f"{self.name} has no rows with {', '.join(wanted)}")
        if used < read:
            passed = f"something else than {' and '.join(wanted)}"
            self.left_out.append(BadRows(passed, read - used))
        return rows.filter(asked), read

    def _passed(self, asked: int | None, there: int) -> int:
        """Count the rows of other steps; return how many there are with them."""
        if not there:
            raise CollapseError(f"{self.name} has no rows")
        if asked is not None and asked > there:
            self.left_out.append(BadRows(f"another step than {self.at:g}", asked - there))
        return there if asked is None else asked

    def _one_step(self, rows: pl.LazyFrame) -> tuple[pl.LazyFrame, int | None]:
        """Return the rows of the step that is asked for, the last unless one is; and of how many.

        All rows where there are no steps, or those of every step are asked for.
        """
        step, name = pl.col("step"), self.columns.names.get("step")
        if name is None:
            if self.at is not None:
                raise CollapseError(
                    f"{self.name} has no step column, so no step {self.at:g} can be chosen"
                )
            return rows, None
        count, last = rows.select(pl.len(), step.max()).collect(engine="streaming").row(0)
        if not count:
            return rows, None
        if last is None:
            if "step" not in self.columns.guessed:
                raise CollapseError(
                    f"{self.name}: no row of {name!r} has a step; read none with --no-steps "
                    "(step=False)"
                )
            self.notes.append(f"the column {name!r} holds no numbers, and so isn't read as steps")
            self.columns = self.columns.without("step")
            reason = pl.col("reason")
            some = pl.when(reason != REASONS.index("no number as step")).then(reason).otherwise(0)
            return rows.with_columns(some), None
        if self.at is None:
            self.at = last
        elif not rows.select((step == self.at).any()).collect(engine="streaming").item():
            steps = rows.select(step.drop_nulls().unique().sort()).collect(engine="streaming")
            there = steps["step"].to_list()
            texts = [f"{s:g}" for s in (there if len(there) <= 8 else [*there[:4], *there[-4:]])]
            raise CollapseError(
                f"{self.name} has no step {self.at:g}; there are {', '.join(texts)}"
            )
        if self.every_step:
            return rows, None
        # A row whose step can't be read is of no step: it is named, whichever step is chosen.
        return rows.filter((step == self.at) | step.is_null()), count

    def _collected(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """Return the rows as numbers, some 50 bytes each however long the prompts."""
        optional = ("rank", "model", *(["step"] if self.every_step else []))
        there = [name for name in optional if name in self.columns.read]
        names = ("prompt", "loose", "reward", "odd", "reason", "part", "record", *there)
        named = [name for name in ("kind", "split") if name in self.columns.read]
        taken = rows.select(*names, *(pl.col(name).cast(pl.Categorical) for name in named))
        return taken.collect(engine="streaming")

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
        held = [f"{path!r} holds {_short(picked(row, path))}" for path in paths]
        return f". In the first row {', '.join(held)}" if held else ""

    def _set_aside(self, reason: str, rows: pl.DataFrame) -> None:
        first = rows.select("part", "record").unique().sort("part", "record").head(_NAMED)
        lines: list[int | str] = []
        for (at,), some in first.group_by("part", maintain_order=True):
            part = self.parts[int(str(at))]
            places = part.places(some["record"].to_list())
            lines += places if len(self.parts) == 1 else [f"{part.name}:{n}" for n in places]
        self.bad.append(BadRows(reason, rows.height, tuple(lines), self.parts[0].unit))

    def _made(self, good: pl.DataFrame, read: int) -> RewardLog:
        prompts, kinds = _numbered(good["prompt"].to_numpy()), (None, ())
        if "kind" in good.columns:
            kinds = self._kinds(good["kind"])
            same = of_their_kind(prompts, kinds[0], len(kinds[1]))
            if not same.all():
                self._set_aside(KIND_CHANGES, good.filter(~same))
                good = good.filter(same)
                prompts, kinds = _numbered(prompts[same]), (kinds[0][same], kinds[1])
        unused = [name for name in self.parts[0].names if name not in set(self.columns.paths())]
        steps = good["step"].to_numpy() if "step" in good.columns else None
        # What comes again at another step is no repetition.
        last = good.with_columns(number=prompts)
        last = last if steps is None else last.filter(steps == steps.max())
        found = remarks(last, self.columns, unused)
        self.notes += found.notes
        self.columns = found.columns
        splits = coded_names(good["split"]) if "split" in good.columns else (None, ())
        return RewardLog(
            rewards=good["reward"].to_numpy(),
            prompts=prompts,
            kinds=kinds[0],
            kind_names=kinds[1],
            ranks=_ranks(good) if "rank" in self.columns.read else None,
            step=self.at,
            read=read,
            bad=tuple(self.bad),
            left_out=tuple(self.left_out),
            columns=self.columns.described(),
            lists=self.columns.lists,
            notes=as_notes(self.notes),
            steps=steps,
            splits=splits[0],
            split_names=splits[1],
        )

    def _kinds(self, column: pl.Series) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the kind of each row and the kinds' names, of which there aren't too many."""
        if column.n_unique() > _MAX_KINDS:
            raise CollapseError(
                f"{self.name}: the column {self.columns.names['kind']!r} has more than "
                f"{_MAX_KINDS} different values; name the right one with --kind (kind=...), or "
                "read none with --no-kinds (kind=False)"
            )
        return coded_names(column)


def coded_names(column: pl.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each name, and the names, sorted; "" is none."""
    names = sorted({name or "" for name in column.unique().to_list()})
    codes = column.cast(pl.Enum(names)).to_physical()
    return codes.fill_null(0).to_numpy(), tuple(names)  # "" comes first


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _ranks(good: pl.DataFrame) -> np.ndarray:
    return good["rank"].fill_null(np.nan).to_numpy()


def _numbered(keys: np.ndarray) -> np.ndarray:
    """Return the number of each key's prompt, from 0 in the order of first appearance.

    In half the memory that np.unique takes for it.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = order[new]  # of each key, as the sort is stable
    number = np.empty(first.size, dtype=np.int32)
    number[np.argsort(first)] = np.arange(first.size, dtype=np.int32)
    codes = np.empty(keys.size, dtype=np.int32)
    codes[order] = np.repeat(number, np.diff(np.append(np.flatnonzero(new), keys.size)))
    return codes


def of_their_kind(prompts: np.ndarray, kinds: np.ndarray, count: int) -> np.ndarray:
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
