"""Checkpoints: safetensors beside JSON, each whole or not there; a damaged one is passed over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from collapse_theory.experiment.files import write_bytes, write_json

__all__ = ["Checkpoint", "Checkpoints"]

KEPT = 2  # the newest, and the one before it in case the newest is damaged


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a training was at a step.

    Attributes
    ----------
    step : int
        Steps done.
    tensors : dict of str to Tensor
        Weights, the optimiser's state, and what was noted on the way.
    """

    step: int
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    The JSON is written last and holds the hash of the tensors: a checkpoint without it, or with
    another hash, doesn't count.

    Parameters
    ----------
    folder : Path
    identity : str
        Says which training this is: a checkpoint of another is passed over.
    say : callable
        Told about damaged checkpoints.
    """

    def __init__(
        self, folder: Path, identity: str, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.folder, self.identity, self._say = folder, identity, say

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; those before the last two are removed once it is there."""
        from safetensors.torch import save

        tensors, note = self._paths(checkpoint.step)
        content = save({name: t.contiguous() for name, t in checkpoint.tensors.items()})
        write_bytes(tensors, content)
        write_json(
            note,
            {
                "step": checkpoint.step,
                "training": self.identity,
                "sha256": hashlib.sha256(content).hexdigest(),
            },
        )
        self._remove(self.steps()[:-KEPT])

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint; None where there is none.

        Those that are damaged are named to `say`, and removed.
        """
        for step in reversed(self.steps()):
            try:
                return self._read(step)
            except (OSError, ValueError, KeyError, TypeError) as fault:
                tensors, _ = self._paths(step)
                self._say(f"{tensors} is damaged ({fault}); the checkpoint before it is used")
                self._remove([step])
        return None

    def keep_only(self, step: int) -> None:
        """Remove all others, and what a kill has left: drafts, and tensors without their note."""
        self._remove([other for other in self.steps() if other != step])
        kept = self._paths(step)
        for path in (*self.folder.glob("step-*.safetensors"), *self.folder.glob(".step-*")):
            if path not in kept:
                path.unlink()

    def steps(self) -> list[int]:
        """Return the steps of which there is a checkpoint, whole or not, in rising order."""
        names = (path.stem.removeprefix("step-") for path in self.folder.glob("step-*.json"))
        return sorted(int(name) for name in names if name.isdigit())

    def _read(self, step: int) -> Checkpoint:
        from safetensors.torch import load

        tensors, note = self._paths(step)
        told: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        content = tensors.read_bytes()
        if told["sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError("its hash isn't the one noted")
        if told["training"] != self.identity or told["step"] != step:
            raise ValueError("it is of another training")
        return Checkpoint(step, load(content))

    def _remove(self, steps: list[int]) -> None:
        for step in steps:
            for path in reversed(self._paths(step)):  # the note first: without it nothing counts
                path.unlink(missing_ok=True)

    def _paths(self, step: int) -> tuple[Path, Path]:
        base = self.folder / f"step-{step:06d}"
        return base.with_suffix(".safetensors"), base.with_suffix(".json")
