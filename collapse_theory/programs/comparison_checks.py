"""What is checked of comparisons: indices, numbers, and that no completion is above itself."""

from __future__ import annotations

import graphlib
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.programs.paths import depths

__all__ = [
    "as_table",
    "check_order",
    "check_weights",
    "indices",
    "merged_groups",
    "numbers",
    "read_only",
]


def read_only(values: np.ndarray) -> np.ndarray:
    """Return a copy as int64 that can't be written to."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


def indices(name: str, values: Any, n: int) -> np.ndarray:
    """Return indices of completions, checked."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise CollapseError(f"{name} must be a list of completions, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise CollapseError(
            f"{name} must be whole numbers, the indices of completions; got {array.dtype} such as "
            f"{array.ravel()[0]!r}"
        )
    bad = (array < 0) | (array >= n)
    if bad.any():
        at = int(np.argmax(bad))
        raise CollapseError(
            f"{name}[{at}] = {array[at]} is no completion: with n = {n} they are 0, ..., {n - 1}"
        )
    return array.astype(np.int64)


def numbers(name: str, values: Any, size: int, default: float) -> np.ndarray:
    """Return one finite number a pair."""
    try:
        array = np.asarray(default if values is None else values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CollapseError(f"{name} must be numbers, got {values!r}") from None
    if array.ndim == 0 and (values is None or name == "margins"):
        array = np.full(size, array)
    if array.shape != (size,):
        raise CollapseError(f"{name} must be one a pair, {size} in all; got shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        at = int(np.argmax(bad))
        raise CollapseError(f"{name}[{at}] must be a finite number, got {array[at]}")
    return array


def as_table(name: str, values: Any, size: int) -> np.ndarray:
    """Return a number a pair of groups, shape (size, size)."""
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (size, size):
        raise CollapseError(
            f"{name} must have an entry a pair, shape ({size}, {size}); got {table.shape}"
        )
    return table


def check_weights(weights: np.ndarray, better: np.ndarray, worse: np.ndarray) -> None:
    """Raise where a weight is negative, or none counts."""
    if np.any(weights < 0):
        at = int(np.argmax(weights < 0))
        raise CollapseError(
            f"the pair {better[at]} > {worse[at]} has the negative weight {weights[at]:g}; swap "
            "the two to say that the other is better"
        )
    if not np.any(weights > 0):
        raise CollapseError("no pair counts: give at least one pair with a positive weight")
    if not np.isfinite(weights.sum()):
        raise CollapseError("the weights' sum is outside float64; divide them all by one number")


def merged_groups(equal: Any, n: int) -> tuple[tuple[int, ...], ...]:
    """Return the groups of two or more, in order; those that share a completion merged."""
    group_of: dict[int, set[int]] = {}
    for group in equal:
        merged = set(indices("equal", list(group), n).tolist())
        for i in list(merged):
            merged |= group_of.get(i, set())
        group_of.update(dict.fromkeys(merged, merged))
    found = {tuple(sorted(group)) for group in group_of.values() if len(group) > 1}
    return tuple(sorted(found))


def check_order(node: np.ndarray, better: np.ndarray, worse: np.ndarray) -> None:
    """Raise where pairs have a cycle or join a node to itself; `node` is each completion's."""
    a, b = node[better], node[worse]
    if np.any(a == b):
        at = int(np.argmax(a == b))
        i, j = int(better[at]), int(worse[at])
        other = "itself" if i == j else f"{j}, to which it is held equal"
        raise CollapseError(f"completion {i} is compared with {other}; take the pair out")
    if np.all(a < b) or np.all(a > b) or depths(node.max() + 1, a, b) is not None:
        return
    sorter: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter()
    for i, j in zip(a.tolist(), b.tolist(), strict=True):
        sorter.add(i, j)
    try:
        sorter.prepare()
    except graphlib.CycleError as fault:
        # From the worst on: each of the list is worse than the next.
        raise CollapseError(_cycle_text(node, fault.args[1][::-1])) from None


def _cycle_text(node: np.ndarray, cycle: list[int]) -> str:
    names = [" = ".join(map(str, np.flatnonzero(node == k))) for k in cycle]
    shown = names if len(names) < 8 else [*names[:6], "...", names[-1]]
    return (
        f"the comparisons have a cycle: {' > '.join(shown)}; take one of its pairs out, or hold "
        "its completions equal"
    )
