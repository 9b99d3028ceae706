"""The families with a largest useful gap: quadratic, squared loss, sine and hinge."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities.base import Combination, Utility, number_text, positive, real
from collapse_theory.utilities.family import Family, grouped, times
from collapse_theory.utilities.powers import Linear

__all__ = ["Hinge", "Quadratic", "Sine", "Squared"]


@dataclass(frozen=True, eq=False)
class Quadratic(Family):
    """U(x) = x - c x**2, c > 0; increasing on [0, 1] for c <= 1/2."""

    c: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", positive("c of Quadratic", self.c))

    def value(self, x: Any, xp: Any = np) -> Any:
        return x - self.c * x**2

    def slope(self, x: Any) -> Any:
        return 1 - 2 * self.c * x

    def curvature(self, x: Any) -> Any:
        return np.full_like(x, -2 * self.c)

    def text(self, argument: str) -> str:
        return f"{argument} - {times(self.c, 'x')}**2".replace("x**2", f"{grouped(argument)}**2")

    def combination(self) -> Combination:
        c = Fraction(self.c)
        return Combination(Fraction(0), {Linear(): Fraction(1), Squared(0.0): c})

    def rescaled(self, b: float) -> Combination:
        return Combination.of(Quadratic(self.c * b), b)

    def moved(self, e: float) -> Combination:
        # x + e - c(x+e)^2 = (1 - 2ce) x - c x^2 + e - c e^2.
        c, e_ = Fraction(self.c), Fraction(e)
        weights: dict[Utility, Fraction] = {Linear(): 1 - 2 * c * e_, Squared(0.0): c}
        return Combination(e_ - c * e_**2, weights)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        gap = cp.multiply(reference, ratio)
        return gap - self.c * cp.square(gap)


@dataclass(frozen=True, eq=False)
class Squared(Family):
    """U(x) = -(x - target)**2, the squared loss of IPO-like objectives; a maximum at `target`."""

    target: float

    def __post_init__(self) -> None:
        # + 0.0 turns -0.0 into 0.0.
        object.__setattr__(self, "target", real("the target of Squared", self.target) + 0.0)

    def value(self, x: Any, xp: Any = np) -> Any:
        return -((x - self.target) ** 2)

    def slope(self, x: Any) -> Any:
        return 2 * (self.target - x)

    def curvature(self, x: Any) -> Any:
        return np.full_like(x, -2.0)

    def text(self, argument: str) -> str:
        if self.target == 0:
            return f"-{grouped(argument)}**2"
        sign = "-" if self.target > 0 else "+"
        return f"-({argument} {sign} {number_text(abs(self.target))})**2"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(Squared(self.target / b), b**2)

    def moved(self, e: float) -> Combination:
        return Combination.of(Squared(self.target - e))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return -cp.square(cp.multiply(reference, ratio) - self.target)


@dataclass(frozen=True, eq=False)
class Sine(Family):
    """U(x) = sin(k x), 0 < k <= pi (concave there; increasing on [0, 1] for k <= pi/2)."""

    k: float

    def __post_init__(self) -> None:
        k = positive("k of Sine", self.k)
        if k > np.pi:
            raise InvalidUtility(
                f"sin({number_text(k)}*x) is not concave on (0, 1]: it needs k <= pi"
            )
        object.__setattr__(self, "k", k)

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.sin(self.k * x)

    def slope(self, x: Any) -> Any:
        return self.k * np.cos(self.k * x)

    def curvature(self, x: Any) -> Any:
        return -(self.k**2) * np.sin(self.k * x)

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.pi / self.k

    def text(self, argument: str) -> str:
        return f"sin({times(self.k, argument)})"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(Sine(self.k * b))


@dataclass(frozen=True, eq=False)
class Hinge(Family):
    """U(x) = min(x, m), m > 0: the hinge loss with margin m, up to a constant."""

    m: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "m", positive("the margin m of Hinge", self.m))

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.clip(x, max=self.m)

    def slope(self, x: Any) -> Any:
        return np.where(x < self.m, 1.0, 0.0)

    def curvature(self, x: Any) -> Any:
        return np.zeros_like(x)

    def gain(self, x: Any, step: Any) -> Any:
        return np.clip(self.m - x, 0.0, step)

    @property
    def kinks(self) -> tuple[float, ...]:
        return (self.m,)

    @property
    def strictly_concave(self) -> bool:
        return False

    def text(self, argument: str) -> str:
        return f"min({argument}, {number_text(self.m)})"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(Hinge(self.m / b), b)

    def moved(self, e: float) -> Combination:
        if e >= self.m:
            raise InvalidUtility(
                f"min(x + {number_text(e)}, {number_text(self.m)}) is constant for gaps above 0"
            )
        return Combination.of(Hinge(self.m - e), 1.0, e)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return cp.minimum(cp.multiply(reference, ratio), self.m)
