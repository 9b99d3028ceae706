"""What commands give out: JSON, text and tables for people, and drawn files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import collapse_theory as ct
from collapse_theory.files import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table


def named(value: Any, *names: str) -> dict[str, Any]:
    """Return attributes of a value under their own names; measures have their intervals."""
    found = {name: getattr(value, name) for name in names}
    return {
        name: {"value": one.value, "interval": interval(one)} if hasattr(one, "percent") else one
        for name, one in found.items()
    }


def interval(measure: Any) -> list[float]:
    """Return the interval of a measure."""
    return [measure.low, measure.high]


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(plain(content), indent=2, allow_nan=False))


def give(
    content: Callable[[], dict[str, Any]],
    show: Callable[[], None],
    as_json: bool,
    plot: Path | None = None,
    draw: Callable[[], Any] | None = None,
) -> None:
    """Give an answer out: as JSON, or for people; drawn into a file besides where one is named."""
    if plot is not None and draw is not None:
        drawn(draw, [plot])
    if as_json:
        print_json(content())
    else:
        show()


def console(*, stderr: bool = False) -> Console:
    """Return where text for people goes; the user's own text is shown as it is."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def busy(what: str) -> Status:
    """Return what shows on stderr that work goes on, where that is a terminal."""
    from rich.text import Text

    return console(stderr=True).status(Text(what))


def facts_grid(facts: Mapping[str, str]) -> Table:
    """Return lines of a name and a text."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        grid.add_row(name, text)
    return grid


def number_table(
    names: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    words: int = 0,
    framed: bool = False,
    unbroken: int | None = None,
    **options: Any,
) -> Table:
    """Return a table whose first `words` columns are text and the others numbers, to the right.

    Without a frame eighty columns are enough. Columns from `unbroken` on aren't folded.
    """
    from rich.box import HEAVY_HEAD, SIMPLE_HEAD
    from rich.table import Table

    table = Table(*names, box=HEAVY_HEAD if framed else SIMPLE_HEAD, **options)
    for column in table.columns[words:]:
        column.justify = "right"
    for column in [] if unbroken is None else table.columns[unbroken:]:
        column.no_wrap = True
    for row in rows:
        table.add_row(*row)
    return table


def drawn(draw: Callable[[], Any], paths: Iterable[Path], *, dark: bool = False) -> list[Path]:
    """Draw a figure off the screen, save it into each file and close it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes = draw()
    try:
        return [ct.figures.save(axes, path, dark=dark) for path in paths]
    finally:
        plt.close(ct.figures.figure_of(axes))
