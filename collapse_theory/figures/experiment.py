"""What real training ends at, over the exact prediction; and what early stopping would have had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures.style import (
    BLACK,
    COLOURS,
    DOUBLE,
    GREY,
    LINES,
    MARKERS,
    formula,
    note_size,
    style,
)
from collapse_theory.values import Value, frozen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["StoppingCurve", "TrainedKind", "TrainedPanel", "stopping_figure", "trained_figure"]


@dataclass(frozen=True, eq=False)
class TrainedKind(Value):
    """The rewards of one kind of prompt, arrays of shape (K,), best first.

    Parameters
    ----------
    kind : str
    mean, std : array
        Over prompts.
    predicted : array
        The optimum; empty where there is none.
    """

    kind: str
    mean: Any
    std: Any
    predicted: Any

    def __post_init__(self) -> None:
        for name in ("mean", "std", "predicted"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))

    @property
    def error(self) -> float:
        """Mean over ranks of |mean - predicted|; NaN without a prediction."""
        if not self.predicted.size:
            return float("nan")
        return float(np.abs(self.mean - self.predicted).mean())


@dataclass(frozen=True, eq=False)
class TrainedPanel(Value):
    """One run on one set of prompts.

    Parameters
    ----------
    utilities : tuple of (str, str)
        Kind and utility; the kind is "" where one serves all prompts.
    note : str
        What is different about this run, if anything.
    kinds : tuple of TrainedKind
    """

    utilities: tuple[tuple[str, str], ...]
    note: str
    kinds: tuple[TrainedKind, ...]


@dataclass(frozen=True, eq=False)
class StoppingCurve(Value):
    """One run on its way, arrays of shape (S,).

    Parameters
    ----------
    utility : str
    aware : bool
        Whether it depends on the kind of prompt.
    steps, distance, between, right : array
        Distance of the training prompts' rewards to the law that training ends at; the kinds'
        distance and the share of pairs ranked right on held-out prompts.
    stops : array
        Steps, among `steps`, at which rules would have stopped.
    """

    utility: str
    aware: bool
    steps: Any
    distance: Any
    between: Any
    right: Any
    stops: Any

    def __post_init__(self) -> None:
        for name in ("steps", "distance", "between", "right", "stops"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))


def trained_figure(columns: Sequence[tuple[TrainedPanel, TrainedPanel]]) -> Any:
    """Draw a column a run: training prompts above, held-out prompts below.

    Parameters
    ----------
    columns : sequence of (TrainedPanel, TrainedPanel)

    Returns
    -------
    (2, C) array of matplotlib.axes.Axes
    """
    from matplotlib.figure import Figure

    with style():
        width = DOUBLE if len(columns) > 2 else DOUBLE / 2 * len(columns)
        # No pyplot: nothing is registered that someone would have to close.
        figure = Figure(figsize=(max(width, DOUBLE / 2), 3.7), layout="constrained")
        axes = figure.subplots(2, len(columns), sharey=True, squeeze=False)
        for column, panels in enumerate(columns):
            for ax, panel in zip(axes[:, column], panels, strict=True):
                _panel(ax, panel)
            axes[0, column].set_title(_title(panels[0]), linespacing=1.05, fontsize=note_size())
            axes[1, column].set_xlabel("rank, 1 the best")
        axes[0, 0].set_ylabel("training prompts\nreward")
        axes[1, 0].set_ylabel("held-out prompts\nreward")
        handles = _key(columns[0][0].kinds)
        # One or two columns of panels are too narrow for the whole key in a line.
        ncols = len(handles) if len(columns) > 2 else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols)
    return axes


def _title(panel: TrainedPanel) -> str:
    lines = [formula(f"{kind}: {text}" if kind else text) for kind, text in panel.utilities]
    if len(lines) == 1:
        lines.append("")
    return "\n".join([*([panel.note] if panel.note else []), *lines])


def _panel(ax: Axes, panel: TrainedPanel) -> None:
    for number, one in enumerate(panel.kinds):
        ranks = np.arange(1, len(one.mean) + 1)
        low, high = np.clip(one.mean - one.std, 0, 1), np.clip(one.mean + one.std, 0, 1)
        ax.fill_between(ranks, low, high, color=COLOURS[number % 7], alpha=0.16, linewidth=0)
    for one in panel.kinds:
        if one.predicted.size:
            ax.plot(np.arange(1, len(one.predicted) + 1), one.predicted, color=BLACK, lw=0.9)
    for number, one in enumerate(panel.kinds):
        ax.plot(np.arange(1, len(one.mean) + 1), one.mean, **_mark(number), clip_on=False)
    most = max(len(one.mean) for one in panel.kinds)
    ticks = sorted({1, (most + 1) // 2, most})
    ax.set(xlim=(0.5, most + 0.5), ylim=(-0.05, 1.05), xticks=ticks, yticks=[0, 0.5, 1])
    _errors(ax, panel)


def _errors(ax: Axes, panel: TrainedPanel) -> None:
    """Write the mean errors into the corner that falling rewards leave free."""
    text: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "fontsize": note_size()}
    ax.text(1.0, 0.93, "mean error", **text)
    for line, one in enumerate(panel.kinds[:4], start=1):
        if one.predicted.size:
            shown = f"{one.error:.3f}".removeprefix("0")
            ax.text(1.0, 0.93 - 0.115 * line, shown, color=COLOURS[(line - 1) % 7], **text)


def _mark(number: int) -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]
    return {
        "linestyle": "none",
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 2.8 if number % 2 else 3.6,
        "color": colour,
        "markerfacecolor": colour if number % 2 else "white",
        "markeredgewidth": 0.8,
    }


def _key(kinds: Sequence[TrainedKind]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    plain = [one.kind.replace("$", r"\$") for one in kinds]
    return [
        *(Line2D([], [], **_mark(number), label=name) for number, name in enumerate(plain)),
        Patch(color=GREY, alpha=0.25, linewidth=0, label="\u00b1 one s.d. over prompts"),
        Line2D([], [], color=BLACK, lw=0.9, label="optimum of what was trained"),
    ]


def stopping_figure(curves: Sequence[StoppingCurve]) -> Any:
    """Draw runs on their way: distance to the end, the kinds' distance, pairs ranked right.

    Parameters
    ----------
    curves : sequence of StoppingCurve
        Those with the same utility in the same colour.

    Returns
    -------
    (3,) array of matplotlib.axes.Axes
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(curve.utility for curve in curves))
    with style():
        figure = Figure(figsize=(DOUBLE, 2.9), layout="constrained")
        axes = figure.subplots(1, 3)
        for curve in curves:
            for ax, values in zip(axes, (curve.distance, curve.between, curve.right), strict=True):
                _way(ax, curve, values, names.index(curve.utility))
        titles = ("distance to the predicted end", "distance between the kinds", "pairs right")
        places = ("W1, training prompts", "mean |difference|, held-out", "share, held-out")
        for ax, title, label in zip(axes, titles, places, strict=True):
            ax.set(xscale="log", xlabel="step", ylabel=label, title=title)
        axes[0].set_ylim(bottom=0)
        axes[1].set_ylim(bottom=0)
        handles = [
            Line2D([], [], **_line(number, _aware(curves, name)), label=formula(name))
            for number, name in enumerate(names)
        ]
        stop = {"ls": "none", "marker": "o", "mfc": "white", "mew": 0.8, "ms": 3.5, "color": GREY}
        handles.append(Line2D([], [], **stop, label="where a rule stops"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return axes


def _way(ax: Axes, curve: StoppingCurve, values: np.ndarray, number: int) -> None:
    shown = curve.steps > 0  # a logarithmic axis has no 0
    ax.plot(curve.steps[shown], values[shown], **_line(number, curve.aware))
    at = np.isin(curve.steps, curve.stops) & shown
    colour = _line(number, curve.aware)["color"]
    stop = {"ls": "none", "marker": "o", "mfc": "white", "mew": 0.8, "ms": 3.5}
    ax.plot(curve.steps[at], values[at], color=colour, zorder=3, **stop)


def _line(number: int, aware: bool) -> dict[str, Any]:
    if aware:
        return {"color": BLACK, "lw": 1.4, "ls": "-"}
    return {"color": COLOURS[number % 5], "lw": 0.8, "ls": LINES[number % len(LINES)]}


def _aware(curves: Sequence[StoppingCurve], name: str) -> bool:
    return any(curve.aware for curve in curves if curve.utility == name)
