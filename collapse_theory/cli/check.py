"""`collapse-theory check`: a closed form, a solver, a loss or a utility of one's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import typer

import collapse_theory as ct
from collapse_theory import testing as room
from collapse_theory.cli.app import command
from collapse_theory.cli.options import Edges, Held, chosen_domain
from collapse_theory.cli.output import print_json
from collapse_theory.programs import Box, Domain

KINDS = ("closed-form", "solver", "loss", "utility")


@command(
    'check forms.py:four --utility "-1/x" --n 4',
    "check mypackage.forms:law --utility Power",
    "check mypackage.solvers:newton --as solver",
    'check mypackage.losses:loss --utility "log(x + 0.1)"',
    "check mypackage.utilities:mine",
    formula=True,
    subject=typer.Argument(
        metavar="MODULE:NAME",
        help="What to check: a name in a module, or in a file such as forms.py. A function is "
        "a closed form, a torch module a loss, a Utility a utility, unless --as says else.",
    ),
    utility="A utility that it is for, or the name of a family such as Power; can be repeated.",
    n="A number of completions; can be repeated.",
    kind=typer.Option("--as", help=f"What it is: {', '.join(KINDS)}."),
    gives="What a closed form gives: rewards, gaps, law, ppf, pdf or atoms.",
    cases="How many cases are checked at most.",
)
def check(
    subject: str,
    utility: list[str] | None = None,
    n: list[int] | None = None,
    *,
    edges: Edges,
    held: Held,
    kind: str | None = None,
    gives: str | None = None,
    cases: int | None = None,
    as_json: bool = False,
) -> None:
    """Check a formula, a solver, a loss or a utility of your own against the certified solvers.

    Exits with 1 where something is wrong, after the smallest case found; with --json always
    with 0. The file or module is run to find the name in it.
    """
    domain = chosen_domain(edges, held)
    wanted = _check_of(_found(subject), kind, gives, cases, _utilities(utility), n, domain)
    try:
        report = wanted()
    except AssertionError as fault:
        if as_json:
            print_json({"right": False, "reason": str(fault)})
            return
        print(f"wrong: {fault}")
        raise typer.Exit(1) from None
    if as_json:
        print_json({"right": True, "reason": str(report), **vars(report)})
    else:
        print(report)


def _found(subject: str) -> Any:
    """Return what a module or a file has by a name."""
    module, _, name = subject.rpartition(":")
    if not module or not name:
        raise typer.BadParameter(f"give MODULE:NAME, such as forms.py:four, not {subject!r}")
    path = Path(module)
    if is_file := path.suffix == ".py":
        if not path.is_file():
            raise typer.BadParameter(f"there is no file {module}")
        module = path.stem
    sys.path.insert(0, str(path.resolve().parent) if is_file else "")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as fault:
        raise typer.BadParameter(f"can't import {module}: {fault}") from None
    except AttributeError:
        raise typer.BadParameter(f"{module} has no {name}") from None


def _utilities(texts: list[str] | None) -> Any:
    """Return utilities by their texts, families by their names; None where there are none."""
    if not texts:
        return None
    named = {text: getattr(ct, text.strip(), None) for text in texts}
    return [kind if isinstance(kind, type) else text for text, kind in named.items()]


def _check_of(
    found: Any,
    kind: str | None,
    gives: str | None,
    cases: int | None,
    utilities: Any,
    ns: list[int] | None,
    domain: Domain,
) -> Callable[[], Any]:
    """Return the check of what was found, with what it is given."""
    if kind is None:
        torch = hasattr(found, "forward") and hasattr(found, "parameters")
        kind = "utility" if isinstance(found, ct.Utility) else "loss" if torch else "closed-form"
    if kind not in KINDS:
        raise typer.BadParameter(f"--as is one of {', '.join(KINDS)}, not {kind!r}")
    if gives is not None and kind != "closed-form":
        raise typer.BadParameter(f"--gives belongs to a closed form; this is a {kind}")
    options = {} if cases is None else {"examples": cases}
    if kind == "closed-form":
        return partial(room.check_closed_form, found, utilities, ns, domain, gives=gives, **options)
    if kind == "utility":
        if utilities or ns or options:
            raise typer.BadParameter("a utility is checked as it is: no --utility, --n, --cases")
        return partial(room.check_utility, found, domain)
    # What these know of a domain themselves goes before the box [0, 1].
    place = None if domain == Box() else domain
    if kind == "solver":
        return partial(room.check_solver, found, utilities, ns, place, **options)
    if utilities is not None and len(utilities) > 1:
        raise typer.BadParameter("a loss claims one utility: give --utility once")
    options |= {"ns": ns} if ns else {}
    return partial(room.check_loss, found, (utilities or [None])[0], place, **options)
