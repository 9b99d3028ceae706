"""How far a kind's rewards are from what a utility predicts for prompts of these sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collapse_theory.diagnosis.curves import Curves, different, level_matrix
from collapse_theory.diagnosis.scale import RewardMap, map_by_ends
from collapse_theory.diagnosis.summary import Prediction
from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve
from collapse_theory.limit import limit
from collapse_theory.programs import Box, Domain
from collapse_theory.utilities import Utility

__all__ = ["between", "predicted_vectors", "predictions_of"]

_LARGEST = 128  # from here on the limit law's quantiles are as near as matters
_SIZES = 24  # of more different numbers of completions, so many are solved for
_MOST = 100_000  # so many quantiles stand for more rewards: right to 1e-5


def predictions_of(
    utilities: Sequence[Utility], curves: Curves, kind: int, scale: RewardMap, domain: Domain
) -> tuple[Prediction, ...]:
    """Return what each utility predicts for one kind and how far off it is, nearest first.

    The order is by the error of the mean rewards by rank, which noise doesn't blur.
    """
    here = curves.kinds == kind
    rewards = np.sort(np.asarray(scale(curves.rows_of(kind))))
    mean = np.asarray(scale(curves.at_levels[here].mean(axis=0)))
    found = []
    for u in utilities:
        vectors, weights = predicted_vectors(u, curves.sizes[here], domain)
        values = np.concatenate(vectors)
        masses = np.repeat(weights, [len(v) for v in vectors])
        curve = _mean_curve(vectors, weights, curves.levels)
        found.append(
            Prediction(
                utility=str(u),
                distance=_wasserstein(rewards, values, masses),
                kolmogorov=_kolmogorov(rewards, values, masses),
                error=float(np.abs(mean - curve).mean()),
                curve=scale.low + scale.width * curve,
            )
        )
    return tuple(sorted(found, key=lambda p: (p.error, p.distance)))


def predicted_vectors(
    u: Utility, sizes: np.ndarray, domain: Domain
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the predicted rewards of each number of completions, and how many prompts have it.

    Outside a box rewards have no ends of their own: the median prompt's worst and best are mapped
    to 0 and 1, as those of the log are.
    """
    several = np.array(different(sizes))
    counts = np.bincount(sizes)[several]
    solved = several
    if several.size > _SIZES:
        solved = np.unique(several[np.linspace(0, several.size - 1, _SIZES).astype(int)])
        nearest = np.abs(several[:, None] - solved).argmin(axis=1)
        counts = np.bincount(nearest, weights=counts, minlength=solved.size)
    vectors = [_rewards(u, int(size), domain) for size in solved]
    weights = counts.astype(float)
    low, high = (0.0, 1.0) if domain == Box() else map_by_ends(vectors, weights)
    if not low < high:
        raise CollapseError(f"{u} predicts equal rewards in {domain}: there is no scale to compare")
    return [(vector - low) / (high - low) for vector in vectors], weights


def _rewards(u: Utility, size: int, domain: Domain) -> np.ndarray:
    if size > _LARGEST:
        try:
            return limit(u, domain).quantiles(min(size, 1024))
        except CollapseError:
            size = min(size, 1024)  # no limit law is known
    return solve(u, size, domain).rewards


def _mean_curve(vectors: list[np.ndarray], weights: np.ndarray, levels: int) -> np.ndarray:
    total = sum(
        weight * (level_matrix(len(vector), levels) @ vector)
        for vector, weight in zip(vectors, weights, strict=True)
    )
    return np.asarray(total) / weights.sum()


def _steps(values: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of a discrete law's jumps and F after each."""
    places, index = np.unique(values, return_inverse=True)
    total = np.cumsum(np.bincount(index, weights=masses))
    return places, total / total[-1]


def _wasserstein(ordered: np.ndarray, values: np.ndarray, masses: np.ndarray) -> float:
    if ordered.size > _MOST:
        places = ((np.arange(_MOST) + 0.5) * (ordered.size / _MOST)).astype(int)
        ordered = ordered[places]
    places, after = _steps(values, masses)
    points = np.sort(np.concatenate([ordered, places]))
    ours = np.searchsorted(ordered, points[:-1], side="right") / ordered.size
    theirs = np.concatenate([[0.0], after])[np.searchsorted(places, points[:-1], side="right")]
    return float(np.abs(ours - theirs) @ np.diff(points))


def _kolmogorov(ordered: np.ndarray, values: np.ndarray, masses: np.ndarray) -> float:
    # Between two jumps of the predicted law it is constant: the sup is at a jump, or just below.
    places, after = _steps(values, masses)
    before = np.concatenate([[0.0], after[:-1]])
    at = np.searchsorted(ordered, places, side="right") / ordered.size
    below = np.searchsorted(ordered, places, side="left") / ordered.size
    return float(max(np.abs(at - after).max(), np.abs(below - before).max()))


def between(curves: Curves, scale: RewardMap, kinds: Sequence[int]) -> float:
    """Return the largest distance between two kinds' mean curves, on the scale from 0 to 1.

    It is the Wasserstein-1 distance between the two laws that have these curves as quantiles.
    """
    means = [curves.at_levels[curves.kinds == kind].mean(axis=0) for kind in kinds]
    apart = [np.abs(a - b).mean() for i, a in enumerate(means) for b in means[:i]]
    return float(max(apart)) / scale.width
