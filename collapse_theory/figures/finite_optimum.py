"""The optimum of n completions, reward against rank, with the limit law's quantiles behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures.limits import limit_or_none
from collapse_theory.figures.style import BLUE, PALE, SINGLE, axes_or_new, formula
from collapse_theory.finite import solve
from collapse_theory.programs import Box, Domain, Solution
from collapse_theory.utilities import Loss
from collapse_theory.values import Value, frozen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FiniteOptimum", "draw_points", "finite_optimum", "finite_optimum_data"]


@dataclass(frozen=True, eq=False)
class FiniteOptimum(Value):
    """What `finite_optimum` draws.

    Parameters
    ----------
    utility : str
    ranks, rewards : (n,) array
        From rank 1, the best.
    tied : (n,) array
        1 where a neighbour has the same reward, else 0.
    low, high : float
        The ends of the box.
    curve_ranks, curve : (k,) array
        The limit law's quantiles: ppf(1 - (rank - 1/2)/n) between the ranks 1/2 and n + 1/2;
        empty where the limit law isn't known.
    """

    utility: str
    ranks: Any
    rewards: Any
    tied: Any
    low: float
    high: float
    curve_ranks: Any
    curve: Any

    def __post_init__(self) -> None:
        for name in ("ranks", "rewards", "tied", "curve_ranks", "curve"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))


def finite_optimum_data(
    u: Loss | str | Solution = "log(x + 0.1)",
    n: int = 8,
    *,
    domain: Domain | None = None,
    method: str = "auto",
) -> FiniteOptimum:
    """Return the optimal rewards of n completions and the limit law's quantiles.

    Parameters
    ----------
    u : Utility, PlackettLuce, str or Solution
        The utility of a gap, or the listwise loss; or its solution, which then says n and the
        domain too.
    n : int, optional
        The number of completions.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given.
    method : str, optional
        The method of `collapse_theory.solve`.

    Returns
    -------
    FiniteOptimum

    Examples
    --------
    >>> from collapse_theory.figures import finite_optimum_data
    >>> data = finite_optimum_data("log(x + 0.1)", 8)
    >>> data.rewards.round(3).tolist()
    [1.0, 1.0, 0.854, 0.627, 0.373, 0.146, 0.0, 0.0]
    >>> data.tied.tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """
    solved = u if isinstance(u, Solution) else solve(u, n, domain, method=method)
    domain, same = solved.domain, solved.gaps == 0
    low, high = solved.rewards[-1], solved.rewards[0]
    if isinstance(domain, Box):
        low, high = domain.low, domain.high
    tied = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    law = limit_or_none(solved.utility, domain)
    # Levels crowd at the ends, where quantile functions are steep.
    levels = np.sin(np.linspace(0, np.pi / 2, 801)) ** 2 if law else np.empty(0)
    return FiniteOptimum(
        utility=str(solved.utility),
        ranks=np.arange(1, solved.n + 1),
        rewards=solved.rewards,
        tied=tied,
        low=float(low),
        high=float(high),
        curve_ranks=levels * solved.n + 0.5,
        curve=law.ppf(1 - levels) if law else levels,
    )


def finite_optimum(
    u: Loss | str | Solution = "log(x + 0.1)",
    n: int = 8,
    ax: Axes | None = None,
    *,
    domain: Domain | None = None,
    method: str = "auto",
) -> Axes:
    """Draw the optimal rewards of n completions against their rank, the best on the left.

    Filled points stand alone, hollow ones are tied with a neighbour. The pale line behind them is
    the quantile function of the limit law.

    Parameters
    ----------
    u : Utility, PlackettLuce, str or Solution
        The utility of a gap, or the listwise loss; or its solution, which then says n and the
        domain too.
    n : int, optional
        The number of completions.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure of one column's width unless given.
    domain, method
        As `finite_optimum_data` takes them.

    Returns
    -------
    matplotlib.axes.Axes
    """
    from matplotlib.ticker import MaxNLocator

    data = finite_optimum_data(u, n, domain=domain, method=method)
    with axes_or_new(ax, SINGLE, 2.4) as axes:
        if data.curve.size:
            axes.plot(
                data.curve_ranks,
                data.curve,
                color=PALE,
                lw=3.2,
                solid_capstyle="butt",
                label=r"limit law, $n\to\infty$",
            )
        draw_points(axes, data)
        margin = 0.06 * (data.high - data.low)
        axes.set_ylim(data.low - margin, data.high + margin)
        room = max(0.5, 0.02 * data.ranks.size)
        axes.set_xlim(1 - room, data.ranks.size + room)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
        axes.set_xlabel("rank of the completion, 1 the best")
        axes.set_ylabel("reward")
        listwise = data.utility.startswith("PlackettLuce")
        axes.set_title(formula(data.utility if listwise else f"U(x) = {data.utility}"))
        # Rewards fall with the rank and are symmetric: this corner is always free.
        axes.legend(loc="upper right", borderaxespad=0.2, frameon=False)
    return axes


def draw_points(axes: Axes, data: FiniteOptimum) -> None:
    """Draw the rewards: filled points stand alone, hollow ones are tied with a neighbour."""
    n = data.ranks.size
    # In points, three quarters of the way to the next one: no mark hides another.
    size = float(np.clip(0.75 * 72 * SINGLE / n, 1.0, 4.5))
    axes.plot(data.ranks, data.rewards, color=BLUE, lw=0.7, clip_on=False)
    labels = {False: f"optimum, $n={n}$", True: "tied with a neighbour"}
    for tied, face in ((False, BLUE), (True, "white")):
        here = (data.tied > 0) == tied
        if not here.any():
            continue
        axes.plot(
            data.ranks[here],
            data.rewards[here],
            linestyle="none",
            marker="o",
            markersize=size,
            color=BLUE,
            markerfacecolor=face,
            markeredgewidth=min(0.9, size / 4),
            clip_on=False,
            label=labels[tied],
        )
