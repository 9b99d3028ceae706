"""Panels in a box: for kinks, and for what no series resolves.

Collocation of T(x) = E with 10 Legendre polynomials a panel. Panels double in width away from the
places where the density isn't smooth:

- the ends: on the first panel x**q with q = -(1+p)/2 for U'(x) ~ x**(p-1), p < 1; an atom where
  U'(0) is finite;
- what kinks make of them. Where U' falls by c at the gap m, 2 U'(0) mu(x) = c mu(x-m) + c mu(x+m)
  + (what is smooth): an atom gives c / (2 U'(0)) of its mass to a place a step m away on either
  side, where the density jumps, too; for p < 1 it has a power |x|**(q + k (1-p)) k steps away.

Kernels are integrated between breaks of their own, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.laws import Density, Panels, RewardLaw
from collapse_theory.limit.certificate import Certificate, by_potential
from collapse_theory.limit.second_kind import layer
from collapse_theory.numerics.quadrature import gauss, log_rule, power_rule
from collapse_theory.utilities.base import Utility

# Legendre polynomials on a panel, and on a piece of a kernel between two breaks.
_DEGREE = 10
# Chebyshev points at which U is seen to be a polynomial of degree 12 between two breaks, at most so
# many breaks, and the least of them unless the layer is thinner.
_FIT_POINTS, _MOST_BREAKS, _SMALLEST_BREAK = 13, 2_000, 1e-6
_SMALLEST_PANEL = 1e-16  # of the first panel, where U'(0) is finite
# Where U' rises to infinity slower than any power, as for x - x log(x), the density at an end falls
# slower than any integrable power, and its mass nearer than this is an atom: that changes T by its
# mass times U(1e-9) - U(0), and less than that in J.
_SMALLEST_UNCERTAIN = 1e-9
_SHORT = 1e-3  # panels on which a density may lose its shape to rounding
_PIECES_AT_ONCE = 10_000  # whose polynomials stay in a processor's caches
# Widest panels tried in turn: bumps inside the box ask for narrow ones.
_WIDEST_PANELS = (0.25, 0.03, 0.01)
# Atoms beneath this share of those at the ends, and powers of T above this one, which panels
# resolve without being graded to them, are left out; so many places and edges at most.
_FAINT_ATOM, _SMOOTH_POWER, _MOST_PLACES, _MOST_EDGES = 1e-11, 3.0, 40, 200
_LEFT_OUT = 1e-10  # what T may miss next to a place inside where the density is infinite
SAME_PLACE = 1e-12  # two places no further apart are one


_SIGNS = (-1.0) ** np.arange(_DEGREE)


class Mesh(NamedTuple):
    """Panels [edges_j, edges_j+1] of [0, 1/2] and their mirror images; edges_0 = 0.

    Each holds ten Legendre polynomials, but for the first one where `power` < 0: that has the one
    function x**power. The law is symmetric. `breaks` are gaps between which the kernel is smooth,
    `places` those of [0, 1/2] where there are atoms, `sizes` are the numbers of polynomials
    that count: fewer next to a place inside where the density may be infinite.
    """

    edges: np.ndarray
    power: float
    breaks: np.ndarray
    places: np.ndarray
    sizes: np.ndarray

    @property
    def marks(self) -> np.ndarray:
        """The edges of the panels that hold polynomials."""
        return self.edges[1:] if self.power else self.edges

    @property
    def scales(self) -> np.ndarray:
        """The sizes at which the density is expected on those panels."""
        return (0.5 * (self.marks[:-1] + self.marks[1:])) ** self.power

    def used(self, points: bool) -> np.ndarray:
        """Return a mask of the functions in use, or of the points, places included, for T."""
        inner = np.zeros((self.sizes.size, _DEGREE), dtype=bool)
        for i, m in enumerate(self.sizes):
            inner[i, (2 * np.arange(m) + 1) * _DEGREE // (2 * m) if points else np.arange(m)] = True
        own = np.ones(bool(self.power) + self.places.size, dtype=bool)
        return np.insert(own, int(bool(self.power)), inner.ravel())

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the Gauss points of those panels, weights, and the functions' values there."""
        z, w = gauss(_DEGREE)
        low, high = self.marks[:-1, None], self.marks[1:, None]
        x = (0.5 * (low + high) + 0.5 * (high - low) * z).ravel()
        weight = (0.5 * (high - low) * w).ravel()
        values = np.tile(_legendre(z).T, (low.size, 1))
        return x, weight, values * np.repeat(self.scales, _DEGREE)[:, None]

    def masses(self) -> np.ndarray:
        """Return the mass of each function, of each pair of atoms last, mirror images counted."""
        h, a = float(self.edges[1]), 1.0 + self.power
        _, weight, values = self.points()
        inner = (weight[:, None] * values).reshape(-1, _DEGREE, _DEGREE).sum(axis=1).ravel()
        return 2.0 * np.concatenate([[h**a / a] * bool(self.power), inner, 0 * self.places + 1.0])

    def rows(self, utility: Utility, x: np.ndarray, nodes: int = 10) -> np.ndarray:
        """Return T(x) of each function and pair of atoms, for x in [0, 1/2]."""
        atoms = utility.shortfall(np.abs(x[:, None] - self.places), 1.0)
        atoms = atoms + utility.shortfall(1.0 - x[:, None] - self.places, 1.0)
        out = []
        pieces = 3 * x.size * (self.marks.size + self.breaks.size)
        for part in np.array_split(x, min(1 + pieces // _PIECES_AT_ONCE, x.size)):
            first = [self._first(utility, part)[:, None]] if self.power else []
            out.append(np.hstack([*first, self._others(utility, part, nodes)]))
        return np.hstack([np.concatenate(out), atoms])

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
        """Return T(x) of the polynomials of each panel, by Gauss's rule on pieces of the kernel."""
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
        panels = self.marks.size - 1
        out = np.empty((x.size, panels, _DEGREE))
        index = row * panels + panel
        for k in range(_DEGREE):
            out[:, :, k] = np.bincount(index, sums[k], x.size * panels).reshape(x.size, panels)
        return (out * self.scales[:, None]).reshape(x.size, -1)

    def _pieces(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return row, panel, gaps (lower, upper) and places in the panel, of each piece."""
        edges, parts = self.marks, []
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
        panel = np.searchsorted(self.marks, 0.5 * y.sum(axis=1), side="right") - 1
        panel = np.clip(panel, 0, self.marks.size - 2)
        low, high = self.marks[panel, None], self.marks[panel + 1, None]
        s = np.clip((2.0 * y - low - high) / (high - low), -1.0, 1.0)
        return row, panel, t, s


class PanelLaw(NamedTuple):
    """Coefficients on a mesh: of the first panel's power, of each panel, of each pair of atoms."""

    mesh: Mesh
    coefficients: np.ndarray

    @property
    def first(self) -> float:
        """The mass of the first panel where that has a power."""
        return 0.5 * float(self.coefficients[0] * self.mesh.masses()[0]) if self.mesh.power else 0.0

    @property
    def atoms(self) -> np.ndarray:
        """The masses of the atoms, each with its mirror image."""
        return self.coefficients[self.coefficients.size - self.mesh.places.size :]

    @property
    def rows(self) -> np.ndarray:
        """The coefficients of the polynomials, a row a panel."""
        start, stop = bool(self.mesh.power), self.coefficients.size - self.mesh.places.size
        return self.coefficients[start:stop].reshape(-1, _DEGREE)

    def law(self) -> RewardLaw:
        """Return it as a law: a power in the first and the last panel, Legendre series between."""
        mesh, rows = self.mesh, self.rows * self.mesh.scales[:, None]
        # Legendre series by the distance from the end run the other way.
        side = Panels(mesh.marks, rows * _SIGNS, mesh.power, self.first)
        places = np.concatenate([mesh.places, 1.0 - mesh.places])
        return RewardLaw(
            np.stack([places, np.tile(self.atoms, 2)], axis=1), (Density(0.0, 1.0, side),)
        )

    def certify(self, utility: Utility) -> Certificate:
        """Return the law's certificate, from T at three times the points, with a finer rule."""
        mesh = self.mesh
        x, weight, values = mesh.points()
        low, high = mesh.edges[:-1], mesh.edges[1:]
        between = np.concatenate([low + share * (high - low) for share in (0.0, 0.003, 0.1, 0.3)])
        y, w = power_rule(mesh.edges[1:2], mesh.power, 12, 12)
        places = np.concatenate([x, y[0], mesh.places, between, [0.5]])
        rows = mesh.rows(utility, places, nodes=13)
        t = rows @ self.coefficients
        mass = (
            weight * (values.reshape(-1, _DEGREE, _DEGREE) * self.rows[:, None]).sum(axis=2).ravel()
        )
        inner, first, at, _ = np.split(t, np.cumsum([x.size, y.size, mesh.places.size]))
        share = (w * y**mesh.power)[0]
        total = 2.0 * (float(mass.sum()) + self.first + float(self.atoms.sum()))
        shortfall = float(mass @ inner) + float(self.atoms @ at)
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
    mesh = _mesh(utility, widest)
    # The first panel's power is known from the point 0, an atom from its place.
    places = np.concatenate([[0.0] * bool(mesh.power), mesh.points()[0], mesh.places])
    asked, known = (mesh.used(points) for points in (True, False))
    matrix = mesh.rows(utility, places[asked])[:, known]
    solution = np.zeros(places.size)
    solution[known] = np.linalg.solve(matrix, np.ones(matrix.shape[0]))
    return _settled(PanelLaw(mesh, solution / float(mesh.masses() @ solution)))


def _settled(law: PanelLaw) -> PanelLaw:
    """Return the law without the traces of rounding that are negative next to a place.

    T hardly feels them, and the certificate tells. Short panels on which the density is negative
    somewhere hold a constant, and the masses of neighbours are evened out until none is negative.
    """
    mesh, found = law.mesh, law._replace(coefficients=law.coefficients.copy())
    rows, widths = found.rows, np.diff(mesh.marks)
    nodes = np.hstack([_legendre(gauss(_DEGREE)[0]), np.ones((_DEGREE, 1)), _SIGNS[:, None]])
    wrong = (rows @ nodes).min(axis=1) < 0
    rows[wrong & (widths < _SHORT), 1:] = 0.0
    # The first panel's power or the atom at the end, then panel by panel.
    end = 0 if mesh.power else found.coefficients.size - mesh.places.size
    sizes = np.append(0.5 * mesh.masses()[end], widths * mesh.scales)
    heights = np.append(found.coefficients[end], rows[:, 0])
    below = np.cumsum(heights * sizes)
    highest, lowest = np.maximum.accumulate(below), np.minimum.accumulate(below[::-1])[::-1]
    moved = highest > lowest
    if moved.any():
        moved[1:] |= moved[:-1].copy()
        even = np.maximum(np.diff(0.5 * (highest + lowest), prepend=0.0), 0.0) / sizes
        found.coefficients[end] = even[0] if moved[0] else heights[0]
        rows[moved[1:]] = 0.0
        rows[:, 0] = np.where(moved, even, heights)[1:]
    return found


# -- the mesh -----------------------------------------------------------------------------------


def _mesh(utility: Utility, widest: float) -> Mesh:
    """Return panels graded to the ends, and to the places that kinks make of them."""
    p = utility.exponent
    power = -0.5 * (1.0 + p) if p < 1.0 else 0.0
    places, steps = reached(utility, _MOST_PLACES)
    # What is left out next to a place k steps away is T's power (3-p)/2 + (k-1) (1-p) there.
    sizes = _LEFT_OUT ** (1.0 / _roughness(p, steps))
    atoms = 0  # places that have one
    if p < 1.0:
        # The share of T that hangs on a panel of width h is h**((1+p)/2): kept well above rounding.
        sizes[0] = max(1e-13, 10.0 ** (-13.0 / (1.0 + p)))
    elif np.isfinite(utility.slope_at_zero):
        sizes[:] = np.clip(layer(utility, 1.0) / 64, _SMALLEST_PANEL, 1e-2)
        atoms = places.size
    else:
        sizes[0], atoms = _SMALLEST_UNCERTAIN, 1
    edges = _edges(places, sizes, widest)
    while edges.size > _MOST_EDGES and places.size > 1:
        # Those of the fewest steps matter most; the certificate tells what the others did.
        places, sizes = places[: places.size // 2], sizes[: sizes.size // 2]
        edges = _edges(places, sizes, widest)
    mesh = Mesh(edges, power, _kernel_breaks(utility), places[:atoms], np.empty(0))
    return mesh._replace(sizes=_sizes(mesh.marks, places[max(atoms, 1) :]))


def _edges(places: np.ndarray, sizes: np.ndarray, widest: float) -> np.ndarray:
    """Return edges that double from the place's size on, away from each place, up to `widest`."""
    stops = sorted(zip(places.tolist(), sizes.tolist(), strict=True))
    if stops[-1][0] < 0.5 - SAME_PLACE:
        stops.append((0.5, 1.0))
    marks = np.unique(np.concatenate([_graded(*pair) for pair in pairwise(stops)]))
    parts = [
        np.linspace(a, b, 1 + max(1, int(np.ceil((b - a) / widest))))[1:]
        for a, b in pairwise(marks.tolist())
    ]
    return np.concatenate([[0.0], *parts])


def _sizes(marks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the numbers of polynomials on panels: one next to a place, each further one more."""
    found = np.full(marks.size - 1, _DEGREE)
    panel = np.arange(marks.size - 1)
    for at in np.searchsorted(marks, places):
        found = np.minimum(found, 1 + np.where(panel < at, at - 1 - panel, panel - at) // 2)
    return found


def _graded(first: tuple[float, float], last: tuple[float, float]) -> np.ndarray:
    """Return edges between two places, doubling away from each: from its size on, if below 1."""
    (low, near), (high, far) = first, last
    half = high - low if far == 1.0 else 0.5 * (high - low)
    ends = [np.array([low, high])] + [np.array([low + half])] * (far < 1.0)
    for size, start, sign in ((near, low, 1.0), (far, high, -1.0)):
        count = int(np.ceil(np.log2(max(half / size, 1.0))))
        ends.append(start + sign * half * 2.0 ** -np.arange(1.0, count + 1.0))
    return np.concatenate(ends)


def _roughness(p: float, steps: np.ndarray) -> np.ndarray:
    p = min(p, 1.0)
    return 0.5 * (3.0 - p) + (np.maximum(steps, 1) - 1.0) * (1.0 - p)


def reached(utility: Utility, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of [0, 1/2] that kinks make of the ends, and how many steps away they are.

    Those are the ends, and what the kinks' lengths reach from there within [0, 1], mirrored; about
    `most` at most, those of the fewest steps.
    """
    p = utility.exponent
    kinks = np.array([kink for kink in utility.kinks if kink < 1.0])
    drop = utility.slope(kinks * (1.0 - 1e-9)) - utility.slope(kinks * (1.0 + 1e-9))
    slope = float(utility.slope(np.float64(_SMALLEST_UNCERTAIN)))
    # What a place gives to those a step away, on both sides together.
    shares = drop / slope if p >= 1.0 else np.ones(kinks.size)
    lengths = [*zip([*kinks, *-kinks], [*shares, *shares], strict=True)]
    places, steps, seen, at, count = [0.0], [0], {0.0}, {0.0: 1.0}, 0
    while at and len(places) < most:
        count += 1
        if p < 1.0 and _roughness(p, np.array(count)) > _SMOOTH_POWER:
            break
        found: dict[float, float] = {}
        for (x, weight), (length, share) in product(at.items(), lengths):
            y, mass = round(x + length, 13), weight * share
            if 0.0 < y <= 1.0 and y not in seen and mass > _FAINT_ATOM:
                found[y] = max(mass, found.get(y, 0.0))
        seen, at = seen | found.keys(), found
        for y in found:
            folded = min(y, 1.0 - y)
            if min(abs(folded - place) for place in places) > SAME_PLACE:
                places.append(folded)
                steps.append(count)
    return np.array(places), np.array(steps)


def _kernel_breaks(utility: Utility) -> np.ndarray:
    """Return gaps between which U is a polynomial of degree 12 to 1e-11: its kinks among them.

    They double from 1e-6, or from within the layer, to 1 and are halved where U has more structure.
    """
    angle = (np.arange(_FIT_POINTS) + 0.5) * (np.pi / _FIT_POINTS)
    fit = np.cos(np.outer(np.arange(_FIT_POINTS - 2, _FIT_POINTS), angle)) * (2.0 / _FIT_POINTS)
    finest = layer(utility, 1.0) / 16 if utility.exponent >= 1.0 else 1.0
    count = int(np.ceil(-np.log2(min(finest, _SMALLEST_BREAK))))
    kinks = [kink for kink in utility.kinks if kink < 1.0]
    gaps = np.unique(np.append(2.0 ** -np.arange(count + 1.0), kinks))
    open_, done = [*pairwise(gaps.tolist())], [float(gaps[0]), *kinks]
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
