"""What notebooks show: escaped, of the text that the value prints, with its numbers."""

from __future__ import annotations

import html
import re
from functools import cache
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

import collapse_theory as ct
from collapse_theory.data import Ranking, RankingDataset
from collapse_theory.display import latex_text
from collapse_theory.testing import utilities

NASTY = "<script>alert(1)</script>$\\href{javascript:alert(1)}{x}$</pre></code>"
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(30, 5))


class Tags(HTMLParser):
    """The tags of a display, and whether text stands where MathJax leaves it alone."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(shown)

    def handle_starttag(self, tag, attrs):
        assert {name for name, _ in attrs} <= {"style"}
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        assert {"pre", "code"} & set(self.open)
        self.text += data


@cache
def of_files():
    """Return values with a hostile text in them."""
    kinds = [NASTY] * 15 + ["plain"] * 15
    ranking = Ranking(NASTY, ("a", NASTY), (0, 1), kind=NASTY)
    scores = {NASTY: [1, 2, 3], "b": [2, 3, 3]}
    slopes = (lambda x: 1 / (1 + x)), (lambda x: -1 / (1 + x) ** 2)
    own = ct.Utility.from_functions(np.log1p, *slopes, name=NASTY)
    return {
        "diagnosis": ct.diagnose(ROWS, kinds=kinds),
        "log": ct.read_log({"prompt": [NASTY] * 3, "kind": [NASTY] * 3, "reward": [1, 2, 3]}),
        "ranking": ranking,
        "dataset": RankingDataset([ranking]),
        "recommendation": ct.recommend(scores, kinds={NASTY: NASTY, "b": "q"}),
        "utility": own,
        "solution": ct.solve(own, 3),
        "law": ct.limit(own),
        "solutions": ct.solve_many([own], 3),
        "laws": ct.limit_many([own]),
    }


@pytest.mark.parametrize(
    "name",
    [
        "diagnosis",
        "log",
        "ranking",
        "dataset",
        "recommendation",
        "utility",
        "solution",
        "law",
        "solutions",
        "laws",
    ],
)
def test_text_is_shown_and_never_run(name):
    value = of_files()[name]
    found = Tags(value._repr_html_())
    assert not found.open
    assert found.seen <= {"pre", "table", "thead", "tbody", "tr", "th", "td", "code"}
    for line in value._lines():
        assert line in found.text
    formula = value._repr_latex_()
    if formula is not None and name in ("utility", "solution"):
        assert r"\href" not in formula
        assert r"\backslash \text{href}" in formula
        assert formula.count("$") - formula.count(r"\$") == 2


@cases(60)
@given(st.text(max_size=20))
def test_no_text_is_read_as_latex(text):
    commands = set(re.findall(r"\\[a-zA-Z]+", latex_text(text)))
    assert commands <= {r"\text", r"\backslash", r"\wedge", r"\sim"}
    assert latex_text("50% of a_b") == r"\text{50}\%\text{ of a}\_\text{b}"


@cases(60)
@given(utilities())
def test_formulas_are_balanced(utility):
    shown = utility._repr_latex_()
    assert shown.count("{") == shown.count("}")
    assert shown.count(r"\left(") == shown.count(r"\right)")
    assert "*" not in shown
    assert html.escape(repr(utility)) in utility._repr_html_()


def test_formulas():
    for text, latex in {
        "log(x + 0.1)": r"\log\left(x + 0.1\right)",
        "-1/(x + 0.1)": r"-\frac{1}{x + 0.1}",
        "2*x**0.5 - 1e-7*x**2": r"-1 \cdot 10^{-7}\,x^{2} + 2\,x^{0.5}",
        "(x + 1)**0.3 + min(x, 0.5)": r"\left(x + 1\right)^{0.3} + \min\left(x, 0.5\right)",
    }.items():
        assert ct.utility(text)._latex() == latex
    shown = ct.PlackettLuce(top=2, beta=0.5)._latex()
    assert shown == (
        r"\frac{1}{2}\sum_{i=1}^{2}\left(0.5\,r_i - \log\sum_{j \geq i} e^{0.5\,r_j}\right)"
    )


@cache
def huge():
    return ct.solve("log(x + 0.1)", 10**9)


def test_tables_of_many():
    texts = ["x", "log(x)", "sqrt(x)"]
    solved, laws = ct.solve_many(texts, 4), ct.limit_many(texts)
    assert f"<td><code>{solved.rewards[1].round(4)}</code></td>" in solved._repr_html_()
    assert "<td><code>Beta(1/2, 1/2) on [0, 1]</code></td>" in laws._repr_html_()
    for shown in (solved._repr_html_(), laws._repr_html_()):
        assert shown.count("<tr>") == 4
        assert "<td><code>log(x)</code></td>" in shown
        assert shown.count("<code>optimal</code>") == 3
    assert "rewards" not in ct.solve_many(texts, 40)._columns()


def test_tables():
    solution = ct.solve("log(x)", 40)
    shown = solution._repr_html_()
    assert shown.count("<tr>") == 14  # the head, six, dots, six
    assert f"<code>{solution.rewards[1]:.6g}</code>" in shown
    assert r"\dots" in solution._repr_latex_()
    frame = solution.to_frame()
    np.testing.assert_array_equal(frame["reward"], solution.rewards)
    np.testing.assert_array_equal(frame["gap"][:-1], solution.gaps)
    assert frame["gap"][-1] is None
    compared = ct.solve("log(x + 0.1)", comparisons=ct.Comparisons(3, [2, 0], [0, 1])).to_frame()
    assert compared.columns == ["completion", "reward"]
    assert compared["reward"].arg_max() == 2
    assert "<table>" not in huge()._repr_html_()
    with pytest.raises(ct.CollapseError, match="reward\\(i\\) gives"):
        huge().to_frame()


def test_heads():
    path = ct.head_path(RNG.normal(size=(60, 4, 3)), penalties=[1.0, 0.1])
    frame = path.to_frame()
    np.testing.assert_array_equal(frame["held_out_utility"], path.held_out_utility)
    assert path._repr_html_().count("<tr>") == 3
    assert r"\lambda = 0.1" in path.heads[1]._repr_latex_()
    assert html.escape(repr(path.best)) in path.best._repr_html_()


def test_solutions_are_drawn():
    mpl.use("Agg")
    tied = ct.solve("log(x + 0.1)", 8)
    axes = tied.plot()
    assert ct.solve("-1/x", 8).plot(axes, label="equal", color="black") is axes
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["log(x + 0.1), n = 8", "equal"]
    assert handles[0].get_marker() != handles[1].get_marker()
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    np.testing.assert_array_equal(hollow[0].get_xdata(), [1, 2, 7, 8])
    assert len(huge().plot().lines[0].get_xdata()) == 2000
    mpl.pyplot.close("all")


def test_further_optima_on_the_same_axes_are_told_apart():
    axes = mpl.figure.Figure().subplots()
    for u, domain in (("log(x + 0.1)", None), ("x", None), ("log(x)", ct.Box(0, 2))):
        ct.figures.finite_optimum(u, 8, axes, domain=domain)
    labels = axes.get_legend_handles_labels()[1]
    assert len(set(labels)) == len(labels) == 5
    assert labels[-2:] == ["x, $n=8$", "log(x), Box(low=0.0, high=2.0), $n=8$"]
    marks = [
        line for line in axes.lines if line.get_label() in labels and line.get_marker() != "None"
    ]
    assert len({(line.get_color(), line.get_marker()) for line in marks}) == 3
    assert axes.get_ylim()[1] > 2
    assert axes.get_title(loc="left") or axes.get_title() == "U(x) = log(x + 0.1)"
