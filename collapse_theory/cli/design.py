"""`collapse-theory design`: a utility for a wanted law, or for each kind of prompt in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import app, examples
from collapse_theory.cli.arguments import Json
from collapse_theory.cli.designs import design_content, show_design
from collapse_theory.cli.output import print_json
from collapse_theory.cli.recommendation import recommendation_content, show_recommendation
from collapse_theory.errors import CollapseError

__all__ = ["design"]


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
        print_json(design_content(found))
    else:
        show_design(found)


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
        print_json(recommendation_content(found, log.read, bad))
    else:
        show_recommendation(found, path, log, bad)


def _plain(kind: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in kind)[:40]
