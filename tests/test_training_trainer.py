"""The losses inside transformers' Trainer: gradients, evaluation, the callback, two processes."""

from __future__ import annotations

import copy
import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import tiny  # noqa: E402
import two_processes  # noqa: E402
from torch.utils.data import Subset  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import collapse_theory as ct  # noqa: E402
from collapse_theory.data.reward_log import RewardLogWriter  # noqa: E402
from collapse_theory.errors import CollapseError  # noqa: E402
from collapse_theory.training import (  # noqa: E402
    CollapseCallback,
    PromptAwareRankingLoss,
    Ranking,
    RankingCollator,
    RankingDataset,
    RankingLoss,
    UtilitySchedule,
    keep_best,
    ranking_of,
    trainer_loss,
)
from collapse_theory.training.labels import RankingLabels, labels_of, to_grid  # noqa: E402
from collapse_theory.training.live_figure import figure_path  # noqa: E402
from collapse_theory.training.measures import (  # noqa: E402
    Evaluated,
    Measures,
    measure,
    remembered,
)
from collapse_theory.training.trainer import require_trainer  # noqa: E402

TIMES = ("time", "_per_second")
PROMPT_AWARE = {"open": "log(x + 0.1)", "closed": "x"}


def prompt_aware():
    return PromptAwareRankingLoss(PROMPT_AWARE)


class Reports(TrainerCallback):
    """Stands for TensorBoard and others: it sees what they see."""

    def __init__(self):
        self.seen = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen.append(dict(logs))


def made(
    folder, loss, data, evaluated=None, *, model=None, callback=None, theirs=None, **arguments
):
    """Return a Trainer on the CPU that reports to nobody; `theirs` are metrics beside ours."""
    settings = {
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0,
        **arguments,
    }
    return Trainer(
        model or tiny.model(),
        TrainingArguments(str(folder), **settings),
        train_dataset=data,
        eval_dataset=evaluated,
        data_collator=RankingCollator(tiny.tokenizer(), kinds=getattr(loss, "kinds", None)),
        compute_loss_func=trainer_loss(loss),
        compute_metrics=theirs,
        callbacks=[callback] if callback else None,
    )


def weights_of(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def whole_batch(model, loss, data):
    """Return the logits (B, K) and the labels of a dataset in one batch."""
    batch = RankingCollator(tiny.tokenizer(), kinds=getattr(loss, "kinds", None))(list(data))
    labels = batch.pop("labels")
    return to_grid(model(**batch).logits, labels["ranks"]), labels


# -- gradients ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "parts", "kinds"),
    [(9, 1, False), (2, 5, False), (4, 3, True), (1, 9, True)],  # uneven ends among them
)
def test_accumulated_gradients_are_those_of_one_batch(tmp_path, batch, parts, kinds):
    loss, data = prompt_aware() if kinds else RankingLoss("log(x + 0.1)"), tiny.rankings(9)
    model = tiny.model().double()
    by_hand = copy.deepcopy(model)
    trainer = made(
        tmp_path,
        loss,
        data,
        model=model,
        max_steps=1,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=parts,
        logging_steps=1,
    )
    trainer.train()
    logits, labels = whole_batch(by_hand, loss, data)
    names = [ranking.kind for ranking in data]
    value = (
        loss(logits, kinds=names, ranks=labels["ranks"]) if kinds else loss(logits, labels["ranks"])
    )
    value.backward()
    with torch.no_grad():
        for p in by_hand.parameters():
            if p.grad is not None:
                p -= 0.5 * p.grad
    moved = (weights_of(by_hand) - weights_of(tiny.model().double())).abs().max()
    assert moved > 1e-4
    assert (weights_of(trainer.model) - weights_of(by_hand)).abs().max() < 1e-10
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx([value.item()], rel=1e-5)


def test_prompts_without_a_comparable_pair_neither_count_nor_push():
    labels = RankingLabels(ranks=torch.tensor([[0, 1], [0, 0]]))
    flat = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    loss = RankingLoss("logsigmoid(x)")
    value = trainer_loss(loss)({"logits": flat}, labels)
    value.backward()
    assert value.item() == pytest.approx(loss(flat.detach()[:2].T).item(), rel=1e-12)
    assert torch.equal(flat.grad[2:], torch.zeros(2, 1, dtype=torch.float64))
    nothing = RankingLabels(ranks=torch.tensor([[0, 0], [0, 0]]))
    assert trainer_loss(loss)({"logits": flat.detach()}, nothing).item() == 0.0


def test_margins_and_weights_of_rows_reach_the_loss(tmp_path):
    rows = [
        {"prompt": "w1", "chosen": "w2 w3", "rejected": "w4", "margin": 3.0, "weight": 2.0},
        {"prompt": "w5", "chosen": "w6", "rejected": "w7 w8"},
        {"prompt": "w9", "completions": ["w1", "w1", "w2 w3"]},
    ]
    loss = RankingLoss("logsigmoid(x)", ct.Free(), normalize=False)
    data = RankingDataset(tuple(map(ranking_of, rows)))
    model = tiny.model().double()
    with torch.no_grad():
        z, _ = whole_batch(model, loss, data)
    pairs = torch.stack([z[0, 0] - z[0, 1] - 3, z[1, 0] - z[1, 1]])
    third = (z[2, :2] - z[2, 2]).double()  # the identical completions are in no pair
    each = -torch.nn.functional.logsigmoid(torch.cat([pairs, third]))
    expected = (2 * each[0] + each[1] + each[2:].mean()) / 4
    trainer = made(
        tmp_path,
        loss,
        data,
        model=model,
        max_steps=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=3,
        logging_steps=1,
    )
    trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx([expected.item()], rel=1e-5)
    for wrong in (RankingLoss("log(x + 0.1)"), RankingLoss(ct.PlackettLuce())):
        with pytest.raises(CollapseError, match="margins"):
            trainer_loss(wrong)({"logits": z[0, :2, None]}, labels_of([data[0]], [[0, 1]]))


def test_weights_by_rank_that_leave_a_prompt_without_a_pair(tmp_path):
    weights = np.zeros((3, 3))
    weights[0, 2] = 1
    loss = RankingLoss("logsigmoid(x)", ct.Free(), pair_weights=weights)
    rankings = [Ranking("w1", ("w2", "w3", "w4")), Ranking("w5", ("w6", "w7"))]
    batch = RankingCollator(tiny.tokenizer(), kinds=loss)(rankings)
    plain = RankingCollator(tiny.tokenizer())(rankings)["labels"]
    outputs, labels = tiny.model()(**batch | {"labels": None}), batch["labels"]
    grid = to_grid(outputs.logits, labels["ranks"])
    assert labels.ne(-100).tolist() == [1, 0]
    for each, counted in [(labels, None), (labels, labels.ne(-100).sum()), (plain, None)]:
        value = trainer_loss(loss)({"logits": outputs.logits}, each, counted)
        assert value.item() == pytest.approx(loss(grid, labels["ranks"]).item(), rel=1e-6)
    with pytest.raises(CollapseError, match=r"RankingCollator\(tokenizer, kinds=loss\), with the"):
        made(tmp_path, loss, tiny.rankings(4), callback=CollapseCallback(loss))
    all_pairs = RankingLoss("logsigmoid(x)", ct.Free(), pair_weights=np.triu(np.ones((5, 5)), 1))
    made(tmp_path, all_pairs, tiny.rankings(4), callback=CollapseCallback(all_pairs))


def test_decoders_without_two_segments(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    tokenizer, loss = tiny.tokenizer(pair=False), RankingLoss("logsigmoid(x)", ct.Confined(0.1))
    config = LlamaConfig(
        vocab_size=len(tiny.VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    data, model = tiny.rankings(5), LlamaForSequenceClassification(config)
    callback = CollapseCallback(loss)
    trainer = made(tmp_path, loss, data, data, model=model, callback=callback, max_steps=2)
    trainer.data_collator = collator = RankingCollator(tokenizer)
    trainer.train()
    metrics = trainer.evaluate()
    for ranking, logits in zip(data, trainer.predict(data).predictions, strict=True):
        for text, logit in zip(ranking.completions, logits, strict=False):
            alone = collator([Ranking(ranking.prompt, (text, text))])
            del alone["labels"]
            assert model(**alone).logits[0].item() == pytest.approx(logit, abs=1e-5)
    assert metrics["eval_gap"] > 0


# -- evaluation --------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [False, True])
def test_evaluation_gives_a_row_a_prompt(tmp_path, kinds):
    loss, data = prompt_aware() if kinds else RankingLoss("log(x + 0.1)"), tiny.rankings(11)
    seen = []

    def keep(prediction):
        seen.append(prediction)
        return {"rows": len(prediction.predictions)}

    trainer = made(tmp_path, loss, data, data, per_device_eval_batch_size=4)
    trainer.compute_metrics = keep
    metrics = trainer.evaluate()
    model = trainer.model.eval()
    with torch.no_grad():
        logits, labels = whole_batch(model, loss, data)
    ranks = labels["ranks"].numpy()
    assert metrics["eval_rows"] == 11
    assert np.array_equal(np.maximum(seen[0].label_ids["ranks"], -1), ranks)
    found = np.where(ranks >= 0, seen[0].predictions, 0.0)
    assert np.abs(found - logits.numpy()).max() < 1e-6
    expected = (
        loss(logits, kinds=labels["kinds"], ranks=labels["ranks"])
        if kinds
        else loss(logits, labels["ranks"])
    )
    assert metrics["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.predict(data).predictions.shape == ranks.shape


@pytest.mark.parametrize("together", [True, False])
def test_the_callback_measures_what_trainer_evaluates(tmp_path, together):
    loss, data = prompt_aware(), tiny.rankings(10)
    figure = tmp_path / "live.png" if together else None
    callback = CollapseCallback(
        trainer_loss(loss), file=tmp_path / "log" / "rewards.jsonl", figure=figure
    )
    trainer = made(
        tmp_path / "out",
        loss,
        data,
        data,
        callback=callback,
        max_steps=4,
        eval_strategy="steps",
        eval_steps=2,
        eval_on_start=True,
        save_strategy="steps",
        save_steps=2,
        **keep_best("gap"),
        per_device_eval_batch_size=3,
        eval_do_concat_batches=together,
    )
    reports = Reports()
    trainer.callback_handler.callbacks.insert(0, reports)
    trainer.train()
    logged = [entry for entry in reports.seen if "eval_gap" in entry]
    assert len(logged) == 3
    measures = callback.measures["eval"]
    assert {one.kind for one in measures.kinds} == {"open", "closed"}
    last = logged[-1]
    assert last["eval_between_kinds"] == pytest.approx(measures.between)
    for one in measures.kinds:
        assert last[f"eval_{one.kind}_distance"] == pytest.approx(one.distance)
    own = [name for name in last if name.startswith("eval_") and not name.endswith(TIMES)]
    assert len(own) <= 12
    # The training prompts are the evaluated ones here.
    assert last["eval_collapse_train"] == pytest.approx(last["eval_collapse"], abs=1e-6)
    assert last["eval_pairs_right_train"] == last["eval_pairs_right"]
    assert trainer.state.best_metric == min(entry["eval_gap"] for entry in logged)
    rows = [json.loads(line) for line in (tmp_path / "log/rewards.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted([0, 2, 4] * sum(map(len, data)))
    per_prompt = [(row["prompt"], row["kind"], row["rank"]) for row in rows if row["step"] == 4]
    assert per_prompt == [
        (name, ranking.kind, rank)
        for name, ranking in zip(data.names, data, strict=True)
        for rank in ranking.ranks
    ]
    assert all(0 < row["reward"] < 1 and row["split"] == "eval" for row in rows)
    if figure is not None:
        assert figure.read_bytes()[:4] == b"\x89PNG"
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"log", "out"} | ({"live.png"} if together else set())


def test_the_callback_joins_the_metrics_of_the_trainer(tmp_path, caplog):
    loss, data = RankingLoss("log(x + 0.1)"), tiny.rankings(7)
    first, second, later = (CollapseCallback(loss, file=tmp_path / f"{k}.jsonl") for k in range(3))
    metrics = made(tmp_path, loss, data, data, callback=first).evaluate()
    trainer = made(
        tmp_path, loss, data, data, callback=second, theirs=lambda found: {"rows": 3}, max_steps=1
    )
    assert trainer.evaluate().items() >= {"eval_rows": 3, "eval_gap": metrics["eval_gap"]}.items()
    trainer.train()  # it joins once
    assert trainer.evaluate()["eval_rows"] == 3
    assert len((tmp_path / "1.jsonl").read_text().splitlines()) == sum(map(len, data))
    trainer = made(tmp_path, loss, data, data)
    trainer.add_callback(later)
    with caplog.at_level(logging.WARNING):
        assert "eval_gap" not in trainer.evaluate()
        assert trainer.evaluate()["eval_gap"] == metrics["eval_gap"]
    assert caplog.text.count("measured nothing of this evaluation") == 1
    # Evaluated twice at one step: the rows of it are there once.
    trainer.evaluate()
    assert len((tmp_path / "2.jsonl").read_text().splitlines()) == sum(map(len, data))


def test_several_evaluation_sets(tmp_path):
    loss, data = prompt_aware(), tiny.rankings(12)
    callback = CollapseCallback(loss, file=tmp_path / "x.jsonl", figure=tmp_path / "live.svg")
    sets = {"train": data.select(range(8)), "held_out": Subset(data, range(8, 12))}
    trainer = made(tmp_path, loss, data, sets, callback=callback)
    metrics = trainer.evaluate()
    assert metrics["eval_train_gap"] != metrics["eval_held_out_gap"]
    assert set(callback.measures) == {"eval_train", "eval_held_out"}
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert {row["prompt"] for row in rows if row["split"] == "held_out"} == set(data.names[8:])
    assert {"live-train.svg", "live-held_out.svg"} <= {p.name for p in tmp_path.iterdir()}


def test_a_loss_without_optimum_is_measured_without_prediction(tmp_path):
    loss = RankingLoss("logsigmoid(x)", ct.Free())
    callback = CollapseCallback(loss, figure=tmp_path / "live.png")
    data = tiny.rankings(6)
    metrics = made(tmp_path, loss, data, data, callback=callback).evaluate()
    assert "eval_pairs_right" in metrics
    assert "eval_gap" not in metrics
    assert (tmp_path / "live.png").exists()


def test_resumed_training_goes_on_with_its_log(tmp_path):
    loss, data = RankingLoss("log(x + 0.1)"), tiny.rankings(8)
    settings = {
        "per_device_train_batch_size": 4,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 2,
        "learning_rate": 0.05,
    }

    def run(folder, steps, resume):
        callback = CollapseCallback(loss, file=folder / "x.jsonl")
        trainer = made(folder, loss, data, data, callback=callback, max_steps=steps, **settings)
        trainer.train(resume_from_checkpoint=resume)
        return [json.loads(line) for line in (folder / "x.jsonl").read_text().splitlines()]

    def same(rows):
        assert [{**row, "reward": 0} for row in rows] == [{**row, "reward": 0} for row in whole]
        # What a restored optimizer and random state give is the same up to rounding.
        found, expected = ([row["reward"] for row in each] for each in (rows, whole))
        return found == pytest.approx(expected, abs=1e-6)

    whole = run(tmp_path / "whole", 3, None)
    assert {row["step"] for row in whole} == {1, 2, 3}
    run(tmp_path / "parts", 3, None)
    with (tmp_path / "parts/x.jsonl").open("a") as file:
        file.write('{"prompt": "cut sho')  # as a kill leaves it
    assert same(run(tmp_path / "parts", 3, str(tmp_path / "parts/checkpoint-2")))
    assert same(run(tmp_path / "parts", 3, None))  # anew


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import test_training_trainer as t
class Kill(t.TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            os._exit(9)
t.trained({folder!r}, Kill())
"""


def trained(folder, *more, resume=None):
    loss, data = RankingLoss("log(x + 0.1)"), tiny.rankings(8)
    callback = CollapseCallback(loss, file=Path(folder) / "x.jsonl")
    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps"}
    settings |= {"save_steps": 2, "learning_rate": 0.05, "per_device_train_batch_size": 2}
    trainer = made(folder, loss, data, data, callback=callback, max_steps=4, **settings)
    for one in more:
        trainer.add_callback(one)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_a_killed_training_is_resumed_as_trainer_does(tmp_path):
    whole = trained(tmp_path / "whole")
    parts = tmp_path / "parts"
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(parts))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 9, done.stderr[-3000:]
    resumed = trained(parts, resume=True)  # the last checkpoint
    assert (weights_of(resumed.model) - weights_of(whole.model)).abs().max() < 1e-6
    rows = [
        len((tmp_path / run / "x.jsonl").read_text().splitlines()) for run in ("whole", "parts")
    ]
    assert rows[0] == rows[1]


def test_training_reaches_the_prediction(tmp_path):
    loss = RankingLoss("log(x + 0.1)")
    rows = [
        {
            "prompt": f"w{10 + i}",
            "completions": [" ".join(["w1"] * k + ["w2"] * (4 - k)) for k in (4, 3, 2, 1)],
        }
        for i in range(8)
    ]
    data = RankingDataset.from_records(rows)
    callback = CollapseCallback(loss)
    trainer = made(
        tmp_path,
        loss,
        data,
        data,
        callback=callback,
        max_steps=50,
        optim="adamw_torch",
        learning_rate=2e-2,
        lr_scheduler_type="cosine",
        per_device_train_batch_size=8,
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert before["eval_distance"] > 0.2
    assert after["eval_distance"] < 0.02
    assert after["eval_gap"] < 0.05 * before["eval_gap"]
    assert after["eval_pairs_right"] == 1.0
    rewards = loss.rewards(torch.tensor(trainer.predict(data).predictions))
    assert after["eval_collapse"] == pytest.approx(
        ct.diagnose(rewards.numpy(), utility=()).index, abs=1e-6
    )
    assert after["eval_collapse"] > 0.9


# -- measures ----------------------------------------------------------------------------


@cases(15)
@given(st.lists(st.integers(2, 6), min_size=1, max_size=5), st.integers(0, 99), st.booleans())
def test_measures_of_the_prediction_itself_are_zero(sizes, seed, kinds):
    loss = prompt_aware() if kinds else RankingLoss("logsigmoid(2*x)", ct.Confined(0.1))
    rng = np.random.default_rng(seed)
    names = [str(rng.choice(["open", "closed"])) for _ in sizes]
    ranks = np.full((len(sizes), max(sizes)), -1)
    logits = np.zeros(ranks.shape)
    for row, (size, name) in enumerate(zip(sizes, names, strict=True)):
        order = rng.permutation(size)
        one = loss[name] if kinds else loss
        best = one.predict(size).rewards
        inside = np.log(best.clip(1e-9, 1 - 1e-9) / (1 - best.clip(1e-9, 1 - 1e-9)))
        logits[row, :size] = (inside if kinds else best)[order]
        ranks[row, :size] = order
    found = measure(loss, logits, ranks, names)
    for one in found.kinds:
        assert one.distance < 1e-8
        assert -1e-12 < one.gap < 1e-6
        assert one.prompts == names.count(one.kind)
    if len(found.kinds) == 2:
        assert found.between == pytest.approx(found.between_predicted, abs=1e-8)
    assert Measures.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_measures_by_hand():
    loss = RankingLoss("x - 0.5*x**2")
    assert loss.predict(4).rewards == pytest.approx([1, 0.75, 0.25, 0])
    rewards = np.array([[0.9, 0.7, 0.2, 0.1], [0.7, 0.9, 0.4, 0.1]])
    ranks = np.array([[0, 1, 2, 3], [0, 1, 2, 3]])
    found = measure(loss, np.log(rewards / (1 - rewards)), ranks, ["a", "b"])
    one, other = found.kinds
    assert one.distance == pytest.approx((0.1 + 0.05 + 0.05 + 0.1) / 4)
    assert other.distance == pytest.approx((0.1 + 0.05 + 0.15 + 0.1) / 4)
    assert found.between == pytest.approx((0.2 + 0.2 + 0.2 + 0) / 4)
    assert other.right == pytest.approx(5 / 6)
    tied = measure(loss, np.log(rewards / (1 - rewards)), np.array([[0, 1, 1, 2]] * 2))
    assert tied.kinds[0].pairs == 10
    assert tied.kinds[0].mean == pytest.approx([0.8, 0.8, 0.3, 0.1])
    assert tied.kinds[0].std == pytest.approx([0.1, 0.1, 0.1, 0.0])
    assert set(tied.log()) == {"distance", "gap", "pairs_right"}
    weights = np.ones((2, 4, 4))
    weights[1, 0, 1] = 0  # the pair that is wrong
    logits = np.log(rewards / (1 - rewards))
    assert measure(loss, logits, ranks, None, None, weights).right == 1


def test_measures_of_prompts_with_their_own_margins_and_weights():
    loss, rng = RankingLoss("logsigmoid(x)", ct.Confined(0.1)), np.random.default_rng(0)
    ranks = np.array([[2, 0, 1], [0, 1, -1]])
    margins, weights = rng.normal(size=(2, 3, 3)), rng.uniform(0.5, 1, size=(2, 3, 3))
    logits = np.zeros((2, 3))
    for row, (order, size) in enumerate([([1, 2, 0], 3), ([0, 1], 2)]):
        own = (table[row][np.ix_(order, order)] for table in (margins, weights))
        logits[row, order] = loss.predict(
            size, **dict(zip(("margins", "pair_weights"), own, strict=True))
        ).rewards
    found = measure(loss, logits, ranks, None, margins, weights).kinds[0]
    assert found.distance == pytest.approx(0, abs=1e-9)
    assert found.gap == pytest.approx(0, abs=1e-9)
    assert measure(loss, logits, ranks).kinds[0].distance > 0.01


def test_identical_completions_under_plackett_luce_are_ties():
    loss = RankingLoss(ct.PlackettLuce())
    labels = labels_of([Ranking("w1", ("w2", "w3", "w2"), (0, 1, 2))], [[0, 1, 0]])
    logits = torch.tensor([[0.3], [-0.4], [0.3]])
    value = trainer_loss(loss)({"logits": logits}, labels)
    assert value == loss(logits.T, ranks=[[0, 1, 0]])


def test_many_kinds_make_a_dozen_names_and_no_more():
    rng = np.random.default_rng(0)
    ranks = np.tile(np.arange(4), (60, 1))
    found = measure(
        RankingLoss("x"), rng.normal(size=(60, 4)), ranks, ["abcdef"[k % 6] for k in range(60)]
    )
    assert len(found.kinds) == 6
    assert set(found.log()) == {
        "collapse",
        "distance",
        "gap",
        "pairs_right",
        "between_kinds",
    }
    assert found.log(found)["collapse_train"] == found.collapse


def test_memory_is_that_of_the_law_where_nothing_else_holds_rewards(tmp_path):
    u = ct.utility("logsigmoid(x)")
    unseen = np.random.default_rng(0).normal(size=(30, 3))
    learned = [ct.solve(u, domain=ct.Anchored(row, 2.0)).rewards for row in unseen]
    ranks = np.tile(np.arange(3), (30, 1))
    names = [str(k) for k in range(30)]
    train, held = (Evaluated(np.array(x), ranks, [None] * 30, names) for x in (learned, unseen))
    loss = RankingLoss(u, ct.Free())
    assert remembered(loss, train, held) == pytest.approx(2, abs=1e-9)
    weights = np.triu(np.ones((3, 3)), 1)
    weighed = RankingLoss(u, ct.Free(), pair_weights=weights)
    for other in (RankingLoss(u, ct.Confined(0.1)), weighed):
        assert np.isnan(remembered(other, train, held))
    data, callback = tiny.rankings(40), CollapseCallback(loss)
    settings = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    trainer = made(tmp_path, loss, data, data, callback=callback, **settings)
    trainer.train()
    (metrics,) = (entry for entry in trainer.state.log_history if "eval_loss" in entry)
    assert metrics["eval_memory"] == pytest.approx(0, abs=1e-6)  # the same prompts on both sides


def test_prompts_without_a_prediction_are_left_out_of_distance_and_gap():
    loss = RankingLoss(ct.PlackettLuce())  # ties: none is known
    rng = np.random.default_rng(0)
    logits, ranks = rng.normal(size=(3, 3)), np.array([[0, 1, 2], [2, 1, 0], [0, 1, 1]])
    found, untied = (measure(loss, logits[:k], ranks[:k]).kinds[0] for k in (3, 2))
    assert (found.distance, found.gap) == (untied.distance, untied.gap)
    assert (found.prompts, untied.prompts, found.pairs, untied.pairs) == (3, 2, 8, 6)
    assert "distance" not in measure(loss, logits[2:], ranks[2:]).log()


# -- a schedule --------------------------------------------------------------------------


def test_a_schedule_changes_the_utility_and_what_it_is_measured_by(tmp_path):
    stages = {0: RankingLoss("x"), 0.5: RankingLoss("log(x + 0.1)")}
    data, used = tiny.rankings(8), []

    def run(resume):
        compute = trainer_loss(stages[0])
        callback = CollapseCallback(compute, train_prompts=0)
        trainer = made(
            tmp_path,
            stages[0],
            data,
            data,
            callback=callback,
            max_steps=4,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=3,
            per_device_train_batch_size=2,
        )
        trainer.compute_loss_func = compute
        trainer.add_callback(UtilitySchedule(compute, stages))
        trainer.train(resume_from_checkpoint=resume)
        used.append([e["eval_gap"] for e in trainer.state.log_history if "eval_loss" in e])
        assert compute.loss is callback.loss is stages[0.5]
        found = trainer.predict(data)
        ranks, kinds = np.maximum(found.label_ids["ranks"], -1), [one.kind for one in data]
        logits = np.where(ranks >= 0, found.predictions, 0.0)
        for stage, same in zip(stages.values(), (False, True), strict=True):
            gap = measure(stage, logits, ranks, kinds).log()["gap"]
            assert (gap == pytest.approx(used[-1][-1], abs=1e-6)) == same

    run(None)
    run(str(tmp_path / "checkpoint-3"))
    assert used[1] == pytest.approx(used[0], abs=1e-6)
    boxes = {0: RankingLoss("x"), 0.5: RankingLoss("x", ct.Box(0, 2))}
    compute = trainer_loss(stages[0])
    for wrong, message in [
        (boxes, "the same kinds and domains"),
        ({0.5: stages[0]}, "must begin at 0"),
        ({0: stages[0], 1: stages[0]}, "be below 1"),
    ]:
        with pytest.raises(CollapseError, match=message):
            UtilitySchedule(compute, wrong)
    with pytest.raises(CollapseError, match="give what trainer_loss made"):
        UtilitySchedule(stages[0], stages)


# -- errors and files --------------------------------------------------------------------


def test_what_goes_wrong_is_named(tmp_path):
    loss, data = prompt_aware(), tiny.rankings(6)
    two_labels = made(tmp_path, loss, data, data, model=tiny.model(labels=2))
    with pytest.raises(CollapseError, match="the model has 2 labels; load it with num_labels=1"):
        two_labels.evaluate()
    trainer = made(tmp_path, loss, data, data)
    trainer.data_collator = RankingCollator(tiny.tokenizer())
    with pytest.raises(CollapseError, match=r"RankingCollator\(tokenizer, kinds=loss.kinds\)"):
        trainer.evaluate()
    trainer.data_collator = RankingCollator(tiny.tokenizer(), kinds=loss.kinds[::-1])
    with pytest.raises(CollapseError, match="other kinds than the loss has, or another order"):
        trainer.evaluate()
    for name in ("batch_eval_metrics", "prediction_loss_only"):
        with pytest.raises(CollapseError, match=f"{name}=False"):
            made(tmp_path, loss, data, data, callback=CollapseCallback(loss), **{name: True})
    apply = trainer_loss(loss)
    labels = RankingCollator(tiny.tokenizer(), kinds=loss.kinds).labels(list(data))
    logits = torch.zeros(sum(map(len, data)), 1)
    with pytest.raises(CollapseError, match="torchrun --nproc-per-node"):
        apply({"logits": logits}, labels, num_items_in_batch=torch.tensor([[6], [6]]))
    with pytest.raises(CollapseError, match="labels must be those of RankingCollator"):
        apply({"logits": logits}, torch.zeros(6))
    with pytest.raises(CollapseError, match="returned a tuple without logits"):
        apply((logits,), labels)
    for wrong in (torch.nn.MSELoss(), "log(x)", None):
        with pytest.raises(CollapseError, match="takes a RankingLoss or a PromptAwareRankingLoss"):
            trainer_loss(wrong)
        with pytest.raises(CollapseError, match="takes a RankingLoss or a PromptAwareRankingLoss"):
            CollapseCallback(wrong)
    with pytest.raises(CollapseError, match="must end in one of"):
        figure_path("live.gif")
    callback = CollapseCallback(loss)
    state, settings = SimpleNamespace(global_step=0), SimpleNamespace(eval_batch_size=8)
    loader = SimpleNamespace(dataset=data)
    callback.on_prediction_step(settings, state, None, eval_dataloader=loader)
    shuffled = SimpleNamespace(
        predictions=np.zeros((6, 5)), label_ids={"ranks": labels["ranks"].numpy()[::-1]}
    )
    with pytest.raises(CollapseError, match="not those of the 6 rankings in their order"):
        callback(shuffled)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"metric_for_best_model": "gap"},
            r"give greater_is_better=False, or .*keep_best\('gap'\)",
        ),
        ({"metric_for_best_model": "eval_open_distance"}, "keeps the worst checkpoint"),
        ({"metric_for_best_model": "collapse"}, "'collapse' doesn't say which model is better"),
        ({"metric_for_best_model": "collapse_train"}, "'collapse_train' doesn't say which model"),
        (
            {"metric_for_best_model": "pairs_right", "greater_is_better": False},
            "keeps the worst checkpoint.* give greater_is_better=True",
        ),
        ({"label_smoothing_factor": 0.1}, r"RankingLoss\(ct.LabelSmoothing\(0.1\), domain\)"),
    ],
)
def test_settings_that_mislead_are_refused_before_training(tmp_path, settings, message):
    callback = CollapseCallback(RankingLoss("x"))
    data = tiny.rankings(4)
    with pytest.raises(CollapseError, match=message):
        made(tmp_path, callback.loss, data, data, callback=callback, **settings)
    later, without = (made(tmp_path, callback.loss, data, data, **settings) for _ in range(2))
    later.add_callback(callback)
    for trainer in (later, without):
        with pytest.raises(CollapseError, match=message):
            trainer.train()


def test_streams_are_refused_where_processes_have_no_part_of_their_own():
    datasets = pytest.importorskip("datasets")
    data = tiny.rankings(4)
    stream = datasets.Dataset.from_list(data.rows()).to_iterable_dataset()
    args = TrainingArguments("unused", use_cpu=True, remove_unused_columns=False)

    def check(processes, dispatched, train, evaluated):
        config = SimpleNamespace(dispatch_batches=dispatched)
        given = {**vars(args), "world_size": processes, "accelerator_config": config}
        sets = {"train_dataset": train, "eval_dataset": {"held_out": evaluated}}
        sets["data_collator"] = None
        require_trainer(SimpleNamespace(args=SimpleNamespace(**given), **sets), RankingLoss("x"))

    check(1, None, stream, stream)
    check(2, False, stream, data)
    with pytest.raises(CollapseError, match=r'accelerator_config=\{"dispatch_batches": False\}'):
        check(2, None, stream, data)
    with pytest.raises(CollapseError, match="a stream to evaluate on"):
        check(2, False, data, stream)


def margins(**row):
    more = {"prompt": "w1", "completions": ["w2", "w3"], **row}
    return [ranking.row() for ranking in tiny.rankings(3)] + [more]


@pytest.mark.parametrize("kind", ["RankingDataset", "Dataset", "stream"])
def test_data_that_a_loss_has_no_use_for_are_refused_before_training(tmp_path, kind):
    datasets = pytest.importorskip("datasets")

    def trainer(loss, rows, keep=True):
        data = RankingDataset.from_records(rows)
        if kind != "RankingDataset":
            data = datasets.Dataset.from_list(rows if kind == "Dataset" else rows[::-1])
            data = data.to_iterable_dataset() if kind == "stream" else data
        callback, settings = CollapseCallback(loss), {"remove_unused_columns": not keep}
        made(tmp_path, loss, data, callback=callback, max_steps=1, **settings)
        return made(tmp_path, loss, data, max_steps=1, **settings)

    wide = [[0.0, 1.0], [0.0, 0.0]]
    for loss, row, message in [
        (RankingLoss("log(x + 0.1)"), {"margins": wide}, "margins need values of U below gap 0"),
        (RankingLoss(ct.PlackettLuce()), {"margins": wide}, "takes no margins or weights of pairs"),
        (
            RankingLoss(ct.PlackettLuce()),
            {"pair_weights": np.multiply(3, wide).tolist()},
            "takes no",
        ),
        (prompt_aware(), {"margins": wide, "kind": "open"}, "margins need values"),
    ]:
        with pytest.raises(CollapseError, match=message):
            trainer(loss, margins(**row))
    aware = PromptAwareRankingLoss({"open": "log(x + 0.1)", "closed": "logsigmoid(x)"})
    trainer(aware, margins(margins=wide, kind="closed"))
    trainer(RankingLoss("log(x + 0.1)"), margins(margins=[[0.0, 0.0]] * 2))
    trainer(RankingLoss(ct.PlackettLuce()), margins(pair_weights=wide))
    if kind != "RankingDataset":
        with pytest.raises(
            CollapseError, match=r"give TrainingArguments\(remove_unused_columns=Fal"
        ):
            trainer(RankingLoss("x"), margins(), keep=False)


@pytest.mark.parametrize("name", ["train", "eval"])
def test_batches_of_which_nothing_is_left_are_refused_before_training(tmp_path, name):
    loss, data = RankingLoss("x"), tiny.rankings(12)
    settings = {"dataloader_drop_last": True, f"per_device_{name}_batch_size": 16}
    with pytest.raises(CollapseError, match="leaves nothing of 12 prompts in batches of 16"):
        made(tmp_path, loss, data, data, callback=CollapseCallback(loss), **settings)


def test_the_best_checkpoint_is_that_of_the_least_gap(tmp_path):
    loss, data = RankingLoss("log(x + 0.1)"), tiny.rankings(8)
    callback = CollapseCallback(loss, train_prompts=0)
    trainer = made(
        tmp_path,
        loss,
        data,
        data,
        callback=callback,
        max_steps=3,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        **keep_best("gap"),
        learning_rate=0.05,
    )
    trainer.train()
    logged = {e["step"]: e["eval_gap"] for e in trainer.state.log_history if "eval_loss" in e}
    best = min(logged, key=logged.get)
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert logged[best] < logged[1]


def test_streams_are_evaluated(tmp_path):
    datasets = pytest.importorskip("datasets")
    loss, data = prompt_aware(), tiny.rankings(7)
    stream = datasets.Dataset.from_list(data.rows()).to_iterable_dataset()
    callback = CollapseCallback(loss, file=tmp_path / "x.jsonl")
    settings = {"remove_unused_columns": False, "per_device_eval_batch_size": 3}
    trainer = made(tmp_path, loss, data, stream, callback=callback, **settings)
    found = trainer.evaluate()
    expected = made(tmp_path, loss, data, data, callback=CollapseCallback(loss)).evaluate()
    for name, value in expected.items():
        if not name.endswith((*TIMES, "eval_loss")):
            assert found[name] == pytest.approx(value, abs=1e-6), name
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"open", "closed"}


def test_a_last_batch_that_is_dropped_is_named(tmp_path, caplog):
    loss, data = RankingLoss("x"), tiny.rankings(7)
    callback = CollapseCallback(loss)
    settings = {"dataloader_drop_last": True, "per_device_eval_batch_size": 3}
    settings |= {"per_device_train_batch_size": 3}
    trainer = made(tmp_path, loss, data, data, callback=callback, **settings)
    with caplog.at_level(logging.WARNING):
        trainer.evaluate()
    assert "the last 1 of 7 prompts weren't evaluated: dataloader_drop_last=True" in caplog.text
    assert sum(one.prompts for one in callback.measures["eval"].kinds) == 6


def test_nan_is_said_once_with_its_step(tmp_path, caplog):
    loss, data = RankingLoss("x"), tiny.rankings(6)
    callback = CollapseCallback(loss)

    class Broken(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:
                with torch.no_grad():
                    model.classifier.weight.fill_(float("nan"))

    trainer = made(tmp_path, loss, data, data, callback=callback, max_steps=5)
    trainer.add_callback(Broken())
    with caplog.at_level(logging.WARNING):
        trainer.train()
        metrics = trainer.evaluate()
    assert caplog.text.count("step 3 of RankingLoss: the loss is NaN") == 1
    assert caplog.text.count("returned NaN in the evaluation at step 5") == 1
    assert caplog.text.count("NaN") == 2
    assert not {"eval_gap", "eval_distance"} & set(metrics)


def test_a_reward_log_is_not_written_over_other_files(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("dear diary\n")
    with pytest.raises(CollapseError, match=r"notes.txt is there and is no log of rewards"):
        RewardLogWriter(notes).begin(0)
    assert notes.read_text() == "dear diary\n"
    log = RewardLogWriter(tmp_path / "x.jsonl")
    log.write(1, "eval", [{"prompt": "p", "reward": float("nan")}])
    assert json.loads(log.path.read_text())["reward"] is None


def test_a_full_disk_does_not_end_training(tmp_path, caplog, monkeypatch):
    loss, data = RankingLoss("x"), tiny.rankings(4)
    callback = CollapseCallback(loss, file=tmp_path / "x.jsonl")
    monkeypatch.setattr(
        RewardLogWriter, "write", lambda *a: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with caplog.at_level(logging.WARNING):
        made(tmp_path, loss, data, data, callback=callback).evaluate()
    assert "the rewards of step 0 aren't written" in caplog.text


# -- the example -------------------------------------------------------------------------


def run_example(name, folder, monkeypatch):
    tiny.tokenizer().save_pretrained(folder / "model")
    tiny.model().save_pretrained(folder / "model")
    with (folder / "rankings.jsonl").open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in tiny.rankings(20).rows())
    script = Path(ct.__file__).parents[1] / "docs" / "examples" / name
    options = ["--model", str(folder / "model"), "--out", str(folder / "out"), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", [name, str(folder / "rankings.jsonl"), *options])
    runpy.run_path(str(script), run_name="__main__")


# On a machine without an accelerator torch says that memory can't be pinned.
@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
def test_the_example_script_runs(tmp_path, monkeypatch, capsys):
    run_example("trainer.py", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "20 rows read, 20 rankings kept, none bad" in printed
    assert "open: distance to the prediction 0." in printed
    for name in ("live.png", "rewards.jsonl", "model.safetensors"):
        assert (tmp_path / "out" / name).stat().st_size > 0


@pytest.mark.filterwarnings("ignore")  # of Lightning and what it uses
def test_the_example_of_lightning_serves_what_it_trains(tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning")
    run_example("lightning_reward.py", tmp_path, monkeypatch)
    assert "loss " in capsys.readouterr().out
    served = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokens = tiny.tokenizer()(["w1 w2 w3", "w4"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = served(**tokens).logits
    assert ((logits > 0) & (logits < 1)).all()
    assert not torch.equal(weights_of(served.model), weights_of(tiny.model()))


# -- several processes -------------------------------------------------------------------


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo, by which processes on a CPU talk",
)
def test_two_processes_give_the_same_as_one(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    # The processes find the package where this one has, installed or not.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    folders = {name: tmp_path / name for name in ("one", "two")}
    for folder in folders.values():
        folder.mkdir()
    two_processes.main(folders["one"], 4)
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, two_processes.__file__, str(folders["two"]), "2"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {
        name: {
            **json.loads((folder / "found.json").read_text()),
            "weights": torch.load(folder / "weights.pt"),
        }
        for name, folder in folders.items()
    }
    one, two = found["one"], found["two"]
    moved = (one["weights"] - weights_of(two_processes.model())).abs().max()
    assert moved > 1e-3
    assert (one["weights"] - two["weights"]).abs().max() < 1e-6
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-6)
    for name, value in one["metrics"].items():
        # Trainer's own evaluation loss is a mean over batches, which differ.
        if not name.endswith((*TIMES, "_loss")):
            assert two["metrics"][name] == pytest.approx(value, abs=1e-6), name
    rows = [
        [json.loads(line) for line in (tmp_path / run / "rewards.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert len(rows[0]) == len(rows[1]) > 0
    for left, right in zip(*rows, strict=True):
        assert left["reward"] == pytest.approx(right["reward"], abs=1e-6)
        assert {**left, "reward": 0} == {**right, "reward": 0}
