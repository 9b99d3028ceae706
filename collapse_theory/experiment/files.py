"""Files that are whole or not there: written aside, then renamed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["replace_file", "write_bytes", "write_json", "write_text"]


def replace_file(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` make a file beside `path`, then rename it to `path`.

    Raises
    ------
    OSError
        Where it can't be written; named by `path`, and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(draft)
        # Renamed only when the content is on the disk, or a power cut could leave an empty file.
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes."""

    def write(draft: Path) -> None:
        draft.write_bytes(content)

    return replace_file(path, write)


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8, with the same line ends on every system."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> Path:
    """Write JSON."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
