"""The rows that values of Python make, from memory or from a text of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from collapse_theory.data.columns import COLUMN_NAMES
from collapse_theory.errors import CollapseError


def is_list(value: Any) -> bool:
    """Whether a value is a list or a tuple."""
    return isinstance(value, list | tuple)


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
    if isinstance(source, Mapping):
        return _records_of_mapping(source)
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
        names = list(map(str, source))
        raise CollapseError(
            f"this holds the data sets {', '.join(names)}; give one of them, data[{names[0]!r}]"
        )
    inner = [
        value for value in values if is_list(value) and value and isinstance(value[0], Mapping)
    ]
    scalars = sum(not is_list(value) and not isinstance(value, Mapping) for value in values)
    if len(inner) == 1 and len(inner) + scalars == len(values):
        return inner[0]  # {"data": [...], "version": 1}
    texts = {str(name).casefold() for name in source}
    if texts & COLUMN_NAMES and all(map(_sized, values)):
        columns = [list(v.values()) if isinstance(v, Mapping) else list(v) for v in values]
        if len(set(map(len, columns))) > 1:
            sizes = ", ".join(f"{name} {len(c)}" for name, c in zip(source, columns, strict=True))
            raise CollapseError(f"the columns differ in length: {sizes}")
        return (dict(zip(source, row, strict=True)) for row in zip(*columns, strict=True))
    if values and all(_sized(value) for value in values):
        return [{"prompt": str(name), "reward": value} for name, value in source.items()]
    return [source]


def _sized(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
