"""Linear systems on a graph: dense Cholesky for few nodes, conjugate gradients for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from collapse_theory.lazy import lapack

__all__ = ["DENSE", "graph_solver"]

# From here on one factorisation takes longer than the iterations that replace it.
DENSE = 600
MOST = 3000  # iterations of conjugate gradients

Solver = Callable[[np.ndarray], np.ndarray]


def graph_solver(
    a: np.ndarray,
    b: np.ndarray,
    edge: np.ndarray,
    sums: np.ndarray | float,
    diagonal: np.ndarray,
    *,
    keep: np.ndarray | None = None,
    dense: int = DENSE,
    tol: float = 1e-10,
) -> Solver | None:
    """Return the solver of sum_e edge (x_a - x_b)**2 + sums (x_a + x_b)**2 + diagonal x**2.

    `keep` names the nodes that are free; the others are held at 0. The diagonal gets 1e-15 of
    itself, so that parts that nothing holds don't make the matrix singular. None where the matrix
    isn't positive definite.
    """
    free = np.arange(len(diagonal)) if keep is None else np.flatnonzero(keep)
    if not len(free):
        return np.zeros_like
    edge = np.where(a == b, 0.0, edge)  # within a contracted node: (x - x)**2
    i, j, across, scale = _normed(a, b, edge, sums, diagonal, free)
    if not (np.all(np.isfinite(across)) and np.all(np.isfinite(scale))):
        return None
    main = np.ones(len(free))
    build = _dense if len(free) <= dense else _iterative
    inner = build(i, j, across, main, tol)
    if inner is None:
        return None

    def solve(right: np.ndarray) -> np.ndarray:
        x = np.zeros_like(right)
        x[free] = scale * inner(scale * right[free])
        return x

    return solve


def _normed(
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


def _dense(
    i: np.ndarray, j: np.ndarray, across: np.ndarray, main: np.ndarray, tol: float
) -> Solver | None:
    k = len(main)
    half = np.bincount(i * k + j, across, k * k).reshape(k, k).astype(float)  # int where empty
    matrix = half + half.T
    matrix[np.diag_indices(k)] += main
    for extra in (1e-15, 1e-13, 1e-10):
        regular = matrix.copy()
        regular[np.diag_indices(k)] *= 1 + extra
        factor, failed = lapack.dpotrf(regular, lower=1)
        if not failed:
            break
    else:
        return None

    def solve(right: np.ndarray) -> np.ndarray:
        x = lapack.dpotrs(factor, right, lower=1)[0]
        return x + lapack.dpotrs(factor, right - matrix @ x, lower=1)[0]

    return solve


def _iterative(
    i: np.ndarray, j: np.ndarray, across: np.ndarray, main: np.ndarray, tol: float
) -> Solver:
    from scipy.sparse import coo_array

    k = len(main)
    order = np.arange(k)
    rows, columns = np.concatenate([i, j, order]), np.concatenate([j, i, order])
    matrix: Any = coo_array(
        (np.concatenate([across, across, main]), (rows, columns)), shape=(k, k)
    ).tocsr()
    return lambda right: _conjugate_gradients(matrix, right, tol)


def _conjugate_gradients(matrix: Any, right: np.ndarray, tol: float) -> np.ndarray:
    """Solve for a matrix of unit diagonal, as which it is preconditioned by its diagonal."""
    x, rest = np.zeros_like(right), right.copy()
    direction, size = rest.copy(), float(rest @ rest)
    stop = tol**2 * size
    for _ in range(MOST):
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
