"""Tokenizers, models and rankings small enough for tests, made in memory with random weights."""

from __future__ import annotations

from typing import Any

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(1, 40))]


def tokenizer(pair: bool = True) -> Any:
    """Return a tokenizer of words; with `pair` it parts two segments as BERT's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if pair:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 64}
    special |= {"cls_token": "[CLS]", "sep_token": "[SEP]"} if pair else {"eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def model(seed: int = 0, labels: int = 1, dropout: float = 0.0) -> Any:
    """Return a BERT of 5000 random weights with one label."""
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig

    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(
        BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            num_labels=labels,
            initializer_range=0.3,  # so that completions differ from the start
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )


def rankings(count: int, sizes: tuple[int, ...] = (3, 4, 5), seed: int = 0) -> Any:
    """Return a dataset of rankings of random words; longer is better, some are tied."""
    import numpy as np

    from collapse_theory.training import RankingDataset

    rng = np.random.default_rng(seed)

    def words(length: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(1, 40, length))

    rows = []
    for number in range(count):
        size = sizes[number % len(sizes)]
        ranks = [*range(size - 1), size - 2 if number % 5 == 0 and size > 2 else size - 1]
        rows.append(
            {
                "prompt": f"{words(2)} w{number % 39 + 1}",
                "completions": [words(2 * (size - place)) for place in range(size)],
                "ranks": ranks,
                "kind": ("open", "closed")[number % 2],
            }
        )
    return RankingDataset.from_records(rows)
