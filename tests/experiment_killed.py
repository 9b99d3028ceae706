"""A small training in child processes that are killed again and again: `test_experiment` runs it.

Run as ``python experiment_killed.py FOLDER KILLS``. Prints the hashes of what an uninterrupted and
an interrupted training leave, and at which steps the latter was killed. PyTorch is loaded once and
the children are forks, so that a kill costs milliseconds; with one thread there is nothing in this
process that a fork could lose.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from collapse_theory.experiment.checkpoint import Checkpoints
from collapse_theory.experiment.features import Table
from collapse_theory.experiment.objectives import Objective
from collapse_theory.experiment.progress import Progress
from collapse_theory.experiment.runs import Run
from collapse_theory.experiment.settings import Setting
from collapse_theory.experiment.train import train

STEPS = 60
SETTING = Setting(steps=STEPS, batch=4, width=16, warmup=5, checkpoint_every=7)
RUN = Run(Objective.parse("open=-1/(x+0.1); closed=x"), seed=3)


def table() -> Table:
    """Return 12 prompts of 5 completions, features of 10 numbers."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 5, 10)).astype(np.float32)
    features[:, :, 0] -= np.arange(5)
    return Table(features, np.tile(np.arange(5), (12, 1)), ("open", "closed") * 6, train=8)


class Killed(Progress):
    """Kills this process, without a chance to clean up, after so many steps."""

    def __init__(self, after: int | None) -> None:
        self.left = after

    def advance(self, parts: int = 1) -> None:
        if self.left is not None and parts == 1:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder, "test", lambda text: print(f"said {text}", flush=True))


def to_the_end(folder: Path, after: int | None = None) -> None:
    train(table(), RUN, SETTING, checkpoints(folder), Killed(after))


def in_child(folder: Path, after: int | None, seconds: float | None) -> bool:
    """Train in a fork, killed after some steps or some time; return whether it was killed."""
    child = os.fork()
    if child == 0:
        to_the_end(folder, after)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def digest(folder: Path) -> str:
    """Return a hash of the folder's files, names and content."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    start = time.perf_counter()
    to_the_end(folder / "whole")
    whole = time.perf_counter() - start
    rng = np.random.default_rng()
    killed = 0
    while killed < kills:
        # At a step, or at any instant: in the middle of a file too.
        by_step = killed % 2 == 0
        after = int(rng.integers(1, 25)) if by_step else None
        seconds = None if by_step else float(rng.uniform(0, whole / 2))
        done = checkpoints(folder / "parts").steps()
        was = in_child(folder / "parts", after, seconds)
        print("killed" if was else "finished", "after", done[-1] if done else 0, flush=True)
        killed += was
        if not was:  # it reached the end before: begin anew
            assert digest(folder / "parts") == digest(folder / "whole")
            for path in (folder / "parts").iterdir():
                path.unlink()
    to_the_end(folder / "parts")
    print("hashes", digest(folder / "whole"), digest(folder / "parts"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
