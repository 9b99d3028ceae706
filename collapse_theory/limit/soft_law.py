"""A law on an unknown support [-R, R].

A soft edge is where the support ends by itself, not at a wall: for U'(x) ~ x**(p-1) near 0 the
density is (R**2 - x**2)**((1-p)/2) there, one power above a wall's (the semicircle for log x;
Saff and Totik, Logarithmic Potentials with External Fields, ch. IV).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.limit.coordinate import Grading
from collapse_theory.numerics.quadrature import Ends
from collapse_theory.numerics.series import evaluate
from collapse_theory.utilities.base import Utility

__all__ = ["SoftLaw", "soft_ends"]


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
        y, w = self.grading.end_rule(np.array([0.5]), self.power, count)
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
