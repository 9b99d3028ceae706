"""U'(0) infinite: a level potential is an equation of the first kind for the density.

U'(x) ~ x**(p-1) near 0 with -1 < p < 1, p = 0 for log x, allows no atoms. The density is
(y (1-y))**q times a function that is smooth in a graded coordinate, and q depends on what ends the
support (docs/theory.md#an-infinite-slope-at-0-algebraic-ends-singular):

- a wall: q = -(1+p)/2, the exponent of the equilibrium measure of the Riesz kernel (Saff and Totik;
  Borodachov, Hardin, Saff). The equation is T(x) = ∫ (U(1) - U(|x-y|)) dmu(y) = const.
- a penalty k x**2, or none: q = (1-p)/2, one power above (the semicircle for log x; Saff and Totik,
  Logarithmic Potentials with External Fields, ch. IV). The equation is V' = 0, or

      ∫ sgn(x-y) U'(|x-y|) dmu(y) = k x,

  with principal values. Not V = const: moving R by d moves V by d**((3+p)/2) and V' by
  d**((1+p)/2), so V alone leaves R open by 1e-8 at p = 0.9.

Both are solved by least squares at half as many points again as the series has terms: at as many
points as terms, the noise that a graded end lets in shows between the points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from collapse_theory.limit.coordinate import Grading, Level, SeriesLaw
from collapse_theory.numerics.quadrature import (
    Ends,
    Nodes,
    batches,
    next_to,
    outer_sides,
    singular_sides,
)
from collapse_theory.numerics.series import contract, contract_difference
from collapse_theory.utilities.base import Utility

# Numbers of terms that are tried, each by 4/3 to 3/2 larger.
_COUNTS = (24, 32, 40, 56, 72, 96, 128, 192, 256)
# A fit that misses its own points by more is not worth a certificate, while more terms are cheap.
_COARSE_MISFIT, _COARSE_LONG_MISFIT, _CHEAP_COUNT = 3e-11, 1e-8, 64


def walled(utility: Utility) -> Iterator[SeriesLaw]:
    """Yield laws on [0, 1] with T level, of more and more terms, where the fit is good enough."""
    needed = _first_count(utility)
    for count in _COUNTS:
        if count < needed:
            continue
        found = level(utility, count)
        enough = _COARSE_LONG_MISFIT if count >= _CHEAP_COUNT else _COARSE_MISFIT
        if found.misfit > enough and count < _COUNTS[-1]:
            # Eight more terms gain a factor of 100 at best.
            needed = count + (16 if found.misfit > 100 * _COARSE_MISFIT else 8)
            continue
        yield found.law


def _first_count(utility: Utility) -> int:
    """Return the number of terms to begin with: more where the smooth part is steeper.

    It only saves fits: the series grows until the certificate holds, whatever it begins with.
    """
    smooth = [(w, u) for w, u in utility.terms if u.exponent == 1]
    at_zero = sum(w * u.slope_at_zero for w, u in smooth)
    at_one = sum(w * float(u.d1(1.0)) for w, u in smooth)
    return 24 if at_zero <= 5 * at_one else 32 if at_zero <= 20 * at_one else 40


def ends_of(utility: Utility, count: int, wall: bool) -> Ends:
    """Return what is singular, for a series of `count` terms, and the root taken at the ends.

    Further terms of U bring powers x**(p'-p) and x log x. With the fourth root corrections x**0.2
    are smooth enough for 1e-12 with 48 terms, and the matrix is not yet singular to rounding;
    without a wall rounding near the end shows sooner, and the root is lower where p is.
    """
    p = utility.exponent
    if wall:
        return Ends(p, -0.5 * (1.0 + p), 4, count, nodes=24 + count // 4)
    order = 4 if p >= 0.25 else 3 if p >= -0.5 else 2
    return Ends(p, 0.5 * (1.0 - p), order, count, nodes=24 + count // 4)


def _least_squares(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all():  # LAPACK may never come back from infinities
        raise np.linalg.LinAlgError("the equations leave float64")
    return np.linalg.lstsq(matrix, right, rcond=1e-15)[0]


def level(utility: Utility, count: int, radius: float | None = None) -> Level:
    """Return the law of `count` terms with V level on [-radius, radius], or in the unit box."""
    ends = ends_of(utility, count, radius is None)
    grading = Grading(0.0, ends.order)
    x = grading.points(count + count // 2)
    masses = grading.masses(ends.law, count)
    if radius is None:
        # T = 1 first; the mass of the solution then gives the level.
        matrix = potential_rows(utility, grading, np.append(x, 0.0), ends)
        right, pull = np.ones(matrix.shape[0]), 0.0
        series = _least_squares(matrix, right)
        misfit = float(np.abs(matrix @ series - right).max())
    else:
        rows = np.empty((x.size, count))
        for part in batches(x, singular=True):
            rows[part] = _force_rows(utility, 2.0 * radius, grading, x[part], ends)
        # In units of the kernel's size; the place is -R (1-2y). Bordered by the mass, the
        # equations stay regular at k = 0, where without the border they have a null vector.
        size = float(np.abs(rows).max() / masses[0])
        matrix = np.zeros((x.size + 1, count + 1))
        matrix[:-1, :count], matrix[-1, :count] = rows / size, masses
        matrix[:-1, count] = 1.0 - 2.0 * x
        solution = _least_squares(matrix, np.append(np.zeros(x.size), 1.0))
        misfit = float(np.abs(matrix[:-1] @ solution).max())
        series, pull = solution[:count], float(solution[count]) * size / radius
    series = series / float(masses @ series)
    support = (0.0, 1.0) if radius is None else (-radius, 2.0 * radius)
    return Level(SeriesLaw(grading, ends.law, series, 0.0, *support), pull, misfit)


def potential_rows(utility: Utility, grading: Grading, x: np.ndarray, ends: Ends) -> np.ndarray:
    """Return T(x) of each term (y (1-y))**law T_2k(sigma), at each x <= 1/2 of the unit box."""
    rows = np.empty((x.size, ends.terms))
    for part in batches(x, singular=True):
        nodes = Nodes.joined(*singular_sides(x[part], ends))
        weight = utility.shortfall(nodes.gap, 1.0) * nodes.weight * (nodes.y * nodes.c) ** ends.law
        rows[part] = contract(weight, grading.sigma(nodes.y, nodes.c), ends.terms)
    return rows


def _force_rows(
    utility: Utility, length: float, grading: Grading, x: np.ndarray, ends: Ends
) -> np.ndarray:
    """Return ∫ sgn(x-y) U'(length |x-y|) of each term at each x: principal values."""
    t, w = next_to(x, ends)
    w, here = w * utility.slope(length * t), x[:, None]
    below, above = outer_sides(x, ends)
    outer = [side.weight * utility.slope(length * side.gap) for side in (below, above)]
    y, c, kernel = [below.y, above.y], [below.c, above.c], [outer[0], -outer[1]]
    if ends.kernel >= 0:
        # Differences of terms, in plain: what rounding leaves of them is summable.
        y, c = [*y, here - t, here + t], [*c, 1.0 - here + t, 1.0 - here - t]
        kernel += [w, -w]
    place, other = np.concatenate(y, axis=1), np.concatenate(c, axis=1)
    weight = np.concatenate(kernel, axis=1) * (place * other) ** ends.law
    rows = contract(weight, grading.sigma(place, other), ends.terms)
    return rows if ends.kernel >= 0 else rows + _differences(w, here, t, ends)


def _differences(w: np.ndarray, x: np.ndarray, t: np.ndarray, ends: Ends) -> np.ndarray:
    """Return sum_q w[i, q] (f_k(x-t) - f_k(x+t)) of each term f_k = (y c)**law T_2k(sigma).

    Nothing cancels: with r = (y/c)**(1/order), cos(a) = sigma = (1-r)/(1+r) has
    sin(a/2)**2 = r/(1+r), and r and y c at x - t and x + t come from each other by log1p.
    """
    order, law, c = ends.order, ends.law, 1.0 - x
    upper = ((x + t) / (c - t)) ** (1.0 / order)
    ratio = (np.log1p(-2.0 * t / (x + t)) + np.log1p(-2.0 * t / (c + t))) / order
    lower = upper * np.exp(ratio)
    a, b = (2.0 * np.arcsin(np.sqrt(r / (1.0 + r))) for r in (lower, upper))
    apart = 2.0 * upper * np.expm1(ratio) / ((1.0 + lower) * (1.0 + upper))
    product = (x + t) * (c - t)
    change = product**law * np.expm1(law * np.log1p(-2.0 * t * (1.0 - 2.0 * x) / product))
    rows = contract(w * change, np.cos(b), ends.terms)
    return rows + contract_difference(w * ((x - t) * (c + t)) ** law, a, b, apart, ends.terms)
