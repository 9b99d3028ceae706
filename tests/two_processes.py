"""Train a few steps on as many processes as torchrun has started; run by test_training_trainer.

Usage: two_processes.py FOLDER BATCH_SIZE
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import tiny
import torch
from transformers import Trainer, TrainingArguments

from collapse_theory.training import (
    CollapseCallback,
    PromptAwareRankingLoss,
    RankingCollator,
    trainer_loss,
)

PROMPTS, STEPS = 8, 3  # all prompts in one step, so that their order doesn't matter


def model() -> Any:
    """Return a model whose head starts off centre: prompts are pushed as if they were centred."""
    made = tiny.model()
    torch.nn.init.constant_(made.classifier.bias, 4.0)
    return made


def main(folder: Path, batch_size: int) -> None:
    """Train, evaluate, and leave weights and metrics in the folder."""
    data = tiny.rankings(PROMPTS)
    loss = PromptAwareRankingLoss({"open": "log(x + 0.1)", "closed": "x"})
    callback = CollapseCallback(loss, file=folder / "rewards.jsonl")
    trainer = Trainer(
        model(),
        TrainingArguments(
            str(folder / "out"),
            max_steps=STEPS,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=2,
            per_device_eval_batch_size=batch_size,
            optim="sgd",
            learning_rate=0.1,
            lr_scheduler_type="constant",
            max_grad_norm=0,
            use_cpu=True,
            ddp_backend="gloo" if "WORLD_SIZE" in os.environ else None,
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
            save_strategy="no",
        ),
        train_dataset=data,
        eval_dataset=tiny.rankings(9, seed=1),
        data_collator=RankingCollator(tiny.tokenizer(), kinds=loss.kinds),
        compute_loss_func=trainer_loss(loss),
        callbacks=[callback],
    )
    trainer.train()
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        weights = torch.cat([p.detach().reshape(-1) for p in trainer.model.parameters()])
        torch.save(weights, folder / "weights.pt")
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        found = {"metrics": metrics, "losses": losses}
        (folder / "found.json").write_text(json.dumps(found))
    trainer.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
