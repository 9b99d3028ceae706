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
# # The paper in one notebook
#
# A reward model learns from rankings: of prompt p's completions, ranked 1 (best) to n, it
# maximises $\sum_{i<j} U(r_i - r_j)$, with rewards in $[0, 1]$. Song, Cai, Lee and Su
# ([arXiv:2305.17608](https://arxiv.org/abs/2305.17608)) ask what happens when it is trained to
# the end. Does the prompt still matter?
#
# Needs `pip install ".[training]"`.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import collapse_theory as ct
from collapse_theory.training import PromptAwareRankingLoss, RankingLoss

# %% [markdown]
# ## One utility, one vector of rewards
#
# The sum knows ranks alone. A model that can do anything maximises each prompt's sum by itself,
# so that all prompts end at the same rewards, the solution of a concave program. The paper's
# three utilities, for eight completions:

# %%
utilities = {"closed": "x", "between": "log(x + 0.1)", "open": "-1/(x + 0.1)"}
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
for u in utilities.values():
    solution = ct.solve(u, 8)
    print(solution)
    solution.plot(ax, label=u)
_ = ax.legend()

# %% [markdown]
# Each line ends with a certificate: no other rewards can do better than by that relative gap.
# Hollow points are tied: x sends half of the completions to 1 and half to 0, log(x + 0.1) ties
# two at each end, and $-1/(x + 0.1)$ none.
#
# ## Training gets there
#
# Five prompts of eight completions, each with features of its own, and a network wide enough to
# give any rewards to any of them.

# %%
torch.manual_seed(0)
features = torch.randn(5, 8, 256) / 16  # prompts, completions best first, features


def trained(loss, steps=500, **batch):
    """Return the rewards that a small network ends at."""
    model = torch.nn.Sequential(
        torch.nn.Linear(256, 128), torch.nn.Tanh(), torch.nn.Linear(128, 1, bias=False)
    )
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        adam.zero_grad()
        loss(model(features).squeeze(-1), **batch).backward()
        adam.step()
    return torch.sigmoid(model(features).squeeze(-1)).detach().numpy()


loss = RankingLoss("log(x + 0.1)")
rewards = trained(loss)
predicted = loss.predict(8).rewards
print(rewards.round(2), predicted.round(2), sep="\n")
far = np.abs(rewards - predicted).max()
between = np.ptp(rewards, axis=0).max()
print(f"between prompts up to {between:.3f}, from the prediction up to {far:.3f}")
assert max(far, between) < 0.05

# %% [markdown]
# Five prompts, one row, five times: that is reward collapse. The last row was known before the
# training began.
#
# ## Many completions
#
# As n grows, the rewards follow a limit law. The paper has closed forms; other utilities are
# solved for, certified.

# %%
for u in ("x", "x**0.5", "log(x)", "-1/x", "log(x + 0.1)", "-1/(x + 0.1)"):
    law = ct.limit(u)
    print(f"{u:>14}  {law.name}, by {law.method}")

# %%
_ = ct.figures.limit_laws(["x", "log(x + 0.1)", "-1/(x + 0.1)", "log(x)"])

# %% [markdown]
# Where $U'(0)$ is infinite, as for log x, there are no atoms. Where it is finite, a share of
# all completions ends at the very best and the very worst reward. The paper trained log(x +
# 0.1) and drew the law of log x beside it; with eight completions the difference shows:

# %%
for u in ("log(x)", "log(x + 0.1)"):
    print(f"{u:>14}  {ct.solve(u, 8).rewards.round(3)}")
_ = ct.figures.paper_comparison()

# %% [markdown]
# ## What ends the collapse
#
# A utility for each kind of prompt. Nothing else in the training changes; say that the first
# three prompts are open-ended and the last two have one right answer.

# %%
aware = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"})
kinds = ["open"] * 3 + ["closed"] * 2
rewards = trained(aware, kinds=kinds)
for kind, row in zip(kinds, rewards, strict=True):
    far = np.abs(row - aware.predict(8, kind).rewards).max()
    print(f"{kind:>6} {row.round(2)}  at most {far:.3f} from its prediction")
    assert far < 0.05

# %% [markdown]
# Two laws now, one a kind, both predicted. Within a kind the rewards are still one vector: a
# utility shapes the law, and it is the only thing that does at the end of training. Which
# utility gives which law is the matter of the next notebook; what limited models and held-out
# prompts do, of the last.
