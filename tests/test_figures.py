"""Figures: their numbers against the published ones, and that each draws, saves and cleans up."""

from __future__ import annotations

import importlib
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import collapse_theory as ct
from collapse_theory import figures
from collapse_theory.laws import uniform_law

ENTRIES = pytest.mark.parametrize("entry", figures.FIGURES, ids=lambda entry: entry.name)


@dataclass(frozen=True)
class Drawn:
    """A figure of its own, drawn once for all tests that look at it."""

    entry: figures.FigureEntry
    axes: Any
    figure: Any
    settings_stay: bool


@pytest.fixture(scope="session", params=figures.FIGURES, ids=lambda entry: entry.name)
def drawn(request: pytest.FixtureRequest) -> Drawn:
    before = dict(matplotlib.rcParams)
    axes = request.param.draw()
    figure = figures.figure_of(axes)
    settings_stay = dict(matplotlib.rcParams) == before
    figure.canvas.draw()
    return Drawn(request.param, axes, figure, settings_stay)


def test_every_figure_is_registered() -> None:
    drawn = {entry.draw for entry in figures.FIGURES}
    for path in sorted(Path(figures.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"collapse_theory.figures.{path.stem}")
        for name, data in vars(module).items():
            if name.endswith("_data") and getattr(data, "__module__", "") == module.__name__:
                draw = getattr(module, name.removesuffix("_data"))
                assert draw in drawn, f"{draw.__name__} of {path.name} is missing in FIGURES"
                assert {name, draw.__name__} <= set(figures.__all__)
                assert getattr(figures, draw.__name__) is draw, "the file hides the function"


@pytest.fixture(scope="module")
def comparison() -> figures.PaperComparison:
    return figures.paper_comparison_data()


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


# -- the published curves and the errors of both predictions -----------------------------------


def test_the_published_curves_are_all_there() -> None:
    curves = figures.paper_curves()
    assert len(curves) == 30
    assert {c.figure for c in curves} == {
        "loss_comparison",
        "loss_comparison_test",
        "logsigmoid_collapse",
        "adaptive_no_collapse",
    }
    for curve in curves:
        assert curve.rewards.shape == curve.bands.shape == (8,)
        assert ((curve.rewards >= 0) & (curve.rewards <= 1)).all()
        assert (np.diff(curve.rewards) <= 0).all(), "best first"
        assert not (curve.bands < 0).any()
    assert curves is figures.paper_curves()


@pytest.mark.parametrize(
    ("panel", "trained"),
    [
        ("log(x)", [1.0, 0.999, 0.896, 0.623, 0.358, 0.128, 0.003, 0.0]),
        ("-1/x", [0.998, 0.941, 0.756, 0.589, 0.413, 0.224, 0.058, 0.001]),
    ],
)
def test_open_ended_curves_are_the_published_ones(panel: str, trained: list[float]) -> None:
    # Read off the paper's figure (`figures/data/README.md`).
    found = {(c.figure, c.panel, c.prompt_type, c.kind): c for c in figures.paper_curves()}
    curve = found["loss_comparison", panel, "open", "trained"]
    np.testing.assert_allclose(curve.rewards, trained, atol=1e-3)


@pytest.mark.parametrize(
    ("panel", "paper", "exact", "optimum"),
    [
        (1, 0.100, 0.042, [1, 1, 0.854, 0.627, 0.373, 0.146, 0, 0]),
        (2, 0.063, 0.031, [1, 0.911, 0.759, 0.588, 0.412, 0.241, 0.089, 0]),
    ],
)
def test_what_was_trained_predicts_closer(
    comparison: figures.PaperComparison,
    panel: int,
    paper: float,
    exact: float,
    optimum: list[float],
) -> None:
    # docs/theory.md#what-the-papers-experiments-trained: the largest errors, open-ended training
    # prompts.
    shown = comparison.train[panel]
    assert shown.paper_errors[0] == pytest.approx(paper, abs=1e-3)
    assert shown.exact_errors[0] == pytest.approx(exact, abs=1e-3)
    np.testing.assert_allclose(shown.exact[0], optimum, atol=6e-4)


def test_closed_ended_prompts_are_further_off_for_log(comparison: figures.PaperComparison) -> None:
    assert comparison.train[1].exact_errors[1] == pytest.approx(0.112, abs=1e-3)


def test_dashed_lines_are_the_optima_of_log_and_reciprocal(
    comparison: figures.PaperComparison,
) -> None:
    for panels in (comparison.train, comparison.test):
        for panel, text in ((panels[0], "x"), (panels[1], "log(x)"), (panels[2], "-1/x")):
            np.testing.assert_allclose(panel.paper[0], ct.solve(text, 8).rewards, atol=1e-3)
        assert np.isnan(panels[3].paper_errors).all()


def test_prompt_aware_panels_predict_each_type_by_its_own_utility(
    comparison: figures.PaperComparison,
) -> None:
    aware = figures.paper_steps_data().prompt_aware
    for panel in (comparison.train[3], comparison.test[3], *aware):
        np.testing.assert_array_equal(panel.exact[1], [1, 1, 1, 1, 0, 0, 0, 0])
        np.testing.assert_array_equal(panel.exact[0], ct.solve("-1/(x + 0.1)", 8).rewards)


def test_step_figures_move_towards_the_optimum() -> None:
    data = figures.paper_steps_data()
    for early, late in (data.logsigmoid, data.prompt_aware):
        assert (late.exact_errors < early.exact_errors).all()
    np.testing.assert_allclose(
        data.logsigmoid[0].exact[0], ct.solve(ct.LogSigmoid(4), 8).rewards, atol=1e-12
    )


# -- the other data functions ------------------------------------------------------------------


def test_finite_optimum_data() -> None:
    data = figures.finite_optimum_data("log(x + 0.1)", 8)
    np.testing.assert_array_equal(data.rewards, ct.solve("log(x + 0.1)", 8).rewards)
    np.testing.assert_array_equal(data.ranks, np.arange(1, 9))
    np.testing.assert_array_equal(data.tied, [1, 1, 0, 0, 0, 0, 1, 1])
    # The mass of each atom: docs/theory.md#what-the-papers-experiments-trained.
    share = 0.1839878103439 * 8
    assert (data.curve[data.curve_ranks < 0.5 + share - 1e-9] == 1).all()
    assert (data.curve[data.curve_ranks > 0.6 + share] < 1).all()
    assert (np.diff(data.curve) <= 0).all()


def test_finite_optimum_takes_a_solution_and_a_box() -> None:
    solution = ct.solve(ct.Log(), 5, ct.Box(-2, 2))
    data = figures.finite_optimum_data(solution)
    assert data == figures.finite_optimum_data("log(x)", 5, domain=ct.Box(-2, 2))
    np.testing.assert_array_equal(data.rewards, solution.rewards)
    np.testing.assert_allclose(data.curve[[0, -1]], [2, -2], atol=1e-9)


def test_limit_laws_data() -> None:
    data = figures.limit_laws_data(["x", "log(x)", "1 - exp(-2*x)"])
    np.testing.assert_array_equal(data.atoms[0], [[0, 0.5], [1, 0.5]])
    assert len(data.atoms[1]) == 0
    assert np.isinf(data.densities[1, 0])
    middle = data.places.size // 2
    # docs/theory.md#laws-in-the-box-0-1: the arcsine density 2/pi at 1/2; atoms 1/(2+b), density
    # b/(2+b).
    assert data.densities[1, middle] == pytest.approx(2 / np.pi)
    np.testing.assert_allclose(data.atoms[2], [[0, 0.25], [1, 0.25]], atol=1e-14)
    np.testing.assert_allclose(data.densities[2], 0.5, atol=1e-13)
    assert np.isfinite(data.top)


@pytest.mark.parametrize("bad", [[], 3.0])
def test_limit_laws_wants_laws(bad: Any) -> None:
    with pytest.raises(ct.CollapseError, match="list of utilities or laws"):
        figures.limit_laws_data(bad)


def test_limit_laws_takes_laws_and_one_alone() -> None:
    law = ct.limit("log(x + 0.1)", ct.Box(-1, 1))
    one = figures.limit_laws_data(law)
    assert one == figures.limit_laws_data(["log(x + 0.1)"], domain=(-1, 1))
    assert one == figures.limit_laws_data("log(x + 0.1)", domain=ct.Box(-1, 1))
    # A singular end inside the picture doesn't set its scale.
    two = figures.limit_laws_data([ct.limit("log(x)"), uniform_law(-1, 1)])
    assert two.utilities == ("log(x)", "uniform on [-1, 1]")
    assert two.places[[0, -1]].tolist() == [-1, 1]
    assert two.top < 4
    ax = figures.limit_laws(["x", law], colors=["black", "red"], labels=["a", "b"])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    with pytest.raises(ct.CollapseError, match="2 laws need as many labels"):
        figures.limit_laws(["x", law], labels=["a"])


@ENTRIES
def test_data_are_frozen_values(entry: figures.FigureEntry) -> None:
    data = entry.data()
    assert type(data).from_dict(data.to_dict()) == data
    arrays = [v for v in vars(data).values() if isinstance(v, np.ndarray)]
    assert not any(a.flags.writeable for a in arrays)


# -- drawing -----------------------------------------------------------------------------------


def test_draws_on_a_figure_of_its_own(drawn: Drawn) -> None:
    assert drawn.settings_stay, "the style must not stay behind"
    assert drawn.figure.get_figwidth() in (3.4, 7.0), "one column or two"
    for ax in np.ravel(np.asarray(drawn.axes, dtype=object)):
        assert ax.has_data()


@ENTRIES
@pytest.mark.parametrize("layout", [None, "constrained"])
def test_draws_where_it_is_told(entry: figures.FigureEntry, layout: str | None) -> None:
    figure = plt.figure(figsize=(7, 8), layout=layout)
    place = figure.subplots() if entry.into == "ax" else figure.subfigures(2, 1)[0]
    drawn = entry.draw(**{entry.into: place})
    assert figures.figure_of(drawn) is figure
    assert entry.into == "fig" or drawn is place
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number], "no other figure was opened"


def test_no_text_is_cut_off_or_smaller_than_eight_points(drawn: Drawn) -> None:
    for text in drawn.figure.findobj(matplotlib.text.Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 8, text
    needed = drawn.figure.get_tightbbox().extents
    # A legend's own padding, 0.4 of 8 points, may stick out.
    assert (needed[:2] >= -0.05).all()
    assert (needed[2:] <= drawn.figure.get_size_inches() + 0.05).all()


@pytest.mark.parametrize(
    ("text", "n"),
    [("x", 9), ("x", 2), ("log(x)", 300), ("1 - exp(-20*x)", 60), ("min(x, 1/3)", 8)],
)
def test_finite_optimum_of_many_shapes(text: str, n: int) -> None:
    ax = figures.finite_optimum(text, n)
    ax.figure.canvas.draw()
    shown = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    np.testing.assert_array_equal(np.sort(shown), np.arange(1, n + 1))


def test_ties_are_hollow() -> None:
    ax = figures.finite_optimum("log(x + 0.1)", 8)
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    np.testing.assert_array_equal(hollow[0].get_xdata(), [1, 2, 7, 8])


def test_atoms_are_drawn_as_atoms() -> None:
    ax = figures.limit_laws(["x", "1 - exp(-2*x)", "min(x, 1/2)"])
    twin = next(other for other in ax.figure.axes if other is not ax)
    assert "mass" in twin.get_ylabel()
    heights = [line.get_ydata() for line in twin.lines]
    np.testing.assert_allclose(heights[0], [0.5, 0.5])
    np.testing.assert_allclose(heights[1], [0.25, 0.25])
    np.testing.assert_allclose(heights[2], [1 / 3] * 3)
    places = np.concatenate([line.get_xdata() for line in twin.lines])
    assert np.unique(places.round(6)).size == places.size, "no stem hides another"
    assert places.min() > ax.get_xlim()[0]
    assert places.max() < ax.get_xlim()[1]


def test_a_law_draws_itself() -> None:
    ax = ct.limit("log(x + 0.1)").plot(label="regular")
    assert ct.limit("x").plot(ax, color="black") is ax
    ct.limit("log(x)").plot(ax)
    twins = [other for other in ax.figure.axes if other is not ax]
    assert len(twins) == 1, "one scale of masses for all laws"
    places = np.concatenate([np.asarray(line.get_xdata()) for line in twins[0].lines])
    assert np.unique(places.round(6)).size == places.size, "no stem hides another"
    assert ax.get_xlim()[0] < places.min() < places.max() < ax.get_xlim()[1]
    texts = [text.get_text() for text in ax.legend().get_texts()]
    assert texts == ["regular", "atoms: 0.5 at 0, 0.5 at 1", "Beta(1/2, 1/2) on [0, 1]"]
    # Axes that share their scales keep the larger one.
    fig, (left, right) = plt.subplots(1, 2, sharey=True)
    ct.limit("log(x)").plot(left)
    ct.limit("logsigmoid(9*x)").plot(right)
    assert left.get_ylim()[1] > 2
    assert len(fig.axes) == 3


def test_the_figure_of_an_optimum_names_its_domain() -> None:
    domain = ct.Confined(0.02)
    ax = figures.finite_optimum("logsigmoid(x)", 8, domain=domain, color="red", label="a")
    assert str(domain) in ax.get_title(loc="left")
    assert ax.get_legend_handles_labels()[1][1] == "a"
    assert "Box" not in figures.finite_optimum().get_title(loc="left")


def test_laws_without_atoms_need_no_second_scale() -> None:
    assert len(figures.limit_laws(["log(x)", "-1/x"]).figure.axes) == 1


def test_the_panels_print_the_errors_they_show() -> None:
    axes = figures.paper_comparison()
    texts = {text.get_text() for text in axes[0, 1].texts}
    assert {".100", ".042", ".134", ".112", "largest error"} <= texts
    assert {".063", ".031"} <= {text.get_text() for text in axes[0, 2].texts}


# -- files -------------------------------------------------------------------------------------


def test_saved_files_are_whole(drawn: Drawn, tmp_path) -> None:
    png = figures.save(drawn.axes, tmp_path / "figure.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    size = struct.unpack(">II", png[16:24])
    np.testing.assert_allclose(size, 300 * drawn.figure.get_size_inches(), atol=1)
    pdf = figures.save(drawn.axes, tmp_path / "figure.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf, "fonts are embedded as outlines"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]


def test_files_do_not_hold_the_time_of_writing(tmp_path) -> None:
    # Of one figure drawn twice the numbers may differ in the last digit, but nothing else.
    axes = figures.finite_optimum()
    assert b"/CreationDate" not in figures.save(axes, tmp_path / "figure.pdf").read_bytes()
    assert "<dc:date>" not in figures.save(axes, tmp_path / "figure.svg").read_text("utf-8")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch) -> None:
    drawn = figures.finite_optimum()
    path = figures.save(drawn, tmp_path / "figure.png")
    old = path.read_bytes()

    def full_disk(name, **options):
        name.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(name))

    monkeypatch.setattr(drawn.figure, "savefig", full_disk)
    with pytest.raises(OSError, match=r"figure\.png"):
        figures.save(drawn, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("name", ["figure.bmp", "figure"])
def test_unknown_endings_are_refused(name: str, tmp_path) -> None:
    with pytest.raises(ct.CollapseError, match=r"\.pdf, \.png, \.svg"):
        figures.save(figures.finite_optimum(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_unknown_figures_are_refused_by_name() -> None:
    with pytest.raises(ct.CollapseError, match="limit_laws"):
        figures.figure_entry("no_such_figure")


def test_matplotlib_is_loaded_on_drawing_only() -> None:
    code = "import sys, collapse_theory.figures as f; f.paper_steps_data(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "cvxpy", "torch"} & set(found.stdout.split())


# -- the first figure of README, and dark pages -------------------------------------------------


def test_the_story_is_what_the_experiment_measured(tmp_path: Path) -> None:
    import polars as pl

    from collapse_theory.figures.story import KINDS, TRAINED

    data = figures.story_data()
    # docs/experiment.md: with one utility the kinds end together, with two apart, as computed.
    apart = np.abs(data.means[:, :, 0] - data.means[:, :, 1]).mean(axis=-1)
    np.testing.assert_allclose(apart[:, 0], [0.001, 0.185], atol=1e-3)
    np.testing.assert_allclose(
        data.errors.max(axis=-1), [[0.002, 0.025], [0.003, 0.020]], atol=6e-4
    )
    # Another experiment's table: two prompts of each kind, three completions, two steps.
    rows = [
        (utility, "", 0, step, split, kind, rank, 1 - rank / 2 - 0.1 * prompt * step)
        for utility in TRAINED
        for step in (1, 2)
        for split in ("train", "held_out")
        for kind in KINDS
        for prompt in (0, 1)
        for rank in range(3)
    ]
    names = ("utility", "control", "seed", "step", "split", "kind", "rank", "reward")
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(tmp_path / "runs.parquet")
    found = figures.story_data(tmp_path / "runs.parquet")
    np.testing.assert_allclose(found.means, np.broadcast_to([0.9, 0.4, -0.1], (2, 2, 2, 3)))


def test_a_dark_figure_is_light_on_dark_and_leaves_its_own_colours(tmp_path: Path) -> None:
    axes = figures.story()
    before = figures.save(axes, tmp_path / "before.png").read_bytes()
    pixels = plt.imread(figures.save(axes, tmp_path / "dark.png", dark=True))[..., :3]
    assert figures.save(axes, tmp_path / "after.png").read_bytes() == before
    assert np.median(pixels) < 0.1
    assert pixels.min() > 0.05  # nothing that was black is black on the dark page
    light = plt.imread(tmp_path / "before.png")[..., :3]
    ink, dark_ink = (
        np.abs(image - np.median(image)).max(axis=-1) > 0.3 for image in (light, pixels)
    )
    assert dark_ink.sum() > 0.6 * ink.sum()


def test_a_backend_that_is_loaded_in_the_style_stays_interactive() -> None:
    """Notebooks show figures of an interactive pyplot alone, and load it at the first figure."""
    with matplotlib.rc_context({"interactive": False}):
        with figures.style():
            plt.ion()
        assert matplotlib.is_interactive()
