"""Inverse design: round trips, proofs checked anew, weights, links, recommendations, commands."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
from functools import cache
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from problems import cases
from typer.testing import CliRunner

import collapse_theory as ct
from collapse_theory.cli import app
from collapse_theory.design import Link, Proof, target_of
from collapse_theory.design.hinges import Area, hinge_gains
from collapse_theory.design.proof import find_proof
from collapse_theory.design.ranked import RankedProof, find_ranked_proof
from collapse_theory.design.weights import adjacent_weights, pair_weights
from collapse_theory.laws import BetaDensity, RewardLaw, beta_law, discrete_law, spread_law
from collapse_theory.values import Value


@cache
def designed(text: str, max_slope: float = np.inf) -> ct.Design:
    return ct.design(text, max_slope=max_slope)


# -- inside the class --------------------------------------------------------------------

# Wanted, and the Wasserstein-1 distance that must be reached.
INSIDE = [
    ("two-valued", 1e-12),
    ("uniform", 1e-12),
    ("arcsine", 1e-12),
    ("beta(0.25)", 1e-12),
    ("beta(0.9)", 1e-12),
    ("atoms 0.3 + uniform", 1e-12),
    ("atoms 0.02 + uniform", 1e-12),
    ("levels 1 1 1", 1e-12),
    ("levels 1 1 1 1 1", 1e-12),
    ("atoms 0.1 + beta(0.5)", 1e-3),
    ("0.5*uniform + 0.5*beta(0.5)", 1e-3),
    ("levels 0.4 0.2 0.4", 0.005),
    ("levels 0.3 0.2 0.2 0.3", 0.005),
    ("levels 0.3 0.15 0.1 0.15 0.3", 0.005),
]


@pytest.mark.parametrize(("text", "within"), INSIDE)
def test_what_a_utility_can_reach_is_reached(text, within):
    found = designed(text)
    assert found.reachable is True
    assert found.distance <= within
    assert found.distance == found.law.distance(target_of(text).law)
    assert found.proof is None
    assert found.link is None
    assert found.law.status is not None
    # By the forward solver, from the text alone.
    again = ct.utility(str(found.utility))
    assert again == found.utility
    if "levels" not in text:
        assert ct.limit(again) == found.law


UTILITIES = [
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "logsigmoid(4*x)",
    "log(x + 0.001)",
    "sin(1.5*x)",
    "x - 0.4*x**2",
    "log(x) + x",
    "x**0.5 + x**0.3",
    "1 - exp(-3*x) + 0.5*(1 - exp(-40*x))",
]


@pytest.mark.parametrize("text", UTILITIES)
def test_the_law_of_a_utility_comes_back(text):
    wanted = ct.limit(text)
    found = ct.design(wanted)
    assert found.reachable is True
    assert found.law.distance(wanted) < 1e-3
    assert found.utility.strictly_concave


MILD = st.one_of(
    st.floats(0.05, 30).map(ct.LogSigmoid),
    st.floats(0.05, 30).map(ct.Exponential),
    st.floats(0.01, 5).map(lambda e: ct.Log().shifted(e)),
    st.floats(0.1, 0.9).map(ct.Power),
    st.floats(0.05, 0.5).map(ct.Quadratic),
    st.floats(0.1, 1.5).map(ct.Sine),
)


@cases(6)
@given(st.lists(st.tuples(st.floats(0.1, 3), MILD), min_size=1, max_size=3))
def test_random_utilities_come_back_and_are_never_refuted(parts):
    first, *rest = (w * u for w, u in parts)
    wanted = ct.limit(sum(rest, start=first))
    found = ct.design(wanted)
    assert found.reachable is True
    assert found.law.distance(wanted) < 1e-3
    assert find_proof(RewardLaw(wanted.atoms, wanted.parts)) is None


@cases(4)
@given(
    st.floats(0.0, 0.3),
    st.lists(st.tuples(st.floats(0.2, 4), st.floats(0.1, 1)), min_size=1, max_size=2),
)
def test_verdicts_on_random_mixtures_are_consistent(mass, betas):
    total = sum(w for _, w in betas)
    parts = tuple(BetaDensity(a, a, 0, 1, (1 - 2 * mass) * w / total) for a, w in betas)
    law = RewardLaw([[0, mass], [1, mass]] if mass else (), parts)
    found = ct.design(law)
    assert abs(found.distance - found.law.distance(law)) < 1e-12
    assert (found.reachable is True) == (found.distance <= 0.005)
    assert (found.reachable is False) <= (found.proof is not None)
    assert (found.link is None) == (found.reachable is True)
    if all(a <= 1 for a, _ in betas) and len(betas) == 1:
        assert found.reachable is True
    if found.proof is not None:
        m = np.concatenate([np.geomspace(1e-3, 1, 40), np.linspace(0.01, 1, 50)])
        assert (found.proof.gain(m) >= found.proof.margin - 1e-9).all()


def test_graded_laws_with_kinks_where_smooth_ones_would_be_too_sharp():
    found = ct.design("levels 0.24 0.18 0.16 0.18 0.24")
    assert found.reachable is True
    assert found.distance < 0.005
    assert ct.design("levels 0.3 0.2 0.2 0.3", tol=1e-3).utility.kinks


# -- outside, with proofs ----------------------------------------------------------------

OUTSIDE = [
    "beta(2, 2)",
    "beta(1.5)",
    "levels 0.25 0.5 0.25",
    "levels 0.2 0.3 0.3 0.2",
    "levels 0.1 0.2 0.4 0.2 0.1",
    "beta(4, 2)",
    "atoms 0.1 + beta(2)",
    "levels 0.5 0.3 0.2",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_none_can_reach_is_proved_out_of_reach(text):
    found = designed(text)
    assert found.reachable is False
    assert isinstance(found.proof, Proof)
    assert found.proof.margin > 0.05
    assert found.distance > 0.005
    assert found.link is not None
    assert "out of reach" in repr(found)


def closeness_by_quadrature(law: RewardLaw, x: mp.mpf, m: mp.mpf) -> mp.mpf:
    """Return E (m - |x - Y|)_+ in mpmath, from the law's own definition."""
    total = mp.mpf(0)
    for place, mass in law.atoms.tolist():
        total += mp.mpf(mass) * max(m - abs(x - mp.mpf(place)), 0)
    for part in law.parts:
        assert isinstance(part, BetaDensity)
        a, b = mp.mpf(part.a), mp.mpf(part.b)

        def piece(y, a=a, b=b, mass=part.mass):
            return (m - abs(x - y)) * mass * y ** (a - 1) * (1 - y) ** (b - 1) / mp.beta(a, b)

        points = [p for p in (max(x - m, mp.mpf(0)), x, min(x + m, mp.mpf(1))) if 0 <= p <= 1]
        total += sum(mp.quad(piece, [low, high]) for low, high in pairwise(points) if high > low)
    return total


@pytest.mark.parametrize("text", ["beta(2, 2)", "levels 0.25 0.5 0.25", "atoms 0.1 + beta(2)"])
def test_proofs_hold_in_high_precision(text):
    proof = designed(text).proof
    law = proof.target
    with mp.workdps(20):
        for m in (1e-5, 0.03, 0.3, 1.0):
            toward = sum(
                mp.mpf(mass) * closeness_by_quadrature(law, mp.mpf(place), mp.mpf(m))
                for place, mass in proof.direction.atoms.tolist()
            )
            own = mp.mpf(0)
            for place, mass in law.atoms.tolist():
                own += mp.mpf(mass) * closeness_by_quadrature(law, mp.mpf(place), mp.mpf(m))
            for part in law.parts:
                a = mp.mpf(part.a)
                z, w = np.polynomial.legendre.leggauss(12)
                # K(m; x) has kinks in its second derivative at m and 1 - m.
                ends = sorted({0.0, min(m, 1.0), max(1 - m, 0.0), 0.5, 1.0})
                for low, high in pairwise(ends):
                    for node, weight in zip(z, w, strict=True):
                        x = mp.mpf(low + (high - low) * (1 + node) / 2)
                        density = part.mass * x ** (a - 1) * (1 - x) ** (a - 1) / mp.beta(a, a)
                        step = mp.mpf(weight * (high - low) / 2)
                        own += step * density * closeness_by_quadrature(law, x, mp.mpf(m))
            gain = 1 - toward / own
            assert gain >= proof.margin
            assert abs(float(gain) - proof.gain(m)) < 1e-5


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_proof_holds_between_all_grid_points(text):
    proof = designed(text).proof
    rng = np.random.default_rng(1)
    m = np.concatenate([10 ** rng.uniform(-4, 0, 600), rng.uniform(0, 1, 600)])
    gain = proof.gain(m)
    assert gain.min() >= proof.margin - 1e-9
    # Not far below: the bound is worth having.
    assert gain.min() < proof.margin + 0.1


def test_moving_mass_along_a_proof_helps_under_any_utility():
    law = target_of("beta(2, 2)").law
    proof = designed("beta(2, 2)").proof
    rng = np.random.default_rng(0)
    x, y = law.rvs((2, 200_000), rng=rng)
    z = proof.direction.rvs(200_000, rng=rng)
    for u in (ct.Linear(), ct.LogSigmoid(5), ct.Hinge(0.2), ct.Log().shifted(0.1)):
        assert float(u(np.abs(x - z)).mean()) > float(u(np.abs(x - y)).mean())


def test_skewed_laws_have_their_mirror_image_for_a_proof():
    law = beta_law(0.5, 0.6)
    proof = find_proof(law)
    assert proof.kind == "mirror"
    m = np.geomspace(1e-3, 1, 30)
    assert (proof.gain(m) > 0).all()
    assert proof.margin == 0.0
    # The lower bound of the distance to a symmetric law is kept.
    found = designed("beta(4, 2)")
    u = (np.arange(100_000) + 0.5) / 1e5
    q = target_of("beta(4, 2)").law.ppf(u)
    assert found.distance >= 0.5 * np.abs(q + q[::-1] - 1).mean() - 1e-6


def test_laws_just_outside():
    # Its Wasserstein-1 distance to the uniform law is 0.0047: within the tolerance, not exactly.
    near = designed("beta(1.05)")
    assert near.reachable is True
    assert near.proof is not None
    assert ct.design("beta(1.05)", tol=0.004).reachable is False
    exact = ct.design(scipy.stats.beta(0.9, 0.9), max_slope=np.inf)
    assert exact.utility == ct.utility("-x**-0.8")


@pytest.mark.parametrize("power", [0.9, 0.93, 0.97, 0.999])
def test_laws_that_are_all_but_two_valued(power):
    # Densities of exponents below .05: their special functions warned once.
    law, text = ct.limit(f"x**{power}"), f"x**{power}"
    assert str(ct.design(law).utility) == text
    for target in (law.rvs(200, np.random.default_rng(2)), scipy.stats.beta(0.5 - power / 2, 0.04)):
        found = ct.design(target)
        assert found.distance == pytest.approx(found.law.distance(found.target.law), abs=1e-12)


@cases(12)
@given(
    st.lists(st.integers(-50, 50).map(lambda k: k / 8), min_size=2, max_size=12),
    st.booleans(),
    st.sampled_from([2.0, 50.0, np.inf]),
)
def test_designs_of_any_numbers_say_what_they_reach(numbers, exact, most):
    numbers = [*numbers, max(numbers) + 1.0]
    found = ct.design(numbers, n=len(numbers) if exact else None, max_slope=most)
    if exact:
        made = ct.solve(found.utility, len(numbers)).rewards
        apart = np.abs(made - found.target.levels(len(numbers))).mean()
    else:
        apart = ct.limit(found.utility).distance(found.target.law)
    assert found.distance == pytest.approx(apart, abs=1e-12)
    assert found.slope <= most
    allowed = max(found.tol, found.target.error)
    reached = [found.distance, *([found.steeper.distance] if found.steeper else [])]
    assert (found.reachable is True) == (min(reached) <= allowed)
    assert (found.reachable is False) <= (found.proof is not None)
    assert (found.link is None) == found.within == (found.distance <= allowed)
    if found.steeper:
        assert found.steeper.slope > most
        assert found.steeper.distance < found.distance


# -- hinges ------------------------------------------------------------------------------


def test_gains_of_hinges_against_sums():
    law = discrete_law([0, 0.3, 0.7, 1], [0.4, 0.1, 0.2, 0.3])
    places, masses = law.atoms.T
    x, m = np.linspace(0, 1, 11), np.array([1e-6, 0.1, 0.3, 0.65, 1.0])
    direct = masses @ np.maximum(m - np.abs(x[:, None, None] - places[:, None]), 0)
    own = masses @ (masses @ np.maximum(m - np.abs(places[:, None, None] - places[:, None]), 0))
    assert np.abs(Area.of(law).closeness(x, m) - direct).max() < 1e-15
    weights = np.array([[3.0, 0], [0, 1], [0, 2], [0, 0.5], [1, 0]])
    for mixed in (None, weights):
        gains, shortfall = hinge_gains(law, x, m, mixed)
        least, gained = own, own - direct
        if mixed is not None:
            least, gained = own @ mixed, gained @ mixed
        assert np.abs(shortfall - least).max() < 1e-14
        assert np.abs(gains * least - gained).max() < 1e-14


def test_closeness_of_a_uniform_law():
    # By hand: (m - |x - y|)_+ integrates to m^2 inside, and to m^2 / 2 at the ends.
    area = Area.of(beta_law(1.0))
    found = area.closeness(np.array([0.0, 0.5, 1.0]), np.array([1e-4, 0.1]))
    assert np.abs(found / np.array([1e-8, 1e-2]) - [[0.5], [1], [0.5]]).max() < 1e-7


@pytest.mark.parametrize(
    "text",
    ["beta(2, 2)", "beta(0.05, 1.3)", "0.3*beta(3.3, 2.8) + uniform", "atoms 0.1 + beta(0.3)"],
)
def test_the_area_is_as_good_as_it_says(text):
    law = target_of(text).law
    laws = [law, spread_law(np.array([0, 0.1, 0.5, 1]), np.array([0.5, 0.2, 0.3]))]
    for one in laws:
        area, x = Area.of(one), np.random.default_rng(0).beta(0.3, 0.3, 20_000)
        assert area.error < 2e-11
        exact = np.maximum(x[:, None] - one.atoms[:, 0], 0.0) @ one.atoms[:, 1]
        off = np.abs(area(x) - exact - sum(part.cdf_integral(x) for part in one.parts))
        assert off.max() <= area.error + 1e-15


# -- targets -----------------------------------------------------------------------------


def test_targets_in_all_their_forms():
    arcsine = target_of("arcsine").law
    for given_law in (
        scipy.stats.arcsine(),
        scipy.stats.beta(0.5, 0.5),
        beta_law(0.5, low=2, high=5),
    ):
        assert target_of(given_law).law.distance(arcsine) < 1e-4
    assert target_of(scipy.stats.beta(2, 3, loc=1, scale=4)).low == 1
    dice = target_of(scipy.stats.randint(1, 7))
    assert (dice.low, dice.high) == (1, 6)
    assert np.allclose(dice.law.atoms[:, 1], 1 / 6)
    halves = target_of({0.5: 0, 1.0: 2})
    assert halves.law.atoms[0].tolist() == [0, 0.5]
    assert target_of(scipy.stats.truncnorm(-1, 1)).law.mean() == pytest.approx(0.5, abs=1e-6)


NUMBERS = [1, 0.8, 0.3, 0]


def test_a_list_of_numbers_has_one_meaning():
    sample = ct.design(NUMBERS)
    for text in ("1,0.8,0.3,0", "sample 1 0.8 0.3 0", " 1  0.8, 0.3 0"):
        assert ct.design(text) == sample
        assert json.loads(run(text, "--json").stdout)["utility"] == str(sample.utility)
    assert (sample.n, sample.target.size, sample.reachable) == (None, 4, True)
    assert "with n = 4" in sample.reason
    rewards = ct.design(NUMBERS, n=4)
    assert rewards == ct.design("rewards 1 0.8 0.3 0") == ct.design("rewards 0, 0.3, 0.8, 1", n=4)
    assert (rewards.n, rewards.target.error, rewards.reachable) == (4, 0.0, False)
    assert json.loads(run("rewards 1 0.8 0.3 0", "--json").stdout)["n"] == 4
    assert ct.design("1, 0.8, 0.3, 0", n=4) == rewards


@pytest.mark.parametrize("bad", ["rewards 1", "sample", "rewards 1 x", "1,0.8;0.3"])
def test_numbers_that_are_none_are_refused_with_both_words(bad):
    with pytest.raises(ct.CollapseError, match=r"sample 1 2 2 5.*rewards 1 0.8 0.3 0"):
        ct.design(bad)
    with pytest.raises(ct.CollapseError, match="3 rewards are wanted, and n = 4"):
        ct.design("rewards 1 0.5 0", n=4)


@pytest.mark.parametrize("text", ["log(x)", "log(x + 0.1)", "x", "logsigmoid(4*x)", "-1/x"])
def test_a_sample_of_a_plain_law_is_given_a_plain_utility(text):
    # The law itself is within the sampling error, and no mixture is needed to come nearer.
    sample = 5 - 3 * ct.limit(text).rvs(2000, np.random.default_rng(1))
    found = ct.design(sample, max_slope=np.inf)
    assert found.reachable is True
    assert found.utility == ct.utility(text)


def test_a_sample_is_judged_by_its_sampling_error():
    rng = np.random.default_rng(3)
    sample = 1 + 4 * rng.beta(0.5, 0.5, 400)
    found = ct.design(sample)
    assert found.reachable is True
    assert found.distance <= found.target.error
    assert 0.01 < found.target.error < 0.1
    assert ct.design(rng.beta(6, 2, 400)).reachable is False


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        "",
        "beta(2",
        "beta(1/0)",
        "atoms 0.6 + uniform",
        "levels 3",
        "levels 0.5 0.6",
        "uniform; import os",
        "__import__('os')",
        "9" * 600,
        [1.0],
        [0.5, 0.5, 0.5],
        [0, float("nan"), 1],
        [[0, 1], [1, 0]],
        {0.5: 1},
        {0.1: 1, 0.9: 0},
        {"a": 0, "b": 1},
        scipy.stats.norm(),
        None,
        object(),
    ],
)
def test_what_is_no_target_is_refused(bad):
    with pytest.raises(ct.CollapseError):
        ct.design(bad)


@pytest.mark.parametrize(
    "options",
    [{"by": "magic"}, {"tol": 0}, {"tol": "x"}, {"n": 1}, {"n": 2.5}, {"by": "weights"}],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ct.CollapseError):
        ct.design("uniform", **options)


# -- n rewards ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("text", ["log(x + 0.1)", "-1/(x + 0.1)", "x**0.5"])
def test_the_rewards_of_a_utility_come_back(text, n):
    wanted = ct.solve(text, n).rewards
    found = ct.design(wanted, n=n)
    assert found.reachable is True
    assert np.abs(found.solution.rewards - wanted).max() < 1e-3
    assert found.distance == pytest.approx(np.abs(found.solution.rewards - wanted).mean())
    assert found.solution.status == "optimal"
    assert find_ranked_proof(np.asarray(wanted)) is None


@pytest.mark.parametrize(
    "wanted",
    [[1, 0.9, 0.8, 0], [1, 0.5, 0.5, 0.5, 0], [1, 0.6, 0.55, 0.45, 0.4, 0], [5, 4, 3, 1, 1]],
)
def test_rewards_out_of_reach(wanted):
    n = len(wanted)
    found = ct.design(wanted, n=n)
    assert found.reachable is False
    assert isinstance(found.proof, RankedProof)
    unit = (np.array(wanted) - min(wanted)) / (max(wanted) - min(wanted))
    # The proof by hand: a small step is better under every utility tried.
    step = unit + 1e-4 * (found.proof.better - unit)
    i, j = np.triu_indices(n, 1)
    for u in (
        ct.LogSigmoid(3),
        ct.Log().shifted(0.05),
        ct.Exponential(8),
        ct.Power(0.7).shifted(0.1),
    ):
        assert u(step[i] - step[j]).sum() > u(unit[i] - unit[j]).sum()
    reported = found.link(ct.solve(found.link.utility, n).rewards)
    assert np.abs(reported - np.array(wanted)).max() < 1e-9


rewards_of = st.lists(st.floats(0.01, 1), min_size=1, max_size=9).map(
    lambda steps: 1 - np.concatenate([[0], np.cumsum(steps)]) / np.sum(steps)
)


@cases(40)
@given(rewards_of, st.sampled_from(["log(x + 0.1)", "logsigmoid(4*x)", "x**0.5", "log(x)"]))
def test_weights_reach_any_rewards(wanted, text):
    u, wanted = ct.utility(text), np.append(wanted[:-1], 0.0)
    for make in (adjacent_weights, pair_weights):
        pairs = make(u, wanted)
        solution = ct.solve(u, comparisons=pairs)
        assert solution.relative_gap < 1e-9
        assert np.abs(solution.rewards - wanted).max() < 1e-6
        assert (pairs.weights > 0).all()


def test_pair_weights_are_the_nearest_to_equal():
    cp = pytest.importorskip("cvxpy")
    u, n = ct.utility("log(x + 0.1)"), 8
    wanted = target_of("beta(4, 2)").levels(n)
    i, j = np.triu_indices(n, 1)
    w, level = cp.Variable(len(i), nonneg=True), cp.Variable()
    slopes = u.d1(wanted[i] - wanted[j])
    balance = [cp.sum(cp.multiply(slopes * ((i <= k) & (k < j)), w)) == level for k in range(n - 1)]
    cp.Problem(cp.Minimize(cp.sum_squares(w - 1)), balance).solve(solver="CLARABEL")
    pairs = pair_weights(u, wanted)
    given_weights = np.zeros((n, n))
    given_weights[pairs.better, pairs.worse] = pairs.weights
    reference = w.value / w.value.mean()
    assert np.abs(given_weights[i, j] - reference).max() < 1e-5


def test_designs_by_weights():
    found = ct.design("beta(4, 2)", n=8, by="weights")
    assert found.reachable is True
    assert found.distance < 1e-9
    assert found.solution.relative_gap < 1e-9
    assert found.comparisons.n == 8
    tied = ct.design([1, 1, 0.4, 0, 0, 0], n=6, by="weights", utility="logsigmoid(4*x)")
    assert tied.distance < 1e-6
    with pytest.raises(ct.CollapseError, match="ties"):
        ct.design([1, 1, 0.4, 0], n=4, by="weights", utility="log(x)")
    with pytest.raises(ct.CollapseError, match="strictly concave"):
        ct.design([1, 0.4, 0], n=3, by="weights", utility="x")


# -- links, values, torch ----------------------------------------------------------------


@pytest.mark.parametrize("text", ["beta(4, 2)", "beta(2, 2)", "levels 0.25 0.5 0.25"])
def test_a_link_gives_the_wanted_law(text):
    link = designed(text).link
    base = ct.limit(link.utility)
    assert not len(base.atoms)
    u = (np.arange(20_000) + 0.5) / 20_000
    reported = link(base.ppf(u))
    assert (np.diff(reported) >= 0).all()
    assert np.abs(reported - target_of(text).law.ppf(u)).mean() < 1e-3
    assert isinstance(link(0.5), float)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("beta(2)", {}),
        ("atoms 0.1 + beta(0.5)", {}),
        ([1, 0.9, 0.8, 0], {"n": 4}),
        ([1, 0.9, 0.8, 0], {"n": 4, "by": "weights"}),
        (np.linspace(0, 1, 50) ** 0.5, {}),
    ],
)
def test_designs_survive_json_and_pickle(target, options):
    found = ct.design(target, **options)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for other in (Value.from_dict(data), pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert other == found
        assert hash(other) == hash(found)
        assert repr(other) == repr(found)
        assert type(other.reachable) in (bool, type(None))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "int64"])
def test_links_keep_tensors(dtype):
    torch = pytest.importorskip("torch")
    link = ct.design("beta(4, 2)").link
    places = torch.tensor([[0.0, 0.3, 1.0], [-1.0, 0.7, 2.0]]).to(getattr(torch, dtype))
    found = link(places)
    assert found.dtype == (torch.float32 if dtype == "int64" else places.dtype)
    wanted = torch.tensor(link(places.double().numpy())).to(found.dtype)
    assert torch.equal(found, wanted)
    if dtype == "float64":
        assert torch.autograd.gradcheck(link, places[:, 1:2].clone().requires_grad_())
        assert link(places[0, 1]).shape == ()


def test_designs_are_trained_and_reported_as_they_say():
    torch = pytest.importorskip("torch")
    from collapse_theory.training import PromptAwareRankingLoss, RankingLoss

    hump = ct.design(scipy.stats.beta(4, 2, loc=1, scale=4))
    loss = RankingLoss(hump, domain=(0, 10))
    assert loss.utility == hump.train_with == ct.Log()
    logits = torch.linspace(-6, 6, 5)
    assert torch.equal(loss.report(logits), hump.link(torch.sigmoid(logits) * 10 / 10))
    assert (loss.report(logits).min() >= 1, loss.report(logits).max() <= 5) == (True, True)
    again = RankingLoss.from_dict(json.loads(json.dumps(loss.to_dict())))
    assert again == loss
    assert torch.equal(again.report(logits), loss.report(logits))
    assert RankingLoss(hump.link) == RankingLoss(hump)
    assert RankingLoss(hump) != RankingLoss("log(x)")
    plain = RankingLoss("log(x)")
    assert torch.equal(plain.report(logits), plain.rewards(logits))
    weighted = RankingLoss(ct.design("beta(4, 2)", n=5, by="weights"))
    assert np.abs(weighted.predict(5).rewards - target_of("beta(4, 2)").levels(5)).max() < 1e-6
    mixed = PromptAwareRankingLoss({"hump": hump, "two": ct.design("two-valued")})
    shown = mixed.report(torch.stack([logits, logits]), ["hump", "two"])
    assert torch.equal(shown[0], hump.link(torch.sigmoid(logits)))
    assert torch.equal(shown[1], torch.sigmoid(logits))
    assert PromptAwareRankingLoss.from_dict(json.loads(json.dumps(mixed.to_dict()))) == mixed
    with pytest.raises(ct.CollapseError, match="rewards of a Box"):
        RankingLoss(hump, domain=ct.Confined(0.1))


def test_designed_utilities_train_in_torch():
    torch = pytest.importorskip("torch")
    u = designed("levels 0.4 0.2 0.4").utility
    gaps = torch.linspace(-0.5, 1, 7, dtype=torch.float64, requires_grad=True)
    u.value(gaps, torch).sum().backward()
    slopes = gaps.grad.numpy()
    assert np.isfinite(slopes).all()
    assert np.abs(slopes - u.d1(gaps.detach().numpy())).max() < 1e-9


# -- recommendations ---------------------------------------------------------------------


def scores_of_two_kinds():
    rng = np.random.default_rng(5)
    scores = {f"open {k}": rng.uniform(0, 10, 12) for k in range(40)}
    scores |= {f"closed {k}": rng.permutation([0.0, 10.0] * 6) for k in range(40)}
    return scores, {name: name.split()[0] for name in scores}


def test_recommendations():
    scores, kinds = scores_of_two_kinds()
    found = ct.recommend(scores, kinds=kinds)
    assert found.kinds == ("closed", "open")
    assert found["closed"].utility == ct.Linear()
    assert found["closed"].n == found["open"].n == 12
    assert found["open"].reachable is True
    # The scores of a typical prompt, on their own scale: 12 of (0, 10) reach from .77 to 9.23.
    assert found["open"].target.low == pytest.approx(10 / 13, abs=0.4)
    assert found["open"].target.high == pytest.approx(120 / 13, abs=0.4)
    spaced = np.linspace(1, 0, 12)
    assert np.abs(found["open"].target.levels(12) - spaced).max() < 0.05
    assert found.differ("closed", "open")
    assert (found.low, found.high) == (0, 10)
    flat = [(name, s) for name, values in scores.items() for s in values]
    names, values = zip(*flat, strict=True)
    again = ct.recommend(values, names, [kinds[name] for name in names])
    assert again.between == pytest.approx(found.between)
    rows = ct.recommend(list(scores.values()), kinds=list(kinds.values()))
    assert rows.between == pytest.approx(found.between)
    with pytest.raises(ct.CollapseError, match="kinds must be a list of 80"):
        ct.recommend(list(scores.values()), kinds=["open"])
    data = json.loads(json.dumps(found.to_dict()))
    assert Value.from_dict(data) == found
    with pytest.raises(KeyError, match="no kind"):
        found["other"]


def logged(make, prompts=200, size=8):
    rng = np.random.default_rng(11)
    return {k: np.asarray(make(rng, size), dtype=float) for k in range(prompts)}


NOTHING = {
    "all 0 or all 1": lambda rng, n: np.full(n, rng.integers(0, 2)),
    "one level each": lambda rng, n: np.full(n, rng.random()),
    "rounding of float32": lambda rng, n: rng.random() * (1 + 1e-8 * rng.standard_normal(n)),
    "neighbours in bfloat16": lambda rng, n: 1.0 + 2.0**-7 * rng.integers(0, 2, n),
    "a constant": lambda rng, n: np.full(n, 3.0),
    "one completion": lambda rng, n: rng.random(1),
}


@pytest.mark.parametrize("case", NOTHING)
def test_no_design_where_no_completion_beats_another(case):
    found = ct.recommend(logged(NOTHING[case]))
    (advice,) = found.advice
    assert advice.design is found["all prompts"] is None
    assert advice.reason.startswith("no completion is better than another")
    assert advice.flat == (0 if case == "one completion" else 200)
    again = Value.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.advice[0].reason == advice.reason
    if case != "one completion":
        rows = np.concatenate([*logged(NOTHING[case]).values()])
        said = ct.diagnose(rows, np.repeat(np.arange(200), 8), utility=())
        assert said.outcome == "no spread"


def collapsed(text):
    return lambda rng, n: ct.solve(text, n).rewards * rng.uniform(0.5, 3) + rng.normal(0, 4)


WITHIN = {
    "two values of any share": (lambda rng, n: rng.random(n) < rng.random(), "x"),
    "log(x + 0.1)": (collapsed("log(x + 0.1)"), "log(x + 0.1)"),
    "logsigmoid(4*x)": (collapsed("logsigmoid(4*x)"), "logsigmoid(4*x)"),
}


@pytest.mark.parametrize("case", WITHIN)
def test_the_law_within_a_prompt_counts_not_its_level_or_scale(case):
    make, utility = WITHIN[case]
    (advice,) = ct.recommend(logged(make)).advice
    assert advice.design.utility == ct.utility(utility)
    assert advice.design.reachable is True
    assert advice.design.n == 8


def test_levels_of_prompts_do_not_widen_what_is_wanted():
    noise = logged(lambda rng, n: 0.01 * rng.standard_normal(n))
    levels = np.random.default_rng(1).random(200)
    first = ct.recommend(noise).advice[0]
    second = ct.recommend({k: noise[k] + levels[k] for k in noise}).advice[0]
    assert first.between < 0.2 < 0.99 < second.between
    assert second.design.utility == first.design.utility
    assert second.design.target.law.distance(first.design.target.law) < 1e-9
    # What the link reports is on the scale of a typical prompt.
    assert second.design.target.high - second.design.target.low < 0.05


@pytest.mark.parametrize("size", [2, 3, 5, 40, 90])
def test_recommendations_for_any_number_of_completions(size):
    (advice,) = ct.recommend(logged(lambda rng, n: rng.random(n), 60, size)).advice
    assert advice.design.n == (size if size <= 64 else None)
    assert (size == 2) == ("two are 1 and 0" in advice.reason)


@pytest.mark.parametrize(
    "arguments",
    [
        ({},),
        ([1.0, 2.0],),
        ({"a": []},),
        ({"a": [0, float("nan")]},),
        ({"a": ["good", "bad"]},),
        ({"a": [0, 1]}, None, {}),
        ([0, 1], ["a", "a"], ["open", "closed"]),
        ([0, 1], ["a"]),
    ],
)
def test_scores_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ct.CollapseError):
        ct.recommend(*arguments)


# -- the command -------------------------------------------------------------------------


def run(*args: str):
    return CliRunner().invoke(app, ["design", *args])


def test_the_command_prints_a_design(tmp_path):
    shown = run("beta(2, 2)", "--plot", str(tmp_path / "design.png"))
    assert shown.exit_code == 0, shown.stderr
    for part in ("no, proved", "link", "-1/x", "0.0625", "slope"):
        assert part in shown.stdout
    assert (tmp_path / "design.png").stat().st_size > 10_000
    content = json.loads(run("levels 0.5 0.3 0.2", "--json").stdout)
    assert {"utility", "distance", "reachable", "law", "weights"} <= set(content)
    assert content["reachable"] is False
    assert content["weights"] is None
    content = json.loads(run("rewards 1 0.9 0.8 0", "--by", "weights", "--json").stdout)
    assert len(content["weights"]["weights"]) == len(content["weights"]["better"])
    assert "weight" in run("beta(4, 2)", "--n", "8", "--by", "weights").stdout


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nonsense",),
        ("uniform", "--from", "x.csv"),
        ("uniform", "--by", "magic"),
        ("[red]x[/]",),
    ],
)
def test_the_command_refuses_in_one_line(args):
    result = run(*args)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_the_link_of_the_command_is_read_back():
    content = json.loads(run("beta(4, 2)", "--json").stdout)
    assert Link.from_dict(content["link"]) == designed("beta(4, 2)", 50.0).link


def test_the_command_reads_scores(tmp_path):
    scores, kinds = scores_of_two_kinds()
    lines = ["prompt,kind,reward"]
    lines += [f"{name},{kinds[name]},{s}" for name, values in scores.items() for s in values]
    path = tmp_path / "scores.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    shown = run("--from", str(path))
    assert shown.exit_code == 0, shown.stderr
    for part in ("closed", "open", "960 rows", "U(x) = x", "more than sampling explains"):
        assert part in " ".join(shown.stdout.split())
    content = json.loads(run("--from", str(path), "--json").stdout)
    assert set(content["kinds"]) == {"open", "closed"}
    assert content["rows"] == {"read": 960, "used": 960, "bad": 0}
    assert content["kinds"]["open"]["reachable"] is True
    assert content["kinds"]["open"]["evidence"]["flat"] == 0
    path = tmp_path / "flat.csv"
    path.write_text("prompt,score\n" + "a,1\n" * 3 + "b,0\n" * 3)
    assert "No completion is better than another" in run("--from", str(path)).stdout
    flat = json.loads(run("--from", str(path), "--json").stdout)["kinds"]["all prompts"]
    assert flat["utility"] is None
    assert "no completion is better" in flat["advice"]


def test_grades_that_are_uneven_by_chance_are_in_reach():
    grades = np.random.default_rng(0).choice(5, 2000, p=(0.24, 0.18, 0.16, 0.18, 0.24))
    found = ct.design(grades.tolist())
    assert found.reachable is True
    assert found.distance < 0.016
