"""Iterations counted over the phases of a solve, and how far a step may go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

LEAST_GAP = 1e-290  # below it the reciprocals of gaps' squares leave float64, with room to spare
MAX_ITERATIONS = 500  # of all phases together, unless asked for; a hundred are many


class Budget:
    """Counts iterations over the phases of a solve; `asked` says whether the user set the limit."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self.asked = MAX_ITERATIONS if limit is None else limit, limit is not None
        self.used = 0

    def rounds(self, at_most: int) -> Iterator[int]:
        """Count up to `at_most` iterations, fewer where the budget ends."""
        for k in range(at_most):
            if self.used >= self.limit:
                return
            self.used += 1
            yield k

    def again(self) -> Budget:
        """Return a fresh budget with the same limit."""
        return Budget(self.limit if self.asked else None)

    @property
    def spent(self) -> bool:
        """Whether no iteration is left."""
        return self.used >= self.limit


T = TypeVar("T")


def line_search(
    at: Callable[[float], tuple[T, float]], most: float, rise: float, tries: int = 40
) -> tuple[float, T]:
    """Return the length alpha of a step on which a concave f rises, and the state at its end.

    With f' the derivative along the step and f'(0) = `rise`, alpha is the first of `most` and what
    follows it with f'(alpha) >= -rise: where f' is linear, no farther than twice the way to the
    maximum. A longer alpha is multiplied by rise / (rise - f'(alpha)), the secant's root, and by
    0.1 at least.

    Parameters
    ----------
    at : callable
        From a length to the state there (whatever the caller wants back) and f'.
    """
    alpha, (there, slope) = most, at(most)
    for _ in range(tries):
        if slope >= -rise:
            break
        shrink = rise / (rise - slope)
        alpha *= shrink if shrink > 0.1 else 0.1
        there, slope = at(alpha)
    return alpha, there


def max_step(value: np.ndarray, change: np.ndarray) -> float:
    """Return the largest step that keeps a positive `value` nonnegative."""
    steepest = float((change / value).min())
    return -1.0 / steepest if steepest < 0 else np.inf
