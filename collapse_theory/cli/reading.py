"""How commands read a log: options that are named alike in all of them, and what was read, told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.options import helped
from collapse_theory.data.reward_log import BadRows, RewardLog, counted


def _column(role: str, what: str) -> Any:
    """Return the option that names a role's column, by its short name and by its long one."""
    return typer.Option(f"--{role}", f"--{role}-column", metavar="NAME", help=what)


@helped(
    prompt=_column("prompt", "The column of prompts. [default: guessed by its name]"),
    reward=_column("reward", "The column of rewards. [default: guessed by its name]"),
    kind=_column("kind", "The column of kinds of prompts, where there is one."),
    rank=_column("rank", "The column of true ranks, 0 the best, where there is one."),
    step_column=("NAME", "The column of training steps, where there is one."),
    split=_column("split", "The column that says train or test, where there is one."),
    no_kinds="Take all prompts together.",
    no_ranks="Read no ranks.",
    no_steps="Take the rows of all steps together.",
    no_splits="Take training and held-out prompts together.",
    step="The training step to look at. [default: the last]",
    where=("NAME=VALUE", "Only rows with this value; can be repeated."),
    format="csv, json, jsonl or parquet. [default: as the file looks]",
)
@dataclass(frozen=True)
class Reading:
    """How a log is to be read."""

    prompt: str | None = None
    reward: str | None = None
    kind: str | None = None
    rank: str | None = None
    step_column: str | None = None
    split: str | None = None
    no_kinds: bool = False
    no_ranks: bool = False
    no_steps: bool = False
    no_splits: bool = False
    step: float | None = None
    where: list[str] | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        off = (("kind", self.no_kinds), ("rank", self.no_ranks), ("split", self.no_splits))
        for name, switched_off in off:
            if switched_off and getattr(self, name) is not None:
                raise typer.BadParameter(f"--no-{name}s and --{name} exclude each other")
        if self.no_steps and (self.step_column is not None or self.step is not None):
            raise typer.BadParameter("--no-steps excludes --step and --step-column")

    @property
    def given(self) -> bool:
        """Whether any option was given."""
        return self != Reading()

    def log(self, file: Path | list[Path], *, every_step: bool = False) -> RewardLog:
        """Return the log that a file holds, or several: of the last step, or of every one."""
        return ct.read_log(
            file,
            prompt=self.prompt,
            reward=self.reward,
            kind=False if self.no_kinds else self.kind,
            rank=False if self.no_ranks else self.rank,
            step=False if self.no_steps else self.step_column,
            split=False if self.no_splits else self.split,
            at=self.step,
            every_step=every_step,
            where=[_pair(text) for text in self.where or ()],
            format=self.format,
        )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"--where takes NAME=VALUE, such as split=train; not {text!r}")
    return name, value


# -- what was read -----------------------------------------------------------------------


def reading_lines(log: RewardLog, file: str) -> list[str]:
    """Return what to tell people of what was read, line by line; of several steps the last."""
    here = _used(log)
    used, read = int(here.sum()), log.read
    what = "rewards" if log.lists else "rows"
    rows = f"{used:,} of {read:,} {what} used" if used < read else f"{read:,} {what}"
    counts = np.bincount(log.prompts[here])
    sizes = sorted(set(counts[counts > 0].tolist()))
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    prompts = counted(int((counts > 0).sum()), "prompt")
    step = "" if log.step is None else f", step {log.step:g}"
    lines = [f"{file}: {rows}, {prompts} of {each} completions{step}"]
    if log.columns:
        lines.append("  columns: " + ", ".join(f"{role} = {name}" for role, name in log.columns))
    lines += [f"  bad: {rows}" for rows in log.bad]
    lines += [f"  left out: {rows}" for rows in log.left_out]
    if others := log.rewards.size - used:
        steps = np.unique(log.steps[~here]).size if log.steps is not None else 0
        lines.append(f"  in the course by step alone: {others:,} {what} of {steps:,} other steps")
    return lines


def _used(log: RewardLog) -> np.ndarray:
    if log.steps is None:
        return np.ones(log.rewards.size, dtype=bool)
    return log.steps == log.steps.max()


def reading_content(log: RewardLog) -> dict[str, Any]:
    """Return what was read, as JSON holds it."""
    return {
        "rows": {"read": log.read, "used": int(_used(log).sum()), "bad": log.bad_count},
        "columns": dict(log.columns),
        "bad": [_left(rows) for rows in log.bad],
        "left_out": [_left(rows) for rows in log.left_out],
    }


def _left(rows: BadRows) -> dict[str, Any]:
    return {"reason": rows.reason, "count": rows.count, f"{rows.unit}s": rows.lines}
