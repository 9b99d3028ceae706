"""Panels of trained rewards by rank, with their bands, over what was predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPTIMUM: dict[str, Any] = {"color": look.BLACK, "linewidth": 0.9, "linestyle": "-"}
"""The look of the optimum of what was trained."""


def kind_mark(number: int) -> dict[str, Any]:
    """Return the look of the rewards of a kind of prompt, hollow and filled in turn.

    The filled ones are small enough to leave a ring of hollow ones below them to be seen.
    """
    filled = number % 2 == 1
    return look.mark(*look.turn(number), 2.4 if filled else 4.6, filled=filled)


def draw_trained(
    axes: Axes,
    means: Sequence[np.ndarray],
    bands: Sequence[np.ndarray],
    predictions: Iterable[tuple[np.ndarray, dict[str, Any]]],
) -> None:
    """Draw mean rewards, best first, of each kind of prompt with half-widths of their bands.

    Predictions are rewards, best first, with the look of their line.
    """

    def ranks(rewards: np.ndarray) -> np.ndarray:
        return np.arange(1, len(rewards) + 1)

    for number, (mean, band) in enumerate(zip(means, bands, strict=True)):
        low, high = np.clip([mean - band, mean + band], 0, 1)
        colour, _ = look.turn(number)
        axes.fill_between(ranks(mean), low, high, color=colour, alpha=0.16, linewidth=0)
    for rewards, line in predictions:
        axes.plot(ranks(rewards), rewards, **line)
    for number, mean in enumerate(means):
        axes.plot(ranks(mean), mean, **kind_mark(number), clip_on=False)
    most = max(map(len, means))
    ticks = sorted({1, (most + 1) // 2, most})
    axes.set(xlim=(0.5, most + 0.5), ylim=(-0.05, 1.05), xticks=ticks, yticks=[0, 0.5, 1])


def trained_key(kinds: Iterable[str], band: str) -> list[Any]:
    """Return the entries of a legend: a mark a kind, the band in words, the optimum."""
    from matplotlib.patches import Patch

    return [
        *(look.handle(name, **kind_mark(number)) for number, name in enumerate(kinds)),
        Patch(color=look.GREY, alpha=0.25, linewidth=0, label=f"\u00b1 {band}"),
        look.handle("optimum of what was trained", **OPTIMUM),
    ]
