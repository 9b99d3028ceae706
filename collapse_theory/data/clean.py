"""Which rows of a log are good, in Polars: text becomes numbers, and bad rows get a reason."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from collapse_theory.data.columns import Columns

if TYPE_CHECKING:
    import polars as pl

__all__ = ["REASONS", "cleaned"]

# A row's reason is the first that holds; 0 is a good row.
REASONS = (
    "",
    "more fields than the header",
    "no JSON object on the line",
    "the rest missing: the gzip file is cut off or damaged here",
    "no prompt",
    "no number as reward",
    "a reward that is NaN or infinite",
    "no kind",
    "no whole number as rank",
    "no number as step",
)


def cleaned(frame: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    """Return prompt, reward, kind, rank, step, line and the number of the reason of every row.

    The frame has the columns that are needed, `line`, and where lines were looked at one by one
    `problem`: the number of the reason why there is no row.
    """
    import polars as pl

    schema = frame.collect_schema()
    for name, value in columns.where:
        frame = frame.filter(_matches(name, schema[name], value) | _has_problem(schema))

    def number(name: str | None) -> pl.Expr:
        return _number(name, schema[name]) if name else pl.lit(None, pl.Float64)

    text = pl.col(columns.prompt).cast(pl.String)
    kind = pl.lit(None, pl.String)
    if columns.kind:
        kind = pl.col(columns.kind).cast(pl.String).str.strip_chars()
    problem = pl.col("problem") if "problem" in schema else pl.lit(0, pl.UInt8)
    frame = frame.select(
        pl.when(text.str.strip_chars() != "").then(text).alias("prompt"),
        number(columns.reward).alias("reward"),
        pl.when(kind != "").then(kind).alias("kind"),
        number(columns.rank).alias("rank"),
        number(columns.step).alias("step"),
        pl.col("line"),
        problem.cast(pl.UInt8).alias("problem"),
    )
    return frame.with_columns(_reason(columns).cast(pl.UInt8).alias("reason"))


def _reason(columns: Columns) -> pl.Expr:
    import polars as pl

    never = pl.lit(False)
    rank, step = pl.col("rank"), pl.col("step")
    no_rank = rank.is_null() | ~rank.is_finite() | (rank != rank.floor()) | (rank < 0)
    tests = (
        (pl.col("prompt").is_null(), 4),
        (pl.col("reward").is_null(), 5),
        (~pl.col("reward").is_finite(), 6),
        (pl.col("kind").is_null() if columns.kind else never, 7),
        (no_rank if columns.rank else never, 8),
        (step.is_null() if columns.step else never, 9),
    )
    found = pl.lit(0)
    for test, reason in reversed(tests):
        found = pl.when(test).then(pl.lit(reason)).otherwise(found)
    return pl.when(pl.col("problem") > 0).then(pl.col("problem")).otherwise(found)


def _number(name: str, kind: pl.DataType) -> pl.Expr:
    import polars as pl

    column = pl.col(name)
    if kind.is_numeric() or kind == pl.Boolean:
        return column.cast(pl.Float64)
    if kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum):
        return column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    return pl.lit(None, pl.Float64)  # dates, lists: every row is named as no number


def _matches(name: str, kind: pl.DataType, value: str) -> pl.Expr:
    import polars as pl

    same = pl.col(name).cast(pl.String).str.strip_chars() == value.strip()
    with contextlib.suppress(ValueError):
        same = same | (_number(name, kind) == float(value))
    return same.fill_null(False)


def _has_problem(schema: pl.Schema) -> pl.Expr:
    import polars as pl

    return pl.col("problem") > 0 if "problem" in schema else pl.lit(False)
