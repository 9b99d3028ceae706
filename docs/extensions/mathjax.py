"""MathJax from a package, beside the pages, so that formulas are there without a network."""

from __future__ import annotations

import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

SCRIPT = "tex-chtml.js"


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy what pages load: the script and its fonts, 2 of the package's 24 MB."""
    if error is None and app.builder.format == "html":
        for file in files("sphinx-mathjax-offline") or ():
            if file.name == SCRIPT or file.suffix == ".woff":
                inside = file.as_posix().partition("/static/mathjax/")[2]
                place = Path(app.outdir, "_static", "mathjax", inside)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), place)


def setup(app: Sphinx) -> dict[str, Any]:
    """Copy after the build."""
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True}
