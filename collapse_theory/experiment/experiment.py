"""The experiment from end to end: texts, features, runs, findings, files."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from collapse_theory.errors import CollapseError
from collapse_theory.experiment.cache import Cache
from collapse_theory.experiment.checkpoint import Checkpoints
from collapse_theory.experiment.completions import KINDS
from collapse_theory.experiment.corpus import corpus
from collapse_theory.experiment.encoder import load_encoder
from collapse_theory.experiment.features import Table, tables
from collapse_theory.experiment.findings import Findings, run_findings
from collapse_theory.experiment.lengths import length_r2
from collapse_theory.experiment.output import Output
from collapse_theory.experiment.progress import Progress
from collapse_theory.experiment.prompts import PromptSet, documented, from_file
from collapse_theory.experiment.runs import LAST_LAYER, Run, runs_of
from collapse_theory.experiment.settings import Setting
from collapse_theory.experiment.train import Trace, train
from collapse_theory.experiment.workers import spread

__all__ = ["run_experiment"]

PACKAGES = ("numpy", "scipy", "torch", "transformers")

Done = tuple[Run, Table, Trace]


def run_experiment(
    setting: Setting,
    out: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Do all runs of a setting and write what they found.

    Interrupted at any point and called again, it goes on where it was and ends with the same bits
    as without the interruption (on the same machine, with the same versions).

    Parameters
    ----------
    setting : Setting
    out : str or path
        The folder to write into: metrics.json, rewards.parquet, summary.html, figures, and the
        checkpoints and weights in ``runs``.
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
    told = progress or Progress()
    for objective in setting.objectives:
        objective.loss()  # what can't be trained is refused before anything is computed
    sets = _prompts(setting)
    report = sets[""].report
    if report is not None and report.bad:
        told.say(str(report))
    output = Output(Path(out), setting, _hash_of(sets), told)
    output.claim(force)
    if setting.full:
        done = _fine_tuned(setting, sets[""], output, told)
        first = last = float("nan")
    else:
        encoder = load_encoder(setting.encoder)
        folder = Path(cache) if cache is not None else output.folder / "features"
        encoded = tables(encoder, sets, setting.max_length, Cache(folder, told.say), told)
        done = _frozen(setting, encoded, output, told)
        first, last = length_r2(encoded[""], sets[""])
    main = done[0][1]
    findings = Findings(
        setting=setting,
        runs=tuple(run_findings(table, run, trace) for run, table, trace in done),
        prompts=counted(sets[""]),
        length_first=first,
        length_last=last,
        cut=main.cut,
        texts=int((main.ranks >= 0).sum()),
        versions=_versions(),
    )
    output.write(findings, [(run, sets_of(sets, run), t, trace) for run, t, trace in done])
    return findings


def _frozen(
    setting: Setting, encoded: dict[str, Table], output: Output, told: Progress
) -> list[Done]:
    """Train a head on frozen features for each run."""
    runs = runs_of(setting)
    told.begin(f"training {len(runs)} heads", len(runs) * setting.steps)

    def done(run: Run, progress: Progress) -> Done:
        table = _table_of(encoded, run)
        folder = output.folder / "runs" / run.folder
        checkpoints = Checkpoints(folder, _identity(setting, run, table), progress.say)
        return run, table, train(table, run, setting, checkpoints, progress)

    return spread(done, runs, told)


def _fine_tuned(setting: Setting, prompts: PromptSet, output: Output, told: Progress) -> list[Done]:
    """Fine-tune the encoder for each run."""
    from collapse_theory.experiment.full import fine_tune, full_table

    done, runs, table = [], runs_of(setting), full_table(prompts)
    for run in runs:
        told.begin(f"run {run.number} of {len(runs)}: {run}", setting.steps)
        folder, identity = output.folder / "runs" / run.folder, _identity(setting, run, table)
        trace = fine_tune(prompts, run, setting, folder, output.texts + identity, told)
        done.append((run, table, trace))
    return done


def sets_of(sets: dict[str, PromptSet], run: Run) -> PromptSet:
    """Return the prompts of a run."""
    return sets["" if run.control == LAST_LAYER else run.control]


def counted(prompts: PromptSet) -> tuple[tuple[str, int, int], ...]:
    """Return kind, prompts to train on and prompts held out."""
    train, held = (Counter(str(r.kind) for r in part) for part in (prompts.train, prompts.held_out))
    return tuple((kind, train[kind], held[kind]) for kind in sorted(train | held))


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
    controls = {run.control for run in runs_of(setting)} - {LAST_LAYER, ""}
    return {name: documented(passages, setting, name) for name in ["", *sorted(controls)]}


def _table_of(encoded: dict[str, Table], run: Run) -> Table:
    if run.control == LAST_LAYER:
        return encoded[""].last_layer()
    return encoded[run.control]


def _hash_of(sets: dict[str, PromptSet]) -> str:
    content = [[name, [one.to_dict() for one in of.rankings]] for name, of in sets.items()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(setting: Setting, run: Run, table: Table) -> str:
    digest = hashlib.sha256(json.dumps([setting.to_dict(), run.to_dict()]).encode())
    digest.update(table.features.tobytes())
    digest.update(table.ranks.tobytes())
    return digest.hexdigest()


def _versions() -> tuple[tuple[str, str], ...]:
    return (
        ("python", platform.python_version()),
        *((name, version(name)) for name in PACKAGES),
    )
