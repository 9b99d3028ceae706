"""The command line: what it prints, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import collapse_theory as ct
from collapse_theory import figures
from collapse_theory.cli import app
from collapse_theory.cli.table import finite_rows, limit_rows

KEYS = [
    "utility",
    "concavity",
    "n",
    "domain",
    "rewards",
    "objective",
    "gap",
    "relative_gap",
    "rewards_error",
    "method",
    "status",
    "unique",
    "limit",
]
COMMANDS = [
    "atoms",
    "check",
    "design",
    "diagnose",
    "experiment",
    "explore",
    "figures",
    "head",
    "predict",
    "table",
]
HOSTILE = [
    "__import__('os').system('touch owned')",
    "open('owned','w')",
    "x.__class__",
    "(lambda: 1)()",
    "[x for x in (1,)]",
    "[bold red]x[/]",
    "\x1b[31mx\nerror: nothing",
    "x" * 5000,
    "(" * 500 + "x" + ")" * 500,
    "9**9**9**9*x",
    "1/0*x",
    "",
    "nan*x",
]


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def refused(result: Result) -> str:
    """Return the message of a command that ended as a refusal should."""
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert lines[0].isprintable()
    return lines[0]


# -- predict -----------------------------------------------------------------------------------


def test_predict_prints_a_table() -> None:
    result = run("predict", "log(x+0.1)", "--n", "8")
    assert result.exit_code == 0, result.stderr
    for part in ("log(x + 0.1)", "0.853", "tied", "newton", "optimal", "0.184 at 0"):
        assert part in result.stdout


def test_predict_folds_many_completions() -> None:
    lines = run("predict", "log(x)", "--n", "50").stdout.splitlines()
    assert len(lines) < 45
    assert any("30 more" in line for line in lines)
    assert any(line.split()[1:2] == ["50"] for line in lines)


def test_predict_json_has_the_promised_keys() -> None:
    result = run("predict", "log(x + 0.1)", "--json")
    found = json.loads(result.stdout)
    assert list(found) == KEYS
    assert list(found["limit"]) == [
        "name",
        "atoms",
        "quantiles",
        "objective",
        "relative_gap",
        "method",
    ]
    assert found["utility"] == "log(x + 0.1)"
    assert found["domain"] == {"type": "Box", "low": 0.0, "high": 1.0}
    assert found["rewards"] == ct.solve("log(x + 0.1)", 8).rewards.tolist()
    assert found["unique"] is True
    # The mass of each atom: docs/theory.md#what-the-papers-experiments-trained.
    np.testing.assert_allclose(
        found["limit"]["atoms"], [[0, 0.1839878103439], [1, 0.1839878103439]]
    )
    levels = [float(level) for level in found["limit"]["quantiles"]]
    np.testing.assert_allclose(levels, np.arange(5, 100, 5) / 100)
    values = list(found["limit"]["quantiles"].values())
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == 1


def test_predict_json_writes_what_is_not_finite_as_null() -> None:
    # -1/x has the energy -inf under every law.
    found = json.loads(run("predict", "-1/x", "--json").stdout)
    assert found["limit"]["objective"] is None
    assert found["limit"]["relative_gap"] is None
    np.testing.assert_allclose(found["limit"]["quantiles"]["0.25"], 0.25)


def test_predict_json_in_a_box() -> None:
    found = json.loads(
        run("predict", "x", "--n", "3", "--low", "-1", "--high", "3", "--json").stdout
    )
    assert found["domain"] == {"type": "Box", "low": -1.0, "high": 3.0}
    assert found["rewards"] == [3.0, 1.0, -1.0]
    assert found["unique"] is False
    assert found["limit"]["atoms"] == [[-1.0, 0.5], [3.0, 0.5]]
    assert found["limit"]["objective"] == 2.0


@pytest.mark.parametrize("method", ["auto", "newton", "conic"])
def test_predict_uses_the_method(method: str) -> None:
    found = json.loads(run("predict", "log(x)", "--method", method, "--json").stdout)
    assert found["method"] == ("newton" if method == "auto" else method)


def test_a_leading_minus_is_no_option() -> None:
    for text in ("-1/(x + 0.1)", "-x**-0.5", "-exp(-3*x)", "-(x + 0.1)**-2", "-exp(-x) + tanh(x)"):
        assert "U(x) = " in run("predict", text, "--low", "-1").stdout, text


@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_predict_draws_a_file(ending: str, tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / f"optimum.{ending}"
    result = run("predict", "log(x)", "--json", "--plot", str(file))
    assert result.exit_code == 0, result.stderr
    json.loads(result.stdout)
    assert file.stat().st_size > 1000
    assert list(file.parent.iterdir()) == [file]


def test_a_figure_refused_leaves_no_folder(tmp_path: Path) -> None:
    refused(run("predict", "x", "--plot", str(tmp_path / "new" / "figure.bmp")))
    (tmp_path / "file").touch()
    assert "file" in refused(run("predict", "x", "--plot", str(tmp_path / "file" / "figure.png")))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_refused_in_one_line(text: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run("predict", text))
    assert not list(tmp_path.iterdir()), "nothing was evaluated"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["x", "--n", "1"], "n = 1"),
        (["x", "--n", "eight"], "--n"),
        (["x", "--method", "magic"], "magic"),
        (["x", "--low", "1", "--high", "0"], "low < high"),
        (["x", "--high", "nan"], "finite"),
        (["x**2"], "concave"),
        (["-x"], ""),
        (["atan(x)", "--method", "conic"], "newton"),
        (["x", "--plot", "figure.bmp"], ".pdf"),
        (["x", "--no-such-option"], "no such option: --no-such-option"),
        (["--no-such-option", "x"], "no such option: --no-such-option; there are --n, "),
        (["x", "--metod", "conic"], "no such option: --metod; did you mean --method?"),
        (["x", "-n", "8"], "no such option: -n; did you mean --n?"),
        ([], "UTILITY"),
    ],
)
def test_predict_refuses(args: list[str], reason: str) -> None:
    assert reason in refused(run("predict", *args))


# -- table -------------------------------------------------------------------------------------


def test_table_checks_every_closed_form() -> None:
    result = run("table", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert {row["form"] for row in found["finite"]} == {form.name for form in ct.exact.FINITE_FORMS}
    assert {row["form"] for row in found["limit"]} == {form.name for form in ct.exact.LIMIT_FORMS}
    for row in found["finite"]:
        errors = [row[name] for name in ("newton", "conic") if row[name] is not None]
        assert errors, "at least one solver checks each form"
        assert row["newton"] is None or row["newton"] < 1e-12
        # The reference is good to 1e-7 well scaled.
        assert row["conic"] is None or row["conic"] < 1e-7


def test_table_is_readable() -> None:
    result = run("table", "--n", "6")
    assert result.exit_code == 0, result.stderr
    for form in (*ct.exact.FINITE_FORMS, *ct.exact.LIMIT_FORMS):
        assert form.name in result.stdout


def test_table_lists_utilities_and_their_laws() -> None:
    shown = run("table", "--laws").stdout
    laws = {
        row["utility"]: row for row in json.loads(run("table", "--laws", "--json").stdout)["laws"]
    }
    assert set(laws) == {text for form in ct.exact.LIMIT_FORMS for text in form.examples}
    assert laws["log(x)"]["law"] == "Beta(1/2, 1/2) on [0, 1]"
    assert laws["-1/x"]["law"] == "uniform on [0, 1]"
    assert laws["x"]["law"] == "atoms: 0.5 at 0, 0.5 at 1"
    for row in laws.values():
        assert row["utility"] in shown
    assert "x**g: Beta((1-g)/2, (1-g)/2)." in shown


def test_table_takes_the_largest_n_that_a_form_holds_for() -> None:
    sizes = {row["form"]: row["n"] for row in finite_rows(9)}
    assert sizes["log"] == 9
    assert sizes["two or three completions"] == 3


def test_every_closed_form_has_an_example_that_it_holds_for() -> None:
    for form in ct.exact.LIMIT_FORMS:
        assert form.examples
        assert all(form(ct.utility(text)) is not None for text in form.examples)
    assert {row["form"] for row in finite_rows(8)} == {form.name for form in ct.exact.FINITE_FORMS}
    for row in limit_rows():
        # Every law of finite energy is checked; -1/x has none.
        distance, method = row["distance"], row["method"]
        assert (distance is None) == (row["utility"] == "-1/x")
        assert distance is None or distance < (1e-4 if method == "grid" else 1e-12)


def test_table_refuses_a_bad_n() -> None:
    refused(run("table", "--n", "1"))


# -- figures -----------------------------------------------------------------------------------


def test_figures_draws_them_all(tmp_path: Path, monkeypatch) -> None:
    # That each figure draws and saves itself is in test_figures: here one stands for them all.
    drawn = []

    def stand_in(entry: figures.FigureEntry) -> figures.FigureEntry:
        @functools.wraps(entry.draw)
        def draw() -> object:
            drawn.append(entry.name)
            return figures.finite_optimum("x", 2)

        return dataclasses.replace(entry, draw=draw)

    entries = tuple(map(stand_in, figures.FIGURES))
    monkeypatch.setattr(figures, "FIGURES", entries)
    out = tmp_path / "new" / "folder"
    result = run("figures", "--out", str(out))
    assert result.exit_code == 0, result.stderr
    expected = [out / f"{e.name}.{f}" for e in figures.FIGURES for f in ("png", "pdf")]
    assert result.stdout.splitlines() == [str(path) for path in expected]
    assert drawn == [entry.name for entry in figures.FIGURES], "each once, for both formats"
    assert sorted(out.iterdir()) == sorted(expected), "no drafts are left behind"
    assert all(path.stat().st_size > 1000 for path in expected)


def test_figures_draws_some(tmp_path: Path) -> None:
    args = ["--only", "limit_laws", "--only", "limit_laws", "--format", "svg"]
    result = run("figures", "--out", str(tmp_path), *args)
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["limit_laws.svg"]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--out", "new", "--only", "no_such_figure"], "no_such_figure"),
        (["--out", "new", "--format", "bmp"], "bmp"),
        (["--out", "file"], "file"),
        (["--out", "file/below"], "file/below"),
        ([], "--out"),
    ],
)
def test_figures_refuses(args: list[str], reason: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    assert reason in refused(run("figures", *args))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- the whole ---------------------------------------------------------------------------------


def test_alone_it_shows_help() -> None:
    result = run()
    assert result.exit_code == 0
    for command in ("predict", "table", "figures"):
        assert command in result.stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str, option: str) -> None:
    result = run(command, option)
    assert result.exit_code == 0
    assert f"collapse-theory {command} " in result.stdout
    # The list of commands has the whole first sentence.
    first = result.stdout.split("\n\n")[1].split(".")[0].split()
    assert " ".join(first) in " ".join(run("-h").stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_mistyped_options_are_told_the_nearest(command: str) -> None:
    assert "did you mean --help?" in refused(run(command, "--hlep"))


def test_version() -> None:
    assert run("--version").stdout == f"collapse-theory {ct.__version__}\n"


def test_unknown_commands_are_refused() -> None:
    assert "no_such" in refused(run("no_such"))


def test_an_own_error_is_no_users_error(monkeypatch) -> None:
    def broken(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(ct, "solve", broken)
    assert isinstance(run("predict", "x").exception, ZeroDivisionError)


def test_as_a_process_it_prints_one_json_object_and_loads_little() -> None:
    code = (
        "import sys; from collapse_theory.cli import app\n"
        "try: app()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    args = [sys.executable, "-W", "error", "-c", code, "predict", "-1/(x + 0.1)", "--json"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == KEYS
    assert not {"matplotlib", "cvxpy", "rich.table"} & set(done.stderr.split())


def test_as_a_process_it_refuses_in_one_line() -> None:
    code = "from collapse_theory.cli import main; main()"
    args = [sys.executable, "-W", "error", "-c", code, "predict", "import os"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_what_other_packages_register_is_known(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import collapse_theory as ct\n"
        "@ct.register\n"
        "class Mine(ct.Utility):\n"
        "    b: float\n"
        "    def value(self, x, xp=None):\n"
        "        return (x + self.b) ** 0.5\n"
    )
    info = tmp_path / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[collapse_theory]\nmine = mine\n")
    found = subprocess.run(
        [sys.executable, "-m", "collapse_theory", "predict", "Mine(0.1)", "--json"],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(ct.__file__).parents[1])])},
        capture_output=True,
        text=True,
        check=True,
    )
    content = json.loads(found.stdout)
    assert content["utility"] == "Mine(0.1)"
    assert content["concavity"] == "proved by composition"
