"""What happens at which step: a function of the seed and the step alone, so that it can go on."""

from __future__ import annotations

import functools
import math

import numpy as np

__all__ = ["measured", "prompts_of_step", "rate_at"]


def measured(steps: int) -> tuple[int, ...]:
    """Return the steps at which all prompts' rewards are noted: closer together early on.

    Examples
    --------
    >>> measured(12)
    (0, 1, 2, 3, 4, 5, 10, 12)
    """
    grid = {0, 1, 2, 3, 4, steps}
    for low, high, step in ((5, 50, 5), (60, 200, 20), (250, 500, 50), (500, steps, 100)):
        grid.update(range(low, high, step))
    return tuple(sorted(step for step in grid if step <= steps))


def rate_at(step: int, steps: int, rate: float, warmup: int) -> float:
    """Return the learning rate of a step: a linear rise, then a cosine down to 0.

    Examples
    --------
    >>> [round(rate_at(step, 100, 1.0, 4), 3) for step in (0, 3, 50, 99)]
    [0.25, 0.998, 0.5, 0.0]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rate * rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def prompts_of_step(seed: int, step: int, prompts: int, batch: int) -> np.ndarray:
    """Return the prompts of a step: the next `batch` of a new random order for each epoch.

    Examples
    --------
    >>> sorted(np.concatenate([prompts_of_step(0, step, 6, 3) for step in (0, 1)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    epochs, places = np.divmod(np.arange(step * batch, (step + 1) * batch), prompts)
    parts = [
        _order(seed, epoch, prompts)[places[epochs == epoch]]
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
    ]
    return np.concatenate(parts)


@functools.lru_cache(maxsize=64)
def _order(seed: int, epoch: int, prompts: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(prompts)
