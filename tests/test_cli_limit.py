"""The command line on limit laws: `predict --limit` and `atoms`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import collapse_theory as ct
from collapse_theory.cli import app
from collapse_theory.cli.atoms import PARAMETERS
from collapse_theory.limit import FAMILIES, METHODS

# The same keys whether n completions are asked for or the limit.
KEYS = list(json.loads(CliRunner().invoke(app, ["predict", "x", "--json"]).stdout))


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def content(*args: str) -> dict:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(result: Result) -> str:
    """Return the message of a command that ended as a refusal should."""
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


# -- predict --limit ---------------------------------------------------------------------------


def test_limit_prints_quantiles_atoms_and_the_certificate() -> None:
    result = run("predict", "log(x+0.1)", "--limit")
    assert result.exit_code == 0, result.stderr
    for part in ("log(x + 0.1)", "0.184 at 0", "an atom", "0.500000", "50%", "regular", "optimal"):
        assert part in result.stdout
    assert "rank" not in result.stdout


def test_predict_without_limit_shows_the_law_too() -> None:
    shown = run("predict", "log(x+0.1)").stdout
    for part in ("rank", "limit law", "0.184 at 0", "quantiles", "relative gap"):
        assert part in shown


def test_limit_json() -> None:
    found = content("predict", "log(x + 0.1)", "--limit")
    assert list(found) == KEYS
    assert found["utility"] == "log(x + 0.1)"
    assert found["n"] is found["rewards"] is found["unique"] is None
    assert found["status"] == "optimal"
    assert 0 <= found["relative_gap"] <= 1e-12
    assert found["relative_gap"] == found["limit"]["relative_gap"]
    # The mass of each atom: docs/theory.md#what-the-papers-experiments-trained.
    np.testing.assert_allclose(
        found["limit"]["atoms"], [[0, 0.1839878103439], [1, 0.1839878103439]]
    )


def test_limit_is_the_same_law_as_without() -> None:
    both = [content("predict", "log(x)", *args)["limit"] for args in (["--limit"], ["--n", "4"])]
    assert both[0] == both[1]
    # The arcsine law: sin(pi q/2)**2.
    assert both[0]["quantiles"]["0.25"] == pytest.approx(np.sin(np.pi / 8) ** 2, abs=1e-12)


def test_limit_in_a_box() -> None:
    found = content("predict", "1 - exp(-0.5*x)", "--limit", "--low", "-1", "--high", "3")
    assert found["domain"] == {"type": "Box", "low": -1.0, "high": 3.0}
    # docs/theory.md#laws-in-the-box-0-1: 1 - exp(-bx) with b = 4 * 0.5 on the unit
    # box has the mass 1/(2 + b).
    np.testing.assert_allclose(found["limit"]["atoms"], [[-1, 0.25], [3, 0.25]])


def test_limit_of_an_infinite_energy_says_so() -> None:
    found = content("predict", "-1/x", "--limit")
    assert found["objective"] is found["gap"] is found["relative_gap"] is None
    assert "-inf" in found["status"]
    assert "-inf" in " ".join(run("predict", "-1/x", "--limit").stdout.split())


@pytest.mark.parametrize("method", METHODS)
def test_limit_uses_the_method(method: str) -> None:
    text = {"exact": "log(x)", "singular": "log(x) + x"}.get(method, "log(x + 0.1)")
    assert content("predict", text, "--limit", "--method", method)["method"] == method


def test_limit_draws_the_law(tmp_path: Path) -> None:
    file = tmp_path / "law.svg"
    assert run("predict", "-x**-0.5", "--limit", "--plot", str(file)).exit_code == 0
    assert file.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["x", "--limit", "--n", "8"], "--n"),
        (["x", "--limit", "--method", "newton"], "'regular'"),
        (["log(x)", "--limit", "--method", "regular"], "finite slope"),
        (["log(x + 0.1)", "--limit", "--method", "exact"], "closed form"),
        (["x**2", "--limit"], "concave"),
        (["x", "--limit", "--low", "2"], "low < high"),
        (["x", "--limit", "--plot", "law.bmp"], ".pdf"),
        (["import os", "--limit"], ""),
    ],
)
def test_limit_refuses(args: list[str], reason: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert reason in refused(run("predict", *args))
    assert not list(tmp_path.iterdir())


# -- atoms -------------------------------------------------------------------------------------

ATOM_KEYS = ["utility", "family", "parameter", "mass", "domain", "relative_gap", "status"]


@pytest.mark.parametrize(
    ("text", "mass"),
    [
        # docs/theory.md#what-the-papers-experiments-trained, and closed forms.
        ("log(x + 0.1)", 0.1839878103439),
        ("-1/(x + 0.1)", 0.0894288525506),
        ("logsigmoid(4*x)", 0.2040171582345),
        ("1 - exp(-3*x)", 0.2),
        ("x", 0.5),
        ("log(x)", 0.0),
        ("-1/x", 0.0),
    ],
)
def test_atoms_of_a_utility(text: str, mass: float) -> None:
    found = content("atoms", text)
    assert list(found) == ATOM_KEYS
    assert found["mass"] == pytest.approx(mass, abs=1e-12)
    assert found["family"] is found["parameter"] is None
    assert f"= {mass:.8g}"[:8] in run("atoms", text).stdout


@pytest.mark.parametrize(
    ("family", "parameter", "mass"),
    [
        ("logsigmoid", 4.0, 0.2040171582345),
        ("log", 0.1, 0.1839878103439),
        ("reciprocal", 0.1, 0.0894288525506),
    ],
)
def test_atoms_of_a_wanted_mass(family: str, parameter: float, mass: float) -> None:
    found = content("atoms", family, "--mass", str(mass))
    assert list(found) == ATOM_KEYS
    assert found["family"] == family
    assert found["parameter"] == pytest.approx(parameter, rel=1e-11)
    assert found["mass"] == pytest.approx(mass, abs=1e-12)
    assert found["status"] == "optimal"
    # The utility's text can be used as it is.
    assert ct.atom_mass(found["utility"]) == pytest.approx(mass, abs=1e-12)
    assert f"{PARAMETERS[family]} = " in run("atoms", family, "--mass", str(mass)).stdout


def test_every_family_s_parameter_has_a_name() -> None:
    assert set(PARAMETERS) == set(FAMILIES)


def test_atoms_in_a_box() -> None:
    # log sigma(beta x) on a box four wide is log sigma(4 beta x) on the unit box.
    wide = content("atoms", "logsigmoid", "--mass", "0.2040171582345", "--high", "4")
    assert wide["parameter"] == pytest.approx(1, rel=1e-11)
    assert wide["domain"] == {"type": "Box", "low": 0.0, "high": 4.0}


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["logsigmoid"], "--mass"),
        (["logsigmoid", "--mass", "0.6"], "between 0 and 1/2"),
        (["logsigmoid", "--mass", "nan"], "between 0 and 1/2"),
        (["logsigmoid", "--mass", "-0.1"], "between 0 and 1/2"),
        (["logsigmoid", "--mass", "many"], "--mass"),
        (["log(x)", "--mass", "0.1"], "known families"),
        (["no_such_family", "--mass", "0.1"], "'reciprocal'"),
        (["x**2"], "concave"),
        (["import os"], ""),
        (["x", "--high", "-1"], "low < high"),
        (["x", "--no-such-option"], "--no-such-option"),
        ([], "FAMILY"),
    ],
)
def test_atoms_refuses(args: list[str], reason: str) -> None:
    assert reason in refused(run("atoms", *args))


@pytest.mark.parametrize("command", ["predict", "atoms"])
def test_help_says_what_json_holds(command: str) -> None:
    shown = " ".join(run(command, "--help").stdout.split())
    assert "null" in shown
    assert f"collapse-theory {command} " in shown
    assert command in run().stdout
