"""The paper's figures of training in progress: collapse under log-sigmoid, none when prompt-aware.

Both are shown after 250 and 750 steps, beside the optimum that training moves towards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collapse_theory.figures.panels import PaperPanel, draw_key, draw_panel, paper_panel
from collapse_theory.figures.style import DOUBLE, figure_or_new, formula
from collapse_theory.values import Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["PaperSteps", "paper_steps", "paper_steps_data"]

STEPS = ("Step 250", "Step 750")


@dataclass(frozen=True, eq=False)
class PaperSteps(Value):
    """What `paper_steps` draws: panels after 250 and 750 steps for each of the two utilities."""

    logsigmoid: tuple[PaperPanel, ...]
    prompt_aware: tuple[PaperPanel, ...]


def paper_steps_data() -> PaperSteps:
    """Return the published curves after 250 and 750 steps with the optima of what was trained.

    Returns
    -------
    PaperSteps

    Examples
    --------
    >>> from collapse_theory.figures import paper_steps_data
    >>> [panel.exact_errors.max().round(2).tolist() for panel in paper_steps_data().logsigmoid]
    [0.23, 0.18]
    """
    fixed, aware = ("logsigmoid(4*x)", "logsigmoid(4*x)"), ("-1/(x + 0.1)", "x")
    return PaperSteps(
        logsigmoid=tuple(paper_panel("logsigmoid_collapse", step, fixed) for step in STEPS),
        prompt_aware=tuple(paper_panel("adaptive_no_collapse", step, aware) for step in STEPS),
    )


def paper_steps(fig: Figure | SubFigure | None = None) -> Any:
    """Draw rewards after 250 and 750 steps: one utility for all prompts, and a prompt-aware one.

    Parameters
    ----------
    fig : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure of two columns' width unless given.

    Returns
    -------
    (4,) array of matplotlib.axes.Axes
        log-sigmoid after 250 and 750 steps, then the prompt-aware utility.
    """
    data = paper_steps_data()
    with figure_or_new(fig, DOUBLE, 2.4) as figure:
        axes = figure.subplots(1, 4, sharex=True, sharey=True)
        for ax, panel in zip(axes, data.logsigmoid + data.prompt_aware, strict=True):
            draw_panel(ax, panel, _heading(panel))
            ax.set_xlabel("rank, 1 the best")
        axes[0].set_ylabel("reward")
        draw_key(figure, paper=False)
    return axes


def _heading(panel: PaperPanel) -> tuple[str, str]:
    first, second = (formula(text) for text in panel.utilities)
    step = panel.title.lower()
    if first == second:
        return f"one utility, {step}", first
    return f"prompt-aware, {step}", f"open: {first}, closed: {second}"
