"""Diagnosis: verdicts on logs whose truth is known, invariances, distances, and the command."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner, Result

import collapse_theory as ct
from collapse_theory.cli import app
from collapse_theory.diagnosis import RewardLog, RewardMap
from collapse_theory.diagnosis.inside import pairs_right
from collapse_theory.diagnosis.kinds import two_groups
from collapse_theory.diagnosis.order_statistics import level_matrix
from tests.problems import cases

TEXTS = ("x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)", "log(x)", "x**0.5")


@cache
def optimum(text: str, n: int = 8) -> np.ndarray:
    return ct.solve(text, n).rewards


def collapsed(text: str = "log(x + 0.1)", P: int = 100, n: int = 8, noise: float = 0.03, seed=0):
    return optimum(text, n) + noise * np.random.default_rng(seed).standard_normal((P, n))


def aware(P: int = 100, noise: float = 0.03, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Return what prompt-aware training ends with: two-valued and spread-out rewards."""
    rows = [optimum(("-1/(x + 0.1)", "x")[i % 2]) for i in range(P)]
    noisy = np.array(rows) + noise * np.random.default_rng(seed).standard_normal((P, 8))
    return noisy, ["open", "closed"] * (P // 2)


# -- the verdict -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("n", [2, 4, 8, 32])
def test_collapsed_logs(text: str, n: int) -> None:
    found = ct.diagnose(collapsed(text, n=n))
    assert found.collapsed is True
    assert found.interval[0] <= found.index <= found.interval[1]
    assert found.index > 0.9
    assert found.reason.startswith("All prompts share one vector")
    assert ("two or three completions" in found.reason) == (n == 2)


def test_without_noise_the_index_is_one() -> None:
    found = ct.diagnose(collapsed(noise=0))
    assert found.index == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.interval, 1, atol=1e-12)
    assert found.kinds[0].predictions[0].distance < 1e-12


def test_the_same_law_under_two_names_is_collapsed() -> None:
    found = ct.diagnose(collapsed(), kinds=["open", "closed"] * 50)
    assert found.collapsed is True
    assert found.reason.startswith("All kinds share one law")
    assert found.between_kinds < 0.02
    assert "log(x + 0.1)" in found.advice


@pytest.mark.parametrize("pair", [("x", "-1/(x + 0.1)"), ("log(x + 0.1)", "-1/(x + 0.1)")])
def test_two_kinds_with_fixed_laws_of_their_own_are_not_collapsed(pair) -> None:
    rows = np.array([optimum(pair[i % 2]) for i in range(100)])
    rows += 0.02 * np.random.default_rng(1).standard_normal(rows.shape)
    found = ct.diagnose(rows, kinds=["a", "b"] * 50)
    assert found.collapsed is False
    assert "each with its own fixed law" in found.reason
    assert found.between_kinds == pytest.approx(
        np.abs(optimum(pair[0]) - optimum(pair[1])).mean(), abs=0.02
    )


@pytest.mark.parametrize(("noise", "verdict"), [(0.005, False), (0.05, None)])
def test_kinds_that_differ_by_little(noise: float, verdict: bool | None) -> None:
    # With four completions the two optima are .03 apart on average.
    rng = np.random.default_rng(3)
    rows = np.array([optimum(("log(x + 0.1)", "-1/(x + 0.1)")[i % 2], 4) for i in range(1000)])
    found = ct.diagnose(rows + noise * rng.standard_normal(rows.shape), kinds=["a", "b"] * 500)
    assert found.collapsed is verdict
    assert found.index > 0.88


def test_kinds_that_were_left_out_show_as_two_groups() -> None:
    rows, _ = aware()
    found = ct.diagnose(rows)
    assert found.collapsed is False
    assert "two groups (50% and 50%)" in found.reason
    assert "--kind" in found.advice


def codes(found: ct.Diagnosis) -> dict[str, str]:
    return {note.code: note.text for note in found.notes}


def different(name: str, rng: np.random.Generator, P: int = 100, n: int = 8) -> np.ndarray:
    """Return the rewards of prompts that differ."""
    if name == "levels":
        return optimum("log(x)", n) + rng.uniform(-0.5, 0.5, (P, 1))
    if name == "spreads":
        return 0.5 + (optimum("log(x)", n) - 0.5) * rng.uniform(0.05, 1, (P, 1))
    if name == "laws of their own":
        return rng.beta(rng.uniform(0.3, 4, (P, 1)), rng.uniform(0.3, 4, (P, 1)), (P, n))
    if name == "draws of one law":
        return rng.beta(0.5, 0.5, (P, n))
    return rng.standard_normal((P, n)) + rng.standard_normal((P, 1))


DIFFERENT = ("levels", "laws of their own", "draws of one law", "logits")


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("n", [4, 8, 32])
def test_prompts_that_differ_are_not_collapsed(name: str, n: int) -> None:
    found = ct.diagnose(different(name, np.random.default_rng(2), n=n), utility=())
    assert found.collapsed is False
    assert found.reason.startswith("Prompts differ")
    assert found.interval[0] <= found.index <= found.interval[1]


@pytest.mark.parametrize("name", [*DIFFERENT, "spreads"])
def test_error_rates(name: str) -> None:
    # docs/diagnosis.md: at most 5% from 20 prompts on. 1 of 40 leaves room for chance at 5%.
    rng = np.random.default_rng([3, *name.encode()])
    wrong = sum(
        ct.diagnose(different(name, rng, P=20), utility=(), rng=i).collapsed is True
        for i in range(40)
    )
    assert wrong <= 1
    wrong = sum(
        ct.diagnose(collapsed(TEXTS[i % 6], P=20, noise=0.05, seed=i), utility=()).collapsed
        is False
        for i in range(40)
    )
    assert wrong <= 1


def test_draws_of_one_law_have_the_index_zero() -> None:
    # The reference is what such draws have: 1 - index is a ratio of two estimates of one variance.
    rewards = np.random.default_rng(4).uniform(size=(3000, 6))
    found = ct.diagnose(rewards, utility=())
    assert found.index < 0.06
    # Order statistics of n uniforms: the mean variance is 1/(6(n+1)); the scale's width squared.
    expected = 1 / 42 / found.scale.width**2
    assert found.reference == pytest.approx(expected, rel=0.04)
    assert found.within == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("P", [1, 2, 5, 9])
def test_few_prompts_are_not_judged(P: int) -> None:
    found = ct.diagnose(collapsed(P=P))
    assert found.collapsed is None
    assert f"Only {P} prompt" in found.reason


def test_equal_rewards_are_not_judged() -> None:
    found = ct.diagnose(np.full((50, 4), 0.25))
    assert (found.collapsed, found.index, found.scale) == (None, None, None)
    assert found.outcome == "no spread"
    assert "50 of 50 prompts have equal rewards" in found.reason
    np.testing.assert_array_equal(found.kinds[0].atoms, [[0.25, 1.0]])


def test_in_between_is_said() -> None:
    found = ct.diagnose(collapsed("log(x)", P=400, noise=0.12))
    assert found.collapsed is None
    assert found.reason.startswith("In between")


def test_a_wild_reward_doesnt_decide() -> None:
    rewards = collapsed()
    rewards[3, 2] = 1e12
    found = ct.diagnose(rewards)
    assert found.collapsed is True
    assert "1 reward of 1 prompt" in codes(found)["wild"]


def test_small_kinds_are_shown_and_not_judged() -> None:
    rows = collapsed()
    kinds = ["odd"] * 3 + ["open", "closed"] * 48 + ["open"]
    rows[:3] = np.linspace(3, 0, 8)
    found = ct.diagnose(rows, kinds=kinds)
    assert found.collapsed is True
    assert found["odd"].prompts == 3
    assert "odd (3 prompts)" in codes(found)["small kinds"]


# -- real logs: what isn't noise around one vector, and isn't levels either --------------------


def outcome(rewards, **options) -> str | None:
    return ct.diagnose(rewards, utility=(), **options).outcome


@pytest.mark.parametrize("ratio", [1, 3, 10, 30])
def test_normal_levels_are_laws_of_their_own_and_no_two_groups(ratio: float) -> None:
    rng = np.random.default_rng(0)
    rewards = ratio * rng.standard_normal((200, 1)) + rng.standard_normal((200, 8)) / 2.8
    found = ct.diagnose(rewards, utility=())
    assert (found.outcome, found.collapsed) == ("own laws", False)
    assert "two groups" not in found.reason
    # Without the levels they are draws of one law, and that is what counts outside a box.
    assert outcome(rewards, domain=ct.Free()) == "one law"


@pytest.mark.parametrize(
    "law", ["standard_normal", "random", "standard_exponential", "standard_cauchy"]
)
def test_draws_of_one_law_say_nothing_of_the_prompt(law: str) -> None:
    rewards = getattr(np.random.default_rng(5), law)(size=(300, 8))
    assert outcome(rewards) == "one law"


CONSTANT = {
    "noise of 1e-12": lambda rng: 0.2055 + 1e-12 * rng.standard_normal((60, 8)),
    "a step of float32": lambda rng: (0.2055 * (1 + 1e-7 * rng.integers(-1, 2, (60, 8)))).astype(
        np.float32
    ),
    "neighbours in bfloat16": lambda rng: 1.1328125 + 2.0**-7 * rng.integers(0, 2, (60, 8)),
    "a saturated sigmoid": lambda rng: 1 / (1 + np.exp(-20 - rng.standard_normal((60, 8)))),
    "one that differs": lambda rng: np.where(np.arange(480).reshape(60, 8) == 7, 1.0, 0.2),
    "prompts of zeros or ones": lambda rng: np.repeat(rng.integers(0, 2, (60, 1)), 8, axis=1),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_what_floats_cant_tell_apart_is_no_spread(name: str) -> None:
    found = ct.diagnose(CONSTANT[name](np.random.default_rng(0)), utility=())
    assert (found.outcome, found.collapsed) == ("no spread", None)
    assert "inside a prompt the model ranks nothing" in found.reason


@pytest.mark.parametrize("flat", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("domain", [ct.Box(), ct.Free()])
def test_prompts_without_a_spread_make_no_vector_of_the_others(flat: float, domain) -> None:
    """Answers that are all right or all wrong, and some prompts between: as math problems are."""
    rng = np.random.default_rng(1)
    right = np.where(
        rng.random((200, 1)) < flat, rng.integers(0, 2, (200, 1)), np.full((200, 8), 2)
    )
    rewards = np.where(right < 2, right, rng.integers(0, 2, (200, 8)))
    found = ct.diagnose(rewards, utility=(), domain=domain)
    assert found.outcome in ("own laws", None)
    assert found.spread.flat.low < flat < found.spread.flat.high


def test_few_ties_have_a_narrow_interval() -> None:
    rewards = np.random.default_rng(0).random((350, 2))
    rewards[:3, 1] = rewards[:3, 0]
    tied = ct.diagnose(rewards, utility=()).spread.tied
    assert tied.low < 3 / 350 < tied.high < 0.03


def test_grades_and_small_rewards_have_a_spread() -> None:
    rng = np.random.default_rng(0)
    assert outcome(rng.integers(1, 6, (200, 8)).astype(float)) == "one law"
    assert outcome(0.2055 + 1e-6 * rng.standard_normal((200, 8))) == "one law"
    assert outcome(rng.integers(1400, 1500, (200, 8)).astype(float)) == "one law"


@pytest.mark.parametrize("offset", [0.0, 0.6, 2.0, 10.0])
def test_a_pairwise_loss_without_a_box_never_sees_levels(offset: float) -> None:
    rng = np.random.default_rng(0)
    domain = ct.Confined(0.02)
    rewards = ct.solve("logsigmoid(x)", 8, domain).rewards + offset * rng.standard_normal((100, 1))
    rewards = rewards + 0.05 * rng.standard_normal((100, 8))
    found = ct.diagnose(rewards, utility="logsigmoid(x)", domain=domain)
    assert (found.outcome, found.view) == ("collapsed", "centred")
    assert found.index > 0.99
    assert found.kinds[0].predictions[0].error < 0.02
    as_they_are = ct.diagnose(rewards, utility=())
    assert as_they_are.outcome == ("own laws" if offset else "collapsed")
    if offset:
        assert "A pairwise loss without a box never sees the level" in as_they_are.advice
    assert found.shares.level.value == pytest.approx(
        offset**2 / (offset**2 + np.var(rewards - rewards.mean(axis=1, keepdims=True))), abs=0.12
    )


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("way", ["mean 0 and s.d. 1", "ends 0 and 1"])
@pytest.mark.parametrize("name", ["collapsed", "logits"])
def test_normalised_rewards_are_told(n: int, way: str, name: str) -> None:
    rng = np.random.default_rng(0)
    rows = collapsed("log(x)", n=n) if name == "collapsed" else different("logits", rng, n=n)
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    normal = (rows - low) / (high - low)
    if way == "mean 0 and s.d. 1":
        normal = rows - rows.mean(axis=1, keepdims=True)
        normal /= normal.std(axis=1, keepdims=True) + 1e-4
    found = ct.diagnose(normal, utility=())
    assert found.outcome is None
    assert way in codes(found)["normalised"]


def test_more_that_was_taken_off_is_told() -> None:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((200, 8))
    ranks = ct.diagnose(np.argsort(draws, axis=1).astype(float), utility=())
    assert (ranks.outcome, "(ranks)" in codes(ranks)["normalised"]) == (None, True)
    low, high = draws.min(axis=1, keepdims=True), draws.max(axis=1, keepdims=True)
    ends = ct.diagnose(2 * (draws - low) / (high - low) - 1, utility=())
    assert (ends.outcome, "ends -1 and 1" in codes(ends)["normalised"]) == (None, True)
    decimals = (draws - draws.mean(axis=1, keepdims=True)) / draws.std(axis=1, keepdims=True)
    found = ct.diagnose(decimals.round(2), utility=())
    assert (found.outcome, "s.d. 1" in codes(found)["normalised"]) == (None, True)
    chances = np.exp(draws) / np.exp(draws).sum(axis=1, keepdims=True)
    found = ct.diagnose(chances, utility=())
    assert (found.outcome, "the sum 1" in codes(found)["normalised"]) == (None, True)
    one_right = np.eye(4)[rng.integers(0, 4, 200)]  # no softmax
    assert "sum 1" not in codes(ct.diagnose(one_right, utility=())).get("normalised", "")
    two = np.array([0.999, 0.001]) + 1e-4 * rng.standard_normal((200, 2))
    assert outcome(two) == "collapsed"
    lengths = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    assert "root mean square" in codes(ct.diagnose(lengths, utility=()))["normalised"]
    below = draws + rng.standard_normal((200, 1))
    below = ct.diagnose(below - below.max(axis=1, keepdims=True), utility=())
    assert (below.outcome, below.view) == ("one law", "centred")
    level = ct.diagnose(draws - draws.mean(axis=1, keepdims=True), utility=())
    assert (level.outcome, level.view) == ("one law", "centred")
    assert "same mean reward" in codes(level)["normalised"]


def test_error_codes_dont_make_one_law_of_one_vector() -> None:
    rng = np.random.default_rng(0)
    rewards = collapsed(P=200, noise=0.02)
    assert outcome(np.where(rng.random((200, 8)) < 0.05, -100.0, rewards)) == "collapsed"
    assert outcome(np.where(rng.random((200, 8)) < 0.15, -100.0, rewards)) is None


@pytest.mark.parametrize("share", [0.02, 0.05])
@pytest.mark.parametrize("P", [200, 2000])
def test_wild_rewards_dont_decide(share: float, P: int) -> None:
    rng = np.random.default_rng(0)
    rewards = collapsed(P=P, noise=0.02)
    rewards += (rng.random(rewards.shape) < share) * 3 * rng.standard_normal(rewards.shape)
    found = ct.diagnose(rewards, utility=())
    assert found.outcome == "collapsed"
    assert "wild" in codes(found)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_missing_completions_are_allowed_for(share: float) -> None:
    rng = np.random.default_rng(1)
    rewards = collapsed(P=300, noise=0.02)
    keep = rng.random(rewards.shape) > share
    rows = {
        "rewards": rewards[keep],
        "prompts": np.repeat(np.arange(300), 8)[keep.ravel()],
    }
    ranks = np.tile(np.arange(8), 300)[keep.ravel()]
    assert outcome(np.where(keep, rewards, np.nan)) == "collapsed"
    assert outcome(**rows, ranks=ranks) == "collapsed"
    assert "missing" in codes(ct.diagnose(**rows, utility=()))
    # What isn't one vector doesn't become one by what is missing.
    law = rng.standard_normal((300, 8))
    assert outcome(np.where(keep, law, np.nan)) == "one law"
    assert outcome(np.where(keep, law + rng.standard_normal((300, 1)), np.nan)) == "own laws"


def test_the_loss_is_known_though_completions_are_missing() -> None:
    for seed, text in enumerate(TEXTS[:3]):
        rng = np.random.default_rng(seed)
        keep = rng.random((200, 8)) > 0.3
        rows = np.where(keep, collapsed(text, P=200, seed=seed), np.nan)
        found = ct.diagnose(rows, utility=TEXTS[:3])
        near = found.kinds[0].predictions[0]
        assert (found.outcome, near.utility) == ("collapsed", str(ct.utility(text)))
        assert near.error < 0.02


@pytest.mark.parametrize("seed", range(6))
def test_what_missing_completions_explain_is_at_most_all(seed: int) -> None:
    rewards = collapsed(P=300, noise=0.02, seed=seed)
    keep = np.random.default_rng(seed).random(rewards.shape) > 0.3
    found = ct.diagnose(np.where(keep, rewards, np.nan), utility=())
    assert "j over prompts" not in found.reason  # no root of a negative number
    assert all(view.within >= 0 and view.ratio.value >= view.ratio.low for view in found.views)


def test_half_of_the_completions_may_be_missing() -> None:
    """Hardly a prompt has all eight; draws stay draws, and no vector is made of them."""
    rng, outcomes = np.random.default_rng(0), []
    for seed in range(3):
        for table in (collapsed(P=400, noise=0.01, seed=seed), rng.standard_normal((400, 8))):
            keep = rng.random(table.shape) < 0.5
            prompts = np.repeat(np.arange(400), 8)[keep.ravel()]
            outcomes.append(ct.diagnose(table[keep], prompts, utility=()).outcome)
    assert outcomes[::2].count("collapsed") >= 2
    assert set(outcomes[::2]) <= {"collapsed", None}
    assert outcomes[1::2] == ["one law"] * 3


def test_ordinary_tails_are_not_wild() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for table in (rng.random((50, 5)), rng.integers(1, 6, (50, 4))):
            notes = ct.diagnose(table, utility=()).notes
            assert "wild" not in [note.code for note in notes]


def test_missing_completions_are_no_levels() -> None:
    # What is left of one vector has another mean in each prompt; levels of their own stay levels.
    rng = np.random.default_rng(11)
    found = []
    for level in (0.0, 1.0):
        for _ in range(8):
            table = collapsed(P=50, n=4, noise=0.03) + level * rng.standard_normal((50, 1))
            keep = rng.random((50, 4)) >= 0.2
            prompts = np.repeat(np.arange(50), 4)[keep.ravel()]
            found.append(ct.diagnose(table.ravel()[keep.ravel()], prompts, utility=()).outcome)
    assert "collapsed" in found[:8]
    assert set(found[:8]) <= {"collapsed", None}
    assert found[8:] == ["own laws"] * 8


@pytest.mark.parametrize("sizes", [(2, 8), (4, 8), (8, 9), (16, 17)])
@pytest.mark.parametrize("text", ["x", "log(x + 0.1)"])
def test_kinds_of_other_sizes_cant_be_compared(sizes: tuple[int, int], text: str) -> None:
    rng = np.random.default_rng(0)
    each = [sizes[p % 2] for p in range(100)]
    rewards = np.concatenate([optimum(text, n) + 0.02 * rng.standard_normal(n) for n in each])
    prompts = np.repeat(np.arange(100), each)
    found = ct.diagnose(rewards, prompts, prompts % 2, utility=())
    assert (found.outcome, found.between_kinds) == (None, None)
    assert "kinds can't be compared" in found.reason


def test_ends_are_ends_and_not_what_lies_beyond() -> None:
    rng = np.random.default_rng(0)
    rewards = np.concatenate([rng.normal(0, 1, (300, 4)), rng.normal(6, 1, (60, 4))])
    found = ct.diagnose(rewards, kinds=["chat"] * 300 + ["code"] * 60, utility=())
    assert found["code"].at_high == 0
    assert "saturated" not in codes(found)


@pytest.mark.parametrize(("sign", "told"), [(1, None), (-1, "flipped"), (0, "chance")])
def test_the_sign_is_told(sign: int, told: str | None) -> None:
    rng = np.random.default_rng(0)
    rewards = sign * optimum("log(x + 0.1)") + 0.2 * rng.standard_normal((60, 8))
    found = ct.diagnose(rewards, ranks=np.tile(np.arange(8), (60, 1)), utility=())
    assert (told is None) == ("sign" not in codes(found))
    assert told is None or told in codes(found)["sign"]


def test_shares_of_the_variance_are_those_that_were_put_in() -> None:
    rng = np.random.default_rng(0)
    curve = optimum("log(x + 0.1)") - 0.5
    rows = curve * rng.normal(1, 0.3, (4000, 1)) + 0.2 * rng.standard_normal((4000, 1))
    shares = ct.diagnose(rows, utility=()).shares
    parts = np.array([curve.var(), 0.04, 0.09 * curve.var(), 0.0])
    found = [shares.rank, shares.level, shares.scale, shares.shape]
    np.testing.assert_allclose([m.value for m in found], parts / parts.sum(), atol=0.02)
    assert sum(m.value for m in found) == pytest.approx(1)


# -- different numbers of completions ----------------------------------------------------------


def ragged(text: str | None, seed: int = 0) -> RewardLog:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 17, 200)
    rows = [
        optimum(text, n) + 0.02 * rng.standard_normal(n) if text else rng.uniform(size=n)
        for n in sizes.tolist()
    ]
    return RewardLog(np.concatenate(rows), np.repeat(np.arange(200), sizes), read=sizes.sum())


@pytest.mark.parametrize("text", [*TEXTS, None])
def test_prompts_of_different_sizes(text: str | None) -> None:
    found = ct.diagnose(ragged(text), utility=TEXTS)
    assert found.collapsed is (text is not None)
    assert found.completions == (2, 16)
    if text is not None:
        assert found.kinds[0].predictions[0].utility == str(ct.utility(text))
        assert found.kinds[0].predictions[0].error < 0.02


def test_prompts_of_one_completion_are_left_out_and_counted() -> None:
    rewards = np.append(collapsed().ravel(), [7.0, 8.0])
    prompts = np.append(np.repeat(np.arange(100), 8), [100, 101])
    found = ct.diagnose(rewards, prompts)
    assert found.prompts == 100
    assert [note.text for note in found.notes] == [
        "2 prompts of one completion left out: it ranks nothing"
    ]
    with pytest.raises(ct.CollapseError, match="two completions"):
        ct.diagnose(rewards, np.arange(802))


@given(st.integers(2, 40), st.integers(2, 40))
@cases(40)
def test_level_matrices_keep_the_mean_order_and_range(size: int, levels: int) -> None:
    matrix = level_matrix(size, levels)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    falling = np.sort(np.random.default_rng(size).standard_normal(size))[::-1]
    assert (np.diff(matrix @ falling) <= 1e-12).all()
    if size >= levels:
        np.testing.assert_allclose((matrix @ falling).mean(), falling.mean())
    if size == levels:
        np.testing.assert_array_equal(matrix, np.eye(size))


# -- invariances -------------------------------------------------------------------------------


def same_but_for_the_scale(one: ct.Diagnosis, other: ct.Diagnosis) -> None:
    """Check what must stay under a change of scale; rounding is below 1e3 / 1e-3 * 2e-16."""
    assert one.collapsed is other.collapsed
    np.testing.assert_allclose(one.interval, other.interval, atol=1e-9)
    assert one.index == pytest.approx(other.index, abs=1e-9)
    nearest = [{p.utility: p for p in found.kinds[0].predictions} for found in (one, other)]
    assert nearest[0].keys() == nearest[1].keys()
    for text, near in nearest[0].items():
        assert near.error == pytest.approx(nearest[1][text].error, abs=1e-9)
        assert near.distance == pytest.approx(nearest[1][text].distance, abs=1e-9)


@given(
    low=st.floats(-1e3, 1e3),
    scale=st.floats(1e-3, 1e4),
    name=st.sampled_from(["collapsed", *DIFFERENT]),
)
@cases(25)
def test_affine_maps_change_the_map_alone(low: float, scale: float, name: str) -> None:
    rng = np.random.default_rng(6)
    rewards = collapsed(P=30) if name == "collapsed" else different(name, rng, P=30)
    before, after = ct.diagnose(rewards), ct.diagnose(low + scale * rewards)
    same_but_for_the_scale(before, after)
    assert after.scale.width == pytest.approx(scale * before.scale.width)
    np.testing.assert_allclose(
        after.kinds[0].quantiles, low + scale * before.kinds[0].quantiles, atol=1e-9 * scale + 1e-9
    )


@pytest.mark.parametrize("seed", range(4))
def test_names_and_the_order_of_rows_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log = ragged("log(x)", 3)
    kinds = np.where(log.prompts % 3 == 0, "a", "b")
    order = rng.permutation(log.rewards.size)
    names = np.array([f"name {i}" for i in rng.permutation(200)])
    before = ct.diagnose(log.rewards, log.prompts, kinds)
    again = ct.diagnose(log.rewards[order], names[log.prompts[order]], kinds[order])
    assert again.collapsed == before.collapsed
    assert again.index == pytest.approx(before.index, abs=1e-12)
    np.testing.assert_allclose(again.interval, before.interval, atol=1e-12)
    for one, other in zip(again.kinds, before.kinds, strict=True):
        assert one.predictions[0].utility == other.predictions[0].utility
        np.testing.assert_allclose(one.curve, other.curve, atol=1e-12)
        np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_tables_and_lists_are_the_same() -> None:
    rows, kinds = aware()
    listed = ct.diagnose(rows.ravel(), np.repeat(np.arange(100), 8), np.repeat(kinds, 8))
    assert listed == ct.diagnose(rows, kinds=kinds)


# -- the bootstrap -----------------------------------------------------------------------------


def test_the_interval_contains_the_index_of_the_population() -> None:
    rng = np.random.default_rng(8)

    def sample(P: int) -> np.ndarray:
        shifts = 0.08 * rng.standard_normal((P, 1))
        return optimum("log(x + 0.1)") + shifts + 0.05 * rng.standard_normal((P, 8))

    truth = ct.diagnose(sample(40_000), utility=()).index
    assert 0.3 < truth < 0.9
    inside = 0
    for i in range(60):
        low, high = ct.diagnose(sample(80), utility=(), rng=i).interval
        inside += low <= truth <= high
    # 95% nominal; chance alone goes below 50 of 60 once in 3000.
    assert inside >= 50


# -- distances ---------------------------------------------------------------------------------


def test_distances_are_those_of_the_laws() -> None:
    rewards = collapsed(noise=0.05)
    found = ct.diagnose(rewards, utility=["log(x + 0.1)", "x"], scale=(0, 1))
    ours = ct.diagnose(rewards, utility=[], scale=(0, 1))
    assert ours.kinds[0].predictions == ()
    for near in found.kinds[0].predictions:
        exact = optimum(near.utility)
        # SciPy's own, from the samples.
        assert near.distance == pytest.approx(stats.wasserstein_distance(rewards.ravel(), exact))
        steps = np.sort(np.concatenate([rewards.ravel(), exact, np.nextafter(exact, -1)]))
        ecdf = np.searchsorted(np.sort(rewards.ravel()), steps, side="right") / rewards.size
        theirs = np.searchsorted(np.sort(exact), steps, side="right") / 8
        assert near.kolmogorov == pytest.approx(np.abs(ecdf - theirs).max(), abs=1e-12)
        mean = -np.sort(-rewards, axis=1)
        assert near.error == pytest.approx(np.abs(mean.mean(axis=0) - exact).mean())


@pytest.mark.parametrize("text", TEXTS)
def test_the_loss_that_the_log_looks_like(text: str) -> None:
    found = ct.diagnose(collapsed(text, noise=0.02), utility=TEXTS)
    assert found.kinds[0].predictions[0].utility == str(ct.utility(text))


def test_logits_under_a_penalty() -> None:
    domain = ct.Confined(0.02)
    rewards = 3 + ct.solve("logsigmoid(x)", 8, domain).rewards
    found = ct.diagnose(np.tile(rewards, (20, 1)), utility="logsigmoid(x)", domain=domain)
    assert found.kinds[0].predictions[0].distance < 1e-9


def test_many_completions_are_compared_with_the_limit_law() -> None:
    rewards = np.tile(ct.limit("log(x)").quantiles(300), (12, 1))
    near = ct.diagnose(rewards, utility="log(x)").kinds[0].predictions[0]
    assert near.distance < 1e-3


# -- the rest of a summary ---------------------------------------------------------------------


def test_a_summary_is_that_of_the_rewards() -> None:
    rewards = np.round(np.random.default_rng(9).beta(0.3, 0.3, (40, 7)), 1)
    kind = ct.diagnose(rewards, utility=()).kinds[0]
    np.testing.assert_allclose(kind.quantiles, np.quantile(rewards, np.arange(21) / 20))
    places, counts = np.unique(rewards, return_counts=True)
    heavy = counts >= 0.02 * rewards.size
    np.testing.assert_allclose(kind.atoms, np.c_[places[heavy], counts[heavy] / rewards.size])
    np.testing.assert_array_equal(kind.counts.sum(), rewards.size)
    ordered = -np.sort(-rewards, axis=1)
    np.testing.assert_allclose(kind.curve, ordered.mean(axis=0))
    np.testing.assert_allclose(kind.low, np.quantile(ordered, 0.05, axis=0))
    assert kind.tied == pytest.approx((np.diff(ordered) == 0).mean())
    assert kind.law.mean() == pytest.approx(rewards.mean(), abs=0.02)


def test_saturated_rewards_are_told() -> None:
    rewards = np.random.default_rng(1).beta(0.02, 0.2, (30, 20))
    assert "hardly rank anything" in ct.diagnose(rewards).notes[-1]


@given(st.integers(2, 30), st.integers(0, 10_000))
@cases(30)
def test_pairs_right_is_the_share_counted_one_by_one(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(0, 4, n)
    rewards, ranks = rng.integers(0, 4, n) / 4, rng.integers(0, 5, n).astype(float)
    scores = [
        float(rewards[i] > rewards[j]) + 0.5 * (rewards[i] == rewards[j])
        for i in range(n)
        for j in range(n)
        if prompts[i] == prompts[j] and ranks[i] < ranks[j]
    ]
    expected = np.mean(scores) if scores else np.nan
    share = pairs_right(RewardLog(rewards, prompts, ranks=ranks))
    assert (share is None) == np.isnan(expected)
    if share is not None:
        np.testing.assert_allclose(share.value, expected)
        assert 0 <= share.low <= share.value <= share.high <= 1


def test_two_groups_of_one_group() -> None:
    rng = np.random.default_rng(0)
    # The best split of a Gaussian explains 2/pi.
    found, second = two_groups(rng.standard_normal((20_000, 1)) * np.ones(4))
    assert found.explained == pytest.approx(2 / np.pi, abs=0.01)
    # The halves of a normal law: means 2 sqrt(2/pi) apart, variances 1 - 2/pi.
    assert found.apart == pytest.approx(2 * (2 / np.pi / (1 - 2 / np.pi)) ** 0.5, abs=0.1)
    assert found.smaller == min(second.sum(), (~second).sum())
    assert two_groups(np.ones((5, 3))) is None


@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_a_few_prompts_of_another_loss_are_no_collapse(n: int, share: float) -> None:
    found = []
    for seed, P in ((0, 200), (1, 200), (2, 20)):
        rng = np.random.default_rng(seed)
        other = np.arange(P) < share * P
        rows = np.where(other[:, None], optimum("x", n), optimum("-1/(x + 0.1)", n))
        found.append(ct.diagnose(rows + 0.03 * rng.standard_normal((P, n)), utility=()))
    assert [one.outcome for one in found[:2]] == ["own laws"] * 2
    assert f"two groups ({share:.0%} and" in found[0].reason
    assert found[2].outcome == {0.1: None, 0.3: "own laws"}.get(share, found[2].outcome)


@pytest.mark.parametrize(
    "way", ["s.d. 1", "s.d. 0.1", "the s.d. 1", "a log-softmax", "ends 0 and 1"]
)
def test_what_is_missing_hides_no_normalising(way: str) -> None:
    rng = np.random.default_rng(4)
    draws = rng.standard_normal((200, 8)) + rng.standard_normal((200, 1))
    rest = draws - draws.mean(axis=1, keepdims=True)
    low, high = draws.min(axis=1, keepdims=True), draws.max(axis=1, keepdims=True)
    unit = rest / rest.std(axis=1, keepdims=True)
    table = {
        "s.d. 1": unit,
        "s.d. 0.1": unit / 10,
        "the s.d. 1": draws / draws.std(axis=1, keepdims=True),
        "a log-softmax": draws - np.log(np.exp(draws).sum(axis=1, keepdims=True)),
        "ends 0 and 1": (draws - low) / (high - low),
    }[way]
    for share in (0.0, 0.1, 0.3):
        found = ct.diagnose(np.where(rng.random(table.shape) < share, np.nan, table), utility=())
        assert (found.outcome, way in codes(found)["normalised"]) == (None, True)


def test_clipping_is_told() -> None:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((200, 8))
    rest = draws - draws.mean(axis=1, keepdims=True)
    unit = rest / rest.std(axis=1, keepdims=True)
    assert "s.d. 1" in codes(ct.diagnose(unit.clip(-2, 2), utility=()))["normalised"]
    clipped = ct.diagnose(unit[:, :7].clip(-1, 1), utility=())
    assert clipped.outcome is None
    assert "where they were clipped" in clipped.reason
    # One vector is no less one for an offset of each prompt, exact as it is.
    offsets = ct.diagnose(optimum("log(x)") + rng.standard_normal((200, 1)), utility=())
    assert (offsets.outcome, "normalised" in codes(offsets)) == ("own laws", False)


# -- steps, splits, two logs ---------------------------------------------------------------------


def run_log() -> dict[str, list]:
    """Return a run of three steps in which training prompts collapse and held-out ones don't."""
    rng = np.random.default_rng(0)
    columns = {name: [] for name in ("step", "split", "prompt", "rank", "reward")}
    for step, noise in ((0, 0.6), (100, 0.2), (200, 0.02)):
        for prompt in range(80):
            split = ("train", "test")[prompt % 2]
            width = noise if split == "train" else 0.5
            rewards = optimum("log(x + 0.1)") + width * rng.standard_normal(8)
            columns["step"] += [step] * 8
            columns["split"] += [split] * 8
            columns["prompt"] += [f"p{prompt}"] * 8
            columns["rank"] += range(8)
            columns["reward"] += (rewards + 0.5 * width * rng.standard_normal()).tolist()
    return columns


def test_the_course_by_step_and_split() -> None:
    found = ct.diagnose(run_log(), utility=())
    assert (found.outcome, found.step, found.prompts) == ("collapsed", 200, 40)
    assert [(part.name, part.split) for part in found.steps[:3]] == [
        ("0", "test"),
        ("0", "train"),
        ("100", "test"),
    ]
    course = [part.ratio.value for part in found.steps if part.split == "train"]
    assert course == sorted(course, reverse=True)
    held_out, trained = found.splits
    assert trained.outcome == "collapsed"
    assert held_out.outcome != "collapsed"
    assert held_out.right.high < trained.right.low
    assert codes(found)["split"].startswith("test: ")
    again = ct.Diagnosis.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    last = ct.diagnose({name: values[-640:] for name, values in run_log().items()}, utility=())
    assert last.views == found.views
    assert found.steps[-1].ratio == found.views[0].ratio == found.splits[-1].ratio


def test_a_log_that_doesnt_tell_training_prompts_is_told_so() -> None:
    columns = {k: v for k, v in run_log().items() if k != "split"}
    assert "which prompts were trained on" in codes(ct.diagnose(columns, utility=()))["split"]
    assert "split" not in codes(ct.diagnose(collapsed(), utility=()))


def test_many_steps_make_windows() -> None:
    # As reinforcement learning logs: other prompts at every step, and few of them.
    rng = np.random.default_rng(0)
    log = RewardLog(
        rng.standard_normal(6400),
        np.tile(np.repeat(np.arange(4), 8), 200),
        step=199,
        steps=np.repeat(np.arange(200), 32),
    )
    found = ct.diagnose(log, utility=())
    assert found.prompts == 4
    assert len(found.steps) == 12
    assert sum(part.prompts for part in found.steps) == 800
    assert (found.steps[0].name, found.steps[-1].step) == ("0 to 15", 199)


def test_two_logs_beside_each_other(tmp_path: Path) -> None:
    for name, noise in (("before", 0.3), ("after", 0.03)):
        rows = collapsed(noise=noise).ravel()
        text = "".join(f"p{i // 8},{reward}\n" for i, reward in enumerate(rows))
        (tmp_path / f"{name}.csv").write_text(f"prompt,reward\n{text}")
    files = str(tmp_path / "after.csv"), "--against", str(tmp_path / "before.csv")
    assert "W/R fell from" in " ".join(run(*files).stdout.split())
    found = json.loads(run(*files, "--json").stdout)["against"]
    assert found["changes"]["W/R"]["sure"] is True
    assert found["changes"]["no spread"]["sure"] is False
    before, after = (change["value"] for change in list(found["changes"]["W/R"].values())[:2])
    assert before > 5 * after


def test_the_course_is_drawn(tmp_path: Path) -> None:
    found = ct.diagnose(run_log(), utility=())
    axes = ct.figures.diagnosis(found)
    assert axes.shape == (2, 2)
    assert [line.get_text() for line in axes[1, 0].get_legend().get_texts()] == ["test", "train"]


@pytest.mark.parametrize("shape", [(100_000, 8), (1000, 800), (12, 60_000)])
def test_large_logs_take_seconds_and_little_memory(shape: tuple[int, int]) -> None:
    # About a million rows; the time is that of a slow processor with other work.
    rewards = np.random.default_rng(0).standard_normal(shape)
    start = time.process_time()
    found = ct.diagnose(rewards, utility=())
    assert time.process_time() - start < 15
    assert found.collapsed is not True


# -- values and refusals -----------------------------------------------------------------------


def test_a_diagnosis_is_a_value() -> None:
    rows, kinds = aware()
    found = ct.diagnose(rows, kinds=kinds, ranks=np.tile(np.arange(8), (100, 1)))
    again = ct.Diagnosis.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found == pickle.loads(pickle.dumps(found))
    assert hash(again) == hash(found)
    assert found.pairs_right > 0.8
    assert repr(found).startswith("Diagnosis(own laws: index")
    assert not found["open"].curve.flags.writeable
    with pytest.raises(KeyError, match="closed, open"):
        found["neither"]
    assert ct.diagnose(rows, rng=1) == ct.diagnose(rows, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "shape"),
        ((np.zeros((0, 3)),), {}, "no rewards"),
        ((np.zeros((2, 2, 2)),), {}, "shape"),
        (([0.5, 1.0],), {}, "give prompts"),
        (([0.5, np.nan], [0, 0]), {}, "1 rewards aren't finite, the first at 1"),
        ((["a", "b"], [0, 0]), {}, "rewards must be numbers"),
        (([0.5, 1.0], [0]), {}, "prompts must be a list of 2"),
        (([0.5, 1.0], [0.0, np.nan]), {}, "prompts has no value at 1"),
        (([0.5, 1.0], [0, 0], ["a", "b"]), {}, "row 0 is 'a', another row of its prompt 'b'"),
        (([0.5, 1.0], [0, 0]), {"ranks": [0, 0.5]}, "whole numbers"),
        (([0.5, 1.0], [0, 0]), {"ranks": [0]}, "shape"),
        (([0.5, 1.0], [0, 0]), {"scale": (1, 1)}, "low < high"),
        (([0.5, 1.0], [0, 0]), {"utility": "x**2"}, "concave"),
        (([0.5, -1e300], [0, 0]), {}, r"-1e\+300 \(number 1, from 0\) is too large"),
        (([0.0, 1e-200], [0, 0]), {}, "too close to be squared"),
        ((RewardLog([0.5, 1.0], [0, 0]), [0, 0]), {}, "give it alone"),
    ],
)
def test_refusals(arguments, options, message) -> None:
    with pytest.raises(ct.CollapseError, match=message):
        ct.diagnose(*arguments, **options)


def test_a_map_is_written_as_people_do() -> None:
    assert str(RewardMap(0, 2)) == "reward / 2"
    assert str(RewardMap(1, 3)) == "(reward - 1) / 2"
    found = ct.diagnose(collapsed(noise=0), scale=(-1, 3))
    assert str(found.scale) == "(reward + 1) / 4"


# -- the command -------------------------------------------------------------------------------


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["diagnose", *args])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows, kinds = aware()
    path = tmp_path / "log.jsonl"
    lines = [
        json.dumps({"prompt": f"p{i}", "kind": kinds[i], "rank": k, "reward": r, "step": 100})
        for i, row in enumerate(rows.tolist())
        for k, r in enumerate(row)
    ]
    path.write_text("\n".join([*lines, "{broken"]))
    return path


KEYS = {"collapsed", "reason", "index", "interval", "kinds", "between_kinds", "rows"}


def test_json(file: Path) -> None:
    result = run(str(file), "--json", "--utility", "x", "--utility", "-1/(x+0.1)")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) >= KEYS
    assert found["collapsed"] is False
    assert found["rows"] == {"read": 801, "used": 800, "bad": 1}
    assert found["bad"] == [{"reason": "no JSON object on the line", "count": 1, "lines": [801]}]
    assert set(found["kinds"]) == {"open", "closed"}
    closed = found["kinds"]["closed"]["distances"]
    assert set(closed) == {"x", "-1/(x + 0.1)"}
    assert closed["x"] < 0.1 < closed["-1/(x + 0.1)"]
    assert found["kinds"]["open"]["errors"]["-1/(x + 0.1)"] < 0.03
    assert found["kinds"]["open"]["quantiles"]["0.50"] == pytest.approx(0.5, abs=0.1)
    assert found["step"] == 100
    assert found["scale"]["map"].startswith("(reward ")


@pytest.mark.parametrize(
    ("options", "collapsed"), [(["--where", "kind=open"], True), (["--no-kinds"], False)]
)
def test_options(file: Path, options: list[str], collapsed: bool) -> None:
    result = run(str(file), "--json", *options)
    assert json.loads(result.stdout)["collapsed"] is collapsed


def test_what_people_see(file: Path, tmp_path: Path) -> None:
    plot = tmp_path / "page.png"
    result = run(str(file), "--plot", str(plot))
    assert result.exit_code == 0, result.stderr
    parts = (
        "LAWS OF THEIR OWN",
        "each with its own fixed law",
        "1 with no JSON object",
        "(line 801)",
    )
    for part in (*parts, "as they are*", "scale (reward", "pairs right", "*0.0"):
        assert part in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_null_is_said_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("prompt,reward\na,1\na,0\n")
    result = run(str(tmp_path / "few.csv"), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["collapsed"] is None
    (tmp_path / "flat.csv").write_text("prompt,reward\na,1\na,1\n")
    assert "NO SPREAD. 1 of 1 prompts have equal rewards" in run(str(tmp_path / "flat.csv")).stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--utility", "x**2"],
        ["--utility", "__import__('os').system('touch owned')"],
        ["--reward-column", "rewrd"],
        ["--where", "kind"],
        ["--step", "7"],
        ["--low", "0"],
        ["--no-kinds", "--kind-column", "kind"],
        ["--format", "xml"],
        ["--plot", "page.bmp"],
        ["--seed", "-1"],
    ],
)
def test_refusals_are_one_line(file: Path, options: list[str], monkeypatch) -> None:
    monkeypatch.chdir(file.parent)
    result = run(str(file), *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert [p.name for p in file.parent.iterdir()] == ["log.jsonl"]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none.csv"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "No such file" in result.stderr


def test_a_large_log_takes_little_memory(tmp_path: Path) -> None:
    # Prompts of a kilobyte: the file's texts are 200 MB, the numbers 8 MB. Some 230 MB are used,
    # most of it by Polars and its buffers, a few for each of its threads.
    import polars as pl

    if sys.platform != "linux":
        pytest.skip("the largest resident memory is told by /proc")
    rewards = collapsed(P=25_000)
    prompts = np.repeat(np.arange(25_000), 8)
    frame = pl.DataFrame({"prompt": prompts, "reward": rewards.ravel()})
    text = pl.concat_str([pl.col("prompt").cast(pl.String).str.pad_start(10, "0")] * 100)
    path = tmp_path / "log.parquet"
    frame.lazy().with_columns(text.alias("prompt")).sink_parquet(path)
    # Not ru_maxrss, which a new process takes over from the one that starts it; and not what the
    # libraries take that a diagnosis of any size loads.
    code = r"""
import re, sys
import numpy as np
from collapse_theory.diagnosis import diagnose, read_log
diagnose(np.random.default_rng(0).random((20, 8)))
peak = lambda: int(re.search(r"VmHWM:\s*(\d+) kB", open("/proc/self/status").read())[1]) / 2**10
start = peak()
found = diagnose(read_log(sys.argv[1]))
print(found.collapsed, found.rows, peak() - start)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "POLARS_MAX_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    verdict, rows, megabytes = done.stdout.split()
    assert (verdict, rows) == ("True", "200000")
    assert float(megabytes) < 300
