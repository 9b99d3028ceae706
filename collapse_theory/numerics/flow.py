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


@dataclass(frozen=True)
class Network:
    """Nodes and arcs, laid out by rows as SciPy has them, for any number of flows.

    tail, head : (arcs,) where each arc leads; no other leads back
    order, first : the arcs by their ends, and where those with new ends begin
    indices, indptr : the rows: arcs, what leads back on them, and for each node an arc from the
        source, one to the sink, and what leads back on these
    place : where each of them stands in the rows
    part : the nodes, those of a connected part beside each other
    """

    n: int
    tail: np.ndarray
    head: np.ndarray
    order: np.ndarray
    first: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    place: np.ndarray
    part: np.ndarray

    @classmethod
    def of(
        cls, n: int, tail: np.ndarray, head: np.ndarray, label: np.ndarray | None = None
    ) -> Network:
        """Return the network of n nodes; `label` tells parts apart, unless given all connected."""
        label = components(tail, head, n) if label is None else label
        # SciPy's solver takes one arc between two nodes.
        key = tail * n + head
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        a, b = tail[order[first]], head[order[first]]
        each, source, sink = np.arange(n), np.full(n, n), np.full(n, n + 1)
        rows = np.concatenate([a, b, source, each, each, sink])
        columns = np.concatenate([b, a, each, source, sink, each])
        at = np.lexsort((columns, rows))
        place = np.empty_like(at)
        place[at] = np.arange(len(at))
        starts = np.append(0, np.bincount(rows, minlength=n + 2).cumsum())
        # SciPy 1.15 takes no other places than those of 32 bits.
        where = columns[at].astype(np.int32), starts.astype(np.int32)
        return cls(n, tail, head, order, first, *where, place, np.argsort(label, kind="stable"))

    def greatest_flow(
        self,
        capacity: np.ndarray,
        gain: np.ndarray,
        passes: int = 1,
        back: np.ndarray | float = 0.0,
    ) -> Flow:
        """Return the greatest flow from nodes with gain > 0 to nodes with gain < 0.

        Of several arcs from one node to another the first are filled first. `back` is how much may
        flow against each arc: then what flows on it is negative. Each of the `passes` routes what
        rounding to whole units left to the one before: two come to float64's last digits.

        Examples
        --------
        >>> import numpy as np
        >>> from collapse_theory.numerics.flow import Network
        >>> network = Network.of(2, np.array([0]), np.array([1]))
        >>> network.greatest_flow(np.array([0.25]), np.array([1.0, -1.0])).left.round(6).tolist()
        [0.75, -0.75]
        """
        limits, rest = self.merged(capacity), self.merged(back + 0.0 * gain[self.tail])
        tail, head = self.tail[self.order[self.first]], self.head[self.order[self.first]]
        on, left, raised = np.zeros(len(self.first)), gain, np.zeros(self.n, dtype=bool)
        for _ in range(passes):
            more, raised = self.routed(limits - on, rest + on, left)
            on = on + more
            left = gain - np.bincount(tail, on, self.n) + np.bincount(head, on, self.n)
        return Flow(self.shared(on, capacity), left, raised)

    def merged(self, values: np.ndarray) -> np.ndarray:
        """Return the sums over the arcs from one node to another."""
        if len(self.first) == len(self.order):
            return values[self.order]
        return np.add.reduceat(values[self.order], self.first)

    def shared(self, on: np.ndarray, capacity: np.ndarray) -> np.ndarray:
        """Return the flow on each arc where `on` is that on all from one node to another."""
        found, rest = np.empty(len(self.order)), on.copy()
        lengths = np.diff(np.append(self.first, len(self.order)))
        for rank in range(int(lengths.max(initial=0))):
            has = lengths > rank
            arcs = self.order[self.first[has] + rank]
            last = lengths[has] == rank + 1
            found[arcs] = np.where(last, rest[has], np.minimum(rest[has], capacity[arcs]))
            rest[has] -= found[arcs]
        return found

    def routed(
        self, capacity: np.ndarray, back: np.ndarray, gain: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the flow in whole units, negative where it takes `back`, and the cut."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        n, arcs, shape = self.n, len(capacity), (self.n + 2, self.n + 2)
        units, unit = self.whole(gain)
        limits = np.floor(np.concatenate([capacity, back]) / unit)
        none = np.zeros(n)
        values = np.concatenate([limits, units, none, -units, none])
        most = np.empty(len(self.place), dtype=np.int32)
        most[self.place] = np.minimum(np.maximum(values, 0.0), UNITS)  # no more flows anywhere
        network = csr_array((most, self.indices, self.indptr), shape=shape)
        flow = maximum_flow(network, n, n + 1).flow.data
        left = flow < most
        upto = np.concatenate([[0], left.cumsum()])[self.indptr]
        rest = csr_array((most[left], self.indices[left], upto.astype(np.int32)), shape=shape)
        raised = np.zeros(n + 2, dtype=bool)
        raised[breadth_first_order(rest, n, return_predecessors=False)] = True
        return flow[self.place[:arcs]] * unit, raised[:n]

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
