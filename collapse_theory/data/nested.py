"""Values within rows: at a path into objects, in a text of JSON, as numbers."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

# A comma before other than three digits is decimal, as one after a point or after 0 is; one
# before a point or another comma parts thousands.
DECIMAL = r"^[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+),\d+([eE][+-]?\d+)?$"
THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?([eE][+-]?\d+)?$"


def folded(name: Any) -> str:
    """Return a column's name without capitals, with one mark for blanks and hyphens.

    >>> folded(" Prompt ID ")
    'prompt_id'
    """
    return re.sub(r"[\s-]+", "_", str(name).strip().casefold())


def shown(value: Any, most: int = 40) -> str:
    """Return a value as Python prints it, cut where that is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def picked(row: Any, path: str) -> Any:
    """Return the value at a path into an object; of a list of objects, one of each.

    A number in the path is that of one in a list, from 0.

    Examples
    --------
    >>> row = {"answers": [{"score": 1}, {"score": 2}]}
    >>> picked(row, "answers.score"), picked(row, "answers.0.score")
    ([1, 2], 1)
    """
    row = opened(row)
    if isinstance(row, list | tuple):
        head, dot, rest = path.partition(".")
        if head.isdecimal():
            one = row[int(head)] if int(head) < len(row) else None
            return picked(one, rest) if dot else one
        return [picked(one, path) for one in row]
    if not isinstance(row, Mapping):
        return None
    if path in row:
        return row[path]
    head, dot, rest = path.partition(".")
    return picked(row.get(head), rest) if dot else None


def opened(value: Any) -> Any:
    """Return the list or object that a text holds, as JSON or as Python has it; else the value."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        # pandas writes lists into CSV as Python prints them, and arrays as NumPy does.
        for read in (json.loads, ast.literal_eval, _printed):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return read(value)
    to_list = getattr(value, "tolist", None)
    return to_list() if to_list is not None else value


def _printed(text: str) -> list[float]:
    return [float(number) for number in text.removeprefix("[").removesuffix("]").split()]


def is_list(value: Any) -> bool:
    """Whether a value is a list or a tuple."""
    return isinstance(value, list | tuple)


def is_pair(value: Any) -> bool:
    """Whether this is a completion and its score."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and like_number(value[1])
    )


def like_number(value: Any) -> bool:
    """Whether a value is a number, a text of one, or none."""
    if isinstance(value, str):
        return is_number(value.replace(",", ""))
    return value is None or isinstance(value, int | float)


def as_number(value: Any) -> Any:
    """Return the number that a text holds, as all fields of CSV do; other values as they are.

    Examples
    --------
    >>> [as_number(text) for text in ("0.5", "0,5", "1,034.5", "1,034")]
    [0.5, 0.5, 1034.5, '1,034']
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    decimal, thousands = (re.match(kind, text) is not None for kind in (DECIMAL, THOUSANDS))
    if decimal != thousands:
        text = text.replace(".", "").replace(",", ".") if decimal else text.replace(",", "")
    return float(text) if is_number(text) else value
