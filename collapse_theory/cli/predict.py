"""`collapse-theory predict`: the rewards and the limit law of a utility."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import typer

import collapse_theory as ct
from collapse_theory.cli.app import command
from collapse_theory.cli.options import Edges, Held, chosen_domain
from collapse_theory.cli.output import console, facts_grid, give, named, number_table
from collapse_theory.cli.wording import (
    certificate_text,
    digits,
    evidence,
    law_content,
    law_facts,
    mean_text,
    program_text,
)

COMPLETIONS = 8
FOLDED = 20  # of more completions, a table shows so many: the best half and the worst half
SHOWN = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01)


@command(
    'predict "log(x + 0.1)" --n 8',
    'predict "-1/(x + 0.1)" --json',
    'predict "log(x + 0.1)" --limit',
    'predict "logsigmoid(4*x)" --n 16 --plot optimum.pdf',
    'predict "logsigmoid(x)" --confined 0.02',
    "predict plackett-luce --n 8",
    formula=True,
    utility=typer.Argument(
        metavar="UTILITY",
        help="The utility of a reward gap x; or a listwise loss, plackett-luce, with the "
        'best K picks only and another temperature "PlackettLuce(top=K, beta=4)".',
    ),
    n=f"How many completions are ranked. [default: {COMPLETIONS}]",
    limit="Only the law that the rewards tend to as n grows. JSON then has the same keys: "
    "n, rewards and unique are null, the certificate is that of the law.",
    method="auto, newton, spectral, conic or exact; with --limit auto, exact, regular, singular, "
    "panels or grid in a box, and auto, exact, series or cells outside.",
)
def predict(
    utility: str,
    n: int | None = None,
    *,
    edges: Edges,
    held: Held,
    limit: bool = False,
    method: str = "auto",
    as_json: bool = False,
    plot: Path | None = None,
) -> None:
    """Predict the rewards that training towards a utility ends with.

    Rewards lie in the box [0, 1] unless an option says otherwise.
    """
    domain = chosen_domain(edges, held)
    way: Any = method  # solve and limit say which there are
    if limit and n is not None:
        raise typer.BadParameter("--limit is the law of many completions: leave --n out")
    if limit:
        law = ct.limit(utility, domain, method=way)
        content, show = partial(_content, law, law), partial(_show_limit, law)
        give(
            content,
            show,
            as_json,
            plot,
            lambda: ct.figures.limit_laws([utility], domain=domain, method=way),
        )
        return
    solution = ct.solve(utility, COMPLETIONS if n is None else n, domain, method=way)
    try:
        law = ct.limit(utility, domain)
    except (ct.CollapseError, ct.SolverFailed):
        law = None  # no method reaches it
    content, show = partial(_content, solution, law), partial(_show, solution, law)
    give(content, show, as_json, plot, lambda: ct.figures.finite_optimum(solution))


def _content(found: ct.Solution | ct.LimitLaw, law: ct.RewardLaw | None) -> dict[str, Any]:
    solved = isinstance(found, ct.Solution)
    return {
        "utility": str(found.utility),
        "concavity": getattr(found.utility, "concavity", None),
        "n": found.n if solved else None,
        "domain": found.domain.to_dict(),
        "rewards": found.rewards if solved else None,
        **named(found, "objective", "gap", "relative_gap"),
        "rewards_error": found.rewards_error if solved else None,
        **named(found, "method", "status"),
        "unique": found.unique if solved else None,
        "limit": law and law_content(law),
    }


def _show(solution: ct.Solution, law: ct.RewardLaw | None) -> None:
    page = console()
    page.print(program_text(solution.utility, solution.domain))
    page.print(number_table(("rank", "reward", "gap to the next"), _rows(solution), framed=True))
    facts = {
        "objective": f"{solution.objective:.6g}, {mean_text(solution.utility, solution.domain)}",
        "rewards": _error_text(solution),
        "unique": "yes" if solution.unique else "no, one optimum of several",
    }
    if isinstance(solution.utility, ct.Utility):
        facts["concave"] = solution.utility.concavity
    page.print(facts_grid(facts | evidence(solution) | law_facts(law)))


def _error_text(solution: ct.Solution) -> str:
    if solution.rewards_error == math.inf:
        return "no bound of their error: U is nearly flat, or has several optima"
    text = f"within {solution.rewards_error:.1e} of the optimal ones"
    return f"{text}: ill conditioned" if solution.ill_conditioned else text


def _rows(solution: ct.Solution) -> list[tuple[str, str, str]]:
    places = digits(solution.rewards)
    gaps = [*("tied" if gap == 0 else f"{gap:.3g}" for gap in solution.gaps), ""]
    rewards = [f"{reward:.{places}f}" for reward in solution.rewards]
    rows = [(str(i), *row) for i, row in enumerate(zip(rewards, gaps, strict=True), start=1)]
    if len(rows) <= FOLDED:
        return rows
    half = FOLDED // 2
    return [*rows[:half], (f"{len(rows) - FOLDED} more", "...", "..."), *rows[-half:]]


def _show_limit(law: ct.LimitLaw) -> None:
    page = console()
    page.print(f"{program_text(law.utility, law.domain)}, n to infinity")
    places = digits(law.ppf([0.01, 0.99]))
    atoms = set(law.atoms[:, 0].tolist())
    rows = [
        (
            f"{level:.0%}",
            f"{reward:.{places}f}",
            "an atom" if reward in atoms else f"{law.pdf(reward):.4g}",
        )
        for level, reward in zip(SHOWN, law.ppf(SHOWN).tolist(), strict=True)
    ]
    page.print(number_table(("share below", "reward", "density there"), rows, framed=True))
    facts = {"law": law.name, "mean, s.d.": f"{law.mean():.6g}, {math.sqrt(law.var()):.6g}"}
    if certificate_text(law):
        mean = mean_text(law.utility, law.domain, limit=True)
        facts["objective"] = f"{law.objective:.6g}, {mean}"
    page.print(facts_grid(facts | evidence(law)))
