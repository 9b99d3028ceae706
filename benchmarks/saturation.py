"""What to do about heads that start at one end of the box: remedies side by side.

PYTHONPATH=. python benchmarks/saturation.py [--seeds 2]

Share of held-out pairs ranked right after 400 steps under log(x + 0.1), of a small network whose
logits begin with a common offset, or `wide`; the remedy of `RankingLoss` is "pushed as if centred",
and by the rewards in float32, which tell completions apart only once the head is back in the box.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from collapse_theory import Free
from collapse_theory.training import RankingLoss

OFFSETS = (0, 4, 8, 16, 20, -20, 25)
FEATURES, MANY, STEPS, PROMPTS = 16, 4, 400, 16
BOX = RankingLoss("log(x + 0.1)")


def of_rewards(rewards: Tensor, ranks: Tensor) -> Tensor:
    """Return the loss of rewards in the box, with nothing done about the gradient."""
    return -BOX.objective(rewards, ranks).mean() / BOX.slope


class Running(nn.Module):
    """Sigmoid of logits less a running centre, by a running scale, both detached and saved."""

    centre: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(math.nan))
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, logits: Tensor, ranks: Tensor) -> Tensor:
        new = logits.detach().mean(), logits.detach().std().clamp(min=1)
        first = bool(self.centre.isnan())
        for name, value in zip(("centre", "scale"), new, strict=True):
            old = getattr(self, name)
            setattr(self, name, value if first else 0.95 * old + 0.05 * value)
        return of_rewards(torch.sigmoid((logits - self.centre) / self.scale), ranks)


class Temperature(nn.Module):
    """Sigmoid of logits by a learnt temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor, ranks: Tensor) -> Tensor:
        return of_rewards(torch.sigmoid(logits / self.log.exp()), ranks)


def heavier_tail(logits: Tensor, ranks: Tensor) -> Tensor:
    """The sigmoid within 8; beyond it what is left falls as 8/z."""
    left = torch.sigmoid(torch.tensor(-8.0)) * 8 / logits.abs().clamp(min=8)
    beyond = torch.where(logits > 0, 1 - left, left)
    return of_rewards(torch.where(logits.abs() <= 8, torch.sigmoid(logits), beyond), ranks)


REMEDIES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: lambda z, ranks: of_rewards(torch.sigmoid(z), ranks),
    "running centre and scale": Running,
    "learnt temperature": Temperature,
    "arctangent": lambda: lambda z, r: of_rewards(0.5 + torch.atan(z) / math.pi, r),
    "heavier tail beyond 8": lambda: heavier_tail,
    "pushed as if centred": lambda: RankingLoss("log(x + 0.1)"),
    "the same, by its rewards": lambda: RankingLoss("log(x + 0.1)"),
    "log-sigmoid, no box": lambda: RankingLoss("logsigmoid(x)", Free()),
}


def prompts(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Return features of completions, and their ranks by a noisy score."""
    draw = torch.Generator().manual_seed(99)
    inner, outer = torch.randn(FEATURES, 8, generator=draw), torch.randn(8, generator=draw)
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, MANY, FEATURES, generator=draw)
    score = torch.tanh(features @ inner / FEATURES**0.5) @ outer
    score = score + 0.25 * torch.randn(count, MANY, generator=draw)
    return features, score.argsort(1, descending=True).argsort(1)


def pairs_right(
    loss: Any,
    optimiser: str,
    rate: float,
    offset: float,
    wide: float,
    seed: int,
    served: bool = False,
) -> float:
    """Train a network whose logits begin at `offset`; return the share of held-out pairs right."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, 1))
    with torch.no_grad():
        net[2].weight *= wide  # pyright: ignore
        net[2].bias.fill_(offset)  # pyright: ignore
    weights = [*net.parameters(), *(loss.parameters() if isinstance(loss, nn.Module) else ())]
    stepping = getattr(torch.optim, optimiser)(weights, rate)
    features, ranks = prompts(seed + 1, 200)
    for _ in range(STEPS):
        rows = torch.randint(0, len(features), (PROMPTS,))
        stepping.zero_grad()
        loss(net(features[rows])[..., 0], ranks[rows]).backward()
        stepping.step()
    features, ranks = prompts(seed + 1000, 300)
    with torch.no_grad():
        logits = net(features)[..., 0]
        logits = loss.rewards(logits) if served else logits
    gaps = (logits[:, :, None] - logits[:, None, :])[ranks[:, :, None] < ranks[:, None, :]]
    return ((gaps > 0).float() + (gaps == 0).float() / 2).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    seeds = range(parser.parse_args().seeds)
    for optimiser, rate, wide in (("SGD", 0.1, 1), ("Adam", 1e-3, 1), ("Adam", 1e-3, 20)):
        print(f"{optimiser}, rate {rate:g}, head times {wide}; offsets {OFFSETS}")
        for name, make in REMEDIES.items():
            mean = [
                sum(
                    pairs_right(make(), optimiser, rate, offset, wide, seed, "rewards" in name)
                    for seed in seeds
                )
                / len(seeds)
                for offset in OFFSETS
            ]
            print(f"  {name:26s}", *(f"{share:.3f}" for share in mean), flush=True)


if __name__ == "__main__":
    main()
