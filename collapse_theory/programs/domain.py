"""Where rewards may lie, and what holds them: the domain of a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import bracketless, finite, positive
from collapse_theory.values import Value

MIN_WIDTH = 1e-150  # a smaller width has a square whose reciprocal is outside float64


class Domain(Value):
    """What holds the rewards of n completions: a box, a penalty, or the utility alone.

    Attributes
    ----------
    bounded : bool
        Whether it is a box.
    width, unit : float
        The largest gap that the domain allows, and what a program measures gaps in: the width of a
        box.
    squares, sums : float
        The weights of the penalties mean r_i**2, and mean over pairs of (r_i + r_j)**2.
    """

    bounded: bool = False
    width: float = math.inf
    unit: float = 1.0
    squares: float = 0.0
    sums: float = 0.0

    def placed(self, rewards: np.ndarray) -> np.ndarray:
        """Return a program's rewards, in the box between 0 and 1, where the domain has them."""
        return rewards

    def penalty(self, n: int | None = None) -> float:
        """Return the kappa of a full ranking of n completions with mean 0, or of their limit.

        Over all pairs of n rewards with mean 0, sum (r_i + r_j)**2 = (n-2) sum r_i**2, so that the
        penalty on sums is one on squares, with 2c (n-2)/(n-1).
        """
        return self.squares + 2 * self.sums * (1.0 if n is None else (n - 2) / (n - 1))


# What a domain can be given as: a pair of numbers is a Box, as bounds are in SciPy.
DomainLike: TypeAlias = Domain | Sequence[float]


def as_domain(given: DomainLike | None) -> Domain:
    """Return the domain that `given` is: a pair (low, high) is a Box, None the box [0, 1]."""
    if given is None:
        return Box()
    if isinstance(given, Domain):
        return given
    if isinstance(given, type) and issubclass(given, Domain):
        raise CollapseError(bracketless(given))
    if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) and len(given) == 2:
        return Box(*given)
    raise CollapseError(
        "domain must be ct.Box(0, 1) or a pair (0, 1), or ct.Confined(0.1), ct.Centered(0.1) or "
        f"ct.Free(); not {given!r}"
    )


def as_box(given: DomainLike | None) -> Box:
    """Return the box that `given` is, for what is known in a box alone."""
    domain = as_domain(given)
    if not isinstance(domain, Box):
        raise CollapseError(f"domain must be a box, ct.Box(0, 1) or a pair (0, 1); not {domain!r}")
    return domain


@dataclass(frozen=True, eq=False)
class Box(Domain):
    """Rewards in [low, high], as a sigmoid on top of a reward model gives them.

    Parameters
    ----------
    low, high : float
        The ends of the box, low < high.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.Log(), 3, domain=ct.Box(-1, 1)).rewards
    array([ 1.,  0., -1.])
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("low", "high"):
            self._set(**{name: finite(getattr(self, name), f"Box needs finite ends: {name}")})
        if not self.low < self.high:
            raise CollapseError(f"Box needs low < high, got low={self.low}, high={self.high}")
        width = self.high - self.low
        if not MIN_WIDTH <= width < math.inf:
            raise CollapseError(
                f"Box needs a width between {MIN_WIDTH:g} and 1.8e308, got low={self.low}, "
                f"high={self.high}"
            )

        self._set(bounded=True, width=width, unit=width)

    def placed(self, rewards: np.ndarray) -> np.ndarray:
        """Return rewards in [0, 1] mapped to the box, the best to `high` exactly."""
        top = self.high - self.width * (1.0 - rewards)  # measured from the upper end
        mapped = np.where(rewards > 0.5, top, self.low + self.width * rewards)
        return np.clip(mapped, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Confined(Domain):
    """Rewards in all of R, held by a penalty: mean U(r_i - r_j) - kappa mean r_i**2.

    Parameters
    ----------
    kappa : float
        The weight of the penalty, positive.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.Linear(), 3, domain=ct.Confined(0.5)).rewards
    array([ 2.,  0., -2.])
    """

    kappa: float

    def __post_init__(self) -> None:
        super().__post_init__()
        kappa = positive(self.kappa, "kappa of Confined")
        self._set(kappa=kappa, squares=kappa)


@dataclass(frozen=True, eq=False)
class Centered(Domain):
    """Rewards in all of R, held as TRL's center_rewards_coefficient does.

    The objective is the mean over pairs of U(r_i - r_j) - c (r_i + r_j)**2. With n completions it
    is that of Confined(2c (n-2)/(n-1)) with mean 0; in the limit that of Confined(2c).

    Parameters
    ----------
    c : float
        The coefficient, positive.
    """

    c: float

    def __post_init__(self) -> None:
        super().__post_init__()
        c = positive(self.c, "c of Centered")
        self._set(c=c, sums=c)


@dataclass(frozen=True, eq=False)
class Free(Domain):
    """Rewards in all of R, held by nothing but the utility; given with mean 0.

    It has an optimum for utilities with a maximum: LabelSmoothing, Squared.
    """
