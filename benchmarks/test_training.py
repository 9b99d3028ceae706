"""How long a loss and its gradient take, and how much longer a loop over the pairs takes.

OMP_NUM_THREADS=1 pytest benchmarks/test_training.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from collapse_theory.training import PromptAwareRankingLoss, RankingLoss

SHAPES = ((32, 8), (32, 64))


def pairs_one_by_one(logits: Tensor) -> Tensor:
    """Return the loss of log(x + 0.1), best first, as a double loop over pairs writes it."""
    rewards = torch.sigmoid(logits)
    total, count = torch.zeros(()), 0
    for row in rewards:
        for i in range(len(row)):
            for j in range(i + 1, len(row)):
                gap = row[i] - row[j]
                inside = gap.clamp(min=0)
                total = total - torch.log(inside + 0.1) - 10 * (gap - inside)
                count += 1
    return total / count / 10


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss(logits), logits)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_pairs_in_one_go(
    benchmark: BenchmarkFixture, shape: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    loss = RankingLoss("log(x + 0.1)")
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ranks = torch.arange(shape[1]).flip(0).expand(shape)
    found = benchmark(lambda: gradient(lambda z: loss(z, ranks), logits))
    assert found.isfinite().all()
    fast = best_of(lambda: gradient(loss, logits), 20)
    slow = best_of(lambda: gradient(pairs_one_by_one, logits), 1)
    assert torch.allclose(
        gradient(loss, logits), gradient(pairs_one_by_one, logits), rtol=1e-3, atol=1e-7
    )
    with capsys.disabled():
        print(f"\n{shape}: {1e3 * fast:.2f} ms; pair by pair {slow / fast:.0f} times longer")
    assert slow > 10 * fast


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kinds(benchmark: BenchmarkFixture, shape: tuple[int, int]) -> None:
    loss = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"})
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    kinds = ["open", "closed"] * (shape[0] // 2)
    benchmark(lambda: gradient(lambda z: loss(z, kinds), logits))


def best_of(work: Callable[[], object], times: int) -> float:
    """Return the shortest time of several, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
