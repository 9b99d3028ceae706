"""TRL's RewardTrainer with compute_loss overridden: all completions of a prompt at once.

    pip install trl "collapse-theory[training]"
    python trl_reward_trainer.py rankings.jsonl --model MODEL --out out

RewardTrainer compares a chosen and a rejected completion. Here a batch holds whole rankings, each
completion encoded once, and the loss is one whose outcome is known beforehand. What TRL adds to
Trainer (PEFT, quantised models, model cards) stays. RewardConfig's `center_rewards_coefficient`
becomes the domain of the loss: Centered(c) is the same penalty, with a known optimum.
"""

import argparse

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from collapse_theory import Centered
from collapse_theory.training import (
    CollapseCallback,
    RankingCollator,
    RankingDataset,
    RankingLoss,
    trainer_loss,
)


class RankingRewardTrainer(RewardTrainer):
    """RewardTrainer whose loss takes rankings."""

    # The loss is already the mean over the prompts of the whole accumulated batch.
    loss_is_scaled_for_ga = True

    def __init__(self, *args, loss, **kwargs):
        """Take RewardTrainer's arguments, and the loss."""
        super().__init__(*args, **kwargs)
        self.compute_loss_func = trainer_loss(loss)  # also: Trainer counts the prompts then
        self.label_names = ["labels"]

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset  # the collator tokenizes

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the loss of a batch of rankings, and log what RewardTrainer logs of rewards."""
        labels = inputs.pop("labels")
        outputs = model(**inputs, use_cache=False)
        rewards = outputs.logits.detach().float()  # of this process
        value = self.compute_loss_func(outputs, labels, num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            value = value * self.accelerator.num_processes  # DDP takes the mean over processes
        mode = "train" if self.model.training else "eval"
        for name in ("min", "mean", "max"):
            self._metrics[mode][f"{name}_reward"].append(getattr(torch, name)(rewards).item())
        return (value, outputs) if return_outputs else value


def main() -> None:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", default="out")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    options = parser.parse_args()

    data = RankingDataset.from_file(options.data)
    train, held_out = (Dataset.from_list(part.rows()) for part in data.split(0.1))  # TRL's type
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=1)
    loss = RankingLoss("logsigmoid(x)", Centered(0.01))
    callback = CollapseCallback(loss, file=f"{options.out}/rewards.jsonl")
    trainer = RankingRewardTrainer(
        model=model,
        args=RewardConfig(
            options.out,
            max_steps=options.steps,
            learning_rate=options.learning_rate,
            remove_unused_columns=False,  # the collator reads prompt, completions, ranks
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            eval_strategy="steps",
            eval_steps=max(options.steps // 4, 1),
        ),
        processing_class=tokenizer,
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=RankingCollator(tokenizer),
        compute_metrics=callback,
        callbacks=[callback],
        loss=loss,
    )
    trainer.train()
    print(trainer.evaluate())


if __name__ == "__main__":
    main()
