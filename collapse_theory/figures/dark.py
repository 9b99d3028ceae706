"""A figure on a dark page: greys change places with the page, colours get lighter."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Lightness of the page and of what was black on it, as code hosts and documentation themes have
# them, and the least of a colour that is to be seen on such a page.
PAGE, INK, COLOUR = 0.07, 0.9, 0.62
# What holds a colour, by its getter's and setter's name without get_ and set_.
_COLOURED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def on_dark(colours: Any) -> np.ndarray:
    """Return colours as they are drawn on a dark page, (4,) or (n, 4), their opacity kept.

    Examples
    --------
    >>> on_dark("white").round(2).tolist(), on_dark("black").round(2).tolist()
    ([0.07, 0.07, 0.07, 1.0], [0.9, 0.9, 0.9, 1.0])
    """
    from matplotlib.colors import to_rgba_array

    rows = to_rgba_array(colours)
    for row in rows:
        hue, light, saturation = colorsys.rgb_to_hls(*row[:3])
        light = max(light, COLOUR) if saturation > 0.1 else INK + light * (PAGE - INK)
        row[:3] = colorsys.hls_to_rgb(hue, light, saturation)
    return rows[0] if len(rows) == 1 else rows


@contextmanager
def darkened(figure: Figure) -> Iterator[None]:
    """Have a figure as on a dark page; its own colours come back on leaving."""
    figure.draw_without_rendering()  # ticks and their labels are made by now
    found = [pair for artist in figure.findobj() for pair in _colours(artist)]
    try:
        for put, held in found:
            put(on_dark(held))
        yield
    finally:
        for put, held in found:
            put(held)


def _colours(artist: Any) -> Iterator[tuple[Callable[[Any], None], Any]]:
    """Yield what sets each colour of an artist, and the colour."""
    for name in _COLOURED:
        get, put = (getattr(artist, f"{way}_{name}", None) for way in ("get", "set"))
        if name == "color" and hasattr(artist, "set_facecolor"):
            continue  # it would set both others
        if get is not None and put is not None:
            held = get()
            if isinstance(held, str) or len(held):
                yield put, held
