"""The command line itself; each command is a file beside it."""

from __future__ import annotations

from typing import Annotated

import typer

import collapse_theory as ct
from collapse_theory.cli.errors import OneLineErrors

__all__ = ["app", "examples"]


def examples(*commands: str) -> str:
    """Return the text that shows these commands below a help page, one a paragraph."""
    return "\n\n".join(["Examples:", *(f"collapse-theory {command}" for command in commands)])


app = typer.Typer(
    cls=OneLineErrors,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The reward distributions that ranking losses collapse to: computed, certified, drawn.",
    epilog=examples(
        'predict "log(x + 0.1)" --n 8',
        "atoms logsigmoid --mass 0.1",
        'design "atoms 0.3 + uniform"',
        "table",
        "figures --out figures",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"collapse-theory {ct.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
