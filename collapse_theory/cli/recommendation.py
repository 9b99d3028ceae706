"""The utilities recommended for a file's kinds of prompts, as JSON and for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_theory.cli.designs import design_content, show_design
from collapse_theory.cli.output import console

if TYPE_CHECKING:
    from rich.table import Table

    from collapse_theory.design import Recommendation

__all__ = ["recommendation_content", "show_recommendation"]


def recommendation_content(found: Recommendation, read: int, bad: int) -> dict[str, Any]:
    """Return a recommendation as JSON holds it, with the rows read and the bad ones."""
    kinds = {}
    for advice in found.advice:
        evidence = {
            name: getattr(advice, name)
            for name in ("prompts", "scores", "low", "middle", "high", "error")
        }
        kinds[advice.kind] = design_content(advice.design) | {"evidence": evidence}
    between = {
        f"{first}, {second}": found.between[i, j]
        for i, first in enumerate(found.kinds)
        for j, second in enumerate(found.kinds)
        if i < j
    }
    return {
        "kinds": kinds,
        "between_kinds": between,
        "scale": {"low": found.low, "high": found.high},
        "rows": {"read": read, "bad": bad},
    }


def show_recommendation(found: Recommendation, path: Path, log: Any, bad: int) -> None:
    """Print a recommendation for people."""
    page = console()
    page.print(f"{path}: {log.read} rows read, {bad} bad", soft_wrap=True)
    for rows in log.bad:
        lines = ", ".join(map(str, rows.lines[:5])) + (", ..." if rows.count > 5 else "")
        page.print(f"  {rows.reason}: {rows.count} ({rows.unit}s {lines})", soft_wrap=True)
    page.print(_evidence(found))
    page.print(
        "low, high: share of scores within 1% of the range's ends. W1: distance of the utility's "
        "law to the scores'; error: what sampling prompts explains of it, in 95 of 100 cases."
    )
    _show_pairs_of_kinds(page, found)
    for advice in found.advice:
        page.print()
        page.rule(f"{advice.kind}", align="left")
        show_design(advice.design)


def _show_pairs_of_kinds(page: Any, found: Recommendation) -> None:
    for i, first in enumerate(found.kinds):
        for j, second in enumerate(found.kinds[i + 1 :], start=i + 1):
            apart = found.differ(first, second)
            verdict = (
                "more than sampling explains: train them with utilities (or links) of their own"
                if apart
                else "no more than sampling explains: one utility will do for both"
            )
            page.print(f"{first} and {second} differ by {found.between[i, j]:.3g}, {verdict}")


def _evidence(found: Recommendation) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    names = ("kind", "prompts", "scores", "low", "mid", "high", "error", "W1", "reached")
    table = Table(*names, box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for advice in found.advice:
        shares = (advice.low, advice.middle, advice.high)
        table.add_row(
            advice.kind,
            str(advice.prompts),
            str(advice.scores),
            *(f"{share:.0%}" for share in shares),
            f"{advice.error:.3f}",
            f"{advice.design.distance:.3f}",
            {True: "yes", False: "no", None: "?"}[advice.design.reachable],
        )
    return table
