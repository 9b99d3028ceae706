"""The objective of a batch of prompts on tensors: what the programs maximise, all pairs in one go.

`pairs[b, i, j]` says how much the pair counts in which completion i of prompt b is better than j.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from collapse_theory.programs import Centered, Confined, Domain
from collapse_theory.training.continuation import Continued
from collapse_theory.utilities import PlackettLuce

__all__ = ["pair_value", "penalty", "stage_value"]


def pair_value(
    worth: Continued, rewards: Tensor, weights: Tensor, margins: Tensor | None
) -> Tensor:
    """Return sum over pairs of w U(r_i - r_j - margin), shape (B,)."""
    gaps = rewards[:, :, None] - rewards[:, None, :]
    if margins is not None:
        gaps = gaps - margins
    # Only gaps that count reach the formula, so that no other can overflow in it.
    return (weights * worth(gaps.masked_fill(weights == 0, 0.0))).sum((1, 2))


def stage_value(model: PlackettLuce, rewards: Tensor, pairs: Tensor) -> Tensor:
    """Return the mean log-likelihood of a pick, shape (B,): of i among i and all worse than i.

    Tied completions are in no pick of each other. A pick is among the first `top` where fewer than
    `top` completions are better.

    >>> import torch
    >>> pairs = torch.ones(1, 3, 3).triu(1)
    >>> stage_value(PlackettLuce(), torch.tensor([[1.0, 0.5, 0.0]]), pairs)
    tensor([-0.5772])
    """
    worse = pairs > 0
    picked = worse.any(2)
    if model.top is not None:
        picked = picked & (worse.sum(1) < model.top)
    # log [exp(b r_i) / (exp(b r_i) + sum exp(b r_j))] = -log(exp(0) + sum exp(b (r_j - r_i))).
    ahead = model.beta * (rewards[:, None, :] - rewards[:, :, None])
    others = ahead.masked_fill(~worse, 0.0).masked_fill(~worse, -torch.inf)
    value = -torch.logsumexp(pad(others, (1, 0)), 2)
    share = picked.to(value.dtype)
    return (share * value).sum(1) / share.sum(1).clamp(min=1.0)


def penalty(domain: Domain, rewards: Tensor, ranks: Tensor, weights: Tensor) -> Tensor | float:
    """Return what the domain takes off, shape (B,); `weights` of pairs sum to 1 in each prompt."""
    if isinstance(domain, Confined):
        present = (ranks >= 0).to(rewards.dtype)
        return domain.kappa * (present * rewards**2).sum(1) / present.sum(1).clamp(min=1.0)
    if isinstance(domain, Centered):
        sums = rewards[:, :, None] + rewards[:, None, :]
        return domain.c * (weights * sums**2).sum((1, 2))
    return 0.0
