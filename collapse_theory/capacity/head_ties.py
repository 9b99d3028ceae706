"""Completions held equal: a head that says the same of both is orthogonal to their difference.

With Q an orthonormal basis of all such differences, features are replaced by phi - Q Q' phi: a head
on these has no component along Q, says the same of what is held equal, and has its norm. Of prompts
with many ties the differences soon span everything, and nothing is left to learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from collapse_theory.capacity.features import Prompts
from collapse_theory.errors import CollapseError
from collapse_theory.programs import Comparisons
from collapse_theory.programs.program import EPS

TALL = 4096  # differences that are looked at together


def held_equal(prompts: Prompts, comparisons: Any) -> Prompts:
    """Return the prompts with features on which what is held equal is.

    Raises
    ------
    CollapseError
        Where that leaves a head nothing to tell completions by.
    """
    pairs = _ties(prompts, comparisons)
    if not len(pairs):
        return prompts
    triangle = np.zeros((0, prompts.d))
    for rows in _differences(prompts, pairs):
        triangle = np.linalg.qr(np.concatenate([triangle, rows]), mode="r")
    size, turned = np.linalg.svd(triangle, full_matrices=False)[1:]
    rank = int(np.count_nonzero(size > 8 * EPS * max(len(pairs), prompts.d) * size[0]))
    if rank == prompts.d:
        raise CollapseError(
            f"the {len(pairs)} completions held equal to others leave a head of {prompts.d} "
            'features nothing to tell any apart by: with ties="free" they aren\'t compared'
        )
    if not rank:
        return prompts
    along = np.ascontiguousarray(turned[:rank].T)

    def projected() -> Iterator[np.ndarray]:
        for group in prompts.read():
            flat = group.reshape(-1, prompts.d).astype(np.float64)
            yield (flat - (flat @ along) @ along.T).reshape(group.shape)

    read = projected
    if prompts.stored:
        read = partial(iter, list(projected()))
    longest = max(float(np.linalg.norm(phi, axis=2).max()) for _, phi in prompts.blocks())
    # The span of rounded differences turns by their rounding over the least of them.
    turn = EPS * (8 + prompts.d) * size[0] / size[rank - 1]
    return replace(prompts, read=read, along=along, blur=turn * longest)


def _ties(prompts: Prompts, comparisons: Any) -> np.ndarray:
    """Return the completions that are held equal to another, and those others, (k, 2)."""
    if isinstance(comparisons, Comparisons) and len(prompts.shape) == 1:
        order = np.arange(prompts.completions) if prompts.order is None else prompts.order
        place = np.argsort(order)
        found = [(place[i], place[group[0]]) for group in comparisons.equal for i in group[1:]]
        return np.array(found).reshape(-1, 2)
    sizes = np.concatenate([np.full(count, pairs.n) for count, pairs in prompts.groups])
    starts = (np.cumsum(sizes) - sizes).tolist()
    if comparisons is None or isinstance(comparisons, Comparisons):
        each = [() if comparisons is None else comparisons.equal] * len(starts)
    else:
        members = range(len(starts)) if prompts.members is None else prompts.members.tolist()
        each = [comparisons[p].equal for p in members]
    found = [
        (start + i, start + group[0])
        for start, equal in zip(starts, each, strict=True)
        for group in equal
        for i in group[1:]
    ]
    return np.array(found).reshape(-1, 2)


def _differences(prompts: Prompts, pairs: np.ndarray) -> Iterable[np.ndarray]:
    """Yield the differences of the features of each pair, TALL rows or fewer at a time."""
    pairs = pairs[np.argsort(pairs[:, 0])]
    for part, phi in prompts.blocks():
        flat = phi.reshape(-1, prompts.d)
        first, last = np.searchsorted(pairs[:, 0], [part.rows.start, part.rows.stop])
        for at in range(first, last, TALL):
            i, j = (pairs[at : min(at + TALL, last)] - part.rows.start).T
            yield flat[i] - flat[j]
