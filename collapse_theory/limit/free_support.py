"""The support [-R, R] of a law without a box: R from the penalty that is to hold it.

The program J(mu) - kappa ∫ x**2 dmu has the potential V(x) = 2 ∫ U(|x-y|) dmu(y) - kappa x**2,
level on the support. For given R one equation has one solution of mass 1 for one kappa = h(R), the
pull that holds it; h falls with R. R is where h(R) = kappa, and h(R) = 0 without a penalty
(docs/theory.md#rewards-without-a-box).

- U'(0) finite: V'' = 0. Any solution does: V' is odd, so V' = 0 on the support; V is differentiable
  at R, as there are no atoms, and beyond R it falls, for V'' < 0 there. So rho(R) > 0 in general
  (U = x has rho = kappa/2): no condition at the ends is needed, and mass 1 determines R.
- U'(0) = inf: V' = 0. Of its solutions, which end like (R**2 - x**2)**(-(1+p)/2) at a wall, the
  one whose V doesn't rise beyond R is (R**2 - x**2)**((1-p)/2) times a smooth function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from collapse_theory.errors import NoOptimum, OutOfRange
from collapse_theory.lazy import special
from collapse_theory.limit import first_kind, second_kind
from collapse_theory.limit.coordinate import Grading, Level, SeriesLaw
from collapse_theory.numerics.quadrature import log_rule
from collapse_theory.numerics.roots import bisect, bracket
from collapse_theory.numerics.series import evaluate
from collapse_theory.utilities.base import Utility

_SECOND_KIND_COUNTS = (12, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_FIRST_KIND_COUNTS = (8, 16, 24, 40, 56, 72, 96, 128, 192)
# A law is settled where its series misses by no more than this, or R stays as the series grows.
_SETTLED_MISFIT, _SAME_RADIUS = 1e-12, 3e-11
_LOOSE = 1e-6  # that up to which a series of the first kind may settle, and R is sought to 1e-11
# R is looked for until it is known to this, relative.
_FINEST = 1e-13
_MOST_STEPS = 60
# Where the sign of a density is looked at; nearer to the ends it may be rounding.
_DENSITY_POINTS = np.linspace(0.0, 0.95, 41)
# Nodes of the law, and of the gaps below each, for the first guess of R.
_GAIN_NODES, _GAIN_GAPS = 12, 64
# In log R: the start is off by about as much itself.
_START_WIDTH = 0.03

Law = TypeVar("Law")


def first_radius(utility: Utility, kappa: float) -> float:
    """Return the radius at which (R**2 - x**2)**((1-p)/2) gains nothing by growing.

    It is where the search begins: E[U'(R g) g] = 2 kappa R var, for the gaps g of that law at R = 1
    and its variance. The left side falls with R.

    Raises
    ------
    NoOptimum
        Where the left side never falls below 0 and kappa = 0.
    OutOfRange
        Where the radius is beyond 1e+-30.
    """
    q = 0.5 * (1.0 - utility.exponent)
    x, v = special.roots_jacobi(_GAIN_NODES, q, q)
    # The gaps below each x, by their logarithm: U may bend as near to gap 0 as it likes.
    below = (1.0 + x)[:, None]
    share, w = log_rule(np.array([1e-30]), np.ones(1), _GAIN_GAPS)
    gap = below * share
    weight = v[:, None] * below * w * ((below - gap) * (2.0 - below + gap)) ** q
    weight /= weight.sum()
    variance = 1.0 / (2.0 * q + 3.0)

    def gain(z: float) -> float:
        radius = float(np.exp(z))
        with np.errstate(all="ignore"):
            pull = (weight * utility.slope(radius * gap) * gap).sum()
        # Underflow to 0 is no fall: U may level off.
        return float(pull) - 2.0 * kappa * radius * variance or 5e-324

    low, high = bracket(
        gain,
        none_above=OutOfRange(
            f"the penalty {kappa:g} holds no rewards under {utility} within 1e30 of each other: "
            "take a stronger one, or a utility whose slopes are smaller"
        )
        if kappa > 0
        else NoOptimum(
            f"nothing holds the rewards under {utility}: the objective rises without bound, or "
            "to a value that it never reaches, as the gaps grow. Use a penalty (Confined, "
            "Centered), a box, or a utility with a maximum (LabelSmoothing, Squared); the "
            "direction in which unbounded training goes is ct.max_margin(n)"
        ),
        none_below=OutOfRange(
            f"the penalty {kappa:g} holds rewards under {utility} within 1e-30 of each other: take "
            "a weaker one, or a utility that is less flat"
        ),
    )
    return float(np.exp(bisect(gain, low, high, _START_WIDTH)))


def level(utility: Utility, grading: Grading, radius: float, count: int) -> Level:
    """Return the law on [-radius, radius] with a level potential, and the pull that holds it.

    `grading` is the coordinate where U'(0) is finite.
    """
    with np.errstate(all="ignore"):
        if utility.exponent >= 1.0:
            return second_kind.level(utility, grading, count, radius)
        return first_kind.level(utility, count, radius)


def free(utility: Utility, kappa: float, start: float, grading: Grading) -> SeriesLaw:
    """Return the law that the penalty `kappa` >= 0 holds, looked for from the radius `start`."""
    smooth = utility.exponent >= 1.0
    # Without a penalty the certificate is of the first order in the misfit.
    enough = (1e3 * _SETTLED_MISFIT if kappa > 0 else _SETTLED_MISFIT) if smooth else _LOOSE
    found, best, slope, worse = None, None, 0.0, 0
    for count in _SECOND_KIND_COUNTS if smooth else _FIRST_KIND_COUNTS:
        radius = start if found is None else found.law.radius
        found, slope = _of_terms(utility, kappa, grading, radius, count, slope)
        stays = best is not None and abs(found.law.radius / radius - 1.0) < _SAME_RADIUS
        if best is None or stays or found.misfit <= best.misfit:
            best, worse = found, 0
        elif best.misfit < (second_kind.SETTLING_MISFIT if worse else 1e3 * _SETTLED_MISFIT):
            break  # more terms bring rounding alone
        else:
            worse += 1
        if found.misfit < _SETTLED_MISFIT or (stays and found.misfit < enough):
            break
    assert best is not None
    return best.law


def _of_terms(
    utility: Utility, kappa: float, grading: Grading, radius: float, count: int, slope: float
) -> tuple[Level, float]:
    """Return the law of `count` terms with h(R) = kappa, and the slope of h in log R."""
    first = level(utility, grading, radius, count)

    def solve(here: float) -> tuple[Level, float, np.ndarray]:
        found = first if here == radius else level(utility, grading, here, count)
        return found, found.pull, evaluate(found.law.coefficients, _DENSITY_POINTS)

    # Long series cost most: none is polished that is far from settled.
    last = float(np.clip(1e-4 * first.misfit, _FINEST, 1e-11 if first.misfit < _LOOSE else 1e-4))
    return find_radius(solve, kappa, radius, slope, last)


def find_radius(
    solve: Callable[[float], tuple[Law, float, np.ndarray]],
    kappa: float,
    radius: float,
    slope: float = 0.0,
    tol: float = _FINEST,
) -> tuple[Law, float]:
    """Return the law that `kappa` holds, and the slope of its pull h in log R.

    `solve` gives for R a law, its pull h(R) and the density at some points. Secants in log R kept
    within a bracket, the first along `slope` where one is given, until R is known to `tol`.
    """
    z = last = float(np.log(radius))
    low, high, before, move = -np.inf, np.inf, np.nan, 1e-3 if slope < 0 else 1.0
    found, now = _at_radius(solve, kappa, radius)
    for _ in range(_MOST_STEPS):
        low, high = (max(low, z), high) if now > kappa else (low, min(high, z))
        if not np.isfinite(now):
            step = -0.3
        elif np.isfinite(before):
            slope = (now - before) / (z - last)
            step = _secant(z - last, now, before, kappa)
        elif slope < 0:
            step = (kappa - now) / slope
        else:  # pulls of common utilities fall like R**-2 to R**-3
            step = (
                0.4 * np.log(now / kappa)
                if kappa > 0 and now > 0
                else np.copysign(0.1, now - kappa)
            )
        if abs(step) < tol or high - low < tol:
            break
        last, before, z = z, now, z + float(np.clip(step, -0.7, 0.7))
        if not low < z < high:
            z = 0.5 * (low + high) if np.isfinite(high - low) else last + step
        found, now = _at_radius(solve, kappa, float(np.exp(z)))
        # What a secant leaves is of the order of the product of the last two steps.
        if abs(step) * move < tol and z == last + step:
            break
        move = abs(z - last)
    return found, slope


def _at_radius(
    solve: Callable[[float], tuple[Law, float, np.ndarray]], kappa: float, radius: float
) -> tuple[Law, float]:
    """Return the law at R and its pull, -inf where R is beyond what any penalty holds.

    Beyond the R with h(R) = 0 the integral operator of V'' has an eigenvalue above 1; tested with
    its positive eigenfunction, the equation leaves a density of one sign only h < 0: where h comes
    out above kappa the density has two.
    """
    found, pull, density = solve(radius)
    beyond = pull > kappa and density.min() < -1e-3 * density.max()
    return found, -np.inf if beyond or not np.isfinite(pull) else pull


def _secant(step: float, now: float, before: float, kappa: float) -> float:
    """Return the step from here to where `kappa` is expected."""
    values = np.array([now, before])
    if kappa > 0 and np.all((values > 0.1 * kappa) & (values < 10.0 * kappa)):
        # Powers of R are straight lines in both logarithms.
        here, there = np.log(values / kappa)
    else:
        here, there = values - kappa
    rise = (there - here) / -step
    return float(-here / rise) if rise < 0 else float(np.copysign(0.3, now - kappa))
