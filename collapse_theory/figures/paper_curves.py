"""The curves of the published figures, read off by redrawing them until the pixels agreed.

Source: the four figures in the public repository ctlllll/reward_collapse of Song, Cai, Lee, Su,
"Reward Collapse in Aligning Large Language Models", arXiv:2305.17608. Every number is within
0.0003 of the figure; `data/README.md` explains the columns.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.values import Value, frozen_array

__all__ = ["PaperCurve", "paper_curve", "paper_curves"]


@dataclass(frozen=True, eq=False)
class PaperCurve(Value):
    """One curve of a published figure.

    Parameters
    ----------
    figure, panel : str
        The figure's file name and the panel's title.
    split : str
        "train", "test", or "unstated".
    prompt_type : str
        "open", "closed", or "both" for a prediction.
    kind : str
        "trained", or "predicted" for a dashed line.
    rewards : (8,) array
        Mean rewards over prompts, the best completion first.
    bands : (8,) array
        Half-widths of the band, about one standard deviation; NaN where it is hidden or none.
    """

    figure: str
    panel: str
    split: str
    prompt_type: str
    kind: str
    rewards: Any
    bands: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", frozen_array(self.rewards))
        object.__setattr__(self, "bands", frozen_array(self.bands))


@cache
def paper_curves() -> tuple[PaperCurve, ...]:
    """Return all curves of the published figures.

    Returns
    -------
    tuple of PaperCurve
        In the order of the figures.

    Examples
    --------
    >>> from collapse_theory.figures import paper_curves
    >>> curves = paper_curves()
    >>> len(curves), curves[0].panel, curves[0].rewards.round(2).tolist()
    (30, 'x', [1.0, 1.0, 1.0, 0.96, 0.14, 0.0, 0.0, 0.0])
    """
    source = files("collapse_theory.figures") / "data" / "paper_figures.csv"
    rows: dict[tuple[str, ...], list[tuple[int, float, float]]] = {}
    names = ("figure", "panel", "split", "prompt_type", "kind")
    for row in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        points = rows.setdefault(tuple(row[name] for name in names), [])
        band = float(row["band"]) if row["band"] else np.nan
        points.append((int(row["index"]), float(row["reward"]), band))
    curves = []
    for key, points in rows.items():
        best_first = sorted(points, reverse=True)
        rewards, bands = [p[1] for p in best_first], [p[2] for p in best_first]
        curves.append(PaperCurve(*key, rewards=rewards, bands=bands))
    return tuple(curves)


def paper_curve(figure: str, panel: str, prompt_type: str, kind: str = "trained") -> PaperCurve:
    """Return the one curve with these names."""
    wanted = (figure, panel, prompt_type, kind)
    for curve in paper_curves():
        if (curve.figure, curve.panel, curve.prompt_type, curve.kind) == wanted:
            return curve
    raise CollapseError(f"no published curve {wanted}; paper_curves() lists them all")
