"""The utility on torch tensors, with its continuation below gap 0.

A model in training ranks some pairs the wrong way round: their gaps are negative, where many
utilities have no value (log(x + 0.1) ends at -0.1) or explode (1 - exp(-b x)). Such a utility goes
on from gap 0 along its tangent, concave still, so that a wrong pair gets a finite push:

    U(x) for x >= 0,    U(0) + U'(0) x for x < 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities import (
    Custom,
    Hinge,
    LabelSmoothing,
    Linear,
    LogSigmoid,
    Quadratic,
    Shifted,
    Squared,
    Utility,
)

__all__ = ["Continued", "continued", "keeps_formula"]

# Concave on all of R, with slopes below 0 that stay bounded or grow as the gap does.
MODERATE = (Linear, LogSigmoid, LabelSmoothing, Quadratic, Squared, Hinge)

# Gaps from which the tangent is taken: 0, unless the formula is 0*inf there.
STARTS = (0.0, 1e-30, 1e-20, 1e-12, 1e-8)


@dataclass(frozen=True, eq=False)
class Continued:
    """A utility of tensors of gaps, all real numbers allowed; made by `continued`.

    Attributes
    ----------
    utility : Utility
    slope : float
        U'(0).
    start : float or None
        Where the tangent takes over, 0 but for formulas without a value there; None where the
        utility keeps its own formula below 0.
    """

    utility: Utility
    slope: float
    start: float | None

    def __call__(self, gaps: Tensor) -> Tensor:
        """Return U(gaps), elementwise, in the dtype of `gaps`."""
        if self.start is None:
            return self.utility.value(gaps, torch)
        # Clamped first: no NaN arises below the start, so none comes back through a product with
        # 0. What is left of the gap is a difference, so that at the start itself, where the clamp
        # passes gradients, the slope is counted once.
        inside = gaps.clamp(min=self.start)
        return self.utility.value(inside, torch) + self.slope * (gaps - inside)


def keeps_formula(utility: Utility) -> bool:
    """Whether the utility has its own sensible values below gap 0.

    >>> import collapse_theory as ct
    >>> keeps_formula(ct.utility("logsigmoid(4*x) + x")), keeps_formula(ct.Exponential(3))
    (True, False)
    """
    bases = (t.base if isinstance(t, Shifted) else t for _, t in utility.terms)
    return all(isinstance(base, MODERATE) for base in bases)


def continued(utility: Utility, width: float) -> Continued:
    """Return the utility on tensors, for gaps up to `width`.

    Raises
    ------
    InvalidUtility
        Where the utility is made of functions that don't take tensors, or U'(0) is infinite.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> continued(ct.utility("log(x + 0.1)"), 1.0)(torch.tensor([-1.0, 0.9])).round(decimals=4)
    tensor([-12.3026,   0.0000])
    """
    slope = utility.slope_at_zero
    if not np.isfinite(slope):
        raise InvalidUtility(f"the slope of {utility} at gap 0 is {slope}: it can't be trained")
    if any(isinstance(term, Custom) for _, term in utility.terms):
        _require_tensors(utility, width)
    if keeps_formula(utility):
        return Continued(utility, slope, None)
    for start in STARTS:
        if _usable(utility, slope, start * width):
            return Continued(utility, slope, start * width)
    raise InvalidUtility(
        f"the formula of {utility} has no value or no slope near gap 0 on torch tensors; write it "
        "so that it has one, or shift it: u.shifted(0.01)"
    )


def _value_and_slope(utility: Utility, x: np.ndarray, dtype: torch.dtype) -> tuple[Any, Any]:
    with torch.enable_grad():
        gaps = torch.tensor(x, dtype=dtype, device="cpu", requires_grad=True)
        value = utility.value(gaps, torch)
        (slope,) = torch.autograd.grad(value.sum(), gaps)
    return value.detach().double().numpy(), slope.double().numpy()


def _usable(utility: Utility, slope: float, start: float) -> bool:
    """Whether value and slope at `start` are finite in single precision, and the slope U'(0)."""
    value, found = _value_and_slope(utility, np.array([start]), torch.float32)
    near = abs(found[0] - slope) <= 1e-3 * abs(slope) + 1e-30
    return bool(np.isfinite(value[0]) and near)


def _require_tensors(utility: Utility, width: float) -> None:
    """Raise unless the utility gives the same on tensors as on arrays, and passes gradients."""
    x = width * np.array([0.03, 0.2, 0.45, 0.7, 1.0])
    advice = (
        "write its value so that it takes tensors too, with operators alone or as "
        "lambda x: (torch if torch.is_tensor(x) else np).log1p(x), or give the utility as text"
    )
    try:
        value, slope = _value_and_slope(utility, x, torch.float64)
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
