"""`collapse-theory diagnose`: has the model behind a reward log collapsed?"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import Command, app, examples
from collapse_theory.cli.options import Json
from collapse_theory.cli.output import console, drawn, named, number_table, print_json
from collapse_theory.cli.reading import Reading, reading_content, reading_lines, with_reading
from collapse_theory.data.reward_log import RewardLog

if TYPE_CHECKING:
    from rich.table import Table

    from collapse_theory.diagnosis import KindSummary

_PATIENCE = 2.0  # seconds without a sign of life
_HEADINGS = {True: "COLLAPSED", False: "NOT COLLAPSED", None: "NOT DECIDED"}
_SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)


@app.command(
    cls=Command,
    epilog=examples(
        "diagnose rewards.csv",
        'diagnose rewards.jsonl --utility "log(x + 0.1)" --utility x --plot diagnosis.pdf',
        "diagnose rewards.parquet --where split=train --step 1000 --json",
    ),
)
@with_reading
def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A reward log: CSV, JSON lines or Parquet; .gz is unzipped."
        ),
    ],
    reading: Reading,
    utility: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A utility to compare the log with; can be repeated. [default: the paper's four]",
        ),
    ] = None,
    low: Annotated[
        float | None, typer.Option(help="The reward to call 0, with --high. [default: by median]")
    ] = None,
    high: Annotated[float | None, typer.Option(help="The reward to call 1.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="For the bootstrap.")] = 0,
    as_json: Json = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the diagnosis into this file (pdf, png or svg).")
    ] = None,
) -> None:
    """Tell from a log of rewards whether a reward model has collapsed.

    A row of the log is one completion's reward. JSON has the keys collapsed (true, false or null),
    reason, index, interval, kinds, between_kinds, rows and more; the exit status is 0 whatever the
    verdict.
    """
    if (low is None) != (high is None):
        raise typer.BadParameter("--low and --high go together")
    with _progress(f"reading {file.name}"):
        log = reading.log(file)
    scale = None if low is None or high is None else (low, high)
    with _progress("diagnosing"):
        found = ct.diagnose(log, utility=utility, scale=scale, rng=seed)
    if plot is not None:
        drawn(lambda: ct.figures.diagnosis(found), [plot])
    if as_json:
        print_json(_content(found, log, str(file)))
    else:
        _show(found, log, str(file))


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Show a pulsing bar on stderr, where that is a terminal, once two seconds have passed."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    bar.add_task(what, total=None)
    start = threading.Timer(_PATIENCE, bar.start)
    start.daemon = True
    start.start()
    try:
        yield
    finally:
        start.cancel()
        start.join()
        bar.stop()


# -- as JSON -----------------------------------------------------------------------------


def _content(found: ct.Diagnosis, log: RewardLog, file: str) -> dict[str, Any]:
    scale = found.scale
    return {
        "file": file,
        **named(found, "collapsed", "reason", "advice", "index"),
        "interval": found.interval if found.index is not None else None,
        "scale": scale
        and {"low": scale.low, "high": scale.high, "map": str(scale), "rule": scale.rule},
        "kinds": {kind.name: _kind_content(kind) for kind in found.kinds},
        "between_kinds": found.between_kinds,
        "within_prompts": found.within,
        **named(found, "reference", "pairs_right", "prompts", "completions", "step"),
        **reading_content(log),
        "notes": found.notes,
    }


def _kind_content(kind: KindSummary) -> dict[str, Any]:
    levels = np.linspace(0.0, 1.0, kind.quantiles.size)
    quantiles = zip(levels, kind.quantiles.tolist(), strict=True)
    return {
        **named(kind, "prompts", "rows", "mean", "sd"),
        "quantiles": {f"{q:.2f}": v for q, v in quantiles},
        "atoms": kind.atoms,
        "histogram": named(kind, "edges", "counts"),
        "order_statistics": {"mean": kind.curve, "low": kind.low, "high": kind.high},
        "within_prompts": kind.within,
        **named(kind, "at_low", "at_high", "tied"),
        "distances": {p.utility: p.distance for p in kind.predictions},
        "kolmogorov": {p.utility: p.kolmogorov for p in kind.predictions},
        "errors": {p.utility: p.error for p in kind.predictions},
    }


# -- for people --------------------------------------------------------------------------


def _show(found: ct.Diagnosis, log: RewardLog, file: str) -> None:
    page = console()
    for line in reading_lines(log, file):
        page.print(line)
    page.print(f"\n{_HEADINGS[found.collapsed]}. {found.reason}")
    page.print(found.advice)
    if found.index is not None:
        page.print(
            f"\nindex {found.index:.3f}, 95% interval {found.interval[0]:.3f} to "
            f"{found.interval[1]:.3f}; 1: every prompt has the same rewards, 0: prompts are no "
            "more alike than rewards drawn at random from this log"
        )
    if found.scale is not None:
        page.print(f"scale: {found.scale}, which takes {found.scale.rule}")
    if found.pairs_right is not None:
        page.print(f"pairs ranked right: {found.pairs_right:.1%}")
    page.print(_laws(found))
    page.print(
        "Quantiles of the rewards; ends: within 0.01 of the lowest and the highest on the scale; "
        "tied: neighbours in a prompt that are equal; spread: standard deviation over prompts of "
        "the reward of a rank, on the scale."
    )
    if any(kind.predictions for kind in found.kinds):
        names = ("utility", *(kind.name for kind in found.kinds))
        page.print(number_table(names, _distances(found), words=1))
        page.print(
            "On the scale: mean error of the reward of a rank [Wasserstein-1 between the laws]; "
            "*: the nearest."
        )
    for note in found.notes:
        page.print(f"note: {note}")


def _laws(found: ct.Diagnosis) -> Table:
    width = found.scale.width if found.scale else 1.0
    digits = min(max(2 - math.floor(math.log10(width)), 0), 12)
    rows = [
        (
            kind.name,
            str(kind.prompts),
            *(f"{kind.quantiles[round(20 * q)]:.{digits}f}" for q in _SHOWN),
            f"{kind.at_low:.0%} {kind.at_high:.0%}",
            f"{kind.tied:.0%}",
            f"{kind.within**0.5:.2g}",
        )
        for kind in found.kinds
    ]
    names = ("kind", "prompts", *(f"{q:.0%}" for q in _SHOWN), "ends", "tied", "spread")
    table = number_table(names, rows, words=1, padding=0)
    table.columns[0].min_width = 6
    for column in table.columns:
        column.no_wrap = True
    return table


def _distances(found: ct.Diagnosis) -> Iterator[tuple[str, ...]]:
    """Yield a row a utility: its error and distance for each kind, the nearest with a star."""
    for one in max(found.kinds, key=lambda kind: kind.prompts).predictions:
        cells = []
        for kind in found.kinds:
            near = next(p for p in kind.predictions if p.utility == one.utility)
            best = "*" if near is kind.predictions[0] else ""
            cells.append(f"{best}{near.error:.3f} [{near.distance:.3f}]")
        yield (one.utility, *cells)
