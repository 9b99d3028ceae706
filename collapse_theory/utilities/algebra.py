"""Sums, positive multiples, scalings and shifts of utilities, brought to one canonical form.

Whatever order a sum is written in, `assemble` returns the same utility: weights are added in
exact arithmetic, x and -x**2 become a `Quadratic`, log sigma(z) and log sigma(-z) a
`LabelSmoothing`, and what belongs to no family is gathered in one `Expression`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility, NotConcave
from collapse_theory.utilities.base import Combination, Utility, number_text
from collapse_theory.utilities.families import (
    Family,
    LabelSmoothing,
    Linear,
    LogSigmoid,
    Quadratic,
    Squared,
)

__all__ = ["Shifted", "Sum", "assemble", "moved", "scaled", "shifted"]


@dataclass(frozen=True, eq=False, repr=False)
class Shifted(Utility):
    """U(x) = F(x + by) for a family F: log(x + 0.1), or log-sigmoid with a margin."""

    base: Family
    by: float

    def value(self, x: Any, xp: Any = np) -> Any:
        return self.base.value(x + self.by, xp)

    def slope(self, x: Any) -> Any:
        return self.base.slope(x + self.by)

    def curvature(self, x: Any) -> Any:
        return self.base.curvature(x + self.by)

    def shortfall(self, x: Any, top: float) -> Any:
        if type(self.base).gain is Family.gain:
            return self.base.shortfall(x + self.by, top + self.by)
        # The step as it is: in (top + by) - (x + by) a large shift would leave rounding.
        return self.base.gain(x + self.by, top - x)

    @property
    def exponent(self) -> float:
        return 1.0  # the pole of the family, if any, is at -by, below 0

    @property
    def kinks(self) -> tuple[float, ...]:
        return tuple(k - self.by for k in self.base.kinks if k > self.by)

    @property
    def strictly_concave(self) -> bool:
        return self.base.strictly_concave

    @property
    def concave_range(self) -> tuple[float, float]:
        low, high = self.base.concave_range
        return low - self.by, high - self.by

    def combination(self) -> Combination:
        return moved(self.base.combination(), self.by)

    def rescaled(self, b: float) -> Combination:
        # F(b x + e) = F_b(x + e/b) with F_b(x) = F(b x).
        return moved(self.base.rescaled(b), self.by / b)

    def moved(self, e: float) -> Combination:
        return moved(Combination.of(self.base), self.by + e)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        moved = reference + self.by
        return self.base.conic(cp, cp.multiply(reference / moved, ratio) + self.by / moved, moved)

    def __str__(self) -> str:
        sign = "+" if self.by > 0 else "-"
        return self.base.text(f"x {sign} {number_text(abs(self.by))}")


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Utility):
    """A weighted sum of utilities plus a constant, in canonical order; made by `assemble`."""

    parts: tuple[tuple[float, Utility], ...]
    offset: float = 0.0

    @property
    def terms(self) -> tuple[tuple[float, Utility], ...]:
        return self.parts

    @property
    def constant(self) -> float:
        return self.offset

    def value(self, x: Any, xp: Any = np) -> Any:
        return sum((w * u.value(x, xp) for w, u in self.parts), self.offset)

    def slope(self, x: Any) -> Any:
        return sum(w * u.slope(x) for w, u in self.parts)

    def curvature(self, x: Any) -> Any:
        return sum(w * u.curvature(x) for w, u in self.parts)

    def shortfall(self, x: Any, top: float) -> Any:
        return sum(w * u.shortfall(x, top) for w, u in self.parts)

    @property
    def slope_at_zero(self) -> float:
        return sum(w * u.slope_at_zero for w, u in self.parts)

    @cached_property
    def landmarks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(sorted({m for _, u in self.parts for m in u.landmarks}))

    @property
    def exponent(self) -> float:
        return min(u.exponent for _, u in self.parts)

    @cached_property
    def kinks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(sorted({k for _, u in self.parts for k in u.kinks}))

    @property
    def strictly_concave(self) -> bool:
        return any(u.strictly_concave for _, u in self.parts)

    @property
    def concave_range(self) -> tuple[float, float]:
        ranges = [u.concave_range for _, u in self.parts]
        return max(low for low, _ in ranges), min(high for _, high in ranges)

    def combination(self) -> Combination:
        start = Combination(Fraction(self.offset))
        return sum((u.combination() * Fraction(w) for w, u in self.parts), start)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return sum((w * u.conic(cp, ratio, reference) for w, u in self.parts), self.offset)

    def __str__(self) -> str:
        texts = [_weighted_text(w, u) for w, u in self.parts]
        if self.offset:
            texts.append(number_text(self.offset))
        first, *rest = texts
        return first + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in rest)


def scaled(utility: Utility, b: float) -> Utility:
    """Return U(b x)."""
    return utility if b == 1 else assemble(_each(utility, lambda u: u.rescaled(b)))


def shifted(utility: Utility, e: float) -> Utility:
    """Return U(x + e)."""
    return utility if e == 0 else assemble(_each(utility, lambda u: moved(Combination.of(u), e)))


def assemble(combination: Combination) -> Utility:
    """Return the utility that `combination` is, in canonical form.

    Raises
    ------
    NotConcave
        Where the sum is convex at some gap in (0, 1].
    InvalidUtility
        Where it has no values in (0, 1], or doesn't depend on the gap.
    """
    from collapse_theory.utilities.checks import require_concave
    from collapse_theory.utilities.custom import Custom
    from collapse_theory.utilities.expression import Expression

    # A Quadratic or LabelSmoothing from a scaling opens up, to meet its like again.
    start = Combination(combination.constant)
    combination = sum((_opened(u) * w for u, w in combination.weights.items()), start)
    weights = {u: w for u, w in combination.weights.items() if w}
    odd = {u: w for u, w in weights.items() if isinstance(u, Expression) or _bends_up(u, w)}
    plain: dict[Utility, Fraction] = {u: w for u, w in weights.items() if u not in odd}
    constant, merged = combination.constant, False
    if odd:
        leftover, moved_out = Expression.gather(odd)
        try:
            if leftover is not None:
                require_concave(leftover, 1.0, trust=False)
        except NotConcave:
            # Convex alone: it takes the families' help to be concave, so they become one.
            merged = True
            leftover, moved_out = Expression.gather(
                {u: w for u, w in weights.items() if not isinstance(u, Custom)}
            )
            for u in [u for u in plain if not isinstance(u, Custom)]:
                del plain[u]
        constant += moved_out
        if leftover is not None:
            plain[leftover] = Fraction(1)
    made = _sum(_pair_quadratic(_pair_smoothing(plain)), constant)
    require_concave(made, 1.0, trust=not merged)
    return made


def _opened(utility: Utility) -> Combination:
    from collapse_theory.utilities.expression import Expression

    return Combination.of(utility) if isinstance(utility, Expression) else utility.combination()


def _sum(weights: dict[Utility, Fraction], constant: Fraction) -> Utility:
    parts = [(_float(w), u) for u, w in weights.items()]
    parts = sorted(((w, u) for w, u in parts if w), key=lambda part: str(part[1]))
    if not parts:
        raise InvalidUtility("the utility is a constant: it doesn't depend on the gap")
    offset = _float(constant)
    if len(parts) == 1 and parts[0][0] == 1 and offset == 0:
        return parts[0][1]
    return Sum(tuple(parts), offset)


def _float(number: Fraction) -> float:
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidUtility("a weight of the utility is too large for float64")
    return value


def _bends_up(utility: Utility, weight: Fraction) -> bool:
    return weight < 0 and not isinstance(utility, Linear)


def _each(utility: Utility, change: Any) -> Combination:
    total = Combination(Fraction(utility.constant))
    for weight, term in utility.terms:
        total += change(term) * Fraction(weight)
    return total


def moved(combination: Combination, e: float) -> Combination:
    """Shift each utility of a combination by `e`: by its own rule, else as `Shifted`."""
    total = Combination(combination.constant)
    for utility, weight in combination.weights.items():
        if e == 0:
            one = Combination.of(utility)
        elif isinstance(utility, Family) and type(utility).moved is Utility.moved:
            one = Combination.of(Shifted(utility, e)) if e else Combination.of(utility)
        else:
            one = utility.moved(e)
        total += one * weight
    return total


def _pair_quadratic(weights: dict[Utility, Fraction]) -> dict[Utility, Fraction]:
    """Write a x - b x**2 with a, b > 0 as a multiple of one Quadratic."""
    linear, square = weights.get(Linear(), Fraction(0)), weights.get(Squared(0.0), Fraction(0))
    if linear <= 0 or square <= 0:
        return weights
    rest = {u: w for u, w in weights.items() if u not in (Linear(), Squared(0.0))}
    rest[Quadratic(_float(square / linear))] = linear
    return rest


def _pair_smoothing(weights: dict[Utility, Fraction]) -> dict[Utility, Fraction]:
    """Write p log sigma(z) + q log sigma(-z) as a multiple of one LabelSmoothing."""
    out = dict(weights)
    for minus, q in weights.items():
        base = minus.base if isinstance(minus, Shifted) else minus
        if not (isinstance(base, LabelSmoothing) and base.eps == 1) or q <= 0:
            continue
        positive: Family = LogSigmoid(base.beta)
        plus: Utility = Shifted(positive, minus.by) if isinstance(minus, Shifted) else positive
        p = out.get(plus, Fraction(0))
        if p <= 0:
            continue
        eps, weight = _smoothing(p, q)
        if not 0 < eps < 1:
            continue  # one of the two is lost in the other's rounding
        del out[minus], out[plus]
        family: Family = LabelSmoothing(eps, base.beta)
        whole: Utility = Shifted(family, minus.by) if isinstance(minus, Shifted) else family
        out[whole] = weight
    return out


def _smoothing(p: Fraction, q: Fraction) -> tuple[float, Fraction]:
    """Return (eps, w) with w (1-eps) = p and w eps = q, exactly where floats allow it."""
    guess = float(q / (p + q))
    for eps in (guess, math.nextafter(guess, 0), math.nextafter(guess, 1)):
        if eps < 1 and Fraction(1 - eps) * q == Fraction(eps) * p:
            return eps, q / Fraction(eps)
    return guess, p + q


def _weighted_text(weight: float, utility: Utility) -> str:
    text = str(utility)
    if weight == 1:
        return text
    text = utility.factor_text
    # A call, a power or x itself takes a factor without parentheses; so does minus one of them.
    plain = text.removeprefix("-")
    head = "-" if (weight < 0) != (plain != text) else ""
    if not _is_factor(plain):
        plain, head = f"({text})", "-" if weight < 0 else ""
    if plain.startswith("1/") and head + plain == f"-{plain}":
        return f"{head}{number_text(abs(weight))}{plain[1:]}"
    return f"{head}{plain}" if abs(weight) == 1 else f"{head}{number_text(abs(weight))}*{plain}"


def _is_factor(text: str) -> bool:
    """Whether the text is a product of calls, powers and x: no sign or blank outside ()."""
    level, before = 0, ""
    for mark in text:
        level += {"(": 1, ")": -1}.get(mark, 0)
        if level == 0 and (mark in " +" or (mark == "-" and before not in "*e")):
            return False
        before = mark
    return True
