"""Designs that train: descent on free logits reaches what was predicted; steep ones are named."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from descent import descended
from typer.testing import CliRunner

import collapse_theory as ct
from collapse_theory.cli import app
from collapse_theory.design.slope import MAX_SLOPE, Bound, cone, first_gap, slope
from collapse_theory.values import Value


def test_the_descent_is_that_of_the_loss():
    torch = pytest.importorskip("torch")
    from collapse_theory.training import RankingLoss

    for text in ("log(x)", "1 - exp(-3*x)", "logsigmoid(20*(x - 0.2)) + x"):
        loss = RankingLoss(text)
        logits = torch.tensor(0.1 * np.random.default_rng(0).standard_normal((4, 6)))
        logits.requires_grad_()
        adam = torch.optim.Adam([logits], lr=0.02)
        for _ in range(40):
            adam.zero_grad()
            loss(logits).backward()
            adam.step()
        rewards, optimum = descended(ct.utility(text), 6, steps=40)
        assert np.abs(loss.rewards(logits).detach().numpy() - rewards).max() < 1e-9
        assert np.abs(loss.predict(6).rewards - optimum.rewards).max() < 1e-9


RNG = np.random.default_rng(7)
GRADES = RNG.choice(5, 800, p=[0.3, 0.1, 0.2, 0.1, 0.3]) + 1.0
SCORES = {
    f"prompt {k}": RNG.permutation([0, 2, 3, 4, 5, 6, 8, 10]) + RNG.normal() for k in range(40)
}
KINDS = {
    "levels": "levels 0.4 0.2 0.4",
    "five levels": "levels 0.3 0.15 0.1 0.15 0.3",
    "atoms and uniform": "atoms 0.3 + uniform",
    "light atoms and uniform": "atoms 0.02 + uniform",
    "Beta": "beta(0.5)",
    "flat Beta": "beta(0.9)",
    "uniform": "uniform",
    "hump": "beta(3, 2)",
    "sample of Beta": RNG.beta(0.5, 0.5, 2000),
    "uniform sample": RNG.random(2000),
    "normal sample": RNG.standard_normal(500),
    "grades": GRADES,
    "even grades": np.random.default_rng(8).integers(1, 6, 600),
    "scores": SCORES,
    "rewards": "rewards 1 0.97 0.6 0.4 0.03 0",
    "even rewards": "rewards 8 7 6 5 4 3 2 1",
    "four even rewards": "rewards 3 2 1 0",
    "three rewards": "rewards 1 0.7 0",
    "rewards of a steep utility": ct.solve("-1/(x + 0.001)", 12).rewards,
}


@cache
def designed(kind: str) -> ct.Design:
    target = KINDS[kind]
    if isinstance(target, dict):
        return ct.recommend(target)[ct.recommend(target).kinds[0]]
    return ct.design(target, n=12 if kind == "rewards of a steep utility" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_descent_reaches_what_a_design_predicts(kind):
    found = designed(kind)
    assert found.slope <= MAX_SLOPE
    rewards, optimum = descended(found.utility, found.n or 8)
    assert np.abs(rewards - optimum.rewards).mean() < 0.02


@pytest.mark.parametrize("text", ["-1/x", "logsigmoid(200*x)", "log(x + 0.0005)"])
def test_descent_does_not_reach_what_is_too_steep(text):
    u = ct.utility(text)
    assert slope(u) > 4 * MAX_SLOPE
    rewards, optimum = descended(u, 8)
    assert np.abs(rewards - optimum.rewards).mean() > 0.04


def test_the_slope_by_hand():
    # U'(0) over (U(1) - U(.08)) / .92.
    for text, push, rise in (
        ("log(x + 0.1)", 10, np.log(1.1 / 0.18)),
        ("1 - exp(-3*x)", 3, np.exp(-0.24) - np.exp(-3)),
        ("log(x)", 100, np.log(1.01 / 0.09)),
        ("-1/x", 1e4, 1 / 0.09 - 1 / 1.01),
    ):
        assert slope(ct.utility(text)) == pytest.approx(0.92 * push / rise)
    # Of four completions the gaps beyond .2 count.
    assert first_gap(4) == 0.2
    assert first_gap(None) == first_gap(20) == 0.08
    by_four = slope(ct.utility("1 - exp(-3*x)"), first_gap(4))
    assert by_four == pytest.approx(0.8 * 3 / (np.exp(-0.6) - np.exp(-3)))
    assert slope(ct.Hinge(0.05)) == np.inf
    assert slope(ct.Linear()) == pytest.approx(1)


def test_a_cone_holds_the_mixtures_within_the_bound():
    terms = (ct.Linear(), ct.LogSigmoid(4), ct.LogSigmoid(200), ct.Hinge(0.01), ct.Hinge(0.5))
    edges = cone(terms, Bound(20.0))
    rng = np.random.default_rng(3)
    for _ in range(50):
        weights = edges @ rng.exponential(size=edges.shape[1])
        made = sum(
            (w * t for w, t in zip(weights[1:], terms[1:], strict=True)), weights[0] * terms[0]
        )
        assert slope(made) <= 20 * (1 + 1e-9)
    assert np.allclose(cone(terms, Bound(np.inf)), np.eye(5))


@pytest.mark.parametrize(
    ("target", "utility", "steepness"),
    [("uniform", "-1/x", 909), ("beta(0.9)", "-x**-0.8", 499)],
)
def test_what_the_bound_costs_is_said(target, utility, steepness):
    free, found = ct.design(target, max_slope=np.inf), ct.design(target)
    assert found.reachable is True
    assert not found.within
    assert found.steeper.utility == free.utility == ct.utility(utility)
    assert found.steeper.distance == free.distance < 1e-9
    assert found.steeper.slope == free.slope == pytest.approx(steepness, rel=0.01)
    assert 0.005 < found.distance < 0.03
    assert found.link is not None
    for text in (utility, f"{found.distance:.3g}", "max_slope"):
        assert text in found.reason
    assert "steeper" in repr(found)
    assert Value.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


@pytest.mark.parametrize("most", [1.5, 20.0])
def test_any_bound_is_kept(most):
    for target in ("uniform", "beta(0.4)", "levels 0.3 0.2 0.2 0.3", "beta(2, 5)"):
        found = ct.design(target, max_slope=most)
        assert found.slope <= most
        assert found.link is None or slope(found.link.utility) <= most


def test_more_slope_never_comes_less_near():
    distances = [ct.design("uniform", max_slope=most).distance for most in (2, 50, np.inf)]
    assert distances == sorted(distances, reverse=True)
    for bad in (1, 1.001, float("nan"), "50", None):
        with pytest.raises(ct.CollapseError, match=r"max_slope must be 1\.01 or more"):
            ct.design("uniform", max_slope=bad)


def test_the_command_says_the_slope():
    def run(*args: str) -> str:
        return CliRunner().invoke(app, ["design", *args]).stdout

    content = json.loads(run("uniform", "--json"))
    assert content["slope"] <= content["max_slope"] == MAX_SLOPE
    assert content["steeper"]["utility"] == "-1/x"
    assert content["steeper"]["distance"] == 0
    shown = " ".join(run("uniform").split())
    for part in ("slope", "-1/x", "beyond max_slope", "by a steeper utility alone"):
        assert part in shown
    assert json.loads(run("uniform", "--max-slope", "inf", "--json"))["utility"] == "-1/x"
