"""`collapse-theory table`: every closed form against the solvers, and the losses in use."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import command
from collapse_theory.cli.output import console, number_table, print_json
from collapse_theory.cli.wording import program_text, support
from collapse_theory.exact import FINITE_FORMS, LIMIT_FORMS
from collapse_theory.exact.registry import Form
from collapse_theory.limit import METHODS
from collapse_theory.limit.presets import PRESETS
from collapse_theory.numerics.checks import count
from collapse_theory.programs import Answer, as_rewards

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 10  # of more completions, a cell shows the best and the worst


@command(
    "table",
    "table --laws",
    "table --n 32 --json",
    n="How many completions are ranked.",
    only_laws=typer.Option("--laws", help="List utilities and their limit laws in closed form."),
)
def table(n: int = 8, only_laws: bool = False, as_json: bool = False) -> None:
    """Check the closed forms against the solvers; list what the losses in use make of rewards."""
    if only_laws:
        content = {"laws": law_rows()}
    else:
        content = {"finite": finite_rows(n), "limit": limit_rows(), "practices": preset_contents(n)}
    if as_json:
        print_json(content)
        return
    page = console()
    if only_laws:
        lines = ((row["utility"], row["law"]) for row in content["laws"])
        page.print(number_table(("utility", "limit law"), lines, words=2))
        for rule in dict.fromkeys(row["rule"] for row in content["laws"]):
            page.print(rule)
        return
    page.print(_grid(content["finite"], f"{n} completions", "n", "newton", "conic"))
    page.print("Largest difference in rewards; - where the method doesn't apply.\n")
    page.print(_grid(content["limit"], "limit laws", "distance", "relative_gap", "method"))
    page.print("Wasserstein-1 distance to the computed law, and that law's own certificate.\n")
    page.print("Losses in use: the optimal rewards, best first, and the law as n grows.\n")
    page.print(_preset_lines(n))


def _grid(rows: list[dict[str, Any]], title: str, *columns: str) -> Table:
    def text(value: Any) -> str:
        return f"{value:.1e}" if isinstance(value, float) else str("-" if value is None else value)

    names = ["closed form", "utility", *(name.replace("relative_", "rel. ") for name in columns)]
    cells = [[text(row[name]) for name in ("form", "utility", *columns)] for row in rows]
    grid = number_table(names, cells, words=len(names), title=title)
    grid.columns[0].no_wrap = True
    return grid


# -- closed forms against solvers --------------------------------------------------------


def law_rows() -> list[dict[str, Any]]:
    """Return utilities with their limit laws in closed form, the general rule and its source."""
    return [
        {
            "utility": text,
            "law": law.name,
            "rule": (form.formula.__doc__ or form.name).splitlines()[0],
            "reference": form.reference,
        }
        for form in LIMIT_FORMS
        for text in form.examples
        if (law := form(ct.utility(text))) is not None
    ]


def finite_rows(n: int) -> list[dict[str, Any]]:
    """Return closed forms at the largest n up to this that each holds for.

    With the largest difference to the rewards of each solver; None where it has none.
    """
    rows = []
    for form in FINITE_FORMS:
        for text in form.examples:
            found = _largest(form, text, count(n))
            if found is not None:  # min(x, 1/3) has its levels from n = 4 on
                size, exact = found
                errors = {name: _error(text, size, exact, name) for name in ("newton", "conic")}
                start = {"form": form.name, "utility": text, "n": size}
                rows.append(start | errors | {"reference": form.reference})
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


def limit_rows() -> list[dict[str, Any]]:
    """Return limit laws in closed form, with the Wasserstein-1 distance to the numerical one."""
    rows = []
    for form in LIMIT_FORMS:
        for text in form.examples:
            exact, law = form(ct.utility(text)), _numerical(ct.utility(text))
            rows.append(
                {
                    "form": form.name,
                    "utility": text,
                    "distance": law.distance(exact) if law and exact else None,
                    "relative_gap": law and law.relative_gap,
                    "method": law and law.method,
                    "reference": form.reference,
                }
            )
    return rows


def _numerical(u: ct.Utility) -> ct.RewardLaw | None:
    smooth = u.strictly_concave and not u.kinks
    method: Any
    for method in METHODS if smooth else ("grid",):
        if method != "exact":
            with suppress(ct.CollapseError, ct.SolverFailed):  # each takes one kind of utility
                return ct.limit(u, method=method)
    return None


# -- the losses in use -------------------------------------------------------------------


def preset_contents(n: int) -> list[dict[str, Any]]:
    """Return each loss in use as JSON holds it; rewards and limit are null where there is none."""
    rows = []
    for one in PRESETS:
        solution, law = one.solve(n), one.law()
        rows.append(
            {
                "practice": one.name,
                "loss": str(one.loss),
                "domain": one.domain.to_dict(),
                "n": n,
                "rewards": solution and solution.rewards,
                "relative_gap": solution and solution.relative_gap,
                "limit": law and {"atoms": law.atoms, "support": support(law), "mean": law.mean()},
                "none": one.none(n) or None,
            }
        )
    return rows


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
    """Return rewards in short, two decimals each."""
    short = [_short(reward) for reward in rewards.tolist()]
    return " ".join(short if len(short) <= SHOWN else [*short[:4], "...", *short[-4:]])


def _short(reward: float) -> str:
    # To 12 digits first, so that 0.875 is itself on every processor, whatever its last digits are.
    text = f"{round(reward, 12):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def law_text(law: ct.RewardLaw) -> str:
    """Return a law in words: its atoms, and where the rest lies."""
    masses = ", ".join(f"{_short(mass)} at {place:.3g}" for place, mass in law.atoms.tolist())
    if not law.parts:
        return "all at 0" if law.atoms[:, 0].tolist() == [0.0] else f"mass {masses}"
    if masses:
        return f"mass {masses}; the rest between"
    low, high = support(law)
    where = f"below {high:.3g}" if low == -np.inf else f"on [{low:.3g}, {high:.3g}]"
    return f"no atoms, {where}, s.d. {law.var() ** 0.5:.3g}"
