"""The utility of a gap: what every utility offers, whatever it is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.values import Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Combination", "Utility", "number_text", "positive"]


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

    # -- the formula: three methods that a utility writes --------------------------------

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

    def __repr__(self) -> str:
        return f"utility({str(self)!r})"

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

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return U'(x) and U''(x) in one pass."""
        return self.slope(x), self.curvature(x)

    def shortfall(self, x: Any, top: float) -> Any:
        """Return U(top) - U(x) for gaps up to `top`, never above it by more than rounding.

        Families whose values run together near `top` (1 - exp(-300x)) give it without
        cancellation. For others, where the difference is rounding, it is bounded from below: as U'
        falls, each step of a ladder from x to `top` gains at least U' at its end.
        """
        x = np.asarray(x, dtype=np.float64)
        at_top = np.float64(top)
        high, low = self.value(at_top), self.value(x)
        difference = np.asarray(high - low)
        lost = (difference < 1e-13 * (np.abs(high) + np.abs(low))) & (x < top * (1 - 1e-12))
        if np.any(lost):
            gaps = x[lost]
            steps = gaps + (top - gaps) * 2.0 ** -np.arange(40.0)[:, None]  # from top down to x
            least = self.slope(steps) * np.diff(np.vstack([steps, gaps]), axis=0) * -1.0
            difference[lost] = np.maximum(difference[lost], least.sum(axis=0))
        return difference

    # -- what solvers ask ----------------------------------------------------------------

    @property
    def slope_at_zero(self) -> float:
        """U'(0), which may be inf."""
        with np.errstate(all="ignore"):
            return float(self.slope(np.asarray(0.0)))

    @property
    def exponent(self) -> float:
        """The p of U'(x) ~ x**(p-1) near 0: 1 where U'(0) is finite, 0 for log x."""
        return 1.0

    @property
    def kinks(self) -> tuple[float, ...]:
        """The gaps at which U' jumps."""
        return ()

    @property
    def strictly_concave(self) -> bool:
        """Whether U is strictly concave on all of (0, 1]."""
        return True

    @property
    def concave_range(self) -> tuple[float, float]:
        """The gaps between which U is known to be concave."""
        return -np.inf, np.inf

    @property
    def terms(self) -> tuple[tuple[float, Utility], ...]:
        """The pairs (weight, utility) that U is the sum of, up to a constant."""
        return ((1.0, self),)

    @property
    def constant(self) -> float:
        """The constant in U beside its terms."""
        return 0.0

    @property
    def landmarks(self) -> tuple[float, ...]:
        """Gaps near which the checks look closely: kinks, and where narrow bumps may sit."""
        return self.kinks

    @property
    def factor_text(self) -> str:
        """The text of U where a weight stands before it."""
        return str(self)

    def combination(self) -> Combination:
        """Return U as an exact combination of the utilities that sums are written in."""
        return Combination(Fraction(0), {self: Fraction(1)})

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        """Return U(reference * ratio) as a concave CVXPY expression.

        `ratio` is a CVXPY expression near 1 and `reference` the gaps near which it is wanted,
        so that each cone is well scaled.
        """
        from collapse_theory.errors import NoConicForm

        raise NoConicForm(f'{self} has no conic form; use method="newton"')

    # -- algebra -------------------------------------------------------------------------

    def scaled(self, b: float) -> Utility:
        """Return the utility U(b x), b > 0."""
        from collapse_theory.utilities.algebra import scaled

        return scaled(self, positive("the factor of .scaled", b))

    def shifted(self, e: float) -> Utility:
        """Return the utility U(x + e); a margin m is ``u.shifted(-m)``."""
        from collapse_theory.utilities.algebra import shifted

        return shifted(self, real("the shift of .shifted", e))

    def rescaled(self, b: float) -> Combination:
        """Return U(b x) as a combination: what `scaled` asks of each family."""
        raise NotImplementedError

    def moved(self, e: float) -> Combination:
        """Return U(x + e) as a combination: what `shifted` asks of each family."""
        raise NotImplementedError

    def __add__(self, other: Utility | float) -> Utility:
        from collapse_theory.utilities.algebra import assemble

        if isinstance(other, Utility):
            return assemble(self.combination() + other.combination())
        if isinstance(other, int | float | np.number):
            return assemble(self.combination() + Combination(Fraction(real("a constant", other))))
        return NotImplemented

    def __radd__(self, other: float) -> Utility:
        return self + other

    def __mul__(self, factor: float) -> Utility:
        from collapse_theory.utilities.algebra import assemble

        if not isinstance(factor, int | float | np.number):
            return NotImplemented
        factor = positive("a factor of a utility (a negative one would make it convex)", factor)
        return assemble(self.combination() * Fraction(factor))

    def __rmul__(self, factor: float) -> Utility:
        return self * factor

    def __truediv__(self, divisor: float) -> Utility:
        return self * (1.0 / positive("a divisor of a utility", divisor))

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
        for _, term in self.terms:
            if term is not self:
                term.to_dict()  # raises where a term is made of Python functions
        return {"type": "Utility", "text": str(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the utility that `to_dict` wrote."""
        from collapse_theory.utilities.expression import saved

        if data.get("type") != "Utility" or not isinstance(data.get("text"), str):
            raise InvalidUtility(f"a dict with type 'Utility' and a text was needed, got {data!r}")
        found = saved(data["text"])
        if not isinstance(found, cls):
            raise InvalidUtility(f"the dict holds {found}, not a {cls.__name__}")
        return found


class Combination:
    """A constant and weights of utilities, in exact arithmetic.

    Sums are formed here, so that they don't depend on the order and that the text of a sum
    reads back as the same sum to the last digit.
    """

    __slots__ = ("constant", "weights")

    def __init__(self, constant: Fraction, weights: dict[Utility, Fraction] | None = None) -> None:
        self.constant = constant
        self.weights = weights or {}

    @classmethod
    def of(cls, utility: Utility, weight: float = 1.0, constant: float = 0.0) -> Combination:
        return cls(Fraction(constant), {utility: Fraction(weight)})

    def __add__(self, other: Combination) -> Combination:
        weights = dict(self.weights)
        for atom, weight in other.weights.items():
            weights[atom] = weights.get(atom, Fraction(0)) + weight
        return Combination(self.constant + other.constant, weights)

    def __mul__(self, factor: Fraction) -> Combination:
        scaled = {atom: weight * factor for atom, weight in self.weights.items()}
        return Combination(self.constant * factor, scaled)


def number_text(value: float) -> str:
    """Return the shortest text that reads back as `value`."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


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
