"""The command line itself; each command is a file beside it. Errors are one line on stderr."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import collapse_theory as ct

__all__ = ["app", "examples"]


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on stderr and exit status 2, without a traceback."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except typer.Abort:
            sys.exit(130)
        except Exception as error:
            reason = _reason(error)
            if reason is None or not standalone_mode:
                raise
            print(f"error: {_one_line(reason)}", file=sys.stderr)
            sys.exit(2)
        if standalone_mode:
            sys.exit(status if isinstance(status, int) else 0)
        return status


def _reason(error: Exception) -> str | None:
    """Return what to tell the user about an error that is no bug of ours, else None."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory for so many completions"
    if isinstance(error, ct.CollapseError | ct.SolverFailed | OSError):
        return str(error)
    # Typer brings Click along, or a copy of its own: its errors are known by what they can do.
    text = getattr(error, "format_message", None)
    return text() if text else None


def _one_line(text: str) -> str:
    """Return text without line ends, and without the control characters that steer terminals."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


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
