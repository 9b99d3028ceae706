"""What a utility's formula tells: derivatives, bounds, kinks, how it starts, where it is concave.

The formula is read off `value`, unless a class writes it; families know most of this themselves.
"""

# What one class looks at once, another knows:
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.numerics.checks import finite
from collapse_theory.utilities import bounds, checks, expression, places
from collapse_theory.utilities.expression import Tree, X
from collapse_theory.utilities.language import NoFormula, traced
from collapse_theory.values import Value, names

FROZEN = "{} must be a frozen dataclass: @dataclass(frozen=True, eq=False)"


class Formula(Value):
    """A function U of a gap, and what follows from how it is written."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "value" in vars(cls) and len(inspect.signature(cls.value).parameters) < 3:
            raise InvalidUtility(f"the method value of {cls.__name__} takes value(self, x, xp=np)")

    def __init__(self, *given: Any, **named: Any) -> None:
        # Of a class without @register or @dataclass: a parameter is what it names without a value.
        kind, bare = type(self), type(self).__init__ is Formula.__init__
        unset = bare and any(not hasattr(kind, name) for name in inspect.get_annotations(kind))
        if given or named or unset:
            raise InvalidUtility(
                f"{kind.__name__} has parameters: put @ct.register above the class"
            )

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self).__hash__ is None:
            raise InvalidUtility(FROZEN.format(type(self).__name__))
        for name in names(type(self)) if self.named else ():
            finite(getattr(self, name), f"{name} of {type(self).__name__}", InvalidUtility)

    def _key(self) -> tuple[Any, ...]:
        if dataclasses.is_dataclass(self):
            return super()._key()
        own = {k: v for k, v in vars(self).items() if not hasattr(Formula, k)}  # but what is cached
        plain = all(isinstance(v, int | float | str) for v in own.values())
        return tuple(sorted(own.items())) if plain else (id(self),)

    def value(self, x: Any, xp: Any = np) -> Any:
        """Return U(x), written against the array namespace `xp` (NumPy or torch)."""
        raise InvalidUtility(
            f"{type(self).__name__} lacks the method value(x, xp), which returns U(x)"
        )

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        """Return U'(x) and U''(x) for an array of gaps; unless written, those of the formula."""
        first, second = self._plain(x)
        first = filled(x, first, lambda: self.slope_at_zero)
        return first, filled(x, second, lambda: float(self._plain(1e-100)[1]))

    def _plain(self, x: Any) -> tuple[Any, Any]:
        """Return U' and U'' as they come from the tree, where 0*inf at the gap 0 may be NaN."""
        if self.regular is None:
            raise InvalidUtility(
                f"{type(self).__name__} needs the method derivatives(x), which returns U'(x) and "
                f"U''(x): {self._no_formula}"
            )
        return expression.jet(self.regular, x)[1:]

    # -- the formula as a tree: read off `value`, unless a class writes `tree` ---------------

    named: ClassVar[bool] = False  # whether its name is a word of the language (`register`)

    @property
    def called(self) -> str:
        """Its name and parameters, as text."""
        if not self.named:
            return str(getattr(self, "name", type(self).__name__))
        numbers = (checks.number_text(getattr(self, name)) for name in names(type(self)))
        return f"{type(self).__name__}({', '.join(numbers)})"

    @cached_property
    def formula(self) -> Tree | None:
        """The formula of U in x, None where U isn't made of the functions of the language."""
        if type(self).tree is not Formula.tree:
            return self.tree()
        try:
            return traced(self.value)
        except NoFormula as fault:
            self._set(_no_formula=str(fault))
            return None

    _no_formula: ClassVar[str] = ""  # why there is none

    @cached_property
    def regular(self) -> Tree | None:
        """The formula as it is evaluated, with series where it is 0/0."""
        if self.formula is None:
            return None
        return places.regular(expression.accurate(self.formula), places.MAX_KINK)

    def tree(self, inner: Tree = X) -> Tree:
        """Return the formula of U at `inner`, as a tree; without one a call of its name."""
        if self.named or self.formula is None:
            return expression.own(self, inner)
        return expression.substituted(self.formula, inner)

    def slope(self, x: Any) -> Any:
        """Return U'(x) for an array of gaps."""
        return self.derivatives(x)[0]

    def curvature(self, x: Any) -> Any:
        """Return U''(x) for an array of gaps."""
        return self.derivatives(x)[1]

    def curvature_bound(self, low: Any, high: Any) -> Any:
        """Return what U'' doesn't exceed on each cell [low, high]; NaN where nothing is known."""
        if self.regular is None:
            return np.full_like(low, np.nan)
        return bounds.curvature_bound(self.regular, low, high)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        """Return U(end) - U(x), end = x + step, for arrays of gaps and steps of at least 0.

        Families write it in the step, without cancellation. Here it is the difference of two
        values; where that is mere rounding (tanh(400x) near 1) it is bounded from below: as U'
        falls, each step of a ladder from x to `end` gains at least U' at its upper end.
        """
        high, low = self.value(end), self.value(x)
        gain = np.asarray(high - low)
        near = np.abs(gain) < 1e-13 * (np.abs(high) + np.abs(low))
        lost = np.asarray(near & (x < end * (1 - 1e-12)))
        if np.any(lost):
            start, stop = np.broadcast_arrays(x, end)
            # U gains no more than its slope times the step: mostly nothing beside other gains.
            most = self.slope(start[lost]) * (stop[lost] - start[lost])
            largest = max(np.max(d, where=np.isfinite(d), initial=0.0) for d in (gain, most))
            gain[lost] = np.maximum(gain[lost], 0.0)
            lost[lost] = ~(most <= 1e-40 * largest)
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
        return expression.conic(self.tree(), cp, cp.multiply(reference, ratio))

    # -- what solvers ask: looked at in samples, unless a family knows ---------------------

    below_zero = False  # whether the formula holds for all real gaps, concave, not steep below 0

    @property
    def everywhere(self) -> bool:
        """Whether the formula holds for all real gaps, concave, however steep it is below 0."""
        return self.below_zero

    @property
    def cancels(self) -> bool:
        """Whether `gain` subtracts values, so that their rounding is in it."""
        return type(self).gain is Formula.gain

    @property
    def own_functions(self) -> bool:
        """Whether there are functions of one's own in it, unknown to text."""
        return type(self).tree is Formula.tree and not self.named and self.formula is None

    # Looked at once: each takes many evaluations.

    @cached_property
    def slope_at_zero(self) -> float:
        """U'(0), which may be inf."""
        return checks.slope_at_zero(self.derivatives if self.regular is None else self._plain)

    @cached_property
    def exponent(self) -> float:
        """The p of U'(x) ~ x**(p-1) near 0: 1 where U'(0) is finite, 0 for log x."""
        steep = not math.isfinite(self.slope_at_zero)
        return 1.0 if not steep else checks.exponent_at_zero(self.derivatives)

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        """The gaps at which U' jumps."""
        return () if self.formula is None else places.kinks(self.formula, places.MAX_KINK)

    @cached_property
    def strictly_concave(self) -> bool:
        """Whether U is strictly concave on all of (0, 1]."""
        if self.formula is None:
            return checks.strictly_concave(self.derivatives)
        return checks.strictly_concave_formula(self.derivatives, self.kinks)

    @cached_property
    def concavity(self) -> str:
        """How it is known that U is concave on (0, 1].

        "proved by composition": from the signs of the slopes and curvatures of its parts;
        "proved by interval bounds": U'' is bounded by 0, up to rounding, on cells that cover the
        gaps from 1e-60 to 1; "sampled": no gap was found, among thousands, at which it isn't.
        """
        low, high = self.concave_range if self.known else (0.0, 0.0)
        return checks.COMPOSED if low <= 0 and high >= 1 else checks.concavity(self, 1.0)

    @property
    def known(self) -> bool:
        """Whether it is made of families, which know where they are concave."""
        return False

    @property
    def concave_range(self) -> tuple[float, float]:
        """The gaps between which U is known to be concave; looked at unless a class knows it."""
        return (0.0, 1.0) if self.concavity else (0.0, 0.0)

    @cached_property
    def pole(self) -> float:
        """The gap, at most 0, below which the formula stands for another function, or -inf."""
        return -math.inf if self.regular is None else places.pole(self.regular)


def filled(x: Any, found: Any, limit: Callable[[], float]) -> Any:
    """Return `found` with its limit where 0*inf at the gap 0 made it NaN, as in x*log(x)."""
    lost = np.isnan(found) & (np.asarray(x) == 0)
    return np.where(lost, limit(), found)[()] if np.any(lost) else found
