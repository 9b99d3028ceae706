"""One table of problems with exact answers, each beside its source, and what tests share.

Nothing here comes from the package's own solvers: the answers are numbers of other programs,
formulas from the literature, or solutions of a small solver in mpmath written for the tests alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
from hypothesis import HealthCheck, settings
from scipy.optimize import linprog

from collapse_theory.programs import Answer, Certificate, Program, certify
from collapse_theory.testing import precise
from collapse_theory.utilities.expression import Tree
from collapse_theory.utilities.parser import parse

# On CI the same examples each time; at a desk new ones.
FIXED = "CI" in os.environ


def cases(count: int) -> settings:
    """Return the Hypothesis settings for `count` examples."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=FIXED,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def certified(loss: Any, gaps: Any, domain: Any = None) -> Certificate:
    """Return the certificate of a full ranking with these gaps."""
    gaps = np.asarray(gaps, dtype=float)
    return certify(Program.of(loss, len(gaps) + 1, domain), Answer(gaps=gaps))


# -- answers with their sources ----------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """The optimal rewards of n completions in the box [0, 1], best first, right to `within`."""

    utility: str
    rewards: tuple[float, ...]
    within: float
    source: str

    @property
    def n(self) -> int:
        return len(self.rewards)

    def __str__(self) -> str:
        return f"{self.utility}, n={self.n}"


def _symmetric(*upper: float, middle: bool = False) -> tuple[float, ...]:
    lower = tuple(1 - r for r in reversed(upper))
    return (*upper, 0.5, *lower) if middle else (*upper, *lower)


PRINTED = "docs/theory.md, what the paper's experiments trained: three decimals"
DASHED = "the dashed lines of the paper's figure, to .001"
JACOBI = "zeros of P^(1,1)_{n-2}: Szego, Orthogonal Polynomials, 6.7"
LEVELS = "k+1 groups of ties: docs/theory.md, closed forms"
PARABOLA = "clip(1/2 + (n+1-2i)/(2cn), 0, 1): docs/theory.md, closed forms"
PROBLEMS = (
    Problem("log(x + 0.1)", _symmetric(1, 1, 0.854, 0.627), 5.1e-4, PRINTED),
    Problem("-1/(x + 0.1)", _symmetric(1, 0.911, 0.759, 0.588), 5.1e-4, PRINTED),
    Problem("log(x)", _symmetric(1, 0.936, 0.796, 0.605), 1e-3, DASHED),
    Problem("-1/x", _symmetric(1, 0.879, 0.733, 0.579), 1e-3, DASHED),
    Problem("log(x)", (1, 0.5, 0), 1e-15, JACOBI),
    Problem("log(x)", _symmetric(1, (1 + 1 / np.sqrt(5)) / 2), 1e-15, JACOBI),
    Problem("log(x)", _symmetric(1, (1 + np.sqrt(3 / 7)) / 2, middle=True), 1e-15, JACOBI),
    Problem("x", (1, 1, 1, 0, 0, 0), 1e-15, "half ones, half zeros: Song et al. (2023), sec. 2"),
    Problem("x - 0.5*x**2", _symmetric(1, 3 / 4), 1e-15, PARABOLA),
    Problem("x - 0.3*x**2", _symmetric(1, 1, 41 / 42, middle=True), 1e-15, PARABOLA),
    Problem("x - 0.25*x**2", _symmetric(1, 1, 5 / 6), 1e-15, PARABOLA),
    Problem("min(x, 0.5)", (1, 1, 0.5, 0.5, 0, 0), 1e-15, LEVELS),
    Problem("min(x, 0.25)", _symmetric(1, 0.75, middle=True), 1e-15, LEVELS),
    Problem("log(x) + x", (1, 0), 0.0, "by monotonicity: docs/theory.md, closed forms"),
    Problem("logsigmoid(4*x)", (1, 0.5, 0), 0.0, "by symmetry: docs/theory.md, closed forms"),
)

# The least n at which two rewards tie (docs/theory.md#closed-forms); None: no tie up to 32.
FIRST_TIE = (("log(x + 0.1)", 8), ("-1/(x + 0.1)", 17), ("log(x + 0.001)", None))


def jacobi_end_gap(n: int) -> mp.mpf:
    """Return the gap of log x between the best two rewards, by 2F1(2-n, n+1; 2; u) = 0."""
    with mp.workdps(60):
        guess = mp.sin(mp.besseljzero(1, 1) / (2 * n - 1)) ** 2
        bracket = (0.95 * guess, 1.05 * guess)
        return mp.findroot(lambda u: mp.hyp2f1(2 - n, n + 1, 2, u), bracket, solver="anderson")


def exponential_rewards(b: float, n: int) -> np.ndarray:
    """Return the optimum of 1 - exp(-bx) (docs/theory.md#closed-forms), its ties found by trial.

    For each m the balance fixes S, and the m is right whose inner gap and end gap are positive
    and at which no completion wants to leave its group.
    """
    with mp.workdps(30):
        for m in range(1, (n - 1) // 2 + 1):

            def balance(t: mp.mpf, m: int = m) -> mp.mpf:  # t = log S
                return 2 * (mp.log(m) - t) + (n - 2 * m - 1) * mp.log1p(mp.exp(-t)) - b

            if balance(mp.log(m)) > 0:
                continue  # the end gap would be negative: more of them tie
            t = mp.findroot(balance, (-mp.mpf(b) - 1, mp.log(m)), solver="anderson", tol=1e-25)
            end, inner = (mp.log(m) - t) / b, mp.log1p(mp.exp(-t)) / b
            gaps = [mp.mpf(0)] * (m - 1) + [end] + [inner] * (n - 2 * m - 1) + [end]
            gaps += [mp.mpf(0)] * (m - 1)
            return np.array([float(sum(gaps[k:])) for k in range(n)])
    return np.repeat([1.0, 0.0], n // 2)


# -- utilities in mpmath -----------------------------------------------------------------

FORMULAS: dict[str, Tree] = {
    text: parse(text)
    for text in (
        "log(x)",
        "log(x + 0.1)",
        "log(x + 0.001)",
        "x**0.5",
        "x**0.9",
        "-1/x",
        "-x**-3",
        "-1/(x + 0.1)",
        "logsigmoid(4*x)",
        "logsigmoid(60*x)",
        "1 - exp(-20*x)",
        "sin(1.5*x)",
        "tanh(3*x)",
        "tanh(50*x)",
        "log(x) + 3*x**0.5",
        "logsigmoid(4*x) + 0.25*x**0.5",
        "1 - exp(-20*x) + 0.5*log(x + 0.1)",
    )
}

DIGITS = 40


def mean_utility(formula: Tree, gaps: Sequence[Any]) -> mp.mpf:
    """Return the mean of U over all pairs, from the gaps between neighbours as they are."""
    with mp.workdps(DIGITS):
        d = [mp.mpf(float(g)) if isinstance(g, float) else mp.mpf(g) for g in gaps]
        n = len(d) + 1
        values = [precise.value(formula, sum(d[i:j])) for i in range(n) for j in range(i + 1, n)]
        return sum(values) / len(values)


@cache
def high_precision(name: str, n: int) -> tuple[mp.mpf, ...]:
    """Return the optimal gaps of FORMULAS[name] to 30 digits: damped Newton in mpmath.

    The unknowns are the gaps of the upper half, the last of them up to the middle; `tied`
    completions share each end, one more whenever the first gap runs into zero.
    """
    formula, h = FORMULAS[name], n // 2
    with mp.workdps(DIGITS):
        for tied in range(1, h + 1):
            e = _maximised(formula, n, tied)
            if e is not None:
                half = [mp.mpf(0)] * (tied - 1) + e
                return tuple(_mirrored(half, n))
    raise AssertionError("no optimum found")


def _mirrored(half: list[Any], n: int) -> list[Any]:
    if n % 2:
        return half + half[::-1]
    return [*half[:-1], 2 * half[-1], *half[:-1][::-1]]


def _maximised(formula: Tree, n: int, tied: int) -> list[Any] | None:
    """Return the half gaps of the best answer with `tied` at each end, or None for more ties."""
    size = n // 2 - tied + 1
    e = [mp.mpf(1) / (2 * size)] * size
    rows = _rows(n, tied)

    def total(e: list[Any]) -> Any:
        return sum(precise.value(formula, _dot(row, e)) for row in rows)

    now = total(e)
    for _ in range(200):
        if e[0] < mp.mpf("1e-14"):
            return None
        gradient, hessian = mp.matrix(size, 1), mp.matrix(size, size)
        for row in rows:
            _, first, second = precise.derivatives(formula, _dot(row, e))
            for a in range(size):
                gradient[a] += first * row[a]
                for b in range(size):
                    hessian[a, b] += second * row[a] * row[b]
        step = _newton_step(gradient, hessian, size)
        length = max(abs(step[a]) / e[a] for a in range(size))
        falling = [-e[a] / step[a] for a in range(size) if step[a] < 0]
        alpha = min([mp.mpf(1), *(mp.mpf("0.9") * f for f in falling)])
        for _ in range(40):
            trial = [e[a] + alpha * step[a] for a in range(size)]
            then = total(trial)
            if then >= now or length < 1e-12:
                break
            alpha /= 2
        e, now = trial, then
        if length < mp.mpf("1e-28"):
            return e
    raise AssertionError("Newton's method in mpmath didn't converge")


def _newton_step(gradient: Any, hessian: Any, size: int) -> Any:
    system, right = mp.matrix(size + 1, size + 1), mp.matrix(size + 1, 1)
    scale = max(abs(hessian[a, a]) for a in range(size))
    for a in range(size):
        right[a] = -gradient[a] / scale
        system[a, size] = system[size, a] = 1
        for b in range(size):
            system[a, b] = hessian[a, b] / scale
    return mp.lu_solve(system, right)


def _rows(n: int, tied: int) -> list[list[int]]:
    """Return every pair's gap as whole multiples of the half gaps; tied pairs never move."""
    size, skip = n // 2 - tied + 1, tied - 1
    rows = []
    for i in range(n):
        for j in range(i + 1, n):
            row = [0] * size
            for k in range(i, j):
                at = min(k, n - 2 - k) - skip
                if at >= 0:
                    row[at] += 2 if n % 2 == 0 and k == n // 2 - 1 else 1
            if any(row):
                rows.append(row)
    return rows


def _dot(row: list[int], e: list[Any]) -> Any:
    return sum(c * x for c, x in zip(row, e, strict=True) if c)


# -- piecewise linear utilities as linear programs ---------------------------------------

Hinges = tuple[tuple[float, float], ...]  # (weight, margin) of each min(x, margin)

PIECEWISE: dict[str, Hinges] = {
    "min(x, 0.5)": ((1.0, 0.5),),
    "min(x, 0.3)": ((1.0, 0.3),),
    "min(x, 0.25)": ((1.0, 0.25),),
    "min(x, 0.7)": ((1.0, 0.7),),
    "min(x, 0.5) + x": ((1.0, 0.5), (1.0, 1.0)),
    "min(x, 0.2) + 0.5*min(x, 0.6)": ((1.0, 0.2), (0.5, 0.6)),
    "3*min(x, 0.25) + min(x, 0.5) + 0.1*x": ((3.0, 0.25), (1.0, 0.5), (0.1, 1.0)),
    "x": ((1.0, 1.0),),
}


@dataclass(frozen=True)
class PairProgram:
    """maximise c.z subject to A z <= b, E z = 1, z >= 0; z = the n-1 gaps, then pairs' values."""

    c: np.ndarray
    A: np.ndarray
    b: np.ndarray
    E: np.ndarray
    n: int

    def best(self, c: np.ndarray | None = None, floor: float | None = None) -> Any:
        """Return the LP's answer for `c`, among those whose mean utility is at least `floor`."""
        A, b = self.A, self.b
        if floor is not None:
            A, b = np.vstack([A, -self.c]), np.append(b, -floor)
        found = linprog(
            -(self.c if c is None else c),
            A_ub=A,
            b_ub=b,
            A_eq=self.E,
            b_eq=[1.0],
            # Values are left free: a bound there would take a part of the dual solution.
            bounds=[(0, None)] * (self.n - 1) + [(None, None)] * (len(self.c) - self.n + 1),
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        assert found.x is not None, found.message
        return found


def pair_program(hinges: Hinges, n: int) -> PairProgram:
    """Return the linear program of a sum of hinges: each pair's value is below both its pieces."""
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    count = n - 1 + len(pairs) * len(hinges)
    c, A, b = np.zeros(count), [], []
    for h, (weight, margin) in enumerate(hinges):
        for p, (i, j) in enumerate(pairs):
            at = n - 1 + h * len(pairs) + p
            c[at] = weight / len(pairs)
            row = np.zeros(count)
            row[at], row[i:j] = 1.0, -1.0
            A.append(row)
            b.append(0.0)
            row = np.zeros(count)
            row[at] = 1.0
            A.append(row)
            b.append(margin)
    E = np.zeros((1, count))
    E[0, : n - 1] = 1.0
    return PairProgram(c, np.array(A), np.array(b), E, n)
