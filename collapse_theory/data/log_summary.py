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
from collapse_theory.data.reward_log import BadRows, Note, RewardLog, as_notes
from collapse_theory.data.source import parts_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl
from collapse_theory.values import Array, Value

MOST_PROMPTS = 40_000  # a diagnosis compares no more
MOST_ROWS = 2_000_000  # 80 MB
_ALL = 2**64  # hashes are below it
_AT_ONCE = 1 << 18  # rows that are added to what is kept
_NOTES = 20
_CODED = {"kinds": "kind_names", "splits": "split_names"}  # numbers, into names
_NONE = {"ranks": np.nan, "models": np.uint64(0)}  # where shards lack such a column
_ARRAYS = ("keys", "loose", "rewards", *_NONE, *_CODED)


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
        hashes, codes = dict.fromkeys(("keys", "loose", "models"), np.uint64), dict.fromkeys(_CODED)
        for name, dtype in (hashes | codes).items():
            if (column := getattr(self, name)) is not None:
                array = np.array(column, dtype=dtype or np.int32)
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
        some: list[LogSummary] = []
        limits = most_prompts, most_rows
        steps: set[float] = set()
        for rows in reading.batches():
            if "step" in rows.columns:
                steps.update(rows["step"].drop_nulls().unique())
            some.append(_of_rows(rows, reading, some[0] if some else None, limits))
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

    def _of_step(self, other: float | None) -> LogSummary:
        """Return the summary as one of a later step, of which there is nothing here."""
        if self.step is None or other is None or self.step >= other:
            return self
        bad = tuple(rows for rows in self.bad if rows.reason in OF_NO_STEP)
        earlier = [rows for rows in self.left_out if rows.reason.startswith("another step")]
        kept = tuple(rows for rows in self.left_out if rows not in earlier)
        count = self.rows + sum(rows.count for rows in (*self.bad, *earlier))
        count -= sum(rows.count for rows in bad)
        return replace(
            self._of(np.zeros(0, int)),
            below=_ALL,
            rows=0,
            low=np.inf,
            high=-np.inf,
            step=other,
            bad=bad,
            left_out=(*kept, BadRows(f"another step than {other:g}", count)),
            origin=replace(self.origin, odd=()),
        )

    def _trimmed(self) -> LogSummary:
        """Return the summary in its one order, with no more than may be kept."""
        below, (most_prompts, most_rows) = self.below, self.limits
        rows = np.flatnonzero(self.loose < below) if below < _ALL else np.arange(self.loose.size)
        prompts, counts = np.unique(self.loose[rows], return_counts=True)
        fit = int(np.searchsorted(np.cumsum(counts), most_rows, side="right"))
        keep = max(min(most_prompts, fit), 1)
        if keep < prompts.size:
            below = int(prompts[keep])
            rows = rows[self.loose[rows] < below]
        names = ("models", "splits", "ranks", "kinds", "rewards", "keys", "loose")
        columns = [column[rows] for name in names if (column := getattr(self, name)) is not None]
        return replace(self._of(rows[np.lexsort(columns)]), below=below)

    def _of(self, rows: np.ndarray) -> LogSummary:
        """Return the summary with some of its rows, and the names that come in them."""
        found = {name: getattr(self, name) for name in _ARRAYS}
        found = {name: None if one is None else one[rows] for name, one in found.items()}
        for codes, names in _CODED.items():
            if (numbers := found[codes]) is not None:
                used, found[codes] = np.unique(numbers, return_inverse=True)
                found[names] = tuple(getattr(self, names)[code] for code in used)
        return replace(self, **found)

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
        roles = {"prompt": self.keys, "loose": self.loose, "reward": self.rewards}
        roles |= {"rank": self.ranks, "model": self.models}
        for role, codes in (("kind", "kinds"), ("split", "splits")):
            names = np.array(getattr(self, _CODED[codes]), dtype=object)
            roles[role] = None if getattr(self, codes) is None else names[getattr(self, codes)]
        rows = pl.DataFrame({role: one for role, one in roles.items() if one is not None})
        bad, left_out, notes = list(self.bad), list(self.left_out), list(self.notes)
        if drawn := self.rows - self.keys.size:
            left_out.append(BadRows("a prompt that wasn't drawn", drawn))
        log = made_log(
            rows,
            self.origin,
            lambda reason, others: bad.append(BadRows(reason, others.height)),
            bad,
            left_out,
            notes,
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
    coded: dict[str, Any] = {}
    for role, (codes, names) in zip(("kind", "split"), _CODED.items(), strict=True):
        if role in kept.columns:
            coded[codes], coded[names] = coded_names(kept[role])
    left_out = ()
    if here.height < rows.height:
        left_out = (BadRows(f"another step than {step:g}", rows.height - here.height),)
    return LogSummary(
        keys=kept["prompt"].to_numpy(),
        loose=kept["loose"].to_numpy(),
        rewards=kept["reward"].to_numpy(),
        ranks=kept["rank"].fill_null(np.nan).to_numpy() if "rank" in kept.columns else None,
        models=kept["model"].fill_null(0).to_numpy() if "model" in kept.columns else None,
        **coded,
        below=below,
        read=rows.height,
        rows=good.height,
        low=float(rewards.min(initial=np.inf)),
        high=float(rewards.max(initial=-np.inf)),
        step=step,
        bad=tuple(BadRows(REASONS[why], count) for why, count in counts.items() if why),
        left_out=left_out,
        origin=reading.origin.with_odd(odd_counts(good)),
        limits=limits,
        hashing=f"polars {pl.__version__}",
    )


def _added(several: Sequence[LogSummary]) -> LogSummary:
    """Return the summary of all, in any order."""
    first = several[0]
    for other in several[1:]:
        first._require_alike(other)
    step = max((one.step for one in several if one.step is not None), default=None)
    parts = [one._of_step(step) for one in several]
    found: dict[str, Any] = {}
    for name in ("keys", "loose", "rewards", *_NONE):
        each = [getattr(part, name) for part in parts]
        if any(one is not None for one in each):
            sizes = zip(each, parts, strict=True)
            each = [np.full(p.keys.size, _NONE[name]) if a is None else a for a, p in sizes]
            found[name] = np.concatenate(each)
    for codes, names in _CODED.items():
        if getattr(first, codes) is not None:
            all_names = sorted({name for part in parts for name in getattr(part, names)})
            places = [[all_names.index(n) for n in getattr(part, names)] for part in parts]
            each = zip(places, parts, strict=True)
            numbers = [np.array(place, int)[getattr(part, codes)] for place, part in each]
            found |= {codes: np.concatenate(numbers), names: tuple(all_names)}
    origins = [part.origin for part in parts]
    known = min(origins, key=lambda o: (o.columns, o.guessed, o.others, o.unused))
    return LogSummary(
        **found,
        below=min(part.below for part in parts),
        read=sum(part.read for part in parts),
        rows=sum(part.rows for part in parts),
        low=min(part.low for part in parts),
        high=max(part.high for part in parts),
        step=step,
        bad=_counted(*(part.bad for part in parts)),
        left_out=_counted(*(part.left_out for part in parts)),
        origin=known.with_odd(*(origin.odd for origin in origins)),
        notes=tuple(sorted({note for part in parts for note in part.notes}, key=str)[:_NOTES]),
        limits=first.limits,
        hashing=first.hashing,
    )._trimmed()


def _counted(*several: tuple[BadRows, ...]) -> tuple[BadRows, ...]:
    counts: Counter[str] = Counter()
    for rows in several:
        counts.update({one.reason: one.count for one in rows})
    return tuple(BadRows(reason, count) for reason, count in sorted(counts.items()))
