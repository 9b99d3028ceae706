"""What a loss leads to, by the solvers: one optimum for each pattern of ranks, solved for once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve
from collapse_theory.finite.order import keeps_order
from collapse_theory.programs import Comparisons, Domain, Solution
from collapse_theory.programs.by_rank import within
from collapse_theory.utilities import Loss, PlackettLuce


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
        plain = margins is None and pair_weights is None
        own = None if plain else self.of_prompt(np.arange(n), margins, pair_weights)
        found = self.of_ranks(tuple(range(n))) if plain else own
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
