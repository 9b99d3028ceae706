"""What the rewards of one kind look like: quantiles, atoms, ties, order statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.diagnosis.curves import Curves
from collapse_theory.diagnosis.scale import RewardMap
from collapse_theory.laws import RewardLaw, empirical_law
from collapse_theory.values import Value, frozen_array

__all__ = ["BINS", "QUANTILES", "KindSummary", "Prediction", "summary_of"]

QUANTILES = np.arange(0, 101, 5) / 100
BINS = 40
_ATOM = 0.02  # a value that so large a share of the rewards has is an atom
_MOST_ATOMS = 20
_NEAR = 0.01  # on the scale from 0 to 1: saturated


@dataclass(frozen=True, eq=False)
class Prediction(Value):
    """How far a kind's rewards are from what a utility predicts, on the scale from 0 to 1.

    Parameters
    ----------
    utility : str
    distance : float
        Wasserstein-1 distance between the laws.
    kolmogorov : float
        The largest difference of the distribution functions. Noise around an atom makes it as
        large as half the atom.
    error : float
        The mean distance between the mean reward of each rank and the predicted one: it doesn't
        grow with noise, as the two others do.
    curve : (levels,) array
        The predicted rewards at the levels of `KindSummary.curve`, in the log's own units.
    """

    utility: str
    distance: float
    kolmogorov: float
    error: float
    curve: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "curve", frozen_array(self.curve))


@dataclass(frozen=True, eq=False, repr=False)
class KindSummary(Value):
    """The rewards of one kind of prompts; in the log's own units unless said otherwise.

    Parameters
    ----------
    name : str
    prompts, rows : int
    mean, sd : float
    quantiles : (21,) array
        At the levels 0, 0.05, ..., 1.
    atoms : (k, 2) array
        Values that at least 2% of the rewards have exactly, with their shares.
    edges, counts : (41,), (40,) array
        A histogram of equal bins from the lowest to the highest reward.
    curve : (levels,) array
        Mean reward at each common level, best first.
    low, high : (levels,) array
        The 5% and the 95% quantile over prompts at each level.
    within : float
        Variance of order statistics between this kind's prompts, on the scale from 0 to 1.
    at_low, at_high : float
        The shares of rewards within 0.01 of the scale's ends.
    tied : float
        The share of neighbouring rewards of a prompt that are equal.
    predictions : tuple of Prediction
        Nearest first.
    """

    name: str
    prompts: int
    rows: int
    mean: float
    sd: float
    quantiles: Any
    atoms: Any
    edges: Any
    counts: Any
    curve: Any
    low: Any
    high: Any
    within: float
    at_low: float
    at_high: float
    tied: float
    predictions: tuple[Prediction, ...] = ()

    def __post_init__(self) -> None:
        for name in ("quantiles", "atoms", "edges", "counts", "curve", "low", "high"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))

    @property
    def law(self) -> RewardLaw:
        """The law of the rewards, as the histogram's shares at the middles of its bins."""
        middles = 0.5 * (self.edges[:-1] + self.edges[1:])
        return empirical_law(middles, self.counts)

    def __repr__(self) -> str:
        return (
            f"KindSummary({self.name}: {self.prompts} prompts, {self.rows} rewards, mean "
            f"{self.mean:.3g}, s.d. {self.sd:.3g})"
        )


def summary_of(
    name: str, number: int, curves: Curves, scale: RewardMap, predictions: tuple[Prediction, ...]
) -> KindSummary:
    """Return the summary of one kind; `curves` holds the rewards in the log's own units."""
    here = curves.kinds == number
    rewards = np.sort(curves.rows_of(number))
    block = curves.at_levels[here]
    low, high = np.quantile(block, [0.05, 0.95], axis=0)
    edges = np.linspace(rewards[0], max(rewards[-1], np.nextafter(rewards[0], np.inf)), BINS + 1)
    places = np.concatenate([np.searchsorted(rewards, edges[:-1]), [rewards.size]])
    near = _NEAR * scale.width
    below = np.searchsorted(rewards, scale.low + near, side="right")
    above = rewards.size - np.searchsorted(rewards, scale.high - near)
    return KindSummary(
        name=name,
        prompts=int(here.sum()),
        rows=int(rewards.size),
        mean=float(rewards.mean()),
        sd=float(rewards.std()),
        quantiles=_quantiles(rewards),
        atoms=_atoms(rewards),
        edges=edges,
        counts=np.diff(places),
        curve=block.mean(axis=0),
        low=low,
        high=high,
        within=float(block.var(axis=0, ddof=min(1, len(block) - 1)).mean()) / scale.width**2,
        at_low=float(below / rewards.size),
        at_high=float(above / rewards.size),
        tied=_tied(curves, here),
        predictions=predictions,
    )


def _quantiles(ordered: np.ndarray) -> np.ndarray:
    """Return the quantiles of sorted rewards, linear between them as NumPy has it."""
    place = QUANTILES * (ordered.size - 1)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, ordered.size - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _atoms(ordered: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
    counts = np.diff(np.concatenate([[-1], ends]))
    # A value that comes once or twice is no atom, however short the log.
    heavy = np.flatnonzero((counts >= _ATOM * ordered.size) & (counts >= 3))
    heavy = np.sort(heavy[np.argsort(-counts[heavy], kind="stable")][:_MOST_ATOMS])
    return np.column_stack([ordered[ends[heavy]], counts[heavy] / ordered.size])


def _tied(curves: Curves, here: np.ndarray) -> float:
    equal = curves.rewards[1:] == curves.rewards[:-1]
    inside = np.ones(curves.rewards.size - 1, dtype=bool)
    inside[curves.starts[1:-1] - 1] = False  # neighbours of two prompts
    inside &= np.repeat(here, curves.sizes)[1:]
    return float(equal[inside].mean()) if inside.any() else 0.0
