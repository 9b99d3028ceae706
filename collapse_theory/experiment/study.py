"""What losses buy on held-out prompts: a judge's scores told, the best of several chosen, memory.

Each half of a run's held-out prompts is judged by what the other half chose: the step at which
training stops early, and the increasing function that leads from rewards to scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from collapse_theory.capacity import memory, ranked_rows
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.measure import HELD_OUT, TRAIN, Findings
from collapse_theory.experiment.setting import CERTIFIED, Run
from collapse_theory.figures.experiment import EARLY
from collapse_theory.lazy import special
from collapse_theory.programs import Free

BEST_OF = 4
RESAMPLES = 2000
STEPS = 5  # at which the memory is measured: each takes a second


class Measure(NamedTuple):
    """Something of a prompt, from its completions' rows: what it is, and of what is no model's."""

    words: str
    sign: int  # of what is better
    value: pl.Expr
    base: pl.Expr
    base_words: str


_SCORE, _PROMPT = pl.col("score"), ("run", "arm", "stopped", "seed", "prompt", "kind")
MEASURES = {
    "right": Measure("pairs right", 1, pl.col("right").first(), pl.lit(0.5), "a coin"),
    # One increasing function of the reward for all prompts.
    "error": Measure(
        *("error of the scores", -1, ((pl.col("told") - _SCORE) ** 2).mean()),
        *(((pl.col("mean") - _SCORE) ** 2).mean(), "one guess for all"),
    ),
    # Of the completion of the highest reward of four; `chance` that a completion is that.
    "best": Measure(
        *(f"score of the best of {BEST_OF}", 1, (pl.col("chance") * _SCORE).sum()),
        *(_SCORE.mean(), "any completion"),
    ),
}


def arm(run: Run) -> str:
    """Return what a run is called in the study."""
    return "linear head, certified" if run.control == CERTIFIED else run.objective.text


def prompt_values(found: Findings) -> pl.DataFrame:
    """Return a row for each held-out prompt of each run and measure, at the end and stopped early.

    Columns: run, arm, stopped, seed, prompt, kind, measure, value and base.
    """
    runs = {run.number: arm(run) for run in (*found.of(), *found.of(control=CERTIFIED))}
    held = found.rewards.filter(pl.col("split") == HELD_OUT, pl.col("run").is_in(list(runs)))
    half = pl.col("prompt").rle_id().over("run", "step") % 2
    held = held.with_columns(
        pl.col("score", "logit").cast(pl.Float64),
        half=half.cast(pl.Int8),
        first=pl.col("step").min().over("run"),
    )
    losses = held.filter(pl.col("step") > pl.col("first")).group_by("run", "half", "step")
    losses = losses.agg(pl.col("loss").drop_nans().mean()).sort("loss", "step")
    best = losses.group_by("run", "half").agg(pl.col("step").first())
    ends = held.group_by("run", "half").agg(pl.col("step").max())
    at = pl.concat(
        [
            ends.with_columns(stopped=pl.lit(False)),
            best.with_columns(half=(1 - pl.col("half")).cast(pl.Int8), stopped=pl.lit(True)),
        ]
    )
    label = pl.col("run").replace_strict(runs, return_dtype=pl.String)
    label += pl.when("stopped").then(pl.lit(EARLY)).otherwise(pl.lit(""))
    chosen = held.join(at, on=["run", "half", "step"]).with_columns(arm=label)
    chosen = chosen.sort("run", "stopped", maintain_order=True)
    parts = chosen.partition_by("run", "stopped", maintain_order=True)
    prompts = pl.concat(map(_judged, parts)).group_by(_PROMPT, maintain_order=True)
    made = [
        prompts.agg(pl.lit(name).alias("measure"), value=of.value, base=of.base)
        for name, of in MEASURES.items()
    ]
    return pl.concat(made).filter(pl.col("value").is_not_nan())


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a run's rows with right, told, mean and chance, which `MEASURES` are made of."""
    logits, scores, half = (rows[name].to_numpy() for name in ("logit", "score", "half"))
    told = np.full(len(rows), np.nan)
    for side in (0, 1) if not np.isnan(scores).any() else ():
        fit = half != side
        told[~fit] = increasing(logits[fit], scores[fit], logits[~fit])
    pairs = rows.join(rows, on="prompt", suffix="_worse")
    pairs = pairs.filter(pl.col("rank") < pl.col("rank_worse"))
    ahead = (pl.col("logit") - pl.col("logit_worse")).sign().mean() / 2 + 0.5
    # That the k-th highest of n is the best of some.
    places = pl.col("logit").rank("ordinal", descending=True).over("prompt")
    n, place = (rows.select(of).to_series() for of in (pl.len().over("prompt"), places))
    least = np.minimum(BEST_OF, n)
    rows = rows.with_columns(
        told=told,
        mean=pl.col("score").mean(),
        chance=special.comb(n - place, least - 1) / special.comb(n, least),
    )
    return rows.join(pairs.group_by("prompt").agg(right=ahead), on="prompt", how="left")


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
        table = np.full((len(seeds), len(prompts)), np.nan)
        at = np.searchsorted(seeds, rows["seed"]), np.searchsorted(prompts, rows["prompt"])
        table[at] = rows["value"]
        return table

    every = values.with_columns(kind=pl.lit(None, pl.String))
    every = pl.concat([every, values.sort("kind", maintain_order=True)])
    columns = ("kind", "measure", "arm", "stopped")
    for key, rows in every.group_by(columns, maintain_order=True):
        of = MEASURES[str(key[1])]
        ours = every.filter(pl.col("kind").eq_missing(key[0]), measure=key[1])
        ours = ours.filter(arm=aware or "")
        row = dict(zip(columns, key, strict=True)) | {"words": of.words, "sign": of.sign}
        theirs = grid(rows)
        gain = of.sign * (grid(ours) - theirs)
        parts = {"": theirs} if key[2] == aware else {"": theirs, "gain": gain}
        for part, table in parts.items():
            names = (part or "mean", *(f"{part}_{end}".lstrip("_") for end in ("low", "high")))
            if not np.isnan(table).all():
                row |= dict(zip(names, interval(table, np.random.default_rng(0)), strict=True))
        made.append(row | {"base": rows["base"].mean()})
    return pl.DataFrame(made, infer_schema_length=None)


def study_sentences(found: Findings) -> Iterator[str]:
    """Say what the prompt-aware loss buys on held-out prompts, and what it doesn't."""
    table, memories = compared(found), memory_course(found)
    aware = next((arm(run) for run in found.of(aware=True)), None)
    if aware is None or table["arm"].n_unique() < 2:
        yield "There is no prompt-aware loss, or nothing to hold it against."
        return
    told = pl.when(pl.col("gain_low") > 0).then(pl.lit("better than"))
    told = told.when(pl.col("gain_high") < 0).then(pl.lit("worse than"))
    told = told.when(pl.col("gain_low").is_not_null()).then(pl.lit("not told from"))
    table = table.with_columns(told=told)
    for (kind, name), rows in table.group_by("kind", "measure", maintain_order=True):
        of, own = MEASURES[str(name)], rows.filter(arm=aware).row(0, named=True)
        best = rows.sort("mean", descending=of.sign > 0).row(0, named=True)
        arms = rows.group_by("told", maintain_order=True).agg("arm").drop_nulls("told")
        said = [
            f"{verb} {' / '.join(of_verb)}"
            for verb, of_verb in arms.sort("told").iter_rows()
            if not (kind and verb == "not told from")  # of a kind, what is decided
        ]
        if said:
            yield (
                f"Held-out {of.words}{f', {kind} prompts' if kind else ''}, with {aware}: "
                f"{own['mean']:.3f} (95% from {own['low']:.3f} to {own['high']:.3f}; best is "
                f"{best['arm']}, {best['mean']:.3f}; {of.base_words} has {own['base']:.3f}): "
                f"{'; '.join(said)}."
            )
    better, worse, open_ = (
        len(table.filter(told=verb)) for verb in ("better than", "worse than", "not told from")
    )
    yield (
        f"Of these {better + worse + open_} comparisons the prompt-aware loss is better in "
        f"{better} and worse in {worse}, {open_} are open; with intervals of 95% one in twenty "
        "would be decided by chance alone."
    )
    for (utility,), rows in memories.group_by("utility", maintain_order=True):
        ends = rows.filter(pl.col("step") == pl.col("step").max()).row(0, named=True)
        yield f"Memory under {utility}, seed {ends['seed']}, step {ends['step']}: {ends['text']}."
    yield (
        "Where a box or a penalty holds the rewards in training the memory law says nothing."
        if found.setting.data
        else "Completions are parts of each other here, of which the memory law says nothing."
    )


@lru_cache(maxsize=1)
def memory_course(found: Findings) -> pl.DataFrame:
    """Return the memory over steps of runs that nothing but the end of training holds.

    Columns: run, utility, seed, step, gamma, low, high, text; trained, law, held_out: the shares of
    the rewards' variance that rank explains. Prompts with ties are left out. No row where texts are
    parts of each other, as those of the documentation are.
    """
    made: list[dict[str, Any]] = []
    free = [run for run in found.of(aware=False) if run.objective.domain == Free()]
    for run in free if found.setting.data else ():
        mine = found.rewards.filter(run=run.number)
        steps = mine["step"].unique().sort().to_numpy()[1:]
        wanted = np.geomspace(min(10, steps[-1]), steps[-1], STEPS) if len(steps) else ()
        for step in sorted({int(steps[np.argmin(abs(steps - at))]) for at in wanted}):
            sides = [mine.filter(pl.col("split") == of, step=step) for of in (TRAIN, HELD_OUT)]
            train, held = (
                ranked_rows(
                    own["logit"].to_numpy().astype(np.float64),
                    own["rank"].to_numpy(),
                    own["prompt"].rle_id().to_numpy(),
                )
                for own in sides
            )
            with suppress(CollapseError), warnings.catch_warnings(action="ignore"):
                law = memory(train, held, run.objective.utilities[""])
                row = {"run": run.number, "utility": str(run.objective), "seed": run.seed}
                row |= {"step": step, "gamma": law.gamma, "text": law.text}
                row |= {"low": law.interval[0], "high": law.interval[1]}
                row |= {"trained": law.trained.explained, "law": law.predicted.explained}
                made.append(row | {"held_out": law.held_out.explained})
    return pl.DataFrame(
        made, schema=None if made else {"utility": pl.String, "seed": pl.Int64, "step": pl.Int64}
    )
