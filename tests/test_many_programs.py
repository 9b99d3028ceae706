"""Many programs at once: the answers of `solve`, its certificates, errors that name the row."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from problems import FORMULAS, high_precision, mean_utility

import collapse_theory as ct
from collapse_theory.testing import utilities

BOXES = st.sampled_from([ct.Box(), ct.Box(-1, 0.5), ct.Box(0, 0.01)])


def assert_as_solved(found: ct.Solutions) -> None:
    """Every row is what `solve` gives, up to rounding."""
    for i, one in enumerate(found):
        alone = ct.solve(one.utility, found.n, found.domain)
        assert (one.status, one.method, one.unique) == (alone.status, alone.method, alone.unique)
        assert one.relative_gap <= max(10 * alone.relative_gap, 1e-13)
        scale = found.domain.unit * (1 if found.domain.bounded else np.abs(alone.rewards).max())
        # Of an objective flat to its last digit the rewards themselves are less well known.
        within = 1e-12 * scale if i in found.alone else max(1e-12 * scale, alone.rewards_error)
        assert np.abs(one.rewards - alone.rewards).max() <= within
        assert abs(one.objective - alone.objective) <= one.gap + alone.gap


@given(st.lists(utilities(kinked=False), min_size=1, max_size=6), st.integers(2, 40), BOXES)
def test_rows_are_what_solve_gives(many, n, box):
    many = [u for u in many if u.d1(box.width) >= 0]  # a sine falls within a wide box
    assume(many)
    assert_as_solved(ct.solve_many(many, n, box))


SWEPT = {
    "log": (lambda p: ct.Log().shifted(p), (1e-6, 1e3)),
    "power": (lambda p: ct.Power(p), (1e-3, 0.97)),
    "negative": (lambda p: ct.NegativePower(p).shifted(0.05), (1e-3, 8.0)),
    "sigmoid": (lambda p: ct.LogSigmoid(p), (1e-3, 1e3)),
    "margin": (lambda p: ct.LogSigmoid(20).shifted(-p), (0.01, 0.9)),
    "exponential": (lambda p: ct.Exponential(p), (1e-3, 600.0)),
    "quadratic": (lambda p: ct.Quadratic(p), (1e-6, 0.5)),
    "smoothing": (lambda p: ct.LabelSmoothing(p, 0.5), (1e-3, 0.3)),
    "squared": (lambda p: ct.Squared(p), (1.0, 30.0)),
    "sine": (lambda p: ct.Sine(p), (1e-3, 1.57)),
    "sum": (lambda p: ct.Log() + p * ct.Exponential(3), (1e-3, 1e3)),
    "formula": (lambda p: ct.utility("tanh(3*x)") + p * ct.Log(), (1e-3, 10.0)),
}


@pytest.mark.parametrize("n", [2, 3, 5, 8, 33])
@pytest.mark.parametrize("name", SWEPT)
def test_a_swept_parameter(name, n):
    make, (low, high) = SWEPT[name]
    found = ct.solve_many(make, n, p=np.geomspace(low, high, 12))
    assert len(found.alone) <= 2  # what Newton's method in one sweep may leave
    assert_as_solved(found)


def test_certificates_hold_to_30_digits():
    texts = [text for text in FORMULAS if ct.utility(text).strictly_concave][::2]
    found = ct.solve_many(texts, 8)
    for i, text in enumerate(texts):
        with mp.workdps(40):
            best = mean_utility(FORMULAS[text], high_precision(text, 8))
            short = best - mean_utility(FORMULAS[text], [float(g) for g in found.gaps[i]])
        assert short <= found.gap[i]
        assert best - mp.mpf(float(found.objective[i])) <= found.gap[i]
        assert found.relative_gap[i] < 1e-12


def test_what_is_not_vectorised_is_solved_alone_and_named():
    many = ["log(x + 0.1)", "min(x, 0.3)", ct.PlackettLuce(), "x", "log(x + 0.2)", "x**0.5"]
    found = ct.solve_many(many, 6)
    assert found.alone == (1, 2, 3)
    assert "3 solved one by one" in repr(found)
    assert_as_solved(found)
    for other in (
        ct.solve_many(many[:1], 60),
        ct.solve_many(many[:1], 6, ct.Free if 0 else (0, 2)),
    ):
        assert other.status == ("optimal",)
    assert ct.solve_many(many[:1], 60).alone == (0,)


def test_a_million_times_steeper_beside_flat():
    betas = np.array([1e-8, 1e-3, 1.0, 1e3, 1e6])
    found = ct.solve_many(ct.LogSigmoid, 8, beta=betas)
    assert set(found.status) == {"optimal"}
    assert_as_solved(found)


def test_columns_frames_and_values():
    grid = np.array([0.1, 0.2, 0.4])
    found = ct.solve_many("log(x + c) + w*x", 5, c=grid, w=2.0)
    assert found.names == ("c", "w")
    assert (found.parameters == np.column_stack([grid, [2, 2, 2]])).all()
    assert found.utilities == tuple(ct.Log().shifted(c) + 2 * ct.Linear() for c in grid)
    assert found == ct.solve_many(list(found.utilities), 5).from_dict(found.to_dict())
    assert hash(found) == hash(ct.solve_many("log(x + c) + w*x", 5, c=grid, w=2.0))
    frame = found.to_frame()
    assert frame.shape[0] == len(found) == 3
    assert frame["w"].to_list() == [2.0] * 3
    assert frame["rewards"].to_list() == found.rewards.tolist()
    assert found[-1] == found[2]
    assert len(list(found)) == 3
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(ValueError, match="read-only"):
        found.rewards[0, 0] = 2


@pytest.mark.parametrize(
    ("make", "given", "said"),
    [
        (ct.LogSigmoid, {"beta": [1, 0, 2]}, r"utilities\[1\].*beta.*positive"),
        (ct.LogSigmoid, {"beta": [1, 2, np.nan]}, r"utilities\[2\].*finite"),
        (ct.LogSigmoid, {"gamma": [1, 2]}, "gamma"),
        (ct.Power, {"g": [0.5, np.inf]}, r"utilities\[1\].*finite"),
        (ct.Power, {"g": [0.5, 1e300]}, r"utilities\[1\].*0 < g < 1"),
        ("log(x + c)", {"c": [0.1, -1.0]}, r"utilities\[1\]"),
        ("log(x + c)", {"c": [np.nan]}, r"utilities\[0\].*c must be finite"),
        ("log(x + c)", {"c": ["a"]}, "array of numbers"),
        ("log(x + c)", {"c": [[1.0]]}, "one length"),
        ("log(x + c) + w*x", {"c": [1, 2], "w": [1, 2, 3]}, "one length"),
        ("log(x + c)", {"d": [1.0]}, "d isn't in it"),
        ("log(x + c)", {"x": [1.0]}, "x is the gap"),
        (lambda c: ct.Quadratic(c), {"c": [0.1, 0.7]}, r"utilities\[1\].*falls"),
        (lambda c: c, {"c": [0.1]}, r"utilities\[0\]"),
        (ct.Log(), {"c": [0.1]}, "family, a function or a text"),
        (["log(x)", "x**2"], {}, r"utilities\[1\].*concave"),
        (["log(x)", "min(x, 0.5) - x"], {}, r"utilities\[1\]"),
        ([], {}, "at least one"),
        ("log(x)", {}, "must be many"),
        (ct.LogSigmoid, {}, "must be many"),
        (3, {}, "must be many"),
    ],
)
def test_errors_come_at_once_and_name_the_utility(make, given, said):
    with pytest.raises(ct.CollapseError, match=said):
        ct.solve_many(make, 8, **given)


def test_limit_laws_of_many_are_those_of_limit():
    grid = [0.05, 0.5]
    laws = ct.limit_many(lambda c, w: ct.Log().shifted(c) + w * ct.Linear(), (0, 2), c=grid, w=1)
    assert list(laws) == [ct.limit(u, (0, 2)) for u in laws.utilities]
    assert laws == ct.Laws.from_dict(laws.to_dict())
    assert laws.quantiles(5).shape == (2, 5)
    frame = laws.to_frame()
    assert frame["c"].to_list() == grid
    assert frame["low_mass"].to_list() == frame["high_mass"].to_list()
    assert frame["low_mass"][1] == laws[1].atoms[0, 1]
    assert "2 optimal" in repr(laws)
    mixed = ct.limit_many(["log(x)", ct.PlackettLuce(), "min(x, 0.25)"])
    assert len(mixed) == 3
    for bad, said in ((["log(x)", "x**2"], r"\[1\].*concave"), ("x", "must be many")):
        with pytest.raises(ct.CollapseError, match=said):
            ct.limit_many(bad)
    with pytest.raises(ct.CollapseError, match=r"utilities\[1\].*falls"):
        ct.limit_many(ct.Squared, target=[2.0, 0.5])


@pytest.mark.parametrize(
    "options", [{"n": 1}, {"n": 2.5}, {"n": 4, "tol": 0}, {"n": 4, "domain": 3}]
)
def test_other_bad_options(options):
    with pytest.raises(ct.CollapseError):
        ct.solve_many(["log(x)"], **options)


@pytest.mark.parametrize("text", ["log(x + 1)", "log(x + 100)", "log(x + 1e4) - 9"])
def test_the_rounding_of_shifts_and_of_parts_that_cancel_is_certified(text):
    for box in (ct.Box(0, 0.01), ct.Box(), ct.Box(0, 1e-6)):
        for found in (ct.solve(text, 3, box), ct.solve_many([text], 3, box)[0]):
            with mp.workdps(40):
                low, high = FORMULA[text](mp.mpf(box.high) / 2), FORMULA[text](mp.mpf(box.high))
                assert abs((2 * low + high) / 3 - found.objective) <= found.gap


FORMULA = {
    "log(x + 1)": lambda x: mp.log(x + 1),
    "log(x + 100)": lambda x: mp.log(x + 100),
    "log(x + 1e4) - 9": lambda x: mp.log(x + 10**4) - 9,
}


HELD = {
    ct.Confined(0.02): ("log", "power", "negative", "sigmoid", "exponential", "smoothing", "sum"),
    ct.Confined(30.0): ("log", "sigmoid", "squared", "formula"),
    ct.Centered(0.1): ("log", "power", "margin", "smoothing"),
    ct.Free(): ("smoothing", "squared"),
}


@pytest.mark.parametrize("n", [2, 3, 8, 33])
@pytest.mark.parametrize(("domain", "name"), [(d, name) for d, of in HELD.items() for name in of])
def test_under_penalties(domain, name, n):
    make, (low, high) = SWEPT[name]
    utilities = [make(p) for p in np.geomspace(low, min(high, 50.0), 9)]
    if domain == ct.Centered(0.1) and n == 2 and name != "smoothing":
        with pytest.raises(ct.NoOptimum, match=r"utilities\[0\]"):
            ct.solve_many(utilities, n, domain)
        return
    found = ct.solve_many(utilities, n, domain)
    assert len(found.alone) <= 2
    assert_as_solved(found)
