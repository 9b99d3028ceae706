"""What is worth knowing of the good rows of a log: repetitions, prompts nearly alike, odd ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapse_theory.data.columns import Columns
from collapse_theory.data.frames import ODD
from collapse_theory.lazy import polars as pl

_DIFFERENT = 3  # fewer different rewards of a prompt may each come twice by chance
_BEGIN_AT_BEST = 0.5  # of the prompts have a rank 0, or a rank 1, if ranks count completions
_SHOWN = 8


@dataclass
class Remarks:
    """What was found: notes, and the columns without those that aren't what they are called."""

    notes: list[str]
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
            found.notes.append(text.format(count=f"{count:,}"))
    _ranks(rows, found)
    _near(rows, found)
    _repeated(rows, found, unused)
    return found


def _ranks(rows: pl.DataFrame, found: Remarks) -> None:
    """Drop ranks that nobody named and that count no completions, such as those of processes."""
    if "rank" not in found.columns.guessed:
        return
    each = rows.group_by("number").agg(
        pl.col("rank").min().alias("least"), pl.col("rank").n_unique().alias("different"), pl.len()
    )
    several = each.filter(pl.col("len") > 1)
    least, different = several["least"].to_numpy(), several["different"].to_numpy()
    begin = max(np.mean(least == best) for best in (0, 1)) if least.size else 1.0
    differ = least.size == 0 or bool((different > 1).any())
    if begin > _BEGIN_AT_BEST and differ:
        return
    name = found.columns.names["rank"]
    why = (
        f"{1 - begin:.0%} of the prompts have no best one"
        if differ
        else "they are equal in each prompt"
    )
    found.columns = found.columns.without("rank")
    found.notes = [note for note in found.notes if "have no rank" not in note]
    found.notes.append(
        f"the column {name!r} isn't read as the completions' ranks: {why}; if it holds them, name "
        f"it: --rank {name} (rank={name!r})"
    )


def _near(rows: pl.DataFrame, found: Remarks) -> None:
    prompts = rows.group_by("number").agg(pl.col("loose").first())
    alike = prompts.height - prompts["loose"].n_unique() if (rows["loose"] != 0).any() else 0
    if alike:
        found.notes.append(
            f"{alike:,} prompts differ from others by blanks alone; they are taken as prompts of "
            "their own"
        )


def _repeated(rows: pl.DataFrame, found: Remarks, unused: Sequence[str]) -> None:
    """Name what comes several times in a prompt: rows, ranks, models."""
    ids = [role for role in ("rank", "model") if role in found.columns.read]
    others = ", ".join(unused[:_SHOWN]) + (", ..." if len(unused) > _SHOWN else "")
    choose = f"; columns that aren't used: {others}; --where picks a part" if unused else ""
    for keys, least, text in (
        (
            ["reward", *ids],
            _DIFFERENT,
            "each row is there twice or more: was the log written twice?",
        ),
        *(
            ([role], 2, f"each {role} comes twice or more: are these several runs?{choose}")
            for role in ids
        ),
    ):
        each = rows.group_by("number", *keys).len().group_by("number")
        prompts = each.agg(pl.len().alias("different"), pl.col("len").min())
        twice = prompts.filter((pl.col("len") > 1) & (pl.col("different") >= least)).height
        if twice:
            found.notes.append(f"in {twice:,} of {prompts.height:,} prompts {text}")
            return
