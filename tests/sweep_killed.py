"""A sweep of 120 programs that keeps its results; run by test_sweep as ``python FOLDER``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import collapse_theory as ct

GRID = ([f"logsigmoid({k}*x)" for k in range(1, 61)], [64, 200])

if __name__ == "__main__":
    ct.sweep(*GRID, executor=ThreadPoolExecutor(1), keep=sys.argv[1])
