"""Closed forms of the limit law in the box [0, 1], each with its source.

In each case the potential V(x) = E U(|x - Y|) is constant on [0, 1], which characterises the
maximiser of the concave energy J (Saff and Totik, Logarithmic Potentials with External Fields,
ch. I); the constant is the objective.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from collapse_theory.exact.registry import LIMIT_FORMS, PAPER, closed, listed, parabola
from collapse_theory.laws import (
    BetaDensity,
    Density,
    RewardLaw,
    beta_law,
    discrete_law,
    uniform_law,
)
from collapse_theory.lazy import special
from collapse_theory.utilities import (
    Exponential,
    Hinge,
    Linear,
    Log,
    NegativePower,
    Power,
    Sine,
    Utility,
)

BOX = "docs/theory.md#laws-in-the-box-0-1"

# A slope at the smaller gap that is no larger than at 1 but for rounding is constant.
NEAR_ZERO, SAME_SLOPE = 1e-12, 1e-13
# Rates nearer to each other, relatively, are one: that moves U by less than its rounding.
SAME_RATE = 1e-8
RTOL = np.float64(4 * np.finfo(np.float64).eps)  # the tightest that brentq takes


@closed(LIMIT_FORMS, "linear", f"{PAPER}, section 2: two-valued rewards", "x", "log(exp(x))")
def linear(utility: Utility) -> RewardLaw | None:
    """x, or whatever has its constant slope, up to rounding, over (0, 1]: mass 1/2 at 0 and at 1.

    U' falls, so that two of its values tell; where it falls by a share e, the mass inside the
    box, which this law lacks, is of the order of e.
    """
    first, last = np.asarray(utility.slope(np.array([NEAR_ZERO, 1.0]))) + np.zeros(2)
    if not 0 < first <= last * (1 + SAME_SLOPE):
        return None
    low, high = float(utility(0.0)), float(utility(1.0))
    if high - low > last * (1 + NEAR_ZERO) + NEAR_ZERO * abs(high):
        return None  # U rises at once below the gaps that were looked at
    return discrete_law([0.0, 1.0], [0.5, 0.5], objective=(low + high) / 2)


@closed(LIMIT_FORMS, "power", f"{PAPER}, theorem 2", "x**0.5", of=Power)
def power(utility: Power) -> RewardLaw:
    """x**g: Beta((1-g)/2, (1-g)/2)."""
    a = (1 - utility.g) / 2
    return beta_law(a, objective=special.beta(a + utility.g, a) / special.beta(a, a))


@closed(
    LIMIT_FORMS,
    "log",
    f"{PAPER}, theorem 2; Szego, Orthogonal Polynomials, section 6.7 (arcsine law)",
    "log(x)",
    of=Log,
)
def log(utility: Log) -> RewardLaw:
    """log x: Beta(1/2, 1/2), with E log Y = -2 log 2."""
    return beta_law(0.5, objective=-2 * np.log(2))


@closed(LIMIT_FORMS, "negative power", f"{PAPER}, theorem 3", "-x**-0.5", "-1/x", of=NegativePower)
def negative_power(utility: NegativePower) -> RewardLaw:
    """-x**-g: Beta((1+g)/2, (1+g)/2) for g < 1; uniform for g >= 1, where the energy is -inf."""
    g = utility.g
    if g >= 1:
        return uniform_law(objective=-np.inf, gap=np.nan, relative_gap=np.nan)
    a = (1 + g) / 2
    return beta_law(a, objective=-special.beta(a - g, a) / special.beta(a, a))


@closed(
    LIMIT_FORMS,
    "quadratic",
    f"the potential's second derivative vanishes for a density c: {BOX}",
    "x - 0.3*x**2",
)
def quadratic(utility: Utility) -> RewardLaw | None:
    """x - c x**2, 0 < c <= 1/2: mass (1-c)/2 at each end, density c."""
    found = quadratic_coefficients(utility)
    if found is None:
        return None
    slope, square = found
    c = square / slope
    # V(0) = U(0) + c int (U - U(0)) + (1-c)/2 (U(1) - U(0)).
    energy = c * (slope / 2 - square / 3) + (1 - c) / 2 * (slope - square)
    return _ends_and_flat((1 - c) / 2, c, float(utility(0.0)) + energy)


@closed(
    LIMIT_FORMS,
    "sine",
    f"the Fredholm equation of second kind with U'' = -k**2 U: {BOX}",
    "sin(x)",
    of=Sine,
)
def sine(utility: Sine) -> RewardLaw:
    """sin(kx), k <= pi/2: density d = 1/(1 + (2/k) cot(k/2)), mass (d/k) cot(k/2) at each end."""
    k = utility.k
    cotangent = 1 / np.tan(k / 2)
    density = 1 / (1 + 2 / k * cotangent)
    mass = density / k * cotangent
    energy = density * (1 - np.cos(k)) / k + mass * np.sin(k)
    return _ends_and_flat(mass, density, energy)


@closed(
    LIMIT_FORMS,
    "hinge",
    f"a level potential, checked at the atoms: {BOX}",
    "min(x, 1/3)",
    "min(x, 0.3)",
    of=Hinge,
)
def hinge(utility: Hinge) -> RewardLaw:
    """min(x, m), 1 = km + d with 0 <= d < m: masses k+1, k, ..., 1 at 0, m, ..., km, and mirrored.

    For m = 1/k these are k+1 equal masses. In units of a = 1/((k+1)(k+2)) the masses at jm, at
    d + jm and d + (j-1)m are k+1-j, j+1 and j, others are m away or more: V = m - a((k+2)m - d).
    """
    m = utility.m
    listed(1 / m, f"atoms of {utility}", f"the uniform law on [0, 1] is within {m:.1g} of it")
    k = int(1 / m * (1 + 1e-14))
    d, unit = 1 - k * m, 1 / ((k + 1) * (k + 2))
    steps = np.arange(k + 1)
    if d < 1e-14:  # of 1: both combs are one
        places, masses, d = steps / k, np.full(k + 1, 1 / (k + 1)), 0.0
    else:
        places = np.concatenate([steps * m, 1 - steps * m])
        masses = np.tile((k + 1 - steps) * unit, 2)
    return discrete_law(places, masses, objective=m - unit * ((k + 2) * m - d))


@closed(
    LIMIT_FORMS,
    "mixture of exponentials",
    f"V'' = 0 is a linear differential equation with constant coefficients: {BOX}",
    "1 - exp(-3*x)",
    "1 - exp(-9*x) + x",
    "2 - exp(-x) - exp(-9*x)",
)
def exponential_mixture(utility: Utility) -> RewardLaw | None:
    """sum_k w_k (1-exp(-b_k x)) + w_0 x: two atoms, and a constant plus hyperbolic cosines.

    A density sum_j A_j cosh(l_j (x-1/2)) / cosh(l_j/2), with l = 0 the constant, solves V'' = 0
    where sum_k w_k b_k l**2 / (b_k**2 - l**2) = w_0; and V' = 0 where for every k the atoms' mass
    is a = sum_j A_j (l_j tanh(l_j/2) + b_k) / (b_k**2 - l_j**2).
    """
    rates, weights, slope = [], [], 0.0
    for weight, term in utility.terms:
        if isinstance(term, Exponential):
            rates.append(term.b)
            weights.append(weight)
        elif isinstance(term, Linear) and weight > 0:
            slope = weight
        else:
            return None
    if not rates:
        return None
    b, w = _distinct(np.array(rates), np.array(weights))
    lambdas, apart = _characteristic(b, w, slope)
    if not np.isfinite(apart).all():  # rates whose squares leave float64
        return None
    system = (lambdas * np.tanh(lambdas / 2) + b[:, None]) / apart
    # Relative to the mass at each end: sum_j (A_j/a) system_kj = 1.
    relative = np.linalg.solve(system, np.ones(len(b)))
    inner = np.where(lambdas > 0, 2 * np.tanh(lambdas / 2) / np.where(lambdas > 0, lambdas, 1), 1.0)
    mass = 1 / (2 + float(relative @ inner))
    heights = mass * relative
    at_zero = (2 * b[:, None] / apart) @ heights
    energy = float(w @ (1 - at_zero)) + slope / 2
    atoms, objective = [[0.0, mass], [1.0, mass]], utility.constant + energy
    if len(lambdas) == 1 and lambdas[0] == 0:
        return RewardLaw(atoms, (BetaDensity(1.0, 1.0, mass=1.0 - 2.0 * mass),), objective)

    def density(d: np.ndarray, _: bool) -> np.ndarray:
        near, far = np.exp(-lambdas * d[:, None]), np.exp(-lambdas * (1.0 - d[:, None]))
        return ((near + far) / (1.0 + np.exp(-lambdas))) @ heights

    fit = Density.fit(
        density, 0.0, 1.0, finest=1.0 / lambdas[-1], symmetric=True, mass=1.0 - 2.0 * mass
    )
    return RewardLaw(atoms, (fit,), objective)


def _distinct(b: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return increasing rates and their weights, with equal ones merged to the same U'(0)."""
    order = np.argsort(b)
    b, w = b[order], w[order]
    first = np.flatnonzero(np.append(True, np.diff(b) > SAME_RATE * b[1:]))
    weight = np.add.reduceat(w, first)
    return np.add.reduceat(w * b, first) / weight, weight


def _characteristic(b: np.ndarray, w: np.ndarray, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the l_j, the lowest and one in each interval between rates; and b_k^2 - l_j^2.

    The unknown is the distance from the pole below, or above where the root is nearer to that, so
    that no difference cancels (as for the secular equation of a rank-one change: Golub and Van
    Loan, Matrix Computations, section 8.4).
    """
    from scipy.optimize import brentq

    poles = np.append(0.0 if slope > 0 else [], b)
    lambdas, apart = ([], []) if slope > 0 else ([0.0], [b**2])
    for low, high in pairwise(poles):
        width = (high - low) * (high + low)

        def excess(part: float, at: float, width: float) -> float:
            # sum w b s/(b^2 - s) - w_0, divided by s where w_0 = 0, whose root s = 0 is the
            # constant; times the distances from both poles, without which it is infinite there.
            t = part * width
            terms = w * b / ((b - at) * (b + at) - t)
            total = terms.sum() if slope == 0 else (terms * (at * at + t)).sum() - slope
            return float(total * part * (1 - abs(part)))

        at, end = (low, 1.0) if excess(0.5, low, width) > 0 else (high, -1.0)
        part = brentq(excess, end * 1e-300, end * 0.75, (at, width), xtol=1e-300, rtol=RTOL)
        lambdas.append(np.sqrt(at * at + part * width))
        apart.append((b - at) * (b + at) - part * width)
    return np.array(lambdas), np.array(apart).T


def quadratic_coefficients(utility: Utility) -> tuple[float, float] | None:
    """Return (a, b) where U = a x - b x**2 + const with a >= 2b > 0, else None."""
    found = parabola(utility)
    return found if found and 0 < 2 * found[1] * (1 - 1e-15) <= found[0] else None


def _ends_and_flat(mass: float, density: float, objective: float) -> RewardLaw:
    flat = BetaDensity(1.0, 1.0, mass=density)
    return RewardLaw(atoms=[[0.0, mass], [1.0, mass]], parts=(flat,), objective=float(objective))
