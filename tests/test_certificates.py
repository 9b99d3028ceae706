"""Honesty: a reported gap is never below the true suboptimality, whatever the answer.

The truth comes from a solver in mpmath (40 digits) and, for piecewise linear utilities, from linear
programs whose vertices are evaluated in exact fractions.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import (
    DIGITS,
    FORMULAS,
    PIECEWISE,
    cases,
    certified,
    high_precision,
    mean_utility,
    pair_program,
)

import collapse_theory as ct
from collapse_theory.programs import Certificate
from collapse_theory.testing import precise, utilities

SIZES = (4, 5, 7, 8, 9)
CHECKED = [(text, n) for text in FORMULAS for n in SIZES]
NAMES = [f"{text}, n={n}" for text, n in CHECKED]


def true_loss(text: str, gaps: np.ndarray) -> mp.mpf:
    """Return how far the mean utility of these gaps, as they are, is below the optimum."""
    n = len(gaps) + 1
    best = mean_utility(FORMULAS[text], high_precision(text, n))
    with mp.workdps(DIGITS):
        return best - mean_utility(FORMULAS[text], [float(g) for g in gaps])


@pytest.mark.parametrize(("text", "n"), CHECKED, ids=NAMES)
def test_the_optimum_to_30_digits(text, n):
    found = ct.solve(text, n)
    exact = np.array([float(g) for g in high_precision(text, n)])
    places = exact[::-1].cumsum()[::-1]
    assert np.abs(found.rewards[:-1] - places).max() < 1e-13
    # The gaps are right in relative terms, but for those of a near-tie.
    wide = exact > 1e-3
    assert np.abs(found.gaps[wide] / exact[wide] - 1).max() < 1e-10
    best = mean_utility(FORMULAS[text], high_precision(text, n))
    assert abs(found.objective - best) <= 2e-15 * (1 + abs(best))
    assert found.relative_gap < 1e-12
    assert found.status == "optimal"


@pytest.mark.parametrize(("text", "n"), CHECKED, ids=NAMES)
def test_gaps_bound_the_true_loss_however_early_a_method_stops(text, n):
    for most in (1, 2, 3, 4, 5, None):
        found = ct.solve(text, n, method="newton", max_iterations=most)
        assert found.gap >= true_loss(text, found.gaps)
        assert found.gap >= 0
        if most == 1:
            # One step is no optimum, and nobody may think so.
            assert found.status == "max_iterations" or found.relative_gap <= 1e-9


@pytest.mark.parametrize("text", ["log(x)", "log(x + 0.1)", "x**0.5", "logsigmoid(4*x)", "-1/x"])
@pytest.mark.parametrize("n", [5, 8])
def test_gaps_bound_the_true_loss_of_the_conic_solver(text, n):
    found = ct.solve(text, n, method="conic")
    loss = true_loss(text, found.gaps)
    assert found.gap >= loss
    assert found.relative_gap < 1e-5


@cases(150)
@given(
    st.sampled_from(sorted(FORMULAS)),
    st.sampled_from(SIZES),
    st.integers(0, 2**32 - 1),
    st.floats(-9, 1),
)
def test_gaps_bound_the_true_loss_of_perturbed_rewards(text, n, seed, size):
    rng = np.random.default_rng(seed)
    best = np.array([float(g) for g in high_precision(text, n)])
    gaps = best * np.exp(10.0**size * rng.standard_normal(n - 1))
    gaps = gaps / gaps.sum() * rng.choice([1.0, 0.9])
    found = certified(ct.utility(text), gaps)
    assert found.gap >= true_loss(text, gaps)
    assert found.relative_gap >= 0


@pytest.mark.parametrize("text", ["log(x)", "logsigmoid(4*x)", "tanh(50*x)", "x", "min(x, 0.5)"])
@pytest.mark.parametrize("gap", [0.25, 0.4, 0.999])
def test_two_completions_that_do_not_fill_the_box(text, gap):
    utility = ct.utility(text)
    found = certified(utility, np.array([gap]))
    assert found.gap >= float(utility(1.0) - utility(gap))


@pytest.mark.parametrize("text", FORMULAS)
def test_the_gap_is_of_the_size_of_the_loss(text):
    """A bound of infinity would be honest too: near the optimum this one is within reason."""
    n = 8
    best = np.array([float(g) for g in high_precision(text, n)])
    gaps = best * (1 + 0.01 * np.cos(3.0 * np.arange(n - 1)))
    gaps /= gaps.sum()
    found = certified(ct.utility(text), gaps)
    loss = float(true_loss(text, gaps))
    # The bound is first order in the distance to the optimum and the loss second order.
    assert loss < found.gap < 3000 * loss


def test_certificates_of_hand_computed_examples():
    # x - x**2/2 at equal gaps of 1/2: forces 1/2 each, so the answer is optimal.
    found = certified(ct.Quadratic(0.5), np.array([0.5, 0.5]))
    assert found.objective == pytest.approx((3 / 8 + 3 / 8 + 1 / 2) / 3, abs=1e-16)
    assert found.gap < 1e-14
    # At (1, 1, 0): the second gap has force (0 + 0)/3, the first (1 + 0)/3: gap 1/3.
    found = certified(ct.Quadratic(0.5), np.array([0.0, 1.0]))
    assert found.gap == pytest.approx(1 / 3, abs=1e-14)
    assert found.objective == pytest.approx(1 / 3, abs=1e-16)
    assert found.relative_gap == pytest.approx((1 / 3) / (1 / 2 - 1 / 3), abs=1e-13)
    # Half the box left empty: U(1) - U(1/2) for x.
    assert certified(ct.Linear(), np.array([0.5])).gap == pytest.approx(0.5, abs=1e-14)


def test_infinite_forces_certify_nothing():
    found = certified(ct.Log(), np.array([0.0, 1.0]))
    assert found.gap == np.inf
    assert found.objective == -np.inf
    found = certified(ct.Power(0.5), np.array([0.0, 1.0]))
    assert found.gap == np.inf
    assert np.isfinite(found.objective)
    assert found.relative_gap == np.inf


@cases(60)
@given(utilities(kinked=False), st.integers(3, 30), st.integers(0, 2**32 - 1), st.floats(-6, 6))
def test_relative_gaps_ignore_positive_factors_and_constants(utility, n, seed, size):
    gaps = np.random.default_rng(seed).dirichlet(np.ones(n - 1))
    plain = certified(utility, gaps)
    changed = certified(10.0**size * utility + 3.0, gaps)
    assert changed.relative_gap == pytest.approx(plain.relative_gap, rel=1e-9)


# -- piecewise linear utilities, exactly -------------------------------------------------


def exact_mean(text: str, gaps: list[Fraction]) -> Fraction:
    n, total = len(gaps) + 1, Fraction(0)
    for i in range(n):
        for j in range(i + 1, n):
            x = sum(gaps[i:j])
            total += sum(Fraction(w) * min(x, Fraction(m)) for w, m in PIECEWISE[text])
    return total / Fraction(n * (n - 1) // 2)


def better_answer(text: str, n: int) -> list[Fraction]:
    """Return a feasible answer with exact gaps, near a vertex that the LP calls optimal."""
    found = pair_program(PIECEWISE[text], n).best()
    gaps = [Fraction(float(g)).limit_denominator(10**9) for g in found.x[: n - 1]]
    return [g / sum(gaps) for g in gaps]


@pytest.mark.parametrize("text", PIECEWISE)
@pytest.mark.parametrize("n", [4, 5, 6, 7, 9])
def test_gaps_bound_the_true_loss_at_kinks(text, n):
    best = exact_mean(text, better_answer(text, n))
    optimum = -pair_program(PIECEWISE[text], n).best().fun
    assert float(best) == pytest.approx(optimum, abs=1e-9)
    utility = ct.utility(text)
    answers = [ct.solve(utility, n).gaps, ct.solve(utility, n, method="conic").gaps]
    rng = np.random.default_rng(n)
    answers += list(rng.dirichlet(np.ones(n - 1), size=5))
    answers += list(rng.multinomial(20, np.ones(n - 1) / (n - 1), size=5) / 20.0)
    for gaps in answers:
        loss = best - exact_mean(text, [Fraction(float(g)) for g in gaps])
        # The gaps' own sum may miss 1 by rounding, on either side.
        assert Fraction(certified(utility, gaps).gap) >= loss


@pytest.mark.parametrize("text", PIECEWISE)
@pytest.mark.parametrize("n", [4, 6, 7, 9, 12])
def test_optimal_vertices_have_gaps_of_rounding(text, n):
    found = ct.solve(text, n)
    assert found.status == "optimal"
    assert found.relative_gap < 1e-9
    optimum = -pair_program(PIECEWISE[text], n).best().fun
    assert found.objective == pytest.approx(optimum, abs=1e-9)


def test_a_certificate_reads_well():
    found = certified(ct.Log(), np.array([0.5, 0.5]))
    assert isinstance(found, Certificate)
    assert "gap=" in repr(found)


# -- the floats that are printed ---------------------------------------------------------

SMOOTHED = "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)"
EVERYWHERE = {
    text: partial(precise.value, formula) for text, formula in FORMULAS.items() if "sin" not in text
}
HELD = EVERYWHERE | {SMOOTHED: lambda x: -0.9 * mp.log1p(mp.exp(-x)) - 0.1 * mp.log1p(mp.exp(x))}
ORDER = np.linspace(0.5, -0.5, 9)
DOMAINS = (ct.Box(), ct.Box(-0.7, 0.4), ct.Confined(0.1), ct.Centered(0.07), ct.Free())


def true_objective(text, pairs, domain, rewards):
    """Return the program's objective at rewards in mpmath, as its definition says."""
    w = [mp.mpf(float(x)) for x in pairs.weights]
    value = mp.mpf(0)
    for weight, i, j in zip(w, pairs.better, pairs.worse, strict=True):
        value += weight * HELD[text](rewards[i] - rewards[j])
        if isinstance(domain, ct.Centered):
            value -= weight * mp.mpf(domain.c) * (rewards[i] + rewards[j]) ** 2
    value /= mp.fsum(w)
    if isinstance(domain, ct.Confined):
        value -= mp.mpf(domain.kappa) * mp.fsum(r**2 for r in rewards) / len(rewards)
    return value


def from_gaps(gaps):
    """Return rewards of mean 0 with exactly these gaps."""
    rewards = [-mp.fsum(map(float, gaps[:k])) for k in range(len(gaps) + 1)]
    return [r - mp.fsum(rewards) / len(rewards) for r in rewards]


@cases(150)
@given(
    st.sampled_from(sorted(HELD)),
    st.integers(3, 9),
    st.sampled_from(DOMAINS),
    st.integers(0, 2**32 - 1),
    st.floats(-17, -1),
)
def test_no_ranking_is_above_the_printed_objective_and_gap(text, n, domain, seed, noise):
    """Of the two floats: rounding of the objective is in the gap, at the answer and beside it."""
    if text != SMOOTHED:
        domain = ct.Confined(0.3) if isinstance(domain, ct.Free) else domain
    elif isinstance(domain, ct.Box):
        domain = ct.Free()  # it has a maximum, at log 9
    found = ct.solve(text, n, domain)
    assert found.relative_gap < 1e-12
    rng = np.random.default_rng(seed)
    other = found.gaps * np.exp(10.0**noise * rng.standard_normal(n - 1))
    if isinstance(domain, ct.Box):
        other *= domain.width / other.sum() * (1 - 4e-16)
    with mp.workdps(DIGITS):
        for gaps in (found.gaps, other):
            best = true_objective(text, ct.Comparisons.full(n), domain, from_gaps(gaps))
            assert best <= mp.mpf(found.objective) + mp.mpf(found.gap)


@cases(100)
@given(
    st.sampled_from(sorted(HELD)),
    st.integers(3, 8),
    st.sampled_from((ct.Box(), ct.Confined(0.1), ct.Centered(0.07), ct.Free())),
    st.integers(0, 2**32 - 1),
    st.floats(-17, -1),
)
def test_no_rewards_of_a_graph_are_above_the_printed_objective_and_gap(
    text, n, domain, seed, noise
):
    if text != SMOOTHED:
        domain = ct.Confined(0.3) if isinstance(domain, ct.Free | ct.Centered) else domain
    elif isinstance(domain, ct.Box):
        domain = ct.Free()
    rng = np.random.default_rng(seed)
    i, j = np.sort(rng.integers(0, n, (2, 3 * n)), axis=0)
    i, j = np.append(i[i < j], 0), np.append(j[i < j], n - 1)
    pairs = ct.Comparisons(n, i, j, rng.uniform(0.1, 2.0, len(i)))
    found = ct.solve(text, domain=domain, comparisons=pairs)
    # And rewards on the way to some that fall from each completion to the next.
    falling = np.linspace(1, 0, n) if domain == ct.Box() else np.ptp(found.rewards) * ORDER[:n]
    share = 10.0**noise * rng.random()
    for rewards in (found.rewards, (1 - share) * found.rewards + share * falling):
        feasible = np.all(rewards[i] >= rewards[j]) and (domain != ct.Box() or rewards.max() <= 1)
        with mp.workdps(DIGITS):
            value = true_objective(text, pairs, domain, [mp.mpf(float(x)) for x in rewards])
            assert not feasible or value <= mp.mpf(found.objective) + mp.mpf(found.gap)


@cases(100)
@given(
    st.integers(2, 12),
    st.sampled_from((None, 1, 3)),
    st.floats(-2, 2).map(lambda e: 10.0**e),
    st.sampled_from((ct.Box(), ct.Box(-3, 2), ct.Confined(0.1))),
    st.integers(0, 2**32 - 1),
    st.floats(-17, -1),
)
def test_no_listwise_ranking_is_above_the_printed_objective_and_gap(
    n, top, beta, domain, seed, noise
):
    loss = ct.PlackettLuce(top, beta)
    found = ct.solve(loss, n, domain)
    other = found.gaps * np.exp(10.0**noise * np.random.default_rng(seed).standard_normal(n - 1))
    if isinstance(domain, ct.Box):
        other *= domain.width / other.sum() * (1 - 4e-16)
    with mp.workdps(DIGITS):
        for gaps in (found.gaps, other):
            r = from_gaps(gaps)
            scores = [mp.mpf(loss.beta) * x for x in r]
            # log1p keeps the digits of a likelihood that is all but 1: 1 - exp(-500).
            picks = [
                -mp.log1p(mp.fsum(mp.exp(below - s) for below in scores[k + 1 :]))
                for k, s in enumerate(scores)
            ]
            value = mp.fsum(picks[: loss.stages(n)]) / loss.stages(n)
            if isinstance(domain, ct.Confined):
                value -= mp.mpf(domain.kappa) * mp.fsum(x**2 for x in r) / n
            assert value <= mp.mpf(found.objective) + mp.mpf(found.gap)


def test_a_bound_that_leaves_float64_hides_no_better_answer():
    pair = ct.Comparisons(2, [0], [1], margins=[0.3])
    found = ct.solve("logsigmoid(1e300*x)", domain=(0, 0.5), comparisons=pair)
    assert found.status == "optimal"
    assert found.rewards.tolist() == [0.5, 0.0]


def test_nothing_is_missing_where_all_pairs_have_the_most() -> None:
    """U lacks 1e-15 of its rise at every gap: a gap relative to that would say nothing."""
    found = ct.solve("1 - exp(-44.7*x) + 1.317*min(x, 0.6)", 5, (-1, 2))
    assert found.status == "optimal"
    assert found.relative_gap == 0
    assert 0 < found.gap < 1e-13


@pytest.mark.parametrize(("seed", "k"), [(35, 27), (77, 24), (155, 28)])
def test_weights_sixteen_orders_apart_without_a_penalty(seed, k):
    """Newton's steps may leave the slopes that U has where pairs hardly count."""
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(k, 1)
    some = rng.permutation(len(i))[: 3 * k]
    pairs = ct.Comparisons(k, i[some], j[some], weights=10.0 ** rng.uniform(-16, 0, 3 * k))
    found = ct.solve(ct.LabelSmoothing(0.01), None, ct.Free(), pairs, method="newton")
    assert found.relative_gap < 1e-7
    other = ct.solve(ct.LabelSmoothing(0.01), None, ct.Free(), pairs, max_iterations=12)
    assert other.objective <= found.objective + found.gap
