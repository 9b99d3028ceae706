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
    both = vars(edges or Edges()) | vars(held or Held())
    given = {name: one for name, one in both.items() if one is not None and one is not False}
    if len(given) > 1 and set(given) != {"low", "high"}:
        raise typer.BadParameter(
            f"{' and '.join(f'--{name}' for name in given)} exclude each other: rewards lie in a "
            "box (--low, --high), or are held by --confined, by --centered, or by the utility "
            "(--free)"
        )
    for name, kind in (("confined", ct.Confined), ("centered", ct.Centered)):
        if name in given:
            return kind(given[name])
    return ct.Free() if "free" in given else ct.Box(given.get("low", 0.0), given.get("high", 1.0))
