"""Laws on a grid, of points or of cells: the way for lines with kinks, and a reference.

*In a box* the masses of points are a least squares problem with m >= 0, for U(0) finite. *Without a
box* the density is constant on cells: with rho = sum_e jump_e H(x - e) over the edges e of the
cells, the force of a law is exact for every U,

    V'(x) / 2 = ∫ sgn(x-y) U'(|x-y|) rho(y) dy - kappa x = sum_e jump_e U(|x-e|) - kappa x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.laws import Density, RewardLaw, discrete_law
from collapse_theory.limit.certificate import EPS, Certificate, by_force, by_potential
from collapse_theory.limit.free_support import find_radius
from collapse_theory.limit.panels import SAME_PLACE, reached
from collapse_theory.numerics.quadrature import gauss, power_rule
from collapse_theory.utilities.base import Utility

# A few hundred cells: the error is of the order of 1/cells.
CELLS = 240
FREE_CELLS = (256, 1024)
# Of the largest eigenvalue of a kernel: smaller ones are rounding.
_ROUNDED = 1e-14
_MOST_KINK_PLACES = 100  # of half the box
# Fewer atoms than this are worth an exact solution on them alone.
_FEW_CELLS = 60


# -- in a box: points ---------------------------------------------------------------------------


class Points(NamedTuple):
    """Point masses in [0, 1] at increasing places, for U(0) finite."""

    places: np.ndarray
    masses: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray, masses: np.ndarray) -> Points:
        """Return the law of the masses above 1e-12, of total 1."""
        kept = masses > 1e-12
        return cls(places[kept], masses[kept] / masses[kept].sum())

    def law(self) -> RewardLaw:
        """Return it as a law."""
        return discrete_law(self.places, self.masses)

    def potential(self, utility: Utility, x: np.ndarray) -> np.ndarray:
        """Return T(x)."""
        at, counts = _within(self.places, x, _reach(utility))
        short = utility.shortfall(np.abs(x[..., None] - self.places[at]), 1.0)
        return (np.where(counts, short, 0.0) * self.masses[at]).sum(axis=-1)

    def certify(self, utility: Utility) -> Certificate:
        """Return the law's certificate, from the least T over [0, 1].

        U(|x - a|) is concave on either side of a, so T is convex between neighbouring atoms:
        closing in on the least of nine points finds its minimum there.
        """
        ends = _distinct(np.concatenate([self.places, [0.0, 1.0]]))
        low, high = ends[:-1], ends[1:]
        lowest = np.inf
        for _ in range(8):
            x = np.linspace(low, high, 9)
            t = self.potential(utility, x)
            at, column = np.argmin(t, axis=0), np.arange(low.size)
            lowest = min(lowest, float(t.min()))
            low, high = x[np.maximum(at - 1, 0), column], x[np.minimum(at + 1, 8), column]
        # A minimum at a kink is missed by closing in, but not by looking there.
        shifts = [s * k for k in utility.kinks for s in (1.0, -1.0)]
        kinked = (self.places[:, None] + np.array([0.0, *shifts])).ravel()
        kinked = kinked[(kinked >= 0.0) & (kinked <= 1.0)]
        lowest = min(lowest, float(self.potential(utility, kinked).min()))
        shortfall = float(self.masses @ self.potential(utility, self.places))
        return by_potential(utility, shortfall, lowest, units=4.0)


def _within(places: np.ndarray, x: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the places no further than `reach` from each x, by number, and which of them count."""
    first = np.searchsorted(places, x - reach)
    count = np.searchsorted(places, x + reach, side="right") - first
    seen = first[..., None] + np.arange(count.max())
    counts = seen < places.size
    return np.where(counts, seen, 0), counts


def _reach(utility: Utility, length: float = 1.0) -> float:
    """Return the gap from which U is flat, `length` where it rises to the end."""
    last = max((kink for kink in utility.kinks if kink < length), default=length)
    flat = last < length and not utility.slope(np.array([last * (1.0 + 1e-9)])).any()
    return last * (1.0 + 1e-12) if flat else length


def walled_points(utility: Utility) -> tuple[Points, Certificate]:
    """Return the best masses on a grid that holds the points a law with kinks puts atoms on.

    If few of them carry all mass, the program is solved again on those alone, exactly.
    """
    kinked, _ = reached(utility, _MOST_KINK_PLACES)
    grid = np.linspace(0.0, 1.0, CELLS + 1)
    places = _distinct(np.concatenate([grid, kinked, 1.0 - kinked]))
    found = Points.of(places, _minimise(_kernel(utility, places)))
    polished = _polished(utility, found) if utility.kinks else None
    laws = [(law, law.certify(utility)) for law in (found, polished) if law is not None]
    return min(laws, key=lambda pair: pair[1].gap)


def _kernel(utility: Utility, places: np.ndarray) -> np.ndarray:
    """Return U(1) - U of the gap, for each two points."""
    return utility.shortfall(np.abs(places[:, None] - places), 1.0)


def _distinct(points: np.ndarray) -> np.ndarray:
    """Return the sorted points, those closer than rounding counted once."""
    points = np.sort(points)
    return points[np.append(True, np.diff(points) > SAME_PLACE)]


def _polished(utility: Utility, law: Points) -> Points | None:
    """Return the law with T level on its heavy points alone, where they carry all mass."""
    heavy = law.masses > 1e-5
    kernel = _kernel(utility, law.places)
    kernel /= kernel.max()
    for _ in range(20):
        places = law.places[heavy]
        size = places.size
        if not 0 < size <= _FEW_CELLS:
            break
        system = np.zeros((size + 1, size + 1))
        system[:size, :size], system[:size, size] = kernel[np.ix_(heavy, heavy)], -1.0
        system[size, :size] = 1.0
        masses = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0][:size]
        if masses.min() >= 0:
            return Points.of(places, masses)
        heavy[np.flatnonzero(heavy)[masses < 0]] = False
    return None


def _minimise(kernel: np.ndarray) -> np.ndarray:
    r"""Return the masses m of a law on points that are their own mirror image.

    minimise sum_ij m_i m_j (U(1) - U(|x_i - x_j|)) subject to m >= 0, sum m = 1

    The form is convex where sum m = 0, which is all that counts; a multiple of (sum m)**2 makes it
    convex everywhere. With its matrix A'A, m is in proportion to the y >= 0 nearest to A y = b, A'b
    = (1, ..., 1): both say that A'A y is 1 where y > 0 and no less elsewhere. That is solved by the
    active set of Lawson and Hanson (Solving Least Squares Problems, 1974, ch. 23), for one half.
    """
    from scipy.optimize import nnls

    largest, count = float(kernel.max()), len(kernel)
    if not 0 < largest < np.inf:
        raise SolverFailed(f"U rises by {largest:g} over the gaps of a grid, outside float64")
    half = np.arange((count + 1) // 2)
    mirrored = np.zeros((count, half.size))
    mirrored[half, half] = mirrored[count - 1 - half, half] = 1.0
    values, vectors = np.linalg.eigh(mirrored.T @ (kernel / largest + 1.0) @ mirrored)
    kept = values > _ROUNDED * values[-1]
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    ones = vectors.T @ mirrored.sum(axis=0)
    try:
        found = mirrored @ nnls(root[:, None] * vectors.T, ones / root, maxiter=30 * count)[0]
    except RuntimeError as error:  # its iterations are spent
        raise SolverFailed(f"no masses on a grid were found: {error}") from error
    return found / found.sum()


# -- cells --------------------------------------------------------------------------------------


class Cells(NamedTuple):
    """A symmetric law with the density `heights` between increasing `edges`."""

    edges: np.ndarray
    heights: np.ndarray

    def law(self) -> RewardLaw:
        """Return it as a law; a CollapseError where the density is negative."""
        return RewardLaw((), (Density.steps(self.edges, self.heights),))

    @property
    def masses(self) -> np.ndarray:
        """The mass of each cell."""
        return self.heights * np.diff(self.edges)

    @property
    def jumps(self) -> np.ndarray:
        """By how much the density rises at each edge."""
        return np.diff(self.heights, prepend=0.0, append=0.0)

    def push(self, utility: Utility, x: np.ndarray) -> np.ndarray:
        """Return ∫ sgn(x-y) U'(|x-y|) dmu(y)."""
        reach = _reach(utility, float(self.edges[-1] - self.edges[0]))
        at, counts = _within(self.edges, x, reach)
        # The jumps add up to 0: what all values have in common counts nothing.
        level = utility.value(np.float64(reach))
        value = utility.value(np.abs(x[..., None] - self.edges[at])) - level
        return (np.where(counts, value, 0.0) * self.jumps[at]).sum(axis=-1)

    def certify(self, utility: Utility, kappa: float) -> Certificate:
        """Return the law's certificate under the penalty `kappa`."""
        z, w = gauss(4)
        width, radius = np.diff(self.edges)[:, None], float(self.edges[-1])
        x = (self.edges[:-1, None] + 0.5 * width * (1.0 + z)).ravel()
        mass = (0.5 * self.heights[:, None] * width * w).ravel()
        x, mass = x[x > 0], 2.0 * mass[x > 0]
        with np.errstate(all="ignore"):
            level = float(utility.value(np.float64(radius)))
            push = np.abs(self.push(utility, x) - kappa * x)
            if np.ptp(width) < 1e-9 * radius:
                mean, error = self._mean(utility, lambda gap: utility.value(gap) - level)
                spread, _ = self._mean(utility, lambda gap: np.abs(utility.value(gap) - level))
            else:
                mean, spread, error = self._mean_where_level(utility, kappa, level)
                error += float(mass @ push) * radius
            jumps, most = np.abs(self.jumps).sum(), float(np.abs(utility.value(x)).max())
            push += 8.0 * EPS * (kappa * x + jumps * most)
            error += 8.0 * EPS * (abs(level) + spread)  # heights and their sums are rounded
            return by_force(utility, kappa, x, mass, push, level + mean, spread, error)

    def _mean(
        self, utility: Utility, function: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[float, float]:
        """Return the mean of a function of the gap over pairs, and what a coarser rule is off."""
        step, masses = float(self.edges[1] - self.edges[0]), self.masses
        pairs = np.correlate(masses, masses, "full")[masses.size - 1 :]
        pairs[1:] *= 2.0  # either may be the higher
        fine, coarse = (
            float(pairs @ _over_cells(utility, function, step, masses.size, count))
            for count in (32, 24)
        )
        return fine, abs(fine - coarse)

    def _mean_where_level(
        self, utility: Utility, kappa: float, level: float
    ) -> tuple[float, float, float]:
        """Return E U(gap) - level, E |U(gap) - level| and an error, for cells of any width.

        Where V = C, E U(gap) = (C + kappa var)/2, and C = V(0) = 2 E U(|Y|).
        """
        radius, upper = float(self.edges[-1]), self.edges[self.edges >= 0]
        values = []
        for count in (16, 12):
            z, w = gauss(count)
            marks = np.concatenate([[0.0], upper, utility.kinks])
            marks = np.unique(marks[marks <= radius])
            width = np.diff(marks)[:, None]
            y = marks[:-1, None] + 0.5 * width * (1.0 + z)
            cell = np.clip(np.searchsorted(self.edges, y) - 1, 0, self.heights.size - 1)
            values.append(
                float((self.heights[cell] * width * w * (utility.value(y) - level)).sum())
            )
        low, high = self.edges[:-1], self.edges[1:]
        variance = float(self.masses @ (low * low + low * high + high * high)) / 3.0
        total = np.append(0.0, np.cumsum(self.masses))
        points = np.interp((np.arange(200) + 0.5) / 200 * total[-1], total, self.edges)
        gaps = np.abs(points[:, None] - points)
        spread = float(np.mean(np.abs(utility.value(gaps) - level)))
        return values[0] + 0.5 * kappa * variance, spread, abs(values[0] - values[1])


def _over_cells(
    utility: Utility,
    function: Callable[[np.ndarray], np.ndarray],
    step: float,
    cells: int,
    count: int,
) -> np.ndarray:
    """Return the means of a function of the gap over two cells 0, 1, 2, ... apart, `step` wide.

    The gap in cells l apart is step (l + s) with s in [-1, 1] of density 1 - |s|.
    """
    kinks = np.array([kink / step for kink in utility.kinks])
    marks = np.unique(np.concatenate([np.arange(cells + 1.0), kinks[kinks < cells]]))
    width, (z, w) = np.diff(marks)[:, None], gauss(count)
    s, weight = marks[:-1, None] + 0.5 * width * (1.0 + z), 0.5 * width * w
    first, w_first = power_rule(width[0], min(utility.exponent, 0.0), 12, z.size)
    s[0], weight[0] = first[0], w_first[0]
    lag = np.floor(0.5 * (marks[1:] + marks[:-1])).astype(np.int64)
    values, part = function(step * s) * weight, s - lag[:, None]
    rising, falling = (
        np.bincount(lag, (values * share).sum(axis=1), cells) for share in (part, 1.0 - part)
    )
    falling[1:] += rising[:-1]
    falling[0] *= 2.0
    return falling


def free(utility: Utility, kappa: float, start: float) -> Iterator[tuple[Cells, Certificate]]:
    """Yield laws of a few hundred cells, then of a thousand, that the penalty `kappa` holds."""
    for cells in FREE_CELLS:
        law = free_cells(utility, kappa, start, cells)
        start = float(law.edges[-1])
        yield law, law.certify(utility, kappa)


def free_cells(utility: Utility, kappa: float, start: float, cells: int) -> Cells:
    """Return the law of `cells` equal cells, an even number, that the penalty `kappa` holds.

    V' = 0 is asked for at the edges, which follows kinks best, or at the middles where U(0) = -inf.
    """

    def solve(radius: float) -> tuple[Cells, float, np.ndarray]:
        law, pull = _level_cells(utility, radius, cells // 2)
        return law, pull, law.heights

    with np.errstate(all="ignore"):
        return find_radius(solve, kappa, start)[0]


def _level_cells(utility: Utility, radius: float, half: int) -> tuple[Cells, float]:
    """Return the law on [-radius, radius] with V' = 0, and the pull that holds it."""
    edges = np.linspace(0.0, radius, half + 1)
    finite = np.isfinite(float(utility.value(np.float64(0.0))))
    x = edges[1:] if finite else 0.5 * (edges[1:] + edges[:-1])
    apart = np.diff(utility.value(x[:, None] + edges), axis=1)
    apart -= np.diff(utility.value(np.abs(x[:, None] - edges)), axis=1)
    matrix = np.zeros((half + 1, half + 1))
    size = float(np.abs(apart).max())
    matrix[:half, :half], matrix[:half, half] = apart / size, -x / radius
    matrix[half, :half] = 2.0 * np.diff(edges)
    try:
        solution = np.linalg.solve(matrix, np.append(np.zeros(half), 1.0))
    except np.linalg.LinAlgError as error:
        raise SolverFailed(f"no cells have a level potential for {utility}") from error
    heights, pull = solution[:half], float(solution[half]) * size / radius
    whole = np.concatenate([-edges[:0:-1], edges])
    return Cells(whole, np.concatenate([heights[::-1], heights])), pull
