"""The rows of a log as frames of numbers: a reward a row, and what is wrong with each.

What comes as a frame is read by expressions of Polars; other rows are read one by one. Both end in
`_judged`, which says what a value of a role may be.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from collapse_theory.data.columns import Columns
from collapse_theory.data.nested import DECIMAL, THOUSANDS, Row, is_list, is_pair, opened, picked
from collapse_theory.data.parts import (
    PROBLEM,
    RECORD,
    UNREADABLE,
    Bad,
    Numbered,
    Part,
    in_chunks,
    rows_of,
)
from collapse_theory.lazy import polars as pl

# -- what a value may be ------------------------------------------------------------------------


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_nested():  # a chat of several messages
        return pl.struct(column).struct.json_encode()
    return column.cast(pl.String)


def _key(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The hash of a text: two of a million different ones agree with probability 3e-8."""
    text = _text(column, dtype)
    return pl.when(text.str.strip_chars() != "").then(text.hash(0))


def _name(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    text = _text(column, dtype).str.strip_chars()
    return pl.when(text != "").then(text).cast(pl.Categorical)


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


def _rank(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    rank = _number(column, dtype)
    return pl.when(rank.is_finite() & (rank >= 0)).then(rank)


def _step(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    step = _number(column, dtype)
    if not _is_text(dtype):
        return step
    return step.fill_null(column.cast(pl.String).str.extract(NAMED_STEP).cast(pl.Float64))


NAMED_STEP = r"^[A-Za-z][A-Za-z _-]*(\d+)\s*$"  # checkpoint-100

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


def _commas(part: Part, columns: Columns) -> str | None:
    """Return what a comma is in 1,034: decimal, thousands; None where no other reward shows it."""
    found = set()
    reward = columns.names["reward"]
    for row in part.sample:
        value = picked(row, reward) if isinstance(reward, str) else None
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "," in text:
                decimal, thousands = (re.match(p, text.strip()) for p in (DECIMAL, THOUSANDS))
                found |= {"decimal"} if decimal and not thousands else set()
                found |= {"thousands"} if thousands and not decimal else set()
    if len(found) == 1:
        return found.pop()
    return "decimal" if part.decimal_commas else None


def _without_commas(text: pl.Expr, commas: str | None) -> tuple[pl.Expr, ...]:
    """Return rewards with decimal points; which had decimal commas, thousands, or one of both."""
    text = text.cast(pl.String).str.strip_chars()
    decimal, thousands = text.str.contains(DECIMAL), text.str.contains(THOUSANDS)
    both = decimal & thousands
    decimal &= ~thousands | pl.lit(commas == "decimal")
    thousands &= ~both | pl.lit(commas == "thousands")
    plain = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    read = pl.when(decimal).then(plain).otherwise(text)
    read = pl.when(thousands).then(text.str.replace_all(",", "", literal=True)).otherwise(read)
    return read, decimal, thousands, both & pl.lit(commas is None)


NO_STEP = "no number as step"
UNSURE = "a comma that is decimal or parts thousands, as in 1,034; write it without"
_FAULTS: tuple[tuple[str, str, Callable[[pl.Expr], pl.Expr]], ...] = (
    # First, as a row of no step is one of whichever step is read.
    ("step", NO_STEP, lambda value: value.is_null()),
    ("prompt", "no prompt", lambda value: value.is_null()),
    ("unsure", UNSURE, lambda value: value),
    ("reward", "no number as reward", lambda value: value.is_null()),
    ("reward", "a reward that is NaN or infinite", lambda value: ~value.is_finite()),
    ("kind", "no kind", lambda value: value.is_null()),
)
REASONS = ("", *UNREADABLE, *(reason for _, reason, _ in _FAULTS))
"""Why a row is bad, by number: of several reasons the first; 0 is a good row."""
OF_NO_STEP = (*UNREADABLE, NO_STEP)

ODD = {
    1: "{count} rewards that are true or false are read as 1 and 0",
    2: "{count} rewards have decimal commas: 0,5 is read as 0.5",
    4: "{count} rows have no rank: their rewards count, but in no pair of ranks",
    8: "{count} steps are names with numbers, such as checkpoint-100, and read as these",
    16: "{count} rewards have commas between thousands: 1,034.5 is read as 1034.5",
}
"""What is worth a note in a good row, by its bit of the column `odd`."""


def _judged(frame: pl.DataFrame, columns: Columns, commas: str | None, part: int) -> pl.DataFrame:
    """Return every row's roles, `asked`, `part`, `record`, `odd`, and the number of its `reason`.

    The frame has a column a role, `asked`, `RECORD`, and `PROBLEM`.
    """
    schema, reward, odd = frame.schema, pl.col("reward"), {}
    unsure = pl.lit(False)
    if schema["reward"] == pl.Boolean:
        odd[1] = reward.is_not_null()
    elif _is_text(schema["reward"]):
        some = frame["reward"].cast(pl.String)
        comma = pl.col("reward").cast(pl.String).str.contains(",", literal=True)
        if frame.select(comma.any()).item():
            points = some.str.replace(",", ".", literal=True).str.strip_chars()
            if commas == "decimal" and points.cast(pl.Float64, strict=False).null_count() == 0:
                reward, odd[2] = pl.lit(points), comma  # three times as fast
            else:
                reward, odd[2], odd[16], unsure = _without_commas(reward, commas)
        if some.str.contains("(?i)true|false").any():
            word = reward.cast(pl.String).str.strip_chars().str.to_lowercase()
            odd[1] = word.is_in(["true", "false"])
    if "rank" in columns.read:
        odd[4] = _rank(pl.col("rank"), schema["rank"]).is_null()
    if "step" in columns.names and _is_text(schema["step"]):
        odd[8] = pl.col("step").cast(pl.String).str.contains(NAMED_STEP)
    bits = [bit * test.fill_null(False).cast(pl.UInt8) for bit, test in odd.items()]
    roles = {role: pl.col(role) for role in READERS if role in schema} | {"reward": reward}
    prompt = _text(pl.col("prompt"), schema["prompt"])
    frame = frame.select(
        *(READERS[role](column, schema[role]).alias(role) for role, column in roles.items()),
        # The same for prompts that differ by the blanks around them alone.
        _key(prompt.str.strip_chars(), pl.String()).alias("loose"),
        pl.sum_horizontal(pl.lit(0, pl.UInt8), *bits).alias("odd"),
        unsure.fill_null(False).alias("unsure"),
        pl.col(PROBLEM).alias("reason"),
        (pl.col("asked") | (pl.col(PROBLEM) > 0)).alias("asked"),
        pl.col(RECORD).cast(pl.UInt32).alias("record"),
        pl.lit(part, pl.UInt32).alias("part"),
    )
    reason = pl.lit(0, pl.UInt8)
    for role, why, test in reversed(_FAULTS):
        if role in columns.names or role == "unsure" or role == "prompt":
            number = pl.lit(REASONS.index(why), pl.UInt8)
            reason = pl.when(test(pl.col(role))).then(number).otherwise(reason)
    given = pl.col("reason")
    reason = pl.when(given > 0).then(given).otherwise(reason).alias("reason")
    return frame.with_columns(reason).drop("unsure")


# -- from parts to frames -----------------------------------------------------------------------


def judged(part: Part, columns: Columns, number: int = 0) -> Iterator[pl.DataFrame]:
    """Yield the rows of a part, one a reward, as `_judged` has them; `number` is the part's."""
    tops = dict.fromkeys(
        path if path in part.names else path.split(".")[0] for path in columns.paths()
    )
    numbers = {columns.names["reward"], columns.names.get("rank"), columns.names.get("step")}
    numbers -= {columns.names.get("prompt"), *(name for name, _ in columns.where)}
    commas = _commas(part, columns)
    in_texts = columns.lists and part.unit == "line"  # lists of a text are read one by one
    for chunk in in_chunks(part.rows()) if in_texts else part.chunks(list(tops), numbers):
        frame = None
        if isinstance(chunk, pl.DataFrame):
            frame = _straight(chunk, columns)
            chunk = list(rows_of(chunk)) if frame is None else []
        if frame is None:
            frame = _by_rows(chunk, columns)
        if "prompt" not in columns.names:
            frame = frame.with_columns(pl.format(f"{number}:{{}}", RECORD).alias("prompt"))
        yield _judged(frame, columns, commas, number)


def _straight(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame | None:
    """Return a frame as `_judged` wants it; None for lists of objects, and for lists in texts."""
    schema = frame.schema
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
    frame = frame.select(
        *(expression.alias(role) for role, expression in roles.items()),
        pl.col(RECORD),
        (pl.col(PROBLEM) if PROBLEM in schema else pl.lit(0, pl.UInt8)).alias(PROBLEM),
        asked.alias("asked"),
    )
    listed = ["reward", "rank"] if columns.paired else ["reward"]
    return frame.explode(listed) if columns.lists else frame


def _reached(path: str, schema: Mapping[str, Any]) -> tuple[pl.Expr, Any] | None:
    """Return the column at a path into objects and its type; None where it leads through lists."""
    if path in schema:
        return pl.col(path), schema[path]
    head, _, rest = path.partition(".")
    if head not in schema or not isinstance(schema[head], pl.Struct):
        return None
    column, dtype = pl.col(head), schema[head]
    while rest:
        fields = dict(dtype) if isinstance(dtype, pl.Struct) else {}
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


def _by_rows(rows: Sequence[Numbered], columns: Columns) -> pl.DataFrame:
    """Return rows as `_judged` wants them, read one by one."""
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
    listed = []
    if columns.lists:
        listed = [role for role in ("reward", "rank", "model") if role in content]
        content["reward"] = [_rewards(value) for value in content["reward"]]
        for role in listed[1:]:
            both = zip(content[role], content["reward"], strict=True)
            content[role] = [_beside(value, rewards) for value, rewards in both]
    content |= {f"where {name}": [_at(row, name) for row in there] for name, _ in columns.where}
    texts = {
        role: [[*map(_as_text, value)] if role in listed else _as_text(value) for value in values]
        for role, values in content.items()
    }
    schema = {role: pl.List(pl.String) if role in listed else pl.String for role in content}
    asked = [_matches(pl.col(f"where {name}"), pl.String(), what) for name, what in columns.where]
    problems = [REASONS.index(row.reason) if isinstance(row, Bad) else 0 for _, row in rows]
    frame = pl.DataFrame(texts, schema=schema).with_columns(
        pl.Series(RECORD, [number for number, _ in rows], pl.UInt32),
        pl.Series(PROBLEM, problems, pl.UInt8),
        pl.all_horizontal(pl.lit(True), *asked).alias("asked"),
    )
    return frame.explode(listed) if listed else frame


def _at(row: Row, path: str) -> Any:
    return row[path] if path in row else picked(row, path)


def _rewards(value: Any) -> list[Any]:
    """Return a prompt's rewards: of a list, a mapping, or pairs of a completion and its score."""
    value = opened(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if not is_list(value):
        value = [value]
    return [_single(one[1] if is_pair(one) else one) for one in value] or [None]


def _single(value: Any) -> Any:
    """Return the one value in a list, such as the one output of a model's head; else the value."""
    while is_list(value) and len(value) == 1:
        value = value[0]
    return value


def _beside(value: Any, rewards: list[Any]) -> list[Any]:
    """Return what stands beside each reward; nothing where there aren't as many."""
    value = opened(value)
    return list(value) if is_list(value) and len(value) == len(rewards) else [None] * len(rewards)


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
