"""What the programs maximise, on torch tensors: a batch of prompts with all their pairs at once.

A batch has rewards r (B, K) and ranks, (B, K) or (1, K): 0 the best, equal for ties, below 0 for
padding. The pair (i, j) counts with a weight w_ij where i is better than j; the weights of a prompt
sum to 1. The objective of a prompt is

    sum_ij w_ij U(r_i - r_j - m_ij) - penalty of the domain,

or for the listwise loss the mean log-likelihood of its picks, less the penalty.

A model in training ranks some pairs the wrong way round: their gaps are negative. A utility without
values there, or steep ones (1 - exp(-b x)), goes on from gap 0 along its tangent
(`utilities.continued`), which leaves the optimum as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from collapse_theory.design.slope import width_of
from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.programs import Comparisons, Domain
from collapse_theory.programs.by_rank import tables
from collapse_theory.training.tensors import (
    best_first,
    compared,
    looked_at,
    mean_over_pairs,
    mean_over_picks,
    of_pairs,
    several_ranks,
    sortable,
)
from collapse_theory.utilities import Loss, PlackettLuce
from collapse_theory.utilities.continued import on_tensors

# Completions from which sums by sorting take the place of all pairs. Measured at (1, 512) and at
# (8, 512): 0.5 and 0.6 ms against 3 and 49 for x, 1.8 and 12 against 2.7 and 52 for a hinge.
MANY = 256


class Objective:
    """Each prompt's objective, in the scale of U, as a function of its rewards and ranks.

    `loss` is as it is trained, with a finite slope at gap 0; `pairs` are those of ranks that count,
    all unless given. `utility` gives U of gaps on tensors, `slope` U'(0), or of the listwise
    loss that of a pair, and `own_below` whether U keeps its formula below gap 0.
    """

    def __init__(self, loss: Loss, domain: Domain, pairs: Comparisons | None) -> None:
        if domain.own:
            domain.require_known("training")
        self.loss, self.domain, self.pairs = loss, domain, pairs
        if isinstance(loss, PlackettLuce):
            self.slope, self.own_below = loss.beta / 2, False
        else:
            keeps = loss.below_zero if domain.ordered else loss.everywhere
            self.utility = on_tensors(loss, width_of(domain), keeps)
            self.slope, self.own_below = loss.slope_at_zero, self.utility.start is None
        # No buffers: no weights of a model, and not to lose digits when that is cast to half.
        self.weights = self.margins = self.anchors = None
        if pairs is not None:
            weights, margins = map(torch.from_numpy, tables(pairs))
            self.weights = weights / weights.max()  # in the range of float32, whatever their scale
            if margins.any():
                self.margins = margins
                self.require_tables(margins=True)
        if domain.anchors is not None:
            self.anchors = torch.tensor(domain.anchors)

    def values(
        self, rewards: Tensor, ranks: Tensor, margins: Any = None, pair_weights: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return the objectives (B,), 0 where no pair is compared, and where one is."""
        weights = None
        if isinstance(self.loss, PlackettLuce):
            self.require_tables(margins is not None, pair_weights is not None)
            value, counts = mean_over_picks(self.loss, rewards, ranks), several_ranks(ranks)
            if self.domain.sums:
                weights = _shares(compared(ranks).to(rewards.dtype))
        elif (own := self._by_sorting(rewards, ranks, margins, pair_weights)) is not None:
            value, counts = own, several_ranks(ranks)
        else:
            weights, margins = self._pairs(rewards, ranks, margins, pair_weights)
            counts, weights = weights.sum((1, 2)) > 0, _shares(weights)
            gaps = rewards[:, :, None] - rewards[:, None, :]
            gaps = gaps if margins is None else gaps - margins
            # Only gaps that count reach the formula, so that no other can overflow in it.
            gaps = gaps.masked_fill(weights == 0, 0.0)
            value = (weights * self.utility.value(gaps, torch)).sum((1, 2))
        if self.domain.squares or self.domain.sums:
            value = value - self._penalty(rewards, ranks, weights)
        counts = counts.expand(len(rewards))
        return torch.where(counts, value, 0.0), counts

    def _penalty(self, rewards: Tensor, ranks: Tensor, weights: Tensor | None) -> Tensor | float:
        """Return what the domain takes off: of squares, and of the sums of weighted pairs."""
        found: Tensor | float = 0.0
        if self.domain.squares:
            present = (ranks >= 0).to(rewards.dtype)
            count, pulled = present.sum(1).clamp(min=1.0), rewards
            if self.anchors is not None:
                if len(self.anchors) != rewards.shape[1]:
                    raise CollapseError(
                        f"{len(self.anchors)} centers for rewards of shape {tuple(rewards.shape)}: "
                        "Anchored takes one a column; make a loss of each prompt's own centers"
                    )
                # Each completion's own pull, 1/(2 memory), however many are there.
                count, pulled = len(self.anchors), rewards - self.anchors.to(rewards)
            found = self.domain.squares * (present * pulled**2).sum(1) / count
        if weights is not None and self.domain.sums:
            both = rewards[:, :, None] + rewards[:, None, :]
            found = found + self.domain.sums * (weights * both**2).sum((1, 2))
        return found

    def _by_sorting(self, rewards: Tensor, ranks: Tensor, *own: Any) -> Tensor | None:
        """Return the mean over all pairs where U, the size and the ranking allow it, else None."""
        plain = all(of is None for of in (*own, self.pairs)) and not self.domain.sums
        utility = self.loss
        if not plain or ranks.shape[1] < MANY or not self.own_below or not sortable(utility):
            return None
        ordered, order, present = best_first(rewards, ranks, 0.0)
        untied = (order[:, 1:] > order[:, :-1]) | ~present[:, 1:]
        if looked_at(untied.all()) is not True:
            return None
        return mean_over_pairs(utility, ordered, present)

    def _pairs(
        self, rewards: Tensor, ranks: Tensor, margins: Any, pair_weights: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Return the weight and the margin of each pair, by rank and as given with the batch."""
        which = compared(ranks)
        weights = which.to(rewards.dtype)
        if margins is not None:
            margins = of_pairs("margins", margins, rewards, which)
            self.require_tables(looked_at(margins.any()) is not False)
        if self.pairs is not None and self.weights is not None:
            largest = looked_at(ranks.max()) if ranks.numel() else None
            if largest is not None and largest >= self.pairs.n:
                raise CollapseError(
                    f"rank {largest} has no pair weights: they are given for the ranks 0, ..., "
                    f"{self.pairs.n - 1}"
                )
            at = ranks.clamp(min=0)
            at = at[:, :, None], at[:, None, :]
            weights = weights * self.weights.to(rewards)[at]
            if self.margins is not None:
                by_rank = self.margins.to(rewards)[at]
                margins = by_rank if margins is None else margins + by_rank
        if pair_weights is not None:
            given = of_pairs("pair_weights", pair_weights, rewards, which)
            if looked_at((given < 0).any()):
                raise CollapseError("pair_weights must be 0 or more")
            weights = weights * given
        return weights, margins

    def require_tables(self, margins: bool = False, pair_weights: bool = False) -> None:
        """Raise for margins, or weights of pairs, that the loss has no use for."""
        if isinstance(self.loss, PlackettLuce) and (margins or pair_weights):
            raise CollapseError(f"{self.loss} takes no margins or weights of pairs")
        if margins and not self.own_below:
            raise InvalidUtility(
                f"margins need values of U below gap 0, and {self.loss} has none: it is continued "
                "there by its tangent; use log-sigmoid, a hinge or another utility that has them"
            )


def _shares(weights: Tensor) -> Tensor:
    """Return the weights of each prompt's pairs (B, K, K) divided by their sum."""
    total = weights.sum((1, 2), keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)
