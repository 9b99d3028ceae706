"""The utility that is really trained: shifted where its slope at gap 0 is infinite, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.programs import Box, Centered, Confined, Domain, Free
from collapse_theory.utilities import Utility, require_concave, require_increasing
from collapse_theory.utilities.base import number_text, real

__all__ = ["SHARE", "as_domain", "trained_utility", "widest_gap"]

# The offset of a utility with an infinite slope at 0, as a share of the box's width.
SHARE = 0.01

# Off the box concavity is looked at up to gaps of this size, as where the optimum is solved for.
WIDEST = 1000.0


def as_domain(domain: Any) -> Domain:
    """Return `domain`, the box [0, 1] for None, or raise where it is none."""
    domain = Box() if domain is None else domain
    if not isinstance(domain, Box | Confined | Centered | Free):
        raise CollapseError(f"domain must be Box, Confined, Centered or Free, got {domain!r}")
    return domain


def widest_gap(domain: Domain) -> float:
    """Return the gap up to which a utility must be concave."""
    return domain.width if isinstance(domain, Box) else WIDEST


def trained_utility(
    utility: Utility, domain: Domain, offset: float | None
) -> tuple[Utility, float]:
    """Return U(x + offset) and the offset.

    Where U'(0) is infinite a pair of equal rewards would get an infinite push. The offset is then
    a hundredth of the box's width unless given; elsewhere 0 unless given.

    Raises
    ------
    InvalidUtility
        Where U'(0) is infinite and there is no box to take the scale from, or the offset is 0.
    CollapseError
        Where the trained utility isn't concave, or falls, over the gaps that the domain allows.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> trained_utility(ct.Log(), ct.Box(), None)
    (utility('log(x + 0.01)'), 0.01)
    """
    steep = not np.isfinite(utility.slope_at_zero)
    if offset is None:
        if steep and not isinstance(domain, Box):
            raise InvalidUtility(
                f"{utility} has an infinite slope at gap 0, and {domain} has no width to take an "
                "offset from; give one that is small beside the gaps you expect, such as "
                f"offset={SHARE}: U(x + {SHARE}) is trained then"
            )
        offset = SHARE * domain.width if steep and isinstance(domain, Box) else 0.0
    offset = real("offset", offset)
    if offset < 0 or (steep and offset == 0):
        reason = f": {utility} has an infinite slope at gap 0" if steep else ""
        raise InvalidUtility(
            f"offset must be {'positive' if steep else '0 or more'}, got {number_text(offset)}"
            f"{reason}"
        )
    trained = utility.shifted(offset) if offset else utility
    _require_allowed(trained, domain, offset)
    return trained, offset


def _require_allowed(trained: Utility, domain: Domain, offset: float) -> None:
    try:
        require_concave(trained, widest_gap(domain))
        if isinstance(domain, Box):
            require_increasing(trained, domain.width)
    except InvalidUtility as fault:
        if not offset:
            raise
        raise type(fault)(
            f"{fault} (the offset {number_text(offset)} moves the gaps; offset= sets it)"
        ) from None
