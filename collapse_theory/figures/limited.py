"""What models with limits do: learning by heart, the choice of a penalty, the way to collapse.

The numbers take minutes of training and come with the package; `data/README.md` has the commands.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures import look
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FOLDER = Path(__file__).parent / "data"


@dataclass(frozen=True, eq=False)
class LimitedModels(Value):
    """What `limited_models` draws.

    Attributes
    ----------
    utility : str
        What was trained.
    steps : (k,) array
        Of training a head of two layers on real rankings.
    trained, predicted, held_out : (k,) array
        The share of the rewards' variance that rank explains: measured on the training prompts,
        predicted of them from held-out ones by the memory law, measured on those; means over seeds.
    penalties, left_out, measured : (m,) array
        Of linear heads on the same features: mean utility of training prompts left out in turn, by
        one step of Newton's method, and of the held-out prompts.
    deltas, curve, curve_held_out : (c,) array
        Features per prompt, and the share explained in the mean field.
    points : (p, 3) array
        Features per prompt and both shares of heads that were fitted.
    prompts_full : int
        Features per prompt from which a head can give every prompt any rewards: n - 1.
    """

    utility: str
    steps: Array
    trained: Array
    predicted: Array
    held_out: Array
    penalties: Array
    left_out: Array
    measured: Array
    deltas: Array
    curve: Array
    curve_held_out: Array
    points: Array
    prompts_full: int = 3


def _table(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def limited_models_data(utility: str = "logsigmoid(x)") -> LimitedModels:
    """Return the numbers of heads that were trained for a utility.

    Parameters
    ----------
    utility : {"logsigmoid(x)", "log(x + 0.1)"}

    Raises
    ------
    CollapseError
        A ValueError, for a utility that no head was trained for.

    Examples
    --------
    >>> from collapse_theory.figures import limited_models_data
    >>> found = limited_models_data()
    >>> bool(found.trained[-1] > 0.9 > 0.7 > found.held_out[-1])
    True
    """
    memory = [row for row in _table("memory") if row["utility"] == utility]
    if not memory:
        known = sorted({row["utility"] for row in _table("memory")})
        raise CollapseError(f"no head was trained for {utility!r}, but for {', '.join(known)}")
    seeds = len({row["seed"] for row in memory})
    trained, predicted, held_out = (
        _column(memory, f"{name}_explained").reshape(seeds, -1).mean(axis=0)
        for name in ("trained", "law", "held_out")
    )
    path, field = _table("penalties"), _table("mean_field")
    path = [row for row in path if row["utility"] == utility]
    curve, heads = ([row for row in field if row["what"] == what] for what in ("curve", "head"))
    return LimitedModels(
        utility,
        _column(memory, "step").reshape(seeds, -1)[0],
        trained,
        predicted,
        held_out,
        penalties=_column(path, "penalty"),
        left_out=_column(path, "left_out"),
        measured=_column(path, "measured"),
        deltas=_column(curve, "delta"),
        curve=_column(curve, "trained"),
        curve_held_out=_column(curve, "held_out"),
        points=np.column_stack([_column(heads, n) for n in ("delta", "trained", "held_out")]),
    )


def limited_models(utility: str = "logsigmoid(x)", fig: Figure | SubFigure | None = None) -> Any:
    """Draw what models with limits do, in three panels.

    Left: the share of the rewards' variance that rank explains, over the steps of training a head
    on real rankings (AlpacaEval): on its training prompts it goes to collapse, as the memory law
    predicts from held-out prompts, which don't. Middle: the utility of linear heads on prompts left
    out and on prompts held out, against the penalty. Right: the way to collapse with the number
    of features per prompt, by the mean field (lines; log-sigmoid) and of fitted heads (points); the
    dotted line is where a head can give every training prompt any rewards. Returns the (3,) array
    of Axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> [ax.get_xlabel() for ax in figures.limited_models(fig=Figure())][:2]
    ['steps', 'penalty of $|w|^2$']
    """
    data = limited_models_data(utility)
    with look.figure_or_new(fig, look.DOUBLE, 2.4) as figure:
        axes = figure.subplots(1, 3)
        _draw_steps(axes[0], data)
        _draw_penalties(axes[1], data)
        _draw_features(axes[2], data)
    return axes


def _sides() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the looks of training and of held-out prompts."""
    return look.mark(*look.turn(0), filled=True), look.mark(*look.turn(1), filled=False)


def _draw_steps(axes: Axes, data: LimitedModels) -> None:
    trained, held_out = _sides()
    axes.plot(data.steps, data.predicted, color=look.BLACK, linewidth=0.9, label="memory law")
    axes.plot(data.steps, data.trained, **trained, label="trained")
    axes.plot(data.steps, data.held_out, **held_out, label="held out")
    axes.set(xscale="log", ylim=(0, 1.03), xlabel="steps", ylabel="explained by rank")
    axes.legend(loc="lower left", frameon=False)


def _draw_penalties(axes: Axes, data: LimitedModels) -> None:
    held_out = _sides()[1]
    axes.plot(data.penalties, data.left_out, color=look.BLACK, linewidth=0.9, label="left out")
    axes.plot(data.penalties, data.measured, **held_out, label="held out")
    best = int(data.left_out.argmax())
    axes.axvline(data.penalties[best], color=look.GREY, linewidth=0.6, linestyle=(0, (1, 2)))
    # Nearly without a penalty utilities fall without bound: what decides is in view.
    top = float(max(data.left_out.max(), data.measured.max()))
    room = 4 * (top - float(data.measured[data.penalties.argmax()])) or 1.0
    axes.set(xscale="log", ylim=(top - room, top + 0.15 * room))
    axes.set(xlabel="penalty of $|w|^2$", ylabel="mean utility")
    axes.legend(loc="lower right", frameon=False)


def _draw_features(axes: Axes, data: LimitedModels) -> None:
    trained, held_out = _sides()
    for line, column, kind in (
        (data.curve, 1, trained),
        (data.curve_held_out, 2, held_out),
    ):
        axes.plot(data.deltas, line, color=kind["color"], linewidth=0.9)
        axes.plot(data.points[:, 0], data.points[:, column], **kind)
    full = {"color": look.GREY, "linewidth": 0.6, "linestyle": (0, (1, 2))}
    axes.axvline(data.prompts_full, **full)
    axes.set(xscale="log", ylim=(0, 1.03), xlabel="features per prompt, $d/N$")
    axes.set_ylabel("explained by rank")
