"""Positive definite systems on a graph: factored where it is small, by many levels where not.

The matrix is that of sum_e edge_e (x_i - x_j)**2 + sums_e (x_i + x_j)**2 + sum_i ground_i x_i**2
over the edges e = (i, j): a weighted Laplacian and what is like one. Its weights may lie twenty
orders apart, as those of interior points do. Then nodes that heavy edges join move together, and
conjugate gradients see each such group as an eigenvalue near 0. So each node is joined to its
strongest neighbour (O. Boruvka 1926), the groups are the nodes of a smaller system of the same
kind, and so on; what is left on each level is smoothed by Jacobi's method, on the way to the
smallest and back. That V-cycle of unsmoothed aggregation preconditions the gradients (D. Braess,
Computing 55 (1995), 379-393; Y. Notay, Electronic Transactions on Numerical Analysis 37 (2010),
123-146).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.numerics.linear import Solver, adjacency, cholesky, components

# Nodes from which on one factorisation takes longer than the iterations that replace it (measured
# on random graphs with ten edges a node).
DENSE = 600
CROWDED = 8  # entries of the matrix for each edge, up to which that holds for more nodes too
MOST_ROUNDS = 3000  # of conjugate gradients
PLAIN = 60  # rounds before levels are made: their making takes about as long
# Of a unit diagonal: couplings below it are left to the smoothing. Measured on the last systems of
# interior points on random graphs: .1 takes 5 times as many rounds, .001 no fewer.
WEAK = 0.01
DAMPING = 2 / 3  # of Jacobi's method: eigenvalues of a unit diagonal's Laplacian go up to 2
MOST_LEVELS = 40  # each has at most half the nodes of the one before: never reached


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
        The weights of (x_a - x_b)**2 and of (x_a + x_b)**2; at least 0, the first 0 where a = b.
    diagonal : numpy.ndarray, shape (nodes,)
        The weights of x**2. The dense matrix gets 1e-15 of its diagonal more, so that parts that
        nothing holds don't make it singular.
    keep : numpy.ndarray of bool, shape (nodes,), optional
        The nodes that are free; the others are held at 0.
    tol : float
        The residual that conjugate gradients leave, relative to the right side.
    """
    system, free = System(a, b, edge, sums, diagonal), None
    if keep is not None:
        free = np.flatnonzero(keep)
        if not len(free):
            return np.zeros_like
    whole = free is None or system.k <= DENSE
    some = system if free is None or whole else system.restricted(free)
    dense = some.k <= DENSE or some.k**2 <= CROWDED * len(some.i)
    inner = _dense(some, free if whole else None) if dense else _iterative(some, tol)
    if inner is None or free is None:
        return inner

    def solve(right: np.ndarray) -> np.ndarray:
        x = np.zeros_like(right)
        x[free] = inner(right[free])
        return x

    return solve


def _dense(system: System, free: np.ndarray | None) -> Solver | None:
    k = system.k
    half = np.bincount(system.i * k + system.j, system.sums - system.edge, k * k).reshape(k, k)
    matrix, main = half + half.T, system.main
    matrix.ravel()[:: k + 1] += np.where(main == 0, 1.0, main)  # what nothing holds stays
    if free is not None:
        matrix = matrix[np.ix_(free, free)]
    for extra in (1e-15, 1e-13, 1e-10):
        regular = matrix.copy()
        regular.ravel()[:: len(matrix) + 1] *= 1 + extra
        solve = cholesky(regular)
        if solve is not None:
            break
    else:
        return None

    def refined(right: np.ndarray) -> np.ndarray:
        x = solve(right)
        return x + solve(right - matrix.dot(x))  # takes out what `extra` changed

    return refined


@dataclass(frozen=True)
class System:
    """A graph's system."""

    i: np.ndarray
    j: np.ndarray
    edge: np.ndarray
    sums: np.ndarray | float
    ground: np.ndarray

    def restricted(self, free: np.ndarray) -> System:
        """Return the system of the free nodes; edges to the others are ground."""
        place = np.full(self.k, -1)
        place[free] = np.arange(len(free))
        i, j = place[self.i], place[self.j]
        inside, total = (i >= 0) & (j >= 0), self.edge + self.sums
        out = np.where(inside, 0.0, total)
        ground = self.ground + np.bincount(self.i, out, self.k) + np.bincount(self.j, out, self.k)
        kept = self.sums[inside] if isinstance(self.sums, np.ndarray) else self.sums
        return System(i[inside], j[inside], self.edge[inside], kept, ground[free])

    @property
    def k(self) -> int:
        """The number of nodes."""
        return len(self.ground)

    @cached_property
    def main(self) -> np.ndarray:
        """The diagonal."""
        total = self.edge + self.sums
        return np.bincount(self.i, total, self.k) + np.bincount(self.j, total, self.k) + self.ground

    @cached_property
    def scale(self) -> np.ndarray:
        """What makes the diagonal 1 from both sides."""
        return np.where(self.main > 0, self.main, 1.0) ** -0.5

    @cached_property
    def across(self) -> np.ndarray:
        """The entries off the diagonal."""
        return (self.sums - self.edge) * self.scale[self.i] * self.scale[self.j]

    @cached_property
    def matrix(self) -> Any:
        """The scaled matrix, by rows."""
        from scipy.sparse import coo_array

        order = np.arange(self.k, dtype=np.int32)  # 32 bits: the products are bound by memory
        i, j = self.i.astype(np.int32), self.j.astype(np.int32)
        rows, columns = np.concatenate([i, j, order]), np.concatenate([j, i, order])
        values = np.concatenate([self.across, self.across, np.ones(self.k)])
        return coo_array((values, (rows, columns)), shape=(self.k, self.k)).tocsr()

    def groups(self) -> np.ndarray:
        """Return the group of each node by its strongest coupling, -1 where all are weak."""
        matrix, k = self.matrix, self.k
        row = np.repeat(np.arange(k), np.diff(matrix.indptr))
        # Ties are broken by a hash of the ends' sum, up to 1 part in 1000: no long chains.
        chance = 1 + 1e-3 * ((row + matrix.indices) * 40503 % 1009) / 1009
        coupling = -matrix.data * chance
        strongest = np.maximum.reduceat(coupling, matrix.indptr[:-1])
        weak = WEAK if k > DENSE // 2 else 0.0
        at = np.flatnonzero((coupling == strongest[row]) & (coupling > weak))
        label = components(row[at], matrix.indices[at], k)
        joined = np.bincount(label) > 1
        return np.where(joined, np.cumsum(joined) - 1, -1)[label]

    def contracted(self, group: np.ndarray) -> System:
        """Return the system whose nodes are the groups: one x for each.

        (x_i + x_j)**2 is near x_i**2 + x_j**2 there: it only preconditions.
        """
        count = int(group.max()) + 1
        of = np.where(group < 0, count, group)
        i, j = of[self.i], of[self.j]
        apart, both = i != j, (i < count) & (j < count)
        total = np.where(apart & ~both, self.edge, 0.0) + self.sums
        ground = np.bincount(of, self.ground, count + 1)
        ground += np.bincount(i, total, count + 1) + np.bincount(j, total, count + 1)
        inside = apart & both
        low, high = np.minimum(i, j)[inside], np.maximum(i, j)[inside]
        merged = adjacency(self.edge[inside], low, high, count).tocsr().tocoo()
        return System(merged.row, merged.col, merged.data, 0.0, ground[:count])


def _iterative(system: System, tol: float) -> Solver | None:
    if not (np.all(np.isfinite(system.across)) and np.all(np.isfinite(system.scale))):
        return None
    made: list[Solver] = []

    def solve(right: np.ndarray) -> np.ndarray:
        right = system.scale * right
        stop = tol**2 * float(right @ right)
        x, rest = np.zeros_like(right), right
        if not made:
            x, rest = _conjugate_gradients(system.matrix, right, x, stop, None, PLAIN)
            if float(rest @ rest) > stop:
                made.append(_v_cycle(system))
        if float(rest @ rest) > stop:
            x, _ = _conjugate_gradients(system.matrix, right, x, stop, made[0], MOST_ROUNDS)
        return system.scale * x

    return solve


def _conjugate_gradients(
    matrix: Any, right: np.ndarray, x: np.ndarray, stop: float, cycle: Solver | None, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Solve from x on for a matrix of unit diagonal; return what is found, and its residual."""
    rest = right - matrix @ x if np.any(x) else right.copy()
    ahead = rest if cycle is None else cycle(rest)
    direction, size = ahead.copy(), float(rest @ ahead)
    for _ in range(most):
        if float(rest @ rest) <= stop:
            break
        image = matrix @ direction
        bend = float(direction @ image)
        if not (bend > 0 and size > 0):
            break
        x = x + size / bend * direction
        rest = rest - size / bend * image
        ahead = rest if cycle is None else cycle(rest)
        before, size = size, float(rest @ ahead)
        direction = ahead + size / before * direction
    return x, rest


def _v_cycle(system: System, depth: int = 0) -> Solver:
    """Return what approximates the inverse of a system's scaled matrix, symmetric and positive."""
    from scipy.sparse import csr_array

    group = system.groups()
    if depth == MOST_LEVELS or not np.any(group >= 0):
        return lambda right: right.copy()
    coarse = system.contracted(group)
    held = (group >= 0) & (coarse.main > 0)[group]  # what nothing holds has no place
    node = np.flatnonzero(held)
    weights = coarse.scale[group[node]] / system.scale[node]
    matrix, below = system.matrix, _v_cycle(coarse, depth + 1)
    up = csr_array((weights, (node, group[node])), shape=(system.k, coarse.k))
    down = up.T.tocsr()

    def cycle(right: np.ndarray) -> np.ndarray:
        x = DAMPING * right
        x = x + up @ below(down @ (right - matrix @ x))
        return x + DAMPING * (right - matrix @ x)

    return cycle
