r"""From the limit law back to n completions: the rewards predicted, without solving for them.

Where U'(0) is finite they are the law's quantiles at (i - 1/2)/n: by the Euler-Maclaurin formula
the terms of the order 1/n cancel between the two sides of each reward, and the error is of the
order 1/n**2. Where U(x) ~ c x**p, U'(0) infinite, a sum over neighbours differs from its integral
by 2 c zeta(-p) (n rho)**-p, so that the n rewards follow the density that maximises

    J + 2 c zeta(-p) n**(-1-p) ∫ rho**(1-p)

(c x**p becomes c log x, and the second term (c/n) ∫ rho log rho, at p = 0): the limit density and
its linear response, whose quantiles at (i - 1/2)/n are returned
(docs/theory.md#back-to-n-completions). For log x that gives the quantiles at (i - 3/4)/(n - 1/2),
the known asymptotics of the zeros of Jacobi polynomials.

Measured at n = 32: 6e-4 for log(x + 0.01) and smoother, 2e-4 for log x and sums with it, 2e-5
for powers, 1e-3 for -x**-0.5, 4e-3 for -x**-0.7; 1e-3 needs n > 0.7/mass where the mass at the
ends is small (n > 50 for -1/(x + 0.01)).
"""

from __future__ import annotations

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.limit.coordinate import SeriesLaw
from collapse_theory.limit.first_kind import potential_rows
from collapse_theory.numerics.quadrature import Ends
from collapse_theory.numerics.series import evaluate
from collapse_theory.utilities.base import Utility

__all__ = ["predict"]

_TERMS = 48
_GRID = 1025
# The response diverges at the ends; its equation is asked for where T is still felt.
_INNERMOST = 1e-9
_ROUNDS = 3


def predict(unit: Utility, law: SeriesLaw, n: int) -> np.ndarray:
    """Return the rewards of n completions in the unit box for U'(0) infinite, best first."""
    x, shift = _response(unit, law, n)
    y, weight = law.grading.end_rule(x, law.power, law.size + 8)
    smooth = evaluate(law.coefficients, law.grading.sigma(y, 1.0 - y)) * (1.0 - y) ** law.power
    below = (weight * smooth).sum(axis=1) * x ** (1.0 + law.power)
    # Near the end the correction can outweigh the law: there the rewards are at the end.
    level = np.minimum.accumulate((below + shift)[::-1])[::-1]
    lower = np.interp((np.arange(n // 2) + 0.5) / n, level, x, left=0.0)
    return np.concatenate([1.0 - lower, [0.5] * (n % 2), lower[::-1]])


def _response(unit: Utility, law: SeriesLaw, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points x and what the correction adds to the distribution function there.

    The correction's density is (x (1-x))**s G with s = (p-2)(p+1)/2 for p < 0. For p >= 0 that
    isn't integrable: it is masses at the ends and a density as the law's own.
    """
    p, grading = unit.exponent, law.grading
    s = law.power if p >= 0 else 0.5 * (p - 2.0) * (p + 1.0)
    at = grading.points(2 * _TERMS)
    at = at[at > _INNERMOST]
    rows = potential_rows(unit, grading, at, Ends(p, s, 4, _TERMS, nodes=_TERMS + 8))
    ends = unit.shortfall(at, 1.0) + unit.shortfall(1.0 - at, 1.0)
    columns = [rows, -np.ones((at.size, 1))] + [ends[:, None]] * (p >= 0)
    # No mass is added in all; the row is heavy, so that least squares keeps to it.
    none = 1e3 * np.concatenate([0.5 * grading.masses(s, _TERMS), [0.0], [1.0] * (p >= 0)])
    matrix = np.vstack([np.hstack(columns), none])
    scale = np.abs(matrix).max(axis=0)
    inverse = np.linalg.pinv(matrix / scale, rcond=1e-13) / scale[:, None]
    limit_density = density = law.density(at, 1.0 - at)
    # Once is exact to first order; for p < 0 the second order counts too.
    found = inverse @ np.append(_field(unit, density, n), 0.0)
    for _ in range(0 if p >= 0 else _ROUNDS - 1):
        change = evaluate(found[:_TERMS], grading.sigma(at, 1.0 - at)) * (at * (1.0 - at)) ** s
        density = np.maximum(limit_density + change, 0.1 * limit_density)
        found = inverse @ np.append(_field(unit, density, n), 0.0)
    x = grading.place(np.linspace(1.0, 0.0, _GRID)[1:])
    y, weight = grading.end_rule(x, s, _TERMS + 8)
    smooth = evaluate(found[:_TERMS], grading.sigma(y, 1.0 - y)) * (1.0 - y) ** s
    shift = (weight * smooth).sum(axis=1) * x ** (1.0 + s)
    return x, shift + (found[-1] if p >= 0 else 0.0)


def _field(unit: Utility, density: np.ndarray, n: int) -> np.ndarray:
    """Return what T of the correction must be, up to a constant: a part for each singular term."""
    field, tiny = np.zeros_like(density), np.array([1e-60])
    for weight, term in unit.terms:
        p = term.exponent
        rate = weight * float((term.slope(tiny) * tiny ** (1.0 - p))[0]) if p < 1 else 0.0
        if p == 0:
            field += 0.5 * rate / n * np.log(density)
        elif p < 1:
            field += rate / p * _zeta(-p) * (1.0 - p) * n ** (-1.0 - p) * density**-p
    return field


def _zeta(s: float) -> float:
    """Return Riemann's zeta for s in (-1, 1), as SciPy has it only from 1.15 on.

    The alternating sum with Borwein's Chebyshev weights (P. Borwein, An efficient algorithm for
    the Riemann zeta function, 2000, algorithm 2).
    """
    size = 24
    i = np.arange(size + 1)
    logs = special.gammaln(size + i) - special.gammaln(size - i + 1) - special.gammaln(2 * i + 1)
    d = size * np.cumsum(np.exp(logs) * 4.0**i)
    k = i[:-1]
    total = ((-1.0) ** k * (d[:-1] - d[-1]) / (k + 1.0) ** s).sum()
    return float(-total / (d[-1] * (1.0 - 2.0 ** (1.0 - s))))
