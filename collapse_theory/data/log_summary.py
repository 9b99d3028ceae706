"""The summary of a log that no memory holds: sums, and whole prompts drawn by their hashes.

The prompts with the smallest hashes are kept with all their rows (a bottom-k sample; Cohen and
Kaplan, "Summarizing data using bottom-k sketches", 2007). Which these are depends on the prompts
alone: so the summaries of shards, added in any order, are that of the whole log to the last bit,
also where the rows of a prompt are in several shards. Hashes are as good as random: a diagnosis of
the sample is one of prompts drawn without replacement, and its intervals hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collapse_theory.data.reading import KIND_CHANGES, Reading, coded_names, of_their_kind
from collapse_theory.data.reward_log import BadRows, Note, RewardLog, as_notes
from collapse_theory.data.source import parts_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl
from collapse_theory.values import Array, Value

MOST_PROMPTS = 40_000  # a diagnosis compares no more
MOST_ROWS = 2_000_000  # 50 MB
_ALL = 2**64  # hashes are below it
_MARGIN = 1.2  # so much more is read at once than is kept, by luck of the hashes
_NOTES = 20
_CODED = {"kinds": "kind_names", "splits": "split_names"}  # numbers, into names


@dataclass(frozen=True, eq=False, repr=False)
class LogSummary(Value):
    """What is kept of a reward log or of a shard: `a + b` is the summary of both.

    Parameters
    ----------
    keys : (kept,) array of uint64
        The hash of each kept row's prompt, ascending.
    rewards : (kept,) array
    kinds : (kept,) array of int, or None
        Numbers into `kind_names`.
    kind_names : tuple of str
    ranks : (kept,) array, or None
        NaN isn't known.
    splits : (kept,) array of int, or None
        Numbers into `split_names`, such as test and train; "" is no split.
    split_names : tuple of str
    below : int
        All prompts with hashes below it are kept; 2**64 where all are.
    read, rows : int
        Rows read; and those that are good, of the step that counts.
    low, high : float
        The least and the greatest reward of those.
    step : float or None
        The latest; rows of earlier steps are counted in `left_out`.
    bad, left_out : tuple of BadRows
        As in `RewardLog`, without lines.
    columns : tuple of pairs of str
    notes : tuple of Note
    limits : (int, int)
        So many prompts and rows are kept at most; prompts whole, and one at least.
    hashing : str
        What made the hashes: they differ between versions of Polars.

    Examples
    --------
    >>> first = LogSummary.of({"prompt": ["a", "b", "b"], "reward": [0.9, 1.0, 0.0]})
    >>> second = LogSummary.of({"prompt": ["c", "a", "c"], "reward": [1.0, 0.1, 0.2]})
    >>> both = first + second
    >>> both, both == second + first
    (LogSummary(6 rows, 3 prompts), True)
    >>> both.as_reward_log()
    RewardLog(6 rows, 3 prompts)
    """

    keys: Any
    rewards: Array
    kinds: Any = None
    kind_names: tuple[str, ...] = ()
    ranks: Array | None = None
    splits: Any = None
    split_names: tuple[str, ...] = ()
    below: int = _ALL
    read: int = 0
    rows: int = 0
    low: float = np.inf
    high: float = -np.inf
    step: float | None = None
    bad: tuple[BadRows, ...] = ()
    left_out: tuple[BadRows, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    notes: tuple[Note, ...] = ()
    limits: tuple[int, int] = (MOST_PROMPTS, MOST_ROWS)
    hashing: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, dtype in (("keys", np.uint64), *((code, np.int32) for code in _CODED)):
            if (column := getattr(self, name)) is not None:
                array = np.array(column, dtype=dtype)
                array.setflags(write=False)
                self._set(**{name: array})
        self._set(limits=tuple(self.limits), notes=as_notes(self.notes))

    @classmethod
    def of(
        cls,
        source: Any,
        *,
        most_prompts: int = MOST_PROMPTS,
        most_rows: int = MOST_ROWS,
        at: float | None = None,
        where: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        format: str | None = None,
        **columns: str | bool | None,
    ) -> LogSummary:
        """Return the summary of a log or a shard, without holding its rows.

        Parameters
        ----------
        source : what `read_log` takes
        most_prompts, most_rows : int, optional
            What is kept at most. Summaries to be added need the same.
        at, where, format, **columns
            As in `read_log`; the columns are prompt, reward, kind, rank, step, split. The latest
            step counts, of this shard and of all that are added.

        Raises
        ------
        CollapseError
            As `read_log` does.
        """
        reading = Reading.of(parts_of(source, format), columns, where, at)
        sums = reading.sums()
        taken = "prompt", "reward", "kind", "rank", "split"
        share = min(_MARGIN * most_rows / max(sums.rows, 1), 1.0)
        while True:
            below = min(int(share * _ALL), _ALL)
            some = sums.good if share == 1 else sums.good.filter(pl.col("prompt") < below)
            frame = some.select(taken).collect(engine="streaming")
            enough = frame.height > most_rows or frame["prompt"].n_unique() > most_prompts
            if share == 1 or enough:
                break
            share = min(4 * share, 1.0)
        read = reading.columns.read
        coded = {}
        for role, (codes, names) in zip(("kind", "split"), _CODED.items(), strict=True):
            if role in read:
                coded[codes], coded[names] = coded_names(frame[role])
        return cls(
            keys=frame["prompt"].to_numpy(),
            rewards=frame["reward"].to_numpy(),
            ranks=frame["rank"].fill_null(np.nan).to_numpy() if "rank" in read else None,
            **coded,
            below=below,
            read=sums.read,
            rows=sums.rows,
            low=sums.low,
            high=sums.high,
            step=reading.at,
            bad=tuple(BadRows(reason, count) for reason, count in sums.bad.items()),
            left_out=tuple(reading.left_out),
            columns=reading.columns.described(),
            notes=as_notes(reading.notes[:_NOTES]),
            limits=(most_prompts, most_rows),
            hashing=f"polars {pl.__version__}",
        )._trimmed()

    def __add__(self, other: object) -> LogSummary:
        if not isinstance(other, LogSummary):
            return NotImplemented
        self._require_alike(other)
        one, two = self._of_step(other.step), other._of_step(self.step)
        ranks = None
        if one.ranks is not None or two.ranks is not None:
            ranks = np.concatenate([_ranks(one), _ranks(two)])
        return LogSummary(
            keys=np.concatenate([one.keys, two.keys]),
            rewards=np.concatenate([one.rewards, two.rewards]),
            ranks=ranks,
            **{name: value for codes in _CODED for name, value in _joined(codes, one, two)},
            below=min(one.below, two.below),
            read=one.read + two.read,
            rows=one.rows + two.rows,
            low=min(one.low, two.low),
            high=max(one.high, two.high),
            step=one.step,
            bad=_added(one.bad, two.bad),
            left_out=_added(one.left_out, two.left_out),
            columns=min(one.columns, two.columns),
            notes=tuple(sorted({*one.notes, *two.notes}, key=str)[:_NOTES]),
            limits=one.limits,
            hashing=one.hashing,
        )._trimmed()

    def _require_alike(self, other: LogSummary) -> None:
        for what, one, two in (
            ("hashes", self.hashing, other.hashing),
            ("limits", self.limits, other.limits),
            ("columns of kinds", self.kinds is None, other.kinds is None),
            ("columns of steps", self.step is None, other.step is None),
            ("columns of splits", self.splits is None, other.splits is None),
        ):
            if one != two:
                raise CollapseError(
                    f"these summaries have different {what}, {one} and {two}: summarise all shards "
                    "by one version, with the same options"
                )

    def _of_step(self, other: float | None) -> LogSummary:
        """Return the summary as one of a later step, of which there is nothing here."""
        if self.step is None or other is None or self.step >= other:
            return self
        gone = BadRows(f"another step than {other:g}", self.rows + sum(b.count for b in self.bad))
        earlier = sum(
            rows.count for rows in self.left_out if rows.reason.startswith("another step")
        )
        kept = tuple(r for r in self.left_out if not r.reason.startswith("another step"))
        return replace(
            self._of(np.zeros(0, int)),
            below=_ALL,
            rows=0,
            low=np.inf,
            high=-np.inf,
            step=other,
            bad=(),
            left_out=(*kept, replace(gone, count=gone.count + earlier)),
        )

    def _trimmed(self) -> LogSummary:
        """Return the summary in its one order, with no more than may be kept."""
        nothing = np.zeros(self.keys.size)
        columns = [getattr(self, name) for name in ("splits", "ranks", "kinds", "rewards", "keys")]
        order = np.lexsort([nothing if column is None else column for column in columns])
        keys = self.keys[order]
        below = self.below
        some = keys if below == _ALL else keys[keys < below]
        prompts, counts = np.unique(some, return_counts=True)
        most_prompts, most_rows = self.limits
        fit = int(np.searchsorted(np.cumsum(counts), most_rows, side="right"))
        keep = max(min(most_prompts, fit), 1)
        if keep < prompts.size:
            below = int(prompts[keep])
        if below < _ALL:
            order = order[keys < below]
        return replace(self._of(order), below=below)

    def _of(self, rows: np.ndarray) -> LogSummary:
        """Return the summary with some of its rows, and the names that come in them."""
        found = {name: getattr(self, name) for name in ("keys", "rewards", "ranks", *_CODED)}
        found = {name: None if one is None else one[rows] for name, one in found.items()}
        for codes, names in _CODED.items():
            if (numbers := found[codes]) is not None:
                used, found[codes] = np.unique(numbers, return_inverse=True)
                found[names] = tuple(getattr(self, names)[code] for code in used)
        return replace(self, **found)

    @property
    def kept(self) -> int:
        """How many prompts are kept."""
        return int(np.unique(self.keys).size)

    @property
    def prompts(self) -> int:
        """How many prompts there are: counted where all are kept, else estimated without bias."""
        return self.kept if self.below == _ALL else round(self.kept * (_ALL / self.below))

    def as_reward_log(self) -> RewardLog:
        """Return the log of the prompts that are kept; a diagnosis is made of it."""
        if not self.keys.size:
            raise CollapseError("the summary has no good row" + "".join(f"; {b}" for b in self.bad))
        prompts = np.unique(self.keys, return_inverse=True)[1]
        same = np.ones(prompts.size, bool)
        if self.kinds is not None:
            same = of_their_kind(prompts, self.kinds, len(self.kind_names))
        others = BadRows(KIND_CHANGES, int((~same).sum()))
        drawn = BadRows("a prompt that wasn't drawn", self.rows - self.keys.size)
        sampled = (
            f"{self.kept:,} of some {self.prompts:,} prompts are diagnosed, with all their rows: "
            "those with the smallest hashes, as good as drawn at random"
        )
        return RewardLog(
            rewards=self.rewards[same],
            prompts=np.unique(prompts[same], return_inverse=True)[1],
            kinds=None if self.kinds is None else self.kinds[same],
            kind_names=self.kind_names,
            ranks=None if self.ranks is None else self.ranks[same],
            splits=None if self.splits is None else self.splits[same],
            split_names=self.split_names,
            step=self.step,
            read=self.read,
            bad=(*self.bad, *([others] if others.count else [])),
            left_out=(*self.left_out, *([drawn] if drawn.count else [])),
            columns=self.columns,
            notes=(*self.notes, *([Note("sample", sampled)] if drawn.count else [])),
        )

    def __repr__(self) -> str:
        some = "" if self.below == _ALL else f", {self.kept:,} of them kept"
        count = f"{'' if self.below == _ALL else 'some '}{self.prompts:,} prompts"
        return f"LogSummary({self.rows:,} rows, {count}{some})"


def _ranks(part: LogSummary) -> np.ndarray:
    return np.full(part.keys.size, np.nan) if part.ranks is None else part.ranks


def _joined(codes: str, one: LogSummary, two: LogSummary) -> Iterator[tuple[str, Any]]:
    """Yield the codes of both, and the names that they are numbers into, as fields."""
    if getattr(one, codes) is None:
        return
    each = [getattr(part, _CODED[codes]) for part in (one, two)]
    names = tuple(sorted({*each[0], *each[1]}))
    numbers = [np.array([names.index(name) for name in some], int) for some in each]
    parts = zip(numbers, (one, two), strict=True)
    yield codes, np.concatenate([number[getattr(part, codes)] for number, part in parts])
    yield _CODED[codes], names


def _added(*several: tuple[BadRows, ...]) -> tuple[BadRows, ...]:
    counts: Counter[str] = Counter()
    for rows in several:
        counts.update({one.reason: one.count for one in rows})
    return tuple(BadRows(reason, count) for reason, count in sorted(counts.items()))
