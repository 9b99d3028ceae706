"""What the losses share about batches: their shape, and the mean over prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from collapse_theory.errors import CollapseError

__all__ = ["as_batch", "as_tensor", "mean_over_prompts", "require_type"]


def as_batch(logits: Any) -> Tensor:
    """Return logits of shape (K,) or (B, K) as (B, K), or raise."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        found = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise CollapseError(f"logits must be a tensor of floats, got {found}")
    if logits.ndim == 1:
        return logits[None, :]
    if logits.ndim != 2:
        raise CollapseError(
            f"logits must have shape (prompts, completions), got {tuple(logits.shape)}; "
            "logits.view(prompts, completions) makes it from a model's output"
        )
    return logits


def as_tensor(what: str, values: Any, device: torch.device) -> Tensor:
    """Return `values` as a tensor on the device, or raise an error that names `what`."""
    try:
        return torch.as_tensor(values, device=device)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise CollapseError(
            f"{what} must be a tensor, or numbers in rows of one length: {fault}"
        ) from None


def mean_over_prompts(value: Tensor, counts: Tensor, weights: Any) -> Tensor:
    """Return the (weighted) mean of the prompts' losses over those that count; 0 for none."""
    share = counts.to(value.dtype)
    if weights is not None:
        weights = as_tensor("weights", weights, value.device)
        if weights.shape != value.shape:
            raise CollapseError(
                f"weights must be one a prompt, shape {tuple(value.shape)}; got "
                f"{tuple(weights.shape)}"
            )
        share = share * weights.to(value.dtype)
    total = share.sum()
    return (share * value).sum() / torch.where(total == 0, 1.0, total)


def require_type(kind: type, data: dict[str, Any]) -> None:
    """Raise unless the dict was written by `kind`."""
    if data.get("type") != kind.__name__:
        raise CollapseError(f"the dict holds a {data.get('type')!r}, not a {kind.__name__}")
