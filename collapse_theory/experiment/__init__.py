"""The experiment: reward collapse on real text, against the exact prediction.

`run_experiment` does what ``collapse-theory experiment`` does, and is told what to do by a
`Setting`. Names come at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapse_theory.experiment.measure import Findings
    from collapse_theory.experiment.report import COLUMNS, NOTES, metrics, rows, sentences
    from collapse_theory.experiment.run import report_again, run_experiment
    from collapse_theory.experiment.setting import Objective, Run, Setting
    from collapse_theory.experiment.texts import utilities_for
    from collapse_theory.experiment.work import Progress

__all__ = ["COLUMNS", "NOTES", "Findings", "Objective", "Progress", "Run", "Setting"]
__all__ += ["metrics", "report_again", "rows", "run_experiment", "sentences", "utilities_for"]

_MODULES = {
    "measure": ("Findings",),
    "report": ("COLUMNS", "NOTES", "metrics", "rows", "sentences"),
    "run": ("report_again", "run_experiment"),
    "setting": ("Objective", "Run", "Setting"),
    "texts": ("utilities_for",),
    "work": ("Progress",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
