"""Best-of-k and tilted laws against closed forms, mpmath, simulation and each other."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from itertools import product
from pathlib import Path

import matplotlib as mpl
import mpmath as mp
import numpy as np
import pytest
import test_laws as of_laws
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

import collapse_theory as ct
from collapse_theory import figures
from collapse_theory.exact.plackett_luce import PenalisedScores
from collapse_theory.laws import (
    BestOfLaw,
    BetaDensity,
    Density,
    Part,
    RewardLaw,
    TiltedLaw,
    beta_law,
    discrete_law,
    empirical_law,
    uniform_law,
)
from collapse_theory.testing import laws
from collapse_theory.values import Value

mpl.use("Agg")
pytestmark = pytest.mark.filterwarnings("error")


def mixed() -> RewardLaw:
    """Atoms within, beside and at the ends of two densities that overlap."""
    parts = (BetaDensity(0.5, 0.5, mass=0.4), BetaDensity(2.0, 0.6, 0.5, 1.5, 0.3))
    return RewardLaw([[-0.2, 0.05], [0.3, 0.15], [1.0, 0.1]], parts)


LAWS: dict[str, RewardLaw] = {
    "uniform": uniform_law(-1.0, 2.0),
    "arcsine": beta_law(0.5),
    "steep": beta_law(0.025),
    "skew": beta_law(0.7, 2.5),
    "hump": beta_law(2.0, 3.0),
    "two values": discrete_law([0, 1], [0.5, 0.5]),
    "grades": discrete_law([0, 0.2, 0.9, 1.0], [0.1, 0.3, 0.2, 0.4]),
    "exponential": ct.closed_form("1 - exp(-3*x)"),
    "cosines": RewardLaw([[-2.0, 0.1], [1.0, 0.1]], (of_laws.cosines(0.8 / 3, [], [], -2.0, 1.0),)),
    "panels": ct.closed_form("min(x, 0.5)", domain=ct.Confined(0.7)),
    "regular": ct.limit("log(x + 0.1)"),
    "steep layer": ct.limit("logsigmoid(60*x)"),
    "singular": ct.limit("log(x) + x"),
    "confined": ct.limit("logsigmoid(x)", ct.Confined(0.02)),
    "listwise": RewardLaw((), (PenalisedScores(0.5).density,)),
    "mixed": mixed(),
}
WEIGHTS = {
    "best of 2": lambda law: law.best_of(2),
    "best of 64": lambda law: law.best_of(64),
    "beta 0.1": lambda law: law.tilted(0.1),
    "beta 1e-4": lambda law: law.tilted(1e-4),
    "both": lambda law: law.best_of(3).tilted(0.2),
    "both turned": lambda law: law.tilted(0.2).best_of(3),
}

each_law = pytest.mark.parametrize("name", LAWS)


# -- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 8, 2.5, 1000, 10**9])
def test_best_of_uniform(k):
    # F^k = x^k is Beta(k, 1).
    law = uniform_law().best_of(k)
    assert law.mean() == pytest.approx(k / (k + 1), rel=1e-15)
    assert law.var() == pytest.approx(k / ((k + 1) ** 2 * (k + 2)), rel=1e-13)
    q = np.linspace(0, 1, 21)
    assert law.ppf(q) == pytest.approx(q ** (1 / k), rel=1e-14)
    x = np.linspace(0.01, 1, 30)
    expected = k * x ** (k - 1)
    # A panel's series is right to rounding of its largest value, which in a tail this thin is
    # some e^9 times the smallest: 20 terms follow no more, and 1e-16 e^9 is 1e-12.
    thin = expected < 1e-200
    assert law.pdf(x[~thin]) == pytest.approx(expected[~thin], rel=1e-12)
    assert law.pdf(x[thin]) == pytest.approx(expected[thin], rel=1e-11, abs=1e-300)
    assert law.kl == pytest.approx(math.log(k) - (k - 1) / k, abs=1e-14)
    assert law.effective_sample_size == pytest.approx((2 * k - 1) / k**2, rel=1e-14)


def test_kl_of_best_of_needs_no_shape():
    # log k - (k-1)/k for every law without ties: Beirami et al., arXiv:2401.01879.
    for name in ("uniform", "steep", "skew", "panels", "singular", "confined"):
        for k in (2, 7, 300):
            law = LAWS[name].best_of(k)
            assert law.kl == pytest.approx(math.log(k) - (k - 1) / k, abs=2e-13), name
            assert law.effective_sample_size == pytest.approx((2 * k - 1) / k**2, rel=2e-13)


@each_law
@pytest.mark.parametrize("k", [2, 5, 40])
def test_kl_of_best_of_is_bounded(name, k):
    assert 0 < LAWS[name].best_of(k).kl <= math.log(k) - (k - 1) / k + 1e-13


@pytest.mark.parametrize("beta", [1e-8, 1e-3, 0.03, 0.7, 5.0, 1e4, 1e8])
def test_tilted_uniform(beta):
    law = uniform_law().tilted(beta)
    with mp.workdps(60):
        b = mp.mpf(beta)
        z = b * (1 - mp.exp(-1 / b))  # of exp((x - 1)/beta)
        above = b - 1 / (mp.exp(1 / b) - 1)  # E(1 - X)
        assert law.mean() == pytest.approx(float(1 - above), rel=1e-15)
        var = b**2 - mp.exp(-1 / b) / (1 - mp.exp(-1 / b)) ** 2
        assert law.var() == pytest.approx(float(var), rel=1e-13)
        assert law.kl == pytest.approx(float(-above / b - mp.log(z)), rel=1e-12)
        share = z**2 / (b / 2 * (1 - mp.exp(-2 / b)))
        assert law.effective_sample_size == pytest.approx(float(share), rel=1e-13)
        for x in (0.2, 0.9, 1 - 1e-9):
            d = 1 - mp.mpf(x)
            cdf = (mp.exp(-d / b) - mp.exp(-1 / b)) / (1 - mp.exp(-1 / b))
            assert law.cdf(x) == pytest.approx(float(cdf), rel=1e-12, abs=1e-15)
            assert law.pdf(x) == pytest.approx(float(mp.exp(-d / b) / z), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.025, 0.025), (0.7, 2.5), (4, 0.3), (1, 50)])
@pytest.mark.parametrize("beta", [1e-6, 0.01, 0.3, 20.0])
def test_tilted_beta_against_mpmath(a, b, beta):
    # E exp(-s (1 - X)) = 1F1(b, a + b, -s): Abramowitz and Stegun, 13.2.1.
    law = beta_law(a, b).tilted(beta)
    with mp.workdps(40):
        s, p, q = 1 / mp.mpf(beta), mp.mpf(a), mp.mpf(b)
        z = mp.hyp1f1(q, p + q, -s)
        first = q / (p + q) * mp.hyp1f1(q + 1, p + q + 1, -s) / z
        second = q * (q + 1) / ((p + q) * (p + q + 1)) * mp.hyp1f1(q + 2, p + q + 2, -s) / z
        share = z**2 / mp.hyp1f1(q, p + q, -2 * s)
        assert law.mean() == pytest.approx(float(1 - first), rel=1e-15)
        assert law.var() == pytest.approx(float(second - first**2), rel=2e-13)
        assert law.kl == pytest.approx(float(-s * first - mp.log(z)), rel=2e-13)
        assert law.effective_sample_size == pytest.approx(float(share), rel=1e-12)


@pytest.mark.parametrize(("a", "k"), [(0.5, 9), (0.025, 3), (3.0, 20)])
def test_best_of_beta_against_mpmath(a, k):
    law = beta_law(a).best_of(k)
    with mp.workdps(25):

        def below(x):
            return mp.betainc(a, a, 0, x, regularized=True) ** k

        # By parts, on [0, 1/2] and, in distances from 1, the rest.
        lower = mp.quad(below, [0, 1e-9, 0.01, 0.5])
        upper = mp.quad(
            lambda d: (1 - mp.betainc(a, a, 0, d, regularized=True)) ** k, [0, 1e-9, 0.01, 0.5]
        )
        assert law.mean() == pytest.approx(float(1 - lower - upper), abs=1e-9)
        for x in (1e-8, 0.2, 0.7, 1 - 1e-8):
            assert law.cdf(x) == pytest.approx(float(below(mp.mpf(x))), rel=1e-13)


def test_mean_of_best_of_two_arcsines():
    # E max = 1/2 + E|X - Y|/2, and E|X - Y| = 4/pi^2 on [0, 1].
    assert beta_law(0.5).best_of(2).mean() == pytest.approx(0.5 + 2 / np.pi**2, abs=1e-15)


def test_discrete_laws_by_hand():
    best = discrete_law([0, 1, 2], [0.5, 0.25, 0.25]).best_of(2)
    assert best.atoms[:, 1] == pytest.approx([1 / 4, 5 / 16, 7 / 16], rel=1e-15)
    kl = math.log(1 / 2) / 4 + 5 / 16 * math.log(5 / 4) + 7 / 16 * math.log(7 / 4)
    assert best.kl == pytest.approx(kl, rel=1e-14)
    squares = (1 / 16) / 0.5 + (25 / 256) / 0.25 + (49 / 256) / 0.25
    assert best.effective_sample_size == pytest.approx(1 / squares, rel=1e-15)
    assert best.ratio([0, 1, 2]) == pytest.approx([0.5, 1.25, 1.75], rel=1e-15)

    tilted = discrete_law([0, 1], [0.75, 0.25]).tilted(1 / math.log(3))  # weights 1 and 3
    assert tilted.atoms[:, 1] == pytest.approx([0.5, 0.5], rel=1e-15)
    assert tilted.kl == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), rel=1e-14)
    assert tilted.effective_sample_size == pytest.approx(1 / (0.25 / 0.75 + 0.25 / 0.25), rel=1e-15)
    assert tilted.ratio([0, 1]) == pytest.approx([2 / 3, 2], rel=1e-15)


def test_atoms_and_a_flat_density():
    # Mass a at each end of [0, 1], density 1 - 2a between: F = a + (1 - 2a) x.
    a, k = 0.2, 3
    law = RewardLaw([[0, a], [1, a]], (BetaDensity(1, 1, mass=1 - 2 * a),))
    best = law.best_of(k)
    assert best.atoms[:, 1] == pytest.approx([a**k, 1 - (1 - a) ** k], rel=1e-15)
    mean = 1 - ((1 - a) ** (k + 1) - a ** (k + 1)) / ((k + 1) * (1 - 2 * a))
    assert best.mean() == pytest.approx(mean, rel=1e-15)
    tilted = law.tilted(0.5)
    z = a + a * math.e**2 + (1 - 2 * a) * (math.e**2 - 1) / 2
    assert tilted.atoms[:, 1] == pytest.approx([a / z, a * math.e**2 / z], rel=1e-15)
    mean = (a * math.e**2 + (1 - 2 * a) * (math.e**2 + 1) / 4) / z
    assert tilted.mean() == pytest.approx(mean, rel=1e-15)
    assert tilted.kl == pytest.approx(2 * mean - math.log(z), rel=1e-13)


def test_tilted_panels_and_cosines_in_closed_form():
    steps = Density.steps([0.0, 0.25, 1.0], [1.0, 1.0])
    assert RewardLaw((), (steps,)).tilted(0.1).mean() == pytest.approx(
        uniform_law().tilted(0.1).mean(), abs=1e-15
    )
    # The hyperbolic cosine is two exponentials; here of rate 2 under a weight of rate 1.
    part = of_laws.cosines(0.0, [2.0], [1 / math.tanh(1.0)])
    law = RewardLaw((), (part,)).tilted(1.0)

    def integral(rate):
        return math.expm1(rate) / rate

    z = math.exp(-1) * integral(3) + math.exp(1) * integral(-1)
    cdf = (math.exp(-1) * math.expm1(1.5) / 3 + math.exp(1) * -math.expm1(-0.5)) / z
    assert law.cdf(0.5) == pytest.approx(cdf, rel=1e-14)


# -- every density, by the tests of the other kinds -----------------------------------------------


def alone(part: Part) -> RewardLaw:
    """The part as a law by itself."""
    return RewardLaw((), (part.scaled(1.0 / part.mass),))


def with_atoms(atoms, *parts) -> RewardLaw:
    share = (1.0 - sum(mass for _, mass in atoms)) / len(parts)
    return RewardLaw(atoms, tuple(part.scaled(share / part.mass) for part in parts))


INSIDE = with_atoms([[0.2, 0.2], [0.7, 0.1]], BetaDensity(0.3, 0.8), BetaDensity(2, 1))
DENSITIES: dict[str, Part] = {
    "best, with atoms": with_atoms([[0, 0.3], [1, 0.2]], BetaDensity(0.5, 0.5)).best_of(4).parts[0],
    "best, no atom": beta_law(0.3, 0.8).best_of(2.5).parts[0],
    "best, inside": INSIDE.best_of(3).parts[1],
    "best of many": alone(of_laws.jacobi(-0.5, [1.0, 0.2, 0.1])).best_of(500).parts[0],
    "best, cosines": with_atoms([[0, 0.1]], of_laws.KINDS["layer"]).best_of(3).parts[0],
    "tilted arcsine": beta_law(0.5).tilted(0.3).parts[0],
    "tilted steeply": beta_law(0.5).tilted(1e-3).parts[0],
    "tilted, inside": INSIDE.tilted(0.5).parts[1],
    "tilted series": alone(of_laws.KINDS["jacobi -0.5"]).tilted(1.0).parts[0],
    "tilted best": LAWS["arcsine"].best_of(3).tilted(0.2).parts[0],
    "best tilted": LAWS["skew"].tilted(0.2).best_of(3).parts[0],
}


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize(
    "check",
    [
        of_laws.test_cdf_and_moments_are_integrals_of_the_density,
        of_laws.test_moments_agree_with_the_cdf,
        of_laws.test_outside_the_support,
        of_laws.test_cdf_is_monotone_and_meets_in_the_middle,
        of_laws.test_ppf_inverts_the_cdf,
        of_laws.test_mapped_density,
        of_laws.test_far_from_zero_nothing_cancels,
        of_laws.test_density_is_a_value,
        of_laws.test_scalars_in_scalars_out,
    ],
    ids=lambda f: f.__name__,
)
def test_reweighted_densities_are_densities(name, check):
    check(DENSITIES[name])


@pytest.mark.parametrize("end", [False, True])
def test_ppf_has_relative_accuracy_next_to_an_end(end):
    for part in (
        beta_law(0.3).best_of(3).parts[0],
        beta_law(0.3).tilted(0.1).parts[0],
        beta_law(0.025, 0.4).tilted(0.01).parts[0],
    ):
        held = part.mass_within(np.array([0.4]), end)[0]
        m = held * np.geomspace(1e-40, 0.9, 40)
        d = part.distance_holding(m, end)
        assert (d > 0).all()
        tiny = d < 1e-290
        assert part.mass_within(d[~tiny], end) == pytest.approx(m[~tiny], rel=1e-12)


def test_a_weight_of_one_gives_the_density_back():
    for part in of_laws.KINDS.values():
        same = alone(part).tilted(1e15).parts[0].scaled(part.mass)
        x = np.concatenate([of_laws.interior(part, 31), part.low + np.geomspace(1e-9, 1e-3, 9)])
        scale = part.mass * (part.high - part.low)
        # Sums over some fifty panels, brought to mass 1: each rounds by a unit in the last place.
        assert same.cdf(x) == pytest.approx(part.cdf(x), abs=5e-14 * part.mass)
        assert same.cdf_integral(x) == pytest.approx(part.cdf_integral(x), abs=5e-14 * scale)
        assert same.mean == pytest.approx(part.mean, abs=1e-13 * (part.high - part.low))
        assert same.variance == pytest.approx(part.variance, rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(600, 700), (50, 3), (1e5, 3e5), (1e6, 1e6)])
def test_a_narrow_bump_is_found(a, b):
    # About normal: a tilt by one standard deviation moves it by one, at half a nat.
    law = beta_law(a, b)
    spread = math.sqrt(law.var())
    same = law.tilted(1e15).parts[0]
    assert same.mass == pytest.approx(1, abs=1e-12)
    assert same.mean == pytest.approx(law.mean(), abs=1e-9 * spread)
    assert same.variance == pytest.approx(law.var(), rel=1e-8)
    if b > 3:
        tilted = law.tilted(spread)
        assert (tilted.mean() - law.mean()) / spread == pytest.approx(1, abs=0.01)
        assert tilted.kl == pytest.approx(0.5, abs=0.01)


def test_panels_hold_the_knots_and_stay_few():
    part = Density.steps([0.0, 0.1, 0.103, 1.0], [1.0, 30.0, 0.8])
    for beta in (10.0, 1e-3, 1e-9):
        (tilted,) = alone(part).tilted(beta).parts
        assert isinstance(tilted, Density)
        for knot in (0.1, 0.103):
            assert np.abs(tilted.edges - knot).min() < 1e-15
        assert (np.diff(tilted.edges) > 0).all()
        assert max(tilted.lower.edges.size, tilted._sides[1].edges.size) < 200


# -- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "weight"), list(product(LAWS, WEIGHTS)))
def test_a_policy_law_is_a_law(name, weight):
    law = WEIGHTS[weight](LAWS[name])
    assert law._total == pytest.approx(1.0, abs=1e-12)
    q = np.linspace(0, 1, 41)
    x = law.ppf(q)
    assert (np.diff(x) >= 0).all()
    assert (law.cdf(x) >= q).all()
    low, high = law.base.support
    assert low <= law.support[0] <= law.mean() <= law.support[1] <= high
    assert 0 < law.effective_sample_size <= 1
    # 1/E w^2 is at most exp(-KL): Jensen's inequality, the order of Renyi divergences.
    assert 0 <= law.kl <= -math.log(law.effective_sample_size) + 1e-13


@pytest.mark.parametrize(("name", "weight"), list(product(LAWS, ["best of 2", "beta 0.1", "both"])))
def test_a_policy_law_is_a_value(name, weight):
    law = WEIGHTS[weight](LAWS[name])
    for back in (
        copy.copy(law),
        copy.deepcopy(law),
        pickle.loads(pickle.dumps(law)),
        Value.from_dict(json.loads(json.dumps(law.to_dict(), allow_nan=False))),
    ):
        assert back == law
        assert hash(back) == hash(law)
        assert type(back) is type(law)
        assert repr(back) == repr(law)
        assert (back.kl, back.mean(), back.base) == (law.kl, law.mean(), law.base)
    assert law != law.base
    assert not law.atoms.flags.writeable


@each_law
def test_nothing_done_is_the_base_law(name):
    law = LAWS[name]
    for same in (law.best_of(1), law.tilted(math.inf)):
        assert same.kl == 0.0
        assert same.effective_sample_size == 1.0
        assert same.base is law
        assert same.parts == law.parts
        assert (same.atoms == law.atoms).all()
        x = law.ppf([0.1, 0.5, 0.9])
        assert same.ratio(x) == pytest.approx([1, 1, 1], abs=1e-15)
    assert law.tilted(1e12).distance(law) < 1e-11
    assert law.best_of(1 + 1e-12).distance(law) < 1e-11


@each_law
def test_best_of_is_a_power_of_the_cdf(name):
    law = LAWS[name]
    low, high = law.support
    x = np.concatenate([np.linspace(low, high, 41), law.atoms[:, 0], law.ppf([0.3, 0.999])])
    for k in (1.3, 4, 50):
        best = law.best_of(k)
        assert best.cdf(x) == pytest.approx(law.cdf(x) ** k, abs=3e-14 * k)
        q = np.array([0.05, 0.5, 0.77])
        if law.parts:
            assert best.ppf(q) == pytest.approx(law.ppf(q ** (1 / k)), abs=1e-12)


@each_law
def test_best_ofs_multiply(name):
    law, at_once = LAWS[name], LAWS[name].best_of(6)
    twice = law.best_of(2).best_of(3)
    assert twice.distance(at_once) < 1e-13
    assert twice.mean() == pytest.approx(at_once.mean(), abs=1e-13)


@each_law
def test_tilts_add(name):
    law, at_once = LAWS[name], LAWS[name].tilted(1 / (1 / 0.3 + 1 / 0.2))
    twice = law.tilted(0.3).tilted(0.2)
    assert twice.distance(at_once) < 1e-13
    assert twice.var() == pytest.approx(at_once.var(), rel=1e-11)
    x = law.ppf([0.2, 0.9])
    product_of_ratios = twice.ratio(x) * law.tilted(0.3).ratio(x)
    assert product_of_ratios == pytest.approx(at_once.ratio(x), rel=1e-12)


@each_law
def test_maps_commute(name):
    law = LAWS[name]
    for moved, direct in (
        (law.best_of(3).mapped(-2.0, 4.0), law.mapped(-2.0, 4.0).best_of(3)),
        (law.tilted(0.2).mapped(-2.0, 4.0), law.mapped(-2.0, 4.0).tilted(0.8)),
    ):
        assert moved == direct or moved.distance(direct) < 1e-14
    moved, plain = law.tilted(0.2).mapped(-2.0, 4.0), law.tilted(0.2)
    assert moved.mean() == pytest.approx(-2 + 4 * plain.mean(), abs=1e-12)
    assert moved.var() == pytest.approx(16 * plain.var(), rel=1e-10)
    assert moved.kl == pytest.approx(plain.kl, rel=1e-10)


@each_law
@pytest.mark.parametrize("weight", ["best of 2", "beta 0.1"])
def test_ratio_is_the_likelihood_ratio(name, weight):
    law = WEIGHTS[weight](LAWS[name])
    base = law.base
    kept = [i for i, x in enumerate(base.atoms[:, 0]) if x in law.atoms[:, 0]]
    expected = law.atoms[:, 1] / base.atoms[kept, 1]
    assert law.ratio(base.atoms[kept, 0]) == pytest.approx(expected, rel=1e-12)
    if base.parts:
        low, high = base.support
        x = low + (high - low) * np.array([0.171, 0.433, 0.771, 0.957])
        assert law.ratio(x) * base.pdf(x) == pytest.approx(law.pdf(x), rel=1e-10, abs=1e-200)


@each_law
def test_the_tilted_law_is_best_at_its_price(name):
    # Gibbs' principle: mean - beta KL is largest there, and its value is beta log E exp(x/beta).
    law, beta = LAWS[name], 0.2

    def worth(policy):
        return policy.mean() - beta * policy.kl

    best = worth(law.tilted(beta))
    for other in (
        law.tilted(0.25),
        law.tilted(0.16),
        law.best_of(2),
        law.best_of(5),
        law.best_of(1),
    ):
        assert worth(other) < best + 1e-13
    bound = law.support[1] + beta * math.log(law.tilted(beta).ratio(law.support[1]) ** -1)
    assert best == pytest.approx(bound, abs=1e-12)


@each_law
def test_extremes_go_to_the_top(name):
    law = LAWS[name]
    low, high = law.support
    for beta in (1e-3, 1e-6, 1e-12, 1e-50):
        tilted = law.tilted(beta * (high - low))
        assert tilted.mean() == pytest.approx(high, abs=20 * beta * (high - low) + 1e-15)
        assert tilted.ppf(0.5) <= high
        assert np.isfinite([tilted.kl, tilted.var(), tilted.effective_sample_size]).all()
    for k in (10**4, 10**8, 10**12):
        best = law.best_of(k)
        assert best._total == pytest.approx(1.0, abs=1e-12)
        assert np.isfinite([best.kl, best.mean(), best.var()]).all()
    top = law.atoms[law.atoms[:, 0] == high, 1]
    if top.size:  # a tie at the top is kept whole: share and divergence have a limit
        assert law.tilted(1e-9).effective_sample_size == pytest.approx(top[0], rel=1e-6)
        assert law.best_of(10**9).kl == pytest.approx(-math.log(top[0]), rel=1e-12)


# -- simulation -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arcsine", "grades", "regular", "confined", "mixed"])
def test_best_of_against_simulation(name):
    law, k, n = LAWS[name], 5, 20_000
    best = law.best_of(k)
    drawn = law.rvs((n, k), rng=7).max(axis=1)
    assert drawn.mean() == pytest.approx(best.mean(), abs=4 * math.sqrt(best.var() / n))
    # Dvoretzky, Kiefer and Wolfowitz: a sup of 2.2/sqrt(n) has probability 1e-4.
    points = np.unique(np.concatenate([law.ppf(np.linspace(0.01, 0.99, 99)), law.atoms[:, 0]]))
    seen = np.searchsorted(np.sort(drawn), points, side="right") / n
    assert np.abs(seen - best.cdf(points)).max() < 2.3 / math.sqrt(n)
    again = best.rvs(n, rng=8)
    assert again.mean() == pytest.approx(best.mean(), abs=4 * math.sqrt(best.var() / n))


@pytest.mark.parametrize("name", ["arcsine", "grades", "regular", "confined", "mixed"])
def test_tilted_against_importance_weights(name):
    law, beta, n = LAWS[name], 0.5, 100_000
    tilted = law.tilted(beta)
    x = law.rvs(n, rng=3)
    w = np.exp((x - x.max()) / beta)
    w /= w.mean()
    share = tilted.effective_sample_size
    error = 5 * math.sqrt(tilted.var() / (n * share)) + 5e-3 * math.sqrt(tilted.var())
    assert (w * x).mean() == pytest.approx(tilted.mean(), abs=error)
    assert (w * np.log(w)).mean() == pytest.approx(tilted.kl, rel=0.03)
    assert 1 / (w**2).mean() == pytest.approx(share, rel=0.03)
    drawn = tilted.rvs(20_000, rng=4)
    assert drawn.mean() == pytest.approx(tilted.mean(), abs=5 * math.sqrt(tilted.var() / 20_000))


def test_a_policy_over_many_completions():
    # n equally likely completions with the optimal rewards: softmax of reward / beta.
    for text, beta in (("log(x + 0.1)", 0.3), ("x", 0.5), ("-1/(x + 0.1)", 0.2)):
        rewards = ct.solve(text, 200).rewards
        p = np.exp(rewards / beta)
        p /= p.sum()
        tilted = ct.limit(text).tilted(beta)
        assert p @ rewards == pytest.approx(tilted.mean(), abs=4e-4)
        assert p @ np.log(200 * p) == pytest.approx(tilted.kl, abs=4e-3)
        assert 1 / (200 * p @ p) == pytest.approx(tilted.effective_sample_size, abs=4e-3)
        of_sample = empirical_law(rewards).tilted(beta)
        assert of_sample.kl == pytest.approx(p @ np.log(200 * p), abs=1e-13)


# -- properties over random laws ------------------------------------------------------------------


@cases(30)
@given(laws(), st.floats(1.0, 60.0), st.floats(1.0001, 3.0))
def test_more_draws_mean_more_reward(law, k, factor):
    fewer, more = law.best_of(k), law.best_of(k * factor)
    assert fewer.mean() <= more.mean() + 1e-12
    assert -1e-13 <= fewer.kl <= more.kl + 1e-12
    assert 0 < more.effective_sample_size <= fewer.effective_sample_size + 1e-12
    points = law.ppf(np.linspace(0, 1, 9))
    assert (more.cdf(points) <= fewer.cdf(points) + 1e-12).all()


@cases(30)
@given(laws(), st.floats(-2.0, 4.0).map(lambda e: 10.0**e), st.floats(1.0001, 3.0))
def test_a_lower_price_means_more_reward(law, beta, factor):
    dear, cheap = law.tilted(beta * factor), law.tilted(beta)
    assert dear.mean() <= cheap.mean() + 1e-12
    assert 0.0 <= dear.kl <= cheap.kl * (1 + 1e-9) + 1e-300
    assert 0 < cheap.effective_sample_size <= dear.effective_sample_size + 1e-12
    # d mean / d(1/beta) is the variance, d KL / d(1/beta) the variance over beta.
    step = 1 / cheap.beta - 1 / dear.beta
    variances = sorted([cheap.var(), dear.var()])
    if factor < 1.01 and step * (law.support[1] - law.support[0]) < 0.01:
        slope = (cheap.mean() - dear.mean()) / step
        assert 0.9 * variances[0] - 1e-9 / step < slope < 1.1 * variances[1] + 1e-9 / step


@cases(20)
@given(laws(), st.floats(0.05, 5.0), st.floats(0.05, 5.0), st.floats(-3, 3), st.floats(0.1, 10.0))
def test_tilts_of_random_laws(law, first, second, low, scale):
    together = law.tilted(1 / (1 / first + 1 / second))
    twice = law.tilted(first).tilted(second)
    width = law.support[1] - law.support[0] + 1e-9
    assert twice.mean() == pytest.approx(together.mean(), abs=1e-11 * width)
    moved = law.mapped(low, scale).tilted(first * scale)
    plain = law.tilted(first)
    assert moved.mean() == pytest.approx(low + scale * plain.mean(), abs=1e-9 * (1 + scale))
    assert moved.kl == pytest.approx(plain.kl, rel=1e-6, abs=1e-12)


@cases(20)
@given(laws(), st.integers(1, 20), st.integers(1, 20))
def test_best_ofs_of_random_laws(law, j, k):
    twice, at_once = law.best_of(j).best_of(k), law.best_of(j * k)
    points = law.ppf(np.linspace(0, 1, 11))
    assert twice.cdf(points) == pytest.approx(at_once.cdf(points), abs=1e-11)
    assert twice.mean() == pytest.approx(at_once.mean(), abs=1e-11)
    assert Value.from_dict(json.loads(json.dumps(twice.to_dict()))) == twice


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: uniform_law().best_of(0), r"needs k >= 1, up to 1e\+150, not 0"),
        (lambda: uniform_law().best_of(0.99), "needs k >= 1"),
        (lambda: uniform_law().best_of(math.nan), "k must be finite"),
        (lambda: uniform_law().best_of(math.inf), "k must be finite"),
        (lambda: uniform_law().best_of("four"), "k must be a number, not 'four'"),
        (lambda: uniform_law().tilted(0), "beta must be positive"),
        (lambda: uniform_law().tilted(-1), "beta must be positive"),
        (lambda: uniform_law().tilted(math.nan), "beta must be finite"),
        (lambda: uniform_law().tilted(-math.inf), "beta must be finite"),
        (lambda: uniform_law().tilted(None), "beta must be a number"),
        (lambda: uniform_law().tilted(1e-200), "beneath the range of floats"),
        (lambda: beta_law(1, 500).tilted(1e-6), "a larger beta is needed"),
        (lambda: BestOfLaw(base=[0, 1], k=2), "empirical_law"),
        (lambda: TiltedLaw(base=None, beta=2), "base must be a RewardLaw"),
        (lambda: uniform_law().best_of(2).rewards(8), "quantiles"),
    ],
)
def test_refusals(make, text):
    with pytest.raises(ct.CollapseError, match=text.replace("(", r"\(")):
        make()


# -- the figure -------------------------------------------------------------------------------


def test_figure_data_against_direct_computation():
    data = figures.downstream_data()
    beta = float(data.betas[30])
    for row, text in enumerate(data.utilities):
        rewards = ct.solve(text, 200).rewards
        p = np.exp((rewards - 1) / beta)
        p /= p.sum()
        assert data.good[row, 30] == pytest.approx(p[:100].sum(), abs=4e-3)
        assert data.shares[row, 30] == pytest.approx(1 / (200 * p @ p), abs=4e-3)
        assert data.means[row, 30] == pytest.approx(p @ rewards, abs=4e-3)
        # The policy's probabilities by rank are a density.
        assert data.ratios[row].mean() == pytest.approx(1.0, abs=5e-3)
    assert (np.diff(data.shares) <= 1e-12).all()
    assert (np.diff(data.good) >= -1e-12).all()
    # Best-of-k buys less than a price does at the same divergence.
    for row in range(3):
        at = np.interp(data.best_kl[row], data.kl[row], data.means[row])
        assert (data.best_means[row] <= at + 1e-3).all()


def test_what_the_figure_says():
    data = figures.downstream_data()
    # At every probability of the better half that matters, the open-ended prompts keep more.
    for good in (0.6, 0.8, 0.9, 0.95, 0.99):
        one = np.interp(good, data.good[0], data.shares[0])
        aware = np.interp(good, data.good[1], data.shares[2])
        assert aware > one + 0.02
    # And at small beta they keep less: docs/downstream.md.
    assert data.shares[2, -20] < data.shares[0, -20]


def test_the_page_runs_and_its_numbers_are_right(capsys):
    page = (Path(__file__).parent.parent / "docs" / "downstream.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "downstream.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 2
    one, closed, opened = (ct.limit(u) for u in ("log(x + 0.1)", "x", "-1/(x + 0.1)"))
    rows = re.findall(r"^\| (0\.\d+) \| ([\d.]+), ([\d.]+) \| ([\d.]+), ([\d.]+) \|$", page, re.M)
    assert len(rows) == 6
    for row in rows:
        good, beta, share, aware_beta, aware_share = map(float, row)
        # A digit of beta leaves this much open.
        within = 0.02 * (1 - good) + 1e-4
        assert 1 - one.tilted(beta).cdf(0.5) == pytest.approx(good, abs=within)
        assert closed.tilted(aware_beta).atoms[1, 1] == pytest.approx(good, abs=3 * within)
        assert one.tilted(beta).effective_sample_size == pytest.approx(share, abs=0.01)
        assert opened.tilted(aware_beta).effective_sample_size == pytest.approx(
            aware_share, abs=0.01
        )
    ends = [law.best_of(64).kl for law in (one, closed, opened)]
    assert [f"{end:.2f}" for end in ends] == ["1.69", "0.69", "2.40"]
    assert all(f"{end:.2f}" in page for end in ends)
