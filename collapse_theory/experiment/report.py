"""What was found, in tables, as JSON, on a page with figures: all from the table of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from collapse_theory.experiment.measure import HELD_OUT, TRAIN, Findings
from collapse_theory.experiment.sentences import sentences
from collapse_theory.experiment.setting import NEUTRAL, Run
from collapse_theory.experiment.study import (
    GAINS,
    MEASURES,
    compared,
    memory_course,
    study_sentences,
)
from collapse_theory.figures.experiment import (
    memory_figure,
    stopping_figure,
    study_figure,
    trained_figure,
)
from collapse_theory.figures.look import formula
from collapse_theory.figures.saving import save
from collapse_theory.files import plain

# Column, measure, prompts, and which of several seeds is shown; None: the least of a prompt-aware
# loss, which is to hold the kinds apart, else the largest.
_TABLE: tuple[tuple[str, str, str, Any], ...] = (
    ("error", "error", TRAIN, max),
    ("s.d.", "std", TRAIN, max),
    ("apart", "between", TRAIN, None),
    ("chance", "chance", TRAIN, max),
    ("of", "between_predicted", TRAIN, max),
    ("right", "right", TRAIN, min),
    ("held-out apart", "between", HELD_OUT, None),
    ("held-out right", "right", HELD_OUT, min),
)
COLUMNS = ("trained with", *(column for column, *_ in _TABLE))
NOTES = (
    "Error: mean over ranks of |mean reward - exact optimum|. s.d.: over prompts, mean over ranks. "
    "Apart: mean over ranks of the difference between the kinds' mean rewards, what chance makes "
    "of it at most (19 times of 20), and what is computed. Right: share of pairs. All on training "
    "prompts unless held out, for the worse kind of prompt and the worst seed (apart of a "
    "prompt-aware loss: the least)."
)


def _rows(found: Findings) -> list[tuple[str, ...]]:
    """Return a row for the runs that differ in their seed alone, under `COLUMNS`: the worst."""
    made = []
    for (text, control), group in groupby(found.runs, lambda r: (str(r.objective), r.control)):
        runs = list(group)
        # Where nothing tells the kinds from each other, no loss can hold them apart.
        apart = min if runs[0].objective.aware and control != NEUTRAL else max
        values = [(worst or apart)(found.ends(runs, *what)) for _, *what, worst in _TABLE]
        cells = ("-" if np.isnan(v) else f"{v:.3f}".removeprefix("0") for v in values)
        made.append((text.replace("; ", ";\n") + (f"\n({control})" if control else ""), *cells))
    return made


_STUDY_COLUMNS = ("trained with", *(w for words, *_ in MEASURES.values() for w in (words, "gain")))
_STUDY_NOTES = (
    "On held-out prompts. Gain: by how much the prompt-aware loss, at its end, is better, with its "
    "95% interval by a bootstrap over runs and prompts. Error: mean squared difference between the "
    "judge's score and an increasing function of the reward, one for all prompts, fitted to the "
    "other half of them. Stopped early: at the least loss of the other half."
)


def _study_rows(found: Findings) -> list[tuple[str, ...]]:
    """Return a row for each arm of the study, all kinds together, under `_STUDY_COLUMNS`."""
    made, whole = [], compared(found).filter(compared(found)["kind"].is_null())
    for (label,), of in whole.group_by("arm", maintain_order=True):
        cells = dict.fromkeys(MEASURES, ("-", "-"))
        for one in of.iter_rows(named=True):
            cells[one["measure"]] = f"{one['mean']:.3f}", _gain(*(one[g] for g in ("gain", *GAINS)))
        made.append((label, *(cell for pair in cells.values() for cell in pair)))
    return made


def _gain(gain: float | None, low: float | None, high: float | None) -> str:
    return "-" if gain is None else f"{gain:+.3f}\n[{low:+.3f}, {high:+.3f}]"


def tables(found: Findings) -> list[tuple[tuple[str, ...], list[tuple[str, ...]], str]]:
    """Return what was found in tables: columns, rows, and what they are."""
    made = [(COLUMNS, _rows(found), NOTES)]
    if found.setting.study:
        made.append((_STUDY_COLUMNS, _study_rows(found), _STUDY_NOTES))
    return made


def told(found: Findings) -> list[str]:
    """Return all sentences, those of the study too."""
    made = sentences(found)
    return made + list(study_sentences(found)) if found.setting.study else made


def metrics(found: Findings) -> dict[str, Any]:
    """Return all that was found, JSON-ready: the content of metrics.json; NaN is null.

    "runs" has a row for each run, split and kind of prompt (null: the worst), at the end; "stops"
    where rules stop; "study" a row for each arm, kind and measure; "memory" one for each step.
    """
    made = {"setting": found.setting.to_dict(), **found.facts, "findings": told(found)}
    made["runs"] = [
        vars(run)
        | {"objective": str(run.objective), "folder": f"runs/{run.folder}", "split": split}
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


# -- figures -----------------------------------------------------------------------------

CAPTIONS = {
    "rewards": "Mean reward by rank of each kind of prompt, with bands of one standard deviation "
    "over prompts, over the exact optimum of what was trained.",
    "controls": "The controls, in the same way.",
    "stopping": "Early stopping: what a run has at each step, and where rules stop it. Every seed "
    "is a line.",
    "study": "What each loss has on held-out prompts, at the end (filled) and stopped early "
    "(hollow), with 95% intervals; the prompt-aware loss is the wide line.",
    "memory": "How much of its training prompts a model has learned by heart, over the steps, with "
    "95% intervals; and the share of the rewards' variance that rank explains.",
}


def draw_figures(found: Findings, folder: Path) -> list[tuple[Path, str]]:
    """Draw every figure that the findings have something for; return (PNG file, caption) each."""
    main = [run for run in found.of() if run.seed == found.setting.seed]
    boxed = [run for run in main if run.objective.domain.bounded]
    controls = [run for run in found.runs if run.control and run.objective.domain.bounded]
    drawn = {
        name: trained_figure(found.table, [(run.number, _title(run)) for run in runs])
        for name, runs in (("rewards", boxed), ("controls", controls))
        if runs
    }
    stopped = [run for run in found.of() if run.objective.domain.bounded and found.stops(run)]
    if stopped:
        lines = [(r.number, r.objective.text, r.objective.aware, found.stops(r)) for r in stopped]
        drawn["stopping"] = stopping_figure(found.table, lines)
    if found.setting.study:
        drawn["study"] = study_figure(compared(found), MEASURES)
        if len(memory_course(found)):
            drawn["memory"] = memory_figure(memory_course(found))
    for name, axes in drawn.items():
        save(axes, folder / f"experiment_{name}.pdf")
    return [
        (save(axes, folder / f"experiment_{name}.png"), CAPTIONS[name])
        for name, axes in drawn.items()
    ]


def _title(run: Run) -> str:
    """Return the lines above a run's panels: what is special about it, what it was trained with."""
    utilities = run.objective.utilities.items()
    lines = [formula(f"{kind}: {text}" if kind else text) for kind, text in utilities]
    return "\n".join([*[run.control] * bool(run.control), *lines, *[""] * (len(lines) == 1)])


# -- the page ----------------------------------------------------------------------------

PAGE = Path(__file__).parent / "data" / "page.html"


def page(found: Findings, figures: Sequence[tuple[Path, str]]) -> str:
    """Return the page: sentences, the tables, the figures (file, caption), the setting.

    One HTML file beside its figures, without scripts or outside links.
    """
    template = Environment(autoescape=True).from_string(PAGE.read_text(encoding="utf-8"))
    kept = {"setting": found.setting, "facts": found.facts, "kinds": found.counts}
    return template.render(figures=figures, sentences=told(found), tables=tables(found), **kept)
