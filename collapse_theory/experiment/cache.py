"""Arrays by content: what was computed once from the same input is read back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from collapse_theory.experiment.files import write_bytes

__all__ = ["Cache"]


class Cache:
    """A folder of float32 arrays, each named by a hash of what it was computed from.

    A damaged file is reported and computed again.

    Parameters
    ----------
    folder : Path
        Made where missing.
    say : callable
        Told about damaged files.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self._say = say

    def get(self, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the array of this key; None where there is none, or none of use."""
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                content = file.get_tensor("content")
                whole = (file.metadata() or {}).get("sha256") == _hash(content)
        except (SafetensorError, OSError, ValueError):
            whole, content = False, np.empty(0)
        if whole and content.shape == shape:
            return content
        self._say(f"{path} is damaged; its features are computed again")
        return None

    def put(self, key: str, content: np.ndarray) -> None:
        """Keep an array under this key."""
        from safetensors.numpy import save

        content = np.ascontiguousarray(content, dtype=np.float32)
        write_bytes(self._path(key), save({"content": content}, {"sha256": _hash(content)}))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _hash(content: np.ndarray) -> str:
    return hashlib.sha256(content.tobytes()).hexdigest()
