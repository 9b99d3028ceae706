"""The checks that users borrow: planted mistakes are found, right answers pass, reprs are code."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases
from scipy import stats
from scipy.optimize import brentq
from scipy.special import roots_jacobi
from typer.testing import CliRunner

import collapse_theory as ct
import collapse_theory.testing as room
from collapse_theory.cli import app
from collapse_theory.laws import BetaDensity, RewardLaw, beta_law, uniform_law
from collapse_theory.programs import Program
from collapse_theory.testing import (
    Saturating,
    check_closed_form,
    check_solver,
    check_utility,
    comparisons,
    domains,
    losses,
    programs,
    search,
    utilities,
)
from collapse_theory.utilities.families import Family

MOST = 10.0  # seconds in which a mistake is found
EXAMPLES = int(os.environ.get("EXAMPLES", "25"))  # that right answers pass; 1000 do, in minutes

# -- right closed forms, and mistakes in them ------------------------------------------------


def log_rewards(u, n):
    zeros = np.sort(roots_jacobi(n - 2, 1, 1)[0])[::-1] if n > 2 else np.empty(0)
    return np.concatenate([[1], (1 + zeros) / 2, [0]])


def quadratic_rewards(u, n):
    return np.clip(0.5 + (n + 1 - 2 * np.arange(1, n + 1)) / (2 * u.c * n), 0, 1)


def linear_rewards(u, n):
    return np.repeat([1, 0.5, 0], [n // 2, n % 2, n // 2])


def hinge_rewards(u, n):
    k = round(1 / u.m)
    return np.repeat(np.arange(k, -1, -1) / k, n // (k + 1)) if n % (k + 1) == 0 else None


def inverse_gaps(u, n):
    """-1/x at n = 4: 2/a**2 = 2/(1-a)**2 + 2/(1-2a)**2 for the outer gap a."""
    a = brentq(lambda a: a**-2 - (1 - a) ** -2 - (1 - 2 * a) ** -2, 0.1, 0.45, xtol=1e-16)
    return a, 1 - 2 * a, a


def three(u, n):
    return [1, 0] if n == 2 else [1, 0.5, 0]


def power_law(u):
    return beta_law((1 - u.g) / 2)


def negative_power_law(u):
    return stats.beta((1 + u.g) / 2, (1 + u.g) / 2) if u.g < 1 else stats.uniform()


def exponential_law(u, more=0.0):
    a = 1 / (2 + u.b)
    return RewardLaw([[0, a + more], [1, a - more]], (BetaDensity(1, 1, mass=1 - 2 * a),))


def semicircle(u, kappa=0.3):
    radius = np.sqrt(2 / kappa)
    return beta_law(1.5, low=-radius, high=radius)


def moved(rewards, by):
    """Return a formula whose inner rewards are off by `by`, alternately."""

    def form(u, n):
        right = np.array(rewards(u, n), dtype=float)
        inner = (right > 0) & (right < 1) & (np.diff(right, append=-1) < 0)
        return np.clip(right + by * inner * (-1.0) ** np.arange(n), 0, 1)

    return form


CONFINED = {"domain": ct.Confined(0.3)}
RIGHT = {
    "log": (log_rewards, ct.Log()),
    "log by gaps": (lambda u, n: -np.diff(log_rewards(u, n)), "log(x)"),
    "parabola": (quadratic_rewards, ct.Quadratic),
    "linear": (linear_rewards, "x"),
    "hinges": (hinge_rewards, [ct.Hinge(1 / 2), ct.Hinge(1 / 3)]),
    "-1/x": (inverse_gaps, "-1/x", 4),
    "three": (three, utilities(strictly_concave=True, kinked=False), [2, 3]),
    "the package's own": (lambda u, n: ct.closed_form(u, n).rewards, losses()),
    "powers": (power_law, ct.Power),
    "negative powers": (negative_power_law, ct.NegativePower),
    "exponential": (exponential_law, ct.Exponential),
    "atoms": (lambda u: [[0, 1 / (2 + u.b)], [1, 1 / (2 + u.b)]], ct.Exponential),
    "pdf": (lambda u: lambda x: 0 * x + u.b / (2 + u.b), ct.Exponential, None, {"gives": "pdf"}),
    "ppf": (lambda u: power_law(u).ppf, ct.Power, None, {"gives": "ppf"}),
    "text": (lambda u: "atoms 0.5", "x"),
    "semicircle": (semicircle, "log(x)", None, CONFINED),
    "listwise": (lambda u: ct.limit(u), ct.PlackettLuce),
}

WRONG = {
    "sign": (lambda u, n: 1 - log_rewards(u, n), ct.Log()),
    "another family's": (log_rewards, "-1/x"),
    "Jacobi's other weight": (
        lambda u, n: np.r_[1, (1 + np.sort(roots_jacobi(n - 2, 0.99, 0.99)[0])[::-1]) / 2, 0],
        "log(x)",
        range(3, 12),
    ),
    "factor": (lambda u, n: np.clip(0.5 + (n + 1 - 2 * np.arange(1, n + 1)) / (u.c * n), 0, 1),
               ct.Quadratic),
    "ranks off by one": (lambda u, n: np.clip(0.5 + (n - 2 * np.arange(n)) / (2 * u.c * n), 0, 1),
                         ct.Quadratic),
    "no ties": (lambda u, n: np.linspace(1, 0, n), "log(x + 0.1)"),
    "ties one too early": (
        lambda u, n: np.r_[1.0, ct.solve(u, n).rewards[:-1]][:n] * (n > 8)
        + ct.solve(u, n).rewards * (n <= 8),
        "log(x + 0.1)",
    ),
    "wrong at one n alone": (moved(lambda u, n: log_rewards(u, n), 0.0), "-1/x", 17),
    "middle of an odd n": (lambda u, n: np.repeat([1, 0.5, 0], [n // 2, n % 2, n // 2]), "x**0.9"),
    "ends short of the box": (lambda u, n: 0.5 + 0.999 * (log_rewards(u, n) - 0.5), "log(x)"),
    "rewards off by 1e-7": (moved(log_rewards, 1e-7), ct.Log()),
    "only where b is large": (
        lambda u, n: ct.solve(u, n).rewards if u.b < 30 else np.linspace(1, 0, n), ct.Exponential),
    "a gap too many": (lambda u, n: -np.diff(log_rewards(u, n), append=0), "log(x)"),
    "upside down": (lambda u, n: log_rewards(u, n)[::-1], "log(x)"),
    "outside the box": (lambda u, n: 2 * log_rewards(u, n), "log(x)"),
    "nan": (lambda u, n: log_rewards(u, n) / (n != 5), "log(x)"),
    "raises": (lambda u, n: [1, 0][n], "log(x)"),
    "-1/x from equal forces of neighbours": (lambda u, n: (0.2929, 0.4142, 0.2929), "-1/x", 4),
    "groups of ties": (
        lambda u, n: np.repeat([1, 0.5, 0], [n // 4, n - 2 * (n // 4), n // 4]),
        "min(x, 0.5)", [6, 9, 12]),
    "law shifted by 1e-4": (lambda u: beta_law((1 - u.g) / 2, low=1e-4, high=1 + 1e-4), ct.Power),
    "law of the wrong exponent": (lambda u: beta_law((1 - u.g) / 2 + 1e-4), ct.Power),
    "law for small g alone": (lambda u: beta_law((1 + u.g) / 2), ct.NegativePower),
    "atoms moved by 1e-4": (lambda u: exponential_law(u, 1e-4), ct.Exponential),
    "atoms' masses": (lambda u: [[0, 1 / (2 + u.b)], [1, 1 / (2 + u.b + 1e-4)]], ct.Exponential),
    "an atom missing": (lambda u: [[0, 1 / (2 + u.b)]], ct.Exponential),
    "pdf without the ends' mass": (
        lambda u: lambda x: 0 * x + 1.0, ct.Exponential, None, {"gives": "pdf"}),
    "ppf of the mirrored share": (
        lambda u: lambda t: uniform_law().ppf(1 - t), "-1/x", None, {"gives": "ppf"}),
    "radius of the semicircle": (lambda u: semicircle(u, 0.3001), "log(x)", None, CONFINED),
}  # fmt: skip


def closed(function, given=None, ns=None, options=None):
    return lambda examples: check_closed_form(
        function, given, ns, examples=examples, **(options or {})
    )


def found(check, words="is wrong for"):
    """Check that a mistake is found in time, and said with its case."""
    start = time.process_time()
    with pytest.raises(AssertionError, match=rf"{words}|raised") as fault:
        check(100)
    assert time.process_time() - start < MOST, "found, but too late"
    return str(fault.value)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_closed_forms_are_found(name):
    text = found(closed(*WRONG[name]))
    assert "expected" in text or "raised" in text
    assert "got" in text or "raised" in text


@pytest.mark.parametrize("name", RIGHT)
def test_right_closed_forms_pass(name):
    report = closed(*RIGHT[name])(EXAMPLES)
    assert report.cases >= 1
    assert report.error <= 1e-6
    assert not report.gap > 1e-6
    assert str(report).startswith(report.subject)


def test_the_smallest_case_is_shown():
    def steep(u, n):
        return ct.solve(u, n).rewards if u.beta < 50 or n < 7 else linear_rewards(u, n)

    text = found(closed(steep, ct.LogSigmoid))
    assert "is wrong for LogSigmoid(beta=" in text
    beta = float(text.split("beta=")[1].split(")")[0])
    assert 50 <= beta < 101
    assert "), n=7: expected rewards [1," in text


def test_with_ci_set_the_case_is_the_same_each_time(monkeypatch):
    monkeypatch.setattr(search, "FIXED", True)
    assert found(closed(*WRONG["factor"])) == found(closed(*WRONG["factor"]))


def test_an_n_with_a_default_is_given_where_numbers_are():
    def both(u, n=None):
        return "arcsine" if n is None else log_rewards(u, n)

    assert check_closed_form(both, "log(x)", [4, 9]).error < 1e-12
    assert check_closed_form(both, "log(x)").error < 1e-6


def test_all_of_a_list_of_n_are_tried():
    def all_but_one(u, n):
        return log_rewards(u, n) if n != 37 else np.linspace(1, 0, n)

    assert "Log(), n=37: expected reward" in found(closed(all_but_one, "log(x)", range(2, 60)))


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_closed_form(lambda: 0, "x"), "takes 0 arguments"),
        (lambda: check_closed_form(power_law, ct.Power, 4), "takes no n"),
        (lambda: check_closed_form(lambda u: lambda x: x, "x"), 'say gives="ppf"'),
        (lambda: check_closed_form(lambda u: 3.0, "x"), "must give a law"),
        (lambda: check_closed_form(three, "x", gives="reward"), "gives must be one of"),
        (lambda: check_closed_form(three, "x", tol=0), "tol must be positive"),
        (lambda: check_closed_form(three, "x", []), "ns is empty"),
        (lambda: check_closed_form(three, ct.Utility), "no strategy makes a Utility"),
        (lambda: check_closed_form(three, 3), "must be a utility"),
        (lambda: check_closed_form(lambda u, n: None, "x"), "gave no answer in any"),
        (lambda: check_closed_form(three, "-1/x", domain=ct.Free()), "no case to check"),
        (lambda: check_solver(three, "x", tol=-1), "tol must be positive"),
        (lambda: check_utility(3), "needs a Utility"),
    ],
)
def test_what_leaves_nothing_to_check_is_refused(check, words):
    with pytest.raises(ct.CollapseError, match=words):
        check()


# -- utilities -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Own(Family):
    """log(x + k) as a class, right; what is wrong below is wrong in one place."""

    k: float = 0.1

    def value(self, x, xp=np):
        return xp.log(x + self.k)

    def derivatives(self, x):
        return 1 / (x + self.k), -((x + self.k) ** -2.0)

    def gain(self, x, step, end):
        return np.log1p(step / (x + self.k))


def own(**methods):
    return dataclass(frozen=True, eq=False)(type("Wrong", (Own,), methods))()


LOG = ct.Log().shifted(0.1)
KINK = ct.Utility.from_functions(
    lambda x: (x + 0.4 - abs(x - 0.4)) / 2,
    lambda x: np.where(x < 0.4, 1.0, 0.0),
    lambda x: 0.0 * x,
    "kinked",
)
WRONG_UTILITIES = {
    "slope": own(derivatives=lambda self, x: (1.001 / (x + self.k), -((x + self.k) ** -2.0))),
    "curvature": own(derivatives=lambda self, x: (1 / (x + self.k), -2 * (x + self.k) ** -3.0)),
    "curvature by a little": own(
        derivatives=lambda self, x: (1 / (x + self.k), -1.00001 * (x + self.k) ** -2.0)
    ),
    "convex": own(value=lambda self, x, xp=np: x**2, derivatives=lambda self, x: (2 * x, 2 + 0 * x),
                  gain=ct.Utility.gain),
    "falls": own(value=lambda self, x, xp=np: -x * (1 + x), gain=ct.Utility.gain,
                 derivatives=lambda self, x: (-1 - 2 * x, -2 + 0 * x)),
    "gain": own(gain=lambda self, x, step, end: np.log(step / (x + self.k))),
    "gain subtracts": own(gain=lambda self, x, step, end: self.value(end) - self.value(x)),
    "torch differs": own(value=lambda self, x, xp=np: xp.log(x + (self.k if xp is np else 0.1001))),
    "no torch": own(value=lambda self, x, xp=np: np.log(np.asarray(x) + self.k)),
    "no gradient": own(value=lambda self, x, xp=np: xp.log(
        (x if isinstance(x, np.ndarray | float) else x.detach()) + self.k)),
    "kink missing": KINK,
    "kink misplaced": own(kinks=property(lambda self: (0.5,))),
    "exponent": own(exponent=property(lambda self: 0.5)),
    "slope at zero": own(slope_at_zero=property(lambda self: 9.0)),
    "strictly concave": own(
        value=lambda self, x, xp=np: 1.0 * x, gain=ct.Utility.gain,
        derivatives=lambda self, x: (1 + 0 * x, 0 * x)),
    "below zero": own(below_zero=True),
    "text": own(tree=lambda self, inner=("x",): ct.Log().shifted(0.2).tree(inner)),
    "conic form": own(tree=lambda self, inner=("x",): LOG.tree(inner),
                      conic=lambda self, cp, ratio, at: cp.log(cp.multiply(ratio, at))),
    "conic form of the wrong curvature": own(
        tree=lambda self, inner=("x",): LOG.tree(inner),
        conic=lambda self, cp, ratio, reference: cp.exp(ratio)),
    "scaled": own(at=lambda self, scale=1, shift=0: Own(self.k).at(2 * scale - 1, shift)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_UTILITIES)
def test_wrong_utilities_are_found(name):
    if "torch" in name or "gradient" in name:
        pytest.importorskip("torch")
    u = WRONG_UTILITIES[name]
    text = found(lambda _: check_utility(u), words="is wrong: ")
    assert text.startswith(f"{u} is wrong: ")


@dataclass(frozen=True, eq=False)
class Plain(Family):
    """log(x + k) without a `gain`."""

    k: float = 0.1
    value, derivatives = Own.value, Own.derivatives


def test_rounding_of_subtracted_values_is_allowed_for():
    """What a gain without a formula of its own loses, also where its terms cancel at gap 1."""
    assert Plain().cancels
    assert not Own().cancels
    for u in (Plain(), ct.utility("-1/x") + 2 * Saturating(1.0), "-1/x + 1/(1 + exp(-x))"):
        check_utility(u)


def test_terms_far_apart_in_size():
    check_utility("-x**-3.16 + min(x, 0.05)")  # a kink beside a far steeper term
    check_utility("logsigmoid(1000*x) + min(x, 0.75)")  # U'' beneath float64 beyond a kink
    check_utility("100*logsigmoid(965*x)")  # gains beneath it


def test_gains_at_a_maximum_keep_their_digits():
    for u in (ct.Quadratic(0.5), ct.Sine(np.pi / 2), ct.Squared(1.0)):
        check_utility(u)


def opaque(x):
    return np.log(x + np.where(x < 0, 0.1, 0.1))


def test_right_utilities_pass():
    # The last has the gap that the conic form is scaled by, 0.2, at its margin.
    margin = ct.utility("logsigmoid(x - 0.2)")
    for u in (Own(), Saturating(0.3), ct.utility("tanh(3*x) + 0.2*log(x)"), margin):
        assert check_utility(u).cases >= 8
    assert "ct.register" in str(check_utility(Own()))
    assert not _left_out(check_utility(ct.LabelSmoothing(0.1), ct.Free()))
    with pytest.raises(AssertionError, match="falls at the gap"):
        check_utility(ct.Squared(0.5))
    assert not _left_out(check_utility(ct.Squared(0.5), ct.Confined(1.0)))


def _left_out(report):
    return [note for note in report.notes if "torch isn't installed" not in note]


def test_functions_that_take_no_tensors_are_found():
    pytest.importorskip("torch")
    plain = ct.Utility.from_functions(
        opaque, lambda x: 1 / (x + 0.1), lambda x: -((x + 0.1) ** -2.0)
    )
    with pytest.raises(AssertionError, match="on torch tensors"):
        check_utility(plain)


@cases(EXAMPLES)
@given(utilities())
def test_random_utilities_are_what_they_say(u):
    check_utility(u)


# -- solvers -------------------------------------------------------------------------------


def newton(u, n, domain):
    return ct.solve(u, n, domain, method="newton")


def stopped(share):
    """Return a solver that stops early, and claims a share of its gap."""

    def early(u, n):
        answer = ct.solve(u, n, method="newton", max_iterations=2)
        return replace(answer, gap=share * answer.gap)

    return early


def never_tied(u, n):
    rewards = ct.solve(u, n).rewards
    return rewards * (1 - 1e-3) + np.linspace(1, 0, n) * 1e-3


def unit_box(u, n, domain):
    return ct.solve(u, n).rewards


def half_penalty(u, n, domain):
    weak = isinstance(domain, ct.Confined)
    return ct.solve(u, n, ct.Confined(domain.kappa / 2) if weak else domain)


def unweighted(u, n, domain, pairs):
    if pairs is None:
        return ct.solve(u, n, domain)
    plain = ct.Comparisons(n, pairs.better, pairs.worse, None, pairs.equal, pairs.margins)
    return ct.solve(u, domain=domain, comparisons=plain)


def ties_apart(u, n, domain, pairs):
    if pairs is None:
        return ct.solve(u, n, domain)
    return ct.solve(u, domain=domain, comparisons=ct.Comparisons(
        n, pairs.better, pairs.worse, pairs.weights))  # fmt: skip


SMOOTH = utilities(kinked=False)
WRONG_SOLVERS = {
    "a gap too small": (stopped(0.01), ct.LogSigmoid, {"tol": 10}),
    "no gap at all": (stopped(0.0), SMOOTH, {"tol": 10}),
    "stopped early": (stopped(1.0), SMOOTH, {}),
    "never tied": (never_tied, SMOOTH, {}),
    "the box is always [0, 1]": (unit_box, SMOOTH, {}),
    "half the penalty": (half_penalty, SMOOTH, {"domain": domains(bounded=False)}),
    "weights ignored": (unweighted, SMOOTH, {"domain": ct.Box(), "pairs": comparisons(5)}),
    "ties ignored": (
        ties_apart, ct.LogSigmoid, {"domain": ct.Box(), "pairs": comparisons(ties=True)}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_SOLVERS)
def test_wrong_solvers_are_found(name):
    solver, given_utilities, options = WRONG_SOLVERS[name]
    text = found(
        lambda examples: check_solver(solver, given_utilities, examples=examples, **options)
    )
    if "gap" in name:
        assert "its gap is" in text


def test_right_solvers_pass():
    check_solver(newton, SMOOTH, examples=EXAMPLES)
    # Honest, if nothing else.
    check_solver(stopped(1.0), SMOOTH, tol=np.inf, examples=EXAMPLES)
    check_solver(
        lambda u, n, domain, pairs: ct.solve(u, None if pairs else n, domain, pairs),
        SMOOTH,
        examples=EXAMPLES,
    )


# -- the command -----------------------------------------------------------------------------

FORMS = """
import numpy as np
import collapse_theory as ct

def evenly(u, n):
    return np.linspace(1, 0, n)

def uniform(u):
    return "uniform"

class Wrong(ct.Utility):
    value = lambda self, x, xp=np: -1 / (x + 1)
    derivatives = lambda self, x: (1 / (x + 1) ** 2, -1 / (x + 1) ** 3)

wrong, right = Wrong(), ct.utility("log(x + 0.1)")
"""


@pytest.fixture
def forms(tmp_path, monkeypatch):
    (tmp_path / "forms_of_mine.py").write_text(FORMS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "forms_of_mine", raising=False)
    return lambda *args: CliRunner().invoke(app, ["check", *args])


@pytest.mark.parametrize(
    ("args", "right"),
    [
        (["forms_of_mine.py:evenly", "--utility", "-1/x", "--n", "3"], True),
        (["forms_of_mine:evenly", "--utility", "-1/x", "--n", "3", "--n", "4"], False),
        (["forms_of_mine:evenly", "--utility", "LogSigmoid", "--low", "-1", "--n", "2"], False),
        (["forms_of_mine:uniform", "--utility", "-1/x"], True),
        (["forms_of_mine:uniform", "--utility", "x", "--confined", "0.5"], False),
        (["forms_of_mine:evenly", "--as", "solver", "--utility", "log(x)"], False),
        (["forms_of_mine:right"], True),
        (["forms_of_mine:wrong"], False),
    ],
)
def test_the_command(forms, args, right):
    plain, as_json = forms(*args), forms(*args, "--json")
    assert (plain.exit_code, as_json.exit_code) == (0 if right else 1, 0), plain.output
    found = json.loads(as_json.stdout)
    assert found["right"] is right
    text = " ".join(plain.stdout.split())
    assert text == found["reason"] if right else text == f"wrong: {found['reason']}"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["forms_of_mine"], "give MODULE:NAME"),
        (["forms_of_mine.py:no_such"], "has no no_such"),
        (["no_such.py:evenly"], "there is no file"),
        (["no_such:evenly"], "can't import no_such"),
        (["forms_of_mine:evenly", "--as", "poem"], "one of closed-form, solver"),
        (["forms_of_mine:right", "--gives", "pdf"], "belongs to a closed form"),
        (["forms_of_mine:right", "--n", "3"], "no --utility, --n"),
        (["forms_of_mine:evenly", "--as", "loss"], "nothing says what evenly trains"),
    ],
)
def test_the_command_refuses(forms, args, words):
    result = forms(*args)
    assert result.exit_code == 2
    assert words in result.stderr


# -- the page --------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs" / "testing.md").read_text(encoding="utf-8")


def test_the_page_runs(capsys):
    pytest.importorskip("torch")
    names = {}
    for text in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(text, "testing.md", "exec"), names)
    shown = " ".join(capsys.readouterr().out.split())
    # What comments say was printed was, but for digits that processors round differently.
    for comment in re.findall(r"((?:^# .*\n)+)", PAGE, re.M):
        words = " ".join(comment.replace("# ", "").split())
        if " is wrong for " in words or "nothing wrong" in words:
            assert re.sub(r"[0-9.e+-]+", "", words) in re.sub(r"[0-9.e+-]+", "", shown), words


# -- what is printed is code -----------------------------------------------------------------

NAMES = {name: getattr(place, name) for place in (ct, room) for name in place.__all__}
NAMES["Program"] = Program


@cases(60)
@given(st.one_of(losses(), losses(maximum=True), domains(), comparisons()))
def test_reprs_are_code(value):
    assert eval(repr(value), NAMES) == value


@cases(40)
@given(programs(losses(), domains(), pairs=st.one_of(st.none(), comparisons())))
def test_reprs_of_programs_are_code(program):
    again = eval(repr(program), NAMES)
    for name in ("loss", "domain", "n", "comparisons"):
        assert getattr(again, name) == getattr(program, name)


@pytest.mark.parametrize(
    ("strategy", "least"),
    [
        (utilities(), "Linear()"),
        (utilities(finite_slope=False), "Log()"),
        (domains(), "Box(low=0.0, high=1.0)"),
        (comparisons(), "Comparisons(n=2, better=[0], worse=[1])"),
        (programs(), "Program.of(Linear(), 2, Box(low=0.0, high=1.0))"),
        (room.laws(), "law([(0.0, 1.0)], [])"),
    ],
)
def test_examples_shrink_to_the_smallest_and_print_as_code(strategy, least):
    @cases(20)
    @given(strategy)
    def never(value):
        raise AssertionError

    with pytest.raises(AssertionError) as fault:
        never()
    shown = " ".join(" ".join(fault.value.__notes__).split())
    for space in ("( ", " )", "[ ", " ]"):
        shown = shown.replace(space, space.strip())
    assert f"value={least}" in shown.replace(", # or any other generated value", ",").replace(
        ",)", ")").replace(",]", "]"), shown  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        ({"strictly_concave": True}, lambda u: u.strictly_concave),
        ({"strictly_concave": False}, lambda u: not u.strictly_concave),
        ({"finite_slope": True}, lambda u: np.isfinite(u.slope_at_zero)),
        ({"finite_slope": False, "kinked": True}, lambda u: u.exponent < 1 and u.kinks[0] < 1),
        ({"kinked": False, "terms": 1}, lambda u: not any(k < 1 for k in u.kinks)),
        ({"maximum": True}, lambda u: u.d1(1e9) < 0),
    ],
)
def test_filters_hold(filters, holds):
    @cases(40)
    @given(utilities(**filters))
    def check(u):
        assert holds(u)

    check()
