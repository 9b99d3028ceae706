"""How well `Design.slope` tells which utilities train: real descents of random utilities.

    python benchmarks/calibrate_design.py [utilities] [seed]

Each utility is trained as `RankingLoss` trains it (tests/descent.py, held to it by a test): Adam at
the rate .02 on free logits, 2000 steps, prompts of 4, 8 and 16 completions. What is compared with
the slope is the mean distance of the rewards from their prediction. Prints the tables of
docs/design.md, "How well it trains".
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import collapse_theory as ct
from collapse_theory.design.mixture import STAGES, mixture
from collapse_theory.design.slope import MAX_SLOPE, first_gap, slope

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from descent import descended

SIZES = (4, 8, 16)
EDGES = (0, 10, 30, 50, 75, 100, 250, 1000, np.inf)
NEAR = 0.02


def draw(rng: np.random.Generator) -> ct.Utility:
    """Return a utility of one of thirteen kinds, from gentle to far too steep."""

    def log(low: float, high: float) -> float:
        return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.4g}")

    def margins() -> str:
        rate = log(30, 210)
        places = rng.uniform(0.1, 0.8, rng.integers(1, 4))
        return "".join(f"{log(0.05, 1)}*logsigmoid({rate}*(x - {m:.3f})) + " for m in places)

    def stage() -> str:
        terms = STAGES[rng.integers(0, 3)]
        weights = np.zeros(len(terms))
        some = rng.choice(len(terms), rng.integers(2, 6), replace=False)
        weights[some] = rng.exponential(size=some.size)
        return str(mixture(terms, weights))

    kinds = (
        lambda: f"1 - exp(-{log(0.5, 120)}*x)",
        lambda: f"logsigmoid({log(0.5, 200)}*x)",
        lambda: f"log(x + {log(3e-4, 1)})",
        lambda: f"-1/(x + {log(5e-3, 1)})",
        lambda: f"x**{rng.uniform(0.03, 0.95):.3f}",
        lambda: f"-x**-{rng.uniform(0.03, 1):.3f}",
        lambda: f"-(x + {log(0.01, 0.3)})**-{rng.uniform(0.5, 4):.3f}",
        lambda: f"logsigmoid({log(5, 400)}*x) + {log(0.01, 3)}*x",
        lambda: f"1 - exp(-{log(0.5, 10)}*x) + {log(0.1, 3)}*(1 - exp(-{log(10, 300)}*x))",
        lambda: (
            f"{log(0.1, 2)}*logsigmoid({log(2, 80)}*x) + {log(0.02, 1)}*log(x + {log(5e-3, 0.2)})"
        ),
        lambda: f"{margins()}{log(0.02, 2)}*x",
        stage,
        stage,
    )
    return ct.utility(kinds[rng.integers(len(kinds))]())


def rank(first: np.ndarray, second: np.ndarray) -> float:
    found: Any = spearmanr(first, second)
    return float(found.statistic)


def report(slopes: np.ndarray, errors: np.ndarray) -> None:
    """Print what (utilities, sizes) arrays of slopes and of distances say."""
    print(f"\n| slope | {' | '.join(f'n = {n}' for n in SIZES)} |\n|---|" + "---|" * len(SIZES))
    for low, high in pairwise(EDGES):
        cells = []
        for s, e in zip(slopes.T, errors.T, strict=True):
            here = e[(s > low) & (s <= high)]
            middle = f"{np.median(here):.3f}, {here.max():.3f}" if here.size else "-"
            cells.append(f"{here.size}: {middle}")
        print(f"| {low:g} to {high:g} | {' | '.join(cells)} |")
    for n, s, e in zip(SIZES, slopes.T, errors.T, strict=True):
        within, missed, steep = s <= MAX_SLOPE, e > NEAR, s > 10
        print(
            f"n = {n}: rank correlation {rank(s, e):.2f}, of slopes above 10 "
            f"{rank(s[steep], e[steep]):.2f}; of {within.sum()} up to {MAX_SLOPE:g}, "
            f"{(within & missed).sum()} end farther than {NEAR}; of {(~within).sum()} beyond, "
            f"{(~within & ~missed).sum()} come nearer"
        )


def main(count: int = 125, seed: int = 2) -> None:
    rng = np.random.default_rng(seed)
    slopes, errors = np.empty((2, count, len(SIZES)))
    for k in range(count):
        u = draw(rng)
        ended = (descended(u, n) for n in SIZES)
        slopes[k] = [slope(u, first_gap(n)) for n in SIZES]
        errors[k] = [np.abs(rewards - optimum.rewards).mean() for rewards, optimum in ended]
        print(f"{slopes[k, 1]:9.3g}  {errors[k].round(4)}  {u}", flush=True)
    report(slopes, errors)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
