"""Many programs at once: how much less a program costs than one by one.

OMP_NUM_THREADS=1 pytest benchmarks/test_many_programs.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import collapse_theory as ct

FAMILIES: dict[str, tuple[Callable[[float], ct.Utility], float, float]] = {
    "logsigmoid(p*x)": (lambda p: ct.LogSigmoid(p), 0.5, 20.0),
    "log(x + p)": (lambda p: ct.Log().shifted(p), 0.02, 1.0),
    "x**p": (lambda p: ct.Power(p), 0.05, 0.9),
    "log(x) + p*x": (lambda p: ct.Log() + p * ct.Linear(), 0.1, 10.0),
}


@pytest.mark.parametrize("n", [8, 32])
@pytest.mark.parametrize("many", [100, 10_000])
@pytest.mark.parametrize("text", FAMILIES)
def test_ratio_to_one_by_one(
    benchmark: BenchmarkFixture, text: str, many: int, n: int, capsys: pytest.CaptureFixture[str]
) -> None:
    make, low, high = FAMILIES[text]
    utilities = [make(p) for p in np.linspace(low, high, many)]
    found = benchmark.pedantic(lambda: ct.solve_many(utilities, n), rounds=3)
    together = benchmark.stats.stats.min / many
    picked = range(0, many, max(many // 100, 1))
    start = time.perf_counter()
    alone = [ct.solve(utilities[i], n) for i in picked]
    one = (time.perf_counter() - start) / len(picked)
    rewards = np.array([solution.rewards for solution in alone])
    apart = np.abs(found.rewards[picked] - rewards).max()
    with capsys.disabled():
        print(
            f"\n{text:16s} n={n:2d}, {many:6,} programs: {1e6 * together:5.1f} us each, one by one "
            f"{one / together:5.1f} times as long; rewards within {apart:.0e}, relative gap up to "
            f"{found.relative_gap.max():.0e}"
        )
    assert not found.alone
    assert found.relative_gap.max() < 1e-12
    assert one > 3 * together


@pytest.mark.parametrize("text", ["log(x + p)", "x**p"])
def test_a_thousand_limit_laws(benchmark: BenchmarkFixture, text: str) -> None:
    make, low, high = FAMILIES[text]
    utilities = [make(p) for p in np.linspace(low, high, 1000)]
    laws = benchmark.pedantic(lambda: ct.limit_many(utilities), rounds=1)
    assert all(law.status == "optimal" for law in laws)


@pytest.mark.parametrize("domain", [ct.Box(), ct.Confined(0.1)], ids=str)
def test_a_sweep(
    benchmark: BenchmarkFixture, domain: ct.Domain, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A grid of a thousand programs, made here, and read again from the folder that kept it."""
    make, low, high = FAMILIES["log(x + p)"]
    grid = [make(p) for p in np.linspace(low, high, 500)], [8, 32], domain
    with ThreadPoolExecutor(1) as here:
        table = benchmark.pedantic(lambda: ct.sweep(*grid, here, keep=tmp_path), rounds=1)
        start = time.perf_counter()
        again = ct.sweep(*grid, here, keep=tmp_path)
        read = time.perf_counter() - start
    with capsys.disabled():
        each = 1e6 * benchmark.stats.stats.min / len(table)
        print(f"\n{domain}: {each:.0f} us a program, {1e6 * read / len(table):.0f} us read again")
    assert again.equals(table)
    assert table["relative_gap"].max() < 1e-12
