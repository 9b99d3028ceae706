"""What the rewards of one kind look like: quantiles, atoms, ties, order statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.diagnosis.order_statistics import OrderStatistics, RewardMap
from collapse_theory.diagnosis.predictions import Prediction
from collapse_theory.laws import RewardLaw, empirical_law
from collapse_theory.values import Array, Value

QUANTILES = np.arange(0, 101, 5) / 100
BINS = 40
_ATOM = 0.02  # a value that so large a share of the rewards has is an atom
_MAX_ATOMS = 20  # that are told; the heaviest
_SATURATED = 0.01  # so near to an end of the scale rewards hardly rank


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
        The shares of rewards within 0.01 of the scale's ends, not beyond them.
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
    quantiles: Array
    atoms: Array
    edges: Array
    counts: Array
    curve: Array
    low: Array
    high: Array
    within: float
    at_low: float
    at_high: float
    tied: float
    predictions: tuple[Prediction, ...] = ()

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
    name: str,
    number: int,
    prompts: OrderStatistics,
    scale: RewardMap,
    predictions: tuple[Prediction, ...],
) -> KindSummary:
    """Return the summary of one kind; `prompts` hold the rewards in the log's own units."""
    here = prompts.kinds == number
    rewards = np.sort(prompts.rows_of(number))
    block = prompts.at_levels[here]
    low, high = np.quantile(block, [0.05, 0.95], axis=0)
    edges = np.linspace(rewards[0], max(rewards[-1], np.nextafter(rewards[0], np.inf)), BINS + 1)
    places = np.concatenate([np.searchsorted(rewards, edges[:-1]), [rewards.size]])
    near = _SATURATED * scale.width
    below, above = (
        np.searchsorted(rewards, end + near, side="right") - np.searchsorted(rewards, end - near)
        for end in (scale.low, scale.high)
    )
    return KindSummary(
        name=name,
        prompts=int(here.sum()),
        rows=int(rewards.size),
        mean=float(rewards.mean()),
        sd=float(rewards.std()),
        quantiles=np.quantile(rewards, QUANTILES),
        atoms=_atoms(rewards),
        edges=edges,
        counts=np.diff(places),
        curve=block.mean(axis=0),
        low=low,
        high=high,
        within=float(block.var(axis=0, ddof=min(1, len(block) - 1)).mean()) / scale.width**2,
        at_low=float(below / rewards.size),
        at_high=float(above / rewards.size),
        tied=float(prompts.ties[here].sum() / (prompts.sizes[here] - 1).sum()),
        predictions=predictions,
    )


def _atoms(ordered: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
    counts = np.diff(np.concatenate([[-1], ends]))
    # A value that comes once or twice is no atom, however short the log.
    heavy = np.flatnonzero((counts >= _ATOM * ordered.size) & (counts >= 3))
    heavy = np.sort(heavy[np.argsort(-counts[heavy], kind="stable")][:_MAX_ATOMS])
    return np.column_stack([ordered[ends[heavy]], counts[heavy] / ordered.size])
