"""The losses in use: the registry, its table and figure, and domains on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import collapse_theory as ct
from collapse_theory import figures
from collapse_theory.cli import app
from collapse_theory.cli.output import plain
from collapse_theory.cli.table import finite_rows, law_text, preset_contents, rewards_text
from collapse_theory.limit.presets import PRESETS, preset

NAMES = [one.name for one in PRESETS]
EACH = pytest.mark.parametrize("one", PRESETS, ids=NAMES)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "80"})


def content(*args: str) -> dict:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*args: str) -> str:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


# -- the registry ------------------------------------------------------------------------------


@EACH
def test_each_practice_has_an_optimum_or_says_why_not(one) -> None:
    solution, law = one.solve(8), one.law()
    if one.instead:
        assert solution is law is None
        assert one.refused(), "the solvers agree"
        return
    assert not one.refused()
    assert solution.status == law.status == "optimal" or one.loss == ct.PlackettLuce(top=1)
    assert solution.domain == one.domain
    # The law's mass lies where the domain says, and the rewards near its quantiles.
    distance = law.distance(one.solve(64).law)
    assert distance < 0.1 * max(np.ptp(solution.rewards), 1.0)
    assert type(one).from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_names_are_found_and_differ() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert preset("best of K") is PRESETS[NAMES.index("best of K")]
    with pytest.raises(ct.CollapseError, match="'best of K'"):
        preset("no such thing")


def test_the_losses_of_the_issue_are_there() -> None:
    kinds = {type(one.loss) for one in PRESETS}
    assert {ct.PlackettLuce, ct.Hinge, ct.Squared, ct.LogSigmoid, ct.LabelSmoothing} <= kinds
    domains = {type(one.domain) for one in PRESETS}
    assert domains == {ct.Box, ct.Confined, ct.Centered, ct.Free}
    assert any(isinstance(one.loss, ct.PlackettLuce) and one.loss.top == 1 for one in PRESETS)


def test_squared_targets_have_their_closed_form() -> None:
    # sum_j 2 t sgn(i-j) = 2 n r_i at mean 0: equal spacing, 2t/n apart.
    for n in (2, 5, 8):
        i = np.arange(1, n + 1)
        exact = ct.closed_form(ct.Squared(1.5), n, ct.Free())
        np.testing.assert_allclose(exact.rewards, 1.5 * (n + 1 - 2 * i) / n, atol=1e-15)
        found = ct.solve(ct.Squared(1.5), n, ct.Free())
        np.testing.assert_allclose(found.rewards, exact.rewards, atol=1e-13)
    law = ct.limit(ct.Squared(1.5), ct.Free())
    np.testing.assert_allclose(law.support, [-1.5, 1.5], rtol=1e-15)
    assert law.pdf(0.3) == pytest.approx(1 / 3)


def test_unbounded_listwise_training_goes_to_equal_spacing() -> None:
    # Ascent along the normalised gradient: the direction has gaps that tend to be equal.
    rewards, loss = np.zeros(5), ct.PlackettLuce()
    spreads = []
    for step in range(1, 4001):
        picks = np.zeros(5)
        for i in range(4):
            weights = np.exp(rewards[i:] - rewards[i])
            picks[i] += weights[1:].sum() / weights.sum()  # 1 - p, without the difference
            picks[i + 1 :] -= weights[1:] / weights.sum()
        rewards = rewards + 0.05 * picks / np.linalg.norm(picks)
        if step in (40, 400, 4000):
            gaps = -np.diff(rewards)
            spreads.append(np.ptp(gaps) / gaps.mean())
    assert float(loss.value(rewards)) > -1e-20
    assert spreads[0] > 4 * spreads[1] > 16 * spreads[2]
    assert spreads[2] < 0.01


# -- the table ---------------------------------------------------------------------------------


def test_the_table_has_every_practice_at_eighty_columns() -> None:
    result = run("table")
    assert result.exit_code == 0, result.stderr
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    for one in PRESETS:
        assert re.search(rf"^{re.escape(one.name)} ", result.stdout, re.MULTILINE), one.name
    shown = " ".join(result.stdout.split())
    for part in (
        "1 1 0.84 0.65 0.45 0.25 0.05 0",
        "mass 0.15 at 0, 0.26 at 1; the rest between",
        "none: the gaps grow without end",
        "no atoms, on [-3.85, 3.85]",
        "no atoms, below 25",
        "0.88 0.62 0.38 0.12",
    ):
        assert part in shown, part


def test_the_table_in_json() -> None:
    # The closed forms' part of `table --json` is in test_cli.
    rows = json.loads(json.dumps(plain(preset_contents(6)), allow_nan=False))
    assert [row["practice"] for row in rows] == NAMES
    for row, one in zip(rows, PRESETS, strict=True):
        assert row["n"] == 6
        assert row["domain"] == one.domain.to_dict()
        assert (row["rewards"] is None) == (row["limit"] is None) == bool(row["none"])
        if row["rewards"] is not None:
            assert row["rewards"] == one.solve(6).rewards.tolist()
            assert row["relative_gap"] < 1e-9
    listwise = rows[NAMES.index("listwise, penalty")]
    assert listwise["limit"]["support"] == [None, 25.0]
    np.testing.assert_allclose(
        rows[NAMES.index("listwise, sigmoid rewards")]["limit"]["atoms"],
        [[0, 1 / (np.e + 4)], [1, (np.e - 1) / (np.e + 4)]],
    )


def test_the_table_of_two_completions() -> None:
    rows = {row["practice"]: row for row in preset_contents(2)}
    assert rows["pairs, centring"]["none"].startswith("none: r_1 + r_2 = 0 costs nothing")
    assert rows["pairs, centring"]["rewards"] is None
    assert {row["form"] for row in finite_rows(2)} >= {"log", "linear"}
    assert "hinge" not in {row["form"] for row in finite_rows(2)}


def test_cells_are_short() -> None:
    assert rewards_text(np.array([1.0, 0.999, -0.001, -3.14159])) == "1 1 0 -3.14"
    assert rewards_text(np.arange(20.0)[::-1]) == "19 18 17 16 ... 3 2 1 0"
    assert law_text(ct.limit("x")) == "mass 0.5 at 0, 0.5 at 1"
    assert law_text(ct.limit(ct.PlackettLuce(1), ct.Confined(1))) == "all at 0"


# -- the figure --------------------------------------------------------------------------------


def test_the_panels_hold_the_optima_and_the_quantiles() -> None:
    data = figures.practices_data()
    assert {"sigmoid", "penalty", "centring", "smoothed", "margin", "listwise"} <= {
        word for name in data.names for word in re.findall(r"\w+", name)
    }
    for name, panel in zip(data.names, data.panels, strict=True):
        one = preset(name)
        solution, law = one.solve(8), one.law()
        assert solution is not None
        assert law is not None
        np.testing.assert_array_equal(panel.rewards, solution.rewards)
        middle = np.searchsorted(panel.curve_ranks, 3.0)
        at = law.ppf(1 - (panel.curve_ranks[middle] - 0.5) / 8)
        assert panel.curve[middle] == pytest.approx(at, abs=1e-9)


def test_the_figure_says_loss_and_domain_and_shares_its_scale() -> None:
    axes = figures.practices()
    try:
        assert len(axes) == len(figures.practices_data().names)
        titles = [panel.get_title(loc="left") for panel in axes]
        assert all(title.count("\n") == 1 for title in titles)
        assert sum("in [0, 1]" in title for title in titles) == 3
        limits = {panel.get_ylim() for panel in axes}
        assert len(limits) == 2, "boxes on one scale, all else on another"
        assert len(axes[0].figure.legends) == 1
        key = [text.get_text() for text in axes[0].figure.legends[0].get_texts()]
        assert any(text.startswith("optimum") for text in key)
    finally:
        plt.close("all")


def test_the_figure_of_some_practices() -> None:
    fig = plt.figure()
    try:
        axes = figures.practices(["best of K", "best of K, penalty"], 5, fig=fig)
        assert len(axes) == 2
        assert axes[0].figure is fig
    finally:
        plt.close("all")
    for bad, reason in (("best of K", "list"), ([], "list"), (["pairs, logits"], "no optimum")):
        with pytest.raises(ct.CollapseError, match=reason):
            figures.practices_data(bad)


# -- domains on the command line ---------------------------------------------------------------

DOMAINS = (
    (["--confined", "0.02"], ct.Confined(0.02)),
    (["--centered", "0.01"], ct.Centered(0.01)),
    (["--low", "-1"], ct.Box(-1, 1)),
    (["--high", "4"], ct.Box(0, 4)),
    (["--low", "-2", "--high", "2"], ct.Box(-2, 2)),
    ([], ct.Box()),
)


@pytest.mark.parametrize(("args", "domain"), DOMAINS)
@pytest.mark.parametrize("text", ["logsigmoid(x)", "plackett-luce", "PlackettLuce(top=1, beta=2)"])
def test_predict_in_each_domain(text: str, args: list[str], domain) -> None:
    found = content("predict", text, "--n", "5", *args)
    expected = ct.solve(text, 5, domain)
    assert found["domain"] == domain.to_dict()
    assert found["rewards"] == expected.rewards.tolist()
    assert found["utility"] == str(expected.utility)
    law = ct.limit(text, domain)
    assert found["limit"]["atoms"] == law.atoms.tolist()
    assert found["limit"]["quantiles"]["0.25"] == pytest.approx(law.ppf(0.25), abs=1e-12)
    assert content("predict", text, "--limit", *args)["limit"] == found["limit"]


def test_predict_free() -> None:
    text = "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)"
    found = content("predict", text, "--free", "--n", "4")
    assert found["domain"] == {"type": "Free"}
    # docs/theory.md#what-the-papers-experiments-trained
    np.testing.assert_allclose(found["rewards"], [1.94142407, 0.59524967, -0.59524967, -1.94142407])
    np.testing.assert_allclose(found["limit"]["support"], [-3.0597545458, 3.0597545458])


def test_predict_shows_the_program_and_the_support() -> None:
    shown = run("predict", "logsigmoid(x)", "--confined", "0.02").stdout
    for part in ("less 0.02 mean r**2", "less the penalty", "density on [-3.85, 3.85]", "50% 0,"):
        assert part in shown
    shown = run("predict", "plackett-luce", "--centered", "0.1", "--limit").stdout
    for part in ("PlackettLuce(), less 0.1", "plus log n", "(-inf, 2.5]", "optimal"):
        assert part in " ".join(shown.split())
    assert "log-likelihood of a pick" in run("predict", "plackett-luce").stdout
    assert "mean 0" in run("predict", "-(x - 1)**2", "--free").stdout


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["x", "--confined", "1", "--centered", "1"], "--confined and --centered exclude"),
        (["x", "--low", "0", "--free"], "--low and --free"),
        (["x", "--low", "0", "--high", "1", "--confined", "1"], "exclude each other"),
        (["x", "--free", "--confined", "0.1", "--limit"], "exclude each other"),
        (["x", "--confined", "0"], "positive"),
        (["x", "--confined", "-1"], "positive"),
        (["x", "--centered", "nan"], "finite"),
        (["x", "--confined", "much"], "--confined"),
        (["logsigmoid(x)", "--free"], "nothing holds the rewards"),
        (["plackett-luce", "--free"], "nothing holds the rewards"),
        (["plackett-luce", "--centered", "1", "--n", "2"], "nothing holds the rewards"),
        (["plackett-luce", "--limit", "--free"], "nothing holds the rewards"),
        (["plackett-luce", "--limit", "--method", "grid"], "exact"),
        (["PlackettLuce(top=0)"], "top"),
        (["PlackettLuce(top=1, __import__('os'))"], "write PlackettLuce()"),
        (["PlackettLuce().stages"], ""),
    ],
)
def test_predict_refuses(args: list[str], reason: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert reason in refused("predict", *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args",
    [
        ["logsigmoid(x)", "--confined", "0.02"],
        ["plackett-luce", "--confined", "0.02", "--limit"],
        ["PlackettLuce(top=1)", "--centered", "0.1", "--limit"],
        ["-(x - 1)**2", "--free", "--limit"],
        ["plackett-luce", "--n", "30"],
    ],
)
def test_plots_in_each_domain(args: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rewards.png"
    result = run("predict", *args, "--plot", str(file))
    assert result.exit_code == 0, result.stderr
    assert file.stat().st_size > 1000


def test_the_plot_of_a_law_is_the_method_s(tmp_path: Path, monkeypatch) -> None:
    seen = []
    drawn = figures.limit_laws

    def watched(*args, **options):
        axes = drawn(*args, **options)
        seen.append(figures.limit_laws_data(*args, **options))
        return axes

    monkeypatch.setattr(figures, "limit_laws", watched)
    file = str(tmp_path / "law.png")
    args = ["predict", "log(x + 0.1)", "--limit", "--plot", file]
    assert run(*args).exit_code == run(*args, "--method", "grid").exit_code == 0
    # The grid has an atom at each of its points, the automatic law two.
    assert [len(data.atoms[0]) > 2 for data in seen] == [False, True]


def test_laws_without_a_box_are_drawn_over_their_supports() -> None:
    data = figures.limit_laws_data(["logsigmoid(x)", ct.PlackettLuce()], domain=ct.Confined(0.02))
    assert data.utilities == ("logsigmoid(x)", "PlackettLuce()")
    low, high = ct.limit(ct.PlackettLuce(), ct.Confined(0.02)).ppf([1e-4, 1 - 1e-4])
    assert (data.places[0], data.places[-1]) == pytest.approx((low, high))
    one = figures.limit_laws_data(["logsigmoid(x)"], domain=ct.Confined(0.02))
    assert one.places[-1] == pytest.approx(3.8498315874)
    assert figures.limit_laws_data(ct.PlackettLuce()).utilities == ("PlackettLuce()",)


def test_the_finite_figure_names_the_loss() -> None:
    try:
        assert figures.finite_optimum("plackett-luce").get_title(loc="left") == "PlackettLuce()"
    finally:
        plt.close("all")
