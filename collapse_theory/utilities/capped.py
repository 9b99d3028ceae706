"""Families with a largest useful gap: beyond it more is worth no more, or less."""

# What a family knows is looked at once for other utilities:
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.numerics.checks import finite
from collapse_theory.utilities.base import Combination, Term, Utility
from collapse_theory.utilities.checks import number_text
from collapse_theory.utilities.expression import (
    Tree,
    X,
    add,
    minimum,
    mul,
    negate,
    num,
    power,
)
from collapse_theory.utilities.families import Family, Linear, OfFunction
from collapse_theory.utilities.floats import Exact, exact, ratio, rounded


@dataclass(frozen=True, eq=False)
class Quadratic(Family):
    """U(x) = x - c x**2, c > 0; increasing on [0, 1] for c <= 1/2.

    In sums it is written by x and -x**2.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Quadratic(0.25)
    >>> str(u), ct.limit(u).name
    ('x - 0.25*x**2', 'atoms: 0.375 at 0, 0.375 at 1; uniform on [0, 1] of mass 0.25')
    """

    c: float
    below_zero = True

    def value(self, x: Any, xp: Any = np) -> Any:
        return x - self.c * x**2

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        return 1 - 2 * self.c * x, np.zeros(np.shape(x)) - 2 * self.c

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        # U'(end) and the rest, both positive in the box: at a maximum too nothing cancels.
        return step * ((1 - 2 * self.c * end) + self.c * step)

    def tree(self, inner: Tree = X) -> Tree:
        return add(inner, mul(num(-self.c), power(inner, num(2.0))))

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        # s x + e - c(s x + e)^2 = (1 - 2ce) s x - c s^2 x^2 + e - c e^2.
        c = exact(self.c)
        line, square = (1 - 2 * c * shift) * scale, c * scale**2
        parts = [(line, Term(Linear())), (square, Term(Squared(0.0)))]
        return Combination(parts, shift - c * shift**2)


@dataclass(frozen=True, eq=False)
class Squared(Family):
    """U(x) = -(x - target)**2, the squared loss of IPO-like objectives; a maximum at `target`.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.Squared(1), 3, ct.Free()).rewards.round(3)
    array([ 0.667,  0.   , -0.667])
    """

    target: float
    below_zero = True

    def __post_init__(self) -> None:
        # Of either sign; + 0.0 turns -0.0 into 0.0.
        self._set(target=finite(self.target, "the target of Squared", InvalidUtility) + 0.0)

    def value(self, x: Any, xp: Any = np) -> Any:
        return -((x - self.target) ** 2)

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        return 2 * (self.target - x), np.full_like(x, -2.0)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return step * ((self.target - x) + (self.target - end))

    @property
    def partner(self) -> Utility | None:
        return Linear() if self.target == 0 else None

    def united(self, own: Exact, others: Exact) -> tuple[Utility, Exact] | None:
        return Quadratic(rounded(ratio(own, others))), others

    def tree(self, inner: Tree = X) -> Tree:
        shifted = add(inner, num(-self.target)) if self.target else inner
        return negate(power(shifted, num(2.0)))

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        target = rounded(ratio(exact(self.target) - shift, scale))
        return Combination([(scale**2, Term(Squared(target)))])


@dataclass(frozen=True, eq=False)
class Sine(OfFunction):
    """U(x) = sin(k x), 0 < k <= pi (concave there; increasing on [0, 1] for k <= pi/2).

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Sine(1)
    >>> str(u), ct.limit(u).name
    ('sin(x)', 'atoms: 0.393 at 0, 0.393 at 1; uniform on [0, 1] of mass 0.215')
    """

    k: float
    function, parameter = "sin", "k"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > np.pi:
            raise InvalidUtility(f"{self} is not concave on (0, 1]: it needs k <= pi")

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        return self.k * np.cos(self.k * x), -(self.k**2) * np.sin(self.k * x)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        # 2 sin(h) cos(k end - h), whose cosine is a sum of positive terms up to the maximum.
        h, top = 0.5 * self.k * step, self.k * end
        return 2 * np.sin(h) * (np.cos(top) * np.cos(h) + np.sin(top) * np.sin(h))

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, np.pi / self.k


@dataclass(frozen=True, eq=False)
class Hinge(Family):
    """U(x) = min(x, m), m > 0: the hinge loss with margin m, up to a constant.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Hinge(0.5)
    >>> str(u), ct.limit(u).name
    ('min(x, 0.5)', 'atoms: 0.333 at 0, 0.333 at 0.5, 0.333 at 1')
    """

    m: float
    below_zero = True
    strictly_concave = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.m < 1e-300:
            raise InvalidUtility(f"m of Hinge must be at least 1e-300, not {self.m}: as good as 0")

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.clip(x, max=self.m)

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        return np.where(x < self.m, 1.0, 0.0), np.zeros(np.shape(x))

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return np.clip(self.m - x, 0.0, step)

    @property
    def kinks(self) -> tuple[float, ...]:
        return (self.m,)

    def tree(self, inner: Tree = X) -> Tree:
        return minimum(inner, num(self.m))

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        # min(s x + e, m) = s min(x, (m - e)/s) + e.
        if shift >= self.m:
            moved = f"min(x + {number_text(rounded(shift))}, {number_text(self.m)})"
            raise InvalidUtility(f"{moved} is constant for gaps above 0")
        margin = rounded(ratio(exact(self.m) - shift, scale))
        return Combination([(scale, Term(Hinge(margin)))], shift)
