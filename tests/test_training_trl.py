"""`RankingTrainer` beside TRL's `RewardTrainer`: the same texts, loss and logs; kinds; K-wise."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

import tiny  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

import collapse_theory as ct  # noqa: E402
from collapse_theory.errors import CollapseError  # noqa: E402
from collapse_theory.training import (  # noqa: E402
    PromptAwareRankingLoss,
    RankingLoss,
    RankingTrainer,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and what it uses

REWARD_CONFIG = trl.RewardConfig
CHAT = (
    "{% for m in messages %}{{ 'w1' if m.role == 'user' else 'w2' }} {{ m.content }} {% endfor %}"
)
PAIRS = {
    "texts": [{"chosen": f"w{k} w4", "rejected": "w5 w6 w7"} for k in (1, 2, 3)],
    "prompts": [{"prompt": "w9 ", "chosen": f"w{k} w4", "rejected": "w5"} for k in (1, 2, 3)],
    "talks": [
        {
            "prompt": [{"role": "user", "content": "w9"}],
            "chosen": [{"role": "assistant", "content": f"w{k} w4"}],
            "rejected": [{"role": "assistant", "content": "w5"}],
        }
        for k in (1, 2, 3)
    ],
}


def tokenizer():
    made = tiny.tokenizer(pair=False)
    made.chat_template = CHAT
    return made


def llama(seed=0):
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(tiny.VOCABULARY),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
            num_labels=1,
            pad_token_id=0,
        )
    )


def config(folder, **settings):
    settings = {
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "gradient_checkpointing": False,
        **settings,
    }
    return REWARD_CONFIG(str(folder), **settings)


LOGGED = ("loss", "accuracy", "margin", "min_reward", "mean_reward", "max_reward", "num_tokens")


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("margin", [False, True])
def test_pairs_train_as_by_reward_trainer(tmp_path, name, margin):
    rows = [{**row, "margin": 0.5 * k} if margin else row for k, row in enumerate(PAIRS[name])]
    logs = []
    for kind in (trl.RewardTrainer, RankingTrainer):
        trainer = kind(
            model=llama(),
            args=config(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=1),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer(),
        )
        trainer.train()
        logs.append([entry for entry in trainer.state.log_history if "loss" in entry])
    theirs, own = logs
    assert len(theirs) == len(own) == 2
    for one, other in zip(theirs, own, strict=True):
        assert {key: other[key] for key in LOGGED} == pytest.approx(
            {key: one[key] for key in LOGGED}, rel=1e-5, abs=1e-6
        )


@pytest.mark.parametrize("streamed", [False, True])
def test_rankings_of_kinds_survive_preparation(tmp_path, streamed, caplog):
    loss = PromptAwareRankingLoss({"open": "log(x + 0.1)", "closed": "x"})
    data = tiny.rankings(12)
    train = datasets.Dataset.from_list([{**row, "tools": ["search"]} for row in data.rows()])
    trainer = RankingTrainer(
        model=llama(),
        args=config(tmp_path, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=16),
        train_dataset=train.to_iterable_dataset() if streamed else train,
        eval_dataset={"held_out": data.select(range(10))},
        processing_class=tokenizer(),
        loss=loss,
    )
    assert caplog.text.count("columns not used: tools") == 1
    trainer.train()
    evaluated = [e for e in trainer.state.log_history if "eval_held_out_loss" in e]
    assert len(evaluated) == 2
    names = [n for n in evaluated[-1] if n.startswith("eval_") and not n.endswith("per_second")]
    assert {"eval_held_out_gap", "eval_held_out_collapse", "eval_accuracy"} <= set(names)
    measures = trainer.compute_metrics.measures["eval_held_out"]
    assert {one.kind for one in measures.kinds} == {"open", "closed"}
    metrics = trainer.evaluate(datasets.Dataset.from_list(data.rows()))
    assert metrics["eval_accuracy"] == pytest.approx(metrics["eval_pairs_right"], abs=1e-6)


def test_long_rankings_and_bad_rows_are_left_out(tmp_path, caplog):
    rows = [
        {"prompt": "w1", "completions": ["w2 w3", "w4"], "kind": "open"},
        {"prompt": "w1", "completions": ["w2 " * 30, "w4"], "kind": "open"},
        {"prompt": "w1", "completions": ["w2"], "kind": "open"},
    ]
    trainer = RankingTrainer(
        model=llama(),
        args=config(tmp_path, max_length=12),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(),
        loss=RankingLoss("x"),
    )
    assert len(trainer.train_dataset) == 1
    assert "line 3: 1 completion" in caplog.text


def test_what_ranking_trainer_refuses(tmp_path):
    data, given = tiny.rankings(3), {"processing_class": tokenizer()}
    with pytest.raises(CollapseError, match=r"domain=Centered\(0.01\), and leave it out"):
        RankingTrainer(
            llama(),
            config(tmp_path, center_rewards_coefficient=0.01),
            None,
            data,
            loss=RankingLoss("x"),
            **given,
        )
    trainer = RankingTrainer(
        llama(), config(tmp_path, center_rewards_coefficient=0.01), None, data, **given
    )
    assert trainer.compute_loss_func.loss.domain == ct.Centered(0.01)
    with pytest.raises(CollapseError, match="takes a RankingLoss or a PromptAwareRankingLoss"):
        RankingTrainer(llama(), config(tmp_path), None, data, loss="log(x)", **given)


DOCS = Path(ct.__file__).parents[1] / "docs" / "training.md"


def test_the_script_of_the_documentation_trains_by_kind(tmp_path, monkeypatch):
    text = DOCS.read_text(encoding="utf-8")
    (script,) = re.findall(r"```python notest\n(# TRL's quick start.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    tokenizer().save_pretrained("model")
    llama().save_pretrained("model")
    rows = [{**row, "prompt": f"w{k}"} for row in PAIRS["prompts"] for k in range(1, 9)]
    datasets.Dataset.from_list(rows).to_json("rankings.jsonl")
    names = {"Qwen/Qwen3-0.6B": "model", "trl-lib/ultrafeedback_binarized": "json"}
    for name, local in names.items():
        assert name in script
        script = script.replace(name, local)
    script = script.replace('split="train"', 'data_files="rankings.jsonl", split="train"')
    for module in (sys.modules[trl.RewardTrainer.__module__], trl):
        monkeypatch.setattr(module, "RewardConfig", config)
    found = {}
    exec(script, found)
    trainer = found["trainer"]
    assert trainer.state.global_step == 2
    loss = trainer.compute_loss_func.loss
    assert {row["kind"] for row in trainer.train_dataset} == {"closed"} < set(loss.kinds)
    trainer.save_model("served")
    served = AutoModelForSequenceClassification.from_pretrained("served")
    tokens = tokenizer()(["w1 w2", "w3"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = trainer.model.eval()(**tokens).logits
        assert torch.allclose(served(**tokens).logits, loss.rewards(logits))


def test_the_patch_of_a_pairwise_script_is_what_it_replaces():
    text = DOCS.read_text(encoding="utf-8")
    (patch,) = re.findall(r"```python notest\n(# loss = -F.log.*?)```", text, re.DOTALL)
    assert len([line for line in patch.splitlines() if line and line[0] != "#"]) == 3
    torch.manual_seed(0)
    names = {"torch": torch, "chosen": torch.randn(5, 1), "rejected": torch.randn(5, 1)}
    exec(patch, names)
    pairs = torch.cat([names["chosen"], names["rejected"]], 1)
    assert names["loss"] == RankingLoss("log(x + 0.1)")(pairs)
    patch = patch.replace('"log(x + 0.1)"', '"logsigmoid(x)", ct.Free(), normalize=False')
    exec(patch, names := {**names, "ct": ct})
    plain = torch.nn.functional.logsigmoid(names["chosen"] - names["rejected"])
    assert names["loss"].item() == pytest.approx(-plain.mean().item(), rel=1e-6)
