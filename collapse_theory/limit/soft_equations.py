"""The equations of a level potential on [-R, R], each solved together with the pull that holds it.

V(x) = 2 ∫ U(|x-y|) dmu(y) - k x**2. The unknowns are a series for the density and k; bordered by
the mass, the equations stay regular at k = 0, where without the border they have a null vector.
"""

from __future__ import annotations

import numpy as np

from collapse_theory.limit.coordinate import Grading
from collapse_theory.limit.soft_law import SoftLaw, soft_ends
from collapse_theory.numerics.quadrature import (
    Ends,
    Nodes,
    batches,
    layered_sides,
    next_to,
    outer_sides,
)
from collapse_theory.numerics.series import contract, contract_difference
from collapse_theory.utilities.base import Utility

__all__ = ["held_by", "rule_size"]

# Where U' falls this far, the differences rho(x) - rho(y) are formed without cancellation.
_STEEP = 1e-4
_STEEP_TERMS = 128


def rule_size(count: int) -> int:
    """Return the nodes on each side of x that integrate the kernel times `count` terms."""
    return count + count // 4 + 16


def held_by(utility: Utility, radius: float, count: int) -> SoftLaw:
    """Return the law on [-radius, radius] with a level potential, and the pull that holds it."""
    with np.errstate(all="ignore"):
        if utility.exponent >= 1.0:
            return _second_kind(utility, radius, count)
        return _first_kind(utility, radius, count)


def _second_kind(utility: Utility, radius: float, count: int) -> SoftLaw:
    """Solve V'' = 0: 2 (2 U'(0) rho(x) + ∫ U''(|x-y|) rho(y) dy) = 2 k, for U'(0) finite."""
    length = 2.0 * radius
    grading = Grading(_width(utility, length))
    angle = (np.arange(count) + 0.5) * (np.pi / count)
    x, values = grading.place(np.cos(0.5 * angle)), np.cos(np.outer(angle, np.arange(count)))
    nodes = Nodes.joined(*layered_sides(x, grading.scale, rule_size(count)))
    kernel = -length * utility.curvature(length * nodes.gap) * nodes.weight
    # As in `limit.regular`: 2 U'(0) by the same rule as the integral, to check the rule and to
    # make the equation one for differences rho(x) - rho(y).
    rest = utility.slope(length * x) + utility.slope(length * (1.0 - x))
    row = kernel.sum(axis=1)
    sigma = grading.sigma(nodes.y, nodes.c)
    exact = 2.0 * utility.slope_at_zero
    if rest.min() < _STEEP * exact and count <= _STEEP_TERMS:
        apart = grading.difference(x, nodes.y, nodes.gap)
        matrix = contract_difference(kernel, grading.sigma(x, 1.0 - x), sigma, apart, count)
    else:
        matrix = row[:, None] * values - contract(kernel, sigma, count)
    matrix += rest[:, None] * values
    ends = Nodes.joined(*layered_sides(np.array([0.0]), grading.scale, rule_size(count)))
    masses = contract(ends.weight, grading.sigma(ends.y, ends.c), count)[0]
    bordered = np.zeros((count + 1, count + 1))
    bordered[:count, :count], bordered[count, :count] = matrix / exact, masses
    bordered[:count, count] = -1.0
    solution = np.linalg.solve(bordered, np.append(np.zeros(count), 1.0))
    g, pull = solution[:count], float(solution[count]) * exact / length
    missed = float(np.abs((row + rest) / exact - 1.0).max())
    tail = float(np.abs(g[-3:]).max() / np.abs(g).max())
    return SoftLaw(radius, grading, 0.0, g, pull, max(tail, missed))


def _width(utility: Utility, length: float) -> float:
    """Return the width of the layers at the ends, over `length`: where U' bends.

    The least over the terms of weight of U'(0)/|U''(0)| and of the gap at which U' has fallen to
    a half, which also sees terms with U''(0) = 0 (tanh, erf).
    """
    gaps = length * np.geomspace(1e-14, 1.0, 99)
    slopes = [weight * term.slope_at_zero for weight, term in utility.terms]
    total, widths = sum(slopes), [1.0]
    for (weight, term), slope in zip(utility.terms, slopes, strict=True):
        if slope > 1e-6 * total:
            bend = -weight * float(term.d2(0.0))
            fallen = np.flatnonzero(weight * (term.slope(gaps) + 0.0 * gaps) < 0.5 * slope)
            widths += [slope / bend / length] if bend > 0 else []
            widths += [gaps[fallen[0]] / length] if fallen.size else []
    return float(np.clip(min(widths), 1e-14, 1.0))


def _first_kind(utility: Utility, radius: float, count: int) -> SoftLaw:
    """Solve V' = 0 by least squares: ∫ sgn(x-y) U'(|x-y|) dmu(y) = k x, for U'(x) ~ x**(p-1).

    Not V = C: moving R by d moves V by d**((3+p)/2) and V' by d**((1+p)/2), so V alone leaves R
    open by 1e-8 at p = 0.9.
    """
    ends = soft_ends(utility, count)
    grading, points = Grading(0.0, ends.order), count + count // 2
    angle = (np.arange(points) + 0.5) * (0.5 * np.pi / points)
    x = grading.place(np.cos(angle))
    rows = np.empty((points, count))
    for part in batches(x):
        rows[part] = _force_rows(utility, 2.0 * radius, grading, x[part], ends)
    y, weight = grading.end_rule(np.array([0.5]), ends.law, count + 8)
    weight = weight * (1.0 - y) ** ends.law * 2.0 * 0.5 ** (1.0 + ends.law)
    masses = contract(weight, grading.sigma(y, 1.0 - y), count)[0]
    # In units of the kernel's size; x = -R (1-2y).
    size = float(np.abs(rows).max() / masses[0])
    matrix = np.zeros((points + 1, count + 1))
    matrix[:-1, :count], matrix[-1, :count] = rows / size, masses
    matrix[:-1, count] = 1.0 - 2.0 * x
    solution = np.linalg.lstsq(matrix, np.append(np.zeros(points), 1.0), rcond=1e-15)[0]
    misfit = float(np.abs(matrix[:-1] @ solution).max())
    g = solution[:count] / float(masses @ solution[:count])
    return SoftLaw(radius, grading, ends.law, g, float(solution[count]) * size / radius, misfit)


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
    apart = -2.0 * upper * np.expm1(ratio) / ((1.0 + lower) * (1.0 + upper))
    total = a + b
    between = -2.0 * np.arcsin(np.clip(0.5 * apart / np.sin(0.5 * total), -1.0, 1.0))
    product = (x + t) * (c - t)
    change = product**law * np.expm1(law * np.log1p(-2.0 * t * (1.0 - 2.0 * x) / product))
    rows = contract(w * change, np.cos(b), ends.terms)
    w = -2.0 * w * ((x - t) * (c + t)) ** law
    # cos 2ka - cos 2kb = -2 sin k(a+b) sin k(a-b), both by recurrence.
    sums = [np.zeros_like(total), np.sin(total), 2.0 * np.cos(total)]
    gaps = [np.zeros_like(total), np.sin(between), 2.0 * np.cos(between)]
    for k in range(1, ends.terms):
        rows[:, k] += np.einsum("iq,iq,iq->i", w, sums[1], gaps[1])
        for s in (sums, gaps):
            s[0], s[1] = s[1], s[2] * s[1] - s[0]
    return rows
