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

from collapse_theory.finite.least_norm import least_norm
from collapse_theory.programs import Comparisons, Free, Solution, count
from collapse_theory.programs.graph import Graph, comparison_graph
from collapse_theory.utilities import Hinge

__all__ = ["max_margin"]

TOLERANCE = 1e-12  # of the relative gap; the cuts end at an exact answer
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
    found = least_norm(graph)
    r = found.r / min(float(graph.differences(found.r).min()), 1.0)
    gap = _dual_gap(graph, r, found.z) / pairs.n
    rewards = np.where(graph.node_of >= 0, r[graph.node_of], 0.0)
    return _solution(rewards, pairs, _floating(graph), gap, found.iterations, "cuts")


def _solution(
    rewards: np.ndarray,
    comparisons: Comparisons | None,
    undetermined: tuple[int, ...],
    gap: float,
    iterations: int,
    method: str,
) -> Solution:
    size = float(np.mean(rewards**2))
    return Solution(
        rewards=rewards,
        gaps=-np.diff(np.sort(rewards)[::-1]),
        objective=-size,
        gap=gap,
        relative_gap=gap / size,
        status="optimal" if gap <= TOLERANCE * size else "inaccurate",
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


def _dual_gap(graph: Graph, r: np.ndarray, z: np.ndarray) -> float:
    """Return sum sizes r**2 less the greatest lower bound along the ray of z."""
    push = graph.divergence(z)
    quadratic, linear = float(push**2 @ (1 / graph.sizes)), float(z.sum())
    # max_t 2 t linear - t**2 quadratic.
    norm = math.fsum(graph.sizes * r**2)
    return max(norm - linear**2 / quadratic, 0.0) + 16 * EPS * norm
