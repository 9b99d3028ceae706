"""Figures as files: written under another name, then renamed; none is ever half there."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures import look
from collapse_theory.figures.dark import darkened
from collapse_theory.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
DPI = 300


def figure_of(drawn: Any) -> Figure:
    """Return the whole figure that a draw function has drawn in: of its Axes, or array of them.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figure = Figure()
    >>> figures.figure_of(figures.limit_laws(["x"], figure.subplots())) is figure
    True
    """
    axes = np.asarray(drawn, dtype=object).flat[0]
    return axes.get_figure(root=True)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that a file's ending names, or raise."""
    target = Path(path)
    ending = target.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise CollapseError(f"a figure's file must end in one of {known}, got {target.name!r}")
    return ending


def save(drawn: Any, path: str | os.PathLike[str], *, dark: bool = False) -> Path:
    """Save what a draw function returned; the file's ending says the format.

    The whole figure is saved, in the package's style, PNG at 300 dots per inch. A file that is
    there is replaced, and a folder that isn't there is made; `dark` makes it one for a dark page.
    An ending other than .pdf, .png and .svg is a CollapseError, a ValueError; what can't be
    written an OSError.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> drawn = figures.limit_laws(["x"], Figure().subplots())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     figures.save(drawn, f"{folder}/laws.png").name
    'laws.png'
    """
    target, suffix = Path(path), format_of(path)
    # PDF and SVG hold the time of writing unless told otherwise: the same figure, the same file.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix)

    def draw(draft: Path) -> None:
        figure = figure_of(drawn)
        with look.style(), darkened(figure) if dark else nullcontext():
            figure.savefig(draft, format=suffix, dpi=DPI, metadata=metadata)

    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, draw)
    return target
