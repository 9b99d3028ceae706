"""The explorer: states, links, code that gives the same; and the page, in a real browser."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import collapse_theory as ct
from collapse_theory.cli import app
from collapse_theory.explorer import state as explored
from collapse_theory.explorer.state import LARGEST, LONGEST, MOST, State, answers_of

TEXTS = st.text(max_size=30)
ROWS = st.lists(st.tuples(TEXTS, TEXTS.filter(str.strip)), min_size=1, max_size=MOST)


# -- states ------------------------------------------------------------------------------


@settings(max_examples=50)
@given(ROWS, st.integers(2, LARGEST), TEXTS, TEXTS, st.sampled_from(["predict", "design", "log"]))
def test_a_state_is_read_back_from_its_link(rows, n, domain, target, view):
    state = State(tuple(rows), n, domain, target, view)
    assert State.of_query(state.query) == (state, [])


@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("latin-1"))))
def test_any_query_is_a_state(query):
    state, _ = State.of_query(query)
    assert 1 <= len(state.rows) <= MOST
    assert 2 <= state.n <= LARGEST
    assert State.of_query(state.query) == (state, [])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("n=1", "n is a"),
        ("n=9999999", "n is a"),
        ("n=٣", "n is a"),
        ("view=home", "view is one of"),
        ("x=1", "there is no 'x'"),
        ("u=x&u=x&u=x&u=x&u=x", "the first 4"),
        (f"u={'x' * (LONGEST + 1)}", f"{LONGEST + 1} characters"),
        ("u=&n=3", "there is no 'u'"),
        ("utility=x", "there is no 'utility'"),
    ],
)
def test_what_a_link_has_too_much_is_named(query, said):
    assert said in State.of_query(query)[1][0]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("log(x + 0.1)", [0.1]),
        ("log10(x + .5)", [0.5]),
        ("1 - exp(-3*x)", [3]),
        ("-1/(x + 0.1) + 2e-3*x**0.5", [0.1, 2e-3, 0.5]),
        ("levels 4 1 4", [4, 1, 4]),
        ("Box(-1, 1)", [1, 1]),
        ("x", []),
        ("0.0*x + 1e400*x", []),
    ],
)
def test_the_numbers_of_a_text(text, values):
    assert [float(number[0]) for number in explored.numbers_in(text)] == values


@given(st.lists(st.floats(-1, 1), max_size=3))
def test_sliders_write_numbers_that_are_read_again(places):
    text = " + ".join(f"0.{i}*x" for i in range(1, 4))
    sliders = [explored.slider_of(number[0]) for number in explored.numbers_in(text)]
    ends = [slider["value"] + place for slider, place in zip(sliders, places, strict=False)]
    written = explored.numbers_in(explored.moved(text, ends))
    assert len(written) == 3
    for number, place in zip(written, ends, strict=False):
        assert float(number[0]) == pytest.approx(10**place, rel=5.1e-3)


# -- answers, and the code that gives the same -------------------------------------------

STATES = [
    State(),
    State((("open-ended", "-1/x"), ("a 'kind'", "min(x, 0.5)")), 6),
    State((("all", "LabelSmoothing(0.1)"),), 5, "Free()"),
    State((("all", "logsigmoid(4.0*x)"),), 9, "Confined(0.2)"),
    State((("all", "PlackettLuce(beta=2.0)"),), 4, "Centered(0.1)"),
    State((("all", "x**0.5"),), 4, "Box(-1, 2)"),
]


def ran(code: str) -> dict[str, Any]:
    """Run Python as it would be pasted; return its names."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "copied", "exec"), names)  # our own text, from a state made above
    return names


@pytest.mark.parametrize("state", STATES, ids=lambda s: s.rows[0][1])
def test_copied_code_gives_the_same(state):
    found = answers_of(state)
    python, shell = state.code()
    names = ran(python)
    assert names["rows"] == list(state.rows)
    assert names["solution"] == found[-1].solution
    assert names["law"] == found[-1].law
    for answer, line in zip(found, shell.splitlines(), strict=True):
        told = CliRunner().invoke(app, [*shlex.split(line)[1:], "--json"])
        printed = json.loads(told.stdout)
        assert printed["rewards"] == answer.solution.rewards.tolist()
        assert printed["domain"] == answer.solution.domain.to_dict()


def test_copied_code_of_a_design_and_of_a_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python, shell = State(view="design", target="atoms 0.2 + uniform").code()
    found = ran(python)["found"]
    told = CliRunner().invoke(app, [*shlex.split(shell)[1:], "--json"])
    assert json.loads(told.stdout)["utility"] == str(found.utility) in explored.design_told(found)
    (tmp_path / "a log.csv").write_text(log_text(), encoding="utf-8")
    state = State((("a", "log(x + 0.1)"), ("b", "x")), domain="Confined(0.1)", view="log")
    python, shell = state.code("a log.csv")
    diagnosis = ran(python)["found"]
    told = CliRunner().invoke(app, [*shlex.split(shell)[1:], "--json"])
    assert json.loads(told.stdout)["outcome"] == diagnosis.outcome == "collapsed"
    assert explored.diagnosis_told(diagnosis).startswith("collapsed: ")


@pytest.mark.parametrize(
    ("text", "domain", "said"),
    [
        ("log(x", "Box(0, 1)", "found the end at column 6"),
        ("x**2", "Box(0, 1)", "concave"),
        ("x", "Free()", "no maximum"),
        ("-1/x", "Confined(1.0)", "no limit law: "),
        ("x", "Confined(-1)", "positive"),
        ("x", "__import__('os').getcwd()", "a domain is written as one of"),
        ("x", "Box(1)", "low"),
        ("x", "Confined()", "a domain is written as one of"),
        ("x", "Box(0, 1", "a domain is written as one of"),
        ("x", "Box(0, nan)", "nan"),
    ],
)
def test_what_is_wrong_is_said_in_its_place(text, domain, said):
    state = State((("all", text),), domain=domain)
    (answer,) = answers_of(state)
    assert answer.law is None
    assert said in answer.fault
    if "domain" in said:
        with pytest.raises(ct.CollapseError, match=re.escape(said)):
            state.code()


def test_curves():
    answer, listwise = answers_of(State((("a", "-1/(x + 0.1)"), ("b", "plackett-luce"))))
    drawn = explored.utility_curve(answer, 1.0)
    assert drawn[-1][1] == 1.0
    assert explored.utility_curve(listwise, 1.0) == []
    x, y = np.array(explored.density_curve(answer.law), dtype=float).T
    assert y.max() < explored.height([np.column_stack([x, y]).tolist()]) < 2 * y.max()
    assert np.trapezoid(y, x) == pytest.approx(1 - answer.law.atoms[:, 1].sum(), abs=2e-3)
    assert explored.atom_stems(answer.law)[1] == answer.law.atoms[0].tolist()
    found = ct.design("beta(4.0, 2.0)")
    curves = explored.design_curves(found)
    gap = np.array(curves["with the link"])[:, 1] - np.array(curves["wanted"])[:, 1]
    assert np.abs(gap).max() < 5e-3
    assert "\nProof(" in explored.design_told(found)
    assert "\nLink(" in explored.design_told(found)


def test_the_figure_is_saved():
    found = answers_of(State((("a", "log(x + 0.1)"), ("b", "x**2"), ("c", "min(x, 0.5)"))))
    content = explored.figure_bytes(lambda fig: explored.draw_answers(found, fig))
    assert content.startswith(b"<?xml")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("collapse_theory.cli.explore.find_spec", lambda name: None)
    told = CliRunner().invoke(app, ["explore", "--no-browser"])
    assert told.exit_code == 2
    assert 'pip install ".[explorer]"' in told.stderr


# -- the page, in a browser --------------------------------------------------------------


def log_text() -> str:
    rng = np.random.default_rng(0)
    rewards = ct.solve("log(x + 0.1)", 8).rewards + 0.01 * rng.standard_normal((40, 8))
    rows = (f"p{i},{r:.6f}" for i, row in enumerate(rewards) for r in row)
    return "prompt,reward\n" + "\n".join(rows) + "\n"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page, served by the command; skips where something for it is missing."""
    for package in ("nicegui", "playwright"):
        if find_spec(package) is None:
            pytest.skip(f'no {package}: pip install ".[dev]"')
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "collapse_theory", "explore", "--port", port, "--no-browser"]
    # pytest's own variable would put NiceGUI into the mode of its tests.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            assert line == f"The explorer is at http://127.0.0.1:{port}/; Ctrl-C ends it.\n"
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser(address, tmp_path_factory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(30_000)
        yield context
        context.close()


@pytest.fixture
def page(browser, address) -> Iterator[Any]:
    """A new page, that asks nothing of any other machine, and on which no script fails."""
    new, foreign, failed = browser.new_page(), [], []
    new.on("request", lambda asked: foreign.append(asked.url) if away(asked.url) else None)
    new.on("pageerror", lambda fault: failed.append(fault))
    yield new
    new.close()
    assert not foreign
    assert not failed


def away(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def told(page: Any, text: str) -> str:
    """Wait until what is told of an answer holds a text; return it."""
    found = page.locator(".told", has_text=text).first
    found.wait_for()
    return found.inner_text()


def test_a_slider_moves_the_law(page, address):
    page.goto(f"{address}?n=64")
    assert "atoms: 0.184 at 0, 0.184 at 1" in told(page, "limit law:")
    page.locator(".card .q-slider__track-container").first.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    law = ct.limit("log(x + 0.0794)")
    assert law.name in told(page, f"{law.atoms[0, 1]:.3g} at 0")
    assert page.get_by_label("utility U(x)").first.input_value() == "log(x + 0.0794)"
    assert "log(x + 0.0794)" in page.locator(".source").first.inner_text()
    assert State.of_query(page.url.partition("?")[2])[0].rows == (("all", "log(x + 0.0794)"),)


def test_wrong_text_gives_its_error_in_place(page, address):
    page.goto(address)
    told(page, "limit law:")
    field = page.get_by_label("utility U(x)").first
    field.fill("log(x + ")
    page.locator(".card .fault", has_text="found the end at column").wait_for()
    field.fill("-1/x")
    told(page, "uniform on [0, 1]")
    assert page.locator(".card .fault").first.inner_text() == ""


def test_a_log_is_read(page, address, tmp_path):
    (tmp_path / "rewards.csv").write_text(log_text(), encoding="utf-8")
    (tmp_path / "<img src=x>.csv").write_text("nothing\n1\n", encoding="utf-8")
    page.goto(f"{address}?view=log")
    page.locator("input[type=file]").set_input_files(tmp_path / "rewards.csv")
    told(page, "collapsed: ")
    page.locator(".picture img").wait_for()
    assert "ct.diagnose('rewards.csv'" in page.locator(".source").first.inner_text()
    page.locator("input[type=file]").set_input_files(tmp_path / "<img src=x>.csv")
    page.locator(".fault", has_text="no column is called").wait_for()


def test_a_state_is_restored_from_its_link(page, address):
    state = State((("closed-ended", "x"), ("open-ended", "-1/x")), 12, "Confined(0.5)")
    page.goto(f"{address}?{state.query}")
    assert "uniform on [-2, 2]" in told(page, "limit law:")
    assert page.get_by_label("kind of prompts").nth(1).input_value() == "open-ended"
    assert page.locator(".source").nth(2).inner_text() == f"{address}?{state.query}"
    page.get_by_role("tab", name="Law to utility").click()
    told(page, "reached: ")
    assert page.url.endswith("view=design")


def test_a_hostile_link_gives_an_error_in_place(page, address):
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    state = State(((hostile, hostile), ("```", "__import__('os')")), 8, "Box(0,1);x", hostile)
    page.goto(f"{address}?{state.query}&n=1e9&view=design&{hostile}=1")
    page.locator(".fault", has_text="a wanted law is").wait_for()
    page.locator(".fault", has_text="n is a whole number").wait_for()
    page.get_by_role("tab", name="Utility to law").click()
    page.locator(".fault", has_text="a domain is written").first.wait_for()
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0


def test_it_is_for_this_machine_alone(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=r"."):  # another address of this very machine
        socket.create_connection(("127.0.0.2", port), timeout=2)
    foreign = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign, timeout=10)
    taken = CliRunner().invoke(app, ["explore", "--no-browser", "--port", str(port)])
    assert taken.exit_code == 2
    assert f"port {port} is taken" in taken.stderr
