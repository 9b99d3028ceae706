"""Closed forms, certified as every other law is: by the potential of the law itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.errors import NoClosedForm
from collapse_theory.exact import exact_law
from collapse_theory.laws import BetaDensity, Part, RewardLaw
from collapse_theory.limit.certificate import Certificate, certify, rounding
from collapse_theory.limit.coordinate import Grading
from collapse_theory.limit.lattice import Points
from collapse_theory.limit.regular import layer
from collapse_theory.numerics.quadrature import Ends, layered_sides, singular_sides
from collapse_theory.utilities.base import Utility

__all__ = ["solve_exact"]

# The nodes of a rule follow from the size of a series; closed forms are as smooth as this one.
_SIZE = 48


class _Given(NamedTuple):
    """A law on [0, 1] with a density from a closed form; see `certificate.Trial`."""

    grading: Grading
    power: float
    part: Part
    atom: float

    @property
    def size(self) -> int:
        return _SIZE

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        # By symmetry, so that the upper end is as exact as the lower.
        return self.part.pdf(np.minimum(y, c))


def solve_exact(utility: Utility) -> tuple[RewardLaw, Certificate]:
    """Return the closed form of the limit law on [0, 1] and its certificate.

    Raises
    ------
    NoClosedForm
        Where none is known.
    """
    law = exact_law(utility)
    if law is None:
        raise NoClosedForm(
            f"no closed form of the limit law is known for {utility}; ct.limit(u) computes it"
        )
    return law, _certificate(utility, law)


def _certificate(utility: Utility, law: RewardLaw) -> Certificate:
    if not law.parts:
        places, masses = law.atoms.T
        grid = Points(utility, places)
        shortfall = float(masses @ grid.kernel() @ masses)
        gap = 2.0 * max(shortfall - grid.least(masses), 0.0) + 4.0 * rounding(utility, shortfall)
        return Certificate(shortfall, gap, gap / shortfall, 1.0)
    part = law.parts[0]
    if isinstance(part, BetaDensity):
        # The coordinate only places the points of the search.
        ends = Ends(utility.exponent, part.a - 1.0, 4, _SIZE)
        finer = ends._replace(nodes=48, smoothing=16)
        given = _Given(Grading(0.0, 4.0), part.a - 1.0, part, 0.0)
        return certify(
            utility, given, lambda x: singular_sides(x, ends), lambda x: singular_sides(x, finer)
        )
    scale = layer(utility)
    given = _Given(Grading(scale), 0.0, part, float(law.atoms[0, 1]))
    return certify(
        utility,
        given,
        lambda x: layered_sides(x, scale, 2 * _SIZE),
        lambda x: layered_sides(x, scale, 3 * _SIZE),
    )
