"""Kinds of prompts found from scores: those that are there, none that aren't, and what follows."""

from __future__ import annotations

import numpy as np
import pytest

import collapse_theory as ct
from collapse_theory.data import RankingDataset
from collapse_theory.diagnosis import KindProposal, propose_kinds
from collapse_theory.errors import CollapseError


def of_two_kinds(seed):
    rng = np.random.default_rng(seed)
    closed = {f"closed {k}": rng.integers(2, size=6) + 0.02 * rng.normal(size=6) for k in range(40)}
    return closed | {f"open {k}": rng.uniform(size=6) for k in range(40)}


def test_two_kinds_are_found_with_a_utility_each():
    scores = of_two_kinds(0)
    scores |= {"flat": [1, 1, 1], "pair": [0, 1]}
    found = propose_kinds(scores)
    named = np.array(found.kinds[:80]).reshape(2, 40)
    assert (named[0] == "kind 1").mean() > 0.85
    assert (named[1] == "kind 2").mean() > 0.85
    split = found.splits[0]
    assert split.kept
    assert (sum(split.sizes), split.p) == (80, 0.005)
    assert split.explained > 0.7
    assert found.undecided == 2
    utilities = [str(found.recommendation[kind].utility) for kind in ("kind 1", "kind 2")]
    assert utilities[0] == "x"
    assert utilities[0] != utilities[1]
    assert KindProposal.from_dict(found.to_dict()) == found
    names = np.repeat(list(scores), [len(values) for values in scores.values()])
    flat = np.concatenate([np.asarray(values, float) for values in scores.values()])
    assert propose_kinds(flat, names) == found
    rows = [{"prompt": name, "completions": ["a", "b"]} for name in ("closed 1", "open 2")]
    data = RankingDataset.from_records(rows, kind=found)
    assert [ranking.kind for ranking in data] == [found({"prompt": r.prompt}) for r in data]


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.uniform(size=rng.integers(3, 9)),
        lambda rng: rng.integers(1, 6, size=6),  # grades
        lambda rng: 5 * rng.normal() + rng.exponential() * rng.normal(size=6),
    ],
)
def test_one_law_is_one_kind(draw):
    rng = np.random.default_rng(3)
    found = propose_kinds({f"{k}": draw(rng) for k in range(60)})
    assert set(found.kinds) == {"kind 1"}
    assert not any(split.kept for split in found.splits)
    assert "not made" in repr(found)


def test_what_is_refused():
    for scores, message in [({}, "no scores"), ({"a": [1, np.nan]}, "scores of the prompt 'a'")]:
        with pytest.raises(CollapseError, match=message):
            propose_kinds(scores)
    with pytest.raises(CollapseError, match="as many prompts as scores"):
        propose_kinds([1.0, 2.0], ["a"])
    with pytest.raises(CollapseError, match="most must be 1 or more"):
        propose_kinds({"a": [1, 2]}, most=0)
    few = propose_kinds({"a": [1.0, 2.0, 5.0]})
    assert (few.splits, few.kinds) == ((), ("kind 1",))
    assert ct.recommend({"a": [1.0, 2.0, 5.0]})["all prompts"] == few.recommendation["kind 1"]
