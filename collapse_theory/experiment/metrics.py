"""metrics.json: every figure, by name; NaN is null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from collapse_theory.experiment.findings import Findings, RunFindings, Side
from collapse_theory.experiment.stopping import stops
from collapse_theory.experiment.words import sentences
from collapse_theory.training.measures import KindMeasures

__all__ = ["metrics"]


def metrics(findings: Findings) -> dict[str, Any]:
    """Return all that was found, JSON-ready."""
    return _plain(
        {
            "setting": findings.setting.to_dict(),
            "versions": dict(findings.versions),
            "prompts": {k: {"train": t, "held_out": h} for k, t, h in findings.prompts},
            "completions": {"all": findings.texts, "cut": findings.cut},
            "length_r2": {"first": findings.length_first, "last": findings.length_last},
            "findings": sentences(findings),
            "runs": [_run(one) for one in findings.runs],
        }
    )


def _run(one: RunFindings) -> dict[str, Any]:
    course = one.course
    return {
        "utility": str(one.run.objective),
        "seed": one.run.seed,
        "control": one.run.control,
        "folder": f"runs/{one.run.folder}",
        "train": _side(one.train),
        "held_out": _side(one.held_out),
        "stops": [vars(stop) for stop in stops(course)],
        "course": {name: getattr(course, name) for name in vars(course)},
    }


def _side(side: Side) -> dict[str, Any]:
    names = ("error", "distance", "std", "std_largest", "gap", "right")
    worst = {name: getattr(side, name) for name in names}
    between = {"between": side.between, "between_predicted": side.between_predicted}
    return worst | between | {"kinds": {str(k.kind): _kind(k) for k in side.measures.kinds}}


def _kind(one: KindMeasures) -> dict[str, Any]:
    names = ("prompts", "distance", "gap", "right", "mean", "std", "predicted")
    return {name: getattr(one, name) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
