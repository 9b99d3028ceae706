"""Honesty of `Solution.rewards_error`: never below the true error, useful where U is curved.

The truth comes from mpmath, from closed forms, and from a second answer: two answers differ by at
most the sum of their errors.
"""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import FORMULAS, cases, high_precision

import collapse_theory as ct
from collapse_theory.programs import (
    Answer,
    Program,
    as_rewards,
    certify,
    reward_error,
    solution,
)
from collapse_theory.programs.program import centred

PAIRS = ct.Comparisons(5, [0, 0, 1, 2, 2, 0], [1, 2, 3, 3, 4, 4], weights=[2, 1, 1, 1, 1, 1])
DOMAINS = (ct.Box(), ct.Box(-2, 3), ct.Confined(0.1), ct.Centered(0.3))


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("n", [4, 5, 9])
def test_rewards_to_30_digits_are_within_the_error(text, n):
    found = ct.solve(text, n)
    places = np.array(list(high_precision(text, n))[::-1]).cumsum()[::-1]
    true = max(abs(mp.mpf(float(r)) - p) for r, p in zip(found.rewards, places, strict=False))
    assert true <= found.rewards_error < 1e-13
    assert not found.ill_conditioned


# The second of four rewards under logsigmoid(b*(x - 0.5)): mpmath, 80 digits.
STEEP = {50: 0.671288919787, 100: 0.668977157421, 150: 0.668206993735, 210: 0.667766900287}


@pytest.mark.parametrize("b", STEEP)
def test_an_optimal_objective_may_have_rewards_that_are_off(b):
    found = ct.solve(f"logsigmoid({b}*(x - 0.5))", 4)
    assert found.status == "optimal"
    assert abs(found.rewards[1] - STEEP[b]) <= found.rewards_error + 1e-12
    assert b == 210 or found.rewards_error < {50: 1e-12, 100: 1e-8, 150: 1e-4}[b]
    assert b == 150 or found.ill_conditioned == (b == 210)


@pytest.mark.parametrize(("n", "within"), [(8, 1e-14), (100, 1e-13), (400, 1e-12)])
@pytest.mark.parametrize("text", ["log(x + 0.1)", "sqrt(x)", "1 - exp(-3*x)"])
def test_errors_are_small_where_u_is_curved(text, n, within):
    assert ct.solve(text, n).rewards_error < within


@cases(60)
@given(
    st.sampled_from(["log(x + 0.1)", "logsigmoid(4*x)", "sqrt(x) + x", "-1/(x + 0.2)", "log(x)"]),
    st.sampled_from(DOMAINS),
    st.sampled_from([PAIRS, None, ct.Comparisons.full(6)]),
    st.integers(1, 12),
)
def test_two_answers_differ_by_no_more_than_their_errors(text, domain, pairs, most):
    n = None if pairs else 7
    exact = ct.solve(text, n, domain, pairs)
    early = ct.solve(text, n, domain, pairs, method="newton", max_iterations=most)
    apart = float(np.abs(exact.rewards - early.rewards).max())
    assert exact.rewards_error < 1e-12
    assert apart <= exact.rewards_error + early.rewards_error


@cases(80)
@given(
    st.sampled_from(["log(x + 0.1)", "sqrt(x)", "log(x + 0.1) + min(x, 0.3)", ct.PlackettLuce(30)]),
    st.sampled_from([ct.Box(), ct.Confined(0.1)]),
    st.integers(3, 9),
    st.floats(-12, 0.5),
    st.integers(0, 1000),
    st.sampled_from([(1500, 3000), (2, 3000), (2, 2)]),  # also as of more completions
)
def test_whatever_is_done_to_an_answer_its_error_covers_it(loss, domain, n, exponent, seed, most):
    best = ct.solve(loss, n, domain)
    noise = np.random.default_rng(seed).normal(size=n - 1)
    gaps = best.gaps * np.exp(10**exponent * noise)
    if domain.bounded:
        gaps /= gaps.sum()
        rewards = as_rewards(gaps)
    else:
        rewards = centred(gaps)
    gap = certify(Program.of(best.utility, n, domain), Answer(gaps=gaps)).gap
    moved = replace(best, gaps=gaps, rewards=rewards, gap=gap)
    apart = float(np.abs(rewards - best.rewards).max())
    near = best.rewards_error
    dense, forces = most
    with (
        mock.patch.object(reward_error, "MOST_REWARDS", dense),
        mock.patch.object(solution, "MOST_FORCES", forces),
    ):
        assert apart <= moved.rewards_error + near


@pytest.mark.parametrize(
    ("text", "domain", "within"),
    [
        ("log(x)", ct.Box(), 1e-10),
        ("1 - exp(-3*x)", ct.Box(1, 3), 1e-10),
        ("logsigmoid(4*x)", ct.Box(), 1e-11),
        ("log(x)", ct.Confined(0.1), 1e-9),
        (ct.PlackettLuce(), ct.Confined(0.1), 1e-9),
    ],
)
def test_many_completions_have_a_bound_by_the_least_curvature(text, domain, within):
    found = ct.solve(text, 300, domain)
    with mock.patch.object(reward_error, "MOST_REWARDS", 299):
        assert found.rewards_error < within


@pytest.mark.parametrize("domain", [ct.Box(), ct.Confined(0.1)])
@pytest.mark.parametrize("loss", [ct.PlackettLuce(beta=4), ct.PlackettLuce(top=2), "logsigmoid(x)"])
def test_the_conic_solver_is_within_its_error(loss, domain):
    exact, other = (ct.solve(loss, 6, domain, method=m) for m in ("newton", "conic"))
    assert np.abs(exact.rewards - other.rewards).max() <= exact.rewards_error + other.rewards_error
    assert exact.rewards_error < 1e-12


@pytest.mark.parametrize(
    ("loss", "domain", "pairs", "exact"),
    [
        ("x", ct.Confined(0.5), ct.Comparisons.full(4), [2, 2 / 3, -2 / 3, -2]),
        (ct.Squared(1.0), ct.Free(), ct.Comparisons.full(3), [2 / 3, 0, -2 / 3]),
        (ct.Squared(1.0), ct.Free(), ct.Comparisons.full(2), [0.5, -0.5]),  # where U' = 0
        (
            "x",
            ct.Box(),
            ct.Comparisons(4, [0, 0, 1, 2], [1, 2, 3, 3], weights=[1, 2, 3, 1]),
            [1, 1, 0, 0],
        ),
        ("log(x + 0.1)", ct.Box(), PAIRS, [1, 0.3, 0.7, 0, 0]),
        ("log(x) + min(x, 0.3)", ct.Box(), ct.Comparisons.full(3), [1, 0.5, 0]),
    ],
)
def test_exact_rewards_are_within_the_error(loss, domain, pairs, exact):
    found = ct.solve(loss, domain=domain, comparisons=pairs)
    assert np.abs(found.rewards - exact).max() <= found.rewards_error < 1e-13


def test_the_direction_of_unbounded_training_has_an_error_too():
    assert np.abs(ct.max_margin(3).rewards - [1, 0, -1]).max() <= ct.max_margin(3).rewards_error
    assert ct.max_margin(PAIRS).rewards_error < 1e-6


def test_three_rewards_are_known_by_symmetry_however_flat_u_is():
    assert ct.solve("logsigmoid(300*(x - 0.6))", 3).rewards_error < 1e-15


def test_where_nothing_can_be_said_the_error_is_infinite():
    several = ct.solve("min(x, 0.3)", 7)
    assert not several.unique
    assert several.rewards_error == np.inf
    assert several.ill_conditioned


@pytest.mark.parametrize(("text", "n"), [("log(x + 0.1)", 8), ("min(x, 0.3)", 7)])
def test_dicts_tell_the_error(text, n):
    found = ct.solve(text, n)
    data = found.to_dict()
    read = ct.Solution.from_dict(data)
    assert read == found
    assert read.to_dict() == data
    assert read.rewards_error == found.rewards_error


def test_tiny_gaps_on_a_graph_are_kept_apart():
    chain = ct.Comparisons(3, [0, 1, 0], [1, 2, 2], weights=[1e4, 1e-3, 1])
    found = ct.solve("sqrt(x)", comparisons=chain)
    assert 0 < found.gaps[1] < 1e-13
    assert found.rewards_error < 1e-15


def test_weights_sixteen_orders_apart():
    """The best against six others: a gap of 1 each, whatever the weights."""
    best = ct.Comparisons(7, [0] * 6, range(1, 7), weights=[8e-5, 0.08, 1e-4, 2e-15, 1e-16, 2e-4])
    for text in ("sqrt(x + 1e-6)", "1e-8*log(x + 0.01)"):
        assert ct.solve(text, comparisons=best).rewards_error < 1e-12


@pytest.mark.parametrize(
    ("text", "domain", "pairs", "right", "off"),
    [  # just off a kink, and just off the end of the box
        ("min(x, 0.5)", ct.Confined(2.8e-6), ct.Comparisons.full(2), [0.25, -0.25], 4e-13),
        ("-1/x", ct.Box(), ct.Comparisons.best(3), [1.0, 0.0, 0.0], 1e-12),
    ],
)
def test_an_error_is_no_less_than_what_was_moved(text, domain, pairs, right, off):
    program = Program.of(ct.utility(text), None, domain, pairs)
    moved = np.array(right)
    moved[1] += off
    moved[0] -= off if pairs.n == 2 else 0.0
    gaps = -np.diff(np.sort(moved)[::-1])
    assert reward_error.rewards_error(program, moved, gaps) >= off * (1 - 1e-3)


def test_a_million_completions_have_a_bound():
    assert ct.solve("log(x + 0.1)", 10**6).rewards_error < 2e-3
