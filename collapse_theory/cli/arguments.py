"""What several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["High", "Json", "Low", "utility_text"]


def utility_text(text: str) -> str:
    """Return the text of a utility; refuse an option that isn't known.

    Such options reach this argument, so that "-1/x" can.
    """
    if text.startswith("--"):
        raise typer.BadParameter(f"no such option: {text}")
    return text


Low = Annotated[float, typer.Option("--low", help="The lowest reward there can be.")]
High = Annotated[float, typer.Option("--high", help="The highest reward there can be.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
