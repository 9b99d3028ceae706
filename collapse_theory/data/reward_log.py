"""A reward log in memory: numbers and codes, and the rows that were no good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.values import Value, frozen_array

__all__ = ["BadRows", "RewardLog"]


@dataclass(frozen=True, eq=False)
class BadRows(Value):
    """Rows that were set aside for one reason.

    Parameters
    ----------
    reason : str
    count : int
    lines : tuple of int
        Where the first few of them begin: lines of a text file from 1 (the header is line 1), rows
        of a Parquet file from 1.
    unit : {"line", "row"}
    """

    reason: str
    count: int
    lines: tuple[int, ...] = ()
    unit: str = "line"

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.lines) else ""
        where = ", ".join(map(str, self.lines)) + more
        return f"{self.count} with {self.reason} ({self.unit} {where})"


def _codes(values: Any) -> np.ndarray:
    array = np.array(values, dtype=np.int32)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False, repr=False)
class RewardLog(Value):
    """A reward log: one reward a row, with its prompt and, where known, its kind and rank.

    Parameters
    ----------
    rewards : (rows,) array
    prompts : (rows,) array of int
        The prompt's number, from 0 in the order of the file.
    kinds : (rows,) array of int, or None
        Numbers into `kind_names`; None for a log without kinds.
    kind_names : tuple of str
    ranks : (rows,) array, or None
        0 is the best; None for a log without ranks.
    step : float or None
        The training step that the rows are of; None for a log without steps.
    read : int
        How many rows were read for this log, good and bad.
    bad : tuple of BadRows
        What was set aside, a reason each.
    notes : tuple of str
        What else is worth knowing about how the file was read.

    Examples
    --------
    >>> from collapse_theory.diagnosis import RewardLog
    >>> RewardLog([0.9, 0.1, 1.0, 0.0], [0, 0, 1, 1], read=4)
    RewardLog(4 rows, 2 prompts)
    """

    rewards: Any
    prompts: Any
    kinds: Any = None
    kind_names: tuple[str, ...] = ()
    ranks: Any = None
    step: float | None = None
    read: int = 0
    bad: tuple[BadRows, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", frozen_array(self.rewards))
        object.__setattr__(self, "prompts", _codes(self.prompts))
        if self.kinds is not None:
            object.__setattr__(self, "kinds", _codes(self.kinds))
        if self.ranks is not None:
            object.__setattr__(self, "ranks", frozen_array(self.ranks))
        for name in ("prompts", "kinds", "ranks"):
            column = getattr(self, name)
            if column is not None and column.shape != self.rewards.shape:
                raise CollapseError(
                    f"{self.rewards.size} rewards need as many {name}, not {column.size}"
                )

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return int(self.prompts.max()) + 1 if self.prompts.size else 0

    @property
    def bad_count(self) -> int:
        """How many rows were set aside."""
        return sum(rows.count for rows in self.bad)

    def __repr__(self) -> str:
        texts = [f"{self.rewards.size} rows", f"{self.count} prompts"]
        if self.kinds is not None:
            texts.append(f"kinds {', '.join(self.kind_names)}")
        if self.step is not None:
            texts.append(f"step {self.step:g}")
        if self.bad:
            texts.append(f"{self.bad_count} bad row{'s' * (self.bad_count > 1)}")
        return f"RewardLog({', '.join(texts)})"
