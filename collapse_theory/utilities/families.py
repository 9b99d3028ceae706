"""The families of utilities, a class each; those with a largest useful gap are in capped.py."""

# What a family knows is looked at once for other utilities:
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import positive
from collapse_theory.utilities.base import Combination, Term, Utility
from collapse_theory.utilities.expression import (
    MINUS_ONE,
    ONE,
    Tree,
    X,
    add,
    call,
    cone_of_power,
    div,
    mul,
    negate,
    num,
    power,
)
from collapse_theory.utilities.floats import Exact, exact, ratio, rounded
from collapse_theory.utilities.functions import FUNCTIONS, log_sigmoid
from collapse_theory.values import names


class Family(Utility):
    """A utility with a name and positive parameters, which knows its properties.

    A family writes `value`, `derivatives`, `gain` and `tree`; in `at` how it takes an affine
    argument; `conic` where cones want another scaling than that of the formula; and the
    properties below where they aren't these.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.known = cls.__module__.rpartition(".")[0] == __package__

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in names(type(self)):
            what = f"{name} of {type(self).__name__}"
            self._set(**{name: positive(getattr(self, name), what, InvalidUtility)})

    exponent: Any = 1.0
    kinks: Any = ()
    strictly_concave: Any = True

    @property
    def slope_at_zero(self) -> float:
        with np.errstate(all="ignore"):
            return float(self.slope(np.float64(0.0)))

    @property
    def concave_range(self) -> tuple[float, float]:
        if not self.known:
            return super().concave_range
        return -np.inf if self.everywhere else 0.0, np.inf

    known: ClassVar[bool]  # a class of one's own that inherits from a family isn't


class OfFunction(Family):
    """s f(s k x), where f is a function of the language, s 1 or -1 and k the one parameter."""

    function: ClassVar[str]
    parameter: ClassVar[str]
    sign: ClassVar[float] = 1.0

    @property
    def rate(self) -> Any:
        return self.sign * getattr(self, self.parameter)

    def value(self, x: Any, xp: Any = np) -> Any:
        found = FUNCTIONS[self.function].value(self.rate * x, xp)
        return found if self.sign > 0 else -found

    def tree(self, inner: Tree = X) -> Tree:
        return call(self.function, mul(num(self.rate), inner))

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        return Combination.one(type(self)(self.rate * rounded(scale)), ratio(shift, scale))


class OfPower(Family):
    """s x**p, where s is the sign of p."""

    g: float
    sign: ClassVar[float] = 1.0

    @property
    def exponent(self) -> Any:
        return self.sign * self.g

    def value(self, x: Any, xp: Any = np) -> Any:
        if self.sign > 0:
            return x**self.g
        return -xp.where(x < 0, np.nan, x**-self.g)  # nothing on the other side of the pole

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        p = self.exponent
        first = self.g * np.abs(x) ** (p - 1)
        return first, (p - 1) * first / x

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        larger = x + step if self.sign > 0 else x
        return larger**self.exponent * -np.expm1(-self.g * np.log1p(step / x))

    def tree(self, inner: Tree = X) -> Tree:
        whole = power(inner, num(self.exponent))
        return whole if self.sign > 0 else negate(whole)

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        return Combination.one(self, ratio(shift, scale), exact(rounded(scale, self.exponent)))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        cone = cone_of_power(cp, ratio, self.exponent)
        return self.sign * cp.multiply(reference**self.exponent, cone)


# -- scale free: U(b x) is a multiple of U(x), up to a constant ----------------------------


@dataclass(frozen=True, eq=False)
class Linear(Family):
    """U(x) = x. The law is two-valued: half the mass at each end (docs/theory.md#closed-forms).

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Linear()
    >>> str(u), ct.limit(u).name
    ('x', 'atoms: 0.5 at 0, 0.5 at 1')
    """

    below_zero = True
    strictly_concave = False

    def value(self, x: Any, xp: Any = np) -> Any:
        return 1.0 * x

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        return np.ones(np.shape(x)), np.zeros(np.shape(x))

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return 1.0 * step

    def tree(self, inner: Tree = X) -> Tree:
        return inner

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        return Combination([(scale, Term(self))], shift)


@dataclass(frozen=True, eq=False)
class Power(OfPower):
    """U(x) = x**g, 0 < g < 1.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Power(0.5)
    >>> str(u), ct.limit(u).name
    ('x**0.5', 'Beta(1/4, 1/4) on [0, 1]')
    """

    g: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.g >= 1:
            raise InvalidUtility(f"Power needs 0 < g < 1, got {self.g}; for g = 1 use Linear()")


@dataclass(frozen=True, eq=False)
class Log(Family):
    """U(x) = log x.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Log()
    >>> str(u), ct.limit(u).name
    ('log(x)', 'Beta(1/2, 1/2) on [0, 1]')
    """

    exponent = 0.0

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.log(x)

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        inverse = 1.0 / np.abs(x)
        return inverse, -inverse * inverse

    def tree(self, inner: Tree = X) -> Tree:
        return call("log", inner)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return np.log1p(step / x)

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        logarithm = math.log(positive(rounded(scale), "a factor of x", InvalidUtility))
        return Combination.one(self, ratio(shift, scale), constant=exact(logarithm))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return cp.log(ratio) + np.log(reference)


@dataclass(frozen=True, eq=False)
class NegativePower(OfPower):
    """U(x) = -x**-g, g > 0.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.NegativePower(0.5)
    >>> str(u), ct.limit(u).name
    ('-x**-0.5', 'Beta(3/4, 3/4) on [0, 1]')
    """

    g: float
    sign = -1.0

    def tree(self, inner: Tree = X) -> Tree:
        return div(MINUS_ONE, inner) if self.g == 1 else super().tree(inner)


# -- levelling off -----------------------------------------------------------------------


def _log_sigmoid_gain(z: Any, rise: Any) -> Any:
    """Return log sigma(z + rise) - log sigma(z)."""
    z, rise = np.asarray(z), np.asarray(rise)
    # log1p of (1 - exp(-rise)) / (exp(z) + exp(-rise)), with both factors at most 1. Where
    # that would overflow, the rise is so large that nothing cancels in the plain difference.
    near = np.minimum(rise, 700.0)
    shrunk, low = np.exp(-np.maximum(z, 0.0)), np.exp(np.minimum(z, 0.0))
    gain = np.log1p(shrunk * -np.expm1(-near) / (low + shrunk * np.exp(-near)))
    far = (rise > near) & (z < 0)
    return np.where(far, log_sigmoid(z + rise) - log_sigmoid(z), gain) if far.any() else gain


@dataclass(frozen=True, eq=False)
class LogSigmoid(OfFunction):
    """U(x) = log sigma(beta x) = -log(1 + exp(-beta x)), the Bradley-Terry log-likelihood.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.LogSigmoid(4)
    >>> str(u), ct.limit(u).name
    ('logsigmoid(4*x)', 'atoms: 0.204 at 0, 0.204 at 1; density on [0, 1] of mass 0.592')
    """

    beta: float = 1.0
    below_zero = True
    function, parameter = "logsigmoid", "beta"

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        z = self.beta * x
        first = self.beta * special.expit(-z)
        return first, -self.beta * first * special.expit(z)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return _log_sigmoid_gain(self.beta * x, self.beta * step)


@dataclass(frozen=True, eq=False)
class LabelSmoothing(Family):
    """U(x) = (1-eps) log sigma(beta x) + eps log sigma(-beta x), 0 < eps <= 1.

    Log-sigmoid with smoothed labels. Since log sigma(-z) = log sigma(z) - z it has its maximum
    at x = log((1-eps)/eps)/beta. In sums it is written by log sigma(z) and log sigma(-z).

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.LabelSmoothing(0.1), 2, ct.Free()).gaps.round(4)  # log 9
    array([2.1972])
    """

    eps: float
    beta: float = 1.0
    below_zero = True
    cancels: ClassVar[bool] = True  # near its maximum the two parts of a gain nearly cancel

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps > 1:
            raise InvalidUtility(f"LabelSmoothing needs 0 < eps <= 1, got {self.eps}")

    def value(self, x: Any, xp: Any = np) -> Any:
        z = self.beta * x
        return (1 - self.eps) * log_sigmoid(z, xp) + self.eps * log_sigmoid(-z, xp)

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        up, down = special.expit(self.beta * x), special.expit(-self.beta * x)
        return self.beta * ((1 - self.eps) * down - self.eps * up), -(self.beta * up) * (
            self.beta * down
        )

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        z, rise = self.beta * x, self.beta * step
        return _log_sigmoid_gain(z, rise) - self.eps * rise

    @property
    def partner(self) -> Utility | None:
        return LogSigmoid(self.beta) if self.eps == 1 else None

    def united(self, own: Exact, others: Exact) -> tuple[Utility, Exact] | None:
        # (eps, w) with w (1-eps) = others and w eps = own, exactly where floats allow it.
        guess = float(ratio(own, others + own))
        if not 0 < guess < 1:
            return None  # one of the two is lost in the other's rounding
        for eps in (guess, math.nextafter(guess, 0), math.nextafter(guess, 1)):
            if eps < 1 and exact(1 - eps) * own == exact(eps) * others:
                return LabelSmoothing(eps, self.beta), ratio(own, exact(eps))
        return LabelSmoothing(guess, self.beta), others + own

    def tree(self, inner: Tree = X) -> Tree:
        plus, minus = (call("logsigmoid", mul(num(b), inner)) for b in (self.beta, -self.beta))
        if self.eps == 1:
            return minus
        return add(mul(num(1 - self.eps), plus), mul(num(self.eps), minus))

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        minus = Combination.one(
            LabelSmoothing(1.0, self.beta * rounded(scale)), ratio(shift, scale)
        )
        if self.eps == 1:
            return minus
        # The weights as the text writes them, so that it reads back the same.
        plus = LogSigmoid(self.beta).at(scale, shift) * exact(1 - self.eps)
        return plus + minus * exact(self.eps)


def exponential(value: float) -> float:
    """Return exp(value), or raise where it overflows."""
    try:
        return math.exp(value)
    except OverflowError:
        raise InvalidUtility(
            f"a factor exp({value:.6g}) of the utility overflows float64; take a smaller rate or "
            "shift"
        ) from None


@dataclass(frozen=True, eq=False)
class Exponential(OfFunction):
    """U(x) = 1 - exp(-b x), b > 0.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Exponential(2)
    >>> str(u), ct.limit(u).name
    ('1 - exp(-2*x)', 'atoms: 0.25 at 0, 0.25 at 1; uniform on [0, 1] of mass 0.5')
    """

    b: float
    everywhere: ClassVar[bool] = True  # but steep below 0
    function, parameter, sign = "expm1", "b", -1.0

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first = self.b * np.exp(-self.b * x)
        return first, -self.b * first

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return np.exp(-self.b * x) * -np.expm1(-self.b * step)

    def tree(self, inner: Tree = X) -> Tree:
        return add(ONE, negate(call("exp", mul(num(-self.b), inner))))

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        # 1 - exp(-b(s x + e)) = exp(-be) (1 - exp(-bs x)) + 1 - exp(-be).
        moved = -self.b * rounded(shift)
        weight, family = exponential(moved), Exponential(self.b * rounded(scale))
        return Combination([(exact(weight), Term(family))], exact(-math.expm1(moved)))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        # Each cone at its own scale: exp(-b g) = exp(-b g0) exp(-b g0 (ratio - 1)).
        rate = self.b * reference
        return 1 - cp.multiply(np.exp(-rate), cp.exp(-cp.multiply(rate, ratio - 1)))
