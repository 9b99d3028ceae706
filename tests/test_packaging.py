"""What is installed: extras and the errors that name them, the wheel, the source distribution."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from collapse_theory.lazy import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TOOLS = {"docs", "test", "dev"}  # extras of those who change the package


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
