"""What was found, in tables, sentences and as JSON: all from the table of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from collapse_theory.experiment.measure import HELD_OUT, TRAIN, Findings
from collapse_theory.experiment.sentences import sentences
from collapse_theory.experiment.setting import NEUTRAL
from collapse_theory.experiment.study import MEASURES, compared, memory_course, study_sentences
from collapse_theory.files import plain

# Column, measure, prompts, and which of several seeds is shown; None: the least of a prompt-aware
# loss, which is to hold the kinds apart, else the largest.
_ENDS: tuple[tuple[str, str, str, Any], ...] = (
    ("error", "error", TRAIN, max),
    ("s.d.", "std", TRAIN, max),
    ("apart", "between", TRAIN, None),
    ("chance", "chance", TRAIN, max),
    ("of", "between_predicted", TRAIN, max),
    ("right", "right", TRAIN, min),
    ("held-out apart", "between", HELD_OUT, None),
    ("held-out right", "right", HELD_OUT, min),
)
_ENDS_NOTE = (
    "Error: mean over ranks of |mean reward - exact optimum|. s.d.: over prompts, mean over ranks. "
    "Apart: mean over ranks of the difference between the kinds' mean rewards, what chance makes "
    "of it at most (19 times of 20), and what is computed. Right: share of pairs. All on training "
    "prompts unless held out, for the worse kind of prompt and the worst seed (apart of a "
    "prompt-aware loss: the least)."
)
_STUDY_NOTE = (
    "On held-out prompts. Gain: by how much the prompt-aware loss, at its end, is better, with its "
    "95% interval by a bootstrap over runs and prompts. Error: mean squared difference between the "
    "judge's score and an increasing function of the reward, one for all prompts, fitted to the "
    "other half of them. Stopped early: at the least loss of the other half."
)
Table = tuple[tuple[str, ...], list[tuple[str, ...]], str]


def tables(found: Findings) -> list[Table]:
    """Return what was found in tables: columns, rows, and what they are."""
    rows = []
    for text, control in dict.fromkeys((str(run.objective), run.control) for run in found.runs):
        runs = [run for run in found.of(control=control) if str(run.objective) == text]
        # Where nothing tells the kinds from each other, no loss can hold them apart.
        apart = min if runs[0].objective.aware and control != NEUTRAL else max
        ends = ((worst or apart)(found.ends(runs, *of)) for _, *of, worst in _ENDS)
        cells = ("-" if np.isnan(v) else f"{v:.3f}".removeprefix("0") for v in ends)
        rows.append((text + (f" ({control})" if control else ""), *cells))
    made: list[Table] = [(("trained with", *(name for name, *_ in _ENDS)), rows, _ENDS_NOTE)]
    return [*made, _study(found)] if found.setting.study else made


def _study(found: Findings) -> Table:
    arms: dict[str, dict[str, tuple[str, str]]] = {}
    for one in compared(found).filter(pl.col("kind").is_null()).iter_rows(named=True):
        gain = "-"
        if one.get("gain") is not None:
            gain = f"{one['gain']:+.3f} [{one['gain_low']:+.3f}, {one['gain_high']:+.3f}]"
        arms.setdefault(one["arm"], {})[one["measure"]] = f"{one['mean']:.3f}", gain
    rows = [
        (arm, *(cell for name in MEASURES for cell in of.get(name, ("-", "-"))))
        for arm, of in arms.items()
    ]
    columns = (column for words, *_ in MEASURES.values() for column in (words, "gain"))
    return ("trained with", *columns), rows, _STUDY_NOTE


def told(found: Findings) -> list[str]:
    """Return all sentences, those of the study too."""
    return sentences(found) + (list(study_sentences(found)) if found.setting.study else [])


def summary(found: Findings, figures: Sequence[tuple[Path, str]]) -> str:
    """Return all of it in Markdown: sentences, tables, figures (file, caption)."""
    parts = [
        f"# Reward collapse on {found.setting.data or 'documentation of Python, NumPy and SciPy'}"
    ]
    parts += ["\n".join(f"- {text}" for text in told(found))]
    for columns, rows, note in tables(found):
        lines = [columns, ("---",) * len(columns), *rows]
        parts += ["\n".join(f"| {' | '.join(line)} |" for line in lines), note]
    parts += [f"![{caption}]({file.name})\n\n*{caption}*" for file, caption in figures]
    versions = ", ".join(f"{name} {number}" for name, number in found.facts["versions"].items())
    parts += [f"{found.setting}, with {versions}."]
    return "\n\n".join(parts) + "\n"


def metrics(found: Findings) -> dict[str, Any]:
    """Return all that was found, JSON-ready: the content of metrics.json; NaN is null.

    "runs" has a row for each run, split and kind of prompt (null: the worst), at the end; "stops"
    where rules stop; "study" a row for each arm, kind and measure; "memory" one for each step.
    """
    made = {"setting": found.setting.to_dict(), **found.facts, "findings": told(found)}
    made["runs"] = [
        {"run": run.number, "utility": str(run.objective), "control": run.control}
        | {"seed": run.seed, "folder": f"runs/{run.folder}", "split": split}
        | one
        for run in found.runs
        for split in (TRAIN, HELD_OUT)
        for ends, kinds in [found.end(run, split)]
        for one in (ends, *kinds)
    ]
    made["stops"] = [{"run": run.number} | stop for run in found.of() for stop in found.stops(run)]
    if found.setting.study:
        made["study"], made["memory"] = (of(found).to_dicts() for of in (compared, memory_course))
    return plain(made)
