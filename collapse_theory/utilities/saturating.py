"""The families that level off: log-sigmoid, with smoothed labels too, and 1 - exp(-b x)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.lazy import special
from collapse_theory.utilities.base import Combination, Utility, number_text, positive
from collapse_theory.utilities.family import Family, grouped, log_sigmoid, times

__all__ = ["Exponential", "LabelSmoothing", "LogSigmoid"]


@dataclass(frozen=True, eq=False)
class LogSigmoid(Family):
    """U(x) = log sigma(beta x) = -log(1 + exp(-beta x)), the Bradley-Terry log-likelihood."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", positive("beta of LogSigmoid", self.beta))

    def value(self, x: Any, xp: Any = np) -> Any:
        return log_sigmoid(self.beta * x, xp)

    def slope(self, x: Any) -> Any:
        return self.beta * special.expit(-self.beta * x)

    def curvature(self, x: Any) -> Any:
        z = self.beta * x
        return -(self.beta**2) * special.expit(z) * special.expit(-z)

    def gain(self, x: Any, step: Any) -> Any:
        z, rise = np.asarray(self.beta * x), np.asarray(self.beta * step)
        # log1p of (1 - exp(-rise)) / (exp(z) + exp(-rise)), with both factors at most 1. Where
        # that would overflow, the rise is so large that nothing cancels in the plain difference.
        near = np.minimum(rise, 700.0)
        shrunk, low = np.exp(-np.maximum(z, 0.0)), np.exp(np.minimum(z, 0.0))
        small = np.log1p(shrunk * -np.expm1(-near) / (low + shrunk * np.exp(-near)))
        plain = log_sigmoid(z + rise) - log_sigmoid(z)
        return np.where((rise > near) & (z < 0), plain, small)

    def text(self, argument: str) -> str:
        return f"logsigmoid({times(self.beta, argument)})"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(LogSigmoid(self.beta * b))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return -cp.logistic(-cp.multiply(self.beta * reference, ratio))


@dataclass(frozen=True, eq=False)
class LabelSmoothing(Family):
    """U(x) = (1-eps) log sigma(beta x) + eps log sigma(-beta x), 0 < eps <= 1.

    Log-sigmoid with smoothed labels. Since log sigma(-z) = log sigma(z) - z it has its maximum
    at x = log((1-eps)/eps)/beta.
    """

    eps: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        eps = positive("eps of LabelSmoothing", self.eps)
        if eps > 1:
            raise InvalidUtility(f"LabelSmoothing needs 0 < eps <= 1, got {eps}")
        object.__setattr__(self, "eps", eps)
        object.__setattr__(self, "beta", positive("beta of LabelSmoothing", self.beta))

    def value(self, x: Any, xp: Any = np) -> Any:
        z = self.beta * x
        return (1 - self.eps) * log_sigmoid(z, xp) + self.eps * log_sigmoid(-z, xp)

    def slope(self, x: Any) -> Any:
        z = self.beta * x
        return self.beta * ((1 - self.eps) * special.expit(-z) - self.eps * special.expit(z))

    def curvature(self, x: Any) -> Any:
        z = self.beta * x
        return -(self.beta**2) * special.expit(z) * special.expit(-z)

    def text(self, argument: str) -> str:
        minus = f"logsigmoid({times(-self.beta, argument)})"
        if self.beta == 1:
            minus = f"logsigmoid(-{grouped(argument)})"
        if self.eps == 1:
            return minus
        plus = f"{number_text(1 - self.eps)}*logsigmoid({times(self.beta, argument)})"
        return f"{plus} + {number_text(self.eps)}*{minus}"

    def combination(self) -> Combination:
        if self.eps == 1:
            return Combination.of(self)
        # The weights as the text writes them, so that it reads back the same.
        plus, minus = Fraction(1 - self.eps), Fraction(self.eps)
        weights: dict[Utility, Fraction] = {
            LogSigmoid(self.beta): plus,
            LabelSmoothing(1.0, self.beta): minus,
        }
        return Combination(Fraction(0), weights)

    def rescaled(self, b: float) -> Combination:
        return Combination.of(LabelSmoothing(self.eps, self.beta * b))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        z = cp.multiply(self.beta * reference, ratio)
        return -(1 - self.eps) * cp.logistic(-z) - self.eps * cp.logistic(z)


@dataclass(frozen=True, eq=False)
class Exponential(Family):
    """U(x) = 1 - exp(-b x), b > 0."""

    b: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "b", positive("the rate b of Exponential", self.b))

    def value(self, x: Any, xp: Any = np) -> Any:
        return -xp.expm1(-self.b * x)

    def slope(self, x: Any) -> Any:
        return self.b * np.exp(-self.b * x)

    def curvature(self, x: Any) -> Any:
        return -(self.b**2) * np.exp(-self.b * x)

    def gain(self, x: Any, step: Any) -> Any:
        return np.exp(-self.b * x) * -np.expm1(-self.b * step)

    def text(self, argument: str) -> str:
        return (
            f"1 - exp({times(-self.b, argument)})"
            if self.b != 1
            else (f"1 - exp(-{grouped(argument)})")
        )

    def rescaled(self, b: float) -> Combination:
        return Combination.of(Exponential(self.b * b))

    def moved(self, e: float) -> Combination:
        # 1 - exp(-b(x+e)) = exp(-be) (1 - exp(-bx)) + 1 - exp(-be).
        weight = float(np.exp(-self.b * e))
        return Combination.of(self, weight, -float(np.expm1(-self.b * e)))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        # Each cone at its own scale: exp(-b g) = exp(-b g0) exp(-b g0 (ratio - 1)).
        rate = self.b * reference
        return 1 - cp.multiply(np.exp(-rate), cp.exp(-cp.multiply(rate, ratio - 1)))
