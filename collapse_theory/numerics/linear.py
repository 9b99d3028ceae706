"""Dense positive definite systems, and the connected parts, paths and trees of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.lazy import lapack

# Nodes up to which products of dense matrices take less time than SciPy's sparse arrays to make.
FEW_NODES = 40
# Nodes up to which sums over those below in a tree are a product of matrices.
FEW_IN_TREE = 100

Solver = Callable[[np.ndarray], np.ndarray]


def cholesky(matrix: np.ndarray) -> Solver | None:
    """Return the solver of systems with a positive definite matrix, None where it isn't one.

    Rows of any size are solved as accurately: what rounding does to Cholesky's factors doesn't
    depend on a scaling of rows and columns (A. van der Sluis, Numerische Mathematik 14 (1969),
    14-23). By LAPACK itself: for n = 8 scipy.linalg's wrappers take longer than the factorisation.
    """
    if not math.isfinite(matrix.trace()):
        return None
    factor, failed = lapack.dpotrf(matrix.T, 1)  # by columns without copying across
    return None if failed else lambda right: lapack.dpotrs(factor, right, 1)[0]


def solved(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions (..., k, c) of positive definite systems (..., k, k), NaN where there
    are none.

    One is solved by Cholesky's factors; of many, which NumPy factors in general form, one that
    isn't positive definite may be solved all the same.
    """
    if matrices.ndim == 2:
        solve = cholesky(matrices)
        return np.full_like(right, np.nan) if solve is None else solve(right)
    scale = 1.0 / np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    scaled = matrices * scale[:, :, None] * scale[:, None, :]
    lost = ~np.isfinite(scaled.sum(axis=(1, 2)))
    scaled[lost] = np.eye(scaled.shape[1])
    try:
        found = np.linalg.solve(scaled, scale[:, :, None] * right)
    except np.linalg.LinAlgError:  # one is singular
        return np.stack([solved(*one) for one in zip(matrices, right, strict=True)])
    found[lost] = np.nan
    return scale[:, :, None] * found


def half_solver(matrix: np.ndarray) -> Solver | None:
    """Return the solver of L x = right (k, c), L L' the matrix; None where there is no such L."""
    factor, failed = lapack.dpotrf(matrix.T, 1)
    return None if failed else lambda right: lapack.dtrtrs(factor, right, 1)[0]


def components(i: np.ndarray, j: np.ndarray, k: int, *, directed: bool = False) -> np.ndarray:
    """Return for each of k nodes the number of its connected part, from 0, by edges i - j.

    `directed` asks for the strongly connected ones.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.numerics.linear import components
    >>> components(np.array([0, 3]), np.array([1, 1]), 4).tolist()
    [0, 0, 1, 0]
    """
    if k <= FEW_NODES:
        return _few_components(i, j, k, directed)
    from scipy.sparse.csgraph import connected_components

    edges = adjacency(np.ones(len(i)), i, j, k)
    return connected_components(edges, directed=directed, connection="strong")[1]


def _few_components(i: np.ndarray, j: np.ndarray, k: int, directed: bool) -> np.ndarray:
    """Return the parts by who reaches whom, within 2, 4, 8, ... steps."""
    reaches = np.eye(k)
    reaches[i, j] = 1.0
    if not directed:
        reaches[j, i] = 1.0
    for _ in range((k - 1).bit_length()):
        reaches = np.minimum(reaches @ reaches, 1.0)
    first = np.argmax(np.minimum(reaches, reaches.T), axis=1)  # of each node's part
    return (np.cumsum(first == np.arange(k)) - 1)[first]


def adjacency(values: np.ndarray, i: np.ndarray, j: np.ndarray, k: int) -> Any:
    """Return a sparse graph, its places in the 32 bits that SciPy 1.15's graph routines take."""
    from scipy.sparse import coo_array

    return coo_array((values, (i.astype(np.int32), j.astype(np.int32))), shape=(k, k))


def spanning_forest(
    i: np.ndarray, j: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nodes of a graph from roots outward, the node above each, and the edge to it.

    Above a root is the number k, and its edge is -1. Each connected part has one root, its first
    node.
    """
    from scipy.sparse.csgraph import breadth_first_order

    roots = np.unique(components(i, j, k), return_index=True)[1]
    rows = np.concatenate([i, j, np.full(len(roots), k)])
    beside = adjacency(np.ones(len(rows)), rows, np.concatenate([j, i, roots]), k + 1).tocsr()
    order, before = breadth_first_order(beside, k)
    node, above = order[1:], before[order[1:]]
    key, first = np.unique(np.minimum(i, j) * k + np.maximum(i, j), return_index=True)
    at = np.searchsorted(key, np.minimum(node, above) * k + np.maximum(node, above))
    return node, above, np.where(above == k, -1, np.append(first, -1)[np.minimum(at, len(key))])


@dataclass(frozen=True)
class Tree:
    """A tree that spans all nodes, with node 0 on top.

    order, above : (nodes,) the nodes from the top down, and the one above each
    below : (nodes, nodes) 1 at (i, j) where i is j or below it
    """

    order: np.ndarray
    above: np.ndarray
    below: np.ndarray

    @classmethod
    def heaviest(cls, table: np.ndarray) -> Tree:
        """Return that of the largest weights (R. C. Prim, Bell System Technical Journal 36 (1957),
        1389-1401); an edge that the table lacks has the weight 0.

        Examples
        --------
        >>> import numpy as np
        >>> from collapse_theory.numerics.linear import Tree
        >>> Tree.heaviest(np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]])).below.astype(int).tolist()
        [[1, 0, 0], [1, 1, 1], [1, 0, 1]]
        """
        below, order = np.eye(len(table)), np.zeros(len(table), dtype=int)
        left, above = table.astype(float), np.zeros(len(table), dtype=int)
        best, left[:, 0] = left[0].copy(), -1.0  # of those in the tree
        best[0] = -1.0
        for place in range(1, len(table)):
            order[place] = j = int(best.argmax())
            below[j] += below[above[j]]
            best[j] = left[:, j] = -1.0
            nearer = left[j] > best
            np.copyto(best, left[j], where=nearer)
            above[nearer] = j
        return cls(order, above, below)

    def under(self, values: np.ndarray) -> np.ndarray:
        """Return for each node the sum of the values (nodes, ...) of those below it and its own."""
        if len(values) <= FEW_IN_TREE:
            return self.below.T.dot(values)
        sums = values.copy()
        for j in self.order[:0:-1]:
            sums[self.above[j]] += sums[j]
        return sums

    def form(self, table: np.ndarray) -> np.ndarray:
        """Return sum_ij table_ij (v_i - v_j)**2 / 2 in the v_j less that of the node above.

        Of two differences of which one is below the other, the entry is what the table has between
        the nodes under the lower one and those that aren't under the upper one; of others, less
        what it has between the two.
        """
        of = self.under(table)
        nested = np.where(self.below == 1, of @ (1.0 - self.below), 0.0)
        beside = np.where(self.below + self.below.T == 0, self.under(of.T).T, 0.0)
        return nested + nested.T - np.diag(nested.diagonal()) - beside


def least_tree_paths(
    i: np.ndarray, j: np.ndarray, k: int, size: np.ndarray
) -> tuple[np.ndarray, Any]:
    """Return the edges of the forest of least `size`, and the paths in it from the roots.

    Row v of the paths, a sparse array, has the signs of the forest's edges between v and its root:
    +1 where v is the end i. No edge on the path between the ends of an edge is larger than that
    edge.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.numerics.linear import least_tree_paths
    >>> edges, paths = least_tree_paths(
    ...     np.array([0, 1, 0]), np.array([1, 2, 2]), 3, np.array([0.25, 0.5, 0.75])
    ... )
    >>> edges.tolist(), paths.toarray().tolist()
    ([0, 1], [[0.0, 0.0], [-1.0, 0.0], [-1.0, -1.0]])
    """
    from scipy.sparse import csr_array

    order = np.argsort(-size, kind="stable")  # of several edges between two nodes the least is last
    order = order[i[order] != j[order]]
    low, high = np.minimum(i, j)[order], np.maximum(i, j)[order]
    name, weight = np.full((k, k), -1), np.zeros((k, k))
    name[low, high], weight[low, high] = order, np.arange(1.0, len(order) + 1)
    name, weight = np.maximum(name, name.T), weight + weight.T
    tree = Tree.heaviest(weight)
    edges = name[np.arange(k), tree.above]
    node = np.flatnonzero(edges >= 0)  # but roots
    signs = np.where(i[edges[node]] == node, 1.0, -1.0)
    return edges[node], csr_array(tree.below[:, node] * signs)
