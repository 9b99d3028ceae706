"""`collapse-theory diagnose`: has the model behind a reward log collapsed?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import command
from collapse_theory.cli.options import Held, chosen_domain
from collapse_theory.cli.output import (
    busy,
    console,
    facts_grid,
    give,
    interval,
    named,
    number_table,
)
from collapse_theory.cli.reading import Reading, reading_content, reading_lines
from collapse_theory.lazy import Later

if TYPE_CHECKING:
    from rich.table import Table

    from collapse_theory.data import RewardLog
    from collapse_theory.diagnosis import KindSummary, Measure, Part, Prediction

measured: Any = Later("collapse_theory.diagnosis.parts")  # half the time that a help page takes

_HEADINGS = {
    "collapsed": "COLLAPSED",
    "one law": "NOT COLLAPSED, ONE LAW",
    "own laws": "NOT COLLAPSED, LAWS OF THEIR OWN",
    "no spread": "NO SPREAD",
    None: "NOT DECIDED",
}
_COURSE = ("ratio", "level", "right")  # what a table of eighty columns has room for
_SHARES = ("rank", "level", "scale", "shape")
_VIEW = ("ratio", "index", "within", "reference", "p", "outcome")
_NEAR = 0.1  # of the scale: a utility further off isn't called the nearest
_SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)


@command(
    "diagnose rewards.csv",
    'diagnose rewards.jsonl --utility "log(x + 0.1)" --utility x --plot diagnosis.pdf',
    "diagnose rewards.parquet --where split=train --step 1000 --json",
    "diagnose after.csv --against before.csv",
    files=typer.Argument(
        metavar="FILE...",
        help="A reward log: CSV, JSON, Parquet, Arrow, plain or packed; a folder or several "
        "files of one log; - is the standard input.",
    ),
    utility=(
        "TEXT",
        "A utility to compare the log with; can be repeated. [default: the paper's four]",
    ),
    low="The reward to call 0, with --high. [default: by median]",
    high="The reward to call 1.",
    against=("FILE", "Another log, such as that of before."),
    seed=typer.Option(min=0, help="For what is drawn at random."),
)
def diagnose(
    files: list[Path],
    *,
    reading: Reading,
    utility: list[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    held: Held,
    against: Path | None = None,
    seed: int = 0,
    as_json: bool = False,
    plot: Path | None = None,
) -> None:
    """Tell from a log of rewards whether a reward model has collapsed.

    A row of the log is one completion's reward. JSON has the keys outcome (collapsed, one law, own
    laws, no spread or null), collapsed (true, false or null), reason, notes, index, interval,
    views, kinds, rows and more; the exit status is 0 whatever the outcome. A pairwise loss without
    a box (--confined, --centered, --free) never sees a prompt's level: then centred rewards count.
    """
    if (low is None) != (high is None):
        raise typer.BadParameter("--low and --high go together")
    file = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    with busy(f"reading {file}"):
        log = reading.log(files, every_step=True)
        other = None if against is None else reading.log(against, every_step=True)
    scale = None if low is None or high is None else (low, high)
    domain = chosen_domain(held=held)
    with busy("diagnosing"):
        found = ct.diagnose(log, utility=utility, domain=domain, scale=scale, rng=seed)
        compared = None
        if other is not None:
            before = ct.diagnose(other, utility=(), domain=domain, scale=scale, rng=seed)
            compared = before.part(f"before: {against}"), found.part(f"after: {file}")
    give(
        lambda: _content(found, log, file) | _against(compared),
        lambda: _show(found, log, file, compared),
        as_json,
        plot,
        lambda: ct.figures.diagnosis(found),
    )


# -- as JSON -----------------------------------------------------------------------------


def _content(found: ct.Diagnosis, log: RewardLog, file: str) -> dict[str, Any]:
    scale = found.scale
    return {
        "file": file,
        **named(found, "outcome", "collapsed", "reason", "advice", "index"),
        "interval": found.interval if found.index is not None else None,
        "notes": [named(note, "code", "text") for note in found.notes],
        "view": found.view,
        "views": {view.name: named(view, *_VIEW) for view in found.views},
        "shares": found.shares and named(found.shares, *_SHARES),
        "inside": named(found.spread, "flat", "gap", "tied", "level", "resolution", "precision"),
        "scale": scale
        and {"low": scale.low, "high": scale.high, "map": str(scale), "rule": scale.rule},
        "kinds": {kind.name: _kind_content(kind) for kind in found.kinds},
        "between_kinds_interval": found.kinds_apart and interval(found.kinds_apart),
        "between_kinds_p": found.kinds_p,
        "within_prompts": found.within,
        "pairs_right_interval": found.ranked_right and interval(found.ranked_right),
        **named(found, "between_kinds", "reference", "pairs_right"),
        **named(found, "prompts", "compared", "completions", "step"),
        "steps": [_part_content(part) for part in found.steps],
        "splits": [_part_content(part) for part in found.splits],
        "memory": found.memory and found.memory.to_dict(),
        **reading_content(log),
    }


def _against(compared: tuple[Part, Part] | None) -> dict[str, Any]:
    """Return another log beside this one, where there is one."""
    if compared is None:
        return {}
    changes = measured.changes(*compared)
    found = {change.name: named(change, "before", "after", "sure") for change in changes}
    return {"against": _part_content(compared[0]) | {"changes": found}}


def _part_content(part: Part) -> dict[str, Any]:
    there = [name for name in measured.MEASURES if getattr(part, name) is not None]
    return named(part, "name", "step", "split", "prompts", "outcome", *there)


def _kind_content(kind: KindSummary) -> dict[str, Any]:
    levels = np.linspace(0.0, 1.0, kind.quantiles.size)
    quantiles = zip(levels, kind.quantiles.tolist(), strict=True)
    return {
        **named(kind, "prompts", "rows", "mean", "sd"),
        "quantiles": {f"{q:.2f}": v for q, v in quantiles},
        "atoms": kind.atoms,
        "histogram": named(kind, "edges", "counts"),
        "order_statistics": {"mean": kind.curve, "low": kind.low, "high": kind.high},
        "within_prompts": kind.within,
        **named(kind, "at_low", "at_high", "tied"),
        "distances": {p.utility: p.distance for p in kind.predictions},
        "kolmogorov": {p.utility: p.kolmogorov for p in kind.predictions},
        "errors": {p.utility: p.error for p in kind.predictions},
    }


# -- for people --------------------------------------------------------------------------


def _show(
    found: ct.Diagnosis, log: RewardLog, file: str, compared: tuple[Part, Part] | None
) -> None:
    page = console()
    for line in reading_lines(log, file):
        page.print(line)
    page.print(f"\n{_HEADINGS[found.outcome]}. {found.reason}")
    page.print(found.advice)
    boxed = found.view == "as they are"
    if found.views:
        page.print(_views(found))
        why = ": a pairwise loss without a box never sees a prompt's level"
        page.print(
            "W/R: variance of a rank's reward over prompts, in that of prompts drawn at random "
            "from this log: 0 after a collapse, 1 for draws of one law; [95% interval]. index: "
            "1 - W/R, at least 0. p: the chance that prompts of one law differ so in level, "
            f"spread and shape. *: what counts{', as for a loss in a box' if boxed else why}."
        )
    page.print(facts_grid(_facts(found)))
    page.print(_laws(found))
    page.print(
        f"Quantiles of the rewards{'' if boxed else ', centred'}; ends: "
        "within 0.01 of the lowest and the highest on the scale; tied: neighbours in a prompt that "
        "are equal; spread: standard deviation over prompts of the reward of a rank, on the scale."
    )
    if any(kind.predictions for kind in found.kinds):
        names = ("utility", *(kind.name for kind in found.kinds))
        page.print(number_table(names, _distances(found), words=1))
        page.print(
            "On the scale: mean error of the reward of a rank [Wasserstein-1 between the laws]; "
            + _star(found)
        )
    for title, parts in (("by split", found.splits), ("by step", found.steps)):
        if parts:
            page.print(_parts(title, parts))
    if compared is not None:
        page.print(_parts("logs", compared))
        for change in measured.changes(*compared):
            page.print(f"{change}.")
    for note in (note for note in found.notes if note.code != "rows left out"):  # told above
        page.print(f"note: {note}")


def _parts(title: str, parts: Sequence[Part]) -> Table:
    """Return the parts of a log beside each other, each with the measures that any has."""
    there = [name for name in _COURSE if any(getattr(part, name) is not None for part in parts)]
    rows = [
        (
            part.name + (f" {part.split}" if part.split and part.split != part.name else ""),
            part.outcome or "not decided",
            *(_cell(name, getattr(part, name)) for name in there),
        )
        for part in parts
    ]
    return number_table(
        (title, "outcome", *(measured.MEASURES[n] for n in there)), rows, words=2, padding=0
    )


def _differ(found: ct.Diagnosis, near: Prediction) -> bool:
    """Whether a nearest utility can be told: utilities differ there, and it is near."""
    return found.completions[1] > 3 and near.error <= _NEAR


def _star(found: ct.Diagnosis) -> str:
    if found.completions[1] <= 3:
        return "with two or three completions all utilities agree."
    if any(kind.predictions[0].error <= _NEAR for kind in found.kinds if kind.predictions):
        return "*: the nearest."
    return f"none is within {_NEAR}."


def _cell(name: str, measure: Measure | None) -> str:
    if measure is None:
        return ""
    return str(measure) if name == "ratio" else measure.percent()


def _views(found: ct.Diagnosis) -> Table:
    rows = [
        (
            f"{view.name}{'*' if view.name == found.view else ''}",
            str(view.ratio),
            str(view.index),
            "" if view.p is None else f"{view.p:.2g}",
            view.outcome or "not decided",
        )
        for view in found.views
    ]
    return number_table(("rewards", "W/R", "index", "p", "by itself"), rows, words=1, padding=0)


def _facts(found: ct.Diagnosis) -> dict[str, str]:
    facts = {}
    if found.shares is not None:
        parts = ((name, getattr(found.shares, name)) for name in _SHARES)
        facts["variance"] = ", ".join(f"{name} {share.percent()}" for name, share in parts)
    if found.kinds_apart is not None:
        facts["kinds apart"] = f"{found.kinds_apart}, p = {found.kinds_p:.2g}"
    spread = found.spread
    facts["no spread"] = f"{spread.flat.percent()} of the prompts"
    facts["typical gap"] = f"{spread.gap}, at the level {spread.level:.3g}"
    facts["tied"] = f"{spread.tied.percent()} of a prompt's neighbours"
    if found.ranked_right is not None:
        facts["pairs right"] = found.ranked_right.percent()
    if found.scale is not None:
        facts["scale"] = f"{found.scale}, which takes {found.scale.rule}"
    return facts


def _laws(found: ct.Diagnosis) -> Table:
    width = found.scale.width if found.scale else 1.0
    digits = min(max(2 - math.floor(math.log10(width)), 0), 12)
    rows = [
        (
            kind.name,
            str(kind.prompts),
            *(f"{kind.quantiles[round(20 * q)]:.{digits}f}" for q in _SHOWN),
            f"{kind.at_low:.0%} {kind.at_high:.0%}",
            f"{kind.tied:.0%}",
            f"{kind.within**0.5:.2g}",
        )
        for kind in found.kinds
    ]
    names = ("kind", "prompts", *(f"{q:.0%}" for q in _SHOWN), "ends", "tied", "spread")
    table = number_table(names, rows, words=1, padding=0, unbroken=0)
    table.columns[0].min_width = 6
    return table


def _distances(found: ct.Diagnosis) -> Iterator[tuple[str, ...]]:
    """Yield a row a utility: its error and distance for each kind, the nearest with a star."""
    for one in max(found.kinds, key=lambda kind: kind.prompts).predictions:
        cells = []
        for kind in found.kinds:
            near = next(p for p in kind.predictions if p.utility == one.utility)
            best = "*" if near is kind.predictions[0] and _differ(found, near) else ""
            cells.append(f"{best}{near.error:.3f} [{near.distance:.3f}]")
        yield (one.utility, *cells)
