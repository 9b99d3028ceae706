"""Work spread over the cores by threads, each of which computes with one thread of torch's.

Two threads within one small matrix product wait for each other more than they compute, and where
another process has one of the cores they stand still with it; two pieces of work side by side
don't. And what comes out doesn't depend on how many there are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from collapse_theory.experiment.progress import Progress

__all__ = ["spread", "threads"]

WORKERS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads: sums in another order have other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(
    work: Callable[[Item, Progress], Result], items: Sequence[Item], told: Progress
) -> list[Result]:
    """Return work(item, progress) of every item, in their order.

    After an exception, and Ctrl-C is one, no more work is begun, and what is under way ends at the
    next step that it tells `progress` of.

    Examples
    --------
    >>> spread(lambda item, progress: item**2, [1, 2, 3], Progress())
    [1, 4, 9]
    """
    shared = _Shared(told)
    workers = min(WORKERS, os.cpu_count() or 1)
    with (
        threads(1),
        ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool,
    ):
        futures = [pool.submit(work, item, shared) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            shared.over.set()
            for future in futures:
                future.cancel()
            raise


class _Over(Exception):
    """Another piece of work has failed."""


class _Shared(Progress):
    """Progress told by several threads, one at a time."""

    def __init__(self, told: Progress) -> None:
        self.over = threading.Event()
        self._told, self._lock = told, threading.Lock()

    def begin(self, what: str, total: int) -> None:
        with self._lock:
            self._told.begin(what, total)

    def advance(self, parts: int = 1) -> None:
        if self.over.is_set():
            raise _Over
        with self._lock:
            self._told.advance(parts)

    def say(self, text: str) -> None:
        with self._lock:
            self._told.say(text)
