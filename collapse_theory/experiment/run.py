"""The experiment from end to end: texts, features, runs, findings, and the folder they go to."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from collapse_theory.errors import CollapseError
from collapse_theory.experiment.encode import Table, load_encoder, tables
from collapse_theory.experiment.measure import Findings, rewards_table
from collapse_theory.experiment.report import metrics, summary
from collapse_theory.experiment.setting import Run, Setting, runs_of
from collapse_theory.experiment.study import compared, memory_course
from collapse_theory.experiment.texts import PromptSet, prompt_sets
from collapse_theory.experiment.train import fine_tune, train
from collapse_theory.experiment.work import Progress, side_by_side
from collapse_theory.figures.experiment import CAPTIONS, experiment_figures
from collapse_theory.figures.saving import save
from collapse_theory.files import plain, replace_file, write_json

PACKAGES = ("numpy", "scipy", "torch", "transformers")
MARK = "experiment.json"  # says whose results a folder holds
METRICS, TABLE, SUMMARY, RUNS = "metrics.json", "runs.parquet", "summary.md", "runs"


def run_experiment(
    setting: Setting,
    out: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Do all runs of a setting and write what they found.

    Interrupted at any point and called again, it reads back what is done: features and finished
    runs; a run of the whole encoder goes on from its last checkpoint. It ends with the same numbers
    as without the interruption (on the same machine, with the same versions).

    Parameters
    ----------
    setting : Setting
    out : str or path
        The folder to write into: runs.parquet (every reward at every measured step), what follows
        from it (metrics.json, summary.md, figures), and the trained weights in ``runs``.
    cache, force : str or path, bool
        Where features are kept (``out``/features unless given); whether results of another setting
        in `out` may be replaced.
    progress : Progress, optional
        Is told what is going on.

    Raises
    ------
    CollapseError
        A ValueError: `out` holds another setting's results, no encoder, no sensible data.
    OSError
        Where a file can't be read or written.
    """
    told, folder, runs = progress or Progress(), Path(out), runs_of(setting)
    for objective in setting.objectives:
        objective.loss()  # what can't be trained is refused before anything is computed
    sets = prompt_sets(setting, {run.control for run in runs})
    main = sets[""]
    if main.report is not None and main.report.bad:
        told.say(str(main.report))
    _claim(folder, setting, sets, force)
    if setting.full:
        encoded = {"": Table(main, np.zeros((*main.ranks.shape, 0), np.float32))}
    else:
        features = Path(cache) if cache is not None else folder / "features"
        encoder = load_encoder(setting.encoder)
        encoded = tables(encoder, sets, setting.max_length, features, told)
        told.begin(f"training {len(runs)} heads", len(runs) * setting.steps)

    def trained(run: Run) -> pl.DataFrame:
        table = encoded.get(run.control, encoded[""])
        if setting.full:
            told.begin(f"run {run.number} of {len(runs)}: {run}", setting.steps)
        to_the_end = fine_tune if setting.full else train
        trace = to_the_end(table, run, setting, folder / RUNS / run.folder, told)
        return rewards_table(run, table.prompts, trace)

    # Whole encoders one after another, each by Trainer's own threads.
    each = map(trained, runs) if setting.full else side_by_side(trained, runs, told)
    rewards = pl.concat(each)
    named = rewards.with_columns(pl.col(pl.String).cast(pl.Categorical))
    replace_file(folder / TABLE, lambda draft: named.write_parquet(draft, compression="zstd"))
    facts = {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "completions": {"all": sum(map(len, main.rankings)), "cut": encoded[""].cut},
    }
    return _reported(folder, Findings(setting, rewards, plain(facts)), told)


def report_again(folder: str | os.PathLike[str], *, progress: Progress | None = None) -> Findings:
    """Make measures, sentences and figures of a folder's runs again, from its runs.parquet.

    A CollapseError says of a folder that no finished experiment is in it.
    """
    place = Path(folder)
    try:
        noted = json.loads((place / METRICS).read_text(encoding="utf-8"))
        setting = Setting.from_dict(noted["setting"])
        facts = {name: noted[name] for name in ("versions", "completions")}
        text = pl.selectors.categorical()
        rewards = pl.read_parquet(place / TABLE).with_columns(text.cast(pl.String))
        found = Findings(setting, rewards, facts)
        if found.table.is_empty():
            raise ValueError("its table has no run")
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as fault:
        raise CollapseError(f"{place} holds no finished experiment: {fault}") from None
    return _reported(place, found, progress or Progress())


# -- the folder --------------------------------------------------------------------------


def _claim(folder: Path, setting: Setting, sets: dict[str, PromptSet], force: bool) -> None:
    """Make the folder this setting's; results of another are refused, or with `force` removed."""
    content = [[name, [one.to_dict() for one in of.rankings]] for name, of in sets.items()]
    texts = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    mine = plain(setting.to_dict()) | {"texts": texts[:12]}
    there = [name for name in (METRICS, TABLE, SUMMARY, RUNS) if (folder / name).exists()]
    try:
        # A start that came to nothing holds the folder for nobody.
        before = json.loads((folder / MARK).read_text(encoding="utf-8")) if there else mine
        other = [f"{n}: {before.get(n)}, now {mine[n]}" for n in mine if before.get(n) != mine[n]]
    except (OSError, ValueError, AttributeError):
        other = [f"its {MARK} can't be read"]
    if other and not force:
        raise CollapseError(
            f"{folder} holds results of another experiment ({'; '.join(other)}); name another "
            "folder with --out, or replace them with --force"
        )
    if other:  # other files in the folder are the user's
        shutil.rmtree(folder / RUNS, ignore_errors=True)
        for path in (*(folder / name for name in there), *folder.glob("experiment_*.p*")):
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, mine)


def _reported(folder: Path, found: Findings, told: Progress) -> Findings:
    """Write what was found: figures, a page and numbers."""
    told.begin("writing the results", 2)
    studied = (compared(found), memory_course(found)) if found.setting.study else ()
    drawn, figures = experiment_figures(found, *studied), []
    for name, axes in drawn.items():
        save(axes, folder / f"experiment_{name}.pdf")
        figures.append((save(axes, folder / f"experiment_{name}.png"), CAPTIONS[name]))
    told.advance()
    text = summary(found, figures).encode()
    replace_file(folder / SUMMARY, lambda draft: draft.write_bytes(text))
    # Last, so that a folder with metrics.json is complete.
    write_json(folder / METRICS, metrics(found))
    told.advance()
    return found
