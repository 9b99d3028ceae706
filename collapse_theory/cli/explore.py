"""`collapse-theory explore`: a page on which utility, law and rewards move."""

from __future__ import annotations

from importlib.util import find_spec

import typer

from collapse_theory import explorer
from collapse_theory.cli.app import command
from collapse_theory.lazy import missing


@command(
    "explore",
    "explore --port 9000 --no-browser",
    port=typer.Option(min=1024, max=65535, help="The port of this machine that the page is at."),
    no_browser="Say where the page is, and open no browser.",
)
def explore(port: int = 8765, no_browser: bool = False) -> None:
    """Open a page on which utility, law and rewards move, and which reads a reward log.

    Only this machine can reach it, and it fetches nothing from elsewhere. Extra: ".[explorer]".
    """
    if find_spec("nicegui") is None:
        raise missing("the explorer", "nicegui")
    explorer.serve(port, show=not no_browser)
