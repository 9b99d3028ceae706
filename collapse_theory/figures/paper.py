"""The paper's figures, redrawn with the optimum of what was trained and how far off it is.

The paper's dashed lines are optima of log x and -1/x; the experiments trained log(x + 0.1) and
-1/(x + 0.1). The optimum of what was trained is closer: the largest error of open-ended training
prompts falls from .100 to .042 for the logarithm and from .063 to .031 for the reciprocal.

Source of the curves: the four figures in the public repository ctlllll/reward_collapse of Song,
Cai, Lee, Su, "Reward Collapse in Aligning Large Language Models", arXiv:2305.17608, read off by
redrawing them until the pixels agreed. Every number is within 0.0003 of the figure;
`data/README.md` explains the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.figures.trained import OPTIMUM, draw_trained, kind_mark, trained_key
from collapse_theory.finite import solve
from collapse_theory.lazy import polars as pl
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

SOURCE = Path(__file__).parent / "data" / "paper_figures.csv"

# Of each published figure the titles of its panels, and what was trained in them on open-ended
# and on closed-ended prompts.
LOG, RECIPROCAL, LOGSIGMOID = "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)"
COMPARISON = {
    "x": ("x", "x"),
    "log(x)": (LOG, LOG),
    "-1/x": (RECIPROCAL, RECIPROCAL),
    "Our method": (RECIPROCAL, "x"),
}
STEPS = ("Step 250", "Step 750")
TRAINED: dict[str, dict[str, tuple[str, str]]] = {
    "loss_comparison": COMPARISON,
    "loss_comparison_test": COMPARISON,
    "logsigmoid_collapse": dict.fromkeys(STEPS, (LOGSIGMOID, LOGSIGMOID)),
    "adaptive_no_collapse": dict.fromkeys(STEPS, (RECIPROCAL, "x")),
}
DASHED: dict[str, Any] = {"color": look.GREY, "linewidth": 0.9, "linestyle": (0, (3.2, 1.6))}


# -- the published curves ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PaperCurve(Value):
    """One curve of a published figure.

    Attributes
    ----------
    figure, panel : str
        The figure's file name and the panel's title.
    split : str
        "train", "test", or "unstated".
    prompt_type : str
        "open", "closed", or "both" for a prediction.
    kind : str
        "trained", or "predicted" for a dashed line.
    rewards : (8,) array
        Mean rewards over prompts, the best completion first.
    bands : (8,) array
        Half-widths of the band, about one standard deviation; NaN where it is hidden or none.
    """

    figure: str
    panel: str
    split: str
    prompt_type: str
    kind: str
    rewards: Array
    bands: Array


@cache
def paper_curves() -> tuple[PaperCurve, ...]:
    """Return all curves of the published figures, in their order.

    Examples
    --------
    >>> from collapse_theory.figures import paper_curves
    >>> curves = paper_curves()
    >>> len(curves), curves[0].panel, curves[0].rewards.round(2).tolist()
    (30, 'x', [1.0, 1.0, 1.0, 0.96, 0.14, 0.0, 0.0, 0.0])
    """
    names = ("figure", "panel", "split", "prompt_type", "kind")
    # Groups of a table with a column called index fail in the oldest Polars.
    table = pl.read_csv(SOURCE).rename({"index": "place"})
    table = table.with_columns(pl.col("band").fill_null(np.nan))
    curves = []
    for key, points in table.group_by(names, maintain_order=True):
        best_first = points.sort("place", descending=True)  # the first is the worst completion
        curves.append(PaperCurve(*key, *best_first.select("reward", "band").to_numpy().T))
    return tuple(curves)


# -- what is drawn -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PaperPanel(Value):
    """What one panel shows; rows of arrays are open-ended and closed-ended prompts.

    Attributes
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
    trained: Array
    bands: Array
    paper: Array
    exact: Array

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


def _panels(figure: str) -> tuple[PaperPanel, ...]:
    curves = {(c.panel, c.prompt_type): c for c in paper_curves() if c.figure == figure}
    panels = []
    for title, utilities in TRAINED[figure].items():
        shown = curves[title, "open"], curves[title, "closed"]
        dashed = curves.get((title, "both"))
        panels.append(
            PaperPanel(
                figure=figure,
                title=title,
                utilities=utilities,
                trained=np.array([curve.rewards for curve in shown]),
                bands=np.array([curve.bands for curve in shown]),
                paper=np.empty((0, 8)) if dashed is None else np.array([dashed.rewards] * 2),
                exact=np.array([solve(text, 8).rewards for text in utilities]),
            )
        )
    return tuple(panels)


@dataclass(frozen=True, eq=False)
class PaperComparison(Value):
    """What `paper_comparison` draws: four panels of training prompts, four of test prompts."""

    train: tuple[PaperPanel, ...]
    test: tuple[PaperPanel, ...]


def paper_comparison_data() -> PaperComparison:
    """Return the published curves with both predictions and their errors.

    Examples
    --------
    >>> from collapse_theory.figures import paper_comparison_data
    >>> log = paper_comparison_data().train[1]
    >>> log.utilities[0], log.paper_errors[0].round(3), log.exact_errors[0].round(3)
    ('log(x + 0.1)', np.float64(0.1), np.float64(0.042))
    """
    return PaperComparison(_panels("loss_comparison"), _panels("loss_comparison_test"))


@dataclass(frozen=True, eq=False)
class PaperSteps(Value):
    """What `paper_steps` draws: panels after 250 and 750 steps for each of the two utilities."""

    logsigmoid: tuple[PaperPanel, ...]
    prompt_aware: tuple[PaperPanel, ...]


def paper_steps_data() -> PaperSteps:
    """Return the published curves after 250 and 750 steps with the optima of what was trained.

    Examples
    --------
    >>> from collapse_theory.figures import paper_steps_data
    >>> [panel.exact_errors.max().round(2).tolist() for panel in paper_steps_data().logsigmoid]
    [0.23, 0.18]
    """
    return PaperSteps(_panels("logsigmoid_collapse"), _panels("adaptive_no_collapse"))


# -- drawing -----------------------------------------------------------------------------


def paper_comparison(fig: Figure | SubFigure | None = None) -> Any:
    """Draw the paper's comparison of utilities with both predictions and their largest errors.

    Points are the published mean rewards after 1000 steps, open circles for open-ended prompts
    and squares for closed-ended ones, with their bands. Returns the (2, 4) array of Axes, training
    prompts above.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.paper_comparison(Figure()).shape
    (2, 4)
    """
    data = paper_comparison_data()
    # Every first line has a bracket, the deepest of letters: so all are equally far up.
    titles = [
        _title(
            p,
            f"U(x) = {look.formula(p.title)}",
            f"prompt-aware (\u201c{p.title}\u201d)",
            "trained: ",
        )
        for p in data.train
    ]
    rows = {"reward, training prompts": data.train, "reward, test prompts": data.test}
    return _draw_grid(fig, 3.9, rows, titles)


def paper_steps(fig: Figure | SubFigure | None = None) -> Any:
    """Draw rewards after 250 and 750 steps: one utility for all prompts, and a prompt-aware one.

    Beside them is the optimum that training moves towards. Returns the (4,) array of Axes:
    log-sigmoid after 250 and 750 steps, then the prompt-aware utility.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.paper_steps(Figure()).shape
    (4,)
    """
    data = paper_steps_data()
    panels = data.logsigmoid + data.prompt_aware
    steps = [panel.title.lower() for panel in panels]
    titles = [
        _title(panel, f"one utility, {step}", f"prompt-aware, {step}")
        for panel, step in zip(panels, steps, strict=True)
    ]
    return _draw_grid(fig, 2.4, {"reward": panels}, titles)[0]


def _title(panel: PaperPanel, same: str, aware: str, before: str = "") -> str:
    """Return two lines: one text or the other, and what was trained."""
    first, second = (look.formula(text) for text in panel.utilities)
    if first == second:
        return f"{same}\n{before}{first}"
    return f"{aware}\nopen: {first}, closed: {second}"


def _draw_grid(
    fig: Figure | SubFigure | None,
    height: float,
    rows: dict[str, tuple[PaperPanel, ...]],
    titles: Sequence[str],
) -> Any:
    """Draw rows of panels, each with its label on the left, titles above and a key below."""
    with look.figure_or_new(fig, look.DOUBLE, height) as figure:
        axes = figure.subplots(len(rows), len(titles), sharex=True, sharey=True, squeeze=False)
        for line, (label, panels) in zip(axes, rows.items(), strict=True):
            line[0].set_ylabel(label)
            for ax, panel in zip(line, panels, strict=True):
                _draw_panel(ax, panel)
        for above, below, title in zip(axes[0], axes[-1], titles, strict=True):
            above.set_title(title, linespacing=1.05)
            below.set_xlabel("rank, 1 the best")
        handles = trained_key(("open-ended, trained", "closed-ended, trained"), "about one s.d.")
        if any(panel.paper.size for panels in rows.values() for panel in panels):
            handles.append(look.handle("the paper\u2019s prediction", **DASHED))
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            handlelength=1.6,
            columnspacing=1.1,
            handletextpad=0.5,
        )
    return axes


def _draw_panel(axes: Axes, panel: PaperPanel) -> None:
    """Draw trained rewards with bands, the predictions, and a small table of their errors."""
    one = panel.utilities[0] == panel.utilities[1]
    predictions = [(rewards, DASHED) for rewards in panel.paper[:1]]
    predictions += [(rewards, OPTIMUM) for rewards in panel.exact[: 1 if one else 2]]
    # A hidden band is narrower than the line over it.
    draw_trained(axes, [*panel.trained], [*np.nan_to_num(panel.bands)], predictions)
    # The corner that falling rewards leave free holds the errors, by place in the axes.
    columns, top, step = (0.83, 1.0), 0.97, 0.105
    where: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    text: dict[str, Any] = {"inside": True, "clip_on": False, "ha": "right", "va": "center"}
    look.note(axes, 1.0, top, "largest error", **text)
    for number, x in enumerate(columns):
        axes.plot([x - 0.06], [top - step], **kind_mark(number), **where)
    errors = [(DASHED, panel.paper_errors)] * bool(panel.paper.size)
    for i, (line, values) in enumerate([*errors, (OPTIMUM, panel.exact_errors)], start=2):
        y = top - i * step
        axes.plot([0.53, 0.66], [y, y], **line, **where)
        for x, error in zip(columns, values, strict=True):
            look.note(axes, x, y, f"{error:.3f}".lstrip("0"), **text)
