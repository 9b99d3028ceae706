"""Limit laws: against closed forms, against each other, and against independent integrals."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy.integrate import quad

from collapse_theory.errors import (
    CollapseError,
    NoClosedForm,
    NotConcave,
    NotIncreasing,
    SolverFailed,
)
from collapse_theory.exact import exact_law
from collapse_theory.finite import solve
from collapse_theory.laws import Density, RewardLaw
from collapse_theory.limit import (
    METHODS,
    atom_mass,
    atom_parameter,
    convergence,
    first_kind,
    limit,
    predicted_rewards,
    second_kind,
)
from collapse_theory.limit.certificate import certify
from collapse_theory.limit.coordinate import Grading
from collapse_theory.numerics.quadrature import Ends, Nodes, singular_sides
from collapse_theory.numerics.series import contract, contract_difference, evaluate
from collapse_theory.programs import Box, Confined, Domain
from collapse_theory.testing import utilities
from collapse_theory.utilities import (
    Exponential,
    Hinge,
    Linear,
    Log,
    LogSigmoid,
    NegativePower,
    PlackettLuce,
    Power,
    Quadratic,
    Sine,
    Utility,
    utility,
)

# Atoms of docs/theory.md#what-the-papers-experiments-trained: a collocation with 200 nodes.
KNOWN_ATOMS = {
    "log(x + 0.1)": 0.1839878103439,
    "-1/(x + 0.1)": 0.0894288525506,
    "logsigmoid(4*x)": 0.2040171582345,
}
ORDINARY = (
    *KNOWN_ATOMS,
    "log(x + 0.01)",
    "-1/(x + 0.01)",
    "logsigmoid(10*x)",
    "tanh(2*x)",
    "log(x + 0.3) + x",
)
STEEP = (
    "log(x + 1e-3)",
    "log(x + 1e-6)",
    "logsigmoid(100*x)",
    "-1/(x + 0.001)",
    "log(x + 1e-6) + logsigmoid(2*x)",
    "1 - exp(-300*x) + log(x + 0.1)",
)
SINGULAR = (
    "log(x) + x",
    "log(x) + log(x + 0.1)",
    "log(x) + log(x + 1e-3)",
    "sqrt(x) + x",
    "-x**-0.5 + atan(5*x)",
    "sqrt(x) + x**0.3",
    "-x**-0.5 + log(x)",
    "x**0.9 + x",
    "-x**-0.9 + x",
    "log(x) + 1 - exp(-300*x)",
    "x**0.875 - 1/(x + 0.015625)",  # a series that oscillates 1e-11 from an end, like y**-0.94
)
BUMPS = ("logsigmoid(50*x - 25)", "logsigmoid(60*x - 18) + logsigmoid(60*x - 46.2)")
CLOSED = (
    (Exponential(3.0), "regular"),
    (Exponential(300.0), "regular"),
    (Quadratic(0.3), "regular"),
    (Quadratic(0.5), "regular"),
    (Sine(1.0), "regular"),
    (Sine(np.pi / 2), "regular"),
    (Linear() + 2 * Exponential(7.0) + Exponential(0.5), "regular"),
    (Log(), "singular"),
    (Power(0.1), "singular"),
    (Power(0.5), "singular"),
    (Power(0.9), "singular"),
    (NegativePower(0.5), "singular"),
    (NegativePower(0.9), "singular"),
)


def shortfall_at(law: RewardLaw, u: Utility, x: float) -> float:
    """T(x) by SciPy's quadrature, which shares nothing with the package's rules."""
    total = float(sum(m * u.shortfall(np.abs(np.float64(x - a)), 1.0) for a, m in law.atoms))
    mirror = min(x, 1 - x)
    for low, high in itertools.pairwise(sorted({0.0, 1e-4, 0.01, 0.1, 0.5, mirror})):
        # By fourth powers from both ends, so that algebraic ends are mild.
        half = 0.5 * (high - low)
        for end, sign in ((low, 1.0), (high, -1.0)):

            def integrand(s: float, end: float = end, step: float = sign * half) -> float:
                y = end + step * s**4
                gaps = np.array([abs(mirror - y), abs(1 - mirror - y)])
                if end == mirror:
                    gaps[0] = abs(step) * s**4
                kernel = float(u.shortfall(np.maximum(gaps, 1e-300), 1.0).sum())
                return kernel * law.pdf(y) * abs(step) * 4 * s**3

            total += quad(integrand, 0.0, 1.0, epsabs=1e-12, epsrel=1e-11, limit=200)[0]
    return total


# -- the numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "atom"), KNOWN_ATOMS.items())
def test_known_atoms(text: str, atom: float) -> None:
    law = limit(text)
    np.testing.assert_allclose(law.atoms, [[0, atom], [1, atom]], rtol=0, atol=1e-12)
    assert law.method == "regular"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_utilities_are_certified_to_1e_12(text: str) -> None:
    law = limit(text)
    assert law.status == "optimal"
    assert law.relative_gap is not None
    assert law.relative_gap <= 1e-12


@pytest.mark.parametrize("text", [*STEEP, *SINGULAR, *BUMPS])
def test_steep_singular_and_bumpy_utilities_are_certified_to_1e_10(text: str) -> None:
    law = limit(text)
    assert law.status == "optimal"
    assert law.relative_gap is not None
    assert law.relative_gap <= 1e-10
    assert law.method in ("regular", "singular")


@pytest.mark.parametrize(("u", "method"), CLOSED, ids=str)
def test_closed_forms(u: Utility, method: str) -> None:
    law, exact = limit(u, method=method), exact_law(u)
    assert exact is not None
    assert law.status == "optimal"
    assert law.objective == pytest.approx(exact.objective, rel=1e-11, abs=1e-12)
    assert law.var() == pytest.approx(exact.var(), rel=1e-10)
    x = np.linspace(0.01, 0.99, 99)
    np.testing.assert_allclose(law.cdf(x), exact.cdf(x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(law.pdf(x), exact.pdf(x), rtol=1e-6)
    if len(exact.atoms):
        np.testing.assert_allclose(law.atoms, exact.atoms, rtol=0, atol=1e-12)


@pytest.mark.parametrize("u", [u for u, _ in CLOSED] + [Linear(), utility("min(x, 0.25)")], ids=str)
def test_exact_laws_are_certified_by_their_own_potential(u: Utility) -> None:
    law = limit(u)
    assert law.method == "exact"
    assert law.status == "optimal"
    assert law.reference
    formula = exact_law(u)
    assert formula is not None
    assert law.objective == pytest.approx(formula.objective, rel=1e-11, abs=1e-12)
    assert law.relative_gap is not None
    assert 0 < law.relative_gap < 1e-11


def high_precision_atom(slope: Any, curvature: Any, nodes: int) -> float:
    """The atom by Gauss-Legendre collocation, split at y = x, in 30 digits."""
    with mp.workdps(30):
        z, w = np.polynomial.legendre.leggauss(nodes)
        z = [mp.findroot(lambda t: mp.legendre(nodes, t), mp.mpf(v)) for v in z]
        w = [2 * (1 - v**2) / (nodes * mp.legendre(nodes - 1, v)) ** 2 for v in z]
        x = [(1 + v) / 2 for v in z]
        bary = [1 / mp.fprod(a - b for b in x if b != a) for a in x]
        matrix = mp.zeros(nodes)
        right = mp.zeros(nodes, 1)
        for i, here in enumerate(x):
            right[i] = -(curvature(here) + curvature(1 - here))
            matrix[i, i] += 2 * slope(mp.mpf(0))
            for low, high in ((mp.mpf(0), here), (here, mp.mpf(1))):
                for v, weight in zip(z, w, strict=True):
                    y = low + (high - low) * (1 + v) / 2
                    terms = [b / (y - a) if y != a else None for a, b in zip(x, bary, strict=True)]
                    factor = weight / 2 * (high - low) * curvature(abs(here - y)) / mp.fsum(terms)
                    for j, term in enumerate(terms):
                        matrix[i, j] += factor * term
        g = mp.lu_solve(matrix, right)
        return float(1 / (2 + mp.fsum(g[j] * w[j] / 2 for j in range(nodes))))


@pytest.mark.parametrize(
    ("text", "slope", "curvature"),
    [
        ("log(x + 0.5)", lambda t: 1 / (t + 0.5), lambda t: -1 / (t + 0.5) ** 2),
        (
            "logsigmoid(2*x)",
            lambda t: 2 / (1 + mp.exp(2 * t)),
            lambda t: -4 * mp.exp(2 * t) / (1 + mp.exp(2 * t)) ** 2,
        ),
        ("-1/(x + 1)", lambda t: 1 / (t + 1) ** 2, lambda t: -2 / (t + 1) ** 3),
    ],
)
def test_atoms_against_high_precision(text: str, slope: Any, curvature: Any) -> None:
    assert atom_mass(text) == pytest.approx(high_precision_atom(slope, curvature, 22), abs=1e-12)


@pytest.mark.parametrize(
    "text", ["log(x + 0.1)", "log(x + 1e-3)", *SINGULAR[:7], "log(x) + logsigmoid(50*x - 15)"]
)
def test_panels_agree(text: str) -> None:
    # Another equation, mesh and quadrature: only the utility is shared.
    law, panels = limit(text), limit(text, method="panels", tol=1e-7)
    assert panels.status == "optimal"
    assert law.objective == pytest.approx(panels.objective, rel=1e-9)
    assert law.var() == pytest.approx(panels.var(), rel=1e-6)


@pytest.mark.parametrize("text", ["log(x + 0.1)", "sqrt(x) + x", "logsigmoid(10*x)"])
def test_the_grid_agrees_to_the_size_of_its_cells(text: str) -> None:
    law, coarse = limit(text), limit(text, method="grid")
    assert law.objective is not None
    assert coarse.objective is not None
    assert coarse.gap is not None
    assert law.distance(coarse) < 1 / 240
    # The better law is better, and no better than the certificate of the other allows.
    assert coarse.objective - 1e-9 <= law.objective <= coarse.objective + coarse.gap


# -- the certificate -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["log(x + 0.1)", "logsigmoid(10*x)", "log(x) + x", "x**0.5"])
def test_the_potential_is_level(text: str) -> None:
    u = utility(text)
    law = limit(u, method="singular" if u.exponent < 1 else "regular")
    levels = [shortfall_at(law, u, x) for x in (0.003, 0.21, 0.5, 0.83)]
    np.testing.assert_allclose(levels, float(u(1.0)) - law.objective, rtol=2e-8)


@pytest.mark.parametrize("text", ["log(x + 0.1)", "-1/(x + 0.01)", "logsigmoid(100*x)"])
@pytest.mark.parametrize("count", [4, 6, 8, 12])
def test_the_gap_bounds_the_error_of_coarse_laws(text: str, count: int) -> None:
    u = utility(text)
    best = limit(u)
    proof = certify(
        u, second_kind.level(u, Grading.layered(second_kind.layer(u, 1.0)), count).law, None
    )
    assert best.objective is not None
    assert proof.gap >= best.objective - proof.objective - 1e-13
    assert proof.gap > 1e-14


@pytest.mark.parametrize("count", [8, 12, 16])
@pytest.mark.parametrize("text", ["log(x) + x", "-x**-0.5 + atan(5*x)", "sqrt(x) + x**0.3"])
def test_the_gap_bounds_the_error_of_coarse_singular_laws(text: str, count: int) -> None:
    u = utility(text)
    best = limit(u)
    proof = certify(u, first_kind.level(u, count).law, None)
    assert best.objective is not None
    assert proof.gap >= best.objective - proof.objective - 1e-13
    assert proof.gap > 1e-14


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.1])
def test_the_gap_bounds_the_error_of_wrong_laws(scale: float) -> None:
    # A law with the density of another utility, and atoms to fill up.
    u = utility("log(x + 0.1)")
    best = limit(u)
    assert best.series is not None
    assert best.objective is not None
    mass = 1 - 2 * best.series.atom
    wrong = dataclasses.replace(
        best.series,
        coefficients=scale * best.series.coefficients,
        atom=0.5 * (1 - scale * mass),
    )
    proof = certify(u, wrong, None)
    assert proof.gap >= best.objective - proof.objective > 1e-6


@pytest.mark.parametrize(
    "text", ["x", "log(x)", "x**0.5", "1 - exp(-3*x)", "min(x, 0.25)", "sin(x)"]
)
@pytest.mark.parametrize("constant", [0.0, 1e6, -1e9])
def test_the_gap_covers_the_rounding_of_the_objective(text: str, constant: float) -> None:
    exact = exact_law(utility(text))
    assert exact is not None
    assert exact.objective is not None
    best = Fraction(exact.objective) + Fraction(constant)
    for method in ("exact", "auto"):
        law = limit(utility(text) + constant, method=method)
        assert law.status == "optimal"
        assert Fraction(law.objective) + Fraction(law.gap) >= best


def test_a_missed_optimum_shows_in_the_status() -> None:
    assert limit("log(x + 0.1)", tol=1e-20).status == "inaccurate"
    assert limit("sqrt(x)", method="grid").status == "inaccurate"
    assert limit("sqrt(x)", method="grid", tol=0.5).status == "optimal"


# -- kinks, lines and poles ------------------------------------------------------------------


def test_linear_is_two_valued_by_every_method() -> None:
    for method in ("auto", "exact", "regular", "grid"):
        law = limit("x", method=method)
        assert law.objective == pytest.approx(0.5, abs=1e-7)
        assert law.var() == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_hinges_have_equal_levels(k: int) -> None:
    text = f"min(x, 1/{k})"
    for method in ("exact", "grid"):
        law = limit(text, method=method)
        levels = np.column_stack([np.arange(k + 1) / k, np.full(k + 1, 1 / (k + 1))])
        np.testing.assert_allclose(law.atoms, levels, rtol=0, atol=1e-9)
        assert law.objective == pytest.approx(1 / (k + 1), rel=1e-10)


@pytest.mark.parametrize("m", [0.3, 0.7, 1 / 7, 1 / 7 + 1e-15, 1 / 7 - 1e-9, 0.0123, 0.0005, 1e-5])
def test_every_hinge_has_levels(m: float) -> None:
    law = limit(Hinge(m))
    assert law.method == "exact"
    assert law.relative_gap < 1e-10
    np.testing.assert_allclose(law.mean(), 0.5, atol=1e-12)


def test_too_many_levels_are_refused_at_once() -> None:
    for m in (1e-6, 1e-9, 1e-299):
        with pytest.raises(CollapseError, match="uniform law"):
            limit(Hinge(m))


@pytest.mark.parametrize(
    "text",
    ["min(x, 2*x)", "log(exp(x))", "sqrt(x)*sqrt(x)", "x*x/x", "tanh(1e-8*x)", "min(x, 3*x) + x"],
)
def test_what_is_linear_up_to_rounding_has_two_values(text: str) -> None:
    law = limit(text)
    np.testing.assert_array_equal(law.atoms, [[0.0, 0.5], [1.0, 0.5]])
    assert law.status == "optimal"
    assert law.relative_gap < 1e-12


@pytest.mark.parametrize("apart", [0.0, 2e-16, 1e-12, 0.9e-8, 1.1e-8, 1e-6])
def test_rates_that_are_nearly_equal(apart: float) -> None:
    u = 3 * Exponential(0.3) + Exponential(0.3 * (1 + apart)) + 0.5 * Exponential(7.0)
    for each in (u, u + 0.1 * Linear()):
        law = limit(each)
        assert law.method == "exact"
        assert law.relative_gap < 1e-12
        regular = limit(each, method="regular")
        np.testing.assert_allclose(law.atoms, regular.atoms, rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", ["log(x + 1e6)", "-1/(x + 1e5)", "log(x + 0.1) + 1e8"])
def test_a_constant_takes_no_digits_from_the_law(text: str) -> None:
    law = limit(text)
    assert law.relative_gap < 1e-13
    assert law.gap >= np.spacing(abs(law.objective))  # of the float that is printed


@pytest.mark.parametrize("text", ["min(x, 0.3)", "min(x, 0.4) + x", "min(x, 0.5) + min(x, 1/3)"])
def test_kinked_lines_are_polished_to_a_few_atoms(text: str) -> None:
    law = limit(text, method="grid")
    assert len(law.atoms) < 10
    assert law.relative_gap is not None
    assert law.relative_gap < 1e-11
    np.testing.assert_allclose(law.atoms[:, 1], law.atoms[::-1, 1], atol=1e-9)


@pytest.mark.parametrize("text", ["x - x*log(x)", "2*x - x*log(x) + 0.1*logsigmoid(20*x)"])
def test_a_slope_that_rises_slower_than_any_power(text: str) -> None:
    law, finite = limit(text), solve(text, 512)
    assert law.method == "panels"  # neither of the second kind nor of the first
    np.testing.assert_allclose(law.rewards(512), finite.rewards, atol=1e-5)
    assert law.relative_gap < 1e-9
    assert finite.objective > law.objective  # a law is no better than the n that it came from
    assert np.std(finite.rewards) == pytest.approx(law.std(), abs=1e-6)
    # The density near an end falls like 1/(x log(x)**2), up to the atom that stands for its end.
    assert np.mean(finite.rewards > 1 - 1e-3) == pytest.approx(1 - law.cdf(1 - 1e-3), abs=2 / 512)


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("log(x + 0.2) + min(x, 0.3)", 1e-13),
        ("logsigmoid(10*x) + 2*min(x, 0.5) + x", 1e-13),
        ("log(x) + 2*min(x, 0.6)", 2e-9),
        ("-x**-0.5 + min(x, 0.45)", 5e-9),
        pytest.param("x**0.8 + min(x, 0.9)", 2e-8, marks=pytest.mark.slow),
    ],
)
def test_kinks_on_a_curve(text: str, within: float) -> None:
    law, u = limit(text), utility(text)
    assert (law.method, law.status) == ("panels", "optimal")
    assert law.relative_gap < within
    # The potential by the law's own quadrature, which the mesh and the kernel's rules don't enter.
    for x in (0.0, 0.217, 0.3, 0.5):
        level = law.expect(lambda y, x=x: u(np.maximum(np.abs(x - y), 1e-300)))
        assert level == pytest.approx(law.objective, rel=1e-6)


def test_a_kink_makes_an_atom_a_step_away_from_each_end() -> None:
    # U' falls by 1 at the gap 0.3: 2 U'(0) a(x) = a(x - 0.3) + a(x + 0.3) of the atoms a.
    atoms = dict(limit("log(x + 0.2) + min(x, 0.3)").atoms.tolist())
    places = sorted(atoms)
    np.testing.assert_allclose(places, [0, 0.1, 0.3, 0.4, 0.6, 0.7, 0.9, 1], atol=1e-15)
    a = dict(zip(np.round(places, 1).tolist(), atoms.values(), strict=True))
    for x, first, second in ((0.3, 0, 0.6), (0.6, 0.3, 0.9), (0.1, 0.4, None)):
        assert 12 * a[x] == pytest.approx(a[first] + a.get(second, 0.0), rel=1e-7)


@pytest.mark.parametrize("text", ["-1/x", "-x**-2", "-1/x + log(x)", "x - x**-1.5"])
def test_divergent_energies_say_so(text: str) -> None:
    law = limit(text)
    assert law.objective == -np.inf
    assert law.gap is not None
    assert np.isnan(law.gap)
    assert law.method == "divergent"
    assert "-inf" in str(law.status)
    assert law.cdf(0.3) == pytest.approx(0.3)
    with pytest.raises(CollapseError, match="auto"):
        limit(text, method="panels")


# -- symmetry and invariance -----------------------------------------------------------------


@pytest.mark.parametrize("text", ["log(x + 0.1)", "log(x) + x", "sqrt(x) + x**0.3"])
def test_constants_factors_and_boxes_change_nothing(text: str) -> None:
    u = utility(text)
    law = limit(u)
    same = limit(3 * u + 7)
    assert same.objective == pytest.approx(3 * law.objective + 7, rel=1e-12)
    assert same.distance(law) < 1e-9
    box = limit(u.scaled(0.25), Box(-1, 3))
    assert box.objective == pytest.approx(law.objective, rel=1e-12)
    assert box.gap == pytest.approx(law.gap, rel=1.0)
    np.testing.assert_allclose(box.support, [-1, 3])
    assert box.var() == pytest.approx(16 * law.var(), rel=1e-10)
    assert box.distance(law.mapped(-1, 4)) < 1e-9


def check_law(u: Utility, within: float = 1e-8, short: bool = False) -> None:
    """Check a law; where it may be `short` of the tolerance it has to say so."""
    law = limit(u)
    assert law.relative_gap is not None
    assert 0 < law.relative_gap < within
    assert law.status == "optimal" or (short and law.relative_gap > 1e-9)
    x = np.linspace(0.0, 0.5, 26)[1:-1]
    np.testing.assert_allclose(law.cdf(x), 1 - law.cdf(1 - x), atol=1e-9)
    assert (law.pdf(x) >= -1e-8 * law.pdf(x).max()).all()
    assert law.mean() == pytest.approx(0.5, abs=1e-12)
    # Song et al. 2023: between the two extremes, two values and equal spacing.
    assert 1 / 12 - 1e-9 < law.var() <= 0.25 + 1e-12
    q = np.linspace(0, 1, 41)
    assert (np.diff(law.ppf(q)) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(utilities(finite_slope=True, kinked=False, weights=(0.05, 3)))
def test_sums_of_regular_families(u: Utility) -> None:
    check_law(u)


@settings(max_examples=20, deadline=None)
@given(utilities(finite_slope=False, kinked=False, weights=(0.05, 3)))
def test_sums_with_singular_families(u: Utility) -> None:
    # 1.7*x**0.9 + 0.7*logsigmoid(18.6*(x - 0.4)) is "inaccurate": 256 terms reach 3e-8, panels a
    # density that is negative next to the ends.
    assume(u.exponent > -0.9)
    check_law(u, within=1e-7, short=True)


# -- the density -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["log(x + 1e-6)", "log(x) + x", "x**0.9 + x", "-x**-0.9 + x"])
def test_density_and_distribution_function_agree_at_the_ends(text: str) -> None:
    (density,) = limit(text).parts
    for low, high in ((1e-10, 1e-9), (1e-7, 1e-6), (1e-3, 2e-3), (0.2, 0.7)):
        mass = quad(lambda s: density.pdf(np.exp(s)) * np.exp(s), np.log(low), np.log(high))[0]
        assert density.cdf(high) - density.cdf(low) == pytest.approx(mass, rel=1e-8)
        area = quad(density.cdf, low, high, epsrel=1e-10)[0]
        apart = density.cdf_integral(high) - density.cdf_integral(low)
        assert apart == pytest.approx(area, rel=1e-6)
    assert density.cdf(1.0) == density.mass


@pytest.mark.parametrize("text", ["log(x + 0.01)", "log(x) + x", "logsigmoid(50*x - 25)"])
def test_quantiles_invert_the_distribution_function(text: str) -> None:
    law = limit(text)
    # Below the middle: near 1 a law may be steeper than the spacing of floats.
    q = np.geomspace(1e-9, 0.5, 60)
    x = law.ppf(q)
    inside = x > 0
    np.testing.assert_allclose(law.ppf(1 - q), 1 - x, atol=1e-12)
    np.testing.assert_allclose(law.cdf(x[inside]), q[inside], rtol=1e-12, atol=1e-13)
    second = quad(lambda t: t * t * law.pdf(t), 0, 1, limit=400, points=[0.01, 0.5, 0.99])[0]
    second += float(law.atoms[:, 1] @ law.atoms[:, 0] ** 2) if len(law.atoms) else 0.0
    assert law.var() + 0.25 == pytest.approx(second, rel=1e-7)


@pytest.mark.parametrize("text", ["log(x + 0.1)", "log(x) + x"])
def test_laws_are_values(text: str) -> None:
    law = limit(text)
    assert pickle.loads(pickle.dumps(law)) == law
    assert RewardLaw.from_dict(json.loads(json.dumps(law.to_dict()))) == law
    (density,) = law.parts
    assert isinstance(density, Density)
    moved = density.mapped(2.0, 3.0)
    assert moved.mass == pytest.approx(density.mass, rel=1e-14)
    assert moved.variance == pytest.approx(9 * density.variance, rel=1e-13)
    assert moved.cdf(2.9) == pytest.approx(density.cdf(0.3), rel=1e-13)


def test_sampling_follows_the_law() -> None:
    law = limit("log(x + 0.1)")
    sample = law.rvs(20_000, rng=1)
    assert (sample == 0).mean() == pytest.approx(law.atoms[0, 1], abs=0.012)
    assert sample.var() == pytest.approx(law.var(), rel=0.03)


# -- numerical parts -------------------------------------------------------------------------


def test_series_long_and_short_agree() -> None:
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=200) * 0.9 ** np.arange(200)
    sigma = rng.uniform(-1, 1, size=(5, 40))
    direct = np.polynomial.chebyshev.chebval(2 * sigma**2 - 1, coefficients)
    np.testing.assert_allclose(evaluate(coefficients, sigma), direct, atol=1e-11)
    weight = rng.normal(size=sigma.shape)
    terms_ = np.cos(2 * np.arange(200) * np.arccos(sigma)[..., None])
    np.testing.assert_allclose(
        contract(weight, sigma, 200), np.einsum("iq,iqk->ik", weight, terms_), atol=1e-11
    )
    here = rng.uniform(-1, 1, size=5)
    angle = np.arccos(here)[:, None]
    apart = sigma - here[:, None]
    difference = contract_difference(weight, angle, np.arccos(sigma), apart, 60)
    expected = contract(weight, np.tile(here[:, None], 40), 60) - contract(weight, sigma, 60)
    np.testing.assert_allclose(difference, expected, atol=1e-11)


@pytest.mark.parametrize("grading", [Grading(1e-6), Grading(0.5), Grading(0.0, 4.0)])
def test_gradings_invert(grading: Grading) -> None:
    sigma = np.linspace(0, 0.999, 50)
    x = grading.place(sigma)
    np.testing.assert_allclose(grading.sigma(x, 1 - x), sigma, atol=1e-12)
    np.testing.assert_allclose(
        grading.sigma(1 - x, x), -sigma if grading.scale else sigma, atol=1e-9
    )


@pytest.mark.parametrize("p", [-0.9, -0.5, 0.0, 0.5, 0.9])
def test_singular_rules_against_the_level_potential_of_powers(p: float) -> None:
    # The equilibrium measure of the Riesz kernel has a level potential: Saff and Totik.
    q = -0.5 * (1 + p)
    x = np.array([1e-12, 1e-6, 1e-3, 0.1, 0.5])
    levels = []
    for group in (x, np.zeros(1)):
        nodes = Nodes.joined(*singular_sides(group, Ends(p, q, 4, 24)))
        kernel = -np.log(nodes.gap) if p == 0 else 1 - np.sign(p) * nodes.gap**p
        levels += (kernel * nodes.weight * (nodes.y * nodes.c) ** q).sum(axis=1).tolist()
    np.testing.assert_allclose(levels, levels[0], rtol=1e-12)


# -- from the law back to n completions ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("log(x + 0.1)", 5e-4),
        ("-1/(x + 0.1)", 5e-4),
        ("logsigmoid(4*x)", 5e-4),
        ("log(x + 0.01)", 1e-3),
        ("log(x)", 3e-4),
        ("log(x) + x", 3e-4),
        ("x**0.5", 1e-5),
        ("sqrt(x) + x**0.3", 1e-5),
        ("-x**-0.3", 1e-3),
        ("-x**-0.1", 5e-4),
        ("-x**-1e-5", 3e-4),
        ("-x**-0.5", 2e-3),
    ],
)
def test_the_law_predicts_n_rewards(text: str, within: float) -> None:
    for n in (32, 33, 64):
        rewards = predicted_rewards(text, n)
        assert rewards[0] == 1
        assert rewards[-1] == 0
        assert (np.diff(rewards) <= 0).all()
        error = np.abs(rewards - solve(text, n).rewards).max()
        assert error < within * (32 / n)
    boxed = predicted_rewards(text, 20, Box(0, 1))
    np.testing.assert_allclose(boxed + boxed[::-1], 1, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "1 - exp(-1000*sqrt(x))",
        "sqrt(x)/(0.01 + sqrt(x))",
        "log1p(1000*sqrt(x))",
        "tanh(100*sqrt(x))",
        "sqrt(x) + log(x + 0.001)",
        "tanh(3.13*x**0.779)",
        "0.151*sqrt(x) + log(x + 0.168)",
    ],
)
def test_a_prediction_is_no_worse_than_plain_quantiles(text: str) -> None:
    law = limit(text)
    for n in (9, 32):
        optimum = solve(text, n).rewards
        errors = [np.abs(r - optimum).max() for r in (law.rewards(n), law.quantiles(n))]
        assert errors[0] <= errors[1] + 4e-16  # a reward is rounded to that


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("erf(1e5*x)", 1e-8),
        ("erf(1e9*x)", 1e-4),
        ("tanh(9e9*x)", 1e-3),
        ("atan(1e9*x)", 1e-5),
        ("log(x + 1e-15)", 1e-8),
        ("-1/(x + 1e-9)", 1e-7),
        ("tanh(1000*sqrt(x))", 1e-8),
    ],
)
def test_layers_however_narrow(text: str, within: float) -> None:
    law = limit(text)
    assert law.relative_gap is not None
    assert law.relative_gap < within
    # The law of log x; uniform ones for kernels that are level but next to 0.
    assert law.cdf(0.25) == pytest.approx(1 / 3 if "log" in text else 1 / 4, abs=5e-3)


@pytest.mark.parametrize(
    ("text", "domain", "match"),
    [
        ("log(x + 1e-300)", Box(0, 2), "tells no rewards apart"),
        ("atan(1e70*x) + x", Box(), "tells no rewards apart"),  # U''(0) = 0: by its slopes alone
        ("1 - exp(-1e40*x)", Confined(1), "tells no rewards apart"),
        ("1 - exp(-1e15*x)", Confined(1), "which float64 doesn't show"),
        ("logsigmoid(x)", Confined(1e-40), "which float64 doesn't show"),
        ("min(x, 1e-250)", Confined(1), r"9.86e\+83 steps.*Beta\(2, 2\).*within 1e-250"),
        ("3e100*min(x, 0.4)", Confined(1e-300), "steps"),
        ("min(x, 1e-9)", Box(), "uniform law .* is within 1e-09"),
        ("1e-40*logsigmoid(x)", Confined(1), "within 1e-30"),
        ("log1p(x)", Confined(1e-80), "within 1e30"),
    ],
)
def test_laws_that_float64_cannot_hold_are_refused(text: str, domain: Domain, match: str) -> None:
    with pytest.raises(CollapseError, match=match):
        limit(text, domain)


def test_atoms_of_kinks_do_not_depend_on_the_scale() -> None:
    plain, large = (limit(f"{w}*min(x, 0.3) + {w}*min(x, 0.45)") for w in (1, "1e160"))
    np.testing.assert_allclose(large.atoms, plain.atoms, atol=1e-9)


def test_panels_refuse_beforehand_what_they_cannot_resolve() -> None:
    with pytest.raises(SolverFailed, match="more structure"):
        limit("tanh(8534*sqrt(x))", method="panels")


def test_panels_take_the_layer_where_a_slope_overflows() -> None:
    assert limit("-1/(x + 1e-300)", method="panels").status == "inaccurate"


@pytest.mark.parametrize("text", ["x**0.5", "x**0.7", "log1p(10*sqrt(x))"])
def test_predictions_of_roots_go_on_improving(text: str) -> None:
    optimum = solve(text, 256).rewards
    np.testing.assert_allclose(predicted_rewards(text, 256), optimum, rtol=0, atol=5e-8)


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("log(x + 0.1)", 2e-5),
        ("x**0.5", 3e-7),
        ("log(x)", 3e-5),
        ("-x**-0.7", 2e-3),
        ("5.277*x + logsigmoid(417.3*x)", 0.03),  # a few rewards inside: no more at 512 than at 32
        ("1e-9*log(x) + x", 1e-6),  # a law on panels has no series to correct
        ("-6.06/(x + 0.0092) + 0.3989*sqrt(x)/(0.1317 + sqrt(x))", 1e-3),  # no correction at 128
        # At n = 200 no single reward of the plain quantiles wants to move, all together do.
        ("0.2263*atan(843.2*x) + 0.3508*sqrt(x)/(0.0292 + sqrt(x))", 1e-3),
    ],
)
def test_a_prediction_says_how_far_off_it_may_be(text: str, most: float) -> None:
    law = limit(text)
    for n in (32, 200, 512):
        found = law.prediction(n)
        assert found.estimated == (n > 128)
        error = np.abs(found.rewards - solve(text, n).rewards).max()
        assert error <= found.error + 1e-12
        assert n > 128 or found.error < error + 1e-9
    assert found.error < most


@pytest.mark.parametrize(
    "text", ["0.165*logsigmoid(193.3*(x - 0.65)) + 1.428*x", "0.1*logsigmoid(300*(x - 0.5)) + x"]
)
def test_a_reward_beside_a_jump_of_the_law_may_be_on_its_other_side(text: str) -> None:
    law = limit(text)
    errors = []
    for n in (129, 300, 301, 1000):
        found, solved = law.prediction(n), solve(text, n)
        errors.append(np.abs(found.rewards - solved.rewards).max())
        assert errors[-1] <= found.error + solved.rewards_error
    assert max(errors) > 0.1


def test_the_error_of_a_prediction_is_in_units_of_the_rewards() -> None:
    for loss in (Log(), PlackettLuce()):
        law = limit(loss, Box(-3, 7))
        optimum = solve(loss, 20, Box(-3, 7)).rewards
        found = law.prediction(20)
        error = np.abs(found.rewards - optimum).max()
        assert 1e-6 < error <= found.error < error + 1e-9
    assert limit("logsigmoid(210*(x - 0.5))").prediction(8).error == np.inf, "U is flat"
    with pytest.raises(CollapseError, match="Box only"):
        limit("log(x)", Confined(1)).prediction(200)


def test_a_correction_that_outweighs_the_law_leaves_the_quantiles() -> None:
    text = "x**0.05677/(6.273e-8 + x**0.05677) + 1.886*min(x, 0.8579)"
    law = limit(text, Box(-3.378610451964569, -3.378478314998686))
    for n in range(2, 8):
        rewards = law.rewards(n)
        assert np.isfinite(rewards).all()
        assert (np.diff(rewards) <= 0).all()


@pytest.mark.parametrize("text", ["-1/x", "min(x, 0.3)", "log(x) + min(x, 0.5)"])
def test_no_prediction_where_none_is_justified(text: str) -> None:
    with pytest.raises(CollapseError, match="solve"):
        predicted_rewards(text, 50)


def test_convergence_of_log_is_a_quarter_over_n() -> None:
    found = convergence("log(x)", (32, 64, 128), lambda n: solve("log(x)", n).rewards)
    assert found.rate == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(found.distances * found.n, 0.2625, rtol=0.01)
    assert (found.errors < 2e-4).all()


@pytest.mark.parametrize("text", ["log(x + 0.1)", "logsigmoid(4*x)"])
def test_limit_by_extrapolation_from_n_completions(text: str) -> None:
    # f over n^2/2 pairs: n (n-1) J_n / n^2 = J + U(0)-terms/n + O(1/n^2).
    u, sizes = utility(text), (200, 400, 800)
    means = [(n - 1) / n * (solve(u, n).objective - float(u(0.0))) for n in sizes]
    once = [2 * b - a for a, b in itertools.pairwise(means)]
    assert limit(u).objective == pytest.approx(
        (4 * once[1] - once[0]) / 3 + float(u(0.0)), abs=2e-6
    )


# -- atoms -----------------------------------------------------------------------------------


def test_atom_mass() -> None:
    assert atom_mass("x") == 0.5
    assert atom_mass("log(x)") == 0
    assert atom_mass("min(x, 0.5)") == pytest.approx(1 / 3)
    assert atom_mass("log(x + 0.2)", Box(3, 5)) == pytest.approx(
        atom_mass("log(x + 0.1)"), rel=1e-9
    )
    masses = [atom_mass(LogSigmoid(b)) for b in (0.1, 1.0, 4.0, 10.0, 100.0)]
    assert (np.diff(masses) < 0).all()


@pytest.mark.parametrize(
    ("family", "mass", "parameter"),
    [
        ("log", KNOWN_ATOMS["log(x + 0.1)"], 0.1),
        ("reciprocal", KNOWN_ATOMS["-1/(x + 0.1)"], 0.1),
        ("logsigmoid", KNOWN_ATOMS["logsigmoid(4*x)"], 4.0),
        (Exponential, 0.2, 3.0),
        (Exponential, 1e-3, 998.0),
        (lambda c: Quadratic(c), 0.3, 0.4),
    ],
)
def test_atom_parameter(family: Any, mass: float, parameter: float) -> None:
    bounds = (0.05, 0.5) if mass == 0.3 else (1e-6, 1e7)
    assert atom_parameter(family, mass, bounds=bounds) == pytest.approx(parameter, rel=1e-9)


@pytest.mark.parametrize("mass", [0.01, 0.25, 0.45, 0.49])
@pytest.mark.parametrize("family", ["log", "reciprocal", "logsigmoid"])
def test_atom_parameter_reaches_masses(family: str, mass: float) -> None:
    made = {
        "log": lambda e: Log().shifted(e),
        "reciprocal": lambda e: NegativePower(1.0).shifted(e),
        "logsigmoid": LogSigmoid,
    }
    assert atom_mass(made[family](atom_parameter(family, mass))) == pytest.approx(mass, rel=1e-9)


@pytest.mark.parametrize(
    ("family", "mass", "options", "message"),
    [
        ("nope", 0.1, {}, "known families"),
        ("log", 0.6, {}, "between 0 and 1/2"),
        ("log", 0.0, {}, "between 0 and 1/2"),
        ("log", 0.1, {"bounds": (1.0, 2.0)}, "no parameter"),
        ("log", 0.1, {"bounds": (2.0, 1.0)}, "in order"),
        (Power, 0.1, {"bounds": (0.1, 0.9)}, "no parameter"),
    ],
)
def test_atom_parameter_refuses(family: Any, mass: float, options: dict, message: str) -> None:
    with pytest.raises(CollapseError, match=message):
        atom_parameter(family, mass, **options)


# -- bad input -------------------------------------------------------------------------------


def test_refusals() -> None:
    with pytest.raises(NotIncreasing):
        limit("x - 0.7*x**2")
    with pytest.raises(NotIncreasing):
        limit("x - 0.4*x**2", Box(0, 2))
    with pytest.raises(NotConcave):
        limit("x**2 + x")
    with pytest.raises(NoClosedForm):
        limit("log(x + 0.1)", method="exact")
    with pytest.raises(CollapseError, match="known methods"):
        limit("log(x)", method="magic")
    with pytest.raises(CollapseError, match="tol"):
        limit("log(x)", tol=0.0)
    for text, method in (
        ("log(x)", "regular"),
        ("min(x, 0.5) + log(x + 1)", "regular"),
        ("log(x + 1)", "singular"),
        ("log(x) + min(x, 0.5)", "singular"),
        ("min(x, 0.5)", "panels"),
        ("log(x)", "grid"),
    ):
        with pytest.raises(CollapseError, match="auto"):
            limit(text, method=method)
    assert list(METHODS) == ["exact", "regular", "singular", "panels", "grid"]


def test_equations_that_leave_float64_end_at_once():
    """LAPACK's least squares may never come back from infinities."""
    with pytest.raises(np.linalg.LinAlgError, match="leave float64"):
        first_kind._least_squares(np.full((3, 2), np.inf), np.ones(3))
