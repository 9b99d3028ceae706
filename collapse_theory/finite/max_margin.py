"""Where the rewards run when nothing holds them: the direction of unbounded training.

Under log-sigmoid with no penalty the gaps grow for ever, as the logarithm of time. Gradient flow's
direction is that of the least-norm rewards with all compared gaps at least 1, whatever the weights
and margins: the hard-margin support vector machine on separable data (Soudry, Hoffer, Nacson,
Gunasekar, Srebro 2018, theorem 3), its data being the differences e_better - e_worse. For a full
ranking they are equally spaced: the gaps between neighbours are at least 1, and the sum of squares
about the mean is a sum of squares of gaps, so it is least where all of them are 1.
"""

from __future__ import annotations

import math

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.finite.steps import Budget, room
from collapse_theory.programs import LOOSE, Comparisons, Free, Solution, count
from collapse_theory.programs.graph import Graph, comparison_graph
from collapse_theory.programs.laplacian import DENSE, graph_solver
from collapse_theory.programs.paths import depths
from collapse_theory.utilities import Hinge

__all__ = ["max_margin"]

ROUNDS = 200
TOLERANCE = 1e-9
ENOUGH, FAIR = 1e-13, 3e-8  # the relative gap that ends the iterations, of few and of many nodes
EPS = float(np.finfo(np.float64).eps)


def max_margin(n_or_comparisons: int | Comparisons) -> Solution:
    """Return the least-norm rewards with all compared gaps at least 1.

    Minimises mean r_i**2 subject to r_better - r_worse >= 1 for every pair, groups held equal;
    each connected part then has mean 0. It is the direction in which gradient flow on log-sigmoid
    takes the rewards when nothing holds them.

    Parameters
    ----------
    n_or_comparisons : int or Comparisons
        The number of completions of a full ranking, best first; or the pairs. Weights and margins
        don't change the direction.

    Returns
    -------
    Solution
        With utility Hinge(1) under Free, of which the rewards are the optimum of least norm;
        `objective` is -mean r_i**2, `gap` bounds how much closer to 0 it could be, by the dual
        program, and `relative_gap` is in units of mean r_i**2.

    Notes
    -----
    Soudry, Hoffer, Nacson, Gunasekar, Srebro, "The Implicit Bias of Gradient Descent on Separable
    Data", JMLR 19 (2018), theorem 3.

    Examples
    --------
    >>> from collapse_theory.finite.max_margin import max_margin
    >>> max_margin(4).rewards
    array([ 1.5,  0.5, -0.5, -1.5])
    """
    if not isinstance(n_or_comparisons, Comparisons):
        n = count(n_or_comparisons)
        rewards = (n - 1) / 2 - np.arange(n)
        return _solution(rewards, None, (), 0.0, 0, "closed form")
    pairs = n_or_comparisons
    graph = comparison_graph(pairs)
    r, multipliers, steps = _quadratic_program(graph)
    r = _exact(graph, r, multipliers)
    gap = _dual_gap(graph, r, multipliers) / pairs.n
    rewards = np.where(graph.node_of >= 0, r[graph.node_of], 0.0)
    return _solution(rewards, pairs, _floating(graph), gap, steps, "newton")


def _solution(
    rewards: np.ndarray,
    comparisons: Comparisons | None,
    undetermined: tuple[int, ...],
    gap: float,
    iterations: int,
    method: str,
) -> Solution:
    size = float(np.mean(rewards**2))
    tol = TOLERANCE if len(rewards) <= DENSE else LOOSE
    return Solution(
        rewards=rewards,
        gaps=-np.diff(np.sort(rewards)[::-1]),
        objective=-size,
        gap=gap,
        relative_gap=gap / size,
        status="optimal" if gap <= tol * size else "inaccurate",
        method=method,
        iterations=iterations,
        unique=True,
        utility=Hinge(1.0),
        domain=Free(),
        reference="Soudry et al. (2018), theorem 3",
        comparisons=comparisons,
        undetermined=undetermined,
    )


def _floating(graph: Graph) -> tuple[int, ...]:
    """Return the completions in no pair, or in other parts than the largest."""
    largest = np.argmax(np.bincount(graph.part, graph.sizes))
    away = (graph.node_of < 0) | (graph.part[graph.node_of] != largest)
    return tuple(np.flatnonzero(away).tolist())


def _quadratic_program(graph: Graph) -> tuple[np.ndarray, np.ndarray, int]:
    """Minimise sum sizes r**2 / 2 subject to gaps >= 1 by Mehrotra's interior-point method."""
    # One apart by level at least, and strictly inside.
    height = depths(graph.k, graph.b, graph.a)
    assert height is not None
    r = graph.centred(1.5 * height)
    s = graph.differences(r) - 1
    size = float(graph.sizes @ r**2)
    z = size / len(s) / s
    budget, short, best = Budget(ROUNDS), False, (np.inf, r, z)
    for _ in budget.rounds(ROUNDS):
        gap = _dual_gap(graph, r, z) / float(graph.sizes @ r**2)
        if gap < best[0]:
            best = gap, r, z
        if gap < (ENOUGH if graph.k <= DENSE else FAIR):
            break
        mu = float(s @ z) / len(s)
        solve = graph_solver(graph.a, graph.b, z / s, 0.0, graph.sizes, tol=1e-6)
        if solve is None:
            break
        dr = solve(-graph.sizes * r)
        ds = graph.differences(dr)
        dz = -z - z / s * ds
        primal, dual = min(1.0, room(s, ds)), min(1.0, room(z, dz))
        ahead = float((s + primal * ds) @ (z + dual * dz)) / len(s)
        # After a short step the products s z are brought together first.
        target = max((ahead / mu) ** 3, 0.3 if short else 0.0) * mu
        target = target if short or min(primal, dual) < 0.1 else target - ds * dz
        dr = solve(graph.divergence(target / s) - graph.sizes * r)
        ds = graph.differences(dr)
        dz = target / s - z - z / s * ds
        primal, dual = min(1.0, 0.99 * room(s, ds)), min(1.0, 0.99 * room(z, dz))
        short = min(primal, dual) < 0.3
        r, s, z = r + primal * dr, s + primal * ds, z + dual * dz
    _, r, z = best
    if not np.all(np.isfinite(r)):
        raise SolverFailed("the max-margin program has no answer in float64")
    return r, z, budget.used


def _exact(graph: Graph, r: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return r with the gaps that are held at 1 exactly 1: whole numbers about a mean of 0.

    Gaps with a multiplier tie completions into rigid pieces; the norm is least where each piece
    has mean 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    best = r / min(float(graph.differences(r).min()), 1.0)
    for level in (1e-4, 1e-6, 1e-2):
        held = z > level * z.max()
        i, j = graph.a[held], graph.b[held]
        links = coo_array((np.ones(len(i)), (i, j)), shape=(graph.k, graph.k))
        count, piece = connected_components(links, directed=False)
        first = np.unique(piece, return_index=True)[1]
        steps = np.rint(r - r[first][piece])
        mass = np.bincount(piece, graph.sizes, count)
        exact = steps - (np.bincount(piece, graph.sizes * steps, count) / mass)[piece]
        if graph.differences(exact).min() >= 1 - 1e-12 * float(np.abs(exact).max() + 1):
            near = float(graph.sizes @ exact**2) <= float(graph.sizes @ best**2) * (1 + 1e-9)
            if near:
                return exact
    return best


def _dual_gap(graph: Graph, r: np.ndarray, z: np.ndarray) -> float:
    """Return sum sizes r**2 less the greatest lower bound along the ray of z."""
    push = graph.divergence(z)
    quadratic, linear = float(push**2 @ (1 / graph.sizes)), float(z.sum())
    # max_t 2 t linear - t**2 quadratic.
    norm = math.fsum(graph.sizes * r**2)
    return max(norm - linear**2 / quadratic, 0.0) + 16 * EPS * norm
