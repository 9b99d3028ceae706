"""What real training ends at, over the exact prediction; and what early stopping would have had.

Both figures are drawn from the experiment's table: a row for each run, split ("train", "held_out"),
step and kind (null: all kinds together), a column for each measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.figures.trained import OPTIMUM, draw_trained, trained_key

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

SPLITS = {"train": "training prompts", "held_out": "held-out prompts"}


def trained_figure(table: pl.DataFrame, columns: Sequence[tuple[int, str]]) -> Any:
    """Draw a column a run, with its title: training prompts above, held-out prompts below.

    The table has mean_by_rank, std_by_rank and predicted_by_rank of each kind of prompt, best
    first.
    """
    from matplotlib.figure import Figure

    with look.style():
        width = look.DOUBLE if len(columns) > 2 else look.DOUBLE / 2 * len(columns)
        # No pyplot: nothing is registered that someone would have to close.
        figure = Figure(figsize=(max(width, look.DOUBLE / 2), 3.7), layout="constrained")
        axes = figure.subplots(2, len(columns), sharey=True, squeeze=False)
        for line, (split, label) in zip(axes, SPLITS.items(), strict=True):
            line[0].set_ylabel(f"{label}\nreward")
            for ax, (run, _) in zip(line, columns, strict=True):
                _draw_panel(ax, _ends(table, run, split))
        for (above, below), (_, title) in zip(axes.T, columns, strict=True):
            above.set_title(title, linespacing=1.05, fontsize=look.note_size())
            below.set_xlabel("rank, 1 the best")
        ends = _ends(table, columns[0][0], "train")
        names = [one["kind"].replace("$", r"\$") for one in ends]
        handles = trained_key(names, "one s.d. over prompts")
        # One or two columns of panels are too narrow for the whole key in a line.
        ncols = len(handles) if len(columns) > 2 else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols)
    return axes


def _ends(table: pl.DataFrame, run: int, split: str) -> list[dict[str, Any]]:
    """Return each kind's last row, open-ended first, as in the paper's figures."""
    mine = table.filter(run=run, split=split).drop_nulls("kind")
    ends = mine.filter(mine["step"] == mine["step"].max()).to_dicts()
    return sorted(ends, key=lambda one: one["kind"] != "open")


def _draw_panel(ax: Axes, ends: list[dict[str, Any]]) -> None:
    means, bands, predicted = (
        [np.array(one[f"{name}_by_rank"]) for one in ends] for name in ("mean", "std", "predicted")
    )
    draw_trained(ax, means, bands, [(rewards, OPTIMUM) for rewards in predicted if rewards.size])
    # The mean errors stand in the corner that falling rewards leave free.
    text: dict[str, Any] = {"inside": True, "ha": "right"}
    look.note(ax, 1.0, 0.93, "mean error", **text)
    for line, (mean, best) in enumerate(zip(means[:4], predicted[:4], strict=True), start=1):
        if best.size:
            shown = f"{np.abs(mean - best).mean():.3f}".removeprefix("0")
            colour = look.COLOURS[line - 1]
            look.note(ax, 1.0, 0.93 - 0.115 * line, shown, color=colour, **text)


def stopping_figure(
    table: pl.DataFrame, runs: Sequence[tuple[int, str, bool, Sequence[Mapping[str, Any]]]]
) -> Any:
    """Draw runs on their way: distance to the end, the kinds' distance, pairs ranked right.

    The table has distance (to the law that training ends at), between (the kinds) and right. Of
    `runs` come the number, the utility, whether that depends on the kind of prompt, and where rules
    would have stopped ("step"), the last at the end. Runs with the same utility have one colour.
    """
    from matplotlib.figure import Figure

    aware = {utility: aware for _, utility, aware, _ in runs}
    looks = {name: _line(number, aware[name]) for number, name in enumerate(aware)}
    panels = (
        ("distance", "train", "distance to the predicted end", "W1, training prompts"),
        ("between", "held_out", "distance between the kinds", "mean |difference|, held-out"),
        ("right", "held_out", "pairs right", "share, held-out"),
    )
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 2.9), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, (measure, split, title, label) in zip(axes, panels, strict=True):
            for run, utility, _, at in runs:
                line = looks[utility]
                mine = table.filter(run=run, split=split)
                mine = mine.filter(mine["kind"].is_null(), mine["step"] > 0)  # no 0 on the axis
                ax.plot(mine["step"], mine[measure], **line)
                stops = mine.filter(mine["step"].is_in([stop["step"] for stop in at[:-1]]))
                mark = look.mark(line["color"], size=3.5, filled=False)
                ax.plot(stops["step"], stops[measure], **mark, zorder=3)
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
    return look.cycled(number, color=look.COLOURS[number % 5], linewidth=0.8)
