"""Fine-tuning all weights of an encoder, by transformers' `Trainer`.

Several devices, mixed precision and resuming are Trainer's and accelerate's own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from collapse_theory.data.dataset import RankingDataset
from collapse_theory.experiment.cache import Cache
from collapse_theory.experiment.encoder import loading, model_path
from collapse_theory.experiment.features import Table
from collapse_theory.experiment.files import write_json
from collapse_theory.experiment.progress import Progress
from collapse_theory.experiment.prompts import PromptSet
from collapse_theory.experiment.runs import Run
from collapse_theory.experiment.settings import Setting
from collapse_theory.experiment.train import Trace
from collapse_theory.experiment.workers import threads
from collapse_theory.training.collator import RankingCollator, to_grid
from collapse_theory.training.trainer import trainer_loss

__all__ = ["fine_tune", "full_table"]

MEASURED = 4  # times, after the start: each costs as much as some steps
SOUND = "sound.json"  # written when a checkpoint is whole, with the hashes of its files
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def full_table(prompts: PromptSet) -> Table:
    """Return the prompts' table without features."""
    ranks = prompts.ranks
    nothing = np.zeros((*ranks.shape, 0), dtype=np.float32)
    return Table(nothing, ranks, prompts.kinds, len(prompts.train))


def fine_tune(
    prompts: PromptSet, run: Run, setting: Setting, folder: Path, identity: str, told: Progress
) -> Trace:
    """Fine-tune an encoder, from its newest whole checkpoint on where there is one.

    The trained model and its tokenizer go to ``folder``/model.
    """
    grid = sorted({round(setting.steps * part / MEASURED) for part in range(MEASURED + 1)})
    with threads(min(2, os.cpu_count() or 1)), _quiet():
        model, tokenizer = _loaded(setting, run.seed)
        loss = run.objective.loss()
        collator = RankingCollator(
            tokenizer, setting.max_length, kinds=loss if run.objective.aware else None
        )
        notes = _Notes(prompts, collator, Cache(folder / "logits", told.say), identity, grid, told)
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
            told.say(f"{folder / 'logits'} lacks logits noted on the way; the run begins again")
            latest = None
        if latest is None:
            notes.note(model, 0)
        trainer.train(resume_from_checkpoint=None if latest is None else str(latest))
        if trainer.is_world_process_zero():
            trainer.save_model(str(folder / "model"))
            tokenizer.save_pretrained(str(folder / "model"))
    return Trace(np.array(grid), notes.logits())


def _arguments(folder: Path, setting: Setting, seed: int) -> TrainingArguments:
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
    path = model_path(setting.encoder)
    with loading(path):
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


class _Notes(TrainerCallback):
    """Notes all prompts' logits at the steps of a grid, marks whole checkpoints, tells progress."""

    def __init__(
        self,
        prompts: PromptSet,
        collator: RankingCollator,
        cache: Cache,
        identity: str,
        grid: Sequence[int],
        told: Progress,
    ) -> None:
        self.prompts, self.collator, self.cache = prompts, collator, cache
        self.identity, self.grid, self.told = identity, grid, told
        self._noted: dict[int, np.ndarray] = {}

    def recall(self, step: int) -> bool:
        """Take over what was noted up to a step; return whether all of it was there."""
        for at in (at for at in self.grid if at <= step):
            found = self.cache.get(self._key(at), self.prompts.ranks.shape)
            if found is None:
                return False
            self._noted[at] = found
        self.told.advance(step)
        return True

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

    def logits(self) -> np.ndarray:
        """Return what was noted, shape (S, N, K)."""
        return np.stack([self._noted[step] for step in self.grid])

    def _key(self, step: int) -> str:
        return f"step-{step:06d}-{self.identity[:16]}"

    def note(self, model: Any, step: int, write: bool = True) -> None:
        """Note all prompts' logits."""
        rankings, size = self.prompts.rankings, self.prompts.ranks.shape[1]
        device, training = next(model.parameters()).device, model.training
        rows = []
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(rankings), 4):
                batch = self.collator(rankings[start : start + 4])
                ranks = batch.pop("labels")["ranks"]
                inputs = {name: value.to(device) for name, value in batch.items()}
                grid = to_grid(model(**inputs).logits.float().cpu(), ranks)
                grid = grid.masked_fill(ranks < 0, 0.0).numpy()
                rows.append(np.pad(grid, ((0, 0), (0, size - grid.shape[1]))))
        model.train(training)
        self._noted[step] = np.concatenate(rows)
        if write:
            self.cache.put(self._key(step), self._noted[step])


def _latest(folder: Path, identity: str, told: Progress) -> Path | None:
    """Return the newest whole checkpoint; damaged ones are named and removed."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    for path in sorted(found, key=_step, reverse=True):
        try:
            noted = json.loads((path / SOUND).read_text(encoding="utf-8"))
            if noted["training"] == identity and noted["files"] == _hashes(path):
                return path
        except (OSError, ValueError, KeyError, TypeError):
            pass
        told.say(f"{path} is damaged, or cut short; the checkpoint before it is used")
        shutil.rmtree(path)
    return None


def _step(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SOUND)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Trainer's own reports and bars off the screen: the progress bar is there for that."""
    from transformers.utils import logging as messages

    bars, level = messages.is_progress_bar_enabled(), messages.get_verbosity()
    messages.disable_progress_bar()
    messages.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        messages.set_verbosity(level)
        if bars:
            messages.enable_progress_bar()
