"""`collapse-theory design`: a utility for a wanted law, or for each kind of prompt in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.arguments import Json
from collapse_theory.cli.laws import certificate_text, law_content, shape_text
from collapse_theory.cli.output import console, print_json
from collapse_theory.errors import CollapseError

if TYPE_CHECKING:
    from rich.table import Table

    from collapse_theory.design import Recommendation

__all__ = ["design"]

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
PAIRS = 20  # of more pair weights, a table shows so many


@app.command(
    epilog=examples(
        'design "atoms 0.3 + uniform"',
        'design "levels 0.3 0.2 0.2 0.3" --plot design.pdf',
        'design "beta(4, 2)" --n 8 --by weights',
        "design --from scores.csv --json",
    )
)
def design(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="The wanted law: two-valued, uniform, arcsine, beta(a, b), 'atoms 0.3 + uniform', "
            "'levels 0.4 0.2 0.4', a sum of these, or rewards 1,0.8,0.3,0.",
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="For so many completions; many unless given.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="utility, or weights: of pairs, which reach any rewards.")
    ] = "utility",
    utility: Annotated[
        str | None,
        typer.Option(help="With --by weights: the utility to keep. [default: log(x + 0.1)]"),
    ] = None,
    tol: Annotated[
        float, typer.Option(help="The Wasserstein-1 distance that counts as reached.")
    ] = 0.005,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Scores of completions (CSV, JSONL or Parquet, plain or gzip) with the columns "
            "prompt, reward or score, and optionally kind: a utility for each kind.",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="With --from: the column of prompts.")] = None,
    reward: Annotated[str | None, typer.Option(help="With --from: the column of scores.")] = None,
    kind: Annotated[str | None, typer.Option(help="With --from: the column of kinds.")] = None,
    as_json: Json = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the design into this file (pdf, png or svg); with --from one file a kind."
        ),
    ] = None,
) -> None:
    """Design a utility whose collapsed rewards have a wanted law.

    JSON has the keys utility, distance, reachable, law, weights, and further ones; with --from
    there is one such object a kind under "kinds".
    """
    if (target is None) == (source is None):
        raise CollapseError("give a wanted law, or a file of scores with --from FILE")
    if source is not None:
        if n is not None or by != "utility" or utility is not None:
            raise CollapseError("--n, --by and --utility are for a wanted law, not for --from")
        _from_file(source, {"prompt": prompt, "reward": reward, "kind": kind}, tol, as_json, plot)
        return
    assert target is not None
    wanted = _target(target)
    # A list of rewards is taken at its word, not as a sample.
    size = len(wanted) if n is None and not isinstance(wanted, str) else n
    found = ct.design(wanted, size, by, tol, utility=utility)
    if plot is not None:
        _plot(found, plot)
    if as_json:
        print_json(_content(found))
    else:
        _show(found)


def _target(text: str) -> str | np.ndarray:
    """Return rewards where the text is a list of numbers, else the text."""
    parts = text.split(",")
    if len(parts) > 1:
        try:
            return np.array([float(part) for part in parts])
        except ValueError:
            return text
    return text


def _plot(found: ct.Design, path: Path) -> None:
    from collapse_theory.cli.figures import drawn
    from collapse_theory.figures import design as draw

    drawn(lambda: draw(found), [path])


def _content(found: ct.Design) -> dict[str, Any]:
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


REACHED = {True: "yes", False: "no, proved", None: "undecided"}


def _show(found: ct.Design) -> None:
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


def _quantiles(found: ct.Design) -> Table:
    from rich.table import Table

    table = Table("share below", "wanted", "reached")
    for column in table.columns:
        column.justify = "right"
    for level in LEVELS:
        wanted, reached = found.target.law.ppf(level), found.law.ppf(level)
        table.add_row(f"{level:.0%}", f"{wanted:.4f}", f"{reached:.4f}")
    return table


def _rewards(found: ct.Design) -> Table:
    from rich.table import Table

    assert found.n is not None
    assert found.solution is not None
    table = Table("rank", "wanted", "reached")
    for column in table.columns:
        column.justify = "right"
    rows = zip(found.target.levels(found.n), found.solution.rewards, strict=True)
    for rank, (wanted, reached) in enumerate(rows, start=1):
        table.add_row(str(rank), f"{wanted:.4f}", f"{reached:.4f}")
    return table


def _pairs(pairs: ct.Comparisons) -> Table:
    from rich.table import Table

    size = len(pairs.better)
    shown = "" if size <= PAIRS else f", the first {PAIRS} of {size} (all of them with --json)"
    table = Table("better", "worse", "weight", title=f"pair weights{shown}")
    for column in table.columns:
        column.justify = "right"
    rows = zip(pairs.better, pairs.worse, pairs.weights, strict=True)
    for better, worse, weight in list(rows)[:PAIRS]:
        table.add_row(str(better + 1), str(worse + 1), f"{weight:.4f}")
    return table


def _link(found: ct.Design) -> Table:
    from rich.table import Table

    assert found.link is not None
    table = Table(
        "model's reward",
        "report",
        title=f"link on top of a model trained with {found.link.utility} (all of it with --json)",
    )
    for column in table.columns:
        column.justify = "right"
    for reward in (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0):
        table.add_row(f"{reward:.2f}", f"{found.link(reward):.4g}")
    return table


# -- a file of scores --------------------------------------------------------------------


def _from_file(
    path: Path, columns: dict[str, str | None], tol: float, as_json: bool, plot: Path | None
) -> None:
    from collapse_theory.diagnosis import read_log

    log = read_log(path, prompt=columns["prompt"], reward=columns["reward"], kind=columns["kind"])
    kinds = None
    if log.kinds is not None and log.kind_names:
        # Kinds are numbers of their names, one a score or one a prompt.
        names = np.array(log.kind_names)
        codes = np.asarray(log.kinds, dtype=np.int64)
        per_score = codes if codes.shape == log.rewards.shape else codes[log.prompts]
        kinds = names[per_score]
    found = ct.recommend(log.rewards, log.prompts, kinds, tol=tol)
    if plot is not None:
        for advice in found.advice:
            _plot(advice.design, plot.with_stem(f"{plot.stem}-{_plain(advice.kind)}"))
    bad = sum(rows.count for rows in log.bad)
    if as_json:
        print_json(_advice_content(found, log.read, bad))
    else:
        _show_advice(found, path, log, bad)


def _plain(kind: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in kind)[:40]


def _advice_content(found: Recommendation, read: int, bad: int) -> dict[str, Any]:
    kinds = {}
    for advice in found.advice:
        evidence = {
            name: getattr(advice, name)
            for name in ("prompts", "scores", "low", "middle", "high", "error")
        }
        kinds[advice.kind] = _content(advice.design) | {"evidence": evidence}
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


def _show_advice(found: Recommendation, path: Path, log: Any, bad: int) -> None:
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
        _show(advice.design)


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
