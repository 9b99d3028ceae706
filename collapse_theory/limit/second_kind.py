"""U'(0) finite: V'' = 0 on the support is a Fredholm equation of the second kind for the density.

With the density rho on an interval, and U(|x-y|) differentiated twice,

    2 U'(0) rho(x) + ∫ U''(|x-y|) rho(y) dy = source(x),

where what the law is held by gives the source (docs/theory.md#a-finite-slope-at-0-atoms-regular):

- a wall: an atom a at each end, which adds -a (U''(x) + U''(length - x));
- a penalty k x**2, or none, on a support whose ends are unknown: the constant k.

The series for rho has a or k as a further unknown, and mass 1 as a further equation: so bordered,
the system stays regular at k = 0 and as a falls to 0, where without it there is a null vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from collapse_theory.limit.coordinate import Grading, Level, Rule, SeriesLaw, kept
from collapse_theory.numerics.quadrature import Nodes, layered_sides
from collapse_theory.numerics.series import contract, contract_difference
from collapse_theory.utilities.base import Utility

# Numbers of terms that are tried, each by 4/3 to 3/2 larger.
_COUNTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
_LAYER_GAPS = np.geomspace(1e-17, 1.0, 120)  # gaps at which slopes tell the layer
# A series whose last coefficients, or whose rule of quadrature, miss by more has not settled.
_SETTLED_MISFIT = 1e-11
# Where this was reached and more terms make it worse, they bring rounding alone.
SETTLING_MISFIT = 1e-3
# Where U' falls this far, the differences rho(x) - rho(y) are formed without cancellation, which
# takes several times as long: up to so many terms.
_STEEP_SLOPE, _STEEP_TERMS = 1e-4, 256


def walled(utility: Utility, grading: Grading) -> Iterator[SeriesLaw]:
    """Yield laws on [0, 1] with V'' = 0, of more and more terms, once they have settled."""
    best, worse = None, 0
    for count in _COUNTS:
        found = level(utility, grading, count)
        if best is None or not best.misfit <= found.misfit:  # NaN is no better
            best, worse = found, 0
        else:
            worse += 1
        if found.misfit < _SETTLED_MISFIT:
            yield found.law
        elif (worse > 1 and best.misfit < SETTLING_MISFIT) or count == _COUNTS[-1]:
            yield best.law
            return


class _Points(NamedTuple):
    """The points of collocation, and the terms there; the last row of the rule is for x = 0."""

    x: np.ndarray
    angle: np.ndarray
    values: np.ndarray
    rule: Rule


@kept
def _collocation(grading: Grading, count: int) -> _Points:
    x = grading.points(count)
    sides = layered_sides(np.append(x, 0.0), grading.scale, rule_size(count))
    rule = Rule.of(np.arange(count + 1), Nodes.joined(*sides), grading, 0.0, count)
    angle = np.arccos(grading.sigma(x, 1.0 - x))[:, None]
    return _Points(x, angle, np.cos(2.0 * angle * np.arange(count)), rule)


def level(utility: Utility, grading: Grading, count: int, radius: float | None = None) -> Level:
    """Return the law of `count` terms with V'' = 0 on [-radius, radius], or in the unit box.

    Collocation at `count` points. As 2 U'(0) = ∫ -U''(|x-y|) dy + U'(x) + U'(length - x), the
    left side is, with the integral by the same rule,

        ∫ -U''(|x-y|) (rho(x) - rho(y)) dy + (U'(x) + U'(length - x)) rho(x):

    an equation for differences of rho, and the rule is checked by it.
    """
    length = 1.0 if radius is None else 2.0 * radius
    x, angle, values, rule = _collocation(grading, count)
    kernel = -length * utility.curvature(length * rule.gap)
    kernel[-1] = 1.0  # the last row gives the masses of the terms
    rest = utility.slope(length * x) + utility.slope(length * (1.0 - x))
    row, twice_slope = (kernel * rule.weight)[:-1].sum(axis=1), 2.0 * utility.slope_at_zero
    if rest.min() < _STEEP_SLOPE * twice_slope and count <= _STEEP_TERMS:
        apart = grading.difference(x, rule.y[:-1], rule.gap[:-1])
        there = np.arccos(np.clip(rule.sigma[:-1], -1.0, 1.0))
        kernel *= rule.weight
        matrix = contract_difference(kernel[:-1], angle, there, apart, count)
        masses = contract(kernel[-1:], rule.sigma[-1:], count)[0]
    else:
        sums = rule.rows(kernel, count)
        matrix, masses = row[:, None] * values - sums[:-1], sums[-1]
    matrix += rest[:, None] * values
    missed = float(np.abs((row + rest) / twice_slope - 1.0).max())
    if radius is None:
        source = length * (utility.curvature(x) + utility.curvature(1.0 - x)) / twice_slope
        share = 2.0
    else:
        source, share = -np.ones(count), 0.0
    # In units in which no column is larger than another and the border no larger than the rows: the
    # density may be many orders smaller than the atoms, or larger.
    unit = float(np.abs(source).max()) or 1.0
    bordered = np.empty((count + 1, count + 1))
    bordered[:count, :count], bordered[:count, count] = matrix / twice_slope, source / unit
    bordered[count, :count], bordered[count, count] = masses, share / unit
    bordered[count] *= min(unit, 1.0)
    solution = np.linalg.solve(bordered, np.append(np.zeros(count), min(unit, 1.0)))
    rho, weight = solution[:count], float(solution[count]) / unit
    misfit = max(_tail(rho), missed)
    if radius is None:
        return Level(SeriesLaw(grading, 0.0, rho, weight), 0.0, misfit)
    law = SeriesLaw(grading, 0.0, rho, 0.0, -radius, length)
    return Level(law, weight * twice_slope / length, misfit)


def _tail(series: np.ndarray) -> float:
    """Return the size of the last terms, relative to the largest."""
    return float(np.abs(series[-3:]).max() / np.abs(series).max()) if series.any() else 0.0


def rule_size(count: int) -> int:
    """Return the nodes on each side of x that integrate the kernel times `count` terms."""
    return count + count // 4 + 16


def layer(utility: Utility, length: float) -> float:
    """Return the width of the layers at the ends, over `length`: where U' bends.

    The least over the terms of weight of U'(0)/|U''(0)| and of the gap at which U' has fallen to
    a half, which also sees terms with U''(0) = 0 (tanh, erf).
    """
    gaps = length * _LAYER_GAPS
    with np.errstate(all="ignore"):
        slopes = [weight * term.slope_at_zero for weight, term in utility.terms]
        bends = [-weight * float(term.d2(0.0)) for weight, term in utility.terms]
    total, widths = sum(slopes), [1.0]
    for (weight, term), slope, bend in zip(utility.terms, slopes, bends, strict=True):
        if slope > 1e-6 * total:
            fallen = np.flatnonzero(weight * (term.slope(gaps) + 0.0 * gaps) < 0.5 * slope)
            widths += [slope / bend / length] if bend > 0 else []
            widths += [gaps[fallen[0]] / length] if fallen.size else []
    return float(min(widths))
