"""The pages of the site: blocks of code run, every public name has its place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import collapse_theory as ct

DOCS = Path(__file__).parents[1] / "docs"
# Their blocks are run by other tests, with what they need or line by line.
ELSEWHERE = {"capacity.md", "downstream.md", "testing.md", "training.md"}
FENCES = {
    page: re.findall(r"^```python([^\n]*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    for page in sorted(DOCS.glob("**/*.md"))
}
BLOCKS = {
    page: [text for rest, text in found if "notest" not in rest]
    for page, found in FENCES.items()
    if page.name not in ELSEWHERE
}


@pytest.mark.parametrize("page", [p for p, found in BLOCKS.items() if found], ids=lambda p: p.name)
def test_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if any("training" in text for text in BLOCKS[page]):
        pytest.importorskip("torch")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for text in BLOCKS[page]:
        exec(compile(text, page.name, "exec"), names)


def test_pages_with_cells_have_no_block_that_does_not_run() -> None:
    """The build of the site runs their cells; a plain block beside them would go untested."""
    cells = [page for page in FENCES if "```{code-cell}" in page.read_text("utf-8")]
    assert cells
    assert not [page.name for page in cells if FENCES[page]]


NEEDS = {
    "torch": "training",
    "transformers": "training",
    "collapse_theory.training": "training",
    "hypothesis": "testing",
    "collapse_theory.testing": "testing",
    "dask": "dask",
    "distributed": "dask",
    "datasets": "trl",
    "ray": "ray",  # shown, and no extra of ours
}
INSTALLED = {"collapse_theory", "matplotlib", "numpy", "polars", "scipy"} | sys.stdlib_module_names


@pytest.mark.parametrize(
    "page",
    [*FENCES, *sorted(DOCS.parent.glob("notebooks/*.py"))],
    ids=lambda page: "/".join(page.parts[-2:]),
)
def test_pages_say_what_to_install_before_they_need_it(page: Path) -> None:
    text = page.read_text("utf-8")
    for found in re.finditer(
        r"^(?:import ([\w.]+)(?: as \w+)?$|from ([\w.]+) import )", text, re.M
    ):
        name = found[1] or found[2]
        extra = NEEDS.get(name) or NEEDS.get(name.partition(".")[0])
        if extra is None:
            assert name.partition(".")[0] in INSTALLED, found[0]
        else:
            asked = re.findall(r"pip install [\".\[]*([\w,-]+)", text[: found.start()])
            assert extra in ",".join(asked).split(","), (found[0], extra)


def test_every_public_name_has_its_place() -> None:
    """Names are shown by the room that they are defined in: each room is on one page."""
    text = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = [room for rooms in re.findall(r"^:rooms: (.*)$", text, re.M) for room in rooms.split()]
    assert len(shown) == len(set(shown))
    rooms = {
        ct.__dict__.get(name, getattr(ct, name)).__module__.split(".")[1]
        for name in ct.__all__
        if not name.startswith("__") and name != "figures"
    }
    assert rooms == set(shown)
