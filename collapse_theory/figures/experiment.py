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
    for line, (one, mean, best) in enumerate(
        zip(ends[:4], means, predicted, strict=False), start=1
    ):
        if best.size:
            name = one["kind"].replace("$", r"\$")
            shown = f"{np.abs(mean - best).mean():.3f}".removeprefix("0")
            look.note(ax, 1.0, 0.93 - 0.115 * line, f"{name} {shown}", **text)


def stopping_figure(
    table: pl.DataFrame, runs: Sequence[tuple[int, str, bool, Sequence[Mapping[str, Any]]]]
) -> Any:
    """Draw runs on their way: distance to the end, the kinds' distance, pairs ranked right.

    The table has distance (to the law that training ends at), between (the kinds) and right. Of
    `runs` come the number, the utility, whether that depends on the kind of prompt, and where rules
    would have stopped ("rule", "step"), the last at the end. Runs with the same utility have one
    look, and stops by the same rule one mark.
    """
    from matplotlib.figure import Figure

    aware = {utility: aware for _, utility, aware, _ in runs}
    looks = {name: _line(number, aware[name]) for number, name in enumerate(aware)}
    rules = list(dict.fromkeys(stop["rule"] for *_, at in runs for stop in at[:-1]))
    marks = {
        rule: look.mark(look.BLACK, look.turn(n)[1], 3.5, filled=False)
        for n, rule in enumerate(rules)
    }
    panels = (
        ("distance", "train", "distance to the predicted end", "W1, training prompts"),
        ("between", "held_out", "distance between the kinds", "mean |difference|, held-out"),
        ("right", "held_out", "pairs right", "share, held-out"),
    )
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 3.3), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, (measure, split, title, label) in zip(axes, panels, strict=True):
            for run, utility, _, at in runs:
                line = looks[utility]
                mine = table.filter(run=run, split=split).sort("step")
                mine = mine.filter(mine["kind"].is_null(), mine["step"] > 0)  # no 0 on the axis
                ax.plot(mine["step"], mine[measure], **line)
                for stop in at[:-1]:
                    there = mine.filter(step=stop["step"])
                    mark = marks[stop["rule"]] | {"color": line["color"], "zorder": 3}
                    ax.plot(there["step"], there[measure], **mark)
            ax.set(xscale="log", xlabel="step", ylabel=label, title=title)
        axes[0].set_ylim(bottom=0)
        axes[1].set_ylim(bottom=0)
        handles = [look.handle(look.formula(name), **line) for name, line in looks.items()]
        handles += [look.handle(f"stops at {rule}", **mark) for rule, mark in marks.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return axes


def study_figure(table: pl.DataFrame, measures: Mapping[str, Sequence[Any]]) -> Any:
    """Draw what each loss has on held-out prompts: a panel a measure, a line a loss.

    The table has, for each kind (null: all), measure and arm, `stopped` early or not, mean, low and
    high. Of `measures` come the words, and the sign of what is better.
    """
    from matplotlib.figure import Figure

    whole = table.filter(table["kind"].is_null())
    arms = whole["arm"].unique(maintain_order=True).to_list()
    names = [name for name in measures if name in set(whole["measure"])]
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 0.9 + 0.3 * len(arms)), layout="constrained")
        axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, names, strict=True):
            words, sign = measures[name][:2]
            for row in whole.filter(measure=name).iter_rows(named=True):
                at = arms.index(row["arm"])
                ax.hlines(at, row["low"], row["high"], color=look.GREY, linewidth=0.9)
                shape = "s" if row["stopped"] else "o"
                ax.plot(row["mean"], at, **look.mark(look.BLACK, shape, filled=not row["stopped"]))
            better = "right" if sign > 0 else "left"
            ax.set(title=words, xlabel=f"better to the {better}", yticks=range(len(arms)))
            ax.grid(axis="y", color=look.PALE, linewidth=0.4)
        axes[0].set_yticklabels([_arm(arm) for arm in arms])
        axes[0].invert_yaxis()
    return axes


def _arm(text: str) -> str:
    return look.formula(text.replace("; ", ";\n").replace(" under ", "\nunder "))


def memory_figure(table: pl.DataFrame) -> Any:
    """Draw the memory over steps with its interval, and the shares explained by rank.

    The table has, for each run and step, utility, gamma, low, high; trained, law and held_out.
    """
    from matplotlib.figure import Figure

    utilities = table["utility"].unique(maintain_order=True).to_list()
    lines = {"trained": ("o", True), "law": ("s", False), "held_out": ("^", False)}
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 2.6), layout="constrained")
        axes = figure.subplots(1, 1 + len(utilities), squeeze=False)[0]
        for number, utility in enumerate(utilities):
            mine = table.filter(utility=utility)
            colour, marker = look.turn(number)
            for _, run in mine.group_by("run", maintain_order=True):
                run = run.sort("step").filter(run["gamma"].is_finite() & (run["gamma"] > 0))
                axes[0].plot(run["step"], run["gamma"], **look.cycled(number, linewidth=0.8))
                error = [
                    run["gamma"] - run["low"],
                    run["high"].clip(upper_bound=1e16) - run["gamma"],
                ]
                mark = look.mark(colour, marker, 3, filled=False)
                axes[0].errorbar(run["step"], run["gamma"], error, elinewidth=0.6, **mark)
                for name, (shape, filled) in lines.items():
                    mark = look.mark(look.BLACK, shape, 3, filled=filled) | {"linestyle": "-"}
                    axes[1 + number].plot(run["step"], run[name], linewidth=0.5, **mark)
            axes[1 + number].set(title=_arm(utility), ylim=(0, 1), xscale="log", xlabel="step")
        axes[0].set(xscale="log", yscale="log", xlabel="step", ylabel="gamma", title="memory\n")
        axes[1].set_ylabel("explained by rank")
        handles = [
            look.handle(
                look.formula(u), **(look.mark(*look.turn(n), 3, filled=False) | look.cycled(n))
            )
            for n, u in enumerate(utilities)
        ]
        handles += [
            look.handle(name.replace("_", " "), **look.mark(look.BLACK, shape, 3, filled=filled))
            for name, (shape, filled) in lines.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return axes


def _line(number: int, aware: bool) -> dict[str, Any]:
    if aware:
        return {"color": look.BLACK, "linewidth": 1.4, "linestyle": "-"}
    return look.cycled(number, color=look.COLOURS[number % 5], linewidth=0.8)
