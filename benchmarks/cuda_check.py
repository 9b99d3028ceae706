"""Whether the losses give on an accelerator what they give on the CPU, and how long they take.

PYTHONPATH=. python benchmarks/cuda_check.py [--device cuda]

It needs torch, and transformers for the fine-tuning at its end, which is left out without it. Each
line of the table is asserted; the last line says how many were right.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import collapse_theory as ct
from collapse_theory.training import PromptAwareRankingLoss, RankingLoss

LOSSES: dict[str, Callable[[], Any]] = {
    "log(x + 0.1)": lambda: RankingLoss("log(x + 0.1)"),
    "log-sigmoid, Confined": lambda: RankingLoss("logsigmoid(x)", ct.Confined(0.1)),
    "label smoothing, Free": lambda: RankingLoss(ct.LabelSmoothing(0.1), ct.Free()),
    "Plackett-Luce, Centered": lambda: RankingLoss(ct.PlackettLuce(), ct.Centered(0.1)),
    "weights by rank": lambda: RankingLoss("x**0.5", pair_weights=torch.ones(8, 8).triu(1)),
}
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def batch(prompts: int, many: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return logits and ranks with ties and padding, on the CPU."""
    draw = torch.Generator().manual_seed(0)
    logits = offset + 2 * torch.randn(prompts, many, generator=draw, dtype=torch.float64)
    ranks = torch.randint(0, many, (prompts, many), generator=draw)
    ranks[::3, -2:] = -1
    return logits, ranks


def value_and_gradient(loss: Any, logits: Tensor, *args: Any, **options: Any) -> tuple[Any, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    value = loss(leaf, *args, **options)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad.double().cpu()


def compared(name: str, on: tuple[Any, Tensor], off: tuple[Any, Tensor], eps: float) -> str:
    """Return a line of the table; raise unless value and gradient agree to the type's digits."""
    value = abs(on[0] - off[0]) / (abs(off[0]) + 1)
    gradient = ((on[1] - off[1]).abs().max() / off[1].abs().max()).item()
    assert value < 100 * eps, (name, on[0], off[0])
    assert gradient < 100 * eps, (name, gradient)
    return f"{name:52s} value {value:.0e}  gradient {gradient:.0e}"


def against_cpu(device: str) -> Iterator[str]:
    for dtype in TYPES:
        eps = torch.finfo(dtype).eps
        for offset in (0.0, 12.0):
            logits, ranks = batch(32, 8, offset)
            logits = logits.to(dtype)
            for name, make in LOSSES.items():
                # Half types are computed with in float32: so is the reference.
                off = value_and_gradient(make(), logits, ranks)
                on = value_and_gradient(make().to(device), logits.to(device), ranks.to(device))
                yield compared(f"{name}, {str(dtype)[6:]}, logits about {offset:g}", on, off, eps)
    logits, ranks = batch(32, 8)
    kinds = torch.arange(32) % 2
    both = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"}, ct.Confined(0.1))
    off = value_and_gradient(both, logits, kinds, ranks)
    for given in (kinds.to(device), ["open", "closed"] * 16):
        on = value_and_gradient(both.to(device), logits.to(device), given, ranks.to(device))
        yield compared("prompt-aware", on, off, 2e-16)
    margins = torch.rand(32, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    loss = RankingLoss("logsigmoid(x)", ct.Free())
    off = value_and_gradient(loss, logits, ranks, margins=margins)
    on = value_and_gradient(loss, logits.to(device), ranks, margins=margins.to(device))
    yield compared("margins, ranks on the CPU", on, off, 2e-16)


def by_sorting(device: str) -> Iterator[str]:
    draw = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 300, generator=draw, dtype=torch.float64)
    ranks = torch.rand(3, 300, generator=draw).argsort(1)
    for utility in ("-(x - 1.5)**2", "min(x, 0.5)", ct.PlackettLuce()):
        loss = RankingLoss(utility)
        off = value_and_gradient(loss, logits, ranks)
        on = value_and_gradient(loss.to(device), logits.to(device), ranks.to(device))
        yield compared(f"{utility}, 300 completions, float64", on, off, 1e-14)


def compiled(device: str) -> Iterator[str]:
    logits, ranks = batch(32, 8)
    logits, ranks = logits.float().to(device), ranks.to(device)
    for name, make in LOSSES.items():
        loss = make().to(device)
        fast = torch.compile(loss, fullgraph=True)
        torch._dynamo.reset()
        off, on = (value_and_gradient(one, logits, ranks) for one in (loss, fast))
        yield compared(f"{name}, torch.compile", on, off, torch.finfo(torch.float32).eps)


def autocast(device: str) -> Iterator[str]:
    kind = torch.device(device).type
    logits, ranks = batch(32, 8)
    logits, ranks = logits.float().to(device), ranks.to(device)
    for name, make in LOSSES.items():
        loss = make().to(device)
        off = value_and_gradient(loss, logits, ranks)
        with torch.autocast(kind, dtype=torch.bfloat16):
            on = value_and_gradient(loss, logits, ranks)
        yield compared(f"{name}, under autocast", on, off, 1e-7)


def timed(device: str) -> Iterator[str]:
    for shape in ((32, 8), (32, 64), (8, 512)):
        for name in ("log(x + 0.1)", "Plackett-Luce, Centered"):
            loss = LOSSES[name]().to(device)
            logits = torch.randn(shape, device=device, requires_grad=True)
            seconds = []
            for _ in range(15):
                start = time.perf_counter()
                torch.autograd.grad(loss(logits), logits)[0].sum().item()  # waits for the device
                seconds.append(time.perf_counter() - start)
            yield f"{name:40s} {shape!s:10s} {1e3 * min(seconds):.2f} ms a step"


def fine_tuned(device: str) -> Iterator[str]:
    """Train a small encoder under autocast to bfloat16, compiled; its head starts off centre."""
    try:
        import transformers
    except ImportError:
        yield "transformers isn't here: no fine-tuning"
        return
    made: Any = transformers
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = made.BertConfig(vocab_size=64, num_attention_heads=2, num_labels=1, **size, **still)
    model = made.BertForSequenceClassification(config).to(device)
    torch.nn.init.constant_(model.classifier.bias, 6.0)
    loss = RankingLoss("log(x + 0.1)").to(device)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    # Of a prompt's completions that with more tokens above 32 is better: something to learn.
    ids = torch.randint(1, 64, (64, 8, 16))
    ranks = (ids > 32).sum(2).argsort(1, descending=True).argsort(1).to(device)
    ids = ids.to(device)
    step = torch.compile(loss, fullgraph=True)
    values = []
    for number in range(60):
        rows = torch.arange(number * 16, number * 16 + 16) % 64
        with torch.autocast(ids.device.type, dtype=torch.bfloat16):
            logits = model(input_ids=ids[rows].flatten(0, 1)).logits.view(16, 8)
        assert logits.dtype == torch.bfloat16
        value = step(logits, ranks[rows])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    with torch.no_grad():
        logits = model.eval()(input_ids=ids.flatten(0, 1)).logits.view(64, 8).float()
    better = ranks[:, :, None] < ranks[:, None, :]
    right = (logits[:, :, None] > logits[:, None, :])[better].double().mean().item()
    assert values[-1] < values[0] - 0.02, values
    assert right > 0.7, right
    yield (
        f"BERT of {sum(p.numel() for p in model.parameters())} weights, head at 6: "
        f"loss {values[0]:.3f} to {values[-1]:.3f} in 60 steps, pairs right {right:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    named = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    print(f"torch {torch.__version__}, {named}", flush=True)
    right = 0
    for part in (against_cpu, by_sorting, autocast, timed, compiled, fine_tuned):
        for line in part(device):
            print(line, flush=True)
            right += 1
    print(f"{right} of {right} lines are right")


if __name__ == "__main__":
    main()
