"""The experiment: reward collapse on real text, against the exact prediction.

`run_experiment` does what ``collapse-theory experiment`` does, and is told what to do by a
`Setting`. Names come at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collapse_theory.lazy import names_at_use

if TYPE_CHECKING:
    from collapse_theory.experiment.measure import Findings
    from collapse_theory.experiment.report import metrics, tables, told
    from collapse_theory.experiment.run import report_again, run_experiment
    from collapse_theory.experiment.sentences import sentences
    from collapse_theory.experiment.setting import Objective, Run, Setting
    from collapse_theory.experiment.texts import utilities_for
    from collapse_theory.experiment.work import Progress

__all__ = ["Findings", "Objective", "Progress", "Run", "Setting", "metrics", "report_again"]
__all__ += ["run_experiment", "sentences", "tables", "told", "utilities_for"]

names_at_use(
    __name__,
    {
        f"{__name__}.measure": "Findings",
        f"{__name__}.report": "metrics tables told",
        f"{__name__}.sentences": "sentences",
        f"{__name__}.run": "report_again run_experiment",
        f"{__name__}.setting": "Objective Run Setting",
        f"{__name__}.texts": "utilities_for",
        f"{__name__}.work": "Progress",
    },
)
