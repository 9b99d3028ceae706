"""Where rewards may lie: the domain of a program."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.utilities.base import positive
from collapse_theory.values import Value

__all__ = ["Box", "Centered", "Confined", "Domain", "Free"]

SMALLEST = 1e-150  # widths below it have squares of their reciprocals outside float64


@dataclass(frozen=True, eq=False)
class Box(Value):
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
        for name in ("low", "high"):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or isinstance(value, bool | complex):
                raise CollapseError(f"Box needs finite ends, got {name}={value!r}")
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise CollapseError(f"Box needs finite ends, got {name}={value!r}")
            object.__setattr__(self, name, number)
        if not self.low < self.high:
            raise CollapseError(f"Box needs low < high, got low={self.low}, high={self.high}")
        if not SMALLEST <= self.width < math.inf:
            raise CollapseError(
                f"Box needs a width between {SMALLEST:g} and 1.8e308, got low={self.low}, "
                f"high={self.high}"
            )

    @property
    def width(self) -> float:
        """The largest gap that the box allows."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class Confined(Value):
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
        object.__setattr__(self, "kappa", positive("kappa of Confined", self.kappa))


@dataclass(frozen=True, eq=False)
class Centered(Value):
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
        object.__setattr__(self, "c", positive("c of Centered", self.c))

    def kappa(self, n: int | None = None) -> float:
        """Return the kappa of the Confined program that is the same for n completions."""
        return 2 * self.c if n is None else 2 * self.c * (n - 2) / (n - 1)


@dataclass(frozen=True, eq=False)
class Free(Value):
    """Rewards in all of R, held by nothing but the utility; given with mean 0.

    It has an optimum for utilities with a maximum: LabelSmoothing, Squared.
    """


Domain = Box | Confined | Centered | Free
