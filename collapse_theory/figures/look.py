"""The package's own look: right in print, in grey and for colour-blind readers.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which stay apart under the
three common colour deficiencies; line styles and markers keep curves apart without any colour.
The font is STIX, which matplotlib brings along: figures look the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from collapse_theory.errors import CollapseError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D


SINGLE, DOUBLE = 3.4, 7.0
"""Widths in inches of a figure across one column and across two."""

BLACK, GREY, PALE = "#000000", "#6e6e6e", "#c4c4c4"
BLUE, VERMILION = "#0072b2", "#d55e00"

WIDE: dict[str, Any] = {"color": PALE, "linewidth": 3.2, "solid_capstyle": "butt"}
"""The look of a law behind points or thinner lines."""

COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", BLACK, "#56b4e9")
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.2, 1, 1.2)), (0, (1, 1)), (0, (8, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

SETTINGS = Path(__file__).parent / "data" / "look.mplstyle"


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in the package's style; matplotlib's settings come back on leaving.

    Whole figures are drawn in it. On axes of your own the settings are yours: enter the style
    around them if you want it. How fonts are embedded is decided on saving.

    Examples
    --------
    >>> import matplotlib
    >>> from collapse_theory.figures import style
    >>> with style():
    ...     matplotlib.rcParams["pdf.fonttype"]
    42
    """
    import matplotlib.style

    # From the defaults on: a matplotlibrc of the user's must not unsettle the layout.
    with matplotlib.style.context(["default", SETTINGS]):
        yield
        # A notebook's backend, loaded at the first figure, makes pyplot interactive: it stays so.
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)


@contextmanager
def axes_or_new(ax: Axes | None, width: float, height: float) -> Iterator[Axes]:
    """Give `ax`, or in the package's style the axes of a new pyplot figure, sized in inches."""
    if ax is not None:
        yield ax
        return
    import matplotlib.pyplot as plt

    with style():
        yield plt.subplots(figsize=(width, height), layout="constrained")[1]


@contextmanager
def figure_or_new(
    fig: Figure | SubFigure | None, width: float, height: float
) -> Iterator[Figure | SubFigure]:
    """Give `fig` or a new pyplot figure, sized in inches; in the package's style either way.

    Many small panels fit in no other style, nor without a layout that makes room for the key.
    """
    import matplotlib.pyplot as plt

    with style():
        if fig is None:
            fig = plt.figure(figsize=(width, height), layout="constrained")
        root = fig.get_figure(root=True)
        if root is not None and root.get_layout_engine() is None:
            root.set_layout_engine("constrained")
        yield fig


def turn(number: int) -> tuple[str, str]:
    """Return the colour and the marker of a kind of points."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def cycled(number: int, **more: Any) -> dict[str, Any]:
    """Return the look of a line: its colour and line style, in turn."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        **more,
    }


def mark(colour: str, marker: str = "o", size: float = 3.6, *, filled: bool) -> dict[str, Any]:
    """Return the look of points that no line joins, filled or hollow."""
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": size,
        "color": colour,
        "markerfacecolor": colour if filled else "white",
        "markeredgewidth": 0.8,
    }


def handle(label: str, **look: Any) -> Line2D:
    """Return an entry of a legend for lines or points that look so."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def note_size() -> Any:
    """Return the size of text within axes under the current settings."""
    import matplotlib

    return matplotlib.rcParams["legend.fontsize"]


def note(axes: Axes, x: float, y: float, text: str, *, inside: bool = False, **look: Any) -> None:
    """Write within axes, at data coordinates or at fractions of the axes (`inside`)."""
    if inside:
        look["transform"] = axes.transAxes
    axes.text(x, y, text, fontsize=note_size(), **look)


def formula(text: str) -> str:
    """Return a utility's text as a person writes it: numbers short, and raised as exponents.

    For display only. Nothing else in it is read as a formula of matplotlib's, whatever it holds.

    Examples
    --------
    >>> formula("-1/(x + 0.1) + 0.3333333333333333*x**0.5")
    '\u22121/(x + 0.1) + 0.3333 x$^{0.5}$'
    """
    short = re.sub(r"[0-9]+\.[0-9]{5,}", lambda found: f"{float(found[0]):.4g}", text)
    plain = short.replace("$", r"\$")
    raised = re.sub(r"\*\*(-?[0-9.]+)", lambda found: f"$^{{{found[1]}}}$", plain)
    return raised.replace("*", " ").replace("-", "\u2212")


T = TypeVar("T")


def several(given: Sequence[T], figure: str, of: str) -> Sequence[T]:
    """Return what a figure has a panel, row or line each for; refuse one alone, and none."""
    if isinstance(given, str) or not isinstance(given, Sized) or not len(given):
        raise CollapseError(f"{figure} needs a list of {of}, got {given!r}")
    return given
