"""The mean field's equations, as the script of docs/theory.md solves them."""

from __future__ import annotations

import importlib.util
import sys
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collapse_theory as ct
from collapse_theory.capacity.prox import Ranked
from collapse_theory.utilities import continued

SCRIPT = Path(__file__).parents[1] / "docs" / "mean_field.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("mean_field", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_completions_to_ten_digits(script):
    found = script.mean_field(ct.LogSigmoid(), np.array([1.0, -1.0]), 1.2460174584, 0.01, 0.5)
    assert found.delta == pytest.approx(0.25, abs=1e-10)
    assert found.rho == pytest.approx(1.3531655226, abs=1e-10)
    assert found.a == pytest.approx(1.1932279565, abs=1e-10)
    worth = Ranked(continued(ct.LogSigmoid()), 2).value(found.r)
    assert found.weights @ worth == pytest.approx(-0.3485704067, abs=1e-10)
    gap = found.a / sqrt(2 * (found.a**2 + found.rho))  # in its own standard deviations: 2 a s
    assert (1 + erf(gap / sqrt(2))) / 2 == pytest.approx(0.6936834337, abs=1e-10)


def test_a_parabola_of_four(script):
    """Squared distances to collapse, trained and held out: a quarter is left of each."""
    u = ct.utility("-(x - 1)**2/2")
    found = script.mean_field(u, np.zeros(4), 1.5, 0.0, 0.0)
    optimum = np.array([0.75, 0.25, -0.25, -0.75])
    assert found.delta == pytest.approx(1.5, rel=1e-9)
    assert found.rho == pytest.approx(0.4166666667, rel=1e-9)
    centred = [r - r.mean(axis=1, keepdims=True) for r in (found.r, found.xi)]
    trained, held_out = (((r - optimum) ** 2).sum(axis=1).mean() for r in centred)
    assert (trained, held_out) == pytest.approx((0.625, 2.5), rel=1e-9)
