"""Which column of a reward log is which, and what makes a value of it bad."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller

from collapse_theory.data.rows import UNREADABLE
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl

_SHOWN = 12  # columns that a message lists


@dataclass(frozen=True)
class Role:
    """What a column of a reward log is for, and what makes a row bad."""

    name: str
    usual: tuple[str, ...]  # what such a column is called; the first that is there is taken
    read: Callable[[pl.Expr, pl.DataType], pl.Expr]  # what is kept of a value; null: none
    faults: tuple[tuple[str, Callable[[pl.Expr], pl.Expr]], ...]  # reasons, and tests of a value
    needed: bool = False


def _key(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The hash of a text: two of a million different ones agree with probability 3e-8."""
    text = column.cast(pl.String)
    return pl.when(text.str.strip_chars() != "").then(text.hash(0))


def _name(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _number(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_numeric() or dtype == pl.Boolean:
        return column.cast(pl.Float64)
    if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    return pl.lit(None, pl.Float64)  # dates, lists: every row is named as no number


def _no_rank(value: pl.Expr) -> pl.Expr:
    return value.is_null() | ~value.is_finite() | (value != value.floor()) | (value < 0)


_missing = methodcaller("is_null")
_PROMPTS = ("prompt", "prompt_id", "instruction", "question", "query")
_REWARD_FAULTS = (
    ("no number as reward", _missing),
    ("a reward that is NaN or infinite", lambda value: ~value.is_finite()),
)

ROLES = (
    Role("prompt", _PROMPTS, _key, (("no prompt", _missing),), needed=True),
    Role("reward", ("reward", "score", "rating"), _number, _REWARD_FAULTS, needed=True),
    Role("kind", ("kind",), _name, (("no kind", _missing),)),
    Role("rank", ("rank",), _number, (("no whole number as rank", _no_rank),)),
    Role("step", ("step",), _number, (("no number as step", _missing),)),
)
"""The columns of a log; another is one row."""

_TESTS = tuple((role.name, reason, test) for role in ROLES for reason, test in role.faults)
REASONS = ("", *UNREADABLE, *(reason for _, reason, _ in _TESTS))
"""Why a row is bad, by number: of several reasons the first; 0 is a good row."""


# -- the columns of a file ----------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """The column of each role that is there, and the values that columns must have."""

    names: Mapping[str, str]
    where: tuple[tuple[str, str], ...] = ()

    def needed(self) -> list[str]:
        """Return each column that is read, once."""
        return list(dict.fromkeys([*self.names.values(), *(name for name, _ in self.where)]))


def find_columns(
    there: Sequence[str],
    source: str,
    wanted: Mapping[str, str | bool | None] | None = None,
    where: Sequence[tuple[str, str]] = (),
) -> Columns:
    """Return the columns to read among those that are `there`.

    `wanted` is the column by role (None for the usual one, False for none), `where` what columns
    must have as their values, `source` the file, for messages.

    Raises
    ------
    CollapseError
        A ValueError, for a column that isn't there or is there twice; it lists what there is.
    """
    found = {
        role.name: name
        for role in ROLES
        if (name := _column_of(role, (wanted or {}).get(role.name), there, source)) is not None
    }
    for name in found.values():
        if list(found.values()).count(name) > 1:
            raise CollapseError(
                f"{source}: the column {name!r} can't be two things at once; give each of prompt, "
                "reward, kind, rank and step a column of its own"
            )
    conditions = tuple((_named(name, "--where", there, source), value) for name, value in where)
    return Columns(found, conditions)


def _column_of(
    role: Role, wanted: str | bool | None, there: Sequence[str], source: str
) -> str | None:
    if isinstance(wanted, str):
        return _named(wanted, role.name, there, source)
    if wanted is False:
        return None
    for candidate in role.usual:
        if (match := _match(candidate, there, source)) is not None:
            return match
    if not role.needed:
        return None
    raise CollapseError(
        f"{source}: no column is called {' or '.join(map(repr, role.usual[:2]))}; there are "
        f"{_listed(there)}. The first line of a CSV file names its columns; say which holds the "
        f"{role.name} with --{role.name} NAME ({role.name}=... in Python)"
        f"{_hint(role.name, there)}"
    )


def _named(name: str, role: str, there: Sequence[str], source: str) -> str:
    if (match := _match(name, there, source)) is not None:
        return match
    raise CollapseError(
        f"{source}: no column is called {name!r} (for {role}); there are {_listed(there)}"
        f"{_hint(name, there)}"
    )


def _match(name: str, there: Sequence[str], source: str) -> str | None:
    """Return the column of this name: exactly, else but for case and spaces around it."""
    matches = [c for c in there if c == name]
    matches = matches or [c for c in there if c.strip().casefold() == name.strip().casefold()]
    if len(matches) > 1:
        raise CollapseError(f"{source}: {len(matches)} columns are called {name!r}; rename them")
    return matches[0] if matches else None


def _listed(there: Sequence[str]) -> str:
    names = [repr(name if len(name) <= 40 else f"{name[:37]}...") for name in there[:_SHOWN]]
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return ", ".join(names) + more if names else "none"


def _hint(name: str, there: Sequence[str]) -> str:
    folded = {column.casefold(): column for column in reversed(there)}
    close = difflib.get_close_matches(name.casefold(), folded, 1, 0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


# -- the rows of a frame ------------------------------------------------------------------------


def cleaned(frame: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    """Return every row's roles and line, whether it is asked for, and the number of its reason.

    The frame has the columns that are needed, `__line__`, and `__problem__`: the number of the
    reason why a line holds no row, 0 where it does.
    """
    schema = frame.collect_schema()
    unreadable = pl.col("__problem__") > 0
    matches = [_matches(pl.col(name), schema[name], value) for name, value in columns.where]
    asked = pl.all_horizontal(pl.lit(True), *matches) | unreadable
    values = [
        role.read(pl.col(column), schema[column])
        if (column := columns.names.get(role.name))
        else role.read(pl.lit(None, pl.String), pl.String())
        for role in ROLES
    ]
    named = [value.alias(role.name) for role, value in zip(ROLES, values, strict=True)]
    others = asked.alias("asked"), pl.col("__line__").alias("line"), pl.col("__problem__")
    frame = frame.select(*named, *others)
    reason = pl.lit(0, pl.UInt8)
    for role, text, test in reversed(_TESTS):
        if role in columns.names:
            number = pl.lit(REASONS.index(text), pl.UInt8)
            reason = pl.when(test(pl.col(role))).then(number).otherwise(reason)
    reason = pl.when(unreadable).then(pl.col("__problem__")).otherwise(reason)
    return frame.select(*(role.name for role in ROLES), "asked", "line", reason.alias("reason"))


def _matches(column: pl.Expr, dtype: pl.DataType, value: str) -> pl.Expr:
    same = column.cast(pl.String).str.strip_chars() == value.strip()
    with contextlib.suppress(ValueError):
        same = same | (_number(column, dtype) == float(value))
    return same.fill_null(False)
