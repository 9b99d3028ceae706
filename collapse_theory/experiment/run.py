"""The experiment from end to end: texts, features, runs, findings, and the folder they go to."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import polars as pl

from collapse_theory.errors import CollapseError
from collapse_theory.experiment.encode import Table, load_encoder, tables
from collapse_theory.experiment.finetune import fine_tune
from collapse_theory.experiment.measure import Findings, length_r2, measured, rewards_at
from collapse_theory.experiment.report import draw_figures, metrics, page
from collapse_theory.experiment.setting import LAST_LAYER, Run, Setting, runs_of
from collapse_theory.experiment.texts import KINDS, PromptSet, corpus, documented, from_file
from collapse_theory.experiment.train import identity, train
from collapse_theory.experiment.work import Progress, replace_file, spread, write_json

__all__ = ["run_experiment"]

PACKAGES = ("numpy", "scipy", "torch", "transformers")

MARK = "experiment.json"  # says whose results a folder holds
METRICS, REWARDS, SUMMARY, RUNS = "metrics.json", "rewards.parquet", "summary.html", "runs"
REWARDS_AT = (0, 10, 50, 200, 500, 1000)
"""Steps at which all rewards are written, where they were measured, beside the last one."""


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
        The folder to write into: metrics.json, rewards.parquet, summary.html, figures, and the
        trained weights in ``runs``.
    cache : str or path, optional
        Where features are kept; ``out``/features unless given.
    force : bool
        Whether results of another setting in `out` may be replaced.
    progress : Progress, optional
        Is told what is going on.

    Returns
    -------
    Findings

    Raises
    ------
    CollapseError
        A ValueError: `out` holds another setting's results, no encoder, no sensible data.
    OSError
        Where a file can't be read or written.
    """
    told, folder = progress or Progress(), Path(out)
    for objective in setting.objectives:
        objective.loss()  # what can't be trained is refused before anything is computed
    sets, runs = _prompts(setting), runs_of(setting)
    report = sets[""].report
    if report is not None and report.bad:
        told.say(str(report))
    texts = _hash_of(sets)
    _claim(folder, setting, texts, force)
    first = last = float("nan")
    if setting.full:
        encoded = {"": Table.of(sets[""])}
    else:
        features = Path(cache) if cache is not None else folder / "features"
        encoder = load_encoder(setting.encoder)
        encoded = tables(encoder, sets, setting.max_length, features, told)
        first, last = length_r2(encoded[""], sets[""])

    def done(run: Run, told: Progress) -> tuple[pl.DataFrame, pl.DataFrame]:
        prompts, table = sets[_set_of(run)], encoded[_set_of(run)]
        if run.control == LAST_LAYER:
            table = table.last_layer()
        where = folder / RUNS / run.folder
        if setting.full:
            told.begin(f"run {run.number} of {len(runs)}: {run}", setting.steps)
            name = texts + identity(setting, run, table)
            trace = fine_tune(prompts, run, setting, where, name, told)
        else:
            trace = train(table, run, setting, where, told)
        return measured(run, table, trace), rewards_at(run, prompts, table, trace, REWARDS_AT)

    if setting.full:  # by Trainer's own threads, one after another
        frames = [done(run, told) for run in runs]
    else:
        told.begin(f"training {len(runs)} heads", len(runs) * setting.steps)
        frames = spread(done, runs, told)
    findings = Findings(
        setting=setting,
        runs=runs,
        table=pl.concat([table for table, _ in frames]),
        prompts=_counted(sets[""]),
        length_first=first,
        length_last=last,
        cut=encoded[""].cut,
        texts=sum(map(len, sets[""].rankings)),
        versions=(
            ("python", platform.python_version()),
            *((name, version(name)) for name in PACKAGES),
        ),
    )
    _write(folder, findings, pl.concat([rewards for _, rewards in frames]), told)
    return findings


def _set_of(run: Run) -> str:
    return "" if run.control == LAST_LAYER else run.control


def _prompts(setting: Setting) -> dict[str, PromptSet]:
    """Return the prompts by control; "" are those of the runs that are none."""
    if setting.data:
        return {"": from_file(setting)}
    for objective in setting.objectives:
        for kind in KINDS if objective.aware else ():
            if kind not in objective.kinds:
                raise CollapseError(
                    f"{str(objective)!r} has no utility for the kind {kind!r}; the prompts are of "
                    f"the kinds {' and '.join(KINDS)}, or those of your own --data"
                )
    passages = corpus()
    return {
        name: documented(passages, setting, name)
        for name in sorted({*map(_set_of, runs_of(setting))})
    }


def _counted(prompts: PromptSet) -> tuple[tuple[str, int, int], ...]:
    """Return kind, prompts to train on and prompts held out."""
    train, held = (Counter(str(r.kind) for r in part) for part in (prompts.train, prompts.held_out))
    return tuple((kind, train[kind], held[kind]) for kind in sorted(train | held))


def _hash_of(sets: dict[str, PromptSet]) -> str:
    content = [[name, [one.to_dict() for one in of.rankings]] for name, of in sets.items()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# -- the folder --------------------------------------------------------------------------


def _claim(folder: Path, setting: Setting, texts: str, force: bool) -> None:
    """Make the folder this setting's; what is there is kept where it is of the same setting.

    Raises
    ------
    CollapseError
        Where it holds results of another, and `force` doesn't allow to replace them.
    """
    if folder.exists() and not folder.is_dir():
        raise CollapseError(f"{folder} is a file; name a folder with --out")
    reason = _foreign(folder, setting, texts)
    if reason is not None:
        if not force:
            raise CollapseError(
                f"{folder} holds results of another experiment ({reason}); name another "
                "folder with --out, or replace them with --force"
            )
        # By name: other files in the folder are the user's.
        for path in (MARK, METRICS, REWARDS, SUMMARY):
            (folder / path).unlink(missing_ok=True)
        for figure in folder.glob("experiment_*.p*"):
            figure.unlink()
        shutil.rmtree(folder / RUNS, ignore_errors=True)
    write_json(folder / MARK, {"setting": setting.to_dict(), "texts": texts})


def _foreign(folder: Path, setting: Setting, texts: str) -> str | None:
    """Return in what the results that are here differ; None where they don't or none are."""
    there = [n for n in (METRICS, REWARDS, SUMMARY, RUNS) if (folder / n).exists()]
    if not there:
        return None  # a start that came to nothing holds the folder for nobody
    if not (folder / MARK).exists():
        return f"{there[0]} is there without {MARK}"
    try:
        noted = json.loads((folder / MARK).read_text(encoding="utf-8"))
        before = Setting.from_dict(noted["setting"])
        same = noted["texts"] == texts
    except (ValueError, KeyError, TypeError):
        return f"{MARK} can't be read"
    if before != setting:
        return "; ".join(setting.differences(before))
    if not same:
        return "the same setting, but other texts: the data or the installed packages changed"
    return None


def _write(folder: Path, findings: Findings, rewards: pl.DataFrame, told: Progress) -> None:
    """Write all results."""
    told.begin("writing the results", 3)
    names = pl.col("prompt", "kind", "split", "utility", "control")
    frame = rewards.with_columns(names.cast(pl.Categorical))
    replace_file(folder / REWARDS, lambda draft: frame.write_parquet(draft, compression="zstd"))
    told.advance()
    figures = draw_figures(findings, folder)
    told.advance()
    html = page(findings, figures).encode()
    replace_file(folder / SUMMARY, lambda draft: draft.write_bytes(html))
    # Last, so that a folder with metrics.json is complete.
    write_json(folder / METRICS, metrics(findings))
    told.advance()
