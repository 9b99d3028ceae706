"""Many prompts at once: the connected parts of a comparison graph, each pattern of them once.

Apart from its weight in the whole, a part is a program of its own: with W the sum of its weights,
its pairs have w / W and its penalty d / W. Prompts of the same pattern have the same program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.programs.graph import Graph, GraphProgram

__all__ = ["Pattern", "patterns"]

DIGITS = 12  # to which the shares of two parts agree that are taken for the same pattern


@dataclass(frozen=True)
class Pattern:
    """One part's program, and where it is found: the nodes and edges of each part, their weight.

    `nodes` has shape (parts, k), `edges` (parts, m) and `weight` (parts,).
    """

    program: GraphProgram
    nodes: np.ndarray
    edges: np.ndarray
    weight: np.ndarray


def patterns(program: GraphProgram) -> list[Pattern] | None:
    """Return the patterns of the parts, or None where solving them one by one saves little."""
    graph = program.graph
    count = int(graph.part.max()) + 1
    if count == 1:
        return None
    nodes, edges = _split(graph.part, count), _split(graph.part[graph.a], count)
    place = np.empty(graph.k, dtype=np.int64)
    for part in nodes:
        place[part] = np.arange(len(part))
    weight = np.bincount(graph.part[graph.a], graph.w, count)
    share = graph.w / weight[graph.part[graph.a]]
    pull = program.d / weight[graph.part]
    # Relative sizes, as far as rounding leaves them the same.
    rows = np.column_stack([place[graph.a], place[graph.b], _rounded(share), graph.m])
    columns = np.column_stack([graph.sizes, _rounded(pull)])
    found: dict[bytes, list[int]] = {}
    for at, (of, on) in enumerate(zip(nodes, edges, strict=True)):
        key = columns[of].tobytes() + b"|" + rows[on].tobytes()
        found.setdefault(key, []).append(at)
    if 2 * sum(len(nodes[alike[0]]) for alike in found.values()) > graph.k:
        return None
    made = []
    for alike in found.values():
        of, on = nodes[alike[0]], edges[alike[0]]
        size = len(of)
        one = Graph(
            np.arange(size),
            graph.sizes[of],
            place[graph.a[on]],
            place[graph.b[on]],
            share[on],
            graph.m[on],
        )
        small = GraphProgram(one, program.utility, pull[of], program.c, program.box)
        where = np.array([nodes[i] for i in alike]), np.array([edges[i] for i in alike])
        made.append(Pattern(small, *where, weight[alike]))
    return made


def _split(label: np.ndarray, count: int) -> list[np.ndarray]:
    """Return for each label the places where it stands, in order."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.searchsorted(label[order], np.arange(1, count)))


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return positive values to so many digits, zeros as they are."""
    safe = np.where(values > 0, values, 1.0)
    return np.where(values > 0, np.round(np.log(safe), DIGITS), -np.inf)
