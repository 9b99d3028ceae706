"""How the optimal rewards of n completions approach the limit law, and its prediction of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures import look
from collapse_theory.finite import solve
from collapse_theory.limit import convergence as measured
from collapse_theory.utilities import Utility, utility
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

EXAMPLES = ("log(x)", "x**0.5", "log(x + 0.1)", "logsigmoid(4*x)", "-x**-0.5")
SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, eq=False)
class ConvergenceRows(Value):
    """What `convergence` draws: a row a utility.

    Attributes
    ----------
    n : (k,) array
        Numbers of completions.
    distances : (m, k) array
        Wasserstein-1 distances between the law of n optimal rewards and the limit law.
    errors : (m, k) array
        Largest errors of the rewards that the limit law predicts; NaN where it predicts none.
    """

    utilities: tuple[str, ...]
    n: Array
    distances: Array
    errors: Array

    @property
    def rates(self) -> np.ndarray:
        """The r of distance ~ n**-r, from each row's last two numbers of completions."""
        last = np.log(self.distances[:, -2] / self.distances[:, -1])
        return last / np.log(self.n[-1] / self.n[-2])


def convergence_data(
    utilities: Sequence[Utility | str] = EXAMPLES, sizes: Sequence[int] = SIZES
) -> ConvergenceRows:
    """Return how far optima of n completions are from the limit law and from its prediction.

    `sizes` are numbers of completions, at least two, in increasing order; others, or no utilities,
    are a CollapseError, a ValueError.

    Examples
    --------
    >>> from collapse_theory.figures import convergence_data
    >>> data = convergence_data(["x**0.5"], [32, 64])
    >>> (data.distances * data.n).round(3).tolist(), data.rates.round(2).tolist()
    ([[0.25, 0.25]], [1.0])
    """
    chosen = [utility(u) for u in look.several(utilities, "convergence", "utilities")]
    n = tuple(sizes)
    if len(n) < 2 or list(n) != sorted(set(n)):
        raise CollapseError(f"convergence needs two or more increasing sizes, got {sizes!r}")
    distances, errors = zip(*(_row(u, n) for u in chosen), strict=True)
    return ConvergenceRows(
        tuple(map(str, chosen)), np.array(n), np.array(distances), np.array(errors)
    )


# Half a second a utility: kept, as the data function and the draw function both ask for it.
@lru_cache(maxsize=32)
def _row(u: Utility, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    found = measured(u, sizes, lambda n: solve(u, n).rewards)
    return found.distances, found.errors


def convergence(
    utilities: Sequence[Utility | str] = EXAMPLES,
    fig: Figure | SubFigure | None = None,
    *,
    sizes: Sequence[int] = SIZES,
) -> Any:
    """Draw how the optima of n completions approach the limit law as n grows.

    Left: the Wasserstein-1 distance between both, with 1/(4n), that of n equally likely points
    each in the middle of its share of the law. Middle: the same times n, which tells apart what
    lies together on the left. Right: the largest error of the rewards that the limit law predicts
    (`collapse_theory.limit.predicted_rewards`), which falls faster; the cross-hairs are an error
    of 0.001 at 32 completions. Returns the (3,) array of Axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> axes = figures.convergence(["x**0.5"], Figure(), sizes=[8, 16])
    >>> [ax.get_ylabel() for ax in axes]
    ['Wasserstein-1 distance', 'distance times $n$', 'error of the prediction']
    """
    data = convergence_data(utilities, sizes)
    with look.figure_or_new(fig, look.DOUBLE, 2.7) as figure:
        axes = figure.subplots(1, 3, sharex=True, gridspec_kw={"wspace": 0.06})
        _draw_distances(axes[0], data)
        _draw_scaled(axes[1], data)
        _draw_errors(axes[2], data)
        for ax in axes:
            ax.set_xlabel("completions, $n$")
            ticks = data.n[:: -(-data.n.size // 5)]
            ax.set_xticks(ticks, [f"{n:.0f}" for n in ticks])
            ax.minorticks_off()
        lines = [look.handle(look.formula(u), **_line(i)) for i, u in enumerate(data.utilities)]
        room: dict[str, Any] = {"columnspacing": 1.4, "handlelength": 2.8}
        ncols = min(len(lines), 5)
        figure.legend(handles=lines, loc="outside upper center", ncols=ncols, **room)
    return axes


def _draw_distances(axes: Axes, data: ConvergenceRows) -> None:
    axes.loglog(data.n, 0.25 / data.n, **look.WIDE)
    middle = float(data.n[data.n.size // 2])
    look.note(axes, middle, 0.11 / middle, "1/(4$n$)", color=look.GREY, ha="right", va="top")
    # A guide for slower rates, clear of every line.
    slow = np.array([middle, data.n[-1]])
    guide = 1.6 * float(data.distances[:, -1].max()) * np.sqrt(slow[-1] / slow)
    axes.plot(slow, guide, color=look.GREY, linewidth=0.5)
    look.note(
        axes, slow[-1], 1.5 * guide[-1], "$n^{-1/2}$", color=look.GREY, ha="right", va="bottom"
    )
    many = len(data.utilities) > 1
    for i, row in enumerate(data.distances):
        # Lines lie on one another: each has its own marks, in turn.
        axes.plot(data.n, row, **_line(i), markevery=(i % 4, 4) if many else 1)
    axes.set_ylabel("Wasserstein-1 distance")


def _draw_scaled(axes: Axes, data: ConvergenceRows) -> None:
    scaled = data.n * data.distances
    axes.axhline(0.25, **look.WIDE, zorder=0)
    for i, row in enumerate(scaled):
        axes.semilogx(data.n, row, **_line(i))
    top = 0.37
    axes.set_ylim(min(0.21, 0.97 * scaled.min()), top)
    # Slower rates leave the picture at the top: where they end is written there.
    for i, row in enumerate(scaled):
        if row[-1] > top:
            out = float(data.n[np.argmax(row > top)])
            text = f"to {row[-1]:.2f} at {data.n[-1]:.0f}"
            look.note(axes, out, top, text, color=look.turn(i)[0], va="top")
    look.note(axes, data.n[-1], 0.246, "1/4", color=look.GREY, ha="right", va="top")
    axes.set_ylabel("distance times $n$")


def _draw_errors(axes: Axes, data: ConvergenceRows) -> None:
    axes.set(xscale="log", yscale="log")
    if not np.isfinite(data.errors).any():
        axes.set_ylim(1e-5, 1e-1)
    for i, row in enumerate(data.errors):
        axes.plot(data.n, row, **_line(i))
    hair: dict[str, Any] = {"color": look.GREY, "linewidth": 0.5, "linestyle": (0, (1, 2))}
    axes.axhline(1e-3, **hair, zorder=0)
    if data.n[0] < 32 < data.n[-1]:
        axes.axvline(32, **hair, zorder=0)
        look.note(axes, 36, axes.get_ylim()[1], "$n$ = 32", color=look.GREY, va="top")
    axes.set_ylabel("error of the prediction")


def _line(i: int) -> dict[str, Any]:
    return look.mark(*look.turn(i), filled=False) | look.cycled(i, linewidth=0.9)
