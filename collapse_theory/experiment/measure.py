"""What the runs found, in one table: a row for each run, prompt set, step, kind and measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch

from collapse_theory.data import RankingDataset
from collapse_theory.experiment.encode import Table
from collapse_theory.experiment.setting import Run, Setting
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.train import Trace, loss_of
from collapse_theory.training.measures import KindMeasures, Measures, measure, rewards_of

TRAIN, HELD_OUT = "train", "held_out"
SCHEMA = {
    "run": pl.Int32,
    "utility": pl.String,
    "seed": pl.Int32,
    "control": pl.String,
    "split": pl.String,
    "step": pl.Int32,
    "kind": pl.String,  # null: all kinds, of which the worst counts
    "measure": pl.String,
    "rank": pl.Int32,  # 1 the best; null: of no rank
    "value": pl.Float64,
}

# Of the prompts of one kind, at every step.
OF_KIND: dict[str, Callable[[KindMeasures], float]] = {
    "prompts": lambda one: one.prompts,
    # Mean over ranks of |mean reward - predicted reward|.
    "error": lambda one: np.abs(one.mean - one.predicted).mean() if one.predicted.size else np.nan,
    "distance": lambda one: one.distance,  # Wasserstein-1 between all rewards and the predicted
    "std": lambda one: one.std.mean(),  # of a rank's reward over prompts, mean over ranks
    "std_largest": lambda one: one.std.max(),
    "gap": lambda one: one.gap,  # optimum less mean objective, in the scale of U
    "right": lambda one: one.right,  # share of pairs whose better completion has the higher logit
}
WORST = {"prompts": np.sum, "right": np.min}  # over kinds; the largest of all others
BY_RANK = ("mean", "std", "predicted")  # at the end, as "mean_by_rank", ...


def measured(run: Run, table: Table, trace: Trace) -> pl.DataFrame:
    """Return what is measured of a run, under `SCHEMA`.

    Of all kinds together there are also "between" and "between_predicted", the largest mean
    absolute difference between two kinds' mean rewards, and "loss".
    """
    loss, rows = run.objective.loss(), []
    for split, part in ((TRAIN, slice(None, table.train)), (HELD_OUT, slice(table.train, None))):
        ranks, kinds = table.ranks[part], list(table.kinds[part])
        for step, logits in zip(trace.steps.tolist(), trace.logits[:, part], strict=True):
            found = measure(loss, logits, ranks, kinds)
            with torch.inference_mode():
                exact = torch.from_numpy(logits.astype(np.float64))
                value = float(loss_of(loss, exact, torch.from_numpy(ranks), kinds))
            last = step == trace.steps[-1]
            rows += [(split, step, *row) for row in _rows(found, {"loss": value}, last)]
    start = (run.number, str(run.objective), run.seed, run.control)
    return pl.DataFrame([(*start, *row) for row in rows], schema=SCHEMA, orient="row")


def _rows(found: Measures, of_all: dict[str, float], last: bool) -> Iterator[tuple[Any, ...]]:
    """Yield (kind, measure, rank, value)."""
    for name, of in OF_KIND.items():
        values = [float(of(one)) for one in found.kinds]
        yield None, name, None, float(WORST.get(name, np.max)(values))
        yield from ((one.kind, name, None, v) for one, v in zip(found.kinds, values, strict=True))
    of_all |= {"between": found.between, "between_predicted": found.between_predicted}
    yield from ((None, name, None, value) for name, value in of_all.items())
    for one in found.kinds if last else ():
        for name in BY_RANK:
            for rank, value in enumerate(getattr(one, name).tolist(), start=1):
                yield one.kind, f"{name}_by_rank", rank, value


def rewards_at(
    run: Run, prompts: PromptSet, table: Table, trace: Trace, steps: Sequence[int]
) -> pl.DataFrame:
    """Return a row a reward at these steps and at the last: prompt, kind, rank (0 the best), ..."""
    names = np.array(RankingDataset(prompts.rankings).names)
    rows, places = np.nonzero(table.ranks >= 0)
    fixed = {
        "prompt": names[rows],
        "kind": np.array(table.kinds)[rows],
        "rank": table.ranks[rows, places].astype(np.int32),
    }
    frames = []
    for step, logits in zip(trace.steps.tolist(), trace.logits, strict=True):
        if step in steps or step == trace.steps[-1]:
            rewards = rewards_of(run.objective.loss(), logits, table.kinds)[rows, places]
            frame = pl.DataFrame(fixed | {"reward": rewards.astype(np.float32)})
            frames.append(frame.with_columns(step=pl.lit(step, pl.Int32)))
    return pl.concat(frames).with_columns(
        utility=pl.lit(str(run.objective)),
        control=pl.lit(run.control),
        seed=pl.lit(run.seed, pl.Int32),
        split=pl.Series(np.where(rows < table.train, "train", "held out").tolist() * len(frames)),
    )


# -- all runs ----------------------------------------------------------------------------

# Early stopping: the held-out measure that a rule reads, and at which of its values after the start
# it stops; None: nowhere. Patience is three measurements in a row without a gain.
RULES: dict[str, tuple[str, Callable[[np.ndarray], int | None]]] = {
    "best held-out loss": ("loss", lambda loss: int(np.argmin(loss))),
    "most held-out pairs right": ("right", lambda right: int(np.argmax(right))),
    "three checks without more pairs right": ("right", lambda right: _patience(right, 3)),
    "95% of held-out pairs right": ("right", lambda right: _reached(right, 0.95)),
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


def _reached(values: np.ndarray, level: float) -> int | None:
    return next(iter(np.flatnonzero(values >= level).tolist()), None)


@dataclass(frozen=True, eq=False)
class Findings:
    """All runs.

    Attributes
    ----------
    setting, runs : Setting, tuple of Run
    table : polars.DataFrame
        All that `measured` finds, run by run.
    prompts : tuple of (str, int, int)
        Kind, prompts to train on, prompts held out.
    length_first, length_last : float
        Held-out R^2 of a linear fit of a completion's number of words from the first and from the
        last hidden state; NaN where nothing was encoded apart from training.
    cut, texts : int
        Completions that were cut at the longest length, of so many.
    versions : tuple of (str, str)
        Packages that the texts and the numbers come from.
    """

    setting: Setting
    runs: tuple[Run, ...]
    table: pl.DataFrame
    prompts: tuple[tuple[str, int, int], ...]
    length_first: float
    length_last: float
    cut: int
    texts: int
    versions: tuple[tuple[str, str], ...]

    @cached_property
    def _series(self) -> dict[tuple[Any, ...], np.ndarray]:
        keys = ["run", "measure", "split", "kind"]
        grouped = self.table.group_by(keys, maintain_order=True).agg("value")
        return {tuple(key): np.array(values) for *key, values in grouped.iter_rows()}

    def of(self, *, control: str = "", aware: bool | None = None) -> tuple[Run, ...]:
        """Return the runs of this control; prompt-aware or fixed ones alone where `aware` says."""
        runs = (run for run in self.runs if aware in (None, run.objective.aware))
        return tuple(run for run in runs if run.control == control)

    def steps(self, run: Run) -> np.ndarray:
        """Return the steps at which a run was measured."""
        return self.table.filter(run=run.number)["step"].unique().sort().to_numpy()

    def kinds(self, run: Run, split: str = TRAIN) -> list[str]:
        """Return the kinds of a run's prompts, in alphabetical order."""
        here = self.table.filter(run=run.number, split=split)["kind"]
        return here.unique().drop_nulls().sort().to_list()

    def series(
        self, run: Run, name: str, split: str = TRAIN, kind: str | None = None
    ) -> np.ndarray:
        """Return a run's values of a measure, in the order of steps, or of ranks."""
        return self._series.get((run.number, name, split, kind), np.empty(0))

    def ends(self, runs: Sequence[Run], name: str, split: str = TRAIN) -> list[float]:
        """Return what runs end at, the worst kind of each."""
        return [float(self.series(run, name, split)[-1]) for run in runs]

    def stops(self, run: Run) -> list[dict[str, Any]]:
        """Return where each rule of `RULES` stops that does, and the end: rule, step, `AT_STOP`.

        The paper argues against early stopping as a remedy for reward collapse (arXiv:2305.17608,
        section 1): what comes out depends on when one stops. Here that is measured. The start,
        before any training, is no place to stop at.
        """
        steps = self.steps(run).tolist()
        if len(steps) < 2:
            return []
        held = {rule: self.series(run, name, HELD_OUT)[1:] for rule, (name, _) in RULES.items()}
        places = {rule: pick(held[rule]) for rule, (_, pick) in RULES.items()}
        places["the end"] = len(steps) - 2
        return [
            {"rule": rule, "step": steps[at + 1]}
            | {name: float(self.series(run, *of)[at + 1]) for name, of in AT_STOP.items()}
            for rule, at in places.items()
            if at is not None
        ]


# -- how much of a completion's length a linear map can read from the features ----------------


def length_r2(table: Table, prompts: PromptSet) -> tuple[float, float]:
    """Return held-out R^2 of a completion's number of words, from the first and the last state."""
    present = table.ranks >= 0
    words = np.zeros(table.ranks.shape)
    words[present] = [len(t.split()) for one in prompts.rankings for t in one.completions]
    train = np.arange(len(words))[:, None] < table.train
    fit, rest = present & train, present & ~train
    first, last = (held_out_r2(x[fit], words[fit], x[rest], words[rest]) for x in table.halves)
    return first, last


def held_out_r2(x: np.ndarray, y: np.ndarray, new_x: np.ndarray, new_y: np.ndarray) -> float:
    """Return R^2 on new data of a ridge regression whose penalty has the least leave-one-out error.

    The leave-one-out residuals of a linear smoother H are (y - H y) / (1 - diag H).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> y = x @ [1.0, 2.0, -1.0]
    >>> held_out_r2(x[:40], y[:40], x[40:], y[40:]) > 0.999
    True
    """
    x, new_x = x.astype(np.float64), new_x.astype(np.float64)
    centre, scale, level = x.mean(0), x.std(0), y.mean()
    scale = np.where(scale > 1e-8, scale, 1.0)
    left, values, right = np.linalg.svd((x - centre) / scale, full_matrices=False)
    scores = left.T @ (y - level)

    def left_out(penalty: float) -> float:
        smooth = left * (values**2 / (values**2 + penalty))
        rest = (y - level - smooth @ scores) / (1.0 - 1.0 / len(y) - (smooth * left).sum(1))
        return float((rest**2).mean())

    penalty = min(10.0 ** np.arange(-3, 5), key=left_out)
    weights = right.T @ (values / (values**2 + penalty) * scores)
    fitted = level + ((new_x - centre) / scale) @ weights
    spread = ((new_y - new_y.mean()) ** 2).sum()
    return float(1.0 - ((new_y - fitted) ** 2).sum() / spread) if spread > 0 else float("nan")
