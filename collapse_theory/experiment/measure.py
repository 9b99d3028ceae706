"""What the runs found: a row for each reward, and from these a row for each measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch

from collapse_theory.data.dataset import unique_names
from collapse_theory.experiment.encode import Table
from collapse_theory.experiment.setting import Run, Setting, runs_of
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.train import Trace, loss_of
from collapse_theory.training.measures import KindMeasures, measure, rewards_of

TRAIN, HELD_OUT = "train", "held_out"


def rewards_table(run: Run, prompts: PromptSet, trace: Trace) -> pl.DataFrame:
    """Return a row for each reward of a run, at each measured step.

    Columns: run, utility, control, seed, step, split, prompt, kind, rank (0 the best), logit and
    reward. Completions of a prompt stand together.
    """
    at, rows, places = np.nonzero(np.broadcast_to(prompts.ranks >= 0, trace.logits.shape))
    loss = run.objective.loss()
    rewards = np.stack([rewards_of(loss, logits, prompts.kinds) for logits in trace.logits])
    columns = {
        "run": run.number,
        "utility": str(run.objective),
        "control": run.control,
        "seed": run.seed,
        "step": trace.steps[at].astype(np.int32),
        "split": np.where(rows < len(prompts.train), TRAIN, HELD_OUT),
        "prompt": pl.Series(unique_names(prompts.rankings)).gather(rows),
        "kind": pl.Series(prompts.kinds).gather(rows),
        "rank": prompts.ranks[rows, places].astype(np.int32),
        "logit": trace.logits[at, rows, places],
        "reward": rewards[at, rows, places].astype(np.float32),
    }
    return pl.DataFrame(columns, schema_overrides={"run": pl.Int32, "seed": pl.Int32})


# Of the prompts of one kind, at each step.
OF_KIND: dict[str, Callable[[KindMeasures], float]] = {
    # Mean over ranks of |mean reward - predicted reward|.
    "error": lambda one: np.abs(one.mean - one.predicted).mean() if one.predicted.size else np.nan,
    "distance": lambda one: one.distance,  # Wasserstein-1 between all rewards and the predicted
    "std": lambda one: one.std.mean(),  # of a rank's reward over prompts, mean over ranks
    "std_largest": lambda one: one.std.max(),
    "gap": lambda one: one.gap,  # optimum less mean objective, in the scale of U
    "right": lambda one: one.right,  # share of pairs whose better completion has the higher logit
}
BY_RANK = ("mean", "std", "predicted")  # rewards, as lists "mean_by_rank", ..., best first


def measured(rewards: pl.DataFrame, runs: Sequence[Run]) -> pl.DataFrame:
    """Return a row for each run, split, step and kind of prompt, from `rewards_table`'s rows.

    Columns: run, split, step, kind, prompts, those of `OF_KIND` and of `BY_RANK`. Where the kind is
    null the worst of all kinds counts; beside it are "between" and "between_predicted", the largest
    mean absolute difference between two kinds' mean rewards, and "loss".
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        loss, mine = run.objective.loss(), rewards.filter(pl.col("run") == run.number)
        for (split, step), part in mine.group_by("split", "step", maintain_order=True):
            logits, ranks, kinds = _grids(part)
            found = measure(loss, logits, ranks, kinds)
            with torch.inference_mode():
                value = loss_of(loss, torch.from_numpy(logits), kinds, torch.from_numpy(ranks))
            each = [
                {"kind": one.kind, "prompts": one.prompts}
                | {name: float(of(one)) for name, of in OF_KIND.items()}
                | {f"{name}_by_rank": getattr(one, name).tolist() for name in BY_RANK}
                for one in found.kinds
            ]
            worst: dict[str, Any] = {"kind": None, "prompts": len(kinds), "loss": float(value)}
            for name in OF_KIND:
                worse = np.min if name == "right" else np.max
                worst[name] = float(worse([one[name] for one in each]))
            worst |= {"between": found.between, "between_predicted": found.between_predicted}
            start = {"run": run.number, "split": split, "step": step}
            rows += [start | of for of in (worst, *each)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _grids(part: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return logits and ranks, (N, K), padding of rank -1, and the kinds of N prompts."""
    row = part["prompt"].rle_id().to_numpy()
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    place = np.arange(len(row)) - begins[row]
    logits, ranks = np.zeros((2, row.max() + 1, place.max() + 1))
    ranks -= 1
    logits[row, place], ranks[row, place] = part["logit"], part["rank"]
    return logits, ranks.astype(np.int64), part["kind"].gather(begins).to_list()


# Early stopping: the held-out measure that a rule reads, and at which of its values after the start
# it stops; None: nowhere. Patience is three measurements in a row without a gain.
RULES: dict[str, tuple[str, Callable[[np.ndarray], int | None]]] = {
    "best held-out loss": ("loss", lambda loss: int(np.argmin(loss))),
    "most held-out pairs right": ("right", lambda right: int(np.argmax(right))),
    "three checks without more pairs right": ("right", lambda right: _patience(right, 3)),
    "95% of held-out pairs right": (
        "right",
        lambda right: int(np.argmax(right >= 0.95)) if right.max() >= 0.95 else None,
    ),
}
# What is told of a stop, by name: the measure and the prompts.
AT_STOP = {"distance": ("distance", TRAIN), "between": ("between", TRAIN)}
AT_STOP |= {"held_between": ("between", HELD_OUT), "held_right": ("right", HELD_OUT)}


def _patience(values: np.ndarray, checks: int) -> int:
    best = 0
    for at in range(len(values)):
        if values[at] > values[best]:
            best = at
        elif at - best >= checks:
            break
    return best


@dataclass(frozen=True, eq=False)
class Findings:
    """All runs.

    Attributes
    ----------
    setting : Setting
    table : polars.DataFrame
        All that `measured` finds.
    facts : dict
        As metrics.json has them: "versions" of packages, "prompts" by kind, "completions" ("all",
        and "cut" at the longest length), and "length_r2": held-out R^2 of a linear fit of a
        completion's number of words from the "first" and the "last" hidden state, None where
        nothing was encoded apart from training.
    """

    setting: Setting
    table: pl.DataFrame
    facts: dict[str, Any]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs that the setting asks for."""
        return runs_of(self.setting)

    def of(self, *, control: str = "", aware: bool | None = None) -> tuple[Run, ...]:
        """Return the runs of this control; prompt-aware or fixed ones alone where `aware` says."""
        runs = (run for run in self.runs if aware in (None, run.objective.aware))
        return tuple(run for run in runs if run.control == control)

    def course(self, run: Run, split: str = TRAIN, kind: str | None = None) -> pl.DataFrame:
        """Return a run's rows step by step: of all prompts together, or of a kind."""
        same = pl.col("kind").is_null() if kind is None else pl.col("kind") == kind
        return self.table.filter(same, run=run.number, split=split)

    def ends(self, runs: Sequence[Run], name: str, split: str = TRAIN) -> list[float]:
        """Return what runs end at, the worst kind of each."""
        return [self.course(run, split)[name][-1] for run in runs]

    def stops(self, run: Run) -> list[dict[str, Any]]:
        """Return where each rule of `RULES` stops that does, and the end: rule, step, `AT_STOP`.

        The paper argues against early stopping as a remedy for reward collapse (arXiv:2305.17608,
        section 1): what comes out depends on when one stops. Here that is measured. The start,
        before any training, is no place to stop at.
        """
        course = {split: self.course(run, split)[1:] for split in (TRAIN, HELD_OUT)}
        held = course[HELD_OUT]
        if not len(held):
            return []
        places = {rule: pick(held[name].to_numpy()) for rule, (name, pick) in RULES.items()}
        return [
            {"rule": rule, "step": held["step"][at]}
            | {name: course[split][measure][at] for name, (measure, split) in AT_STOP.items()}
            for rule, at in (places | {"the end": len(held) - 1}).items()
            if at is not None
        ]


def length_r2(table: Table) -> dict[str, float]:
    """Return held-out R^2 of a completion's number of words from the "first" and "last" state."""
    prompts = table.prompts
    present = prompts.ranks >= 0
    words = np.zeros(present.shape)
    words[present] = [len(t.split()) for one in prompts.rankings for t in one.completions]
    fit, rest = present.copy(), present.copy()
    fit[len(prompts.train) :] = rest[: len(prompts.train)] = False
    return {
        name: held_out_r2(x[fit], words[fit], x[rest], words[rest])
        for name, x in (("first", table.state(0).features), ("last", table.state(1).features))
    }


PENALTY = 0.1  # of a squared coefficient, as a share of its standardised feature's variance


def held_out_r2(x: np.ndarray, y: np.ndarray, new_x: np.ndarray, new_y: np.ndarray) -> float:
    """Return R^2 on new data of a ridge regression on standardised features; NaN for a constant.

    The penalty is fixed: a prompt's completions are alike, so leaving out one at a time would
    choose one that is far too small.
    """
    centre, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    z, new_z = ((part - centre) / np.where(scale > 1e-8, scale, 1.0) for part in (x, new_x))
    gram = z.T @ z / len(z) + PENALTY * np.eye(z.shape[1])
    fitted = y.mean() + new_z @ np.linalg.solve(gram, z.T @ (y - y.mean()) / len(z))
    spread = new_y.var()
    return float(1.0 - ((new_y - fitted) ** 2).mean() / spread) if spread > 0 else float("nan")
