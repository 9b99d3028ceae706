"""Figures of a paper about reward collapse: one file each, its data function and its draw function.

A figure of one panel takes `ax` and returns the Axes; one of several takes `fig` (a Figure or
SubFigure) and returns the array of Axes. Without them they open a pyplot figure of their own, one
and two columns wide, in the package's style. Arguments are those of the data function. matplotlib
is loaded on the first drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collapse_theory.errors import CollapseError
from collapse_theory.figures.convergence import ConvergenceRows, convergence, convergence_data
from collapse_theory.figures.design import DesignFigure, DesignRow, design, design_data
from collapse_theory.figures.diagnosis import diagnosis, diagnosis_data
from collapse_theory.figures.downstream import Downstream, downstream, downstream_data
from collapse_theory.figures.finite_optimum import (
    FiniteOptimum,
    finite_optimum,
    finite_optimum_data,
)
from collapse_theory.figures.limit_laws import LimitLaws, limit_laws, limit_laws_data
from collapse_theory.figures.limited import LimitedModels, limited_models, limited_models_data
from collapse_theory.figures.look import style
from collapse_theory.figures.paper import (
    PaperComparison,
    PaperCurve,
    PaperPanel,
    PaperSteps,
    paper_comparison,
    paper_comparison_data,
    paper_curves,
    paper_steps,
    paper_steps_data,
)
from collapse_theory.figures.penalty_path import penalty_path, penalty_path_data
from collapse_theory.figures.phase_diagram import (
    PhaseDiagram,
    PhasePanel,
    phase_diagram,
    phase_diagram_data,
)
from collapse_theory.figures.presets import PracticePanels, practices, practices_data
from collapse_theory.figures.saving import FORMATS, figure_of, save
from collapse_theory.figures.story import StoryPanels, story, story_data
from collapse_theory.values import Value

__all__ = ["FIGURES", "FORMATS", "ConvergenceRows", "DesignFigure", "DesignRow", "Downstream"]
__all__ += ["FigureEntry", "FiniteOptimum", "LimitLaws", "PaperComparison", "PaperCurve"]
__all__ += ["PaperPanel", "PaperSteps", "PhaseDiagram", "PhasePanel", "PracticePanels"]
__all__ += ["convergence", "convergence_data", "design", "design_data", "diagnosis"]
__all__ += ["diagnosis_data", "downstream", "downstream_data", "figure_entry", "figure_of"]
__all__ += ["finite_optimum", "finite_optimum_data", "limit_laws", "limit_laws_data"]
__all__ += ["LimitedModels", "limited_models", "limited_models_data"]
__all__ += ["paper_comparison", "paper_comparison_data", "paper_curves", "paper_steps"]
__all__ += [
    "paper_steps_data",
    "penalty_path",
    "penalty_path_data",
    "phase_diagram",
    "phase_diagram_data",
    "practices",
]
__all__ += ["StoryPanels", "practices_data", "save", "story", "story_data", "style"]


@dataclass(frozen=True)
class FigureEntry:
    """A figure: both functions can be called without arguments.

    Attributes
    ----------
    data : callable
        Returns the numbers drawn, a frozen value.
    draw : callable
        Draws them on a new figure; returns its Axes, or the array of them.
    into : {"fig", "ax"}
        The argument by which `draw` takes a place to draw.
    """

    data: Callable[..., Value]
    draw: Callable[..., Any]
    into: str = "fig"

    @property
    def name(self) -> str:
        """The draw function's name, and the file's."""
        return self.draw.__name__


# All figures: what the command line draws, and what the tests draw.
FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(story_data, story),
    FigureEntry(finite_optimum_data, finite_optimum, into="ax"),
    FigureEntry(limit_laws_data, limit_laws, into="ax"),
    FigureEntry(phase_diagram_data, phase_diagram),
    FigureEntry(practices_data, practices),
    FigureEntry(convergence_data, convergence),
    FigureEntry(design_data, design),
    FigureEntry(paper_comparison_data, paper_comparison),
    FigureEntry(paper_steps_data, paper_steps),
    FigureEntry(diagnosis_data, diagnosis),
    FigureEntry(downstream_data, downstream),
    FigureEntry(penalty_path_data, penalty_path, into="ax"),
    FigureEntry(limited_models_data, limited_models),
)


def figure_entry(name: str) -> FigureEntry:
    """Return the figure of this name, or raise a CollapseError that lists those there are.

    Examples
    --------
    >>> from collapse_theory import figures
    >>> figures.figure_entry("limit_laws").name
    'limit_laws'
    """
    entries = {entry.name: entry for entry in FIGURES}
    if name not in entries:
        raise CollapseError(f"no figure is called {name!r}; there are {', '.join(entries)}")
    return entries[name]


def __dir__() -> list[str]:
    return __all__
