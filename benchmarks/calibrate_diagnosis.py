"""How often `ct.diagnose` is right: simulated logs whose truth is known, and its intervals.

    OMP_NUM_THREADS=1 nice python benchmarks/calibrate_diagnosis.py --logs 8 --seed 0

Prints the tables of docs/diagnosis.md: for each sort of log, in percent, how often the outcome is
the right one, is left open (None), or is another; and how often the interval of W / R holds the
ratio of the population. Noise is in units of the box.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

import collapse_theory as ct
from collapse_theory.diagnosis.likeness import TAKEN, View, view_of
from collapse_theory.diagnosis.order_statistics import OrderStatistics

PROMPTS = (10, 20, 50, 200, 2000)
COMPLETIONS = (2, 4, 8, 16)
UTILITIES = ("x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)", "log(x)", "x**0.5")

Rng = np.random.Generator
Table = np.ndarray


@cache
def optimum(text: str, n: int) -> np.ndarray:
    return ct.solve(text, n).rewards


def one(n: int, rng: Rng) -> np.ndarray:
    """Return the optimum of a random utility."""
    return optimum(UTILITIES[rng.integers(len(UTILITIES))], n)


def normal(P: int, n: int, rng: Rng) -> Table:
    return rng.standard_normal((P, n))


def rows(table: Table, keep: Table | None = None) -> dict[str, Any]:
    """Return a table as rows, without those that aren't kept."""
    prompts = np.repeat(np.arange(len(table)), table.shape[1])
    keep = np.ones(table.size, bool) if keep is None else keep.ravel()
    return {"rewards": table.ravel()[keep], "prompts": prompts[keep]}


def missing(share: float, ranked: bool) -> Callable[[int, int, Rng], dict[str, Any]]:
    def make(P: int, n: int, rng: Rng) -> dict[str, Any]:
        table = one(n, rng) + 0.03 * normal(P, n, rng)
        keep = rng.random((P, n)) >= share
        found = rows(table, keep)
        if ranked:
            found["ranks"] = np.tile(np.arange(n), P)[keep.ravel()]
        return found

    return make


def kinds_of_sizes(ratio: Callable[[int], int]) -> Callable[[int, int, Rng], dict[str, Any]]:
    """Return logs whose second kind has another number of completions."""

    def make(P: int, n: int, rng: Rng) -> dict[str, Any]:
        text = UTILITIES[rng.integers(len(UTILITIES))]
        sizes = [n if p % 2 else ratio(n) for p in range(P)]
        rewards = [optimum(text, m) + 0.03 * rng.standard_normal(m) for m in sizes]
        prompts = np.repeat(np.arange(P), sizes)
        return {"rewards": np.concatenate(rewards), "prompts": prompts, "kinds": prompts % 2}

    return make


def ragged(draw: Callable[[int, Rng], np.ndarray]) -> Callable[[int, int, Rng], dict[str, Any]]:
    def make(P: int, n: int, rng: Rng) -> dict[str, Any]:
        sizes = rng.integers(2, 2 * n + 1, P).tolist()
        rewards = [draw(m, rng) for m in sizes]
        return {"rewards": np.concatenate(rewards), "prompts": np.repeat(np.arange(P), sizes)}

    return make


def ragged_optimum(P: int, n: int, rng: Rng) -> dict[str, Any]:
    text = UTILITIES[rng.integers(len(UTILITIES))]
    draw = ragged(lambda m, rng: optimum(text, m) + 0.03 * rng.standard_normal(m))
    return draw(P, n, rng)


def kinds(pair: tuple[str, str], noise: float, told: bool):
    def make(P: int, n: int, rng: Rng) -> dict[str, Any]:
        kind = rng.permutation(P) % 2
        table = np.stack([optimum(pair[k], n) for k in kind]) + noise * normal(P, n, rng)
        return {"rewards": table} | ({"kinds": kind} if told else {})

    return make


def tenth(P: int, n: int, rng: Rng) -> Table:
    """Return prompts of which a tenth, and one at least, was trained with another loss."""
    other = (rng.permutation(P) < max(P // 10, 1)).astype(int)
    return np.stack([optimum(APART[k], n) for k in other]) + 0.03 * normal(P, n, rng)


def wild(share: float, n_times: float) -> Callable[[int, int, Rng], Table]:
    def make(P: int, n: int, rng: Rng) -> Table:
        hit = rng.random((P, n)) < share
        return one(n, rng) + 0.02 * normal(P, n, rng) + hit * n_times * normal(P, n, rng)

    return make


def gone(take: Callable[[Table], Table], share: float) -> Callable[[int, int, Rng], Any]:
    """Return normalised draws, with levels or without, of which a share is missing."""

    def make(P: int, n: int, rng: Rng) -> dict[str, Any]:
        table = take(normal(P, n, rng) + each(P, rng, rng.choice([0, 1])))
        return rows(table, rng.random((P, n)) >= share)

    return make


def standardised(table: Table) -> Table:
    rest = table - table.mean(axis=1, keepdims=True)
    return rest / (rest.std(axis=1, keepdims=True) + 1e-6)


def clipped(table: Table) -> Table:
    return standardised(table).clip(-2, 2)


def log_softmax(table: Table) -> Table:
    return table - np.log(np.exp(table).sum(axis=1, keepdims=True))


def ends(table: Table) -> Table:
    low, high = table.min(axis=1, keepdims=True), table.max(axis=1, keepdims=True)
    return (table - low) / (high - low)


@dataclass(frozen=True)
class Sort:
    """A sort of log: its maker, the outcomes that are right, and from which sizes on."""

    name: str
    right: tuple[str | None, ...]
    make: Callable[[int, int, Rng], Any]
    least: int = 2
    options: dict[str, Any] = field(default_factory=dict)


def noisy(noise: float) -> Callable[[int, int, Rng], Table]:
    return lambda P, n, g: one(n, g) + noise * normal(P, n, g)


def each(P: int, g: Rng, spread: float = 1.0) -> Table:
    """Return a normal number for each prompt."""
    return spread * g.standard_normal((P, 1))


def names(make: Callable[[int, int, Rng], Table]) -> Callable[[int, int, Rng], dict[str, Any]]:
    """Return a log with two kinds that are only names."""
    return lambda P, n, g: {"rewards": make(P, n, g), "kinds": g.permutation(P) % 2}


def own_noise(P: int, n: int, g: Rng) -> Table:
    return one(n, g) + 0.03 * np.exp(each(P, g)) * normal(P, n, g)


def levelled_logits(P: int, n: int, g: Rng) -> Table:
    optimum = ct.solve("logsigmoid(x)", n, ct.Confined(0.02)).rewards
    return optimum + each(P, g, g.choice([0.4, 2, 10])) + 0.1 * normal(P, n, g)


def spreads(P: int, n: int, g: Rng) -> Table:
    return np.exp(each(P, g)) * normal(P, n, g)


def level_and_draws(P: int, n: int, g: Rng) -> Table:
    return each(P, g, 2) + normal(P, n, g)


def betas(P: int, n: int, g: Rng) -> Table:
    return g.beta(g.uniform(0.3, 4, (P, 1)), g.uniform(0.3, 4, (P, 1)), (P, n))


def judge(P: int, n: int, g: Rng) -> Table:
    return np.round(1 / (1 + np.exp(4 - each(P, g, 6) - 6 * normal(P, n, g))), 6)


def float32_steps(P: int, n: int, g: Rng) -> Table:
    steps = 1 + 1.2e-7 * g.integers(-1, 2, (P, n))
    return (np.float32(g.normal()) * steps).astype(np.float32)


LOGIT = {"domain": ct.Confined(0.02)}
COLLAPSED, LAW, OWN, FLAT = ("collapsed",), ("one law",), ("own laws",), ("no spread",)
APART, NEAR = ("x", "-1/(x + 0.1)"), ("log(x + 0.1)", "-1/(x + 0.1)")

SORTS = (
    Sort("one vector", COLLAPSED, lambda P, n, g: np.tile(one(n, g), (P, 1)), 4),
    Sort("noise .03", COLLAPSED, noisy(0.03)),
    Sort("noise .1", COLLAPSED, noisy(0.1)),
    Sort("noise of each prompt's own", COLLAPSED, own_noise),
    Sort("to quarters", COLLAPSED, lambda P, n, g: np.round(4 * noisy(0.03)(P, n, g)) / 4),
    Sort("2% wild", COLLAPSED, wild(0.02, 3.0)),
    Sort("5% wild", COLLAPSED, wild(0.05, 3.0)),
    Sort("Cauchy .03", COLLAPSED, lambda P, n, g: one(n, g) + 0.03 * g.standard_cauchy((P, n))),
    Sort("10% missing", COLLAPSED, missing(0.1, False), 4),
    Sort("30% missing", COLLAPSED, missing(0.3, False), 4),
    Sort("30% missing, ranks", COLLAPSED, missing(0.3, True), 4),
    Sort("2 to 2n completions", COLLAPSED, ragged_optimum, 4),
    Sort("kinds that are names", COLLAPSED, names(noisy(0.05))),
    Sort("kinds of n/2 and n", COLLAPSED, kinds_of_sizes(lambda n: n // 2), 4),
    Sort("kinds of n and n + 1", COLLAPSED, kinds_of_sizes(lambda n: n + 1), 4),
    Sort("levels, pairwise loss", COLLAPSED, levelled_logits, 2, LOGIT),
    Sort("normal draws", LAW, normal),
    Sort("uniform draws", LAW, lambda P, n, g: g.random((P, n))),
    Sort("exponential draws", LAW, lambda P, n, g: g.exponential(size=(P, n))),
    Sort("draws of t(2)", LAW, lambda P, n, g: g.standard_t(2, (P, n))),
    Sort("draws of five grades", LAW, lambda P, n, g: g.integers(1, 6, (P, n)).astype(float)),
    Sort("a judge's draws", LAW, lambda P, n, g: np.round(g.beta(0.1, 0.3, (P, n)), 4)),
    Sort("draws of an optimum", LAW, lambda P, n, g: g.choice(one(256, g), (P, n))),
    Sort("2 to 2n draws", LAW, ragged(lambda m, g: g.standard_normal(m)), 4),
    Sort("draws, 30% gone", LAW, lambda P, n, g: rows(normal(P, n, g), g.random((P, n)) > 0.3), 4),
    Sort("draws, kinds that are names", LAW, names(normal)),
    Sort(
        "draws + levels, pairwise", LAW, lambda P, n, g: each(P, g, 2) + normal(P, n, g), 4, LOGIT
    ),
    Sort("levels 1 s.d.", OWN, lambda P, n, g: each(P, g) + normal(P, n, g)),
    Sort("levels 10 s.d.", OWN, lambda P, n, g: each(P, g, 10) + normal(P, n, g)),
    Sort("levels on an optimum", OWN, lambda P, n, g: one(n, g) + each(P, g, 0.6)),
    Sort("spreads", OWN, spreads),
    Sort("spreads, pairwise loss", OWN, spreads, 4, LOGIT),
    Sort("Beta laws", OWN, betas),
    Sort("a judge's levels", OWN, judge),
    Sort("kinds of their own", OWN, kinds(APART, 0.03, True), 4),
    Sort("near kinds", OWN, kinds(NEAR, 0.03, True), 8),
    Sort("kinds left out", OWN, kinds(APART, 0.03, False), 8),
    Sort("a tenth of another loss", OWN, tenth, 4),
    Sort("constant + 1e-12 noise", FLAT, lambda P, n, g: 0.2055 + 1e-12 * normal(P, n, g)),
    Sort("a float32 step", FLAT, float32_steps),
    Sort("saturated", FLAT, lambda P, n, g: 1 / (1 + np.exp(-20 - normal(P, n, g)))),
    Sort("mean 0, s.d. 1", (None,), lambda P, n, g: standardised(normal(P, n, g))),
    Sort("ends 0 and 1", (None,), lambda P, n, g: ends(normal(P, n, g))),
    Sort("one vector, s.d. 1", (None,), lambda P, n, g: standardised(noisy(0.02)(P, n, g))),
    Sort("s.d. 1, 10% missing", (None,), gone(standardised, 0.1), 4),
    Sort("s.d. 1, 30% missing", (None,), gone(standardised, 0.3), 4),
    Sort("s.d. 1, clipped at 2", (None,), gone(clipped, 0.0), 4),
    Sort("log-softmax, 10% missing", (None,), gone(log_softmax, 0.1), 4),
    Sort("ends 0 and 1, 30% missing", (None,), gone(ends, 0.3), 4),
)


def outcomes(sort: Sort, P: int, n: int, logs: int, seed: int) -> list[str | None]:
    rng = np.random.default_rng([seed, P, n, zlib.crc32(sort.name.encode())])
    found = []
    for i in range(logs):
        made = sort.make(P, n, rng)
        arguments = made if isinstance(made, dict) else {"rewards": made}
        found.append(ct.diagnose(**arguments, utility=(), rng=i, **sort.options).outcome)
    return found


def few(logs: int, P: int, n: int) -> int:
    """Fewer logs where they are large: each has less noise of its own."""
    return max(math.ceil(logs * min(1.0, 4000 / (P * n))), min(logs, 2))


def cell(found: list[str | None], right: tuple[str | None, ...]) -> str:
    hits = sum(outcome in right for outcome in found)
    wrong = sum(outcome not in (*right, None) for outcome in found)
    shares = (100 * part / len(found) for part in (hits, len(found) - hits - wrong, wrong))
    return " / ".join(f"{share:.0f}" for share in shares)


def verdicts(
    logs: int, seed: int, only: list[str] | None, prompts: list[int] | tuple[int, ...]
) -> None:
    print("\nOutcome right / left open / wrong, in percent\n")
    print("| log | right | " + " | ".join(f"P = {P}" for P in prompts) + " |")
    print("|---" * (2 + len(prompts)) + "|")
    for sort in SORTS:
        if only and not any(text in sort.name for text in only):
            continue
        cells = []
        for P in prompts:
            found = [
                outcome
                for n in COMPLETIONS
                if n >= sort.least
                for outcome in outcomes(sort, P, n, few(logs, P, n), seed)
            ]
            cells.append(cell(found, sort.right))
        print(f"| {sort.name} | {sort.right[0]} | " + " | ".join(cells) + " |", flush=True)


# -- intervals -----------------------------------------------------------------------------------


def shifted(P: int, g: Rng) -> Table:
    return optimum("log(x + 0.1)", 8) + each(P, g, 0.08) + 0.05 * normal(P, 8, g)


COVERED: dict[str, Callable[[int, Rng], Table]] = {
    "noise .05": lambda P, g: optimum("log(x + 0.1)", 8) + 0.05 * normal(P, 8, g),
    "noise and shifts": shifted,
    "normal draws": lambda P, g: normal(P, 8, g),
    "exponential draws": lambda P, g: g.exponential(size=(P, 4)),
    "levels": lambda P, g: each(P, g) + normal(P, 4, g),
    "Beta laws": lambda P, g: betas(P, 8, g),
}


def views(table: Table, rng: Rng) -> list[View]:
    stats = OrderStatistics.of(table.ravel(), np.repeat(np.arange(len(table)), table.shape[1]))
    found = (view_of(name, stats, rng) for name in TAKEN)
    return [view for view in found if view is not None]


def coverage(logs: int, seed: int) -> None:
    print("\nHow often the 95% interval of W / R holds the ratio of 40,000 prompts, in percent\n")
    sizes = (10, 20, 50, 200)
    print("| log | view | " + " | ".join(f"P = {P}" for P in sizes) + " |")
    print("|---" * (2 + len(sizes)) + "|")
    for name, make in COVERED.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        truths = {view.name: view.ratio.value for view in views(make(40_000, rng), rng)}
        inside = {view: np.zeros(len(sizes)) for view in truths}
        for at, P in enumerate(sizes):
            for _ in range(logs):
                for view in views(make(P, rng), rng):
                    ratio = view.ratio
                    inside[view.name][at] += ratio.low <= truths[view.name] <= ratio.high
        for view, hits in inside.items():
            print(
                f"| {name} | {view} | " + " | ".join(f"{100 * h / logs:.0f}" for h in hits) + " |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=8, help="simulated logs a cell and size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="parts of names of logs, such as missing")
    parser.add_argument("--coverage", action="store_true", help="of the intervals alone")
    parser.add_argument("--prompts", nargs="*", type=int, default=PROMPTS)
    options = parser.parse_args()
    if not options.coverage:
        verdicts(options.logs, options.seed, options.only, options.prompts)
    if not options.only:
        coverage(25 * options.logs, options.seed)


if __name__ == "__main__":
    main()
