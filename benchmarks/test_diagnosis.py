"""How long a log of ten million rows takes, and how much memory.

    OMP_NUM_THREADS=1 pytest benchmarks/test_diagnosis.py

Each format is written once into a temporary folder (Parquet of 1.9 GB) and read in a process of its
own, whose largest resident memory the system tells (Linux).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import collapse_theory as ct

ROWS, COMPLETIONS = 10_000_000, 8
CHUNK = 1_000_000
SECONDS, GIGABYTES = 60.0, 2.0  # issue 7

MEASURED = """
import json, re, sys, time
from pathlib import Path
from collapse_theory.diagnosis import diagnose, read_log
start = time.perf_counter()
found = diagnose(read_log(sys.argv[1]))
seconds, busy = time.perf_counter() - start, time.process_time()
# Not ru_maxrss, which a new process takes over from the one that starts it.
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20
print(json.dumps([seconds, busy, peak, found.rows, found.bad_count, found.collapsed, found.index]))
"""


def chunks(text: bool):
    """Yield frames of a collapsed log in random order; prompts of 100 characters or so."""
    import polars as pl

    rng = np.random.default_rng(0)
    optimum = ct.solve("log(x + 0.1)", COMPLETIONS).rewards
    for first in range(0, ROWS, CHUNK):
        rows = first + rng.permutation(CHUNK)
        prompt, rank = rows // COMPLETIONS, rows % COMPLETIONS
        frame = pl.DataFrame(
            {
                "prompt": prompt,
                "kind": prompt % 2,
                "rank": rank,
                "reward": optimum[rank] + 0.03 * rng.standard_normal(CHUNK),
                "noise": rng.integers(2**62, size=CHUNK),
            }
        )
        words = pl.format("Write about number {} of the list, in words. ", "prompt")
        yield frame.select(
            pl.concat_str(words, words, words).alias("prompt") if text else "prompt",
            pl.when(pl.col("kind") == 0).then(pl.lit("open")).otherwise(pl.lit("closed")),
            "rank",
            "reward",
            # What a completion's text adds to a file: bytes that can't be packed.
            *([pl.concat_str(["noise"] * 5).alias("completion")] if text else []),
        ).rename({"literal": "kind"})


def written(folder: Path, ending: str) -> Path:
    import polars as pl

    path = folder / f"log.{ending}"
    if ending == "parquet":
        parts = []
        for i, frame in enumerate(chunks(text=True)):
            parts.append(folder / f"part{i}.parquet")
            frame.write_parquet(parts[-1], compression="uncompressed")
        pl.scan_parquet(parts).sink_parquet(path, compression="uncompressed")
        for part in parts:
            part.unlink()
        return path
    with path.open("wb") as file:
        for i, frame in enumerate(chunks(text=False)):
            if ending == "csv":
                frame.write_csv(file, include_header=i == 0)
            else:
                frame.write_ndjson(file)
    return path


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_ten_million_rows(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, ending)
    size = path.stat().st_size / 2**30
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=False
    )
    path.unlink()
    assert done.returncode == 0, done.stderr
    seconds, busy, peak, rows, bad, collapsed, index = json.loads(done.stdout)
    with capsys.disabled():
        print(
            f"\n{ending}: {size:.2f} GB, {seconds:.1f} s ({busy:.1f} s of CPU), {peak:.2f} GB, "
            f"index {index:.3f}"
        )
    assert (rows, bad, collapsed) == (ROWS, 0, True)
    assert peak < GIGABYTES
    # On a machine with other work the wall clock counts that too.
    assert min(seconds, busy) < SECONDS
