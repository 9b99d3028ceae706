"""The paper's comparison of utilities beside two predictions: its own, and one for its training.

The paper's dashed lines are optima of log x and -1/x; the experiments trained log(x + 0.1) and
-1/(x + 0.1). The optimum of what was trained is closer: the largest error of open-ended training
prompts falls from .100 to .042 for the logarithm and from .063 to .031 for the reciprocal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collapse_theory.figures.panels import PaperPanel, draw_key, draw_panel, paper_panel
from collapse_theory.figures.style import DOUBLE, figure_or_new, formula
from collapse_theory.values import Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["PaperComparison", "paper_comparison", "paper_comparison_data"]

# Each panel's title in the paper, and what was trained in it on open and on closed prompts.
TRAINED = (
    ("x", ("x", "x")),
    ("log(x)", ("log(x + 0.1)", "log(x + 0.1)")),
    ("-1/x", ("-1/(x + 0.1)", "-1/(x + 0.1)")),
    ("Our method", ("-1/(x + 0.1)", "x")),
)
SPLITS = {"loss_comparison": "training prompts", "loss_comparison_test": "test prompts"}


@dataclass(frozen=True, eq=False)
class PaperComparison(Value):
    """What `paper_comparison` draws: four panels of training prompts, four of test prompts."""

    train: tuple[PaperPanel, ...]
    test: tuple[PaperPanel, ...]


def paper_comparison_data() -> PaperComparison:
    """Return the published curves with both predictions and their errors.

    Returns
    -------
    PaperComparison

    Examples
    --------
    >>> from collapse_theory.figures import paper_comparison_data
    >>> log = paper_comparison_data().train[1]
    >>> log.utilities[0], log.paper_errors[0].round(3), log.exact_errors[0].round(3)
    ('log(x + 0.1)', np.float64(0.1), np.float64(0.042))
    """
    rows = [tuple(paper_panel(name, *panel) for panel in TRAINED) for name in SPLITS]
    return PaperComparison(*rows)


def paper_comparison(fig: Figure | SubFigure | None = None) -> Any:
    """Draw the paper's comparison of utilities with both predictions and their largest errors.

    Points are the published mean rewards after 1000 steps, open circles for open-ended prompts
    and squares for closed-ended ones, with their bands.

    Parameters
    ----------
    fig : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure of two columns' width unless given.

    Returns
    -------
    (2, 4) array of matplotlib.axes.Axes
        Training prompts above, test prompts below.
    """
    data = paper_comparison_data()
    with figure_or_new(fig, DOUBLE, 3.9) as figure:
        axes = figure.subplots(2, 4, sharex=True, sharey=True)
        for row, panels, split in zip(axes, (data.train, data.test), SPLITS.values(), strict=True):
            for ax, panel in zip(row, panels, strict=True):
                draw_panel(ax, panel, _heading(panel) if panels is data.train else None)
            row[0].set_ylabel(f"reward, {split}")
        for ax in axes[1]:
            ax.set_xlabel("rank, 1 the best")
        draw_key(figure, paper=True)
    return axes


def _heading(panel: PaperPanel) -> tuple[str, str]:
    # Every first line has a bracket, the deepest of letters: so all are equally far up.
    first, second = (formula(text) for text in panel.utilities)
    if first == second:
        return f"U(x) = {formula(panel.title)}", f"trained: {first}"
    return f"prompt-aware (\u201c{panel.title}\u201d)", f"open: {first}, closed: {second}"
