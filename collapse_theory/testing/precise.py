"""Formulas in mpmath: an evaluation that shares no arithmetic with the package's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import mpmath as mp

from collapse_theory.utilities import Utility
from collapse_theory.utilities.expression import Arithmetic, Tree, evaluate
from collapse_theory.utilities.parser import parse

FUNCTIONS = {
    "log1p": lambda z: mp.log(1 + z), "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "logsigmoid": lambda z: -mp.log(1 + mp.exp(-z)),
}  # fmt: skip

# In which floats are compared; as many more as x has zeros, for log(1 + x) at x = 1e-150.
DIGITS = 120


class _Digits(Arithmetic):
    """Numbers of mpmath."""

    def num(self, value: float) -> Any:
        return mp.mpf(value)

    def min(self, *parts: Any) -> Any:
        return min(parts)

    def call(self, name: str, u: Any) -> Any:
        return (FUNCTIONS.get(name) or getattr(mp, name))(u)

    def own(self, utility: Any, u: Any) -> Any:
        return value(utility.formula, u)


_DIGITS = _Digits()


def value(tree: Tree, x: Any) -> Any:
    """Return a tree's value at `x` in the working precision of mpmath."""
    return evaluate(tree, x, _DIGITS)


def derivatives(tree: Tree, x: Any) -> tuple[Any, Any, Any]:
    """Return U, U' and U'' at `x`, right to about the working precision of mpmath.

    As differences in five times its digits d, with the step 10**-d x: off by its square, and by
    the rounding over it, both below 10**-2d.
    """
    digits = mp.mp.dps
    with mp.workdps(5 * digits):
        h = mp.mpf(x) * mp.mpf(10) ** -digits
        low, mid, high = (value(tree, at) for at in (x - h, mp.mpf(x), x + h))
        first, second = (high - low) / (2 * h), (high - 2 * mid + low) / h**2
    return +mid, +first, +second


def known(tree: Tree) -> bool:
    """Whether all of a tree is formulas, classes of one's own included that are made of them."""
    if tree[0] == "own":
        return tree[1].formula is not None and known(tree[1].formula) and known(tree[2])
    return all(known(part) for part in tree[1:] if isinstance(part, tuple))


class Jet(NamedTuple):
    """U, U' and U'' at a gap, with the size of the terms whose rounding they carry."""

    values: tuple[float, float, float]
    scales: tuple[float, float, float]


@dataclass(frozen=True)
class Precise:
    """A utility's own text in mpmath."""

    utility: Utility

    @cached_property
    def tree(self) -> Tree:
        return parse(str(self.utility), longest=100_000)

    @cached_property
    def top(self) -> float:
        """1 + |U| + |U'| at gap 1: what constants inside the formula are like."""
        with mp.workdps(DIGITS):
            return 1.0 + sum(abs(float(part)) for part in derivatives(self.tree, mp.mpf(1))[:2])

    @property
    def known(self) -> bool:
        """Whether there is a formula at all."""
        return not self.utility.own_functions and known(self.tree)

    def jet(self, x: float) -> Jet:
        """Return U, U' and U'' at x, rounded to floats."""
        with mp.workdps(DIGITS - int(min(math.log10(x), 0.0))):
            mid, first, second = derivatives(self.tree, mp.mpf(x))
            size, bend = abs(mid) + abs(x * first), abs(second) + abs(first) / x
            # log(x + 1) is rounded at 1: the value to 1e-16 absolutely, the slope to 1e-16 U/x.
            scales = (float(size) + 1e-3 * self.top, float(abs(first) + abs(mid) / x), float(bend))
            return Jet((float(mid), float(first), float(second)), scales)

    def bends(self, x: float) -> bool:
        """Whether U''(x) < 0, however small beside what floats hold: exp(-1000) is 1e-434."""
        with mp.workdps(5 * DIGITS):
            return bool(derivatives(self.tree, mp.mpf(x))[2] < -(mp.mpf(10) ** (-4 * DIGITS)))

    def gain(self, x: float) -> float:
        """Return U(1) - U(x)."""
        with mp.workdps(5 * DIGITS):  # exp(-1000) beside 1
            return float(value(self.tree, mp.mpf(1)) - value(self.tree, mp.mpf(x)))
