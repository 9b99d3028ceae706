"""One training: of a head on frozen features, or of all weights of an encoder.

A head's is a function of the table, the run and the setting. All weights are trained by
transformers' `Trainer`: several devices, mixed precision and resuming are its own and accelerate's.
What is added: each checkpoint also holds the logits noted so far, with a hash of the whole, so that
one that a kill has cut short doesn't count.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, LinearLR
from transformers import TrainerCallback

from collapse_theory.data import RankingDataset
from collapse_theory.experiment.encode import Table, load_tokenizer, loading, quiet
from collapse_theory.experiment.setting import Run, Setting
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.work import Progress, threads
from collapse_theory.files import keep, kept
from collapse_theory.training.callback import evaluate_all
from collapse_theory.training.collator import RankingCollator
from collapse_theory.training.objective import mean_over_prompts
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.training.trainer import trainer_loss

_SEEDING = threading.Lock()  # torch has one generator for all threads


class Trace(NamedTuple):
    """All prompts' logits on the way, (S, N, K), 0 for padding; after these steps, the last too."""

    steps: np.ndarray
    logits: np.ndarray


def identity(setting: Setting, run: Run, table: Table) -> str:
    """Return a hash of all that a run depends on."""
    rankings = [one.to_dict() for one in table.prompts.rankings]
    digest = hashlib.sha256(json.dumps([setting.to_dict(), run.to_dict(), rankings]).encode())
    digest.update(table.features.tobytes())
    return digest.hexdigest()


# -- what happens at which step ----------------------------------------------------------


def measured_at(steps: int) -> tuple[int, ...]:
    """Return the steps at which all prompts' rewards are noted: closer together early on.

    >>> measured_at(12)
    (0, 1, 2, 3, 4, 5, 10, 12)
    """
    grid = {0, 1, 2, 3, 4, steps}
    for low, high, step in ((5, 50, 5), (60, 200, 20), (250, 500, 50), (500, steps, 100)):
        grid.update(range(low, high, step))
    return tuple(sorted(step for step in grid if step <= steps))


def orders(seed: int, steps: int, prompts: int, batch: int) -> np.ndarray:
    """Return the prompts of each step, (steps, batch): a new random order for each epoch."""
    epochs = -(-steps * batch // prompts)
    each = [np.random.default_rng((seed, epoch)).permutation(prompts) for epoch in range(epochs)]
    return np.concatenate(each)[: steps * batch].reshape(steps, batch)


def warmed_cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int) -> ChainedScheduler:
    """Return the schedule of a learning rate: a linear rise times a cosine down to 0."""
    rise = LinearLR(optimizer, 1 / max(warmup, 1), total_iters=max(warmup, 1) - 1)
    return ChainedScheduler([rise, CosineAnnealingLR(optimizer, steps)], optimizer)


# -- the head ----------------------------------------------------------------------------


def new_head(inputs: int, width: int, seed: int) -> nn.Module:
    """Return a perceptron with two hidden layers and GELU, of random weights by the seed."""
    with _SEEDING, torch.random.fork_rng(devices=[]):  # torch's own generator is left as it was
        torch.manual_seed(seed)
        first, second, last = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, 1)
    return nn.Sequential(first, nn.GELU(), second, nn.GELU(), last, nn.Flatten(-2))


def train(table: Table, run: Run, setting: Setting, folder: Path, told: Progress) -> Trace:
    """Train a head to the end, or read back what it found; the head goes to ``folder``."""
    path, made_from = folder / "head.safetensors", identity(setting, run, table)
    found = kept(path, made_from, told.say)
    if found is None:
        found = _trained(table, run, setting, told)
        keep(path, made_from, found)
    else:
        told.advance(setting.steps)
    return Trace(np.array(measured_at(setting.steps)), found["logits"])


def _trained(table: Table, run: Run, setting: Setting, told: Progress) -> dict[str, np.ndarray]:
    """Return the logits noted on the way, (S, N, K), and the trained head's weights.

    Features are standardised first, with mean and scale of the training prompts' completions: the
    two hidden states differ tenfold in scale.
    """
    count, ranks = len(table.prompts.train), torch.from_numpy(table.prompts.ranks)
    present = ranks >= 0
    sample = table.features[:count][present[:count].numpy()].astype(np.float64)
    mean, scale = sample.mean(0).astype(np.float32), sample.std(0).astype(np.float32)
    # A constant feature is 0 for every training text, and stays small for others.
    scale = np.where(scale > 1e-8, scale, np.float32(1.0))
    features = torch.from_numpy((table.features - mean) / scale)
    loss, known = run.objective.loss(), run.objective.kinds
    kinds = torch.tensor([known.index(kind) if known else 0 for kind in table.prompts.kinds])
    head = new_head(features.shape[2], setting.width, run.seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=setting.rate)
    schedule = warmed_cosine(optimizer, setting.steps, setting.warmup)
    grid, noted = set(measured_at(setting.steps)), []

    def note() -> None:
        with torch.inference_mode():
            noted.append(head(features).masked_fill(~present, 0.0).numpy())

    note()
    order = torch.from_numpy(orders(run.seed, setting.steps, count, setting.batch))
    for step, rows in enumerate(order, start=1):
        value = loss_of(loss, head(features[rows]), kinds[rows], ranks[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step in grid:
            note()
        told.advance()
        if told.over:
            raise InterruptedError("another run has failed")
    weights = {f"head.layers.{name}": of.numpy() for name, of in head.state_dict().items()}
    return {"logits": np.stack(noted), "head.mean": mean, "head.scale": scale, **weights}


def loss_of(loss: AnyLoss, logits: Tensor, kinds: Any, ranks: Any) -> Tensor:
    """Return the mean loss of prompts, whichever kind of loss it is."""
    return mean_over_prompts(*loss.loss_and_counts(logits, kinds, ranks), None)


# -- all weights -------------------------------------------------------------------------

MEASURED = 4  # times, after the start: each costs as much as some steps
NOTED_TOGETHER = 4  # prompts
NOTED = "noted.safetensors"  # the last file of a checkpoint, with a hash of the others
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def fine_tune(table: Table, run: Run, setting: Setting, folder: Path, told: Progress) -> Trace:
    """Fine-tune an encoder, from its newest whole checkpoint on where there is one.

    The trained model and its tokenizer go to ``folder``/model.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    grid = sorted({round(setting.steps * part / MEASURED) for part in range(MEASURED + 1)})
    with threads(min(2, os.cpu_count() or 1)), quiet():
        model, tokenizer = _loaded(setting, run.seed)
        loss = run.objective.loss()
        kinds = loss if run.objective.aware else None
        collator = RankingCollator(tokenizer, setting.max_length, kinds=kinds)
        notes = _Notes(table.prompts, collator, identity(setting, run, table), grid, told)
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=setting.steps,
            per_device_train_batch_size=setting.batch,
            learning_rate=setting.rate,
            lr_scheduler_type="cosine",
            warmup_steps=setting.warmup,
            weight_decay=0.01,
            save_steps=min(setting.checkpoint_every, setting.steps),
            save_total_limit=2,
            # Half the memory and time where the hardware has it; a CPU gains nothing.
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
            seed=run.seed,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=RankingDataset(table.prompts.train),  # pyright: ignore[reportArgumentType]
            data_collator=collator,
            compute_loss_func=trainer_loss(loss),
            callbacks=[notes],
        )
        trainer.remove_callback(PrinterCallback)  # stdout is the command's own
        latest = notes.newest(folder)
        if latest is None:
            notes.note(model, 0)
        trainer.train(resume_from_checkpoint=latest)
        if trainer.is_world_process_zero():
            trainer.save_model(str(folder / "model"))
            tokenizer.save_pretrained(str(folder / "model"))
    return Trace(np.array(grid), np.stack([notes.noted[str(step)] for step in grid]))


def _loaded(setting: Setting, seed: int) -> tuple[Any, Any]:
    with loading(setting.encoder) as path, torch.random.fork_rng():
        from transformers import AutoConfig, AutoModelForSequenceClassification

        tokenizer = load_tokenizer(path)
        config = AutoConfig.from_pretrained(path, num_labels=1)
        for name in DROPOUT:
            # Its noise in the rewards is wider than the distances that are measured.
            if isinstance(getattr(config, name, None), float):
                setattr(config, name, 0.0)
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
        torch.manual_seed(seed)  # of the new head
        make = AutoModelForSequenceClassification.from_pretrained
        return make(path, config=config, dtype=torch.float32), tokenizer


@dataclass(eq=False)
class _Notes(TrainerCallback):
    """Notes all prompts' logits at the steps of a grid, with each checkpoint; tells progress."""

    prompts: PromptSet
    collator: RankingCollator
    identity: str
    grid: Sequence[int]
    told: Progress
    noted: dict[str, np.ndarray] = field(default_factory=dict)  # by step

    def newest(self, folder: Path) -> str | None:
        """Take over the newest whole checkpoint; damaged ones are named and removed."""
        found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
        for path in sorted(found, key=lambda path: int(path.name[11:]), reverse=True):
            noted = kept(path / NOTED, self._made_from(path), lambda text: None)
            if noted is not None:
                self.noted = noted
                self.told.advance(int(path.name[11:]))
                return str(path)
            self.told.say(f"{path} is damaged, or cut short; the checkpoint before it is used")
            shutil.rmtree(path)
        return None

    def note(self, model: Any, step: int) -> None:
        """Note all prompts' logits."""
        done = evaluate_all(model, self.prompts.rankings, self.collator, NOTED_TOGETHER)
        self.noted[str(step)] = done.logits

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the logits where they are to be measured."""
        self.told.advance()
        if state.global_step in self.grid:
            self.note(kwargs["model"], state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add what was noted to the checkpoint."""
        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            keep(path / NOTED, self._made_from(path), self.noted)

    def _made_from(self, checkpoint: Path) -> str:
        digest = hashlib.sha256(self.identity.encode())
        for path in sorted(checkpoint.iterdir()):
            if path.is_file() and path.name != NOTED:
                digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()
