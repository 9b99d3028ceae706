"""The optimum of n completions, reward against rank, with the limit law's quantiles behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.figures import look
from collapse_theory.finite import Method, solve
from collapse_theory.limit import limit
from collapse_theory.programs import Box, DomainLike, Solution
from collapse_theory.programs.drawing import draw_rewards, drawn, tied
from collapse_theory.utilities import Loss
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class FiniteOptimum(Value):
    """What `finite_optimum` draws.

    Attributes
    ----------
    utility, domain : str
        The domain is empty for Box(0, 1).
    ranks, rewards : (n,) array
        From rank 1, the best.
    tied : (n,) array
        1 where a neighbour has the same reward, else 0.
    low, high : float
        The ends of the box; without a box those of the rewards and the curve.
    curve_ranks, curve : (k,) array
        The limit law's quantiles: ppf(1 - (rank - 1/2)/n) between the ranks 1/2 and n + 1/2,
        without a box between 1 and n; empty where the limit law isn't known.
    """

    utility: str
    domain: str
    ranks: Array
    rewards: Array
    tied: Array
    low: float
    high: float
    curve_ranks: Array
    curve: Array


def finite_optimum_data(
    u: Loss | str | Solution = "log(x + 0.1)",
    n: int = 8,
    *,
    domain: DomainLike | None = None,
    method: Method = "auto",
) -> FiniteOptimum:
    """Return the optimal rewards of n completions and the limit law's quantiles.

    All are as `collapse_theory.solve` takes them; `u` may also be a Solution, which then says n and
    the domain too.

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
    domain = solved.domain
    try:
        law = limit(solved.utility, domain)
    except (CollapseError, SolverFailed):
        law = None  # no method reaches it
    # Levels crowd at the ends, where quantile functions are steep.
    levels = np.sin(np.linspace(0, np.pi / 2, 801)) ** 2 if law else np.empty(0)
    if isinstance(domain, Box):
        curve = law.ppf(1 - levels) if law else levels
        low, high = domain.low, domain.high
    else:  # the law's tails may go far beyond what n rewards show of them
        levels = 0.5 / solved.n + levels * (1 - 1 / solved.n)
        curve = law.ppf(1 - levels) if law else levels
        shown = np.concatenate([solved.rewards, curve])
        low, high = shown.min(), shown.max()
    return FiniteOptimum(
        utility=str(solved.utility),
        domain="" if domain == Box() else str(domain),
        ranks=np.arange(1, solved.n + 1),
        rewards=solved.rewards,
        tied=tied(solved.gaps),
        low=float(low),
        high=float(high),
        curve_ranks=levels * solved.n + 0.5,
        curve=curve,
    )


def finite_optimum(
    u: Loss | str | Solution = "log(x + 0.1)",
    n: int = 8,
    ax: Axes | None = None,
    *,
    domain: DomainLike | None = None,
    method: Method = "auto",
    color: Any = None,
    label: str | None = None,
) -> Axes:
    """Draw the optimal rewards of n completions against their rank, the best on the left.

    Filled points stand alone, hollow ones are tied with a neighbour. The pale line behind them is
    the quantile function of the limit law. `color` and `label` are the points' colour and their
    entry in the key; on axes that have an optimum already, further ones are named by their utility.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> axes = figures.finite_optimum("log(x)", 8, Figure().subplots(), label="exact")
    >>> axes.get_legend_handles_labels()[1][1]
    'exact'
    """
    data = finite_optimum_data(u, n, domain=domain, method=method)
    with look.axes_or_new(ax, look.SINGLE, 2.4) as axes:
        low, high, first = data.low, data.high, not drawn(axes)
        named = look.formula(", ".join(filter(None, (data.utility, data.domain))))
        if not first:
            label = label or f"{named}, $n={data.ranks.size}$"
        draw_optimum(axes, data, low, high, margin=0.06, ticks=12, color=color, label=label)
        axes.set_xlabel("rank of the completion, 1 the best")
        axes.set_ylabel("reward")
        if first:
            listwise = data.utility.startswith("PlackettLuce")
            axes.set_title(named if listwise else f"U(x) = {named}")
        # Rewards fall with the rank and are symmetric: this corner is always free.
        axes.legend(loc="upper right", borderaxespad=0.2, frameon=False)
    return axes


def draw_optimum(
    axes: Axes,
    data: FiniteOptimum,
    low: float,
    high: float,
    *,
    margin: float,
    ticks: int,
    color: Any = None,
    label: str | None = None,
) -> None:
    """Draw rewards over the limit law, on a scale from low to high with a margin (as a share).

    Filled points stand alone, hollow ones are tied with a neighbour. At most `ticks` ranks are
    named.
    """
    from matplotlib.ticker import MaxNLocator

    n, before = data.ranks.size, drawn(axes)
    edges = [*axes.get_xlim(), *axes.get_ylim()] if before else [np.inf, -np.inf] * 2
    if data.curve.size:
        name = None if before else r"limit law, $n\to\infty$"
        axes.plot(data.curve_ranks, data.curve, **look.WIDE, label=name)
    # In points, three quarters of the way to the next one: no mark hides another.
    size = float(np.clip(0.75 * 72 * look.SINGLE / n, 1.0, 4.5))
    draw_rewards(
        axes,
        data.ranks,
        data.rewards,
        data.tied > 0,
        label=label or f"optimum, $n={n}$",
        color=look.turn(before)[0] if color is None else color,
        hollow_label="tied with a neighbour",
        size=size,
    )
    air, room = margin * (high - low), max(0.5, 0.02 * n)
    axes.set_ylim(min(low - air, edges[2]), max(high + air, edges[3]))
    axes.set_xlim(min(1 - room, edges[0]), max(n + room, edges[1]))
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, min_n_ticks=1))
