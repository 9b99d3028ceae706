"""Where the methods start: the quantiles of a Beta law."""

from __future__ import annotations

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.utilities import Utility

__all__ = ["start"]


def start(utility: Utility, n: int, tiny: bool = False) -> np.ndarray:
    """Return half gaps from the quantiles of Beta((1-p)/2, (1-p)/2), p the exponent at gaps 1/n."""
    x = np.array([0.3 / n])
    first, second = utility.derivatives(x)
    with np.errstate(all="ignore"):  # flat there: 0/0
        p = utility.exponent if tiny else float((1 + x * second / first)[0])
    a = min(max((1 - p) / 2, 1e-3), 1.0) if np.isfinite(p) else 1.0
    h = n // 2
    places = special.betaincinv(a, a, (np.arange(1, h + 1) - 0.5) / n)
    e = np.diff(np.append(places, 0.5))
    if n % 2 == 0:
        e[-1] = max(e[-1], 0.25 / n * e.max())
    if not tiny:
        e = e / 2 + 0.25 / h
    e = np.maximum(e, 1e-280)  # within float64, with room to fall further
    return e * (0.5 / e.sum())
