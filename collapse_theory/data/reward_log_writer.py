"""The rewards of every evaluation as JSON lines, which ``collapse-theory diagnose`` reads."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from collapse_theory.errors import CollapseError

__all__ = ["RewardLogWriter"]


class RewardLogWriter:
    """A file of one JSON object a completion, evaluation after evaluation.

    Parameters
    ----------
    path : str or path
        Made with its folder; a file that is there is kept up to the step that training starts at.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = RewardLogWriter(Path(folder) / "rewards.jsonl")
    ...     log.write(0, "eval", [{"prompt": "2 + 2?", "kind": None, "rank": 0, "reward": 0.9}])
    ...     print(log.path.read_text(), end="")
    {"prompt": "2 + 2?", "kind": null, "rank": 0, "reward": 0.9, "step": 0, "split": "eval"}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._written: set[tuple[int, str]] = set()

    def begin(self, step: int) -> None:
        """Drop what is in the file from after `step` on: training goes on from there.

        Raises
        ------
        OSError
            Where the file can't be written.
        CollapseError
            Where the file holds something other than a log of rewards.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._written = set()
        if self.path.exists():
            self._require_log()
            # At step 0 a new training begins; else what came before this step stays.
            self._keep(lambda row: step > 0 and row["step"] <= step)
        else:
            self.path.touch()

    def write(self, step: int, split: str, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows of one evaluation; those of the same step and split are replaced."""
        if (step, split) in self._written:
            self._keep(lambda row: (row["step"], row["split"]) != (step, split))
        lines = [json.dumps({**_plain(row), "step": step, "split": split}) for row in rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write of whole lines: what a kill can leave is a last line cut short, which `begin`
        # drops, and which a reader names.
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self._written.add((step, split))

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        draft = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex}")
        try:
            with self.path.open(encoding="utf-8") as old, draft.open("w", encoding="utf-8") as new:
                for line in old:
                    row = _row(line)
                    if row is not None and wanted(row):
                        new.write(line)
                        self._written.add((row["step"], row["split"]))
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    def _require_log(self) -> None:
        try:
            with self.path.open(encoding="utf-8") as file:
                first = file.readline()
        except UnicodeDecodeError:
            first = "?"
        if first.strip() and first.endswith("\n") and _row(first) is None:
            raise CollapseError(
                f"{self.path} is there and is no log of rewards; it isn't written over. Name "
                "another file, or delete it"
            )


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and {"step", "split", "reward"} <= set(row) else None


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    # JSON has no NaN: a diverged model's reward is null, which readers count as a bad row.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
