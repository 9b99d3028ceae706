"""`collapse-theory table`: every closed form against the solvers, and the losses in use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import Command, app, examples
from collapse_theory.cli.options import Json
from collapse_theory.cli.output import console, number_table, print_json
from collapse_theory.cli.wording import program_text, support
from collapse_theory.exact import FINITE_FORMS, LIMIT_FORMS
from collapse_theory.exact.registry import Form
from collapse_theory.finite import METHODS
from collapse_theory.limit import METHODS as LIMIT_METHODS
from collapse_theory.limit.presets import PRESETS, Preset
from collapse_theory.numerics.checks import count
from collapse_theory.programs import Answer, as_rewards

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 10  # of more completions, a cell shows the best and the worst


@app.command(cls=Command, epilog=examples("table", "table --laws", "table --n 32 --json"))
def table(
    n: Annotated[int, typer.Option("--n", help="How many completions are ranked.")] = 8,
    only_laws: Annotated[
        bool, typer.Option("--laws", help="List utilities and their limit laws in closed form.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the closed forms against the solvers; list what the losses in use make of rewards."""
    if only_laws:
        return _print_laws(as_json)
    finite, laws = finite_rows(n), limit_rows()
    if as_json:
        content = {"finite": list(map(asdict, finite)), "limit": list(map(asdict, laws))}
        print_json(content | {"practices": preset_contents(n)})
        return
    page = console()
    rows = [(r.form, r.utility, str(r.n), _text(r.newton), _text(r.conic)) for r in finite]
    page.print(_grid(rows, f"{n} completions", "n", "newton", "conic"))
    page.print("Largest difference in rewards; - where the method doesn't apply.\n")
    rows = [
        (r.form, r.utility, _text(r.distance), _text(r.relative_gap), r.method or "-") for r in laws
    ]
    page.print(_grid(rows, "limit laws", "distance", "rel. gap", "method"))
    page.print("Wasserstein-1 distance to the computed law, and that law's own certificate.\n")
    page.print("Losses in use: the optimal rewards, best first, and the law as n grows.\n")
    page.print(_preset_lines(n))


def _print_laws(as_json: bool) -> None:
    rows = law_rows()
    if as_json:
        print_json({"laws": list(map(asdict, rows))})
        return
    page = console()
    lines = ((row.utility, row.law) for row in rows)
    page.print(number_table(("utility", "limit law"), lines, words=2))
    for rule in dict.fromkeys(row.rule for row in rows):
        page.print(rule)


def _grid(rows: Iterable[tuple[str, ...]], title: str, *columns: str) -> Table:
    names = ("closed form", "utility", *columns)
    grid = number_table(names, rows, words=len(names), title=title)
    grid.columns[0].no_wrap = True
    return grid


def _text(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"


# -- closed forms against solvers --------------------------------------------------------


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


@dataclass(frozen=True)
class LawRow:
    """A utility and its limit law in closed form, with the general rule and its source."""

    utility: str
    law: str
    rule: str
    reference: str


def law_rows() -> list[LawRow]:
    """Return a row per example of each closed form of a limit law."""
    rows = []
    for form in LIMIT_FORMS:
        rule = (form.formula.__doc__ or form.name).splitlines()[0]
        for text in form.examples:
            law = form(ct.utility(text))
            if law is not None:
                rows.append(LawRow(text, law.name, rule, form.reference))
    return rows


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


def _largest(form: Form[Answer], text: str, n: int) -> tuple[int, np.ndarray] | None:
    for size in range(n, 1, -1):
        found = form(ct.utility(text), size)
        if found is not None and found.gaps is not None:
            return size, as_rewards(found.gaps)
    return None


def _error(text: str, n: int, exact: np.ndarray, method: Any) -> float | None:
    try:
        return float(np.abs(ct.solve(text, n, method=method).rewards - exact).max())
    except ct.CollapseError:
        return None  # newton needs a strictly concave utility, conic a conic form


def limit_rows() -> list[LimitRow]:
    """Return a row per example of each closed form of a limit law."""
    rows = []
    for form in LIMIT_FORMS:
        for text in form.examples:
            exact, law = form(ct.utility(text)), _numerical(ct.utility(text))
            distance = law.distance(exact) if law and exact else None
            gap, method = (law.relative_gap, law.method) if law else (None, None)
            rows.append(LimitRow(form.name, text, distance, gap, method, form.reference))
    return rows


def _numerical(u: ct.Utility) -> ct.RewardLaw | None:
    smooth = u.strictly_concave and not u.kinks
    method: Any
    for method in LIMIT_METHODS if smooth else ("conic",):
        if method == "exact":
            continue
        try:
            return ct.limit(u, method=method)
        except (ct.CollapseError, ct.SolverFailed):
            continue  # each method takes one kind of utility
    return None


# -- the losses in use -------------------------------------------------------------------


def preset_contents(n: int) -> list[dict[str, Any]]:
    """Return each loss in use as JSON holds it; rewards and limit are null where there is none.

    Parameters
    ----------
    n : int
        The number of completions.
    """
    return [_preset_content(one, n) for one in PRESETS]


def _preset_content(one: Preset, n: int) -> dict[str, Any]:
    solution, law = one.solve(n), one.law()
    return {
        "practice": one.name,
        "loss": str(one.loss),
        "domain": one.domain.to_dict(),
        "n": n,
        "rewards": solution and solution.rewards,
        "relative_gap": solution and solution.relative_gap,
        "limit": law and {"atoms": law.atoms, "support": support(law), "mean": law.mean()},
        "none": one.none(n) or None,
    }


def _preset_lines(n: int) -> Table:
    """Return each loss in use as lines: the program, its rewards and its limit law."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for one in PRESETS:
        program = re.sub(r"0[.]([0-9]{4})[0-9]+", r"0.\1", program_text(one.loss, one.domain))
        grid.add_row(one.name, program)
        solution, law = one.solve(n), one.law()
        if solution is not None:
            grid.add_row(f"  {n} completions", rewards_text(solution.rewards))
        elif not one.instead:
            grid.add_row(f"  {n} completions", one.none(n))
        grid.add_row("  limit law" if law else "  optimum", law_text(law) if law else one.instead)
    return grid


def rewards_text(rewards: np.ndarray) -> str:
    """Return rewards in short, two decimals each.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.cli.table import rewards_text
    >>> rewards_text(np.array([1.0, 0.5, 0.0]))
    '1 0.5 0'
    """
    short = [_short(reward) for reward in rewards.tolist()]
    return " ".join(short if len(short) <= SHOWN else [*short[:4], "...", *short[-4:]])


def _short(reward: float) -> str:
    text = f"{reward:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def law_text(law: ct.RewardLaw) -> str:
    """Return a law in words: its atoms, and where the rest lies.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.cli.table import law_text
    >>> law_text(ct.limit(ct.PlackettLuce()))
    'mass 0.27 at 0, 0.46 at 1; the rest between'
    """
    masses = ", ".join(f"{_short(mass)} at {place:.3g}" for place, mass in law.atoms.tolist())
    if not law.parts:
        return "all at 0" if law.atoms[:, 0].tolist() == [0.0] else f"mass {masses}"
    if masses:
        return f"mass {masses}; the rest between"
    low, high = support(law)
    where = f"below {high:.3g}" if low == -np.inf else f"on [{low:.3g}, {high:.3g}]"
    return f"no atoms, {where}, s.d. {law.var() ** 0.5:.3g}"
