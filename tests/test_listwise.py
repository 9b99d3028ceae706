"""Plackett-Luce: closed forms against Newton against CVXPY, certificates, and limit laws."""

from __future__ import annotations

import json
import math
import pickle

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases, certified
from scipy.integrate import quad
from scipy.stats import norm

import collapse_theory as ct
from collapse_theory.exact.plackett_luce import PenalisedScores, listwise_gaps
from collapse_theory.limit.plackett_luce import box_gap, penalised_gap, scan, smooth_scan
from collapse_theory.utilities import as_loss

# -- by the definition, in mpmath --------------------------------------------------------------


def log_likelihood(scores: list, stages: int) -> mp.mpf:
    """Return the mean log-likelihood of a pick, as the definition writes it."""
    picks = [s - mp.log(mp.fsum(mp.exp(t) for t in scores[i:])) for i, s in enumerate(scores)]
    return mp.fsum(picks[:stages]) / stages


def scores_of(gaps: np.ndarray, beta: float) -> list:
    below = [mp.mpf(0)]
    for gap in gaps[::-1].tolist():
        below.append(below[-1] + mp.mpf(beta) * mp.mpf(gap))
    return below[::-1]


def best_by_trial(width: float, n: int, stages: int) -> tuple[mp.mpf, list]:
    """Return the best value and scores in [0, width] among all numbers of ties at the ends.

    For each (p, q) the inner scores solve the stationarity exp(-s_i) = A_i one after the other from
    a guess of S_1, found by bisection; nothing of the closed form's constant C is used.
    """
    w, best = mp.mpf(width), None
    for p in range(1, n):
        for q in range(n - stages, n - p + 1):
            inner = n - p - q

            def run(whole: mp.mpf, p: int = p, inner: int = inner) -> tuple[list, mp.mpf]:
                # Scores of the top and inner completions, and what is left for the bottom.
                s, a, left = [], mp.mpf(0), whole
                for k in range(p + inner):
                    a += 1 / left
                    s.append(w if k < p else -mp.log(a))
                    left -= mp.exp(s[-1])
                    if left <= 0:
                        break
                return s, left

            if inner:
                low, high = p * mp.exp(w) + q, n * mp.exp(w)
                for _ in range(140):
                    middle = (low + high) / 2
                    low, high = (middle, high) if run(middle)[1] < q else (low, middle)
                s, _ = run((low + high) / 2)
                if len(s) < p + inner or max(s) > w or min(s) < 0:
                    continue
            else:
                s = [w] * p
            scores = s + [mp.mpf(0)] * q
            value = log_likelihood(scores, stages)
            if best is None or value > best[0]:
                best = value, scores
    assert best is not None
    return best


@pytest.mark.parametrize(
    ("width", "n", "top"),
    [(1.0, 8, None), (4.0, 8, None), (0.01, 7, None), (12.0, 6, None), (4.0, 8, 3), (2.0, 9, 1)],
)
def test_the_closed_form_is_the_best_of_all_ties(width: float, n: int, top: int | None) -> None:
    loss = ct.PlackettLuce(top, width)
    with mp.workdps(30):
        value, scores = best_by_trial(width, n, loss.stages(n))
    found = ct.closed_form(loss, n)
    np.testing.assert_allclose(found.rewards, [float(s) / width for s in scores], atol=2e-15)
    assert found.objective == pytest.approx(float(value), rel=1e-14)
    assert found.status == "optimal"
    assert found.reference


def test_the_objective_is_the_definition_s() -> None:
    rewards = np.array([1.0, 0.7, 0.7, 0.1])
    for top, stages in ((None, 3), (2, 2), (9, 3)):
        with mp.workdps(30):
            exact = log_likelihood([mp.mpf(3.0) * mp.mpf(r) for r in rewards.tolist()], stages)
        loss = ct.PlackettLuce(top, 3.0)
        assert float(loss.value(rewards)) == pytest.approx(float(exact), rel=1e-14)
        found = certified(loss, -np.diff(np.append(rewards[:-1], 0.0))[:3])
        assert found.objective <= 0
    batch = ct.PlackettLuce().value(np.stack([rewards, rewards + 5]))
    np.testing.assert_allclose(batch[0], batch[1], rtol=1e-13)


def test_inner_rewards_are_equally_spaced_and_the_best_and_worst_differ() -> None:
    gaps = ct.solve(ct.PlackettLuce(), 200).gaps
    inner = gaps[gaps > 0][1:-1]
    assert np.ptp(inner) < 1e-15
    tied = np.count_nonzero(np.cumsum(gaps) == 0) + 1
    assert tied == 92
    assert 200 - 1 - np.flatnonzero(gaps)[-1] == 54  # the limit law: .4621 and .2689 of them


def test_the_certificate_is_tiny_at_any_scale() -> None:
    for width in (1e-8, 1e-3, 1.0, 30.0, 700.0, 1e5):
        for n in (2, 3, 8, 100, 2000):
            for top in (None, 1, 3):
                found = ct.solve(ct.PlackettLuce(top, width), n)
                assert 0 <= found.relative_gap < 5e-11
                assert found.status == "optimal"
                # All stages counted: nothing but rounding in n positive terms.
                assert top or width > 100 or found.relative_gap < 1e-13


@pytest.mark.parametrize(("kappa", "beta"), [(0.1, 1.0), (2.0, 3.0), (1e-3, 0.5)])
def test_two_completions_under_a_penalty(kappa: float, beta: float) -> None:
    # r = (d/2, -d/2) with beta sigmoid(-beta d) = kappa d / 2.
    with mp.workdps(30):
        d = mp.findroot(
            lambda d: beta / (1 + mp.exp(beta * d)) - kappa * d / 2,
            (0, 60),
            solver="anderson",
            tol=1e-25,
        )
    found = ct.solve(ct.PlackettLuce(beta=beta), 2, ct.Confined(kappa))
    np.testing.assert_allclose(found.rewards, [float(d) / 2, -float(d) / 2], rtol=1e-14)
    # Two completions are one pair: log-sigmoid's own program.
    pair = ct.solve(ct.LogSigmoid(beta), 2, ct.Confined(kappa))
    np.testing.assert_allclose(found.rewards, pair.rewards, rtol=1e-13)
    assert found.objective == pytest.approx(pair.objective, rel=1e-14)


# -- methods against each other ----------------------------------------------------------------

tops = st.one_of(st.none(), st.integers(1, 6))
decades = st.floats(-3, 2.3).map(lambda e: float(10.0**e))
kappas = st.floats(-5, 3).map(lambda e: float(10.0**e))
sizes = st.integers(2, 60)


@cases(80)
@given(width=decades, n=sizes, top=tops)
def test_newton_finds_the_closed_form(width: float, n: int, top: int | None) -> None:
    loss = ct.PlackettLuce(top, width)
    exact, found = ct.solve(loss, n), ct.solve(loss, n, method="newton")
    np.testing.assert_allclose(found.rewards, exact.rewards, atol=1e-11)
    assert exact.status == found.status == "optimal"
    assert (exact.method, found.method) == ("closed form", "newton")


@cases(60)
@given(kappa=kappas, beta=decades, n=sizes, top=tops)
def test_newton_under_a_penalty_meets_the_conditions(
    kappa: float, beta: float, n: int, top: int | None
) -> None:
    loss = ct.PlackettLuce(top, beta)
    found = ct.solve(loss, n, ct.Confined(kappa))
    assert found.status == "optimal" or kappa / beta**2 > 1e5
    assert abs(found.rewards.sum()) <= 1e-12 * np.abs(found.rewards).sum()
    assert (np.diff(found.rewards) <= 0).all()
    # The gradient of the definition, one reward at a time.
    stages, r = loss.stages(n), found.rewards
    picks = np.zeros(n)
    for i in range(stages):
        weights = np.exp(beta * (r[i:] - r[i]))
        picks[i] += 1
        picks[i:] -= weights / weights.sum()
    gradient = beta / stages * picks - 2 * kappa / n * r
    assert np.abs(gradient).max() <= 1e-11 * (beta + kappa * np.abs(r).max())


@pytest.mark.parametrize("domain", [ct.Box(), ct.Box(-2, 4), ct.Confined(0.02), ct.Centered(0.3)])
@pytest.mark.parametrize("top", [None, 2])
def test_cvxpy_finds_the_same(domain: ct.Box | ct.Confined, top: int | None) -> None:
    loss = ct.PlackettLuce(top, 1.5)
    ours, conic = ct.solve(loss, 8, domain), ct.solve(loss, 8, domain, method="conic")
    assert conic.method == "conic"
    assert conic.status == "optimal"
    np.testing.assert_allclose(conic.rewards, ours.rewards, atol=2e-5)
    assert conic.objective == pytest.approx(ours.objective, rel=1e-7)
    assert conic.objective <= ours.objective + ours.gap


def test_centring_is_a_penalty_of_another_size() -> None:
    centred = ct.solve(ct.PlackettLuce(), 6, ct.Centered(0.1))
    held = ct.solve(ct.PlackettLuce(), 6, ct.Confined(0.2 * 4 / 5))
    np.testing.assert_allclose(centred.rewards, held.rewards, rtol=1e-13)


@cases(30)
@given(low=st.floats(-5, 5), width=decades, beta=decades, n=sizes)
def test_a_box_is_the_unit_box_of_another_beta(
    low: float, width: float, beta: float, n: int
) -> None:
    found = ct.solve(ct.PlackettLuce(beta=beta), n, ct.Box(low, low + width))
    box = ct.Box(low, low + width)
    unit = ct.solve(ct.PlackettLuce(beta=beta * box.width), n)
    np.testing.assert_allclose(found.rewards, low + box.width * unit.rewards, atol=1e-12 * 200)
    assert found.rewards[0] == box.high
    assert found.rewards[-1] == box.low


def test_gradient_ascent_reaches_it() -> None:
    torch = pytest.importorskip("torch")
    for loss, domain in (
        (ct.PlackettLuce(beta=4.0), ct.Box()),
        (ct.PlackettLuce(), ct.Confined(0.1)),
        (ct.PlackettLuce(top=2), ct.Confined(0.1)),
    ):
        rewards = torch.linspace(0.9, 0.1, 6, dtype=torch.float64, requires_grad=True)
        for _ in range(500):
            value = loss.value(rewards, torch)
            if isinstance(domain, ct.Confined):
                value = value - domain.kappa * (rewards**2).mean()
            (gradient,) = torch.autograd.grad(value, rewards)
            with torch.no_grad():
                rewards += 2.0 / loss.beta**2 * gradient
                if isinstance(domain, ct.Box):
                    rewards.clamp_(0.0, 1.0)
        expected = ct.solve(loss, 6, domain).rewards
        np.testing.assert_allclose(rewards.detach().numpy(), expected, atol=1e-6)


# -- honesty -----------------------------------------------------------------------------------


@cases(40)
@given(
    width=st.floats(0.1, 20),
    n=st.integers(2, 8),
    top=tops,
    noise=st.floats(1e-8, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_box_bound_is_never_too_low(
    width: float, n: int, top: int | None, noise: float, seed: int
) -> None:
    loss, rng = ct.PlackettLuce(top, width), np.random.default_rng(seed)
    best = listwise_gaps(loss, n)
    gaps = best * np.exp(noise * rng.normal(size=n - 1)) + noise * rng.random(n - 1)
    gaps *= rng.uniform(0.5, 1.0) / gaps.sum()  # the worst needn't lie at the bottom, either
    with mp.workdps(30):
        stages = loss.stages(n)
        exact = log_likelihood(scores_of(best, width), stages)
        missed = exact - log_likelihood(scores_of(gaps, width), stages)
    assert certified(loss, gaps).gap >= missed
    # And the optimum's own bound holds against every other answer.
    assert certified(loss, best).gap >= -missed


@cases(40)
@given(
    kappa=st.floats(0.01, 10),
    n=st.integers(2, 8),
    top=tops,
    noise=st.floats(1e-8, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_penalty_s_bound_is_never_too_low(
    kappa: float, n: int, top: int | None, noise: float, seed: int
) -> None:
    loss, rng = ct.PlackettLuce(top), np.random.default_rng(seed)
    best = ct.solve(loss, n, ct.Confined(kappa)).gaps
    gaps = best * np.exp(noise * rng.normal(size=n - 1)) + noise * rng.random(n - 1)

    def value(gaps: np.ndarray) -> mp.mpf:
        scores = scores_of(gaps, 1.0)
        mean = mp.fsum(scores) / n
        square = mp.fsum((s - mean) ** 2 for s in scores) / n
        return log_likelihood(scores, loss.stages(n)) - mp.mpf(kappa) * square

    with mp.workdps(30):
        missed = value(best) - value(gaps)
        # No answer beats the optimum: a second, independent look at it.
        assert missed > -1e-15
        found = certified(loss, gaps, ct.Confined(kappa))
        assert found.gap >= missed
        assert abs(found.objective - value(gaps)) < 1e-13 * (1 + abs(value(gaps)))


# -- limit laws --------------------------------------------------------------------------------


def test_the_law_in_the_unit_box() -> None:
    law = ct.limit(ct.PlackettLuce())
    np.testing.assert_allclose(
        law.atoms, [[0, 1 / (math.e + 1)], [1, (math.e - 1) / (math.e + 1)]], rtol=1e-15
    )
    assert law.atoms[1, 1] == pytest.approx(math.tanh(0.5), rel=1e-15)
    assert law.pdf(0.5) == pytest.approx(1 / (math.e + 1), rel=1e-15)
    assert law.objective == pytest.approx(math.log(math.e + 1), rel=1e-15)
    assert law.relative_gap is not None
    assert law.relative_gap < 1e-14
    assert law.method == "exact"


@pytest.mark.parametrize(("width", "most"), [(0.1, 9.4), (0.3, 3.2), (4.0, 3.2), (20.0, 5.1)])
def test_n_completions_tend_to_the_law_in_a_box(width: float, most: float) -> None:
    loss = ct.PlackettLuce(beta=width)
    law = ct.limit(loss)
    for n in (8, 50, 400):
        found = ct.solve(loss, n)
        assert law.distance(found.law) < 0.75 / n
        # What the docstring of predicted_listwise says.
        assert np.abs(law.rewards(n) - found.rewards).max() < most / n**2
    assert found.objective + math.log(400) == pytest.approx(law.objective, abs=0.05)


@pytest.mark.parametrize("kappa", [0.02, 1.0, 50.0])
def test_n_completions_tend_to_the_law_under_a_penalty(kappa: float) -> None:
    for beta in (1.0, 3.0):
        loss, domain = ct.PlackettLuce(beta=beta), ct.Confined(kappa)
        law = ct.limit(loss, domain)
        scale = math.sqrt(law.var())
        distances = [law.distance(ct.solve(loss, n, domain).law) / scale for n in (100, 400)]
        assert distances[1] < 0.35 * distances[0]
        assert distances[1] < 0.03
        assert law.support[1] == pytest.approx(beta / (2 * kappa), rel=1e-14)
        # Panels are as wide as the support: that much of it is rounding.
        assert abs(law.mean()) < 1e-15 * np.ptp(law.support)


def test_centring_s_law_is_that_of_twice_the_penalty() -> None:
    loss = ct.PlackettLuce(beta=2.0)
    one, other = ct.limit(loss, ct.Centered(0.1)), ct.limit(loss, ct.Confined(0.2))
    assert one.parts == other.parts


def test_the_law_of_few_picks_is_one_point() -> None:
    for domain, place in ((ct.Box(-1, 2), -1.0), (ct.Confined(1), 0.0)):
        law = ct.limit(ct.PlackettLuce(top=3), domain)
        assert law.atoms.tolist() == [[place, 1.0]]
        distances = [
            law.distance(ct.solve(ct.PlackettLuce(top=3), n, domain).law) for n in (30, 300)
        ]
        assert distances[1] < 0.4 * distances[0]  # under a penalty about log(n)/n
    assert "run off" in str(law.status)
    with pytest.raises(ct.CollapseError, match="picked"):
        ct.limit(ct.PlackettLuce(top=3)).rewards(8)
    with pytest.raises(ct.CollapseError, match="Box only"):
        ct.limit(ct.PlackettLuce(), ct.Confined(1)).rewards(8)


@cases(40)
@given(
    width=st.floats(0.1, 12),
    bottom=st.floats(0.02, 0.6),
    top=st.floats(0.02, 0.38),
)
def test_the_law_s_bound_is_never_too_low(width: float, bottom: float, top: float) -> None:
    rho = (1 - bottom - top) / width
    panels = np.linspace(0, width, math.ceil(width) + 1)
    gap = box_gap(scan(lambda x: np.full_like(x, rho), panels, bottom, top))

    # J by the definition: Q - log S over the atoms and the density.
    def mass(x: float) -> float:
        return bottom + rho * math.expm1(x)

    above = mass(width)
    value = quad(lambda x: (x - math.log(mass(x))) * rho, 0, width, epsabs=1e-13)[0]
    value += quad(lambda u: width - math.log(above + u * math.exp(width)), 0, top)[0]
    value += quad(lambda u: -math.log(u), 0, bottom)[0]
    best = ct.limit(ct.PlackettLuce(beta=width)).objective
    assert best is not None
    assert value <= best + 1e-9
    assert gap >= best - value - 1e-10


@pytest.mark.parametrize("kappa", [1e-4, 0.02, 0.3])
def test_the_penalised_law_s_bound_is_never_too_low(kappa: float) -> None:
    best = ct.limit(ct.PlackettLuce(), ct.Confined(kappa)).objective
    assert best is not None
    for stretch in (0.8, 0.97, 1.1):
        sigma = stretch / math.sqrt(2 * kappa)
        law = norm(0, sigma)

        def integrand(x: float, law=law, sigma: float = sigma) -> float:
            log_mass = sigma**2 / 2 + norm.logcdf((x - sigma**2) / sigma)
            return float((x - log_mass) * law.pdf(x))

        value = quad(integrand, -9 * sigma, 9 * sigma, epsabs=1e-12, limit=400)[0]
        missed = best - (value - kappa * sigma**2)
        if kappa < 1e-3:
            nodes, weights = np.polynomial.legendre.leggauss(60)
            at = smooth_scan(law.pdf, law.ppf(0.5 * (nodes + 1)))
            gap = float(((1 - at.alpha - 2 * kappa * at.x) ** 2 * 0.5) @ weights) / (4 * kappa)
        else:
            gap = penalised_gap(scan(law.pdf, np.linspace(-9 * sigma, 9 * sigma, 200)), kappa)
        assert missed > 0
        assert gap >= missed


# -- the density under a penalty ---------------------------------------------------------------


@pytest.mark.parametrize("kappa", [1e-4, 0.02, 0.49, 0.5, 1.0, 1.9, 2.1, 300.0])
def test_the_density_against_mpmath(kappa: float) -> None:
    scores = PenalisedScores(kappa)
    part = scores.density
    with mp.workdps(40):
        k = mp.mpf(kappa)
        top = 1 / (2 * k)

        def rise(x: mp.mpf) -> mp.mpf:  # g up to a factor
            return mp.exp(2 * k * x - k * x * x - k)

        def area(x: mp.mpf) -> mp.mpf:
            return mp.sqrt(mp.pi / k) / 2 * mp.erfc(mp.sqrt(k) * (1 - x))

        whole = area(top) + rise(top)
        sd = mp.sqrt(1 / (2 * k) - 1 + rise(top) / whole)
        for q in (1e-12, 0.01, 0.3, 0.5, 0.8, 0.999, 1 - 1e-9):
            x = mp.mpf(part.ppf(q))
            assert abs((area(x) + rise(x)) / whole - q) < 1e-14
            density = rise(x) * (1 + 2 * k - 2 * k * x) / whole
            assert part.pdf(float(x)) == pytest.approx(float(density), rel=1e-12)
            assert scores.pdf(float(x)) == pytest.approx(float(density), rel=1e-12)
        assert part.variance == pytest.approx(float(sd**2), rel=1e-12)
        assert scores.variance == pytest.approx(float(sd**2), rel=1e-12)
        x = mp.mpf(part.ppf(0.4))
        moment = mp.quad(
            lambda y: y * rise(y) * (1 + 2 * k - 2 * k * y) / whole,
            [x - 80 * sd, x - 20 * sd, x - 6 * sd, x - 2 * sd, x],
        )
        area = float(x) * part.cdf(float(x)) - float(moment)
        assert part.cdf_integral(float(x)) == pytest.approx(area, abs=1e-13 * float(sd))
    assert part.mean == pytest.approx(0, abs=1e-14 * part.high)
    assert part.cdf(part.low) == 0
    assert part.cdf(part.high) == part.mass == pytest.approx(1, rel=1e-15)  # a sum of panels
    moved = part.mapped(2.0, 3.0)
    assert not moved.bounded_below
    # 2 + 3 X is rounded as 2 is, however small X.
    assert moved.mean == pytest.approx(2.0, abs=1e-13 * part.high + 4.5e-16)
    assert moved.variance == pytest.approx(9 * part.variance, rel=1e-14)
    assert moved.cdf(2 + 3 * float(x)) == pytest.approx(0.4, abs=1e-13)
    assert "(-inf" in repr(ct.limit(ct.PlackettLuce(), ct.Confined(kappa)))


def test_weak_and_strong_penalties_have_known_laws() -> None:
    weak = ct.limit(ct.PlackettLuce(), ct.Confined(1e-7))
    q = np.array([0.01, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(weak.ppf(q) * math.sqrt(2e-7), norm.ppf(q), atol=1e-3)
    strong = ct.limit(ct.PlackettLuce(), ct.Confined(1e5))
    np.testing.assert_allclose(2e5 * strong.ppf(q), 1 + np.log(q), atol=1e-4)


# -- values, and what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("PlackettLuce()", ct.PlackettLuce()),
        ("plackett-luce", ct.PlackettLuce()),
        ("Plackett Luce (top = 3)", ct.PlackettLuce(3)),
        ("plackett_luce(beta=2.5, top=1)", ct.PlackettLuce(1, 2.5)),
        ("PlackettLuce(top=None)", ct.PlackettLuce()),
    ],
)
def test_its_text_is_read_back(text: str, loss: ct.PlackettLuce) -> None:
    assert as_loss(text) == loss
    assert as_loss(str(loss)) == loss
    assert ct.solve(text, 4).utility == loss


def test_values_go_there_and_back() -> None:
    loss = ct.PlackettLuce(2, 0.5)
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert hash(loss) == hash(ct.PlackettLuce(np.int64(2), 0.5))
    for value, kind in (
        (ct.solve(loss, 5), ct.Solution),
        (ct.solve(loss, 5, ct.Confined(1)), ct.Solution),
        (ct.limit(ct.PlackettLuce(beta=3)), ct.LimitLaw),
        (ct.limit(ct.PlackettLuce(beta=3), ct.Confined(0.1)), ct.LimitLaw),
    ):
        assert kind.from_dict(json.loads(json.dumps(value.to_dict()))) == value
        assert pickle.loads(pickle.dumps(value)) == value
    assert "PlackettLuce(top=2, beta=0.5)" in repr(ct.solve(loss, 5))


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "two"])
def test_a_bad_top_is_refused(bad: object) -> None:
    with pytest.raises(ct.InvalidUtility, match="top"):
        ct.PlackettLuce(bad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "x", True])
def test_a_bad_beta_is_refused(bad: object) -> None:
    with pytest.raises(ct.InvalidUtility, match="beta"):
        ct.PlackettLuce(beta=bad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "text",
    [
        "PlackettLuce(top)",
        "PlackettLuce(k=1)",
        "PlackettLuce(top=1, top=2)",
        "PlackettLuce(top=1.5)",
        "PlackettLuce(beta=__import__)",
        "PlackettLuce(top=1,)",
        "PlackettLuce() + x",
        "2*PlackettLuce()",
    ],
)
def test_bad_texts_are_refused(text: str) -> None:
    with pytest.raises(ct.ParseError):
        as_loss(text)


def test_what_has_no_answer_says_why() -> None:
    loss = ct.PlackettLuce()
    for ask in (ct.solve, ct.closed_form):
        with pytest.raises(ct.NoOptimum, match="penalty"):
            ask(loss, 4, ct.Free())
        with pytest.raises(ct.NoOptimum, match="two completions"):
            ask(loss, 2, ct.Centered(1.0))
    with pytest.raises(ct.NoOptimum, match="penalty"):
        ct.limit(loss, ct.Free())
    with pytest.raises(ct.NoClosedForm, match=r"ct\.solve"):
        ct.closed_form(loss, 4, ct.Confined(1))
    with pytest.raises(ct.CollapseError, match="comparisons"):
        ct.solve(loss, comparisons=ct.Comparisons.full(4))
    with pytest.raises(ct.InvalidUtility, match=r"ct\.solve"):
        ct.utility(loss)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ct.CollapseError, match="exact"):
        ct.limit(loss, method="regular")
    with pytest.raises(ct.CollapseError, match="at least 2"):
        ct.solve(loss, 1)
    with pytest.raises(ct.CollapseError, match="domain"):
        ct.solve(loss, 4, "box")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ct.CollapseError, match="domain"):
        ct.limit(loss, "box")  # pyright: ignore[reportArgumentType]


def test_extremes_are_answered_or_refused() -> None:
    # Beyond W = 40 n the scores are equally spaced, to rounding.
    wide = ct.solve(ct.PlackettLuce(beta=1e300), 5, ct.Box(0, 10))
    np.testing.assert_allclose(wide.rewards, [10, 7.5, 5, 2.5, 0], rtol=1e-15)
    few = ct.solve(ct.PlackettLuce(top=2, beta=1e6), 5)
    np.testing.assert_allclose(few.rewards, [1, 0.5, 0, 0, 0], atol=1e-5)
    assert ct.limit(ct.PlackettLuce(beta=1e300)).status == "optimal"
    weak = ct.solve(ct.PlackettLuce(), 5, ct.Confined(1e-50))
    assert weak.status == "optimal"
    # tau (n-1 gaps d alike to rounding): exp(-d) is about kappa times the rewards.
    assert 100 < weak.gaps.min() < 130
    for kappa, beta in ((1e-300, 1.0), (1e300, 1.0), (1.0, 1e-200), (1.0, 1e200)):
        with pytest.raises(ct.OutOfRange, match="other units"):
            ct.solve(ct.PlackettLuce(beta=beta), 5, ct.Confined(kappa))
    with pytest.raises(ct.OutOfRange, match="normal"):
        ct.limit(ct.PlackettLuce(), ct.Confined(1e-20))
    with pytest.raises(ct.InvalidUtility):
        ct.atom_mass(ct.PlackettLuce())  # pyright: ignore[reportArgumentType]


def test_iterations_can_be_few() -> None:
    stopped = ct.solve(ct.PlackettLuce(), 50, ct.Confined(0.01), max_iterations=1)
    assert (stopped.status, stopped.iterations) == ("max_iterations", 1)
    best = ct.solve(ct.PlackettLuce(), 50, ct.Confined(0.01))
    assert stopped.objective <= best.objective <= stopped.objective + stopped.gap
    boxed = ct.solve(ct.PlackettLuce(beta=8), 50, method="newton", max_iterations=1)
    assert boxed.status == "max_iterations"


def test_many_completions() -> None:
    found = ct.solve(ct.PlackettLuce(), 20_000)
    assert found.relative_gap < 1e-12
    held = ct.solve(ct.PlackettLuce(), 2000, ct.Confined(0.1))
    assert held.relative_gap < 1e-12


@pytest.mark.parametrize("kappa", [1e6, 1e20, 1e100])
def test_strong_penalties_take_no_more_panels(kappa):
    # The score is 1/(2 kappa) less an exponential variable with that mean: h(v) ~ exp(-2 kappa v).
    law = ct.limit(ct.PlackettLuce(), ct.Confined(kappa))
    assert law.status == "optimal"
    assert 2 * kappa * law.std() == pytest.approx(1, rel=2 / kappa + 1e-12)
    assert law.ppf(0.5) * 2 * kappa == pytest.approx(1 - np.log(2), rel=4 / kappa + 1e-12)
