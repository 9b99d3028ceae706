"""The reference: the masses of a grid as a convex program, in CVXPY."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.limit.certificate import rounding
from collapse_theory.limit.lattice import Cells, Points, distinct, kink_points
from collapse_theory.utilities.base import Utility

__all__ = ["GridLaw", "solve_conic"]

# A few hundred cells: the error is of the order of 1/cells.
CELLS = 240
_SOLVERS = ("CLARABEL", "SCS")


class GridLaw(NamedTuple):
    """Masses on a grid, and what they reach: see `certificate.Certificate`.

    `places` holds the points of the masses, or the edges of the cells, one more.
    """

    places: np.ndarray
    masses: np.ndarray
    shortfall: float
    gap: float


def solve_conic(utility: Utility, cells: int = CELLS) -> GridLaw:
    r"""Return the best masses m_i on a grid of [0, 1].

    minimise sum_ij m_i m_j (U(1) - U(|x_i - x_j|)) subject to m >= 0, sum m = 1

    The form is convex where sum m = 0, which is all that counts; a multiple of (sum m)**2 makes it
    convex everywhere, and its rounding is cut off before CVXPY sees it. Where U(0) is finite the
    masses are points, on a grid that holds the points a law with kinks puts atoms on; if few of
    them carry all mass, the program is solved again on those alone, exactly. Else they are cells.
    """
    with np.errstate(all="ignore"):
        finite = np.isfinite(utility(0.0))
    if not finite:
        return _on_cells(Cells(utility, cells))
    places = distinct(
        np.concatenate([np.linspace(0.0, 1.0, cells + 1), kink_points(utility.kinks)])
    )
    found = _on_points(utility, places, _minimise(Points(utility, places).kernel()))
    if utility.kinks:
        polished = _polished(utility, found)
        found = min(found, polished, key=lambda law: law.gap) if polished else found
    return found


def _minimise(kernel: np.ndarray) -> np.ndarray:
    import cvxpy as cp

    size = kernel.shape[0]
    scale = float(kernel.max())
    values, vectors = np.linalg.eigh(kernel / scale + 1.0)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    masses = cp.Variable(size, nonneg=True)
    form: Any = cp.sum_squares(root.T @ masses)
    whole: Any = cp.sum(masses) == 1
    problem = cp.Problem(cp.Minimize(form), [whole])
    for solver in _SOLVERS:
        if solver not in cp.installed_solvers():
            continue
        with warnings.catch_warnings():
            # An inaccurate answer shows in the certificate.
            warnings.simplefilter("ignore")
            try:
                problem.solve(solver=solver)
            except cp.SolverError:
                continue
        if masses.value is not None and np.isfinite(masses.value).all():
            found = np.maximum(masses.value, 0.0)
            found = found + found[::-1] if _mirrors(kernel) else 2.0 * found
            return found / found.sum()
    raise SolverFailed("no conic solver that CVXPY knows returned masses; install clarabel")


def _mirrors(kernel: np.ndarray) -> bool:
    return bool(np.allclose(kernel, kernel[::-1, ::-1], rtol=1e-9, atol=0.0))


def _on_points(utility: Utility, places: np.ndarray, masses: np.ndarray) -> GridLaw:
    kept = masses > 1e-12
    places, masses = places[kept], masses[kept] / masses[kept].sum()
    grid = Points(utility, places)
    shortfall = float(masses @ grid.kernel() @ masses)
    gap = 2.0 * max(shortfall - grid.least(masses), 0.0) + 4.0 * rounding(utility, shortfall)
    return GridLaw(places, masses, shortfall, gap)


def _polished(utility: Utility, law: GridLaw) -> GridLaw | None:
    """Return the law with T level on its heavy points alone, where they carry all mass."""
    heavy = law.masses > 1e-5
    for _ in range(20):
        places = law.places[heavy]
        if places.size > 60:
            return None
        kernel = Points(utility, places).kernel()
        size = places.size
        system = np.block([[kernel, -np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
        masses = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0][:size]
        if masses.min() >= 0:
            return _on_points(utility, places, masses / masses.sum())
        heavy[np.flatnonzero(heavy)[masses < 0]] = False
    return None


def _on_cells(cells: Cells) -> GridLaw:
    kernel = cells.kernel()
    masses = _minimise(kernel)
    shortfall = float(masses @ kernel @ masses)
    offsets = np.linspace(0.0, 0.5, 9)
    least = min(float(cells.potential(masses, float(o)).min()) for o in offsets)
    gap = 2.0 * max(shortfall - least, 0.0) + 4.0 * rounding(cells.utility, shortfall)
    edges = np.linspace(0.0, 1.0, cells.cells + 1)
    return GridLaw(edges, masses, shortfall, gap)
