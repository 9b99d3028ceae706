"""What was found, in a table, in sentences, as JSON, on a page with figures: all from one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from collapse_theory.experiment.measure import (
    AT_STOP,
    BY_RANK,
    HELD_OUT,
    OF_KIND,
    RULES,
    TRAIN,
    Findings,
)
from collapse_theory.experiment.setting import LAST_LAYER, NEUTRAL, SAME_LENGTHS, Run
from collapse_theory.figures.experiment import stopping_figure, trained_figure
from collapse_theory.figures.look import formula
from collapse_theory.figures.saving import save
from collapse_theory.files import plain

# -- the table ---------------------------------------------------------------------------

# Column, measure, prompts, and which of several seeds is shown; None: the least of a prompt-aware
# loss, which is to hold the kinds apart, else the largest.
_TABLE: tuple[tuple[str, str, str, Any], ...] = (
    ("error", "error", TRAIN, max),
    ("W1", "distance", TRAIN, max),
    ("s.d.", "std", TRAIN, max),
    ("apart", "between", TRAIN, None),
    ("of", "between_predicted", TRAIN, max),
    ("right", "right", TRAIN, min),
    ("held-out error", "error", HELD_OUT, max),
    ("held-out apart", "between", HELD_OUT, None),
)
COLUMNS = ("trained with", *(column for column, *_ in _TABLE))
NOTES = (
    "Error: mean over ranks of |mean reward - exact optimum|. W1: Wasserstein-1 distance of all "
    "rewards to that optimum. s.d.: over prompts, mean over ranks. Apart: mean over ranks of the "
    "difference between the kinds' mean rewards, of what is predicted. Right: share of pairs. All "
    "on training prompts unless held out, for the worse kind of prompt and the worst seed (apart "
    "of a prompt-aware loss: the least)."
)


def rows(found: Findings) -> list[tuple[str, ...]]:
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


# -- sentences ---------------------------------------------------------------------------

COLLAPSED = 0.02  # kinds nearer than this end at the same rewards, as far as one can see


def sentences(found: Findings) -> list[str]:
    """Return what was found, a sentence or two each; nothing is said that wasn't measured."""
    several = [run for run in found.of() if not np.isnan(found.ends([run], "between")[0])]
    fixed, aware = ([r for r in several if r.objective.aware == is_so] for is_so in (False, True))
    parts = (_fit(found), _kinds(found, fixed, aware), _early(found, fixed), _length(found))
    return [text for part in (*parts, _controls(found)) for text in part]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the least and the largest value as text, or the one they are.

    >>> spread([0.0123, 0.2]), spread([0.5, 0.5])
    ('0.012 to 0.200', '0.500')
    """
    texts = [f"{value:.{digits}f}" for value in (min(values), max(values))]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def _ends(found: Findings, runs: Sequence[Run], name: str) -> list[str]:
    """Return what runs end at on training and on held-out prompts."""
    return [spread(found.ends(runs, name, split)) for split in (TRAIN, HELD_OUT)]


def _most_apart(found: Findings, runs: Sequence[Run], split: str) -> list[float]:
    # The start is no training: there the kinds differ by chance.
    return [max(found.course(run, split)["between"].to_list()[1:]) for run in runs]


def _fit(found: Findings) -> Iterator[str]:
    runs = found.of()
    if not np.isnan(found.ends(runs, "error")).any():
        train, held = _ends(found, runs, "error")
        yield (
            f"Over {len(runs)} run{'s' * (len(runs) > 1)} the trained rewards differ from the "
            f"computed optimum by {train} on training prompts and by {held} on held-out ones (mean "
            "over ranks, the worse kind)."
        )


def _kinds(found: Findings, fixed: list[Run], aware: list[Run]) -> Iterator[str]:
    if fixed:
        # Ties can make the optima of two kinds differ a little: that is no lack of collapse.
        apart, predicted = (found.ends(fixed, name) for name in ("between", "between_predicted"))
        over = np.subtract(apart, predicted)
        verdict = "collapse in some runs only"
        if max(over) <= COLLAPSED:
            verdict = "reward collapse: the kinds end at the same rewards"
        elif min(over) > COLLAPSED:
            verdict = "no full collapse: the kinds end at different rewards"
        train, held = _ends(found, fixed, "between")
        yield (
            f"With one utility for all prompts, {verdict}, {train} apart on training prompts, "
            f"{held} on held-out ones."
        )
    if aware:
        train, held = _ends(found, aware, "between")
        yield (
            f"With a utility for each kind they end {train} apart, of "
            f"{spread(found.ends(aware, 'between_predicted'))} predicted, and {held} on held-out "
            "prompts."
        )


def _early(found: Findings, runs: list[Run]) -> Iterator[str]:
    if not runs or len(found.course(runs[0])) < 3:
        return
    train, held = (_most_apart(found, runs, split) for split in (TRAIN, HELD_OUT))
    aware = found.ends(found.of(aware=True), "between", HELD_OUT)
    less = bool(aware) and max(held) < min(aware)
    yield (
        f"{'Early stopping does not replace that: with' if less else 'With'} one utility the kinds "
        f"were at most {spread(train)} apart on training prompts at any measured step "
        f"({spread(held)} on held-out ones)."
    )
    stops = [stop for run in runs for stop in found.stops(run)]
    for rule in RULES:
        here = [stop for stop in stops if stop["rule"] == rule]
        some = "" if len(here) == len(runs) else f" in {len(here)} of {len(runs)} runs"
        if here:
            yield (
                f"Stopping at {rule}: step {spread([stop['step'] for stop in here], 0)}{some}, "
                f"kinds {spread([stop['between'] for stop in here])} apart, "
                f"{spread([stop['distance'] for stop in here])} from the collapsed rewards."
            )


def _length(found: Findings) -> Iterator[str]:
    first, last = (found.facts["length_r2"][state] for state in ("first", "last"))
    if first is None:
        return
    said = (
        "Held-out R^2 of a completion's length, linear in the mean of the first hidden state: "
        f"{first:.2f}; of the last one: {last:.2f}."
    )
    if first > 0.8 and not found.setting.data:
        said = (
            "The task is easy, and this is why: a completion's length is nearly linear in the mean "
            "of the first hidden state, which averages position embeddings (held-out R^2 "
            f"{first:.2f}; {last:.2f} for the last one)."
        )
    if alone := found.of(control=LAST_LAYER):
        train, held = _ends(found, alone, "error")
        said += (
            f" With the last one alone the error is {train} on training prompts and {held} on "
            "held-out ones."
        )
    yield said


def _controls(found: Findings) -> Iterator[str]:
    for run in found.of(control=SAME_LENGTHS, aware=True):
        train, held = _ends(found, [run], "between")
        yield (
            "With the same completion lengths for both kinds the prompt-aware loss still holds "
            f"them {train} apart, {held} on held-out prompts."
        )
    for run in found.of(control=SAME_LENGTHS, aware=False):
        free = [one for one in found.of(aware=False) if one.objective == run.objective]
        most = _most_apart(found, [run], HELD_OUT)[0]
        lengths = most <= max(_most_apart(found, free, HELD_OUT)) / 2
        why = ": what early stopping leaves between the kinds is mostly their lengths"
        yield (
            f"With the same lengths and one utility they were at most {most:.3f} apart on held-out "
            f"prompts at any step{why if lengths else ''}."
        )
    for run in found.of(control=NEUTRAL, aware=True):
        train, held = _ends(found, [run], "between")
        yield (
            f"With prompts that don't tell the kind it can't be read from a new prompt: {held} "
            f"apart on held-out prompts, while training prompts are {train} apart by memory."
        )


# -- JSON --------------------------------------------------------------------------------

_COURSE = AT_STOP | {"right": ("right", TRAIN), "loss": ("loss", TRAIN)}
_COURSE |= {"held_loss": ("loss", HELD_OUT)}


def metrics(found: Findings) -> dict[str, Any]:
    """Return all that was found, JSON-ready: the content of metrics.json; NaN is null."""
    told = {"setting": found.setting.to_dict(), **found.facts, "findings": sentences(found)}
    return plain(told | {"runs": [_run(found, run) for run in found.runs]})


def _run(found: Findings, run: Run) -> dict[str, Any]:
    course = {name: found.course(run, split)[of] for name, (of, split) in _COURSE.items()}
    return {
        "utility": str(run.objective),
        "seed": run.seed,
        "control": run.control,
        "folder": f"runs/{run.folder}",
        TRAIN: _side(found, run, TRAIN),
        HELD_OUT: _side(found, run, HELD_OUT),
        "stops": found.stops(run),
        "course": {"steps": found.course(run)["step"].to_list()}
        | {name: values.to_list() for name, values in course.items()},
    }


def _side(found: Findings, run: Run, split: str) -> dict[str, Any]:
    mine = found.table.filter(run=run.number, split=split)
    ends, *kinds = mine.filter(step=mine["step"].max()).to_dicts()
    of_kind = {name: name for name in ("prompts", "distance", "gap", "right")}
    of_kind |= {name: f"{name}_by_rank" for name in BY_RANK}
    return {name: ends[name] for name in (*OF_KIND, "between", "between_predicted")} | {
        "kinds": {one["kind"]: {name: one[of] for name, of in of_kind.items()} for one in kinds}
    }


# -- figures -----------------------------------------------------------------------------


def draw_figures(found: Findings, folder: Path) -> list[tuple[Path, str]]:
    """Draw every figure that the findings have something for; return (PNG file, caption) each."""
    main = [run for run in found.of() if run.seed == found.setting.seed]
    captions = {
        "rewards": "Mean reward by rank of each kind of prompt, with bands of one standard "
        "deviation over prompts, over the exact optimum of what was trained.",
        "controls": "The controls, in the same way.",
        "stopping": "Early stopping: what a run has at each step, and where common rules stop it. "
        "Every seed is a line.",
    }
    drawn = {
        name: trained_figure(found.table, [(run.number, _title(run)) for run in runs])
        for name, runs in (("rewards", main), ("controls", [r for r in found.runs if r.control]))
        if runs
    }
    if len(found.course(main[0])) > 2:
        runs = [(r.number, r.objective.text, r.objective.aware, found.stops(r)) for r in found.of()]
        drawn["stopping"] = stopping_figure(found.table, runs)
    for name, axes in drawn.items():
        save(axes, folder / f"experiment_{name}.pdf")
    return [
        (save(axes, folder / f"experiment_{name}.png"), captions[name])
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
    """Return the page: sentences, the table, the figures (file, caption), the setting.

    One HTML file beside its figures, without scripts or outside links.
    """
    template = Environment(autoescape=True).from_string(PAGE.read_text(encoding="utf-8"))
    told = {"sentences": sentences(found), "columns": COLUMNS, "rows": rows(found), "notes": NOTES}
    return template.render(setting=found.setting, facts=found.facts, figures=figures, **told)
