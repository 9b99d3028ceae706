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
# # What practice does
#
# The theory of the paper has a box: rewards in $[0, 1]$. Practice has logits without bounds,
# held by a penalty, by label smoothing or by nothing; rankings with ties; listwise losses;
# margins. What do those collapse to?

# %%
import matplotlib.pyplot as plt
import numpy as np

import collapse_theory as ct
from collapse_theory.limit.presets import PRESETS

# %% [markdown]
# ## Losses in use, at a glance
#
# What the usual losses make of eight ranked completions, if trained to the end:

# %%
for one in PRESETS:
    solution = one.solve(8)
    told = one.instead if solution is None else solution.rewards.round(2)
    print(f"{one.name:>25}  {told}")
_ = ct.figures.practices()

# %% [markdown]
# Bradley-Terry on logits without anything that holds them has no optimum: rewards grow as long
# as the training lasts. What it grows *towards* is a direction, and that is known:

# %%
direction = ct.max_margin(8)
print(direction.rewards.round(3))

# %% [markdown]
# ## Penalties
#
# A penalty $\kappa$ times the mean of $r^2$ makes the program finite. Weaker penalties let
# rewards spread further, and the law changes its scale much more than its shape:

# %%
penalties = (0.2, 0.02, 0.002)
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
for kappa in penalties:
    law = ct.limit("logsigmoid(x)", ct.Confined(kappa))
    low, high = law.support
    shape = law.std() / high
    print(f"kappa {kappa}: rewards in [{low:.2f}, {high:.2f}], s.d. {shape:.3f} of the end")
    law.mapped(0.0, 1.0 / high).plot(ax, label=rf"$\kappa$ = {kappa}, over its end {high:.2f}")
_ = ax.legend(loc="lower center")

# %% [markdown]
# ## Ties
#
# Annotators tie. Tied completions can be held equal, or their pair can be left out. In a plain
# ranking that is the same; here completion 1 has also beaten 3 in four more comparisons:

# %%
plain = ct.Comparisons.ranking([[0], [1, 2], [3, 4]], ties="free")
more = np.where((plain.better == 1) & (plain.worse == 3), 5.0, 1.0)
for name, weights in {"plain": None, "more of 1 > 3": more}.items():
    for ties, equal in {"free": (), "held equal": ((1, 2), (3, 4))}.items():
        pairs = ct.Comparisons(5, plain.better, plain.worse, weights, equal=equal)
        found = ct.solve("logsigmoid(x)", domain=ct.Confined(0.1), comparisons=pairs)
        print(f"{name:>14}, ties {ties:>10}: {found.rewards.round(3)}")

# %% [markdown]
# What is asked of annotators shapes the distribution as much as the loss does. Five completions
# again, fully ranked, and asked only for the best:

# %%
for name, pairs in {"ranked": ct.Comparisons.full(5), "the best": ct.Comparisons.best(5)}.items():
    print(f"{name:>8}  {ct.solve('log(x + 0.1)', comparisons=pairs).rewards.round(3)}")

# %% [markdown]
# A ranking spreads the rewards; "which is the best?" leaves a 1 and zeros.
#
# ## Listwise
#
# Plackett-Luce (listwise softmax) picks the best, then the best of the rest, and so on. It
# isn't a sum over pairs, and its law isn't symmetric:

# %%
listwise = ct.limit(ct.PlackettLuce())
pairwise = ct.limit("logsigmoid(x)")
for name, law in {"listwise": listwise, "pairwise": pairwise}.items():
    print(f"{name}: {law.name}; mean {law.mean():.3f}")
assert listwise.mean() > 0.55
assert abs(pairwise.mean() - 0.5) < 1e-9
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ct.solve(ct.PlackettLuce(beta=4), 12).plot(ax)
ct.solve("logsigmoid(4*x)", 12).plot(ax)
_ = ax.legend()

# %% [markdown]
# The best are picked against many, the worst against few, so that more completions end at the
# top.
#
# ## Margins
#
# A margin m asks for more than being ahead: $U(x - m)$. A hinge with a margin of a third makes
# grades, four equal groups, and a margin inside log-sigmoid moves mass to the ends:

# %%
print(ct.solve("min(x, 1/3)", 12).rewards.round(3))
for m in (0.0, 0.5, 1.0):
    law = ct.limit(ct.LogSigmoid(4).shifted(-m))
    ends = float(law.atoms[:, 1].sum()) if law.atoms.size else 0.0
    print(f"margin {m}: {ends:.3f} of the mass at the two ends")

# %% [markdown]
# So before training, `ct.limit` with the loss and the penalty that you use says what the end
# is. Whether a model that you have has got there is the matter of reading its log.
