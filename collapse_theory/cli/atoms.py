"""`collapse-theory atoms`: the mass at the ends, and the loss that gives a wanted one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.arguments import High, Json, Low, utility_text
from collapse_theory.cli.laws import certificate_text
from collapse_theory.cli.output import console, print_json
from collapse_theory.errors import CollapseError
from collapse_theory.limit import FAMILIES

__all__ = ["PARAMETERS", "atoms"]

# What the parameter of each family is called.
PARAMETERS = {"logsigmoid": "beta", "log": "epsilon", "reciprocal": "epsilon"}


@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples('atoms "log(x + 0.1)"', "atoms logsigmoid --mass 0.1", "atoms log --mass 0.05"),
)
def atoms(
    what: Annotated[
        str,
        typer.Argument(
            metavar="UTILITY|FAMILY",
            help="A utility of a reward gap x; with --mass a family: logsigmoid for "
            "logsigmoid(beta*x), log for log(x + epsilon), reciprocal for -1/(x + epsilon).",
            callback=utility_text,
        ),
    ],
    mass: Annotated[
        float | None, typer.Option(help="The mass wanted at each end, between 0 and 0.5.")
    ] = None,
    low: Low = 0.0,
    high: High = 1.0,
    as_json: Json = False,
) -> None:
    """Tell what share of completions ends at each end, or which loss gives a wanted share.

    The share of completions that end at the very best reward, and at the very worst, as their
    number grows. JSON has the keys utility, family, parameter, mass, domain, relative_gap, status
    (of the law); family and parameter are null without --mass.
    """
    box = ct.Box(low, high)
    parameter = None
    if mass is not None:
        parameter = ct.atom_parameter(what, mass, box)
        utility = FAMILIES[what](parameter)
    elif what in FAMILIES:
        raise CollapseError(f"{what!r} is a family; say which mass at each end with --mass")
    else:
        utility = ct.utility(what)
    law = ct.limit(utility, box)
    found = {
        "utility": str(utility),
        "family": None if mass is None else what,
        "parameter": parameter,
        "mass": ct.atom_mass(utility, box),
        "domain": box.to_dict(),
        "relative_gap": law.relative_gap,
        "status": law.status,
    }
    if as_json:
        print_json(found)
    else:
        _show(found, box, certificate_text(law) or str(law.status))


def _show(found: dict[str, Any], box: ct.Box, certificate: str) -> None:
    page = console()
    if found["parameter"] is not None:
        name = PARAMETERS.get(found["family"], "parameter")
        page.print(f"{name} = {found['parameter']:.10g}")
    page.print(f"U(x) = {found['utility']}, rewards in [{box.low:g}, {box.high:g}]")
    page.print(f"mass at each end = {found['mass']:.10g}")
    page.print(certificate)
