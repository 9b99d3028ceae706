"""Programs of a sweep solved somewhere: in this process, in others, on a cluster."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import pickle
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve, solve_many
from collapse_theory.laws import RewardLaw
from collapse_theory.limit import LimitLaw, limit
from collapse_theory.numerics.checks import MOST_COUNTED
from collapse_theory.programs import Domain, Solution
from collapse_theory.utilities import Loss

ALONE = 1.0  # seconds of work done in this process: two others take that long to start
CHUNK = 0.25  # seconds that one task takes, usually: the way there and back is a few milliseconds
# What a program takes, usually (seconds): a limit law, a kink, a few completions beside others that
# are solved with them, and the largest of many completions.
LAW, KINK, LEAST, MOST = 0.02, 0.01, 0.0003, 0.3
REFUSED, FAILED = "refused", "failed"

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One program of a sweep: n is None for the limit law."""

    loss: Loss
    n: int | None
    domain: Domain
    tol: float | None

    @property
    def seconds(self) -> float:
        """What it takes, roughly: for the size of chunks alone."""
        if self.n is None:
            return LAW
        kinked = KINK if getattr(self.loss, "kinks", ()) else 0.0
        return min(LEAST * (1 + (self.n / 30) ** 2) + kinked, MOST)

    def row(self) -> Row:
        """Return what is found, or the message of an error: `REFUSED` if it is the program's."""
        start = time.perf_counter()
        try:
            found = self._found()
        except CollapseError as error:
            found = without(REFUSED, error)
        except Exception as error:  # one program's error is no reason to lose the others
            found = without(FAILED, error)
        return found | {"seconds": time.perf_counter() - start}

    def _found(self) -> Row:
        if self.n is None:
            found = limit(self.loss, self.domain, tol=self.tol)
            return _reached(found) | _of_law(found) | {"unique": None}
        return _of_solution(solve(self.loss, self.n, self.domain, tol=self.tol))


def _reached(found: LimitLaw | Solution) -> Row:
    names = ("status", "method", "objective", "gap", "relative_gap")
    return {"message": None, **{name: getattr(found, name) for name in names}}


def _of_solution(found: Solution) -> Row:
    row = _of_law(found.law) if found.n > MOST_COUNTED else _of_rewards(found.rewards)
    return _reached(found) | row | {"unique": found.unique}


def _of_law(law: RewardLaw) -> Row:
    at_top = law.atoms[law.atoms[:, 0] == law.support[1], 1]
    return {"std": law.std(), "top_share": math.fsum(at_top), "rewards": None}


def _of_rewards(rewards: np.ndarray) -> Row:
    top = float(np.mean(rewards == rewards.max()))
    return {"std": float(np.std(rewards)), "top_share": top, "rewards": rewards}


def without(status: str, error: BaseException) -> Row:
    """Return the row of a program without an answer."""
    text = " ".join(str(error).split())
    return {"status": status, "message": f"{type(error).__name__}: {text}"}


def chunks(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the programs in tasks, those of one domain and one n beside each other.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.sweeps.work import Cell, chunks
    >>> cells = [Cell(ct.Log(), n, ct.Box(), None) for n in (2, 3000, None, 8, 8)]
    >>> [[cell.n for cell in chunk] for chunk in chunks(cells)]
    [[None, 2, 8, 8], [3000]]
    """
    made: list[list[Cell]] = []
    full = math.inf
    for cell in sorted(cells, key=lambda cell: (str(cell.domain), cell.n or 0)):
        if full + cell.seconds > CHUNK:
            made.append([])
            full = 0.0
        made[-1].append(cell)
        full += cell.seconds
    return made


def worked(chunk: Sequence[Cell]) -> list[Row]:
    """Return the rows of a chunk: what an executor is given to do."""
    alike = itertools.groupby(chunk, key=lambda cell: (cell.n, cell.domain, cell.tol))
    return [row for _, group in alike for row in _together(list(group))]


def _together(cells: list[Cell]) -> list[Row]:
    """Return the rows of programs with one n and one domain, solved as one where that goes."""
    first = cells[0]
    if len(cells) > 1 and first.n is not None:
        start, losses = time.perf_counter(), [cell.loss for cell in cells]
        try:
            found = solve_many(losses, first.n, first.domain, tol=first.tol)
            rows = [_of_solution(found[i]) for i in range(len(cells))]
        except Exception:
            pass  # one by one they say whose error it is
        else:
            seconds = (time.perf_counter() - start) / len(cells)
            return [row | {"seconds": seconds} for row in rows]
    return [cell.row() for cell in cells]


Found: TypeAlias = Iterator[tuple[list[Cell], list[Row]]]


def finished(tasks: list[list[Cell]], executor: Executor | None) -> Found:
    """Yield each chunk with its rows as it is done.

    Without an executor the first second's work is done here, the rest in a process a core.
    """
    if executor is not None:
        yield from _by(executor, tasks)
        return
    waiting, start = deque(tasks), time.perf_counter()
    alone = _cores() == 1 or not _can_travel(tasks)
    while waiting and (alone or time.perf_counter() - start < ALONE):
        chunk = waiting.popleft()
        yield chunk, worked(chunk)
    if waiting:
        yield from _in_processes(waiting)


def _cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _can_travel(tasks: list[list[Cell]]) -> bool:
    """Whether other processes can be told of the programs; warn where they can't."""
    try:
        pickle.dumps(tasks)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        warnings.warn(
            f"all of the sweep is done in this process: other processes can't be told of one of "
            f"its utilities ({error}); text, or a class in a module, can",
            stacklevel=2,
        )
        return False
    return True


def _by(executor: Executor, tasks: list[list[Cell]]) -> Found:
    """Yield what an executor has done; what it loses has failed, with its message."""
    under_way = {executor.submit(worked, chunk): chunk for chunk in tasks}
    try:
        for done in as_completed(under_way):
            error = done.exception()
            chunk = under_way.pop(done)
            yield chunk, [without(FAILED, error)] * len(chunk) if error else done.result()
    finally:
        for future in under_way:
            future.cancel()


def _pool(workers: int) -> ProcessPoolExecutor:
    """Return new processes, none forked: threads don't survive that."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _in_processes(waiting: deque[list[Cell]]) -> Found:
    """Yield what a process a core has done; what kills one is found and has failed."""
    while waiting:
        lost: list[list[Cell]] = []
        with _pool(_cores()) as pool:
            _require_start(pool)
            under_way: dict[Future[list[Row]], list[Cell]] = {}
            try:
                while (waiting or under_way) and not lost:
                    # One ahead for each process, so that few are suspect when one is killed.
                    while waiting and len(under_way) < 2 * _cores():
                        chunk = waiting.popleft()
                        under_way[pool.submit(worked, chunk)] = chunk
                    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                        chunk = under_way.pop(done)
                        if done.exception() is None:
                            yield chunk, done.result()
                        else:
                            lost.append(chunk)
                lost += under_way.values()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        for cell in (cell for chunk in lost for cell in chunk):
            with _pool(1) as pool:
                yield from _by(pool, [[cell]])


def _require_start(pool: Executor) -> None:
    """Raise where processes end before they begin."""
    try:
        pool.submit(int).result()
    except BrokenProcessPool as error:
        raise CollapseError(
            "the processes of the sweep didn't start: in a script, call ct.sweep under "
            'if __name__ == "__main__": (each process imports the script again), or give '
            "executor=concurrent.futures.ThreadPoolExecutor(1)"
        ) from error
