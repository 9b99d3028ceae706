"""How long the optimum of n completions takes, and how much longer CVXPY takes for it.

OMP_NUM_THREADS=1 pytest benchmarks/test_finite.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import collapse_theory as ct

UTILITIES = ("log(x)", "x**0.5", "-1/x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)")


@pytest.mark.parametrize("n", [8, 128, 1000, 2000])
@pytest.mark.parametrize("text", UTILITIES)
def test_newton(benchmark: BenchmarkFixture, text: str, n: int) -> None:
    utility = ct.utility(text)
    solution = benchmark(lambda: ct.solve(utility, n))
    benchmark.extra_info["relative_gap"] = solution.relative_gap
    assert solution.relative_gap < 1e-12


@pytest.mark.parametrize("n", [8, 128, 1000, 2000])
@pytest.mark.parametrize("domain", [ct.Confined(0.02), ct.Confined(1.0), ct.Centered(0.3)], ids=str)
@pytest.mark.parametrize("text", UTILITIES)
def test_under_a_penalty(benchmark: BenchmarkFixture, text: str, domain: ct.Domain, n: int) -> None:
    utility = ct.utility(text)
    solution = benchmark(lambda: ct.solve(utility, n, domain))
    benchmark.extra_info["relative_gap"] = solution.relative_gap
    assert solution.relative_gap < 1e-12


@pytest.mark.parametrize("n", [32, 100])
@pytest.mark.parametrize("text", UTILITIES)
def test_ratio_to_cvxpy(
    benchmark: BenchmarkFixture, text: str, n: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """CVXPY in our scaled, halved form, and written plainly in the rewards as a user would."""
    utility = ct.utility(text)
    ours = benchmark(lambda: ct.solve(utility, n))
    seconds = best_of(lambda: ct.solve(utility, n), 5)
    scaled = best_of(lambda: ct.solve(utility, n, method="conic"), 2)
    plainly, gap = plain_cvxpy(utility, n)
    with capsys.disabled():
        print(
            f"\n{text:16s} n={n:4d}: newton {1e3 * seconds:6.2f} ms (gap {ours.relative_gap:.0e}); "
            f"conic {scaled / seconds:6.0f} times longer; plain CVXPY {plainly / seconds:6.0f} "
            f"times longer (gap {gap:.0e})"
        )
    assert scaled > 5 * seconds


def best_of(work: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def plain_cvxpy(utility: ct.Utility, n: int) -> tuple[float, float]:
    """Return the time and the relative gap of the plain program, inf where Clarabel fails."""
    import warnings

    import cvxpy as cp
    import numpy as np

    from collapse_theory.programs import Answer, Program, certify

    start = time.perf_counter()
    rewards = cp.Variable(n)
    i, j = np.triu_indices(n, 1)
    values = utility.conic(cp, rewards[i] - rewards[j], np.ones(len(i)))
    limits = [rewards[0] <= 1, rewards[-1] >= 0, rewards[:-1] >= rewards[1:]]
    problem = cp.Problem(cp.Maximize(cp.sum(values)), limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(solver="CLARABEL")
    except cp.SolverError:
        return time.perf_counter() - start, float("inf")
    seconds = time.perf_counter() - start
    if rewards.value is None:
        return seconds, float("inf")
    gaps = np.maximum(-np.diff(rewards.value), 0.0)
    answer = Answer(gaps=gaps / gaps.sum())
    return seconds, certify(Program.of(utility, len(gaps) + 1), answer).relative_gap
