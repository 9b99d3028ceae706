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


CAPTIONS = {
    "rewards": "Mean reward by rank of each kind of prompt, with bands of one standard deviation "
    "over prompts, over the exact optimum of what was trained.",
    "controls": "The controls, in the same way.",
    "stopping": "Early stopping: what a run has at each step, and where rules stop it. Every seed "
    "is a line.",
    "study": "What each loss has on held-out prompts, at the end (filled) and stopped early "
    "(hollow), with 95% intervals.",
    "memory": "How much of its training prompts a model has learned by heart, over the steps, with "
    "95% intervals; and the share of the rewards' variance that rank explains.",
}


def experiment_figures(found: Any, study: Any = None, memory: Any = None) -> dict[str, Any]:
    """Draw every figure that an experiment's findings have something for, by the names of CAPTIONS.

    Parameters
    ----------
    found : Findings
        Of `collapse_theory.experiment`.
    study, memory : polars.DataFrame, optional
        What `study.compared` and `study.memory_course` find.
    """
    boxed = [run for run in found.runs if run.objective.domain.bounded]
    main = [run for run in boxed if not run.control and run.seed == found.setting.seed]
    drawn = {
        name: trained_figure(found.table, [(run.number, _title(run)) for run in runs])
        for name, runs in (("rewards", main), ("controls", [run for run in boxed if run.control]))
        if runs
    }
    stopped = [run for run in boxed if not run.control and found.stops(run)]
    if stopped:
        lines = [(r.number, r.objective.text, r.objective.aware, found.stops(r)) for r in stopped]
        drawn["stopping"] = stopping_figure(found.table, lines)
    if study is not None:
        drawn["study"] = study_figure(study)
    if memory is not None and len(memory):
        drawn["memory"] = memory_figure(memory)
    return drawn


def _title(run: Any) -> str:
    """Return the lines above a run's panels: what is special about it, what it was trained with."""
    utilities = run.objective.utilities.items()
    lines = [look.formula(f"{kind}: {text}" if kind else text) for kind, text in utilities]
    return "\n".join([*[run.control] * bool(run.control), *lines, *[""] * (len(lines) == 1)])


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
    would have stopped ("rule", "step"). Runs with the same utility have one
    look, and stops by the same rule one mark.
    """
    from matplotlib.figure import Figure

    aware = {utility: aware for _, utility, aware, _ in runs}
    looks = {name: _line(number, aware[name]) for number, name in enumerate(aware)}
    rules = list(dict.fromkeys(stop["rule"] for *_, at in runs for stop in at))
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
                for stop in at:
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


def study_figure(table: pl.DataFrame) -> Any:
    """Draw what each loss has on held-out prompts: a panel a measure, a line a loss.

    The table has, for each kind (null: all), measure (its words, the sign of what is better) and
    arm, stopped early or not, mean, low and high.
    """
    from matplotlib.figure import Figure

    whole = table.filter(table["kind"].is_null())
    whole = whole.with_columns(arm=whole["arm"].str.strip_suffix(EARLY))
    arms = whole["arm"].unique(maintain_order=True).to_list()
    names = whole["measure"].unique(maintain_order=True).to_list()
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 1.1 + 0.42 * len(arms)), layout="constrained")
        axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, names, strict=True):
            rows = whole.filter(measure=name)
            for row in rows.iter_rows(named=True):
                both = rows.filter(arm=row["arm"])["stopped"].n_unique() > 1
                at = arms.index(row["arm"]) + 0.16 * both * (1 if row["stopped"] else -1)
                ax.hlines(at, row["low"], row["high"], color=look.GREY, linewidth=0.9)
                ax.plot(row["mean"], at, **STOPPED[row["stopped"]])
            better = f"better to the {'right' if rows['sign'][0] > 0 else 'left'}"
            ax.set(title=rows["words"][0], xlabel=better, yticks=range(len(arms)))
        axes[0].set_yticklabels([_arm(arm) for arm in arms], linespacing=1.0)
        axes[0].invert_yaxis()
        words = {False: "at the end", True: "stopped early"}
        handles = [look.handle(words[stopped], **mark) for stopped, mark in STOPPED.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return axes


EARLY = ", stopped early"
STOPPED = {
    False: look.mark(look.BLACK, "o", filled=True),
    True: look.mark(look.BLACK, "s", filled=False),
}


def _arm(text: str) -> str:
    """Return a utility, or one of each kind, in lines."""
    for part in ("; ", " under ", ") + "):
        text = text.replace(part, f"{part[0].strip()}\n{part[1:].strip()} ".replace("\n ", "\n"))
    return look.formula(text)


def memory_figure(table: pl.DataFrame) -> Any:
    """Draw the memory over steps with its interval, and the shares explained by rank.

    The table has, for each run and step, utility, gamma, low, high; trained, law and held_out.
    """
    from matplotlib.figure import Figure

    utilities = table["utility"].unique(maintain_order=True).to_list()
    # Nothing holds any of them; titles begin at one height.
    titles = [_arm(utility.removesuffix(" under Free()")) for utility in utilities]
    most = max(title.count("\n") for title in titles)
    titles = [title + "\n" * (most - title.count("\n")) for title in ("memory", *titles)]
    law: dict[str, Any] = {"color": look.BLACK, "linewidth": 0.9, "linestyle": (0, (5, 1.5))}
    points = {
        "trained": look.mark(look.BLACK, "o", 3, filled=True),
        "held_out": look.mark(look.GREY, "^", 3, filled=False),
    }
    with look.style():
        figure = Figure(figsize=(look.DOUBLE, 2.8), layout="constrained")
        axes = figure.subplots(1, 1 + len(utilities), squeeze=False)[0]
        for number, utility in enumerate(utilities):
            colour, marker = look.turn(number)
            mark = look.mark(colour, marker, filled=False)
            for _, run in table.filter(utility=utility).group_by("run", maintain_order=True):
                run = run.sort("step")
                axes[1 + number].plot(run["step"], run["law"], **law)
                for name, point in points.items():
                    axes[1 + number].plot(run["step"], run[name], **point)
                run = run.filter(run["gamma"].is_finite() & (run["gamma"] > 0))
                axes[0].vlines(run["step"], run["low"], run["high"], color=colour, linewidth=0.6)
                axes[0].plot(run["step"], run["gamma"], **look.cycled(number, linewidth=0.8))
                axes[0].plot(run["step"], run["gamma"], **mark)
            axes[1 + number].set(ylim=(0, 1.03), xscale="log", xlabel="step")
        axes[0].set(xscale="log", yscale="log", xlabel="step", ylabel="gamma")
        for ax, title in zip(axes, titles, strict=True):
            ax.set_title(title, linespacing=1.05)
        axes[1].set_ylabel("explained by rank")
        handles = [
            look.handle(look.formula(of), **look.mark(*look.turn(n), filled=False) | look.cycled(n))
            for n, of in enumerate(utilities)
        ]
        handles += [look.handle(name.replace("_", " "), **of) for name, of in points.items()]
        handles += [look.handle("law", **law)]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return axes


def _line(number: int, aware: bool) -> dict[str, Any]:
    if aware:
        return look.cycled(number - 1, color=look.BLACK, linewidth=1.4)
    return look.cycled(number, color=look.COLOURS[number % 5], linewidth=0.8)
