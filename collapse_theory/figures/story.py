"""What the package is about, in one picture: one law for all prompts, or one for each kind.

The points are measured by ``collapse-theory experiment``: rewards of reward models trained on real
text. The lines are computed before any training.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.figures.experiment import SPLITS
from collapse_theory.figures.trained import OPTIMUM, draw_trained, trained_key
from collapse_theory.finite import solve
from collapse_theory.lazy import polars as pl
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

SOURCE = Path(__file__).parent / "data" / "story.csv"
KINDS = ("open", "closed")
# What was trained, as the table of the experiment has it: for open-ended and closed-ended prompts.
TRAINED = {
    "log(x + 0.1)": ("log(x + 0.1)", "log(x + 0.1)"),
    "open=-1/(x + 0.1); closed=x": ("-1/(x + 0.1)", "x"),
}


@dataclass(frozen=True, eq=False)
class StoryPanels(Value):
    """Rewards by rank, best first: of one utility for all prompts, and of one for each kind.

    Attributes
    ----------
    means, bands : (2, 2, 2, 8) array
        Mean rewards and their standard deviations over prompts: by what was trained, by training
        and held-out prompts, by open-ended and closed-ended ones, by rank.
    exact : (2, 2, 8) array
        The optimum of what was trained, of open-ended and of closed-ended prompts.
    """

    means: Array
    bands: Array
    exact: Array

    @property
    def errors(self) -> np.ndarray:
        """Means over ranks of the distance to the optimum, (2, 2, 2) as the first of `means`."""
        return np.abs(self.means - self.exact[:, None]).mean(axis=-1)


def story_rows(runs: str | os.PathLike[str]) -> Any:
    """Return mean and deviation of rewards by rank, as a data frame.

    `runs` is the ``runs.parquet`` of ``collapse-theory experiment``. The first run of each loss
    counts, at its last step.
    """
    ours = pl.col("utility").is_in(list(TRAINED)) & (pl.col("control") == "")
    last = (pl.col("step") == pl.col("step").max()) & (pl.col("seed") == pl.col("seed").min())
    keys = ["utility", "split", "kind", "rank"]
    reward = pl.col("reward").cast(pl.Float64)
    measured = (reward.mean().round(5).alias("mean"), reward.std().round(5).alias("deviation"))
    return (
        pl.read_parquet(Path(runs))
        .filter(ours)
        .filter(last)
        .group_by(keys)
        .agg(*measured)
        .sort(keys)
    )


def story_data(runs: str | os.PathLike[str] | None = None) -> StoryPanels:
    """Return the numbers of the figure: of an experiment's ``runs.parquet``, or of the package's.

    Examples
    --------
    >>> from collapse_theory.figures import story_data
    >>> bool(story_data().errors.max() < 0.03)
    True
    """
    rows = pl.read_csv(SOURCE) if runs is None else story_rows(runs)

    def curves(measure: str) -> np.ndarray:
        found = [
            rows.filter(utility=utility, split=split, kind=kind).sort("rank")[measure].to_numpy()
            for utility in TRAINED
            for split in SPLITS
            for kind in KINDS
        ]
        return np.reshape(found, (len(TRAINED), len(SPLITS), len(KINDS), -1))

    means = curves("mean")
    exact = [[solve(u, means.shape[-1]).rewards for u in pair] for pair in TRAINED.values()]
    return StoryPanels(means, curves("deviation"), np.array(exact))


def story(
    runs: str | os.PathLike[str] | None = None, fig: Figure | SubFigure | None = None
) -> np.ndarray:
    """Draw one utility for all prompts, then one for each kind: training and held-out prompts.

    With one utility both kinds of prompt end at the same rewards, those computed before training;
    with one for each kind they end at two. Parameters are those of `story_data`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.story(fig=Figure()).shape
    (4,)
    """
    data = story_data(runs)
    with look.figure_or_new(fig, look.DOUBLE, 2.15) as figure:
        axes = figure.subplots(1, 4, sharey=True)
        titles = ("One utility", "One for each kind")
        for number, pair in enumerate(axes.reshape(2, 2)):
            for panel, (ax, split) in enumerate(zip(pair, SPLITS.values(), strict=True)):
                lines = [(rewards, OPTIMUM) for rewards in data.exact[number]]
                draw_trained(ax, data.means[number, panel], data.bands[number, panel], lines)
                ax.set_title(f"{titles[number]}:\n{split}", linespacing=1.05)
                ax.set_xlabel("rank, 1 the best")
        axes[0].set_ylabel("reward")
        names = [f"{kind}-ended prompts" for kind in KINDS]
        key = trained_key(names, "one s.d. over prompts")
        figure.legend(handles=key, loc="outside lower center", ncols=len(key), columnspacing=1.2)
    return axes
