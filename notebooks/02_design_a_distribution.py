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
# # Design a distribution of rewards
#
# Training to the end gives all prompts of a kind one distribution of rewards, which follows
# from the utility. So choose the distribution first: which utility makes it, how near does it
# come, and which distributions can no utility make?

# %%
import matplotlib.pyplot as plt
import numpy as np

import collapse_theory as ct

# %% [markdown]
# ## A wish, in words
#
# For prompts with many good answers: three tenths of the completions at each end, the rest
# spread evenly. Or a rubric of three grades. Or ends with few completions and a middle with
# many.

# %%
wishes = {
    "ends and spread": "atoms 0.3 + uniform",
    "three grades": "levels 0.4 0.2 0.4",
    "uniform": "uniform",
    "a hump": "beta(2)",
}
designs = {name: ct.design(text) for name, text in wishes.items()}
for name, found in designs.items():
    print(f"{name}: {found}\n    {found.reason}")

# %% [markdown]
# Two of the wishes are reached. The uniform law is that of $-1/x$, which trains badly: its
# slope, as it is trained, starts at 909 times its mean. Utilities are taken up to `max_slope=`,
# 50 unless you say otherwise, and what a steeper one would reach is told:

# %%
print(designs["uniform"].steeper)
for slope in (10, 50, 200, np.inf):
    found = ct.design("uniform", max_slope=slope)
    print(f"max_slope {slope:>5}: {str(found.utility)[:60]:<60}  distance {found.distance:.4f}")

# %% [markdown]
# ## Out of reach, proved
#
# No concave utility makes the hump. The proof is a direction in which moving mass gains under
# every hinge, and every concave utility is a mixture of hinges:

# %%
hump = designs["a hump"]
assert hump.reachable is False
print(hump.proof)
_ = ct.figures.design()

# %% [markdown]
# There is a way round: train with a utility whose law has no atoms, and put a fixed increasing
# map on top of the rewards that come out. Rankings stay as they are, the distribution becomes
# the wanted one.

# %%
link = hump.link
print("train with", link.utility)
rewards = ct.solve(link.utility, 200).rewards
mapped = np.asarray(link(rewards))
wanted = hump.target.law
before, after = wanted.distance(rewards), wanted.distance(mapped)
print(f"W1 to the hump: {before:.3f} before the link, {after:.3f} after it")
assert after < 0.01

# %% [markdown]
# ## From scores that you have
#
# More often there is no formula but a judge. Here are made scores of two kinds of prompts, 300
# of each, with six completions: graded answers, and right-or-wrong ones with a little noise.

# %%
rng = np.random.default_rng(0)
open_ended = rng.uniform(0, 10, (300, 6))
closed = np.where(rng.random((300, 6)) < 0.5, 9.0, 1.0) + rng.normal(0, 0.2, (300, 6))
scores = dict(enumerate(np.concatenate([open_ended, closed])))
advice = ct.recommend(scores, kinds={p: "open" if p < 300 else "closed" for p in scores})
advice

# %% [markdown]
# `between` is the share of variance that lies in the prompts' levels: no pairwise loss sees it.
# What a utility can shape is the distribution within a prompt, and the two kinds differ in
# that:

# %%
print("the kinds differ:", advice.differ("open", "closed"))
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
for kind in advice.kinds:
    found = advice[kind]
    found.solution.plot(ax, label=f"{kind}: {str(found.utility)[:40]}")
    wanted = found.target.law.quantiles(6)
    ax.plot(range(1, 7), wanted, "x", color=ax.lines[-1].get_color(), markersize=8)
ax.legend()
_ = ax.set_title("rewards that training ends at; crosses: wanted")

# %% [markdown]
# These two utilities go into `PromptAwareRankingLoss`, which is the next notebook.
