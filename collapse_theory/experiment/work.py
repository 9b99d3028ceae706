"""What long work needs: progress to tell, threads, results that are kept by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from collapse_theory.files import replace_file

WORKERS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress:
    """What the experiment tells of its work, from several threads; this one keeps silent."""

    def begin(self, what: str, total: int) -> None:
        """A piece of work of `total` parts begins; the one before it has ended."""

    def advance(self, parts: int = 1) -> None:
        """So many parts more are done."""

    def say(self, text: str) -> None:
        """Something that the user should know: a damaged file, a bad row."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads: sums in another order have other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return work(item) of every item, in their order, two of them at a time.

    Each computes with one thread of torch's: two threads within one small matrix product wait for
    each other more than they compute. After an exception, and Ctrl-C is one, what is under way is
    done to its end, and kept; no more is begun.

    Examples
    --------
    >>> side_by_side(lambda item: item**2, [1, 2, 3])
    [1, 4, 9]
    """
    workers = min(WORKERS, os.cpu_count() or 1)
    with threads(1), ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as p:
        return list(p.map(work, items))


def keep(path: Path, made_from: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays, with a hash of their content and with what they were made from."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(arrays, {"made_from": made_from, "sha256": _hash(arrays)})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda draft: draft.write_bytes(content))


def kept(path: Path, made_from: str, say: Callable[[str], None]) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file; None where there is none that is whole and made from this.

    `say` is told about a file that is there and of no use.
    """
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
