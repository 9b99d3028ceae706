"""Laws on an unknown support whose density is constant on cells: for utilities with kinks.

With rho = sum_e jump_e H(x - e) over the edges e of the cells, the force of a law is exact for
every U:

    V'(x) / 2 = ∫ sgn(x-y) U'(|x-y|) rho(y) dy - kappa x = sum_e jump_e U(|x-e|) - kappa x.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.laws import PiecewiseDensity
from collapse_theory.limit.soft import fall_to, too_wide
from collapse_theory.limit.stationary import EPS, Proof, free_gain
from collapse_theory.numerics.quadrature import gauss, power_rule
from collapse_theory.utilities.base import Utility

__all__ = ["CellLaw", "prove_cells", "solve_cells"]


class CellLaw(NamedTuple):
    """A symmetric law with `heights` between `edges`, and the kappa that holds it."""

    edges: np.ndarray
    heights: np.ndarray
    pull: float

    @property
    def radius(self) -> float:
        """R, the end of the support."""
        return float(self.edges[-1])

    @property
    def density(self) -> PiecewiseDensity:
        """The law's density."""
        return PiecewiseDensity(self.edges, self.heights[:, None])

    def push(self, utility: Utility, x: np.ndarray) -> np.ndarray:
        """Return ∫ sgn(x-y) U'(|x-y|) dmu(y)."""
        jumps = np.diff(np.concatenate([[0.0], self.heights, [0.0]]))
        return utility.value(np.abs(x[..., None] - self.edges)) @ jumps


def solve_cells(utility: Utility, kappa: float, start: float, cells: int) -> CellLaw:
    """Return the law of `cells` equal cells, an even number, that the penalty `kappa` holds.

    V' = 0 is asked for at the edges, which follows kinks best, or at the middles where U(0) = -inf.
    """
    found: dict[float, CellLaw] = {}

    def pull(z: float) -> float:
        law = found[z] = _held_by(utility, float(np.exp(z)), cells)
        return -np.inf if too_wide(law.pull, kappa, law.heights) else law.pull

    with np.errstate(all="ignore"):
        return found[fall_to(pull, float(np.log(start)), kappa)[0]]


def _held_by(utility: Utility, radius: float, cells: int) -> CellLaw:
    half = cells // 2
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
    heights, k = solution[:half], float(solution[half]) * size / radius
    whole = np.concatenate([-edges[:0:-1], edges])
    return CellLaw(whole, np.concatenate([heights[::-1], heights]), k)


def prove_cells(utility: Utility, law: CellLaw, kappa: float) -> Proof:
    """Return the objective of a law of cells and the bound on what any other law gains.

    See `collapse_theory.limit.stationary` for the bound.
    """
    z, w = gauss(4)
    width = np.diff(law.edges)[:, None]
    x = (law.edges[:-1, None] + 0.5 * width * (1.0 + z)).ravel()
    mass = (0.5 * law.heights[:, None] * width * w).ravel()
    x, mass = x[x > 0], 2.0 * mass[x > 0]
    second = float(mass @ x**2)
    with np.errstate(all="ignore"):
        level = float(utility.value(np.float64(law.radius)))
        push = np.abs(law.push(utility, x) - kappa * x)
        if np.ptp(width) < 1e-9 * law.radius:
            mean, error = _energy(utility, law, level)
            spread = _energy(utility, law, level, absolute=True)[0]
        else:
            mean, error = _from_level(utility, law, kappa, level)
            error += float(mass @ push) * law.radius
            points = law.density.ppf((np.arange(200) + 0.5) / 200 * law.density.mass)
            gaps = np.abs(points[:, None] - points)
            spread = float(np.mean(np.abs(utility.value(gaps) - level)))
        jumps = np.abs(np.diff(np.concatenate([[0.0], law.heights, [0.0]]))).sum()
        push += 8.0 * EPS * (kappa * x + jumps * float(np.abs(utility.value(x)).max()))
        if kappa > 0:
            gap = float(mass @ push**2) / kappa
        else:
            gap = free_gain(utility, x, mass, float(push.max()), level + mean)
    objective = level + mean - kappa * second
    gap += error + 4.0 * EPS * (4.0 * spread + kappa * second) + EPS * abs(objective)
    return Proof(objective, gap, spread, float(-mass[mass < 0].sum()))


def _from_level(utility: Utility, law: CellLaw, kappa: float, level: float) -> tuple[float, float]:
    """Return E U(gap) - level where V = C: (C + kappa var)/2, with C = V(0) = 2 E U(|Y|)."""
    values = []
    for count in (16, 12):
        z, w = gauss(count)
        marks = np.concatenate([[0.0], law.edges[law.edges > 0], utility.kinks])
        marks = np.unique(marks[marks <= law.radius])
        width = np.diff(marks)[:, None]
        y = marks[:-1, None] + 0.5 * width * (1.0 + z)
        mass = np.asarray(law.density.pdf(y)) * width * w
        values.append(float((mass * (utility.value(y) - level)).sum()))
    return values[0] + 0.5 * kappa * law.density.variance, abs(values[0] - values[1])


def _energy(
    utility: Utility, law: CellLaw, level: float, absolute: bool = False
) -> tuple[float, float]:
    """Return E (U(gap) - level), or of its size, and how far a coarser rule is from it.

    The gap of two rewards in equal cells l apart is h (l + s) with s in [-1, 1] and density 1-|s|.
    """
    h = float(law.edges[1] - law.edges[0])
    masses = h * law.heights
    pairs = np.correlate(masses, masses, "full")[masses.size - 1 :]
    pairs[1:] *= 2.0  # either may be the higher
    kinks = np.array([kink / h for kink in utility.kinks])
    marks = np.concatenate([np.arange(masses.size + 1.0), kinks[kinks < masses.size]])
    marks = np.unique(marks)
    lag = np.floor(0.5 * (marks[1:] + marks[:-1])).astype(np.int64)
    values = []
    for count in (16, 12):
        s, w = _between(marks, utility.exponent, count)
        u = utility.value(h * s) - level
        u = (np.abs(u) if absolute else u) * w
        part = s - lag[:, None]
        rising, falling = (
            np.bincount(lag, (u * share).sum(axis=1), masses.size) for share in (part, 1.0 - part)
        )
        falling[1:] += rising[:-1]
        falling[0] *= 2.0
        values.append(float(pairs @ falling))
    return values[0], abs(values[0] - values[1])


def _between(marks: np.ndarray, exponent: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a rule between neighbouring marks, the first from 0 for gaps to the `exponent`."""
    z, w = gauss(2 * count)
    width = np.diff(marks)[:, None]
    s, weight = marks[:-1, None] + 0.5 * width * (1.0 + z), 0.5 * width * w
    first, w_first = power_rule(width[0], min(exponent, 0.0), 12, z.size)
    s[0], weight[0] = first[0], w_first[0]
    return s, weight
