"""Kill the experiment with SIGKILL at random moments, and compare what it ends with.

``python benchmarks/kill_experiment.py [KILLS]`` runs ``collapse-theory experiment --small`` once
without interruption, then again and again until it has been killed KILLS times (20), then to the
end; both folders must hold the same bytes. A process that reaches its end before it is killed
begins anew in an empty folder. The features are encoded anew on both sides.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-c", "from collapse_theory.cli import main; main()", "experiment"]
ARGUMENTS = ["--small", "--prompts", "18", "--steps", "400"]


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "--out", str(folder), *ARGUMENTS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by name, without the drafts that a kill can leave."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        whole, parts = Path(place, "whole"), Path(place, "parts")
        begun = time.perf_counter()
        assert start(whole).wait() == 0
        seconds = time.perf_counter() - begun
        print(f"uninterrupted: {seconds:.0f} s", flush=True)
        killed = 0
        while killed < kills:
            process, begun = start(parts), time.perf_counter()
            try:
                process.wait(timeout=random.uniform(0.4, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                there = sum(1 for _ in parts.rglob("*.safetensors")) if parts.exists() else 0
                print(f"kill {killed}: {there} files of features and checkpoints", flush=True)
            else:
                assert content(parts) == content(whole)
                seconds = min(seconds, time.perf_counter() - begun)
                print("finished first, with the same bytes", flush=True)
                shutil.rmtree(parts)
        assert start(parts).wait() == 0
        one, other = content(whole), content(parts)
        different = [name for name in one | other if one.get(name) != other.get(name)]
        print("the same bytes" if not different else f"different: {different}")
        sys.exit(bool(different))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
