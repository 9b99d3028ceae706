"""Do prompts fall into two groups? Their order statistics along the direction they vary most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Groups", "two_groups"]


@dataclass(frozen=True)
class Groups:
    """The best split of prompts in two along their first principal component.

    Attributes
    ----------
    explained : float
        The share of all variance between prompts that the split explains: near 1 for two groups,
        each with its own vector; 2/pi at most for Gaussian variation.
    smaller : float
        The share of prompts in the smaller group.
    """

    explained: float
    smaller: float


def two_groups(at_levels: np.ndarray) -> Groups:
    """Return how well a split in two explains that prompts differ.

    Parameters
    ----------
    at_levels : (P, levels) array

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.diagnosis.groups import two_groups
    >>> two_groups(np.repeat([[1.0, 0.5, 0.0], [1.0, 1.0, 0.0]], 3, axis=0))
    Groups(explained=1.0, smaller=0.5)
    """
    centred = at_levels - at_levels.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    total = values.sum()
    if not total > 1e-20 * max(1.0, float((at_levels**2).sum())):
        return Groups(0.0, 0.0)
    scores = np.sort(centred @ vectors[:, -1])
    count = scores.size
    sizes = np.arange(1, count)
    sums = np.cumsum(scores)[:-1]
    # Between two groups of a centred sample: s^2 / k + s^2 / (P - k).
    between = sums**2 * (1.0 / sizes + 1.0 / (count - sizes))
    best = int(np.argmax(between))
    small = min(best + 1, count - best - 1) / count
    return Groups(float(min(between[best] / total, 1.0)), float(small))
