"""The table of a grid of programs: every utility, number of completions and domain together."""

from __future__ import annotations

import itertools
import math
import numbers
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars as pl
from collapse_theory.numerics.checks import count, positive
from collapse_theory.programs import Domain, DomainLike, as_domain
from collapse_theory.programs.program import MOST_SMOOTH
from collapse_theory.sweeps.store import Store, key
from collapse_theory.sweeps.work import Cell, Row, chunks, finished
from collapse_theory.utilities import Loss, as_loss
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.plackett_luce import PlackettLuce

if TYPE_CHECKING:
    import polars

QUIET = 2.0  # seconds of work before its progress is told


def _columns() -> dict[str, Any]:
    """Return the columns of what is found about a program."""
    return {
        "status": pl.String,
        "message": pl.String,
        "method": pl.String,
        "objective": pl.Float64,
        "gap": pl.Float64,
        "relative_gap": pl.Float64,
        "unique": pl.Boolean,
        "std": pl.Float64,
        "top_share": pl.Float64,
        "seconds": pl.Float64,
        "rewards": pl.List(pl.Float64),
    }


def sweep(
    utilities: Loss | str | Iterable[Loss | str],
    ns: float | Iterable[float | None] | None,
    domains: DomainLike | Iterable[DomainLike | None] | None = None,
    executor: Executor | None = None,
    *,
    keep: str | os.PathLike[str] | None = None,
    tol: float | None = None,
) -> polars.DataFrame:
    """Return a table with a row for every utility, domain and number of completions, in that order.

    Parameters
    ----------
    utilities : Utility, PlackettLuce or str, or several
    ns : int or None, or several
        The numbers of completions; None, or infinity, for the limit law.
    domains : Box, Confined, Centered or Free, or several, optional
        Box(0, 1) unless given. A pair of numbers (low, high) is one box.
    executor : concurrent.futures.Executor, optional
        What does the work: one of Dask, ``Client(address).get_executor()``, of MPI or of Ray for a
        cluster. Unless given, the first second's work is done in this process and the rest in a
        new process a core: call it under ``if __name__ == "__main__":`` in a script.
    keep : path, optional
        A folder in which results are kept by content, made if it isn't there. A sweep that was
        killed goes on from there, one that grew does what is new; several may share it, at once
        too. A class of one's own counts as its name and its numbers: empty the folder if what it
        does has changed.
    tol : float, optional
        The relative gap up to which an answer is called optimal: see `solve` and `limit`.

    Returns
    -------
    polars.DataFrame
        ``.to_pandas()`` makes it one of pandas. Its columns:

        utility, domain, n
            As asked for; n is null for the limit law.
        status, message
            The solution's or law's status; "refused" for a program without an answer, such as a
            utility that isn't concave, and "failed" for one that was lost, by lack of memory, say.
            Then the message says why; "failed" isn't kept, and tried again by the next sweep.
        method, objective, gap, relative_gap, unique
            The solution's or law's.
        std, top_share
            The standard deviation of the rewards, and the share of them at the highest.
        seconds
            What it took, where it was done; of programs solved together, the mean.
        rewards
            Best first; null for limit laws and beyond 100,000,000 completions.

    Raises
    ------
    CollapseError
        Before anything is done: text that isn't a utility, an n below 2, no domain; a utility that
        can't be written down where results are to be kept.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> table = ct.sweep(["log(x + 0.1)", "sqrt(x)"], [8, 64, None])
    >>> table["utility", "n", "status"].to_dicts()[2]
    {'utility': 'log(x + 0.1)', 'n': None, 'status': 'optimal'}
    """
    names, cells = _grid(utilities, ns, domains, None if tol is None else positive(tol, "tol"))
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise CollapseError(
            "executor must be a concurrent.futures.Executor, with a method submit (of a Dask "
            f"client it is client.get_executor()); got {executor!r}"
        )
    store = None if keep is None else Store(Path(keep), _columns())
    # Where nothing is kept, the programs themselves say which are the same.
    keys: list[Any] = [key(cell) if store else cell for cell in cells]
    found: dict[Any, Row] = store.rows(set(keys)) if store else {}
    key_of = dict(zip(cells, keys, strict=True))
    missing = {k: cell for k, cell in zip(keys, cells, strict=True) if k not in found}
    tasks = chunks(missing.values())
    with _progress(len(missing)) as advance:
        for chunk, rows in finished(tasks, executor):
            done = [key_of[cell] for cell in chunk]
            found |= zip(done, rows, strict=True)
            if store:
                store.add(done, rows)
            advance(len(chunk))
    return _table(names, [found[k] for k in keys])


def _grid(utilities: Any, ns: Any, domains: Any, tol: float | None) -> tuple[list[Row], list[Cell]]:
    """Return the names of the rows, and their programs, all checked."""
    losses = [(_loss(u), u) for u in _several(utilities, (str, Utility, PlackettLuce))]
    counts = [_completions(n) for n in _several(ns, (int, float, type(None)))]
    held = [as_domain(d) for d in _several(domains, (Domain, str, type(None)), pair=True)]
    names, cells = [], []
    for (loss, given), domain, n in itertools.product(losses, held, counts):
        text = given if isinstance(given, str) else str(loss)
        names.append({"utility": text, "domain": str(domain), "n": n})
        cells.append(Cell(loss, n, domain, tol))
    if not cells:
        raise CollapseError("a sweep needs at least one utility, one n and one domain")
    return names, cells


def _several(given: Any, single: tuple[type, ...], pair: bool = False) -> list[Any]:
    """Return what is given as a list; with `pair`, two numbers are one thing, too."""
    if isinstance(given, single) or not isinstance(given, Iterable):
        return [given]
    listed = list(given)
    one = pair and len(listed) == 2 and all(isinstance(x, numbers.Real) for x in listed)
    return [tuple(listed)] if one else listed


def _loss(given: Any) -> Loss:
    try:
        return as_loss(given)
    except CollapseError as error:
        raise type(error)(f"{given!r}: {error}") from error  # which of them it is


def _completions(n: Any) -> int | None:
    return None if n is None or n == math.inf else count(n, MOST_SMOOTH)


def _table(names: list[Row], rows: list[Row]) -> polars.DataFrame:
    first = {"utility": pl.String, "domain": pl.String, "n": pl.Int64}
    schema = first | _columns()
    return pl.DataFrame([name | row for name, row in zip(names, rows, strict=True)], schema=schema)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal's stderr where the work takes longer than `QUIET`."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    parts = ("sweep", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*parts, console=Console(stderr=True), transient=True)
    task = bar.add_task("sweep", total=total)
    timer = threading.Timer(QUIET, bar.start)
    timer.start()
    try:
        yield lambda done: bar.advance(task, done)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
