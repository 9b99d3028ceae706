"""How long graphs take: promised in 60 s and 4 GB for 10^5 completions with 10^6 random pairs.

OMP_NUM_THREADS=1 pytest benchmarks/test_comparisons.py
"""

from __future__ import annotations

import resource

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import collapse_theory as ct
from collapse_theory.finite.max_margin import max_margin
from collapse_theory.programs import Comparisons

TEXTS = ("log(x + 0.1)", "logsigmoid(x)", "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)", "log(x)")


def random_pairs(n: int, count: int) -> Comparisons:
    rng = np.random.default_rng(0)
    order, pairs = rng.permutation(n), np.sort(rng.integers(0, n, (count, 2)), axis=1)
    low, high = pairs[pairs[:, 0] < pairs[:, 1]].T
    return Comparisons(n, order[low], order[high], rng.uniform(0.1, 2, len(low)))


@pytest.mark.parametrize("domain", [ct.Box(), ct.Confined(0.1), ct.Centered(0.1)], ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_large(benchmark: BenchmarkFixture, text: str, domain: ct.Box) -> None:
    pairs = random_pairs(10_000, 100_000)
    solution = benchmark.pedantic(
        lambda: ct.solve(text, domain=domain, comparisons=pairs), rounds=1
    )
    benchmark.extra_info["relative_gap"] = solution.relative_gap
    assert solution.relative_gap < 1e-9


@pytest.mark.parametrize("n", [1000, 10_000, 100_000])
@pytest.mark.parametrize("text", TEXTS[:2])
def test_exponent(benchmark: BenchmarkFixture, text: str, n: int) -> None:
    pairs = random_pairs(n, 10 * n)
    solution = benchmark.pedantic(lambda: ct.solve(text, comparisons=pairs), rounds=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # gigabytes, on Linux
    benchmark.extra_info |= {"relative_gap": solution.relative_gap, "gigabytes so far": peak}
    assert solution.relative_gap < 1e-9
    assert peak < 4


@pytest.mark.parametrize("text", ["x", "min(x, 0.5)", "min(x, 0.3)"])
def test_hinges(benchmark: BenchmarkFixture, text: str) -> None:
    pairs = random_pairs(10_000, 100_000)
    solution = benchmark.pedantic(lambda: ct.solve(text, comparisons=pairs), rounds=1)
    benchmark.extra_info["relative_gap"] = solution.relative_gap
    assert solution.relative_gap < 1e-9


def test_max_margin(benchmark: BenchmarkFixture) -> None:
    pairs = random_pairs(10_000, 100_000)
    solution = benchmark.pedantic(lambda: max_margin(pairs), rounds=1)
    benchmark.extra_info["relative_gap"] = solution.relative_gap
    assert solution.relative_gap < 1e-12


@pytest.mark.parametrize("domain", [ct.Box(), ct.Confined(0.1)], ids=str)
def test_prompts(benchmark: BenchmarkFixture, domain: ct.Box) -> None:
    pairs = Comparisons.union([Comparisons.full(8)] * 10_000)
    solution = benchmark.pedantic(
        lambda: ct.solve("logsigmoid(x)", comparisons=pairs, domain=domain), rounds=1
    )
    assert solution.relative_gap < 1e-11
