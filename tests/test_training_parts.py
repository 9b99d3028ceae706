"""Completions a part at a time, and the loss for sentence-transformers."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest

import collapse_theory as ct

torch = pytest.importorskip("torch", reason="the extra collapse-theory[training]")
pytest.importorskip("transformers", reason="the extra collapse-theory[training]")

import tiny  # noqa: E402

from collapse_theory.training import (  # noqa: E402
    CrossEncoderRankingLoss,
    PromptAwareRankingLoss,
    RankingLoss,
    in_parts,
    rows_of,
)


def gradients(model: Any) -> Any:
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([grad.flatten() for grad in grads])


def test_parts_have_the_gradient_of_the_whole_and_its_dropout():
    model, loss = tiny.model(dropout=0.2).double().train(), RankingLoss("log(x + 0.1)")
    ids = torch.randint(1, 40, (64, 5), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    seen: list[int] = []
    kept: list[Any] = []

    def logits(part: Any) -> Any:
        seen.append(len(part["input_ids"]))
        return model(**part).logits

    def watched(module: Any, args: Any, output: Any) -> None:
        kept.append(weakref.ref(output))

    # The middle of the feed-forward layer, which the gradient needs and nothing else holds.
    model.bert.encoder.layer[0].intermediate.register_forward_hook(watched)
    found = []
    for ways in (lambda: torch.cat([logits(p) for p in rows_of(batch, 16)]), None):
        torch.manual_seed(1)
        model.zero_grad()
        seen.clear(), kept.clear()
        made = in_parts(logits, rows_of(batch, 16)) if ways is None else ways()
        assert sum(ref() is not None for ref in kept) == (0 if ways is None else 4)
        loss(made.view(1, 64)).backward()
        found.append(gradients(model))
    assert seen == [16] * 8, "each part twice"
    assert torch.allclose(*found, rtol=1e-9, atol=1e-15)
    with torch.no_grad():
        assert in_parts(logits, rows_of(batch, 60)).shape == (64, 1)


# -- sentence-transformers ---------------------------------------------------------------

QUERIES = ["w1 w2", "w3", "w4 w5"]
DOCUMENTS = [["w6 w7 w8", "w9", "w10 w11"], ["w12", "w13 w14"], ["w15", "w16", "w17 w18", "w1"]]
LABELS = [[2.0, 0.0, 0.5], [0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
RANKS = [[0, 2, 1, -1], [1, 0, -1, -1], [0, 1, 0, 1]]


@pytest.fixture
def encoder(tmp_path):
    cross = pytest.importorskip("sentence_transformers.cross_encoder")
    tiny.model().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return cross.CrossEncoder(str(tmp_path), device="cpu")


def expected(encoder: Any, loss: Any, *kinds: Any) -> Any:
    pairs = [(q, d) for q, of in zip(QUERIES, DOCUMENTS, strict=True) for d in of]
    made = encoder(encoder.preprocess(pairs))["scores"].view(-1)
    logits = torch.zeros(3, 4)
    logits = logits.masked_scatter(torch.tensor(RANKS) >= 0, made)
    return loss(logits, *kinds, RANKS)


@pytest.mark.parametrize("size", [None, -1, 2])
def test_a_cross_encoder_has_the_loss_of_its_logits(encoder, size):
    encoder.eval()
    labels = [torch.tensor(of) for of in LABELS]
    loss = CrossEncoderRankingLoss(encoder, mini_batch_size=size, loss="log(x + 0.1)")
    value = loss((QUERIES, DOCUMENTS), labels)
    value.backward()
    found = gradients(encoder)
    encoder.zero_grad()
    wanted = expected(encoder, RankingLoss("log(x + 0.1)"))
    wanted.backward()
    assert torch.allclose(value, wanted, rtol=1e-5)
    assert torch.allclose(found, gradients(encoder), rtol=1e-3, atol=1e-6)
    aware = PromptAwareRankingLoss({"a": "x", "b": "log(x)"}, ct.Box(-1, 1))
    kind = lambda query: "a" if " " in query else "b"  # noqa: E731
    mixed = CrossEncoderRankingLoss(encoder, None, size, loss=aware, kind=kind)
    value = mixed((QUERIES, DOCUMENTS), labels)
    assert torch.allclose(value, expected(encoder, aware, ["a", "b", "a"]), rtol=1e-5)
    assert loss.get_config_dict()["loss"] == RankingLoss("log(x + 0.1)").to_dict()


def test_a_cross_encoder_trains(encoder, tmp_path):
    datasets = pytest.importorskip("datasets")
    from sentence_transformers.cross_encoder import (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )

    data = datasets.Dataset.from_dict({"query": QUERIES, "docs": DOCUMENTS, "labels": LABELS})
    loss = CrossEncoderRankingLoss(encoder, mini_batch_size=4, loss="log(x + 0.1)")
    args = CrossEncoderTrainingArguments(
        str(tmp_path / "out"),
        max_steps=20,
        per_device_train_batch_size=3,
        learning_rate=1e-2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
    )
    trainer = CrossEncoderTrainer(model=encoder, args=args, train_dataset=data, loss=loss)
    trainer.train()
    first, *_, last = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert last < first - 0.02


def test_faults_of_cross_encoders(encoder):
    with pytest.raises(ct.CollapseError, match="give kind="):
        CrossEncoderRankingLoss(encoder, loss=PromptAwareRankingLoss({"a": "x"}))
    loss = CrossEncoderRankingLoss(encoder, loss="x")
    with pytest.raises(ct.CollapseError, match="a label for each document"):
        loss((QUERIES, DOCUMENTS), LABELS[:2])
    with pytest.raises(ct.CollapseError, match="3 labels"):
        CrossEncoderRankingLoss(SimpleNamespace(num_labels=3), loss="x")
