"""The families of utilities: one class each, from its formula to its conic form."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.special import expit

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities.base import Combination, Utility, number_text, positive, real

__all__ = [
    "Exponential",
    "Family",
    "Hinge",
    "LabelSmoothing",
    "Linear",
    "Log",
    "LogSigmoid",
    "NegativePower",
    "Power",
    "Quadratic",
    "Sine",
    "Squared",
]


class Family(Utility):
    """A utility with a name and parameters; its text is written for any argument."""

    def text(self, argument: str) -> str:
        """Return the utility's text at `argument`, an expression such as ``x + 0.1``."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text("x")


def log_sigmoid(z: Any, xp: Any = np) -> Any:
    """Return log(1/(1+exp(-z))) without overflow."""
    # min(z, 0) = (z - |z|)/2 exactly.
    return (z - xp.abs(z)) / 2 - xp.log1p(xp.exp(-xp.abs(z)))


def _grouped(argument: str) -> str:
    return argument if argument == "x" else f"({argument})"


def _times(factor: float, argument: str) -> str:
    return argument if factor == 1 else f"{number_text(factor)}*{_grouped(argument)}"


@dataclass(frozen=True, eq=False)
class Linear(Family):
    """U(x) = x. The law is two-valued: half the mass at each end (DESIGN 2.4)."""

    def value(self, x: Any, xp: Any = np) -> Any:
        return 1.0 * x

    def slope(self, x: np.ndarray) -> np.ndarray:
        return np.ones_like(x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return np.zeros_like(x)

    @property
    def strictly_concave(self) -> bool:
        return False

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

    def slope(self, x: np.ndarray) -> np.ndarray:
        return self.g * x ** (self.g - 1)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return self.g * (self.g - 1) * x ** (self.g - 2)

    @property
    def exponent(self) -> float:
        return self.g

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.inf

    def text(self, argument: str) -> str:
        return f"{_grouped(argument)}**{number_text(self.g)}"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(self, b**self.g)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return cp.multiply(reference**self.g, cp.power(ratio, self.g))


@dataclass(frozen=True, eq=False)
class Log(Family):
    """U(x) = log x."""

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.log(x)

    def slope(self, x: np.ndarray) -> np.ndarray:
        return 1.0 / np.abs(x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return -1.0 / x**2

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

    def slope(self, x: np.ndarray) -> np.ndarray:
        return self.g * np.abs(x) ** (-self.g - 1)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return -self.g * (self.g + 1) * x ** (-self.g - 2)

    @property
    def exponent(self) -> float:
        return -self.g

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.inf

    def text(self, argument: str) -> str:
        if self.g == 1:
            return f"-1/{_grouped(argument)}"
        return f"-{_grouped(argument)}**-{number_text(self.g)}"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(self, b**-self.g)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return -cp.multiply(reference**-self.g, cp.power(ratio, -self.g))


@dataclass(frozen=True, eq=False)
class LogSigmoid(Family):
    """U(x) = log sigma(beta x) = -log(1 + exp(-beta x)), the Bradley-Terry log-likelihood."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", positive("beta of LogSigmoid", self.beta))

    def value(self, x: Any, xp: Any = np) -> Any:
        return log_sigmoid(self.beta * x, xp)

    def slope(self, x: np.ndarray) -> np.ndarray:
        return self.beta * expit(-self.beta * x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        z = self.beta * x
        return -(self.beta**2) * expit(z) * expit(-z)

    def shortfall(self, x: np.ndarray, top: float) -> np.ndarray:
        z, z_top = self.beta * x, self.beta * top
        return np.log1p(np.exp(-z) * -np.expm1(z - z_top) * expit(z_top))

    def text(self, argument: str) -> str:
        return f"logsigmoid({_times(self.beta, argument)})"

    def rescaled(self, b: float) -> Combination:
        return Combination.of(LogSigmoid(self.beta * b))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return -cp.logistic(-cp.multiply(self.beta * reference, ratio))


@dataclass(frozen=True, eq=False)
class Exponential(Family):
    """U(x) = 1 - exp(-b x), b > 0."""

    b: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "b", positive("the rate b of Exponential", self.b))

    def value(self, x: Any, xp: Any = np) -> Any:
        return -xp.expm1(-self.b * x)

    def slope(self, x: np.ndarray) -> np.ndarray:
        return self.b * np.exp(-self.b * x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return -(self.b**2) * np.exp(-self.b * x)

    def shortfall(self, x: np.ndarray, top: float) -> np.ndarray:
        return np.exp(-self.b * x) * -np.expm1(self.b * (x - top))

    def text(self, argument: str) -> str:
        return f"1 - exp({_times(-self.b, argument)})" if self.b != 1 else (
            f"1 - exp(-{_grouped(argument)})"
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


@dataclass(frozen=True, eq=False)
class Quadratic(Family):
    """U(x) = x - c x**2, c > 0; increasing on [0, 1] for c <= 1/2."""

    c: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", positive("c of Quadratic", self.c))

    def value(self, x: Any, xp: Any = np) -> Any:
        return x - self.c * x**2

    def slope(self, x: np.ndarray) -> np.ndarray:
        return 1 - 2 * self.c * x

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return np.full_like(x, -2 * self.c)

    def text(self, argument: str) -> str:
        return f"{argument} - {_times(self.c, 'x')}**2".replace("x**2", f"{_grouped(argument)}**2")

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

    def slope(self, x: np.ndarray) -> np.ndarray:
        return 2 * (self.target - x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return np.full_like(x, -2.0)

    def text(self, argument: str) -> str:
        if self.target == 0:
            return f"-{_grouped(argument)}**2"
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

    def slope(self, x: np.ndarray) -> np.ndarray:
        return self.k * np.cos(self.k * x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return -(self.k**2) * np.sin(self.k * x)

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.pi / self.k

    def text(self, argument: str) -> str:
        return f"sin({_times(self.k, argument)})"

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

    def slope(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < self.m, 1.0, 0.0)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return np.zeros_like(x)

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

    def slope(self, x: np.ndarray) -> np.ndarray:
        z = self.beta * x
        return self.beta * ((1 - self.eps) * expit(-z) - self.eps * expit(z))

    def curvature(self, x: np.ndarray) -> np.ndarray:
        z = self.beta * x
        return -(self.beta**2) * expit(z) * expit(-z)

    def text(self, argument: str) -> str:
        minus = f"logsigmoid({_times(-self.beta, argument)})"
        if self.beta == 1:
            minus = f"logsigmoid(-{_grouped(argument)})"
        if self.eps == 1:
            return minus
        plus = f"{number_text(1 - self.eps)}*logsigmoid({_times(self.beta, argument)})"
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
