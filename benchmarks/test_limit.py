"""How long limit laws take, and how far from optimal they are certified to be.

    OMP_NUM_THREADS=1 pytest benchmarks/test_limit.py

The rules of quadrature are kept between calls: the first law of a run takes some milliseconds more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import collapse_theory as ct

ORDINARY = (
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "logsigmoid(4*x)",
    "log(x + 0.01)",
    "-1/(x + 0.01)",
    "logsigmoid(10*x)",
)
SINGULAR = ("log(x) + x", "log(x) + log(x + 0.1)", "sqrt(x) + x", "-x**-0.5 + atan(5*x)")
STEEP = (
    "log(x + 0.001)",
    "log(x + 1e-06)",
    "logsigmoid(100*x)",
    "-1/(x + 0.001)",
    "1 - exp(-300*x)",
    "log(x + 1e-06) + logsigmoid(2*x)",
    "1 - exp(-300*x) + log(x + 0.1)",
)
SEVERAL = ("sqrt(x) + x**0.3", "-x**-0.5 + log(x)")

# Utility, method, milliseconds and relative gap to reach (one core).
CASES = [
    *[(text, "regular", 5.0, 1e-12) for text in ORDINARY],
    *[(text, "singular", 10.0, 1e-10) for text in SINGULAR],
    *[(text, "regular", 100.0, 1e-10) for text in STEEP],
    *[(text, "singular", 100.0, 1e-8) for text in SEVERAL],
    *[(text, "panels", None, 1e-8) for text in SEVERAL],
    *[(text, "grid", None, 2e-2) for text in ("log(x + 0.1)", "min(x, 0.5)")],
    *[
        (text, "panels", None, 1e-8)
        for text in ("log(x + 0.1) + min(x, 0.3)", "sqrt(x) + min(x, 0.4)")
    ],
]


@pytest.mark.parametrize(("text", "method", "target", "gap"), CASES)
def test_limit(
    benchmark: BenchmarkFixture,
    text: str,
    method: str,
    target: float | None,
    gap: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Time a method; certificates are held to, times are printed beside the target."""
    utility = ct.utility(text)
    law = benchmark(lambda: ct.limit(utility, method=method))
    took = best_of(lambda: ct.limit(utility, method=method), 5)
    benchmark.extra_info["relative_gap"] = law.relative_gap
    aim = "" if target is None else f" (target {target:3.0f} ms)"
    late = "  OVER" if target is not None and took > target else ""
    with capsys.disabled():
        print(
            f"\n{text:34s} {method:9s} {took:7.2f} ms{aim:16s} "
            f"relative gap {law.relative_gap:.0e} (target {gap:.0e}){late}",
            end="",
        )
    assert law.relative_gap is not None
    assert law.relative_gap <= gap


@pytest.mark.parametrize("family", ["logsigmoid", "log", "reciprocal"])
def test_atom_parameter(
    benchmark: BenchmarkFixture, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time the atom calculator: about ten laws."""
    parameter = benchmark(lambda: ct.atom_parameter(family, 0.1))
    with capsys.disabled():
        took = best_of(lambda: ct.atom_parameter(family, 0.1), 3)
        print(f"\n{family:34s} mass 0.1 at {parameter:.6g}: {took:.1f} ms", end="")


@pytest.mark.parametrize("text", ["log(x)", "sqrt(x)", "log(x + 0.1)"])
def test_rewards_of_many_completions(
    benchmark: BenchmarkFixture, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time the prediction of 1000 rewards from a law that is known, beside solving for them."""
    law = ct.limit(text)
    benchmark(lambda: law.rewards(1000))
    with capsys.disabled():
        took = best_of(lambda: law.rewards(1000), 5)
        solved = best_of(lambda: ct.solve(text, 1000), 2)
        print(f"\n{text:34s} 1000 rewards {took:.1f} ms; solved for {solved:.0f} ms", end="")


def best_of(work: Callable[[], object], times: int) -> float:
    """Return the shortest time of several, in milliseconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds)
