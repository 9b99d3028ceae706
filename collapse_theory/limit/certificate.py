"""How far a law is from optimal: a bound from its potential, computed from the law alone.

J(mu*) - J(mu) <= 2 (max_x V(x) - J(mu)), as J is concave (DESIGN 2.3). Everything is done with
the shortfall kernel U(1) - U(x) >= 0, under which nothing cancels: with T its potential and E
the mean of T under the law, the bound is 2 (E - min T), and its relative size that over E.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from collapse_theory.limit.coordinate import Grading
from collapse_theory.numerics.quadrature import Nodes, batches
from collapse_theory.numerics.series import evaluate
from collapse_theory.utilities import Utility

__all__ = ["Certificate", "Found", "Trial", "certify", "potential", "rounding"]

_EPS = float(np.finfo(np.float64).eps)
# T is a sum of positive terms, each good to a few units in the last place.
_ROUNDING = 16.0 * _EPS
# Where T is looked at below the innermost grid point, in units of it.
_CLOSER = np.array([0.5, 0.2, 0.05, 1e-2, 1e-3, 1e-6, 1e-12])

Rule = Callable[[np.ndarray], tuple[Nodes, Nodes]]


class OnTrial(Protocol):
    """What a certificate is computed from: a symmetric law on [0, 1]."""

    @property
    def grading(self) -> Grading:
        """The coordinate in which the law is smooth."""
        ...

    @property
    def power(self) -> float:
        """The exponent of the density at the ends."""
        ...

    @property
    def atom(self) -> float:
        """The mass at each end."""
        ...

    @property
    def size(self) -> int:
        """About how many terms its density has."""
        ...

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return the density at the distances `y` and `c` from the two ends."""
        ...


class Trial(NamedTuple):
    """A symmetric law on [0, 1]: `atom` at each end, and the density of a `GradedDensity`."""

    grading: Grading
    power: float
    coefficients: np.ndarray
    atom: float

    @property
    def size(self) -> int:
        """The number of coefficients."""
        return self.coefficients.size

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return the density at the distances `y` and `c` from the two ends."""
        smooth = evaluate(self.coefficients, self.grading.sigma(y, c))
        return smooth * (y * c) ** self.power if self.power else smooth


class Certificate(NamedTuple):
    """What a law reaches.

    Attributes
    ----------
    shortfall : U(1) - J
    gap : bound on J(best law) - J
    relative_gap : the gap over the shortfall
    lowest_density : least density found, over the largest
    """

    shortfall: float
    gap: float
    relative_gap: float
    lowest_density: float


class Found(NamedTuple):
    """A law, and what it reaches."""

    trial: Trial
    certificate: Certificate


def potential(utility: Utility, trial: OnTrial, x: np.ndarray, rule: Rule) -> np.ndarray:
    """Return T(x) = ∫ (U(1) - U(|x-y|)) dmu(y) at the points `x` <= 1/2."""
    out = np.empty_like(x)
    for part in batches(x):
        nodes = Nodes.joined(*rule(x[part]))
        mass = nodes.weight * trial.density(nodes.y, nodes.c)
        out[part] = (utility.shortfall(nodes.gap, 1.0) * mass).sum(axis=1)
    if trial.atom:
        ends = utility.shortfall(x, 1.0) + utility.shortfall(1.0 - x, 1.0)
        out += trial.atom * ends
    return out


def certify(utility: Utility, trial: OnTrial, rule: Rule, finer: Rule) -> Certificate:
    """Return the certificate of a trial law.

    T is searched between the points at which it was solved for, at both ends and in the layers,
    and around its lowest values. `finer` is a second rule: what it changes is added to the gap.
    """
    y, w = trial.grading.end_rule(np.array([0.5]), trial.power, 2 * trial.size + 12)
    inner = y[0, ::-1]
    groups = [np.append(0.5, inner), inner[-1] * _CLOSER, np.zeros(1)]
    x = np.concatenate(groups)
    t = np.concatenate([potential(utility, trial, group, rule) for group in groups])
    rho = trial.density(inner, 1.0 - inner)
    mass = w[0, ::-1] * (0.5 / inner) ** trial.power * 0.5 * rho
    total = trial.atom + mass.sum()
    shortfall = float((trial.atom * t[-1] + mass @ t[1 : 1 + inner.size]) / total)
    lowest = _lowest(utility, trial, x, t, rule)
    sample = np.arange(0, inner.size, max(1, inner.size // 8))
    error = np.abs(potential(utility, trial, x[sample], finer) - t[sample]).max()
    error = max(error, abs(float(potential(utility, trial, x[-1:], finer)[0] - t[-1])))
    allowance = 2.0 * error + rounding(utility, shortfall)
    gap = 2.0 * max(shortfall - lowest, 0.0) + allowance
    lowest_density = float(rho.min() / np.abs(rho).max()) if rho.any() else 0.0
    return Certificate(shortfall, float(gap), float(gap / shortfall), lowest_density)


def _lowest(utility: Utility, trial: OnTrial, x: np.ndarray, t: np.ndarray, rule: Rule) -> float:
    """Return the least T, looked for between grid points around the lowest values."""
    lowest = float(t.min())
    if t.max() - lowest <= 1e-13 * lowest:
        return lowest
    for at in np.argsort(t)[:3]:
        low, high = x[min(at + 1, x.size - 1)], x[max(at - 1, 0)]
        between = np.linspace(low, high, 11)[1:-1]
        lowest = min(lowest, float(potential(utility, trial, between, rule).min()))
    return lowest


def rounding(utility: Utility, shortfall: float) -> float:
    """Return what rounding can hide: of T, and of U where U(1) - U(x) is formed as it stands."""
    plain = sum(abs(w * float(term(1.0))) for w, term in utility.terms if term.cancels)
    return _ROUNDING * (shortfall + plain)
