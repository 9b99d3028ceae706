"""What is installed: extras and the errors that name them, the wheel, the source distribution."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import collapse_theory
from collapse_theory.lazy import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TOOLS = {"benchmarks", "docs", "test", "dev"}  # extras of those who change the package


def packages_of(extra: str) -> set[str]:
    """Return what an extra lists, as it is imported, without the package's own extras."""
    needs = PROJECT["optional-dependencies"][extra]
    names = {need.partition(">=")[0].partition("==")[0].replace("-", "_") for need in needs}
    return {name for name in names if not name.startswith("collapse_theory")}


def test_extras_are_those_that_errors_name():
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - TOOLS
    seen = set[str]()
    for extra in EXTRAS:
        assert packages_of(extra) - seen == set(EXTRAS[extra])
        seen |= packages_of(extra)
    told = (ROOT / "README.md").read_text("utf-8")
    assert [extra for extra in {*EXTRAS, *TOOLS} if f"`{extra}`" not in told] == []


MISSING = """
import importlib, sys
for package, extra, module, name in (
    ("mpmath", "testing", "testing", "check_utility"),
    ("hypothesis", "testing", "testing", "check_utility"),
    ("torch", "training", "training", "RankingLoss"),
    ("torch", "training", "testing.loss", ""),
    ("torch", "training", "experiment", "run_experiment"),
    ("transformers", "training", "training", "CollapseCallback"),
    ("transformers", "training", "training", "serve"),
    ("datasets", "trl", "training", "RankingTrainer"),
    ("trl", "trl", "training", "RankingTrainer"),
):
    sys.modules[package] = None
    try:
        module = importlib.import_module("collapse_theory." + module)
        if name:
            getattr(module, name)
        else:
            module.check_loss(object(), "log(x + 0.1)")
    except ModuleNotFoundError as fault:
        said = f"the package {package!r}, which is not installed; pip install \\".[{extra}]\\" in"
        assert said in str(fault), (package, name, str(fault))
    else:
        raise AssertionError((package, name))
    del sys.modules[package]
"""


@pytest.mark.slow
def test_what_is_missing_is_named_with_its_extra():
    pytest.importorskip("transformers", reason="the extra collapse-theory[training]")
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the source distribution, and the wheel that is built from it."""
    pytest.importorskip("build", reason="the extra collapse-theory[dev]")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def files_below(*names: str) -> set[str]:
    """Return files of the checkout, by name or below a folder, but for what running makes."""
    places = [ROOT / name for name in names]
    there = [p for place in places for p in ([place] if place.is_file() else place.rglob("*"))]
    paths = {p.relative_to(ROOT) for p in there if p.is_file()}
    made = {"__pycache__", ".ipynb_checkpoints", ".hypothesis", ".pytest_cache", ".benchmarks"}
    return {p.as_posix() for p in paths if not made & set(p.parts)}


@pytest.mark.slow
def test_the_wheel_is_the_package_alone(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_below("collapse_theory")
    assert not [name for name in held if name.endswith((".png", ".pdf", ".svg", ".ipynb"))]
    assert wheel.stat().st_size < 1e6


@pytest.mark.slow
def test_the_source_distribution_holds_what_its_tests_need(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        files = [member.name for member in archive if member.isfile()]
    held = {name.partition("/")[2] for name in files}
    needed = files_below("collapse_theory", "tests", "benchmarks", "README.md", "CONTRIBUTING.md")
    needed |= files_below("LICENSE", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", ".ci/run")
    assert needed <= held
    assert {name for name in held if name.startswith("notebooks/")}
    assert source.stat().st_size < 5e6


def test_the_version_and_the_paper_are_cited() -> None:
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    (version,) = re.findall(r"^version: (.*)$", cited, re.M)
    (day,) = re.findall(r"^date-released: (.*)$", cited, re.M)
    assert PROJECT["version"] == version == collapse_theory.__version__
    assert f"## {version} ({day})" in changes
    assert "10.48550/arXiv.2305.17608" in cited
    before, *groups = changes.partition(f"## {version}")[2].split("\n### ")
    assert groups
    assert "\n- " not in before  # a new line goes under what it lets users do


@pytest.mark.slow
def test_a_users_script_passes_strict_type_checking(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="the extra [dev]")
    pytest.importorskip("trl", reason="the extra [trl]")
    shutil.copy(ROOT / "tests" / "typed" / "user_script.py", tmp_path)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "user_script.py"]
    # In a folder of its own and by the path of modules the package is an installed one.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
