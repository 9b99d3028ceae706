"""The coordinate in which limit laws are smooth, and laws that are series in it.

A law of a utility with a finite U'(0) has a layer of width about U'(0)/|U''(0)| at each end; one
of a utility with an infinite U'(0) is algebraic there. Both become smooth in

    sigma = log((c + scale) / (x + scale)) / log(1 + 1/scale)          (a layer), or
    sigma = (c**(1/order) - x**(1/order)) / (c**(1/order) + x**(1/order))   (an algebraic end)

where x is the distance from the nearer end and c = 1 - x. sigma is 1 at the end and 0 in the
middle. Laws are symmetric, so their densities are series in T_k(2 sigma**2 - 1) = T_2k(sigma).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.laws import Density, RewardLaw
from collapse_theory.numerics.quadrature import Nodes, batches, jacobi, layered
from collapse_theory.numerics.series import contract, cosines, evaluate
from collapse_theory.values import Array, Value

MIDDLE = np.array([0.5])
# Of the length: nearer to an algebraic end the sign of a density is that of rounding.
NEAREST = 1e-8
# Rules for series of no more terms are kept, so many of a kind, with the values of the terms if
# those are no more: some megabytes in all.
_KEPT_TERMS, _KEPT_RULES, _KEPT_VALUES = 56, 8, 100_000
# Layers of a coordinate whose ends float64 tells apart.
_FINEST_LAYER = 1e-14
# Layers are rounded to a power of this, so that neighbouring utilities share their rules.
_LAYER_STEP = 2.0**0.25


@dataclass(frozen=True, eq=False)
class Grading(Value):
    """The coordinate sigma of the unit interval: by logarithm (order inf) or by root (scale 0).

    Attributes
    ----------
    scale : float
        Width of the layers, positive where `order` is inf.
    order : float
        The root that is taken; inf for the logarithm.
    """

    scale: float
    order: float = math.inf

    @classmethod
    def layered(cls, layer: float) -> Grading:
        """Return the coordinate by logarithm for layers of about this width."""
        step = math.log(_LAYER_STEP)
        return cls(math.exp(step * round(math.log(max(layer, _FINEST_LAYER)) / step)))

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

    def points(self, count: int) -> np.ndarray:
        """Return `count` points of (0, 1/2), sigma at the zeros of T_2count in (0, 1)."""
        return self.place(np.cos((np.arange(count) + 0.5) * (0.5 * np.pi / count)))

    def end_rule(self, x: np.ndarray, power: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes y, weights for ∫_0^x y**power f(y) dy / x**(1 + power), f smooth in sigma.

        Shapes (len(x), nodes).
        """
        if self.order == math.inf:
            t, _, weight = layered(x, self.scale, count)
            return t, weight / x[:, None] * (t / x[:, None]) ** power
        # y = x s**order makes f smooth in s.
        s, w = jacobi(count, self.order * (1.0 + power) - 1.0)
        y = x[:, None] * s**self.order
        return y, np.broadcast_to(self.order * w, y.shape)

    def lower_half(self, power: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return points of (0, 1/2] from the middle down, and weights for a density there."""
        y, w = self.end_rule(MIDDLE, power, count)
        y, w = y[0, ::-1], w[0, ::-1]
        return y, w * (0.5 / y) ** power * 0.5

    def masses(self, power: float, count: int) -> np.ndarray:
        """Return ∫_0^1 (y (1-y))**power T_2k(sigma) dy of the first `count` terms."""
        y, weight = self.end_rule(MIDDLE, power, count + 8)
        weight = weight * (1.0 - y) ** power * 2.0 * 0.5 ** (1.0 + power)
        return contract(weight, self.sigma(y, 1.0 - y), count)[0]


class Rule(NamedTuple):
    """Quadrature over a law at some of several points of the unit box.

    Attributes
    ----------
    part : which of the points, (points,)
    gap : the arguments of the kernel, (points, nodes)
    weight : of the nodes, (y c)**power of the law in them
    y, c, sigma : the places of the nodes
    terms : T_2k(sigma), (points, nodes, count), for few of them
    """

    part: np.ndarray
    gap: np.ndarray
    weight: np.ndarray
    y: np.ndarray
    c: np.ndarray
    sigma: np.ndarray
    terms: np.ndarray | None

    @classmethod
    def of(
        cls, part: np.ndarray, nodes: Nodes, grading: Grading, power: float, count: int = 0
    ) -> Rule:
        """Return the rule with these nodes for the points `part`, and for `count` terms if any."""
        gap, weight, y, c = nodes
        weight = weight * (y * c) ** power if power else weight
        sigma = grading.sigma(y, c)
        few = 0 < count * sigma.size <= _KEPT_VALUES
        return cls(part, gap, weight, y, c, sigma, cosines(sigma, count) if few else None)

    def rows(self, kernel: np.ndarray, count: int) -> np.ndarray:
        """Return the integrals of a kernel, given at the nodes, times each of `count` terms."""
        weight = kernel * self.weight
        if self.terms is None:
            return contract(weight, self.sigma, count)
        return (weight[:, None, :] @ self.terms)[:, 0]


def rules(
    x: np.ndarray,
    sides: Callable[[np.ndarray], tuple[Nodes, Nodes]],
    grading: Grading,
    power: float,
    count: int = 0,
) -> tuple[Rule, ...]:
    """Return the rules over both `sides` of the points `x`, those of a kind together."""
    singular = grading.order < math.inf
    return tuple(
        Rule.of(part, Nodes.joined(*sides(x[part])), grading, power, count)
        for part in batches(x, singular)
    )


def kept(make: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function keep what it returns for short series: its last argument is the length."""
    keep = lru_cache(maxsize=_KEPT_RULES)(make)

    @wraps(make)
    def wrapped(*key: Any) -> Any:
        return (keep if key[-1] <= _KEPT_TERMS else make)(*key)

    return wrapped


@dataclass(frozen=True, eq=False)
class SeriesLaw(Value):
    """A symmetric law on [low, low + length]: mass `atom` at each end, a density between them.

    By the distance y from the lower end in units of the length, and c = 1 - y, the density is

        (y c)**power sum_k coefficients_k T_2k(sigma).

    Attributes
    ----------
    grading : Grading
        The coordinate sigma.
    power : float
        Exponent of the density at the ends, above -1.
    coefficients : (k,) array
    atom : float
        The mass at each end.
    low, length : float
        The support: [0, 1] in a box, [-R, R] without one.
    """

    grading: Grading
    power: float
    coefficients: Array
    atom: float = 0.0
    low: float = 0.0
    length: float = 1.0

    @property
    def radius(self) -> float:
        """Half the length."""
        return 0.5 * self.length

    @property
    def size(self) -> int:
        """The number of coefficients."""
        return self.coefficients.size

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return the density at the distances `y` and `c` from the two ends, of the length 1."""
        smooth = evaluate(self.coefficients, self.grading.sigma(y, c))
        return smooth * (y * c) ** self.power if self.power else smooth

    def masses(self, rule: Rule) -> np.ndarray:
        """Return the masses of the nodes of a rule."""
        return rule.weight * evaluate(self.coefficients, rule.sigma)

    def law(self) -> RewardLaw:
        """Return it as a law; a CollapseError where the density is negative."""
        length, high = self.length, self.low + self.length
        atoms = [[self.low, self.atom], [high, self.atom]] if self.atom else []
        if not self.coefficients.any():
            return RewardLaw(atoms)

        near = self._near_end()

        def density(d: np.ndarray, _: bool) -> np.ndarray:
            y = d / length
            found = self.density(y, 1.0 - y)
            if near:
                found = np.where(y < NEAREST, near * y**self.power, found)
            return found / length

        layered = self.grading.order == math.inf
        part = Density.fit(
            density,
            self.low,
            high,
            exponents=(self.power, self.power),
            finest=self.grading.scale * length if layered else None,
            knots=[self.low + NEAREST * length] if near else (),
            symmetric=True,
            mass=1.0 - 2.0 * self.atom,
        )
        return RewardLaw(atoms, (part,))

    def _near_end(self) -> float:
        """Return the C of a density C y**power of the same mass up to `NEAREST`, 0 if not needed.

        Next to an end like y**-0.95 a series oscillates, where hardly any potential feels it.
        """
        if not self.power:
            return 0.0
        y = np.geomspace(1e-20, NEAREST, 200)
        if self.density(y, 1.0 - y).min() >= 0:
            return 0.0
        y, weight = self.grading.end_rule(np.array([NEAREST]), self.power, self.size + 24)
        smooth = evaluate(self.coefficients, self.grading.sigma(y, 1.0 - y))
        return float((weight * smooth * (1.0 - y) ** self.power).sum()) * (1.0 + self.power)


class Level(NamedTuple):
    """The solution of the equation of a level potential: a law, what holds it, how exact it is.

    Attributes
    ----------
    law : SeriesLaw
    pull : float
        The weight of the penalty that holds the law; 0 at a wall, which holds it whatever it does.
    misfit : float
        How far the series is from settled, relative.
    """

    law: SeriesLaw
    pull: float
    misfit: float
