"""A design: the wanted law and the reached one, the utility, and the proof or the link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.design import Design as FoundDesign
from collapse_theory.design import design as find_design
from collapse_theory.figures.style import BLUE, DOUBLE, GREY, VERMILION, figure_or_new, note_size
from collapse_theory.values import Value, frozen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["DesignFigure", "DesignRow", "design", "design_data"]

# A rubric, within reach, and a hump, which is not.
EXAMPLES = ("levels 0.3 0.15 0.1 0.15 0.3", "beta(2, 2)")
NAMES = {EXAMPLES[0]: "grades .3 .15 .1 .15 .3", EXAMPLES[1]: "Beta(2, 2)"}


@dataclass(frozen=True, eq=False)
class DesignRow(Value):
    """One wanted law.

    Parameters
    ----------
    name : str
        What it is called.
    reachable : bool or None
    distance : float
    shares : (k,) array
        Shares of completions, from 0 to 1.
    wanted, reached : (k,) array
        Rewards below which these shares are.
    gaps, values, slopes : (m,) array
        The utility, from 0 at gap 0 to 1 at gap 1 (NaN where it is -inf at 0), and its slope over
        that at gap 1/2.
    margins, gains : (p,) array
        Of the proof, empty without one (or where its direction is a mirror image).
    margin : float
        The proven lower bound of the gains; NaN without one.
    knots, reports : (q,) array
        Of the link; empty without one.
    """

    name: str
    reachable: bool | None
    distance: float
    shares: Any
    wanted: Any
    reached: Any
    gaps: Any
    values: Any
    slopes: Any
    margins: Any
    gains: Any
    margin: float
    knots: Any
    reports: Any

    def __post_init__(self) -> None:
        names = ("shares", "wanted", "reached", "gaps", "values", "slopes", "margins", "gains")
        for name in (*names, "knots", "reports"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))


@dataclass(frozen=True, eq=False)
class DesignFigure(Value):
    """What `design` draws: a row of panels a wanted law."""

    rows: tuple[DesignRow, ...]


def design_data(targets: Any = EXAMPLES) -> DesignFigure:
    """Return the numbers of the figure for wanted laws or finished designs.

    Parameters
    ----------
    targets : Design, or sequence of str or Design, optional

    Returns
    -------
    DesignFigure

    Examples
    --------
    >>> from collapse_theory.figures import design_data
    >>> [(row.name, row.reachable) for row in design_data(["uniform"]).rows]
    [('uniform', True)]
    """
    given: Sequence[Any] = [targets] if isinstance(targets, FoundDesign | str) else targets
    return DesignFigure(tuple(_row(target) for target in given))


def _row(target: Any) -> DesignRow:
    found = target if isinstance(target, FoundDesign) else find_design(target)
    name = NAMES.get(target, target) if isinstance(target, str) else "wanted law"
    shares, wanted, reached = _quantiles(found)
    gaps = np.linspace(0.0, 1.0, 401)
    with np.errstate(all="ignore"):
        raw, slopes = found.utility(gaps), found.utility.d1(gaps) / found.utility.d1(0.5)
    margins = np.geomspace(1e-3, 1.0, 400) if found.proof is not None else np.empty(0)
    gains = np.empty(0) if found.proof is None else found.proof.gain(margins)
    if found.n is not None:
        gains = np.where(gains == 0.0, np.nan, gains)  # below the smallest gap nothing is to gain
    link = found.link
    return DesignRow(
        name=name,
        reachable=found.reachable,
        distance=found.distance,
        shares=shares,
        wanted=wanted,
        reached=reached,
        gaps=gaps,
        values=_scaled(raw),
        slopes=np.where(np.isfinite(slopes), slopes, np.nan),
        margins=margins,
        gains=gains,
        margin=np.nan if found.proof is None else found.proof.margin,
        knots=np.empty(0) if link is None else link.knots,
        reports=np.empty(0) if link is None else link.values,
    )


def _quantiles(found: FoundDesign) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if found.n is not None and found.solution is not None:
        shares = (np.arange(found.n) + 0.5) / found.n
        return shares, found.target.levels(found.n)[::-1], np.sort(found.solution.rewards)
    shares = np.linspace(0.0, 1.0, 1001)
    return shares, found.target.law.ppf(shares), found.law.ppf(shares)


def _scaled(raw: np.ndarray) -> np.ndarray:
    """Return U as it rises from 0 to 1; from its value at the gap 1/10 on where U(0) is -inf."""
    bottom = raw[0] if np.isfinite(raw[0]) else raw[40]
    values = (raw - bottom) / (raw[-1] - bottom)
    return np.where(np.isfinite(values), values, np.nan)


def design(targets: Any = EXAMPLES, fig: Figure | SubFigure | None = None) -> Any:
    """Draw designs, a row each: the laws, the utility, and the proof or the link.

    Left the wanted law (grey, thick) and the utility's own (blue) as quantile functions: the reward
    below which a share of the completions lies. In the middle the utility over the gap. Right for a
    law within reach the slope of the utility, else the proof's gain under every hinge min(x, m)
    with its proven lower bound, and the link that reports the wanted rewards.

    Parameters
    ----------
    targets : Design, or sequence of str or Design, optional
        A rubric of five grades and a hump unless given.
    fig : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure of two columns' width unless given.

    Returns
    -------
    (k, 3) array of matplotlib.axes.Axes
    """
    data = design_data(targets)
    with figure_or_new(fig, DOUBLE, 0.15 + 1.95 * len(data.rows)) as figure:
        axes = figure.subplots(len(data.rows), 3, squeeze=False)
        for line, row in zip(axes, data.rows, strict=True):
            _draw_laws(line[0], row)
            _draw_utility(line[1], row)
            if row.margins.size:
                _draw_proof(line[2], row)
            else:
                _draw_slope(line[2], row)
    return axes


def _draw_laws(axes: Axes, row: DesignRow) -> None:
    steps = row.shares.size < 200
    plain: dict[str, Any] = {"marker": "o", "linestyle": "none"} if steps else {}
    axes.plot(row.shares, row.wanted, color=GREY, alpha=0.45, linewidth=3.6, **plain)
    small: dict[str, Any] = plain | {"markersize": 2.4} if steps else {}
    axes.plot(row.shares, row.reached, color=BLUE, **small)
    word = {True: "reached", False: "out of reach", None: "undecided"}[row.reachable]
    axes.set_title(f"{row.name}: {word}")
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="share of completions", ylabel="reward")
    _note(axes, 0.03, 0.93, "wanted", GREY)
    _note(axes, 0.03, 0.80, "the utility\u2019s", BLUE)
    _note(axes, 0.97, 0.05, f"$W_1$ = {row.distance:.2g}", "black", ha="right", va="bottom")


def _draw_utility(axes: Axes, row: DesignRow) -> None:
    axes.plot(row.gaps, row.values, color=BLUE)
    shown = row.values[np.isfinite(row.values)]
    axes.set_title("utility")
    axes.set(xlim=(0, 1), ylim=(max(float(shown.min()), -0.6) - 0.03, 1.05), xlabel="gap")


def _draw_slope(axes: Axes, row: DesignRow) -> None:
    axes.plot(row.gaps, row.slopes, color=BLUE)
    axes.set_title("its slope, over that at gap 1/2")
    middle = row.slopes[row.gaps > 0.05]
    axes.set(xlim=(0, 1), ylim=(0, 1.1 * float(np.nanmax(middle))), xlabel="gap")


def _draw_proof(axes: Axes, row: DesignRow) -> None:
    if row.knots.size:
        low, high = row.reports[[0, -1]]
        axes.plot(
            row.knots, (row.reports - low) / (high - low), color=GREY, linestyle=(0, (4, 1.5))
        )
    axes.plot(row.margins, row.gains, color=VERMILION)
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    if row.margin > 0:
        axes.axhline(row.margin, color=VERMILION, linewidth=0.7, linestyle=(0, (1, 1.2)))
        note = f"gain under min(x, m),\nat least {row.margin:.3g} for every m"
    else:
        note = "gain under min(x, m)"
    _note(axes, 0.97, 0.05 if row.margin > 0 else 0.2, note, VERMILION, ha="right", va="bottom")
    axes.set_title("proof (solid) and link (dashed)" if row.knots.size else "proof")
    label = "margin m; model\u2019s reward" if row.knots.size else "margin m"
    axes.set(xlim=(0, 1), ylim=(-0.05, 1.05), xlabel=label)


def _note(axes: Axes, x: float, y: float, text: str, colour: str, **where: Any) -> None:
    place: dict[str, Any] = {"ha": "left", "va": "top"} | where
    axes.text(x, y, text, color=colour, transform=axes.transAxes, fontsize=note_size(), **place)
