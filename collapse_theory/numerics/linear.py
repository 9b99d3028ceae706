"""Positive definite systems, dense or on a graph, and the connected parts of a graph.

A graph's system is the matrix of sum_e edge_e (x_a - x_b)**2 + sums_e (x_a + x_b)**2 + sum_i
diagonal_i x_i**2 over its edges e = (a, b): a weighted Laplacian and what is like one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from collapse_theory.lazy import lapack

# Nodes from which on one factorisation takes longer than the iterations that replace it (measured
# on random graphs with ten edges a node).
DENSE = 600
CROWDED = 8  # entries of the matrix for each edge, up to which that holds for more nodes too
MAX_CG_ITERATIONS = 3000

Solver = Callable[[np.ndarray], np.ndarray]


def cholesky(matrix: np.ndarray) -> Solver | None:
    """Return the solver of systems with a positive definite matrix, None where it isn't one.

    The matrix is scaled to a diagonal of 1 first: rows of any size are solved as accurately.
    """
    scale = 1.0 / np.sqrt(matrix.diagonal())
    scaled = matrix * scale * scale[:, None]
    if not np.isfinite(scaled.sum()):
        return None
    inner = _factored(scaled)
    if inner is None:
        return None

    def solve(right: np.ndarray) -> np.ndarray:
        weights = scale if right.ndim == 1 else scale[:, None]
        return weights * inner(weights * right)

    return solve


def _factored(matrix: np.ndarray) -> Solver | None:
    """Return the solver by Cholesky's factors, None where there are none; `matrix` is overwritten.

    By LAPACK itself: for n = 8 scipy.linalg's wrappers take longer than the factorisation.
    """
    factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1)
    return None if failed else lambda right: lapack.dpotrs(factor, right, lower=1)[0]


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
    from scipy.sparse.csgraph import connected_components

    edges = _adjacency(np.ones(len(i)), i, j, k)
    return connected_components(edges, directed=directed, connection="strong")[1]


def _adjacency(values: np.ndarray, i: np.ndarray, j: np.ndarray, k: int) -> Any:
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

    first = np.unique(i * k + j, return_index=True)[1]
    roots = np.unique(components(i, j, k), return_index=True)[1]
    # One more node joins the trees.
    rows, columns = np.append(i[first], np.full(len(roots), k)), np.append(j[first], roots)
    names = np.append(first, np.full(len(roots), -1)) + 2
    name = _adjacency(names, rows, columns, k + 1)
    order, above = breadth_first_order(name, k, directed=False)
    node, parent = order[1:], above[order[1:]]
    edge = np.asarray((name + name.T).tocsr()[node, parent]).ravel() - 2
    return node, parent, edge


def least_tree_paths(
    i: np.ndarray, j: np.ndarray, k: int, size: np.ndarray
) -> tuple[np.ndarray, Any]:
    """Return the edges of the forest of least `size`, and the paths in it from the roots.

    Row v of the paths, a sparse array, has the signs of the forest's edges between v and its root:
    +1 where v is the end i. No edge on the path between the ends of an edge is larger than that
    edge (Kruskal 1956).

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
    from scipy.sparse.csgraph import minimum_spanning_tree

    order = np.flatnonzero(i != j)
    order = order[np.argsort(size[order], kind="stable")]
    low, high = np.minimum(i, j)[order], np.maximum(i, j)[order]
    first = np.unique(low * k + high, return_index=True)[1]
    rank = _adjacency(first + 1.0, low[first], high[first], k)
    edges = np.sort(order[minimum_spanning_tree(rank).data.astype(int) - 1])
    ways, none = [np.zeros(0, dtype=np.int64)] * (k + 1), np.zeros(0)
    signs = [none] * (k + 1)
    node, above, edge = spanning_forest(i[edges], j[edges], k)
    sign = np.where(i[edges[edge]] == node, 1.0, -1.0) if len(edges) else none
    for at, parent, way, one in zip(*(x.tolist() for x in (node, above, edge, sign)), strict=False):
        if way >= 0:
            ways[at], signs[at] = np.append(ways[parent], way), np.append(signs[parent], one)
    ends = np.cumsum([0, *map(len, ways[:k])])
    return edges, csr_array(
        (np.concatenate(signs), np.concatenate(ways), ends), shape=(k, len(edges))
    )


def graph_solver(
    a: np.ndarray,
    b: np.ndarray,
    edge: np.ndarray,
    sums: np.ndarray | float,
    diagonal: np.ndarray,
    *,
    keep: np.ndarray | None = None,
    tol: float = 1e-10,
) -> Solver | None:
    """Return the solver of a graph's system, None where its matrix isn't positive definite.

    Parameters
    ----------
    a, b : numpy.ndarray of int, shape (edges,)
        The ends of each edge.
    edge, sums : numpy.ndarray, shape (edges,)
        The weights of (x_a - x_b)**2 and of (x_a + x_b)**2; at least 0.
    diagonal : numpy.ndarray, shape (nodes,)
        The weights of x**2. The dense matrix gets 1e-15 of its diagonal more, so that parts that
        nothing holds don't make it singular.
    keep : numpy.ndarray of bool, shape (nodes,), optional
        The nodes that are free; the others are held at 0.
    tol : float
        The residual that conjugate gradients leave, relative to the right side.
    """
    free = np.arange(len(diagonal)) if keep is None else np.flatnonzero(keep)
    if not len(free):
        return np.zeros_like
    edge = np.where(a == b, 0.0, edge)  # within a contracted node: (x - x)**2
    i, j, across, scale = _scaled(a, b, edge, sums, diagonal, free)
    if not (np.all(np.isfinite(across)) and np.all(np.isfinite(scale))):
        return None
    k = len(free)
    dense = k <= DENSE or k**2 <= CROWDED * len(i)
    inner = _dense(i, j, across, k) if dense else _iterative(i, j, across, k, tol)
    if inner is None:
        return None

    def solve(right: np.ndarray) -> np.ndarray:
        x = np.zeros_like(right)
        x[free] = scale * inner(scale * right[free])
        return x

    return solve


def _scaled(
    a: np.ndarray,
    b: np.ndarray,
    edge: np.ndarray,
    sums: np.ndarray | float,
    diagonal: np.ndarray,
    free: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the entries off the diagonal among the free nodes, and the scale that makes it 1."""
    k = len(diagonal)
    total = edge + sums
    main = (np.bincount(a, total, k) + np.bincount(b, total, k) + diagonal)[free]
    place = np.full(k, -1)
    place[free] = np.arange(len(free))
    i, j = place[a], place[b]
    inside = (i >= 0) & (j >= 0)
    i, j, across = i[inside], j[inside], (sums - edge)[inside]
    scale = np.where(main > 0, main, 1.0) ** -0.5
    return i, j, across * scale[i] * scale[j], scale


def _dense(i: np.ndarray, j: np.ndarray, across: np.ndarray, k: int) -> Solver | None:
    half = np.bincount(i * k + j, across, k * k).reshape(k, k).astype(float)  # int where empty
    matrix = half + half.T
    matrix[np.diag_indices(k)] += 1.0
    for extra in (1e-15, 1e-13, 1e-10):
        regular = matrix.copy()
        regular[np.diag_indices(k)] *= 1 + extra
        solve = _factored(regular.T)  # symmetric, and its transpose needs no copy in LAPACK
        if solve is not None:
            break
    else:
        return None

    def refined(right: np.ndarray) -> np.ndarray:
        x = solve(right)
        return x + solve(right - matrix @ x)  # takes out what `extra` changed

    return refined


def _iterative(i: np.ndarray, j: np.ndarray, across: np.ndarray, k: int, tol: float) -> Solver:
    from scipy.sparse import coo_array

    order = np.arange(k)
    rows, columns = np.concatenate([i, j, order]), np.concatenate([j, i, order])
    values = np.concatenate([across, across, np.ones(k)])
    matrix: Any = coo_array((values, (rows, columns)), shape=(k, k)).tocsr()
    return lambda right: _conjugate_gradients(matrix, right, tol)


def _conjugate_gradients(matrix: Any, right: np.ndarray, tol: float) -> np.ndarray:
    """Solve for a matrix of unit diagonal, as which it is preconditioned by its diagonal."""
    x, rest = np.zeros_like(right), right.copy()
    direction, size = rest.copy(), float(rest @ rest)
    stop = tol**2 * size
    for _ in range(MAX_CG_ITERATIONS):
        if size <= stop:
            break
        image = matrix @ direction
        bend = float(direction @ image)
        if not bend > 0:
            break
        x += size / bend * direction
        rest -= size / bend * image
        before, size = size, float(rest @ rest)
        direction = rest + size / before * direction
    return x
