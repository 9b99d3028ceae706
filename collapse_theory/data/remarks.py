"""What is worth knowing of the good rows of a log: repetitions, prompts nearly alike, odd ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapse_theory.data.columns import Columns
from collapse_theory.data.frames import ODD
from collapse_theory.data.reward_log import Note
from collapse_theory.lazy import polars as pl

_DIFFERENT = 3  # fewer different rewards of a prompt may each come twice by chance
_GRADES = 0.1  # of so few values to a row, rewards are grades
_FIT = 0.75  # of the prompts have ranks that fit, but for what bad rows took away
_SHOWN = 8


@dataclass
class Remarks:
    """What was found: notes, and the columns without those that aren't what they are called."""

    notes: list[Note]
    columns: Columns


def remarks(rows: pl.DataFrame, columns: Columns, unused: Sequence[str]) -> Remarks:
    """Return what is worth knowing of the rows.

    The frame has the prompt's `number`, and the columns of `frames.frame_of`; `unused` are the
    source's other columns.
    """
    found = Remarks([], columns)
    bits = np.bincount(rows["odd"].to_numpy(), minlength=16)
    values = np.arange(bits.size)
    for bit, text in ODD.items():
        if count := int(bits[(values & bit) > 0].sum()):
            found.notes.append(Note("reading", text.format(count=f"{count:,}")))
    if columns.others:
        read = dict(columns.described())["reward"]
        text = f"rewards are read from {read!r}; {_listed(columns.others)} may be, too (--reward)"
        found.notes.append(Note("reading", text))
    _ranks(rows, found)
    _near(rows, found)
    _repeated(rows, found, unused)
    return found


def _ranks(rows: pl.DataFrame, found: Remarks) -> None:
    """Drop ranks that nobody named and that count no completions, such as those of processes."""
    if "rank" not in found.columns.guessed:
        return
    rank = pl.col("rank")
    each = rows.group_by("number").agg(
        rank.min().alias("least"), rank.max().alias("most"), rank.n_unique().alias("all"), pl.len()
    )
    several = each.filter(pl.col("len") > 1)
    least, most, different, size = (several[name].to_numpy() for name in several.columns[1:])
    # Of n completions ranks are 0 to n - 1, or 1 to n.
    fit = max(
        np.mean((least == best) & (most < size + best)) if size.size else 1 for best in (0, 1)
    )
    differ = not size.size or bool((different > 1).any())
    if fit > _FIT and differ:
        return
    name = found.columns.names["rank"]
    why = f"in {1 - fit:.0%} of the prompts they don't run from the best to the worst"
    if not differ:
        why = "they are equal in each prompt"
    found.columns = found.columns.without("rank")
    found.notes = [note for note in found.notes if "have no rank" not in note]
    text = f"the column {name!r} isn't read as the completions' ranks: {why}; if it holds them, "
    found.notes.append(Note("ranks", f"{text}name it: --rank {name} (rank={name!r})"))


def _near(rows: pl.DataFrame, found: Remarks) -> None:
    number, loose = rows["number"].to_numpy(), rows["loose"].to_numpy()
    # Prompts are numbered in the order of their first rows.
    first = np.flatnonzero(np.diff(np.maximum.accumulate(number), prepend=-1))
    alike = first.size - np.unique(loose[first]).size if loose.any() else 0
    if alike:
        text = "prompts differ from others by blanks at their ends alone; each is taken as its own"
        found.notes.append(Note("duplicates", f"{alike:,} {text}"))


def _repeated(rows: pl.DataFrame, found: Remarks, unused: Sequence[str]) -> None:
    """Name what comes several times in a prompt: rows, ranks, models."""
    ids = [role for role in ("rank", "model") if role in found.columns.read]
    choose = f" Columns that aren't used: {_listed(unused)}; --where picks a part" if unused else ""
    written = "each row is there twice or more: was the log written twice?"
    looks = [(["reward", *ids], _DIFFERENT, written)]
    runs = f"comes twice or more: are these several runs, or ties?{choose}"
    looks += [([role], 2, f"each {role} {runs}") for role in ids]
    for keys, least, text in looks:
        some = rows.filter(_not_once(rows.select("number", *keys)))
        different = some.unique(["number", *keys]).group_by("number").len()
        twice = different.filter(pl.col("len") >= least).height
        if not twice:
            continue
        count = int(rows["number"].to_numpy().max()) + 1
        # Of few grades each may well come twice in some prompts.
        grades = rows["reward"].n_unique() < _GRADES * rows.height
        if twice > (count // 2 if grades else 0):
            text = f"in {twice:,} of {count:,} prompts {text}"
            found.notes.append(Note("duplicates", text))
            return


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _not_once(rows: pl.DataFrame) -> np.ndarray:
    """Return which rows are of prompts that have no row once; leaner than by grouping."""
    key = np.zeros(rows.height, np.uint64)
    for column in (column.fill_null(0).to_numpy() for column in rows):
        wide = column.astype(np.float64) if column.dtype.kind == "f" else column.astype(np.uint64)
        # Multiplication by an odd constant (the golden ratio, as Knuth has it) loses no digit.
        key = (key ^ (key >> np.uint64(32)) ^ wide.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    order = np.argsort(key)
    same = np.concatenate([[False], np.diff(key[order]) == 0, [False]])
    number = rows["number"].to_numpy()
    once = np.zeros(int(number.max()) + 1, bool)
    once[number[order[~(same[1:] | same[:-1])]]] = True
    return ~once[number]
