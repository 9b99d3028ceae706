"""`collapse-theory experiment`: reward collapse on real text, trained here and now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collapse_theory.cli.app import app, examples
from collapse_theory.cli.output import console, print_json
from collapse_theory.errors import CollapseError

if TYPE_CHECKING:
    from collapse_theory.experiment import Findings, Progress, Setting

__all__ = ["experiment"]


@app.command(
    epilog=examples(
        "experiment --out results",
        "experiment --out quick --small",
        'experiment --out mine --data rankings.jsonl --utilities "log(x+0.1)"',
        'experiment --out two --utilities "open=-1/(x+0.1); closed=x"',
    )
)
def experiment(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to write into; made where missing.")
    ],
    utilities: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UTILITY",
            help='What to train with: "log(x+0.1)", or "kind=utility; kind=utility"; can be '
            "repeated. [default: the paper's four, and the prompt-aware one]",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rankings of your own, JSON lines or Parquet; a third of the prompts is held out.",
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(metavar="NAME_OR_PATH", help="A model. [default: MiniLM, packaged]")
    ] = "",
    full: Annotated[
        bool, typer.Option("--full", help="Train all weights of the encoder, by Trainer.")
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Fewer prompts, steps and runs: under a minute.")
    ] = False,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Whether to run the controls too.")
    ] = True,
    prompts: Annotated[
        int | None, typer.Option(help="How many prompts; a third of them is held out.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps a run has.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split and of the first run.")] = 0,
    seeds: Annotated[int | None, typer.Option(help="How many runs of each utility.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where features are kept. [default: DIR/features]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace results of another setting in DIR.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """Train reward models on real text and compare what comes out with the exact prediction.

    An interrupted run goes on when the same command is given again. Needs the extra
    "collapse-theory[training]".
    """
    _require_packages()
    from collapse_theory.experiment import run_experiment

    chosen = {
        "utilities": tuple(utilities) if utilities else None,
        "data": str(data) if data else None,
        "steps": steps,
        "seeds": seeds,
        "train": None if prompts is None else prompts - prompts // 3,
        "held_out": None if prompts is None else prompts // 3,
    }
    fixed: dict[str, Any] = {"encoder": encoder, "seed": seed}
    if not controls:
        fixed["controls"] = False
    given = {name: value for name, value in chosen.items() if value is not None} | fixed
    if data and not utilities:
        from collapse_theory.experiment.prompts import utilities_for

        given["utilities"] = utilities_for(str(data))
    setting = _setting(given, small=small, full=full)
    with _Shown() as progress:
        found = run_experiment(setting, out, cache=cache, force=force, progress=progress)
    if as_json:
        from collapse_theory.experiment.metrics import metrics

        print_json(metrics(found))
    else:
        _show(found, out)


def _setting(given: dict[str, Any], *, small: bool, full: bool) -> Setting:
    from collapse_theory.experiment import Setting

    if full:
        return Setting.whole_encoder(small=small, **given)
    return Setting.small(**given) if small else Setting(**given)


def _require_packages() -> None:
    from importlib.util import find_spec

    for package in ("torch", "transformers", "safetensors", "polars", "accelerate"):
        if find_spec(package) is None:
            raise CollapseError(
                f"the experiment needs the package {package!r}, which is not installed; "
                'pip install "collapse-theory[training]"'
            )


class _Shown:
    """A progress bar on stderr: a line a piece of work where that is no terminal."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from collapse_theory.experiment import Progress as Told

        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        terminal = sys.stderr.isatty()
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not terminal,
        )
        task = bar.add_task("starting", total=None)

        class Shown(Told):
            def begin(self, what: str, total: int) -> None:
                bar.reset(task, total=total, description=what)
                if not terminal:
                    console.print(what, soft_wrap=True)

            def advance(self, parts: int = 1) -> None:
                bar.advance(task, parts)

            def say(self, text: str) -> None:
                console.print(text, soft_wrap=True)

        self._bar = bar
        bar.start()
        return Shown()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _show(findings: Findings, out: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from collapse_theory.experiment.words import COLUMNS, NOTES, rows, sentences

    shown = console()
    # Eighty columns are enough for a utility and eight numbers.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(COLUMNS[0], overflow="fold")
    for name in COLUMNS[1:]:
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows(findings):
        table.add_row(*row)
    shown.print(table)
    shown.print(NOTES)
    for text in sentences(findings):
        shown.print(f"- {text}")
    shown.print(f"{out / 'summary.html'} has the figures, {out / 'metrics.json'} every number.")
