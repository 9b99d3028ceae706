"""A density by its distance from one end: a power law in the first cell, Legendre series beyond.

On the cell before the first edge e the density is C d**p; on each panel between two edges it is a
Legendre series in s, which falls from 1 at the near edge to -1 at the far one. Panels double in
width away from an end, so that a power or a layer there is smooth on each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import finite, finite_array
from collapse_theory.numerics.roots import invert_increasing
from collapse_theory.values import Array, Value

Side = Callable[[np.ndarray], np.ndarray]  # a density by the distance from one end

# A singularity as far from a panel as the panel is wide leaves (3 + 8**0.5)**-20 = 5e-16.
_TERMS = 20
# Of a panel's series the last terms may be this much of the whole mass, and of the panel's own.
_TAIL_TERMS, _OWN_TAIL_TERMS = 2e-15, 5e-12
# Terms this small that no longer fall are the rounding of the density: halving can't shorten them.
# (In thin tails there is more of it: a density with cancellation, or a series' far end.)
_NOISE_TERMS, _OWN_NOISE_TERMS = 1e-10, 1e-6
_NO_MASS = 1e-300  # of the whole mass: beneath this a panel needs no digits of its own
_MOST_ROUNDS, _MOST_PANELS = 60, 4000
# The first cell: the mass that its power law misplaces, and how far the density may be from it;
# within this share of the support no weight tells points apart.
_MISPLACED_MASS, _BENT_DENSITY, _INNERMOST_SHARE = 1e-17, 1e-13, 1e-20
_SMALLEST_DISTANCE = 1e-290
_INVERSE_CELLS = 64  # of a panel, between whose ends an inverse is nearly a cubic
_BLOCK = 4096  # points: what a sum holds of them stays in a processor's caches


@cache
def _rule() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss's nodes by 1 - s, their weights, and the matrix from values there to a series."""
    s, weights = np.polynomial.legendre.leggauss(_TERMS)
    basis = np.polynomial.legendre.legvander(s, _TERMS - 1) * weights[:, None]
    return 1.0 - s[::-1], weights, (basis * (np.arange(_TERMS) + 0.5))[::-1]


def _sums(
    delta: np.ndarray, i: np.ndarray, series: np.ndarray | None, integrals: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_k series[k, i] P_k(1 - delta) and sum_k integrals[k, i] (P_{k+1} - P_k).

    The recurrence runs on the differences (Reinsch's form of it), in which delta enters as a
    product: accurate as delta -> 0, where 1 - delta would round. It runs a term at a time: no array
    but those of the points is made, and a point's digits don't depend on how many points are asked
    for, as quantiles are put right by comparing values of one point and of many. What isn't asked
    for is 0.
    """
    value, step, new = np.ones_like(delta), -delta, np.empty_like(delta)
    total = area = np.zeros_like(delta)
    if series is not None:
        total = series[0].take(i)
    if integrals is not None:
        area = integrals[0].take(i) * step
    asked = integrals if series is None else series
    assert asked is not None
    for k in range(1, len(asked)):
        value += step
        np.multiply(delta, value, out=new)
        new *= -(2 * k + 1) / (k + 1)
        step *= k / (k + 1)
        new += step
        step, new = new, step
        if series is not None:
            total += series[k].take(i) * value
        if integrals is not None:
            area += integrals[k].take(i) * step
    return total, area


def _in_blocks(method: Callable[[Any, np.ndarray], np.ndarray]) -> Any:
    """Make a method take its points by as many as stay in a processor's cache."""

    @wraps(method)
    def blocks(panels: Any, points: np.ndarray) -> np.ndarray:
        if points.size <= _BLOCK:
            return method(panels, points)
        out = np.empty_like(points)
        for start in range(0, points.size, _BLOCK):
            out[start : start + _BLOCK] = method(panels, points[start : start + _BLOCK])
        return out

    return blocks


def _integral_series(series: np.ndarray) -> np.ndarray:
    """Return b with ∫ sum_k a_k P_k from 1 - delta to 1 = sum_k b_k (P_{k+1} - P_k)(1 - delta).

    From ∫_s^1 P_k = (P_{k-1}(s) - P_{k+1}(s)) / (2k+1).
    """
    share = series / (2.0 * np.arange(len(series)) + 1.0)[:, None]
    share[:-1] += share[1:]
    return -share


def _twice_integral_series(series: np.ndarray) -> np.ndarray:
    """Return the series of the integral of what `_integral_series` stands for, in the same form."""
    once, pad = _integral_series(series), np.zeros((1, series.shape[1]))
    return _integral_series(np.concatenate([pad, once]) - np.concatenate([once, pad]))


@dataclass(frozen=True, eq=False)
class Panels(Value):
    """One side of a density, from an end of its support to the seam where the other side begins.

    Parameters
    ----------
    edges : (m+1,) array
        Distances from the end, increasing.
    rows : (m, k) array
        Legendre coefficients of the density on each panel [edges_i, edges_{i+1}].
    exponent, first : float
        Where edges_0 > 0: p > -1 of the power law C d**p before it, and the mass there.

    Raises
    ------
    CollapseError
        A ValueError, for edges that don't increase or shapes that don't agree.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.laws import Panels
    >>> half = Panels([0.0, 1.0], [[0.5]])  # 1/2 up to the distance 1
    >>> half.mass, half.density(np.array([0.3]))
    (0.5, array([0.5]))
    """

    edges: Array
    rows: Array
    exponent: float = 0.0
    first: float = 0.0

    def __post_init__(self) -> None:
        self._set(edges=finite_array(self.edges, "edges", 1))
        self._set(rows=finite_array(self.rows, "rows", 2))
        self._set(exponent=finite(self.exponent, "exponent"), first=finite(self.first, "first"))
        super().__post_init__()
        edges, rows = self.edges, self.rows
        if edges.size < 2 or edges[0] < 0 or not (np.diff(edges) > 0).all():
            raise CollapseError(f"edges must be two or more increasing distances, not {edges}")
        if rows.shape[0] != edges.size - 1 or rows.shape[1] == 0:
            raise CollapseError(
                f"{edges.size - 1} panels need as many rows, not the shape {rows.shape}"
            )
        if not self.exponent > -1:
            raise CollapseError(f"the exponent at an end must be above -1, not {self.exponent}")

    def scaled(self, length: float, factor: float = 1.0) -> Self:
        """Return the panels with distances times `length` and masses times `factor`."""
        rows = self.rows * (factor / length)
        return type(self)(self.edges * length, rows, self.exponent, self.first * factor)

    @property
    def seam(self) -> float:
        """The distance of the last edge."""
        return float(self.edges[-1])

    @property
    def mass(self) -> float:
        """The whole mass."""
        return float(self.masses[-1])

    @property
    def moment(self) -> float:
        """∫ d times the density."""
        return self.seam * self.mass - float(self._areas[-1])

    @cached_property
    def widths(self) -> np.ndarray:
        """Widths of the panels, (m,)."""
        return np.diff(self.edges)

    def lowest(self, scale: float) -> float:
        """Return the least of the density at the edges, and of its means, in units of `scale`.

        Where the density is higher, in units of its own: there rounding is larger, too.
        """
        signs = 1.0 - 2.0 * (np.arange(self.rows.shape[1]) % 2)
        heights = np.stack([self.rows.sum(axis=1), self.rows @ signs, self.rows[:, 0]])
        units = np.maximum(np.abs(self.rows).max(axis=1), scale)
        return min(float((heights / units).min()), self.first)

    @cached_property
    def _series(self) -> tuple[np.ndarray, np.ndarray]:
        series = np.ascontiguousarray(self.rows.T)
        return series, _integral_series(series)

    @cached_property
    def _twice(self) -> np.ndarray:
        return _twice_integral_series(self._series[0])

    @cached_property
    def masses(self) -> np.ndarray:
        """Mass nearer to the end than each edge, (m+1,)."""
        return np.cumsum(np.append(self.first, self.widths * self.rows[:, 0]))

    @cached_property
    def _areas(self) -> np.ndarray:
        """The integral of the mass nearer to the end, up to each edge."""
        slopes = self.rows[:, 1] if self.rows.shape[1] > 1 else 0.0
        each = 0.5 * self.widths**2 * (self.rows[:, 0] + slopes / 3.0)
        each += self.masses[:-1] * self.widths
        return np.cumsum(np.append(self.first * self.edges[0] / (2.0 + self.exponent), each))

    def spread(self, center: float) -> float:
        """Return ∫ (d - center)**2 times the density."""
        half = 0.5 * self.widths
        middle = self.edges[:-1] + half - center
        a = np.zeros((3, half.size))
        a[: min(3, self.rows.shape[1])] = self.rows.T[:3]
        # ∫ (middle - half s)**2 (a_0 + a_1 P_1 + a_2 P_2), over two.
        each = middle**2 * a[0] - 2 * middle * half * a[1] / 3 + half**2 * (a[0] + 0.4 * a[2]) / 3
        p, e = self.exponent, float(self.edges[0])
        first = center**2 - 2.0 * center * e * (1 + p) / (2 + p) + e**2 * (1 + p) / (3 + p)
        return float((2 * half * each).sum()) + self.first * first

    def _place(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the panel of each distance, and 1 - s within it."""
        i = np.searchsorted(self.edges, d, side="right") - 1
        i = np.clip(i, 0, self.widths.size - 1)
        return i, np.clip(2.0 * (d - self.edges[i]) / self.widths[i], 0.0, 2.0)

    def _first_cell(self, d: np.ndarray, out: np.ndarray, height: float, power: float) -> Any:
        """Return `out` with height (d/edges_0)**power in the first cell."""
        inner = d < self.edges[0]
        if inner.any():
            with np.errstate(divide="ignore", over="ignore"):  # infinite at the very end
                out[inner] = (d[inner] / self.edges[0]) ** power * height if height else 0.0
        return out

    @_in_blocks
    def density(self, d: np.ndarray) -> np.ndarray:
        """Return the density at the distances `d`."""
        i, delta = self._place(d)
        out = _sums(delta, i, self._series[0], None)[0]
        height = self.first * (1.0 + self.exponent) / (self.edges[0] or 1.0)
        return self._first_cell(d, out, height, self.exponent)

    @_in_blocks
    def mass_within(self, d: np.ndarray) -> np.ndarray:
        """Return the mass nearer than `d`."""
        i, delta = self._place(d)
        inside = _sums(delta, i, None, self._series[1])[1]
        out = self.masses[i] + 0.5 * self.widths[i] * inside
        return self._first_cell(d, out, self.first, 1.0 + self.exponent)

    @_in_blocks
    def area_within(self, d: np.ndarray) -> np.ndarray:
        """Return the integral of the mass nearer than t over t up to `d`."""
        i, delta = self._place(d)
        half = 0.5 * self.widths[i]
        out = self._areas[i] + half * delta * self.masses[i]
        out += half**2 * _sums(delta, i, None, self._twice)[1]
        return np.maximum(self._first_cell(d, out, self._areas[0], 2.0 + self.exponent), 0.0)

    @_in_blocks
    def distance_holding(self, target: np.ndarray) -> np.ndarray:
        """Return the distances within which the masses `target` lie."""
        i = np.searchsorted(self.masses, target, side="left") - 1
        i = np.clip(i, 0, self.widths.size - 1)
        half = 0.5 * self.widths[i]
        wanted = np.maximum(target - self.masses[i], 0.0)
        start = self._near_inverse(i, wanted)

        def evaluate(delta: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            slope, area = _sums(delta, i[active], *self._series)
            return half[active] * area, half[active] * slope

        zero, two = np.zeros_like(half), np.full_like(half, 2.0)
        out = self.edges[i] + half * invert_increasing(evaluate, wanted, zero, two, start)
        inner = target < self.first
        if inner.any():
            share = (target[inner] / self.first) ** (1.0 / (1.0 + self.exponent))
            out[inner] = np.maximum(self.edges[0] * share, 1e-300)
        return np.where(target > 0.0, out, 0.0)

    @cached_property
    def _inverse(self) -> tuple[np.ndarray, np.ndarray]:
        """The mass from each panel's start to points of it, (m, points), and 1/density there.

        Where these give no slope, for masses that don't rise, it is NaN.
        """
        s = np.linspace(1.0, -1.0, _INVERSE_CELLS + 1)
        values = np.polynomial.legendre.legvander(s, self.rows.shape[1])
        half = 0.5 * self.widths[:, None]
        series, integrals = (part.T for part in self._series)
        mass, slope = half * (integrals @ np.diff(values).T), half * (series @ values[:, :-1].T)
        rising = np.diff(mass, axis=1, prepend=-1.0, append=np.inf) > 0
        with np.errstate(all="ignore"):
            return mass, np.where(rising[:, :-1] & rising[:, 1:] & (slope > 0), 1.0 / slope, np.nan)

    @cached_property
    def _held(self) -> np.ndarray:
        """The mass nearer to the end than all those points, one panel after the other."""
        return np.maximum.accumulate((self.masses[:-1, None] + self._inverse[0]).ravel())

    def _near_inverse(self, i: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return 1 - s about where the panel i holds `wanted`: cubics between known points."""
        mass, slope = self._inverse
        share = wanted / np.maximum(mass[i, -1], 1e-300)
        row = (_INVERSE_CELLS + 1) * i
        k = np.searchsorted(self._held, wanted + self.masses[i], side="right") - 1 - row
        k = np.clip(k, 0, _INVERSE_CELLS - 1)
        low, high, cell = mass[i, k], mass[i, k + 1], 2.0 / _INVERSE_CELLS
        with np.errstate(all="ignore"):
            t, rise = (wanted - low) / (high - low), (high - low) / cell
            a, b = rise * slope[i, k], rise * slope[i, k + 1]
            inside = t + t * (1 - t) * ((a - 1) * (1 - t) + (1 - b) * t)
        found = cell * (k + np.clip(inside, 0.0, 1.0))
        plain = 2.0 * np.clip(share, 1e-3, 1.0)
        return np.where(np.isfinite(inside) & (found > 0), found, plain)

    def points(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and masses that stand for the density in integrals, on other panels."""
        nodes = gauss_nodes(edges[:-1], edges[1:])
        masses = (0.5 * np.diff(edges)[:, None] * _rule()[1]).ravel() * self.density(nodes)
        center = edges[0] * (1.0 + self.exponent) / (2.0 + self.exponent)
        return np.append(center, nodes), np.append(self.mass_within(edges[:1]), masses)


def gauss_nodes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return Gauss's nodes on the panels [left, right], one panel after the other."""
    return (left[:, None] + (right - left)[:, None] * (0.5 * _rule()[0])).ravel()


def doubling(first: float, last: float) -> np.ndarray:
    """Return distances from about `first` that double up to `last`."""
    count = max(int(np.ceil(np.log2(last / first))), 0)
    return last * 2.0 ** np.arange(-count, 1.0)


def first_edge(density: Side, half: float, exponent: float) -> float:
    """Return how far from an end the density is C d**exponent, to rounding in its mass."""
    for count in (128, 1000):
        d = half * 2.0 ** -np.arange(1.0, count)
        d = d[d > _SMALLEST_DISTANCE]
        values = density(d)
        with np.errstate(all="ignore"):
            masses = np.abs(values) * d / (1.0 + exponent)
            bent = np.abs(values[:-1] / values[1:] * 2.0**-exponent - 1.0)
            total = float(np.nansum(masses))
            nothing = masses[:-1] <= _NO_MASS * total
            close = (bent <= _BENT_DENSITY) | (d[:-1] <= _INNERMOST_SHARE * half)
            good = (masses[:-1] * bent <= _MISPLACED_MASS * total) & close | nothing
        # Three in a row, as the density may cross its power law.
        good = np.flatnonzero(good[:-2] & good[1:-1] & good[2:])
        if good.size:
            return float(d[good[0]])
    return float(d[-1])


def fitted(density: Side, edges: np.ndarray, exponent: float = 0.0) -> Panels:
    """Return series for a density, on panels that are halved until each is resolved.

    A panel is resolved where the last terms of its series are small beside the whole mass and
    beside its own: exponentially small tails keep their digits.
    """
    first = 0.0
    if edges[0] > 0:
        first = float(density(edges[:1])[0] * edges[0] / (1.0 + exponent))
    left, right, found, count = edges[:-1], edges[1:], first, 0
    done: list[tuple[np.ndarray, np.ndarray]] = []
    for round_ in range(_MOST_ROUNDS):
        values = density(gauss_nodes(left, right)).reshape(-1, _TERMS)
        rows = values @ _rule()[2]
        width = right - left
        terms = np.abs(rows) * width[:, None]
        middle = 0.5 * (left + right)
        # At a jump panels are halved down to neighbouring floats.
        wrong = _unresolved(terms, found + float(terms[:, 0].sum()))
        wrong &= (left < middle) & (middle < right)
        found += float(terms[~wrong, 0].sum())
        done.append((left[~wrong], rows[~wrong]))
        count += int(wrong.sum()) + len(left)
        if not wrong.any() or count > _MOST_PANELS or round_ == _MOST_ROUNDS - 1:
            done.append((left[wrong], rows[wrong]))
            break
        near, middle, far = left[wrong], middle[wrong], right[wrong]
        left, right = np.concatenate([near, middle]), np.concatenate([middle, far])
    starts, rows = (np.concatenate(each) for each in zip(*done, strict=True))
    order = np.argsort(starts)
    return Panels(np.append(starts[order], edges[-1]), _trimmed(rows[order]), exponent, first)


def _unresolved(terms: np.ndarray, total: float) -> np.ndarray:
    """Return which series, by the masses of their terms, need shorter panels."""
    own, tail = terms.max(axis=1), terms[:, -2:].max(axis=1)
    falls = tail <= 0.05 * terms[:, 10:16].max(axis=1)
    of_all = (tail > _TAIL_TERMS * total) & (falls | (tail > _NOISE_TERMS * own))
    of_own = (tail > _OWN_TAIL_TERMS * own) & (falls | (tail > _OWN_NOISE_TERMS * own))
    return of_all | (of_own & (own > _NO_MASS * total))


def _trimmed(rows: np.ndarray) -> np.ndarray:
    """Return the rows without the last terms, where all of these are rounding."""
    size = np.abs(rows)
    used = np.flatnonzero((size > 2e-15 * size.max(axis=1)[:, None]).any(axis=0))
    return rows[:, : used[-1] + 1] if used.size else rows[:, :1]
