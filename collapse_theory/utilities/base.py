"""The utility of a gap: what every utility offers, and the one normal form of their sums.

A utility is a sum of weight * F(scale x + shift), plus a constant, where F is a family, a function
of one's own or a formula. `Combination` forms such sums in exact arithmetic and makes the utility
of them, so that the same sum is the same utility in whatever order it was written.
"""

# What one class looks at once, another knows:
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.numerics.checks import finite, positive
from collapse_theory.utilities import checks, expression
from collapse_theory.utilities.expression import Tree, X, mul, num
from collapse_theory.utilities.floats import (
    REMEDY,
    Exact,
    at_gaps,
    exact,
    is_number,
    rounded,
    times,
)
from collapse_theory.utilities.formula import Formula
from collapse_theory.utilities.latex import latex
from collapse_theory.values import shown_by_repr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Utility(Formula):
    """A concave utility U of a reward gap, the negative of a pairwise ranking loss.

    Made by `collapse_theory.utility` from text, by the families (`Log`, `Power`, ...) or by
    `Utility.from_functions`. Utilities add up, take positive factors, and can be scaled and
    shifted. ``u(x)``, ``u.d1(x)`` and ``u.d2(x)`` are U, U' and U'' at the gaps `x` (no units).

    A class of one's own has a `value`, and `derivatives` where that is made of other functions than
    texts are: see CONTRIBUTING.md.

    Attributes
    ----------
    slope_at_zero : float
        U'(0), which may be inf.
    exponent : float
        The p of U'(x) ~ x**(p-1) near 0: 1 where U'(0) is finite, 0 for log x.
    kinks : tuple of float
        The gaps at which U' jumps.
    strictly_concave : bool
        Whether U is strictly concave on all of (0, 1].
    concavity : str
        How it is known that U is concave on (0, 1]: "proved by composition", "proved by interval
        bounds" or "sampled".

    Examples
    --------
    >>> import collapse_theory as ct
    >>> u = ct.Log().shifted(0.1) + 2 * ct.Linear()
    >>> str(u)
    'log(x + 0.1) + 2*x'
    >>> float(u.d1(0.9))
    3.0
    """

    # -- evaluation ----------------------------------------------------------------------

    def __call__(self, x: ArrayLike) -> Any:
        """Return U(x); -inf at 0 where U has a pole there, NaN where U has no value."""
        return at_gaps(self._inside, x)

    def _inside(self, x: Any) -> Any:
        value = self.value(x)
        return np.where(x < self.pole, np.nan, value) if (x < 0).any() else value

    def d1(self, x: ArrayLike) -> Any:
        """Return U'(x); NaN where U has no value."""
        return np.where(np.isnan(self(x)), np.nan, at_gaps(self.slope, x))[()]

    def d2(self, x: ArrayLike) -> Any:
        """Return U''(x); NaN where U has no value."""
        return np.where(np.isnan(self(x)), np.nan, at_gaps(self.curvature, x))[()]

    def shortfall(self, x: Any, top: float) -> Any:
        """Return U(top) - U(x) for gaps up to `top`, never above it by more than rounding."""
        x = np.asarray(x, dtype=np.float64)
        return self.gain(x, top - x, np.float64(top))

    def lost(self, x: Any) -> Any:
        """Return what the rounding of U(x) is proportional to beside |U(x)|.

        That is parts of a sum that cancel, and a shift of the gap: log(x + 100) knows a small x to
        few digits.
        """
        return 0.0

    # -- algebra -------------------------------------------------------------------------

    constant: Any = 0.0  # beside its terms

    @property
    def parts(self) -> tuple[tuple[Any, Term], ...]:
        """The pairs (weight, term) that U is the sum of, up to a constant."""
        return ((1.0, Term(self)),)

    @property
    def terms(self) -> tuple[tuple[float, Utility], ...]:
        """The terms with their weights, as utilities."""
        return tuple((weight, term.utility) for weight, term in self.parts)

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        """Return U(scale x + shift), scale > 0, in exact arithmetic."""
        return Combination([(1, Term(self, rounded(scale), rounded(shift)))])

    def scaled(self, b: float) -> Utility:
        """Return the utility U(b x), b > 0."""
        b = positive(b, "the factor of .scaled", InvalidUtility)
        return self if b == 1 else self.at(scale=exact(b)).utility()

    def shifted(self, e: float) -> Utility:
        """Return the utility U(x + e); a margin m is ``u.shifted(-m)``."""
        e = finite(e, "the shift of .shifted", InvalidUtility)
        return self if e == 0 else self.at(shift=exact(e)).utility()

    def __add__(self, other: Utility | float) -> Utility:
        if isinstance(other, Utility):
            return (self.at() + other.at()).utility()
        if isinstance(other, int | float | np.number):
            constant = exact(finite(other, "a constant", InvalidUtility))
            return (self.at() + Combination([], constant)).utility()
        return NotImplemented

    def __radd__(self, other: float) -> Utility:
        return self + other

    def __sub__(self, other: Utility | float) -> Utility:
        if isinstance(other, Utility):
            return (Combination.widest() + self.at() + other.at() * -1).utility()
        return self + -other if isinstance(other, int | float | np.number) else NotImplemented

    def __rsub__(self, other: float) -> Utility:
        return -self + other

    def __neg__(self) -> Utility:
        return (Combination.widest() + self.at() * -1).utility()

    def __mul__(self, factor: float) -> Utility:
        if not isinstance(factor, int | float | np.number):
            return NotImplemented
        what = "a factor of a utility (a negative one would make it convex)"
        factor = positive(factor, what, InvalidUtility)
        return (self.at() * exact(factor)).utility()

    def __rmul__(self, factor: float) -> Utility:
        return self * factor

    def __truediv__(self, divisor: float) -> Utility:
        return self * (1.0 / positive(divisor, "a divisor of a utility", InvalidUtility))

    partner: Any = None  # the term with which, of positive weights both, it makes a third one

    def united(self, own: Exact, others: Exact) -> tuple[Utility, Exact] | None:
        """Return own * self + others * partner as one term and its weight, where there is one."""
        return None

    # -- values --------------------------------------------------------------------------

    @staticmethod
    def from_functions(
        value: Callable[[Any], Any],
        d1: Callable[[Any], Any] | None = None,
        d2: Callable[[Any], Any] | None = None,
        name: str = "U",
    ) -> Utility:
        """Return a utility of one's own functions U, U' and U'' of an array of gaps.

        They are checked against each other at random gaps in (0, 1], and for concavity. U alone
        does where it is made of NumPy's or torch's functions: its formula is read off it, with all
        its derivatives; and U and U' where U' is.

        Raises
        ------
        InvalidUtility
            Where U' is no derivative of U, or U'' of U', or what isn't given can't be read off.

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
        if self.own_functions:
            raise InvalidUtility(
                f"the utility {self} is made of Python functions and can't be written to a dict; "
                "make it from text with collapse_theory.utility(...) to save it"
            )
        return {"type": "Utility", "text": str(self)}

    def __str__(self) -> str:
        """Return the utility as text that `collapse_theory.utility` reads back."""
        return expression.text(self.tree())

    _repr_pretty_ = shown_by_repr

    def __repr__(self) -> str:
        return f"utility({str(self)!r})"

    def _latex(self) -> str:
        return latex(self.tree())


# -- sums --------------------------------------------------------------------------------


class Term(NamedTuple):
    """F(scale x + shift): log(x + 0.1), or log-sigmoid with a margin.

    Families take a scale into their parameters or weights, formulas the whole argument; only
    one's own functions keep a scale.
    """

    of: Utility
    scale: float = 1.0
    shift: float = 0.0

    def inner(self, x: Any) -> Any:
        """Return scale x + shift; tiny gaps keep their digits at scale 1."""
        scaled = times(self.scale, x)
        return scaled if is_number(self.shift, 0) else scaled + self.shift

    def outer(self, inner: float) -> float:
        """Return the gap x at which scale x + shift is `inner`."""
        return (inner - self.shift) / self.scale

    @property
    def plain(self) -> bool:
        return self.scale == 1 and self.shift == 0

    @property
    def utility(self) -> Utility:
        return self.of if self.plain else Sum(((1.0, self),))

    @property
    def slope_at_zero(self) -> float:
        if self.plain:
            return self.of.slope_at_zero
        if self.shift > 0:  # where there is a value
            return self.scale * self.of.slope(np.float64(self.shift))
        return self.utility.d1(0.0)

    @property
    def order(self) -> tuple[str, str]:
        """What terms are sorted by; a function of one's own may have the name of another."""
        return expression.text(self.tree), type(self.of).__name__

    @property
    def tree(self) -> Tree:
        if self.plain:
            return self.of.tree()
        scaled = mul(num(self.scale), X)
        return self.of.tree(expression.add(scaled, num(self.shift)) if self.shift else scaled)


class Terms:
    """A weighted sum of terms; its numbers are floats, or columns (m, 1) of many utilities."""

    parts: tuple[tuple[Any, Term], ...]
    constant: Any

    def value(self, x: Any, xp: Any = np) -> Any:
        total = reduce(add, (times(w, t.of.value(t.inner(x), xp)) for w, t in self.parts))
        return total if is_number(self.constant, 0) else self.constant + total

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        total = None
        for w, t in self.parts:
            first, second = t.of.derivatives(t.inner(x))
            rate = w * t.scale
            first, second = times(rate, first), times(rate * t.scale, second)
            total = (first, second) if total is None else (total[0] + first, total[1] + second)
        assert total is not None
        return total

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        # The step as it is: between two shifted ends a large shift would leave rounding.
        gains = (t.of.gain(t.inner(x), times(t.scale, step), t.inner(end)) for _, t in self.parts)
        return reduce(add, (times(w, gain) for (w, _), gain in zip(self.parts, gains, strict=True)))

    def lost(self, x: Any) -> Any:
        total = abs(self.constant)
        for w, t in self.parts:
            inner = t.inner(x)
            if len(self.parts) > 1 or not is_number(self.constant, 0):
                total = total + abs(w) * np.abs(t.of.value(inner))
            if not is_number(t.shift, 0):
                total = total + abs(w * t.shift) * np.abs(t.of.slope(inner))
        return total


def _of_parts(name: str, together: Callable[[Iterable[bool]], bool]) -> Any:
    """Return what holds of a sum where it holds of any, or of all, of its parts."""
    return property(lambda self: together(getattr(term.of, name) for _, term in self.parts))


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Terms, Utility):
    """A weighted sum of terms plus a constant, in the order of their texts; see `Combination`."""

    parts: tuple[tuple[float, Term], ...] = ()
    constant: float = 0.0

    cancels, own_functions = _of_parts("cancels", any), _of_parts("own_functions", any)
    below_zero, known = _of_parts("below_zero", all), _of_parts("known", all)

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        total = self.constant
        for weight, term in self.parts:
            own, inner = term.scale * reference, term.inner(reference)
            # At a margin the argument is 0, which is no scale: any other will do there.
            inner = np.where(np.abs(inner) > 1e-3 * np.abs(own), inner, own)
            scaled = cp.multiply(own / inner, ratio) + term.shift / inner
            total += weight * term.of.conic(cp, scaled, inner)
        return total

    @property
    def everywhere(self) -> bool:
        # A negative weight leaves a line a line, and makes anything else convex.
        straight = (not (t.of.strictly_concave or t.of.kinks) for _, t in self.parts)
        return all(
            t.of.everywhere and (w > 0 or line)
            for (w, t), line in zip(self.parts, straight, strict=True)
        )

    @cached_property
    def slope_at_zero(self) -> float:
        with np.errstate(all="ignore"):
            return float(sum(w * t.slope_at_zero for w, t in self.parts))

    @property
    def exponent(self) -> float:
        # A pole of a shifted term lies below gap 0.
        return min(1.0 if t.shift else t.of.exponent for _, t in self.parts)

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        return tuple(sorted({t.outer(k) for _, t in self.parts for k in t.of.kinks if k > t.shift}))

    @property
    def strictly_concave(self) -> bool:
        # Families know it on all gaps; functions of one's own are looked at where they are used.
        return any(
            checks.strictly_concave(t.utility.derivatives)
            if t.of.own_functions
            else t.of.strictly_concave
            for _, t in self.parts
        )

    @cached_property
    def concavity(self) -> str:
        low, high = self.concave_range
        if low > 0 or high < 1:
            return checks.concavity(self, 1.0)  # a shifted part, on gaps that it isn't known on
        found = {t.of.concavity for _, t in self.parts}
        return next(how for how in checks.HOW if how in found)  # the weakest

    @property
    def concave_range(self) -> tuple[float, float]:
        lows, highs = zip(*(map(t.outer, t.of.concave_range) for _, t in self.parts), strict=True)
        return max(lows), min(highs)

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        moved = (
            term.of.at(exact(term.scale) * scale, exact(term.scale) * shift + exact(term.shift))
            * exact(weight)
            for weight, term in self.parts
        )
        return Combination.total([Combination([], exact(self.constant)), *moved])

    def tree(self, inner: Tree = X) -> Tree:
        parts = [mul(num(weight), term.tree) for weight, term in self.parts]
        whole = expression.add(*parts, *([num(self.constant)] if self.constant else []))
        return whole if inner == X else expression.substituted(whole, inner)


class Combination:
    """A constant and weights of terms in exact arithmetic: how a sum is formed."""

    widest: ClassVar[type[Combination]]  # the kind that takes negative weights of all families

    def __init_subclass__(cls) -> None:
        Combination.widest = cls

    def __init__(self, parts: Iterable[tuple[Exact, Term]] = (), constant: Exact = 0) -> None:
        self.parts = list(parts)
        self.constant = constant

    @classmethod
    def one(cls, of: Utility, shift: Exact, weight: Exact = 1, constant: Exact = 0) -> Combination:
        """Return weight * F(x + shift) + constant."""
        return cls([(weight, Term(of, 1.0, rounded(shift)))], constant)

    @staticmethod
    def total(sums: Iterable[Combination]) -> Combination:
        """Return the sum; the part that has more to do in `utility` decides what becomes of it."""
        sums = list(sums)
        kind = next((type(part) for part in sums if type(part) is not Combination), Combination)
        parts = [weighted for part in sums for weighted in part.parts]
        if len(parts) > 1:  # each term once
            weights = dict[Term, Exact]()
            for weight, term in parts:
                weights[term] = weights[term] + weight if term in weights else weight
            parts = [(weight, term) for term, weight in weights.items()]
        return kind(parts, sum(part.constant for part in sums))

    def __add__(self, other: Combination) -> Combination:
        return Combination.total((self, other))

    def __mul__(self, factor: Exact) -> Combination:
        scaled = [(weight * factor, term) for weight, term in self.parts]
        return type(self)(scaled, self.constant * factor)

    def utility(self) -> Utility:
        """Return the utility that it is, in normal form.

        Terms that make a third one do so: x and -x**2 a `Quadratic`, log sigma(z) and
        log sigma(-z) a `LabelSmoothing`. What isn't concave on (0, 1], or is constant, is refused.
        """
        parts = [part for part in self.parts if part[0]]
        for weight, term in self.parts:
            partner = term.of.partner and term._replace(of=term.of.partner)
            others = next((w for w, t in parts if t == partner), 0) if partner else 0
            whole = term.of.united(weight, others) if weight > 0 and others > 0 else None
            if partner and whole:
                parts = [(w, t) for w, t in parts if t not in (term, partner)]
                parts.append((whole[1], term._replace(of=whole[0])))
        made = _summed(parts, rounded(self.constant))
        checks.require_concave(made, 1.0)
        return made


def _summed(exactly: list[tuple[Exact, Term]], offset: float) -> Utility:
    parts = [(rounded(weight), term) for weight, term in exactly]
    parts = [part for part in parts if part[0]]
    if exactly and not parts:
        raise InvalidUtility(
            "all factors in the utility underflow float64, so that it doesn't depend on the gap; "
            f"{REMEDY}"
        )
    if not parts:
        raise InvalidUtility("the utility is a constant: it doesn't depend on the gap")
    if len(parts) == 1 and parts[0][0] == 1 and offset == 0:
        return parts[0][1].utility
    return Sum(tuple(sorted(parts, key=lambda part: part[1].order)), offset)
