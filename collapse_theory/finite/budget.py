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


def searched(
    at: Callable[[float], tuple[T, float]], most: float, rise: float, tries: int = 40
) -> tuple[float, T]:
    """Return a step's length, at most `most`, at which a concave f doesn't fall more steeply than
    it rose at the start, and what is there.

    `at` returns what is there, and the derivative of f along the step. Past the maximum the next
    length is by the secant.
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
