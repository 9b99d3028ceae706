"""How commands declare what they take, and what several of them take: a domain, --plot, --json."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

import collapse_theory as ct

if TYPE_CHECKING:
    from collapse_theory.programs import Domain

Told = TypeVar("Told", bound=Callable[..., Any])
Parameters = dict[str, inspect.Parameter]
_SHARED: Mapping[str, Any] = {
    "plot": "Draw the answer into this file (pdf, png or svg).",
    "as_json": typer.Option("--json", help="Print one JSON object."),
}


def helped(**texts: Any) -> Callable[[Told], Told]:
    """Give the parameters of a command their help.

    Of an option --name that is a text, or a pair (metavar, text); else what Typer takes: an
    `Argument`, or an `Option` with other names. A flag has no --no-name. A parameter whose type is
    a dataclass stands for the options that are its fields, which are helped by themselves.
    """

    def decorate(command: Told) -> Told:
        parameters = dict(inspect.signature(command, eval_str=True).parameters)
        for name, text in {**_SHARED, **texts}.items():
            if name not in parameters and name not in texts:
                continue
            if isinstance(text, str | tuple):
                metavar, words = text if isinstance(text, tuple) else (None, text)
                text = typer.Option(f"--{name.replace('_', '-')}", metavar=metavar, help=words)
            kind = Annotated[parameters[name].annotation, text]
            parameters[name] = parameters[name].replace(annotation=kind)
        groups = {
            n: one.annotation for n, one in parameters.items() if is_dataclass(one.annotation)
        }
        return _grouped(command, parameters, groups) if groups else _signed(command, parameters)

    return decorate


def _grouped(command: Any, parameters: Parameters, groups: Mapping[str, Any]) -> Any:
    """Return a command with the fields of its groups in their places."""
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}

    def parsed(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields[name]})
        command(**values)

    flat: Parameters = {}
    for name, one in parameters.items():
        flat |= fields.get(name, {name: one})
    parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
    keyword = inspect.Parameter.KEYWORD_ONLY
    return _signed(parsed, {name: one.replace(kind=keyword) for name, one in flat.items()})


def _signed(command: Any, parameters: Parameters) -> Any:
    """Return a command with these parameters, in both places where Typer looks for them."""
    command.__signature__ = inspect.Signature(list(parameters.values()))
    command.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return command


@helped(
    low="The lowest reward there can be. [default: 0]",
    high="The highest reward there can be. [default: 1]",
)
@dataclass(frozen=True)
class Edges:
    """The box that rewards lie in."""

    low: float | None = None
    high: float | None = None


@helped(
    confined=("KAPPA", "Rewards in all of R under the penalty KAPPA mean r**2, instead of a box."),
    centered=("C", "Rewards in all of R under C mean (r_i + r_j)**2, as TRL's centring."),
    free="Rewards in all of R, held by nothing but the utility.",
)
@dataclass(frozen=True)
class Held:
    """What holds rewards in the place of a box."""

    confined: float | None = None
    centered: float | None = None
    free: bool = False


def chosen_domain(edges: Edges | None = None, held: Held | None = None) -> Domain:
    """Return the domain that the options name; the box [0, 1] where they name none."""
    edges, held = edges or Edges(), held or Held()
    given = {**vars(edges), **vars(held)}
    named = [
        f"--{name}" for name, value in given.items() if value is not None and value is not False
    ]
    if len(named) > 1 and named != ["--low", "--high"]:
        raise typer.BadParameter(
            f"{' and '.join(named)} exclude each other: rewards lie in a box (--low, --high), or "
            "are held by --confined, by --centered, or by the utility (--free)"
        )
    if held.confined is not None:
        return ct.Confined(held.confined)
    if held.centered is not None:
        return ct.Centered(held.centered)
    if held.free:
        return ct.Free()
    low, high = edges.low, edges.high
    return ct.Box(0.0 if low is None else low, 1.0 if high is None else high)
