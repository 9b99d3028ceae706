"""How steep a utility is where training begins: what decides whether descent reaches its optimum.

A wrong pair, and one of equal rewards, is pushed by U'(0); what shapes the optimum are the slopes
at the gaps that it leaves. Where these are hundreds of times smaller, the first push is all that
an optimiser sees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.numerics.checks import finite
from collapse_theory.numerics.roots import bisect
from collapse_theory.programs import Domain
from collapse_theory.programs.program import WIDEST_CHECKED
from collapse_theory.utilities import Utility, require_concave, require_increasing
from collapse_theory.utilities.checks import number_text

# The offset of a utility with an infinite slope at gap 0 in training, as a share of the box.
OFFSET_SHARE = 0.01
# The gaps over which a utility shapes the optimum: of 8 completions all but the smallest. Of the
# ends from .05 to .25, those from .06 to .1 told best which of 182 utilities train.
FROM = 0.08
SHARE = 0.8  # of 1/n: of fewer completions, the gaps beyond .8/n are those that count
# In benchmarks/calibrate_design.py all of the 74 utilities up to here came within .02 of their
# optimum of 8 or 16 completions, and 68 of 69 within that of 4.
MAX_SLOPE = 50.0
ROUNDING = 1e-4  # of the slope of a mixture, whose weights are rounded to six digits


class Bound(NamedTuple):
    """How steep utilities may be: a slope of at most `most`, over the gaps from `start` on."""

    most: float = MAX_SLOPE
    start: float = FROM

    def allows(self, utility: Utility) -> bool:
        """Whether a utility is within the bound."""
        return slope(utility, self.start) <= self.most


def first_gap(n: int | None) -> float:
    """Return the gap from which on slopes count: .08, and .8/n of fewer than ten completions."""
    return FROM if n is None else max(FROM, SHARE / n)


def slope(utility: Utility, start: float = FROM) -> float:
    """Return U'(0) over the mean slope between the gaps `start` and 1, of U as it is trained.

    Where U'(0) is infinite, U(x + .01) is trained. 1 for x, 38 for log x, 910 for -1/x; inf where
    U doesn't increase beyond `start`. A ratio of two linear functions of U: a mixture of utilities
    is no steeper than the steepest of them.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.design.slope import slope
    >>> [round(slope(ct.utility(u)), 1) for u in ("x", "log(x + 0.1)", "log(x)", "-1/x")]
    [1.0, 5.1, 38.0, 909.0]
    """
    push, mean = push_and_mean(utility, start)
    return push / mean if mean > 0 else np.inf


def push_and_mean(utility: Utility, start: float) -> tuple[float, float]:
    """Return U'(0), as it is trained, and the mean slope between the gaps `start` and 1."""
    steep = not np.isfinite(utility.slope_at_zero)
    trained = utility.shifted(OFFSET_SHARE) if steep else utility
    return float(trained.slope_at_zero), float(trained.shortfall(start, 1.0)) / (1.0 - start)


def steepest(family: Callable[[float], Utility], low: float, high: float, bound: Bound) -> float:
    """Return the parameter in [low, high] up to which an ever steeper family is within a bound."""
    if bound.allows(family(high)):
        return high
    if not bound.allows(family(low)):
        return low
    over = bound.most - 1e-9
    return bisect(lambda p: over - slope(family(p), bound.start), low, high, 1e-9 * high)


@lru_cache(maxsize=32)
def cone(terms: tuple[Utility, ...], bound: Bound) -> np.ndarray:
    """Return mixtures, (terms, columns), whose sums are all the mixtures within a bound.

    The condition sum_j w_j (push_j - most mean_j) <= 0 is one half-space: what is left of w >= 0 is
    made by its edges, the terms within, and each steeper one with as much of one within as brings
    both to the bound; a little less, so that rounded weights are within it too.
    """
    whole = np.eye(len(terms))
    if not np.isfinite(bound.most):
        return whole
    push, mean = np.array([push_and_mean(term, bound.start) for term in terms]).T
    over = push - (1.0 - ROUNDING) * bound.most * mean
    within, steep = np.flatnonzero(over <= 0), np.flatnonzero(over > 0)
    pairs = [whole[j] / over[j] + whole[k] / -over[k] for j in steep for k in within if over[k] < 0]
    return np.array([*whole[within], *pairs]).T


# -- what is trained ----------------------------------------------------------------------


def width_of(domain: Domain) -> float:
    """Return the gap up to which a utility must be concave: as where the optimum is solved for."""
    return domain.width if domain.bounded else WIDEST_CHECKED


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
    if offset is None and steep and not domain.bounded:
        raise InvalidUtility(
            f"{utility} has an infinite slope at gap 0, and {domain} has no width to take an "
            "offset from; give one that is small beside the gaps you expect, such as "
            f"offset={OFFSET_SHARE}: U(x + {OFFSET_SHARE}) is trained then"
        )
    if offset is None:
        offset = OFFSET_SHARE * domain.width if steep else 0.0
    offset = finite(offset, "offset", InvalidUtility)
    if offset < 0 or (steep and offset == 0):
        needed = "positive" if steep else "0 or more"
        reason = f": {utility} has an infinite slope at gap 0" if steep else ""
        raise InvalidUtility(f"offset must be {needed}, got {number_text(offset)}{reason}")
    trained = utility.shifted(offset) if offset else utility
    try:
        require_concave(trained, width_of(domain))
        if domain.bounded:
            require_increasing(trained, domain.width)
    except InvalidUtility as fault:
        if not offset:
            raise
        raise type(fault)(
            f"{fault} (the offset {number_text(offset)} moves the gaps; offset= sets it)"
        ) from None
    return trained, offset
