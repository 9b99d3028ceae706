"""The rows of a log as lazy frames of Polars: a reward a row, and what is wrong with each.

A part that Polars reads is read by it; others come row by row, so many at a time that long texts
aren't held. Both end in `_judged`, which says what a value of a role may be.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from collapse_theory.data.columns import Columns, is_pair, opened, picked
from collapse_theory.data.parts import RECORD, Part
from collapse_theory.data.text import UNREADABLE, Bad, Row
from collapse_theory.lazy import polars as pl

_CHUNK = 100_000  # rows that are held as Python objects at a time

# -- what a value may be ------------------------------------------------------------------------


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_nested():  # a chat of several messages
        return pl.struct(column).struct.json_encode()
    return column.cast(pl.String)


def _key(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The hash of a text: two of a million different ones agree with probability 3e-8."""
    text = _text(column, dtype)
    return pl.when(text.str.strip_chars() != "").then(text.hash(0))


def _but_for_blanks(text: pl.Expr) -> pl.Expr:
    """The same for texts that differ by the blanks around them alone; no text is copied for it."""
    return text.str.strip_chars()


def _name(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    text = _text(column, dtype).str.strip_chars()
    return pl.when(text != "").then(text)


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)


def _number(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_numeric() or dtype == pl.Boolean:
        return column.cast(pl.Float64)
    if not _is_text(dtype):
        return pl.lit(None, pl.Float64)  # dates, lists: every row is named as no number
    text = column.cast(pl.String).str.strip_chars()
    word = text.str.to_lowercase()
    truth = pl.when(word == "true").then(1.0).when(word == "false").then(0.0)
    return text.cast(pl.Float64, strict=False).fill_null(truth)


def _with_commas(column: pl.Expr, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    return column.str.replace(",", ".", literal=True) if _is_text(dtype) else column, dtype


def _rank(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    rank = _number(column, dtype)
    return pl.when(rank.is_finite() & (rank >= 0)).then(rank)


def _step(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    step = _number(column, dtype)
    if not _is_text(dtype):
        return step
    return step.fill_null(column.cast(pl.String).str.extract(_NAMED_STEP).cast(pl.Float64))


_NAMED_STEP = r"^[A-Za-z][A-Za-z _-]*(\d+)\s*$"  # checkpoint-100

READERS: Mapping[str, Callable[[pl.Expr, pl.DataType], pl.Expr]] = {
    "prompt": _key,
    "reward": _number,
    "kind": _name,
    "rank": _rank,
    "step": _step,
    "split": _name,
    "model": _key,
}
"""What is kept of a value of each role; null: none."""

_FAULTS: tuple[tuple[str, str, Callable[[pl.Expr], pl.Expr]], ...] = (
    ("prompt", "no prompt", lambda value: value.is_null()),
    ("reward", "no number as reward", lambda value: value.is_null()),
    ("reward", "a reward that is NaN or infinite", lambda value: ~value.is_finite()),
    ("kind", "no kind", lambda value: value.is_null()),
    ("step", "no number as step", lambda value: value.is_null()),
)
REASONS = ("", *UNREADABLE, *(reason for _, reason, _ in _FAULTS))
"""Why a row is bad, by number: of several reasons the first; 0 is a good row."""

ODD = {
    1: "{count} rewards that are true or false are read as 1 and 0",
    2: "{count} rewards have decimal commas: 0,5 is read as 0.5",
    4: "{count} rows have no rank: their rewards count, but in no pair of ranks",
    8: "{count} steps are names with numbers, such as checkpoint-100, and read as these",
}
"""What is worth a note in a good row, by its bit of the column `odd`."""


def _odd(columns: Columns, schema: Mapping[str, Any], commas: bool) -> pl.Expr:
    """Return the bits of `ODD` of each row."""
    bits = pl.lit(0, pl.UInt8)
    reward = pl.col("reward")
    if schema["reward"] == pl.Boolean:
        bits = bits + reward.is_not_null().cast(pl.UInt8)
    elif _is_text(schema["reward"]):
        word = reward.cast(pl.String).str.strip_chars().str.to_lowercase()
        bits = bits + word.is_in(["true", "false"]).fill_null(False).cast(pl.UInt8)
        if commas:
            comma = reward.cast(pl.String).str.contains(",", literal=True).fill_null(False)
            bits = bits + 2 * comma.cast(pl.UInt8)
    if "rank" in columns.read:
        bits = bits + 4 * _rank(pl.col("rank"), schema["rank"]).is_null().cast(pl.UInt8)
    if "step" in columns.names and _is_text(schema["step"]):
        named = pl.col("step").cast(pl.String).str.contains(_NAMED_STEP).fill_null(False)
        bits = bits + 8 * named.cast(pl.UInt8)
    return bits.alias("odd")


def _judged(frame: pl.LazyFrame, columns: Columns, commas: bool) -> pl.LazyFrame:
    """Return every row's roles, `asked`, `record`, `odd`, and the number of its `reason`.

    The frame has a column a role, `asked`, `RECORD`, and `__problem__`: the number of the reason
    why a line holds no row, 0 where it does.
    """
    schema = frame.collect_schema()
    values = {}
    for role, read in READERS.items():
        column, dtype = pl.col(role), schema.get(role)
        if dtype is None:
            column, dtype = pl.lit(None, pl.String), pl.String()
        if role == "reward" and commas:
            column, dtype = _with_commas(column, dtype)
        values[role] = read(column, dtype)
    loose = pl.lit(0, pl.UInt64)
    if schema["prompt"] == pl.String:
        loose = _but_for_blanks(pl.col("prompt")).hash(0)
    frame = frame.select(
        *(value.alias(role) for role, value in values.items()),
        loose.alias("loose"),
        _odd(columns, schema, commas),
        pl.col("__problem__"),
        (pl.col("asked") | (pl.col("__problem__") > 0)).alias("asked"),
        pl.col(RECORD).cast(pl.UInt32).alias("record"),
    )
    reason = pl.lit(0, pl.UInt8)
    for role, why, test in reversed(_FAULTS):
        if role in columns.names:
            number = pl.lit(REASONS.index(why), pl.UInt8)
            reason = pl.when(test(pl.col(role))).then(number).otherwise(reason)
    unreadable = pl.col("__problem__") > 0
    reason = pl.when(unreadable).then(pl.col("__problem__")).otherwise(reason)
    return frame.with_columns(reason.alias("reason")).drop("__problem__")


# -- from parts to frames -----------------------------------------------------------------------


def frame_of(part: Part, columns: Columns, number: int = 0) -> pl.LazyFrame:
    """Return the rows of a part, one a reward, as `_judged` has them; `number` is the part's."""
    tops = dict.fromkeys(
        path if path in part.names else path.split(".")[0] for path in columns.paths()
    )
    in_texts = columns.lists and part.unit == "line"  # lists of a text are read one by one
    lazy = None if in_texts else part.frame(list(tops))
    frame = None if lazy is None else _straight(lazy, columns)
    part.straight = frame is not None
    if frame is None:
        frame = _by_rows(part, columns)
    if "prompt" not in columns.names:
        frame = frame.with_columns(pl.format(f"{number}:{{}}", pl.col(RECORD)).alias("prompt"))
    return _judged(frame, columns, part.decimal_commas).with_columns(
        pl.lit(number, pl.UInt32).alias("part")
    )


def _straight(lazy: pl.LazyFrame, columns: Columns) -> pl.LazyFrame | None:
    """Return a frame as `_judged` wants it; None for lists of objects, and for lists in texts."""
    schema = lazy.collect_schema()
    roles: dict[str, pl.Expr] = {}
    for role, names in columns.names.items():
        some = [_reached(name, schema) for name in ([names] if isinstance(names, str) else names)]
        if any(one is None for one in some):
            return None
        expressions, dtypes = zip(*some, strict=True)
        if not isinstance(names, str):
            if any(dtype.is_nested() for dtype in dtypes):
                return None
            each = zip(expressions, dtypes, strict=True)
            roles[role] = pl.concat_list(_number(e, d) for e, d in each)
            if columns.paired:
                roles["rank"] = pl.lit([0, 1])
            continue
        inner = getattr(dtypes[0], "inner", None)
        listed = role == "reward" and columns.lists
        if listed != (inner is not None) and role != "prompt":
            return None
        if role != "prompt" and (inner or dtypes[0]).is_nested():
            return None
        roles[role] = expressions[0]
    asked = pl.lit(True)
    for name, value in columns.where:
        if (found := _reached(name, schema)) is None:
            return None
        asked = asked & _matches(found[0], found[1], value)
    frame = lazy.select(
        *(expression.alias(role) for role, expression in roles.items()),
        pl.col(RECORD),
        pl.col("__problem__")
        if "__problem__" in schema
        else pl.lit(0, pl.UInt8).alias("__problem__"),
        asked.alias("asked"),
    )
    return frame.explode(_listed(columns)) if columns.lists else frame


def _listed(columns: Columns) -> list[str]:
    return ["reward", "rank"] if columns.paired else ["reward"]


def _reached(path: str, schema: Mapping[str, Any]) -> tuple[pl.Expr, Any] | None:
    """Return the column at a path into objects and its type; None where it leads through lists."""
    if path in schema:
        return pl.col(path), schema[path]
    head, _, rest = path.partition(".")
    if head not in schema or not isinstance(schema[head], pl.Struct):
        return None
    column, dtype = pl.col(head), schema[head]
    while rest:
        fields = (
            {one.name: one.dtype for one in dtype.fields} if isinstance(dtype, pl.Struct) else {}
        )
        name, _, rest = (rest, "", "") if rest in fields else rest.partition(".")
        if name not in fields:
            return None
        column, dtype = column.struct.field(name), fields[name]
    return column, dtype


def _matches(column: pl.Expr, dtype: pl.DataType, value: str) -> pl.Expr:
    same = _text(column, dtype).str.strip_chars() == value.strip()
    with contextlib.suppress(ValueError):
        same = same | (_number(column, dtype) == float(value))
    return same.fill_null(False)


def _by_rows(part: Part, columns: Columns) -> pl.LazyFrame:
    """Return all rows as `_judged` wants them, read one by one."""
    source, frames = iter(part.rows()), [_chunk([], columns)]
    while chunk := list(islice(source, _CHUNK)):
        frames.append(_chunk(chunk, columns))
    return pl.concat(frames).lazy()


def _chunk(rows: Sequence[tuple[int, Row | Bad]], columns: Columns) -> pl.DataFrame:
    there = [{} if isinstance(row, Bad) else row for _, row in rows]
    content: dict[str, list[Any]] = {}
    for role, names in columns.names.items():
        if isinstance(names, str):
            content[role] = [_at(row, names) for row in there]
        else:
            each = [[_rewards(_at(row, name)) for name in names] for row in there]
            content[role] = [[x for some in row for x in some] for row in each]
            if columns.paired:
                content["rank"] = [[k for k, some in enumerate(row) for _ in some] for row in each]
    schema: dict[str, Any] = dict.fromkeys(content, pl.String)
    if columns.lists:
        content["reward"] = [_rewards(value) for value in content["reward"]]
        for role in ("rank", "model"):
            if role in content:
                both = zip(content[role], content["reward"], strict=True)
                content[role] = [_beside(value, rewards) for value, rewards in both]
                schema[role] = pl.List(pl.String)
        schema["reward"] = pl.List(pl.String)
    texts = {
        role: [
            [_as_text(one) for one in value]
            if isinstance(value, list) and nested
            else _as_text(value)
            for value in values
        ]
        for role, values in content.items()
        for nested in [schema[role] != pl.String]
    }
    asked = [all(_is(_at(row, name), value) for name, value in columns.where) for row in there]
    problems = [REASONS.index(row.reason) if isinstance(row, Bad) else 0 for _, row in rows]
    frame = pl.DataFrame(texts, schema=schema).with_columns(
        pl.Series(RECORD, [number for number, _ in rows], pl.UInt32),
        pl.Series("__problem__", problems, pl.UInt8),
        pl.Series("asked", asked, pl.Boolean),
    )
    listed = [role for role, dtype in schema.items() if dtype != pl.String]
    return frame.explode(listed) if listed else frame


def _at(row: Row, path: str) -> Any:
    return row[path] if path in row else picked(row, path)


def _is(value: Any, wanted: str) -> bool:
    text = (_as_text(value) or "").strip()
    with contextlib.suppress(ValueError):
        return text == wanted.strip() or float(text) == float(wanted)
    return text == wanted.strip()


def _rewards(value: Any) -> list[Any]:
    """Return a prompt's rewards: of a list, a mapping, or pairs of a completion and its score."""
    value = opened(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        value = [value]
    return [_single(one[1] if is_pair(one) else one) for one in value] or [None]


def _single(value: Any) -> Any:
    """Return the one value in a list, such as the one output of a model's head; else the value."""
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value


def _beside(value: Any, rewards: list[Any]) -> list[Any]:
    """Return what stands beside each reward; nothing where there aren't as many."""
    value = opened(value)
    alike = isinstance(value, list | tuple) and len(value) == len(rewards)
    return list(value) if alike else [None] * len(rewards)


def _as_text(value: Any) -> str | None:
    """Return a value as text; a chat of several messages as its JSON."""
    if value is None or isinstance(value, str):
        return value
    if type(value) in (int, float):  # ten times as fast as json.dumps, to the same
        return repr(value)
    if hasattr(value, "detach"):  # a tensor
        value = value.detach()
    return json.dumps(
        value.tolist() if hasattr(value, "tolist") else value, sort_keys=True, default=str
    )
