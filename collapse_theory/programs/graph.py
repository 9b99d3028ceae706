"""The comparison graph: a node a reward, an edge a pair, and the objective on it.

The program is: maximise
sum_e w_e U(r_a - r_b - m_e) - sum_i d_i r_i**2 - c sum_e w_e (r_a + r_b)**2
subject to r_a >= r_b on each edge e = (a, b), and 0 <= r <= 1 in the box; sum_e w_e = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.paths import depths
from collapse_theory.utilities import Utility

__all__ = ["Graph", "GraphProgram", "comparison_graph"]


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
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = coo_array((np.ones(len(self.a)), (self.a, self.b)), shape=(self.k, self.k))
        return connected_components(edges, directed=False)[1]

    @cached_property
    def levels(self) -> np.ndarray:
        """Rewards in (0, 1) by the longest paths above and below: strictly falling on each edge."""
        above, below = depths(self.k, self.a, self.b), depths(self.k, self.b, self.a)
        assert above is not None
        assert below is not None
        return (below + 0.5) / (above + below + 1)

    @cached_property
    def two_sided(self) -> np.ndarray:
        """For each part, whether its nodes fall into two sides with all pairs between them."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        # In the double cover a part stays in one piece unless it is two-sided.
        a, b, k = self.a, self.b, self.k
        ends = np.concatenate([a, a + k]), np.concatenate([b + k, b])
        cover = coo_array((np.ones(2 * len(a)), ends), shape=(2 * k, 2 * k))
        label = connected_components(cover, directed=False)[1]
        answer = np.zeros(self.part.max() + 1, dtype=bool)
        answer[self.part] = label[:k] != label[k:]
        return answer

    def centred(self, r: np.ndarray) -> np.ndarray:
        """Return r with mean 0 over the completions of each part."""
        mass = np.bincount(self.part, self.sizes)
        return r - (np.bincount(self.part, self.sizes * r) / mass)[self.part]


def comparison_graph(comparisons: Comparisons) -> Graph:
    """Return the graph: a node for those held equal, an edge for all pairs of the same two."""
    node = comparisons.nodes
    a, b = node[comparisons.better], node[comparisons.worse]
    used, ends = np.unique(np.concatenate([a, b]), return_inverse=True)
    new = np.full(node.max() + 1, -1)
    new[used] = np.arange(len(used))
    a, b = np.split(ends.ravel(), 2)
    m = comparisons.margins
    values, which = np.unique(m, return_inverse=True)
    key = (a * len(used) + b) * len(values) + which.ravel()
    first, edge = np.unique(key, return_index=True, return_inverse=True)[1:]
    w = np.bincount(edge.ravel(), comparisons.weights)
    node_of = new[node]
    sizes = np.bincount(node_of[node_of >= 0], minlength=len(used)).astype(float)
    return Graph(node_of, sizes, a[first], b[first], w / w.sum(), m[first])


@dataclass(frozen=True)
class GraphProgram:
    """The program on a graph: the penalties d (k,) and c, and whether rewards lie in [0, 1]."""

    graph: Graph
    utility: Utility
    d: np.ndarray
    c: float
    box: bool

    @property
    def floating(self) -> bool:
        """Whether nothing but convention says where a part lies."""
        return not self.box and self.c == 0 and not np.any(self.d)

    def slopes(self, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return w U' and -w U'' on each edge."""
        first, second = self.utility.derivatives(gaps - self.graph.m)
        return self.graph.w * first, -self.graph.w * second

    def pull(self, r: np.ndarray) -> np.ndarray:
        """Return the gradient of the penalty."""
        both = 2 * self.c * self.graph.w * (r[self.graph.a] + r[self.graph.b])
        return 2 * self.d * r + self.graph.gathered(both)

    def objective(self, r: np.ndarray) -> float:
        """Return the weighted mean of U over pairs, less the penalty."""
        g = self.graph
        value = g.w @ self.utility.value(g.differences(r) - g.m)
        return float(value - self.d @ r**2 - self.c * (g.w @ (r[g.a] + r[g.b]) ** 2))
