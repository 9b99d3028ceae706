"""The greatest flow on a network of float64 capacities, by SciPy's solver for whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.linear import FEW_NODES, components

UNITS = 2.0**29  # in which the gains are counted, at most: SciPy's flows are 32-bit integers


@dataclass(frozen=True)
class Flow:
    """A flow from nodes that gain to nodes that lose.

    on : (arcs,) what flows on each arc
    left : (n,) what each node has left of its gain
    raised : (n,) bool, the nodes that what is left could still reach: the smallest minimum cut
    """

    on: np.ndarray
    left: np.ndarray
    raised: np.ndarray


def greatest_flow(
    n: int,
    tail: np.ndarray,
    head: np.ndarray,
    capacity: np.ndarray,
    gain: np.ndarray,
    passes: int = 1,
) -> Flow:
    """Return the greatest flow from nodes with gain > 0 to nodes with gain < 0.

    Of several arcs from one node to another the first are filled first. Each of the `passes` routes
    what rounding to whole units left to the one before: two come to float64's last digits.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.numerics.flow import greatest_flow
    >>> tail, head, capacity = np.array([0]), np.array([1]), np.array([0.25])
    >>> greatest_flow(2, tail, head, capacity, np.array([1.0, -1.0])).left.round(6).tolist()
    [0.75, -0.75]
    """
    # SciPy's solver takes one arc between two nodes.
    key = tail * n + head
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    ends, limits = (tail, head), capacity
    if several := len(first) < len(key):
        ends = tail[order][first], head[order][first]
        limits = np.add.reduceat(capacity[order], first)
    on, left, raised = np.zeros(len(first)), gain, np.zeros(n, dtype=bool)
    for _ in range(passes):
        more, raised = _routed(n, *ends, limits - on, on, left)
        on = on + more
        left = gain - np.bincount(ends[0], on, n) + np.bincount(ends[1], on, n)
    return Flow(_shared(on, capacity, order, first) if several else on, left, raised)


def _shared(
    on: np.ndarray, capacity: np.ndarray, order: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Return the flow on each arc where `on` is that on all from one node to another."""
    found, rest = np.zeros(len(order)), on.copy()
    lengths = np.diff(np.append(first, len(order)))
    for rank in range(int(lengths.max(initial=0))):
        has = lengths > rank
        arcs = order[first[has] + rank]
        found[arcs] = np.where(
            lengths[has] == rank + 1, rest[has], np.minimum(rest[has], capacity[arcs])
        )
        rest[has] -= found[arcs]
    return found


def _routed(
    n: int,
    tail: np.ndarray,
    head: np.ndarray,
    capacity: np.ndarray,
    back: np.ndarray,
    gain: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow in whole units, negative where it takes `back`, and the cut."""
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    units, unit = _whole(n, tail, head, gain)
    up, down = np.flatnonzero(units > 0), np.flatnonzero(units < 0)
    source, sink, shape = n, n + 1, (n + 2, n + 2)
    capacities = (np.minimum(np.floor(values / unit), 2 * UNITS) for values in (capacity, back))
    rows = np.concatenate([np.full(len(up), source), down, tail, head])
    columns = np.concatenate([up, np.full(len(down), sink), head, tail])
    values = np.concatenate([units[up], -units[down], *capacities])
    values = np.maximum(values, 0.0).astype(np.int32)
    if n <= FEW_NODES:  # SciPy's sparse arrays take longer than the flow
        table = np.zeros(shape, dtype=np.int32)
        np.add.at(table, (rows, columns), values)  # an arc may lead where another leads back
        flow = maximum_flow(csr_array(table), source, sink).flow.toarray()
        raised, new = np.zeros(n + 2, dtype=bool), np.arange(n + 2) == source
        while new.any():
            raised |= new
            new = (table > flow)[new].any(axis=0) & ~raised
        return flow[tail, head] * unit, raised[:n]
    places = rows.astype(np.int32), columns.astype(np.int32)  # all that SciPy's graph routines take
    network = coo_array((values, places), shape=shape).tocsr()
    network.eliminate_zeros()
    flow = maximum_flow(network, source, sink).flow
    left = network - flow
    left.eliminate_zeros()
    raised = np.zeros(n + 2, dtype=bool)
    raised[breadth_first_order(left, source, return_predecessors=False)] = True
    on = np.asarray(flow[tail, head], dtype=float).ravel() if len(tail) else np.zeros(0)
    return on * unit, raised[:n]


def _whole(
    n: int, tail: np.ndarray, head: np.ndarray, gain: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the gains as whole numbers of a power of 2; those of a connected part keep their sum.

    In an answer they sum to 0 in each part: rounded one by one, some would find no loss to go to.
    """
    total = float(np.abs(gain).sum())
    if not total > 0:
        return np.zeros(n), 1.0
    unit = float(2.0 ** max(np.ceil(np.log2(total) - np.log2(UNITS)), -1022.0))
    order = np.argsort(components(tail, head, n), kind="stable")
    units = np.empty(n)
    units[order] = np.diff(np.rint(np.cumsum(gain[order] / unit)), prepend=0.0)
    return units, unit
