"""The coordinate in which limit laws are smooth: it stretches the layers at the ends of the box.

A law of a utility with a finite U'(0) has a layer of width about U'(0)/|U''(0)| at each end; one
of a utility with an infinite U'(0) is algebraic there. Both become smooth in

    sigma = log((c + scale) / (x + scale)) / log(1 + 1/scale)          (a layer), or
    sigma = (c**(1/order) - x**(1/order)) / (c**(1/order) + x**(1/order))   (an algebraic end)

where x is the distance from the nearer end and c = 1 - x. sigma is 1 at the end and 0 in the
middle. Laws are symmetric, so their densities are series in T_k(2 sigma**2 - 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.quadrature import jacobi, layered

__all__ = ["Grading"]


@dataclass(frozen=True)
class Grading:
    """The coordinate sigma of the unit box: by logarithm (order inf) or by root (scale 0).

    Attributes
    ----------
    scale : float
        Width of the layers, positive where `order` is inf.
    order : float
        The root that is taken; inf for the logarithm.
    """

    scale: float
    order: float = math.inf

    @property
    def _span(self) -> float:
        return math.log1p(1.0 / self.scale)

    def sigma(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return sigma at the distances `x` from one end and `c` from the other."""
        if self.order == math.inf:
            return np.log((c + self.scale) / (x + self.scale)) / self._span
        root = np.minimum(x, c) / np.maximum(x, c)
        # Square roots are several times faster than a power.
        root = np.sqrt(np.sqrt(root)) if self.order == 4 else root ** (1.0 / self.order)
        return (1.0 - root) / (1.0 + root)

    def difference(self, x: np.ndarray, y: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """Return sigma(y) - sigma(x) by logarithm, accurate for near points, gap = |x - y|."""
        x = x[:, None]
        step = np.where(y < x, -gap, gap)
        outer = np.log1p(-step / (1.0 - x + self.scale))
        return (outer - np.log1p(step / (x + self.scale))) / self._span

    def place(self, sigma: np.ndarray) -> np.ndarray:
        """Return the distance x <= 1/2 from the nearer end, with its full relative accuracy."""
        if self.order == math.inf:
            # (c + s)/(x + s) = exp(ratio), and x without cancellation.
            ratio = self._span * sigma
            x = self.scale * np.expm1(self._span - ratio) / (1.0 + np.exp(-ratio))
            return np.minimum(x, 0.5)
        ratio = ((1.0 - sigma) / (1.0 + sigma)) ** self.order
        return ratio / (1.0 + ratio)

    def end_rule(self, x: np.ndarray, power: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes and weights for ∫_0^x y**power f(y) dy / x**(1 + power), f smooth in sigma.

        Shapes (len(x), nodes).
        """
        if self.order == math.inf:
            t, _, weight = layered(x, self.scale, count)
            return t, weight / x[:, None] * (t / x[:, None]) ** power
        # y = x s**order makes f smooth in s.
        s, w = jacobi(count, self.order * (1.0 + power) - 1.0)
        y = x[:, None] * s**self.order
        return y, np.broadcast_to(self.order * w, y.shape)
