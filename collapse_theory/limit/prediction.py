r"""From the limit law back to n completions: the rewards predicted, without solving for them.

Where U'(0) is finite they are the law's quantiles at (i - 1/2)/n: by the Euler-Maclaurin formula
the terms of the order 1/n cancel between the two sides of each reward, and the error is of the
order 1/n**2. Where U'(0) is infinite a sum over neighbours at the distance h = 1/(n rho) differs
from its integral by 2 L[U](h),

    L[f](h) = sum_k f(kh) - (1/h) ∫_0^inf f(x) dx    (regularised: c zeta(-p) h**p for c x**p),

so that the n rewards follow the density that maximises J + (2/n) ∫ rho L[U](1/(n rho)): the limit
density and its linear response, whose quantiles at (i - 1/2)/n are returned
(docs/theory.md#back-to-n-completions). For log x that gives the quantiles at (i - 3/4)/(n - 1/2),
the known asymptotics of the zeros of Jacobi polynomials. Where the rewards' own gaps are wider than
the layer in which U is steep the response is no small one: of the corrected and the plain quantiles
those from which Newton's steps of single rewards are shorter are taken.

How far off that may be, `Prediction.error` says: up to `SOLVED` completions the program is solved
to bound it, beyond that its errors there are continued, falling half as fast as they did; a reward
beside a jump of the law's quantiles may be on its other side, whatever n is.

Measured at n = 32: 6e-4 for log(x + 0.01) and smoother, 2e-4 for log x and sums with it, 2e-6
for powers, 1e-3 for -x**-0.5, 4e-3 for -x**-0.7; 1e-3 needs n > 0.7/mass where the mass at the
ends is small (n > 50 for -1/(x + 0.01)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.limit.certificate import of_ends
from collapse_theory.limit.coordinate import SeriesLaw
from collapse_theory.limit.first_kind import potential_rows, potential_rules
from collapse_theory.numerics.quadrature import Ends, power_rule
from collapse_theory.numerics.series import evaluate
from collapse_theory.programs import Domain
from collapse_theory.utilities import Loss, Utility
from collapse_theory.values import Array, Value

_TERMS = 48  # of the series for the response
_RESPONSE_POINTS = 1025  # at which its distribution function is tabulated
# The response diverges at the ends; its equation is asked for where T is still felt.
_INNERMOST_POINT = 1e-9
_RESPONSE_ROUNDS = 3
# Above this exponent the response is sought as for log x: measured at 32 and 128 completions, it is
# up to a hundred times as exact as the singular one, and as exact at -0.2.
_NEARLY_LOG = -0.15
# The weights of Gregory's formula at the end of a sum over 16 neighbours.
_NEIGHBOURS = np.ones(16)
_NEIGHBOURS[-6:] += np.array([863, -5449, 14762, -22742, 23719, -41393]) / 60480
# The correction falls faster than the plain quantiles' error: up to so many it may be worse.
_MOST_JUDGED, _JUDGED = 1024, 64

# Up to so many completions a program is solved in the time that a prediction takes.
SOLVED = 128
# Where errors are measured for more. They rise and fall with the share of an atom that n leaves
# over, so that one number of completions tells little. Of 2,177 estimates for random utilities, n
# to 1,024, none fell short: true errors came to 0.86 of them at most, mostly to a 13th.
_EARLY_SIZES, _LATE_SIZES = (23, 32), (91, 107, 127, 128)
_ERROR_SAFETY, _FASTEST_RATE = 1.5, 2.0
# What the cubics between 1025 quantiles leave: 4e-12 at 10^6 completions.
_INTERPOLATED = 1e-11
# A law may jump over rewards that none has, or next to none. A reward whose level is so near to
# such a place, in ranks, may lie on its other side; there the quantiles change by so many times
# what is usual for their neighbours, eight times at a jump.
_BESIDE, _JUMP = 0.125, 4.0
# A jump that is one adds 1.5 times the usual change over a rank to twice that.
_RAISED = 1.5
Quantiles = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Prediction(Value):
    """The rewards of n completions that a limit law predicts, and how far off they may be.

    Attributes
    ----------
    rewards : (n,) array
        Best first.
    error : float
        How far any of them may be from the optimal ones, in the units of rewards: up to n = 128 a
        bound, beyond that an estimate; inf where U is so flat that nothing can be said
        (`Solution.rewards_error`).
    estimated : bool
        Whether `error` is an estimate, continued from fewer completions, and no bound.
    """

    rewards: Array
    error: float
    estimated: bool


def missed(rewards: np.ndarray, loss: Loss, domain: Domain) -> tuple[float, float]:
    """Return how far rewards are from the optimum found, and a bound of how far that is off."""
    try:
        optimum = solve(loss, rewards.size, domain)
    except (CollapseError, SolverFailed):
        return np.inf, np.inf
    return float(np.abs(rewards - optimum.rewards).max()), optimum.rewards_error


@dataclass(frozen=True)
class Trend:
    """How the errors of a law's predictions fall beyond `SOLVED` completions.

    Attributes
    ----------
    error : float
        The largest at about `SOLVED`.
    rate : float
        r of errors ~ n**-r, from fewer completions to there.
    """

    error: float
    rate: float

    @classmethod
    def of(cls, error_at: Callable[[int], float]) -> Trend:
        """Return the trend of errors that are measured."""
        early, late = (max(map(error_at, sizes)) for sizes in (_EARLY_SIZES, _LATE_SIZES))
        if not 0 < late < early:
            return cls(late, 0.0)
        rate = math.log(early / late) / math.log(_LATE_SIZES[-1] / _EARLY_SIZES[-1])
        return cls(late, min(rate, _FASTEST_RATE))

    def at(self, n: int) -> float:
        """Return what error to expect for n completions."""
        return _ERROR_SAFETY * self.error * (SOLVED / n) ** (0.5 * self.rate) + _INTERPOLATED


def jump(n: int, quantiles: Quantiles) -> float:
    """Return how far a reward is off at most that is on the other side of a jump of quantiles."""
    levels = _levels(n)  # the law is symmetric
    known = quantiles(np.concatenate([[0.0], levels, [0.5]]))
    around = known[2:] - known[:-2]  # across a rank on both sides
    # A jump makes three of these larger than those beyond.
    usual = np.pad(around, 3, mode="edge")
    some = np.flatnonzero(around > _RAISED * np.minimum(usual[:-6], usual[6:]))
    if not some.size:
        return 0.0
    ends = np.array([levels[some] - _BESIDE / n, levels[some] + _BESIDE / n])
    beside = np.subtract(*quantiles(np.clip(ends, 0.0, 0.5))[::-1])
    return float(np.max(beside, where=beside > _JUMP * _BESIDE * around[some], initial=0.0))


def predict(unit: Utility, law: SeriesLaw, n: int, quantiles: Quantiles) -> np.ndarray:
    """Return the rewards of n completions in the unit box for U'(0) infinite, best first.

    `quantiles` gives those of the law at any levels.
    """
    # Where the correction is better for 128 completions it is so for more: single steps are short
    # at some n by chance, whatever all rewards are off together.
    with np.errstate(all="ignore"):
        for few in sorted({min(n, SOLVED), min(n, _MOST_JUDGED)}):
            corrected = _corrected(unit, law, few)
            known = np.isfinite(corrected).all()
            if known and _displaced(unit, corrected) <= _displaced(unit, plain(few, quantiles)):
                found = corrected if few == n else _corrected(unit, law, n)
                if np.isfinite(found).all():
                    return found
        return plain(n, quantiles)


def plain(n: int, quantiles: Quantiles) -> np.ndarray:
    """Return the plain quantiles of a law of the unit box as the rewards of n completions."""
    return _whole(quantiles(_levels(n)), n)


def _levels(n: int) -> np.ndarray:
    """Return (i - 1/2)/n of the lower half."""
    return (np.arange(n // 2) + 0.5) / n


def _whole(lower: np.ndarray, n: int) -> np.ndarray:
    """Return the n rewards whose lower half is given: symmetric, from 1 to 0."""
    lower[0] = 0.0
    # By symmetry the middle one is 1/2: a two-valued law has no quantile there.
    return np.concatenate([1.0 - lower, [0.5] * (n % 2), lower[::-1]])


def _displaced(unit: Utility, rewards: np.ndarray) -> float:
    """Return how far a reward is at most from where it alone would be best: Newton's step.

    In 3,500 predictions this told which is nearer to the optimum but for factors below 2; the
    objective, which sees all rewards at once, was misled by up to 7.
    """
    n = rewards.size
    # The upper half by symmetry; of many rewards the highest and some that thin out below them.
    some = np.unique(np.geomspace(1, max(n // 2, 1), _JUDGED).astype(np.int64))
    at = np.arange(1, (n + 1) // 2) if n <= 2 * _JUDGED else some
    gap = rewards[at, None] - rewards
    first, second = unit.derivatives(np.abs(gap))
    other = np.arange(n) != at[:, None]
    force = (np.sign(np.arange(n) - at[:, None]) * first).sum(axis=1, where=other)
    step = np.abs(force / second.sum(axis=1, where=other))
    # Ties leave inf - inf.
    return float(np.max(step, where=~np.isnan(step), initial=0.0))


def _corrected(unit: Utility, law: SeriesLaw, n: int) -> np.ndarray:
    """Return the quantiles of the law with its linear response."""
    from scipy.interpolate import CubicSpline, PchipInterpolator

    x, shift = _response(unit, law, n)
    y, weight = law.grading.end_rule(x, law.power, law.size + 24)
    smooth = evaluate(law.coefficients, law.grading.sigma(y, 1.0 - y)) * (1.0 - y) ** law.power
    below = (weight * smooth).sum(axis=1) * x ** (1.0 + law.power)
    # Near the end the correction can outweigh the law: there the rewards are at the end.
    level = np.minimum.accumulate((below + shift)[::-1])[::-1]
    level, above = level[level > 0], x[level > 0]
    level, first = np.unique(level, return_index=True)
    if level.size < 2:
        return np.full(n, np.nan)  # the correction outweighs the law all over
    known = np.log(level), np.log(above[first])
    place = CubicSpline(*known)
    if not np.all(place(known[0], 1) > 0):  # bent by rewards that are at the end
        place = PchipInterpolator(*known, extrapolate=True)
    return _whole(np.exp(place(np.log(_levels(n)))), n)


def _response(unit: Utility, law: SeriesLaw, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points x and what the correction adds to the distribution function there.

    The correction's density is (x (1-x))**s G with s = (p-2)(p+1)/2 for p < 0. For p >= 0 that
    isn't integrable: it is masses at the ends and a density as the law's own, and nearly so for p
    just below 0.
    """
    p, grading = unit.exponent, law.grading
    at_ends = p > _NEARLY_LOG
    s = law.power if at_ends else 0.5 * (p - 2.0) * (p + 1.0)
    at = grading.points(2 * _TERMS)
    at = at[at > _INNERMOST_POINT]
    near = potential_rules(grading, at, Ends(p, s, 4, _TERMS, nodes=_TERMS + 8))
    rows = potential_rows(unit, near, _TERMS)
    ends = of_ends(unit, at)
    columns = [rows, -np.ones((at.size, 1))] + [ends[:, None]] * at_ends
    # No mass is added in all; the row is heavy, so that least squares keeps to it.
    none = 1e3 * np.concatenate([0.5 * grading.masses(s, _TERMS), [0.0], [1.0] * at_ends])
    matrix = np.vstack([np.hstack(columns), none])
    scale = np.abs(matrix).max(axis=0)
    inverse = np.linalg.pinv(matrix / scale, rcond=1e-13) / scale[:, None]
    limit_density = density = law.density(at, 1.0 - at)
    # Once is exact to first order; for p < 0 the second order counts too.
    found = inverse @ np.append(_field(unit, density, n), 0.0)
    for _ in range(0 if at_ends else _RESPONSE_ROUNDS - 1):
        change = evaluate(found[:_TERMS], grading.sigma(at, 1.0 - at)) * (at * (1.0 - at)) ** s
        density = np.maximum(limit_density + change, 0.1 * limit_density)
        found = inverse @ np.append(_field(unit, density, n), 0.0)
    x = grading.place(np.linspace(1.0, 0.0, _RESPONSE_POINTS)[1:])
    y, weight = grading.end_rule(x, s, _TERMS + 8)
    smooth = evaluate(found[:_TERMS], grading.sigma(y, 1.0 - y)) * (1.0 - y) ** s
    shift = (weight * smooth).sum(axis=1) * x ** (1.0 + s)
    return x, shift + (found[-1] if at_ends else 0.0)


def _field(unit: Utility, density: np.ndarray, n: int) -> np.ndarray:
    """Return what T of the correction must be, up to a constant: L[U - x U'](1/(n rho)) / n.

    That is the derivative of rho L[U](1/(n rho)). L is a sum over the nearest neighbours, at whose
    end the formula of Gregory takes the place of the rest.
    """
    p = min(unit.exponent, 0.0)
    h = 1.0 / (n * density)

    def bent(x: np.ndarray) -> np.ndarray:  # U - x U': what is linear in U drops out
        return np.nan_to_num(unit.value(x) - x * unit.slope(x))

    near = h[:, None] * np.arange(1.0, _NEIGHBOURS.size + 1.0)
    t, weight = power_rule(near[:, -1], p, 12, 64)
    return (bent(near) @ _NEIGHBOURS - (weight * bent(t)).sum(axis=1) / h) / n
