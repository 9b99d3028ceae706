"""Many utilities of one form, evaluated together: their parameters are columns.

Utilities have the same form where they are sums of the same families, whatever the weights, shifts
and parameters; terms that are no families must be equal. A family's formulas take columns (m, 1)
for parameters as they take numbers, and gaps (m, k), a row a utility.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np

from collapse_theory.utilities.base import Term, Terms, Utility
from collapse_theory.values import names

# What is the same in all utilities of a form: of a term the family, or the term itself.
Form: TypeAlias = tuple[type[Utility] | Term, ...]


def form(utility: Utility) -> Form:
    """Return what utilities have in common that can be stacked."""
    return tuple(_kind(term) for _, term in utility.parts)


def _kind(term: Term) -> type[Utility] | Term:
    return type(term.of) if term.of.known and term.scale == 1 else term


def _column(values: Sequence[float], plain: float) -> Any:
    return plain if all(v == plain for v in values) else np.array(values)[:, None]


def _taken(number: Any, at: np.ndarray) -> Any:
    return number[at] if isinstance(number, np.ndarray) else number


def _with_columns(kind: type[Utility], columns: Iterable[np.ndarray]) -> Utility:
    """Return a family with columns for its parameters, which were checked one by one."""
    family = object.__new__(kind)
    family._set(**dict(zip(names(kind), columns, strict=True)))
    return family


@dataclass(frozen=True)
class Stack(Terms):
    """Utilities of one form, a row each; made by `of`."""

    parts: tuple[tuple[Any, Term], ...]
    constant: Any
    size: int

    @classmethod
    def of(cls, utilities: Sequence[Utility], unit: float = 1.0) -> Stack:
        """Return utilities of one `form`, of gaps in units of `unit`."""
        made = []
        for kind, parts in zip(
            form(utilities[0]), zip(*(u.parts for u in utilities), strict=True), strict=True
        ):
            weights, terms = zip(*parts, strict=True)
            if isinstance(kind, Term):
                term = kind._replace(scale=kind.scale * unit)
            else:
                columns = (np.array([[getattr(t.of, name)] for t in terms]) for name in names(kind))
                shift = _column([t.shift for t in terms], 0.0)
                term = Term(_with_columns(kind, columns), unit, shift)
            made.append((_column(weights, 1.0), term))
        return cls(tuple(made), _column([u.constant for u in utilities], 0.0), len(utilities))

    def rows(self, at: np.ndarray) -> Stack:
        """Return the utilities at these places."""
        parts = []
        for weight, term in self.parts:
            if term.of.known:
                columns = (_taken(getattr(term.of, name), at) for name in names(type(term.of)))
                term = term._replace(of=_with_columns(type(term.of), columns))
            parts.append((_taken(weight, at), term._replace(shift=_taken(term.shift, at))))
        return Stack(tuple(parts), _taken(self.constant, at), np.arange(self.size)[at].size)

    def __len__(self) -> int:
        return self.size

    def slope(self, x: Any) -> Any:
        """Return U'(x) for gaps (m, k)."""
        return self.derivatives(x)[0]

    def shortfall(self, x: Any, top: float) -> Any:
        """Return U(top) - U(x) for gaps up to `top`."""
        return self.gain(x, top - x, np.float64(top))

    @cached_property
    def slope_at_zero(self) -> np.ndarray:
        """U'(0) of each, shape (m,), which may be inf."""
        with np.errstate(all="ignore"):
            return self.slope(np.zeros((len(self), 1)))[:, 0]

    @property
    def exponent(self) -> np.ndarray:
        """The p of U'(x) ~ x**(p-1) near 0, shape (m,): a family's at a shift of 0."""
        found = (np.where(t.shift == 0, t.of.exponent, 1.0).ravel() for _, t in self.parts)
        return np.broadcast_to(reduce(np.minimum, found), len(self))
