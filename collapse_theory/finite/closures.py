"""Which nodes of a graph are best raised together: a maximum flow, and the cut that it shows.

Where the gaps r_a - r_b of some edges mustn't shrink, b can be raised only together with a. Each
node gains or loses by being raised. The set with the greatest sum of gains follows from the
maximum flow from the nodes that gain, along those edges, to nodes that lose (Picard, Management
Science 22 (1976), 1268-1272). Where raising nothing is best, the flow takes every gain to a loss.

Long paths make flows slow, and most of them are no question: a node that gains and needs one
other goes with it, and so does one that loses and is needed by one other. Those are merged first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.finite.flows import Flow, greatest_flow

__all__ = ["best_closure", "carried"]


def best_closure(k: int, a: np.ndarray, b: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return the set (k,) of the greatest sum of `gain` that has a wherever it has b.

    The edges have no cycles.
    """
    core = _condensed(k, a, b, gain)
    return _flow(core, 1).raised[core.label]


def carried(k: int, a: np.ndarray, b: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return z (edges,) >= 0 that takes each gain from b to a on the edges to where it is lost.

    It is as exact as float64 where raising nothing is best and each connected part sums to 0;
    elsewhere what can't be taken stays.
    """
    core = _condensed(k, a, b, gain)
    z = np.zeros(len(a))
    z[core.edge] = _flow(core, 2).on
    left = gain + np.bincount(a, z, k) - np.bincount(b, z, k)
    z = z + _along_forest(k, a, b, left, core.merged)
    return np.maximum(z, 0.0)


@dataclass(frozen=True)
class _Core:
    """What is left of a graph whose nodes are merged: label (k,), gains, ends, the edges' numbers.

    `merged` are the edges along which nodes were merged: a forest.
    """

    label: np.ndarray
    gain: np.ndarray
    a: np.ndarray
    b: np.ndarray
    edge: np.ndarray
    merged: np.ndarray


def _condensed(k: int, a: np.ndarray, b: np.ndarray, gain: np.ndarray) -> _Core:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    label, edge, merged = np.arange(k), np.arange(len(a)), [np.zeros(0, dtype=np.int64)]
    while len(a):
        size = len(gain)
        needs, needed = np.bincount(b, minlength=size), np.bincount(a, minlength=size)
        along = ((gain[b] >= 0) & (needs[b] == 1)) | ((gain[a] < 0) & (needed[a] == 1))
        if not along.any():
            break
        merged.append(edge[along])
        links = coo_array((np.ones(along.sum()), (a[along], b[along])), shape=(size, size))
        count, new = connected_components(links, directed=False)
        gain, label = np.bincount(new, gain, count), new[label]
        a, b = new[a], new[b]
        key, first = np.unique(a * count + b, return_index=True)
        apart = key // count != key % count
        a, b, edge = a[first[apart]], b[first[apart]], edge[first[apart]]
        if along.sum() < 0.01 * size:
            break
    return _Core(label, gain, a, b, edge, np.concatenate(merged))


def _flow(core: _Core, passes: int) -> Flow:
    return greatest_flow(
        len(core.gain), core.b, core.a, np.full(len(core.a), np.inf), core.gain, passes
    )


def _along_forest(
    k: int, a: np.ndarray, b: np.ndarray, left: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Return what flows from b to a on the `edges` of a forest to bring `left` to 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    links = coo_array((np.ones(len(edges)), (a[edges], b[edges])), shape=(k, k))
    tree = connected_components(links, directed=False)[1]
    roots = np.unique(tree, return_index=True)[1]
    # One more node joins the trees.
    i, j = np.append(a[edges], np.full(len(roots), k)), np.append(b[edges], roots)
    name = coo_array((np.append(edges, np.full(len(roots), -1)) + 2, (i, j)), shape=(k + 1, k + 1))
    order, above = breadth_first_order(name, k, directed=False)
    number = (name + name.T).tocsr()[order[1:], above[order[1:]]] - 2
    rest, flow = [*left.tolist(), 0.0], np.zeros(len(a))
    back = zip(order[:0:-1].tolist(), above[order[:0:-1]].tolist(), strict=True)
    carried = np.empty(k)
    for at, (node, parent) in enumerate(back):
        rest[parent] += rest[node]
        carried[at] = rest[node]
    number, carried = np.asarray(number).ravel(), carried[::-1]
    held = number >= 0
    flow[number[held]] = np.where(b[number[held]] == order[1:][held], 1.0, -1.0) * carried[held]
    return flow
