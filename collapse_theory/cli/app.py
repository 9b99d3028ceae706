"""The command line itself; each command is a file beside it. Errors are one line on stderr."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

import collapse_theory as ct
from collapse_theory.cli.options import helped


class Command(TyperCommand):
    """A command whose summary, in the list of commands, isn't cut."""

    def get_short_help_str(self, limit: int = 45) -> str:
        return super().get_short_help_str(10**6)


class FormulaCommand(Command):
    """A command that takes a formula such as -1/x, which is no option: no letter alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # A blank in front hides it from the parser of options; that of formulas passes over it.
        formula = re.compile(r"-(?!-|[a-wyzA-Z]$).")
        return super().parse_args(ctx, [f" {a}" if formula.match(a) else a for a in args])


# Each is the file of its name beside this one.
COMMANDS = (
    *("atoms", "check", "design", "diagnose", "experiment", "explore", "figures", "head"),
    *("predict", "table"),
)


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on stderr and exit status 2, without a traceback.

    The file of a command is imported when it is asked for: a tenth of a second less for most.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        self._import(*COMMANDS)
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._import(cmd_name)
        return super().get_command(ctx, cmd_name)

    def _import(self, *names: str) -> None:
        new = [name for name in names if name in COMMANDS and name not in self.commands]
        for name in new:
            importlib.import_module(f"collapse_theory.cli.{name}")
        if new:
            self.commands = typer.main.get_group(app).commands

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
    unknown = getattr(error, "option_name", None)
    if unknown is not None and type(error).__name__ == "NoSuchOption":
        return f"no such option: {unknown}{_nearest(unknown, error)}"
    # Typer brings Click along, or a copy of its own: its errors are known by what they can do.
    text = getattr(error, "format_message", None)
    return text() if text else None


def _nearest(unknown: str, error: Any) -> str:
    """Return a question after the option that was meant."""
    command = error.ctx.command
    options = [name for p in command.get_params(error.ctx) for name in p.opts if name[0] == "-"]
    near = difflib.get_close_matches(unknown, options, 1, 0.65)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(options)}"


def _one_line(text: str) -> str:
    """Return text without line ends, and without the control characters that steer terminals."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def command(
    *examples: str, formula: bool = False, **texts: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command, with examples below its help page; `helped` has the `texts`.

    Of one that takes a `formula`, an argument such as -1/x is no option.
    """
    cls = FormulaCommand if formula else Command
    register = app.command(cls=cls, epilog=_epilog(*examples))
    return lambda function: register(helped(**texts)(function))


def _epilog(*examples: str) -> str:
    return "\n\n".join(["Examples:", *(f"collapse-theory {example}" for example in examples)])


app = typer.Typer(
    cls=OneLineErrors,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The reward distributions that ranking losses collapse to: computed, certified, drawn.",
    epilog=_epilog(
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
