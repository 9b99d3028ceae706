"""What was found, in a table, in sentences, as JSON, on a page with figures: all from one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from collapse_theory.experiment.measure import AT_STOP, BY_RANK, HELD_OUT, RULES, TRAIN, Findings
from collapse_theory.experiment.setting import LAST_LAYER, NEUTRAL, SAME_LENGTHS, Run
from collapse_theory.experiment.texts import OPEN
from collapse_theory.figures.experiment import (
    StoppingCurve,
    TrainedKind,
    TrainedPanel,
    stopping_figure,
    trained_figure,
)
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

    def name(run: Run) -> tuple[str, str]:
        return str(run.objective), run.control

    made = []
    for (text, control), group in groupby(found.runs, name):
        runs = list(group)
        # Where nothing tells the kinds from each other, no loss can hold them apart.
        apart = min if runs[0].objective.aware and control != NEUTRAL else max
        values = [(worst or apart)(found.ends(runs, *what)) for _, *what, worst in _TABLE]
        first = text.replace("; ", ";\n") + (f"\n({control})" if control else "")
        made.append(
            (first, *("-" if np.isnan(v) else f"{v:.3f}".removeprefix("0") for v in values))
        )
    return made


# -- sentences ---------------------------------------------------------------------------

COLLAPSED = 0.02  # kinds nearer than this end at the same rewards, as far as one can see


def sentences(found: Findings) -> list[str]:
    """Return what was found, a sentence or two each; nothing is said that wasn't measured."""
    parts = (_fit, _collapse, _aware, _early, _length, _controls)
    return [text for part in parts for text in part(found)]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the least and the largest value as text, or the one they are.

    Examples
    --------
    >>> spread([0.0123, 0.2]), spread([0.5, 0.5])
    ('0.012 to 0.200', '0.500')
    """
    texts = [f"{value:.{digits}f}" for value in (min(values), max(values))]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def _ends(found: Findings, runs: Sequence[Run], name: str) -> tuple[str, str]:
    """Return what runs end at on training and on held-out prompts."""
    train, held = (spread(found.ends(runs, name, split)) for split in (TRAIN, HELD_OUT))
    return train, held


def _of_several_kinds(found: Findings, aware: bool) -> list[Run]:
    runs = found.of(aware=aware)
    return [run for run in runs if not np.isnan(found.ends([run], "between")[0])]


def _fit(found: Findings) -> Iterator[str]:
    runs = found.of()
    if not np.isnan(found.ends(runs, "error")).any():
        train, held = _ends(found, runs, "error")
        yield (
            f"Over {len(runs)} run{'s' * (len(runs) > 1)} the trained rewards differ from the "
            f"computed optimum by {train} on training prompts and by {held} on held-out ones (mean "
            "over ranks, the worse kind)."
        )


def _collapse(found: Findings) -> Iterator[str]:
    runs = _of_several_kinds(found, aware=False)
    if runs:
        # Ties can make the optima of two kinds differ a little: that is no lack of collapse.
        apart, predicted = (found.ends(runs, name) for name in ("between", "between_predicted"))
        over = np.subtract(apart, predicted)
        verdict = "collapse in some runs only"
        if max(over) <= COLLAPSED:
            verdict = "reward collapse: the kinds end at the same rewards"
        elif min(over) > COLLAPSED:
            verdict = "no full collapse: the kinds end at different rewards"
        train, held = _ends(found, runs, "between")
        yield (
            f"With one utility for all prompts, {verdict}, {train} apart on training prompts, "
            f"{held} on held-out ones."
        )


def _aware(found: Findings) -> Iterator[str]:
    runs = _of_several_kinds(found, aware=True)
    if runs:
        train, held = _ends(found, runs, "between")
        yield (
            f"With a utility for each kind they end {train} apart, of "
            f"{spread(found.ends(runs, 'between_predicted'))} predicted, and {held} on held-out "
            "prompts."
        )


def _most_apart(found: Findings, runs: Sequence[Run], split: str) -> list[float]:
    # The start is no training: there the kinds differ by chance.
    return [float(found.series(run, "between", split)[1:].max()) for run in runs]


def _early(found: Findings) -> Iterator[str]:
    fixed = _of_several_kinds(found, aware=False)
    if not fixed or len(found.steps(fixed[0])) < 3:
        return
    held = _most_apart(found, fixed, HELD_OUT)
    aware = found.ends(found.of(aware=True), "between", HELD_OUT)
    less = bool(aware) and max(held) < min(aware)
    yield (
        f"{'Early stopping does not replace that: with' if less else 'With'} one utility the kinds "
        f"were at most {spread(_most_apart(found, fixed, TRAIN))} apart on training prompts at any "
        f"measured step ({spread(held)} on held-out ones)."
    )
    stops = [stop for run in fixed for stop in found.stops(run)]
    for rule in RULES:
        here = [stop for stop in stops if stop["rule"] == rule]
        if here:
            some = "" if len(here) == len(fixed) else f" in {len(here)} of {len(fixed)} runs"
            yield (
                f"Stopping at {rule}: step {spread([stop['step'] for stop in here], 0)}{some}, "
                f"kinds {spread([stop['between'] for stop in here])} apart, "
                f"{spread([stop['distance'] for stop in here])} from the collapsed rewards."
            )


def _length(found: Findings) -> Iterator[str]:
    if np.isnan(found.length_first):
        return
    said = (
        "The task is easy, and this is why: a completion's length is nearly linear in the mean of "
        f"the first hidden state, which averages position embeddings (held-out R^2 "
        f"{found.length_first:.2f}; {found.length_last:.2f} for the last one)."
        if found.length_first > 0.8 and not found.setting.data
        else "Held-out R^2 of a completion's length, linear in the mean of the first hidden state: "
        f"{found.length_first:.2f}; of the last one: {found.length_last:.2f}."
    )
    alone = found.of(control=LAST_LAYER)
    if alone:
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

_OF_SIDE = ("error", "distance", "std", "std_largest", "gap", "right", "between")
_OF_SIDE += ("between_predicted",)
_OF_COURSE = {"right": ("right", TRAIN), "loss": ("loss", TRAIN), "held_loss": ("loss", HELD_OUT)}


def metrics(found: Findings) -> dict[str, Any]:
    """Return all that was found, JSON-ready: the content of metrics.json; NaN is null."""
    return plain(
        {
            "setting": found.setting.to_dict(),
            "versions": dict(found.versions),
            "prompts": {k: {"train": t, "held_out": h} for k, t, h in found.prompts},
            "completions": {"all": found.texts, "cut": found.cut},
            "length_r2": {"first": found.length_first, "last": found.length_last},
            "findings": sentences(found),
            "runs": [_run(found, run) for run in found.runs],
        }
    )


def _run(found: Findings, run: Run) -> dict[str, Any]:
    course = {name: found.series(run, *of) for name, of in (AT_STOP | _OF_COURSE).items()}
    return {
        "utility": str(run.objective),
        "seed": run.seed,
        "control": run.control,
        "folder": f"runs/{run.folder}",
        TRAIN: _side(found, run, TRAIN),
        HELD_OUT: _side(found, run, HELD_OUT),
        "stops": found.stops(run),
        "course": {"steps": found.steps(run).astype(float), **course},
    }


def _side(found: Findings, run: Run, split: str) -> dict[str, Any]:
    kinds = {
        kind: {
            "prompts": int(found.series(run, "prompts", split, kind)[-1]),
            **{m: found.series(run, m, split, kind)[-1] for m in ("distance", "gap", "right")},
            **{m: found.series(run, f"{m}_by_rank", split, kind) for m in BY_RANK},
        }
        for kind in found.kinds(run, split)
    }
    return {name: found.ends([run], name, split)[0] for name in _OF_SIDE} | {"kinds": kinds}


# -- figures -----------------------------------------------------------------------------


def draw_figures(found: Findings, folder: Path) -> list[tuple[Path, str]]:
    """Draw every figure that the findings have something for; return (PNG file, caption) each."""
    main = [run for run in found.of() if run.seed == found.setting.seed]
    drawn = {
        "rewards": (
            "Mean reward by rank of each kind of prompt, with bands of one standard deviation over "
            "prompts, over the exact optimum of what was trained.",
            _rewards(found, main),
        )
    }
    controls = [run for run in found.runs if run.control]
    if controls:
        drawn["controls"] = "The controls, in the same way.", _rewards(found, controls)
    if len(found.steps(main[0])) > 2:
        drawn["stopping"] = (
            "Early stopping: what a run has at each step, and where common rules stop it. "
            "Every seed is a line.",
            stopping_figure([_stopping_curve(found, run) for run in found.of()]),
        )
    return [
        ([save(axes, folder / f"experiment_{name}.{end}") for end in ("pdf", "png")][-1], caption)
        for name, (caption, axes) in drawn.items()
    ]


def _rewards(found: Findings, runs: Sequence[Run]) -> Any:
    def panel(run: Run, split: str) -> TrainedPanel:
        # Open-ended first, as in the paper's figures.
        kinds = sorted(found.kinds(run, split), key=lambda kind: kind != OPEN)
        each = [[found.series(run, f"{m}_by_rank", split, k) for m in BY_RANK] for k in kinds]
        shown = tuple(TrainedKind(kind, *of) for kind, of in zip(kinds, each, strict=True))
        return TrainedPanel(run.objective.utilities, run.control, shown)

    return trained_figure([(panel(run, TRAIN), panel(run, HELD_OUT)) for run in runs])


def _stopping_curve(found: Findings, run: Run) -> StoppingCurve:
    return StoppingCurve(
        utility=str(run.objective),
        aware=run.objective.aware,
        steps=found.steps(run),
        distance=found.series(run, "distance"),
        between=found.series(run, "between", HELD_OUT),
        right=found.series(run, "right", HELD_OUT),
        stops=np.array([stop["step"] for stop in found.stops(run)[:-1]]),
    )


# -- the page ----------------------------------------------------------------------------

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reward collapse on real text</title>
<style>
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 Georgia, serif; }}
table {{ border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; }}
th, td {{ padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #ccc; }}
th:first-child, td:first-child {{ text-align: left; }}
figure {{ margin: 2rem 0; }} img {{ width: 100%; }} .note {{ color: #555; font-size: 0.85rem; }}
</style></head><body>
<h1>Reward collapse on real text</h1>
<p>{what}</p>
<ul>
{sentences}
</ul>
<table><thead>{head}</thead><tbody>
{rows}
</tbody></table>
<p class="note">{notes}</p>
{figures}
<p class="note">{made}</p>
</body></html>
"""


def page(found: Findings, figures: Sequence[tuple[Path, str]]) -> str:
    """Return the page: sentences, the table, the figures (file, caption), the setting.

    One HTML file beside its figures, without scripts or outside links.
    """
    setting = found.setting
    kinds = ", ".join(f"{t} {kind} to train on and {h} held out" for kind, t, h in found.prompts)
    trained = "a small head is trained on the features of a frozen encoder"
    if setting.full:
        trained = "all weights of the encoder are trained"
    return PAGE.format(
        what=escape(
            f"Prompts from {setting.data or 'the documentation of Python, NumPy and SciPy'}: "
            f"{kinds}; {trained}, {setting.steps} steps of {setting.batch} prompts."
        ),
        sentences="\n".join(f"<li>{escape(text)}</li>" for text in sentences(found)),
        head=_cells("th", COLUMNS),
        rows="\n".join(_cells("td", row) for row in rows(found)),
        notes=escape(NOTES),
        figures="\n".join(
            f'<figure><img src="{escape(file.name)}" alt="{escape(caption)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for file, caption in figures
        ),
        made=escape(
            f"Made with {', '.join(f'{name} {number}' for name, number in found.versions)}. "
            f"{found.cut} of {found.texts} completions were cut at {setting.max_length} tokens."
        ),
    )


def _cells(tag: str, texts: Sequence[str]) -> str:
    cells = (f"<{tag}>{escape(text)}</{tag}>".replace("\n", "<br>") for text in texts)
    return f"<tr>{''.join(cells)}</tr>"
