"""The time and memory that a summary of many rows takes: python benchmarks/many_rows.py FOLDER.

The folder's Parquet files are made where there are none: 20 of 5 million rows each, 800 MB in all,
eight completions a prompt, whose texts are as long as a short question.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import collapse_theory as ct

FILES, ROWS = 20, 5_000_000


def written(folder: Path) -> list[Path]:
    """Return the folder's files, made where there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "what is the answer to question {} of this long set?"
    for k in range(0 if list(folder.glob("*.parquet")) else FILES):
        number = pl.Series("prompt", np.arange(k * ROWS, (k + 1) * ROWS) // 8)
        rewards = pl.Series("reward", np.random.default_rng(k).random(ROWS))
        frame = pl.select(pl.format(text, number).alias("prompt"), rewards)
        frame.write_parquet(folder / f"{k:02d}.parquet")
    return sorted(folder.glob("*.parquet"))


def measured(step: Callable[[], Any]) -> Any:
    """Take a step, and print what comes of it, its time and the most memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{found}\n  {wall:.1f} s, {cpu:.1f} s of processors, {peak:.0f} MB", flush=True)
    return found


if __name__ == "__main__":
    files = written(Path(sys.argv[1]))
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
    summary = measured(lambda: ct.LogSummary.of(files))
    measured(lambda: ct.diagnose(summary, utility=()))
