"""Laws that are recognised: each with the utility that has it, in closed form."""

from __future__ import annotations

import numpy as np

from collapse_theory.laws import BetaDensity, RewardLaw
from collapse_theory.utilities import (
    Exponential,
    Hinge,
    Linear,
    Log,
    NegativePower,
    Power,
    Utility,
)

SAME_PARAMETER = 1e-9  # exponents, places and masses nearer than this are one


def closed_form_inverse(law: RewardLaw) -> tuple[Utility, str] | None:
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
            mass = float(atoms[0, 1])
            return exponential_utility(mass), "two equal atoms and a uniform part"
    if not parts and _is_even(atoms):
        steps = len(atoms) - 1
        return graded_utility(steps), "two values" if steps == 1 else "equal levels"
    return None


def beta_utility(a: float) -> Utility:
    """Return the utility of Beta(a, a), 0 < a <= 1: x^(1-2a), log x, -x^(1-2a) or -1/x."""
    power = 1.0 - 2.0 * a
    if abs(power) < SAME_PARAMETER:
        return Log()
    if power > 0.0:
        return Power(power)
    return NegativePower(min(-power, 1.0))


def exponential_utility(mass: float) -> Utility:
    """Return the utility of a mass at each end, below 1/2, and a uniform rest."""
    return Exponential(1.0 / mass - 2.0)


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
