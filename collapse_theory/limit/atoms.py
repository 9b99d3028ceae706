"""The mass at the ends of the box, and the parameter of a loss that gives a wanted one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from collapse_theory.errors import CollapseError
from collapse_theory.limit.solve import limit
from collapse_theory.programs import DomainLike, as_box
from collapse_theory.utilities import Log, LogSigmoid, NegativePower, Utility, utility

# Families of one positive parameter whose mass at the ends runs from 0 to 1/2, or back.
FAMILIES: dict[str, Callable[[float], Utility]] = {
    "logsigmoid": LogSigmoid,
    "log": lambda epsilon: Log().shifted(epsilon),
    "reciprocal": lambda epsilon: NegativePower(1.0).shifted(epsilon),
}
_LOG_STEP = math.log(8.0)
# Steeper utilities are beyond what `limit` certifies.
_LOW_PARAMETER, _HIGH_PARAMETER = 1e-6, 1e12


def atom_mass(u: Utility | str, domain: DomainLike | None = None) -> float:
    """Return the mass that the limit law of the rewards has at each end of the box.

    It is the share of completions that end at the very best reward (and at the very worst) as
    their number grows: 1/2 for a two-valued law, 0 where U'(0) is infinite.

    Parameters
    ----------
    u : Utility or str
        The utility of a gap.
    domain : Box, optional
        Where rewards may lie; [0, 1] unless given.

    Returns
    -------
    float

    Examples
    --------
    >>> import collapse_theory as ct
    >>> round(ct.atom_mass("log(x + 0.1)"), 12)
    0.183987810344
    >>> ct.atom_mass("log(x)")
    0.0
    """
    domain = as_box(domain)
    law = limit(utility(u), domain)  # listwise laws have another mass at each end
    # Conic laws have many atoms, and the solver's dust among them.
    at_low = law.atoms[law.atoms[:, 0] <= domain.low + 1e-12 * domain.width]
    return float(at_low[:, 1].sum())


def atom_parameter(
    family: str | Callable[[float], Utility],
    mass: float,
    domain: DomainLike | None = None,
    bounds: tuple[float, float] = (_LOW_PARAMETER, _HIGH_PARAMETER),
) -> float:
    """Return the parameter at which a family's limit law has the mass `mass` at each end.

    Parameters
    ----------
    family : {"logsigmoid", "log", "reciprocal"} or callable
        log sigma(beta x), log(x + epsilon), -1/(x + epsilon), or a function from a positive
        parameter to a Utility whose mass at the ends is monotone in the parameter.
    mass : float
        Wanted at each end, between 0 and 1/2.
    domain : Box, optional
        Where rewards may lie; [0, 1] unless given.
    bounds : (float, float)
        The parameters between which to look.

    Returns
    -------
    float
        The parameter, to about 1e-12 relative.

    Raises
    ------
    CollapseError
        A ValueError: an unknown name, a mass outside (0, 1/2), or one that no parameter in
        `bounds` reaches; the message says which masses are.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> round(ct.atom_parameter("log", 0.1839878103439), 9)
    0.1
    """
    if not callable(family) and family not in FAMILIES:
        known = ", ".join(repr(name) for name in FAMILIES)
        raise CollapseError(f"unknown family {family!r}; known families: {known}")
    make = family if callable(family) else FAMILIES[family]
    if not (isinstance(mass, int | float) and 0 < mass < 0.5):
        raise CollapseError(f"the mass at each end lies between 0 and 1/2, got {mass!r}")
    if not 0 < bounds[0] < bounds[1] < math.inf:
        raise CollapseError(f"bounds must be two positive numbers in order, got {bounds!r}")
    low, high = (math.log(float(bound)) for bound in bounds)

    @cache
    def excess(x: float) -> float:
        return atom_mass(make(math.exp(x)), domain) - mass

    # Outward from 1 by factors of 8, first on the side that comes nearer.
    start, reached = min(max(0.0, low), high), []
    rises = abs(excess(min(start + _LOG_STEP, high))) < abs(excess(start))
    for step in (_LOG_STEP, -_LOG_STEP) if rises else (-_LOG_STEP, _LOG_STEP):
        x, end = start, high if step > 0 else low
        while x != end:
            near, x = x, min(max(x + step, low), high)
            if excess(near) * excess(x) <= 0:
                from scipy.optimize import brentq

                root: Any = brentq(excess, near, x, xtol=1e-13)
                return math.exp(root)
        reached.append(excess(x) + mass)
    raise CollapseError(
        f"no parameter between {bounds[0]:.3g} and {bounds[1]:.3g} gives the mass {mass:.12g} at "
        f"each end: those give {min(reached):.6g} to {max(reached):.12g}"
    )
