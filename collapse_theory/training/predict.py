"""What a loss leads to, by the solvers, and how far a batch is from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from collapse_theory.errors import CollapseError
from collapse_theory.finite import solve
from collapse_theory.programs import Box, Comparisons, Domain, Solution, count
from collapse_theory.training.order import keeps_order
from collapse_theory.training.pairs import as_ranks, within
from collapse_theory.utilities import Loss, PlackettLuce

if TYPE_CHECKING:
    from collapse_theory.training.loss import RankingLoss

__all__ = ["Predictions", "as_float64", "gap_of", "prompt_gaps"]

# Rewards outside the box by more than this share of its width are no rewards of it.
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Predictions:
    """The optima of one loss, each solved for once: by the ranks that a prompt has."""

    utility: Loss
    domain: Domain
    pairs: Comparisons | None
    _known: dict[tuple[int, ...], Solution] = field(default_factory=dict)

    def solution(self, n: int) -> Solution:
        """Return the optimum of n completions with the ranks 0, ..., n-1."""
        n = count(n)
        if self.pairs is not None and n > self.pairs.n:
            raise CollapseError(
                f"n = {n} completions: pair weights are given for the ranks 0, ..., "
                f"{self.pairs.n - 1} only"
            )
        found = self.of_ranks(tuple(range(n)))
        if found is None:
            raise CollapseError(f"the pair weights compare none of the ranks 0, ..., {n - 1}")
        return found

    def of_ranks(self, ranks: tuple[int, ...]) -> Solution | None:
        """Return the optimum of completions with these ranks, sorted; None without a pair."""
        if self.pairs is None:
            # Without weights only the order counts.
            ranks = tuple(
                np.unique(np.array(ranks, dtype=np.int64), return_inverse=True)[1].tolist()
            )
        if ranks not in self._known:
            pairs = within(self.pairs, ranks)
            if pairs is None:
                return None
            self._known[ranks] = self._solved(ranks, pairs)
        return self._known[ranks]

    def _solved(self, ranks: tuple[int, ...], pairs: Comparisons) -> Solution:
        if self.pairs is None and len(set(ranks)) == len(ranks):
            return solve(self.utility, len(ranks), self.domain)
        if isinstance(self.utility, PlackettLuce):
            raise CollapseError(f"the optimum of {self.utility} isn't known for tied completions")
        found = solve(self.utility, domain=self.domain, comparisons=pairs)
        if self.pairs is not None and not keeps_order(self.utility, found, pairs):
            raise CollapseError(
                "the pair weights pull a completion above a better one, so that the loss leads "
                "away from the ranking; raise the weights of the pairs between neighbours"
            )
        return found


def prompt_gaps(loss: RankingLoss, rewards: Any, ranks: Any) -> np.ndarray:
    """Return each prompt's optimum less its objective, (B,); NaN where no pair is compared."""
    made = as_float64(rewards)
    if isinstance(ranks, torch.Tensor):
        ranks = ranks.cpu()
    order = as_ranks(ranks, made, None if loss.pair_weights is None else loss.pair_weights.n)
    made = made.masked_fill(order < 0, _middle(loss.domain))
    _require_inside(made, loss.domain)
    objective = loss.objective(made, order).numpy()
    order = order.expand(made.shape).sort(dim=1).values.numpy()
    patterns, which = np.unique(order, axis=0, return_inverse=True)
    best = np.array([_best(loss, tuple(row[row >= 0].tolist())) for row in patterns])
    return best[which.ravel()] - objective


def as_float64(rewards: Any) -> torch.Tensor:
    """Return rewards as a float64 tensor on the CPU, shape (B, K), without their history."""
    if not isinstance(rewards, torch.Tensor):
        rewards = torch.from_numpy(np.array(rewards, dtype=np.float64))
    made = rewards.detach().to("cpu", torch.float64)
    made = made[None, :] if made.ndim == 1 else made
    if made.ndim != 2:
        shape = tuple(made.shape)
        raise CollapseError(f"rewards must have shape (prompts, completions), got {shape}")
    return made


def gap_of(gaps: np.ndarray) -> float:
    """Return the mean over the prompts that have a pair to compare; NaN for none."""
    known = gaps[~np.isnan(gaps)]
    return float(known.mean()) if known.size else float("nan")


def _best(loss: RankingLoss, ranks: tuple[int, ...]) -> float:
    found = loss.predictions.of_ranks(ranks)
    return float("nan") if found is None else found.objective


def _middle(domain: Domain) -> float:
    return domain.low + domain.width / 2 if isinstance(domain, Box) else 0.0


def _require_inside(rewards: torch.Tensor, domain: Domain) -> None:
    if not isinstance(domain, Box) or not rewards.numel():
        return
    room = ROUNDING * domain.width
    outside = (rewards < domain.low - room) | (rewards > domain.high + room)
    if outside.any():
        raise CollapseError(
            f"the reward {rewards[outside][0].item():g} is outside {domain}; pass rewards, which "
            "loss.rewards(logits) makes from logits"
        )
