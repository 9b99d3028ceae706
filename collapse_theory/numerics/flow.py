"""The greatest flow on a network of float64 capacities, by SciPy's solver for whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.linear import components

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
    ends, room = (tail, head), capacity
    if several := len(first) < len(key):
        ends = tail[order][first], head[order][first]
        room = np.add.reduceat(capacity[order], first)
    network = _Network.of(n, *ends)
    on, left, raised = np.zeros(len(first)), gain, np.zeros(n, dtype=bool)
    for _ in range(passes):
        more, raised = network.routed(room - on, on, left)
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


@dataclass(frozen=True)
class _Network:
    """A network by rows, as SciPy has it: arcs, what leads back on them, and for each node an arc
    from the source, one to the sink, and what leads back on these.

    place : where each of them stands in the rows
    part : the nodes, those of a connected part beside each other
    """

    n: int
    indices: np.ndarray
    indptr: np.ndarray
    place: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, n: int, tail: np.ndarray, head: np.ndarray) -> _Network:
        each, source, sink = np.arange(n), np.full(n, n), np.full(n, n + 1)
        rows = np.concatenate([tail, head, source, each, each, sink])
        columns = np.concatenate([head, tail, each, source, sink, each])
        # One arc may lead where another leads back: both are one place.
        key, place = np.unique(rows * (n + 2) + columns, return_inverse=True)
        starts = np.searchsorted(key, np.arange(n + 3) * (n + 2))
        part = np.argsort(components(tail, head, n), kind="stable")
        # SciPy 1.15 takes no other places than those of 32 bits.
        indices, indptr = (key % (n + 2)).astype(np.int32), starts.astype(np.int32)
        return cls(n, indices, indptr, place, part)

    def routed(
        self, capacity: np.ndarray, back: np.ndarray, gain: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the flow in whole units, negative where it takes `back`, and the cut."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        n, arcs, shape = self.n, len(capacity), (self.n + 2, self.n + 2)
        units, unit = self.whole(gain)
        room = np.floor(np.concatenate([capacity, back]) / unit)
        none = np.zeros(n)
        values = np.concatenate([room, units, none, -units, none])
        # No more than UNITS flows anywhere.
        values = np.minimum(np.maximum(values, 0.0), UNITS)
        most = np.bincount(self.place, values, len(self.indices)).astype(np.int32)
        flow = maximum_flow(
            csr_array((most, self.indices, self.indptr), shape=shape), n, n + 1
        ).flow
        left = flow.data < most
        upto = np.concatenate([[0], left.cumsum()])[self.indptr]
        rest = csr_array((most[left], self.indices[left], upto.astype(np.int32)), shape=shape)
        raised = np.zeros(n + 2, dtype=bool)
        raised[breadth_first_order(rest, n, return_predecessors=False)] = True
        return flow.data[self.place[:arcs]] * unit, raised[:n]

    def whole(self, gain: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the gains as whole numbers of a power of 2; those of a part keep their sum.

        In an answer they sum to 0 in each part: rounded one by one, some would find no loss to go
        to.
        """
        total = float(np.abs(gain).sum())
        if not total > 0:
            return np.zeros(self.n), 1.0
        unit = float(2.0 ** max(np.ceil(np.log2(total) - np.log2(UNITS)), -1022.0))
        units = np.empty(self.n)
        units[self.part] = np.diff(np.rint(np.cumsum(gain[self.part] / unit)), prepend=0.0)
        return units, unit
