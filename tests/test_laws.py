"""Reward laws against SciPy, mpmath, quadrature and each other."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import special, stats

import collapse_theory as ct
from collapse_theory.errors import CollapseError
from collapse_theory.laws import (
    BetaDensity,
    Density,
    Panels,
    Part,
    RewardLaw,
    beta_law,
    discrete_law,
    distance,
    empirical_law,
    law_of,
    law_of_text,
    uniform_law,
)
from collapse_theory.laws.quantiles import running_sum
from collapse_theory.numerics.roots import invert_increasing
from collapse_theory.testing import laws
from collapse_theory.values import Value

pytestmark = pytest.mark.filterwarnings("error")

EPS = np.finfo(float).eps
# Of no type that a checker would refuse.
TEXT: Any = "uniform"
SAMPLE: Any = np.zeros(3)


def of_function(function, low=0.0, high=1.0, **options):
    """The density function((x - low)/(high - low)) per unit of x on [low, high]."""
    width = high - low

    def density(d, upper):
        return function(1.0 - d / width if upper else d / width) / width

    return Density.fit(density, low, high, **options)


def legendre_panels(edges, rows):
    """A Legendre series, in a coordinate that rises with x, on each panel between two edges."""
    edges, rows = np.array(edges), np.atleast_2d(rows)
    if len(edges) == 2:  # P_k(s) of the whole, by values, on either half
        series = np.polynomial.legendre.Legendre(rows[0], domain=edges)
        halves = np.linspace(*edges, 3)
        cut = [series.convert(domain=halves[i : i + 2]).coef for i in range(2)]
        return legendre_panels(halves, np.array(cut))
    at = 1 + int(np.argmin(np.abs(edges[1:-1] - edges[[0, -1]].mean())))
    turned = rows * (-1.0) ** np.arange(rows.shape[1])
    below = Panels(edges[: at + 1] - edges[0], turned[:at])
    above = Panels((edges[-1] - edges[at:])[::-1], rows[at:][::-1])
    return Density(edges[0], edges[-1], below, above)


def cosines(constant, rates, weights, low=0.0, high=1.0):
    """A constant and hyperbolic cosines about the middle, each by its value at the ends."""
    rates, weights, width = np.array(rates), np.array(weights), high - low

    def density(d, _):
        near, far = np.exp(-rates * d[:, None]), np.exp(-rates * (width - d[:, None]))
        return constant + ((near + far) / (1.0 + np.exp(-rates * width))) @ weights

    return Density.fit(density, low, high, finest=1.0 / max(rates, default=1.0), symmetric=True)


def jacobi(p, coefficients, low=0.0, high=1.0):
    """(1-s^2)^p times a series of Jacobi polynomials P_k^(p,p)(s)."""
    k, width = np.arange(len(coefficients)), high - low

    def density(d, upper):
        delta = 2.0 * d / width
        s = 1.0 - delta if upper else delta - 1.0
        if p == 0.0:
            return np.polynomial.legendre.legval(s, coefficients)
        series = special.eval_jacobi(k, p, p, s[:, None]) @ coefficients
        return (delta * (2.0 - delta)) ** p * series

    return Density.fit(density, low, high, exponents=(p, p))


def jacobi_series(p, count, seed=0):
    rng = np.random.default_rng(seed)
    k = np.arange(1, count)
    tail = 0.2 * rng.standard_normal(count - 1) / k ** (2.5 + max(p, 0))
    return jacobi(p, np.concatenate([[1.0], tail]), -1.0, 2.0)


KINDS: dict[str, Part] = {
    "uniform": BetaDensity(1.0, 1.0),
    "arcsine": BetaDensity(0.5, 0.5, -1.0, 3.0, 0.4),
    "steep beta": BetaDensity(0.025, 0.025),
    "skew beta": BetaDensity(0.7, 2.5, mass=0.3),
    "constant": cosines(0.5, [], [], 1.0, 2.0),
    "cosh": cosines(0.1, [0.01, 3.0], [0.2, 0.3], -2.0, 1.0),
    "layer": cosines(0.3, [3.0, 2000.0], [0.5, 100.0], 0.0, 1.0),
    "dip": cosines(1.0, [5.0], [-0.8], 0.0, 1.0),
    "legendre": jacobi(0.0, [0.5, 0.1, 0.2], 0.0, 2.0),
    "semicircle": jacobi(0.5, [2 / np.pi], -1.0, 1.0),
    "jacobi -0.9": jacobi_series(-0.9, 12),
    "jacobi -0.5": jacobi_series(-0.5, 40),
    "jacobi 2": jacobi_series(2.0, 6),
    "jacobi 90": jacobi_series(-0.3, 90),
    "legendre 500": jacobi_series(0.0, 500),
    "waves": of_function(lambda x: 2.0 + np.cos(5.0 * (2.0 * x - 1.0)), -1.0, 1.0),
    "steps": Density.steps([0.0, 0.1, 0.5, 2.0], [1.0, 0.0, 0.4]),
    "three panels": legendre_panels([0.0, 0.1, 0.5, 2.0], [[1.0, 0.5], [0.0, 0.0], [0.4, -0.3]]),
}


@pytest.fixture(params=KINDS, ids=str)
def density(request):
    return KINDS[request.param]


def interior(density, count=7):
    low, high = density.support
    return low + (high - low) * np.linspace(0.03, 0.97, count)


def gauss(function, density, a, b):
    """∫_a^b by Gauss's rule on 25 panels, and between the knots of the density."""
    knots = density.knots()
    inside = knots[(knots > a) & (knots < b)]
    edges = np.unique(np.concatenate([np.linspace(a, b, 26), inside]))
    t, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    return float((half * weights * function(edges[:-1, None] + half * (t + 1))).sum())


# --- every kind of density -----------------------------------------------------------------


def test_cdf_and_moments_are_integrals_of_the_density(density):
    points = interior(density)
    for a, b in pairwise(points):
        mass = gauss(density.pdf, density, a, b)
        area = gauss(density.cdf, density, a, b)
        assert density.cdf(b) - density.cdf(a) == pytest.approx(mass, abs=3e-13)
        integral = density.cdf_integral(b) - density.cdf_integral(a)
        assert integral == pytest.approx(area, abs=3e-13)


def test_moments_agree_with_the_cdf(density):
    # By parts, so that nothing singular is integrated: E(X - low)^2 = ∫ 2 (x - low) (1 - F).
    low, high = density.support

    def above(x):
        return density.mass - density.cdf(x)

    knots = np.unique(np.concatenate([low + (high - low) * np.geomspace(1e-12, 1, 99), [low]]))
    if isinstance(density, Density):
        knots = np.unique(np.concatenate([knots, density.edges]))
    t, w = np.polynomial.legendre.leggauss(40)
    knots = np.unique(np.concatenate([knots, low + high - knots]).clip(low, high))
    half = np.diff(knots)[:, None] / 2
    x = knots[:-1, None] + half * (t + 1)
    first = float((half * w * above(x)).sum()) / density.mass
    second = float((half * w * 2 * (x - low) * above(x)).sum()) / density.mass
    assert density.mean == pytest.approx(low + first, abs=1e-11)
    assert density.variance == pytest.approx(second - first**2, abs=2e-11)


def test_outside_the_support(density):
    low, high = density.support
    x = np.array([-np.inf, low - 1.0, low, high, high + 1.0, np.inf])
    assert density.cdf(x).tolist() == [0.0] * 3 + [density.mass] * 3
    assert density.pdf(x[[0, 1, 4, 5]]).tolist() == [0.0] * 4
    area = density.cdf_integral(np.array([low - 1.0, low, high, high + 1.0]))
    expected = density.mass * np.array([0.0, 0.0, high - density.mean, high + 1.0 - density.mean])
    assert area == pytest.approx(expected, abs=1e-14)
    assert np.isnan(density.cdf(np.nan))
    assert np.isnan(density.pdf(np.nan))


def test_cdf_is_monotone_and_meets_in_the_middle(density):
    low, high = density.support
    middle = low + 0.5 * (high - low)
    near = middle + (high - low) * EPS * np.arange(-20, 21)
    x = np.sort(np.concatenate([np.linspace(low, high, 2001), near]))
    assert np.diff(density.cdf(x)).min() >= -4 * EPS * density.mass


def test_ppf_inverts_the_cdf(density):
    m = density.mass * np.concatenate([np.linspace(0, 1, 501), [1e-12, 1e-6, 1 - 1e-6]])
    x = density.ppf(m)
    assert x[0] == density.low
    assert x[500] == density.high
    assert (np.diff(x[:501]) >= 0).all()
    low, high = density.support
    span = np.spacing(max(abs(low), abs(high)))
    # The mass m lies between those at the neighbouring floats: no better x can be named.
    assert (density.cdf(x - 2 * span) <= m + 4 * EPS * density.mass).all()
    assert (density.cdf(x + 2 * span) >= m - 4 * EPS * density.mass).all()


def test_ppf_has_relative_accuracy_at_the_lower_end():
    for kind in (BetaDensity(0.3, 0.3), jacobi(-0.7, [1.0, 0.2, 0.1]), KINDS["layer"]):
        m = kind.mass * np.geomspace(1e-60, 0.4, 60)
        assert kind.cdf(kind.ppf(m)) == pytest.approx(m, rel=2e-14)


def test_mapped_density(density):
    moved = density.mapped(-3.0, 0.25)
    x = interior(density, 11)
    assert moved.mass == pytest.approx(density.mass, rel=1e-14)
    assert moved.cdf(-3.0 + 0.25 * x) == pytest.approx(density.cdf(x), abs=1e-14)
    assert moved.pdf(-3.0 + 0.25 * x) == pytest.approx(4.0 * density.pdf(x), rel=1e-9, abs=1e-12)
    assert moved.mean == pytest.approx(-3.0 + 0.25 * density.mean, abs=1e-14)
    assert moved.variance == pytest.approx(density.variance / 16, rel=1e-11)


def test_far_from_zero_nothing_cancels(density):
    far = density.mapped(1e6, 1.0)
    x = interior(density)
    area = far.cdf_integral(1e6 + x)
    assert area == pytest.approx(density.cdf_integral(x), rel=1e-8, abs=1e-9)


def test_density_is_a_value(density):
    assert pickle.loads(pickle.dumps(density)) == density
    assert copy.deepcopy(density) == density
    back = Value.from_dict(json.loads(json.dumps(density.to_dict())))
    assert back == density
    assert hash(back) == hash(density)
    assert density != density.mapped(0.0, 2.0)
    assert type(density).__name__ in repr(density)
    assert len(repr(density)) < 100


def test_scalars_in_scalars_out(density):
    x = float(density.mean)
    for method in (density.pdf, density.cdf, density.cdf_integral):
        assert type(method(x)) is float
        assert method(np.full((2, 3), x)).shape == (2, 3)
    assert type(density.ppf(0.1)) is float
    assert density.ppf(np.empty((0, 2))).shape == (0, 2)


# --- single kinds against independent computations ----------------------------------------


@pytest.mark.parametrize("a", [0.025, 0.3, 0.5, 1.0, 1.4])
def test_beta_tails_against_mpmath(a):
    density = BetaDensity(a, a)
    with mpmath.workdps(50):
        for q in (1e-7, 1e-3, 0.1, 0.37, 0.5):
            x = mpmath.mpf(density.ppf(q))
            slope = x**a * (1 - x) ** (a - 1) / mpmath.beta(a, a)
            error = (mpmath.betainc(a, a, 0, x, regularized=True) - q) / slope
            assert abs(float(error)) < 3e-14, "relative error of x"
            upper = mpmath.mpf(density.ppf(1 - q))
            mirror = 1 - mpmath.mpf(density.ppf(float(1 - mpmath.mpf(1 - q))))
            assert abs(float(upper - mirror)) <= 2.0**-52


def test_beta_quantiles_of_tiny_masses():
    # scipy.special.betaincinv gives NaN at many of these.
    rng = np.random.default_rng(5)
    for a, b in np.exp(rng.uniform(np.log(0.02), np.log(30), (60, 2))):
        density = BetaDensity(a, b)
        m = np.geomspace(1e-290, 1e-3, 120)
        x = density.ppf(m)
        assert not np.isnan(x).any()
        assert (np.diff(x) >= -1e-300).all()
        held = x > 1e-300  # below, x^a is m only to the next denormal number
        assert density.cdf(x[held]) == pytest.approx(m[held], rel=1e-12)


def test_beta_against_scipy():
    density, other = BetaDensity(0.7, 2.5, 1.0, 3.0), stats.beta(0.7, 2.5, 1.0, 2.0)
    x = np.linspace(1.001, 2.999, 50)
    assert density.pdf(x) == pytest.approx(stats.beta.pdf(x, 0.7, 2.5, 1.0, 2.0), rel=1e-12)
    assert density.cdf(x) == pytest.approx(other.cdf(x), abs=1e-14)
    assert density.variance == pytest.approx(other.var(), rel=1e-13)
    assert BetaDensity(600.0, 700.0).pdf(0.46) == pytest.approx(
        stats.beta.pdf(0.46, 600, 700), rel=1e-11
    )
    assert BetaDensity(0.5, 2.0).pdf([0.0, 1.0]).tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("p", [-0.9, -0.5, -0.2, 0.0, 1.3])
@pytest.mark.parametrize("d", [1e-30, 1e-9, 1e-3, 0.4])
def test_fit_against_mpmath(p, d):
    coefficients = np.array([1.0, 0.1, 0.05, 0.0, 0.02, -0.01])
    density = jacobi(p, coefficients)
    with mpmath.workdps(80):
        for upper in (False, True):
            s = (1 - 2 * mpmath.mpf(d)) * (1 if upper else -1)
            series = [mpmath.mpf(c) for c in coefficients.tolist()]
            value = sum(c * mpmath.jacobi(k, p, p, s) for k, c in enumerate(series))
            pdf = float((1 - s * s) ** mpmath.mpf(p) * value)
            powers = [mpmath.mpf(0)] * 6
            for k, c in enumerate(series):  # mass in d by Taylor's series of the polynomial
                end = 1 if upper else (-1) ** k
                for j in range(k + 1):
                    term = mpmath.binomial(k, j) * mpmath.rf(k + 2 * p + 1, j)
                    term *= mpmath.rf(p + j + 1, k - j) / mpmath.factorial(k) * (-1) ** j
                    powers[j] += end * c * term
            masses = [
                sum(
                    v * 4 ** mpmath.mpf(p) * mpmath.betainc(p + 1 + j, p + 1, 0, mpmath.mpf(at))
                    for j, v in enumerate(powers)
                )
                for at in (d, 1)
            ]
            at = np.array([d])
            # The power law alone holds next to the end, to 1e-17 of the mass.
            assert density.density(at, upper)[0] == pytest.approx(pdf, rel=1e-9)
            within = density.mass_within(at, upper)[0]
            assert within == pytest.approx(float(masses[0]), rel=1e-9)
            # The standard: 1e-14 of the whole.
            assert abs(within - float(masses[0])) < 3e-15 * float(masses[1])
            assert density.mass == pytest.approx(float(masses[1]), rel=5e-15)


@pytest.mark.parametrize(("p", "q"), [(-0.95, 0.25), (-0.5, 0.25), (-0.985, 0.25), (-0.97, 0.5)])
def test_fit_of_strong_ends(p, q):
    # The power law alone holds only within 1e-50 of the end.
    density = Density.fit(lambda d, _: d**p * (1 + d**q), 0, 2, exponents=(p, p), symmetric=True)
    with mpmath.workdps(40):
        exact = 1 / (1 + mpmath.mpf(p)) + 1 / (1 + mpmath.mpf(p) + mpmath.mpf(q))
        assert density.mass == pytest.approx(float(2 * exact), rel=1e-14)
        for d in (1e-200, 1e-40, 1e-9, 0.3):
            e = mpmath.mpf(d)
            mass = e ** (1 + mpmath.mpf(p)) / (1 + mpmath.mpf(p))
            mass += e ** (1 + mpmath.mpf(p) + mpmath.mpf(q)) / (1 + mpmath.mpf(p) + mpmath.mpf(q))
            assert abs(density.cdf(d) - float(mass)) < 1e-14 * density.mass


def test_fit_keeps_the_digits_of_tails():
    # A normal law cut at 12 deviations: 1e-33 is left there.
    density = Density.fit(
        lambda d, _: np.exp(-0.5 * (12.0 - d) ** 2) / math.sqrt(2 * math.pi),
        -12.0,
        12.0,
        symmetric=True,
    )
    for x in (-11.0, -9.0, -5.0, -1.0):
        with mpmath.workdps(60):
            exact = mpmath.ncdf(x) - mpmath.ncdf(-12)
        assert density.cdf(x) == pytest.approx(float(exact), rel=1e-10)
    assert density.mass == pytest.approx(1.0, abs=2e-15)
    assert density.variance == pytest.approx(1.0, rel=1e-14)


def test_fit_with_knots_and_a_known_mass():
    def bump(d, upper):
        x = 1.0 - d if upper else d
        return 1.0 + 1e5 * np.exp(-0.5 * ((x - 0.3) / 1e-6) ** 2) + 3.0 * np.abs(x - 0.77)

    around = 0.3 + 1e-6 * np.array([-8.0, -3.0, 0.0, 3.0, 8.0])
    density = Density.fit(bump, 0, 1, knots=[*around, 0.77])
    exact = 1.0 + 0.1 * math.sqrt(2 * math.pi) + 1.5 * (0.77**2 + 0.23**2)
    assert density.mass == pytest.approx(exact, rel=3e-15)
    assert min(abs(density.edges - 0.77)) < 1e-15
    assert Density.fit(bump, 0, 1, knots=[*around, 0.77], mass=0.25).mass == pytest.approx(0.25)


def test_symmetric_densities_hold_one_side():
    once = KINDS["cosh"]
    assert isinstance(once, Density)
    twice = Density(once.low, once.high, once.lower, once.lower)
    x = interior(once)
    assert once.upper is None
    assert once.mirrored() is once
    assert once.cdf(x) == pytest.approx(twice.cdf(x), abs=1e-15)
    assert once.variance == pytest.approx(twice.variance, rel=1e-14)


def test_mirrored_density(density):
    low, high = density.support
    x = interior(density)
    turned = density.mirrored()
    assert turned.pdf(x) == pytest.approx(density.pdf(low + high - x), rel=1e-12, abs=1e-13)
    assert turned.cdf(x) == pytest.approx(density.mass - density.cdf(low + high - x), abs=1e-14)
    assert turned.scaled(0.5).mass == pytest.approx(0.5 * density.mass, rel=1e-15)


def test_bounds_hold(density):
    low, high = density.support
    edges = low + (high - low) * np.array([0.0, 1e-9, 1e-3, 0.1, 0.45, 0.61, 0.97, 1.0])
    for a, b in pairwise(edges):
        x = np.linspace(a, b, 101)[1:-1]
        most = density.bound(a, b)
        assert (density.pdf(x) <= most * (1 + 1e-12)).all()
    assert density.bound(high + 1.0, high + 2.0) == 0.0
    assert math.isfinite(density.bound(*edges[2:4]))


def test_kinds_agree_with_each_other():
    x = np.linspace(0, 1, 101)
    beta, series = BetaDensity(0.3, 0.3), jacobi(-0.7, [1.0])
    assert series.cdf(x) / series.mass == pytest.approx(beta.cdf(x), abs=2e-15)
    assert series.variance == pytest.approx(beta.variance, rel=1e-13)
    cosh = cosines(0.2, [4.0], [1.0])
    legendre = legendre_panels([0.0, 1.0], [panels_to_legendre(cosh.pdf)])
    for other in (of_function(cosh.pdf), legendre):
        for name in ("pdf", "cdf", "cdf_integral"):
            tolerance = 2e-12 if name == "pdf" else 3e-14
            expected = getattr(cosh, name)(x)
            assert getattr(other, name)(x) == pytest.approx(expected, abs=tolerance)
        assert other.variance == pytest.approx(cosh.variance, rel=1e-12)
        m = np.linspace(0, 1, 99) * min(other.mass, cosh.mass)
        assert other.ppf(m) == pytest.approx(cosh.ppf(m), abs=2e-13)


def panels_to_legendre(function, order=30):
    t, w = np.polynomial.legendre.leggauss(order)
    basis = np.polynomial.legendre.legvander(t, order - 1)
    return (basis * (w * function((t + 1) / 2))[:, None]).sum(0) * (np.arange(order) + 0.5)


@pytest.mark.parametrize("rate", [1e-4, 0.3, 0.99, 1.01, 2.0, 40.0])
def test_cosines_against_mpmath(rate):
    density = cosines(0.25, [rate], [0.5], 0.0, 2.0)
    with mpmath.workdps(40):
        r = mpmath.mpf(rate)
        scale = 0.5 / mpmath.cosh(r)
        for d in (1e-9, 0.01, 1.0):
            f = mpmath.mpf(d)
            mass = f / 4 + scale * (mpmath.sinh(r) - mpmath.sinh(r * (1 - f))) / r
            moment = f**2 / 8 + scale * (
                (mpmath.cosh(r) - mpmath.cosh(r * (1 - f))) / r**2
                - f * mpmath.sinh(r * (1 - f)) / r
            )
            assert density.cdf(d) == pytest.approx(float(mass), rel=4e-15)
            # ∫ F is d F less the moment; floats know it to rounding of the whole.
            area = float(f * mass - moment)
            assert density.cdf_integral(d) == pytest.approx(area, rel=4e-15, abs=1e-16)
        spread = mpmath.quad(lambda y: y**2 * mpmath.cosh(r * y), [-1, 0, 1])
        second = mpmath.mpf(1) / 6 + scale * spread
        assert density.variance == pytest.approx(float(second) / density.mass, rel=2e-14)


@pytest.mark.parametrize(
    ("law", "name"),
    [
        (beta_law(0.5), "Beta(1/2, 1/2) on [0, 1]"),
        (beta_law((1 - 1 / 3) / 2, 0.35, -1, 2), "Beta(1/3, 0.35) on [-1, 2]"),
        (uniform_law(), "uniform on [0, 1]"),
        (uniform_law().best_of(2), "density on [0, 1]; the best of 2"),
        (discrete_law([0, 1], [0.5, 0.5]), "atoms: 0.5 at 0, 0.5 at 1"),
    ],
)
def test_laws_say_their_name(law, name):
    assert law.name == name
    assert repr(law) == f"RewardLaw({name})"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BetaDensity(0.0, 1.0), "a must be positive"),
        (lambda: BetaDensity(1.0, np.nan), "b must be finite"),
        (lambda: BetaDensity(1.0, 1.0, mass=-1.0), "mass must be positive"),
        (lambda: BetaDensity(1.0, 1.0, 2.0, 1.0), "low must be below high"),
        (lambda: BetaDensity(TEXT, 1.0), "must be a number"),
        (lambda: jacobi(-1.0, [1.0]), "above -1"),
        (lambda: of_function(lambda x: x * np.nan), "finite"),
        (lambda: jacobi(0.0, [1.0, 2.0]), "negative"),
        (lambda: jacobi(0.0, [-1.0]), "mass"),
        (lambda: jacobi(0.0, [1.0], 2.0, 1.0), "low must be below high"),
        (lambda: cosines(1.0, [9.0], [-3.0]), "negative"),
        (lambda: Density.steps([0.0, 0.0, 1.0], [1.0, 1.0]), "increasing"),
        (lambda: Density.steps([0.0, 1.0], [1.0, 1.0]), "a height between"),
        (lambda: Density.steps([0.0, 0.001, 1.0], [-9.0, 1.0]), "negative"),
        (lambda: Panels([0.0, 0.5, 0.5], [[1.0], [1.0]]), "increasing"),
        (lambda: Panels([0.0, 0.5], [[1.0], [1.0]]), "1 panels"),
        (lambda: Panels([0.1, 0.5], [[1.0]], -1.0), "above -1"),
        (lambda: Density(0.0, 1.0, Panels([0.0, 0.4], [[1.0]])), "must meet"),
        (lambda: BetaDensity(1.0, 1.0).mapped(0.0, -1.0), "scale must be positive"),
        (lambda: BetaDensity(1.0, 1.0).mapped(np.inf, 1.0), "low must be finite"),
        (lambda: BetaDensity(1.0, 1.0).ppf(1.5), "between 0 and 1.0"),
        (lambda: BetaDensity(1.0, 1.0).ppf([0.5, np.nan]), "between 0 and 1.0"),
    ],
)
def test_bad_densities_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# --- laws ----------------------------------------------------------------------------------

# Atoms of log(x+0.1) in the box: docs/theory.md.
ATOM = 0.1839878103439
MIXED = RewardLaw([[0, ATOM], [1, ATOM]], (BetaDensity(1.3, 1.3, mass=1 - 2 * ATOM),))
LAWS: dict[str, RewardLaw] = {
    "uniform": uniform_law(),
    "arcsine": beta_law(0.5),
    "steep": beta_law(0.025),
    "two values": discrete_law([1.0, 0.0], [0.5, 0.5]),
    "sample": empirical_law([0.3, 0.1, 0.1, 0.9, -0.4]),
    "point": discrete_law([0.25], [1.0]),
    "mixed": MIXED,
    "atom inside": RewardLaw([[0.3, 0.5]], (BetaDensity(2, 1, mass=0.5),)),
    "hole": RewardLaw(parts=(BetaDensity(1, 1, 0, 0.4, 0.5), BetaDensity(2, 3, 0.6, 1, 0.5))),
    "overlap": RewardLaw(
        [[0.5, 0.2]], (BetaDensity(0.5, 0.5, 0, 1, 0.4), BetaDensity(3, 1, 0.4, 2, 0.4))
    ),
    "semicircle": RewardLaw(parts=(jacobi(0.5, np.array([1 / np.pi]), -2.0, 2.0),)),
    "layer": RewardLaw([[0, 0.1], [1, 0.1]], (cosines(0.75, [800.0], [20.0]),)),
    "panels": RewardLaw(
        parts=(of_function(lambda x: (2.0 + np.cos(2 * np.pi * x)) / 2.0, -1.0, 1.0),)
    ),
}


@pytest.fixture(params=LAWS, ids=str)
def law(request):
    return LAWS[request.param]


PROBABILITY = st.floats(0.0, 1.0)
SAMPLES = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=1, max_size=12)


def test_ppf_is_a_generalised_inverse(law):
    edges = law.cdf(law.support)
    before, after = law.distribution.jumps
    q = np.concatenate([np.linspace(0, 1, 401), [1e-300, 1e-12, 1 - 1e-12], after])
    q = np.sort(np.concatenate([q, edges, np.nextafter(before, 1).clip(0, 1)]))
    x = law.ppf(q)
    assert (np.diff(x) >= 0).all()
    assert (law.cdf(x) >= q).all()
    below = x - 1e-13 * (1 + np.abs(x))
    assert (law.cdf(below) <= q + 1e-10).all() if law.parts else (law.cdf(below) < q)[q > 0].all()
    assert [law.ppf(0.0), law.ppf(1.0)] == law.support.tolist()
    assert law.ppf(q[::-1]).tolist() == x[::-1].tolist()


@given(law=laws(), q=st.lists(PROBABILITY, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_ppf_properties(law, q):
    q = np.sort(q)
    x = law.ppf(q)
    assert (law.cdf(x) >= q).all()
    assert (np.diff(x) >= 0).all()
    assert law.support[0] <= x.min()
    assert x.max() <= law.support[1]


def test_ppf_at_steps_of_a_discrete_law():
    law = empirical_law(np.arange(10.0))
    assert law.ppf(np.nextafter(0.3, 1)) == 3.0
    for n in range(1, 120):
        steps = empirical_law(np.arange(n)).ppf(np.arange(1, n + 1) / n)
        assert steps.tolist() == list(range(n))
    assert law.cdf([-0.1, 0.0, 8.9, 9.0]).tolist() == [0.0, 0.1, 0.9, 1.0]
    big = empirical_law(np.arange(100_000.0))
    assert (big.quantiles(100_000) == np.arange(100_000.0)[::-1]).all()


def test_atoms_at_the_ends_of_a_density():
    inside = BetaDensity(1.3, 1.3)
    q = np.array([0.1, ATOM, 0.3, 0.5, 0.7, 1 - ATOM + 1e-9, 0.95])
    x = MIXED.ppf(q)
    share = 1 - 2 * ATOM
    assert x[[0, 1]].tolist() == [0.0, 0.0]
    assert x[[5, 6]].tolist() == [1.0, 1.0]
    assert x[2:5] == pytest.approx(inside.ppf((q[2:5] - ATOM) / share), abs=1e-15)
    assert MIXED.cdf([-1e-9, 0.0, 0.5, 1.0]) == pytest.approx([0.0, ATOM, 0.5, 1.0], abs=1e-15)
    assert MIXED.cdf(np.nextafter(1.0, 0)) == pytest.approx(1 - ATOM, abs=1e-15)


def test_moments_of_laws(law):
    q = (np.arange(50_000) + 0.5) / 50_000
    x = law.distribution.rough(q)
    # The quantile rule is off by at most a step times the range.
    assert law.mean() == pytest.approx(x.mean(), abs=2e-4)
    assert law.var() == pytest.approx(x.var(), abs=2e-4)
    far = law.mapped(1e8, 1.0)
    assert far.var() == pytest.approx(law.var(), abs=1e-7)
    assert type(law.mean()) is float
    assert type(law.var()) is float


def test_laws_against_scipy():
    law, other = beta_law(0.3, 0.8), stats.beta(0.3, 0.8)
    q = np.linspace(0.01, 0.99, 50)
    assert law.ppf(q) == pytest.approx(other.ppf(q), rel=1e-11)
    assert law.mean() == pytest.approx(other.mean(), rel=1e-14)
    assert law.var() == pytest.approx(other.var(), rel=1e-14)
    semicircle, wigner = LAWS["semicircle"], stats.semicircular(scale=2.0)
    x = np.linspace(-2, 2, 41)
    assert semicircle.cdf(x) == pytest.approx(wigner.cdf(x), abs=1e-14)
    assert semicircle.var() == pytest.approx(1.0, rel=1e-14)
    assert uniform_law(1, 4).var() == pytest.approx(0.75, rel=1e-15)


def test_samples_follow_the_law(law):
    sample = law.rvs(4000, rng=1)
    assert sample.shape == (4000,)
    assert law.rvs((2, 3), rng=0).shape == (2, 3)
    assert type(law.rvs()) is float
    assert (sample >= law.support[0]).all()
    assert (sample <= law.support[1]).all()
    assert np.array_equal(sample, law.rvs(4000, rng=np.random.default_rng(1)))
    # Dvoretzky-Kiefer-Wolfowitz: a gap of 0.035 has probability 2 exp(-9.8) = 1e-4.
    at = np.concatenate([np.unique(sample), law.support])
    empirical = empirical_law(sample)
    assert np.abs(empirical.cdf(at) - law.cdf(at)).max() < 0.035


def test_quantiles_come_best_first(law):
    rewards = law.quantiles(9)
    assert rewards.tolist() == law.ppf((np.arange(9, 0, -1) - 0.5) / 9).tolist()
    assert (np.diff(rewards) <= 0).all()
    assert law.distance(empirical_law(law.quantiles(2000))) < 5e-3 * np.ptp(law.support) + 1e-15


def test_law_is_a_value(law):
    full = RewardLaw(
        law.atoms, law.parts, -0.79, 1e-13, np.nan, "closed form", "optimal", "Theorem 1"
    )
    for value in (law, full):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.copy(value) == value
        assert copy.deepcopy(value) == value
        back = RewardLaw.from_dict(json.loads(json.dumps(value.to_dict(), allow_nan=False)))
        assert back == value
        assert hash(back) == hash(value)
    assert full != law
    with pytest.raises(AttributeError):
        law.gap = 0.0
    if len(law.atoms):
        with pytest.raises(ValueError, match="read-only"):
            law.atoms[0, 0] = 3.0


def test_atoms_are_sorted_and_merged():
    law = RewardLaw([[1, 0.25], [-0.0, 0.125], [0.5, 0.0], [0, 0.125], [1, 0.5]])
    assert law.atoms.tolist() == [[0.0, 0.25], [1.0, 0.75]]
    assert law == discrete_law([0, 1], [0.25, 0.75])
    assert empirical_law([2, 1], weights=[3, 1]) == discrete_law([1, 2], [0.25, 0.75])
    tiny = empirical_law([1, 2], weights=[1e-300, 3e-300])
    assert tiny.atoms[:, 1] == pytest.approx([0.25, 0.75])
    assert uniform_law().atoms.shape == (0, 2)


def test_mapped_law(law):
    moved = RewardLaw(law.atoms, law.parts, 1.0, 0.0, 0.0, "m", "optimal", "r").mapped(2.0, 3.0)
    assert (moved.objective, moved.gap, moved.relative_gap, moved.status) == (None,) * 4
    assert (moved.method, moved.reference) == ("m", "r")
    assert moved.support == pytest.approx(2.0 + 3.0 * law.support, abs=1e-14)
    q = np.linspace(0, 1, 37)
    x = law.ppf(q)
    assert moved.ppf(q) == pytest.approx(2.0 + 3.0 * x, abs=1e-12)
    assert moved.mean() == pytest.approx(2.0 + 3.0 * law.mean(), abs=1e-13)


def test_pdf_adds_the_parts():
    law = LAWS["overlap"]
    x = np.linspace(0.01, 1.9, 20)
    assert law.pdf(x) == pytest.approx(law.parts[0].pdf(x) + law.parts[1].pdf(x), rel=1e-15)
    assert discrete_law([0], [1]).pdf(0.0) == 0.0
    assert np.isnan(law.cdf(np.nan))
    assert np.isnan(law.pdf(np.nan))
    assert law.cdf(np.array([-np.inf, np.inf])).tolist() == [0.0, 1.0]
    assert type(law.cdf(0.3)) is float
    assert type(law.pdf(0.3)) is float
    assert type(law.ppf(np.float64(0.3))) is float


def test_repr_reads_well():
    text = "RewardLaw(atoms: 0.184 at 0, 0.184 at 1; Beta(1.3, 1.3) on [0, 1] of mass 0.632)"
    assert repr(MIXED) == text
    assert repr(empirical_law(np.arange(20))) == "RewardLaw(20 atoms between 0 and 19)"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RewardLaw(), "sum to 1; these sum to 0"),
        (lambda: RewardLaw([[0, 0.5], [1, 0.4]]), "these sum to 0.9"),
        (lambda: RewardLaw([[0, 1.0 + 1e-8]]), "these sum to 1.00000001"),
        (lambda: RewardLaw([[0, 1.5], [1, -0.5]]), "negative"),
        (lambda: RewardLaw([[0, np.nan], [1, 1.0]]), "finite"),
        (lambda: RewardLaw([[np.inf, 1.0]]), "finite"),
        (lambda: RewardLaw([1.0, 2.0]), "axes"),
        (lambda: RewardLaw([[1.0, 0.5, 0.5]]), "pairs"),
        (lambda: RewardLaw([["a", "b"]]), "array of numbers"),
        (lambda: RewardLaw(parts=(BetaDensity(1, 1, mass=0.5),)), "these sum to 0.5"),
        (lambda: RewardLaw(parts=(TEXT,)), "must be densities"),
        (lambda: empirical_law([]), "no sample"),
        (lambda: empirical_law([1.0, np.nan]), "finite"),
        (lambda: empirical_law([1.0], weights=[1.0, 2.0]), "no sample"),
        (lambda: empirical_law([1.0, 2.0], weights=[-1.0, 2.0]), "nonnegative"),
        (lambda: empirical_law([1.0, 2.0], weights=[0.0, 0.0]), "all 0"),
        (lambda: discrete_law([0, 1], [1.0]), "as many masses"),
        (lambda: beta_law(-1.0), "positive"),
        (lambda: uniform_law(1, 0), "below high"),
        (lambda: uniform_law().ppf(1.2), "probabilities must lie in"),
        (lambda: uniform_law().ppf(np.array([0.1, np.nan])), "got nan"),
        (lambda: uniform_law().ppf(-1e-9), "probabilities must lie in"),
        (lambda: uniform_law().quantiles(0), "n must be a whole number, 1"),
        (lambda: uniform_law().mapped(0.0, 0.0), "scale must be positive"),
        (lambda: RewardLaw.from_dict({"type": "RewardLaw", "mass": 1.0}), "unknown fields"),
    ],
)
def test_bad_laws_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_running_sum_is_rounded_once():
    masses = np.random.default_rng(2).random(20_000) ** 8
    sums = running_sum(masses)
    for k in (1, 17, 5_000, 20_000):
        assert sums[k] == pytest.approx(math.fsum(masses[:k]), rel=EPS, abs=0.0)


def test_newton_on_a_power_takes_few_steps():
    calls = []

    def power(d, active):
        calls.append(active.size)
        return d**0.1, 0.1 * d**-0.9

    target = np.geomspace(1e-20, 0.9, 50)
    ones = np.ones(50)
    d = invert_increasing(power, target, 0 * ones, ones, 0.5 * ones)
    assert d == pytest.approx(target**10, rel=1e-13)
    assert len(calls) <= 4, "straight in log d and log B: one step, and the look that it is there"


# --- expectations --------------------------------------------------------------------------


@pytest.mark.parametrize("b", [0.3, 1.0, 30.0])
@pytest.mark.parametrize("a", [0.1, 1.0, 2.5])
def test_expectations_are_those_of_scipy(a, b):
    law, other = beta_law(a, b, -1.0, 2.0), stats.beta(a, b, -1.0, 3.0)
    assert law.entropy() == pytest.approx(other.entropy(), rel=1e-9, abs=1e-12)
    assert law.std() == pytest.approx(other.std(), rel=1e-14)
    assert law.median() == pytest.approx(other.median(), rel=1e-12)
    # (3 U - 1)^k by the binomial theorem, with E U^j = B(a+j, b) / B(a, b).
    j = np.arange(6)
    units = special.beta(a + j, b) / special.beta(a, b) * 3.0**j
    for k in range(6):
        exact = np.sum(special.binom(k, j) * (-1.0) ** (k - j) * units)
        assert law.moment(k) == pytest.approx(exact, rel=1e-11, abs=1e-12)
    log = special.digamma(a) - special.digamma(a + b)
    assert beta_law(a, b).expect(np.log) == pytest.approx(log, rel=1e-10)
    for x in (-2.0, -0.9, 0.5, 1.999, 2.0):
        assert law.sf(x) == pytest.approx(other.sf(x), rel=1e-12)


def test_expectations_of_atoms_kinks_and_sums_of_densities():
    law = LAWS["overlap"]
    assert law.expect(lambda x: 3.0) == pytest.approx(3.0, rel=1e-14)
    assert law.moment(1) == pytest.approx(law.mean(), rel=1e-13)
    # E |X - c| is the distance to the law of c.
    for each in LAWS.values():
        away = each.expect(lambda x: np.abs(x - 0.3))
        assert away == pytest.approx(each.distance([0.3]), abs=1e-8)
        x = each.ppf(np.linspace(0, 1, 9))
        assert each.sf(x) + each.cdf(x) == pytest.approx(np.ones(9), abs=1e-14)
    assert MIXED.sf([-1.0, 0.0, 1.0]).tolist() == pytest.approx([1.0, 1 - ATOM, 0.0], abs=1e-15)
    assert discrete_law([0, 1, 2], [0.5, 0.25, 0.25]).entropy() == pytest.approx(1.5 * np.log(2))
    two = RewardLaw((), (BetaDensity(1, 1, 0, 1, 0.5), BetaDensity(1, 1, 0, 2, 0.5)))
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert two.entropy() == pytest.approx(entropy, rel=1e-13)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda law: law.entropy(), "no entropy"),
        (lambda law: law.moment(0.5), "k must be a whole number"),
        (lambda law: law.moment(-1), "k must be a whole number"),
        (lambda law: law.expect(lambda x: 1 / (0 * x)), "finite value"),
        (lambda law: law.expect(lambda x: np.zeros(3)), "finite value"),
        (lambda law: law.expect(lambda x: "x"), "array of numbers"),
        (lambda law: law.sf("x"), "x must be an array of numbers"),
        (lambda law: law.pdf("y"), "x must be an array of numbers"),
        (lambda law: law.cdf(10**400), "x must be an array of numbers"),
        (lambda law: law.moment(10**400), "k must be a number"),
        (lambda law: law.expect(3), "needs a function"),
        (lambda law: law.rvs(-1), "size = -1"),
        (lambda law: law.rvs(2, rng="x"), "rng = 'x'"),
        (lambda law: law.best_of(1e200), "1e\\+200"),
        (lambda law: law.best_of(np.nan), "k must be finite"),
        (lambda law: law.tilted(1e-300), "beta = 1e-300"),
        (lambda law: law.mapped(0, 1e308), "1e\\+308"),
        (lambda law: law.mapped(1e200, 1), "1e\\+200"),
        (lambda law: law.best_of(2).mapped(0, 1e-300), "1e-300"),
        (lambda law: uniform_law(-1e300, 1e300), "1e\\+300"),
        (lambda law: discrete_law([0, 1e300], [0.5, 0.5]), "1e\\+300"),
        (lambda law: beta_law(1e-5, 1e5).best_of(2), "too near its ends"),
        (lambda law: law_of_text(SAMPLE), "text must be"),
        (lambda law: RewardLaw([[1], [1, 2]]), "array of numbers"),
        (lambda law: law.quantiles(0), "n must be a whole number"),
        (lambda law: law.quantiles(10**400), "up to 100,000,000"),
        (lambda law: law.quantiles(2.5), "n must be a whole number"),
    ],
)
def test_questions_that_have_no_answer(ask, words):
    with pytest.raises(CollapseError, match=words):
        ask(MIXED)


# --- distances -----------------------------------------------------------------------------


def brute_force(first, second, count=400_000):
    """∫ |F - G| by the midpoint rule between all atoms and ends, on a grid graded to the ends."""
    ends = np.unique(np.concatenate([first.distribution.points, second.distribution.points]))
    total = 0.0
    s = (np.arange(count) + 0.5) / count
    u, weight = np.sin(0.5 * np.pi * s) ** 2, 0.5 * np.pi * np.sin(np.pi * s) / count
    for low, high in pairwise(ends):
        x = low + (high - low) * u
        total += (high - low) * float(np.abs(first.cdf(x) - second.cdf(x)) @ weight)
    return total


@given(first=SAMPLES, second=SAMPLES)
@settings(max_examples=100, deadline=None)
def test_distance_of_samples_is_that_of_scipy(first, second):
    mine = empirical_law(first).distance(empirical_law(second))
    assert mine == pytest.approx(stats.wasserstein_distance(first, second), abs=1e-13)


@pytest.mark.parametrize("name", [n for n in LAWS if n not in ("uniform",)])
@pytest.mark.parametrize("other", ["mixed", "sample", "hole"])
def test_distance_against_brute_force(name, other):
    first, second = LAWS[name], LAWS[other]
    if name == other:
        assert first.distance(second) == 0.0
        return
    got = first.distance(second)
    assert got == pytest.approx(brute_force(first, second, 20_000), abs=2e-7)
    assert got == pytest.approx(second.distance(first), abs=1e-14)


def test_distances_in_closed_form():
    uniform = uniform_law()
    assert uniform.distance(discrete_law([0, 1], [0.5, 0.5])) == pytest.approx(0.25, abs=1e-16)
    assert uniform.distance(discrete_law([0.5], [1.0])) == pytest.approx(0.25, abs=1e-16)
    for n in (1, 7, 1000):
        midpoints = empirical_law((np.arange(n) + 0.5) / n)
        assert uniform.distance(midpoints) == pytest.approx(1 / (4 * n), rel=1e-12)
    # F(x) = (2/pi) asin(sqrt x) against x: twice ∫_0^(1/2) (F - x) = 2 (1/pi - 1/8) - 1/2.
    # (∫_0^(1/2) F dx = 1/2 F(1/2) - ∫ sqrt(x/(1-x))/pi dx = 1/4 - (1/4 - 1/(2 pi)) = 1/(2 pi).)
    assert beta_law(0.5).distance(uniform) == pytest.approx(1 / np.pi - 0.25, abs=1e-15)
    # Shifts: disjoint or overlapping, W1 is the shift.
    for law in LAWS.values():
        for shift in (1e-6, 0.3, 50.0):
            assert law.distance(law.mapped(shift, 1.0)) == pytest.approx(shift, abs=3e-13)
    # A law with atoms and its equal-mass discretisation.
    assert MIXED.distance(MIXED.mapped(-0.5, 2.0)) == pytest.approx(
        np.abs(MIXED.ppf(Q_MID) - 0.5).mean(), abs=1e-9
    )


Q_MID = (np.arange(100_000) + 0.5) / 100_000


def test_distance_sees_two_crossings_within_one_grid_step():
    # G follows F but for a bump of relative height 1e-3 about a point where F - G is nearly 0.
    edges = np.array([0.0, 0.5, 0.5004, 0.5008, 1.0])
    wiggle = Density.steps(edges, [1.0, 1.5, 0.5, 1.0])
    first, second = RewardLaw(parts=(wiggle,)), uniform_law()
    assert first.distance(second) == pytest.approx(0.5 * 0.0008 * 0.0002, rel=1e-9)
    # Smooth densities now: H = F - G goes -, +, - between two of the quantiles compared.
    third = RewardLaw(parts=(jacobi(0.0, [1.0, 0.0, 0.0, 0.0, 1e-3, 2e-4, 7e-4]),))
    assert third.distance(second) == pytest.approx(brute_force(third, second), abs=1e-11)


@pytest.mark.parametrize("degree", [80, 200, 499])
def test_distance_of_a_wave(degree):
    # H is the integral of 0.5 P_k, with k+1 zeros: ∫ |H| by Gauss's rule between them.
    wave = np.zeros(degree + 1)
    wave[[0, degree]] = 1.0, 0.5
    law = RewardLaw(parts=(jacobi(0.0, wave),))
    slope = np.polynomial.legendre.legder(np.eye(degree + 1)[degree])
    inner = np.polynomial.legendre.legroots(slope)
    zeros = np.concatenate([[-1.0], np.sort(inner.real), [1.0]])
    t, weights = np.polynomial.legendre.leggauss(12)
    half = np.diff(zeros)[:, None] / 2
    s = zeros[:-1, None] + half * (t + 1)
    # ∫_{-1}^s P_k = -(1-s^2) P_k'(s) / (k (k+1)).
    h = (1 - s**2) * np.polynomial.legendre.legval(s, slope) / (degree * (degree + 1.0))
    exact = 0.5 * 0.5**2 * float((half * weights * np.abs(h)).sum())
    assert law.distance(uniform_law()) == pytest.approx(exact, rel=1e-8)


def test_distance_of_a_wave_on_panels():
    # Thirty panels of degree 10: H has 300 zeros, more than the quantiles it is compared at.
    row = np.zeros(11)
    row[[0, 10]] = 1.0, 0.5
    waves = RewardLaw(parts=(legendre_panels(np.linspace(0, 1, 31), np.tile(row, (30, 1))),))
    single = RewardLaw(parts=(legendre_panels([0.0, 1.0], [row]),))
    exact = single.distance(uniform_law()) / 30
    assert waves.distance(uniform_law()) == pytest.approx(exact, rel=1e-8)


def test_distance_sees_a_turn_between_two_points():
    # H = F - G has one sign at 0.2 and 0.8 and the other between, no breakpoint or quantile near.
    points = np.array([0.0, 0.2, 0.8, 1.0])
    first = RewardLaw(parts=(jacobi(0.0, [1.0, 0.0, 0.0, 0.3]),))
    turns = distance._turning_points(first.distribution, uniform_law().distribution, points)
    assert np.abs(turns - 0.5).min() < 1e-8


@pytest.mark.parametrize("mass", [1e-2, 1e-6])
def test_distance_sees_crossings_where_there_is_little_mass(mass):
    # All but `mass` is near the ends. On either half of the middle H is (u - I_u(5, 5)) mass/2,
    # 0 at its ends and its center: one quantile's step.
    ends = [BetaDensity(0.1, 2, *e, 0.5 - mass / 2) for e in ((0.0, 0.1), (0.9, 1.0))]
    humps = [BetaDensity(5, 5, *e, mass / 2) for e in ((0.1, 0.5), (0.5, 0.9))]
    first = RewardLaw((), (*ends, BetaDensity(1, 1, 0.1, 0.9, mass)))
    area = 0.5 * special.betainc(5, 5, 0.5) - 0.5 * special.betainc(6, 5, 0.5)
    exact = 2 * 0.4 * (mass / 2) * 2 * (1 / 8 - area)
    assert first.distance(RewardLaw((), (*ends, *humps))) == pytest.approx(exact, abs=1e-15)


def test_distance_of_two_forms_of_one_law():
    beta, series = beta_law(0.3), jacobi(-0.7, [1.0])
    other = RewardLaw(parts=(series.scaled(1.0 / series.mass),))
    assert beta.distance(other) < 5e-14
    assert uniform_law().distance(RewardLaw(parts=(cosines(1.0, [], []),))) < 5e-15


@given(first=laws(), second=laws(), third=laws())
@settings(max_examples=25, deadline=None)
def test_distance_is_a_metric(first, second, third):
    ab, bc, ac = first.distance(second), second.distance(third), first.distance(third)
    assert first.distance(first) == 0.0
    assert ab == pytest.approx(second.distance(first), abs=1e-13)
    assert ac <= ab + bc + 1e-12
    # The means are 1-Lipschitz functions of the law.
    assert ab >= abs(first.mean() - second.mean()) - 1e-12


@given(first=laws(), second=laws(), scale=st.floats(0.01, 100), low=st.floats(-9, 9))
@settings(max_examples=25, deadline=None)
def test_distance_scales_under_maps(first, second, scale, low):
    moved = first.mapped(low, scale).distance(second.mapped(low, scale))
    assert moved == pytest.approx(scale * first.distance(second), abs=1e-11 * scale + 1e-13)


@given(law=laws(), low=st.floats(-3, 3), scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_maps_compose(law, low, scale):
    back = law.mapped(low, scale).mapped(-low / scale, 1 / scale)
    assume(len(back.atoms) == len(law.atoms))
    assert law.distance(back) < 1e-13 * (1 + abs(low) / scale) * 10


def test_distance_reads_laws_of_scipy_and_samples():
    law, sample = beta_law(2, 3, -1, 1), np.random.default_rng(5).random(300)
    assert law.distance(stats.beta(2, 3, -1, 2)) == 0.0
    assert beta_law(0.5).distance(stats.arcsine()) == beta_law(1).distance("uniform") == 0.0
    assert law.distance(sample) == law.distance(sample.tolist()) == law.distance(law_of(sample))
    assert law_of([3.0]).distance({0: 2, 1: 4}) == 0.5
    # Means of |X|: that of the normal law is read in panels.
    assert law_of([0]).distance(stats.norm()) == pytest.approx((2 / np.pi) ** 0.5, abs=1e-4)
    assert law_of([1]).distance(stats.randint(1, 7)) == pytest.approx(2.5, rel=1e-15)
    assert law_of([0]).distance(stats.poisson(3)) == pytest.approx(3.0, rel=1e-13)


@pytest.mark.parametrize(
    ("given_law", "words"),
    [
        (SAMPLE[:0], "list of rewards"),
        (np.zeros((2, 2)), "list of rewards"),
        ([0.0, np.nan], r"rewards\[1\] is nan"),
        (None, "list of rewards"),
        (object(), "sample of rewards, must be an array"),
        ("nonsense", "law was expected"),
        (stats.cauchy(), "finite mean"),
        (stats.beta, "parameters"),
        (stats.randint(0, 10**9), "at most 100000"),
    ],
)
def test_what_is_no_law_is_refused(given_law, words):
    with pytest.raises(CollapseError, match=words):
        uniform_law().distance(given_law)


def test_import_is_light():
    code = (
        "import sys, collapse_theory.laws\n"
        "bad = [m for m in ('scipy.stats', 'scipy.integrate', 'scipy.optimize', "
        "'scipy.interpolate') if m in sys.modules]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_middle_of_a_symmetric_law_is_exact() -> None:
    parts = (Density.fit(lambda d, _: 1.0 + d**2, 0.1, 0.7, symmetric=True, mass=0.6),)
    for law in (
        beta_law(0.5, low=-1.0, high=2.0),
        RewardLaw([[0.1, 0.2], [0.7, 0.2]], parts),
        law_of_text("atoms 0.3 + uniform"),
    ):
        low, high = law.support.tolist()
        middle = 0.5 * (low + high)
        assert law.median() == law.ppf(0.5) == law.quantiles(5)[2] == middle
        assert law.cdf(middle) == 0.5
    assert beta_law(0.5, 0.6).median() < 0.5
    assert law_of_text("two-valued").median() == 0.0  # the least of all medians


def test_notebooks_show_laws() -> None:
    law = law_of_text("atoms 0.3 + uniform")
    shown = r"$\displaystyle 0.3\,\delta_{0} + 0.3\,\delta_{1} + 0.4\,\text{uniform on [0, 1]}$"
    assert law._repr_latex_() == shown
    assert beta_law(0.5)._repr_latex_() == r"$\displaystyle \text{Beta(1/2, 1/2) on [0, 1]}$"
    assert r"\text{50 atoms}" in empirical_law(np.arange(50.0))._repr_latex_()


@pytest.mark.parametrize(
    ("law", "wanted"),
    [
        (beta_law(0.5, 2.0, -1.0, 3.0), stats.beta(0.5, 2.0, -1.0, 4.0)),
        (uniform_law(2, 5), stats.uniform(2, 3)),
        (discrete_law([0, 1, 2], [0.25, 0.5, 0.25]), stats.binom(2, 0.5)),
    ],
    ids=["beta", "uniform", "binomial"],
)
def test_a_law_in_the_names_of_scipy(law, wanted):
    frozen = law.to_scipy()
    x = np.linspace(*frozen.support(), 9)
    density = ("pdf", "logpdf") if law.parts else ("pmf", "logpmf")
    for name in ("cdf", "sf", "logcdf", "logsf", *density):
        with np.errstate(divide="ignore"):
            expected = getattr(wanted, name)(x)
        np.testing.assert_allclose(getattr(frozen, name)(x), expected, atol=1e-13, err_msg=name)
    q = np.array([-0.1, 0.2, 0.7, 0.95, np.nan])
    for name in ("ppf", "isf"):
        np.testing.assert_allclose(getattr(frozen, name)(q), getattr(wanted, name)(q), atol=1e-13)
    for name in ("mean", "var", "std", "median", "entropy"):
        np.testing.assert_allclose(getattr(frozen, name)(), getattr(wanted, name)(), rtol=1e-9)
    np.testing.assert_allclose(frozen.stats("mvsk"), wanted.stats("mvsk"), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(frozen.moment(3), wanted.moment(3), rtol=1e-9)
    assert frozen.interval(0.9) == pytest.approx(wanted.interval(0.9))
    assert frozen.support() == wanted.support()
    assert frozen.stats("v") == pytest.approx(frozen.var())
    assert np.ndim(frozen.rvs()) == 0
    assert frozen.rvs((2, 3), random_state=0).shape == (2, 3)
    low, high = float(frozen.ppf(0.3)), float(frozen.ppf(0.8))
    for kept in ({}, {"lb": low, "ub": high}, {"ub": high, "conditional": True}):
        found = frozen.expect(lambda x: x**2, **kept)
        assert found == pytest.approx(wanted.expect(lambda x: x**2, **kept), rel=1e-7)
    assert law_of(frozen) is law


def test_a_law_of_atoms_and_a_density_has_neither_pdf_nor_pmf():
    frozen = law_of_text("atoms 0.3 + uniform").to_scipy()
    assert frozen.cdf([0, 0.5]).tolist() == [0.3, 0.5]
    assert frozen.expect() == pytest.approx(0.5)
    assert frozen.expect(lambda x: 1.0, ub=0.0) == pytest.approx(0.3)
    for name, why in {
        "pdf": "atoms of mass 0.6 beside its density",
        "logpdf": "no pdf",
        "pmf": "a density of mass 0.4",
        "entropy": "no entropy",
    }.items():
        with pytest.raises(ct.CollapseError, match=why):
            getattr(frozen, name)(*([] if name == "entropy" else [0.5]))
    with pytest.raises(ct.CollapseError, match="atoms alone"):
        discrete_law([0, 1], [0.5, 0.5]).to_scipy().pdf(0)
    with pytest.raises(ct.CollapseError, match="letters of 'mvsk'"):
        frozen.stats("x")
