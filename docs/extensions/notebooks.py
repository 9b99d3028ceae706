"""Notebooks and pages with cells: found, run once for each state of the package, rendered.

`notebooks/*.py` (jupytext's percent format) become `docs/notebooks/*.ipynb`, as Sphinx reads what
lies under its own folder. Cells run against this checkout, `!collapse-theory` too.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "notebooks"
BUILD = ROOT / "build" / "docs"


def copy_notebooks() -> None:
    """Bring docs/notebooks up to date; what hasn't changed keeps its time."""
    import jupytext
    import nbformat

    made: dict[str, str] = {}
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        notebook = jupytext.reads(path.read_text("utf-8"), fmt="py:percent")
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        for i, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{i}"  # random otherwise
        made[f"{path.stem}.ipynb"] = nbformat.writes(notebook)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        made.setdefault(path.name, path.read_text("utf-8"))
    PAGES.mkdir(exist_ok=True)
    for old in PAGES.iterdir():
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        page = PAGES / name
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")


@cache
def state_of_the_package() -> str:
    """Return a name for the package's present code: outputs are kept under it."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted((ROOT / "collapse_theory").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def prepare() -> Path:
    """Set up what cells find around them; return the folder where their outputs are kept."""
    copy_notebooks()
    commands = BUILD / "bin"
    commands.mkdir(parents=True, exist_ok=True)
    command = commands / "collapse-theory"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m collapse_theory "$@"\n')
    command.chmod(0o755)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["PATH"] = os.pathsep.join([str(commands), os.environ["PATH"]])
    # As in a file: no colours, the width of a page, no progress bars, matplotlib in the cell.
    os.environ |= {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "88", "TQDM_DISABLE": "1"}
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress"  # tqdm asks for widgets in notebooks
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MPLBACKEND", None)
    return BUILD / "cells" / state_of_the_package()
