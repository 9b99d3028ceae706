"""Train a reward model with Lightning: the loss and the collator are all that it needs.

    python lightning_reward.py rankings.jsonl --model microsoft/deberta-v3-base --out out

`rankings.jsonl` is as in trainer.py beside this file. Accumulated batches are averaged batch by
batch in Lightning: the prompts of a smaller last batch count for more than they do in Trainer.
"""

import argparse

import lightning
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from collapse_theory.training import (
    PromptAwareRankingLoss,
    RankingCollator,
    RankingDataset,
    serve,
    trainer_loss,
)


class Reward(lightning.LightningModule):
    """A reward model and its loss."""

    def __init__(self, model, loss, learning_rate):
        super().__init__()
        self.model = model.train()  # from_pretrained has left it in eval mode
        self.loss, self.learning_rate = trainer_loss(loss), learning_rate

    def training_step(self, batch, _):
        """Return the loss of a batch of the collator's."""
        inputs = {name: of for name, of in batch.items() if name != "labels"}
        value = self.loss(self.model(**inputs), batch["labels"])
        self.log("loss", value, batch_size=len(batch["labels"]["ranks"]))
        return value

    def configure_optimizers(self):
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="rankings: JSON lines or Parquet")
    parser.add_argument("--model", default="microsoft/deberta-v3-base")
    parser.add_argument("--out", default="out")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    options = parser.parse_args()

    loss = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"})
    data = RankingDataset.from_file(options.data, kinds=loss.kinds)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=1)
    loader = DataLoader(
        data, batch_size=4, shuffle=True, collate_fn=RankingCollator(tokenizer, kinds=loss.kinds)
    )
    trainer = lightning.Trainer(
        max_steps=options.steps, default_root_dir=options.out, enable_checkpointing=False
    )
    trainer.fit(Reward(model, loss, options.learning_rate), loader)
    serve(model, loss).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    print(f"loss {trainer.callback_metrics['loss']:.4f}")


if __name__ == "__main__":
    main()
