"""`collapse-theory figures`: all figures, as files."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

import collapse_theory as ct
from collapse_theory.cli.app import command
from collapse_theory.cli.output import console, drawn


@command(
    "figures --out figures",
    "figures --out . --only limit_laws --format pdf",
    out=("DIR", "The folder to write into; made where missing."),
    formats=typer.Option("--format", help="pdf, png or svg; can be repeated. [default: png, pdf]"),
    only=("NAME", "Only the figure of this name; can be repeated."),
    dark="As they are on a dark page.",
)
def figures(
    out: Path,
    formats: list[str] | None = None,
    only: list[str] | None = None,
    dark: bool = False,
) -> None:
    """Draw all figures into a folder and list the files."""
    from rich.progress import Progress

    endings = list(dict.fromkeys(formats or ["png", "pdf"]))
    for ending in endings:
        if ending not in ct.figures.FORMATS:
            known = ", ".join(ct.figures.FORMATS)
            raise ct.CollapseError(f"no format {ending!r}; there are {known}")
    names = dict.fromkeys(only or [entry.name for entry in ct.figures.FIGURES])
    entries = [ct.figures.figure_entry(name) for name in names]
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    page = console(stderr=True)
    with Progress(console=page, transient=True, disable=not sys.stderr.isatty()) as progress:
        for entry in progress.track(entries, description="figures"):
            paths = [out / f"{entry.name}.{ending}" for ending in endings]
            files += drawn(entry.draw, paths, dark=dark)
    for file in files:
        print(file)
