"""What rankings are worth without a tensor of all pairs: by sorting, for losses that allow it."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn.functional import pad

from collapse_theory.utilities import Hinge, Linear, Loss, PlackettLuce, Quadratic, Squared, Utility

# A logit of what isn't there: its exp is 0 in every dtype.
LEAST = -1e30


def best_first(rewards: Tensor, ranks: Tensor, absent: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return rewards and ranks by rank, padding last and `absent`, and what is no padding."""
    last = ranks.masked_fill(ranks < 0, torch.iinfo(ranks.dtype).max)
    order, by = last.expand(rewards.shape).sort(dim=1, stable=True)
    present = order < torch.iinfo(ranks.dtype).max
    return torch.where(present, rewards.gather(1, by), absent), order, present


def sortable(utility: Loss) -> TypeGuard[Utility]:
    """Whether all pairs of a ranking can be summed by sorting: quadratics and hinges."""
    known = Linear | Quadratic | Squared | Hinge
    return isinstance(utility, Utility) and all(isinstance(of, known) for _, of in utility.terms)


def mean_over_pairs(utility: Utility, rewards: Tensor, present: Tensor) -> Tensor:
    """Return the mean of U(r_i - r_j) over the pairs of rankings without ties, shape (B,).

    With n rewards, best first and less their mean, and U(x) = a + b x + c x**2 - sum w (x - m)_+,

        sum of r_i - r_j = sum (n - 1 - 2 p) r_p,    sum of (r_i - r_j)**2 = n sum r**2 - (sum r)**2

    and the hinges' sums by `beyond`: O(K log(K)**2) in time, O(K log K) in memory.
    """
    n = present.sum(1, keepdim=True)
    mean = (rewards * present).sum(1, keepdim=True) / n.clamp(min=1)
    r = torch.where(present, rewards - mean.detach(), 0.0)
    places = torch.arange(r.shape[1], device=r.device)
    total = utility.slope_at_zero * ((n - 1 - 2 * places) * r).sum(1)
    curve = float(utility.d2(0.0)) / 2
    if curve:
        total = total + curve * (n[:, 0] * (r**2).sum(1) - r.sum(1) ** 2)
    # What isn't there is beyond nothing as worse, and has no worse as better.
    far = torch.where(present, r, -LEAST)
    for weight, of in utility.terms:
        if isinstance(of, Hinge):
            total = total - weight * beyond(far, of.m)
    pairs = (n * (n - 1))[:, 0] / 2
    return float(utility(0.0)) + total / pairs.clamp(min=1)


def beyond(rewards: Tensor, margin: float) -> Tensor:
    """Return sum (r_i - r_j - margin)_+ over all i < j, (B,), merging blocks twice as long."""
    size = 1 << (rewards.shape[1] - 1).bit_length()
    blocks = pad(rewards, (0, size - rewards.shape[1]), value=-LEAST)
    total, half = torch.zeros_like(rewards[:, 0]), 1
    while half < size:
        better, worse = blocks.view(len(rewards), -1, 2, half).unbind(2)
        worse = worse.sort(-1).values
        sums = pad(worse.cumsum(-1), (1, 0))
        below = torch.searchsorted(worse.detach(), (better - margin).detach().contiguous())
        total = total + (below * (better - margin) - sums.gather(-1, below)).sum((1, 2))
        half *= 2
    return total


def mean_over_picks(loss: PlackettLuce, rewards: Tensor, ranks: Tensor) -> Tensor:
    """Return the mean log-likelihood of a pick, shape (B,): of i among i and all worse than i.

    Tied completions are in no pick of each other. A pick is among the first `top` where fewer than
    `top` completions are better. In O(K log K), of the sort.
    """
    # Finite, since a difference of two -inf would be NaN.
    scaled, order, present = best_first(loss.beta * rewards, ranks, LEAST)
    tails = scaled.flip(1).logcumsumexp(1).flip(1)  # log sum of exp from here on
    # Where the next worse rank begins: beyond the last place for none.
    places, size = torch.arange(order.shape[1], device=order.device), order.shape[1]
    ends = pad(order[:, 1:] != order[:, :-1], (0, 1), value=True)
    worse = torch.where(ends, places + 1, size).flip(1).cummin(1).values.flip(1)
    others = pad(tails, (0, 1), value=LEAST).gather(1, worse)
    picked = present & (others > LEAST / 2)
    if loss.top is not None:
        starts = pad(order[:, 1:] != order[:, :-1], (1, 0), value=True)
        better = torch.where(starts, places, 0).cummax(1).values
        picked = picked & (better < loss.top)
    value = torch.where(picked, scaled - torch.logaddexp(scaled, others), 0.0)
    return value.sum(1) / picked.sum(1).clamp(min=1)
