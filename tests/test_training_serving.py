"""What is saved gives the rewards that were predicted: in a fresh process, through TRL's path."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import tiny  # noqa: E402
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments  # noqa: E402

import collapse_theory as ct  # noqa: E402
from collapse_theory.errors import CollapseError  # noqa: E402
from collapse_theory.training import (  # noqa: E402
    CollapseCallback,
    PromptAwareRankingLoss,
    RankingCollator,
    RankingLoss,
    serve,
    trainer_loss,
)

LOSSES = {
    "box": lambda: RankingLoss("log(x + 0.1)", ct.Box(-1, 2)),
    "link": lambda: RankingLoss(ct.design("beta(4, 2)")),
    "kinds": lambda: PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"}),
}

FRESH = """
import json, sys, torch
import collapse_theory.training
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
tokens = tokenizer(json.loads(sys.argv[2]), padding=True, return_tensors="pt")
with torch.no_grad():
    print(json.dumps(model(**tokens).logits[:, 0].tolist()))
"""


def saved(folder, loss, *, steps=2):
    """Train a little, save by Trainer, and return the model that was trained."""
    callback, data = CollapseCallback(loss), tiny.rankings(6)
    trainer = Trainer(
        tiny.model(),
        TrainingArguments(
            str(folder / "out"),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            max_steps=steps,
            save_steps=1,
        ),
        train_dataset=data,
        data_collator=RankingCollator(tiny.tokenizer(), kinds=loss.kinds),
        compute_loss_func=trainer_loss(loss),
        processing_class=tiny.tokenizer(),
        callbacks=[callback],
    )
    trainer.train()
    trainer.save_model(str(folder / "served"))
    return trainer.model.eval()


def rewards_of(model, loss, texts):
    tokens = tiny.tokenizer()(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return loss.report(model(**tokens).logits)[:, 0].numpy()


TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8"]


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_model_gives_rewards_in_a_fresh_process(tmp_path, name):
    loss = LOSSES[name]()
    expected = rewards_of(saved(tmp_path, loss), loss, TEXTS)
    files = {path.name for path in (tmp_path / "served").iterdir()}
    assert "model.safetensors" in files
    assert not [name for name in files if name.endswith((".py", ".pkl"))]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "served"), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(expected, abs=1e-6)


def test_checkpoints_are_resumed_and_served_models_saved_again(tmp_path):
    loss = LOSSES["box"]()
    model = saved(tmp_path, loss)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "served")
    assert again.loss == loss
    again.save_pretrained(tmp_path / "again")
    third = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    tokens = tiny.tokenizer()(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(third(**tokens).logits, again(**tokens).logits)
    assert rewards_of(again.model, loss, TEXTS) == pytest.approx(rewards_of(model, loss, TEXTS))
    with pytest.raises(CollapseError, match="to train it on take its"):
        again.train()(**tokens)
    callback = CollapseCallback(loss)
    trainer = Trainer(
        tiny.model(seed=3),
        TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to="none", max_steps=2),
        train_dataset=tiny.rankings(6),
        data_collator=RankingCollator(tiny.tokenizer()),
        compute_loss_func=trainer_loss(loss),
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert rewards_of(trainer.model.eval(), loss, TEXTS) == pytest.approx(
        rewards_of(model, loss, TEXTS), abs=1e-6
    )


def test_kinds_with_different_boxes_are_asked_for(tmp_path):
    boxes = {"open": ct.Box(0, 1), "closed": ct.Box(5, 6)}
    loss = PromptAwareRankingLoss({"open": "log(x + 0.1)", "closed": "x"}, boxes)
    model = serve(tiny.model(), loss)
    model.save_pretrained(tmp_path)
    tokens = tiny.tokenizer()(TEXTS, padding=True, return_tensors="pt")
    served = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad(), pytest.raises(CollapseError, match="kinds= is needed"):
        served(**tokens)
    closed = AutoModelForSequenceClassification.from_pretrained(tmp_path, kind="closed")
    with torch.no_grad():
        rewards = closed(**tokens).logits
        assert torch.equal(served(**tokens, kinds=["closed"] * 3).logits, rewards)
    assert (rewards > 5).all()


def test_rewards_that_are_the_logits_are_saved_as_ever(tmp_path):
    loss = RankingLoss("logsigmoid(x)", ct.Free())
    serve(tiny.model(), loss).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
    settings = json.loads((tmp_path / "collapse_theory.json").read_text())
    assert RankingLoss.from_dict(settings) == loss


@pytest.mark.filterwarnings("ignore")  # of TRL and what it uses
def test_trl_takes_the_rewards(tmp_path):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    from transformers import LlamaConfig, LlamaForCausalLM

    loss = LOSSES["link"]()
    model, tokenizer = saved(tmp_path, loss), tiny.tokenizer(pair=False)
    torch.manual_seed(0)
    policy = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    seen = []

    class Seen(trl.GRPOTrainer):
        def _calculate_rewards(self, inputs, prompts, completions, *args):
            found = super()._calculate_rewards(inputs, prompts, completions, *args)
            seen.append(([p + c for p, c in zip(prompts, completions, strict=True)], found))
            return found

    trainer = Seen(
        model=policy,
        reward_funcs=str(tmp_path / "served"),
        args=trl.GRPOConfig(
            str(tmp_path / "grpo"),
            use_cpu=True,
            bf16=False,
            report_to="none",
            max_steps=1,
            num_generations=4,
            per_device_train_batch_size=4,
            max_completion_length=4,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": "w1 w2"}, {"prompt": "w3"}]),
        processing_class=tokenizer,
    )
    trainer.train()
    texts, found = seen[0]
    served = trainer.reward_processing_classes[0](
        text=texts,
        return_tensors="pt",
        padding=True,
        padding_side="right",
        add_special_tokens=False,
    )
    with torch.no_grad():
        expected = loss.report(model(**served).logits)[:, 0]
    assert found[:, 0].numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert np.ptp(found[:, 0].numpy()) > 0
