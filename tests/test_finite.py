"""The optimum of n completions: every method against every other, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import (
    FIRST_TIE,
    PIECEWISE,
    PROBLEMS,
    Problem,
    cases,
    pair_program,
)
from scipy.optimize import lsq_linear

import collapse_theory as ct
from collapse_theory.errors import NoConicForm
from collapse_theory.exact import FINITE_FORMS
from collapse_theory.finite import METHODS
from collapse_theory.testing import numbers, utilities
from collapse_theory.testing.strategies import FAMILIES

SMOOTH = utilities(kinked=False)
STRICT = utilities(strictly_concave=True, kinked=False)
COUNTS = st.integers(2, 60)

TEXTS = [
    "log(x)",
    "x**0.5",
    "x**0.95",
    "-1/x",
    "-x**-3",
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "logsigmoid(4*x)",
    "logsigmoid(40*x)",
    "1 - exp(-20*x)",
    "x - 0.3*x**2",
    "log(x) + 2*x",
    "x**0.3 + logsigmoid(10*x)",
]
EXACT = [(text, form) for form in FINITE_FORMS for text in form.examples]


def fits(method: str, text: str) -> bool:
    """Whether a method takes a utility; those that don't say so, which other tests check."""
    try:
        ct.solve(text, 4, method=method)
    except ct.CollapseError:
        return False
    return True


# -- against exact answers ---------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_table(problem: Problem):
    found = ct.solve(problem.utility, problem.n)
    assert found.status == "optimal"
    assert np.abs(found.rewards - problem.rewards).max() <= problem.within + 1e-13


@pytest.mark.parametrize(("text", "first"), FIRST_TIE)
def test_ties_at_the_ends_begin_at(text, first):
    for n in range(4, 33):
        ties = int(np.count_nonzero(ct.solve(text, n).gaps == 0))
        assert (ties > 0) == (first is not None and n >= first), n


@pytest.mark.parametrize("text", ["log(x)", "x**0.5", "x**0.9", "-1/x", "log(x) + 5*x"])
def test_infinite_slope_at_zero_means_no_ties(text):
    for n in (5, 40, 101):
        assert (ct.solve(text, n).gaps > 0).all()


# "spectral" is of many: tests/test_many.py.
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"spectral"}))
@pytest.mark.parametrize(("text", "form"), EXACT, ids=[f"{f.name}: {t}" for t, f in EXACT])
def test_every_method_against_every_closed_form(method, text, form):
    utility = ct.utility(text)
    if not fits(method, text):
        assert method == "conic"
        with pytest.raises(ct.NoConicForm, match="newton"):
            ct.solve(text, 4, method=method)
        return
    few = method == "conic" or utility.kinks
    for n in (2, 3, 4, 5, 8, 13, 24, 40) if few else (*range(2, 41), 128, 500):
        exact = form(utility, n)
        if exact is None or not exact.unique:
            continue
        found = ct.solve(utility, n, method=method)
        expected = ct.closed_form(utility, n)
        # A piecewise linear utility's own method is minimum cuts.
        assert found.method == ("cuts" if method == "newton" and utility.kinks else method)
        assert found.objective == pytest.approx(expected.objective, abs=found.gap + 1e-14)
        off = np.abs(found.rewards - expected.rewards).max()
        assert found.unique
        # What an objective within the gap of the best allows: f falls quadratically.
        assert off < (1e-12 if method == "newton" else 30 * np.sqrt(found.relative_gap) + 1e-9), n
        assert found.relative_gap < (1e-12 if method == "newton" else 1e-5)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("n", [4, 7, 16, 40])
def test_newton_against_conic(text, n):
    newton, conic = ct.solve(text, n, method="newton"), ct.solve(text, n, method="conic")
    assert newton.relative_gap < 1e-12
    assert newton.status == "optimal"
    assert conic.relative_gap < 1e-4
    assert conic.status in ("optimal", "inaccurate")
    assert abs(newton.objective - conic.objective) <= newton.gap + conic.gap
    # `gap` covers the rounding of newton's objective; conic's own is of the same size.
    assert newton.objective + newton.gap >= conic.objective - 4 * np.spacing(abs(conic.objective))
    off = np.abs(newton.rewards - conic.rewards).max()
    assert off < 30 * np.sqrt(conic.relative_gap) + 1e-6


@pytest.mark.parametrize("text", ["log(x) + min(x, 0.3)", "logsigmoid(4*x) + min(x, 0.4)"])
@pytest.mark.parametrize("n", [4, 7, 12])
def test_kinks_beside_a_strictly_concave_part(text, n):
    auto, conic = ct.solve(text, n), ct.solve(text, n, method="conic")
    assert auto.unique
    assert auto.status == "optimal"
    assert auto.relative_gap < 1e-6
    assert np.abs(auto.rewards - conic.rewards).max() < 1e-3
    assert abs(auto.objective - conic.objective) <= auto.gap + conic.gap


@pytest.mark.parametrize("text", ["min(x**0.5, 0.9)", "min(x**0.5, 0.5)", "min(log(x), -1)"])
@pytest.mark.parametrize("n", [3, 4, 6, 7])
def test_curved_up_to_a_kink_and_flat_beyond(text, n):
    found = ct.solve(text, n)
    assert found.status == "optimal"
    assert found.relative_gap < 1e-6


# -- several optima ----------------------------------------------------------------------


def least_squares(text: str, n: int) -> np.ndarray:
    """Return the rewards of the least sum of squared pair gaps among the optimal ones.

    By complementary slackness with one dual solution of the linear program: a pair whose value is
    held by its gap has x <= m, one whose value is held by the margin has x >= m, and a gap with a
    reduced cost is 0. What is left is the point of a polyhedron nearest to 0, which Lawson and
    Hanson's method finds exactly ("Solving Least Squares Problems", ch. 23, problem LDP).
    """
    program = pair_program(PIECEWISE[text], n)
    found = program.best()
    held, tied = -found.ineqlin.marginals > 1e-7, found.lower.marginals[: n - 1] > 1e-7
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    rows = np.array([[float(i <= k < j) for k in range(n - 1)] for i, j in pairs])
    G, h = (
        [np.eye(n - 1), np.ones((1, n - 1)), -np.ones((1, n - 1)), -np.eye(n - 1)[tied]],
        [np.zeros(n - 1), [1.0], [-1.0], np.zeros(int(tied.sum()))],
    )
    for which, (_, margin) in enumerate(PIECEWISE[text]):
        for p, row in enumerate(rows):
            by_gap, by_margin = held[2 * (which * len(pairs) + p) :][:2]
            if by_gap:
                G.append(-row[None])
                h.append([-margin])
            if by_margin:
                G.append(row[None])
                h.append([margin])
    G, h = np.concatenate(G), np.concatenate(h)
    R = np.linalg.qr(rows)[1]  # |rows @ d| = |R @ d|
    lifted = np.vstack([np.linalg.solve(R.T, G.T), h])
    # By Stark and Parker's method: SciPy 1.18's nnls errs where constraints say the same.
    target = np.append(np.zeros(n - 1), 1.0)
    multipliers = lsq_linear(lifted, target, (0.0, np.inf), method="bvls", tol=1e-15).x
    residual = lifted @ multipliers - target
    gaps = np.linalg.solve(R, -residual[:-1] / residual[-1])
    return np.append(gaps[::-1].cumsum()[::-1], 0.0)


def is_the_only_optimum(text: str, n: int) -> bool:
    """Whether no gap can change among the optimal answers: two linear programs a gap."""
    program = pair_program(PIECEWISE[text], n)
    floor = -program.best().fun - 1e-10
    for k in range(n - 1):
        unit = np.zeros(len(program.c))
        unit[k] = 1.0
        widest, narrowest = -program.best(unit, floor).fun, program.best(-unit, floor).fun
        if widest - narrowest > 1e-5:
            return False
    return True


@pytest.mark.parametrize("text", PIECEWISE)
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8])
def test_of_several_optima_the_least_squares(text, n):
    found = ct.solve(text, n)
    assert np.abs(found.rewards - least_squares(text, n)).max() < 1e-6
    assert found.unique == is_the_only_optimum(text, n)
    assert ("one optimum of several" in repr(found)) != found.unique


def test_linear_says_that_it_is_not_unique():
    odd, even = ct.solve("x", 5), ct.solve("x", 4)
    assert odd.rewards.tolist() == [1, 1, 0.5, 0, 0]
    assert not odd.unique
    assert even.unique
    assert even.rewards.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("n", [4, 8, 14])
def test_margins_that_all_pairs_reach(n):
    # Flat already at the gaps where methods start: no warning, and many optima.
    found = ct.solve(0.01 * ct.Hinge(0.02), n)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(0.01 * 0.02, rel=1e-14)
    assert not found.unique
    # Unique where k+1 groups of one just fit, and optimal up to rounding of the gaps.
    tight = ct.solve(ct.Hinge(1 / (n - 1)), n, method="conic")
    assert tight.status == "optimal"
    assert tight.unique


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("logsigmoid(0.2*x)", 260),
        ("logsigmoid(0.2*x)", 500),
        ("x - 0.01879193984814009*x**2", 264),
        ("log(x + 46.84606954734621)", 284),
    ],
)
def test_nearly_linear_utilities_whose_ties_are_hard_to_tell(text, n):
    found = ct.solve(text, n)
    assert found.relative_gap < 1e-12
    assert found.iterations < 40


@pytest.mark.parametrize("k", [2, 3, 4])
def test_hinges_make_even_groups_where_they_can(k):
    found = ct.solve(ct.Hinge(1 / k), 3 * (k + 1))
    assert np.abs(found.rewards - np.repeat(np.arange(k, -1, -1) / k, 3)).max() < 1e-12
    assert found.unique


# -- what must always hold ---------------------------------------------------------------


@cases(150)
@given(SMOOTH, COUNTS)
def test_optima_are_symmetric_monotone_and_certified(utility, n):
    found = ct.solve(utility, n)
    rewards = found.rewards
    assert found.status == "optimal"
    assert 0 <= found.relative_gap <= 1e-11
    assert found.gap >= 0
    assert rewards.shape == (n,)
    assert found.gaps.shape == (n - 1,)
    assert rewards[0] == 1
    assert rewards[-1] == 0
    assert (np.diff(rewards) <= 0).all()
    assert (found.gaps >= 0).all()
    assert np.abs(rewards + rewards[::-1] - 1).max() <= 1e-15 * n
    assert np.abs(found.gaps - found.gaps[::-1]).max() <= 1e-15
    assert abs(found.gaps.sum() - 1) < 1e-14
    assert np.abs(rewards[:-1] - rewards[1:] - found.gaps).max() < 1e-14
    if utility.strictly_concave:
        assert found.unique
    for array in (found.rewards, found.gaps):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.5


@cases(80)
@given(
    STRICT,
    COUNTS,
    st.floats(-6, 6).map(lambda e: 10.0**e),
    st.floats(-100, 100),
)
def test_a_factor_and_a_constant_change_nothing(utility, n, factor, constant):
    plain, changed = ct.solve(utility, n), ct.solve(factor * utility + constant, n)
    assert np.abs(plain.rewards - changed.rewards).max() < 1e-10
    assert changed.relative_gap <= 10 * plain.relative_gap + 1e-14
    assert changed.objective == pytest.approx(
        factor * plain.objective + constant, rel=1e-12, abs=1e-13 * abs(constant)
    )


@cases(60)
@given(
    st.one_of(FAMILIES[ct.Log], FAMILIES[ct.Power], FAMILIES[ct.NegativePower]),
    numbers(1e-4, 1e4),
    COUNTS,
)
def test_powers_and_log_have_no_scale(utility, b, n):
    plain, scaled = ct.solve(utility, n), ct.solve(utility.scaled(b), n)
    assert np.abs(plain.rewards - scaled.rewards).max() < 1e-12


@cases(80)
@given(STRICT, st.integers(2, 30), st.floats(-50, 50), st.floats(-3, -0.01))
def test_a_box_is_the_unit_box_of_the_scaled_utility(utility, n, low, log_width):
    box = ct.Box(low, low + 10.0**log_width)
    inside, unit = ct.solve(utility, n, box), ct.solve(utility.scaled(box.width), n)
    rounding = 4e-16 * (1 + abs(low))
    assert inside.rewards[0] == box.high
    assert inside.rewards[-1] == box.low
    assert np.abs(inside.rewards - (low + box.width * unit.rewards)).max() <= rounding
    assert np.abs(inside.gaps - box.width * unit.gaps).max() <= 1e-15 * box.width
    assert inside.objective == unit.objective
    assert inside.domain == box
    assert inside.utility == utility


def test_wide_boxes():
    # log-sigmoid over [0, 100]: steep, all but equally spaced.
    found = ct.solve(ct.LogSigmoid(), 8, ct.Box(0, 100))
    assert found.relative_gap < 1e-11
    assert np.abs(found.rewards - np.linspace(100, 0, 8)).max() < 0.05
    # Log has no scale.
    wide = ct.solve(ct.Log(), 8, ct.Box(-1e6, 1e6))
    assert np.abs(wide.rewards / 2e6 + 0.5 - ct.solve(ct.Log(), 8).rewards).max() < 1e-14


def test_law_is_that_of_the_rewards():
    found = ct.solve("log(x + 0.1)", 8)
    assert found.law.atoms[:, 0].tolist() == sorted(set(found.rewards.tolist()))
    assert found.law.atoms[0, 1] == 0.25
    assert found.law is found.law
    assert found.law.mean() == pytest.approx(0.5, abs=1e-15)


def test_n_may_be_a_numpy_integer():
    assert ct.solve("log(x)", np.int64(8)) == ct.solve("log(x)", 8)


# -- options and errors ------------------------------------------------------------------


def test_tol_decides_the_status_alone():
    plain = ct.solve("log(x + 0.1)", 12)
    strict = ct.solve("log(x + 0.1)", 12, tol=1e-30)
    assert plain.status == "optimal"
    assert strict.status == "inaccurate"
    assert np.array_equal(plain.rewards, strict.rewards)
    assert ct.solve("log(x)", 12, method="conic", tol=1e-15).status == "inaccurate"


def test_iterations_left_means_inaccurate_and_not_stopped():
    # A step of width 1/1000 in the middle: too steep for now, and said as what it is.
    found = ct.solve("logsigmoid(1000*(x - 0.5))", 16)
    assert found.status == ("optimal" if found.relative_gap <= 1e-9 else "inaccurate")
    assert found.iterations < 2000


def test_stopping_early_is_said():
    found = ct.solve("log(x + 0.1)", 30, max_iterations=2)
    assert found.status == "max_iterations"
    assert found.iterations <= 2
    assert found.relative_gap > 1e-9
    assert np.isfinite(found.gap)
    enough = ct.solve("log(x + 0.1)", 30, max_iterations=500)
    assert enough.status == "optimal"
    conic = ct.solve("log(x + 0.1)", 20, max_iterations=2, method="conic")
    assert conic.status == "max_iterations"


@pytest.mark.parametrize(
    "n", [1, 0, -3, 2.5, 8.0, True, "8", float("nan"), None, [8]], ids=lambda n: repr(n)
)
def test_n_must_be_a_whole_number_of_at_least_two(n):
    with pytest.raises(ct.CollapseError, match="completions"):
        ct.solve("log(x)", n)


@pytest.mark.parametrize(
    "ends",
    [(1, 0), (0, 0), (0, np.inf), (-np.inf, 0), (0, np.nan), ("0", 1), (True, 2), (None, 1)],
)
def test_boxes_need_finite_ends_in_order(ends):
    with pytest.raises(ct.CollapseError, match="Box needs"):
        ct.Box(*ends)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "simplex"}, "'newton'"),
        ({"method": None}, "unknown method"),
        ({"tol": 0}, "tol"),
        ({"tol": -1e-9}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"tol": "tight"}, "tol"),
        ({"max_iterations": True}, "max_iterations"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"max_iterations": 2.5}, "max_iterations"),
        ({"domain": (0, 1, 2)}, "Box"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ct.CollapseError, match=message):
        ct.solve("log(x)", 8, **options)


@pytest.mark.parametrize(
    ("utility", "box", "where"),
    [
        (ct.utility("-x"), ct.Box(), ""),
        (ct.utility("x - 0.6*x**2"), ct.Box(), "0.83"),  # the maximum is at 5/6
        (ct.Squared(0.5), ct.Box(), "0.5"),
        (ct.LabelSmoothing(0.1), ct.Box(0, 5), "2.19"),  # log 9
        (ct.Sine(1.5), ct.Box(0, 1.5), "1.04"),  # pi/3
    ],
)
def test_utilities_that_fall_in_the_box(utility, box, where):
    with pytest.raises(ct.NotIncreasing, match=f"falls at the gap {where}"):
        ct.solve(utility, 8, box)


def test_utilities_that_are_convex_in_a_wider_box():
    with pytest.raises(ct.NotConcave, match="not concave"):
        ct.solve("sin(1.5*x)", 8, ct.Box(0, 3))
    # In a narrower box what falls further out is welcome.
    assert ct.solve(ct.Squared(0.5), 8, ct.Box(0, 0.5)).status == "optimal"
    assert ct.solve(ct.LabelSmoothing(0.1), 8, ct.Box(0, 2)).status == "optimal"


@pytest.mark.parametrize("text", ["atan(3*x)", "erf(x)", "tanh(2*x)", "sin(x)", "log(x)+erf(x)"])
def test_no_conic_form_names_newton(text):
    with pytest.raises(ct.NoConicForm, match='method="newton"'):
        ct.solve(text, 8, method="conic")
    assert ct.solve(text, 8).method == "newton"


@pytest.mark.parametrize("n", [80, 128, 200])
def test_gaps_outside_float64_are_an_error(n):
    # x**0.99 at n = 128 has a gap of 1e-422: the issue.
    with pytest.raises(ct.OutOfRange, match="float64"):
        ct.solve("x**0.99", n)


def test_gaps_at_the_edge_of_float64():
    found = ct.solve("x**0.99", 20)
    # 40 digits of mpmath: Newton's method in the logarithms of the gaps.
    assert found.gaps[0] == pytest.approx(1.2676e-170, rel=1e-4)
    assert found.gaps[1] == pytest.approx(6.5332e-123, rel=1e-4)
    assert found.relative_gap < 1e-12


# -- size --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["log(x)", "x**0.5", "-1/x", "log(x + 0.1)", "logsigmoid(4*x)"])
def test_a_thousand_completions(text):
    found = ct.solve(text, 1000)
    assert found.relative_gap < 1e-10
    assert found.status == "optimal"


@pytest.mark.parametrize("text", ["x**0.5", "log(x + 0.1)"])
def test_two_thousand_completions(text):
    assert ct.solve(text, 2000).relative_gap < 1e-10


@pytest.mark.parametrize("text", ["x**0.95", "-x**-3", "x**0.9 + log(x)", "-1/x"])
def test_strong_singularities_at_128_and_500(text):
    for n in (128, 500) if text != "x**0.95" else (128,):
        assert ct.solve(text, n).relative_gap < 1e-12


@pytest.mark.parametrize(
    ("text", "n"), [("tanh(2916*x)", 9), ("1e-310*log(x)", 8), ("tanh(1000*sqrt(x))", 64)]
)
def test_slopes_at_the_end_of_float64_take_few_steps(text, n):
    found = ct.solve(text, n)
    assert found.status == "optimal"
    assert found.iterations < 20


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("logsigmoid(1000*(x - 0.2))", 33),
        ("logsigmoid(3000*(x - 0.6651))", 32),
        ("tanh(500*x)", 12),
    ],
)
def test_the_best_of_all_methods_where_one_is_short_of_its_tolerance(text, n):
    found = ct.solve(text, n)
    for method in ("newton", "conic"):
        try:
            other = ct.solve(text, n, method=method)
        except NoConicForm:
            continue
        assert found.relative_gap <= max(other.relative_gap, 1e-9)


@pytest.mark.parametrize(
    "work",
    [
        lambda: ct.solve("x", 10**12),
        lambda: ct.closed_form("x", 10**6),
        lambda: ct.solve("min(x, 0.123)", 1500),
        lambda: ct.solve("log(x)", 300, method="conic"),
        lambda: ct.Comparisons.full(10**5),
    ],
)
def test_more_work_than_one_waits_for_is_refused_at_once(work):
    with pytest.raises(ct.CollapseError, match=r"at most .*n = .*(ct.limit|newton)"):
        work()


@pytest.mark.parametrize("text", ["log(x + 0.1)", "1 - exp(-30*x)", "logsigmoid(210*(x - 0.36))"])
@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [7, 12, 33])
def test_gaps_fill_the_box_wherever_a_method_is_stopped(text, n, most):
    found = ct.solve(text, n, ct.Box(-1, 2), max_iterations=most)
    assert found.gaps.sum() == pytest.approx(3.0, abs=1e-13)
    assert found.gaps.min() >= 0


@pytest.mark.parametrize("n", [4, 5])
def test_a_kink_at_the_width_of_the_box_is_none(n):
    found = ct.solve("min(x, 1)", n)
    assert (found.method, found.status) == ("closed form", "optimal")
    np.testing.assert_array_equal(found.rewards, ct.solve("x", n).rewards)
