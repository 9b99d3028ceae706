"""Laws on an unknown support [-R, R]: for each R the law whose potential is level there.

The program J(mu) - kappa ∫ x**2 dmu has the potential V(x) = 2 ∫ U(|x-y|) dmu(y) - kappa x**2,
level on the support. For given R one equation has one solution of mass 1 for one kappa = h(R), the
pull that holds it; h falls with R. R is where h(R) = kappa, and h(R) = 0 without a penalty.

- U'(0) finite: V'' = 0. Any solution does: V' is odd, so V' = 0 on the support; V is differentiable
  at R, as there are no atoms, and beyond R it falls, for V'' < 0 there. So rho(R) > 0 in general
  (U = x has rho = kappa/2): no condition at the ends is needed, and mass 1 determines R.
- U'(0) = inf: V' = 0. Of its solutions, which end like (R**2 - x**2)**(-(1+p)/2) at a wall, the
  one whose V doesn't rise beyond R is (R**2 - x**2)**((1-p)/2) times a smooth function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collapse_theory.limit.soft_equations import held_by
from collapse_theory.limit.soft_law import SoftLaw
from collapse_theory.numerics.series import evaluate
from collapse_theory.utilities.base import Utility

__all__ = ["fall_to", "solve_soft", "too_wide"]

_REGULAR = (12, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_SINGULAR = (8, 16, 24, 40, 56, 72, 96, 128, 192)
# A law is settled where its series misses by no more than this, or R stays as the series grows.
_MISFIT, _SAME = 1e-12, 3e-11
_LOOSE = 1e-6
# R is looked for until it is known to this, relative.
_LAST = 1e-13
_ROUNDS = 60
# Where the sign of a density is looked at; nearer to the ends it may be rounding.
_ACROSS = np.linspace(0.0, 0.95, 41)


def solve_soft(utility: Utility, kappa: float, start: float) -> SoftLaw:
    """Return the law that the penalty `kappa` >= 0 holds, looked for from the radius `start`."""
    counts = _SINGULAR if utility.exponent < 1.0 else _REGULAR
    # Without a penalty the certificate is of the first order in the misfit.
    enough = _LOOSE if utility.exponent < 1.0 else 1e3 * _MISFIT if kappa > 0 else _MISFIT
    law, best, slope = None, None, 0.0
    for count in counts:
        radius = start if law is None else law.radius
        law, slope = _level(utility, kappa, radius, count, slope)
        stays = best is not None and abs(law.radius / radius - 1.0) < _SAME
        if best is None or stays or law.misfit <= best.misfit:
            best = law
        if law.misfit < _MISFIT or (stays and law.misfit < enough):
            break
    assert best is not None
    return best


def _level(
    utility: Utility, kappa: float, radius: float, count: int, slope: float
) -> tuple[SoftLaw, float]:
    """Return the law of `count` terms with h(R) = kappa, and the slope of h in log R."""
    start = float(np.log(radius))
    found = {start: held_by(utility, radius, count)}

    def pull(z: float) -> float:
        if z not in found:
            found[z] = held_by(utility, float(np.exp(z)), count)
        law = found[z]
        smooth = evaluate(law.coefficients, _ACROSS)
        return -np.inf if too_wide(law.pull, kappa, smooth) else law.pull

    # Long series cost most: none is polished that is far from settled.
    misfit = found[start].misfit
    last = float(np.clip(1e-4 * misfit, _LAST, 1e-11 if misfit < _LOOSE else 1e-4))
    z, slope = fall_to(pull, start, kappa, slope, last)
    return found[z], slope


def too_wide(pull: float, kappa: float, density: np.ndarray) -> bool:
    """Say whether R is beyond what any penalty holds, though h(R) > kappa.

    Beyond the R with h(R) = 0 the integral operator of V'' has an eigenvalue above 1; tested with
    its positive eigenfunction, the equation leaves a density of one sign only h < 0.
    """
    return bool(pull > kappa and density.min() < -1e-3 * density.max()) or not np.isfinite(pull)


def fall_to(
    pull: Callable[[float], float], z: float, kappa: float, slope: float = 0.0, tol: float = _LAST
) -> tuple[float, float]:
    """Return where the falling function `pull` is `kappa`, and its slope there.

    Secants kept within a bracket, the first along `slope` where one is given, until R is known to
    `tol`, relative; a pull of -inf only says on which side. `pull` was called at what is returned.
    """
    low, high = -np.inf, np.inf
    last, before, move = z, np.nan, 1e-3 if slope < 0 else 1.0
    for _ in range(_ROUNDS):
        now = pull(z)
        low, high = (max(low, z), high) if now > kappa else (low, min(high, z))
        if not np.isfinite(now):
            step = -0.3
        elif np.isfinite(before):
            slope = (now - before) / (z - last)
            step = _secant(z - last, now, before, kappa)
        else:
            step = (kappa - now) / slope if slope < 0 else np.copysign(1e-3, now - kappa)
        if abs(step) < tol or high - low < tol:
            return z, slope
        last, before, z = z, now, z + float(np.clip(step, -0.7, 0.7))
        if not low < z < high:
            z = 0.5 * (low + high) if np.isfinite(high - low) else last + step
        # What a secant leaves is of the order of the product of the last two steps.
        if abs(step) * move < tol and z == last + step:
            pull(z)
            return z, slope
        move = abs(z - last)
    return last, slope


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
