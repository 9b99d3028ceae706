"""`collapse-theory predict`: the rewards and the limit law of a utility."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.arguments import Json, utility_text
from collapse_theory.cli.domains import (
    CenteredOption,
    ConfinedOption,
    FreeOption,
    chosen_domain,
    digits,
    mean_text,
    program_text,
)
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

    from collapse_theory.programs import Domain

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
        'predict "logsigmoid(x)" --confined 0.02',
        "predict plackett-luce --n 8",
    ),
)
def predict(
    utility: Annotated[
        str,
        typer.Argument(
            metavar="UTILITY",
            help="The utility of a reward gap x; or a listwise loss, plackett-luce, with the "
            'best K picks only and another temperature "PlackettLuce(top=K, beta=4)".',
            callback=utility_text,
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option("--n", help=f"How many completions are ranked. [default: {COMPLETIONS}]"),
    ] = None,
    low: Annotated[
        float | None, typer.Option("--low", help="The lowest reward there can be. [default: 0]")
    ] = None,
    high: Annotated[
        float | None, typer.Option("--high", help="The highest reward there can be. [default: 1]")
    ] = None,
    confined: ConfinedOption = None,
    centered: CenteredOption = None,
    free: FreeOption = False,
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
            "conic in a box, and auto, exact, series or cells outside."
        ),
    ] = "auto",
    as_json: Json = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the answer into this file (pdf, png or svg).")
    ] = None,
) -> None:
    """Predict the rewards that training towards a utility ends with.

    Rewards lie in the box [0, 1] unless an option says otherwise.
    """
    domain = chosen_domain(low, high, confined, centered, free)
    if limit:
        _limit(utility, n, domain, method, as_json, plot)
        return
    from collapse_theory.figures import finite_optimum
    from collapse_theory.figures.finite_optimum import limit_or_none

    size = COMPLETIONS if n is None else n
    solution = ct.solve(utility, size, domain, method=method)
    law = limit_or_none(solution.utility, domain)
    if plot is not None:
        _plot(lambda: finite_optimum(solution), plot)
    if as_json:
        print_json(_prediction(solution, law))
    else:
        _show(solution, law)


def _limit(
    text: str, n: int | None, domain: Domain, method: str, as_json: bool, plot: Path | None
) -> None:
    if n is not None:
        raise typer.BadParameter("--limit is the law of many completions: leave --n out")
    law = ct.limit(text, domain, method=method)
    if plot is not None:
        from collapse_theory.figures import limit_laws

        _plot(lambda: limit_laws([text], domain=domain, method=method), plot)
    if as_json:
        print_json(_limit_prediction(law))
    else:
        _show_limit(law)


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


def _show(solution: ct.Solution, law: ct.RewardLaw | None) -> None:
    from rich.table import Table

    page = console()
    page.print(program_text(solution.utility, solution.domain))
    table = Table("rank", "reward", "gap to the next")
    for column in table.columns:
        column.justify = "right"
    for row in _rows(solution, digits(solution.rewards)):
        table.add_row(*row)
    page.print(table)
    facts = {
        "objective": f"{solution.objective:.6g}, {mean_text(solution.utility, solution.domain)}",
        "certificate": f"{solution.status}, relative gap {solution.relative_gap:.1e}",
        "method": solution.method,
        "unique": "yes" if solution.unique else "no, one optimum of several",
    }
    if solution.reference:
        facts["source"] = solution.reference
    page.print(_grid(facts | law_facts(law)))


def _show_limit(law: ct.LimitLaw) -> None:
    page = console()
    page.print(f"{program_text(law.utility, law.domain)}, n to infinity")
    page.print(quantile_table(law, digits(law.ppf([0.01, 0.99]))))
    facts = {"law": shape_text(law), "mean, s.d.": f"{law.mean():.6g}, {math.sqrt(law.var()):.6g}"}
    if text := certificate_text(law):
        facts["objective"] = (
            f"{law.objective:.6g}, {mean_text(law.utility, law.domain, limit=True)}"
        )
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


def _rows(solution: ct.Solution, digits: int) -> list[tuple[str, str, str]]:
    gaps = [("tied" if gap == 0 else f"{gap:.3g}") for gap in solution.gaps] + [""]
    rewards = [f"{reward:.{digits}f}" for reward in solution.rewards]
    rows = [(str(i), *row) for i, row in enumerate(zip(rewards, gaps, strict=True), start=1)]
    if len(rows) <= FOLDED:
        return rows
    half = FOLDED // 2
    middle = (f"{len(rows) - FOLDED} more", "...", "...")
    return [*rows[:half], middle, *rows[-half:]]
