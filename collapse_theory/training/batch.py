"""A batch of prompts on tensors: what is given is checked and brought into shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from collapse_theory.errors import CollapseError


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
