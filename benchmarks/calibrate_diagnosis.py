"""How often the verdict of `ct.diagnose` is wrong: simulated logs whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/calibrate_diagnosis.py --logs 8 --seed 0

Prints the tables of docs/diagnosis.md. A log has P prompts of n completions (or, ragged, of 2 to
2n). Noise is Gaussian, independent for each reward, in units of the box.

Collapsed: the optimum of a random utility for all prompts, with noise; the same with two kinds that
are only names; the same with a shift of each prompt, of half the noise.

Not collapsed: each prompt has its own level, or its own spread, or its own Beta law, or draws of
one law; logits with normal levels; rewards piled up at 0 and 1 (a judge's scores); two kinds, each
with its own utility, with the kinds given or left out; a random utility for each prompt.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

import collapse_theory as ct

PROMPTS = (20, 50, 200, 2000)
COMPLETIONS = (2, 4, 8, 16, 64)
NOISES = (0.0, 0.01, 0.03, 0.05, 0.1, 0.2)


@dataclass
class Log:
    """Rows of rewards, each prompt's number and its kind."""

    rewards: list[np.ndarray]
    kinds: np.ndarray | None = None

    def diagnose(self, seed: int) -> ct.Diagnosis:
        prompts = np.repeat(np.arange(len(self.rewards)), [len(r) for r in self.rewards])
        kinds = None if self.kinds is None else self.kinds[prompts]
        return ct.diagnose(np.concatenate(self.rewards), prompts, kinds, (), rng=seed)


def random_utility(rng: np.random.Generator) -> str:
    """Return a utility as people train with: of a random family and steepness."""
    scale = float(np.round(np.exp(rng.uniform(np.log(0.02), np.log(1.0))), 3))
    families = (
        "x",
        f"log(x + {scale})",
        f"-1/(x + {scale})",
        f"logsigmoid({round(1 / scale, 2)}*x)",
        f"1 - exp(-{round(1 / scale, 2)}*x)",
        f"x - {round(scale / 2, 3)}*x**2",
        "log(x)",
        f"x**{round(0.1 + 0.8 * scale, 2)}",
    )
    return families[rng.integers(len(families))]


@cache
def optimum(text: str, n: int) -> np.ndarray:
    return ct.solve(text, n).rewards


def sizes(P: int, n: int, ragged: bool, rng: np.random.Generator) -> list[int]:
    return rng.integers(2, 2 * n + 1, P).tolist() if ragged else [n] * P


def noisy(rows: list[np.ndarray], noise: float, rng: np.random.Generator) -> list[np.ndarray]:
    return [row + noise * rng.standard_normal(row.size) for row in rows]


# -- the logs ----------------------------------------------------------------------------------


def collapsed(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    text = random_utility(rng)
    return Log(noisy([optimum(text, n) for n in ns], noise, rng))


def collapsed_kinds(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    return Log(collapsed(ns, noise, rng).rewards, rng.permutation(len(ns)) % 2)


def collapsed_shifts(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    rows = collapsed(ns, noise, rng).rewards
    return Log([row + 0.5 * noise * rng.standard_normal() for row in rows])


def levels(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    text = random_utility(rng)
    return Log(noisy([optimum(text, n) + rng.uniform(-0.5, 0.5) for n in ns], noise, rng))


def spreads(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    text = random_utility(rng)
    rows = [0.5 + (optimum(text, n) - 0.5) * rng.uniform(0.1, 1) for n in ns]
    return Log(noisy(rows, noise, rng))


def own_betas(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    ends = rng.uniform(0.3, 4, (len(ns), 2))
    return Log(noisy([rng.beta(*ab, n) for ab, n in zip(ends, ns, strict=True)], noise, rng))


def draws_of_one_law(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    law = optimum(random_utility(rng), 256)
    return Log(noisy([rng.choice(law, n) for n in ns], noise, rng))


def logits(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    share = rng.uniform(0.3, 3)
    return Log([share * rng.standard_normal() + rng.standard_normal(n) for n in ns])


def judge(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    rows = [rng.standard_normal(n) * 6 + 3 * rng.standard_normal() - 4 for n in ns]
    return Log([np.round(1 / (1 + np.exp(-row)), 6) for row in rows])


def own_kinds(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    kinds = rng.permutation(len(ns)) % 2
    texts = ("x", "-1/(x + 0.1)")
    rows = [optimum(texts[kind], n) for kind, n in zip(kinds, ns, strict=True)]
    return Log(noisy(rows, noise, rng), kinds)


def near_kinds(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    kinds = rng.permutation(len(ns)) % 2
    texts = ("log(x + 0.1)", "-1/(x + 0.1)")
    rows = [optimum(texts[kind], n) for kind, n in zip(kinds, ns, strict=True)]
    return Log(noisy(rows, noise, rng), kinds)


def kinds_left_out(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    return Log(own_kinds(ns, noise, rng).rewards)


def own_utilities(ns: list[int], noise: float, rng: np.random.Generator) -> Log:
    texts = [random_utility(rng) for _ in range(12)]
    return Log(noisy([optimum(texts[rng.integers(12)], n) for n in ns], noise, rng))


Make = Callable[[list[int], float, np.random.Generator], Log]
COLLAPSED: tuple[Make, ...] = (collapsed, collapsed_kinds, collapsed_shifts)
DIFFERENT: tuple[Make, ...] = (
    levels,
    spreads,
    own_betas,
    draws_of_one_law,
    logits,
    judge,
    own_kinds,
    near_kinds,
    kinds_left_out,
    own_utilities,
)
# Two or three completions have one optimum whatever the utility: no truth to be found there.
SAME_AT_TWO = (own_kinds, near_kinds, kinds_left_out, own_utilities)


@dataclass
class Rates:
    """Shares of the verdicts true, none and false among so many logs."""

    true: float
    none: float
    false: float

    @classmethod
    def of(cls, verdicts: list[bool | None]) -> Rates:
        count = max(len(verdicts), 1)
        return cls(*(sum(v is kind for v in verdicts) / count for kind in (True, None, False)))

    def __str__(self) -> str:
        return " / ".join(f"{100 * share:.0f}" for share in (self.true, self.none, self.false))


def verdicts(
    make: Make, P: int, n: int, noise: float, logs: int, seed: int, ragged: bool = False
) -> Iterator[bool | None]:
    key = [seed, P, n, round(1000 * noise), ragged, *make.__name__.encode()]
    rng = np.random.default_rng(key)
    for i in range(logs):
        yield make(sizes(P, n, ragged, rng), noise, rng).diagnose(i).collapsed


def few(logs: int, P: int, n: int) -> int:
    """Fewer logs where they are large: each has less noise of its own."""
    return max(math.ceil(logs * min(1.0, 4000 / (P * n))), min(logs, 8))


def table(title: str, makes: tuple[Make, ...], noises: tuple[float, ...], logs: int, seed: int):
    print(f"\n{title}: verdict true / none / false in percent\n")
    print("| log | noise | " + " | ".join(f"P = {P}" for P in PROMPTS) + " | ragged |")
    print("|---" * (3 + len(PROMPTS)) + "|")
    for make in makes:
        for noise in noises:
            if make in (logits, judge) and noise != noises[0]:
                continue
            least = 4 if make in SAME_AT_TWO else 2
            several = [n for n in COMPLETIONS if n >= least]
            cells = []
            for P in PROMPTS:
                found = [
                    v for n in several for v in verdicts(make, P, n, noise, few(logs, P, n), seed)
                ]
                cells.append(str(Rates.of(found)))
            found = [
                v
                for P in PROMPTS[:3]
                for n in (8, 16)
                for v in verdicts(make, P, n, noise, few(logs, P, n), seed, ragged=True)
            ]
            cells.append(str(Rates.of(found)))
            name = make.__name__.replace("_", " ")
            print(f"| {name} | {noise:g} | " + " | ".join(cells) + " |", flush=True)


def by_completions(makes: tuple[Make, ...], logs: int, seed: int) -> None:
    """Print the verdicts on collapsed and on different logs for each number of completions."""
    print("\nAt noise 0.05, P = 100, by the number of completions\n")
    print("| log | " + " | ".join(f"n = {n}" for n in COMPLETIONS) + " |")
    print("|---" * (1 + len(COMPLETIONS)) + "|")
    for make in makes:
        cells = [
            "-"
            if make in SAME_AT_TWO and n < 4
            else str(Rates.of(list(verdicts(make, 100, n, 0.05, few(logs, 100, n), seed))))
            for n in COMPLETIONS
        ]
        print(f"| {make.__name__.replace('_', ' ')} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=8, help="simulated logs a cell and size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of logs, such as near_kinds")
    options = parser.parse_args()
    some, others = (
        tuple(make for make in makes if not options.only or make.__name__ in options.only)
        for makes in (COLLAPSED, DIFFERENT)
    )
    table("Collapsed", some, NOISES, options.logs, options.seed)
    table("Not collapsed", others, (0.0, 0.05), options.logs, options.seed)
    by_completions((*some, *others), options.logs, options.seed)


if __name__ == "__main__":
    main()
