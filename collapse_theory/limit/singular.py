"""Utilities with an infinite slope at 0: a density with algebraic ends, from a level potential."""

from __future__ import annotations

import numpy as np

from collapse_theory.limit.certificate import Certificate, Found, Trial, certify
from collapse_theory.limit.coordinate import Grading
from collapse_theory.numerics.quadrature import Ends, Nodes, batches, singular_sides
from collapse_theory.numerics.series import contract
from collapse_theory.utilities.base import Utility

__all__ = ["collocation_rows", "solve_singular"]

_COUNTS = (24, 32, 40, 56, 72, 96, 128, 192, 256)
# With x as sigma**4 near the ends, corrections x**0.2 to the leading power are smooth enough for
# 1e-12 with 48 terms, and the matrix is not yet singular to rounding.
_ORDER = 4
_AIM = 5e-11
# A fit that misses its own points by more is not worth a certificate, while more terms are cheap.
_COARSE, _CHEAP = (3e-11, 1e-8), 64


def solve_singular(utility: Utility) -> Found:
    r"""Return the limit law of a utility with U'(x) ~ x**(p-1) near 0, -1 < p < 1, on [0, 1].

    The density is (x (1-x))**q G with q = -(1+p)/2, the exponent of the equilibrium measure of
    the Riesz kernel (Saff and Totik; Borodachov, Hardin, Saff), and G a Chebyshev series in a
    graded coordinate, in which the corrections x**(p' - p) and x log x that further terms of U
    bring are smooth. The series is the least-squares solution of T(x) = E at half as many points
    again as it has terms: at as many points as terms, the noise that a graded end lets in shows
    between the points.
    """
    best: Found | None = None
    worse = 0
    needed = _first_count(utility)
    for count in _COUNTS:
        if count < needed:
            continue
        trial, misfit = _fit(utility, count)
        if misfit > _COARSE[count >= _CHEAP] and count < _COUNTS[-1]:
            # Eight more terms gain a factor of 100 at best.
            needed = count + (16 if misfit > 100 * _COARSE[0] else 8)
            continue
        found = Found(trial, _certificate(utility, trial))
        if best is None or found.certificate.gap < 0.5 * best.certificate.gap:
            best, worse = found, 0
        else:
            best = min(best, found, key=lambda f: f.certificate.gap)
            worse += 1
        if worse == 2 or best.certificate.relative_gap <= _AIM:
            break
    assert best is not None
    return best


def _first_count(utility: Utility) -> int:
    """Return the number of terms to begin with: more where the smooth part is steeper.

    It only saves fits: the series grows until the certificate holds, whatever it begins with.
    """
    smooth = [(w, u) for w, u in utility.terms if u.exponent == 1]
    at_zero = sum(w * u.slope_at_zero for w, u in smooth)
    at_one = sum(w * float(u.d1(1.0)) for w, u in smooth)
    return 24 if at_zero <= 5 * at_one else 32 if at_zero <= 20 * at_one else 40


def _ends(utility: Utility, count: int) -> Ends:
    p = utility.exponent
    return Ends(p, -0.5 * (1.0 + p), _ORDER, count, nodes=24 + count // 4)


def _fit(utility: Utility, count: int) -> tuple[Trial, float]:
    """Return the law with `count` coefficients, and how far its T is from level where fitted."""
    grading, ends = Grading(0.0, _ORDER), _ends(utility, count)
    points = count + count // 2
    angle = (np.arange(points) + 0.5) * (0.5 * np.pi / points)
    places = np.append(grading.place(np.cos(angle)), 0.0)
    matrix = collocation_rows(utility, grading, places, ends)
    # T = 1 first; the mass of the solution then gives E.
    series = np.linalg.lstsq(matrix, np.ones(points + 1), rcond=1e-15)[0]
    y, weight = grading.end_rule(np.array([0.5]), ends.law, count + 8)
    weight = weight * (1.0 - y) ** ends.law * 2.0 * 0.5 ** (1.0 + ends.law)
    mass = float(contract(weight, grading.sigma(y, 1.0 - y), count)[0] @ series)
    misfit = float(np.abs(matrix @ series - 1.0).max())
    return Trial(grading, ends.law, series / mass, 0.0), misfit


def collocation_rows(utility: Utility, grading: Grading, x: np.ndarray, ends: Ends) -> np.ndarray:
    """Return T(x) of each basis function at each x."""
    rows = np.empty((x.size, ends.terms))
    for part in batches(x):
        nodes = Nodes.joined(*singular_sides(x[part], ends))
        weight = utility.shortfall(nodes.gap, 1.0) * nodes.weight * (nodes.y * nodes.c) ** ends.law
        rows[part] = contract(weight, grading.sigma(nodes.y, nodes.c), ends.terms)
    return rows


def _certificate(utility: Utility, trial: Trial) -> Certificate:
    ends = _ends(utility, trial.size)
    rule = ends._replace(terms=ends.terms + 8, nodes=ends.nodes + 4)
    finer = ends._replace(terms=ends.terms * 3 // 2, nodes=ends.nodes + 16, smoothing=16)
    return certify(
        utility,
        trial,
        lambda x: singular_sides(x, rule),
        lambda x: singular_sides(x, finer),
    )
