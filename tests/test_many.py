"""Very many completions: gaps as polynomials of the index, and what is said of them."""

import pickle

import numpy as np
import pytest
from scipy.special import jn_zeros, roots_jacobi

import collapse_theory as ct
from collapse_theory.exact.finite import exponential
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.log_gaps import LogGaps
from collapse_theory.programs import Answer, Program, certify
from collapse_theory.programs.smooth_bounds import penalised_bound, smooth_bound
from collapse_theory.programs.smooth_gaps import SmoothGaps, panel_ratio

UTILITIES = [
    "log(x)",
    "sqrt(x)",
    "x**0.8",
    "-1/x",
    "-x**-0.4",
    "log(x + 0.1)",
    "log(x + 1e-6)",
    "-1/(x + 0.01)",
    "logsigmoid(4*x)",
    "logsigmoid(1000*x)",
    "1 - exp(-300*x)",
    "logsigmoid(4*(x - 0.3))",
    "x + 0.46*logsigmoid(52*x)",
    "0.42*log(x + 0.013) + 0.06*log(x)",
    "log(x) + 3*sqrt(x)",
]


def dense(found):
    """Return the certificate by all pairs."""
    program = Program.of(found.utility, found.n, found.domain)
    return certify(program, Answer(gaps=found.gaps / program.domain.unit))


@pytest.mark.parametrize("n", [1000, 1203])
@pytest.mark.parametrize("text", UTILITIES)
def test_what_is_certified_holds_by_all_pairs(text, n):
    found = ct.solve(text, n)
    by_pairs = dense(found)
    assert found.method == "spectral"
    assert by_pairs.relative_gap <= max(found.relative_gap, 2e-13) < 1e-10
    assert found.objective == pytest.approx(by_pairs.objective, abs=found.gap + by_pairs.gap)


def test_customs_and_other_boxes():
    own = ct.Utility.from_functions(
        np.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2, name="log1p"
    )
    found, family = ct.solve(own, 1500), ct.solve("log(x + 1)", 1500, ct.Box(-2, -1))
    np.testing.assert_allclose(found.rewards - 2, family.rewards, atol=1e-13)
    assert found.relative_gap < 1e-10 > family.relative_gap
    assert family.gaps.sum() == pytest.approx(1.0, abs=1e-14)


def jacobi_zeros(n, k):
    """Return 1 - r for the zeros 1, ..., k of the Jacobi polynomial P^(1,1)_{n-2}, to O(n**-5).

    Frenzen and Wong, Canad. J. Math. 37 (1985): the angles, in those of Bessel's J_1.
    """
    N = n - 0.5
    t = jn_zeros(1, k) / N
    return np.sin((t + 0.375 * (1 / t - 1 / np.tan(t)) / N**2) / 2) ** 2


def test_jacobi_zeros():
    zeros = (1 - roots_jacobi(2998, 1.0, 1.0)[0][::-1]) / 2
    found = ct.solve("log(x)", 3000)
    np.testing.assert_allclose(1 - found.rewards[1:-1], zeros, atol=1e-13)
    np.testing.assert_allclose(jacobi_zeros(3000, 100), zeros[:100], rtol=1e-11, atol=1e-16)
    many = ct.solve("log(x)", 10**6)
    k = np.arange(1, 1001)
    np.testing.assert_allclose(many.smooth.below_top(k), jacobi_zeros(10**6, 1000), rtol=1e-11)


def test_quadratic_and_exponential_at_a_million():
    n = 10**6
    found = ct.solve("x - 0.4*x**2", n)
    i = np.arange(1, n + 1)
    wanted = np.clip(0.5 + (n + 1 - 2 * i) / (0.8 * n), 0, 1)
    np.testing.assert_allclose(found.rewards, wanted, atol=1e-12)
    assert found.relative_gap < 1e-10
    found = ct.solve("1 - exp(-50*x)", n)
    np.testing.assert_allclose(found.gaps, exponential.formula(found.utility, n).gaps, atol=1e-15)


@pytest.mark.parametrize("text", ["log(x)", "log(x + 0.1)", "x**0.5"])
@pytest.mark.parametrize("size", [1e-7, 1e-4])
def test_spoiled_answers_have_the_certificate_of_all_pairs(text, size):
    n = 2500
    found = ct.solve(text, n)
    k = np.arange(n - 1)
    gaps = found.gaps * np.exp(size * np.cos(6 * np.pi * k / (n - 2)))
    gaps /= gaps.sum()
    program = Program.of(found.utility, n)
    smooth, rough = SmoothGaps.fitted(gaps, panel_ratio(found.utility, n))
    by_pairs = certify(program, Answer(gaps=gaps)).relative_gap
    bound = smooth_bound(found.utility, smooth, rough)
    # Between the points that are looked at, G is taken to be higher by up to 7% of its range.
    assert by_pairs <= bound.bound / bound.shortfall <= 1.03 * by_pairs


# -- in twice the digits of float64: pairs (high, low) of floats (Dekker 1971) -------------------


def two_sum(a, b):
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def plus(a, b):
    s, e = two_sum(a[0], b[0])
    return two_sum(s, e + (a[1] + b[1]))


def split(a):
    c = 134217729.0 * a  # 2**27 + 1
    high = c - (c - a)
    return high, a - high


def times(a, b):
    p = a[0] * b[0]
    (ah, al), (bh, bl) = split(a[0]), split(b[0])
    e = ((ah * bh - p) + ah * bl + al * bh) + al * bl
    return two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


def inverse(a):
    x = (1 / a[0], 0 * a[0])
    for _ in range(2):
        rest = plus((1.0 + 0 * a[0], 0 * a[0]), times((-a[0], -a[1]), x))
        x = plus(x, times(x, rest))
    return x


def total(a):
    """Return the sum along the last axis, halved until one is left."""
    while a[0].shape[-1] > 1:
        if a[0].shape[-1] % 2:
            a = tuple(np.concatenate([v, np.zeros_like(v[..., :1])], axis=-1) for v in a)
        a = plus((a[0][..., ::2], a[1][..., ::2]), (a[0][..., 1::2], a[1][..., 1::2]))
    return a[0][..., 0], a[1][..., 0]


def running(a):
    out, sums = (0.0, 0.0), []
    for pair in zip(*a, strict=True):
        out = plus(out, pair)
        sums.append(out)
    return tuple(np.array(v) for v in zip(*sums, strict=True))


SLOPES = {  # U' in the gap
    "log(x)": inverse,
    "-1/x": lambda x: times(inverse(x), inverse(x)),
    "log(x + 0.1)": lambda x: inverse(plus(x, (0.1 + 0 * x[0], 0 * x[0]))),
}


def true_bound(text, gaps):
    """Return max_k G_k - sum_k G_k d_k over pairs, in 31 digits, of symmetric gaps."""
    n = len(gaps) + 1
    half = (n + 1) // 2
    place = running((np.append(0.0, gaps), np.zeros(n)))
    force = []
    for i in range(half):
        x = plus(place, (-place[0][i], -place[1][i]))
        side = np.sign(np.arange(n) - i)
        x = (np.where(side == 0, 1.0, side * x[0]), np.where(side == 0, 0.0, side * x[1]))
        tied = x[0] <= 0
        x = (np.where(tied, 1.0, x[0]), np.where(tied, 0.0, x[1]))
        slope = SLOPES[text](x)
        at_zero = 10.0 if text == "log(x + 0.1)" else 0.0
        slope = (np.where(tied, at_zero, slope[0]), np.where(tied, 0.0, slope[1]))
        force.append(total((side * slope[0], side * slope[1])))
    G = running(tuple(np.array(v) for v in zip(*force, strict=True)))
    G = tuple(np.concatenate([v[: n // 2], v[: (n - 1) // 2][::-1]]) for v in G)
    top = np.argmax(G[0])
    missing = plus((G[0][top], G[1][top]), (-G[0], -G[1]))
    weighted = total(times(missing, (gaps, np.zeros(n - 1))))
    empty = plus((1.0, 0.0), tuple(-v for v in total((gaps, np.zeros(n - 1)))))
    return sum(plus(weighted, times((G[0][top], G[1][top]), empty))) * 2 / (n * (n - 1))


@pytest.mark.parametrize("text", SLOPES)
@pytest.mark.parametrize("n", [1000, 3001, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_bound_holds_in_31_digits(text, n):
    found = ct.solve(text, n, tol=1e-10)
    said = found.relative_gap * (found.utility(1.0) - found.objective)
    true = true_bound(text, found.gaps)
    assert found.status == "optimal"
    assert -1e-15 <= true <= said  # floats may fill the box but for their last place


@pytest.mark.parametrize(
    ("text", "distance"),  # of the law of n rewards from the limit law, in units of 1/n
    [
        ("log(x + 0.1)", 0.25),
        ("logsigmoid(4*x)", 0.25),
        ("1 - exp(-50*x)", 0.25),
        ("sqrt(x)", 0.25),
        ("log(x)", 5 / 16 - 1 / (2 * np.pi**2)),
        ("-x**-0.5", None),  # falls like n**-0.5
        ("log(x) + x", None),
    ],
)
def test_the_limit_law_and_its_predictions_up_to_a_million(text, distance):
    law = ct.limit(text)
    for n in (10**3, 10**5, 10**6):
        found, predicted = ct.solve(text, n), law.prediction(n)
        assert np.abs(predicted.rewards - found.rewards).max() <= predicted.error
        if distance is not None and n == 10**5:
            assert law.distance(found.law) * n == pytest.approx(distance, rel=2e-4)


def test_a_billion_completions():
    n = 10**9
    found = ct.solve("log(x)", n)
    assert found.status == "optimal"
    assert found.n == n
    with pytest.raises(ct.CollapseError, match=r"solution.reward\(i\).*quantile.*law"):
        found.rewards  # noqa: B018
    assert found.reward(np.array([1, n])).tolist() == [1.0, 0.0]
    # arcsine, with the levels of the zeros of Jacobi polynomials
    rank = np.array([2 * 10**8, 5 * 10**8])
    wanted = np.cos(np.pi * (rank - 0.75) / (n - 0.5) / 2) ** 2
    np.testing.assert_allclose(found.reward(rank), wanted, atol=1e-12)
    assert found.quantile(0.5) == pytest.approx(0.5, abs=1e-8)
    assert ct.limit("log(x)").distance(found.law) < 1e-6
    for again in (pickle.loads(pickle.dumps(found)), ct.Solution.from_dict(found.to_dict())):
        assert again == found
        assert hash(again) == hash(found)
    assert "n=1000000000: rewards from 0.0 to 1.0, objective" in repr(found)


def test_ranks_and_quantiles():
    few, many = ct.solve("log(x + 0.1)", 9), ct.solve("log(x + 0.1)", 2001)
    for found in (few, many):
        i = np.arange(1, found.n + 1)
        np.testing.assert_array_equal(found.reward(i), found.rewards)
        np.testing.assert_array_equal(found.quantile(i / found.n), found.rewards[::-1])
        assert found.quantile(0.0) == found.rewards[-1]
        assert found.law.ppf(0.7) == found.quantile(0.7)
    below = 1 - many.smooth.below_top(np.arange(1001))
    np.testing.assert_allclose(below, many.rewards[:1001], atol=1e-14)
    with pytest.raises(ct.CollapseError, match="ranks must be whole numbers from 1 to n = 9"):
        few.reward(10)
    with pytest.raises(ct.CollapseError, match="probabilities"):
        few.quantile(1.5)


def test_saved_solutions_hold_the_rewards():
    found = ct.solve("log(x + 0.1)", 800)
    data = found.to_dict()
    again = ct.Solution.from_dict(data)
    assert again == found
    assert data["rewards"]["data"] == found.rewards.tolist() == again.rewards.tolist()


def test_the_method_by_its_name():
    for domain in (ct.Box(), ct.Confined(1.0)):
        assert ct.solve("sqrt(x)", 700, domain, method="spectral").method == "spectral"
    for n, domain in ((699, ct.Box()), (700, ct.Anchored(np.zeros(700), 1.0))):
        with pytest.raises(ct.CollapseError, match="smooth full rankings of 700"):
            ct.solve("sqrt(x)", n, domain, method="spectral")


def test_what_panels_cannot_resolve_is_handed_on():
    text = "logsigmoid(100*(x - 0.5)) + x"
    found = ct.solve(text, 800)
    assert found.relative_gap < 1e-9


# -- under a penalty -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("log(x + 0.1)", ct.Confined(0.1)),
        ("x**0.8", ct.Centered(2.0)),
        ("log(x)", ct.Confined(5.0)),
        ("logsigmoid(1000*x)", ct.Confined(1e-4)),
        ("0.9*logsigmoid(x) + 0.1*logsigmoid(-x)", ct.Confined(0.1)),
        ("0.99*logsigmoid(x) + 0.01*logsigmoid(-x)", ct.Free()),
        ("log(x) - x", ct.Free()),
        ("sqrt(x) - x", ct.Free()),
    ],
)
def test_without_a_box_as_by_all_pairs(text, domain):
    found = ct.solve(text, 701, domain)
    assert found.method == "spectral"
    # Of the second order in the forces left; of all pairs Fenchel's bound carries their rounding.
    assert found.relative_gap < (1e-11 if domain == ct.Free() else 1e-20)
    dense = LogGaps()(Program.of(found.utility, 701, domain), Budget(None))
    np.testing.assert_allclose(found.gaps, dense.gaps, rtol=2e-10)


@pytest.mark.parametrize("text", ["log(x) - x", "log(x + 0.1) - 0.3*x"])
@pytest.mark.parametrize("size", [1e-7, 1e-4, 1e-3])
def test_spoiled_gaps_under_nothing_are_certified(text, size):
    n = 701
    found = ct.solve(text, n, ct.Free())
    program = Program.of(found.utility, n, found.domain)
    gaps = found.gaps * (1 + size * np.sin(np.linspace(0, 7, n - 1)) ** 2)
    gaps = (gaps + gaps[::-1]) / 2
    dense = certify(program, Answer(gaps=gaps))
    smooth, rough = SmoothGaps.fitted(gaps, panel_ratio(program.utility, n))
    bound = penalised_bound(program.utility, smooth, rough, 0.0)
    assert bound.objective == pytest.approx(dense.objective, abs=dense.gap + bound.rounding)
    # By the least curvature of all gaps in the place of each pair's own.
    short = found.objective - dense.objective
    assert short - found.gap - bound.rounding <= bound.bound <= 1e4 * short


@pytest.mark.parametrize("text", ["log(x)", "log(x + 0.1)", "-1/x", "x**0.8"])
@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-2])
def test_spoiled_gaps_under_a_penalty_have_the_certificate_of_all_pairs(text, size):
    n, domain = 701, ct.Confined(0.1)
    program = Program.of(ct.utility(text), n, domain)
    gaps = ct.solve(text, n, domain).gaps * (1 + size * np.sin(np.linspace(0, 7, n - 1)) ** 2)
    gaps = (gaps + gaps[::-1]) / 2
    dense = certify(program, Answer(gaps=gaps))
    smooth, rough = SmoothGaps.fitted(gaps, panel_ratio(program.utility, n))
    bound = penalised_bound(program.utility, smooth, rough, program.kappa)
    assert bound.objective == pytest.approx(dense.objective, abs=dense.gap + bound.rounding)
    assert bound.shortfall == pytest.approx(dense.shortfall, rel=1e-6)
    if size:  # else both are rounding
        wanted = dense.relative_gap * dense.shortfall
        assert wanted <= bound.bound <= 2 * wanted
    assert bound.bound <= 1e-19 or size


@pytest.mark.slow
def test_a_million_under_nothing():
    for utility, of_n in ((ct.LabelSmoothing(0.1), 1e-6), ("log(x) - x", 1e-5)):
        found, law = ct.solve(utility, 10**6, ct.Free()), ct.limit(utility, ct.Free())
        assert found.relative_gap < 1e-20
        assert found.gap < 1e-12
        assert 0 <= found.objective - law.objective <= 2e-5  # falls with n to that of the law
        assert found.rewards.std() == pytest.approx(law.std(), rel=of_n)
    assert ct.solve("log(x) - x", 6000, ct.Free()).rewards_error < 1e-8
    own = ct.Utility.from_functions(
        lambda x: np.log(x) - x, lambda x: 1 / x - 1, lambda x: -1 / x**2
    )
    assert ct.solve(own, 6000, ct.Free()).relative_gap < 1e-20
    with pytest.raises(ct.NoOptimum, match="has no maximum"):
        ct.solve("log(x)", 10**6, ct.Free())


def test_a_million_under_a_penalty():
    for text, kappa, of_n in (
        ("log(x)", 0.1, 0.0),
        ("log(x + 0.1)", 0.1, 1.2),
        # From the optimum for a few hundred their Newton's method doesn't find it.
        ("logsigmoid(x)", 0.02, 1.2),
        ("-1/(x + 0.1)", 1.0, 1.2),
    ):
        domain = ct.Confined(kappa)
        found, law = ct.solve(text, 10**6, domain), ct.limit(text, domain)
        assert found.relative_gap < 1e-20
        assert found.gap < 1e-12
        assert abs(found.rewards.std() - law.std()) <= of_n / 10**6 + 1e-12
