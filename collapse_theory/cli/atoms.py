"""`collapse-theory atoms`: the mass at the ends, and the loss that gives a wanted one."""

from __future__ import annotations

import typer

import collapse_theory as ct
from collapse_theory.cli.app import command
from collapse_theory.cli.options import Edges, chosen_domain
from collapse_theory.cli.output import named, print_json
from collapse_theory.cli.wording import certificate_text, program_text
from collapse_theory.limit import FAMILIES

# What the parameter of each family is called.
PARAMETERS = {"logsigmoid": "beta", "log": "epsilon", "reciprocal": "epsilon"}


@command(
    'atoms "log(x + 0.1)"',
    "atoms logsigmoid --mass 0.1",
    "atoms log --mass 0.05",
    formula=True,
    what=typer.Argument(
        metavar="UTILITY|FAMILY",
        help="A utility of a reward gap x; with --mass a family: logsigmoid for "
        "logsigmoid(beta*x), log for log(x + epsilon), reciprocal for -1/(x + epsilon).",
    ),
    mass="The mass wanted at each end, between 0 and 0.5.",
)
def atoms(
    what: str,
    mass: float | None = None,
    *,
    edges: Edges,
    as_json: bool = False,
) -> None:
    """Tell what share of completions ends at each end, or which loss gives a wanted share.

    The share of completions that end at the very best reward, and at the very worst, as their
    number grows. JSON has the keys utility, family, parameter, mass, domain, relative_gap, status
    (of the law); family and parameter are null without --mass.
    """
    box = chosen_domain(edges)
    family, parameter = None, None
    if mass is not None:
        family, parameter = what, ct.atom_parameter(what, mass, box)
        utility = FAMILIES[what](parameter)
    elif what in FAMILIES:
        raise ct.CollapseError(f"{what!r} is a family; say which mass at each end with --mass")
    else:
        utility = ct.utility(what)
    law, found = ct.limit(utility, box), ct.atom_mass(utility, box)
    if as_json:
        given = {"utility": str(utility), "family": family, "parameter": parameter}
        answer = {"mass": found, "domain": box.to_dict(), **named(law, "relative_gap", "status")}
        print_json(given | answer)
        return
    if family is not None:
        print(f"{PARAMETERS.get(family, 'parameter')} = {parameter:.10g}")
    print(program_text(utility, box))
    print(f"mass at each end = {found:.10g}")
    print(certificate_text(law) or law.status)
