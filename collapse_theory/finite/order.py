"""Whether an optimum keeps the order of the completions by itself.

Programs hold r_better >= r_worse on every compared pair; a loss that is trained doesn't. For a full
ranking with equal weights that makes no difference: swapping two rewards that are the wrong way
round is a gain. Weights and margins of pairs can pull a completion above a better one.
"""

from __future__ import annotations

import numpy as np

from collapse_theory.programs import Box, Comparisons, Domain, Solution
from collapse_theory.programs.dual import AT_KINK
from collapse_theory.utilities import Utility

# What rewards could gain without the order, as a share of what the objective is made of: above the
# accuracy of solutions, below any gain that a training would show.
NEGLIGIBLE_GAIN = 1e-4


def keeps_order(utility: Utility, solution: Solution, pairs: Comparisons) -> bool:
    """Whether the solution is an optimum without the constraints r_better >= r_worse too.

    The loss is concave in all rewards: it is at its optimum where slopes p of U at the pairs' gaps,
    any of U's superdifferential at a kink, leave no force g on any completion but outward at the
    ends of the box. The p that leave least, sum_i max(g_i up_i, -g_i down_i) with the way up and
    down that completion i has, are a linear program.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.utility("log(x + 0.1)")
    >>> for middle in (1.0, 0.1):
    ...     pairs = ct.Comparisons(4, [0, 1, 2], [1, 2, 3], weights=[1, middle, 1])
    ...     print(keeps_order(u, ct.solve(u, comparisons=pairs), pairs))
    True
    False
    """
    r, domain = solution.rewards, solution.domain
    a, b, w = pairs.better, pairs.worse, pairs.weights / pairs.weights.sum()
    gaps = r[a] - r[b] - pairs.margins
    least, most = _slopes(utility, gaps)
    edges = np.arange(len(w))
    force = np.zeros((len(r), len(w)))  # on each completion, of slope 1 at each pair
    force[a, edges], force[b, edges] = w, -w
    if isinstance(domain, Box):
        up, down, top = domain.high - r, r - domain.low, domain.width
    else:
        up = down = np.full(len(r), float(np.ptp(r)))
        top = float(np.ptp(r))
    gain = _least_gain(force, _pull(domain, r, a, b, w), (least, most), (up, down))
    with np.errstate(all="ignore"):
        missing = utility(np.maximum(top - pairs.margins, gaps)) - utility(gaps)
    size = float(w @ (np.abs(missing) + np.minimum(np.abs(most), np.abs(least)) * np.abs(gaps)))
    return gain <= NEGLIGIBLE_GAIN * size


def _slopes(utility: Utility, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest slope of U at each gap: two at kinks."""
    gaps = np.where(np.abs(gaps) < 1e-15, 0.0, gaps)
    least = np.asarray(utility.d1(gaps)) + 0 * gaps
    most = least.copy()
    for kink in utility.kinks:
        width = AT_KINK * max(1.0, kink)
        near = np.abs(gaps - kink) <= width
        most[near], least[near] = utility.d1(kink + 2 * width * np.array([-1.0, 1.0]))
    return least, most


def _pull(domain: Domain, r: np.ndarray, a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the gradient of the domain's penalty."""
    both = 2 * domain.sums * w * (r[a] + r[b])
    of_pairs = np.bincount(a, both, len(r)) + np.bincount(b, both, len(r))
    return 2 * domain.squares / len(r) * r + of_pairs


def _least_gain(
    force: np.ndarray,
    pull: np.ndarray,
    slopes: tuple[np.ndarray, np.ndarray],
    way: tuple[np.ndarray, np.ndarray],
) -> float:
    """Return the least over p of sum_i max(g_i up_i, -g_i down_i), g = force p - pull."""
    from scipy.optimize import linprog

    n, pairs = force.shape
    up, down = way
    above = np.hstack([force * up[:, None], -np.eye(n)])
    below = np.hstack([-force * down[:, None], -np.eye(n)])
    found = linprog(
        np.concatenate([np.zeros(pairs), np.ones(n)]),
        A_ub=np.vstack([above, below]),
        b_ub=np.concatenate([up * pull, -down * pull]),
        bounds=[*zip(*slopes, strict=True), *[(0, None)] * n],
        method="highs",
    )
    return float("inf") if found.x is None else float(found.fun)
