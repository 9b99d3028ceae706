"""A density on two sides: by the distance from each end of its support."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.panels import Panels, doubling, first_edge, fitted
from collapse_theory.laws.part import Part
from collapse_theory.numerics.checks import check_map, finite, finite_array, positive

# A density by the distances d > 0 from `low`, or if the flag is set from `high`.
TwoSided = Callable[[np.ndarray, bool], np.ndarray]

# A series of `fitted` turns about four times a panel; of these points two are next to each turn.
_TURNS = 10
_LARGE_LOG = 600.0  # exp(709) is the largest float
_FAINT_LOG = -600.0  # of the logarithm of a density times the distance: beneath it floats give out


@dataclass(frozen=True, eq=False, repr=False)
class Density(Part):
    """A density on [low, high] as panels that are graded toward both ends.

    `Density.fit` makes one of a function, `Density.steps` one that is constant between edges.

    Parameters
    ----------
    low, high : float
        Ends of the support.
    lower : Panels
        The side next to `low`.
    upper : Panels, optional
        The side next to `high`, by the distance from there; unless given, the density is
        symmetric. The two sides meet at the seam.
    bounded_below : bool
        Whether `low` is the end of the support, and not where its tail is too thin to be seen.

    Raises
    ------
    CollapseError
        A ValueError, for sides that don't meet, or a density that is negative or without mass.

    Examples
    --------
    >>> from collapse_theory.laws import Density
    >>> part = Density.fit(lambda d, upper: d**-0.5, 0.0, 1.0, exponents=(-0.5, -0.5))
    >>> round(part.mass, 12), round(part.ppf(0.1), 12)  # 2 (1/2)**0.5 on either side
    (2.828427124746, 0.0025)
    """

    low: float
    high: float
    lower: Panels
    upper: Panels | None = None
    bounded_below: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_ends()
        width = self.high - self.low
        if abs(sum(side.seam for side in self._sides) - width) > 1e-9 * width:
            raise CollapseError(f"the sides of a density on {self.interval} must meet within")
        mass = self.mass
        if not (mass > 0 and np.isfinite(mass)):
            raise CollapseError(f"the density has the mass {mass}; it must be positive and finite")
        # The rounding of a solver passes.
        own = (self.lower,) if self.upper is None else self._sides
        least = min(side.lowest(mass / width) for side in own)
        if not least >= -1e-3:
            raise CollapseError(f"the density is negative somewhere: {least * mass / width:.3g}")

    @classmethod
    def fit(
        cls,
        density: TwoSided,
        low: float,
        high: float,
        *,
        exponents: tuple[float, float] = (0.0, 0.0),
        finest: float | None = None,
        knots: Iterable[float] = (),
        symmetric: bool = False,
        mass: float | None = None,
        bounded_below: bool = True,
    ) -> Self:
        """Return the density that a function gives, its masses right to rounding.

        Parameters
        ----------
        density : callable
            From the distances d > 0, no further than the middle, and whether they are from `high`
            and not from `low`, to the density.
        low, high : float
            Ends of the support.
        exponents : tuple of two floats
            p > -1 of the power d**p that the density follows next to `low` and `high`; 0 where it
            is smooth up to the end. How far the power law alone holds is found from the function.
        finest : float, optional
            The smallest scale next to the ends, such as the width of a layer.
        knots : iterable of floats
            Points where the density or a derivative jumps, or that frame a narrow bump.
        symmetric : bool
            Whether the distance alone matters: then the function is asked for one side.
        mass : float, optional
            The mass, where it is known better than the function gives it.
        bounded_below : bool
            False where `low` only cuts off a tail.

        Raises
        ------
        CollapseError
            A ValueError, for a density that is negative, not finite, or without mass.
        """
        low, high = finite(low, "low"), finite(high, "high")
        if not low < high:
            raise CollapseError(f"low must be below high, got {low} and {high}")
        half = 0.5 * (high - low)
        places = np.sort(np.fromiter(knots, dtype=np.float64))
        sides: list[Panels] = []
        for upper in (False, True)[: 1 if symmetric else 2]:

            def side(d: np.ndarray, upper: bool = upper) -> np.ndarray:
                return density(d, upper)

            p = exponents[upper]
            if not p > -1:
                raise CollapseError(f"the exponent at an end must be above -1, not {p}")
            if p == 0.0:
                edges = np.append(0.0, doubling(min(finest or half, half), half))
            else:
                edges = doubling(first_edge(side, half, p), half)
            inner = high - places[::-1] if upper else places - low
            sides.append(fitted(side, _with_knots(edges, inner), p))
        if mass is not None:
            found = (2.0 if symmetric else 1.0) * sum(side.mass for side in sides)
            if not found > 0.0:
                raise CollapseError(
                    f"the mass of the density on [{low:g}, {high:g}] is too near its ends for "
                    "floats; atoms there are what is left of it"
                )
            factor = mass / found
            sides = [side.scaled(1.0, factor) for side in sides]
        return cls(low, high, *sides, bounded_below=bounded_below)

    @classmethod
    def steps(cls, edges: Any, heights: Any) -> Self:
        """Return the density that is constant between neighbouring edges.

        Parameters
        ----------
        edges : (m+1,) array
            Increasing.
        heights : (m,) array

        Raises
        ------
        CollapseError
            A ValueError, for edges that don't increase, or another number of heights.

        Examples
        --------
        >>> from collapse_theory.laws import Density
        >>> Density.steps([0.0, 1.0, 4.0], [0.25, 0.25]).cdf(2.0)
        0.5
        """
        edges, heights = finite_array(edges, "edges", 1), finite_array(heights, "heights", 1)
        if edges.size < 2 or not (np.diff(edges) > 0).all() or heights.size != edges.size - 1:
            raise CollapseError(
                "edges must be two or more increasing numbers, with a height between neighbours; "
                f"got {edges} and {heights}"
            )
        low, high, middle = edges[0], edges[-1], 0.5 * (edges[0] + edges[-1])
        if edges.size == 2:
            edges, heights = np.array([low, middle, high]), heights[[0, 0]]
        at = 1 + int(np.argmin(np.abs(edges[1:-1] - middle)))
        below = Panels(edges[: at + 1] - low, heights[:at, None])
        above = Panels((high - edges[at:])[::-1], heights[at:, None][::-1])
        return cls(float(low), float(high), below, above)

    @property
    def edges(self) -> np.ndarray:
        """The edges of all panels."""
        return np.append(
            self.low + self._sides[0].edges, (self.high - self._sides[1].edges)[-2::-1]
        )

    @property
    def _sides(self) -> tuple[Panels, Panels]:
        return self.lower, self.lower if self.upper is None else self.upper

    @cached_property
    def mass(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sum(side.mass for side in self._sides)

    @property
    def mean(self) -> float:
        if self.upper is None:
            return self.low + self._seam
        lower, upper = self._sides
        moment = lower.moment + (upper.mass * (self.high - self.low) - upper.moment)
        return self.low + moment / self.mass

    @property
    def variance(self) -> float:
        lower, upper = self._sides
        return (
            lower.spread(self.mean - self.low) + upper.spread(self.high - self.mean)
        ) / self.mass

    @property
    def exponents(self) -> tuple[float, float]:
        return self._sides[0].exponent, self._sides[1].exponent

    def mapped(self, low: float, scale: float) -> Self:
        low, scale = check_map(low, scale)
        return self._with(low + scale * self.low, low + scale * self.high, scale, 1.0)

    def scaled(self, factor: float) -> Self:
        return self._with(self.low, self.high, 1.0, positive(factor, "factor"))

    def _with(self, low: float, high: float, length: float, factor: float) -> Self:
        upper = None if self.upper is None else self.upper.scaled(length, factor)
        return type(self)(low, high, self.lower.scaled(length, factor), upper, self.bounded_below)

    def reweighted(
        self,
        log_weight: TwoSided,
        scales: tuple[float, float],
        exponents: tuple[float, float] | None = None,
    ) -> tuple[Self, float]:
        """Return the density times a weight, brought to mass 1, and the logarithm of its mass.

        `scales` are distances from `low` and from `high` within which the weight is smooth; where
        the density is a power there, as good as constant. `exponents` are those of the product,
        where they are not those of the density.
        """
        exponents = exponents or self.exponents
        starts = [
            _deepened(side.edges, max(scale, 1e-290), p)
            for side, scale, p in zip(self._sides, scales, exponents, strict=True)
        ]
        peak, size = -math.inf, 0.0
        for side, edges, upper in zip(self._sides, starts, (False, True), strict=True):
            # Edges and middles tell the size of the product: for powers of e it is enough.
            d = np.append(edges[edges > 0], 0.5 * (edges[:-1] + edges[1:]))
            with np.errstate(divide="ignore"):
                sizes = np.log(np.maximum(side.density(d) * d, 0.0))
                logs = sizes + log_weight(d, upper)
            if (top := float(logs.max())) > peak:
                peak, size = top, float(sizes[logs.argmax()])
        if size < _FAINT_LOG:  # no digits of the density are left there
            return self.scaled(1.0 / self.mass), peak

        def product(d: np.ndarray, upper: bool) -> np.ndarray:
            return _weighted(self._sides[upper].density(d), log_weight(d, upper) - peak)

        lower, upper = (
            fitted(lambda d, end=end: product(d, end), edges, p)
            for end, edges, p in zip((False, True), starts, exponents, strict=True)
        )
        mass = lower.mass + upper.mass
        ends = self.low, self.high
        lower, upper = lower.scaled(1.0, 1.0 / mass), upper.scaled(1.0, 1.0 / mass)
        return type(self)(*ends, lower, upper, self.bounded_below), peak + math.log(mass)

    def points(self, grid: Density) -> tuple[np.ndarray, np.ndarray]:
        """Return distances from `high` and masses, on the panels of `grid`, to integrate with."""
        (low, first), (high, second) = (
            side.points(other.edges) for side, other in zip(self._sides, grid._sides, strict=True)
        )
        return np.append(self.high - self.low - low, high), np.append(first, second)

    def mirrored(self) -> Self:
        if self.upper is None:
            return self
        return type(self)(self.low, self.high, self.upper, self.lower)

    def knots(self) -> np.ndarray:
        found = [np.array([self.low, self.high])]
        for side, upper in zip(self._sides, (False, True), strict=True):
            # A polynomial of degree k turns about once between two of k+1 Chebyshev points.
            count = min(side.rows.shape[1], _TURNS)
            share = np.sin(np.linspace(0.0, 0.5 * np.pi, count + 1)[:-1]) ** 2
            d = (side.edges[:-1, None] + side.widths[:, None] * share).ravel()
            found.append(self.high - d if upper else self.low + np.append(d, side.seam))
        return np.unique(np.concatenate(found))

    def bound(self, low: float, high: float) -> float:
        low, high = max(low, self.low), min(high, self.high)
        found = 0.0
        for side, upper in zip(self._sides, (False, True), strict=True):
            near, far = (
                (self.high - high, self.high - low) if upper else (low - self.low, high - self.low)
            )
            if near > min(far, side.seam):
                continue
            # A Legendre polynomial is at most 1 in size.
            touched = (side.edges[1:] >= near) & (side.edges[:-1] <= far)
            if touched.any():
                found = max(found, float(np.abs(side.rows[touched]).sum(axis=1).max()))
            if near < side.edges[0]:
                ends = np.array([near, min(far, np.nextafter(side.edges[0], 0.0))])
                found = max(found, float(side.density(ends).max()))
        return found

    def density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._sides[upper].density(d)

    def mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._sides[upper].mass_within(d)

    def area_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        return self._sides[upper].area_within(d)

    def distance_holding(self, target: np.ndarray, upper: bool) -> np.ndarray:
        return self._sides[upper].distance_holding(target)

    @property
    def _seam(self) -> float:
        return self.lower.seam

    def _edges(self, upper: bool) -> np.ndarray:
        return self._sides[upper].edges


def _with_knots(edges: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return the edges with the knots among them, which take the place of edges next to them."""
    knots = knots[(knots > edges[0]) & (knots < edges[-1])]
    if knots.size == 0:
        return edges
    at = np.clip(np.searchsorted(knots, edges), 1, knots.size) - 1
    beside = np.stack([knots[at], knots[np.minimum(at + 1, knots.size - 1)]])
    keep = np.abs(edges - beside).min(axis=0) > 0.1 * edges
    keep[[0, -1]] = True
    return np.unique(np.concatenate([edges[keep], knots]))


def _deepened(edges: np.ndarray, scale: float, exponent: float) -> np.ndarray:
    """Return the edges with further ones toward the end, down to about `scale`."""
    smooth = edges[0] == 0.0
    first = edges[1] if smooth else edges[0]
    inner = doubling(min(scale, first), first)[:-1]
    kept = edges[1:] if smooth else edges
    return np.concatenate([[0.0] if smooth and exponent == 0.0 else [], inner, kept])


def _weighted(values: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Return values * exp(logs); 0 where the weight is 0, whatever the value."""
    weight = np.exp(np.minimum(logs, _LARGE_LOG))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        product = np.where(weight == 0.0, 0.0, values * weight)
        huge = logs > _LARGE_LOG
        if huge.any():  # times next to nothing, or the law would have more mass than 1
            product[huge] = np.exp(np.log(np.maximum(values[huge], 0.0)) + logs[huge])
    return product
