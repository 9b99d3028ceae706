"""What the rewards of one kind look like, and how far they are from what utilities predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from collapse_theory.diagnosis.missing import subset_means
from collapse_theory.diagnosis.order_statistics import OrderStatistics, RewardMap, to_levels
from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve
from collapse_theory.laws import RewardLaw, empirical_law
from collapse_theory.limit import limit
from collapse_theory.programs import Box, Domain
from collapse_theory.utilities import Utility
from collapse_theory.values import Array, Value

QUANTILES = np.arange(0, 101, 5) / 100
BINS = 40
_ATOM = 0.02  # a value that so large a share of the rewards has is an atom
_MAX_ATOMS = 20  # that are told; the heaviest
_SATURATED = 0.01  # so near to an end of the scale rewards hardly rank


_MAX_SOLVED = 128  # completions from which on the limit law's quantiles are as near as matters
_MAX_QUANTILES = 1024
_MAX_SIZES = 24  # of more different numbers of completions, so many are solved for
_MAX_SAMPLE = 100_000  # so many quantiles stand for more rewards: right to 1e-5


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
    curve: Array


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
    prompts: OrderStatistics,
    block: np.ndarray,
    scale: RewardMap,
    predictions: tuple[Prediction, ...],
) -> KindSummary:
    """Return the summary of one kind's prompts, in the log's own units; `block` is at levels."""
    rewards = np.sort(prompts.rewards)
    low, high = np.quantile(block, [0.05, 0.95], axis=0)
    edges = np.linspace(rewards[0], max(rewards[-1], np.nextafter(rewards[0], np.inf)), BINS + 1)
    near = _SATURATED * scale.width
    below, above = (
        np.searchsorted(rewards, end + near, side="right") - np.searchsorted(rewards, end - near)
        for end in (scale.low, scale.high)
    )
    return KindSummary(
        name=name,
        prompts=prompts.count,
        rows=int(rewards.size),
        mean=float(rewards.mean()),
        sd=float(rewards.std()),
        quantiles=np.quantile(rewards, QUANTILES),
        atoms=_atoms(rewards),
        edges=edges,
        counts=np.diff(np.append(np.searchsorted(rewards, edges[:-1]), rewards.size)),
        curve=block.mean(axis=0),
        low=low,
        high=high,
        within=float(block.var(axis=0, ddof=min(1, len(block) - 1)).mean()) / scale.width**2,
        at_low=float(below / rewards.size),
        at_high=float(above / rewards.size),
        tied=float(prompts.ties.sum() / (prompts.sizes - 1).sum()),
        predictions=predictions,
    )


def _atoms(ordered: np.ndarray) -> np.ndarray:
    values, counts = np.unique(ordered, return_counts=True)
    # A value that comes once or twice is no atom, however short the log.
    heavy = np.flatnonzero((counts >= _ATOM * ordered.size) & (counts >= 3))
    heavy = np.sort(heavy[np.argsort(-counts[heavy], kind="stable")][:_MAX_ATOMS])
    return np.column_stack([values[heavy], counts[heavy] / ordered.size])


# -- predictions ---------------------------------------------------------------------------------


def predictions_of(
    utilities: Sequence[Utility],
    prompts: OrderStatistics,
    block: np.ndarray,
    scale: RewardMap,
    domain: Domain,
    missing: bool,
) -> tuple[Prediction, ...]:
    """Return what each utility predicts for one kind's prompts, and how far off: nearest first.

    The order is by the error of the mean rewards by rank, which noise doesn't blur. With `missing`
    prompts have had as many completions as the largest, of which some went missing at random.
    """
    rewards, sizes = np.sort(np.asarray(scale(prompts.rewards))), prompts.sizes
    mean = np.asarray(scale(block.mean(axis=0)))
    found = []
    for u in utilities:
        vectors, weights = _vectors(u, sizes[sizes == sizes.max()] if missing else sizes, domain)
        masses = np.repeat(weights, [vector.size for vector in vectors])
        distance, kolmogorov = _distances(rewards, empirical_law(np.concatenate(vectors), masses))
        if missing:
            whole, (several, weights) = vectors[0], np.unique(sizes, return_counts=True)
            vectors = [subset_means(size, whole.size) @ whole for size in several.tolist()]
        levels = np.stack([to_levels(vector, block.shape[1]) for vector in vectors])
        curve = weights @ levels / weights.sum()
        error = float(np.abs(mean - curve).mean())
        curve = scale.low + scale.width * curve
        found.append(Prediction(str(u), distance, kolmogorov, error, curve))
    return tuple(sorted(found, key=lambda p: (p.error, p.distance)))


def _vectors(u: Utility, sizes: np.ndarray, domain: Domain) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the predicted rewards of each number of completions, and how many prompts have it.

    Outside a box rewards have no ends of their own: the median prompt's worst and best are mapped
    to 0 and 1, as those of the log are.
    """
    several, counts = np.unique(sizes, return_counts=True)
    solved = several
    if several.size > _MAX_SIZES:
        solved = several[np.linspace(0, several.size - 1, _MAX_SIZES).astype(int)]
        nearest = np.abs(several[:, None] - solved).argmin(axis=1)
        counts = np.bincount(nearest, weights=counts, minlength=solved.size)
    vectors, weights = [_rewards(u, size, domain) for size in solved.tolist()], counts.astype(float)
    low, high = 0.0, 1.0
    if domain != Box():
        low, high = (
            float(np.quantile(ends, 0.5, weights=weights, method="inverted_cdf"))
            for ends in ([v[-1] for v in vectors], [v[0] for v in vectors])
        )
    if not low < high:
        raise CollapseError(f"{u} predicts equal rewards in {domain}: there is no scale to compare")
    return [(vector - low) / (high - low) for vector in vectors], weights


@lru_cache(maxsize=512)
def _rewards(u: Utility, size: int, domain: Domain) -> np.ndarray:
    """Return the predicted rewards; kinds, and the logs of one training, ask for the same again."""
    if size > _MAX_SOLVED:
        size = min(size, _MAX_QUANTILES)
        try:
            return limit(u, domain).quantiles(size)
        except CollapseError:
            pass  # no limit law is known
    return solve(u, size, domain).rewards


def _distances(ordered: np.ndarray, predicted: RewardLaw) -> tuple[float, float]:
    """Return the Wasserstein-1 and the Kolmogorov distance of sorted rewards from a prediction."""
    sample = ordered
    if ordered.size > _MAX_SAMPLE:
        places = (np.arange(_MAX_SAMPLE) + 0.5) * (ordered.size / _MAX_SAMPLE)
        sample = ordered[places.astype(int)]
    # Between two jumps of the predicted law it is constant: the sup is at a jump, or just below.
    jumps = predicted.atoms[:, 0]
    at, below = (np.searchsorted(ordered, jumps, side) / ordered.size for side in ("right", "left"))
    sums = predicted.cdf(jumps), predicted.cdf(np.nextafter(jumps, -np.inf))
    apart = np.abs([at - sums[0], below - sums[1]])
    return empirical_law(sample).distance(predicted), float(apart.max())
