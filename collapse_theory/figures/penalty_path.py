"""What a linear head is worth on its training prompts and on prompts left out, over its penalty."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.capacity import HeadPath, head_path
from collapse_theory.figures import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@cache
def _example() -> HeadPath:
    """Return heads on random features: 100 prompts of 4, ranked by one head and noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 4, 40))
    score = features @ rng.normal(size=40) / np.sqrt(40) + 2 * rng.logistic(size=(100, 4))
    return head_path(np.take_along_axis(features, np.argsort(-score)[:, :, None], 1))


def penalty_path_data(path: HeadPath | None = None) -> HeadPath:
    """Return the heads to draw; those on random features unless given.

    Examples
    --------
    >>> from collapse_theory.figures import penalty_path_data
    >>> penalty_path_data().at_an_end
    False
    """
    return _example() if path is None else path


def penalty_path(path: HeadPath | None = None, ax: Axes | None = None) -> Axes:
    """Draw the mean utility of training prompts and of prompts left out against the penalty.

    Left out, a prompt gets what the head would say of it without it (one step of Newton's method).
    The hollow square is the penalty that left-out prompts choose.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.penalty_path(ax=Figure().subplots()).get_xlabel()
    'penalty of $|w|^2$'
    """
    data = penalty_path_data(path)
    with look.axes_or_new(ax, look.SINGLE, 2.4) as axes:
        rows: tuple[tuple[str, Any], ...] = (
            ("training prompts", data.mean_utility),
            ("left out", data.held_out_utility),
        )
        for number, (label, row) in enumerate(rows):
            colour, marker = look.turn(number)
            axes.semilogx(data.penalties, row, color=colour, marker=marker, ms=3, label=label)
        best = data.best
        chosen = look.mark(look.turn(1)[0], "s", 7, filled=False)
        axes.plot([best.penalty], [best.held_out_utility], zorder=1, **chosen)
        # Left-out utilities of nearly no penalty may fall without bound: what decides is in view.
        low, high = np.nanmin(data.held_out_utility[data.penalties >= best.penalty]), 0.0
        high = float(np.nanmax(data.mean_utility))
        low = float(min(low, best.held_out_utility - (high - best.held_out_utility)))
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("penalty of $|w|^2$")
        axes.set_ylabel("mean utility")
        axes.set_title(look.formula(f"U(x) = {best.utility}"))
        axes.legend(loc="best", frameon=False)
    return axes
