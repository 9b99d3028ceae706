"""A utility on torch tensors: whether it can be trained, and how it goes on below gap 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.continued import Continued, continued


def keeps_formula(utility: Utility) -> bool:
    """Whether the utility has its own sensible values below gap 0.

    >>> import collapse_theory as ct
    >>> keeps_formula(ct.utility("logsigmoid(4*x) + x")), keeps_formula(ct.Exponential(3))
    (True, False)
    """
    return all(term.below_zero for _, term in utility.terms)


def on_tensors(utility: Utility, width: float, keeps: bool | None = None) -> Continued:
    """Return the utility on tensors, for gaps up to `width`.

    `keeps` tells whether it keeps its formula below 0; unless given, `keeps_formula` does.

    Raises
    ------
    InvalidUtility
        Where the utility is made of functions that don't take tensors, or U'(0) is infinite.

    Examples
    --------
    >>> import torch
    >>> import collapse_theory as ct
    >>> u = on_tensors(ct.utility("log(x + 0.1)"), 1.0)
    >>> u.value(torch.tensor([-1.0, 0.9]), torch).round(decimals=4)
    tensor([-12.3026,   0.0000])
    """
    if any(term.own_functions for _, term in utility.terms):
        _require_tensors(utility, width)
    keeps = keeps_formula(utility) if keeps is None else keeps
    return continued(utility, width, keeps, lambda start: _usable(utility, start))


def _value_and_slope(utility: Utility, x: Any, dtype: str) -> tuple[Any, Any]:
    import torch

    with torch.enable_grad():
        gaps = torch.tensor(x, dtype=getattr(torch, dtype), device="cpu", requires_grad=True)
        value = utility.value(gaps, torch)
        (slope,) = torch.autograd.grad(value.sum(), gaps)
    return value.detach().double().numpy(), slope.double().numpy()


def _usable(utility: Utility, start: float) -> bool:
    """Whether value and slope at `start` are finite in single precision, and the slope U'(0)."""
    slope = utility.slope_at_zero
    value, found = _value_and_slope(utility, [start], "float32")
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
