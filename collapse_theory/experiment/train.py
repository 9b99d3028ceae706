"""One training: of a head on frozen features, or, by transformers' Trainer, of a whole encoder."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, LinearLR
from transformers import TrainerCallback

from collapse_theory.capacity import Head, head_path
from collapse_theory.data import RankingDataset
from collapse_theory.experiment.encode import Table, load_tokenizer, loading, quiet
from collapse_theory.experiment.setting import CERTIFIED, LINEAR, Objective, Run, Setting
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.work import Progress, threads
from collapse_theory.files import keep, kept
from collapse_theory.programs import Comparisons
from collapse_theory.training.callback import evaluate_all
from collapse_theory.training.collator import RankingCollator
from collapse_theory.training.tensors import mean_over_prompts
from collapse_theory.training.trainer import trainer_loss

_ALONE = threading.Lock()  # all threads share torch's generator, and the filters of warnings


class Trace(NamedTuple):
    """All prompts' logits after these steps, (S, N, K), 0 for padding.

    Of a certified head also what it would say of each prompt unseen, (N, K), and its penalty.
    """

    steps: np.ndarray
    logits: np.ndarray
    left_out: np.ndarray | None = None
    penalty: float = float("nan")


def identity(setting: Setting, run: Run, table: Table) -> str:
    """Return a hash of all that a run depends on."""
    rankings = [one.to_dict() for one in table.prompts.rankings]
    digest = hashlib.sha256(json.dumps([setting.to_dict(), run.to_dict(), rankings]).encode())
    digest.update(table.features.tobytes())
    return digest.hexdigest()


def measured_at(steps: int) -> tuple[int, ...]:
    """Return the steps at which all prompts' rewards are noted: closer together early on.

    >>> measured_at(45)
    (0, 1, 2, 4, 6, 8, 10, 15, 20, 30, 40, 45)
    """
    tens = {round(ten * part) for ten in (10, 100, 1000, 10000) for part in (1, 1.5, 2, 3, 4, 6, 8)}
    return tuple(sorted(step for step in {0, 1, 2, 4, 6, 8, steps, *tens} if step <= steps))


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
    with _ALONE, torch.random.fork_rng(devices=[]):  # torch's own generator is left as it was
        torch.manual_seed(seed)
        first, second, last = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, 1)
    return nn.Sequential(first, nn.GELU(), second, nn.GELU(), last, nn.Flatten(-2))


def train(table: Table, run: Run, setting: Setting, folder: Path, told: Progress) -> Trace:
    """Train a head to the end, or read back what it found; the head goes to ``folder``."""
    path, made_from = folder / "head.safetensors", identity(setting, run, table)
    found = kept(path, made_from, told.say)
    if found is not None or run.control == CERTIFIED:
        told.advance(setting.steps)
    if found is None:
        certified = run.control == CERTIFIED
        found = _certified(table, run) if certified else _trained(table, run, setting, told)
        keep(path, made_from, found)
    steps = np.array(measured_at(setting.steps)[-len(found["logits"]) :])
    penalty = float(found.get("penalty", np.nan))
    return Trace(steps, found["logits"], found.get("left_out"), penalty)


def _standard(table: Table, run: Run) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return features of mean 0 and variance 1 on the training completions, and what that took.

    The two hidden states differ tenfold in scale.
    """
    used = (table.prompts.ranks >= 0) & ~table.prompts.held_out(run)[:, None]
    sample = table.features[used].astype(np.float64)
    mean, scale = sample.mean(0).astype(np.float32), sample.std(0).astype(np.float32)
    # A constant feature is 0 for every training text, and stays small for others.
    scale = np.where(scale > 1e-8, scale, np.float32(1.0))
    return (table.features - mean) / scale, {"head.mean": mean, "head.scale": scale}


@lru_cache(maxsize=8)  # a trained linear head has the penalty of the certified one
def best_head(table: Table, objective: Objective, seed: int) -> Head:
    """Return the certified linear head of the training prompts whose penalty left-out ones choose.

    Ties aren't compared, as in training.
    """
    run, ranks = Run(objective, seed), table.prompts.ranks
    rows, given, graphs = np.flatnonzero(~table.prompts.held_out(run)), [], []
    features = _standard(table, run)[0].astype(np.float64)
    for own, of in zip(ranks[rows], features[rows], strict=True):
        groups = [np.flatnonzero(own == rank).tolist() for rank in range(own.max() + 1)]
        graphs.append(Comparisons.ranking(groups, ties="free"))
        given.append(of[own >= 0])
    with _ALONE, warnings.catch_warnings(action="ignore"):  # of few prompts: a sentence says it
        return head_path(given, objective.utilities[""], comparisons=graphs).best


def _certified(table: Table, run: Run) -> dict[str, np.ndarray]:
    features, standard = _standard(table, run)
    head, there = best_head(table, run.objective, run.seed), table.prompts.ranks >= 0
    left_out = np.zeros(there.shape, np.float32)
    left_out[~table.prompts.held_out(run), : head.one_step.shape[1]] = np.nan_to_num(head.one_step)
    logits = np.where(there, head.predict(features), 0.0).astype(np.float32)
    numbers = {"penalty": np.array(head.penalty), "gap": np.array(head.relative_gap)}
    weights = {"head.weight": head.weights} | standard
    return {"logits": logits[None], "left_out": left_out} | numbers | weights


def _trained(table: Table, run: Run, setting: Setting, told: Progress) -> dict[str, np.ndarray]:
    """Return the logits noted on the way, (S, N, K), and the trained head's weights."""
    scaled, standard = _standard(table, run)
    features, ranks = torch.from_numpy(scaled), torch.from_numpy(table.prompts.ranks)
    loss, known = run.objective.loss(), run.objective.kinds
    kinds = torch.tensor([known.index(kind) if known else 0 for kind in table.prompts.kinds])
    head = new_head(features.shape[2], setting.width, run.seed)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(head.parameters(), setting.rate)
    if run.control == LINEAR:  # from 0 on; Adam's decay is L2 in the loss, AdamW's own is none
        last = nn.Linear(features.shape[2], 1, bias=False)
        head = nn.Sequential(last, nn.Flatten(-2))
        nn.init.zeros_(last.weight)
        ridge = 2 * best_head(table, run.objective, run.seed).penalty / loss.of_kind(None).slope
        optimizer = torch.optim.Adam(head.parameters(), setting.rate, weight_decay=ridge)
    schedule = warmed_cosine(optimizer, setting.steps, setting.warmup)
    grid, noted = set(measured_at(setting.steps)), []

    def note() -> None:
        with torch.inference_mode():
            noted.append(head(features).masked_fill(ranks < 0, 0.0).numpy())

    note()
    mine = np.flatnonzero(~table.prompts.held_out(run))
    order = torch.from_numpy(mine[orders(run.seed, setting.steps, len(mine), setting.batch)])
    for step, rows in enumerate(order, start=1):
        each = loss.loss_and_counts(head(features[rows]), kinds[rows], ranks[rows])
        optimizer.zero_grad()
        mean_over_prompts(*each, None).backward()
        optimizer.step()
        schedule.step()
        if step in grid:
            note()
        told.advance()
        if told.over:
            raise InterruptedError("another run has failed")
    weights = {f"head.layers.{name}": of.numpy() for name, of in head.state_dict().items()}
    return {"logits": np.stack(noted)} | standard | weights


# -- all weights -------------------------------------------------------------------------

MEASURED = 4  # times, after the start: each costs as much as some steps
NOTED_TOGETHER = 4  # prompts
STATE = "trainer_state.json"  # the last file of a checkpoint that a kill would leave out
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def fine_tune(table: Table, run: Run, setting: Setting, folder: Path, told: Progress) -> Trace:
    """Fine-tune an encoder, from its newest whole checkpoint on where there is one.

    The trained model and its tokenizer go to ``folder``/model.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    grid = sorted({round(setting.steps * part / MEASURED) for part in range(MEASURED + 1)})
    with threads(min(2, os.cpu_count() or 1)), quiet():
        model, tokenizer = _loaded(setting, run.seed)
        loss, prompts = run.objective.loss(), table.prompts
        collator = RankingCollator(tokenizer, setting.max_length, kinds=loss)
        data = RankingDataset(tuple(compress(prompts.rankings, ~prompts.held_out(run))))
        gpu = torch.cuda.is_available()
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
            bf16=gpu and torch.cuda.is_bf16_supported(),
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=gpu,
            seed=run.seed,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=data,  # pyright: ignore[reportArgumentType]
            data_collator=collator,
            compute_loss_func=trainer_loss(loss),
            callbacks=[_Notes(prompts, collator, grid, told)],
        )
        trainer.remove_callback(PrinterCallback)  # stdout is the command's own
        found = sorted(folder.glob(f"checkpoint-*/{STATE}"), key=lambda path: path.stat().st_mtime)
        trainer.train(resume_from_checkpoint=str(found[-1].parent) if found else None)
        if trainer.is_world_process_zero():
            trainer.save_model(str(folder / "model"))
            tokenizer.save_pretrained(str(folder / "model"))
    noted = [one["logits"] for one in trainer.state.log_history if "logits" in one]
    return Trace(np.array(grid), np.array(noted, np.float32))


def _loaded(setting: Setting, seed: int) -> tuple[Any, Any]:
    with loading(setting.encoder) as path, torch.random.fork_rng():
        from transformers import AutoConfig, AutoModelForSequenceClassification

        tokenizer = load_tokenizer(path)
        config = AutoConfig.from_pretrained(path, num_labels=1)
        # The noise of dropout in the rewards is wider than the distances that are measured.
        off = [name for name in DROPOUT if isinstance(getattr(config, name, None), float)]
        config.update(dict.fromkeys(off, 0.0) | {"pad_token_id": tokenizer.pad_token_id})
        torch.manual_seed(seed)  # of the new head
        make = AutoModelForSequenceClassification.from_pretrained
        return make(path, config=config, dtype=torch.float32), tokenizer


@dataclass(eq=False)
class _Notes(TrainerCallback):
    """Notes all prompts' logits in the trainer's log, which checkpoints hold; tells progress."""

    prompts: PromptSet
    collator: RankingCollator
    grid: Sequence[int]
    told: Progress

    def _note(self, state: Any, model: Any) -> None:
        if state.global_step in self.grid:
            done = evaluate_all(model, self.prompts.rankings, self.collator, NOTED_TOGETHER)
            state.log_history.append({"step": state.global_step, "logits": done.logits.tolist()})

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the logits before training; tell how far a training was that goes on."""
        self.told.advance(state.global_step)
        if not state.global_step:
            self._note(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the logits where they are to be measured."""
        self.told.advance()
        self._note(state, kwargs["model"])
