"""One panel of the paper's figures: trained rewards, and how far each prediction is from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures.paper_curves import paper_curve
from collapse_theory.figures.style import BLACK, BLUE, GREY, VERMILION, note_size
from collapse_theory.finite import solve
from collapse_theory.values import Value, frozen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["PROMPT_TYPES", "PaperPanel", "draw_key", "draw_panel", "paper_panel"]

PROMPT_TYPES = ("open", "closed")
COLOURS = {"open": BLUE, "closed": VERMILION}
MARKS = {"open": "o", "closed": "s"}
EXACT_LINE: dict[str, Any] = {"color": BLACK, "linewidth": 0.9, "linestyle": "-"}
PAPER_LINE: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (3.2, 1.6))}


@dataclass(frozen=True, eq=False)
class PaperPanel(Value):
    """What one panel shows; rows of arrays are open-ended and closed-ended prompts.

    Parameters
    ----------
    figure, title : str
        The published figure and its panel's title.
    utilities : tuple of str
        What was trained, for open-ended and for closed-ended prompts.
    trained, bands : (2, 8) array
        Published mean rewards, best first, and half-widths of their bands (NaN where hidden).
    paper : (2, 8) or (0, 8) array
        The paper's own prediction, where its panel has one.
    exact : (2, 8) array
        The optimum of what was trained.
    """

    figure: str
    title: str
    utilities: tuple[str, str]
    trained: Any
    bands: Any
    paper: Any
    exact: Any

    def __post_init__(self) -> None:
        for name in ("trained", "bands", "paper", "exact"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))

    @property
    def paper_errors(self) -> np.ndarray:
        """Largest errors of the paper's prediction, open and closed; NaN where there is none."""
        if not self.paper.size:
            return np.full(2, np.nan)
        return np.abs(self.trained - self.paper).max(axis=1)

    @property
    def exact_errors(self) -> np.ndarray:
        """Largest errors of the optimum of what was trained, open and closed."""
        return np.abs(self.trained - self.exact).max(axis=1)


def paper_panel(figure: str, title: str, utilities: tuple[str, str]) -> PaperPanel:
    """Return a panel's curves with the optima of what was trained in it."""
    curves = [paper_curve(figure, title, kind) for kind in PROMPT_TYPES]
    try:
        dashed = [paper_curve(figure, title, "both", "predicted").rewards] * 2
    except CollapseError:
        dashed = np.empty((0, 8))
    return PaperPanel(
        figure=figure,
        title=title,
        utilities=utilities,
        trained=[curve.rewards for curve in curves],
        bands=[curve.bands for curve in curves],
        paper=dashed,
        exact=[solve(text, 8).rewards for text in utilities],
    )


def draw_panel(axes: Axes, panel: PaperPanel, heading: tuple[str, str] | None = None) -> None:
    """Draw trained rewards with bands, the predictions, and a small table of their errors."""
    ranks = np.arange(1, 9)
    for row, kind in enumerate(PROMPT_TYPES):
        # A hidden band is narrower than the line over it.
        band = np.nan_to_num(panel.bands[row])
        low = np.clip(panel.trained[row] - band, 0, 1)
        high = np.clip(panel.trained[row] + band, 0, 1)
        axes.fill_between(ranks, low, high, color=COLOURS[kind], alpha=0.16, linewidth=0)
    if panel.paper.size:
        axes.plot(ranks, panel.paper[0], **PAPER_LINE)
    for exact in panel.exact[: 1 if panel.utilities[0] == panel.utilities[1] else 2]:
        axes.plot(ranks, exact, **EXACT_LINE)
    for row, kind in enumerate(PROMPT_TYPES):
        axes.plot(ranks, panel.trained[row], **_mark(kind), clip_on=False)
    axes.set(xlim=(0.5, 8.5), ylim=(-0.05, 1.05), xticks=[1, 4, 8], yticks=[0, 0.5, 1])
    _error_table(axes, panel)
    if heading is not None:
        axes.set_title("\n".join(heading), linespacing=1.05)


def draw_key(figure: Figure | SubFigure, paper: bool) -> None:
    """Draw the key below the panels; with the paper's prediction if any panel has one."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], **_mark("open"), label="open-ended, trained"),
        Line2D([], [], **_mark("closed"), label="closed-ended, trained"),
        Patch(color=GREY, alpha=0.25, linewidth=0, label="\u00b1 about one s.d."),
        Line2D([], [], **EXACT_LINE, label="optimum of what was trained"),
    ]
    if paper:
        handles.append(Line2D([], [], **PAPER_LINE, label="the paper\u2019s prediction"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        handlelength=1.6,
        columnspacing=1.1,
        handletextpad=0.5,
    )


def _mark(kind: str) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": MARKS[kind],
        "markersize": 3.6 if kind == "open" else 2.8,
        "color": COLOURS[kind],
        "markerfacecolor": "white" if kind == "open" else COLOURS[kind],
        "markeredgewidth": 0.8,
    }


def _error_table(axes: Axes, panel: PaperPanel) -> None:
    """Write the largest errors into the corner that falling rewards leave free."""
    rows = [(EXACT_LINE, panel.exact_errors)]
    if panel.paper.size:
        rows.insert(0, (PAPER_LINE, panel.paper_errors))
    where: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    text: dict[str, Any] = {**where, "ha": "right", "va": "center", "fontsize": note_size()}
    columns, top, step = (0.83, 1.0), 0.97, 0.105
    axes.text(1.0, top, "largest error", **text)
    for x, kind in zip(columns, PROMPT_TYPES, strict=True):
        axes.plot([x - 0.06], [top - step], **_mark(kind), **where)
    for i, (line, errors) in enumerate(rows, start=2):
        y = top - i * step
        axes.plot([0.53, 0.66], [y, y], **line, **where)
        for x, error in zip(columns, errors, strict=True):
            axes.text(x, y, f"{error:.3f}".lstrip("0"), **text)
