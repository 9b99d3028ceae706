"""Errors of the command line: one line on stderr, exit status 2, no traceback."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from collapse_theory.errors import CollapseError, SolverFailed

__all__ = ["OneLineErrors", "one_line"]


def reason_of(error: Exception) -> str | None:
    """Return what to tell the user about an error that is no bug of ours, else None."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory for so many completions"
    if isinstance(error, CollapseError | SolverFailed | OSError):
        return str(error)
    # Typer brings Click along, or a copy of its own: its errors are known by what they can do.
    text = getattr(error, "format_message", None)
    return text() if text else None


def one_line(text: str) -> str:
    """Return text without line ends, and without the control characters that steer terminals."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on stderr and exit status 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except typer.Abort:
            sys.exit(130)
        except Exception as error:
            reason = reason_of(error)
            if reason is None or not standalone_mode:
                raise
            print(f"error: {one_line(reason)}", file=sys.stderr)
            sys.exit(2)
        if standalone_mode:
            sys.exit(status if isinstance(status, int) else 0)
        return status
