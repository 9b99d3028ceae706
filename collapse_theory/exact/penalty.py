"""Closed forms of unbounded rewards held by a penalty kappa, each with its source.

In each case V(x) = 2 E U(|x - Y|) - kappa x**2 is level on the support [-R, R] and falls beyond.
kappa = 0 stands for the domain Free, where utilities with a maximum have an optimum. A square in U
is a penalty: the mean of (r_i - r_j)**2 over pairs is 2n/(n-1) times the mean of r_i**2 for rewards
of mean 0, and 2 ∫ x**2 dmu in the limit.
"""

from __future__ import annotations

import numpy as np

from collapse_theory.exact.registry import (
    HELD_FINITE_FORMS,
    HELD_LIMIT_FORMS,
    closed,
    listed,
    parabola,
)
from collapse_theory.laws import Density, RewardLaw, beta_law, discrete_law
from collapse_theory.lazy import special
from collapse_theory.programs import Answer
from collapse_theory.utilities import Hinge, Log, NegativePower, Power, Utility

_FLAT = (
    "the derivative of a uniform law's potential is linear: docs/theory.md#rewards-without-a-box"
)
_CENTRED = "the optimality conditions are linear: sum over j of sgn(i-j) is n+1-2i"
_WIGNER = (
    "Wigner's semicircle: Saff and Totik, Logarithmic Potentials, section IV.5 (Freud weights)"
)
_HERMITE = "Stieltjes; Szego, Orthogonal Polynomials, theorem 6.7.3 (zeros of Hermite polynomials)"
_RIESZ = (
    "(1-x**2)**((s-1)/2) C_n^(s/2) are eigenfunctions of |x-y|**-s on [-1, 1]: Borodachov, Hardin, "
    "Saff, Discrete Energy on Rectifiable Sets; here with n = 0 and 2"
)
_CHAINS = "points m apart are a chain on which -rho'' is constant: a discrete Poisson equation"


@closed(HELD_LIMIT_FORMS, "point", "U' <= 0 at every gap", "-x")
def point(utility: Utility, kappa: float) -> RewardLaw | None:
    """U' <= 0: no gap is worth having, and all rewards are 0."""
    if utility.slope_at_zero > 0:
        return None
    return discrete_law([0.0], [1.0], objective=float(utility(0.0)))


@closed(HELD_LIMIT_FORMS, "uniform", _FLAT, "x", "x - 0.3*x**2")
def uniform(utility: Utility, kappa: float) -> RewardLaw | None:
    """a x - b x**2: uniform with R = a/(kappa + 2b).

    V'(x)/2 = a x/R - 2 b x - kappa x for E sgn(x-Y) = x/R and E (x-Y) = x. The objective is
    2aR/3 - (kappa + 2b) R**2/3 = a R/3.
    """
    line = parabola(utility)
    if line is None or not (held := kappa + 2.0 * line[1]) > 0:
        return None
    slope, radius = line[0], line[0] / held
    objective = float(utility(0.0)) + slope * radius / 3.0
    return beta_law(1.0, 1.0, -radius, radius, objective=objective)


@closed(HELD_LIMIT_FORMS, "semicircle", _WIGNER, "log(x)", "2*log(x) + 1", of=Log)
def semicircle(utility: Log, kappa: float) -> RewardLaw | None:
    """log x: R = sqrt(2/kappa), Wigner's law."""
    if kappa <= 0:
        return None
    radius = np.sqrt(2.0 / kappa)
    # E log|X-Y| = log(R/2) - 1/4 for two points of the semicircle, and kappa var = kappa R**2/4.
    objective = np.log(0.5 * radius) - 0.25 - 0.5
    return beta_law(1.5, 1.5, -radius, radius, objective=objective)


@closed(HELD_LIMIT_FORMS, "powers", _RIESZ, "x**0.5", "-x**-0.5", of=(Power, NegativePower))
def powers(utility: Power | NegativePower, kappa: float) -> RewardLaw | None:
    """x**g and -x**-g, g < 1: density A (R**2 - x**2)**((1+s)/2), s = -g and g.

    1 - x**2 = const - C_2/(2l(l+1)) with l = s/2, and C_2^(l) has the eigenvalue
    pi G(2+s) / (2 cos(pi s/2) G(s)), so that

        ∫ |x-y|**-s (R**2 - y**2)**((1+s)/2) dy = const - pi s (1+s) / (2 cos(pi s/2)) x**2

    and A = kappa cos(pi s/2) / (pi |s| (1+s)). Mass 1 gives R**(2+s) = 1/(A B(1/2, (3+s)/2)). By
    Euler's theorem the energy is -2 kappa var/s for U of degree -s.
    """
    s = -utility.exponent
    if kappa <= 0 or s >= 1:
        return None
    a = 0.5 * (3.0 + s)
    density = kappa * np.cos(0.5 * np.pi * s) / (np.pi * abs(s) * (1.0 + s))
    radius = float(density * special.beta(0.5, a)) ** (-1.0 / (2.0 + s))
    objective = -kappa * radius**2 / (4.0 + s) * (2.0 / s + 1.0)
    return beta_law(a, a, -radius, radius, objective=objective)


@closed(HELD_LIMIT_FORMS, "hinge", _CHAINS, "min(x, 0.5)", of=Hinge)
def hinge(utility: Hinge, kappa: float) -> RewardLaw | None:
    """min(x, m): constant between steps, which follow each other by t m and (1-t) m in turn.

    V'' = 0 is 2 rho(x) - rho(x-m) - rho(x+m) = kappa on the support, with rho = 0 beyond: on a
    chain of q points m apart rho_j = kappa j (q+1-j)/2, of sum kappa q (q+1) (q+2)/12. With
    2R = (k+t) m a share t of the chains has k+1 points and the rest k; mass 1 gives k and t.
    """
    if kappa <= 0:
        return None
    m = utility.m
    whole = 12.0 / (kappa * m)
    count = np.cbrt(whole)
    near = f"Beta(2, 2) on [-R, R], R = {0.5 * count * m:.3g}, is within {m:.1g} of it"
    listed(2.0 * count, f"steps of {utility}", near)
    k = int(count)
    while k > 0 and k * (k + 1) * (k + 2) > whole:
        k -= 1
    while (k + 1) * (k + 2) * (k + 3) <= whole:
        k += 1
    t = (whole - k * (k + 1) * (k + 2)) / (3.0 * (k + 1) * (k + 2))
    long, short = np.arange(1.0, k + 2), np.arange(1.0, k + 1)
    heights = np.zeros(2 * k + 1)
    heights[::2] = 0.5 * kappa * long * (k + 2 - long)
    heights[1::2] = 0.5 * kappa * short * (k + 1 - short)
    steps = np.tile([t * m, (1.0 - t) * m], k + 1)[: 2 * k + 1]
    keep = steps > 1e-13 * m
    steps, heights = steps[keep], heights[keep]
    edges = np.concatenate([[0.0], np.cumsum(steps)])
    edges = 0.5 * (edges - edges[::-1])
    heights = heights / (heights @ np.diff(edges))
    density = Density.steps(edges, heights)
    # V = C gives J = (C + kappa var)/2, with C = V(0) = 2 E U(|Y|).
    upper = np.maximum(edges, 0.0)
    below = np.minimum(upper, m)
    area = 0.5 * below**2 + m * (upper - below)
    level = 4.0 * float(heights @ np.diff(area))
    return RewardLaw((), (density,), objective=0.5 * (level - kappa * density.variance))


@closed(HELD_FINITE_FORMS, "point", "U' <= 0 at every gap", "-x")
def no_gaps(utility: Utility, n: int, kappa: float) -> Answer | None:
    """U' <= 0: all rewards are 0."""
    return Answer(np.zeros(n - 1), unique=True) if utility.slope_at_zero <= 0 else None


@closed(HELD_FINITE_FORMS, "parabola", _CENTRED, "x", "x - 0.3*x**2", "3*x")
def equal_gaps(utility: Utility, n: int, kappa: float) -> Answer | None:
    """a x - b x**2: equal gaps, 2a/((n-1) (kappa + 2bn/(n-1)))."""
    line = parabola(utility)
    if line is None or not (held := kappa + 2.0 * line[1] * n / (n - 1)) > 0:
        return None
    return Answer(np.full(n - 1, 2.0 * line[0] / ((n - 1) * held)), unique=True)


@closed(HELD_FINITE_FORMS, "log", _HERMITE, "log(x)", "2*log(x) + 1", of=Log)
def hermite(utility: Log, n: int, kappa: float) -> Answer | None:
    """log x: zeros of the Hermite polynomial H_n, times sqrt(1/(kappa (n-1)))."""
    if kappa <= 0:
        return None
    # sum_j 1/(r_i - r_j) = kappa (n-1) r_i, and for zeros of H_n it is x_i.
    return Answer(hermite_gaps(n) / np.sqrt(kappa * (n - 1)), unique=True)


def hermite_gaps(n: int) -> np.ndarray:
    """Return the gaps between neighbouring zeros of the Hermite polynomial H_n, to a few units.

    psi = exp(-x**2/2) H_n solves psi'' = -(2n+1-x**2) psi; from one zero the next is found by its
    Taylor series in the step itself, as differences of zeros would lose a factor n.
    """
    zeros = np.sort(special.roots_hermite(n)[0])
    at, h = zeros[: n // 2], np.diff(zeros)[: n // 2]
    q = 2 * n + 1 - at**2
    for _ in range(3):
        # a_j h**j, of which (j+1)(j+2) a_{j+2} = -(q a_j - 2x a_{j-1} - a_{j-2}).
        terms = [np.zeros_like(h), np.zeros_like(h), np.zeros_like(h), h]
        for j in range(48):
            pull = q * terms[-2] - 2 * at * h * terms[-3] - h**2 * terms[-4]
            terms.append(-(h**2) * pull / ((j + 1) * (j + 2)))
        powers = np.arange(-2.0, len(terms) - 2)
        slope = (powers[:, None] * np.array(terms)).sum(axis=0) / h
        h = h - np.array(terms).sum(axis=0) / slope
    return np.concatenate([h, h[::-1][1 - n % 2 :]])
