"""Laws by name: discrete, empirical, beta and uniform."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.beta import BetaDensity
from collapse_theory.laws.law import RewardLaw
from collapse_theory.numerics.checks import finite_array

__all__ = ["beta_law", "discrete_law", "empirical_law", "uniform_law"]


def beta_law(
    a: float, b: float | None = None, low: float = 0.0, high: float = 1.0, **fields: Any
) -> RewardLaw:
    """Return the Beta(a, b) law on [low, high].

    pdf(x) = u^(a-1) (1-u)^(b-1) / (B(a, b) (high - low)),  u = (x - low) / (high - low)

    Parameters
    ----------
    a, b : float
        Positive exponents; `b` is `a` unless given.
    low, high : float
        Ends of the support.
    **fields
        Further fields of the `RewardLaw`, such as `method` or `reference`.

    Raises
    ------
    CollapseError
        A ValueError, for exponents that aren't positive or low >= high.

    Examples
    --------
    >>> from collapse_theory.laws import beta_law
    >>> beta_law(0.5).var()
    0.125
    """
    return RewardLaw(parts=(BetaDensity(a, a if b is None else b, low, high),), **fields)


def uniform_law(low: float = 0.0, high: float = 1.0, **fields: Any) -> RewardLaw:
    """Return the uniform law on [low, high].

    Parameters
    ----------
    low, high : float
        Ends of the support.
    **fields
        Further fields of the `RewardLaw`, such as `method` or `reference`.

    Raises
    ------
    CollapseError
        A ValueError, for low >= high.

    Examples
    --------
    >>> from collapse_theory.laws import uniform_law
    >>> uniform_law(0, 2).cdf(0.5)
    0.25
    """
    return beta_law(1.0, 1.0, low, high, **fields)


def discrete_law(locations: Any, masses: Any, **fields: Any) -> RewardLaw:
    """Return the law of point masses: P(X = locations_i) = masses_i.

    Parameters
    ----------
    locations, masses : (k,) arrays
        Where the atoms are and how heavy; masses are nonnegative and sum to 1.
    **fields
        Further fields of the `RewardLaw`, such as `method` or `reference`.

    Raises
    ------
    CollapseError
        A ValueError, for lengths that differ, negative masses or a total that isn't 1.

    Examples
    --------
    >>> from collapse_theory.laws import discrete_law
    >>> discrete_law([0, 1], [0.5, 0.5])
    RewardLaw(atoms: 0.5 at 0, 0.5 at 1)
    """
    places = finite_array(locations, "locations", 1)
    weights = finite_array(masses, "masses", 1)
    if places.shape != weights.shape:
        raise CollapseError(f"{places.size} locations need as many masses, not {weights.size}")
    return RewardLaw(np.column_stack([places, weights]), **fields)


def empirical_law(rewards: Any, weights: Any = None, **fields: Any) -> RewardLaw:
    """Return the empirical law of a sample: weight_i / sum of weights at each reward.

    Parameters
    ----------
    rewards : (n,) array
        The sample, in any order; equal rewards become one atom.
    weights : (n,) array, optional
        Nonnegative weights; equal ones unless given.
    **fields
        Further fields of the `RewardLaw`, such as `method` or `reference`.

    Raises
    ------
    CollapseError
        A ValueError, for an empty sample, NaN, or weights that are negative or all 0.

    Examples
    --------
    >>> from collapse_theory.laws import empirical_law
    >>> empirical_law([1.0, 0.0, 1.0, 1.0])
    RewardLaw(atoms: 0.25 at 0, 0.75 at 1)
    """
    sample = finite_array(rewards, "rewards", 1)
    counts = np.ones(sample.size) if weights is None else finite_array(weights, "weights", 1)
    if sample.size == 0 or sample.shape != counts.shape:
        raise CollapseError(f"{sample.size} rewards with {counts.size} weights make no sample")
    if (counts < 0).any() or not counts.any():
        raise CollapseError("weights must be nonnegative and not all 0")
    places, index = np.unique(sample, return_inverse=True)
    sums = np.bincount(index, weights=counts / counts.max(), minlength=places.size)
    return RewardLaw(np.column_stack([places, sums / sums.sum()]), **fields)
