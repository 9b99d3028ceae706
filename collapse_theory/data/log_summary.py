"""The summary of a log that no memory holds: sums, and whole prompts drawn by their hashes.

The prompts with the smallest hashes are kept with all their rows (a bottom-k sample; Cohen and
Kaplan, "Summarizing data using bottom-k sketches", 2007). Which these are depends on the prompts
alone: so the summaries of shards, added in any order, are that of the whole log to the last bit,
also where the rows of a prompt are in several shards. Hashes are as good as random: a diagnosis of
the sample is one of prompts drawn without replacement, and its intervals hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collapse_theory.data.frames import OF_NO_STEP, REASONS
from collapse_theory.data.reading import Reading, coded_names, made_log
from collapse_theory.data.remarks import NOWHERE, Origin, odd_counts
from collapse_theory.data.reward_log import BadRows, Note, RewardLog, as_notes, frozen
from collapse_theory.data.source import parts_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl
from collapse_theory.values import Array, Value

MOST_PROMPTS = 40_000  # a diagnosis compares no more
MOST_ROWS = 2_000_000  # 80 MB
_ALL = 2**64  # hashes are below it
_AT_ONCE = 1 << 18  # rows that are added to what is kept
_NOTES = 20
_EARLIER = "another step than "
_CODED = {"kinds": "kind_names", "splits": "split_names"}  # numbers, into names
_NONE = {"rank": np.nan, "model": 0}  # where a shard lacks such a column, or a row the value
# The arrays of a summary, as rows are ordered by them, and the columns of `frames.judged`.
_ROLES = {
    "loose": "loose",
    "keys": "prompt",
    "rewards": "reward",
    "kinds": "kind",
    "ranks": "rank",
    "splits": "split",
    "models": "model",
}


@dataclass(frozen=True, eq=False, repr=False)
class LogSummary(Value):
    """What is kept of a reward log or of a shard: `a + b` is the summary of both.

    Parameters
    ----------
    keys : (kept,) array of uint64
        The hash of each kept row's prompt.
    loose : (kept,) array of uint64
        The same without the blanks at its ends, ascending: by it prompts are drawn.
    rewards : (kept,) array
    kinds : (kept,) array of int, or None
        Numbers into `kind_names`.
    kind_names : tuple of str
    ranks : (kept,) array, or None
        NaN isn't known.
    splits : (kept,) array of int, or None
        Numbers into `split_names`, such as test and train; "" is no split.
    split_names : tuple of str
    models : (kept,) array of uint64, or None
        Hashes of what the completions are told apart by.
    below : int
        All prompts with `loose` hashes below it are kept; 2**64 where all are.
    read, rows : int
        Rows read; and those that are good, of the step that counts.
    low, high : float
        The least and the greatest reward of those.
    step : float or None
        The latest; rows of earlier steps are counted in `left_out`.
    bad, left_out : tuple of BadRows
        As in `RewardLog`, without lines.
    origin : Origin
        What is known of the rows besides: columns, and how many are odd.
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
    loose: Any
    rewards: Array
    kinds: Any = None
    kind_names: tuple[str, ...] = ()
    ranks: Array | None = None
    splits: Any = None
    split_names: tuple[str, ...] = ()
    models: Any = None
    below: int = _ALL
    read: int = 0
    rows: int = 0
    low: float = np.inf
    high: float = -np.inf
    step: float | None = None
    bad: tuple[BadRows, ...] = ()
    left_out: tuple[BadRows, ...] = ()
    origin: Origin = NOWHERE
    notes: tuple[Note, ...] = ()
    limits: tuple[int, int] = (MOST_PROMPTS, MOST_ROWS)
    hashing: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("keys", "loose", "models"):
            self._set(**{name: frozen(getattr(self, name), np.uint64)})
        for name in _CODED:
            self._set(**{name: frozen(getattr(self, name), np.int32)})
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
        some: list[LogSummary] = []
        steps: set[float] = set()
        for rows in reading.batches():
            if "step" in rows.columns:
                steps.update(rows["step"].drop_nulls().unique())
            known = some[0] if some else None
            some.append(_of_rows(rows, reading, known, (most_prompts, most_rows)))
            kept, *more = (one.keys.size for one in some)
            if sum(more) > max(kept, _AT_ONCE):
                some = [_added(some)]
        if "step" in reading.columns.names:
            reading.require_step(steps)
        found = _added(some)
        return replace(
            found,
            read=reading.read,
            left_out=_counted(found.left_out, tuple(reading.left_out)),
            notes=as_notes(reading.notes[:_NOTES]),
        )

    def __add__(self, other: object) -> LogSummary:
        return _added([self, other]) if isinstance(other, LogSummary) else NotImplemented

    def _require_alike(self, other: LogSummary) -> None:
        roles, others = (dict(one.origin.columns) for one in (self, other))
        for what, one, two in (
            ("hashes", self.hashing, other.hashing),
            ("limits", self.limits, other.limits),
            *((f"columns of {r}s", r in roles, r in others) for r in ("kind", "step", "split")),
        ):
            if one != two:
                raise CollapseError(
                    f"these summaries have different {what}, {one} and {two}: summarise all shards "
                    "by one version, with the same options"
                )

    def _of_step(self, step: float | None) -> LogSummary:
        """Return the summary as one of this step: of a later one there is nothing here."""
        if self.step is None or self.step == step:
            return self
        return replace(
            self,
            **_arrays(self._frame().clear()),
            below=_ALL,
            rows=0,
            low=np.inf,
            high=-np.inf,
            bad=tuple(rows for rows in self.bad if rows.reason in OF_NO_STEP),
            origin=replace(self.origin, odd=()),
        )

    def _frame(self) -> pl.DataFrame:
        """Return the rows that are kept, as `frames.judged` has them."""
        columns = {}
        for name, role in _ROLES.items():
            if (values := getattr(self, name)) is not None:
                columns[role] = pl.Series(values)
                if name in _CODED:
                    columns[role] = pl.Series(getattr(self, _CODED[name]), dtype=pl.Categorical)[
                        columns[role]
                    ]
        return pl.DataFrame(columns)

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """The column that each role was read from."""
        return self.origin.columns

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
        bad, left_out = list(self.bad), list(self.left_out)
        if drawn := self.rows - self.keys.size:
            left_out.append(BadRows("a prompt that wasn't drawn", drawn))
        log = made_log(
            self._frame(),
            self.origin,
            lambda reason, others: bad.append(BadRows(reason, others.height)),
            bad,
            left_out,
            self.notes,
            step=self.step,
            read=self.read,
        )
        text = (
            f"{self.kept:,} of some {self.prompts:,} prompts are diagnosed, with all their rows: "
            "those with the smallest hashes, as good as drawn at random"
        )
        return replace(log, notes=(*log.notes, Note("sample", text))) if drawn else log

    def __repr__(self) -> str:
        some = "" if self.below == _ALL else f", {self.kept:,} of them kept"
        count = f"{'' if self.below == _ALL else 'some '}{self.prompts:,} prompts"
        return f"LogSummary({self.rows:,} rows, {count}{some})"


def _of_rows(
    rows: pl.DataFrame, reading: Reading, known: LogSummary | None, limits: tuple[int, int]
) -> LogSummary:
    """Return the summary of some rows, without prompts of which it is `known` that they go."""
    here, step = reading.of_one_step(rows)
    counts = dict(here.group_by("reason").len().iter_rows())
    good = here.filter(pl.col("reason") == 0)
    rewards = good["reward"].to_numpy()
    below = known.below if known and known.step == step else _ALL
    kept = good if below == _ALL else good.filter(pl.col("loose") < below)
    return LogSummary(
        **_arrays(kept),
        below=below,
        read=rows.height,
        rows=good.height,
        low=float(rewards.min(initial=np.inf)),
        high=float(rewards.max(initial=-np.inf)),
        step=step,
        bad=tuple(BadRows(REASONS[why], count) for why, count in counts.items() if why),
        origin=reading.origin.with_odd(odd_counts(good)),
        limits=limits,
        hashing=f"polars {pl.__version__}",
    )


def _arrays(rows: pl.DataFrame) -> dict[str, Any]:
    """Return rows as a summary holds them."""
    found: dict[str, Any] = {}
    for name, role in _ROLES.items():
        if role in rows.columns:
            if name in _CODED:
                found[name], found[_CODED[name]] = coded_names(rows[role])
            else:
                column = rows[role]
                found[name] = (
                    column.fill_null(_NONE[role]) if role in _NONE else column
                ).to_numpy()
    return found


def _drawn(rows: pl.DataFrame, below: int, limits: tuple[int, int]) -> tuple[dict[str, Any], int]:
    """Return rows in their one order, no more than may be kept, and what is below those."""
    if below < _ALL:
        rows = rows.filter(pl.col("loose") < below)
    prompts = rows.group_by("loose").len().sort("loose")
    fit = int(np.searchsorted(prompts["len"].cum_sum().to_numpy(), limits[1], side="right"))
    keep = max(min(limits[0], fit), 1)
    if keep < prompts.height:
        below = prompts["loose"][keep]
        rows = rows.filter(pl.col("loose") < below)
    found = _arrays(rows)
    order = np.lexsort([found[name] for name in reversed(_ROLES) if name in found])
    return found | {name: found[name][order] for name in _ROLES if name in found}, below


def _added(several: Sequence[LogSummary]) -> LogSummary:
    """Return the summary of all, in any order."""
    first = several[0]
    for other in several[1:]:
        first._require_alike(other)
    step = max((one.step for one in several if one.step is not None), default=None)
    parts = [one._of_step(step) for one in several]
    rows = pl.concat([part._frame() for part in parts], how="diagonal")
    arrays, below = _drawn(rows, min(part.below for part in parts), first.limits)
    origins = [part.origin for part in parts]
    known = min(origins, key=lambda o: (o.columns, o.guessed, o.others, o.unused))
    read, good = sum(part.read for part in parts), sum(part.rows for part in parts)
    bad = _counted(*(part.bad for part in parts))
    left_out = _counted(*(part.left_out for part in parts))
    left_out = tuple(rows for rows in left_out if not rows.reason.startswith(_EARLIER))
    if earlier := read - good - sum(rows.count for rows in (*bad, *left_out)):
        left_out = _counted(left_out, (BadRows(f"{_EARLIER}{step:g}", earlier),))
    return LogSummary(
        **arrays,
        below=below,
        read=read,
        rows=good,
        low=min(part.low for part in parts),
        high=max(part.high for part in parts),
        step=step,
        bad=bad,
        left_out=left_out,
        origin=known.with_odd(*(origin.odd for origin in origins)),
        notes=tuple(sorted({note for part in parts for note in part.notes}, key=str)[:_NOTES]),
        limits=first.limits,
        hashing=first.hashing,
    )


def _counted(*several: tuple[BadRows, ...]) -> tuple[BadRows, ...]:
    counts: Counter[str] = Counter()
    for rows in several:
        counts.update({one.reason: one.count for one in rows})
    return tuple(BadRows(reason, count) for reason, count in sorted(counts.items()))
