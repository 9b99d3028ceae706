"""How much of its training prompts a model has learned by heart, where a log tells."""

from __future__ import annotations

import warnings

import numpy as np

from collapse_theory.capacity import Memory, memory, ranked_rows
from collapse_theory.data.reward_log import Note, RewardLog
from collapse_theory.errors import CollapseError, NoOptimum
from collapse_theory.finite import solve
from collapse_theory.programs import Free
from collapse_theory.utilities import Utility


def remembered(
    log: RewardLog, trained: np.ndarray, utility: Utility
) -> tuple[Memory | None, tuple[Note, ...]]:
    """Return the memory of a model that was trained on the rows `trained`, and notes on it."""
    if log.ranks is None or trained.all() or not trained.any():
        return None, ()
    learned, unseen = (
        ranked_rows(log.rewards[rows], log.ranks[rows], log.prompts[rows])
        for rows in (trained, ~trained)
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # the notes tell of pairs ranked wrong
            found = memory(learned, unseen, utility)
    except CollapseError as fault:
        return None, (Note("memory", f"how much was learned by heart isn't known: {fault}"),)
    return found, (Note("memory", f"learned by heart, by {utility}: {found.text}"),)


def has_maximum(utility: Utility) -> bool:
    """Whether it holds rewards by itself, so that there is an optimum under Free."""
    try:
        solve(utility, 2, Free())
    except NoOptimum:
        return False
    return True
