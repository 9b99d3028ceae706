"""Newton's method for many completions under a penalty: log gaps as polynomials of the index.

The numbers and sums are those of finite/spectral.py. With mean 0 a reward is r_i = sum_j (r_i -
r_j) / n, so that the penalty's pull is a sum over pairs, too, of c (r_i - r_j), c = kappa (n-1)/n.
The forces on either side are sums of positive terms, R of U' and S of c x, and

    log((R_right + S_left) / (R_left + S_right)) = 0

for each reward where U'(x) ~ x**(p-1) has p > 0. Where p <= 0, log(G / H) = 0 for each cell, with G
and H the sums of U' and of c x over the pairs that straddle it. No rewards tie. The gaps are
written out, and certified as any others are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.log_gaps import LogGaps
from collapse_theory.finite.spectral import FEWEST, Profile
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.programs.index_sums import Straddling
from collapse_theory.programs.program import smooth
from collapse_theory.programs.smooth_gaps import Layout, SmoothGaps, panel_ratio
from collapse_theory.utilities import Utility

_COARSE = 200  # completions that the dense method solves for a start
_ROUNDS, _HALVINGS = 40, 4
_STEP = 2.0  # of a log gap, at most
_ENOUGH, _ACCURATE = 1e-13, 1e-8  # residuals: of the end, and of what may be an answer
_SMOOTH = 1e-9  # last coefficients of log gaps above which panels are halved


@dataclass(frozen=True)
class _Pull:
    """c x as the slope of a utility."""

    c: float

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return c x and c."""
        return self.c * x, np.full_like(x, self.c)


class SpectralPenalty:
    """Newton's method on log gaps that are polynomials of the index, under a penalty."""

    name = "spectral"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether it is a smooth full ranking of many completions that a penalty holds."""
        if not isinstance(program, Program) or program.edges or program.comparisons:
            return False
        held = program.domain.ordered and not program.box and program.kappa > 0
        return program.n >= FEWEST and held and smooth(program.utility)

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the optimal gaps.

        Raises
        ------
        SolverFailed
            Where Newton's method doesn't converge.
        """
        with np.errstate(all="ignore"):
            gaps = _refined(program, budget)
        return Answer(
            gaps=gaps.gaps(), iterations=budget.used, converged=not budget.spent, unique=True
        )


def _refined(program: Program, budget: Budget) -> SmoothGaps:
    """Return the optimum, with panels halved until log gaps are smooth on them."""
    utility, n = program.utility, program.n
    lay = Layout.growing(n, panel_ratio(utility, n))
    z = _start(program, budget).logs(lay)
    pull: Any = _Pull(program.kappa * (n - 1) / n)
    for k in range(_HALVINGS + 1):
        z = _newton(utility, pull, Straddling.of(lay, 1), z, budget)
        rough = lay.tails(z) > _SMOOTH
        if not rough.any() or k == _HALVINGS or budget.spent:
            break
        finer = lay.halved(rough)
        lay, z = finer, lay.resampled(z, finer)
    return SmoothGaps(n, 1, lay.cuts, z)


def _start(program: Program, budget: Budget) -> Profile:
    """Return the optimum of fewer completions."""
    coarse = Program.of(program.loss, _COARSE, program.domain)
    assert isinstance(coarse, Program)
    gaps = LogGaps()(coarse, budget).gaps
    assert gaps is not None
    if not np.all(gaps > 0):
        raise SolverFailed(f"of {_COARSE} completions some tie under {program.domain}")
    lay = Layout.of(_COARSE, np.array([(_COARSE - 1) // 2]))
    return Profile.through(lay, np.log(gaps[: lay.m]))


def _newton(
    utility: Utility, pull: Any, at: Straddling, z: np.ndarray, budget: Budget
) -> np.ndarray:
    """Newton's method until the residual is rounding."""
    best, kept, step, stalled = np.inf, z, np.zeros_like(z), 0
    for _ in budget.rounds(_ROUNDS):
        rest, matrix = _equations(utility, pull, at, z)
        residual = float(np.abs(rest).max())
        if not np.isfinite(residual):
            z, step = z - 0.75 * step, 0.25 * step  # too far
            continue
        stalled = stalled + 1 if residual > 0.3 * best else 0
        if residual < best:
            best, kept = residual, z
        if best < _ENOUGH or (best < _ACCURATE and stalled > 1):
            break
        try:
            step = np.clip(np.linalg.solve(matrix, -rest), -_STEP, _STEP)
        except np.linalg.LinAlgError:
            break
        z = z + step
    if not best < _ACCURATE:
        raise SolverFailed(
            f"Newton's method on polynomials of log gaps failed for {utility}: a feature of U is "
            "too narrow or steep for them; ct.limit(u, domain) is the law of many completions"
        )
    return kept


def _equations(
    utility: Utility, pull: Any, at: Straddling, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms that are to be 0, and their derivatives by the log gaps."""
    m, balance = at.lay.m, utility.exponent > 0
    (R, dR), (S, dS) = (
        at.walks.slopes(utility, z, near=balance),
        at.walks.slopes(pull, z, near=True),
    )
    right, left = slice(0, m), slice(m, 2 * m)
    if balance:
        up, down = R[right] + S[left], R[left] + S[right]
        by_up, by_down = dR[right] + dS[left], dR[left] + dS[right]
    else:
        local, slope = at.windows.forces(utility, z)
        up, by_up = local + at.sums @ at.sides(R), slope + at.sums @ at.sides(dR)
        down, by_down = at.sums @ at.sides(S), at.sums @ at.sides(dS)
    return np.log(up / down), by_up / up[:, None] - by_down / down[:, None]
