"""What a loss leads to, by the solvers: one optimum for each pattern of ranks, solved for once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve
from collapse_theory.finite.order import keeps_order
from collapse_theory.programs import Comparisons, Domain, Solution
from collapse_theory.programs.by_rank import within
from collapse_theory.utilities import Loss, PlackettLuce

Tables = np.ndarray | None
"""Margins or weights of pairs, (K, K) of one prompt or (B, K, K) of several."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The optima of one loss, each solved for once: by the ranks that a prompt has."""

    utility: Loss
    domain: Domain
    pairs: Comparisons | None
    _known: dict[tuple[int, ...], Solution | CollapseError | None] = field(default_factory=dict)

    def of_rows(
        self,
        ranks: np.ndarray,
        margins: Tables = None,
        pair_weights: Tables = None,
        skip: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the optimum of each row of ranks (B, K), and its objective (B,).

        Rewards are those of `of_prompt`, NaN after the last; both are NaN without a pair, and with
        `skip` where there is no answer: for tied completions under Plackett-Luce, say.
        """
        rewards, best = np.full(ranks.shape, np.nan), np.full(len(ranks), np.nan)
        if skip and not self.domain.ordered:  # Anchored is of one prompt
            return rewards, best
        for row, own in enumerate(ranks):
            tables = (None if of is None else of[row] for of in (margins, pair_weights))
            try:
                found = self.of_prompt(own, *tables)
            except CollapseError:
                if not skip:
                    raise
            else:
                if found is not None:
                    rewards[row, : found.n], best[row] = found.rewards, found.objective
        return rewards, best

    def of_prompt(
        self, ranks: np.ndarray, margins: Tables = None, pair_weights: Tables = None
    ) -> Solution | None:
        """Return the optimum of one prompt's completions, best first; None without a pair.

        Padding, of rank below 0, is left out. Under Anchored, whose centers are those of the
        columns, completions stay in their places, and so does padding.
        """
        at = np.arange(len(ranks))
        if self.domain.ordered:
            at = np.argsort(ranks, kind="stable")[np.count_nonzero(ranks < 0) :]
        there = np.maximum(ranks[at], -1)
        if self.pairs is None:  # without weights by rank only the order counts
            there = np.unique(there, return_inverse=True)[1] - int(there.min(initial=0) < 0)
        key, plain = tuple(there.tolist()), margins is None and pair_weights is None
        if not plain:
            own = (None if of is None else of[np.ix_(at, at)] for of in (margins, pair_weights))
            return self._solved(key, within(self.pairs, there, *own))
        if key not in self._known:
            try:
                self._known[key] = self._solved(key, within(self.pairs, there))
            except CollapseError as fault:
                self._known[key] = fault
        found = self._known[key]
        if isinstance(found, CollapseError):
            raise found
        return found

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
