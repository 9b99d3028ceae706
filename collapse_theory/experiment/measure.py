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
from collapse_theory.experiment.train import Trace, loss_of
from collapse_theory.lazy import special
from collapse_theory.training.measures import KindMeasures, measure, rewards_of

TRAIN, HELD_OUT, LEFT_OUT = ("train", "held_out", "left_out")


def rewards_table(run: Run, prompts: PromptSet, trace: Trace) -> pl.DataFrame:
    """Return a row for each reward of a run, at each measured step.

    Columns: run, utility, control, seed, penalty (of a linear head), step, split, prompt, kind,
    rank (0 the best), score (the judge's), logit and reward. Completions of a prompt stand
    together. The split "left_out" is what a certified head would say of training prompts unseen.
    """
    held, known, ranks = prompts.held_out(run), prompts.ranks >= 0, prompts.ranks
    parts = [(trace.steps, trace.logits, np.where(held, HELD_OUT, TRAIN), known)]
    if trace.left_out is not None:
        unseen = known & ~held[:, None]
        parts += [(trace.steps[-1:], trace.left_out[None], np.full(len(held), LEFT_OUT), unseen)]
    loss, tables = run.objective.loss(), []
    for steps, logits, split, there in parts:
        at, rows, places = np.nonzero(np.broadcast_to(there, logits.shape))
        rewards = np.stack([rewards_of(loss, one, prompts.kinds) for one in logits])
        columns = {
            "run": run.number,
            "utility": str(run.objective),
            "control": run.control,
            "seed": run.seed,
            "penalty": trace.penalty,
            "step": steps[at].astype(np.int32),
            "split": split[rows],
            "prompt": pl.Series(unique_names(prompts.rankings)).gather(rows),
            "kind": pl.Series(prompts.kinds).gather(rows),
            "rank": ranks[rows, places].astype(np.int32),
            "score": prompts.scores[rows, places].astype(np.float32),
            "logit": logits[at, rows, places].astype(np.float32),
            "reward": rewards[at, rows, places].astype(np.float32),
        }
        types: Any = {"run": pl.Int32, "seed": pl.Int32, "penalty": pl.Float32}
        tables.append(pl.DataFrame(columns, schema_overrides=types))
    return pl.concat(tables)


# Of the prompts of one kind, at each step.
OF_KIND = ("error", "other", "std", "off", "scale", "distance", "gap", "right")
BY_RANK = ("mean", "std", "predicted")  # rewards, as lists "mean_by_rank", ..., best first


def _of_kind(one: KindMeasures, all_: Sequence[KindMeasures]) -> dict[str, Any]:
    def away(other: KindMeasures) -> float:
        same = len(other.predicted) == len(one.mean)
        return float(np.abs(one.mean - other.predicted).mean()) if same else np.nan

    def asked(other: KindMeasures) -> bool:  # for other rewards than this kind is
        same = len(other.predicted) == len(one.predicted) > 0
        return same and bool(np.abs(other.predicted - one.predicted).mean() > 1e-9)

    error, std = away(one), float(one.std.mean())
    centre = one.predicted if one.predicted.size else one.mean
    return {
        "kind": one.kind,
        "prompts": one.prompts,
        "error": error,  # mean over ranks of |mean reward - predicted reward|
        "other": min(map(away, filter(asked, all_)), default=np.nan),  # to another kind's optimum
        "std": std,  # of a rank's reward over prompts, mean over ranks
        "off": error + std,  # at least the mean of |reward - predicted reward|
        "scale": float(
            np.abs(centre - centre.mean()).mean()
        ),  # how far rewards are from their mean
        "distance": one.distance,  # Wasserstein-1 between all rewards and the predicted
        "gap": one.gap,  # optimum less mean objective, in the scale of U
        "right": one.right,  # share of pairs whose better completion has the higher logit
    } | {f"{name}_by_rank": getattr(one, name).tolist() for name in BY_RANK}


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
    it, and "loss".
    """
    rows: list[dict[str, Any]] = []
    losses = {run.objective: run.objective.loss() for run in runs}  # each solves once
    for run in runs:
        loss, mine = losses[run.objective], rewards.filter(pl.col("run") == run.number)
        for (split, step), part in mine.group_by("split", "step", maintain_order=True):
            logits, ranks, kinds = grids(part)
            found = measure(loss, logits, ranks, kinds, index=False)
            with torch.inference_mode():
                value = loss_of(loss, torch.from_numpy(logits), kinds, torch.from_numpy(ranks))
            others = found.kinds if run.objective.aware else ()
            each = [_of_kind(one, others) for one in found.kinds]
            worst: dict[str, Any] = {"kind": None, "prompts": len(kinds), "loss": float(value)}
            for name in OF_KIND:
                worse = np.min if name in ("right", "other", "scale") else np.max
                worst[name] = float(worse([one[name] for one in each]))
            worst |= {"between": found.between, "between_predicted": found.between_predicted}
            worst["chance"] = _chance(found.kinds)
            start = {"run": run.number, "split": split, "step": step}
            rows += [start | of for of in (worst, *each)]
    return pl.DataFrame(rows, infer_schema_length=None)


def grids(part: pl.DataFrame, *names: str) -> tuple[Any, ...]:
    """Return logits and ranks, (N, K), padding of rank -1, and the kinds of N prompts.

    Columns that are named come after these, padding NaN.
    """
    row = part["prompt"].rle_id().to_numpy()
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    place = np.arange(len(row)) - begins[row]
    shape = (row.max() + 1, place.max() + 1)
    logits, ranks, more = np.zeros(shape), np.full(shape, -1), np.full((len(names), *shape), np.nan)
    logits[row, place], ranks[row, place] = part["logit"], part["rank"]
    for name, table in zip(names, more, strict=True):
        table[row, place] = part[name]
    return logits, ranks, part["kind"].gather(begins).to_list(), *more


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

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many prompts of each kind are trained on and held out, in the first run."""
        first = self.rewards.filter(run=self.runs[0].number)
        of = first.group_by("kind", "split").agg(pl.col("prompt").n_unique()).sort("kind").rows()
        made: dict[str, dict[str, int]] = {
            kind: dict.fromkeys((TRAIN, HELD_OUT), 0) for kind, *_ in of
        }
        for kind, split, count in of:
            made[kind][split] = count
        return made

    def of(self, *, control: str = "", aware: bool | None = None) -> tuple[Run, ...]:
        """Return the runs of this control; prompt-aware or fixed ones alone where `aware` says."""
        runs = (run for run in self.runs if aware in (None, run.objective.aware))
        return tuple(run for run in runs if run.control == control)

    def course(self, run: Run, split: str = TRAIN, kind: str | None = None) -> pl.DataFrame:
        """Return a run's rows step by step: of all prompts together, or of a kind."""
        same = pl.col("kind").is_null() if kind is None else pl.col("kind") == kind
        return self.table.filter(same, run=run.number, split=split).sort("step")

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

        The paper argues against early stopping as a remedy for reward collapse (arXiv:2305.17608,
        section 1): what comes out depends on when one stops. Here that is measured. The start,
        before any training, is no place to stop at.
        """
        train, held = (self.course(run, split)[1:] for split in (TRAIN, HELD_OUT))
        if len(held) < 2 or len(held) != len(train):
            return []
        places = {rule: pick(held[name].to_numpy()) for rule, (name, pick) in RULES.items()}
        told = train.select("step", "distance", "between").to_dicts()
        return [{"rule": rule} | told[int(at)] for rule, at in places.items()]


# Early stopping: the held-out measure that a rule reads, and at which of its values after the start
# it stops.
RULES = {
    "best held-out loss": ("loss", np.argmin),
    "most held-out pairs right": ("right", np.argmax),
}
