"""`collapse-theory predict`: the rewards and the limit law of a utility."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.arguments import High, Json, Low, utility_text
from collapse_theory.cli.laws import (
    certificate_text,
    law_content,
    law_facts,
    quantile_table,
    shape_text,
)
from collapse_theory.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["predict"]

COMPLETIONS = 8
FOLDED = 20  # of more completions, a table shows so many: the best half and the worst half


@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        'predict "log(x + 0.1)" --n 8',
        'predict "-1/(x + 0.1)" --json',
        'predict "log(x + 0.1)" --limit',
        'predict "logsigmoid(4*x)" --n 16 --plot optimum.pdf',
    ),
)
def predict(
    utility: Annotated[
        str,
        typer.Argument(
            metavar="UTILITY", help="The utility of a reward gap x.", callback=utility_text
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option("--n", help=f"How many completions are ranked. [default: {COMPLETIONS}]"),
    ] = None,
    low: Low = 0.0,
    high: High = 1.0,
    limit: Annotated[
        bool,
        typer.Option(
            "--limit",
            help="Only the law that the rewards tend to as n grows. JSON then has the same keys: "
            "n, rewards and unique are null, the certificate is that of the law.",
        ),
    ] = False,
    method: Annotated[
        str,
        typer.Option(
            help="auto, newton or conic; with --limit auto, exact, regular, singular, panels or "
            "conic."
        ),
    ] = "auto",
    as_json: Json = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the answer into this file (pdf, png or svg).")
    ] = None,
) -> None:
    """Predict the rewards that training towards a utility ends with."""
    box = ct.Box(low, high)
    if limit:
        _limit(utility, n, box, method, as_json, plot)
        return
    from collapse_theory.figures import finite_optimum
    from collapse_theory.figures.limits import limit_or_none

    size = COMPLETIONS if n is None else n
    solution = ct.solve(utility, size, box, method=method)
    law = limit_or_none(solution.utility, box)
    if plot is not None:
        _plot(lambda: finite_optimum(solution), plot)
    if as_json:
        print_json(_prediction(solution, law))
    else:
        _show(solution, law, box)


def _limit(
    text: str, n: int | None, box: ct.Box, method: str, as_json: bool, plot: Path | None
) -> None:
    if n is not None:
        raise typer.BadParameter("--limit is the law of many completions: leave --n out")
    law = ct.limit(text, box, method=method)
    if plot is not None:
        from collapse_theory.figures import limit_laws

        _plot(lambda: limit_laws([text], domain=box), plot)
    if as_json:
        print_json(_limit_prediction(law))
    else:
        _show_limit(law, box)


def _plot(draw: Callable[[], Any], path: Path) -> None:
    from collapse_theory.cli.figures import drawn

    drawn(draw, [path])


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
        "limit": law and law_content(law),
    }


def _limit_prediction(law: ct.LimitLaw) -> dict[str, Any]:
    return {
        "utility": str(law.utility),
        "n": None,
        "domain": law.domain.to_dict(),
        "rewards": None,
        "objective": law.objective,
        "gap": law.gap,
        "relative_gap": law.relative_gap,
        "method": law.method,
        "status": law.status,
        "unique": None,
        "limit": law_content(law),
    }


def _show(solution: ct.Solution, law: ct.RewardLaw | None, box: ct.Box) -> None:
    from rich.table import Table

    page = console()
    page.print(f"U(x) = {solution.utility}, rewards in [{box.low:g}, {box.high:g}]")
    table = Table("rank", "reward", "gap to the next")
    for column in table.columns:
        column.justify = "right"
    for row in _rows(solution, _digits(box)):
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
    page.print(_grid(facts | law_facts(law)))


def _show_limit(law: ct.LimitLaw, box: ct.Box) -> None:
    page = console()
    page.print(f"U(x) = {law.utility}, rewards in [{box.low:g}, {box.high:g}], n to infinity")
    page.print(quantile_table(law, _digits(box)))
    facts = {"law": shape_text(law), "mean, s.d.": f"{law.mean():.6g}, {math.sqrt(law.var()):.6g}"}
    if text := certificate_text(law):
        facts["objective"] = f"{law.objective:.6g}, the mean utility over pairs"
        facts["certificate"] = text
    else:
        facts["status"] = str(law.status)
    facts["method"] = str(law.method)
    if law.reference:
        facts["source"] = law.reference
    page.print(_grid(facts))


def _grid(facts: dict[str, str]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        grid.add_row(name, text)
    return grid


def _digits(box: ct.Box) -> int:
    return max(6 - math.ceil(math.log10(box.width)), 0)


def _rows(solution: ct.Solution, digits: int) -> list[tuple[str, str, str]]:
    gaps = [("tied" if gap == 0 else f"{gap:.3g}") for gap in solution.gaps] + [""]
    rewards = [f"{reward:.{digits}f}" for reward in solution.rewards]
    rows = [(str(i), *row) for i, row in enumerate(zip(rewards, gaps, strict=True), start=1)]
    if len(rows) <= FOLDED:
        return rows
    half = FOLDED // 2
    middle = (f"{len(rows) - FOLDED} more", "...", "...")
    return [*rows[:half], middle, *rows[-half:]]
