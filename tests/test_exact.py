"""Closed forms against their sources, against quadrature, and by their certificates."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import (
    PROBLEMS,
    Problem,
    cases,
    exponential_rewards,
    jacobi_end_gap,
)
from scipy.special import roots_jacobi

import collapse_theory as ct
from collapse_theory.exact import (
    FINITE_FORMS,
    LIMIT_FORMS,
)
from collapse_theory.laws import RewardLaw
from collapse_theory.testing import utilities

FINITE = [(form, text) for form in FINITE_FORMS for text in form.examples]
LIMITS = [(form, text) for form in LIMIT_FORMS for text in form.examples]


def exact_or_none(text, n):
    try:
        return ct.closed_form(text, n)
    except ct.NoClosedForm:
        return None


# -- n completions -----------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_table_where_a_closed_form_is_known(problem: Problem):
    found = exact_or_none(problem.utility, problem.n)
    if found is None:
        # The two from what was trained in practice have none.
        assert problem.utility in ("log(x + 0.1)", "-1/(x + 0.1)", "-1/x")
        return
    assert np.abs(found.rewards - problem.rewards).max() <= problem.within


@pytest.mark.parametrize(("form", "text"), FINITE, ids=[f"{f.name}: {t}" for f, t in FINITE])
def test_every_finite_form_holds_its_certificate(form, text):
    utility, seen = ct.utility(text), 0
    for n in (*range(2, 31), 100):
        exact = form(utility, n)
        if exact is None:
            continue
        seen += 1
        found = ct.closed_form(utility, n)
        assert found.relative_gap <= 1e-13
        assert found.method == "closed form"
        assert found.status == "optimal"
        assert found.reference
        assert abs(exact.gaps.sum() - 1) < 1e-14
        assert len(exact.gaps) == n - 1
    assert seen


@pytest.mark.parametrize("n", [3, 4, 5, 8, 17, 40, 101, 300])
def test_log_gives_the_zeros_of_jacobi_polynomials(n):
    zeros = roots_jacobi(n - 2, 1, 1)[0]
    expected = np.concatenate([[1.0], (1 + zeros[::-1]) / 2, [0.0]])
    assert np.abs(ct.closed_form("log(x)", n).rewards - expected).max() < 2e-14


@pytest.mark.parametrize("n", [4, 9, 50, 300, 2000])
def test_log_is_right_at_the_ends_in_relative_terms(n):
    expected = jacobi_end_gap(n)
    gaps = ct.closed_form("log(x)", n).gaps
    assert abs(gaps[0] / expected - 1) < 5e-14
    assert abs(gaps[-1] / expected - 1) < 5e-14


@pytest.mark.parametrize("b", [0.01, 0.3, 1.0, 3.0, 20.0, 50.0, 400.0])
@pytest.mark.parametrize("n", [4, 5, 8, 13, 30])
def test_exponential_against_the_balance_in_mpmath(b, n):
    found = ct.closed_form(ct.Exponential(b), n)
    assert np.abs(found.rewards - exponential_rewards(b, n)).max() < 1e-14


@cases(60)
@given(st.floats(1e-3, 0.5), st.integers(2, 60))
def test_quadratic_is_a_clipped_line(c, n):
    line = 0.5 + (n + 1 - 2 * np.arange(1, n + 1)) / (2 * c * n)
    found = ct.closed_form(ct.Quadratic(c), n)
    assert np.abs(found.rewards - np.clip(line, 0, 1)).max() < 1e-14


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_hinge_makes_even_groups(k, groups):
    found = ct.closed_form(ct.Hinge(1 / k), groups * (k + 1))
    expected = np.repeat(np.arange(k, -1, -1) / k, groups)
    assert np.abs(found.rewards - expected).max() < 1e-15
    assert found.unique


def test_linear_says_that_the_middle_reward_is_free():
    odd, even = ct.closed_form("2*x + 1", 7), ct.closed_form("2*x + 1", 6)
    assert odd.rewards.tolist() == [1, 1, 1, 0.5, 0, 0, 0]
    assert (odd.unique, even.unique) == (False, True)
    # 9 of 15 pairs have gap 1, and the constant counts once.
    assert even.objective == pytest.approx(1 + 2 * 9 / 15, abs=1e-15)


def test_two_completions_of_a_strictly_concave_utility_are_unique():
    # U' underflows at the gap 1, and still the optimum is the only one.
    assert ct.closed_form("1 - exp(-1000*x)", 2).unique
    assert not ct.closed_form("min(x, 0.5)", 2).unique


def test_what_has_no_closed_form_names_what_solves_it():
    with pytest.raises(ct.NoClosedForm, match=r"ct\.solve"):
        ct.closed_form("log(x + 0.1)", 8)
    with pytest.raises(ct.NoClosedForm, match=r"ct\.limit"):
        ct.closed_form("logsigmoid(4*x)")


def test_closed_forms_check_the_program_first():
    with pytest.raises(ct.NotIncreasing):
        ct.closed_form("-x", 4)
    with pytest.raises(ct.NotIncreasing):
        ct.closed_form("x - 0.3*x**2", 4, domain=ct.Box(0, 2))
    with pytest.raises(ct.CollapseError):
        ct.closed_form("log(x)", 1)


# -- limit laws --------------------------------------------------------------------------


def graded(length: float, panels: int = 240, order: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights on (0, length], graded by the octave toward 0."""
    t, w = np.polynomial.legendre.leggauss(order)
    edges = length * 2.0 ** -np.arange(panels + 1.0)[::-1]
    half = np.diff(edges)[:, None] / 2
    nodes = edges[:-1, None] + half * (t + 1)
    return nodes.ravel(), (half * w).ravel()


def potential(law: RewardLaw, utility: ct.Utility, x: float) -> float:
    """Return V(x) = E U(|x - Y|), x in [0, 1/2], for a law symmetric about 1/2.

    The four stretches (0, x/2), (x/2, x), (x, (1+x)/2), ((1+x)/2, 1) end where the density or the
    kernel is singular; distances from there are formed first, never 1 - y.
    """
    places, masses = law.atoms[:, 0], law.atoms[:, 1]
    total = float(masses @ np.atleast_1d(utility(np.abs(x - places)))) if len(places) else 0.0
    if not law.parts:
        return total
    stretches = []
    if x > 0:
        s, w = graded(x / 2)
        stretches += [(s, x - s, w), (x - s, s, w)]
    s, w = graded((1 - x) / 2)
    stretches += [(x + s, s, w), (s, 1 - x - s, w)]
    return total + sum(float(w @ (law.pdf(y) * utility(d))) for y, d, w in stretches)


SPOTS = (0.0, 1e-6, 0.03, 0.21, 0.4999, 0.5)


@pytest.mark.parametrize(("form", "text"), LIMITS, ids=[f"{f.name}: {t}" for f, t in LIMITS])
def test_every_limit_form_has_a_constant_potential(form, text):
    utility, law = ct.utility(text), ct.closed_form(text)
    assert law.reference == form.reference
    assert law.method == "exact"
    assert law.cdf(0.3) + law.cdf(np.nextafter(0.7, 0)) == pytest.approx(1, abs=1e-12)
    if law.objective == -np.inf:
        # -x**-g, g >= 1: no law has a finite energy, and the limit is uniform.
        assert np.array_equal(law.quantiles(4), [0.875, 0.625, 0.375, 0.125])
        return
    if not utility.strictly_concave and utility.kinks:
        spots = np.arange(0, 0.5, 1 / 6)  # at half the margin and its multiples
    else:
        spots = np.array(SPOTS)
    if form.name == "linear":
        spots = np.array([0.0, 0.25, 0.5])
    values = np.array([potential(law, utility, float(x)) for x in spots])
    assert np.abs(values - law.objective).max() < 1e-12


@cases(60)
@given(
    st.lists(
        st.tuples(st.floats(0.01, 100), st.floats(-1, 2.5).map(lambda e: 10.0**e)),
        min_size=1,
        max_size=4,
        unique_by=lambda part: round(part[1], 1),
    ),
    st.sampled_from([0.0, 0.01, 1.0, 50.0]),
)
def test_mixtures_of_exponentials_have_a_constant_potential(parts, slope):
    first, *rest = (w * ct.Exponential(b) for w, b in parts)
    utility = sum(rest, start=first)
    if slope:
        utility = utility + slope * ct.Linear()
    law = ct.closed_form(utility)
    assert law.atoms[:, 0].tolist() == [0, 1]
    assert law.atoms[0, 1] == law.atoms[1, 1] > 0
    size = float(utility(1.0))
    for x in (0.0, 0.01, 0.2, 0.5):
        assert abs(potential(law, utility, x) - law.objective) < 1e-12 * size
    y = np.linspace(0, 1, 101)
    assert (law.pdf(y[1:-1]) > 0).all()
    mass = 2 * graded(0.5)[1] @ law.pdf(graded(0.5)[0])
    assert mass + 2 * law.atoms[0, 1] == pytest.approx(1, abs=1e-12)


@cases(40)
@given(st.floats(0.05, 0.9), st.floats(0.01, 100), st.floats(-5, 5))
def test_powers_have_beta_laws_whatever_their_weight(g, weight, constant):
    for utility, a in ((ct.Power(g), (1 - g) / 2), (ct.NegativePower(g), (1 + g) / 2)):
        law = ct.closed_form(weight * utility + constant)
        # Var Beta(a, a) = 1/(4 (2a + 1)).
        assert law.var() == pytest.approx(1 / (4 * (2 * a + 1)), rel=1e-12)
        y = 0.3
        with mp.workdps(30):
            density = (mp.mpf(y) * (1 - mp.mpf(y))) ** (mp.mpf(a) - 1) / mp.beta(a, a)
        assert law.pdf(y) == pytest.approx(float(density), rel=1e-12)


@cases(40)
@given(st.floats(0.01, np.pi / 2))
def test_sine(k):
    utility, law = ct.Sine(k), ct.closed_form(ct.Sine(k))
    for x in (0.0, 0.3, 0.5):
        assert potential(law, utility, x) == pytest.approx(law.objective, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "atom"),
    [
        ("1 - exp(-3*x)", 1 / 5),
        ("x - 0.3*x**2", 0.35),
        ("x", 0.5),
        ("min(x, 0.25)", 0.2),
        ("sin(x)", 1 / (1 + 2 / np.tan(0.5)) / np.tan(0.5)),
    ],
)
def test_masses_of_the_atoms(text, atom):
    """docs/theory.md#closed-forms: 1/(2+b), (1-c)/2, 1/2, 1/(k+1), (d/k) cot(k/2)."""
    law = ct.closed_form(text)
    assert law.atoms[0, 1] == pytest.approx(atom, rel=1e-14)
    assert law.atoms[-1, 1] == pytest.approx(atom, rel=1e-14)


@pytest.mark.parametrize(("form", "text"), LIMITS, ids=[f"{f.name}: {t}" for f, t in LIMITS])
def test_a_box_maps_the_law_of_the_scaled_utility(form, text):
    # The hinge has a closed form where its margin divides the width.
    box = ct.Box(1.0, 5 / 3)
    law = ct.closed_form(text, domain=box)
    unit = ct.closed_form(ct.utility(text).scaled(box.width))
    assert law.support.tolist() == [box.low, box.high]
    q = np.linspace(0, 1, 40)
    assert np.abs(law.ppf(q) - (box.low + box.width * unit.ppf(q))).max() < 1e-14
    # J is the same number, whether gaps are measured in the box or in units of its width.
    assert law.objective == pytest.approx(unit.objective, rel=1e-15)


@cases(40)
@given(utilities(), st.integers(2, 20))
def test_a_closed_form_is_never_wrong(utility, n):
    """Whatever a form takes for its own, the certificate must bear out."""
    found = exact_or_none(utility, n)
    assert found is None or found.relative_gap < 1e-11


def test_finite_optima_tend_to_the_limit_laws():
    for text, within in (("log(x)", 0.004), ("1 - exp(-3*x)", 0.003), ("x - 0.3*x**2", 0.003)):
        law = ct.closed_form(text)
        assert law.distance(ct.closed_form(text, 200).law) < within
