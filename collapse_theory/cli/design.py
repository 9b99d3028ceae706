"""`collapse-theory design`: a utility for a wanted law, or for each kind of prompt in a file."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory.cli.app import command
from collapse_theory.cli.output import console, drawn, facts_grid, give, named, number_table
from collapse_theory.cli.reading import Reading, reading_content, reading_lines
from collapse_theory.cli.wording import certificate_text, law_content
from collapse_theory.data.reward_log import RewardLog
from collapse_theory.design.slope import MAX_SLOPE

REACHED = {True: "yes", False: "no, proved", None: "undecided"}
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
LINKED = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
PAIRS = 20  # of more pair weights, a table shows so many
MOST_RANKS = 16  # of more rewards, a table shows quantiles


@command(
    'design "atoms 0.3 + uniform"',
    'design "levels 0.3 0.2 0.2 0.3" --plot design.pdf',
    'design "beta(4, 2)" --n 8 --by weights',
    'design "rewards 1 0.8 0.3 0"',
    "design --from scores.csv --json",
    target=typer.Argument(
        metavar="TARGET",
        help="The wanted law: two-valued, uniform, arcsine, beta(a, b), 'atoms 0.3 + uniform', "
        "'levels 0.4 0.2 0.4', a sum of these; 1,2,2,5 (a sample), or 'rewards 1 0.8 0.3 0' "
        "(those of four completions).",
    ),
    n="For so many completions; many unless given.",
    by="utility, or weights: of pairs, which reach any rewards.",
    max_slope="How steep the utility may be: U'(0) over its mean slope beyond the gap .08. "
    "Steeper ones train badly; inf for any.",
    utility="With --by weights: the utility to keep. [default: log(x + 0.1)]",
    tol="The Wasserstein-1 distance that counts as reached.",
    source=typer.Option(
        "--from",
        metavar="FILE",
        help="Scores of completions, a log as diagnose reads it (a file of any kind, a folder, a "
        "glob; - is the standard input): a utility for each kind.",
    ),
    plot="Draw the design into this file (pdf, png or svg); with --from one file a kind.",
)
def design(
    target: str | None = None,
    *,
    reading: Reading,
    n: int | None = None,
    by: str = "utility",
    max_slope: float = MAX_SLOPE,
    utility: str | None = None,
    tol: float = 0.005,
    source: Path | None = None,
    as_json: bool = False,
    plot: Path | None = None,
) -> None:
    """Design a utility whose collapsed rewards have a wanted law.

    JSON has the keys utility, distance, slope, reachable, law, weights, and further ones; with
    --from there is one such object a kind under "kinds".
    """
    if (target is None) == (source is None):
        raise ct.CollapseError("give a wanted law, or a file of scores with --from FILE")
    if source is None and reading.given:
        raise ct.CollapseError("the options of a log's columns, steps and rows go with --from FILE")
    if source is not None:
        if n is not None or by != "utility" or utility is not None:
            raise ct.CollapseError("--n, --by and --utility are for a wanted law, not for --from")
        _from_scores(reading.log(source), source, tol, max_slope, as_json, plot)
        return
    assert target is not None
    way: Any = by  # ct.design says which there are
    found = ct.design(target, n, way, tol, max_slope=max_slope, utility=utility)
    content, show = partial(_content, found), partial(_show, found)
    give(content, show, as_json, plot, lambda: ct.figures.design(found))


# -- one design --------------------------------------------------------------------------


def _content(found: ct.Design) -> dict[str, Any]:
    """Return a design as JSON holds it."""
    pairs, proof, link, target = found.comparisons, found.proof, found.link, found.target
    steeper = found.steeper
    return {
        "utility": str(found.utility),
        **named(found, "n", "distance", "slope", "max_slope", "reachable"),
        "steeper": steeper
        and {"utility": str(steeper.utility), **named(steeper, "distance", "slope")},
        "tolerance": max(found.tol, target.error),
        "reason": found.reason,
        "law": law_content(found.law),
        "target": {
            "low": target.low,
            "high": target.high,
            "quantiles": law_content(target.law)["quantiles"],
        },
        "rewards": found.solution and found.solution.rewards,
        "weights": pairs and named(pairs, "better", "worse", "weights"),
        "proof": proof and named(proof, "kind", "margin"),
        "link": link and link.to_dict(),
    }


def _show(found: ct.Design) -> None:
    """Print a design for people."""
    page = console()
    page.print(f"U(x) = {found.utility}", soft_wrap=True)
    page.print(facts_grid(_facts(found)))
    if found.n is None or found.n > MOST_RANKS:
        levels = [f"{level:.0%}" for level in LEVELS]
        columns = "share below", levels, found.target.law.ppf(LEVELS), found.law.ppf(LEVELS)
    else:
        assert found.solution is not None
        ranks = [str(rank + 1) for rank in range(found.n)]
        columns = "rank", ranks, found.target.levels(found.n), found.solution.rewards
    name, places, wanted, reached = columns
    rows = [(p, f"{w:.4f}", f"{r:.4f}") for p, w, r in zip(places, wanted, reached, strict=True)]
    page.print(number_table((name, "wanted", "reached"), rows))
    if pairs := found.comparisons:
        size = len(pairs.better)
        shown = "" if size <= PAIRS else f", the first {PAIRS} of {size} (all of them with --json)"
        first = [*zip(pairs.better, pairs.worse, pairs.weights, strict=True)][:PAIRS]
        rows = [(str(better + 1), str(worse + 1), f"{w:.4f}") for better, worse, w in first]
        names = ("better", "worse", "weight")
        page.print(number_table(names, rows, title=f"pair weights{shown}"))
    if link := found.link:
        rows = [(f"{reward:.2f}", f"{link(reward):.4g}") for reward in LINKED]
        title = "link (all of it with --json)"
        page.print(number_table(("model's reward", "report"), rows, title=title))


def _facts(found: ct.Design) -> dict[str, str]:
    advice = "train with this utility"
    if found.comparisons is not None:
        advice += " and the pair weights below"
    elif found.link is not None:
        advice = (
            f"train with U(x) = {found.link.utility}, and report its rewards through the link "
            "below; without one, train with the utility above"
        )
    reached = REACHED[found.reachable]
    if found.reachable and not found.within:
        reached = "by a steeper utility alone"
    trains = "2000 steps of Adam come within .02 of such optima"
    if found.slope > MAX_SLOPE:
        trains = "2000 steps of Adam may leave it far from its optimum"
    facts = {
        "do": advice,
        "reached": f"{reached}; {found.reason}",
        "distance": f"{found.distance:.3g} (Wasserstein-1, rewards from 0 to 1)",
        "slope": f"{found.slope:.3g} at gap 0, over the mean slope; {trains}",
        "wanted": found.target.law.name,
        "law": found.law.name,
    }
    low, high = found.target.low, found.target.high
    if (low, high) != (0.0, 1.0):
        facts["scale"] = f"rewards 0 and 1 stand for {low:g} and {high:g}"
    if text := certificate_text(found.solution or found.law) or found.law.status:
        facts["certificate"] = text
    if found.proof is not None:
        facts["proof"] = (
            f"moving mass improves on it under every hinge min(x, m), by {found.proof.margin:.3g} "
            "of the shortfall or more"
            if found.proof.margin > 0
            else "it isn't symmetric, as every optimum of a strictly concave utility is"
        )
    return facts


# -- a file of scores --------------------------------------------------------------------


def _from_scores(
    log: RewardLog, path: Path, tol: float, max_slope: float, as_json: bool, plot: Path | None
) -> None:
    found = ct.recommend(log, tol=tol, max_slope=max_slope)
    if plot is not None:
        for advice in (advice for advice in found.advice if advice.design):
            name = "".join(c if c.isalnum() else "-" for c in advice.kind)[:40]
            file = plot.with_stem(f"{plot.stem}-{name}")
            drawn(partial(ct.figures.design, advice.design), [file])
    content = partial(_recommendation_content, found, log)
    give(content, partial(_show_recommendation, found, path, log), as_json)


def _recommendation_content(found: ct.Recommendation, log: RewardLog) -> dict[str, Any]:
    """Return a recommendation as JSON holds it, with what was read."""
    evidence = ("prompts", "scores", "flat", "between", "low", "middle", "high", "error")
    none = {"utility": None, "reachable": None, "distance": None}
    return {
        "kinds": {
            advice.kind: (_content(advice.design) if advice.design else none)
            | {"advice": advice.reason, "evidence": named(advice, *evidence)}
            for advice in found.advice
        },
        "between_kinds": {
            f"{first}, {second}": found.between[i, j]
            for (i, first), (j, second) in combinations(enumerate(found.kinds), 2)
        },
        "scale": named(found, "low", "high"),
        **reading_content(log),
    }


def _show_recommendation(found: ct.Recommendation, path: Path, log: RewardLog) -> None:
    """Print a recommendation for people."""
    page = console()
    for line in reading_lines(log, str(path)):
        page.print(line, soft_wrap=True)
    names = ("kind", "prompts", "flat", "levels", "low", "mid", "high", "error", "W1", "reached")
    rows = []
    for advice in found.advice:
        shares = (advice.between, advice.low, advice.middle, advice.high)
        made = advice.design
        rows.append(
            (
                advice.kind,
                str(advice.prompts),
                str(advice.flat),
                *("-" if np.isnan(share) else f"{share:.0%}" for share in shares),
                f"{advice.error:.3f}" if made else "-",
                f"{made.distance:.3f}" if made else "-",
                REACHED[made.reachable].split(",")[0] if made else "-",
            )
        )
    page.print(number_table(names, rows, words=1))
    page.print(
        "flat: prompts without a spread. levels: the share of the variance between prompts, which "
        "no comparison within one shows. low, high: scores within 1% of their prompt's ends. W1: "
        "distance of the utility's rewards to the scores within a prompt; error: what sampling "
        "prompts explains of it, in 95 of 100 cases."
    )
    for (i, first), (j, second) in combinations(enumerate(found.kinds), 2):
        if (apart := found.differ(first, second)) is None:
            continue
        verdict = "no more than sampling explains: one utility will do for both"
        if apart:
            verdict = (
                "more than sampling explains: train them with utilities (or links) of their own"
            )
        page.print(f"{first} and {second} differ by {found.between[i, j]:.3g}, {verdict}")
    for advice in found.advice:
        page.print()
        page.rule(f"{advice.kind}", align="left")
        page.print(f"{advice.reason[0].upper()}{advice.reason[1:]}.", soft_wrap=True)
        if advice.design:
            _show(advice.design)
