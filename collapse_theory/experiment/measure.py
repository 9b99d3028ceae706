"""What the runs found: a row for each reward, and from these a row for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import torch

from collapse_theory.data.dataset import unique_names
from collapse_theory.experiment.setting import Objective, Run, Setting
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.train import Trace
from collapse_theory.lazy import special
from collapse_theory.training.measures import KindMeasures, measure, rewards_of

TRAIN, HELD_OUT, LEFT_OUT = ("train", "held_out", "left_out")


def rewards_table(run: Run, prompts: PromptSet, trace: Trace) -> pl.DataFrame:
    """Return a row for each reward of a run, at each measured step.

    Columns: run, utility, control, seed, penalty (of a linear head), step, split, prompt, kind,
    loss (the prompt's; NaN where it compares nothing), rank (0 the best), score (the judge's),
    logit and reward. Completions of a prompt stand together. The split "left_out" is what a
    certified head would say of training prompts unseen.
    """
    loss, held, ranks = run.objective.loss(), prompts.held_out(run), torch.tensor(prompts.ranks)
    names, known = np.array(unique_names(prompts.rankings)), np.array(prompts.kinds)
    split = np.where(held, HELD_OUT, TRAIN)
    parts = [(step, of, split) for step, of in zip(trace.steps, trace.logits, strict=True)]
    if trace.left_out is not None:
        parts.append((trace.steps[-1], trace.left_out, np.where(held, "", LEFT_OUT)))
    types: Any = {"run": pl.Int32, "seed": pl.Int32, "penalty": pl.Float32, "step": pl.Int32}
    types |= {"rank": pl.Int32, "score": pl.Float32, "logit": pl.Float32, "reward": pl.Float32}
    of_run = {"run": run.number, "utility": str(run.objective), "control": run.control}
    of_run |= {"seed": run.seed, "penalty": trace.penalty}
    tables = []
    for step, logits, side in parts:
        at = np.nonzero((prompts.ranks >= 0) & (side != "")[:, None])
        with torch.inference_mode():
            value, there = loss.loss_and_counts(
                torch.tensor(logits).double(), known.tolist(), ranks
            )
        columns = {
            "step": step,
            "split": side[at[0]],
            "prompt": names[at[0]],
            "kind": known[at[0]],
            "loss": value.where(there.bool(), torch.nan).numpy()[at[0]],
            "rank": prompts.ranks[at],
            "score": prompts.scores[at],
            "logit": logits[at],
            "reward": rewards_of(loss, logits, prompts.kinds)[at],
        }
        tables.append(pl.DataFrame(of_run | columns, schema_overrides=types))
    return pl.concat(tables)


# Of the prompts of one kind, at each step; and which of several kinds is the worst.
OF_KIND = {
    "error": np.max,  # mean over ranks of |mean reward - predicted reward|
    "other": np.min,  # the same to another kind's optimum
    "std": np.max,  # of a rank's reward over prompts, mean over ranks
    "off": np.max,  # error + std: at least the mean of |reward - predicted reward|
    "scale": np.min,  # how far rewards are from their mean
    "distance": np.max,  # Wasserstein-1 between all rewards and the predicted
    "gap": np.max,  # optimum less mean objective, in the scale of U
    "right": np.min,  # share of pairs whose better completion has the higher logit
}
BY_RANK = ("mean", "std", "predicted")  # rewards, as lists "mean_by_rank", ..., best first


def _of_kind(one: KindMeasures, all_: Sequence[KindMeasures]) -> dict[str, Any]:
    def away(from_: Any, to: Any) -> float:
        return float(np.abs(from_ - to).mean()) if len(from_) == len(to) else np.nan

    # Kinds that are asked for other rewards than this one is.
    others = [of.predicted for of in all_ if away(one.predicted, of.predicted) > 1e-9]
    error, std = away(one.mean, one.predicted), float(one.std.mean())
    centre = one.predicted if one.predicted.size else one.mean
    told = {"kind": one.kind, "prompts": one.prompts, "error": error, "std": std}
    told["other"] = min((away(one.mean, of) for of in others), default=np.nan)
    told |= {"off": error + std, "scale": away(centre, np.full(len(centre), centre.mean()))}
    told |= {name: getattr(one, name) for name in ("distance", "gap", "right")}
    return told | {f"{name}_by_rank": getattr(one, name).tolist() for name in BY_RANK}


def _chance(kinds: Sequence[KindMeasures]) -> float:
    """Return what two kinds' mean rewards are apart by chance, 19 times of 20 at most.

    The mean over ranks of |difference| has its widest law where all ranks move together: |t| times
    the mean standard error. Of several pairs of kinds the largest counts (Bonferroni).
    """
    pairs, found = list(combinations(kinds, 2)), [np.nan]
    for one, other in pairs:
        freedom = min(one.prompts, other.prompts) - 1
        if not freedom or len(one.std) != len(other.std):
            return float("nan")
        error = np.hypot(*(k.std / np.sqrt(k.prompts - 1) for k in (one, other))).mean()
        found.append(-error * special.stdtrit(freedom, 0.025 / len(pairs)))
    return float(np.fmax.reduce(found))


def measured(rewards: pl.DataFrame, runs: Sequence[Run]) -> pl.DataFrame:
    """Return a row for each run, split, step and kind of prompt, from `rewards_table`'s rows.

    Columns: run, split, step, kind, prompts, those of `OF_KIND` and of `BY_RANK`. Where the kind is
    null the worst of all kinds counts; beside it are "between", "between_predicted" and "chance",
    the largest mean absolute difference between two kinds' mean rewards and what chance makes of
    it, "loss", and "pairs", the share of all pairs that are right.
    """
    rows: list[dict[str, Any]] = []
    objectives = {run.number: run.objective for run in runs}
    losses = {objective: objective.loss() for objective in objectives.values()}  # each solves once
    for key, part in rewards.group_by("run", "split", "step", maintain_order=True):
        objective = objectives[int(str(key[0]))]
        logits, ranks, kinds, loss = grids(part, "loss")
        found = measure(losses[objective], logits, ranks, kinds, index=False)
        each = [_of_kind(one, found.kinds if objective.aware else ()) for one in found.kinds]
        worst = {name: float(of([one[name] for one in each])) for name, of in OF_KIND.items()}
        worst |= {"kind": None, "prompts": len(kinds), "loss": float(np.nanmean(loss[:, 0]))}
        worst |= {"between": found.between, "between_predicted": found.between_predicted}
        worst |= {"chance": _chance(found.kinds), "pairs": found.right}
        start = dict(zip(("run", "split", "step"), key, strict=True))
        rows += [start | of for of in (worst, *each)]
    return pl.DataFrame(rows, infer_schema_length=None)


def grids(part: pl.DataFrame, *names: str) -> tuple[Any, ...]:
    """Return logits and ranks, (N, K), padding of rank -1, and the kinds of N prompts.

    Columns that are named come after these, padding NaN.
    """
    row = part["prompt"].rle_id().to_numpy()
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    at = row, np.arange(len(row)) - begins[row]
    shape = (row.max() + 1, at[1].max() + 1)
    made = [np.full(shape, fill) for fill in (0.0, -1, *[np.nan] * len(names))]
    for table, name in zip(made, ("logit", "rank", *names), strict=True):
        table[at] = part[name]
    return made[0], made[1], part["kind"].gather(begins).to_list(), *made[2:]


@dataclass(frozen=True, eq=False)
class Findings:
    """All runs.

    Attributes
    ----------
    setting : Setting
    rewards : polars.DataFrame
        The rows of `rewards_table`, from which all else follows.
    facts : dict
        As metrics.json has them: "versions" of packages and "completions" ("all", and "cut" at the
        longest length).
    """

    setting: Setting
    rewards: pl.DataFrame
    facts: dict[str, Any]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the table."""
        columns = ("run", "utility", "control", "seed")
        rows = self.rewards.select(columns).unique().sort("run").iter_rows()
        return tuple(Run(Objective(of), seed, control, at) for at, of, control, seed in rows)

    @cached_property
    def table(self) -> pl.DataFrame:
        """All that `measured` finds."""
        return measured(self.rewards, self.runs)

    def of(self, *, control: str = "", aware: bool | None = None) -> tuple[Run, ...]:
        """Return the runs of this control; prompt-aware or fixed ones alone where `aware` says."""
        runs = (run for run in self.runs if aware in (None, run.objective.aware))
        return tuple(run for run in runs if run.control == control)

    def course(self, run: Run, split: str = TRAIN, kind: str | None = None) -> pl.DataFrame:
        """Return a run's rows step by step: of all prompts together, or of a kind."""
        mine = self.table.filter(run=run.number, split=split).sort("step")
        return mine.filter(pl.col("kind").eq_missing(kind))

    def end(self, run: Run, split: str = TRAIN) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return a run's last row, of all prompts, and those of each kind; {} and [] for none."""
        mine = self.table.filter(run=run.number, split=split)
        ends, *kinds = mine.filter(step=mine["step"].max()).to_dicts() or [{}]
        return ends, kinds

    def ends(self, runs: Sequence[Run], name: str, split: str = TRAIN) -> list[float]:
        """Return what runs end at, the worst kind of each; NaN for prompts that it hasn't."""
        return [self.end(run, split)[0].get(name, np.nan) for run in runs]

    def last(self, run: Run, split: str) -> pl.DataFrame:
        """Return a run's rewards at its last step."""
        mine = self.rewards.filter(pl.col("split") == split, run=run.number)
        return mine.filter(step=mine["step"].max())

    def stops(self, run: Run) -> list[dict[str, Any]]:
        """Return where each rule of `RULES` stops: step, distance, between on training prompts.

        The start, before any training, is no place to stop at.
        """
        train, held = (self.course(run, split)[1:] for split in (TRAIN, HELD_OUT))
        told = train.select("step", "distance", "between").to_dicts()
        enough = 2 <= len(held) == len(train)
        places = {rule: of(held[name]) for rule, (name, of) in RULES.items()} if enough else {}
        return [{"rule": rule} | told[at] for rule, at in places.items()]


# Early stopping: the held-out measure that a rule reads, and at which of its values after the start
# it stops.
RULES: dict[str, tuple[str, Any]] = {
    "best held-out loss": ("loss", pl.Series.arg_min),
    "most held-out pairs right": ("right", pl.Series.arg_max),
}
