"""`collapse-theory head`: heads on features from a file, ranked by a file of rankings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_cli import refused, run
from test_heads import ranked

import collapse_theory as ct


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Features best first, the same in the order of a file of rankings with ties, and that file."""
    folder = tmp_path_factory.mktemp("heads")
    features = ranked(60, 4, 5)
    np.savez(folder / "best_first.npz", features=features)
    order = np.random.default_rng(1).permuted(np.tile(np.arange(4), (60, 1)), axis=1)
    np.save(folder / "rows.npy", np.take_along_axis(features, order[..., None], 1).reshape(-1, 5))
    np.savez(folder / "two.npz", first=features, second=features)
    with (folder / "rankings.jsonl").open("w") as lines:
        for prompt, ranks in enumerate(order.tolist()):
            row = {"prompt": str(prompt), "completions": [f"text {i}" for i in range(4)]}
            print(json.dumps(row | {"ranks": ranks}), file=lines)
    return folder


def test_the_numbers_are_those_of_a_path(files):
    features = np.load(files / "best_first.npz")["features"]
    path = ct.head_path(features)
    found = json.loads(run("head", str(files / "best_first.npz"), "--json").stdout)
    assert [one["penalty"] for one in found["path"]] == path.penalties.tolist()
    assert found["best"]["penalty"] == path.best.penalty
    assert found["best"]["weights"] == path.best.weights.tolist()
    assert np.array(found["best"]["held_out"]) == pytest.approx(path.best.held_out, abs=1e-12)
    assert found["notes"] == []
    assert (found["prompts"], found["reward_freedom"], found["features"]) == (60, 180, 5)
    ranks = run(
        "head", str(files / "rows.npy"), "--rankings", str(files / "rankings.jsonl"), "--json"
    )
    other = json.loads(ranks.stdout)
    assert other["best"]["weights"] == pytest.approx(found["best"]["weights"], abs=1e-10)


def test_a_table_and_a_plot(files):
    where = files / "path.png"
    shown = run("head", str(files / "best_first.npz"), "--plot", str(where))
    assert shown.exit_code == 0
    assert where.stat().st_size > 1000
    assert "60 prompts, 5 features" in shown.stdout
    assert "left-out prompts choose" in shown.stdout
    few = run("head", str(files / "two.npz"), "--array", "second", "--penalty", "1e-9")
    assert "choose" not in few.stdout
    end = run("head", str(files / "best_first.npz"), "--penalty", "1e-9", "--penalty", "1e-8")
    assert "at an end of those tried" in " ".join(end.stdout.split())


def test_what_is_refused(files, tmp_path):
    (tmp_path / "none.npz").write_text("no array")
    assert "no .npy or .npz file" in refused(run("head", str(tmp_path / "none.npz")))
    assert "--array" in refused(run("head", str(files / "two.npz")))
    assert "need comparisons" in refused(run("head", str(files / "rows.npy")))
    np.save(tmp_path / "short.npy", np.zeros((239, 5)))
    short = run("head", str(tmp_path / "short.npy"), "--rankings", str(files / "rankings.jsonl"))
    assert "with 240 completions in all" in refused(short)
    steep = run("head", str(files / "best_first.npz"), "--utility", "log(x)")
    assert "offset" in refused(steep)
