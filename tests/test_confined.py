"""Limit laws of unbounded rewards: against closed forms, known numbers, finite optima, a grid."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases
from scipy.integrate import quad

import collapse_theory as ct
from collapse_theory.errors import CollapseError, NoClosedForm, NoOptimum, NotConcave
from collapse_theory.exact import HELD_FINITE_FORMS, exact_law
from collapse_theory.exact.penalty import hermite_gaps
from collapse_theory.laws import RewardLaw
from collapse_theory.limit import LimitLaw, limit
from collapse_theory.limit.certificate import Certificate, certify
from collapse_theory.limit.coordinate import Grading, SeriesLaw
from collapse_theory.limit.free_support import level
from collapse_theory.limit.grid import free_cells
from collapse_theory.programs import Answer, Confined, Free
from collapse_theory.testing import numbers
from collapse_theory.utilities import (
    Hinge,
    LabelSmoothing,
    Linear,
    Log,
    LogSigmoid,
    NegativePower,
    Power,
    Quadratic,
    Squared,
    Utility,
    utility,
)

# Utilities with closed forms, weights and constants among them.
CLOSED = (
    "x",
    "3*x + 2",
    "log(x)",
    "0.2*log(x) - 1",
    "sqrt(x)",
    "5*x**0.1 + 1",
    "x**0.9",
    "-x**-0.5",
    "-0.3*x**-0.9",
    "-7*x**-0.1 - 3",
    "x - 0.3*x**2",
    "2*x - 5*x**2 + 1",
    "-(x - 2)**2",
)
SINGULAR = ("log(x) + x", "sqrt(x) + atan(x)", "-x**-0.5 + logsigmoid(x)", "log(x) - x**2")
REGULAR = (
    "logsigmoid(x)",
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "tanh(x)",
    "1 - exp(-3*x) + 0.1*x",
    "logsigmoid(100*x)",
    "log(x + 1e-3)",
    "x/(1 + x) + erf(2*x)",
    str(LabelSmoothing(0.1)),
    "logsigmoid(x - 1)",
)


def confined_law(
    u: Utility | str, kappa: float, tol: float | None = None, method: str = "auto"
) -> LimitLaw:
    return limit(u, Confined(kappa), method, tol)


def free_law(u: Utility | str, tol: float | None = None, method: str = "auto") -> LimitLaw:
    return limit(u, Free(), method, tol)


def radius(law: RewardLaw) -> float:
    return float(law.support[1])


def require_equal(law: RewardLaw, other: RewardLaw, rel: float) -> None:
    assert radius(law) == pytest.approx(radius(other), rel=rel)
    assert law.var() == pytest.approx(other.var(), rel=rel)
    x = np.linspace(-1.0, 1.0, 41) * radius(other)
    np.testing.assert_allclose(law.cdf(x), other.cdf(x), rtol=0, atol=10 * rel)


def optimal(law: RewardLaw, within: float = 1e-9) -> RewardLaw:
    assert law.status == "optimal"
    assert law.relative_gap is not None
    assert 0 <= law.relative_gap <= within
    assert law.mean() == pytest.approx(0.0, abs=1e-12 * max(radius(law), 1e-300))
    return law


# -- the numbers of docs/theory.md#what-the-papers-experiments-trained -------------------------


def test_log_sigmoid_under_a_penalty() -> None:
    law = optimal(confined_law(LogSigmoid(), 0.02), 1e-13)
    assert radius(law) == pytest.approx(3.8498315874, abs=5e-10)
    assert law.var() == pytest.approx(4.0944187718, abs=5e-10)
    assert radius(confined_law("logsigmoid(x)", 0.2)) == pytest.approx(1.2349737051, abs=5e-10)


def test_label_smoothing_alone() -> None:
    law = optimal(free_law(LabelSmoothing(0.1)), 1e-12)
    assert radius(law) == pytest.approx(3.0597545458, abs=5e-10)
    assert law.var() == pytest.approx(2.5422983271, abs=5e-10)


def test_a_vanishing_penalty_is_none() -> None:
    held, free = confined_law(LabelSmoothing(0.1), 1e-9), free_law(LabelSmoothing(0.1))
    assert radius(held) == pytest.approx(radius(free), rel=1e-6)
    assert radius(held) < radius(free)


def test_eigenvalue_one_where_label_smoothing_ends() -> None:
    """By Nystroem's method on the operator rho -> -∫ U''(|x-y|) rho(y) dy / (2 U'(0))."""
    u, law = LabelSmoothing(0.1), free_law(LabelSmoothing(0.1))
    z, w = np.polynomial.legendre.leggauss(400)
    x, w = radius(law) * z, radius(law) * w
    kernel = -u.d2(np.abs(x[:, None] - x)) / (2 * u.slope_at_zero)
    root = np.sqrt(w)
    values, vectors = np.linalg.eigh(kernel * root * root[:, None])
    assert values[-1] == pytest.approx(1.0, abs=3e-6)  # the kernel has a kink
    density = np.abs(vectors[:, -1]) / root
    np.testing.assert_allclose(law.pdf(x), density / (w @ density), rtol=1e-4)


# -- closed forms ----------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.05, 3.0])
@pytest.mark.parametrize("text", CLOSED)
def test_closed_forms_against_the_solver(text: str, kappa: float) -> None:
    exact, law = confined_law(text, kappa), confined_law(text, kappa, method="series")
    assert exact.method == "exact"
    assert exact.reference
    require_equal(optimal(law, 1e-11), optimal(exact, 1e-11), 1e-10)
    assert law.objective == pytest.approx(exact.objective, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("text", ["x - 0.3*x**2", "-(x - 2)**2", "2*x - 5*x**2 + 1"])
def test_closed_forms_without_a_penalty(text: str) -> None:
    exact, law = free_law(text), free_law(text, method="series")
    require_equal(optimal(law, 1e-11), optimal(exact, 1e-11), 1e-10)
    assert law.objective == pytest.approx(exact.objective, rel=1e-11, abs=1e-12)


def test_radii() -> None:
    """x: 1/kappa; log x: sqrt(2/kappa); a x - b x**2: a/(kappa + 2b)."""
    assert radius(confined_law(Linear(), 4.0)) == pytest.approx(0.25, rel=1e-14)
    assert radius(confined_law(Log(), 0.5)) == pytest.approx(2.0, rel=1e-14)
    assert radius(confined_law(3 * Log() + 1, 6.0)) == pytest.approx(1.0, rel=1e-14)
    assert radius(confined_law(Quadratic(0.5), 1.0)) == pytest.approx(0.5, rel=1e-14)
    assert radius(free_law(Squared(3.0))) == pytest.approx(3.0, rel=1e-14)
    assert exact_law(LogSigmoid(), 1.0) is None
    assert exact_law(Log(), 0.0) is None


def potential_slope(law: RewardLaw, u: Utility, kappa: float, x: float) -> float:
    """V'(x)/2 by SciPy's quadrature, both sides of x at once."""
    end = radius(law)
    near = end - abs(x)

    def both(t: float) -> float:
        return float(u.d1(t) * (law.pdf(x - t) - law.pdf(x + t)))

    total = quad(both, 0.0, near, epsabs=1e-10, epsrel=1e-9, limit=200)[0]
    total += quad(both, near, end + abs(x), epsabs=1e-10, epsrel=1e-9, limit=200)[0]
    return total - kappa * x


@pytest.mark.parametrize("text", [*CLOSED, "min(x, 0.4)", *SINGULAR, *REGULAR[:4]])
def test_level_potentials_by_an_independent_integral(text: str) -> None:
    u, kappa = utility(text), 0.4
    law = confined_law(u, kappa)
    for x in np.array([0.11, 0.5, 0.83]) * radius(law):
        size = kappa * radius(law) + float(u.d1(0.3 * radius(law)))
        if u.kinks:  # a step of the density meets U' jumping nowhere: no principal value
            found = (
                quad(
                    lambda y, x=x: float(np.sign(x - y) * u.d1(abs(x - y)) * law.pdf(y)),
                    *law.support,
                    points=sorted(
                        {x, *(x + s * k for k in u.kinks for s in (1, -1)), *law.parts[0].edges}
                    ),
                    limit=400,
                )[0]
                - kappa * x
            )
        else:
            found = potential_slope(law, u, kappa, float(x))
        assert abs(found) <= 2e-7 * size


@pytest.mark.parametrize("text", [*SINGULAR, *REGULAR[:4], "min(x, 0.4)"])
def test_beyond_the_support_the_potential_is_lower(text: str) -> None:
    u, kappa = utility(text), 0.4
    law = confined_law(u, kappa)
    y = law.ppf((np.arange(4000) + 0.5) / 4000)
    for x in radius(law) * np.array([1.001, 1.02, 1.3, 3.0]):
        assert np.mean(u.d1(x - y)) - kappa * x < 0


@pytest.mark.parametrize(("m", "kappa"), [(0.5, 4.0), (0.5, 0.2), (0.7, 0.01), (2.0, 1e-3)])
def test_hinges(m: float, kappa: float) -> None:
    u = 2 * Hinge(m) + 1
    exact, cells = confined_law(u, kappa), confined_law(u, kappa, method="cells")
    optimal(exact, 1e-11)
    assert exact.method == "exact"
    assert cells.var() == pytest.approx(exact.var(), rel=5e-3)
    assert cells.objective is not None
    assert exact.objective is not None
    assert cells.gap is not None
    assert cells.objective - 1e-12 <= exact.objective <= cells.objective + cells.gap


@pytest.mark.parametrize("n", [2, 3, 8, 41, 80])
def test_hermite_gaps_are_right_in_relative_terms(n: int) -> None:
    gaps = hermite_gaps(n)
    assert gaps.shape == (n - 1,)
    np.testing.assert_array_equal(gaps, gaps[::-1])
    with mp.workdps(40):
        zeros = [hermite_zero(n, z) for z in np.polynomial.hermite.hermgauss(n)[0].tolist()]
        exact = [float(b - a) for a, b in itertools.pairwise(zeros)]
    np.testing.assert_allclose(gaps, exact, rtol=2e-15)


def hermite_zero(n: int, x: mp.mpf) -> mp.mpf:
    """Newton's method with H_{k+1} = 2x H_k - 2k H_{k-1} and H_n' = 2n H_{n-1}."""
    x = mp.mpf(x)
    for _ in range(4):
        before, now = mp.mpf(1), 2 * x
        for k in range(1, n):
            before, now = now, 2 * x * now - 2 * k * before
        x -= now / (2 * n * before)
    return x


def confined_gaps(u: Utility, n: int, kappa: float) -> Answer | None:
    found = (form(u, n, kappa) for form in HELD_FINITE_FORMS)
    return next((answer for answer in found if answer is not None), None)


@pytest.mark.parametrize("n", [2, 3, 7, 30])
@pytest.mark.parametrize("text", ["x", "2*log(x) + 1", "x - 0.3*x**2", "-(x - 2)**2", "3*x"])
def test_finite_closed_forms_against_newton(text: str, n: int) -> None:
    for kappa in (0.07, 5.0):
        found = confined_gaps(utility(text), n, kappa)
        assert found is not None
        assert found.reference
        np.testing.assert_allclose(
            found.gaps, ct.solve(text, n, ct.Confined(kappa)).gaps, rtol=1e-9
        )


def test_finite_closed_forms_without_a_penalty() -> None:
    """x - c x**2: equal gaps; -(x - t)**2 at n = 2 has the gap t."""
    found = confined_gaps(Squared(1.5), 2, 0.0)
    assert found is not None
    np.testing.assert_allclose(found.gaps, [1.5])
    assert confined_gaps(Log(), 5, 0.0) is None
    assert confined_gaps(Linear(), 5, 0.0) is None
    assert confined_gaps(LogSigmoid(), 5, 1.0) is None


def test_utilities_that_fall_give_a_point() -> None:
    law = confined_law("-x", 1.0)
    np.testing.assert_array_equal(law.atoms, [[0.0, 1.0]])
    assert (law.objective, law.gap, law.relative_gap) == (0.0, 0.0, 0.0)
    assert free_law(Squared(-1.0)).objective == -1.0
    found = confined_gaps(Squared(-1.0), 3, 1.0)
    assert found is not None
    np.testing.assert_array_equal(found.gaps, [0.0, 0.0])


# -- other ways to the same law --------------------------------------------------------------


def second_moments(u: Utility, kappa: float, sizes: tuple[int, ...]) -> list[float]:
    found = []
    for n in sizes:
        rewards = np.concatenate(
            [[0.0], np.cumsum(ct.solve(u, n, ct.Confined(kappa) if kappa else ct.Free()).gaps)]
        )
        found.append(float(np.var(rewards)))
    return found


@pytest.mark.parametrize(
    ("text", "kappa", "within"),
    [
        ("logsigmoid(x)", 0.02, 1e-4),
        ("log(x + 0.1)", 0.3, 1e-4),
        ("log(x) + x", 1.0, 1e-4),
        ("sqrt(x) + atan(x)", 0.1, 1e-4),
        (str(LabelSmoothing(0.1)), 0.05, 1e-4),
        (str(LabelSmoothing(0.1)), 0.0, 1e-4),
    ],
)
def test_finite_optima_tend_to_the_law(text: str, kappa: float, within: float) -> None:
    """Their second moments have an error of the order of 1/n, which extrapolation removes."""
    u = utility(text)
    law = confined_law(u, kappa) if kappa else free_law(u)
    half, whole = second_moments(u, kappa, (250, 500))
    assert abs(whole / law.var() - 1) < 0.02
    assert 2 * whole - half == pytest.approx(law.var(), rel=within)


@pytest.mark.parametrize(("text", "kappa"), [("logsigmoid(x)", 0.2), ("log(x + 0.1)", 1.0)])
def test_a_quadratic_program_on_a_grid(text: str, kappa: float) -> None:
    import cvxpy as cp

    u = utility(text)
    law = confined_law(u, kappa)
    x = np.linspace(-1.5, 1.5, 181) * radius(law)
    kernel = u(np.abs(x[:, None] - x)) - kappa * (x[:, None] ** 2 + x**2) / 2
    # U is conditionally negative definite, so a constant makes the form concave.
    form = 50 * np.abs(kernel).max() - kernel
    values, vectors = np.linalg.eigh(form)
    masses = cp.Variable(x.size, nonneg=True)
    root = vectors * np.sqrt(np.maximum(values, 0))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(root.T @ masses)), [cp.sum(masses) == 1])
    problem.solve(solver="CLARABEL")
    m = np.maximum(masses.value, 0) / np.maximum(masses.value, 0).sum()
    reached = float(m @ kernel @ m)
    assert law.objective is not None
    assert law.gap is not None
    assert reached <= law.objective + law.gap
    assert reached == pytest.approx(law.objective, abs=2e-3)
    assert float(m @ x**2) == pytest.approx(law.var(), rel=1e-2)
    assert float(m[np.abs(x) > 1.03 * radius(law)].sum()) < 1e-4


@pytest.mark.parametrize("text", [*REGULAR, "log(x) + x", "sqrt(x) + atan(x)"])
def test_cells_agree_with_series(text: str) -> None:
    kappa = 0.4
    law, cells = confined_law(text, kappa), confined_law(text, kappa, method="cells")
    assert law.method in ("regular", "singular")
    assert cells.method == "cells"
    assert cells.var() == pytest.approx(law.var(), rel=2e-2)
    for one, other in ((law, cells), (cells, law)):
        assert one.objective is not None
        assert one.gap is not None
        assert other.objective is not None
        assert other.objective <= one.objective + one.gap


def test_kinks() -> None:
    u = utility("min(x, 1) + log(x + 0.1)")
    law = optimal(confined_law(u, 0.1), 1e-4)
    assert law.method == "cells"
    rewards = np.concatenate([[0.0], np.cumsum(ct.solve(u, 200, ct.Confined(0.1)).gaps)])
    assert law.var() == pytest.approx(np.var(rewards), rel=3e-2)
    # A kink beyond the support is none.
    assert confined_law(u, 30.0).method == "regular"


def test_a_kink_without_a_penalty() -> None:
    """-b x**2 is a penalty of 2b: the closed form of a hinge under Confined(0.4)."""
    law, exact = free_law("min(x, 2) - 0.2*x**2"), confined_law(Hinge(2.0), 0.4)
    optimal(law, 1e-4)
    assert (law.method, exact.method) == ("cells", "exact")
    assert law.var() == pytest.approx(exact.var(), rel=1e-3)
    assert law.objective == pytest.approx(exact.objective, rel=1e-4)


# -- certificates ----------------------------------------------------------------------------


def detuned(u: Utility, law: RewardLaw, share: float) -> SeriesLaw:
    """Return the law on a support that is `share` as long: another pull than kappa holds it."""
    return level(u, Grading.layered(0.1), share * radius(law), 32).law


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.02])
@pytest.mark.parametrize("text", ["x", "log(x)", "logsigmoid(x)", "sqrt(x) + atan(x)"])
def test_honesty_under_a_penalty(text: str, share: float) -> None:
    u, kappa = utility(text), 0.3
    best = confined_law(u, kappa)
    found = certify(u, detuned(u, best, share), kappa)
    assert best.objective is not None
    assert found.objective <= best.objective + 1e-13
    assert found.objective + found.gap >= best.objective
    # And not by much: the bound is of the order of what is missing.
    assert found.gap <= 20 * (best.objective - found.objective) + 1e-12


@pytest.mark.parametrize("share", [0.8, 0.97, 1.01])
@pytest.mark.parametrize("text", [str(LabelSmoothing(0.1)), "log(x) - x", "x - 0.3*x**2"])
def test_honesty_without_a_penalty(text: str, share: float) -> None:
    u = utility(text)
    best = free_law(u)
    found = certify(u, detuned(u, best, share), 0.0)
    assert best.objective is not None
    assert found.objective <= best.objective + 1e-13
    assert found.objective + found.gap >= best.objective
    assert found.gap <= 2.0


@pytest.mark.parametrize("text", [str(LabelSmoothing(0.1)), "logsigmoid(x)"])
def test_honesty_of_cells(text: str) -> None:
    u, kappa = utility(text), 0.05
    best = confined_law(u, kappa)
    assert best.objective is not None
    for count in (4, 16, 64):
        found = free_cells(u, kappa, radius(best), count).certify(u, kappa)
        assert found.objective <= best.objective <= found.objective + found.gap


def test_the_objective_by_sampling() -> None:
    u, kappa = LogSigmoid(), 0.1
    law = confined_law(u, kappa)
    y = law.quantiles(2000)
    gaps = np.abs(y[:, None] - y)
    mean = float(np.mean(u(gaps)) - kappa * np.mean(y**2))
    assert law.objective == pytest.approx(mean, abs=1e-5)


def test_relative_gap_takes_no_notice_of_units() -> None:
    u = utility("logsigmoid(x)")
    one, other = confined_law(u, 0.3), confined_law(100 * u + 5, 30.0)
    require_equal(one, other, 1e-12)
    coarse = [certify(v, detuned(v, one, 0.9), k) for v, k in ((u, 0.3), (100 * u + 5, 30.0))]
    assert coarse[0].relative_gap == pytest.approx(coarse[1].relative_gap, rel=1e-9)


def test_relative_gap_of_a_point() -> None:
    assert Certificate(0.0, 0.0, 0.0).relative_gap == 0.0
    assert Certificate(0.0, 1.0, 0.0).relative_gap == np.inf


# -- the range of utilities ------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [1e-8, 1e-4, 1e4])
@pytest.mark.parametrize(
    "text", ["logsigmoid(x)", "log(x + 0.1)", "logsigmoid(100*x)", "log(x) + x"]
)
def test_strong_and_weak_penalties(text: str, kappa: float) -> None:
    optimal(confined_law(text, kappa))


@pytest.mark.parametrize("eps", [0.4, 0.01, 1e-4])
def test_strong_and_weak_smoothing(eps: float) -> None:
    optimal(free_law(LabelSmoothing(eps)))


@pytest.mark.parametrize("text", ["log(x) - x", "sqrt(x) - x", "-x**-0.5 - x", "log(x + 0.1) - x"])
def test_maxima_of_other_utilities(text: str) -> None:
    optimal(free_law(text), 1e-10)


def test_scale_of_an_exact_relation() -> None:
    """-x**2 in U is a penalty of weight 2 in the limit: log x - x**2 under Free is Confined(2)."""
    require_equal(free_law("log(x) - x**2"), confined_law(Log(), 2.0), 1e-10)
    require_equal(confined_law("log(x) - x**2", 1.0), confined_law(Log(), 3.0), 1e-10)


families = st.sampled_from(
    [
        LogSigmoid(),
        LogSigmoid(5.0),
        LabelSmoothing(0.05),
        Log(),
        Log().shifted(0.1),
        Log().shifted(0.02),
        Power(0.5),
        NegativePower(0.5),
        NegativePower(1.0).shifted(0.1),
        Linear(),
        Squared(1.0),
        utility("tanh(2*x)"),
        utility("atan(x)"),
    ]
)
weights = st.floats(0.1, 10.0)
sums = st.builds(lambda u, v, a, b: a * u + b * v, families, families, weights, weights)
penalties = numbers(1e-4, 100)


@cases(40)
@given(sums, penalties)
def test_every_sum_has_its_law(u: Utility, kappa: float) -> None:
    law = optimal(confined_law(u, kappa))
    assert law.pdf(0.0) > 0
    assert law.objective is not None
    # d/dkappa of the best objective is -∫ x**2 dmu (Danskin), which the solver doesn't use.
    near = [confined_law(u, kappa * (1 + h)).objective or 0.0 for h in (-1e-3, 1e-3)]
    slope = (near[1] - near[0]) / (2e-3 * kappa)
    noise = 1e-13 * abs(law.objective) / (1e-3 * kappa)
    assert -slope == pytest.approx(law.var(), rel=1e-4, abs=noise)


@cases(15)
@given(sums, penalties, st.floats(0.2, 5.0), st.floats(0.2, 5.0))
def test_units_change_nothing(u: Utility, kappa: float, b: float, c: float) -> None:
    law = confined_law(u, kappa)
    other = confined_law(c * u.scaled(b) + 3, c * kappa * b**2)
    assert radius(other) == pytest.approx(radius(law) / b, rel=1e-8)
    assert other.var() == pytest.approx(law.var() / b**2, rel=1e-8)


@cases(10)
@given(families, penalties, st.floats(1.2, 5.0))
def test_a_stronger_penalty_holds_tighter(u: Utility, kappa: float, factor: float) -> None:
    loose, tight = confined_law(u, kappa), confined_law(u, factor * kappa)
    assert radius(tight) < radius(loose)
    assert tight.var() < loose.var()


# -- what there is no law for ----------------------------------------------------------------


@pytest.mark.parametrize("text", ["-1/x", "-x**-2 + x", "-1/x - x**2"])
def test_energies_that_diverge(text: str) -> None:
    with pytest.raises(NoOptimum, match=r"ct\.solve"):
        confined_law(text, 1.0)
    with pytest.raises(NoOptimum, match=r"ct\.solve"):
        free_law(text)


@pytest.mark.parametrize(
    "text", ["logsigmoid(x)", "x", "log(x)", "sqrt(x)", "min(x, 1)", "tanh(x)"]
)
def test_nothing_holds_the_rewards(text: str) -> None:
    with pytest.raises(NoOptimum, match="Confined"):
        free_law(text)


def test_convex_beyond_some_gap() -> None:
    with pytest.raises(NotConcave):
        confined_law("sin(x)", 0.01)
    optimal(confined_law("sin(x)", 10.0))


def test_arguments() -> None:
    for kappa in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(CollapseError):
            confined_law("x", kappa)
    with pytest.raises(CollapseError, match="known methods"):
        confined_law("x", 1.0, method="magic")
    with pytest.raises(CollapseError, match="tol"):
        confined_law("x", 1.0, tol=0.0)
    with pytest.raises(NoClosedForm):
        confined_law("logsigmoid(x)", 1.0, method="exact")
    with pytest.raises(CollapseError, match="kinks"):
        confined_law("min(x, 0.5)", 0.1, method="series")
    assert confined_law("logsigmoid(x)", 1.0, tol=1e-30).status == "inaccurate"


def test_laws_are_values() -> None:
    law = confined_law("logsigmoid(x)", 0.1)
    assert pickle.loads(pickle.dumps(law)) == law
    assert RewardLaw.from_dict(law.to_dict()) == law
    assert law == confined_law(LogSigmoid(), 0.1)
    assert dataclasses.replace(law, gap=1.0) != law


def test_functions_of_ones_own() -> None:
    own = Utility.from_functions(
        lambda x: np.log(x + 0.1), lambda x: 1 / (x + 0.1), lambda x: -1 / (x + 0.1) ** 2
    )
    require_equal(optimal(confined_law(own, 0.3)), confined_law("log(x + 0.1)", 0.3), 1e-10)


@pytest.mark.parametrize(
    ("text", "kappa"),
    [("-x**-0.26 + log(x)", 0.2), ("-x**-0.5 + 2*x", 1e-4), ("sqrt(x) + x**0.3", 0.1)],
)
def test_powers_that_lie_close(text: str, kappa: float) -> None:
    optimal(confined_law(text, kappa))


def test_a_hinge_of_a_hundred_thousand_steps_takes_no_matrix() -> None:
    law = limit("0.05398*min(2.612e7*x, 0.8835)", ct.Centered(0.2))
    assert law.status == "optimal"
    assert law.parts[0].knots().size > 10**5
