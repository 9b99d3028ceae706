"""The rows that values of Python make, from memory or from a text of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from collapse_theory.data.columns import COLUMN_NAMES, PROMPTS
from collapse_theory.data.nested import folded, is_list
from collapse_theory.errors import CollapseError


def records_of(source: Any) -> Iterable[Any]:
    """Return the rows that values of Python make, in the layouts that JSON files have, too.

    A list of objects; a mapping of columns, of one list of objects, or of a prompt's rewards;
    lists of numbers, a prompt each.

    Examples
    --------
    >>> list(records_of({"prompt": ["a", "b"], "reward": [0.1, 0.2]}))
    [{'prompt': 'a', 'reward': 0.1}, {'prompt': 'b', 'reward': 0.2}]
    >>> list(records_of({"2 + 2?": [0.1, 0.2]}))
    [{'prompt': '2 + 2?', 'reward': [0.1, 0.2]}]
    """
    if hasattr(source, "read"):
        raise CollapseError("an open file is not read; give its path, or - for standard input")
    if isinstance(source, Mapping):
        return _records_of_mapping(source)
    if is_list(source) and source and all(map(_is_wrapped, source)):
        return [one["row"] for one in source]
    if is_list(source) and source and all(map(is_list, source)):
        return [{"prompt": at, "reward": rewards} for at, rewards in enumerate(source)]
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return source
    raise CollapseError(
        f"an object of the type {type(source).__name__} holds no log; give a file, a data frame, "
        "a list of dicts, or rewards with a prompt a row"
    )


def _records_of_mapping(source: Mapping[Any, Any]) -> Iterable[Any]:
    values = list(source.values())
    if values and all(hasattr(value, "column_names") for value in values):
        raise _several("data sets", list(source))
    tables = {name: value for name, value in source.items() if _is_table(value)}
    if len(tables) > 1:
        raise _several("tables", list(tables))
    if tables:  # {"version": 1, "data": [...]}
        return records_of(next(iter(tables.values())))
    if {"columns", "data"} <= set(source):  # pandas, orient="split"
        return (dict(zip(source["columns"], row, strict=True)) for row in source["data"])
    if _is_table(values):  # pandas, orient="index"
        return values
    texts = set(map(folded, source))
    if texts & COLUMN_NAMES and all(map(_sized, values)):
        columns = [list(v.values()) if isinstance(v, Mapping) else list(v) for v in values]
        if len(set(map(len, columns))) > 1:
            sizes = ", ".join(f"{name} {len(c)}" for name, c in zip(source, columns, strict=True))
            raise CollapseError(f"the columns differ in length: {sizes}")
        return (dict(zip(source, row, strict=True)) for row in zip(*columns, strict=True))
    if values and all(map(_sized, values)):
        return [{"prompt": str(name), "reward": value} for name, value in source.items()]
    return [source]


def _several(what: str, names: list[Any]) -> CollapseError:
    listed = ", ".join(map(str, names))
    return CollapseError(f"this holds the {what} {listed}; give one of them, data[{names[0]!r}]")


def _is_table(value: Any) -> bool:
    """Whether this is a list of objects that name their prompts."""
    row: Any = value[0] if is_list(value) and value else None
    row = row["row"] if _is_wrapped(row) else row
    return isinstance(row, Mapping) and not PROMPTS.isdisjoint(map(folded, row))


def _is_wrapped(value: Any) -> bool:
    """Whether this holds a row, beside its number, as the data sets' viewer gives them."""
    return isinstance(value, Mapping) and isinstance(value.get("row"), Mapping)


def _sized(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
