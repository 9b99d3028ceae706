"""The utility of a gap: what every utility offers, and the one normal form of their sums.

A utility is a sum of weights times terms plus a constant. A term is a family, a function of one's
own or a formula; a family or function whose argument it can't take into its parameters stands in
an `Affine`. `Combination` forms the sums in exact arithmetic and makes the utility of them, so
that the same sum is the same utility in whatever order it was written.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from collapse_theory.errors import InvalidUtility, NoConicForm
from collapse_theory.utilities import checks
from collapse_theory.utilities.checks import number_text
from collapse_theory.values import Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Affine", "Combination", "Family", "Sum", "Utility", "positive", "real"]


class Utility(Value):
    """A concave utility U of a reward gap, the negative of a pairwise ranking loss.

    Made by `collapse_theory.utility` from text, by the families (`Log`, `Power`, ...) or by
    `Utility.from_functions`. Utilities add up, take positive factors, and can be scaled and
    shifted. ``u(x)``, ``u.d1(x)`` and ``u.d2(x)`` are U, U' and U'' at the gaps `x` (no units).

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Log().shifted(0.1) + 2 * ct.Linear()
    >>> str(u)
    'log(x + 0.1) + 2*x'
    >>> float(u.d1(0.9))
    3.0
    """

    # -- the formula ---------------------------------------------------------------------

    @abstractmethod
    def value(self, x: Any, xp: Any = np) -> Any:
        """Return U(x), written against the array namespace `xp` (NumPy or torch)."""

    @abstractmethod
    def slope(self, x: Any) -> Any:
        """Return U'(x) for an array of gaps."""

    @abstractmethod
    def curvature(self, x: Any) -> Any:
        """Return U''(x) for an array of gaps."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the utility as text that `collapse_theory.utility` reads back."""

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        """Return U'(x) and U''(x) in one pass."""
        return self.slope(x), self.curvature(x)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        """Return U(end) - U(x), end = x + step, for arrays of gaps and steps of at least 0.

        Families write it in the step, without cancellation. Here it is the difference of two
        values; where that is mere rounding (tanh(400x) near 1) it is bounded from below: as U'
        falls, each step of a ladder from x to `end` gains at least U' at its upper end.
        """
        high, low = self.value(end), self.value(x)
        gain = np.asarray(high - low)
        lost = (gain < 1e-13 * (np.abs(high) + np.abs(low))) & (x < end * (1 - 1e-12))
        if np.any(lost):
            start, stop = np.broadcast_arrays(x, end)
            start, stop = start[lost], stop[lost]
            ladder = start + (stop - start) * 2.0 ** -np.arange(40.0)[:, None]  # from the end down
            rises = -np.diff(np.vstack([ladder, start]), axis=0)
            gain[lost] = np.maximum(gain[lost], (self.slope(ladder) * rises).sum(axis=0))
        return gain

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        """Return U(reference * ratio) as a concave CVXPY expression.

        `ratio` is a CVXPY expression near 1 and `reference` the gaps near which it is wanted,
        so that each cone is well scaled.
        """
        raise NoConicForm(f'{self} has no conic form; use method="newton"')

    # -- evaluation ----------------------------------------------------------------------

    def __call__(self, x: ArrayLike) -> Any:
        """Return U(x); -inf at 0 where U has a pole there, NaN where U has no value."""
        return _evaluate(self.value, x)

    def d1(self, x: ArrayLike) -> Any:
        """Return U'(x)."""
        return _evaluate(self.slope, x)

    def d2(self, x: ArrayLike) -> Any:
        """Return U''(x)."""
        return _evaluate(self.curvature, x)

    def shortfall(self, x: Any, top: float) -> Any:
        """Return U(top) - U(x) for gaps up to `top`, never above it by more than rounding."""
        x = np.asarray(x, dtype=np.float64)
        return self.gain(x, top - x, np.float64(top))

    # -- what solvers ask: looked at in samples, unless a family knows ---------------------

    cancels: ClassVar[bool] = True
    """Whether `gain` subtracts values, so that their rounding is in it."""

    below_zero: ClassVar[bool] = False
    """Whether the formula holds for all real gaps, concave, and not steep below 0."""

    own_functions: ClassVar[bool] = False
    """Whether it is made of functions of one's own, which may not take tensors."""

    @property
    def slope_at_zero(self) -> float:
        """U'(0), which may be inf."""
        return checks.slope_at_zero(self.derivatives)

    @property
    def exponent(self) -> float:
        """The p of U'(x) ~ x**(p-1) near 0: 1 where U'(0) is finite, 0 for log x."""
        finite = math.isfinite(self.slope_at_zero)
        return 1.0 if finite else checks.exponent_at_zero(self.derivatives)

    @property
    def kinks(self) -> tuple[float, ...]:
        """The gaps at which U' jumps."""
        return ()

    @property
    def strictly_concave(self) -> bool:
        """Whether U is strictly concave on all of (0, 1]."""
        return checks.strictly_concave(self.derivatives)

    @property
    def concave_range(self) -> tuple[float, float]:
        """The gaps between which U is known to be concave."""
        return 0.0, 1.0  # those that are looked at when a utility is made

    @property
    def landmarks(self) -> tuple[float, ...]:
        """Gaps near which the checks look closely: kinks, and where narrow bumps may sit."""
        return self.kinks

    # -- algebra -------------------------------------------------------------------------

    @property
    def terms(self) -> tuple[tuple[float, Utility], ...]:
        """The pairs (weight, utility) that U is the sum of, up to a constant."""
        return ((1.0, self),)

    @property
    def constant(self) -> float:
        """The constant in U beside its terms."""
        return 0.0

    @property
    def factor_text(self) -> str:
        """The text of U where a weight stands before it."""
        return str(self)

    def text(self, argument: str) -> str:
        """Return the text of U at `argument`, such as ``x + 0.1``: what stands in an `Affine`."""
        raise NotImplementedError

    def at(self, scale: float = 1.0, shift: float = 0.0) -> Combination:
        """Return U(scale x + shift), scale > 0, in exact arithmetic."""
        return placed(self, scale, shift)

    def scaled(self, b: float) -> Utility:
        """Return the utility U(b x), b > 0."""
        b = positive("the factor of .scaled", b)
        return self if b == 1 else self.at(scale=b).utility()

    def shifted(self, e: float) -> Utility:
        """Return the utility U(x + e); a margin m is ``u.shifted(-m)``."""
        e = real("the shift of .shifted", e)
        return self if e == 0 else self.at(shift=e).utility()

    def __add__(self, other: Utility | float) -> Utility:
        if isinstance(other, Utility):
            return (self.at() + other.at()).utility()
        if isinstance(other, int | float | np.number):
            return (self.at() + Combination({}, real("a constant", other))).utility()
        return NotImplemented

    def __radd__(self, other: float) -> Utility:
        return self + other

    def __mul__(self, factor: float) -> Utility:
        if not isinstance(factor, int | float | np.number):
            return NotImplemented
        factor = positive("a factor of a utility (a negative one would make it convex)", factor)
        return (self.at() * Fraction(factor)).utility()

    def __rmul__(self, factor: float) -> Utility:
        return self * factor

    def __truediv__(self, divisor: float) -> Utility:
        return self * (1.0 / positive("a divisor of a utility", divisor))

    @property
    def partner(self) -> Utility | None:
        """The term with which, where both have positive weights, it makes a third one."""
        return None

    def united(self, own: Fraction, others: Fraction) -> tuple[Utility, Fraction] | None:
        """Return own * self + others * partner as one term and its weight, where there is one."""
        return None

    # -- values --------------------------------------------------------------------------

    @staticmethod
    def from_functions(
        value: Callable[[Any], Any],
        d1: Callable[[Any], Any],
        d2: Callable[[Any], Any],
        name: str = "U",
    ) -> Utility:
        """Return a utility of one's own functions U, U' and U'' of an array of gaps.

        They are checked against each other at random gaps in (0, 1], and for concavity.

        Raises
        ------
        InvalidUtility
            Where U' is no derivative of U, or U'' of U'.

        Examples
        --------
        >>> import numpy as np
        >>> import collapse_theory as ct
        >>> u = ct.Utility.from_functions(np.log1p, lambda x: 1 / (1 + x),
        ...                               lambda x: -1 / (1 + x) ** 2, name="log1p")
        >>> ct.solve(u, 3).rewards
        array([1. , 0.5, 0. ])
        """
        from collapse_theory.utilities.custom import checked

        return checked(value, d1, d2, name)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"type": "Utility", "text": str(u)}``."""
        return {"type": "Utility", "text": str(self)}

    def __repr__(self) -> str:
        return f"utility({str(self)!r})"


class Family(Utility):
    """A utility with a name and parameters, which knows its properties.

    A family writes `value`, `slope`, `curvature`, `gain` and `text`, and in `at` how it takes an
    affine argument; and the properties below where they aren't these.
    """

    cancels = False

    @property
    def slope_at_zero(self) -> float:
        with np.errstate(all="ignore"):
            return float(self.slope(np.float64(0.0)))

    @property
    def exponent(self) -> float:
        return 1.0

    @property
    def strictly_concave(self) -> bool:
        return True

    @property
    def concave_range(self) -> tuple[float, float]:
        return -np.inf, np.inf

    def __str__(self) -> str:
        return self.text("x")


# -- terms at affine arguments, and sums ---------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Affine(Utility):
    """U(x) = F(scale x + shift): log(x + 0.1), or log-sigmoid with a margin.

    Families take a scale into their parameters or weights; only one's own functions keep one.
    """

    of: Utility
    scale: float
    shift: float

    def _argument(self, x: Any) -> Any:
        # Untouched at scale 1, so that tiny gaps keep their digits.
        scaled = x if self.scale == 1 else self.scale * x
        return scaled + self.shift if self.shift else scaled

    def value(self, x: Any, xp: Any = np) -> Any:
        return self.of.value(self._argument(x), xp)

    def slope(self, x: Any) -> Any:
        return self.scale * self.of.slope(self._argument(x))

    def curvature(self, x: Any) -> Any:
        return self.scale**2 * self.of.curvature(self._argument(x))

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first, second = self.of.derivatives(self._argument(x))
        return (first, second) if self.scale == 1 else (self.scale * first, self.scale**2 * second)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        # The step as it is: between two shifted ends a large shift would leave rounding.
        return self.of.gain(self._argument(x), self.scale * step, self._argument(end))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        inner = self._argument(reference)
        moved = cp.multiply(self.scale * reference / inner, ratio) + self.shift / inner
        return self.of.conic(cp, moved, inner)

    @property
    def cancels(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.of.cancels

    @property
    def below_zero(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.of.below_zero

    @property
    def own_functions(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.of.own_functions

    @property
    def exponent(self) -> float:
        return 1.0 if self.shift else self.of.exponent  # a pole of F lies below gap 0

    @property
    def kinks(self) -> tuple[float, ...]:
        return tuple((k - self.shift) / self.scale for k in self.of.kinks if k > self.shift)

    @property
    def strictly_concave(self) -> bool:
        # Families know it on all gaps; a function of one's own is looked at where it is used.
        known = isinstance(self.of, Family)
        return self.of.strictly_concave if known else super().strictly_concave

    @property
    def concave_range(self) -> tuple[float, float]:
        low, high = self.of.concave_range
        return (low - self.shift) / self.scale, (high - self.shift) / self.scale

    @property
    def partner(self) -> Utility | None:
        other = self.of.partner
        return other and Affine(other, self.scale, self.shift)

    def united(self, own: Fraction, others: Fraction) -> tuple[Utility, Fraction] | None:
        found = self.of.united(own, others)
        return found and (Affine(found[0], self.scale, self.shift), found[1])

    def at(self, scale: float = 1.0, shift: float = 0.0) -> Combination:
        return self.of.at(self.scale * scale, self.scale * shift + self.shift)

    def __str__(self) -> str:
        argument = "x" if self.scale == 1 else f"{number_text(self.scale)}*x"
        if self.shift:
            argument += f" {'+' if self.shift > 0 else '-'} {number_text(abs(self.shift))}"
        return self.of.text(argument)

    def to_dict(self) -> dict[str, Any]:
        self.of.to_dict()  # raises where it is made of Python functions
        return super().to_dict()


def placed(utility: Utility, scale: float, shift: float) -> Combination:
    """Return U(scale x + shift) as one term."""
    plain = scale == 1 and shift == 0
    return Combination({utility if plain else Affine(utility, scale, shift): 1})


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Utility):
    """A weighted sum of terms plus a constant, in the order of their texts; see `Combination`."""

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

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first = second = 0.0
        for weight, term in self.parts:
            slope, curvature = term.derivatives(x)
            first, second = first + weight * slope, second + weight * curvature
        return first, second

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        return sum(w * u.gain(x, step, end) for w, u in self.parts)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return sum((w * u.conic(cp, ratio, reference) for w, u in self.parts), self.offset)

    @property
    def slope_at_zero(self) -> float:
        return sum(w * u.slope_at_zero for w, u in self.parts)

    @property
    def exponent(self) -> float:
        return min(u.exponent for _, u in self.parts)

    @cached_property
    def kinks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(sorted({k for _, u in self.parts for k in u.kinks}))

    @property
    def landmarks(self) -> tuple[float, ...]:
        return tuple(sorted({m for _, u in self.parts for m in u.landmarks}))

    @property
    def strictly_concave(self) -> bool:
        return any(u.strictly_concave for _, u in self.parts)

    @property
    def concave_range(self) -> tuple[float, float]:
        ranges = [u.concave_range for _, u in self.parts]
        return max(low for low, _ in ranges), min(high for _, high in ranges)

    def at(self, scale: float = 1.0, shift: float = 0.0) -> Combination:
        start = Combination({}, self.offset)
        return sum((u.at(scale, shift) * Fraction(w) for w, u in self.parts), start)

    def to_dict(self) -> dict[str, Any]:
        for _, term in self.parts:
            term.to_dict()  # raises where it is made of Python functions
        return super().to_dict()

    def __str__(self) -> str:
        texts = [_weighted_text(w, u) for w, u in self.parts]
        if self.offset:
            texts.append(number_text(self.offset))
        first, *rest = texts
        return first + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in rest)


class Combination:
    """A constant and weights of terms in exact arithmetic: how a sum is formed."""

    def __init__(
        self, weights: Mapping[Utility, float | Fraction], constant: float | Fraction = 0
    ) -> None:
        self.weights = {term: Fraction(weight) for term, weight in weights.items()}
        self.constant = Fraction(constant)

    def __add__(self, other: Combination) -> Combination:
        weights = dict(self.weights)
        for term, weight in other.weights.items():
            weights[term] = weights.get(term, Fraction(0)) + weight
        # The one that has more to do in `utility` decides what becomes of the sum.
        kind = type(self) if isinstance(self, type(other)) else type(other)
        return kind(weights, self.constant + other.constant)

    def __mul__(self, factor: Fraction) -> Combination:
        scaled = {term: weight * factor for term, weight in self.weights.items()}
        return type(self)(scaled, self.constant * factor)

    def utility(self) -> Utility:
        """Return the utility that it is, in normal form.

        Terms that make a third one do so: x and -x**2 a `Quadratic`, log sigma(z) and
        log sigma(-z) a `LabelSmoothing`.

        Raises
        ------
        NotConcave
            Where the sum is convex at some gap in (0, 1].
        InvalidUtility
            Where it has no values in (0, 1], or doesn't depend on the gap.
        """
        made = self._paired()._summed()
        checks.require_concave(made, 1.0)
        return made

    def _paired(self) -> Combination:
        weights = {term: weight for term, weight in self.weights.items() if weight}
        for term, weight in list(weights.items()):
            others = weights.get(term.partner, Fraction(0)) if term.partner else Fraction(0)
            whole = term.united(weight, others) if weight > 0 and others > 0 else None
            if term.partner and whole:
                del weights[term], weights[term.partner]
                weights[whole[0]] = whole[1]
        return Combination(weights, self.constant)

    def _summed(self) -> Utility:
        parts = [(rounded(weight), term) for term, weight in self.weights.items()]
        parts = [part for part in parts if part[0]]
        if not parts:
            raise InvalidUtility("the utility is a constant: it doesn't depend on the gap")
        offset = rounded(self.constant)
        if len(parts) == 1 and parts[0][0] == 1 and offset == 0:
            return parts[0][1]
        return Sum(tuple(sorted(parts, key=lambda part: str(part[1]))), offset)


# -- texts of sums -----------------------------------------------------------------------


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


# -- numbers -----------------------------------------------------------------------------


def rounded(number: Fraction) -> float:
    """Return the nearest float, or raise where it overflows."""
    try:
        return float(number)
    except OverflowError:
        raise InvalidUtility("a constant or weight of the utility overflows float64") from None


def real(what: str, value: Any) -> float:
    """Return `value` as a finite float or raise an error that names `what`."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if isinstance(value, bool | str) or not np.isfinite(number):
        raise InvalidUtility(f"{what} must be a finite number, got {value!r}")
    return number


def positive(what: str, value: Any) -> float:
    """Return `value` as a finite positive float or raise an error that names `what`."""
    number = real(what, value)
    if number <= 0:
        raise InvalidUtility(f"{what} must be positive, got {value!r}")
    return number


def _evaluate(function: Callable[[Any], Any], x: ArrayLike) -> Any:
    gaps = np.asarray(x)
    if gaps.dtype.kind not in "fiu":
        raise TypeError(f"gaps must be real numbers, got an array of {gaps.dtype}")
    with np.errstate(all="ignore"):
        # The formulas take float64; [()] turns a 0-d array back into a scalar.
        return np.asarray(function(gaps.astype(np.float64)[()]), dtype=np.float64)[()]
