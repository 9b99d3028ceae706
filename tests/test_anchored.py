"""Rewards pulled to centers: exact answers, a second method, the certificate, the refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

import collapse_theory as ct
from collapse_theory.capacity.prox import Ranked, proximal
from collapse_theory.programs import Answer, Program, certify
from collapse_theory.testing.strategies import utilities
from collapse_theory.utilities import continued

XI = np.array([0.3, -0.2, 0.5, -0.6])
CASES = (
    ("logsigmoid(x)", 0.1, (0.319971495301, -0.1886418068263, 0.4841126701793, -0.6154423586539)),
    ("logsigmoid(x)", 10, (1.2231288628162, 0.2732280304062, -0.1320893455503, -1.3642675476715)),
    ("1 - exp(-x)", 1, (0.5583466765232, -0.0067776038382, 0.2295840632263, -0.7811531359114)),
)


@pytest.mark.parametrize(("text", "memory", "rewards"), CASES)
def test_rewards_to_twelve_digits(text, memory, rewards):
    found = ct.solve(text, domain=ct.Anchored(XI, memory))
    assert found.rewards == pytest.approx(rewards, abs=1e-12)
    assert found.gaps == pytest.approx(-np.diff(found.rewards), abs=0)
    assert (found.gaps.min() < 0) == (memory < 10)
    assert found.status == "optimal"
    assert found.rewards_error < 1e-13


@pytest.mark.parametrize("memory", [1e-6, 0.3, 1e6])
def test_closed_forms(memory):
    """Linear: r = xi + gamma c, c the gradient; log x of two: (D + sqrt(D**2 + 8 gamma))/2."""
    c = np.array([3, 1, -1, -3]) / 6
    linear = ct.solve("x", domain=ct.Anchored(XI, memory))
    assert linear.rewards == pytest.approx(XI + memory * c, rel=1e-13)
    for distance in (2.0, -1.0, 0.0):
        gap = ct.solve("log(x)", domain=ct.Anchored([distance, 0], memory)).gaps[0]
        # With D < 0 the formula cancels.
        root = np.sqrt(distance**2 + 8 * memory)
        exact = (distance + root) / 2 if distance >= 0 else 4 * memory / (root - distance)
        assert gap == pytest.approx(exact, rel=1e-9 if memory < 1e-3 else 1e-14)


@pytest.mark.parametrize("text", ["logsigmoid(x)", "log(x + 0.1)", "x", "log(x)"])
def test_centers_of_zero_are_the_penalty_on_squares(text):
    n, memory = 5, 2.0
    held = ct.solve(text, n, ct.Confined(n / (2 * memory)))
    anchored = ct.solve(text, domain=ct.Anchored(np.zeros(n), memory))
    assert anchored.rewards == pytest.approx(held.rewards, abs=1e-13)
    assert anchored.objective == pytest.approx(held.objective, abs=1e-14)


# Smooth on all gaps: their weights differ by up to a million, and so do the slopes below 0.
SMOOTH = utilities(finite_slope=True, kinked=False, texts=False).filter(
    lambda u: not u.kinks and u.concave_range[1] == np.inf
)


@st.composite
def programs(draw):
    """A smooth utility with a finite slope at 0, centers of any order, a memory."""
    u = draw(SMOOTH)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, spread = draw(st.integers(2, 7)), draw(st.sampled_from([0.01, 1.0, 5.0]))
    return u, rng.normal(0, spread, n), draw(st.sampled_from([1e-3, 0.1, 1.0, 30.0]))


@cases(60)
@given(programs())
def test_two_methods_agree_within_their_bounds(case):
    u, xi, memory = case
    found = ct.solve(u, domain=ct.Anchored(xi, memory))
    other = proximal(Ranked(continued(u), len(xi)), xi[None], memory)[0]
    program = Program.of(u, None, ct.Anchored(xi, memory))
    bound = certify(program, Answer(rewards=other))
    off = np.sqrt(2 * memory * bound.relative_gap * bound.shortfall)
    assert np.abs(found.rewards - other).max() <= found.rewards_error + off + 1e-15
    assert found.status == "optimal"


@cases(40)
@given(programs(), st.integers(0, 10**6))
def test_the_bounds_are_above_the_true_errors(case, seed):
    u, xi, memory = case
    best = ct.solve(u, domain=ct.Anchored(xi, memory))
    program, rng = Program.of(u, None, ct.Anchored(xi, memory)), np.random.default_rng(seed)
    r = best.rewards + 10.0 ** rng.uniform(-9, 0) * rng.normal(size=len(xi))
    found = certify(program, Answer(rewards=r))
    # What rounding leaves in the best answer's own objective is in its own gap.
    assert best.objective - found.objective <= found.gap + best.gap
    distance = np.linalg.norm(r - best.rewards) - best.rewards_error
    assert distance <= np.sqrt(2 * memory * found.relative_gap * found.shortfall) * (1 + 1e-12)


@pytest.mark.parametrize("memory", [0.01, 0.3, 100.0])
@pytest.mark.parametrize("text", ["min(x, 0.5)", "min(x, 0.5) + 0.1*x", "min(x, 0.2) + log(x + 1)"])
def test_kinks_are_exact(text, memory):
    found = ct.solve(text, domain=ct.Anchored(XI, memory))
    assert found.relative_gap < 1e-14
    rng = np.random.default_rng(0)
    program = Program.of(ct.utility(text), None, ct.Anchored(XI, memory))
    for scale in (1e-6, 1e-3, 0.1):
        near = found.rewards + scale * rng.normal(size=(50, 4))
        worst = max(certify(program, Answer(rewards=r)).objective for r in near)
        assert worst <= found.objective + found.gap


@pytest.mark.parametrize("text", ["log1p(100*x)", "sqrt(x + 1e-6)", "log(x + 1e-9)", "x/(x+0.1)"])
def test_gaps_at_the_jump_of_the_curvature(text):
    """Below gap 0 U is its tangent: many optimal gaps are 0, where U'' jumps by up to 1e18."""
    for n, seed in ((5, 1), (8, 2), (16, 3)):
        rng = np.random.default_rng(seed)
        centers, memory = rng.normal(size=n), 10 ** rng.uniform(-2, 2)
        found = ct.solve(text, domain=ct.Anchored(centers, memory))
        assert found.relative_gap < 1e-15
        assert found.iterations < 100


def test_comparisons_ties_margins_and_the_uncompared():
    pairs = ct.Comparisons(5, [0, 0, 1], [1, 2, 3], [1, 2, 1], margins=[0.1, 0.0, 0.3])
    xi, memory = np.array([-0.3, 0.2, 0.1, 0.4, 0.7]), 0.8
    found = ct.solve("logsigmoid(x)", domain=ct.Anchored(xi, memory), comparisons=pairs)
    assert found.rewards[4] == 0.7  # in no pair: it stays at its center
    slopes = [0.25, 0.5, 0.25] / (1 + np.exp(_gaps(found, pairs) - [0.1, 0, 0.3]))
    moved = np.zeros(5)
    np.add.at(moved, pairs.better, slopes)
    np.add.at(moved, pairs.worse, -slopes)
    assert found.rewards == pytest.approx(xi + memory * moved, abs=1e-14)
    tied = ct.Comparisons(3, [0], [1], equal=[(1, 2)])
    both = ct.solve("x", domain=ct.Anchored([0.0, 1.0, 3.0], 0.5), comparisons=tied)
    assert both.rewards == pytest.approx([0.5, 1.75, 1.75], abs=1e-14)
    assert both.objective == pytest.approx(-1.25 - (0.25 + 0.5625 + 1.5625), abs=1e-13)


def _gaps(found, pairs):
    return found.rewards[pairs.better] - found.rewards[pairs.worse]


def test_scales():
    """U -> cU + d with the memory over c; a common shift of the centers shifts the rewards."""
    plain = ct.solve("logsigmoid(x)", domain=ct.Anchored(XI, 2.0))
    scaled = ct.solve("5*logsigmoid(x) + 3", domain=ct.Anchored(XI, 0.4))
    moved = ct.solve("logsigmoid(x)", domain=ct.Anchored(XI + 7, 2.0))
    assert scaled.rewards == pytest.approx(plain.rewards, abs=1e-14)
    assert moved.rewards == pytest.approx(plain.rewards + 7, abs=1e-13)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: ct.limit("x", d), "one prompt"),
        (lambda d: ct.closed_form("x", domain=d), "one prompt"),
        (lambda d: ct.closed_form("x", 4, d), "one prompt"),
        (lambda d: ct.solve(ct.PlackettLuce(), 4, d), "one prompt"),
        (lambda d: ct.solve("x", 5, d), "4 centers for 5"),
        (lambda d: ct.solve("x", 4, d, method="conic"), "newton"),
        (lambda d: ct.Anchored([0.0, np.nan], 1), "finite"),
        (lambda d: ct.Anchored([0.0], 1), "2 centers"),
        (lambda d: ct.Anchored([0.0, 1.0], 0), "positive"),
    ],
)
def test_what_is_refused_says_why(call, words):
    with pytest.raises(ct.CollapseError, match=words):
        call(ct.Anchored(XI, 1.0))


def test_margins_need_values_below_zero():
    pairs = ct.Comparisons(4, [0], [1], margins=[0.3])
    with pytest.raises(ct.InvalidUtility, match="margins"):
        ct.solve("log(x + 0.1)", domain=ct.Anchored(XI, 1.0), comparisons=pairs)


def test_the_domain_is_a_value():
    domain = ct.Anchored(XI, 2.0)
    assert ct.Anchored.from_dict(domain.to_dict()) == domain
    assert domain != ct.Anchored(XI, 3.0)
