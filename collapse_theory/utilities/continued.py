"""A utility at negative gaps, where a model has two completions the wrong way round.

Many utilities have no value there: log(x + 0.1) ends at -0.1. Such a one goes on from gap 0 along
its tangent, concave still, so that a wrong pair gets a finite push:

    U(x) for x >= 0,    U(0) + U'(0) x for x < 0.

Utilities that are concave on all of R by their own formula keep it: log-sigmoid, 1 - exp(-b x).
"""

# What one class looks at once, another knows:
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities.base import Utility

# Gaps, in units of the largest, from which the tangent is taken: 0, unless the formula is 0*inf
# there. Beyond 1e-8 the tangent would be another utility's in single precision.
STARTS = (0.0, 1e-30, 1e-20, 1e-12, 1e-8)


@dataclass(frozen=True, eq=False, repr=False)
class Continued(Utility):
    """A utility of all real gaps, of arrays or tensors; made by `continued`.

    Attributes
    ----------
    of : Utility
    start : float or None
        Where the tangent takes over, 0 but for formulas without a value there; None where the
        utility keeps its own formula below 0.
    """

    of: Utility
    start: float | None

    @property
    def everywhere(self) -> bool:
        return True

    @property
    def formula(self) -> None:
        return None

    def value(self, x: Any, xp: Any = np) -> Any:
        if self.start is None:
            return self.of.value(x, xp)
        # Clipped first: no NaN arises below the start, so none comes back through a product with
        # 0. What is left of the gap is a difference, so that at the start itself, where torch's
        # clip passes gradients, the slope is counted once.
        inside = xp.clip(x, self.start, None)
        return self.of.value(inside, xp) + self.of.slope_at_zero * (x - inside)

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        if self.start is None:
            return self.of.derivatives(x)
        below = x < self.start
        first, second = self.of.derivatives(np.maximum(x, self.start))
        return np.where(below, self.of.slope_at_zero, first), np.where(below, 0.0, second)

    @property
    def slope_at_zero(self) -> float:
        return self.of.slope_at_zero

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.of.kinks

    @property
    def strictly_concave(self) -> bool:
        return self.of.strictly_concave

    def __str__(self) -> str:
        return str(self.of)


def continued(utility: Utility) -> Continued:
    """Return the utility with values at all real gaps; its own below 0 where it is concave there.

    Raises
    ------
    InvalidUtility
        Where U'(0) isn't finite, or the formula has no value near 0.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.utilities import continued
    >>> continued(ct.utility("log(x + 0.1)"))([-1.0, 0.9])
    array([-12.30258509,   0.        ])
    """

    def usable(start: float) -> bool:
        return _near(utility, utility.value(start), utility.slope(start), 1e-6)

    return _continued(utility, 1.0, utility.everywhere, usable)


def _continued(
    utility: Utility, width: float, keeps: bool, usable: Callable[[float], bool]
) -> Continued:
    """Return it for gaps up to `width`, from the first gap at which value and slope are usable."""
    slope = utility.slope_at_zero
    if not np.isfinite(slope):
        raise InvalidUtility(
            f"the slope of {utility} at gap 0 is {slope}: a pair that is the wrong way round has "
            "no value, and a model can't be trained from equal rewards; shift it, such as "
            "u.shifted(0.01)"
        )
    if keeps:
        return Continued(utility, None)
    for start in width * np.array(STARTS):
        with np.errstate(all="ignore"):
            if usable(start):
                return Continued(utility, float(start))
    raise InvalidUtility(
        f"the formula of {utility} has no value or no slope near gap 0; write it so that it has "
        "one, or shift it: u.shifted(0.01)"
    )


def _near(utility: Utility, value: Any, slope: Any, allowed: float) -> bool:
    """Whether a value near gap 0 is finite, and the slope there is U'(0)."""
    wanted = utility.slope_at_zero
    return bool(np.isfinite(value) and abs(slope - wanted) <= allowed * abs(wanted) + 1e-30)


# -- on torch tensors ------------------------------------------------------------------------


def on_tensors(utility: Utility, width: float, keeps: bool | None = None) -> Continued:
    """Return the utility on tensors, for gaps up to `width`.

    `keeps` tells whether it keeps its formula below 0; unless given, where it isn't steep there.
    Functions that don't take tensors, and an infinite U'(0), are refused.

    Examples
    --------
    >>> import torch
    >>> import collapse_theory as ct
    >>> u = on_tensors(ct.utility("log(x + 0.1)"), 1.0)
    >>> u.value(torch.tensor([-1.0, 0.9]), torch).round(decimals=4)
    tensor([-12.3026,   0.0000])
    """
    if utility.own_functions:
        _require_tensors(utility, width)

    def usable(start: float) -> bool:
        value, slope = _value_and_slope(utility, [start], "float32")
        return _near(utility, value[0], slope[0], 1e-3)

    return _continued(utility, width, utility.below_zero if keeps is None else keeps, usable)


def _value_and_slope(utility: Utility, x: Any, dtype: str) -> tuple[Any, Any]:
    import torch

    with torch.enable_grad():
        gaps = torch.tensor(x, dtype=getattr(torch, dtype), device="cpu", requires_grad=True)
        value = utility.value(gaps, torch)
        (slope,) = torch.autograd.grad(value.sum(), gaps)
    return value.detach().double().numpy(), slope.double().numpy()


def _require_tensors(utility: Utility, width: float) -> None:
    """Raise unless the utility gives the same on tensors as on arrays, and passes gradients."""
    x = width * np.array([0.03, 0.2, 0.45, 0.7, 1.0])
    advice = (
        "write its value so that it takes tensors too, with operators alone or as "
        "lambda x: (torch if torch.is_tensor(x) else np).log1p(x), or give the utility as text"
    )
    try:
        value, slope = _value_and_slope(utility, x, "float64")
    except Exception as fault:
        raise InvalidUtility(
            f"the utility {utility} can't be trained: on a torch tensor it raised "
            f"{type(fault).__name__}: {fault}; {advice}"
        ) from fault
    same = np.allclose(value, utility(x), rtol=1e-9, atol=1e-12)
    if not same or not np.allclose(slope, utility.d1(x), rtol=1e-6, atol=1e-9):
        raise InvalidUtility(
            f"the utility {utility} can't be trained: on torch tensors its value or its gradient "
            f"differs from that on arrays; {advice}"
        )
