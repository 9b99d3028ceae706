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
    from collapse_theory.experiment.objectives import Objective
    from collapse_theory.experiment.progress import Progress
    from collapse_theory.experiment.settings import Setting

__all__ = ["Findings", "Objective", "Progress", "RunFindings", "Setting", "run_experiment"]

_MODULES = {
    "Findings": "findings",
    "Objective": "objectives",
    "Progress": "progress",
    "RunFindings": "findings",
    "Setting": "settings",
    "run_experiment": "experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
