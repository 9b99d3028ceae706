"""The losses on a CUDA device: skipped where there is none. `benchmarks/cuda_check.py` has more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra collapse-theory[training]")

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import cuda_check  # noqa: E402

HERE = torch.cuda.is_available()
PARTS = ["against_cpu", "by_sorting", "autocast", "compiled", "fine_tuned"]


@pytest.mark.filterwarnings("default")  # torch.compile warns of torch's own
@pytest.mark.skipif(not HERE, reason="there is no CUDA device")
@pytest.mark.parametrize("part", PARTS)
def test_on_cuda(part):
    assert list(getattr(cuda_check, part)("cuda"))


def test_the_check_itself_on_the_cpu():
    assert len(list(cuda_check.against_cpu("cpu"))) == 43
    assert list(cuda_check.autocast("cpu"))
    assert list(cuda_check.by_sorting("cpu"))
