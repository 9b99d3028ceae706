"""Utilities at negative gaps: by their own formula where it is concave, else along a tangent."""

from __future__ import annotations

import numpy as np
import pytest

import collapse_theory as ct
from collapse_theory.utilities import continued

X = np.linspace(-3.0, 2.0, 501)


@pytest.mark.parametrize(
    "text", ["logsigmoid(2*x)", "1 - exp(-x)", "x", "x - 0.3*x**2", "min(x, 0.5)", "-exp(-2*x) + x"]
)
def test_a_utility_that_is_concave_everywhere_keeps_its_formula(text):
    u = ct.utility(text)
    kept = continued(u)
    assert kept.start is None
    np.testing.assert_array_equal(kept(X), u.value(X))


@pytest.mark.parametrize(
    "text", ["log(x + 0.1)", "-1/(x + 0.1)", "(x + 0.5)**0.5", "tanh(2*x)", "x + log(x + 0.1)"]
)
def test_others_go_on_along_their_tangent(text):
    u = ct.utility(text)
    found, below = continued(u), X[X < 0]
    np.testing.assert_allclose(found(below), u(0.0) + u.slope_at_zero * below, rtol=1e-14)
    np.testing.assert_array_equal(found(X[X >= 0]), u(X[X >= 0]))
    slopes, bend = found.derivatives(X)
    assert np.all(np.diff(slopes) <= 0)
    assert np.all(bend <= 0)
    assert np.all(bend[X < 0] == 0)


def test_a_difference_of_concave_terms_is_no_formula_below_zero():
    u = ct.utility("2*logsigmoid(x) - 0.1*logsigmoid(2*x)")
    assert not u.everywhere
    assert continued(u).start == 0.0


def test_an_infinite_slope_is_refused():
    with pytest.raises(ct.InvalidUtility, match=r"u\.shifted"):
        continued(ct.Log())
