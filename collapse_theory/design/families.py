"""Families whose laws are known in closed form: recognised from a law, or fitted to one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np

from collapse_theory.design.slope import Bound, steepest
from collapse_theory.laws import BetaDensity, RewardLaw, beta_law
from collapse_theory.utilities import (
    Exponential,
    Hinge,
    Linear,
    Log,
    NegativePower,
    Power,
    Utility,
)
from collapse_theory.utilities import utility as utility_of

SAME_PARAMETER = 1e-9  # exponents, places and masses nearer than this are one
# What people train with, tried first where a sample's law needn't be met exactly.
TEXTS = ("x", "log(x)", "log(x + 0.1)", "sqrt(x)", "logsigmoid(4*x)", "-1/(x + 0.1)", "-1/x")
PLAIN = tuple(map(utility_of, TEXTS))
LEAST_EXPONENT = 0.01  # of Beta: below it the law is two-valued to within .01
LARGEST_RATE = 1e4  # of 1 - exp(-b x): its law is uniform to within 1e-4
MOST_STEPS = 11  # min(x, 1/k) is fitted up to k, that of twelve levels


def recognised(law: RewardLaw) -> tuple[Utility, str] | None:
    """Return the utility of a law that is known in closed form, and what the law is called.

    Beta(a, a) with 0 < a <= 1 belongs to the powers and log x, two atoms and a uniform part to
    1 - exp(-b x), two values to x, and k + 1 equal levels to min(x, 1/k).
    """
    atoms, parts = law.atoms, law.parts
    if not len(atoms) and len(parts) == 1:
        a = _beta_exponent(law)
        return None if a is None or a > 1.0 else (beta_utility(a), f"Beta({a:.6g}, {a:.6g})")
    if parts and len(atoms) == 2 and _is_even(atoms):
        a = _beta_exponent(law) if len(parts) == 1 else None
        if a is not None and abs(a - 1.0) < SAME_PARAMETER:
            rate = 1.0 / float(atoms[0, 1]) - 2.0
            return Exponential(rate), "two equal atoms and a uniform part"
    if not parts and _is_even(atoms):
        steps = len(atoms) - 1
        return graded_utility(steps), "two values" if steps == 1 else "equal levels"
    return None


@lru_cache(maxsize=8)
def fitted(wanted: tuple[float, ...], bound: Bound, levels: bool) -> tuple[Utility, ...]:
    """Return the nearest member of each family to quantiles at (i - 1/2)/k, within a bound.

    Powers and log x, whose laws are Beta(a, a); 1 - exp(-b x), with two atoms and a uniform part;
    and with `levels` min(x, 1/k), whose levels are equal.
    """
    from scipy.optimize import minimize_scalar

    quantiles = np.array(wanted)
    share = (np.arange(quantiles.size) + 0.5) / quantiles.size

    def of_beta(a: float) -> float:
        return float(np.abs(beta_law(a).ppf(share) - quantiles).mean())

    def of_mass(mass: float) -> float:
        law = np.clip((share - mass) / (1.0 - 2.0 * mass), 0.0, 1.0)
        return float(np.abs(law - quantiles).mean())

    largest, rate, steps = _largest(bound)
    options = {"xatol": 1e-4, "maxiter": 40}
    bounds = ((LEAST_EXPONENT, largest), (1.0 / (2.0 + rate), 0.499))
    a, mass = (
        cast(Any, minimize_scalar(f, bounds=b, method="bounded", options=options)).x
        for f, b in zip((of_beta, of_mass), bounds, strict=True)
    )
    best = beta_utility(_short(a, largest)), Exponential(_short(1.0 / mass - 2.0, rate))
    if not levels:
        return best
    away = [np.abs(np.floor(share * (k + 1)) / k - quantiles).mean() for k in range(1, steps + 1)]
    return *best, graded_utility(1 + int(np.argmin(away)))


@lru_cache(maxsize=32)
def _largest(bound: Bound) -> tuple[float, float, int]:
    """Return the largest exponent a of Beta(a, a), rate and number of steps within the bound."""
    return (
        steepest(beta_utility, LEAST_EXPONENT, 1.0, bound),
        steepest(Exponential, 1e-2, LARGEST_RATE, bound),
        sum(bound.allows(graded_utility(k)) for k in range(1, MOST_STEPS + 1)),
    )


def without_atoms(bound: Bound) -> Utility:
    """Return log x, or where it is too steep the steepest power within the bound."""
    largest = _largest(bound)[0]
    return Log() if largest >= 0.5 else beta_utility(_short(largest, largest))


def _short(value: float, largest: float) -> float:
    """Return four digits of a parameter, rounded down at its bound."""
    near = float(f"{value:.4g}")
    return near if near <= largest else float(f"{largest * (1.0 - 1e-4):.4g}")


def beta_utility(a: float) -> Utility:
    """Return the utility of Beta(a, a), 0 < a <= 1: x^(1-2a), log x, -x^(1-2a) or -1/x."""
    power = round(1.0 - 2.0 * a, 12)
    if abs(power) < SAME_PARAMETER:
        return Log()
    return Power(power) if power > 0.0 else NegativePower(min(-power, 1.0))


def graded_utility(steps: int) -> Utility:
    """Return the utility of steps + 1 equal levels."""
    return Linear() if steps == 1 else Hinge(1.0 / steps)


def _beta_exponent(law: RewardLaw) -> float | None:
    part = law.parts[0]
    if not isinstance(part, BetaDensity) or (part.low, part.high) != (0.0, 1.0):
        return None
    return part.a if abs(part.a - part.b) <= SAME_PARAMETER * part.a else None


def _is_even(atoms: np.ndarray) -> bool:
    """Whether the atoms are equal, and evenly spaced from 0 to 1."""
    places = np.linspace(0.0, 1.0, len(atoms))
    masses = atoms[:, 1]
    return bool(
        len(atoms) > 1
        and np.abs(atoms[:, 0] - places).max() < SAME_PARAMETER
        and np.ptp(masses) < SAME_PARAMETER * masses[0]
    )
