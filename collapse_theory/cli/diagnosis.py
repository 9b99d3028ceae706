"""A diagnosis, as JSON and for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from collapse_theory.cli.output import console
from collapse_theory.data.reward_log import counted
from collapse_theory.diagnosis import Diagnosis, KindSummary
from collapse_theory.diagnosis.summary import QUANTILES

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["content", "show"]

_HEADINGS = {True: "COLLAPSED", False: "NOT COLLAPSED", None: "NOT DECIDED"}
_LEGEND = (
    "Quantiles of the rewards; ends: within 0.01 of the lowest and the highest on the scale; tied: "
    "neighbours in a prompt that are equal; spread: standard deviation over prompts of the reward "
    "of a rank, on the scale."
)
_SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)


def content(found: Diagnosis, file: str) -> dict[str, Any]:
    """Return a diagnosis as JSON holds it."""
    scale = found.scale
    return {
        "file": file,
        "collapsed": found.collapsed,
        "reason": found.reason,
        "advice": found.advice,
        "index": found.index,
        "interval": found.interval if found.index is not None else None,
        "scale": scale
        and {"low": scale.low, "high": scale.high, "map": str(scale), "rule": scale.rule},
        "kinds": {kind.name: _kind(kind) for kind in found.kinds},
        "between_kinds": found.between_kinds,
        "within_prompts": found.within,
        "reference": found.reference,
        "pairs_right": found.pairs_right,
        "prompts": found.prompts,
        "completions": found.completions,
        "step": found.step,
        "rows": {"read": found.read, "bad": found.bad_count},
        "bad": [
            {"reason": rows.reason, "count": rows.count, f"{rows.unit}s": rows.lines}
            for rows in found.bad
        ],
        "notes": found.notes,
    }


def _kind(kind: KindSummary) -> dict[str, Any]:
    return {
        "prompts": kind.prompts,
        "rows": kind.rows,
        "mean": kind.mean,
        "sd": kind.sd,
        "quantiles": {
            f"{q:.2f}": v for q, v in zip(QUANTILES, kind.quantiles.tolist(), strict=True)
        },
        "atoms": kind.atoms,
        "histogram": {"edges": kind.edges, "counts": kind.counts},
        "order_statistics": {"mean": kind.curve, "low": kind.low, "high": kind.high},
        "within_prompts": kind.within,
        "at_low": kind.at_low,
        "at_high": kind.at_high,
        "tied": kind.tied,
        "distances": {p.utility: p.distance for p in kind.predictions},
        "kolmogorov": {p.utility: p.kolmogorov for p in kind.predictions},
        "errors": {p.utility: p.error for p in kind.predictions},
    }


def show(found: Diagnosis, file: str) -> None:
    """Print a diagnosis for people."""
    page = console()
    page.print(_head(found, file))
    for rows in found.bad:
        page.print(f"  bad: {rows}")
    page.print(f"\n{_HEADINGS[found.collapsed]}. {found.reason}")
    page.print(found.advice)
    if found.index is not None:
        page.print(
            f"\nindex {found.index:.3f}, 95% interval {found.interval[0]:.3f} to "
            f"{found.interval[1]:.3f}; 1: every prompt has the same rewards, 0: prompts are no "
            "more alike than rewards drawn at random from this log"
        )
    if found.scale is not None:
        page.print(f"scale: {found.scale}, which takes {found.scale.rule}")
    if found.pairs_right is not None:
        page.print(f"pairs ranked right: {found.pairs_right:.1%}")
    page.print(_laws(found))
    page.print(_LEGEND)
    if any(kind.predictions for kind in found.kinds):
        page.print(_distances(found))
        page.print(
            "On the scale: mean error of the reward of a rank [Wasserstein-1 between the laws]; "
            "*: the nearest."
        )
    for note in found.notes:
        page.print(f"note: {note}")


def _head(found: Diagnosis, file: str) -> str:
    low, high = found.completions
    text = (
        f"{file}: {counted(found.read, 'row')}, {counted(found.prompts, 'prompt')} of "
        f"{low if low == high else f'{low} to {high}'} completions"
    )
    if found.step is not None:
        text += f", step {found.step:g}"
    return text + (
        f"; {counted(found.bad_count, 'bad row')} set aside" if found.bad else "; no bad rows"
    )


def _laws(found: Diagnosis) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    columns = [f"{q:.0%}" for q in _SHOWN]
    table = Table("kind", "prompts", *columns, "ends", "tied", "spread", box=SIMPLE_HEAD, padding=0)
    table.columns[0].min_width, table.columns[0].no_wrap = 6, True
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    width = found.scale.width if found.scale else 1.0
    digits = min(max(2 - math.floor(math.log10(width)), 0), 12)
    for kind in found.kinds:
        levels = [float(kind.quantiles[round(20 * q)]) for q in _SHOWN]
        table.add_row(
            kind.name,
            str(kind.prompts),
            *(f"{level:.{digits}f}" for level in levels),
            f"{kind.at_low:.0%} {kind.at_high:.0%}",
            f"{kind.tied:.0%}",
            f"{kind.within**0.5:.2g}",
        )
    return table


def _distances(found: Diagnosis) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("utility", *(kind.name for kind in found.kinds), box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    texts = [p.utility for p in max(found.kinds, key=lambda kind: kind.prompts).predictions]
    for text in texts:
        cells = []
        for kind in found.kinds:
            near = next(p for p in kind.predictions if p.utility == text)
            best = "*" if near is kind.predictions[0] else ""
            cells.append(f"{best}{near.error:.3f} [{near.distance:.3f}]")
        table.add_row(text, *cells)
    return table
