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
# # Read a reward log
#
# A reward model has been trained, and there is a log: a reward for each completion of each
# prompt. Has the model collapsed, and what should be done next time? Here the answers are
# known, as the logs are made: two utilities, two kinds of prompts, noise.

# %%
import tempfile
from pathlib import Path

import numpy as np

import collapse_theory as ct

rng = np.random.default_rng(0)
folder = Path(tempfile.mkdtemp())


def write(name, utilities, noise=0.05, prompts=60, step=None, file=None):
    """Write a log of a model trained with a utility for each kind; return its path."""
    path = folder / name
    with path.open("a", encoding="utf-8") as lines:
        if not path.stat().st_size:
            lines.write("prompt,kind,rank,step,reward\n")
        for kind, u in utilities.items():
            end = ct.solve(u, 8).rewards
            for p in range(prompts):
                for rank, reward in enumerate(end + rng.normal(0, noise, 8)):
                    lines.write(f"{kind} {p},{kind},{rank},{step or 0},{reward:.4f}\n")
    return path


# %% [markdown]
# ## One utility for everything

# %%
plain = write("plain.csv", {"open": "log(x + 0.1)", "closed": "log(x + 0.1)"})
found = ct.diagnose(plain)
found

# %% [markdown]
# The index is near 1: prompts differ by much less than prompts made of rewards drawn at random
# from the log would. The nearest utility in the table is the one that made the log. In
# pictures:

# %%
assert found.outcome == "collapsed"
_ = ct.figures.diagnosis(found)

# %% [markdown]
# ## A utility for each kind

# %%
aware = write("aware.csv", {"open": "-1/(x + 0.1)", "closed": "x"})
told = ct.diagnose(aware)
print(told.outcome, told.reason, told.advice, sep="\n")
for kind in told.kinds:
    print(f"{kind.name}: nearest is {kind.predictions[0].utility}")
_ = ct.figures.diagnosis(told)

# %% [markdown]
# Each kind has its own vector now, and the utilities that made them are found. How far apart
# the kinds are is measured, with a 95% interval, in both logs:

# %%
assert told.outcome == "own laws"
print("one utility:  ", found.kinds_apart)
print("two utilities:", told.kinds_apart)
assert told.kinds_apart.low > found.kinds_apart.high

# %% [markdown]
# ## What is no collapse
#
# Rewards that are draws of one law look alike in a histogram, and a histogram can't tell. The
# sorted rewards of a prompt can: they move as draws do.

# %%
law = ct.limit("log(x + 0.1)")
draws = law.rvs((120, 8), rng=1)
print(ct.diagnose(draws))
print(ct.diagnose(draws[:6]))  # too few prompts to say

# %% [markdown]
# ## The course of a run
#
# A log with steps is judged at its last, and its course is told, step by step.

# %%
for step, noise in ((100, 0.4), (200, 0.2), (400, 0.1), (800, 0.05)):
    run = write("run.csv", {"open": "log(x + 0.1)"}, noise=noise, step=step)
course = ct.diagnose(run)
for part in course.steps:
    print(f"step {part.step:g}: {part.outcome}, W/R {part.ratio}")

# %% [markdown]
# ## Real files have faults
#
# Nothing is dropped in silence: what couldn't be read is counted and named.

# %%
with plain.open("a", encoding="utf-8") as lines:
    lines.write("open 0,open,0,0,not a number\n<b>nobody</b>,open,0,0,0.7\n")
log = ct.read_log(plain)
print(log)
print(*log.bad, *log.left_out, *log.notes, sep="\n")
print(ct.diagnose(log).outcome)
