"""The comparison graph of a program: a node for those held equal, an edge for each pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from collapse_theory.numerics.flow import Network
from collapse_theory.numerics.linear import components
from collapse_theory.programs.comparisons import Comparisons, depths


@dataclass(frozen=True)
class Graph:
    """Nodes 0, ..., k-1 of `sizes` completions; edges a -> b with weights w and margins m.

    `node_of` maps completions to nodes; -1 where a completion is in no pair.
    """

    node_of: np.ndarray
    sizes: np.ndarray
    a: np.ndarray
    b: np.ndarray
    w: np.ndarray
    m: np.ndarray

    @classmethod
    def of(cls, comparisons: Comparisons, width: float = 1.0) -> Self:
        """Return a node for those held equal, an edge for all pairs of the same two and margin.

        Margins are in units of `width`, and the weights sum to 1.
        """
        node = comparisons.nodes
        a, b = node[comparisons.better], node[comparisons.worse]
        used, ends = np.unique(np.concatenate([a, b]), return_inverse=True)
        new = np.full(node.max() + 1, -1)
        new[used] = np.arange(len(used))
        a, b = np.split(ends.ravel(), 2)
        values, which = np.unique(comparisons.margins, return_inverse=True)
        key = (a * len(used) + b) * len(values) + which.ravel()
        first, edge = np.unique(key, return_index=True, return_inverse=True)[1:]
        w = np.bincount(edge.ravel(), comparisons.weights)
        node_of = new[node]
        sizes = np.bincount(node_of[node_of >= 0], minlength=len(used)).astype(float)
        margins = comparisons.margins[first] / width
        return cls(node_of, sizes, a[first], b[first], w / w.sum(), margins)

    @property
    def k(self) -> int:
        """The number of nodes."""
        return len(self.sizes)

    def differences(self, r: np.ndarray) -> np.ndarray:
        """Return r_a - r_b on each edge."""
        return r[self.a] - r[self.b]

    def divergence(self, flow: np.ndarray) -> np.ndarray:
        """Return what flows out of each node less what flows in: the transpose of differences."""
        return np.bincount(self.a, flow, self.k) - np.bincount(self.b, flow, self.k)

    def gathered(self, values: np.ndarray) -> np.ndarray:
        """Return at each node the sum over its edges."""
        return np.bincount(self.a, values, self.k) + np.bincount(self.b, values, self.k)

    @cached_property
    def part(self) -> np.ndarray:
        """The connected part of each node, numbered from 0."""
        return components(self.a, self.b, self.k)

    @cached_property
    def network(self) -> Network:
        """The network of dual solutions: an arc from b to a on each edge, then one from each node
        to the box, the node after the last.
        """
        tail = np.concatenate([self.b, np.arange(self.k)])
        head = np.concatenate([self.a, np.full(self.k, self.k)])
        return Network.of(self.k + 1, tail, head, np.append(self.part, self.part.max() + 1))

    @cached_property
    def longest_paths(self) -> tuple[np.ndarray, np.ndarray]:
        """The lengths of the longest paths that end at each node, and that begin there."""
        above, below = depths(self.k, self.a, self.b), depths(self.k, self.b, self.a)
        assert above is not None
        assert below is not None
        return above, below

    @property
    def levels(self) -> np.ndarray:
        """Rewards in (0, 1) by the longest paths above and below: strictly falling on each edge."""
        above, below = self.longest_paths
        return (below + 0.5) / (above + below + 1)

    @cached_property
    def two_sided(self) -> np.ndarray:
        """For each part, whether its nodes fall into two sides with all pairs between them."""
        # In the double cover a part stays in one piece unless it is two-sided.
        a, b, k = self.a, self.b, self.k
        label = components(np.concatenate([a, a + k]), np.concatenate([b + k, b]), 2 * k)
        answer = np.zeros(self.part.max() + 1, dtype=bool)
        answer[self.part] = label[:k] != label[k:]
        return answer

    @property
    def floating(self) -> np.ndarray:
        """The completions in no pair, or in other parts than the largest."""
        largest = np.argmax(np.bincount(self.part, self.sizes))
        return (self.node_of < 0) | (self.part[self.node_of] != largest)

    def centred(self, r: np.ndarray) -> np.ndarray:
        """Return r with mean 0 over the completions of each part."""
        mass = np.bincount(self.part, self.sizes)
        return r - (np.bincount(self.part, self.sizes * r) / mass)[self.part]
