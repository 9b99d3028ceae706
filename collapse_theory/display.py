"""What a notebook shows of a value: the lines of its text, a table under them, its formula.

Text may come from files: it is escaped, and stands where no formula is looked for in it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

_ROWS = 12  # of a table that are shown: the first and the last
_SIZES = "font-size: 90%; white-space: pre-wrap; overflow-wrap: anywhere"
_LATEX = {"\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim ", **{c: rf"\{c}" for c in "{}_$&#%"}}


class Shown:
    """Mixin of what notebooks show: `_lines`, `_columns` and `_latex` say what, this how."""

    def _lines(self) -> Iterable[str]:
        """Return the lines of the text; the repr unless there is more to say."""
        return (repr(self),)

    def _columns(self) -> Mapping[str, Any]:
        """Return the columns of a table, each as long as the others; none unless there is one."""
        return {}

    def _latex(self) -> str | None:
        """Return what it is as a formula in LaTeX, where it is one."""
        return None

    def _repr_html_(self) -> str:
        lines = "\n".join(html.escape(line) for line in self._lines())
        return f'<pre style="{_SIZES}">{lines}</pre>{_table(self._columns())}'

    def _repr_latex_(self) -> str | None:
        found = self._latex()
        return None if found is None else f"$\\displaystyle {found}$"


def _table(columns: Mapping[str, Any]) -> str:
    if not columns:
        return ""
    size, half = min(len(column) for column in columns.values()), _ROWS // 2
    shown = range(size) if size <= _ROWS else (*range(half), None, *range(size - half, size))
    rows = [[column[i] if i is not None else "..." for column in columns.values()] for i in shown]
    head, *body = (
        "<tr>" + "".join(f"<{tag}>{_cell(value)}</{tag}>" for value in row) + "</tr>"
        for tag, row in [("th", tuple(columns)), *(("td", row) for row in rows)]
    )
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: Any) -> str:
    """Return a cell: in `code`, where neither HTML nor MathJax reads anything."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "" if text in ("None", "nan") and not isinstance(value, str) else text
    return f"<code>{html.escape(text)}</code>"


def latex_number(value: float) -> str:
    """Return a number with six digits, as LaTeX.

    Examples
    --------
    >>> latex_number(-2.5e-7), latex_number(0.1), latex_number(float("inf"))
    ('-2.5 \\\\cdot 10^{-7}', '0.1', '\\\\infty')
    """
    head, _, power = f"{value:.6g}".partition("e")
    head = head.replace("inf", r"\infty")
    return rf"{head} \cdot 10^{{{int(power)}}}" if power else head


def latex_text(text: str) -> str:
    """Return plain text within a formula: nothing of it is read as LaTeX."""
    pieces = re.split(r"([\\^~{}_$&#%]+)", text)
    return "".join(
        "".join(_LATEX[c] for c in piece) if i % 2 else rf"\text{{{piece}}}"
        for i, piece in enumerate(pieces)
        if piece
    )
