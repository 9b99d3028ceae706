"""How fast the optima of n completions approach their limit law."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws import empirical_law
from collapse_theory.limit.solve import limit
from collapse_theory.numerics.checks import count
from collapse_theory.programs import DomainLike, as_box
from collapse_theory.utilities import Utility, utility
from collapse_theory.values import Array, Value


@dataclass(frozen=True, eq=False)
class Convergence(Value):
    """How the optimal rewards of n completions approach their limit law.

    Attributes
    ----------
    n : numpy.ndarray, shape (k,)
        Numbers of completions.
    distances : numpy.ndarray, shape (k,)
        Wasserstein-1 distances between the law of n rewards and the limit law.
    errors : numpy.ndarray, shape (k,)
        Largest errors of `predicted_rewards`; NaN where there is no prediction.
    """

    n: Array
    distances: Array
    errors: Array

    @property
    def rate(self) -> float:
        """The r of distance ~ n**-r, by least squares on logarithms."""
        return float(-np.polyfit(np.log(self.n), np.log(self.distances), 1)[0])


def convergence(
    u: Utility | str,
    ns: Iterable[int],
    rewards: Callable[[int], Any],
    domain: DomainLike | None = None,
) -> Convergence:
    """Return how far the optima of n completions are from the limit law and from its prediction.

    Parameters
    ----------
    u : Utility or str
        The utility of a gap.
    ns : iterable of int
        Numbers of completions.
    rewards : callable
        From n to the (n,) optimal rewards, best first: ``lambda n: ct.solve(u, n).rewards``.
    domain : Box, optional
        Where rewards may lie; [0, 1] unless given.

    Returns
    -------
    Convergence

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.limit import convergence
    >>> found = convergence("x**0.5", [8, 16], lambda n: ct.solve("x**0.5", n).rewards)
    >>> (found.distances * [8, 16]).round(2)
    array([0.25, 0.25])
    """
    u, domain = utility(u), as_box(domain)
    sizes = [count(n) for n in ns]
    law = limit(u, domain)
    distances, errors = [], []
    for n in sizes:
        found = np.asarray(rewards(n), dtype=np.float64)
        if found.shape != (n,):
            raise CollapseError(f"rewards({n}) must have the shape ({n},), got {found.shape}")
        distances.append(law.distance(empirical_law(found)))
        try:
            errors.append(np.abs(law.rewards(n) - found).max())
        except CollapseError:
            errors.append(np.nan)
    return Convergence(np.array(sizes), np.array(distances), np.array(errors))
