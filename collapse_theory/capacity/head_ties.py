"""Completions held equal: a head that says the same of both is orthogonal to their difference.

With Q an orthonormal basis of all such differences, features are replaced by phi - Q Q' phi: a head
on these has no component along Q, says the same of what is held equal, and has its norm. Of prompts
with many ties the differences soon span everything, and nothing is left to learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from collapse_theory.capacity.features import Prompts
from collapse_theory.errors import CollapseError
from collapse_theory.programs.program import EPS

TALL = 4096  # differences that are looked at together


def held_equal(prompts: Prompts) -> Prompts:
    """Return the prompts with features on which what is held equal is.

    Where that leaves a head nothing to tell completions by, it is an error.
    """
    triangle, ties = np.zeros((0, prompts.d)), 0
    for rows in _differences(prompts):
        triangle = np.linalg.qr(np.concatenate([triangle, rows]), mode="r")
        ties += len(rows)
    if not ties:
        return prompts
    size, turned = np.linalg.svd(triangle, full_matrices=False)[1:]
    rank = int(np.count_nonzero(size > 8 * EPS * max(ties, prompts.d) * size[0]))
    if rank == prompts.d:
        raise CollapseError(
            f"the {ties} completions held equal to others leave a head of {prompts.d} features "
            'nothing to tell any apart by: with ties="free" they aren\'t compared'
        )
    if not rank:
        return prompts
    along = np.ascontiguousarray(turned[:rank].T)

    def projected() -> Iterator[np.ndarray]:
        for group in prompts.read():
            flat = group.reshape(-1, prompts.d).astype(np.float64)
            yield (flat - (flat @ along) @ along.T).reshape(group.shape)

    read = partial(iter, list(projected())) if prompts.stored else projected
    longest = max(float(np.linalg.norm(phi, axis=2).max()) for _, phi in prompts.blocks())
    # The span of rounded differences turns by their rounding over the least of them.
    turn = EPS * (8 + prompts.d) * size[0] / size[rank - 1]
    return replace(prompts, read=read, along=along, blur=turn * longest)


def _differences(prompts: Prompts) -> Iterator[np.ndarray]:
    """Yield the differences of the features of what is held equal, TALL rows or fewer at a time."""
    first = 0
    for group in prompts.read() if len(prompts.equal) else ():
        flat = group.reshape(-1, prompts.d)
        here = prompts.equal - first
        here = here[(here[:, 0] >= 0) & (here[:, 0] < len(flat))]
        for at in range(0, len(here), TALL):
            i, j = here[at : at + TALL].T
            yield flat[i].astype(np.float64) - flat[j]
        first += len(flat)
