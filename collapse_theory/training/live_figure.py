"""The figure that `CollapseCallback` draws anew at each evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.figures.saving import format_of
from collapse_theory.training.measures import Measures

History = Sequence[Mapping[str, Any]]


def figure_path(path: str | os.PathLike[str], split: str = "eval") -> Path:
    """Return where the figure of an evaluation set goes: its name is added, but for "eval".

    >>> figure_path("live.png", "eval_held_out").name
    'live-held_out.png'
    """
    target = Path(path)
    format_of(target)  # said before training begins
    name = split.removeprefix("eval_")
    return target if name == "eval" else target.with_name(f"{target.stem}-{name}{target.suffix}")


def live_figure(measures: Measures, history: History, split: str, step: int) -> Any:
    """Draw the rewards by rank over the prediction, distances and pairs ranked right by step.

    `history` is the trainer's log, `split` the prefix of the measures' names in it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with look.style():
        # No pyplot: nothing is registered that someone would have to close.
        figure = Figure(figsize=(look.DOUBLE, 2.5), layout="constrained")
        axes = figure.subplots(1, 3)
        rewards, distances, right = axes
        rewards.set(title=f"rewards at step {step}", xlabel="rank, 1 the best", ylabel="reward")
        distances.set(title="distance to the prediction", xlabel="step", ylabel="Wasserstein-1")
        right.set(title="pairs ranked right", xlabel="step")
        rewards.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for number, one in enumerate(measures.kinds):
            name = "all prompts" if one.kind is None else one.kind.replace("$", r"\$")
            colour, marker = look.turn(number)
            # The first are wide and hollow: later ones on top of them don't hide them.
            wide = max(2 - number, 0)
            line: dict[str, Any] = {"color": colour, "marker": marker, "markerfacecolor": "white"}
            line |= {"label": name, "ms": 2.5 + 1.5 * wide, "lw": 1.1 + 0.7 * wide}
            places = np.arange(1, len(one.mean) + 1)
            if len(one.predicted):
                label = "prediction" if number == 0 else None
                dashes: dict[str, Any] = {"color": look.GREY, "lw": 0.9, "ls": (0, (4, 2))}
                rewards.plot(places, one.predicted, zorder=3, label=label, **dashes)
            low, high = one.mean - one.std, one.mean + one.std
            rewards.fill_between(places, low, high, color=colour, alpha=0.2, lw=0)
            rewards.plot(places, one.mean, **line)
            start = f"{split}_" if one.kind is None else f"{split}_{one.kind}_"
            distances.plot(*_series(history, f"{start}distance"), **line)
        if len(measures.kinds) > 1:
            points = _series(history, f"{split}_between_kinds")
            distances.plot(*points, color=look.GREY, ls=look.LINES[1], label="between the kinds")
            distances.legend(loc="upper right")
        for end, label in (("", "held out"), ("_train", "training")):
            steps, shares = _series(history, f"{split}_pairs_right{end}")
            if steps:
                right.plot(steps, shares, "o-", ms=3, label=label)
                right.legend(loc="lower right")
        rewards.legend(loc="upper right")
        distances.set_ylim(bottom=0)
        right.set_ylim(min(0.5, right.get_ylim()[0]), 1.02)  # room for marks at 1
    return axes


def _series(history: History, name: str) -> tuple[list[float], list[float]]:
    # A step that was evaluated again counts once, by its last evaluation.
    last = {entry["step"]: entry[name] for entry in history if name in entry}
    return sorted(last), [last[step] for step in sorted(last)]
