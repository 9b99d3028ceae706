"""The figures on limit laws: their numbers against closed forms, expansions and finite optima."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
from scipy.special import roots_jacobi

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import collapse_theory as ct
from collapse_theory import figures
from collapse_theory.limit import FAMILIES

# docs/theory.md#what-the-papers-experiments-trained: from a collocation of the Fredholm
# equation with 200 nodes.
TRAINED = {
    "logsigmoid": (4.0, 0.2040171582345),
    "log": (0.1, 0.1839878103439),
    "reciprocal": (0.1, 0.0894288525506),
}


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def diagram() -> figures.PhaseDiagram:
    return figures.phase_diagram_data()


@pytest.fixture(scope="module")
def rows() -> figures.ConvergenceRows:
    return figures.convergence_data()


# -- the phase diagram -------------------------------------------------------------------------


def test_the_diagram_has_a_panel_a_family(diagram: figures.PhaseDiagram) -> None:
    assert {panel.family for panel in diagram.panels} == set(FAMILIES)
    for panel in diagram.panels:
        parameter, mass = TRAINED[panel.family]
        assert panel.trained == parameter
        assert panel.trained_mass == pytest.approx(mass, abs=1e-12)


def test_masses_run_between_spread_out_and_two_valued(diagram: figures.PhaseDiagram) -> None:
    for panel in diagram.panels:
        steps = np.diff(panel.masses)
        assert (steps < 0).all() if panel.family == "logsigmoid" else (steps > 0).all()
        assert panel.masses.min() < 0.03
        assert panel.masses.max() > 0.45
        assert panel.masses.max() < 0.5
        assert panel.parameters.size >= 50


@pytest.mark.parametrize(
    ("family", "curvature"),
    # U is x - c x**2 but for terms of higher order: c = beta/4, 1/(2 epsilon), 1/epsilon.
    [
        ("logsigmoid", lambda beta: beta / 4),
        ("log", lambda epsilon: 1 / (2 * epsilon)),
        ("reciprocal", lambda epsilon: 1 / epsilon),
    ],
)
def test_nearly_linear_utilities_are_nearly_quadratic(diagram, family: str, curvature) -> None:
    panel = next(panel for panel in diagram.panels if panel.family == family)
    c = curvature(panel.parameters)
    small = c < 0.15
    assert small.sum() >= 3
    # docs/theory.md#laws-in-the-box-0-1: x - c x**2 has the mass (1 - c)/2 at each end.
    assert (np.abs(panel.masses - (1 - c) / 2) < c**2)[small].all()


def test_masses_are_the_tied_shares_of_many_completions(diagram: figures.PhaseDiagram) -> None:
    n = 400
    for panel in diagram.panels:
        for parameter, mass in zip(panel.shown.tolist(), panel.shown_masses, strict=True):
            rewards = ct.solve(FAMILIES[panel.family](parameter), n).rewards
            assert abs((rewards == 1).sum() / n - mass) < 1.5 / n


def test_the_small_pictures_hold_whole_laws(diagram: figures.PhaseDiagram) -> None:
    for panel in diagram.panels:
        assert panel.trained in panel.shown
        for mass, density in zip(panel.shown_masses, panel.densities, strict=True):
            total = 2 * mass + np.trapezoid(density, panel.places)
            # The sum leaves out the layers next to the ends.
            assert total == pytest.approx(1, abs=0.02)


def test_the_diagram_shows_its_data(diagram: figures.PhaseDiagram) -> None:
    axes = figures.phase_diagram()
    assert axes.shape == (3,)
    for ax, panel in zip(axes, diagram.panels, strict=True):
        np.testing.assert_array_equal(ax.lines[1].get_xydata().T, [panel.parameters, panel.masses])
        assert ax.get_xscale() == "log"
        assert len(ax.child_axes) == panel.shown.size
        texts = " ".join(text.get_text() for text in ax.texts)
        assert f"{panel.trained_mass:.4f}" in texts


def test_no_small_picture_covers_another() -> None:
    axes = figures.phase_diagram()
    figure = figures.figure_of(axes)
    figure.canvas.draw()
    boxes = sorted((s.bbox.x0, s.bbox.x1) for ax in axes for s in ax.child_axes)
    ends = np.array(boxes)
    assert (ends[1:, 0] > ends[:-1, 1]).all()
    assert all(s.bbox.y0 > ax.bbox.y1 for ax in axes for s in ax.child_axes)


# -- convergence -------------------------------------------------------------------------------


def wasserstein_to_arcsine(rewards: np.ndarray) -> float:
    """Return ∫ |F_n - F| dx for F = (2/pi) asin sqrt x, by the midpoint rule in the angle."""
    q = (np.arange(400_000) + 0.5) / 400_000
    x = np.sin(0.5 * np.pi * q) ** 2
    empirical = np.searchsorted(np.sort(rewards), x, side="right") / rewards.size
    return float((np.abs(empirical - q) * 0.5 * np.pi * np.sin(np.pi * q)).mean())


def test_log_x_against_jacobi_zeros_and_the_arcsine_law(rows: figures.ConvergenceRows) -> None:
    found = rows.distances[rows.utilities.index("log(x)")]
    for n, distance in zip(rows.n.astype(int).tolist(), found, strict=True):
        # Szego, theorem 6.7.1: 0, 1 and the zeros of the Jacobi polynomial P^(1,1)_(n-2).
        inner = 0.5 * (1 + roots_jacobi(n - 2, 1, 1)[0])
        rewards = np.concatenate([[0.0], inner, [1.0]])
        assert distance == pytest.approx(wasserstein_to_arcsine(rewards), rel=1e-4)


def test_log_x_tends_to_its_own_constant(rows: figures.ConvergenceRows) -> None:
    # The rewards are the quantiles at (i - 3/4)/(n - 1/2): a shift of the distribution function by
    # s/n, s = 1/4 - q/2, against midpoints. n W1 -> ∫ (1/4 + s**2) dF^-1 = 5/16 - 1/(2 pi**2).
    scaled = (rows.n * rows.distances)[rows.utilities.index("log(x)")]
    constant = 5 / 16 - 1 / (2 * np.pi**2)
    assert scaled[-1] == pytest.approx(constant, abs=5e-5)
    np.testing.assert_allclose((scaled - constant)[-4:] * rows.n[-4:], 0.0385, atol=0.003)


@pytest.mark.parametrize("text", ["x**0.5", "log(x + 0.1)", "logsigmoid(4*x)"])
def test_a_quarter_over_n(rows: figures.ConvergenceRows, text: str) -> None:
    # Points in the middle of their shares of a law on [0, 1] are 1/(4n) from it, whatever it is.
    scaled = (rows.n * rows.distances)[rows.utilities.index(text)]
    assert scaled[-1] == pytest.approx(0.25, abs=2e-4)


def test_rates(rows: figures.ConvergenceRows) -> None:
    rates = dict(zip(rows.utilities, rows.rates, strict=True))
    slow = rates.pop("-x**-0.5")
    np.testing.assert_allclose(list(rates.values()), 1, atol=0.01)
    # The sum over neighbours changes J by n**(-1-p) = n**-0.5, which wins in the end.
    assert 0.5 < slow < 0.6


def test_predictions_are_within_a_thousandth_from_32_on(rows: figures.ConvergenceRows) -> None:
    many = rows.n >= 32
    for text, errors in zip(rows.utilities, rows.errors, strict=True):
        assert (errors[many] < (1.3e-3 if text == "-x**-0.5" else 1e-3)).all(), text


def test_errors_are_those_of_the_law_s_own_prediction(rows: figures.ConvergenceRows) -> None:
    at = int(np.flatnonzero(rows.n == 64)[0])
    for text, errors in zip(rows.utilities, rows.errors, strict=True):
        found = np.abs(ct.limit(text).rewards(64) - ct.solve(text, 64).rewards).max()
        assert errors[at] == pytest.approx(found)


def test_uncorrectable_laws_have_distances_but_no_prediction() -> None:
    data = figures.convergence_data(["-1/x"], [8, 16, 32])
    assert np.isnan(data.errors).all()
    assert (np.diff(data.distances) < 0).all()
    figures.figure_of(figures.convergence(["-1/x"], sizes=[8, 16, 32])).canvas.draw()


def test_the_figure_shows_its_data(rows: figures.ConvergenceRows) -> None:
    axes = figures.convergence()
    assert axes.shape == (3,)
    drawn = rows.distances, rows.n * rows.distances, rows.errors
    for values, ax in zip(drawn, axes, strict=True):
        shown = [line.get_ydata() for line in ax.lines if line.get_marker() != "None"]
        np.testing.assert_array_equal(shown, values)
    assert axes[0].get_yscale() == axes[0].get_xscale() == axes[2].get_yscale() == "log"


@pytest.mark.parametrize("bad", [[], "x", ct.Linear()])
def test_convergence_needs_a_list(bad) -> None:
    with pytest.raises(ct.CollapseError, match="list of utilities"):
        figures.convergence_data(bad)


@pytest.mark.parametrize("sizes", [[8], [16, 8], [8, 8]])
def test_convergence_needs_increasing_sizes(sizes: list[int]) -> None:
    with pytest.raises(ct.CollapseError, match="increasing sizes"):
        figures.convergence_data(["x**0.5"], sizes)
