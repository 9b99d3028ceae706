"""How commands declare what they take; what several take: a domain, --plot, --json."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import collapse_theory as ct
from collapse_theory.programs import Domain

Told = TypeVar("Told", bound=Callable[..., Any])


def helped(**texts: Any) -> Callable[[Told], Told]:
    """Give the parameters of a command their help.

    Of an option --name that is a text, or a pair (metavar, text); else what Typer takes: an
    `Argument`, or an `Option` with other names. A flag has no --no-name.
    """

    def decorate(command: Told) -> Told:
        signature = inspect.signature(command, eval_str=True)
        parameters = dict(signature.parameters)
        for name, text in texts.items():
            if isinstance(text, str | tuple):
                metavar, words = text if isinstance(text, tuple) else (None, text)
                text = typer.Option(f"--{name.replace('_', '-')}", metavar=metavar, help=words)
            kind = Annotated[parameters[name].annotation, text]
            parameters[name] = parameters[name].replace(annotation=kind)
        return signed(command, parameters)

    return decorate


def signed(command: Any, parameters: dict[str, inspect.Parameter]) -> Any:
    """Return a command with these parameters, in both places where Typer looks for them."""
    command.__signature__ = inspect.Signature(list(parameters.values()))
    command.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return command


Low = Annotated[
    float | None, typer.Option("--low", help="The lowest reward there can be. [default: 0]")
]
High = Annotated[
    float | None, typer.Option("--high", help="The highest reward there can be. [default: 1]")
]
Plot = Annotated[
    Path | None, typer.Option("--plot", help="Draw the answer into this file (pdf, png or svg).")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Confined = Annotated[
    float | None,
    typer.Option(
        "--confined",
        metavar="KAPPA",
        help="Rewards in all of R under the penalty KAPPA mean r**2, instead of a box.",
    ),
]
Centered = Annotated[
    float | None,
    typer.Option(
        "--centered",
        metavar="C",
        help="Rewards in all of R under C mean (r_i + r_j)**2, as TRL's centring.",
    ),
]
Free = Annotated[
    bool, typer.Option("--free", help="Rewards in all of R, held by nothing but the utility.")
]


def chosen_domain(
    low: float | None = None,
    high: float | None = None,
    confined: float | None = None,
    centered: float | None = None,
    free: bool = False,
) -> Domain:
    """Return the domain that the options name; the box [0, 1] where they name none."""
    given = {"--low": low, "--high": high, "--confined": confined, "--centered": centered}
    named = [name for name, value in given.items() if value is not None] + ["--free"] * free
    if len(named) > 1 and named != ["--low", "--high"]:
        raise typer.BadParameter(
            f"{' and '.join(named)} exclude each other: rewards lie in a box (--low, --high), or "
            "are held by --confined, by --centered, or by the utility (--free)"
        )
    if confined is not None:
        return ct.Confined(confined)
    if centered is not None:
        return ct.Centered(centered)
    if free:
        return ct.Free()
    return ct.Box(0.0 if low is None else low, 1.0 if high is None else high)
