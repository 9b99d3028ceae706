"""Longest paths in a directed graph, and whether it has a cycle."""

from __future__ import annotations

import numpy as np

__all__ = ["depths"]


def depths(k: int, above: np.ndarray, below: np.ndarray) -> np.ndarray | None:
    """Return for each of `k` nodes the longest path of edges above -> below that ends there.

    None if there is a cycle.
    """
    order = np.argsort(above, kind="stable")
    starts = np.searchsorted(above[order], np.arange(k + 1)).tolist()
    children = below[order].tolist()
    waiting = np.bincount(below, minlength=k).tolist()
    ready = [i for i in range(k) if waiting[i] == 0]
    depth = [0] * k
    for i in ready:  # grows as nodes become ready
        at = depth[i] + 1
        for j in children[starts[i] : starts[i + 1]]:
            depth[j] = max(depth[j], at)
            waiting[j] -= 1
            if waiting[j] == 0:
                ready.append(j)
    return np.array(depth) if len(ready) == k else None
