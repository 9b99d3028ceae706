"""Where rewards may lie: the domain of a program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.values import Value

__all__ = ["Box"]


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
            if isinstance(value, bool | str) or not np.isfinite(value):
                raise CollapseError(f"Box needs finite ends, got {name}={value!r}")
            object.__setattr__(self, name, float(value))
        if not self.low < self.high:
            raise CollapseError(f"Box needs low < high, got low={self.low}, high={self.high}")

    @property
    def width(self) -> float:
        """The largest gap that the box allows."""
        return self.high - self.low
