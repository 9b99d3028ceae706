"""Closed forms of the optimum for n completions in the box [0, 1], each with its source."""

from __future__ import annotations

import numpy as np

from collapse_theory.exact.limit import RTOL, quadratic_coefficients
from collapse_theory.exact.registry import FINITE_FORMS, PAPER, closed
from collapse_theory.lazy import special
from collapse_theory.programs import Answer
from collapse_theory.utilities import Exponential, Hinge, Linear, Log, Utility

BOX = "docs/theory.md#n-completions-in-the-box"


def mirrored(half: np.ndarray, n: int) -> np.ndarray:
    """Return n-1 gaps from the n//2 upper ones: gaps, the last of them to the middle 1/2."""
    if n % 2:
        return np.concatenate([half, half[::-1]])
    return np.concatenate([half[:-1], [2 * half[-1]], half[-2::-1] if len(half) > 1 else []])


@closed(
    FINITE_FORMS,
    "two or three completions",
    f"by monotonicity, and by symmetry: {BOX}",
    "log(x + 0.1)",
)
def few(utility: Utility, n: int) -> Answer | None:
    """(1, 0) for n = 2; (1, 1/2, 0) for n = 3 and U strictly concave."""
    if n == 2:
        # U' can underflow at a gap near 1 where U is strictly concave.
        rises = utility.strictly_concave or utility.d1(1.0 - 1e-9) > 0
        return Answer(np.ones(1), unique=bool(rises))
    if n == 3 and utility.strictly_concave and not utility.kinks:
        return Answer(np.full(2, 0.5), unique=True)
    return None


@closed(FINITE_FORMS, "linear", f"{PAPER}, section 2: two-valued rewards", "x", of=(Linear, Hinge))
def linear(utility: Linear | Hinge, n: int) -> Answer | None:
    """x: half ones, half zeros; for odd n the middle reward is free, and 1/2 here."""
    if isinstance(utility, Hinge) and utility.m < 1:
        return None
    half = np.zeros(n // 2)
    half[-1] = 0.5
    return Answer(mirrored(half, n), unique=n % 2 == 0)


@closed(
    FINITE_FORMS, "log", "Stieltjes; Szego, Orthogonal Polynomials, theorem 6.7.1", "log(x)", of=Log
)
def log(utility: Log, n: int) -> Answer:
    """log x: 0, 1 and the zeros of the Jacobi polynomial P^(1,1)_{n-2}, mapped to [0, 1].

    They are the zeros of P'_m, m = n-1, found by Newton's method in t = 1 - x, with Legendre
    polynomials by the recurrence of their differences, which keeps the zeros nearest the ends
    right in relative terms.
    """
    m, inner = n - 1, (n - 2) // 2
    # In the angle, the zeros are near those of the Bessel function J_1 over n - 1/2.
    t = 2 * np.sin(special.jn_zeros(1, inner) / (2 * (n - 0.5))) ** 2 if inner else np.empty(0)
    for _ in range(4):
        value, difference = np.ones_like(t), -t  # P_k and P_{k+1} - P_k at k = 0
        for k in range(1, m):
            value = value + difference
            difference = (k * difference - (2 * k + 1) * t * value) / (k + 1)
        top = value + difference
        slope = m * (t * top - difference) / (t * (2 - t))  # P'_m
        bend = (2 * (1 - t) * slope - m * (m + 1) * top) / (t * (2 - t))  # P''_m
        t = t + slope / bend
    places = np.concatenate([[0.0], t / 2])
    half = np.diff(np.append(places, 0.5))
    return Answer(mirrored(half, n), unique=True)


@closed(
    FINITE_FORMS,
    "exponential",
    f"balance of the one-sided sums of exp(-b gap): {BOX}",
    "1 - exp(-3*x)",
    "1 - exp(-20*x)",
    of=Exponential,
)
def exponential(utility: Exponential, n: int) -> Answer:
    """1 - exp(-bx): m tied at each end, and equal gaps inside.

    From each inner reward the sums of exp(-b gap) over either side are the same, S, for all: so
    exp(-b g) = S/(1+S) inside and S/m at the ends, with m - 1 <= S <= m.
    """
    from scipy.optimize import brentq

    b = utility.b
    # The right m is the least with (n-2m-1) log(1 + 1/m) <= b.
    m = next((k for k in range(1, (n - 1) // 2 + 1) if (n - 2 * k - 1) * np.log1p(1 / k) <= b), 0)
    half = np.zeros(n // 2)
    if m == 0:
        half[-1] = 0.5
        return Answer(mirrored(half, n), unique=True)

    def excess(s: float) -> float:
        return 2 * (np.log(m) - s) + (n - 2 * m - 1) * np.logaddexp(0.0, -s) - b

    low = np.log(m - 1) if m > 1 else -b - 1
    s = float(brentq(excess, low - 1e-9, np.log(m) + 1e-9, xtol=1e-300, rtol=RTOL))  # pyright: ignore[reportArgumentType]
    end, inside = max((np.log(m) - s) / b, 0.0), np.logaddexp(0.0, -s) / b
    half[m - 1 :] = inside
    half[m - 1] = end
    if n % 2 == 0 and m < n // 2:
        half[-1] = half[-1] / 2
    return Answer(mirrored(half * (0.5 / half.sum()), n), unique=True)


@closed(FINITE_FORMS, "quadratic", f"the optimality conditions are linear: {BOX}", "x - 0.3*x**2")
def quadratic(utility: Utility, n: int) -> Answer | None:
    """x - c x**2: r_i = clip(1/2 + (n+1-2i)/(2cn), 0, 1)."""
    found = quadratic_coefficients(utility)
    if found is None:
        return None
    c = found[1] / found[0]
    i = np.arange(1, n // 2 + 1)
    to_middle = np.minimum((n + 1 - 2 * i) / (2 * c * n), 0.5)
    half = -np.diff(np.append(to_middle, 0.0))
    return Answer(mirrored(half, n), unique=True)


@closed(
    FINITE_FORMS,
    "hinge",
    "levels 1/k apart: for min(x, 1/k) no pair gains from a larger gap",
    "min(x, 1/3)",
    of=Hinge,
)
def hinge(utility: Hinge, n: int) -> Answer | None:
    """min(x, 1/k), n > k: k+1 groups of ties at 0, 1/k, ..., 1, as even as n allows.

    The mean is 1/k times the share of pairs in different groups. Where k+1 divides n the optimum
    is unique, else one of several; given where the group sizes can be symmetric.
    """
    k = round(min(1 / utility.m, 1e15))
    size, extra = divmod(n, k + 1)
    if abs(k * utility.m - 1) > 1e-14 or size == 0 or (extra % 2 and k % 2):
        return None
    sizes = np.full(k + 1, size)
    sizes[: extra // 2] += 1
    sizes[len(sizes) - extra // 2 :] += 1
    sizes[k // 2] += extra % 2
    gaps = np.zeros(n - 1)
    gaps[np.cumsum(sizes)[:-1] - 1] = 1 / k
    return Answer(gaps, unique=extra == 0)
