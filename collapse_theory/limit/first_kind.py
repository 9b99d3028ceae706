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
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.limit.coordinate import Grading, Level, Rule, SeriesLaw, kept, rules
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
        return ends(p, -0.5 * (1.0 + p), 4, count)
    return ends(p, 0.5 * (1.0 - p), 4 if p >= 0.25 else 3 if p >= -0.5 else 2, count)


def ends(kernel: float, law: float, order: float, count: int) -> Ends:
    """Return what is singular, for a series of `count` terms."""
    return Ends(kernel, law, int(order), count, nodes=24 + count // 4)


def _least_squares(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all():  # LAPACK may never come back from infinities
        raise np.linalg.LinAlgError("the equations leave float64")
    return np.linalg.lstsq(matrix, right, rcond=1e-15)[0]


class _Points(NamedTuple):
    """Points at which the equation is asked for, and what doesn't depend on the utility there."""

    grading: Grading
    x: np.ndarray
    masses: np.ndarray  # of the terms
    rules: tuple[Any, ...]


@kept
def _walled_points(ends: Ends, count: int) -> _Points:
    grading = Grading(0.0, ends.order)
    x = np.append(grading.points(count + count // 2), 0.0)
    return _Points(grading, x, grading.masses(ends.law, count), potential_rules(grading, x, ends))


@kept
def _free_points(ends: Ends, count: int) -> _Points:
    grading = Grading(0.0, ends.order)
    x = grading.points(count + count // 2)
    found = tuple(_Force.of(grading, part, x[part], ends) for part in batches(x, singular=True))
    return _Points(grading, x, grading.masses(ends.law, count), found)


def level(utility: Utility, count: int, radius: float | None = None) -> Level:
    """Return the law of `count` terms with V level on [-radius, radius], or in the unit box."""
    ends = ends_of(utility, count, radius is None)
    grading, x, masses, rows_of = (_walled_points if radius is None else _free_points)(ends, count)
    if radius is None:
        # T = 1 first; the mass of the solution then gives the level.
        matrix = potential_rows(utility, rows_of, count)
        right, pull = np.ones(matrix.shape[0]), 0.0
        series = _least_squares(matrix, right)
        misfit = float(np.abs(matrix @ series - right).max())
    else:
        rows = np.empty((x.size, count))
        for force in rows_of:
            rows[force.outer.part] = force.rows(utility, 2.0 * radius, count)
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


def potential_rules(grading: Grading, x: np.ndarray, ends: Ends) -> tuple[Rule, ...]:
    """Return rules for T at each x <= 1/2 of the unit box, of laws with the power `ends.law`."""
    return rules(x, partial(singular_sides, ends=ends), grading, ends.law, ends.terms)


def potential_rows(utility: Utility, rules: tuple[Rule, ...], count: int) -> np.ndarray:
    """Return T of each term (y (1-y))**law T_2k(sigma) at the points of the rules."""
    rows = np.empty((sum(rule.part.size for rule in rules), count))
    for rule in rules:
        rows[rule.part] = rule.rows(utility.shortfall(rule.gap, 1.0), count)
    return rows


class _Force(NamedTuple):
    """Rules for ∫ sgn(x-y) U'(length |x-y|) of each term: principal values.

    For p < 0 differences of terms at x - t and x + t have rules of their own.
    """

    outer: Rule
    near: tuple[np.ndarray, ...] | None

    @classmethod
    def of(cls, grading: Grading, part: np.ndarray, x: np.ndarray, ends: Ends) -> _Force:
        """Return the rules at the points x."""
        t, w = next_to(x, ends)
        here = x[:, None]
        below, above = outer_sides(x, ends)
        sides = [below, above._replace(weight=-above.weight)]
        if ends.kernel >= 0:
            # Differences of terms, in plain: what rounding leaves of them is summable.
            sides += [Nodes(t, w, here - t, 1.0 - here + t)]
            sides += [Nodes(t, -w, here + t, 1.0 - here - t)]
        nodes = Nodes.joined(*sides)
        near = None if ends.kernel >= 0 else (t, *_differences(w, here, t, ends))
        return cls(Rule.of(part, nodes, grading, ends.law, ends.terms), near)

    def rows(self, utility: Utility, length: float, count: int) -> np.ndarray:
        """Return the integral of each term at each point."""
        rows = self.outer.rows(utility.slope(length * self.outer.gap), count)
        if self.near is None:
            return rows
        t, change, sigma, weight, a, b, apart = self.near
        slope = utility.slope(length * t)
        rows += contract(slope * change, sigma, count)
        return rows + contract_difference(slope * weight, a, b, apart, count)


def _differences(w: np.ndarray, x: np.ndarray, t: np.ndarray, ends: Ends) -> tuple[Any, ...]:
    """Return what w (f_k(x-t) - f_k(x+t)) of each term f_k = (y c)**law T_2k(sigma) is made of.

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
    return w * change, np.cos(b), w * ((x - t) * (c + t)) ** law, a, b, apart
