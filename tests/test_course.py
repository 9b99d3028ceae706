"""The course of training in closed form, against the flow itself, integrated by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import expit

import collapse_theory as ct
from collapse_theory.capacity import late_distance
from collapse_theory.capacity.prox import Ranked
from collapse_theory.exact.course import COURSE_FORMS
from collapse_theory.finite.max_margin import max_margin
from collapse_theory.utilities import continued


def flow(force, start, times, box=False):
    """Return r at the times: dr/dt = grad f, in the box of the logits."""

    def slope(_, z):
        r = expit(z) if box else z
        return force(r) * (r * (1 - r) if box else 1.0)

    found = solve_ivp(
        slope, (0, times[-1]), start, "LSODA", t_eval=times, rtol=1e-11, atol=1e-13
    ).y.T
    return expit(found) if box else found


def of_ranking(text, n):
    ranked = Ranked(continued(ct.utility(text)), n)
    return lambda r: ranked.derivatives(r[None])[0][0]


# -- a linear utility under a sigmoid ------------------------------------------------------


def test_eight_rewards_at_time_70():
    found = ct.closed_form("x", 8, time=70)
    top = [0.92605997272859, 0.89327792770512, 0.82282450917276, 0.64705097966592]
    assert found.rewards[:4] == pytest.approx(top, abs=1e-14)
    assert found.rewards + found.rewards[::-1] == pytest.approx(np.ones(8), abs=1e-15)
    assert found.status == "stopped"
    # Collapse is half ones, half zeros: 16 of the 28 pairs have a gap of 1.
    assert 16 / 28 - found.objective <= found.gap


@pytest.mark.parametrize(("box", "weight"), [((0, 1), 1.0), ((-1, 3), 2.5)])
@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_linear_course_is_the_flow(box, weight, n):
    low, width = box[0], box[1] - box[0]
    gradient = 2 * weight * (n + 1 - 2 * np.arange(1, n + 1)) / (n * (n - 1))
    times = [0.1, 3.0, 40.0]
    rewards = flow(lambda r: width * gradient, np.zeros(n), times, box=True)
    for time, expected in zip(times, rewards, strict=True):
        found = ct.closed_form(weight * ct.Linear(), n, box, time=time)
        assert found.rewards == pytest.approx(low + width * expected, abs=1e-8)
        assert found.gaps == pytest.approx(-np.diff(found.rewards), abs=1e-14)


def test_the_law_at_tau_20():
    law = ct.closed_form("x", time=20)
    assert np.log(law.support[1] / law.support[0]) == pytest.approx(3.497571475794619, rel=1e-14)
    assert law.var() == pytest.approx(0.1625607131051345, abs=1e-14)
    assert law.distance(ct.limit("x")) == pytest.approx(0.1116825167043897, abs=1e-14)
    half = ct.closed_form("x", time=5.81964606822750539)
    assert half.distance(ct.limit("x")) == pytest.approx(0.25, abs=1e-14)  # of 1/2 at the start
    x = np.linspace(0.05, 0.95, 19)
    assert law.pdf(x) == pytest.approx(1 / (80 * x**2 * (1 - x) ** 2), rel=1e-11)
    many = ct.closed_form("x", 4000, time=20 * 3999)
    assert law.ppf((np.arange(4000) + 0.5) / 4000)[::-1] == pytest.approx(many.rewards, abs=1e-4)


@pytest.mark.parametrize("tau", [1e-9, 1e-3, 1.0, 1e3, 1e9])
def test_the_law_at_any_time(tau):
    law = ct.closed_form("3*x", None, (-1, 1), time=tau)
    z = np.log((1 + law.support[1]) / (1 - law.support[1]))
    speed = 3 * 2 * tau
    if 1e-6 < tau < 1e6:
        assert z + np.sinh(z) == pytest.approx(speed, rel=1e-9)
        assert law.var() == pytest.approx(4 * (0.25 - z / (2 * speed)), rel=1e-9)
        exact = 2 * (z + 1 - np.exp(-z)) / (2 * speed)
        assert law.distance(ct.limit("x", (-1, 1))) == pytest.approx(exact, rel=1e-9)
    assert law.mean() == pytest.approx(0, abs=1e-15)


# -- early stopping is a penalty -----------------------------------------------------------


@pytest.mark.parametrize(("text", "degree"), [("3*x + 1", 1), ("log(x)", 0), ("x**0.5", 0.5)])
def test_homogeneous_rewards_stopped_are_the_optimum_under_a_penalty(text, degree):
    """From far enough back: U'(0) is infinite for two of them."""
    n, first, last = 6, 1e-3, 2.0
    u = ct.utility(text)
    ranked = Ranked(u, n)

    def held(time):
        return ct.solve(u, n, ct.Confined(n / (2 * (2 - degree) * time)))

    moved = flow(lambda r: ranked.derivatives(r[None])[0][0], held(first).rewards, [last - first])
    assert moved[0] == pytest.approx(held(last).rewards, rel=1e-6)
    if degree != 0.5:
        found = ct.closed_form(u, n, ct.Free(), time=last)
        assert found.rewards == pytest.approx(held(last).rewards, abs=1e-12)
        assert found.domain.kappa == pytest.approx(n / (2 * (2 - degree) * last), rel=1e-15)
    law = ct.closed_form(u, None, ct.Free(), time=last)
    assert law.domain.kappa == pytest.approx(1 / (2 * (2 - degree) * last), rel=1e-15)


@pytest.mark.parametrize(("n", "most"), [(2, 1e-9), (8, 0.0091), (32, 0.0201)])
def test_log_sigmoid_stopped_is_near_the_optimum_of_the_penalty_read_off_it(n, most):
    """In units of the top reward; the worst is where that is between 2 and 3."""
    times = np.array([0.01, 0.5, 2.5, 4.12, 5.0, 6.71, 8.0, 25.0, 1e3, 1e5]) * n
    off = []
    for r in flow(of_ranking("logsigmoid(x)", n), np.zeros(n), times):
        kappa = ct.penalty_of(r, "logsigmoid(x)")
        held = ct.solve("logsigmoid(x)", n, ct.Confined(kappa)).rewards
        off.append(float(np.abs(held - r).max() / r.max()))
    assert 0.98 * most * (n > 2) <= max(off) < most


@pytest.mark.parametrize("text", ["logsigmoid(x)", "log(x + 0.1)", "x", "log(x)", "1 - exp(-x)"])
@pytest.mark.parametrize("kappa", [1e-3, 0.1, 10.0])
def test_the_penalty_of_an_optimum(text, kappa):
    held = ct.solve(text, 7, ct.Confined(kappa)).rewards
    assert ct.penalty_of(held, text) == pytest.approx(kappa, rel=1e-10)
    rows = ct.penalty_of([held, held + 3], text)
    assert rows == pytest.approx([kappa, kappa], rel=1e-10)


@pytest.mark.parametrize(
    ("rewards", "text", "words"),
    [
        ([1.0, 1.0], "x", "equal"),
        ([1.0, np.nan], "x", "finite"),
        ([1.0], "x", "2 completions"),
        ([0.0, 1.0], "log(x)", "best first"),
        ([1.0, 0.0], ct.PlackettLuce(), "listwise"),
    ],
)
def test_rewards_without_a_penalty(rewards, text, words):
    with pytest.raises(ct.CollapseError, match=words):
        ct.penalty_of(rewards, text)


# -- two completions under log-sigmoid, and what is behind log t ---------------------------------


def test_two_completions_under_log_sigmoid():
    found = ct.closed_form("logsigmoid(x)", 2, ct.Free(), time=10)
    assert found.gaps[0] == pytest.approx(2.896125951214, abs=1e-12)
    gaps = flow(of_ranking("2*logsigmoid(3*x)", 2), np.zeros(2), [1e-3, 0.5, 100.0])
    for time, r in zip([1e-3, 0.5, 100.0], gaps, strict=True):
        found = ct.closed_form("2*logsigmoid(3*x)", 2, ct.Free(), time=time)
        assert found.rewards == pytest.approx(r, rel=1e-8)
    for time in (1e-12, 1e12):
        y = 3 * ct.closed_form("2*logsigmoid(3*x)", 2, ct.Free(), time=time).gaps[0]
        assert y + np.expm1(y) == pytest.approx(36 * time, rel=1e-13)


def test_gaps_of_a_full_ranking_behind_log_t():
    n = 6
    k = np.arange(1, n)
    offset = max_margin(n).offset
    i, j = np.triu_indices(n, 1)
    assert offset[j == i + 1] == pytest.approx(np.log(4 / (n * (n - 1) * k * (n - k))), abs=1e-13)
    assert np.isnan(offset[j > i + 1]).all()
    late = flow(of_ranking("logsigmoid(x)", n), np.zeros(n), [1e7])[0]
    assert -np.diff(late) == pytest.approx(np.log(1e7) + offset[j == i + 1], abs=1e-3)


GRAPHS = {
    "a diamond": ct.Comparisons(4, [0, 0, 1, 2], [1, 2, 3, 3], [1, 2, 3, 1]),
    "a shortcut": ct.Comparisons(4, [0, 1, 0, 2], [1, 2, 2, 3], [3, 1, 5, 1]),
    "a star and a chain": ct.Comparisons(6, [0, 0, 0, 3, 4], [1, 2, 3, 4, 5], [1, 2, 1, 1, 4]),
    "margins": ct.Comparisons(3, [0, 1], [1, 2], margins=[0.5, -0.2]),
    "apart": ct.Comparisons(5, [0, 2, 3], [1, 3, 4], [2, 1, 1]),
    "equal": ct.Comparisons(4, [0, 1], [1, 3], [1, 2], equal=[(1, 2)]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_gaps_of_a_graph_behind_log_t(name):
    pairs = GRAPHS[name]
    a, b, n = pairs.better, pairs.worse, pairs.n
    w = pairs.weights / pairs.weights.sum()
    groups = [[i] for i in range(n)]
    for tied in pairs.equal:
        groups = [g for g in groups if g[0] not in tied] + [list(tied)]

    def force(r):
        slope = w * expit(pairs.margins - (r[a] - r[b]))
        found = np.bincount(a, slope, n) - np.bincount(b, slope, n)
        for group in groups:
            found[group] = found[group].mean()
        return found

    late = flow(force, np.zeros(n), [1e8])[0]
    offset = max_margin(pairs).offset
    known = np.isfinite(offset)
    gaps = (late[a] - late[b])[known]
    assert known.any()
    assert gaps == pytest.approx(np.log(1e8) + offset[known], abs=1e-3)
    assert np.all((late[a] - late[b])[~known] > np.log(1e8) + 3)


# -- late in training ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "constant"),
    [("x", 11.7333333333), ("-1/(x + 0.1)", 0.3644458221), ("log(x)", 0.6681848870)],
)
def test_the_distance_late_to_ten_digits(text, constant):
    assert late_distance(ct.solve(text, 8)) == pytest.approx(constant, rel=2e-10)


@pytest.mark.parametrize("box", [(0, 1), (-1, 3)])
@pytest.mark.parametrize("text", ["-1/(x + 0.1)", "log(x + 0.1)", "logsigmoid(4*x)"])
def test_the_distance_late_is_that_of_the_flow(text, box):
    n, (low, high) = 6, box
    optimum = ct.solve(text, n, box)
    constant = late_distance(optimum)
    width = high - low
    force = of_ranking(text, n)
    time = 1e5 * constant
    r = flow(lambda s: width * force(low + width * s), np.zeros(n), [time], box=True)[0]
    distance = np.abs(low + width * r - optimum.rewards).mean()
    assert distance * time == pytest.approx(constant, rel=0.01)


@pytest.mark.parametrize("given", [("x", 8, ct.Confined(1)), ("min(x, 0.3)", 8)])
def test_late_distances_that_are_not_known(given):
    with pytest.raises(ct.CollapseError, match="known"):
        late_distance(ct.solve(*given))


# -- what is known -------------------------------------------------------------------------


@pytest.mark.parametrize("form", COURSE_FORMS, ids=lambda form: form.name)
def test_each_form_holds_for_its_examples(form):
    for text in form.examples:
        answers = (form.formula(ct.utility(text), 2, box, 1.0) for box in (True, False))
        assert any(found is not None for found in answers)


@pytest.mark.parametrize(
    ("given", "time", "words"),
    [
        (("logsigmoid(x)", 8), 3, "penalty_of"),
        (("x", 8, ct.Confined(1)), 3, "at a time"),
        (("x**0.5", 8, ct.Free()), 3, "Confined"),
        (("x", 8), 0, "positive"),
        ((ct.PlackettLuce(), 8), 1, "at a time"),
        (("x", 2, ct.Anchored([0, 0], 1)), 1, "one prompt"),
    ],
)
def test_what_is_not_known_is_refused(given, time, words):
    with pytest.raises(ct.CollapseError, match=words):
        ct.closed_form(*given, time=time)
