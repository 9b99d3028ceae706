"""`collapse-theory predict`: the rewards and the limit law of a utility."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.output import console, print_json

__all__ = ["predict"]

LEVELS = np.arange(5, 100, 5) / 100
FOLDED = 20  # of more completions, a table shows so many: the best half and the worst half


def _utility_text(text: str) -> str:
    # Options that aren't known reach this argument, so that "-1/x" can.
    if text.startswith("--"):
        raise typer.BadParameter(f"no such option: {text}")
    return text


@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        'predict "log(x + 0.1)" --n 8',
        'predict "-1/(x + 0.1)" --json',
        'predict "logsigmoid(4*x)" --n 16 --plot optimum.pdf',
    ),
)
def predict(
    utility: Annotated[
        str,
        typer.Argument(
            metavar="UTILITY", help="The utility of a reward gap x.", callback=_utility_text
        ),
    ],
    n: Annotated[int, typer.Option("--n", help="How many completions are ranked.")] = 8,
    low: Annotated[float, typer.Option(help="The lowest reward there can be.")] = 0.0,
    high: Annotated[float, typer.Option(help="The highest reward there can be.")] = 1.0,
    method: Annotated[str, typer.Option(help="auto, newton or conic.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the rewards into this file (pdf, png or svg).")
    ] = None,
) -> None:
    """Predict the rewards that training towards a utility ends with."""
    from collapse_theory.figures.limits import limit_or_none

    solution = ct.solve(utility, n, ct.Box(low, high), method=method)
    law = limit_or_none(solution.utility, solution.domain)
    if plot is not None:
        _plot(solution, plot)
    if as_json:
        print_json(_prediction(solution, law))
    else:
        _show(solution, law)


def _plot(solution: ct.Solution, path: Path) -> None:
    from collapse_theory.cli.figures import drawn
    from collapse_theory.figures import finite_optimum

    drawn(lambda: finite_optimum(solution), [path])


def _prediction(solution: ct.Solution, law: ct.RewardLaw | None) -> dict[str, Any]:
    return {
        "utility": str(solution.utility),
        "n": solution.n,
        "domain": solution.domain.to_dict(),
        "rewards": solution.rewards,
        "objective": solution.objective,
        "gap": solution.gap,
        "relative_gap": solution.relative_gap,
        "method": solution.method,
        "status": solution.status,
        "unique": solution.unique,
        "limit": law
        and {
            "atoms": law.atoms,
            "quantiles": {f"{q:.2f}": v for q, v in zip(LEVELS, law.ppf(LEVELS), strict=True)},
            "objective": law.objective,
            "relative_gap": law.relative_gap,
            "method": law.method,
        },
    }


def _show(solution: ct.Solution, law: ct.RewardLaw | None) -> None:
    from rich.table import Table

    page = console()
    box = solution.domain
    page.print(f"U(x) = {solution.utility}, rewards in [{box.low:g}, {box.high:g}]")
    table = Table("rank", "reward", "gap to the next")
    for column in table.columns:
        column.justify = "right"
    for row in _rows(solution):
        table.add_row(*row)
    page.print(table)
    facts = {
        "objective": f"{solution.objective:.6g}, the mean utility over pairs",
        "certificate": f"{solution.status}, relative gap {solution.relative_gap:.1e}",
        "method": solution.method,
        "unique": "yes" if solution.unique else "no, one optimum of several",
    }
    if solution.reference:
        facts["source"] = solution.reference
    facts |= _limit_facts(law)
    grid = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        grid.add_row(name, text)
    page.print(grid)


def _rows(solution: ct.Solution) -> list[tuple[str, str, str]]:
    digits = max(6 - math.ceil(math.log10(solution.domain.width)), 0)
    gaps = [("tied" if gap == 0 else f"{gap:.3g}") for gap in solution.gaps] + [""]
    rewards = [f"{reward:.{digits}f}" for reward in solution.rewards]
    rows = [(str(i), *row) for i, row in enumerate(zip(rewards, gaps, strict=True), start=1)]
    if len(rows) <= FOLDED:
        return rows
    half = FOLDED // 2
    middle = (f"{len(rows) - FOLDED} more", "...", "...")
    return [*rows[:half], middle, *rows[-half:]]


def _limit_facts(law: ct.RewardLaw | None) -> dict[str, str]:
    if law is None:
        return {"limit law": "not known for this utility"}
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    quantiles = (f"{q:.0%} {law.ppf(q):.4g}" for q in levels)
    facts = {
        "limit law": repr(law).removeprefix("RewardLaw(").removesuffix(")"),
        "  quantiles": ", ".join(quantiles),
        "  method": str(law.method),
    }
    if law.relative_gap is not None and math.isfinite(law.relative_gap):
        facts["  certificate"] = f"{law.status}, relative gap {law.relative_gap:.1e}"
    elif law.status:
        facts["  status"] = law.status
    if law.reference:
        facts["  source"] = law.reference
    return facts
