"""`collapse-theory experiment`: reward collapse on real text, trained here and now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

# Its names come at first use: PyTorch is loaded when an experiment begins, not for --help.
from collapse_theory import experiment as room
from collapse_theory.cli.app import command
from collapse_theory.cli.output import console, number_table, print_json
from collapse_theory.lazy import missing

if TYPE_CHECKING:
    from collapse_theory.experiment import Findings, Progress

PACKAGES = ("torch", "transformers", "safetensors", "accelerate")


@command(
    "experiment --out results",
    "experiment --out quick --small",
    'experiment --out mine --data rankings.jsonl --utilities "log(x+0.1)"',
    'experiment --out two --utilities "open=-1/(x+0.1); closed=x"',
    "experiment --out study --study --data rankings.jsonl",
    "experiment --report results",
    out=("DIR", "The folder to write into; made where missing."),
    report=("DIR", "Make the report of a finished experiment again."),
    utilities=(
        "UTILITY",
        'What to train with: "log(x+0.1)", or "kind=utility; kind=utility"; can be repeated. '
        "[default: the paper's four, and the prompt-aware one]",
    ),
    data=(
        "FILE",
        "Rankings of your own, JSON lines or Parquet; a third of the prompts is held out.",
    ),
    encoder=("NAME_OR_PATH", "A model. [default: MiniLM, packaged]"),
    full="Train all weights of the encoder, by Trainer.",
    study="Hold the losses against each other on held-out prompts: a judge's scores, best of 4.",
    small="Fewer prompts, steps and runs: under a minute.",
    controls=typer.Option("--controls/--no-controls", help="Whether to run the controls too."),
    prompts="How many prompts; a third of them is held out.",
    steps="How many steps a run has.",
    seed="Of the split and of the first run.",
    seeds="How many runs of each utility.",
    cache=("DIR", "Where features are kept. [default: DIR/features]"),
    force="Replace results of another setting in DIR.",
)
def experiment(
    out: Path | None = None,
    report: Path | None = None,
    utilities: list[str] | None = None,
    data: Path | None = None,
    encoder: str = "",
    full: bool = False,
    study: bool = False,
    small: bool = False,
    controls: bool = True,
    prompts: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    cache: Path | None = None,
    force: bool = False,
    as_json: bool = False,
) -> None:
    """Train reward models on real text and compare what comes out with the exact prediction.

    An interrupted run goes on when the same command is given again. Needs the extra
    ".[training]". JSON is the content of metrics.json.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise missing("the experiment", package)
    folder = report or out
    if folder is None or (report and out):
        raise typer.BadParameter("give a folder: --out DIR to train, --report DIR to tell again")
    with _shown() as progress:
        if report:
            found = room.report_again(report, progress=progress)
        else:
            suited = room.utilities_for(str(data)) if data and not study else None
            trained = tuple(utilities or ()) or suited
            chosen = {
                "utilities": trained,
                "data": str(data) if data else None,
                "encoder": encoder,
                "controls": None if controls else False,
                "prompts": prompts,
                "steps": steps,
                "seed": seed,
                "seeds": seeds,
            }
            given = {name: value for name, value in chosen.items() if value is not None}
            setting = room.Setting.usual(small=small, full=full, study=study, **given)
            found = room.run_experiment(
                setting, folder, cache=cache, force=force, progress=progress
            )
    if as_json:
        print_json(room.metrics(found))
    else:
        _show(found, folder)


@contextmanager
def _shown() -> Iterator[Progress]:
    """Show a progress bar on stderr; a line a piece of work where that is no terminal."""
    from rich import progress

    page, terminal = console(stderr=True), sys.stderr.isatty()
    bar = progress.Progress(console=page, transient=True, disable=not terminal)
    task = bar.add_task("starting", total=None)

    class Shown(room.Progress):
        def begin(self, what: str, total: int) -> None:
            bar.reset(task, total=total, description=what)
            if not terminal:
                page.print(what, soft_wrap=True)

        def advance(self, parts: int = 1) -> None:
            bar.advance(task, parts)

        def say(self, text: str) -> None:
            page.print(text, soft_wrap=True)

    with bar:
        yield Shown()


def _show(findings: Findings, folder: Path) -> None:
    page = console()
    look: Any = {"pad_edge": False, "padding": (0, 1, 0, 0)}
    for columns, rows, notes in room.tables(findings):
        names = [columns[0], *(name.replace(" ", "\n") for name in columns[1:])]
        # Eighty columns are enough for a utility and eight numbers, or six with intervals.
        cells = ([cell.replace(" [", "\n[") for cell in row] for row in rows)
        table = number_table(names, cells, words=1, **look)
        table.columns[0].overflow = "fold"
        page.print(table)
        page.print(notes)
    for text in room.told(findings):
        page.print(f"- {text}")
    page.print(f"{folder / 'summary.md'} has the figures, {folder / 'metrics.json'} the numbers.")
