"""A reward log: in memory, and the file that training writes, evaluation after evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.files import plain, replace_file
from collapse_theory.numerics.checks import as_numpy
from collapse_theory.values import Array, Value


def as_notes(notes: Iterable[Note | str]) -> tuple[Note, ...]:
    """Return notes; texts are of how a log was read."""
    return tuple(Note("reading", note) if isinstance(note, str) else note for note in notes)


def counted(number: int, what: str) -> str:
    """Return "1 prompt" or "2 prompts"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True, eq=False)
class BadRows(Value):
    """Rows that were set aside for one reason.

    Parameters
    ----------
    reason : str
    count : int
    lines : tuple of int or str
        Where the first few of them begin: lines of a text file from 1 (the header is line 1), rows
        of another source from 1; "file:line" where there are several files.
    unit : {"line", "row"}
    """

    reason: str
    count: int
    lines: tuple[int | str, ...] = ()
    unit: str = "line"

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.lines) else ""
        where = f" ({self.unit} {', '.join(map(str, self.lines))}{more})" if self.lines else ""
        return f"{self.count:,} with {self.reason}{where}"


@dataclass(frozen=True, eq=False)
class Note(Value):
    """What is worth knowing of a log, or of a diagnosis besides its outcome.

    Parameters
    ----------
    code : str
        "normalised", "saturated", "sign", "flat", "wild", "missing", "small kinds", "single",
        "split", "rows left out", "duplicates", "ranks", "sample" or "reading".
    text : str
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text

    def __contains__(self, text: str) -> bool:
        return text in self.text


@dataclass(frozen=True, eq=False, repr=False)
class RewardLog(Value):
    """A reward log: one reward a row, with its prompt and, where known, its kind and rank.

    Parameters
    ----------
    rewards : (rows,) array
    prompts : (rows,) array of int
        The prompt's number, from 0 in the order of the file.
    kinds : (rows,) array of int, or None
        Numbers into `kind_names`; None for a log without kinds.
    kind_names : tuple of str
    ranks : (rows,) array, or None
        0 is the best, NaN isn't known; None for a log without ranks.
    step : float or None
        The training step that the rows are of; None for a log without steps.
    read : int
        How many rows the source has: good ones, bad ones and those left out.
    bad : tuple of BadRows
        What was set aside, a reason each.
    left_out : tuple of BadRows
        What wasn't asked for: rows of other steps, rows that `where` passes over.
    columns : tuple of pairs of str
        The column that each role was read from.
    lists : bool
        Whether a row of the source held a prompt's rewards, not one; rewards are counted then.
    notes : tuple of Note
        What else is worth knowing; a text alone has the code "reading".
    steps : (rows,) array, or None
        Each row's step, where rows of several are held; `step` is then the last.
    splits : (rows,) array of int, or None
        Numbers into `split_names`, such as train and test; None where that isn't known.
    split_names : tuple of str

    Examples
    --------
    >>> RewardLog([0.9, 0.1, 1.0, 0.0], [0, 0, 1, 1], read=4)
    RewardLog(4 rows, 2 prompts)
    """

    rewards: Array
    prompts: Any
    kinds: Any = None
    kind_names: tuple[str, ...] = ()
    ranks: Array | None = None
    step: float | None = None
    read: int = 0
    bad: tuple[BadRows, ...] = ()
    left_out: tuple[BadRows, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    lists: bool = False
    notes: tuple[Note, ...] = ()
    steps: Array | None = None
    splits: Any = None
    split_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("prompts", "kinds", "splits"):
            self._set(**{name: frozen(getattr(self, name), np.int32)})
        self._set(notes=as_notes(self.notes))
        for name in ("prompts", "kinds", "ranks", "steps", "splits"):
            column = getattr(self, name)
            if column is not None and column.shape != self.rewards.shape:
                raise CollapseError(
                    f"{self.rewards.size} rewards need as many {name}, not {column.size}"
                )

    @classmethod
    def of(cls, rewards: Any, prompts: Any = None, kinds: Any = None, ranks: Any = None) -> Self:
        """Return the log of rewards in memory: (rows,) with prompts, or a prompt a row.

        A table, (P, n), or ragged lists have a prompt a row; NaN is a reward that is missing there.
        Tensors are taken from any device, of any type of numbers, with a gradient or without.

        Raises
        ------
        CollapseError
            A ValueError, for rewards that aren't finite numbers, lengths that differ, ranks that
            aren't whole, or a prompt of two kinds; it names the first row at fault, from 0.
        """
        values, sizes = _flat(rewards)
        if prompts is None:
            if sizes is None:
                raise CollapseError(
                    "which prompt is each reward of? give prompts, as many as rewards"
                )
            prompts = np.arange(sizes.size)
        each = np.ones(values.size, int) if sizes is None else sizes
        codes = np.repeat(_codes(prompts, each.size, "prompts")[1], each)
        names, kind = ((), None) if kinds is None else _codes(kinds, each.size, "kinds")
        rank = None if ranks is None else _ranks(ranks, each, sizes is None)
        if kind is not None:
            kind = np.repeat(kind, each)
        missing = np.isnan(values) if sizes is not None else np.zeros(values.size, bool)
        _require_finite(values[~missing], "rewards")
        left = (BadRows("no reward (NaN)", int(missing.sum())),) if missing.any() else ()
        there = ~missing
        codes = np.unique(codes[there], return_inverse=True)[1]
        kind = None if kind is None else kind[there]
        if kind is not None:
            _check_kinds(codes, kind, names)
        return cls(
            values[there],
            codes,
            kind,
            names,
            None if rank is None else rank[there],
            read=values.size,
            left_out=left,
            lists=sizes is not None,
        )

    def only(self, rows: np.ndarray, step: float | None = None) -> RewardLog:
        """Return the log of some rows, given by a mask, as one of one step."""
        return replace(
            self,
            rewards=self.rewards[rows],
            prompts=np.unique(self.prompts[rows], return_inverse=True)[1],
            kinds=None if self.kinds is None else self.kinds[rows],
            ranks=None if self.ranks is None else self.ranks[rows],
            step=step,
            steps=None,
            splits=None if self.splits is None else self.splits[rows],
        )

    def renumbered(self, keys: np.ndarray) -> RewardLog:
        """Return the log with prompts told apart by other keys, one a row."""
        return replace(self, prompts=np.unique(keys, return_inverse=True)[1])

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return int(self.prompts.max()) + 1 if self.prompts.size else 0

    @property
    def bad_count(self) -> int:
        """How many rows were set aside."""
        return sum(rows.count for rows in self.bad)

    def __repr__(self) -> str:
        texts = [f"{self.rewards.size} rows", f"{self.count} prompts"]
        if self.kinds is not None:
            texts.append(f"kinds {', '.join(self.kind_names)}")
        if self.step is not None:
            texts.append(f"step {self.step:g}")
        if self.bad:
            texts.append(counted(self.bad_count, "bad row"))
        return f"RewardLog({', '.join(texts)})"


def frozen(values: Any, dtype: Any) -> np.ndarray | None:
    """Return a read-only copy of whole numbers; None where there are none."""
    if values is None:
        return None
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


def as_array(values: Any) -> np.ndarray:
    """Return numbers as an array of floats, NaN where they are masked."""
    values = as_numpy(values)
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values, dtype=np.float64)


def is_array(values: Any) -> bool:
    """Whether this is an array, a tensor, or a list of numbers or of lists of them."""
    if isinstance(values, list | tuple):
        listed = int | float | range | list | tuple
        return all(isinstance(one, listed) or is_array(one) for one in values)
    arrays = "__array__", "__dlpack__", "detach"
    others = "columns", "read"  # of a frame, of an open file
    shaped = any(hasattr(values, name) for name in arrays)
    shaped = shaped and not any(hasattr(values, name) for name in others)
    return shaped and getattr(getattr(values, "dtype", None), "names", None) is None


def _flat(rewards: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all rewards, and how many each row has; None for a list of one a completion."""
    try:
        if isinstance(rewards, list | tuple) and any(map(_sized, rewards)):
            rows = [as_array(row) for row in rewards]
            sizes = np.array([row.size for row in rows])
            values = np.concatenate([row.ravel() for row in rows])
            depth = max((row.ndim for row in rows), default=1)
        else:
            values = as_array(rewards)
            sizes = np.full(len(values), values.shape[1]) if values.ndim == 2 else None
            depth = max(values.ndim - 1, 1)
    except (TypeError, ValueError) as error:
        raise CollapseError(f"rewards must be numbers: {error}") from None
    if depth > 1 or values.ndim == 0 or not values.size:
        empty = ", which holds no rewards" if not values.size else ""
        raise CollapseError(
            "rewards must be a list with one a completion, or a table with a prompt a row; "
            f"this has the shape {values.shape}{empty}"
        )
    return values.ravel(), sizes


def _sized(value: Any) -> bool:
    return np.ndim(as_numpy(value)) > 0


def _require_finite(array: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise CollapseError(
            f"{bad.size} {what} aren't finite, the first at {bad[0]}: {array[bad[0]]}; leave such "
            "rows out (ct.read_log does, and counts them)"
        )


def _codes(values: Any, count: int, what: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the different values as text, sorted, and the number of each value among them."""
    array = np.asarray(values)
    if array.shape != (count,):
        raise CollapseError(f"{what} must be a list of {count}, not of the shape {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise CollapseError(f"{what} has no value at {int(np.flatnonzero(np.isnan(array))[0])}")
    if array.dtype.kind == "O":
        array = array.astype(str)
    several, codes = np.unique(array, return_inverse=True)
    return tuple(map(str, several.tolist())) if what == "kinds" else (), codes


def _check_kinds(prompts: np.ndarray, kinds: np.ndarray, names: tuple[str, ...]) -> None:
    kind_of = np.empty(prompts.max() + 1, dtype=kinds.dtype)
    kind_of[prompts] = kinds
    wrong = np.flatnonzero(kinds != kind_of[prompts])
    if wrong.size:
        first, second = names[kinds[wrong[0]]], names[kind_of[prompts[wrong[0]]]]
        raise CollapseError(
            f"the kind changes within a prompt: row {wrong[0]} is {first!r}, another row of its "
            f"prompt {second!r}; a prompt has one kind"
        )


def _ranks(values: Any, sizes: np.ndarray, flat: bool) -> np.ndarray:
    ranks, each = _flat(values)
    same = each is None if flat else each is not None and np.array_equal(each, sizes)
    if not same or ranks.size != sizes.sum():
        raise CollapseError(
            f"ranks must have the shape of the rewards: {sizes.size} rows of {ranks.size} ranks"
        )
    known = ranks[~np.isnan(ranks)]
    _require_finite(known, "ranks")
    if (known < 0).any() or (known != np.floor(known)).any():
        raise CollapseError("ranks must be whole numbers from 0, the best")
    return ranks


# -- the file -----------------------------------------------------------------------------------


class RewardLogWriter:
    """A file of one JSON object a completion, evaluation after evaluation.

    Parameters
    ----------
    path : str or path
        Made with its folder; a file that is there is kept up to the step that training starts at.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = RewardLogWriter(Path(folder) / "rewards.jsonl")
    ...     log.write(0, "eval", [{"prompt": "2 + 2?", "kind": None, "rank": 0, "reward": 0.9}])
    ...     print(log.path.read_text(), end="")
    {"prompt": "2 + 2?", "kind": null, "rank": 0, "reward": 0.9, "step": 0, "split": "eval"}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._written: set[tuple[int, str]] = set()

    def begin(self, step: int) -> None:
        """Drop what is in the file from after `step` on: training goes on from there.

        Raises
        ------
        OSError
            Where the file can't be written.
        CollapseError
            Where the file holds something other than a log of rewards.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._written = set()
        if self.path.exists():
            # At step 0 a new training begins; else what came before this step stays.
            self._keep(lambda row: step > 0 and row["step"] <= step)
        else:
            self.path.touch()

    def write(self, step: int, split: str, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows of one evaluation; those of the same step and split are replaced."""
        if (step, split) in self._written:
            self._keep(lambda row: (row["step"], row["split"]) != (step, split))
        # JSON has no NaN: a diverged model's reward is null, which readers count as a bad row.
        lines = [json.dumps({**plain(row), "step": step, "split": split}) for row in rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write of whole lines: what a kill can leave is a last line cut short, which `begin`
        # drops, and which a reader names.
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self._written.add((step, split))

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        def copy(draft: Path) -> None:
            with self.path.open("rb") as old, draft.open("wb") as new:
                for number, line in enumerate(old):
                    row = _row(line)
                    if row is None and not number and line.strip() and line.endswith(b"\n"):
                        raise CollapseError(
                            f"{self.path} is there and is no log of rewards; it isn't written "
                            "over. Name another file, or delete it"
                        )
                    if row is not None and wanted(row):
                        new.write(line)
                        self._written.add((row["step"], row["split"]))

        replace_file(self.path, copy)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:  # no JSON, or no text
        return None
    return row if isinstance(row, dict) and {"step", "split", "reward"} <= set(row) else None
