"""`collapse-theory diagnose`: has the model behind a reward log collapsed?"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_theory.cli.app import app, examples
from collapse_theory.cli.arguments import Json
from collapse_theory.cli.diagnosis import content, show
from collapse_theory.cli.output import print_json
from collapse_theory.diagnosis import diagnose as diagnosis_of
from collapse_theory.diagnosis import read_log

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["diagnose"]

_PATIENCE = 2.0  # seconds without a sign of life


@app.command(
    epilog=examples(
        "diagnose rewards.csv",
        'diagnose rewards.jsonl --utility "log(x + 0.1)" --utility x --plot diagnosis.pdf',
        "diagnose rewards.parquet --where split=train --step 1000 --json",
    )
)
def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A reward log: CSV, JSON lines or Parquet; .gz is unzipped."
        ),
    ],
    utility: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A utility to compare the log with; can be repeated. [default: the paper's four]",
        ),
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="[default: prompt]")
    ] = None,
    reward_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="[default: reward, or score]")
    ] = None,
    kind_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="[default: kind, where there is one]")
    ] = None,
    rank_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="0 is the best. [default: rank]")
    ] = None,
    step_column: Annotated[str | None, typer.Option(metavar="NAME", help="[default: step]")] = None,
    no_kinds: Annotated[
        bool, typer.Option("--no-kinds", help="Take all prompts together.")
    ] = False,
    step: Annotated[
        float | None, typer.Option(help="The training step to look at. [default: the last]")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only rows with this value; can be repeated."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="csv, jsonl or parquet. [default: as the file looks]")
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
    if no_kinds and kind_column is not None:
        raise typer.BadParameter("--no-kinds and --kind-column exclude each other")
    with _progress(f"reading {file.name}") as told:
        log = read_log(
            file,
            prompt=prompt_column,
            reward=reward_column,
            kind=False if no_kinds else kind_column,
            rank=rank_column,
            step=step_column,
            at=step,
            where=[_pair(text) for text in where or ()],
            format=format,
            progress=told,
        )
    scale = None if low is None or high is None else (low, high)
    with _progress("diagnosing"):
        found = diagnosis_of(log, utility=utility, scale=scale, rng=seed)
    if plot is not None:
        from collapse_theory.cli.figures import drawn
        from collapse_theory.figures import diagnosis

        drawn(lambda: diagnosis(found), [plot])
    if as_json:
        print_json(content(found, str(file)))
    else:
        show(found, str(file))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"--where takes NAME=VALUE, such as split=train; not {text!r}")
    return name, value


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None] | None]:
    """Show a bar on stderr, where that is a terminal, once the work has taken two seconds.

    It pulses until the share that is done is told.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)
    start = threading.Timer(_PATIENCE, bar.start)
    start.daemon = True
    start.start()
    try:
        yield lambda share: bar.update(task, total=1.0, completed=share)
    finally:
        start.cancel()
        start.join()
        bar.stop()
