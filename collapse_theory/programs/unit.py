"""Every box is the unit box of a scaled utility: there and back."""

from __future__ import annotations

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import count
from collapse_theory.programs.certificates import certify
from collapse_theory.programs.domains import Box
from collapse_theory.programs.listwise import certify_listwise
from collapse_theory.programs.ranking import as_rewards
from collapse_theory.programs.solution import Solution
from collapse_theory.utilities import (
    Loss,
    PlackettLuce,
    Utility,
    require_concave,
    require_increasing,
)

__all__ = ["LOOSE", "TOLERANCE", "count", "in_box", "unit_utility"]

# The relative gap up to which an answer is called optimal, unless a tolerance is given: of our own
# methods, and of conic solvers or where kinks are smoothed.
TOLERANCE, LOOSE = 1e-9, 1e-6


def unit_utility(utility: Utility, domain: object) -> Utility:
    """Return the utility on [0, 1] that stands for `utility` on the box, checked for its gaps.

    Raises
    ------
    NotConcave, NotIncreasing
        With a gap in (0, width] at which the utility is convex, or beyond which it falls.
    """
    if not isinstance(domain, Box):
        raise CollapseError(f"domain must be a Box, got {domain!r}")
    if domain.width > 1:
        require_concave(utility, domain.width)
    require_increasing(utility, domain.width)
    return utility if domain.width == 1 else utility.scaled(domain.width)


def in_box(
    utility: Loss,
    domain: Box,
    gaps: np.ndarray,
    *,
    method: str,
    iterations: int = 0,
    unique: bool = True,
    tol: float | None = None,
    stopped: bool = False,
    reference: str | None = None,
) -> Solution:
    """Return the certified solution with these `gaps` in [0, 1], mapped to the box."""
    unit = utility if domain.width == 1 else utility.scaled(domain.width)
    listwise = isinstance(unit, PlackettLuce)
    certificate = certify_listwise(unit, gaps) if listwise else certify(unit, gaps)
    if tol is None:
        kinked = not listwise and unit.kinks
        tol = LOOSE if method == "conic" or kinked else TOLERANCE
    optimal = certificate.relative_gap <= tol
    status = "optimal" if optimal else "max_iterations" if stopped else "inaccurate"
    rewards = as_rewards(gaps)
    if domain != Box():
        rewards = np.clip(domain.low + domain.width * rewards, domain.low, domain.high)
        # The top half as distances from the upper end, so that the best reward is `high`.
        top = rewards > (domain.low + domain.high) / 2
        rewards[top] = domain.high - domain.width * (1.0 - as_rewards(gaps)[top])
    return Solution(
        rewards=rewards,
        gaps=domain.width * gaps,
        objective=certificate.objective,
        gap=certificate.gap,
        relative_gap=certificate.relative_gap,
        status=status,
        method=method,
        iterations=iterations,
        unique=unique,
        utility=utility,
        domain=domain,
        reference=reference,
    )
