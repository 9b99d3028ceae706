"""What was found, in a table and in sentences; nothing is said that wasn't measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from collapse_theory.experiment.findings import Findings, RunFindings
from collapse_theory.experiment.runs import LAST_LAYER, NEUTRAL, SAME_LENGTHS
from collapse_theory.experiment.stopping import RULES, stops

__all__ = ["COLUMNS", "NOTES", "rows", "sentences", "spread"]

COLUMNS = (
    "trained with",
    "error",
    "W1",
    "s.d.",
    "apart",
    "of",
    "right",
    "held-out error",
    "held-out apart",
)
NOTES = (
    "Error: mean over ranks of |mean reward - exact optimum|. W1: Wasserstein-1 distance of all "
    "rewards to that optimum. s.d.: over prompts, mean over ranks. Apart: mean over ranks of the "
    "difference between the kinds' mean rewards, of what is predicted. Right: share of pairs. All "
    "on training prompts unless held out, for the worse kind of prompt and the worst seed (apart "
    "of a prompt-aware loss: the least)."
)

COLLAPSED = 0.02  # kinds nearer than this end at the same rewards, as far as one can see


def rows(findings: Findings) -> list[tuple[str, ...]]:
    """Return a row for the runs that differ in their seed alone, under `COLUMNS`: the worst."""
    groups: dict[tuple[str, str], list[RunFindings]] = {}
    for one in findings.runs:
        groups.setdefault((str(one.run.objective), one.run.control), []).append(one)
    return [_row(runs) for runs in groups.values()]


def _row(runs: list[RunFindings]) -> tuple[str, ...]:
    run = runs[0].run
    # Prompt-aware losses are to hold the kinds apart, but where nothing tells them from each other.
    least = run.objective.aware and run.control != NEUTRAL
    apart = min if least else max
    name = ";\n".join(str(run.objective).split("; "))
    values = (
        max(one.train.error for one in runs),
        max(one.train.distance for one in runs),
        max(one.train.std for one in runs),
        apart(one.train.between for one in runs),
        runs[0].train.between_predicted,
        min(one.train.right for one in runs),
        max(one.held_out.error for one in runs),
        apart(one.held_out.between for one in runs),
    )
    return (f"{name}\n({run.control})" if run.control else name, *map(_digits, values))


def sentences(findings: Findings) -> list[str]:
    """Return what was found, a sentence or two each."""
    said = [
        *_fit(findings),
        *_collapse(findings),
        *_aware(findings),
        *_early(findings),
        *_length(findings),
        *_controls(findings),
    ]
    return said


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the least and the largest value as text, or the one they are.

    Examples
    --------
    >>> spread([0.0123, 0.2]), spread([0.5, 0.5])
    ('0.012 to 0.200', '0.500')
    """
    texts = [f"{value:.{digits}f}" for value in (min(values), max(values))]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def _digits(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}".removeprefix("0")


def _each(
    runs: Sequence[RunFindings], pick: Callable[[RunFindings], float], digits: int = 3
) -> str:
    return spread([pick(one) for one in runs], digits)


def _fit(findings: Findings) -> list[str]:
    runs = findings.of()
    if any(np.isnan(one.train.error) for one in runs):
        return []
    return [
        f"Over {_count(len(runs), 'run')} the trained rewards differ from the computed optimum by "
        f"{_each(runs, lambda one: one.train.error)} on training prompts and by "
        f"{_each(runs, lambda one: one.held_out.error)} on held-out ones (mean over ranks, the "
        "worse kind)."
    ]


def _collapse(findings: Findings) -> list[str]:
    runs = [one for one in findings.of(aware=False) if not np.isnan(one.train.between)]
    if not runs:
        return []
    apart = [one.train.between for one in runs]
    # Ties can make the optima of two kinds differ a little: that is no lack of collapse.
    over = [one.train.between - one.train.between_predicted for one in runs]
    if max(over) <= COLLAPSED:
        verdict = "reward collapse: the kinds end at the same rewards"
    elif min(over) > COLLAPSED:
        verdict = "no full collapse: the kinds end at different rewards"
    else:
        verdict = "collapse in some runs only"
    return [
        f"With one utility for all prompts, {verdict}, {spread(apart)} apart on training prompts, "
        f"{_each(runs, lambda one: one.held_out.between)} on held-out ones."
    ]


def _aware(findings: Findings) -> list[str]:
    runs = [one for one in findings.of(aware=True) if not np.isnan(one.train.between)]
    if not runs:
        return []
    return [
        f"With a utility for each kind they end {_each(runs, lambda one: one.train.between)} "
        f"apart, of {_each(runs, lambda one: one.train.between_predicted)} predicted, and "
        f"{_each(runs, lambda one: one.held_out.between)} on held-out prompts."
    ]


def _early(findings: Findings) -> list[str]:
    fixed = [one for one in findings.of(aware=False) if not np.isnan(one.train.between)]
    if not fixed or len(fixed[0].course.steps) < 3:
        return []
    # The start is no training: there the kinds differ by chance.
    most = spread([float(one.course.between[1:].max()) for one in fixed])
    held = [float(one.course.held_between[1:].max()) for one in fixed]
    aware = [one.held_out.between for one in findings.of(aware=True)]
    less = bool(aware) and max(held) < min(aware)
    said = [
        f"{'Early stopping does not replace that: with' if less else 'With'} one utility the kinds "
        f"were at most {most} apart on training prompts at any measured step ({spread(held)} on "
        "held-out ones)."
    ]
    for rule in RULES:
        found = [stop for one in fixed for stop in stops(one.course) if stop.rule == rule]
        if not found:
            continue
        some = "" if len(found) == len(fixed) else f" in {len(found)} of {len(fixed)} runs"
        said.append(
            f"Stopping at {rule}: step {spread([stop.step for stop in found], 0)}{some}, kinds "
            f"{spread([stop.between for stop in found])} apart, "
            f"{spread([stop.distance for stop in found])} from the collapsed rewards."
        )
    return said


def _length(findings: Findings) -> list[str]:
    if np.isnan(findings.length_first):
        return []
    said = (
        "The task is easy, and this is why: a completion's length is nearly linear in the mean of "
        f"the first hidden state, which averages position embeddings (held-out R^2 "
        f"{findings.length_first:.2f}; {findings.length_last:.2f} for the last one)."
        if findings.length_first > 0.8 and not findings.setting.data
        else "Held-out R^2 of a completion's length, linear in the mean of the first hidden state: "
        f"{findings.length_first:.2f}; of the last one: {findings.length_last:.2f}."
    )
    alone = findings.of(control=LAST_LAYER)
    if alone:
        said += (
            f" With the last one alone the error is {_each(alone, lambda o: o.train.error)} on "
            f"training prompts and {_each(alone, lambda o: o.held_out.error)} on held-out ones."
        )
    return [said]


def _controls(findings: Findings) -> list[str]:
    said = []
    for one in findings.of(control=SAME_LENGTHS, aware=True):
        said.append(
            "With the same completion lengths for both kinds the prompt-aware loss still holds "
            f"them {one.train.between:.3f} apart, {one.held_out.between:.3f} on held-out prompts."
        )
    for one in findings.of(control=SAME_LENGTHS, aware=False):
        said.append(
            "With the same lengths and one utility they were at most "
            f"{one.course.held_between[1:].max():.3f} apart on held-out prompts at any step: what "
            "early stopping leaves between the kinds is mostly their lengths."
            if len(one.course.steps) > 1 and _mirrors(findings, one)
            else "With the same lengths and one utility they were at most "
            f"{one.course.held_between[1:].max():.3f} apart on held-out prompts at any step."
        )
    for one in findings.of(control=NEUTRAL, aware=True):
        said.append(
            "With prompts that don't tell the kind it can't be read from a new prompt: "
            f"{one.held_out.between:.3f} apart on held-out prompts, while training prompts are "
            f"{one.train.between:.3f} apart by memory."
        )
    return said


def _mirrors(findings: Findings, control: RunFindings) -> bool:
    """Whether the kinds of this objective were apart at most half as far with the same lengths."""
    same = [one for one in findings.of(aware=False) if one.run.objective == control.run.objective]
    free = max(float(one.course.held_between[1:].max()) for one in same)
    return float(control.course.held_between[1:].max()) <= free / 2


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
