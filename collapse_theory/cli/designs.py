"""A design, as JSON and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import collapse_theory as ct
from collapse_theory.cli.laws import certificate_text, law_content, shape_text
from collapse_theory.cli.output import console

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["design_content", "show_design"]

REACHED = {True: "yes", False: "no, proved", None: "undecided"}
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
PAIRS = 20  # of more pair weights, a table shows so many


def design_content(found: ct.Design) -> dict[str, Any]:
    """Return a design as JSON holds it."""
    pairs = found.comparisons
    return {
        "utility": str(found.utility),
        "n": found.n,
        "distance": found.distance,
        "reachable": found.reachable,
        "tolerance": max(found.tol, found.target.error),
        "reason": found.reason,
        "law": law_content(found.law),
        "target": {
            "low": found.target.low,
            "high": found.target.high,
            "quantiles": law_content(found.target.law)["quantiles"],
        },
        "rewards": None if found.solution is None else found.solution.rewards,
        "weights": None
        if pairs is None
        else {"better": pairs.better, "worse": pairs.worse, "weights": pairs.weights},
        "proof": None
        if found.proof is None
        else {"kind": found.proof.kind, "margin": found.proof.margin},
        "link": None
        if found.link is None
        else {
            "utility": str(found.link.utility),
            "knots": found.link.knots,
            "values": found.link.values,
        },
    }


def show_design(found: ct.Design) -> None:
    """Print a design for people."""
    page = console()
    page.print(f"U(x) = {found.utility}", soft_wrap=True)
    page.print(_grid({"do": _advice(found)} | _facts(found)))
    page.print(_quantiles(found) if found.n is None else _rewards(found))
    if found.comparisons is not None:
        page.print(_pairs(found.comparisons))
    if found.link is not None:
        page.print(_link(found))


def _advice(found: ct.Design) -> str:
    if found.comparisons is not None:
        return "train with this utility and the pair weights below"
    if found.link is None:
        return "train with this utility"
    return (
        f"train with U(x) = {found.link.utility}, and report its rewards through the link below; "
        "without one, train with the utility above"
    )


def _facts(found: ct.Design) -> dict[str, str]:
    facts = {
        "reached": f"{REACHED[found.reachable]}; {found.reason}",
        "distance": f"{found.distance:.3g} (Wasserstein-1, rewards from 0 to 1)",
        "wanted": shape_text(found.target.law),
        "law": shape_text(found.law),
    }
    low, high = found.target.low, found.target.high
    if (low, high) != (0.0, 1.0):
        facts["scale"] = f"rewards 0 and 1 stand for {low:g} and {high:g}"
    if text := certificate_text(found.law) or found.law.status:
        facts["certificate"] = text
    if found.solution is not None:
        gap = found.solution.relative_gap
        facts["certificate"] = f"{found.solution.status}, relative gap {gap:.1e}"
    if found.proof is not None and found.proof.margin > 0:
        facts["proof"] = (
            f"moving mass improves on it under every hinge min(x, m), by {found.proof.margin:.3g} "
            "of the shortfall or more"
        )
    elif found.proof is not None:
        facts["proof"] = "it isn't symmetric, as every optimum of a strictly concave utility is"
    return facts


def _grid(facts: dict[str, str]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        grid.add_row(name, text)
    return grid


def _numbers(*names: str, title: str | None = None) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(*names, title=title, box=SIMPLE_HEAD)
    for column in table.columns:
        column.justify = "right"
    return table


def _quantiles(found: ct.Design) -> Table:
    table = _numbers("share below", "wanted", "reached")
    for level in LEVELS:
        wanted, reached = found.target.law.ppf(level), found.law.ppf(level)
        table.add_row(f"{level:.0%}", f"{wanted:.4f}", f"{reached:.4f}")
    return table


def _rewards(found: ct.Design) -> Table:
    assert found.n is not None
    assert found.solution is not None
    table = _numbers("rank", "wanted", "reached")
    rows = zip(found.target.levels(found.n), found.solution.rewards, strict=True)
    for rank, (wanted, reached) in enumerate(rows, start=1):
        table.add_row(str(rank), f"{wanted:.4f}", f"{reached:.4f}")
    return table


def _pairs(pairs: ct.Comparisons) -> Table:
    size = len(pairs.better)
    shown = "" if size <= PAIRS else f", the first {PAIRS} of {size} (all of them with --json)"
    table = _numbers("better", "worse", "weight", title=f"pair weights{shown}")
    rows = zip(pairs.better, pairs.worse, pairs.weights, strict=True)
    for better, worse, weight in list(rows)[:PAIRS]:
        table.add_row(str(better + 1), str(worse + 1), f"{weight:.4f}")
    return table


def _link(found: ct.Design) -> Table:
    assert found.link is not None
    table = _numbers("model's reward", "report", title="link (all of it with --json)")
    for reward in (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0):
        table.add_row(f"{reward:.2f}", f"{found.link(reward):.4g}")
    return table
