"""A batch of prompts on tensors: what is given checked, and rankings summed by sorting."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn.functional import pad

from collapse_theory.errors import CollapseError
from collapse_theory.utilities import Hinge, Linear, Loss, PlackettLuce, Quadratic, Squared, Utility

# A logit of what isn't there: its exp is 0 in every dtype.
LEAST = -1e30


def looked_at(values: Tensor) -> Any:
    """Return a tensor's numbers; None where there are none yet: compiled, under vmap, on meta."""
    if torch.compiler.is_compiling():
        return None
    try:
        return values.tolist()
    except RuntimeError:
        return None


def as_batch(values: Any, what: str = "logits") -> Tensor:
    """Return logits, or rewards, of shape (K,) or (B, K) as (B, K), or raise."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        found = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise CollapseError(f"{what} must be a tensor of floats, got {found}")
    batch = values[None, :] if values.ndim == 1 else values
    how = f"{what}.view(prompts, completions) groups a model's output, one row a completion"
    if batch.ndim != 2:
        raise CollapseError(
            f"{what} must have shape (prompts, completions), got {tuple(values.shape)}; {how}"
        )
    if not len(batch) or batch.shape[1] < 2:
        held = "one completion a prompt" if len(batch) and batch.shape[1] else "no completions"
        raise CollapseError(
            f"{what} of shape {tuple(values.shape)} hold {held}: nothing to compare; {how}"
        )
    return batch


def as_tensor(what: str, values: Any, device: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Return `values` as a tensor on the device, or raise an error that names `what`."""
    try:
        return torch.as_tensor(values, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise CollapseError(
            f"{what} must be a tensor, or numbers in rows of one length: {fault}"
        ) from None


def as_ranks(ranks: Any, logits: Tensor) -> Tensor:
    """Return ranks as whole numbers, (B, K) or (1, K), by which logits of None are best first."""
    count = logits.shape[1]
    if ranks is None:
        return torch.arange(count, device=logits.device)[None, :]
    found = as_tensor("ranks", ranks, logits.device)
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise CollapseError(
            f"ranks must be whole numbers (0 is best, -1 is padding), got {found.dtype}"
        )
    found = found[None, :] if found.ndim == 1 else found
    if found.ndim != 2 or found.shape[1] != count or found.shape[0] not in (1, len(logits)):
        raise CollapseError(
            f"ranks must have the shape of the logits, {tuple(logits.shape)}; got "
            f"{tuple(found.shape)}"
        )
    return found.long()


def require_several(ranks: Tensor) -> None:
    """Raise where no prompt has two completions, padding left out."""
    if ranks.numel() and looked_at(((ranks >= 0).sum(1) < 2).all()):
        raise CollapseError(
            f"ranks of shape {tuple(ranks.shape)} have at most one completion a prompt beside "
            "padding: nothing to compare; a row must hold the completions of one prompt"
        )


def compared(ranks: Tensor) -> Tensor:
    """Return which pairs count, (B, K, K): where i is better than j, and neither is padding."""
    first, second = ranks[:, :, None], ranks[:, None, :]
    return (first < second) & (first >= 0)


def of_pairs(what: str, values: Any, logits: Tensor, which: Tensor) -> Tensor:
    """Return numbers given one a prompt or one a pair, as (B, K, K); 0 off the pairs `which`."""
    made = as_tensor(what, values, logits.device, logits.dtype)
    shape = *logits.shape, logits.shape[1]
    column = (len(logits), 1)  # one a prompt, as a loader may stack them
    made = made.reshape(-1, 1, 1) if made.ndim < 2 or made.shape == column else made
    try:
        if made.ndim == 2 and made.shape != shape[1:]:
            raise RuntimeError
        made = made.expand(shape)
    except RuntimeError:
        raise CollapseError(
            f"{what} must be one a prompt, shape {shape[:1]}, or one a pair, shape {shape}, entry "
            f"(b, i, j) for completion i above j; got shape {tuple(made.shape)}"
        ) from None
    made = torch.where(which, made, 0.0)
    if looked_at((~made.isfinite()).any()):
        raise CollapseError(f"{what} of pairs that are compared must be finite")
    return made


def mean_over_prompts(value: Tensor, counts: Tensor, weights: Any) -> Tensor:
    """Return the (weighted) mean of the prompts' losses over those that count; 0 for none."""
    share = counts.to(value.dtype)
    if weights is not None:
        weights = as_tensor("weights", weights, value.device, value.dtype)
        if weights.shape != value.shape:
            raise CollapseError(
                f"weights must be one a prompt, shape {tuple(value.shape)}; got "
                f"{tuple(weights.shape)}; those of pairs are pair_weights="
            )
        if looked_at((~(weights >= 0) | weights.isinf()).any()):
            raise CollapseError("weights of prompts must be finite and 0 or more")
        share = share * weights
    total = share.sum()
    return (share * value).sum() / torch.where(total == 0, 1.0, total)


def several_ranks(ranks: Tensor) -> Tensor:
    """Return which prompts have completions of different ranks, (B,)."""
    best = ranks.masked_fill(ranks < 0, torch.iinfo(ranks.dtype).max).amin(1)
    return ranks.amax(1) > best


def nearest(logits: Tensor, ranks: Tensor) -> Tensor:
    """Return how far from 0 all logits of a prompt are at least, on one side, (B,).

    Below 0 where they are on both sides; infinite where there are none, or infinite ones.
    """
    z, there = logits.detach(), ranks >= 0
    low = torch.where(there, z, torch.inf).amin(1)
    high = torch.where(there, z, -torch.inf).amax(1)
    return torch.where((high - low).isfinite(), torch.maximum(low, -high), torch.inf)


# -- by sorting --------------------------------------------------------------------------


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
