"""What long work needs: progress to tell, and threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

WORKERS = 2


class Progress:
    """What the experiment tells of its work, from several threads; this one keeps silent."""

    over = False  # whether work that goes on beside other work is to end: that has failed

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


def side_by_side(work: Callable[[Any], Any], items: Sequence[Any], told: Progress) -> list[Any]:
    """Return work(item) of every item, in their order, two of them at a time.

    Each computes with one thread of torch's: two threads within one small matrix product wait for
    each other more than they compute. After an exception, and Ctrl-C is one, no more is begun, and
    what is under way looks at `told.over`.

    >>> side_by_side(lambda item: item**2, [1, 2, 3], Progress())
    [1, 4, 9]
    """
    told.over, workers = False, min(WORKERS, os.cpu_count() or 1)
    with threads(1), ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as p:
        try:
            return list(p.map(work, items))
        finally:
            told.over = True
