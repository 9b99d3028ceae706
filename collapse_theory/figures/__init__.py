"""Figures of a paper about reward collapse: one file each, its data function and its draw function.

A figure of one panel takes `ax` and returns the Axes; one of several takes `fig` (a Figure or
SubFigure) and returns the array of Axes. Without them they open a pyplot figure of their own, in
the package's style. matplotlib is loaded on the first drawing.
"""

from __future__ import annotations

from collapse_theory.figures.convergence import (
    ConvergenceRows,
    convergence,
    convergence_data,
)
from collapse_theory.figures.design import DesignFigure, DesignRow, design, design_data
from collapse_theory.figures.diagnosis import diagnosis, diagnosis_data
from collapse_theory.figures.downstream import Downstream, downstream, downstream_data
from collapse_theory.figures.finite_optimum import (
    FiniteOptimum,
    finite_optimum,
    finite_optimum_data,
)
from collapse_theory.figures.limit_laws import LimitLaws, limit_laws, limit_laws_data
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
from collapse_theory.figures.phase_diagram import (
    PhaseDiagram,
    PhasePanel,
    phase_diagram,
    phase_diagram_data,
)
from collapse_theory.figures.presets import PracticePanels, practices, practices_data
from collapse_theory.figures.registry import FIGURES, FigureEntry, figure_entry
from collapse_theory.figures.saving import FORMATS, figure_of, save
from collapse_theory.figures.style import style

__all__ = [
    "FIGURES",
    "FORMATS",
    "ConvergenceRows",
    "DesignFigure",
    "DesignRow",
    "Downstream",
    "FigureEntry",
    "FiniteOptimum",
    "LimitLaws",
    "PaperComparison",
    "PaperCurve",
    "PaperPanel",
    "PaperSteps",
    "PhaseDiagram",
    "PhasePanel",
    "PracticePanels",
    "convergence",
    "convergence_data",
    "design",
    "design_data",
    "diagnosis",
    "diagnosis_data",
    "downstream",
    "downstream_data",
    "figure_entry",
    "figure_of",
    "finite_optimum",
    "finite_optimum_data",
    "limit_laws",
    "limit_laws_data",
    "paper_comparison",
    "paper_comparison_data",
    "paper_curves",
    "paper_steps",
    "paper_steps_data",
    "phase_diagram",
    "phase_diagram_data",
    "practices",
    "practices_data",
    "save",
    "style",
]
