"""The scale-free families: x, x**g, log x and -x**-g."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities.base import Combination, number_text, positive
from collapse_theory.utilities.family import Family, grouped

__all__ = ["Linear", "Log", "NegativePower", "Power"]


@dataclass(frozen=True, eq=False)
class Linear(Family):
    """U(x) = x. The law is two-valued: half the mass at each end (DESIGN 2.4)."""

    def value(self, x: Any, xp: Any = np) -> Any:
        return 1.0 * x

    def slope(self, x: Any) -> Any:
        return np.ones_like(x)

    def curvature(self, x: Any) -> Any:
        return np.zeros_like(x)

    @property
    def strictly_concave(self) -> bool:
        return False

    def gain(self, x: Any, step: Any) -> Any:
        return 1.0 * step

    def text(self, argument: str) -> str:
        return argument

    def rescaled(self, b: float) -> Combination:
        return Combination.of(self, b)

    def moved(self, e: float) -> Combination:
        return Combination.of(self, 1.0, e)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return cp.multiply(reference, ratio)


@dataclass(frozen=True, eq=False)
class Power(Family):
    """U(x) = x**g, 0 < g < 1."""

    g: float

    def __post_init__(self) -> None:
        g = positive("the exponent g of Power", self.g)
        if g >= 1:
            raise InvalidUtility(f"Power needs 0 < g < 1, got {g}; for g = 1 use Linear()")
        object.__setattr__(self, "g", g)

    def value(self, x: Any, xp: Any = np) -> Any:
        return x**self.g

    def slope(self, x: Any) -> Any:
        return self.g * x ** (self.g - 1)

    def curvature(self, x: Any) -> Any:
        return self.g * (self.g - 1) * x ** (self.g - 2)

    def gain(self, x: Any, step: Any) -> Any:
        return (x + step) ** self.g * -np.expm1(-self.g * np.log1p(step / x))

    @property
    def exponent(self) -> float:
        return self.g

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.inf

    def text(self, argument: str) -> str:
        return f"{grouped(argument)}**{number_text(self.g)}"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(self, b**self.g)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return cp.multiply(reference**self.g, cp.power(ratio, self.g))


@dataclass(frozen=True, eq=False)
class Log(Family):
    """U(x) = log x."""

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.log(x)

    def slope(self, x: Any) -> Any:
        return 1.0 / np.abs(x)

    def curvature(self, x: Any) -> Any:
        return -1.0 / x**2

    def gain(self, x: Any, step: Any) -> Any:
        return np.log1p(step / x)

    @property
    def exponent(self) -> float:
        return 0.0

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.inf

    def text(self, argument: str) -> str:
        return f"log({argument})"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(self, 1.0, float(np.log(b)))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return cp.log(ratio) + np.log(reference)


@dataclass(frozen=True, eq=False)
class NegativePower(Family):
    """U(x) = -x**-g, g > 0."""

    g: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "g", positive("the exponent g of NegativePower", self.g))

    def value(self, x: Any, xp: Any = np) -> Any:
        return -(x**-self.g)

    def slope(self, x: Any) -> Any:
        return self.g * np.abs(x) ** (-self.g - 1)

    def curvature(self, x: Any) -> Any:
        return -self.g * (self.g + 1) * x ** (-self.g - 2)

    def gain(self, x: Any, step: Any) -> Any:
        return x**-self.g * -np.expm1(-self.g * np.log1p(step / x))

    @property
    def exponent(self) -> float:
        return -self.g

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.inf

    def text(self, argument: str) -> str:
        if self.g == 1:
            return f"-1/{grouped(argument)}"
        return f"-{grouped(argument)}**-{number_text(self.g)}"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(self, b**-self.g)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return -cp.multiply(reference**-self.g, cp.power(ratio, -self.g))
