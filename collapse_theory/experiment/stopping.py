"""Early stopping: where common rules would have stopped a run, and what it had then.

The paper argues against early stopping as a remedy for reward collapse (arXiv:2305.17608, section
1): what comes out depends on when one stops. Here that is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.experiment.course import Course
from collapse_theory.values import Value

__all__ = ["RULES", "Stop", "stops"]

PATIENCE = 3  # measurements in a row without a gain
ENOUGH = 0.95


@dataclass(frozen=True, eq=False)
class Stop(Value):
    """Where a rule stops a run.

    Attributes
    ----------
    rule : str
    step : int
    distance : float
        Wasserstein-1 of the training prompts' rewards to the law that training ends at.
    between, held_between : float
        The kinds' distance on training and on held-out prompts.
    held_right : float
        Share of held-out pairs ranked right.
    """

    rule: str
    step: int
    distance: float
    between: float
    held_between: float
    held_right: float


def _patience(values: np.ndarray) -> int:
    best = 0
    for at in range(len(values)):
        if values[at] > values[best]:
            best = at
        elif at - best >= PATIENCE:
            break
    return best


def _enough(values: np.ndarray) -> int | None:
    reached = np.flatnonzero(values >= ENOUGH)
    return int(reached[0]) if len(reached) else None


# Each says at which measurement after the start it stops; None where it never does.
RULES: dict[str, Callable[[Course], int | None]] = {
    "best held-out loss": lambda course: int(np.argmin(course.held_loss[1:])),
    "most held-out pairs right": lambda course: int(np.argmax(course.held_right[1:])),
    "three checks without more pairs right": lambda course: _patience(course.held_right[1:]),
    "95% of held-out pairs right": lambda course: _enough(course.held_right[1:]),
}


def stops(course: Course) -> tuple[Stop, ...]:
    """Return where each rule stops that does, and the end.

    Examples
    --------
    >>> some = Course([0, 1, 2], *[[0.5, 0.1, 0.2]] * 7)
    >>> [(stop.rule, stop.step) for stop in stops(some)][:2]
    [('best held-out loss', 1), ('most held-out pairs right', 2)]
    """
    if len(course.steps) < 2:
        return ()
    picked = {rule: pick(course) for rule, pick in RULES.items()}
    places = {rule: 1 + at for rule, at in picked.items() if at is not None}
    places["the end"] = len(course.steps) - 1
    return tuple(
        Stop(
            rule=rule,
            step=int(course.steps[at]),
            distance=float(course.distance[at]),
            between=float(course.between[at]),
            held_between=float(course.held_between[at]),
            held_right=float(course.held_right[at]),
        )
        for rule, at in places.items()
    )
