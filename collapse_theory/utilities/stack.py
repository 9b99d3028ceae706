"""Many utilities of one form, evaluated together: their parameters are columns.

Utilities have the same form where they are sums of the same families, whatever the weights, shifts
and parameters; terms that are no families must be equal. A family's formulas take columns (m, 1)
for parameters as they take numbers, and gaps (m, k), a row a utility.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, TypeAlias

import numpy as np

from collapse_theory.utilities.base import Sum, Term, Utility
from collapse_theory.values import names

# What is the same in all utilities of a form: of a term the family, or the term itself.
Form: TypeAlias = tuple[type[Utility] | Term, ...]


def form(utility: Utility) -> Form:
    """Return what utilities have in common that can be stacked."""
    return tuple(_kind(term) for _, term in _parts(utility))


def _parts(utility: Utility) -> tuple[tuple[float, Term], ...]:
    return utility.parts if isinstance(utility, Sum) else ((1.0, Term(utility)),)


def _kind(term: Term) -> type[Utility] | Term:
    return type(term.of) if term.of.known and term.scale == 1 else term


@dataclass(frozen=True)
class _Part:
    """A term of all rows: weight * of(scale x + shift); None for a weight of 1, a shift of 0."""

    of: Utility  # whose parameters are columns, unless it is the same in all rows
    parameters: tuple[np.ndarray, ...]
    weight: np.ndarray | None
    shift: np.ndarray | None
    scale: float = 1.0

    @classmethod
    def of_rows(cls, kind: type[Utility] | Term, parts: Sequence[tuple[float, Term]]) -> _Part:
        weight = _column([w for w, _ in parts], 1.0)
        if isinstance(kind, Term):
            shift = np.array([[kind.shift]]) if kind.shift else None
            return cls(kind.of, (), weight, shift, kind.scale)
        shift = _column([term.shift for _, term in parts], 0.0)
        columns = tuple(
            np.array([[getattr(term.of, name)] for _, term in parts]) for name in names(kind)
        )
        return cls(_with_columns(kind, columns), columns, weight, shift)

    def rows(self, at: np.ndarray) -> _Part:
        def taken(column: np.ndarray | None) -> np.ndarray | None:
            return column if column is None or len(column) == 1 else column[at]

        weight, shift = taken(self.weight), taken(self.shift)
        if not self.parameters:
            return _Part(self.of, (), weight, shift, self.scale)
        columns = tuple(column[at] for column in self.parameters)
        return _Part(_with_columns(type(self.of), columns), columns, weight, shift)

    def inner(self, x: Any) -> Any:
        x = x if self.scale == 1 else self.scale * x
        return x if self.shift is None else x + self.shift

    def times_weight(self, values: Any) -> Any:
        return values if self.weight is None else self.weight * values

    def value(self, x: Any) -> Any:
        return self.times_weight(self.of.value(self.inner(x)))

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first, second = self.of.derivatives(self.inner(x))
        if self.scale != 1:
            first, second = self.scale * first, self.scale**2 * second
        return self.times_weight(first), self.times_weight(second)

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        step = step if self.scale == 1 else self.scale * step
        return self.times_weight(self.of.gain(self.inner(x), step, self.inner(end)))

    def lost(self, x: Any, alone: bool) -> Any:
        inner = self.inner(x)
        size = 0.0 if alone else np.abs(self.times_weight(self.of.value(inner)))
        if self.shift is None:
            return size
        return size + np.abs(self.times_weight(self.shift * self.of.slope(inner)))

    @property
    def exponent(self) -> np.ndarray | float:
        """The p of U'(x) ~ x**(p-1) near 0: a family's at a shift of 0."""
        own = np.asarray(self.of.exponent, dtype=float).ravel()
        return own if self.shift is None else np.where(self.shift.ravel() != 0, 1.0, own)


def _column(values: list[float], plain: float) -> np.ndarray | None:
    return None if all(v == plain for v in values) else np.array(values)[:, None]


def _with_columns(kind: type[Utility], columns: tuple[np.ndarray, ...]) -> Utility:
    """Return a family with columns for its parameters, which were checked one by one."""
    family = object.__new__(kind)
    family._set(**dict(zip(names(kind), columns, strict=True)))
    return family


@dataclass(frozen=True)
class Stack:
    """Utilities of one form, a row each, of gaps in units of `unit`."""

    parts: tuple[_Part, ...]
    offset: np.ndarray
    unit: float = 1.0

    @classmethod
    def of(cls, utilities: Sequence[Utility], unit: float = 1.0) -> Stack:
        """Return utilities of one `form`."""
        kinds, parts = form(utilities[0]), [_parts(u) for u in utilities]
        made = (
            _Part.of_rows(kind, of)
            for kind, of in zip(kinds, zip(*parts, strict=True), strict=True)
        )
        return cls(tuple(made), np.array([[u.constant] for u in utilities]), unit)

    def rows(self, at: np.ndarray) -> Stack:
        """Return the utilities at these places."""
        return Stack(tuple(part.rows(at) for part in self.parts), self.offset[at], self.unit)

    def __len__(self) -> int:
        return len(self.offset)

    def value(self, x: Any) -> Any:
        """Return U(x) for gaps (m, k)."""
        return reduce(add, (part.value(self._in_units(x)) for part in self.parts)) + self.offset

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        """Return U'(x) and U''(x) for gaps (m, k)."""
        first, second = self.parts[0].derivatives(x := self._in_units(x))
        for part in self.parts[1:]:
            more = part.derivatives(x)
            first, second = first + more[0], second + more[1]
        return (first, second) if self.unit == 1 else (self.unit * first, self.unit**2 * second)

    def slope(self, x: Any) -> Any:
        """Return U'(x) for gaps (m, k)."""
        return self.derivatives(x)[0]

    def gain(self, x: Any, step: Any, end: Any) -> Any:
        """Return U(end) - U(x), end = x + step, without cancellation."""
        x, step, end = (self._in_units(each) for each in (x, step, end))
        return reduce(add, (part.gain(x, step, end) for part in self.parts))

    def shortfall(self, x: Any, top: float) -> Any:
        """Return U(top) - U(x) for gaps up to `top`."""
        return self.gain(x, top - x, np.float64(top))

    def lost(self, x: Any) -> Any:
        """Return what the rounding of U(x) is proportional to beside |U(x)|."""
        x, alone = self._in_units(x), len(self.parts) == 1 and not self.offset.any()
        return np.abs(self.offset) + reduce(add, (part.lost(x, alone) for part in self.parts))

    @cached_property
    def slope_at_zero(self) -> np.ndarray:
        """U'(0) of each, shape (m,), which may be inf."""
        with np.errstate(all="ignore"):
            return self.slope(np.zeros((len(self), 1)))[:, 0]

    @property
    def exponent(self) -> np.ndarray:
        """The p of U'(x) ~ x**(p-1) near 0, shape (m,)."""
        found = reduce(np.minimum, (part.exponent for part in self.parts))
        return np.broadcast_to(found, len(self))

    def _in_units(self, x: Any) -> Any:
        return x if self.unit == 1 else self.unit * x
