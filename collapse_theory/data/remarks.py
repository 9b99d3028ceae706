"""What is worth knowing of the good rows of a log: repetitions, prompts nearly alike, odd ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from collapse_theory.data.frames import ODD
from collapse_theory.data.reward_log import Note
from collapse_theory.lazy import polars as pl
from collapse_theory.values import Value

_DIFFERENT = 3  # fewer different rewards of a prompt may each come twice by chance
_GRADES = 0.1  # of so few values to a row, rewards are grades
_FIT = 0.75  # of the prompts have ranks that fit, but for what bad rows took away
_SHOWN = 8
_NO_RANK = 4  # of `ODD`


@dataclass(frozen=True, eq=False)
class Origin(Value):
    """What is known of the rows besides themselves.

    Parameters
    ----------
    columns : tuple of (role, column)
    guessed : tuple of str
        The roles that nobody named.
    others : tuple of str
        Further columns that may hold rewards, where these were guessed.
    unused : tuple of str
        The columns that aren't read.
    odd : tuple of (int, int)
        How many good rows have what is odd, by its bit of `frames.ODD`.
    """

    columns: tuple[tuple[str, str], ...] = ()
    guessed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    odd: tuple[tuple[int, int], ...] = ()

    def with_odd(self, *odd: tuple[tuple[int, int], ...]) -> Self:
        """Return the same with these counts, added."""
        counts: Counter[int] = Counter()
        for some in odd:
            counts.update(dict(some))
        known = self.columns, self.guessed, self.others, self.unused
        return type(self)(*known, tuple(sorted(counts.items())))


NOWHERE = Origin()


def odd_counts(rows: pl.DataFrame) -> tuple[tuple[int, int], ...]:
    """Return how many rows have what is odd, by its bit."""
    bits = np.bincount(rows["odd"].to_numpy(), minlength=1)
    values = np.arange(bits.size)
    counts = {bit: int(bits[(values & bit) > 0].sum()) for bit in ODD}
    return tuple((bit, count) for bit, count in counts.items() if count)


def remarks(rows: pl.DataFrame, origin: Origin) -> tuple[list[Note], bool]:
    """Return what is worth knowing of the rows, and whether their ranks are none.

    The frame has the prompt's `number`, and the columns of `frames.judged`.
    """
    notes = list(_ranks(rows, origin))
    no_ranks = bool(notes)
    odd = [(bit, count) for bit, count in origin.odd if not (no_ranks and bit == _NO_RANK)]
    found = [Note("reading", ODD[bit].format(count=f"{count:,}")) for bit, count in odd]
    if origin.others:
        read = dict(origin.columns)["reward"]
        text = f"rewards are read from {read!r}; {_listed(origin.others)} may be, too (--reward)"
        found.append(Note("reading", text))
    ids = ("model",) if no_ranks else ("rank", "model")
    ids = [role for role in ids if role in rows.columns]
    return [*found, *notes, *_near(rows), *_repeated(rows, ids, origin.unused)], no_ranks


def _ranks(rows: pl.DataFrame, origin: Origin) -> Iterator[Note]:
    """Say of ranks that nobody named that they count no completions, such as those of processes."""
    if "rank" not in origin.guessed:
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
    name = dict(origin.columns)["rank"]
    why = f"in {1 - fit:.0%} of the prompts they don't run from the best to the worst"
    if not differ:
        why = "they are equal in each prompt"
    text = f"the column {name!r} isn't read as the completions' ranks: {why}; if it holds them, "
    yield Note("ranks", f"{text}name it: --rank {name} (rank={name!r})")


def _near(rows: pl.DataFrame) -> Iterator[Note]:
    if (rows["loose"] == rows["prompt"]).all():
        return
    prompts = rows.unique("number")
    if alike := prompts.height - prompts["loose"].n_unique():
        text = "prompts differ from others by blanks at their ends alone; each is taken as its own"
        yield Note("duplicates", f"{alike:,} {text}")


def _repeated(rows: pl.DataFrame, ids: Sequence[str], unused: Sequence[str]) -> Iterator[Note]:
    """Name what comes several times in a prompt: rows, ranks, models."""
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
            yield Note("duplicates", f"in {twice:,} of {count:,} prompts {text}")
            return


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _not_once(rows: pl.DataFrame) -> np.ndarray:
    """Return which rows are of prompts that have no row once; leaner than by grouping."""
    key = rows.hash_rows(0).to_numpy()
    order = np.argsort(key)
    same = np.concatenate([[False], np.diff(key[order]) == 0, [False]])
    number = rows["number"].to_numpy()
    once = np.zeros(int(number.max()) + 1, bool)
    once[number[order[~(same[1:] | same[:-1])]]] = True
    return ~once[number]
