"""Kill the experiment with SIGKILL at random moments, and compare what it ends with.

``python benchmarks/kill_experiment.py [KILLS]`` runs ``collapse-theory experiment --small`` once
without interruption, then again and again until it has been killed KILLS times (20), then to the
end. What a kill left whole (features, finished runs) must not be made again, and the numbers of
both metrics.json must be the same up to what rounding grows to. A process that reaches its end
before it is killed begins anew in an empty folder.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-c", "from collapse_theory.cli import main; main()", "experiment"]
ARGUMENTS = ["--small", "--prompts", "18", "--steps", "400"]
SAME = 1e-3


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "--out", str(folder), *ARGUMENTS]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kept(folder: Path) -> dict[Path, int]:
    """Return the files of features and finished runs, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


def difference(one: Path, other: Path) -> float:
    """Return the largest difference between two numbers of two folders' metrics."""
    pair = (json.loads((folder / "metrics.json").read_text())["runs"] for folder in (one, other))
    return max(abs(a - b) for a, b in zip(*map(numbers, pair), strict=True))


def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        whole, parts = Path(place, "whole"), Path(place, "parts")
        begun = time.perf_counter()
        assert start(whole).wait() == 0
        seconds = time.perf_counter() - begun
        print(f"uninterrupted: {seconds:.0f} s", flush=True)
        killed = 0
        while killed < kills:
            before, begun = kept(parts), time.perf_counter()
            process = start(parts)
            try:
                process.wait(timeout=random.uniform(0.3, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                print(f"kill {killed}: {len(kept(parts))} files kept", flush=True)
                assert before.items() <= kept(parts).items()
            else:
                print(f"finished first, {difference(whole, parts):.1e} apart", flush=True)
                seconds = min(seconds, time.perf_counter() - begun)
                shutil.rmtree(parts)
        assert start(parts).wait() == 0
        apart = difference(whole, parts)
        print(f"the numbers differ by {apart:.1e} at most")
        sys.exit(apart > SAME)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
