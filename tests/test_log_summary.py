"""Summaries of shards: added in any order they are that of the whole log."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import add
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collapse_theory as ct
from collapse_theory.data import LogSummary
from tests.problems import cases


def log(prompts: int, size: int = 4, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(prompts), size)
    return pl.DataFrame(
        {
            "prompt": [f"prompt {i}" for i in names],
            "reward": rng.random(names.size).round(3),
            "kind": np.where(names % 3, "open", "closed"),
            "rank": np.tile(np.arange(size), prompts),
            "split": np.where(names % 4, "train", "test"),
        }
    )


@st.composite
def shards(draw) -> list[pl.DataFrame]:
    """Return a log in shards that split prompts; some rows are bad."""
    frame = log(draw(st.integers(2, 40)), draw(st.integers(1, 5)), draw(st.integers(0, 9)))
    bad = draw(st.sets(st.integers(0, frame.height - 1), max_size=3))
    where = pl.int_range(pl.len()).is_in(list(bad))
    frame = frame.with_columns(pl.when(~where).then(pl.col("reward")))
    parts = draw(st.integers(1, 4))
    of = np.array(
        draw(st.lists(st.integers(0, parts - 1), min_size=frame.height, max_size=frame.height))
    )
    return [part for k in range(parts) if (part := frame.filter(of == k)).height]


@given(shards(), st.integers(1, 50), st.integers(1, 200), st.randoms())
@cases(40)
def test_shards_in_any_order_are_the_whole(parts, most_prompts, most_rows, random) -> None:
    limits = {"most_prompts": most_prompts, "most_rows": most_rows}
    whole = LogSummary.of(pl.concat(parts), **limits)
    several = [LogSummary.of(part, **limits) for part in parts]
    random.shuffle(several)
    added = several[0]
    for one in several[1:]:
        added = random.choice([added + one, one + added])
    assert added == whole
    assert added.kept <= most_prompts
    assert added.keys.size <= most_rows or added.kept == 1
    assert LogSummary.from_dict(json.loads(json.dumps(added.to_dict()))) == whole
    assert pickle.loads(pickle.dumps(added)) == whole


def test_a_whole_summary_is_the_log() -> None:
    frame = log(200)
    summary = LogSummary.of(frame[:301]) + LogSummary.of(frame[301:])
    assert (summary.rows, summary.prompts, summary.kept) == (800, 200, 200)
    found, expected = ct.diagnose(summary), ct.diagnose(frame)
    assert (found.outcome, found.index) == (expected.outcome, expected.index)
    assert found.notes == expected.notes
    same = summary.as_reward_log()
    assert same.read == same.rewards.size
    assert same.columns == ct.read_log(frame).columns


def test_a_sample_has_whole_prompts_and_says_so() -> None:
    frame = log(3000, seed=4)
    summary = LogSummary.of(frame, most_prompts=300)
    drawn = summary.as_reward_log()
    assert (drawn.count, drawn.rewards.size, drawn.read) == (300, 1200, 12_000)
    assert str(drawn.left_out[0]) == "10,800 with a prompt that wasn't drawn"
    # The estimate's standard error is 3000 / sqrt(300), some 6%.
    assert 0.75 * 3000 < summary.prompts < 1.25 * 3000
    assert "300 of some" in drawn.notes[-1]
    assert "300 of them kept" in repr(summary)
    rewards = set(zip(frame["prompt"].hash(0), frame["reward"], strict=True))
    assert set(zip(summary.keys.tolist(), summary.rewards.tolist(), strict=True)) <= rewards
    assert ct.diagnose(summary).outcome == ct.diagnose(frame).outcome == "one law"


def test_training_and_held_out_prompts_stay_apart() -> None:
    """A vector learned by heart for the prompts that were trained on, draws for the others."""
    rng, frame = np.random.default_rng(1), log(200)
    vector = np.tile(ct.solve("log(x + 0.1)", 4).rewards, 200) + 0.01 * rng.standard_normal(800)
    reward = pl.when(pl.col("split") == "train").then(vector).otherwise(rng.random(800))
    frame = frame.with_columns(reward=reward)
    summary = LogSummary.of(frame[::2]) + LogSummary.of(frame[1::2])
    found, expected = ct.diagnose(summary), ct.diagnose(frame)
    assert found == expected
    assert [part.name for part in found.splits] == ["test", "train"]
    assert found.outcome == "collapsed"
    assert summary.split_names == ("test", "train")
    only = LogSummary.of(frame.filter(split="test")) + LogSummary.of(frame.filter(split="train"))
    assert only == LogSummary.of(frame)


def test_the_latest_step_counts() -> None:
    frames = [log(20, seed=s).with_columns(step=pl.lit(s)) for s in (1, 2, 3)]
    whole = LogSummary.of(pl.concat(frames))
    assert (whole.step, whole.rows, whole.read) == (3, 80, 240)
    assert str(whole.left_out[0]) == "160 with another step than 3"
    one, two, three = map(LogSummary.of, frames)
    assert three + one + two == (one + two) + three == whole
    assert LogSummary.of(pl.concat(frames), at=2).step == 2


def test_what_cannot_be_added() -> None:
    frame = log(5)
    summary = LogSummary.of(frame)
    for other, what in (
        (LogSummary.of(frame.drop("kind")), "columns of kinds"),
        (LogSummary.of(frame.drop("split")), "columns of splits"),
        (LogSummary.of(frame, most_prompts=7), "limits"),
        (LogSummary.of(frame.with_columns(step=pl.lit(1))), "columns of steps"),
    ):
        with pytest.raises(ct.CollapseError, match=f"different {what}"):
            summary + other
    with pytest.raises(TypeError):
        summary + 1
    bad = LogSummary.of(frame.with_columns(reward=pl.lit(None)))
    with pytest.raises(ct.CollapseError, match="no good row; 20 with no number as reward"):
        ct.diagnose(bad)
    assert bad + summary == summary + bad


def test_files_are_summarised_in_other_processes(tmp_path: Path) -> None:
    frame = log(100)
    for k in range(4):
        frame[k::4].write_parquet(tmp_path / f"{k}.parquet")
    # Polars' threads don't survive a fork.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(LogSummary.of, sorted(tmp_path.glob("*.parquet"))))
    assert sum(parts[1:], parts[0]) == LogSummary.of(tmp_path) == LogSummary.of(frame)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask's own sockets and threads, as they are closed
def test_shards_are_summarised_by_dask(tmp_path: Path) -> None:
    bag, distributed = pytest.importorskip("dask.bag"), pytest.importorskip("distributed")
    frame = log(100)
    for k in range(6):
        frame[k::6].write_parquet(tmp_path / f"{k}.parquet")
    files = bag.from_sequence(sorted(map(str, tmp_path.glob("*.parquet"))), npartitions=4)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = files.map(LogSummary.of).fold(add).compute()
        workers = client.run(lambda: __import__("os").getpid())
    assert found == LogSummary.of(frame)
    assert len(set(workers.values()) - {os.getpid()}) == 2


def test_a_summary_is_remarked_as_its_log() -> None:
    """Numbers of processes in a column `rank`, commas, booleans, rows that are there twice."""
    rng = np.random.default_rng(3)
    rows = [
        {"prompt": f"p{i // 4}", "rank": i % 8, "reward": f"{x:.3f}".replace(".", ",")}
        for i, x in enumerate(rng.random(160))
    ]
    rows[5]["reward"] = "true"
    rows += [*rows[:60], {"prompt": "p1 ", "rank": 0, "reward": "1,034.5"}]
    log = ct.read_log(rows)
    summary = LogSummary.of(rows[::2]) + LogSummary.of(rows[1::2])
    assert log.ranks is None
    assert len(log.notes) == 6
    assert summary.as_reward_log().notes == log.notes
    assert summary.as_reward_log().columns == log.columns


def test_summaries_from_json_can_be_added() -> None:
    """Hashes have more digits than a float64."""
    frame = log(30)
    shards = [LogSummary.of(frame[::2]), LogSummary.of(frame[1::2])]
    read = LogSummary.from_dict(json.loads(json.dumps(shards[0].to_dict())))
    np.testing.assert_array_equal(read.keys, shards[0].keys)
    assert (read + shards[1]).prompts == 30
