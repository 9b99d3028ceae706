"""Models with limits: linear heads on given features, what they would say unseen, memory."""

from collapse_theory.capacity.head import Head, HeadPath, fit_head, head_path
from collapse_theory.capacity.memory_law import Memory, memory, ranked_rows
from collapse_theory.capacity.stopping import late_distance, penalty_of

__all__ = [
    "Head",
    "HeadPath",
    "Memory",
    "fit_head",
    "head_path",
    "late_distance",
    "memory",
    "penalty_of",
    "ranked_rows",
]


def __dir__() -> list[str]:
    return __all__
