"""Utilities with kinks, by Newton's method on smoother and smoother kinks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.utilities import Utility

__all__ = ["WIDTHS", "Smoothed"]

# Down to where the kinks' smoothing costs less than the certificate's tolerance.
WIDTHS = tuple(10.0 ** -np.arange(2.0, 11.0, 0.5))


@dataclass(frozen=True, eq=False)
class Smoothed(Utility):
    """U less jump * width * log(1 + exp(-|x - m| / width)) at each kink m: smooth, and concave.

    For the hinge min(x, m) that is x - width * log(1 + exp((x - m) / width)).
    """

    base: Utility
    width: float

    @cached_property
    def _jumps(self) -> tuple[tuple[float, float], ...]:
        points = [m for m in self.base.kinks if m < 1]
        found = []
        for m in points:
            before, after = self.base.slope(m + 1e-12 * m * np.array([-1.0, 1.0]))
            found.append((m, max(float(before - after), 0.0)))
        return tuple(found)

    def value(self, x: Any, xp: Any = np) -> Any:
        value = self.base.value(x, xp)
        for m, jump in self._jumps:
            value = value - jump * self.width * np.log1p(np.exp(-np.abs(x - m) / self.width))
        return value

    def slope(self, x: Any) -> Any:
        slope = self.base.slope(x)
        for m, jump in self._jumps:
            # The base counts the kink itself as beyond it.
            side = np.where(x < m, -1.0, 1.0)
            slope = slope + side * jump * special.expit(-np.abs(x - m) / self.width)
        return slope

    def curvature(self, x: Any) -> Any:
        curvature = self.base.curvature(x)
        for m, jump in self._jumps:
            z = (x - m) / self.width
            curvature = curvature - jump / self.width * special.expit(z) * special.expit(-z)
        return curvature

    @property
    def slope_at_zero(self) -> float:
        """That of the base, whose kinks lie at positive gaps."""
        return self.base.slope_at_zero

    @property
    def exponent(self) -> float:
        """That of the base."""
        return self.base.exponent

    def __str__(self) -> str:
        return f"{self.base}, smoothed by {self.width:g}"
