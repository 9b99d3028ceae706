"""The memory law: recovered from synthetic anchors, its interval over seeds, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import collapse_theory as ct
from collapse_theory.capacity.prox import Ranked, proximal
from collapse_theory.data import RewardLog
from collapse_theory.utilities import continued

PROMPT, PLACE = np.ogrid[1:51, 1:6]
XI = np.sin(PROMPT * PLACE)


def learned(text: str, xi: np.ndarray, gamma: float) -> np.ndarray:
    return proximal(Ranked(continued(ct.utility(text)), xi.shape[1]), xi, gamma)


def test_numbers_of_sines():
    ranked, trained = Ranked(continued(ct.LogSigmoid()), 5), learned("logsigmoid(x)", XI, 2.0)
    assert ranked.value(XI).mean() == pytest.approx(-0.804014040258, abs=1e-12)
    assert ranked.value(trained).mean() == pytest.approx(-0.619548711523, abs=1e-12)
    found = ct.memory(trained, XI, "logsigmoid(x)", paired=True)
    assert found.gamma == pytest.approx(2, abs=1e-12)
    assert found.trained_utility == pytest.approx(-0.619548711523, abs=1e-12)
    assert found.held_out_utility == pytest.approx(-0.804014040258, abs=1e-12)
    assert found.predicted.explained == pytest.approx(found.trained.explained, abs=1e-12)
    assert found.rewards(XI) == pytest.approx(trained, abs=1e-12)


@pytest.mark.parametrize("gamma", [1e-3, 0.7, 50.0, 1e4])
@pytest.mark.parametrize(
    "text", ["logsigmoid(x)", "log(x + 0.1)", "-1/(x + 0.1)", "1 - exp(-x)", "x", "x - 0.1*x**2"]
)
def test_the_memory_of_synthetic_anchors_is_recovered(text, gamma):
    """To 1e-9; where all prompts are resampled together the interval is that number too."""
    found = ct.memory(learned(text, XI, gamma), XI, text, paired=True)
    assert found.gamma == pytest.approx(gamma, rel=1e-9)
    assert found.interval == pytest.approx((gamma, gamma), rel=1e-9)


def test_prompts_of_several_sizes_as_rows_or_with_nan():
    rows = [np.sin(np.arange(1, 3 + p % 3) * (p + 1.0)) for p in range(60)]
    trained = [learned("logsigmoid(x)", row[None], 3.0)[0] for row in rows]
    found = ct.memory(trained, rows, "logsigmoid(x)", paired=True)
    assert found.gamma == pytest.approx(3, rel=1e-12)
    table = np.full((60, 4), np.nan)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    assert ct.memory(trained, table, "logsigmoid(x)", paired=True) == found


def test_scale_and_shift_of_utility_and_rewards():
    """U -> cU + d divides gamma by c; a prompt's own shift changes nothing."""
    rng = np.random.default_rng(1)
    trained = learned("logsigmoid(x)", XI, 2.0)
    plain = ct.memory(trained, XI, "logsigmoid(x)")
    scaled = ct.memory(trained, XI, "4*logsigmoid(x) + 3")
    moved = ct.memory(trained + rng.normal(size=(50, 1)), XI + 5, "logsigmoid(x)")
    assert scaled.gamma == pytest.approx(plain.gamma / 4, rel=1e-12)
    assert moved.gamma == pytest.approx(plain.gamma, rel=1e-12)
    assert scaled.interval == pytest.approx(np.array(plain.interval) / 4, rel=1e-4)
    assert moved.predicted.explained == pytest.approx(plain.predicted.explained, rel=1e-12)


def test_the_interval_holds_the_memory_in_most_seeds():
    """Other prompts on either side: 95% of intervals; 19 or more of 24 are 99.9% of draws."""
    h, hits = np.array([0.7, 0.23, -0.23, -0.7]), 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        xi = h + rng.normal(size=(80, 4))
        trained = learned("logsigmoid(x)", xi[:40], 5.0)
        low, high = ct.memory(trained, xi[40:], "logsigmoid(x)", rng=seed).interval
        hits += low <= 5.0 <= high
    assert hits >= 19


def test_nothing_learned_and_nothing_held():
    none = ct.memory(XI[:, ::-1] * 0.9, XI * 0.1, "logsigmoid(x)")
    assert none.gamma == none.interval[0] == 0
    assert none.predicted == none.held_out
    fixed = ct.memory(XI * 0 + 90.0 * PLACE[:, ::-1], XI, "logsigmoid(x)")
    assert fixed.gamma == np.inf
    assert fixed.trained.explained == pytest.approx(1)
    assert np.isnan(fixed.predicted.explained)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": XI[:19]}, "19 prompts"),
        ({"held_out": XI[:, :1]}, "2 completions"),
        ({"held_out": np.where(XI > 0.99, np.inf, XI)}, "row"),
        ({"train": 0.5 + XI / 2, "held_out": 0.5 + XI / 4}, "sigmoid"),
        ({"domain": ct.Box()}, "box"),
        ({"domain": ct.Confined(0.1)}, "Confined"),
        ({"utility": ct.PlackettLuce()}, "logsigmoid"),
        ({"utility": "min(x, 0.5)"}, "kinks"),
        ({"utility": "log(x)"}, "shifted"),
        ({"utility": "sin(x)"}, "concave"),
        ({"train": XI[:30], "paired": True}, "one prompt"),
        ({"train": [[1.0, 0.0]] * 30, "held_out": XI}, "as many"),
        ({"resamples": 5}, "resamples"),
    ],
)
def test_what_is_refused_says_why(change, words):
    given = {"train": XI + 1, "held_out": XI, "utility": "logsigmoid(x)"} | change
    with pytest.raises(ct.CollapseError, match=words):
        ct.memory(**given)


def test_worst_first_is_told():
    with pytest.warns(UserWarning, match="best first"):
        ct.memory(np.sort(XI), XI, "logsigmoid(x)")


# -- of a log ------------------------------------------------------------------------------


def test_a_log_with_splits_tells_the_memory():
    """Rows in any order; a prompt with ties is left out."""
    rng = np.random.default_rng(3)
    xi = np.linspace(0.7, -0.7, 4) + rng.normal(size=(80, 4))
    rewards = np.concatenate([learned("logsigmoid(x)", xi[:40], 5.0), xi[40:]])
    ranks = np.tile(np.arange(4.0), (80, 1))
    ranks[0] = 0
    order = rng.permutation(320)
    split = np.repeat([0, 1], 160)[order]
    prompts = np.repeat(np.arange(80), 4)[order]
    log = RewardLog(
        rewards.ravel()[order],
        prompts,
        ranks=ranks.ravel()[order],
        splits=split,
        split_names=("train", "test"),
    )
    found = ct.diagnose(log, utility="logsigmoid(x)", domain=ct.Free())
    assert found.memory == ct.memory(rewards[1:40], xi[40:], "logsigmoid(x)")
    assert any(note.code == "memory" and found.memory.text in note.text for note in found.notes)
    assert ct.diagnose(log, utility="logsigmoid(x)").memory is None  # a box
    assert ct.diagnose(log, utility=(), domain=ct.Free()).memory is None  # which one isn't known
    short = log.only(np.isin(prompts, [*range(10), *range(40, 80)]))
    few = ct.diagnose(short, utility="logsigmoid(x)", domain=ct.Free())
    assert few.memory is None
    assert any("9 prompts" in note.text for note in few.notes if note.code == "memory")
