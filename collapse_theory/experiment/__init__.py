"""The experiment: reward collapse on real text, against the exact prediction.

`run_experiment` does what ``collapse-theory experiment`` does, and is told what to do by a
`Setting`. Names come at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapse_theory.experiment.experiment import run_experiment
    from collapse_theory.experiment.findings import Findings, RunFindings
    from collapse_theory.experiment.metrics import metrics
    from collapse_theory.experiment.objectives import Objective
    from collapse_theory.experiment.progress import Progress
    from collapse_theory.experiment.prompts import utilities_for
    from collapse_theory.experiment.settings import Setting
    from collapse_theory.experiment.words import COLUMNS, NOTES, rows, sentences

__all__ = ["Findings", "Objective", "Progress", "RunFindings", "Setting", "run_experiment"]
__all__ += ["COLUMNS", "NOTES", "metrics", "rows", "sentences", "utilities_for"]

_MODULES = {
    "Findings": "findings",
    "Objective": "objectives",
    "Progress": "progress",
    "RunFindings": "findings",
    "Setting": "settings",
    "run_experiment": "experiment",
    "COLUMNS": "words",
    "NOTES": "words",
    "metrics": "metrics",
    "rows": "words",
    "sentences": "words",
    "utilities_for": "prompts",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
