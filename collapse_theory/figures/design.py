"""A design: the wanted law and the reached one, the utility, and the proof or the link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.design import Design as FoundDesign
from collapse_theory.design import design as find_design
from collapse_theory.figures import look
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# A rubric, within reach, and a hump, which is not.
EXAMPLES = ("levels 0.3 0.15 0.1 0.15 0.3", "beta(2, 2)")
LIFTED = 40  # of 401 gaps: the utility is drawn from its value there on where U(0) is -inf
CORNER: dict[str, Any] = {"ha": "right", "va": "bottom"}
NAMES = {EXAMPLES[0]: "grades .3 .15 .1 .15 .3", EXAMPLES[1]: "Beta(2, 2)"}


@dataclass(frozen=True, eq=False)
class DesignRow(Value):
    """One wanted law.

    Attributes
    ----------
    name : str
        What it is called; `reachable` and `distance` are as in `collapse_theory.design.Design`.
    shares : (k,) array
        Shares of completions, from 0 to 1.
    wanted, reached : (k,) array
        Rewards below which these shares are.
    gaps, values, slopes : (m,) array
        The utility, from 0 at the gap `bottom` to 1 at gap 1 (NaN where it is -inf), and its slope
        over that at gap 1/2.
    bottom : float
        0 where U(0) is finite, else 1/10.
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
    shares: Array
    wanted: Array
    reached: Array
    gaps: Array
    values: Array
    bottom: float
    slopes: Array
    margins: Array
    gains: Array
    margin: float
    knots: Array
    reports: Array


@dataclass(frozen=True, eq=False)
class DesignFigure(Value):
    """What `design` draws: a row of panels a wanted law."""

    rows: tuple[DesignRow, ...]


def design_data(targets: Any = EXAMPLES) -> DesignFigure:
    """Return the numbers of the figure for wanted laws or finished designs.

    Examples
    --------
    >>> from collapse_theory.figures import design_data
    >>> [(row.name, row.reachable) for row in design_data(["uniform"]).rows]
    [('uniform', True)]
    """
    given: Sequence[Any] = [targets] if isinstance(targets, FoundDesign | str) else targets
    return DesignFigure(tuple(_row(target) for target in given))


# A second a law: kept, as the data function and the draw function both ask for it.
@lru_cache(maxsize=16)
def _row(target: FoundDesign | str) -> DesignRow:
    found = target if isinstance(target, FoundDesign) else find_design(target)
    shares, wanted, reached = _quantiles(found)
    gaps = np.linspace(0.0, 1.0, 401)
    with np.errstate(all="ignore"):
        raw, slopes = found.utility(gaps), found.utility.d1(gaps) / found.utility.d1(0.5)
    proof, link, none = found.proof, found.link, np.empty(0)
    margins = none if proof is None else np.geomspace(1e-3, 1.0, 400)
    gains = none if proof is None else proof.gain(margins)
    if found.n is not None:
        gains = np.where(gains == 0.0, np.nan, gains)  # below the smallest gap nothing is to gain
    return DesignRow(
        name=NAMES.get(target, target) if isinstance(target, str) else "wanted law",
        reachable=found.reachable,
        distance=found.distance,
        shares=shares,
        wanted=wanted,
        reached=reached,
        gaps=gaps,
        values=_scaled(raw),
        bottom=0.0 if np.isfinite(raw[0]) else float(gaps[LIFTED]),
        slopes=np.where(np.isfinite(slopes), slopes, np.nan),
        margins=margins,
        gains=gains,
        margin=np.nan if proof is None else proof.margin,
        knots=none if link is None else link.knots,
        reports=none if link is None else link.values,
    )


def _quantiles(found: FoundDesign) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if found.n is not None and found.solution is not None:
        shares = (np.arange(found.n) + 0.5) / found.n
        return shares, found.target.levels(found.n)[::-1], np.sort(found.solution.rewards)
    shares = np.linspace(0.0, 1.0, 1001)
    return shares, found.target.law.ppf(shares), found.law.ppf(shares)


def _scaled(raw: np.ndarray) -> np.ndarray:
    """Return U as it rises from 0 to 1; from its value at the gap 1/10 on where U(0) is -inf."""
    bottom = raw[0] if np.isfinite(raw[0]) else raw[LIFTED]
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

    Returns
    -------
    (k, 3) array of matplotlib.axes.Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.design(["uniform"], Figure()).shape
    (1, 3)
    """
    data = design_data(targets)
    with look.figure_or_new(fig, look.DOUBLE, 0.15 + 1.95 * len(data.rows)) as figure:
        axes = figure.subplots(len(data.rows), 3, squeeze=False)
        for line, row in zip(axes, data.rows, strict=True):
            _draw_laws(line[0], row)
            _draw_utility(line[1], row)
            (_draw_proof if row.margins.size else _draw_slope)(line[2], row)
    return axes


def _draw_laws(axes: Axes, row: DesignRow) -> None:
    # Of n rewards the points are shown, of a law the curve.
    points: dict[str, Any] = {"marker": "o", "linestyle": "none"} if row.shares.size < 200 else {}
    axes.plot(row.shares, row.wanted, color=look.GREY, alpha=0.45, linewidth=3.6, **points)
    axes.plot(row.shares, row.reached, color=look.BLUE, markersize=2.4, **points)
    word = {True: "reached", False: "out of reach", None: "undecided"}[row.reachable]
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), title=f"{row.name}: {word}")
    axes.set(xlabel="share of completions", ylabel="reward")
    look.note(axes, 0.03, 0.93, "wanted", inside=True, color=look.GREY, va="top")
    look.note(axes, 0.03, 0.80, "the utility\u2019s", inside=True, color=look.BLUE, va="top")
    look.note(axes, 0.97, 0.05, f"$W_1$ = {row.distance:.2g}", inside=True, **CORNER)


def _draw_utility(axes: Axes, row: DesignRow) -> None:
    axes.plot(row.gaps, row.values, color=look.BLUE)
    low = max(float(np.nanmin(row.values)), -0.6) - 0.03
    title = f"utility, from 0 at gap {row.bottom:.2g} to 1 at gap 1"
    axes.set(xlim=(0, 1), ylim=(low, 1.05), xlabel="gap", title=title)


def _draw_slope(axes: Axes, row: DesignRow) -> None:
    axes.plot(row.gaps, row.slopes, color=look.BLUE)
    top = 1.1 * float(np.nanmax(row.slopes[row.gaps > 0.05]))
    title = "its slope, over that at gap 1/2"
    axes.set(xlim=(0, 1), ylim=(0, top), xlabel="gap", title=title)


def _draw_proof(axes: Axes, row: DesignRow) -> None:
    title, label = "proof", "margin m"
    if row.knots.size:
        low, high = row.reports[[0, -1]]
        reports = (row.reports - low) / (high - low)
        axes.plot(row.knots, reports, color=look.GREY, linestyle=(0, (4, 1.5)))
        title = "proof (solid) and link (dashed)"
        label = "m (solid), model\u2019s reward (dashed)"
    axes.plot(row.margins, row.gains, color=look.VERMILION)
    axes.axhline(0.0, color=look.GREY, linewidth=0.6)
    if row.margin > 0:
        axes.axhline(row.margin, color=look.VERMILION, linewidth=0.7, linestyle=(0, (1, 1.2)))
        height, text = 0.05, f"gain under min(x, m),\nat least {row.margin:.3g} for every m"
    else:
        height, text = 0.2, "gain under min(x, m)"
    look.note(axes, 0.97, height, text, inside=True, color=look.VERMILION, **CORNER)
    axes.set(xlim=(0, 1), ylim=(-0.05, 1.05), xlabel=label, title=title)
