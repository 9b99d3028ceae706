"""The figure that `CollapseCallback` draws anew at each evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures.saving import FORMATS
from collapse_theory.figures.style import COLOURS, DOUBLE, GREY, LINES, MARKERS, style
from collapse_theory.training.measures import KindMeasures, Measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["figure_path", "live_figure"]

History = Sequence[Mapping[str, Any]]


def figure_path(path: str | os.PathLike[str], split: str = "eval") -> Path:
    """Return where the figure of an evaluation set goes: its name is added, but for "eval".

    >>> figure_path("live.png", "eval_held_out").name
    'live-held_out.png'
    """
    target = Path(path)
    if target.suffix.lower().removeprefix(".") not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise CollapseError(f"figure must end in one of {known}, got {target.name!r}")
    name = split.removeprefix("eval_")
    return target if name == "eval" else target.with_name(f"{target.stem}-{name}{target.suffix}")


def live_figure(measures: Measures, history: History, split: str, step: int) -> np.ndarray:
    """Draw the rewards by rank now, and the way there.

    Parameters
    ----------
    measures : Measures
    history : sequence of mappings
        The trainer's log.
    split : str
        The prefix of the measures' names in it.
    step : int

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes, shape (3,)
        Rewards by rank over the prediction; distances by step; pairs ranked right by step.
    """
    from matplotlib.figure import Figure

    with style():
        # No pyplot: nothing is registered that someone would have to close.
        figure = Figure(figsize=(DOUBLE, 2.5), layout="constrained")
        axes = figure.subplots(1, 3)
        for number, one in enumerate(measures.kinds):
            _rewards(axes[0], one, number)
        axes[0].set_title(f"rewards at step {step}")
        axes[0].set_xlabel("rank, 1 the best")
        axes[0].set_ylabel("reward")
        _distances(axes[1], measures, history, split)
        _right(axes[2], measures, history, split)
        for at in (1, 2):
            axes[at].set_xlabel("step")
        axes[0].legend(loc="upper right")
    return axes


def _name(one: KindMeasures) -> str:
    return "all prompts" if one.kind is None else one.kind.replace("$", r"\$")


def _rewards(axes: Axes, one: KindMeasures, number: int) -> None:
    from matplotlib.ticker import MaxNLocator

    colour, places = COLOURS[number % len(COLOURS)], np.arange(1, len(one.mean) + 1)
    if len(one.predicted):
        label = "prediction" if number == 0 else None
        axes.plot(places, one.predicted, color=GREY, lw=0.9, ls=(0, (4, 2)), label=label, zorder=3)
    axes.fill_between(places, one.mean - one.std, one.mean + one.std, color=colour, alpha=0.2, lw=0)
    axes.plot(
        places, one.mean, color=colour, marker=MARKERS[number % len(MARKERS)], label=_name(one)
    )
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _series(history: History, name: str) -> tuple[list[float], list[float]]:
    entries = [entry for entry in history if name in entry]
    # A step that was evaluated again counts once, by its last evaluation.
    last = {entry["step"]: entry[name] for entry in entries}
    return sorted(last), [last[step] for step in sorted(last)]


def _distances(axes: Axes, measures: Measures, history: History, split: str) -> None:
    axes.set_title("distance to the prediction")
    axes.set_ylabel("Wasserstein-1")
    for number, one in enumerate(measures.kinds):
        start = f"{split}_" if one.kind is None else f"{split}_{one.kind}_"
        _line(axes, _series(history, f"{start}distance"), number, _name(one))
    if len(measures.kinds) > 1:
        steps, values = _series(history, f"{split}_between_kinds")
        axes.plot(steps, values, color=GREY, ls=LINES[1], label="between the kinds")
        axes.legend(loc="upper right")
    axes.set_ylim(bottom=0)


def _right(axes: Axes, measures: Measures, history: History, split: str) -> None:
    axes.set_title("pairs ranked right")
    for number, one in enumerate(measures.kinds):
        start = f"{split}_" if one.kind is None else f"{split}_{one.kind}_"
        _line(axes, _series(history, f"{start}pairs_right"), number, _name(one))
    low = axes.get_ylim()[0]
    axes.set_ylim(min(0.5, low), 1.02)  # room for marks at 1


def _line(axes: Axes, points: tuple[list[float], list[float]], number: int, label: str) -> None:
    axes.plot(
        *points,
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        markersize=2.5,
        label=label,
    )
