"""A law on an unknown support [-R, R], and quadrature that is the same on both sides of a point.

A soft edge is where the support ends by itself, not at a wall: for U'(x) ~ x**(p-1) near 0 the
density is (R**2 - x**2)**((1-p)/2) there, one power above a wall's (the semicircle for log x;
Saff and Totik, Logarithmic Potentials with External Fields, ch. IV).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.limit.grading import Grading
from collapse_theory.limit.rules import Ends, Nodes, end_rule, log_rule, power_rule
from collapse_theory.limit.series import evaluate
from collapse_theory.utilities.base import Utility

__all__ = ["SoftLaw", "next_to", "outer_sides", "soft_ends"]


class SoftLaw(NamedTuple):
    """A law on [-radius, radius], as a density of mass 1 on [0, 1] in the coordinate of `grading`.

    Attributes
    ----------
    radius : R
    grading, power, coefficients : the density (y (1-y))**power sum_k c_k T_2k(sigma)
    pull : the kappa that holds the law
    misfit : how far the series is from settled, relative
    """

    radius: float
    grading: Grading
    power: float
    coefficients: np.ndarray
    pull: float
    misfit: float

    @property
    def length(self) -> float:
        """2R, the largest gap."""
        return 2.0 * self.radius

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return the density on [0, 1] at the distances `y` and `c` from the two ends."""
        smooth = evaluate(self.coefficients, self.grading.sigma(y, c))
        return smooth * (y * c) ** self.power if self.power else smooth

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return points of (0, 1/2] from the middle down, and the masses they stand for."""
        y, w = end_rule(np.array([0.5]), self.grading, self.power, count)
        y, w = y[0, ::-1], w[0, ::-1] * 0.5 ** (1.0 + self.power)
        smooth = evaluate(self.coefficients, self.grading.sigma(y, 1.0 - y))
        return y, w * smooth * (1.0 - y) ** self.power


def soft_ends(utility: Utility, count: int) -> Ends:
    """Return what is singular, for a series of `count` terms.

    The root taken at the ends is higher where further terms of U bring close powers (x**0.5 with
    x**0.3), and lower where rounding near the end would show.
    """
    p = utility.exponent
    order = 4 if p >= 0.25 else 3 if p >= -0.5 else 2
    return Ends(p, 0.5 * (1.0 - p), order, count, nodes=24 + count // 4)


def next_to(x: np.ndarray, ends: Ends) -> tuple[np.ndarray, np.ndarray]:
    """Return distances t <= x/4 and weights, for integrals over both sides of x at once.

    One side alone may diverge: U'(t) ~ t**(p-1), which the difference of the density at x - t and
    x + t makes t**p.
    """
    return power_rule(0.25 * x, ends.kernel, ends.smoothing, ends.nodes)


def outer_sides(x: np.ndarray, ends: Ends) -> tuple[Nodes, Nodes]:
    """Return a rule for what lies below x - x/4, and one for what lies above x + x/4."""
    near, made = 0.25 * x, []
    for length in (x, 1.0 - x):
        half = 0.5 * length
        spread = float(np.log((half / near).max()))
        middle, w = log_rule(near, half, 8 + ends.terms // 2 + int(2.0 * spread))
        last, w_last = power_rule(half, ends.law, ends.order, ends.terms + 12)
        whole = length[:, None]
        gap = np.concatenate([middle, whole - last], axis=1)
        end = np.concatenate([whole - middle, last], axis=1)
        made.append(Nodes(gap, np.concatenate([w, w_last], axis=1), end, 1.0 - end))
    below, above = made
    return below, Nodes(above.gap, above.weight, above.c, above.y)
