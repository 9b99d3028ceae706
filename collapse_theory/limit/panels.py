"""The fallback in a box: the potential made level on panels graded toward both ends.

Collocation of T(x) = E with 10 Legendre polynomials a panel, panels doubling from each end, and on
the first x**q with q = -(1+p)/2 for U'(x) ~ x**(p-1) (an atom and q = 0 where U'(0) is finite).
Kernels are integrated between breaks of their own, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.laws import Density, Panels, RewardLaw
from collapse_theory.limit.certificate import Certificate, by_potential, of_ends
from collapse_theory.limit.second_kind import layer
from collapse_theory.numerics.quadrature import gauss, log_rule, power_rule
from collapse_theory.utilities.base import Utility

# Legendre polynomials on a panel, and on a piece of a kernel between two breaks.
_DEGREE = 10
_FIT_POINTS, _MOST_BREAKS = 13, 2_000
_SMALLEST_BREAK = 1e-6
_SMALLEST_PANEL = 1e-16  # of the first panel, where U'(0) is finite
# Where U' rises to infinity slower than any power, as for x - x log(x), the density at an end falls
# slower than any integrable power, and its mass nearer than this is an atom: that changes T by its
# mass times U(1e-9) - U(0), and less than that in J.
_SMALLEST_UNCERTAIN, _LUMPED = 1e-9, 1e-7
# Points whose rows are made together.
_ROWS_AT_ONCE = 24
# Widest panels tried in turn: bumps inside the box ask for narrow ones.
_WIDEST_PANELS = (0.25, 0.03, 0.01)


_SIGNS = (-1.0) ** np.arange(_DEGREE)


class Mesh(NamedTuple):
    """Panels [edges_j, edges_j+1] of [0, 1/2] and their mirror images; edges_0 = 0.

    The first panel holds the one function x**power, the others ten Legendre polynomials times
    `scales_j`; the law is symmetric. `breaks` are gaps between which the kernel is smooth.
    """

    edges: np.ndarray
    power: float
    breaks: np.ndarray

    @property
    def scales(self) -> np.ndarray:
        """The sizes at which the density is expected on the panels after the first."""
        return (0.5 * (self.edges[1:-1] + self.edges[2:])) ** self.power

    def rows(self, utility: Utility, x: np.ndarray, nodes: int = 10) -> np.ndarray:
        """Return T(x) of each function, for x in [0, 1/2] with its mirror image counted."""
        out = np.empty((x.size, 1 + (self.edges.size - 2) * _DEGREE))
        for start in range(0, x.size, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            out[part, 0] = self._first(utility, x[part])
            out[part, 1:] = self._others(utility, x[part], nodes)
        return out

    def _first(self, utility: Utility, x: np.ndarray) -> np.ndarray:
        """Return ∫ (U(1) - U(|x-y|)) y**power dy over the first panel and its mirror image."""
        h, p, q = float(self.edges[1]), utility.exponent, self.power
        y, w = power_rule(np.array([h]), q, 12, 24)
        out = utility.shortfall((1.0 - x)[:, None] - y, 1.0) @ (w * y**q)[0]
        # Graded toward the end, toward x or the panel's edge from below, and from x on.
        top = np.minimum(x, h)
        y, w = power_rule(0.5 * top, q, 12, 24)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = utility.shortfall(x[:, None] - y, 1.0) * w * y**q
            out += np.where(x > 0, part.sum(axis=1), 0.0)
            r, w = power_rule(0.5 * top, p, 12, 24)
            part = utility.shortfall((x - top)[:, None] + r, 1.0) * w * (top[:, None] - r) ** q
            out += np.where(x > 0, part.sum(axis=1), 0.0)
        zero, inside = x == 0.0, (x > 0.0) & (x < h)
        if zero.any():
            r, w = power_rule(np.array([h]), min(p, 0.0) + q, 12, 40)
            out[zero] += float((utility.shortfall(r, 1.0) * w * r**q).sum())
        if inside.any():
            here = x[inside]
            near = np.minimum(here, h - here)
            rules = [power_rule(near, p, 12, 24)]
            spread = float(np.log(((h - here) / near).max()))
            rules.append(log_rule(near, h - here, 12 + int(3.0 * spread)))
            for r, w in rules:
                part = utility.shortfall(r, 1.0) * w * (here[:, None] + r) ** q
                out[inside] += part.sum(axis=1)
        return out

    def _others(self, utility: Utility, x: np.ndarray, nodes: int) -> np.ndarray:
        row, panel, t, s = self._pieces(x)
        z, w = gauss(nodes)
        gap = 0.5 * (t.sum(axis=1)[:, None] + np.diff(t, axis=1) * z)
        place = 0.5 * (s.sum(axis=1)[:, None] + np.diff(s, axis=1) * z)
        weight = 0.5 * np.diff(t, axis=1) * w
        # Pieces that touch x, where the kernel may be singular.
        at = t[:, 0] == 0.0
        length = t[at, 1]
        u, v = power_rule(np.ones(1), utility.exponent, 12, 24)
        near = length[:, None] * u
        near_place = s[at, :1] + np.diff(s[at], axis=1) * u
        value = _legendre(place) * (weight * utility.shortfall(gap, 1.0))
        sums = value.sum(axis=2)
        own = utility.shortfall(near, 1.0) * length[:, None] * v
        sums[:, at] = (_legendre(near_place) * own).sum(axis=2)
        panels = self.edges.size - 2
        out = np.empty((x.size, panels, _DEGREE))
        index = row * panels + panel
        for k in range(_DEGREE):
            out[:, :, k] = np.bincount(index, sums[k], x.size * panels).reshape(x.size, panels)
        return (out * self.scales[:, None]).reshape(x.size, -1)

    def _pieces(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return row, panel, gaps (lower, upper) and places in the panel, of each piece."""
        edges, parts = self.edges[1:], []
        # Doubling from the distance of the next edge, beyond which a panel sees x as singular.
        nearest = np.abs(x[:, None] - edges).min(axis=1)
        local = nearest[:, None] * 2.0 ** np.arange(10)
        inner = np.concatenate([local, np.tile(self.breaks, (x.size, 1))], axis=1)
        for which in ("below", "above", "mirror"):
            if which == "mirror":
                marks = (1.0 - x)[:, None] - edges[::-1]
            else:
                marks = edges - x[:, None] if which == "above" else (x[:, None] - edges)[:, ::-1]
            low = np.maximum(marks[:, :1], 0.0)
            cuts = np.sort(np.concatenate([marks, inner], axis=1))
            cuts = np.clip(cuts, low, np.maximum(marks[:, -1:], low))
            parts.append(self._on_side(x, cuts, which))
        row, panel, t, s = (np.concatenate(part) for part in zip(*parts, strict=True))
        return row, panel, t, s

    def _on_side(self, x: np.ndarray, cuts: np.ndarray, which: str) -> tuple[np.ndarray, ...]:
        row, at = np.nonzero(np.diff(cuts, axis=1) > 0)
        t = np.stack([cuts[row, at], cuts[row, at + 1]], axis=1)
        here = x[row, None]
        y = {"below": here - t, "above": here + t, "mirror": (1.0 - here) - t}[which]
        panel = np.searchsorted(self.edges, 0.5 * y.sum(axis=1), side="right") - 1
        panel = np.clip(panel, 1, self.edges.size - 2)
        low, high = self.edges[panel, None], self.edges[panel + 1, None]
        s = np.clip((2.0 * y - low - high) / (high - low), -1.0, 1.0)
        return row, panel - 1, t, s


class PanelLaw(NamedTuple):
    """Coefficients on a mesh: of the first panel's power, of each panel; and the atom."""

    mesh: Mesh
    coefficients: np.ndarray
    atom: float

    @property
    def first(self) -> float:
        """The mass of the first panel."""
        h, a = float(self.mesh.edges[1]), 1.0 + self.mesh.power
        return float(self.coefficients[0] * h**a / a)

    def law(self) -> RewardLaw:
        """Return it as a law: a power in the first and the last panel, Legendre series between."""
        rows = self.coefficients[1:].reshape(-1, _DEGREE) * self.mesh.scales[:, None]
        # Legendre series by the distance from the end run the other way.
        side = Panels(self.mesh.edges[1:], rows * _SIGNS, self.mesh.power, self.first)
        atoms = [[0.0, self.atom], [1.0, self.atom]] if self.atom else []
        return RewardLaw(atoms, (Density(0.0, 1.0, side),))

    def certify(self, utility: Utility) -> Certificate:
        """Return what the law reaches, from T at three times the points, with a finer rule."""
        mesh, atom = self.mesh, self.atom
        x, weight, values = _points(mesh)
        low, high = mesh.edges[:-1], mesh.edges[1:]
        between = np.concatenate([low + share * (high - low) for share in (0.0, 0.003, 0.1, 0.3)])
        y, w = power_rule(mesh.edges[1:2], mesh.power, 12, 12)
        places = np.concatenate([x, y[0], between, [0.5]])
        rows = mesh.rows(utility, places, nodes=13)
        t = rows @ self.coefficients
        t += atom * of_ends(utility, places) if atom else 0.0  # which is inf at 0 for log(x)
        panels = self.coefficients[1:].reshape(-1, 1, _DEGREE)
        mass = weight * (values.reshape(-1, _DEGREE, _DEGREE) * panels).sum(axis=2).ravel()
        inner, first, last = np.split(t, [x.size, x.size + y.size])[:3]
        share = (w * y**mesh.power)[0]
        total = 2.0 * (float(mass.sum()) + self.first + atom)
        shortfall = float(mass @ inner) + atom * float(last[0])
        shortfall += self.first * float(first @ share) / float(share.sum())
        shortfall *= 2.0 / total
        coarse = mesh.rows(utility, places[::7]) @ self.coefficients
        error = float(np.abs(coarse - rows[::7] @ self.coefficients).max())
        negative = float(-2.0 * mass[mass < 0].sum()) - 2.0 * min(self.first, 0.0)
        return by_potential(utility, shortfall, float(t.min()), error, negative)


def walled(utility: Utility) -> Iterator[tuple[PanelLaw, Certificate]]:
    """Yield laws on [0, 1], on narrower and narrower panels."""
    for widest in _WIDEST_PANELS:
        law = _collocate(utility, widest)
        yield law, law.certify(utility)


def _collocate(utility: Utility, widest: float) -> PanelLaw:
    mesh, atomic = _mesh(utility, widest), utility.exponent >= 1.0
    x, weight, values = _points(mesh)
    # The point 0 is the atom's; the first panel needs one of its own.
    places = np.concatenate([[0.0], x, [0.5 * mesh.edges[1]] * atomic])
    matrix = mesh.rows(utility, places)
    if atomic:
        matrix = np.column_stack([matrix, of_ends(utility, places)])
    solution = np.linalg.solve(matrix, np.ones(places.size))
    first = 2.0 * mesh.edges[1] ** (1.0 + mesh.power) / (1.0 + mesh.power)
    inner = 2.0 * (weight[:, None] * values).reshape(-1, _DEGREE, _DEGREE).sum(axis=1).ravel()
    solution /= float(np.concatenate([[first], inner, [2.0] * atomic]) @ solution)
    if atomic:
        law = PanelLaw(mesh, solution[:-1], float(solution[-1]))
        return law if np.isfinite(utility.slope_at_zero) else _lumped(law)
    return PanelLaw(mesh, solution, 0.0)


def _lumped(law: PanelLaw) -> PanelLaw:
    """Return the law with the mass next to an end in its atom, if the density is negative there."""
    mesh, coefficients = law.mesh, law.coefficients.copy()
    _, weight, values = _points(mesh)
    panels = coefficients[1:].reshape(-1, _DEGREE)
    density = (values.reshape(-1, _DEGREE, _DEGREE) * panels[:, None]).sum(axis=2)
    wrong = (density.min(axis=1) < 0) & (mesh.edges[2:] < _LUMPED)
    if not wrong.any() and law.first >= 0:
        return law
    count = int(np.flatnonzero(wrong).max(initial=-1)) + 1
    inner = (weight.reshape(-1, _DEGREE) * density)[:count].sum()
    panels[:count] = coefficients[0] = 0.0
    return PanelLaw(mesh, coefficients, law.atom + law.first + float(inner))


def _points(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Gauss points of all panels but the first, weights, and the functions' values there."""
    z, w = gauss(_DEGREE)
    low, high = mesh.edges[1:-1, None], mesh.edges[2:, None]
    x = (0.5 * (low + high) + 0.5 * (high - low) * z).ravel()
    weight = (0.5 * (high - low) * w).ravel()
    values = np.tile(_legendre(z).T, (mesh.edges.size - 2, 1))
    return x, weight, values * np.repeat(mesh.scales, _DEGREE)[:, None]


def _mesh(utility: Utility, widest: float) -> Mesh:
    breaks, p = _kernel_breaks(utility), utility.exponent
    if p >= 1.0 and not np.isfinite(utility.slope_at_zero):
        smallest, power = _SMALLEST_UNCERTAIN, 0.0
    elif p >= 1.0:
        smallest, power = float(np.clip(layer(utility, 1.0) / 64, _SMALLEST_PANEL, 1e-2)), 0.0
    else:
        # The share of T that hangs on a panel of width h is h**((1+p)/2): kept well above rounding.
        smallest, power = max(1e-13, 10.0 ** (-13.0 / (1.0 + p))), -0.5 * (1.0 + p)
    count = int(np.ceil(np.log2(0.5 / smallest)))
    doubling = np.append(0.0, 0.5 * 2.0 ** -np.arange(count, -1.0, -1.0))
    parts = [
        np.linspace(a, b, 1 + max(1, int(np.ceil((b - a) / widest))))[1:]
        for a, b in pairwise(doubling)
    ]
    return Mesh(np.concatenate([[0.0], *parts]), power, breaks)


def _kernel_breaks(utility: Utility) -> np.ndarray:
    """Return gaps between which U is a polynomial of degree 12 to 1e-11.

    They double from 1e-6, or from within the layer, to 1 and are halved where U has more structure.
    """
    angle = (np.arange(_FIT_POINTS) + 0.5) * (np.pi / _FIT_POINTS)
    fit = np.cos(np.outer(np.arange(_FIT_POINTS - 2, _FIT_POINTS), angle)) * (2.0 / _FIT_POINTS)
    finest = layer(utility, 1.0) / 16 if utility.exponent >= 1.0 else 1.0
    count = int(np.ceil(-np.log2(min(finest, _SMALLEST_BREAK))))
    open_, done = [(2.0**-k, 2.0 ** (1 - k)) for k in range(1, count + 1)], [2.0**-count]
    while open_:
        if len(open_) + len(done) > _MOST_BREAKS:
            raise SolverFailed(
                f"{utility} has more structure, or more rounding in its values, than panels resolve"
            )
        low, high = np.array(open_).T
        t = 0.5 * (low + high + (high - low) * np.cos(angle)[:, None])
        values = utility.shortfall(t, 1.0)
        rough = np.abs(fit @ values).max(axis=0) > 1e-11 * np.abs(values).max()
        middle = 0.5 * (low + high)
        split = rough & (high - low > 1e-4 * high)
        done += high[~split].tolist()
        open_ = [*zip(low[split], middle[split], strict=True)]
        open_ += [*zip(middle[split], high[split], strict=True)]
    return np.unique(done)


def _legendre(s: np.ndarray) -> np.ndarray:
    """Return P_k(s) for k < 10, shape (10, *s.shape)."""
    return np.moveaxis(np.polynomial.legendre.legvander(s, _DEGREE - 1), -1, 0)
