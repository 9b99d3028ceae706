"""The fallback: the potential made level on panels graded toward both ends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.laws import BetaDensity, Part, PiecewiseDensity
from collapse_theory.limit.certificate import Certificate, rounding
from collapse_theory.limit.mesh import Mesh, graded_mesh, kernel_breaks, legendre
from collapse_theory.numerics.quadrature import gauss, power_rule
from collapse_theory.utilities.base import Utility

__all__ = ["PanelLaw", "solve_panels"]

_DEGREE = 10
_SMALLEST_BREAK = 1e-6
# Widest panels tried in turn: bumps inside the box ask for narrow ones.
_WIDEST = (0.25, 0.03, 0.01)
_AIM = 1e-9


class PanelLaw(NamedTuple):
    """Coefficients on a mesh: of the first panel's power, of each panel, then the atom."""

    mesh: Mesh
    coefficients: np.ndarray
    atom: float
    certificate: Certificate

    def parts(self) -> tuple[Part, ...]:
        """Return the law's density: a power in the first and the last panel, Legendre series."""
        mesh, h = self.mesh, float(self.mesh.edges[1])
        rows = self.coefficients[1:].reshape(-1, mesh.degree) * mesh.scales[:, None]
        signs = (-1.0) ** np.arange(mesh.degree)
        edges = np.concatenate([mesh.edges[1:], 1.0 - mesh.edges[1:-1][::-1]])
        inner = PiecewiseDensity(edges, np.concatenate([rows, rows[::-1] * signs]))
        mass = float(self.coefficients[0] * h ** (1.0 + mesh.power) / (1.0 + mesh.power))
        if not mass > 0:
            return (inner,)
        a = 1.0 + mesh.power
        ends = BetaDensity(a, 1.0, 0.0, h, mass), BetaDensity(1.0, a, 1.0 - h, 1.0, mass)
        return ends[0], inner, ends[1]


def solve_panels(utility: Utility) -> PanelLaw:
    """Return the limit law on [0, 1], whatever the parts of a utility without kinks.

    Collocation of T(x) = E with 10 Legendre polynomials a panel, panels doubling from each end,
    and on the first x**q with q = -(1+p)/2 for U'(x) ~ x**(p-1) (an atom and q = 0 where U'(0) is
    finite). Kernels are integrated between their own breaks, wherever they lie.
    """
    best: PanelLaw | None = None
    for widest in _WIDEST:
        found = _collocate(utility, widest)
        if best is not None and found.certificate.gap > 0.5 * best.certificate.gap:
            break
        best = found
        if best.certificate.relative_gap <= _AIM:
            break
    assert best is not None
    return best


def _collocate(utility: Utility, widest: float) -> PanelLaw:
    mesh, atomic = _mesh(utility, widest), utility.exponent >= 1.0
    x, weight, values = _points(mesh)
    rows = mesh.rows(utility, np.append(0.0, x))
    matrix = _with_atom(utility, np.append(0.0, x), rows) if atomic else rows
    if atomic:
        # The point 0 is the atom's; the first panel needs one of its own.
        between = np.array([0.5 * mesh.edges[1]])
        extra = _with_atom(utility, between, mesh.rows(utility, between))
        matrix = np.concatenate([matrix, extra])
    solution = np.linalg.solve(matrix, np.ones(matrix.shape[0]))
    masses = np.concatenate(
        [
            [2.0 * mesh.edges[1] ** (1.0 + mesh.power) / (1.0 + mesh.power)],
            2.0 * (weight[:, None] * values).reshape(-1, _DEGREE, _DEGREE).sum(axis=1).ravel(),
            [2.0] * atomic,
        ]
    )
    solution /= float(masses @ solution)
    atom = float(solution[-1]) if atomic else 0.0
    coefficients = solution[:-1] if atomic else solution
    proof = _certify(utility, mesh, coefficients, atom, masses)
    return PanelLaw(mesh, coefficients, atom, proof)


def _mesh(utility: Utility, widest: float) -> Mesh:
    breaks = kernel_breaks(utility, _SMALLEST_BREAK)
    if utility.exponent >= 1.0:
        with np.errstate(all="ignore"):
            bend = -float(utility.d2(0.0))
            width = utility.slope_at_zero / bend if bend > 0 else 1.0
        smallest = float(np.clip(width / 64, 1e-9, 1e-2))
        return Mesh(graded_mesh(smallest, widest), _DEGREE, 0.0, breaks)
    p = utility.exponent
    # The share of T that hangs on a panel of width h is h**((1+p)/2): kept well above rounding.
    smallest = max(1e-13, 10.0 ** (-13.0 / (1.0 + p)))
    return Mesh(graded_mesh(smallest, widest), _DEGREE, -0.5 * (1.0 + p), breaks)


def _points(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Gauss points of all panels but the first, weights, and the functions' values there."""
    z, w = gauss(_DEGREE)
    low, high = mesh.edges[1:-1, None], mesh.edges[2:, None]
    x = (0.5 * (low + high) + 0.5 * (high - low) * z).ravel()
    weight = (0.5 * (high - low) * w).ravel()
    values = np.tile(legendre(z, _DEGREE).T, (mesh.edges.size - 2, 1))
    return x, weight, values * np.repeat(mesh.scales, _DEGREE)[:, None]


def _with_atom(utility: Utility, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    ends = utility.shortfall(x, 1.0) + utility.shortfall(1.0 - x, 1.0)
    return np.column_stack([rows, ends])


def _certify(
    utility: Utility, mesh: Mesh, coefficients: np.ndarray, atom: float, masses: np.ndarray
) -> Certificate:
    """Return the certificate, from T at three times the points, with a finer rule."""
    x, weight, values = _points(mesh)
    low, high = mesh.edges[:-1], mesh.edges[1:]
    between = np.concatenate([low + share * (high - low) for share in (0.0, 0.003, 0.1, 0.3)])
    y, w = power_rule(mesh.edges[1:2], mesh.power, 12, 12)
    places = np.concatenate([x, y[0], between, [0.5]])
    rows = mesh.rows(utility, places, nodes=13)
    t = rows @ coefficients
    if atom:
        t += atom * (utility.shortfall(places, 1.0) + utility.shortfall(1.0 - places, 1.0))
    panels = coefficients[1:].reshape(-1, 1, _DEGREE)
    rho = (values.reshape(-1, _DEGREE, _DEGREE) * panels).sum(axis=2).ravel()
    first = float(masses[0] * coefficients[0])
    share = (w * y**mesh.power)[0]
    first_t = float(t[x.size : x.size + 12] @ share) / float(share.sum())
    at_zero = float(t[x.size + 12])
    total = 2.0 * float(weight @ rho) + first + 2.0 * atom
    shortfall = 2.0 * float((weight * rho) @ t[: x.size]) + first * first_t + 2.0 * atom * at_zero
    shortfall /= total
    coarse = mesh.rows(utility, places[::7]) @ coefficients
    fine = rows[::7] @ coefficients
    gap = 2.0 * max(shortfall - float(t.min()), 0.0) + rounding(utility, shortfall)
    gap += 2.0 * float(np.abs(coarse - fine).max())
    relative = rho / np.repeat(mesh.scales, _DEGREE)
    return Certificate(shortfall, gap, gap / shortfall, float(relative.min() / relative.max()))
