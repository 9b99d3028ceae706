"""What real training ends at, over the exact prediction; and what early stopping would have had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.figures.trained import OPTIMUM, draw_trained, trained_key
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    mean: Array
    std: Array
    predicted: Array

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
    steps: Array
    distance: Array
    between: Array
    right: Array
    stops: Array


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

    with look.style():
        width = look.DOUBLE if len(columns) > 2 else look.DOUBLE / 2 * len(columns)
        # No pyplot: nothing is registered that someone would have to close.
        figure = Figure(figsize=(max(width, look.DOUBLE / 2), 3.7), layout="constrained")
        axes = figure.subplots(2, len(columns), sharey=True, squeeze=False)
        for column, panels in enumerate(columns):
            for ax, panel in zip(axes[:, column], panels, strict=True):
                _panel(ax, panel)
            axes[0, column].set_title(
                _title(panels[0]), linespacing=1.05, fontsize=look.note_size()
            )
            axes[1, column].set_xlabel("rank, 1 the best")
        axes[0, 0].set_ylabel("training prompts\nreward")
        axes[1, 0].set_ylabel("held-out prompts\nreward")
        names = [one.kind.replace("$", r"\$") for one in columns[0][0].kinds]
        handles = trained_key(names, "one s.d. over prompts")
        # One or two columns of panels are too narrow for the whole key in a line.
        ncols = len(handles) if len(columns) > 2 else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols)
    return axes


def _title(panel: TrainedPanel) -> str:
    lines = [look.formula(f"{kind}: {text}" if kind else text) for kind, text in panel.utilities]
    if len(lines) == 1:
        lines.append("")
    return "\n".join([*([panel.note] if panel.note else []), *lines])


def _panel(ax: Axes, panel: TrainedPanel) -> None:
    predictions = [(one.predicted, OPTIMUM) for one in panel.kinds if one.predicted.size]
    draw_trained(ax, [k.mean for k in panel.kinds], [k.std for k in panel.kinds], predictions)
    # The mean errors stand in the corner that falling rewards leave free.
    text: dict[str, Any] = {"inside": True, "ha": "right"}
    look.note(ax, 1.0, 0.93, "mean error", **text)
    for line, one in enumerate(panel.kinds[:4], start=1):
        if one.predicted.size:
            shown = f"{one.error:.3f}".removeprefix("0")
            colour = look.COLOURS[line - 1]
            look.note(ax, 1.0, 0.93 - 0.115 * line, shown, color=colour, **text)


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

    aware = {curve.utility: curve.aware for curve in curves}
    looks = {name: _line(number, aware[name]) for number, name in enumerate(aware)}
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 2.9), layout="constrained")
        axes = figure.subplots(1, 3)
        for curve in curves:
            line = looks[curve.utility]
            shown = curve.steps > 0  # a logarithmic axis has no 0
            stops = np.isin(curve.steps, curve.stops) & shown
            for ax, values in zip(axes, (curve.distance, curve.between, curve.right), strict=True):
                ax.plot(curve.steps[shown], values[shown], **line)
                mark = look.mark(line["color"], size=3.5, filled=False)
                ax.plot(curve.steps[stops], values[stops], **mark, zorder=3)
        titles = ("distance to the predicted end", "distance between the kinds", "pairs right")
        places = ("W1, training prompts", "mean |difference|, held-out", "share, held-out")
        for ax, title, label in zip(axes, titles, places, strict=True):
            ax.set(xscale="log", xlabel="step", ylabel=label, title=title)
        axes[0].set_ylim(bottom=0)
        axes[1].set_ylim(bottom=0)
        handles = [look.handle(look.formula(name), **line) for name, line in looks.items()]
        stop = look.mark(look.GREY, size=3.5, filled=False)
        handles.append(look.handle("where a rule stops", **stop))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return axes


def _line(number: int, aware: bool) -> dict[str, Any]:
    if aware:
        return {"color": look.BLACK, "linewidth": 1.4, "linestyle": "-"}
    linestyle = look.LINES[number % len(look.LINES)]
    return {"color": look.COLOURS[number % 5], "linewidth": 0.8, "linestyle": linestyle}
