"""The experiment's figures: from findings to plain arrays, and to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collapse_theory.experiment.completions import OPEN
from collapse_theory.experiment.findings import Findings, RunFindings, Side
from collapse_theory.experiment.stopping import stops
from collapse_theory.figures.experiment import (
    StoppingCurve,
    TrainedKind,
    TrainedPanel,
    stopping_figure,
    trained_figure,
)
from collapse_theory.figures.saving import save

__all__ = ["draw_figures", "stopping_curve", "trained_panel"]

ENDINGS = ("png", "pdf")


def draw_figures(findings: Findings, folder: Path) -> list[tuple[Path, str]]:
    """Draw every figure that the findings have something for; return (PNG file, caption) each."""
    seed = findings.setting.seed
    main = [one for one in findings.of() if one.run.seed == seed]
    controls = [one for one in findings.runs if one.run.control]
    drawn = [
        (
            "experiment_rewards",
            "Mean reward by rank of each kind of prompt, with bands of one standard deviation over "
            "prompts, over the exact optimum of what was trained.",
            _rewards(main),
        )
    ]
    if controls:
        drawn.append(("experiment_controls", "The controls, in the same way.", _rewards(controls)))
    if len(main[0].course.steps) > 2:
        curves = [stopping_curve(one) for one in findings.of()]
        drawn.append(
            (
                "experiment_stopping",
                "Early stopping: what a run has at each step, and where common rules stop it. "
                "Every seed is a line.",
                stopping_figure(curves),
            )
        )
    files = []
    for name, caption, axes in drawn:
        made = [save(axes, folder / f"{name}.{ending}") for ending in ENDINGS]
        files.append((made[0], caption))
    return files


def _rewards(runs: Sequence[RunFindings]) -> object:
    return trained_figure([(trained_panel(r, r.train), trained_panel(r, r.held_out)) for r in runs])


def trained_panel(one: RunFindings, side: Side) -> TrainedPanel:
    """Return what one panel shows of a run."""
    return TrainedPanel(
        utilities=one.run.objective.utilities,
        note=one.run.control,
        kinds=tuple(
            TrainedKind(str(kind.kind), kind.mean, kind.std, kind.predicted)
            # Open-ended first, as in the paper's figures.
            for kind in sorted(side.measures.kinds, key=lambda kind: kind.kind != OPEN)
        ),
    )


def stopping_curve(one: RunFindings) -> StoppingCurve:
    """Return what the figure of early stopping shows of a run."""
    course = one.course
    return StoppingCurve(
        utility=str(one.run.objective),
        aware=one.run.objective.aware,
        steps=course.steps,
        distance=course.distance,
        between=course.held_between,
        right=course.held_right,
        stops=[stop.step for stop in stops(course)[:-1]],
    )
