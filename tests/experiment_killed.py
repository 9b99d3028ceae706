"""Small trainings in child processes that are killed within a run and between two runs.

Run as ``python experiment_killed.py FOLDER KILLS``: prints a line a kill, "the same" at the end.
PyTorch is loaded once and the children are forks, so that a kill costs milliseconds; with one
thread there is nothing in this process that a fork could lose.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from collapse_theory.data import Ranking
from collapse_theory.experiment.encode import Table
from collapse_theory.experiment.setting import Objective, Run, Setting
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.train import Trace, train
from collapse_theory.experiment.work import Progress

STEPS = 60
SETTING = Setting(steps=STEPS, batch=4, width=16, warmup=5)
RUNS = tuple(
    Run(Objective(text), seed=3, number=number)
    for number, text in enumerate(("open=-1/(x+0.1); closed=x", "log(x)", "x"), start=1)
)


def table() -> Table:
    """Return 12 prompts of 5 completions, features of 10 numbers."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 5, 10)).astype(np.float32)
    features[:, :, 0] -= np.arange(5)
    made = [Ranking(f"{i}", tuple("abcde"), kind=("open", "closed")[i % 2]) for i in range(12)]
    return Table(PromptSet(tuple(made)), features)


class Killed(Progress):
    """Kills this process, without a chance to clean up, after so many steps of training."""

    def __init__(self, after: int | None) -> None:
        self.left = after

    def advance(self, parts: int = 1) -> None:
        if self.left is not None and parts == 1:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def say(self, text: str) -> None:
        raise AssertionError(text)  # of a damaged file: no kill leaves one


def to_the_end(folder: Path, after: int | None = None) -> list[Trace]:
    told = Killed(after)
    return [train(table(), run, SETTING, folder / run.folder, told) for run in RUNS]


def killed_in_child(folder: Path, after: int | None, seconds: float) -> bool:
    """Train in a fork, killed after some steps or some time; return whether it was killed."""
    child = os.fork()
    if child == 0:
        to_the_end(folder, after)
        os._exit(0)
    if after is None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def done(folder: Path) -> dict[Path, int]:
    """Return the finished runs, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/head.safetensors")}


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    whole = to_the_end(folder / "warm")
    start = time.perf_counter()
    to_the_end(folder / "whole")
    seconds = time.perf_counter() - start
    rng = np.random.default_rng()
    # Within the first run, at its last step, within the second; then at any instant.
    steps = [7, STEPS, STEPS + 7]
    killed, parts = 0, folder / "by step"
    while killed < kills:
        if killed >= len(steps):
            parts = folder / f"by time {time.monotonic_ns()}"
        before = done(parts)
        after = steps[killed] if killed < len(steps) else None
        was = killed_in_child(parts, after, float(rng.uniform(0, seconds)))
        print("killed" if was else "too late", "with", len(done(parts)), "runs done", flush=True)
        killed += was
        between = done(parts)
        assert before.items() <= between.items(), "made again"
        if killed < len(steps):
            continue
        for one, other in zip(to_the_end(parts), whole, strict=True):
            # Sixty steps may let a difference of a rounding in float32 grow ten thousandfold.
            np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-3)
        assert between.items() <= done(parts).items(), "made again"
    print("the same")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
