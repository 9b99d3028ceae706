"""The functions of the language, one row each: value, two derivatives, conic form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.numerics.intervals import Interval


@dataclass(frozen=True)
class Function:
    """A function f of one argument."""

    name: str
    # (u, f(u)) -> (f'(u), f''(u)) for arrays, without overflow where f has none.
    slopes: Callable[[Any, Any], tuple[Any, Any]]
    # (cp, z) -> f(z) as a CVXPY expression; None where CVXPY has no cone for it.
    cone: Callable[[Any, Any], Any] | None = None
    # (u, xp) -> f(u) for a namespace `xp`; unless given, the function of that name in `xp`.
    formula: Callable[[Any, Any], Any] | None = None
    # f, f' and f'' are monotone between -turn, 0 and turn, or everywhere; NaN: they are periodic.
    turn: float | None = None
    # f for complex numbers, where `formula` or NumPy has no, or no accurate, values.
    analytic: Callable[[Any], Any] | None = None

    def value(self, u: Any, xp: Any = np) -> Any:
        """Return f(u), where `xp` is NumPy, torch, or `math` for a plain number."""
        return getattr(xp, self.name)(u) if self.formula is None else self.formula(u, xp)

    def bounds(self, u: Interval) -> tuple[Interval, Interval, Interval]:
        """Return between which bounds f, f' and f'' are for u in an interval."""
        turns: list[Any] = [] if self.turn is None else [-self.turn, 0.0, self.turn]
        if self.turn is not None and math.isnan(self.turn):
            quarter = np.pi / 2
            turns = [(np.ceil(u.low / quarter) + k) * quarter for k in range(4)]
        ends = [u.low, u.high, *(np.clip(turn, u.low, u.high) for turn in turns)]
        values = [self.value(end) for end in ends]
        slopes = (self.slopes(end, f) for end, f in zip(ends, values, strict=True))
        value, first, second = map(Interval.hull, (values, *zip(*slopes, strict=True)))
        if np.any(lost := np.isnan(value.low)):  # outside its domain, where 1/u has values
            nothing = np.where(lost, np.nan, 0.0)
            first, second = first + nothing, second + nothing
        return value, first, second


def log_sigmoid(u: Any, xp: Any = np) -> Any:
    """Return log(1/(1+exp(-u))) without overflow."""
    # min(u, 0) = (u - |u|)/2 exactly.
    return (u - abs(u)) / 2 - xp.log1p(xp.exp(-abs(u)))


def _sigmoid(u: Any, xp: Any) -> Any:
    # exp(min(u, 0)) / (1 + exp(-|u|)): both exponents are at most 0.
    return xp.exp((u - abs(u)) / 2) / (1 + xp.exp(-abs(u)))


def _log(u: Any, _: Any) -> tuple[Any, Any]:
    inverse = np.float64(1.0) / u
    return inverse, -inverse * inverse


def _atan(u: Any, _: Any) -> tuple[Any, Any]:
    # w = 1/sqrt(1 + u**2) by hypot, as u**2 may overflow.
    w = 1.0 / np.hypot(1.0, u)
    return w * w, -2.0 * (u * w) * w * w * w


def _asinh(u: Any, _: Any) -> tuple[Any, Any]:
    w = 1.0 / np.hypot(1.0, u)
    return w, -(u * w) * w * w


def _tanh(u: Any, f: Any) -> tuple[Any, Any]:
    # sech^2 by exponentials: 1 - tanh^2 would be 0 or noise where tanh is near 1.
    e = np.exp(-2.0 * np.abs(u))
    sech2 = 4.0 * e / (1.0 + e) ** 2
    return sech2, -2.0 * f * sech2


def _erf_slopes(u: Any, _: Any) -> tuple[Any, Any]:
    bell = 2.0 / np.sqrt(np.pi) * np.exp(-u * u)
    return bell, -2.0 * u * bell


def _sigmoid_slopes(u: Any, f: Any) -> tuple[Any, Any]:
    bell = f * special.expit(-u)
    return bell, -np.tanh(u / 2) * bell


def _log_sigmoid_slopes(u: Any, _: Any) -> tuple[Any, Any]:
    fall = special.expit(-u)
    return fall, -fall * special.expit(u)


def _erf(u: Any, xp: Any) -> Any:
    return (special if xp is np else xp).erf(u)


FUNCTIONS: dict[str, Function] = {
    row.name: row
    for row in (
        Function("log", _log, lambda cp, z: cp.log(z)),
        Function(
            "log1p",
            lambda u, _: _log(1.0 + u, _),
            lambda cp, z: cp.log1p(z),
            analytic=lambda u: special.log1p(u),
        ),
        Function("sqrt", lambda u, f: (0.5 / f, -0.25 / (f * u)), lambda cp, z: cp.sqrt(z)),
        Function("exp", lambda u, f: (f, f), lambda cp, z: cp.exp(z)),
        Function("expm1", lambda u, f: (np.exp(u),) * 2, lambda cp, z: cp.exp(z) - 1),
        Function("atan", _atan, turn=3**-0.5),
        Function("asinh", _asinh, turn=0.5**0.5),
        Function("tanh", _tanh, turn=math.log(2 + 3**0.5) / 2),
        Function("erf", _erf_slopes, formula=_erf, turn=0.5**0.5),
        Function("sin", lambda u, f: (np.cos(u), -f), turn=math.nan),
        Function("cos", lambda u, f: (-np.sin(u), -f), turn=math.nan),
        Function(
            "sigmoid",
            _sigmoid_slopes,
            formula=_sigmoid,
            turn=math.log(2 + 3**0.5),
            analytic=lambda u: 1 / (1 + np.exp(-u)),
        ),
        Function(
            "logsigmoid",
            _log_sigmoid_slopes,
            lambda cp, z: -cp.logistic(-z),
            log_sigmoid,
            0.0,
            analytic=lambda u: -special.log1p(np.exp(-u)),
        ),
    )
}
