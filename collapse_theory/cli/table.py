"""`collapse-theory table`: every closed form against the solvers, and the losses in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.output import console, print_json
from collapse_theory.cli.practices import practice_contents, practice_table
from collapse_theory.exact import FINITE_FORMS, LIMIT_FORMS
from collapse_theory.exact.registry import FiniteForm
from collapse_theory.finite import METHODS
from collapse_theory.limit import METHODS as LIMIT_METHODS
from collapse_theory.programs import as_rewards, count

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["FiniteRow", "LimitRow", "finite_rows", "limit_rows", "table"]


@dataclass(frozen=True)
class FiniteRow:
    """A closed form of n rewards: the largest difference to each solver, None if it has none."""

    form: str
    utility: str
    n: int
    newton: float | None
    conic: float | None
    reference: str


@dataclass(frozen=True)
class LimitRow:
    """A closed form of a limit law: the Wasserstein-1 distance to the numerical law, if any."""

    form: str
    utility: str
    distance: float | None
    relative_gap: float | None
    method: str | None
    reference: str


def finite_rows(n: int) -> list[FiniteRow]:
    """Return a row per example of each closed form, at the largest n up to this that it holds for.

    Parameters
    ----------
    n : int
        The number of completions, at least 2.
    """
    rows = []
    for form in FINITE_FORMS:
        for text in form.examples:
            found = _largest(form, text, count(n))
            if found is None:
                continue  # min(x, 1/3) has its levels from n = 4 on
            size, exact = found
            errors = {name: _error(text, size, exact, name) for name in METHODS}
            rows.append(
                FiniteRow(form.name, text, size, errors["newton"], errors["conic"], form.reference)
            )
    return rows


def _largest(form: FiniteForm, text: str, n: int) -> tuple[int, np.ndarray] | None:
    for size in range(n, 1, -1):
        found = form.gaps(ct.utility(text), size)
        if found is not None:
            return size, as_rewards(found.gaps)
    return None


def _error(text: str, n: int, exact: np.ndarray, method: str) -> float | None:
    try:
        return float(np.abs(ct.solve(text, n, method=method).rewards - exact).max())
    except ct.CollapseError:
        return None  # newton needs a strictly concave utility, conic a conic form


def limit_rows() -> list[LimitRow]:
    """Return a row per example of each closed form of a limit law."""
    rows = []
    for form in LIMIT_FORMS:
        for text in form.examples:
            exact, law = form.law(ct.utility(text)), _numerical(ct.utility(text))
            distance = law.distance(exact) if law and exact else None
            gap, method = (law.relative_gap, law.method) if law else (None, None)
            rows.append(LimitRow(form.name, text, distance, gap, method, form.reference))
    return rows


def _numerical(u: ct.Utility) -> ct.RewardLaw | None:
    smooth = u.strictly_concave and not u.kinks
    for method in LIMIT_METHODS if smooth else ("conic",):
        if method == "exact":
            continue
        try:
            return ct.limit(u, method=method)
        except (ct.CollapseError, ct.SolverFailed):
            continue  # each method takes one kind of utility
    return None


@app.command(epilog=examples("table", "table --n 32 --json"))
def table(
    n: Annotated[int, typer.Option("--n", help="How many completions are ranked.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the closed forms against the solvers; list what the losses in use make of rewards."""
    finite, laws = finite_rows(n), limit_rows()
    if as_json:
        content = {"finite": [vars(row) for row in finite], "limit": [vars(r) for r in laws]}
        print_json(content | {"practices": practice_contents(n)})
        return
    page = console()
    rows = [
        (row.form, row.utility, str(row.n), _text(row.newton), _text(row.conic)) for row in finite
    ]
    page.print(_grid(rows, f"{n} completions", "n", "newton", "conic"))
    page.print("Largest difference in rewards; - where the method doesn't apply.\n")
    rows = [
        (law.form, law.utility, _text(law.distance), _text(law.relative_gap), law.method or "-")
        for law in laws
    ]
    page.print(_grid(rows, "limit laws", "distance", "rel. gap", "method"))
    page.print("Wasserstein-1 distance to the computed law, and that law's own certificate.\n")
    page.print("Losses in use: the optimal rewards, best first, and the law as n grows.\n")
    page.print(practice_table(n))


def _grid(rows: list[tuple[str, ...]], title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # Eighty columns are enough without frames.
    grid = Table("closed form", "utility", *columns, title=title, box=SIMPLE_HEAD)
    grid.columns[0].no_wrap = True
    for row in rows:
        grid.add_row(*row)
    return grid


def _text(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"
