"""Train a prompt-aware reward model with transformers' Trainer.

    python trainer.py rankings.jsonl --model microsoft/deberta-v3-base --out out
    torchrun --nproc-per-node 2 trainer.py rankings.jsonl ...

`rankings.jsonl` has a prompt, its completions best first (or with `ranks` or `scores`) and a kind,
"open" or "closed", on each line; docs/training.md has the other layouts that are read.
"""

import argparse

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)

from collapse_theory.training import (
    CollapseCallback,
    PromptAwareRankingLoss,
    RankingCollator,
    RankingDataset,
    trainer_loss,
)


def main() -> None:
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="rankings: JSON lines or Parquet")
    parser.add_argument("--model", default="microsoft/deberta-v3-base")
    parser.add_argument("--out", default="out")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    options = parser.parse_args()

    # Open-ended prompts get spread-out rewards, closed-ended ones two-valued rewards.
    loss = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"})
    data = RankingDataset.from_file(options.data, kinds=loss.kinds)
    train, held_out = data.split(0.1)
    print(data.report)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=1)
    if tokenizer.pad_token is None:  # decoders often have none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id

    callback = CollapseCallback(
        loss, file=f"{options.out}/rewards.jsonl", figure=f"{options.out}/live.png"
    )
    trainer = Trainer(
        model,
        TrainingArguments(
            options.out,
            max_steps=options.steps,
            learning_rate=options.learning_rate,
            per_device_train_batch_size=4,  # prompts, of 8 completions each
            gradient_accumulation_steps=2,
            eval_strategy="steps",
            eval_steps=max(options.steps // 10, 1),
        ),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=RankingCollator(tokenizer, kinds=loss.kinds),
        compute_loss_func=trainer_loss(loss),
        callbacks=[callback],
    )
    trainer.train()
    trainer.save_model()
    for one in callback.measures["eval"].kinds:
        print(f"{one.kind}: distance to the prediction {one.distance:.3f}, gap {one.gap:.3f}")


if __name__ == "__main__":
    main()
