"""What losses buy on held-out prompts: a judge's scores told, the best of several chosen, memory.

Each half of a run's held-out prompts is judged by what the other half chose: the step at which
training stops early, and the increasing function that leads from rewards to scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
import polars as pl
import torch

from collapse_theory.capacity import memory, ranked_rows
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.measure import HELD_OUT, TRAIN, Findings, grids
from collapse_theory.experiment.setting import CERTIFIED, Run
from collapse_theory.figures.experiment import EARLY
from collapse_theory.programs import Free

BEST_OF = 4
MEASURES = {
    "right": ("pairs right", 1, "a coin"),
    "error": ("error of the scores", -1, "one guess for all"),
    "best": (f"score of the best of {BEST_OF}", 1, "any completion"),
}
"""Of a prompt: the share of its pairs that are ranked right; the mean squared difference between
its completions' scores and an increasing function of their rewards, one for all prompts; the mean
score of the completion of the highest reward of four. The sign of what is better; what the column
"base" is of: a half, the scores' variance, their mean."""
RESAMPLES = 2000
STEPS = 5  # at which the memory is measured: each takes a second


def arm(run: Run, stopped: bool = False) -> str:
    """Return what a run is called in the study."""
    name = "linear head, certified" if run.control == CERTIFIED else run.objective.text
    return name + EARLY * stopped


def prompt_values(found: Findings) -> pl.DataFrame:
    """Return a row for each held-out prompt of each run, at the end and stopped early.

    Columns: arm, stopped, seed, prompt, kind, measure, value and base.
    """
    tables = []
    for run in (*found.of(), *found.of(control=CERTIFIED)):
        held = found.rewards.filter(pl.col("split") == HELD_OUT, run=run.number)
        parts = held.sort("step", maintain_order=True).partition_by("step", maintain_order=True)
        _, ranks, kinds, scores = grids(parts[-1], "score")
        logits = np.stack([grids(part)[0] for part in parts])
        half, at = np.arange(len(ranks)) % 2, {False: np.full(len(ranks), len(parts) - 1)}
        if len(parts) > 2:
            losses = _losses(run, logits, kinds, ranks)[1:]
            best = [1 + np.nanmean(losses[:, half != side], axis=1).argmin() for side in (0, 1)]
            at[True] = np.array(best)[half]
        rows = {"prompt": parts[-1]["prompt"].unique(maintain_order=True), "kind": kinds}
        for stopped, place in at.items():
            made = _measured(logits[place, np.arange(len(ranks))], ranks, scores, half)
            for name, (value, base) in made.items():
                rows |= {"arm": arm(run, stopped), "stopped": stopped, "seed": run.seed}
                tables.append(pl.DataFrame(rows | {"measure": name, "value": value, "base": base}))
    return pl.concat(tables).filter(pl.col("value").is_not_nan())


def _losses(run: Run, logits: np.ndarray, kinds: Sequence[str], ranks: np.ndarray) -> np.ndarray:
    """Return each prompt's loss at each step, (S, N); NaN where nothing is compared."""
    loss, order = run.objective.loss(), torch.from_numpy(ranks)
    with torch.inference_mode():
        made = [loss.loss_and_counts(torch.from_numpy(one), kinds, order) for one in logits]
    return np.stack([np.where(there.numpy(), value.numpy(), np.nan) for value, there in made])


def _measured(
    logits: np.ndarray, ranks: np.ndarray, scores: np.ndarray, half: np.ndarray
) -> dict[str, tuple[np.ndarray, Any]]:
    """Return each prompt's `MEASURES` and what they are to be compared with; NaN without scores."""
    there, told = ranks >= 0, np.full(scores.shape, np.nan)
    known, sizes = not np.isnan(scores[there]).any(), there.sum(axis=1)
    for side in (0, 1) if known else ():
        fit, rest = (there & (half == of)[:, None] for of in (1 - side, side))
        told[rest] = increasing(logits[fit], scores[fit], logits[rest])
    pairs = (ranks[:, :, None] < ranks[:, None, :]) & there[:, :, None]
    ahead = np.sign(logits[:, :, None] - logits[:, None, :]) / 2 + 0.5
    chances, given = np.zeros(scores.shape), np.where(there, scores, 0.0)
    for row, n in zip(chances, sizes, strict=True):  # that the k-th highest is the best of some
        k = min(BEST_OF, n)
        row[:n] = [comb(n - 1 - place, k - 1) / comb(n, k) for place in range(n)]
    order = np.argsort(np.where(there, -logits, np.inf), axis=1)
    apart = given - (scores[there].mean() if known else np.nan)
    with np.errstate(invalid="ignore"):  # a prompt without a pair has no value
        right = (ahead * pairs).sum(axis=(1, 2)) / pairs.sum(axis=(1, 2))
    return {
        "right": (right, 0.5),
        "error": (
            (np.where(there, told - given, 0.0) ** 2).sum(axis=1) / sizes,
            (np.where(there, apart, 0.0) ** 2).sum(axis=1) / sizes,
        ),
        "best": (
            (chances * np.take_along_axis(given, order, axis=1)).sum(axis=1),
            given.sum(axis=1) / sizes,
        ),
    }


def increasing(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return at `new` the increasing function nearest to y at x: isotonic regression.

    >>> increasing(np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 1.0]), np.array([-1.0, 1.5]))
    array([0., 2.])
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(x)
    return np.interp(new, x[order], isotonic_regression(y[order]).x)


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the mean over runs and prompts, (R, P), NaN where not held out, and its 95% interval.

    Runs and prompts are both resampled (Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 2007), which claims rather too little than too much.
    """
    there = ~np.isnan(values)
    of_runs, of_prompts = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in values.shape)
    sums, counts = (
        ((of_runs @ part) * of_prompts).sum(axis=1) for part in (np.nan_to_num(values), there)
    )
    low, high = np.quantile(sums[counts > 0] / counts[counts > 0], (0.025, 0.975))
    return float(values[there].mean()), float(low), float(high)


@lru_cache(maxsize=1)
def compared(found: Findings) -> pl.DataFrame:
    """Return each arm's measures, and what the prompt-aware loss gains over it, with intervals.

    A row for each kind of prompt (null: all), measure and arm: mean, low, high, base; gain,
    gain_low, gain_high, positive where the first prompt-aware loss, at its end, is better.
    """
    values, made = prompt_values(found), []
    aware = next((arm(run) for run in found.of(aware=True)), None)
    seeds, prompts = (np.unique(values[name].to_numpy()) for name in ("seed", "prompt"))

    def grid(rows: pl.DataFrame) -> np.ndarray:
        made = np.full((len(seeds), len(prompts)), np.nan)
        at = np.searchsorted(seeds, rows["seed"]), np.searchsorted(prompts, rows["prompt"])
        made[at] = rows["value"]
        return made

    for kind in (None, *sorted(set(values["kind"]))):
        mine = values if kind is None else values.filter(kind=kind)
        for (name, label), rows in mine.group_by("measure", "arm", maintain_order=True):
            ours, theirs = grid(mine.filter(measure=name, arm=aware)), grid(rows)
            row = {"kind": kind, "measure": name, "arm": label, "stopped": rows["stopped"][0]}
            row |= {"base": rows["base"].mean(), "words": MEASURES[str(name)][0]}
            row |= {"sign": MEASURES[str(name)][1]}
            gain = MEASURES[str(name)][1] * (ours - theirs)
            for grid_, names in ((theirs, ("mean", "low", "high")), (gain, ("gain", *GAINS))):
                if not np.isnan(grid_).all() and (names[0] == "mean" or label != aware):
                    row |= dict(zip(names, interval(grid_, np.random.default_rng(0)), strict=True))
            made.append(row)
    return pl.DataFrame(made, infer_schema_length=None)


GAINS = ("gain_low", "gain_high")


def study_sentences(found: Findings) -> Iterator[str]:
    """Say what the prompt-aware loss buys on held-out prompts, and what it doesn't."""
    table, memories = compared(found), memory_course(found)
    aware = next((arm(run) for run in found.of(aware=True)), None)
    if aware is None or table["arm"].n_unique() < 2:
        yield "There is no prompt-aware loss, or nothing to hold it against."
        return
    verdicts = {
        "better than": pl.col("gain_low") > 0,
        "worse than": pl.col("gain_high") < 0,
        "not told from": (pl.col("gain_low") <= 0) & (pl.col("gain_high") >= 0),
    }
    counts = dict.fromkeys(verdicts, 0)
    for kind in table["kind"].unique(maintain_order=True):
        for (name,), rows in table.filter(pl.col("kind").eq_missing(kind)).group_by(
            "measure", maintain_order=True
        ):
            others, (words, sign, base) = rows.filter(pl.col("arm") != aware), MEASURES[str(name)]
            own = rows.filter(arm=aware).row(0, named=True)
            lists = {verb: others.filter(of)["arm"].to_list() for verb, of in verdicts.items()}
            counts = {verb: count + len(lists[verb]) for verb, count in counts.items()}
            best = rows.sort("mean", descending=sign > 0).row(0, named=True)
            said = (
                f"Held-out {words}{f', {kind} prompts' if kind else ''}, with {aware}: "
                f"{own['mean']:.3f} (95% from {own['low']:.3f} to {own['high']:.3f}; best is "
                f"{best['arm']}, {best['mean']:.3f}; {base} has {own['base']:.3f})"
            )
            parts = [
                f"{verb} {' / '.join(arms)}"
                for verb, arms in lists.items()
                if arms and not (kind and verb == "not told from")  # of a kind, what is decided
            ]
            if parts:
                yield f"{said}: {'; '.join(parts)}."
    better, worse, open_ = counts.values()
    yield (
        f"Of these {better + worse + open_} comparisons the prompt-aware loss is better in "
        f"{better} and worse in {worse}, {open_} are open; with intervals of 95% one in twenty "
        "would be decided by chance alone."
    )
    for (utility,), rows in memories.group_by("utility", maintain_order=True):
        mine = rows.filter(seed=rows["seed"].min()).sort("step")
        courses = ", ".join(
            f"{one['gamma']:.3g} (95% from {one['low']:.3g} to {one['high']:.3g}) at step "
            f"{one['step']}"
            for one in mine.to_dicts()
        )
        shares = [f"{name} {mine[name][-1]:.3f}" for name in ("trained", "law", "held_out")]
        yield (
            f"Memory under {utility}: gamma {courses}; explained by rank at the end: "
            f"{', '.join(shares)}."
        )
    yield (
        "Where a box or a penalty holds the rewards in training the memory law says nothing."
        if found.setting.data
        else "Completions are parts of each other here, of which the memory law says nothing."
    )


@lru_cache(maxsize=1)
def memory_course(found: Findings) -> pl.DataFrame:
    """Return the memory over steps of runs that nothing but the end of training holds.

    Columns: run, utility, seed, step, gamma, low, high; trained, law, held_out: the shares of the
    rewards' variance that rank explains. Prompts with ties are left out. No row where texts are
    parts of each other, as those of the documentation are.
    """
    made: list[dict[str, Any]] = []
    free = [run for run in found.of(aware=False) if run.objective.domain == Free()]
    for run in free if found.setting.data else ():
        mine = found.rewards.filter(run=run.number)
        steps = mine["step"].unique().sort().to_numpy()[1:]
        wanted = np.geomspace(min(10, steps[-1]), steps[-1], STEPS) if len(steps) else ()
        for step in sorted({int(steps[np.argmin(abs(steps - at))]) for at in wanted}):
            parts = [mine.filter(pl.col("split") == of, step=step) for of in (TRAIN, HELD_OUT)]
            train, held = (
                ranked_rows(
                    part["logit"].to_numpy().astype(np.float64),
                    part["rank"].to_numpy(),
                    part["prompt"].rle_id().to_numpy(),
                )
                for part in parts
            )
            with suppress(CollapseError), warnings.catch_warnings(action="ignore"):
                law = memory(train, held, run.objective.utilities[""])
                low, high = law.interval
                row = {"run": run.number, "utility": str(run.objective), "seed": run.seed}
                row |= {"step": step, "gamma": law.gamma, "low": low, "high": high}
                row |= {"trained": law.trained.explained, "law": law.predicted.explained}
                made.append(row | {"held_out": law.held_out.explained})
    return pl.DataFrame(made, schema=None if made else {"utility": pl.String, "seed": pl.Int64})
