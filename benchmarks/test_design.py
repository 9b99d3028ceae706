"""How long the inverse problem takes: promised in 1 s inside the class.

OMP_NUM_THREADS=1 pytest benchmarks/test_design.py
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import collapse_theory as ct
from collapse_theory.design import target_of
from collapse_theory.design.proof import find_proof

INSIDE = (
    "arcsine",
    "atoms 0.1 + beta(0.5)",
    "0.5*uniform + 0.5*beta(0.5)",
    "levels 0.4 0.2 0.4",
    "levels 0.3 0.2 0.2 0.3",
    "levels 0.3 0.15 0.1 0.15 0.3",
)
OUTSIDE = ("beta(2)", "beta(4, 2)", "levels 0.25 0.5 0.25", "atoms 0.1 + beta(2)")


@pytest.mark.parametrize("text", INSIDE)
def test_inside(benchmark: BenchmarkFixture, text: str) -> None:
    found = benchmark.pedantic(lambda: ct.design(text), rounds=3)
    benchmark.extra_info["distance"] = found.distance
    assert found.reachable is True


@pytest.mark.parametrize("text", OUTSIDE)
def test_outside(benchmark: BenchmarkFixture, text: str) -> None:
    found = benchmark.pedantic(lambda: ct.design(text), rounds=3)
    benchmark.extra_info["margin"] = found.proof.margin
    assert found.reachable is False


@pytest.mark.parametrize("text", OUTSIDE)
def test_proof(benchmark: BenchmarkFixture, text: str) -> None:
    law = target_of(text).law
    assert benchmark.pedantic(lambda: find_proof(law), rounds=3) is not None


@pytest.mark.parametrize("n", [8, 64])
def test_weights(benchmark: BenchmarkFixture, n: int) -> None:
    found = benchmark.pedantic(lambda: ct.design("beta(4, 2)", n=n, by="weights"), rounds=3)
    assert found.distance < 1e-9


def test_recommend(benchmark: BenchmarkFixture) -> None:
    rng = np.random.default_rng(0)
    scores = {k: rng.beta(0.1, 0.4, 52) for k in range(400)}
    kinds = {k: "open" if k % 5 else "closed" for k in scores}
    benchmark.pedantic(lambda: ct.recommend(scores, kinds=kinds), rounds=3)
