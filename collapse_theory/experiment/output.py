"""The folder that the experiment writes into: whose it is, and what goes there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from collapse_theory.errors import CollapseError
from collapse_theory.experiment.drawing import draw_figures
from collapse_theory.experiment.features import Table
from collapse_theory.experiment.files import write_json, write_text
from collapse_theory.experiment.findings import Findings
from collapse_theory.experiment.metrics import metrics
from collapse_theory.experiment.page import page
from collapse_theory.experiment.progress import Progress
from collapse_theory.experiment.prompts import PromptSet
from collapse_theory.experiment.rewards import write_rewards
from collapse_theory.experiment.runs import Run
from collapse_theory.experiment.settings import Setting
from collapse_theory.experiment.train import Trace

__all__ = ["Output"]

MARK = "experiment.json"  # says whose results these are
METRICS, REWARDS, SUMMARY, RUNS = "metrics.json", "rewards.parquet", "summary.html", "runs"


class Output:
    """A folder of one setting's results.

    Parameters
    ----------
    folder : Path
    setting : Setting
    texts : str
        A hash of all prompts and completions.
    progress : Progress
    """

    def __init__(self, folder: Path, setting: Setting, texts: str, progress: Progress) -> None:
        self.folder, self.setting, self.texts, self.progress = folder, setting, texts, progress

    def claim(self, force: bool = False) -> None:
        """Make the folder this setting's; what is there is kept where it is of the same setting.

        Raises
        ------
        CollapseError
            Where it holds results of another, and `force` doesn't allow to replace them.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise CollapseError(f"{self.folder} is a file; name a folder with --out")
        reason = self._foreign()
        if reason is not None:
            if not force:
                raise CollapseError(
                    f"{self.folder} holds results of another experiment ({reason}); name another "
                    "folder with --out, or replace them with --force"
                )
            self._clear()
        write_json(self.folder / MARK, {"setting": self.setting.to_dict(), "texts": self.texts})

    def _foreign(self) -> str | None:
        """Return in what the results that are here differ; None where they don't or none are."""
        mark = self.folder / MARK
        there = [n for n in (METRICS, REWARDS, SUMMARY, RUNS) if (self.folder / n).exists()]
        if not there:
            return None  # a start that came to nothing holds the folder for nobody
        if not mark.exists():
            return f"{there[0]} is there without {MARK}"
        try:
            told = json.loads(mark.read_text(encoding="utf-8"))
            setting, texts = Setting.from_dict(told["setting"]), told["texts"]
        except (ValueError, KeyError, TypeError):
            return f"{MARK} can't be read"
        if setting != self.setting:
            return "; ".join(self.setting.differences(setting))
        if texts != self.texts:
            return "the same setting, but other texts: the data or the installed packages changed"
        return None

    def _clear(self) -> None:
        # By name: other files in the folder are the user's.
        for name in (MARK, METRICS, REWARDS, SUMMARY):
            (self.folder / name).unlink(missing_ok=True)
        for figure in self.folder.glob("experiment_*.p*"):
            figure.unlink()
        if (self.folder / RUNS).is_dir():
            shutil.rmtree(self.folder / RUNS)

    def write(
        self, findings: Findings, runs: Sequence[tuple[Run, PromptSet, Table, Trace]]
    ) -> None:
        """Write all results; the same findings make the same bytes."""
        self.progress.begin("writing the results", 4)
        write_rewards(self.folder / REWARDS, runs)
        self.progress.advance()
        figures = draw_figures(findings, self.folder)
        self.progress.advance()
        write_text(self.folder / SUMMARY, page(findings, figures))
        self.progress.advance()
        # Last, so that a folder with metrics.json is complete.
        write_json(self.folder / METRICS, metrics(findings))
        self.progress.advance()
