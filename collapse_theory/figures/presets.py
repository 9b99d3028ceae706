"""What your loss makes of n completions: one panel a practice, rewards against rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures import look
from collapse_theory.figures.finite_optimum import FiniteOptimum, draw_optimum, finite_optimum_data
from collapse_theory.limit.presets import preset
from collapse_theory.numerics.checks import count
from collapse_theory.values import Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

SHOWN = (
    "pairs, sigmoid rewards",
    "hinge, sigmoid rewards",
    "listwise, sigmoid rewards",
    "pairs, penalty",
    "pairs, centring",
    "listwise, penalty",
    "pairs, margin and penalty",
    "pairs, smoothed labels",
    "squared (IPO)",
)
COLUMNS = 3


@dataclass(frozen=True, eq=False)
class PracticePanels(Value):
    """What `practices` draws.

    Attributes
    ----------
    names, formulas : tuple of str
        A panel each: the practice, and its loss with what holds the rewards.
    panels : tuple of FiniteOptimum
        Its rewards, and the limit law's quantiles behind them.
    boxed : tuple of bool
        Whether the rewards lie in a box.
    """

    names: tuple[str, ...]
    formulas: tuple[str, ...]
    panels: tuple[FiniteOptimum, ...]
    boxed: tuple[bool, ...]


def practices_data(names: Sequence[str] = SHOWN, n: int = 8) -> PracticePanels:
    """Return the optimal rewards of n completions under several practices.

    They are named as in `collapse_theory.limit.presets.PRESETS`. No name, an unknown one, or a
    practice without an optimum is a CollapseError, a ValueError.

    Examples
    --------
    >>> from collapse_theory.figures import practices_data
    >>> data = practices_data(["best of K"], n=4)
    >>> data.panels[0].rewards.tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    chosen = [preset(name) for name in look.several(names, "practices", "names")]
    panels = []
    for one in chosen:
        solution = one.solve(count(n))
        if solution is None:
            raise CollapseError(f"{one.name!r} has no optimum to draw: {one.instead}")
        panels.append(finite_optimum_data(solution))
    return PracticePanels(
        names=tuple(one.name for one in chosen),
        formulas=tuple(one.formula for one in chosen),
        panels=tuple(panels),
        boxed=tuple(one.domain.bounded for one in chosen),
    )


def practices(
    names: Sequence[str] = SHOWN, n: int = 8, fig: Figure | SubFigure | None = None
) -> np.ndarray:
    """Draw what several losses make of n completions: rewards against rank, a panel each.

    Filled points stand alone, hollow ones are tied with a neighbour; the pale line behind them is
    the quantile function of the limit law. Panels of rewards in a box have its scale, all others
    one common scale. Returns the array of as many Axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.practices(["best of K", "squared (IPO)"], 4, Figure()).shape
    (2,)
    """
    from matplotlib.ticker import MaxNLocator

    data = practices_data(names, n)
    columns = min(COLUMNS, len(data.names))
    rows = -(-len(data.names) // columns)
    with look.figure_or_new(fig, look.DOUBLE * columns / COLUMNS, 1.75 * rows + 0.45) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        axes, spare = np.split(grid, [len(data.names)])
        for ax in spare:
            ax.remove()
        for i, (ax, (low, high)) in enumerate(zip(axes, _scales(data), strict=True)):
            draw_optimum(ax, data.panels[i], low, high, margin=0.07, ticks=8)
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.set_title(f"{data.names[i]}\n{data.formulas[i]}", linespacing=1.35)
            if i % columns == 0:
                ax.set_ylabel("reward")
            if i + columns >= len(axes):
                ax.set_xlabel("rank, 1 the best")
        _draw_key(figure, columns)
    return axes


def _scales(data: PracticePanels) -> list[tuple[float, float]]:
    """Return the scale of each panel: that of its box, or one for all without a box."""
    open_ended = [p for p, boxed in zip(data.panels, data.boxed, strict=True) if not boxed]
    most = max((max(-p.low, p.high) for p in open_ended), default=1.0)
    return [
        (panel.low, panel.high) if boxed else (-most, most)
        for panel, boxed in zip(data.panels, data.boxed, strict=True)
    ]


def _draw_key(figure: Figure | SubFigure, columns: int) -> None:
    """Draw one key above all panels: points, ties and the law, as far as they occur."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= {label: handle for handle, label in zip(handles, labels, strict=True)}
    order = sorted(found, key=lambda label: (label.startswith("limit"), label.startswith("tied")))
    figure.legend(
        [found[label] for label in order],
        order,
        loc="outside upper left",
        ncols=min(len(order), columns),
        borderaxespad=0.0,
    )
