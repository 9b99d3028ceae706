"""Every reward at several steps, as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collapse_theory.data.dataset import unique_names
from collapse_theory.experiment.encoder import missing
from collapse_theory.experiment.features import Table
from collapse_theory.experiment.files import replace_file
from collapse_theory.experiment.prompts import PromptSet
from collapse_theory.experiment.runs import Run
from collapse_theory.experiment.train import Trace
from collapse_theory.training.measures import rewards_of

__all__ = ["KEPT", "write_rewards"]

KEPT = (0, 10, 50, 200, 500, 1000)
"""Steps at which all rewards are written, where they were measured, beside the last one."""


def write_rewards(path: Path, runs: Sequence[tuple[Run, PromptSet, Table, Trace]]) -> None:
    """Write a row a reward: prompt, kind, rank (0 the best), reward, step, utility, control, ..."""
    try:
        import polars as pl
    except ModuleNotFoundError:
        raise missing("polars") from None

    frames = [pl.DataFrame(columns) for run in runs for columns in _columns(*run)]
    whole = pl.concat(frames).with_columns(
        pl.col("prompt", "kind", "split", "utility", "control").cast(pl.Categorical)
    )
    replace_file(path, lambda draft: whole.write_parquet(draft, compression="zstd"))


def _columns(run: Run, prompts: PromptSet, table: Table, trace: Trace) -> Iterator[dict[str, Any]]:
    loss = run.objective.loss()
    names = unique_names(prompts.rankings)
    rows, places = np.nonzero(table.ranks >= 0)
    split = np.where(np.arange(len(names)) < table.train, "train", "held out")
    last = trace.steps[-1]
    for step, logits in zip(trace.steps.tolist(), trace.logits, strict=True):
        if step not in KEPT and step != last:
            continue
        rewards = rewards_of(loss, logits, table.kinds)
        yield {
            "prompt": [names[row] for row in rows],
            "kind": [table.kinds[row] for row in rows],
            "rank": table.ranks[rows, places].astype(np.int32),
            "reward": rewards[rows, places].astype(np.float32),
            "step": np.full(len(rows), step, dtype=np.int32),
            "utility": [str(run.objective)] * len(rows),
            "control": [run.control] * len(rows),
            "seed": np.full(len(rows), run.seed, dtype=np.int32),
            "split": split[rows].tolist(),
        }
