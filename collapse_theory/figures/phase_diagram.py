"""Mass at the ends against the parameter of a loss: two-valued laws turn into spread-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.limit import FAMILIES, atom_mass, limit
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# For each family: the parameters between which to look, those whose laws are shown, and among these
# the one that the paper's experiments were run with.
PANELS = (
    ("logsigmoid", (0.1, 100.0), (0.2, 1.0, 4.0, 16.0, 60.0), 4.0),
    ("log", (1e-3, 10.0), (0.002, 0.015, 0.1, 0.7, 5.0), 0.1),
    ("reciprocal", (1e-3, 10.0), (0.002, 0.015, 0.1, 0.7, 5.0), 0.1),
)
HEADINGS = {
    "logsigmoid": (r"log $\sigma(\beta x)$", r"$\beta$"),
    "log": (r"log$(x+\epsilon)$", r"$\epsilon$"),
    "reciprocal": ("\u2212" + r"1$\,$/$\,(x+\epsilon)$", r"$\epsilon$"),
}
# Of a small picture: its width in units of the panel's, and the density its height stands for.
WIDTH, TALLEST = 0.17, 2.2
TOP = 0.56


@dataclass(frozen=True, eq=False)
class PhasePanel(Value):
    """One family of utilities, `family` its name in `collapse_theory.limit.FAMILIES`.

    Attributes
    ----------
    parameters, masses : (k,) array
        The mass at each end of the box, from 0 to 1/2, at each parameter.
    trained, trained_mass : float
        The parameter that the paper's experiments were run with, and its mass.
    shown, shown_masses : (m,) array
        Parameters whose laws are drawn small.
    places : (p,) array
        Rewards inside the box at which their densities are given.
    densities : (m, p) array
        The laws' continuous parts there.
    """

    family: str
    parameters: Array
    masses: Array
    trained: float
    trained_mass: float
    shown: Array
    shown_masses: Array
    places: Array
    densities: Array


@dataclass(frozen=True, eq=False)
class PhaseDiagram(Value):
    """What `phase_diagram` draws: a panel a family."""

    panels: tuple[PhasePanel, ...]


def phase_diagram_data(points: int = 61) -> PhaseDiagram:
    """Return the mass at the ends of the box along three families, at `points` parameters each.

    Examples
    --------
    >>> from collapse_theory.figures import phase_diagram_data
    >>> [round(panel.trained_mass, 4) for panel in phase_diagram_data(5).panels]
    [0.204, 0.184, 0.0894]
    """
    return PhaseDiagram(tuple(_panel(points, *panel) for panel in PANELS))


@lru_cache(maxsize=8)
def _panel(
    points: int, family: str, ends: tuple[float, float], shown: tuple[float, ...], trained: float
) -> PhasePanel:
    make = FAMILIES[family]
    parameters = np.geomspace(*ends, points)
    laws = [limit(make(p)) for p in shown]
    # Crowded at the ends, where densities are steep, and without the ends themselves.
    places = np.sin(np.linspace(0, np.pi / 2, 123)[1:-1]) ** 2
    return PhasePanel(
        family=family,
        parameters=parameters,
        masses=np.array([atom_mass(make(p)) for p in parameters.tolist()]),
        trained=trained,
        trained_mass=atom_mass(make(trained)),
        shown=np.array(shown),
        shown_masses=np.array([law.atoms[0, 1] for law in laws]),
        places=places,
        densities=np.array([law.pdf(places) for law in laws]),
    )


def phase_diagram(fig: Figure | SubFigure | None = None) -> Any:
    """Draw the mass at each end of the box against the parameter of a loss.

    A panel each for log sigma(beta x), log(x + epsilon) and -1/(x + epsilon). A mass of 1/2 is a
    two-valued law, a mass of 0 one without atoms. The small pictures above are laws on [0, 1] at
    the points below them: stems are the masses at both ends, the shaded density lies between
    them, all to one scale. The filled point is what the paper's experiments trained. Returns the
    (3,) array of Axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> len(figures.phase_diagram(Figure()))
    3
    """
    data = phase_diagram_data()
    with look.figure_or_new(fig, look.DOUBLE, 2.9) as figure:
        axes = figure.subplots(1, len(data.panels), sharey=True, gridspec_kw={"wspace": 0.11})
        for ax, panel in zip(axes, data.panels, strict=True):
            _draw_curve(ax, panel)
            _draw_laws(ax, panel)
        axes[0].set_ylabel("mass at each end")
    return axes


def _draw_curve(axes: Axes, panel: PhasePanel) -> None:
    name, symbol = HEADINGS[panel.family]
    axes.axhline(0.5, color=look.PALE, linewidth=0.6, zorder=0)
    axes.semilogx(panel.parameters, panel.masses, color=look.BLUE)
    # Beside the curve, on the side that it leaves free.
    falling = panel.masses[0] > panel.masses[-1]
    axes.annotate(
        f"trained: {symbol} = {panel.trained:g},\nmass {panel.trained_mass:.4f}",
        (panel.trained, panel.trained_mass),
        xytext=(-7 if falling else 7, 3),
        textcoords="offset points",
        ha="right" if falling else "left",
        va="top",
        color=look.VERMILION,
        fontsize=look.note_size(),
    )
    axes.set(xlim=panel.parameters[[0, -1]], ylim=(0, TOP))
    axes.set_yticks(np.linspace(0, 0.5, 6))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"{symbol} of {name}")


def _draw_laws(axes: Axes, panel: PhasePanel) -> None:
    """Draw the small pictures above the axes, each over its parameter."""
    low, high = np.log(panel.parameters[[0, -1]])
    for parameter, mass, density in zip(
        panel.shown.tolist(), panel.shown_masses.tolist(), panel.densities, strict=True
    ):
        trained = parameter == panel.trained
        colour = look.VERMILION if trained else look.BLUE
        axes.plot(
            [parameter] * 2, [mass, TOP], color=look.GREY, linewidth=0.5, linestyle=(0, (1, 2))
        )
        mark = look.mark(colour, size=4.5 if trained else 3.4, filled=trained)
        axes.plot([parameter], [mass], **mark, zorder=4, clip_on=False)
        center = (np.log(parameter) - low) / (high - low)
        small = axes.inset_axes((center - WIDTH / 2, 1.03, WIDTH, 0.28))
        small.fill_between(panel.places, density / TALLEST, color=look.PALE, linewidth=0)
        small.vlines([0, 1], 0, [2 * mass] * 2, colors=colour, linewidth=2)
        small.set(xlim=(-0.15, 1.15), ylim=(0, 1.03), xticks=[], yticks=[])
        small.spines["left"].set_visible(False)
