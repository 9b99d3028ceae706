"""How the rewards of completions are drawn: points by rank, joined; those of ties are hollow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 2000  # of more completions so many ranks are drawn
_REWARDS = "rewards"  # marks the lines that stand for rewards
_MARKERS = "os^Dv"


def drawn_ranks(n: int) -> np.ndarray:
    """Return the ranks that are drawn of 1 to n."""
    return np.unique(np.linspace(1, n, min(n, MOST_POINTS)).round().astype(np.int64))


def tied(gaps: np.ndarray) -> np.ndarray:
    """Return which rewards equal a neighbour's, from the gaps between them."""
    same = gaps == 0
    return np.append(same, False) | np.append(False, same)


def drawn(axes: Axes) -> int:
    """Return how many sets of rewards the axes have."""
    return sum(line.get_gid() == _REWARDS for line in axes.lines)


def draw_rewards(
    axes: Axes,
    ranks: np.ndarray,
    rewards: np.ndarray,
    hollow: np.ndarray,
    *,
    label: str,
    color: Any = None,
    hollow_label: str | None = None,
    size: float = 4.5,
) -> None:
    """Draw rewards by rank, beside those drawn there before, with an entry for a legend.

    `hollow` says which points are hollow, and `hollow_label` names these where there are some. A
    further set of rewards on the same axes has the next colour and marker.
    """
    before, listed = drawn(axes), {line.get_label() for line in axes.lines}
    (line,) = axes.plot(ranks, rewards, color=color, linewidth=0.7, clip_on=False, gid=_REWARDS)
    look: Any = {
        "color": line.get_color(),
        "linestyle": "none",
        "marker": _MARKERS[before % len(_MARKERS)],
        "markersize": size,
        "markeredgewidth": min(0.9, size / 4),
        "clip_on": False,
    }
    told = None if hollow_label in listed else hollow_label  # once
    for which, here in enumerate((~hollow, hollow)):
        if here.any():
            name = (told or (label if hollow.all() else None)) if which else label
            fill = "white" if which else line.get_color()
            axes.plot(ranks[here], rewards[here], markerfacecolor=fill, label=name, **look)
