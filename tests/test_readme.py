"""Every code block of README runs, and prints the numbers that stand beside it."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collapse_theory import figures

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")

# These make environments and run all tests; CI does both to the letter.
INSTALL = (
    "pip install . && collapse-theory figures --out figures",
    'pip install -e ".[dev]" && pytest',
)


def test_python_blocks_print_what_stands_beside_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the extra [training]")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = [
        number
        for language, text in BLOCKS
        if language == "python"
        for printed, comment in run(text, names)
        for number in compared(printed, comment)
    ]
    assert len(shown) >= 40


def run(text: str, names: dict[str, object]) -> list[tuple[str, str]]:
    """Run a block, and return what each line prints with the comment beside it."""
    lines, found = text.splitlines(), []
    for statement in ast.parse(text).body:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(ast.Module([statement], []), "README.md", "exec"), names)
        if out.getvalue():
            comment = lines[(statement.end_lineno or 1) - 1].rpartition("  # ")[2]
            found.append((out.getvalue(), comment))
    return found


def compared(printed: str, comment: str) -> list[str]:
    """Return the numbers of a comment; each is the next printed one that rounds to it."""
    there = iter([float(number) for number in NUMBER.findall(printed)])
    numbers = NUMBER.findall(comment)
    for number in numbers:
        digits, _, power = number.partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        assert any(abs(float(number) - one) <= 0.5001 * unit for one in there), (printed, comment)
    return numbers


def test_the_comparison_can_fail() -> None:
    assert compared("[0.1234, 5e-91]", "0.123 and 5e-91") == ["0.123", "5e-91"]
    for comment in ("0.124", "6e-91", "5e-91, then 0.123"):
        with pytest.raises(AssertionError):
            compared("[0.1234, 5e-91]", comment)


def test_the_numbers_below_the_picture() -> None:
    (caption,) = re.findall(r"^\*Reward models trained.*?\*$", README, re.M | re.S)
    worst = figures.story_data().errors.max(axis=-1)  # of the kinds
    (one, one_held_out), (each, each_held_out) = worst
    told = [float(number) for number in re.findall(r"(?<=\s)\.\d+", caption)]
    np.testing.assert_allclose(told, [one, each, one_held_out, each_held_out], atol=5e-4)
    for name in re.findall(r"docs/images/[\w.]+", README):
        assert (ROOT / name).is_file()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) >= 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_recipes_of_contributing_run() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 4
    # In a process of its own: they register what the other tests don't expect.
    code = "import matplotlib; matplotlib.use('Agg')\n" + "\n".join(blocks)
    # Others' warnings to each other, as of the oldest versions about newer ones, don't count.
    strict = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run([*strict, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_first_two_commands_are_the_stated_ones() -> None:
    shell = [text.strip() for language, text in BLOCKS if language == "sh"]
    assert tuple(shell[:2]) == INSTALL


@pytest.mark.parametrize(
    "line",
    [
        line
        for language, text in BLOCKS
        if language == "sh" and text.strip() not in INSTALL
        for line in text.strip().splitlines()
    ],
)
def test_shell_lines_run(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from collapse_theory.cli import main

    command, *arguments = shlex.split(line)
    assert command == "collapse-theory"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None)
    assert capsys.readouterr().out.strip()


def test_no_other_language_goes_untested() -> None:
    assert {language for language, _ in BLOCKS} <= {"python", "sh"}


def test_times_are_those_of_the_report() -> None:
    report = (ROOT / "benchmarks" / "REPORT.md").read_text(encoding="utf-8").splitlines()
    quoted = [line for line in README.splitlines() if line.count("|") == 8]
    assert len(quoted) > 5
    assert not set(quoted) - set(report)
