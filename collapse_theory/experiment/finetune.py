"""Fine-tuning all weights of an encoder, by transformers' `Trainer`.

Several devices, mixed precision and resuming are Trainer's and accelerate's own. What is added: a
checkpoint that a kill has cut short doesn't count, and the logits noted on the way are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from collapse_theory.data import RankingDataset
from collapse_theory.experiment.encode import loading, quiet
from collapse_theory.experiment.setting import Run, Setting
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.train import Trace
from collapse_theory.experiment.work import Progress, keep, kept, threads
from collapse_theory.files import write_json
from collapse_theory.training import RankingCollator, trainer_loss
from collapse_theory.training.trainer import evaluate_all

MEASURED = 4  # times, after the start: each costs as much as some steps
NOTED_TOGETHER = 4  # prompts
SOUND = "sound.json"  # written when a checkpoint is whole, with the hashes of its files
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def fine_tune(
    prompts: PromptSet, run: Run, setting: Setting, folder: Path, identity: str, told: Progress
) -> Trace:
    """Fine-tune an encoder, from its newest whole checkpoint on where there is one.

    The trained model and its tokenizer go to ``folder``/model. `identity` says which training this
    is: a checkpoint of another isn't used.
    """
    from transformers import PrinterCallback, Trainer

    grid = sorted({round(setting.steps * part / MEASURED) for part in range(MEASURED + 1)})
    with threads(min(2, os.cpu_count() or 1)), quiet():
        model, tokenizer = _loaded(setting, run.seed)
        loss = run.objective.loss()
        collator = RankingCollator(
            tokenizer, setting.max_length, kinds=loss if run.objective.aware else None
        )
        path = folder / "logits.safetensors"
        notes = _Notes(prompts, collator, path, identity, grid, told)
        trainer = Trainer(
            model=model,
            args=_arguments(folder, setting, run.seed),
            train_dataset=RankingDataset(prompts.train),  # pyright: ignore[reportArgumentType]
            data_collator=collator,
            compute_loss_func=trainer_loss(loss),
            callbacks=[notes],
        )
        trainer.remove_callback(PrinterCallback)  # stdout is the command's own
        latest = _latest(folder, identity, told)
        if latest is not None and not notes.recall(_step(latest)):
            told.say(f"{path} lacks logits noted on the way; the run begins again")
            latest = None
        if latest is None:
            notes.note(model, 0)
        trainer.train(resume_from_checkpoint=None if latest is None else str(latest))
        if trainer.is_world_process_zero():
            trainer.save_model(str(folder / "model"))
            tokenizer.save_pretrained(str(folder / "model"))
    return Trace(np.array(grid), np.stack([notes.noted[step] for step in grid]))


def _arguments(folder: Path, setting: Setting, seed: int) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        max_steps=setting.steps,
        per_device_train_batch_size=setting.batch,
        learning_rate=setting.rate,
        lr_scheduler_type="cosine",
        warmup_steps=setting.warmup,
        weight_decay=0.01,
        save_strategy="steps",
        save_steps=min(setting.checkpoint_every, setting.steps),
        save_total_limit=2,
        # Half the memory and time where the hardware has it; a CPU gains nothing.
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )


def _loaded(setting: Setting, seed: int) -> tuple[Any, Any]:
    with loading(setting.encoder) as path:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(path)
        config = AutoConfig.from_pretrained(path, num_labels=1)
        for name in DROPOUT:
            # Its noise in the rewards is wider than the distances that are measured.
            if isinstance(getattr(config, name, None), float):
                setattr(config, name, 0.0)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # of the new head
            model = AutoModelForSequenceClassification.from_pretrained(
                path, config=config, dtype=torch.float32
            )
    return model, tokenizer


@dataclass(eq=False)
class _Notes(TrainerCallback):
    """Notes all prompts' logits at the steps of a grid, marks whole checkpoints, tells progress."""

    prompts: PromptSet
    collator: RankingCollator
    path: Path
    identity: str
    grid: Sequence[int]
    told: Progress
    noted: dict[int, np.ndarray] = field(default_factory=dict)

    def recall(self, step: int) -> bool:
        """Take over what was noted up to a step; return whether all of it was there."""
        found = kept(self.path, self.identity, self.told.say) or {}
        self.noted = {at: found[f"{at}"] for at in self.grid if at <= step and f"{at}" in found}
        whole = len(self.noted) == sum(at <= step for at in self.grid)
        self.told.advance(step if whole else 0)
        return whole

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the logits where they are to be measured."""
        self.told.advance()
        if state.global_step in self.grid:
            self.note(kwargs["model"], state.global_step, state.is_world_process_zero)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that a checkpoint is whole."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(folder / SOUND, {"training": self.identity, "files": _hashes(folder)})

    def note(self, model: Any, step: int, write: bool = True) -> None:
        """Note all prompts' logits."""
        done = evaluate_all(model, self.prompts.rankings, self.collator, NOTED_TOGETHER)
        self.noted[step] = done.logits
        if write:
            keep(self.path, self.identity, {f"{at}": logits for at, logits in self.noted.items()})


def _latest(folder: Path, identity: str, told: Progress) -> Path | None:
    """Return the newest whole checkpoint; damaged ones are named and removed."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    for path in sorted(found, key=_step, reverse=True):
        try:
            noted = json.loads((path / SOUND).read_text(encoding="utf-8"))
            if noted == {"training": identity, "files": _hashes(path)}:
                return path
        except (OSError, ValueError):
            pass
        told.say(f"{path} is damaged, or cut short; the checkpoint before it is used")
        shutil.rmtree(path)
    return None


def _step(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SOUND)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
