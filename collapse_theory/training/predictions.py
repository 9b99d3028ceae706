"""What a loss leads to, by the solvers: one optimum for each pattern of ranks, solved for once.

The programs hold r_better >= r_worse on every compared pair; a loss doesn't. For a full ranking
with equal weights that makes no difference: swapping two rewards that are the wrong way round is a
gain. Weights by rank can pull a completion above a better one, and `keeps_order` finds out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve
from collapse_theory.programs import Box, Comparisons, Domain, Solution
from collapse_theory.programs.dual import AT_KINK
from collapse_theory.utilities import Loss, PlackettLuce, Utility

# What rewards could gain without the order, as a share of what the objective is made of: above the
# accuracy of solutions, below any gain that a training would show.
NEGLIGIBLE_GAIN = 1e-4


# -- pairs by rank -----------------------------------------------------------------------


def by_rank(pair_weights: Any) -> Comparisons | None:
    """Return the weights by rank as comparisons in which completion p is the one of rank p.

    Of an array (K, K) entry (p, q), p < q, is for the pair in which rank p is better than rank q;
    the other entries are not read.

    Raises
    ------
    CollapseError
        For a table that isn't square, negative weights, no weight above 0; comparisons that put a
        rank above a better one, hold some equal, or give one pair several margins.

    Examples
    --------
    >>> by_rank(np.eye(4, k=1))
    Comparisons(n=4, better=[0, 1, 2], worse=[1, 2, 3])
    """
    if pair_weights is None:
        return None
    if not isinstance(pair_weights, Comparisons):
        return _from_table(pair_weights)
    if pair_weights.equal:
        raise CollapseError(
            f"pair_weights holds {pair_weights.equal} equal, which a loss can't; give tied "
            "completions the same rank instead"
        )
    better, worse = pair_weights.better, pair_weights.worse
    for p, q in zip(better[better > worse], worse[better > worse], strict=True):
        raise CollapseError(
            f"pair_weights puts {p} above {q}, but completions there are ranks: 0 is best, and "
            "p > q stands for a pair of rank p < q"
        )
    other = pair_weights.margins != tables(pair_weights)[1][better, worse]
    for p, q in zip(better[other], worse[other], strict=True):
        raise CollapseError(
            f"pair_weights gives the pair {p} > {q} several margins; a loss takes one margin a pair"
        )
    return pair_weights


def _from_table(pair_weights: Any) -> Comparisons:
    try:
        table = np.asarray(pair_weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise CollapseError(f"pair_weights must be numbers, got {pair_weights!r}") from None
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise CollapseError(
            f"pair_weights must have shape (K, K), one entry a pair of ranks; got {table.shape}"
        )
    better, worse = np.triu_indices(len(table), 1)
    return Comparisons(len(table), better, worse, table[better, worse])


def tables(pairs: Comparisons) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the margins of each pair of ranks, shape (K, K) each."""
    weights, margins = np.zeros((2, pairs.n, pairs.n))
    np.add.at(weights, (pairs.better, pairs.worse), pairs.weights)
    margins[pairs.better, pairs.worse] = pairs.margins
    return weights, margins


def within(
    pairs: Comparisons | None,
    ranks: Any,
    margins: np.ndarray | None = None,
    pair_weights: np.ndarray | None = None,
) -> Comparisons | None:
    """Return the comparisons of completions with these ranks, padding below 0; None without a pair.

    Margins and weights (K, K) of the completions' own pairs add to those by rank, or multiply them.

    >>> within(None, (0, 1, 1))
    Comparisons(n=3, better=[0, 0], worse=[1, 2])
    """
    rank = np.asarray(ranks, dtype=np.int64)
    better, worse = np.nonzero((rank[:, None] < rank[None, :]) & (rank[:, None] >= 0))
    weights, shifts = np.ones(len(better)), np.zeros(len(better))
    if pairs is not None:
        weights, shifts = (table[rank[better], rank[worse]] for table in tables(pairs))
    if pair_weights is not None:
        weights = weights * pair_weights[better, worse]
    if margins is not None:
        shifts = shifts + margins[better, worse]
    if not np.any(weights > 0):
        return None
    return Comparisons(len(rank), better, worse, weights, (), shifts)


# -- predictions -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Predictions:
    """The optima of one loss, each solved for once: by the ranks that a prompt has."""

    utility: Loss
    domain: Domain
    pairs: Comparisons | None
    _known: dict[tuple[int, ...], Solution] = field(default_factory=dict)

    def solution(
        self, n: int, margins: np.ndarray | None = None, pair_weights: np.ndarray | None = None
    ) -> Solution:
        """Return the optimum of n completions with the ranks 0, ..., n-1."""
        if self.pairs is not None and n > self.pairs.n:
            raise CollapseError(
                f"n = {n} completions: pair weights are given for the ranks 0, ..., "
                f"{self.pairs.n - 1} only"
            )
        if margins is None and pair_weights is None:
            found = self.of_ranks(tuple(range(n)))
        else:
            found = self._solved(
                tuple(range(n)), within(self.pairs, range(n), margins, pair_weights)
            )
        if found is None:
            raise CollapseError(f"the pair weights compare none of the ranks 0, ..., {n - 1}")
        return found

    def of_ranks(self, ranks: tuple[int, ...]) -> Solution | None:
        """Return the optimum of completions with these ranks; None without a pair.

        They are sorted, but under Anchored those of the columns.
        """
        if self.pairs is None:
            # Without weights only the order counts.
            place = {rank: at for at, rank in enumerate(sorted(set(ranks) - {-1}))} | {-1: -1}
            ranks = tuple(place[rank] for rank in ranks)
        if ranks not in self._known:
            found = self._solved(ranks, within(self.pairs, ranks))
            if found is None:
                return None
            self._known[ranks] = found
        return self._known[ranks]

    def objectives(
        self,
        ranks: np.ndarray,
        margins: np.ndarray | None = None,
        pair_weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the optimum of each row of ranks (B, K), padding below 0; NaN without a pair."""
        best = np.full(len(ranks), np.nan)
        for pattern, rows in patterns(ranks, self.domain.ordered):
            if margins is None and pair_weights is None:
                solution = self.of_ranks(pattern)
                best[rows] = np.nan if solution is None else solution.objective
                continue
            for row in rows:  # each prompt has its own
                own = (None if of is None else of[row] for of in (margins, pair_weights))
                solution = self.of_prompt(ranks[row], *own)
                best[row] = np.nan if solution is None else solution.objective
        return best

    def of_prompt(
        self,
        ranks: np.ndarray,
        margins: np.ndarray | None = None,
        pair_weights: np.ndarray | None = None,
    ) -> Solution | None:
        """Return the optimum of one prompt's completions, in their order, padding left out."""
        keep = (ranks >= 0) | (not self.domain.ordered)
        there, at = np.maximum(ranks[keep], -1), np.ix_(keep, keep)
        own = (None if of is None else of[at] for of in (margins, pair_weights))
        return self._solved(tuple(there), within(self.pairs, there, *own))

    def _solved(self, ranks: tuple[int, ...], pairs: Comparisons | None) -> Solution | None:
        if pairs is None:
            return None
        # All pairs, equally, keep the order: swapping two rewards the wrong way round is a gain.
        everyone = within(None, ranks)
        plain = everyone is not None and len(pairs.weights) == len(everyone.weights)
        plain = plain and np.ptp(pairs.weights) == 0 and not pairs.margins.any()
        if plain and ranks == tuple(range(len(ranks))):
            return solve(self.utility, len(ranks), self.domain)
        if isinstance(self.utility, PlackettLuce):
            raise CollapseError(f"the optimum of {self.utility} isn't known for tied completions")
        found = solve(self.utility, domain=self.domain, comparisons=pairs)
        held = not plain and self.domain.ordered
        if held and not keeps_order(self.utility, found, pairs):
            raise CollapseError(
                "the pair weights or margins pull a completion above a better one, so that the "
                "loss leads away from the ranking; raise the weights of pairs of neighbours"
            )
        return found


def patterns(ranks: np.ndarray, alike: bool = True) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield the sorted ranks that rows of (B, K) have, padding left out, and which rows.

    Where columns aren't `alike`, the ranks as they are, -1 for padding.
    """
    rows = np.sort(ranks, axis=1) if alike else np.maximum(ranks, -1)
    found, which = np.unique(rows, axis=0, return_inverse=True)
    for number, row in enumerate(found):
        kept = row[row >= 0] if alike else row
        yield tuple(kept.tolist()), np.flatnonzero(which.ravel() == number)


# -- whether the order of the completions holds by itself -----------------------------------


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
