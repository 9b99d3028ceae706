"""The limit law behind a figure, where one can be had."""

from __future__ import annotations

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.laws import RewardLaw
from collapse_theory.limit import limit
from collapse_theory.programs import Domain
from collapse_theory.utilities import Loss

__all__ = ["limit_or_none"]


def limit_or_none(u: Loss, domain: Domain) -> RewardLaw | None:
    """Return the limit law of a utility, or None where no method reaches it."""
    try:
        return limit(u, domain)
    except (CollapseError, SolverFailed):
        return None
