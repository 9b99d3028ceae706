"""Newton's method for very many completions: log gaps as polynomials of the index.

The same equations as in finite/log_gaps.py in some hundred numbers (programs/smooth_gaps.py), with
sums whose length grows with log n (programs/index_sums.py). G sums U' over the pairs that straddle
a cell, R over those on either side of a reward. With mean 0 a reward is the sum over j of
(r_i - r_j) / n, so that a penalty's pull is a sum over pairs, too, of c (r_i - r_j), c =
kappa (n-1)/n: let H and S be its sums. Where U'(x) ~ x**(p-1) has p > 0, a single gap hardly
changes G, and the equations are those of rewards in balance, of the second kind; where p <= 0 they
are those of the cells, all terms positive:

    p > 0:  log(R_right / R_left) = 0,    log((R_right + S_left) / (R_left + S_right)) = 0,
    p <= 0: log(G / lambda) = 0,          log(G / H) = 0,

in the box, and under a penalty. Under Free a line is added to U so that it rises, and its slope is
the pull.

The start is the optimum of fewer completions, up from 200 that the dense method solves. The number
that tie at an end of the box is a real number on the way, M with (M-1) U'(0) = F, F the force of
all others on one of them: it grows as a n + 1/2, up to terms of the order 1/n.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.log_gaps import LogGaps
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.programs.index_sums import Straddling
from collapse_theory.programs.program import smooth
from collapse_theory.programs.smooth_bounds import pulled
from collapse_theory.programs.smooth_gaps import Layout, SmoothGaps, panel_ratio
from collapse_theory.utilities import Utility

FEWEST = 700  # completions from which it is faster than the dense method
# Where the start begins, and by how much it grows at most, in the box and under a penalty, whose
# rewards spread further the more there are: by 8 none of 128 programs of up to 10^7 failed, by 20
# 13 of 64 of 10^6.
_COARSEST, _FACTOR, _FACTOR_HELD = 200, 20, 8
_ROUGH = 1e-3  # last coefficients of a start's log gaps above which panels are halved
# Panels are halved where G between their nodes is off lambda by more than the first, relatively, or
# log gaps on a half of them have last coefficients above the second.
_BALANCED, _SMOOTH = 2e-11, 5e-10
_ROUNDS, _SOLVES, _HALVINGS = 40, 40, 6  # at most: Newton's steps, numbers tied tried, refinements
_LARGEST = 1500  # unknowns: a step with more takes seconds
_ANCHOR = 40  # cells at an end without ties whose gaps go by the index
_STEP = 2.0  # of a log gap, at most
_JOINED = -12.0  # the first log gap less the second, below which the first runs to zero
# Residuals at which Newton's method ends: at rounding, and for a start; above the last, no answer.
_EXACT, _LOOSE, _ACCURATE = 2e-15, 1e-8, 1e-7
_STALLS = 1e-12  # residuals below which a step that brings little is the last


class Spectral:
    """Newton's method on log gaps that are polynomials of the index."""

    name = "spectral"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether it is a smooth full ranking of many completions that keeps its order."""
        if not isinstance(program, Program) or program.edges or program.comparisons:
            return False
        return program.n >= FEWEST and program.domain.ordered and smooth(program.utility)

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the optimal gaps; in the box as polynomials.

        Raises
        ------
        SolverFailed
            Where Newton's method doesn't converge: a feature of U that the panels can't resolve.
        """
        with np.errstate(all="ignore"):
            found = _refined(program, budget)
        answer = Answer(iterations=budget.used, converged=not budget.spent, unique=True)
        gaps = SmoothGaps(program.n, found.tied, found.lay.cuts, found.z)
        return replace(answer, smooth=gaps) if program.box else replace(answer, gaps=gaps.gaps())


# -- Newton's method -----------------------------------------------------------------------------


class _Joins(Exception):
    """The first reward that isn't tied belongs to the tied group."""


class _Step(NamedTuple):
    """The equations of a step at given gaps.

    Attributes
    ----------
    residual : the largest |G / lambda - 1|; under a penalty the largest logarithm
    matrix, right : the linear system
    level, force : lambda, and what the unknowns are judged by: F where rewards balance, else G
    on_tied : the force of all others on one of the tied
    """

    residual: float
    matrix: np.ndarray
    right: np.ndarray
    level: float
    force: np.ndarray
    on_tied: float


@dataclass(frozen=True)
class _Found:
    """Log gaps z of a layout with `tied` at each end, the force of all others on one of them."""

    lay: Layout
    z: np.ndarray
    tied: int
    on_tied: float

    def excess(self, slope: float) -> float:
        """Return by how many the tied group is too large; below 0, by how many too small."""
        return self.tied - 1 - self.on_tied / slope


@dataclass(frozen=True)
class _Equations:
    """The equations of the optimum in the box, or without one against a `pull`."""

    utility: Utility
    pull: Any  # a Pull, or None

    @classmethod
    def of(cls, program: Program, widest: float) -> _Equations:
        """Return those of a program; without a box rewards lie about `widest` apart."""
        if program.box:
            return cls(program.utility, None)
        return cls(*pulled(program.utility, program.n, program.kappa, widest))

    @property
    def slope(self) -> float:
        """U'(0) where rewards may tie."""
        return np.inf if self.pull else self.utility.slope_at_zero

    def normed(self, z: np.ndarray, lay: Layout) -> np.ndarray:
        """Return log gaps whose sum is the box's width."""
        if self.pull:
            return z
        z = z - z.max()
        return z - np.log(lay.mass @ np.exp(z))

    def at(self, at: Straddling, z: np.ndarray) -> _Step:
        """Return the equations at log gaps z."""
        m, balance = at.lay.m, self.utility.exponent > 0
        R, dR = at.walks.slopes(self.utility, z, near=balance)
        if self.pull:
            rest, J = self._against_pull(at, z, R, dR)
            return _Step(float(np.abs(rest).max()), J, -rest, 1.0, rest, 0.0)
        mass, force = at.lay.mass * np.exp(z), at.sides(R)
        if balance:
            G = at.sums @ force
            level = float(G @ mass)
            rest = np.log(R[:m] / R[m : 2 * m])
            J = dR[:m] / R[:m, None] - dR[m : 2 * m] / R[m : 2 * m, None]
            # Of the first only that G is lambda there: all others follow by balance.
            rest[0], J[0], shift = np.log(G[0] / level), at.tied * dR[0] / G[0], np.eye(1, m)[0]
        else:
            G, dG = self._over_cells(at, z, R, dR)
            force = G
            level, shift = float(G @ mass), np.ones(m)
            if np.all(G > 0):
                rest, J = np.log(G / level), dG / G[:, None]
            else:
                rest, J = G / level - 1, dG / level
        matrix = np.block([[J, -shift[:, None]], [mass, 0.0]])
        residual = float(np.abs(G / level - 1).max())
        return _Step(residual, matrix, np.append(-rest, 0.0), level, force, float(R[0]))

    def _over_cells(
        self, at: Straddling, z: np.ndarray, R: np.ndarray, dR: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        local, slope = at.windows.forces(self.utility, z)
        return local + at.sums @ at.sides(R), slope + at.sums @ at.sides(dR)

    def _against_pull(
        self, at: Straddling, z: np.ndarray, R: np.ndarray, dR: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithms that are to be 0, and their derivatives by the log gaps."""
        S, dS = at.walks.slopes(self.pull, z, near=True)
        right, left = slice(0, at.lay.m), slice(at.lay.m, 2 * at.lay.m)
        if self.utility.exponent > 0:
            up, down = R[right] + S[left], R[left] + S[right]
            by_up, by_down = dR[right] + dS[left], dR[left] + dS[right]
        else:
            up, by_up = self._over_cells(at, z, R, dR)
            down, by_down = at.sums @ at.sides(S), at.sums @ at.sides(dS)
        return np.log(up / down), by_up / up[:, None] - by_down / down[:, None]


def _newton(
    equations: _Equations, at: Straddling, z: np.ndarray, budget: Budget, enough: float
) -> _Found | None:
    """Newton's method until the residual is small `enough` or stalls.

    The residual decides, not the step: of x**0.8 a wave of 1e-5 in the gaps changes G by 1e-13.
    None where it fails.

    Raises
    ------
    _Joins
        Where the first reward runs into the tied group.
    """
    best, kept, stalled, step = np.inf, None, 0, None
    for _ in budget.rounds(_ROUNDS):
        z = equations.normed(z, at.lay)
        now = equations.at(at, z)
        if step is not None and not np.isfinite(now.residual):
            z, step = z - 0.75 * step, 0.25 * step  # too far: distances between nodes turn negative
            continue
        stalled = stalled + 1 if not now.residual <= 0.3 * best else 0
        if now.residual < best:
            best, kept = now.residual, _Found(at.lay, z, at.tied, now.on_tied)
        if best < enough or (best < _STALLS and stalled) or (best < _ACCURATE and stalled > 2):
            break
        try:
            step = np.linalg.solve(now.matrix, now.right)[: at.lay.m]
        except np.linalg.LinAlgError:
            break
        if not np.all(np.isfinite(step)):
            break
        step = np.clip(step, -_STEP, _STEP)
        z = z + step
        if np.isfinite(equations.slope) and z[0] < z[1] + _JOINED:
            raise _Joins
    return kept if best < max(enough, _ACCURATE) else None


# -- ties, and panels halved until they hold ---------------------------------------------------


def _refined(program: Program, budget: Budget) -> _Found:
    """Return the optimum, with panels halved until forces balance between their nodes too."""
    start, widest = _start(program, budget)
    equations = _Equations.of(program, widest)
    found = _settled(equations, program.n, start, budget, _EXACT)
    last = np.inf
    for _ in range(_HALVINGS):
        worst = _unresolved(equations, found)
        rough = worst > 1.0
        # What halving doesn't make much smaller is rounding, or too narrow.
        if not rough.any() or worst.max() > 0.3 * last or budget.spent:
            break
        lay, last = found.lay.halved(rough), float(worst.max())
        if lay.m > _LARGEST:
            break
        z = found.lay.resampled(found.z, lay)
        try:
            better = _newton(equations, Straddling.of(lay, found.tied), z, budget, _EXACT)
        except _Joins:
            break
        if better is None:
            break
        found = better
    return found


def _unresolved(equations: _Equations, found: _Found) -> np.ndarray:
    """Return how far on each panel G is off lambda at other cells, or gaps from smooth.

    In units of what is let stand.
    """
    if equations.pull:
        return found.lay.tails(found.z) / _SMOOTH
    lay = found.lay.halved()
    z, at = found.lay.resampled(found.z, lay), Straddling.of(lay, found.tied)
    now = equations.at(at, z)
    if equations.utility.exponent > 0:  # what a panel adds to G, in units of lambda
        share = np.array([n for _, n, _ in lay.own]) / 16  # as in programs/smooth_bounds.py
        off = np.maximum.reduceat(np.abs(now.force), [u for _, _, u in lay.own]) * share / now.level
    else:
        off = np.maximum.reduceat(np.abs(now.force / now.level - 1), [u for _, _, u in lay.own])
    smooth = np.zeros(len(off))
    smooth[[k for k, (_, n, _) in enumerate(lay.own) if n > 1]] = lay.tails(z)
    first, rough = (
        np.array([f for f, _, _ in lay.own]),
        np.maximum(off / _BALANCED, smooth / _SMOOTH),
    )
    return np.array([rough[(first >= f) & (first < f + n)].max() for f, n, _ in found.lay.panels])


def _settled(
    equations: _Equations, n: int, guess: _Profile, budget: Budget, enough: float
) -> _Found:
    """Return the optimum with the right number tied; for a start whichever number converges."""
    slope, most = equations.slope, (n - 2) // 2
    tied, few, joins, again, loose = min(guess.tied(n), most), 0, 1, False, enough == _LOOSE
    for _ in range(_SOLVES):
        cells, ratio = n - 2 * (tied - 1), panel_ratio(equations.utility, n)
        # Gaps under a penalty are written out, and certified on panels that grow like this.
        lay = Layout.growing(cells, ratio) if equations.pull else guess.layout(cells, ratio)
        try:
            found = _newton(equations, Straddling.of(lay, tied), guess.logs(lay), budget, enough)
        except _Joins:
            if tied == most:
                break
            few, tied, joins = tied, min(tied + joins, most), 2 * joins
            continue
        if found is None:
            break
        excess = found.excess(slope)
        near = abs(excess) <= 2 or again if loose else not excess > 1e-9 * tied
        if near or tied - 1 <= few:
            return found
        # One that leaves takes its own force along and adds it on the other side: half leave.
        guess, again = _Profile.of(found, slope), True
        tied = max(tied - max(1, int(np.ceil(excess / 2 - 1e-9))), few + 1)
    raise SolverFailed(
        f"Newton's method on polynomials of log gaps failed for {equations.utility}, n = {n}"
        f"{' on the way to more' if loose else ''}: a feature of U is too narrow or too steep for "
        "them; ct.limit is the law of many completions"
    )


def _start(program: Program, budget: Budget) -> tuple[_Profile, float]:
    """Return the optimum of fewer completions, and how far apart those of the fewest lie."""
    factor = _FACTOR if program.box else _FACTOR_HELD
    steps = int(np.ceil(np.log(program.n / _COARSEST) / np.log(factor)))
    sizes = np.geomspace(_COARSEST, program.n, steps + 1).round().astype(int)[:-1]
    coarsest = Program.of(program.loss, _COARSEST, program.domain)
    assert isinstance(coarsest, Program)
    dense = LogGaps()(coarsest, budget).gaps
    assert dense is not None
    tied = int(np.argmax(dense > 0)) + 1
    inside = dense[tied - 1 : len(dense) - tied + 1]
    widest = float(dense.sum())
    equations = _Equations.of(coarsest, widest)
    if tied > 1 and not program.box:
        raise SolverFailed(f"of {_COARSEST} completions some tie under {program.domain}")
    lay = Layout.of(len(inside) + 1, np.array([len(inside) // 2]))
    at = np.append(0.0, inside.cumsum())[1:]
    weights = np.append(np.ones(len(at) - 1), tied)
    force = float(weights @ equations.utility.slope(at))
    found = _Found(lay, np.log(inside[: lay.m]), tied, force)
    for size in sizes[1:].tolist():
        fewer = Program.of(program.loss, size, program.domain)
        assert isinstance(fewer, Program)
        guess = _Profile.of(found, equations.slope)
        found = _settled(_Equations.of(fewer, widest), size, guess, budget, _LOOSE)
    return _Profile.of(found, equations.slope), widest


@dataclass(frozen=True)
class _Profile:
    """An optimum as the start of another: log gaps along the way from the end to the middle."""

    cells: int
    share: float  # of the completions that tie at an end
    way: np.ndarray  # log of the place, in parts of all cells
    height: np.ndarray  # log of the gap, in parts of the mean gap
    steep: bool

    @classmethod
    def of(cls, found: _Found, slope: float) -> _Profile:
        lay, n = found.lay, found.lay.N + 2 * (found.tied - 1)
        ties = np.isfinite(slope)
        share = (found.tied - 0.5 - found.excess(slope) / 2) / n if ties else 0.0
        cells, first = lay.N - 1, int(ties)  # then the first gap is out of line
        way, height = np.log(lay.places / cells), found.z + np.log(cells)
        return cls(cells, share, way[first:], height[first:], found.tied == 1)

    def tied(self, n: int) -> int:
        """Return how many of n tie at an end."""
        return max(int(self.share * n + 0.5), 1)

    def logs(self, lay: Layout) -> np.ndarray:
        """Return log gaps at the places of a layout."""
        cells = lay.N - 1
        way = np.log(lay.places / cells)
        logs = np.interp(way, self.way, self.height)
        if self.steep:
            # Next to an end without ties gaps go by the index, as they do here, then like a power.
            a, b = _ANCHOR // 2, min(_ANCHOR, len(self.way) - 1)
            power = (self.height[b] - self.height[a]) / (self.way[b] - self.way[a])
            index = way + np.log(cells / self.cells)
            near = np.interp(index, self.way, self.height) - self.height[b]
            far = np.maximum(index, self.way[b]) - np.log(cells / self.cells) - self.way[b]
            next_to = self.height[b] + np.minimum(near, 0.0) + power * far
            logs = np.where(way < self.way[b], next_to, logs)
        return logs - np.log(cells)

    def layout(self, N: int, ratio: float) -> Layout:
        """Return panels for N rewards, halved where this start is rough."""
        lay = Layout.growing(N, ratio)
        for _ in range(_HALVINGS):
            rough = lay.tails(self.logs(lay)) > _ROUGH
            if not rough.any():
                break
            lay = lay.halved(rough)
        return lay
