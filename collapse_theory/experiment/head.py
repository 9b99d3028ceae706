"""The reward head on frozen features."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

__all__ = ["Head", "new_head"]

_SEEDING = threading.Lock()  # torch has one generator for all threads


class Head(nn.Module):
    """A perceptron with two hidden layers and GELU, from features to one logit a completion.

    Features are standardised first, with mean and scale of the training prompts' completions:
    the two hidden states differ tenfold in scale.

    Parameters
    ----------
    mean, scale : Tensor, shape (W,)
    width : int
        Of the hidden layers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.layers = nn.Sequential(
            nn.Linear(len(mean), width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (...) from features of shape (..., W)."""
        return self.layers((features - self.mean) / self.scale).squeeze(-1)


def new_head(features: Tensor, width: int, seed: int) -> Head:
    """Return a head with random weights for these training features, shape (M, W).

    The seed decides the weights; torch's own generator is left as it was.
    """
    sample = features.double()
    mean, scale = sample.mean(0), sample.std(0, correction=0)
    # A constant feature is 0 for every training text, and stays small for others.
    scale = torch.where(scale > 1e-8, scale, 1.0)
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Head(mean.float(), scale.float(), width)
