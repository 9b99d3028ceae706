"""`collapse-theory explore`: a page on which utility, law and rewards move."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from collapse_theory import explorer
from collapse_theory.cli.app import Command, app, examples
from collapse_theory.lazy import missing

PORT = 8765


@app.command(cls=Command, epilog=examples("explore", "explore --port 9000 --no-browser"))
def explore(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port of this machine that the page is at.")
    ] = PORT,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only say where the page is.")
    ] = False,
) -> None:
    """Open a page on which utility, law and rewards move; a reward log can be dropped on it.

    Only this machine can reach it, and it fetches nothing from elsewhere. Needs the extra
    "explorer".
    """
    if find_spec("nicegui") is None:
        raise missing("the explorer", "nicegui")
    explorer.serve(port, show=not no_browser)
