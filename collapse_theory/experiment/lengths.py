"""How much of a completion's length a linear map can read from the features."""

from __future__ import annotations

import numpy as np

from collapse_theory.experiment.features import Table
from collapse_theory.experiment.prompts import PromptSet

__all__ = ["held_out_r2", "length_r2"]

PENALTIES = 10.0 ** np.arange(-3, 5)


def length_r2(table: Table, prompts: PromptSet) -> tuple[float, float]:
    """Return held-out R^2 of a completion's number of words, from the first and the last state.

    A ridge regression on the training prompts' completions.
    """
    present = table.ranks >= 0
    words = np.zeros(table.ranks.shape)
    words[present] = [len(t.split()) for one in prompts.rankings for t in one.completions]
    train = np.arange(len(words)) < table.train
    fit, rest = present & train[:, None], present & ~train[:, None]
    half = table.features.shape[2] // 2
    first, last = (
        held_out_r2(x[fit], words[fit], x[rest], words[rest])
        for x in (table.features[:, :, :half], table.features[:, :, half:])
    )
    return first, last


def held_out_r2(x: np.ndarray, y: np.ndarray, new_x: np.ndarray, new_y: np.ndarray) -> float:
    """Return R^2 on new data of a ridge regression whose penalty has the least leave-one-out error.

    The leave-one-out residuals of a linear smoother H are (y - H y) / (1 - diag H).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> y = x @ [1.0, 2.0, -1.0]
    >>> held_out_r2(x[:40], y[:40], x[40:], y[40:]) > 0.999
    True
    """
    x, new_x = x.astype(np.float64), new_x.astype(np.float64)
    centre, scale, level = x.mean(0), x.std(0), y.mean()
    scale = np.where(scale > 1e-8, scale, 1.0)
    left, values, right = np.linalg.svd((x - centre) / scale, full_matrices=False)
    scores = left.T @ (y - level)

    def shrink(penalty: float) -> np.ndarray:
        return values**2 / (values**2 + penalty)

    def left_out(penalty: float) -> float:
        smooth = left * shrink(penalty)
        rest = (y - level - smooth @ scores) / (1.0 - 1.0 / len(y) - (smooth * left).sum(1))
        return float((rest**2).mean())

    penalty = min(PENALTIES, key=left_out)
    weights = right.T @ (values / (values**2 + penalty) * scores)
    fitted = level + ((new_x - centre) / scale) @ weights
    spread = ((new_y - new_y.mean()) ** 2).sum()
    return float(1.0 - ((new_y - fitted) ** 2).sum() / spread) if spread > 0 else float("nan")
