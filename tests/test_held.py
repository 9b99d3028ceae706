"""Unbounded rewards of a full ranking: penalties, centring, and utilities with a maximum."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases, certified
from scipy.optimize import minimize

import collapse_theory as ct
from collapse_theory.programs import Answer, Program, certify
from collapse_theory.programs.program import centred

TEXTS = (
    "log(x)",
    "x**0.5",
    "x**0.95",
    "-1/x",
    "-x**-3",
    "x",
    "logsigmoid(x)",
    "logsigmoid(100*x)",
    "log(x + 0.1)",
    "1 - exp(-3*x)",
    "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)",
    "-(x - 2)**2",
    "logsigmoid(x - 1)",
    "log(x) + x",
)
HELD = ("0.9*logsigmoid(x) + 0.1*logsigmoid(-x)", "-(x - 2)**2", "logsigmoid(x) - 0.3*x")


@pytest.mark.parametrize("n", [2, 3, 4, 7, 40, 301])
def test_log_under_a_penalty_has_hermite_zeros(n: int) -> None:
    # Stieltjes (Szego, Orthogonal Polynomials, theorem 6.7.2): the zeros of H_n are where
    # sum_j 1/(h_i - h_j) = h_i; here sum_j 1/(r_i - r_j) = kappa (n-1) r_i.
    zeros = np.polynomial.hermite.hermgauss(n)[0][::-1]
    solution = ct.solve("log(x)", n, ct.Confined(0.3))
    np.testing.assert_allclose(solution.rewards, zeros / np.sqrt(0.3 * (n - 1)), atol=2e-14)


@pytest.mark.parametrize("n", [2, 5, 16])
def test_linear_and_squared_are_equally_spaced(n: int) -> None:
    ranks = np.arange(n)
    linear = ct.solve("x", n, ct.Confined(0.02)).rewards
    np.testing.assert_allclose(
        linear, (n - 1 - 2 * ranks) / (0.02 * (n - 1)), rtol=1e-13, atol=1e-12
    )
    squared = ct.solve(ct.Squared(2), n, ct.Free()).rewards
    np.testing.assert_allclose(squared, 2 * (n - 1 - 2 * ranks) / n, atol=1e-13)


@pytest.mark.parametrize("n", [2, 16, 36, 100])
@pytest.mark.parametrize("eps", [0.1, 0.01, 1e-3, 1e-4])
@pytest.mark.parametrize("beta", [1e-4, 1.0, 1000.0])
def test_label_smoothing_is_certified_where_slopes_round_to_the_least(n, eps, beta):
    # The widest pairs have U' = -eps beta up to rounding, below which U has no slope.
    found = ct.solve(ct.LabelSmoothing(eps).scaled(beta), n, ct.Free())
    assert (found.status, found.relative_gap < 1e-11) == ("optimal", True)


def test_label_smoothing_at_four_completions() -> None:
    # The sums of U'(x) = 0.9 sigma(-x) - 0.1 sigma(x) over each completion's pairs are 0: mpmath.
    solution = ct.solve(ct.LabelSmoothing(0.1), 4, ct.Free())
    wanted = [1.94142407, 0.59524967, -0.59524967, -1.94142407]
    np.testing.assert_allclose(solution.rewards, wanted, atol=1e-8)


def test_many_completions_tend_to_the_known_limit() -> None:
    # Variance 4.0944187718 in the limit (ct.limit, certified); the finite one is off by c/n.
    small, large = (
        ct.solve("logsigmoid(x)", n, ct.Confined(0.02)).rewards.var() for n in (500, 1000)
    )
    assert 2 * large - small == pytest.approx(4.0944187718, abs=5e-5)


@pytest.mark.parametrize("n", [2, 3, 6, 9])
@pytest.mark.parametrize("text", TEXTS)
def test_newton_against_cvxpy_in_the_rewards(text: str, n: int) -> None:
    import cvxpy as cp

    u, kappa = ct.utility(text), 0.1
    solution = ct.solve(u, n, ct.Confined(kappa))
    assert solution.status == "optimal"
    assert solution.relative_gap < 1e-13
    rewards = cp.Variable(n)
    i, j = np.triu_indices(n, 1)
    # Each pair near its size, or Clarabel loses digits where gaps are small.
    reference = solution.rewards[i] - solution.rewards[j]
    ratio = cp.multiply(1 / reference, rewards[i] - rewards[j])
    value = cp.sum(u.conic(cp, ratio, reference)) / len(i) - kappa / n * cp.sum_squares(rewards)
    problem = cp.Problem(cp.Maximize(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of approximate powers
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    size = max(1.0, float(np.abs(solution.rewards).max()))
    np.testing.assert_allclose(rewards.value, solution.rewards, atol=3e-4 * size)
    assert problem.value <= solution.objective + solution.gap + 1e-7 * size


@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("text", TEXTS)
def test_centring_is_a_penalty(text: str, n: int) -> None:
    c = 0.07
    centring = ct.solve(text, n, ct.Centered(c))
    penalty = ct.solve(text, n, ct.Confined(2 * c * (n - 2) / (n - 1)))
    np.testing.assert_array_equal(centring.rewards, penalty.rewards)
    # The objective as TRL writes it.
    r, (i, j) = centring.rewards, np.triu_indices(n, 1)
    plain = np.mean(ct.utility(text)(r[i] - r[j]) - c * (r[i] + r[j]) ** 2)
    assert centring.objective == pytest.approx(plain, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("text", ["log(x)", "logsigmoid(x)", "x**0.5", "-1/x", *HELD])
@pytest.mark.parametrize("n", [3, 8, 21])
def test_conic_agrees(text: str, n: int) -> None:
    domain = ct.Free() if text in HELD else ct.Confined(0.05)
    ours, other = (ct.solve(text, n, domain, method=m) for m in ("newton", "conic"))
    assert other.status == "optimal"
    np.testing.assert_allclose(other.rewards, ours.rewards, atol=1e-4)


@pytest.mark.parametrize("m", [0.5, 2.0])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_hinge_with_a_penalty(m: float, n: int) -> None:
    import cvxpy as cp

    solution = ct.solve(ct.Hinge(m), n, ct.Confined(0.1))
    assert solution.status == "optimal"
    rewards = cp.Variable(n)
    i, j = np.triu_indices(n, 1)
    value = cp.sum(cp.minimum(rewards[i] - rewards[j], m)) / len(i) - 0.1 / n * cp.sum_squares(
        rewards
    )
    cp.Problem(cp.Maximize(value)).solve(solver="CLARABEL")
    np.testing.assert_allclose(solution.rewards, rewards.value, atol=1e-6)


@given(
    text=st.sampled_from(TEXTS),
    n=st.integers(2, 12),
    kappa=st.floats(1e-3, 10),
    noise=st.floats(1e-9, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
@cases(60)
def test_the_gap_bounds_what_is_missing(
    text: str, n: int, kappa: float, noise: float, seed: int
) -> None:
    u = ct.utility(text)
    best = ct.solve(u, n, ct.Confined(kappa))
    assert best.relative_gap < 1e-12
    rng = np.random.default_rng(seed)
    gaps = best.gaps * np.exp(noise * rng.standard_normal(n - 1))
    found = certified(u, gaps, ct.Confined(kappa))
    r, (i, j) = centred(gaps), np.triu_indices(n, 1)
    plain = np.mean(u(r[i] - r[j])) - kappa * np.mean(r**2)
    assert found.objective == pytest.approx(plain, rel=1e-9, abs=1e-12)
    assert found.gap >= best.objective - found.objective


@given(
    text=st.sampled_from(HELD),
    n=st.integers(2, 10),
    noise=st.floats(1e-9, 0.1),
    seed=st.integers(0),
)
@cases(40)
def test_the_dual_gap_bounds_what_is_missing(text: str, n: int, noise: float, seed: int) -> None:
    u = ct.utility(text)
    best = ct.solve(u, n, ct.Free())
    assert best.relative_gap < 1e-12
    rng = np.random.default_rng(seed)
    gaps = best.gaps * np.exp(noise * rng.standard_normal(n - 1))
    found = certified(u, gaps, ct.Free())
    assert found.gap >= best.objective - found.objective


@pytest.mark.parametrize(
    ("text", "domain", "n"),
    [
        ("logsigmoid(x)", ct.Free(), 8),
        ("log(x)", ct.Free(), 2),
        ("x", ct.Free(), 3),
        ("logsigmoid(x)", ct.Centered(0.1), 2),
        ("min(x, 1)", ct.Free(), 4),
    ],
)
def test_nothing_holds_the_rewards(text: str, domain: ct.Free, n: int) -> None:
    with pytest.raises(ct.NoOptimum, match="nothing holds the rewards"):
        ct.solve(text, n, domain)


def test_errors_and_values() -> None:
    for bad in (0, -1, np.nan, np.inf, "1", None):
        with pytest.raises(ValueError, match="kappa"):
            ct.Confined(bad)
        with pytest.raises(ValueError, match="Centered"):
            ct.Centered(bad)
    with pytest.raises(ct.NotConcave):
        ct.solve("sin(x)", 4, ct.Confined(0.1))
    for domain in (ct.Confined(0.2), ct.Centered(0.1), ct.Free()):
        solution = ct.solve(ct.LabelSmoothing(0.2), 5, domain)
        written = json.loads(json.dumps(solution.to_dict()))
        assert ct.Solution.from_dict(written) == solution
        assert solution.unique
        np.testing.assert_allclose(solution.rewards + solution.rewards[::-1], 0, atol=1e-15)


# -- penalties of one's own ----------------------------------------------------------------


class Quartic(ct.Domain):
    def cost(self, r):
        return r**4

    def conjugate(self, y):
        return 3 * np.abs(y / 4) ** (4 / 3)


@dataclass(frozen=True, eq=False)
class Square(ct.Domain):  # Confined, in other words
    kappa: float

    def cost(self, r):
        return self.kappa * r**2

    def conjugate(self, y):
        return y**2 / (4 * self.kappa)


class Lopsided(ct.Domain):  # exp(r) - 3 r, for y > -3
    def cost(self, r):
        return np.exp(r) - 3 * r

    def conjugate(self, y):
        z = np.maximum(y + 3, 1e-300)
        return np.where(y > -3, z * np.log(z) - z, np.inf)


class Huber(ct.Domain):  # no formula
    def cost(self, r):
        return np.where(np.abs(r) < 1, r**2 / 2, np.abs(r) - 0.5)

    def cost_slopes(self, r):
        return np.clip(r, -1, 1), np.where(np.abs(r) < 1, 1.0, 0.0)

    def conjugate(self, y):
        return np.where(np.abs(y) <= 1 + 1e-12, y**2 / 2, np.inf)


OWN = ["x", "log(x)", "log(x + 0.1)", "tanh(x)", "-1/x", "min(x, 0.4)", "x**0.5"]


@pytest.mark.parametrize("n", [2, 3, 8, 25])
@pytest.mark.parametrize("text", OWN)
def test_the_square_is_confined(text, n):
    one, other = ct.solve(text, n, Square(0.3)), ct.solve(text, n, ct.Confined(0.3))
    assert one.rewards == pytest.approx(other.rewards, abs=1e-9)
    assert one.objective == pytest.approx(other.objective, rel=1e-12)
    assert one.relative_gap < 1e-12
    graph = ct.Comparisons(4, [0, 0, 1, 1], [1, 2, 3, 2], weights=[1, 2, 3, 1])
    domains = Square(0.3), ct.Confined(0.3)
    one, other = (ct.solve(text, comparisons=graph, domain=d) for d in domains)
    assert one.rewards == pytest.approx(other.rewards, abs=1e-8)


@pytest.mark.parametrize("domain", [Quartic(), Lopsided(), Huber()], ids=repr)
@pytest.mark.parametrize("text", OWN[1:6])
def test_own_penalties_against_another_optimizer(text, domain):
    u, n = ct.utility(text), 5
    found = ct.solve(u, n, domain)
    assert found.status == "optimal"
    assert found.unique == (domain.strict or u.strictly_concave)
    assert found.relative_gap < 1e-10
    i, j = np.triu_indices(n, 1)

    def loss(steps):
        r = steps[0] - np.concatenate([[0.0], np.cumsum(np.exp(steps[1:]))])
        return domain.cost(r).mean() - u(r[i] - r[j]).mean()

    start = np.concatenate([[1.0], np.log(np.maximum(found.gaps, 1e-4))]) + 0.3
    other = minimize(loss, start, method="BFGS", options={"gtol": 1e-9})
    # At a kink of U the descent may stop short of the optimum; no slopes are needed to go on, and a
    # new simplex where one has collapsed, which depends on the processor's rounding.
    closer = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 20_000, "maxfev": 20_000}
    before = np.inf
    while other.fun < before - 1e-8:
        before = other.fun
        other = minimize(loss, other.x, method="Nelder-Mead", options=closer)
    assert found.objective >= -other.fun - 1e-12
    assert found.objective == pytest.approx(-other.fun, abs=1e-6)


def test_certificates_under_own_penalties_are_honest():
    best = ct.solve("log(x + 0.1)", 5, Quartic())
    program = Program.of(ct.utility("log(x + 0.1)"), 5, Quartic())
    rng = np.random.default_rng(1)
    for scale in (1e-8, 1e-4, 0.1):
        r = np.sort(best.rewards + scale * rng.normal(size=5))[::-1]
        found = certify(program, Answer(rewards=r))
        assert found.gap >= best.objective - found.objective


@pytest.mark.parametrize(("methods", "match"), [
    ({"cost": ct.Domain.cost}, "needs the methods cost"),
    ({"conjugate": ct.Domain.conjugate}, "needs conjugate"),
    ({"cost": lambda self, r: -(r**2)}, "isn't convex"),
    ({"conjugate": lambda self, y: y**2}, "it isn't so"),
    ({"cost": lambda self, r: np.where(r > 0, r, 0)}, "needs cost_slopes"),
    ({"cost": lambda self, r: np.log(r)}, "has no value")])  # fmt: skip
def test_what_is_no_domain_is_refused(methods, match):
    with pytest.raises(ct.CollapseError, match=match):
        ct.solve("x", 8, type("Mine", (Quartic,), methods)())


@pytest.mark.parametrize("use", [lambda d: ct.limit("x", d), lambda d: ct.closed_form("x", 4, d),
    lambda d: ct.solve(ct.PlackettLuce(), 5, d), lambda d: ct.solve("x", 5, d, method="conic"),
    lambda d: ct.solve("x", comparisons=ct.Comparisons(4, [0], [1]), domain=d),
    lambda d: ct.solve("x", 8, type(d))])  # fmt: skip
def test_where_own_penalties_are_not_known(use):
    with pytest.raises(ct.CollapseError):
        use(Quartic())
