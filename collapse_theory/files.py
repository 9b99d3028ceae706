"""Files that are whole or not there, and content that any reader of JSON takes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a draft beside `path`, then rename it: `path` is whole or not there.

    Raises
    ------
    OSError
        Where it can't be written; named by `path`, and nothing is left behind.
    """
    # With the ending of `path`, by which some writers choose a format.
    draft = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        write(draft)
        # Renamed only when the content is on the disk, or a power cut could leave an empty file.
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)  # the draft's name would mean nothing to the reader
        raise
    finally:
        draft.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: NaN and infinities are null.

    Examples
    --------
    >>> plain({"rewards": np.array([1.0, 0.0]), "gap": np.nan})
    {'rewards': [1.0, 0.0], 'gap': None}
    """
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any) -> None:
    """Write JSON, in UTF-8 and with the same line ends on every system."""
    text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
    replace_file(path, lambda draft: draft.write_bytes(text.encode()))


# -- arrays that are kept ----------------------------------------------------------------


def keep(path: Path, made_from: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays, with a hash of their content and with what they were made from."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(arrays, {"made_from": made_from, "sha256": _hash(arrays)})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda draft: draft.write_bytes(content))


def kept(path: Path, made_from: str, say: Callable[[str], None]) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file; None where there is none that is whole and made from this.

    `say` is told about a file that is there and of no use.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            noted = file.metadata() or {}
        whole = noted.get("sha256") == _hash(arrays)
    except (SafetensorError, OSError, ValueError):
        whole, noted, arrays = False, {}, {}
    if whole and noted.get("made_from") == made_from:
        return arrays
    say(f"{path} is {'of other work' if whole else 'damaged'}; it is made again")
    return None


def _hash(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
