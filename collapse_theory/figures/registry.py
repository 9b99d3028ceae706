"""All figures: what the command line draws, and what the tests draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collapse_theory.errors import CollapseError
from collapse_theory.figures.convergence import convergence, convergence_data
from collapse_theory.figures.design import design, design_data
from collapse_theory.figures.diagnosis import diagnosis, diagnosis_data
from collapse_theory.figures.downstream import downstream, downstream_data
from collapse_theory.figures.finite_optimum import finite_optimum, finite_optimum_data
from collapse_theory.figures.limit_laws import limit_laws, limit_laws_data
from collapse_theory.figures.paper import (
    paper_comparison,
    paper_comparison_data,
    paper_steps,
    paper_steps_data,
)
from collapse_theory.figures.phase_diagram import phase_diagram, phase_diagram_data
from collapse_theory.figures.presets import practices, practices_data
from collapse_theory.values import Value

__all__ = ["FIGURES", "FigureEntry", "figure_entry"]


@dataclass(frozen=True)
class FigureEntry:
    """A figure: both functions can be called without arguments.

    Attributes
    ----------
    name : str
        The draw function's name, and the file's.
    data : callable
        Returns the numbers drawn, a frozen value.
    draw : callable
        Draws them on a new figure; returns its Axes, or the array of them.
    into : {"ax", "fig"}
        The argument by which `draw` takes a place to draw.
    """

    name: str
    data: Callable[..., Value]
    draw: Callable[..., Any]
    into: str = "ax"


FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry("finite_optimum", finite_optimum_data, finite_optimum),
    FigureEntry("limit_laws", limit_laws_data, limit_laws),
    FigureEntry("phase_diagram", phase_diagram_data, phase_diagram, into="fig"),
    FigureEntry("practices", practices_data, practices, into="fig"),
    FigureEntry("convergence", convergence_data, convergence, into="fig"),
    FigureEntry("design", design_data, design, into="fig"),
    FigureEntry("paper_comparison", paper_comparison_data, paper_comparison, into="fig"),
    FigureEntry("paper_steps", paper_steps_data, paper_steps, into="fig"),
    FigureEntry("diagnosis", diagnosis_data, diagnosis, into="fig"),
    FigureEntry("downstream", downstream_data, downstream, into="fig"),
)


def figure_entry(name: str) -> FigureEntry:
    """Return the figure of this name.

    Raises
    ------
    CollapseError
        A ValueError, for an unknown name; it lists the known ones.
    """
    for entry in FIGURES:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in FIGURES)
    raise CollapseError(f"no figure is called {name!r}; there are {known}")
