"""A utility of one's own functions, checked before it is believed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.numerics.taylor import Taylor, taylor
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.checks import require_concave
from collapse_theory.utilities.expression import accurate, jet
from collapse_theory.utilities.language import NoFormula, traced
from collapse_theory.utilities.normal_form import recognised

Function = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Custom(Utility):
    """A utility of one's own functions U, U' and U''; made by `from_functions`.

    Two of them are equal where their functions are the same objects.
    """

    function: Function
    first: Function
    second: Function
    name: str = "U"

    @property
    def formula(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Not looked for: the three functions are what counts."""
        return

    @cached_property
    def _series(self) -> Taylor | None:
        """The series at gap 0 of a function whose U'' is lost to rounding there, as in 0/0."""
        small = np.geomspace(1e-12, 1e-7, 16)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                series = taylor(self.function, 0.0)
                found, at_zero = self.second(small), self.second(np.float64(0.0))
        except Exception:  # a function of one's own need not take complex numbers, nor 0
            return None
        if series is None:
            return None
        off = np.abs(series.filled(small, found, 2) - found) > 1e-6 * np.abs(found)
        return series if off.any() or not np.isfinite(at_zero) else None

    def value(self, x: Any, xp: Any = np) -> Any:
        found = self.function(x)
        return self._series.filled(x, found) if self._series else found

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first, second = self.first(x), self.second(x)
        if self._series is None:
            return first, second
        return self._series.filled(x, first, 1), self._series.filled(x, second, 2)

    def __str__(self) -> str:
        return self.name


def checked(
    value: Function, d1: Function | None = None, d2: Function | None = None, name: str = "U"
) -> Utility:
    """Return the utility of these functions, or raise where they don't belong together.

    What isn't given is read off the formula that `value`, or else d1, computes.
    """
    if not isinstance(name, str) or not name:
        raise InvalidUtility(f"the name of a utility must be a text, got {name!r}")
    given = {"value": value, "d1": d1, "d2": d2}
    for label, function in given.items():
        if not callable(function) and (function is not None or label == "value"):
            raise InvalidUtility(f"{label} of {name} must be a function, got {function!r}")
    made = None
    if d1 is None or d2 is None:
        made, d1, d2 = _completed(value, d1, d2, name)
    functions = {"value": value, "d1": d1, "d2": d2}
    if made is None:
        for label, function in functions.items():
            _require_arrays(name, label, function)
    for plain, derivative in (("value", "d1"), ("d1", "d2")):
        if given[derivative]:
            _require_derivative(
                name, (plain, functions[plain]), (derivative, functions[derivative])
            )
    if made is None:
        made = Custom(value, d1, d2, name)
        require_concave(made, 1.0)
    return made


def _completed(
    value: Function, d1: Function | None, d2: Function | None, name: str
) -> tuple[Utility | None, Function, Function]:
    """Return the utility of the formula of `value`, if it is one, and both derivatives."""
    try:
        made = recognised(traced(value)).utility()
        return made, d1 or made.slope, d2 or made.curvature
    except NoFormula as fault:
        if d1 is None:
            raise InvalidUtility(
                f"the derivatives of {name} aren't found: {fault}; give d1 and d2 too"
            ) from fault
    try:
        slope = accurate(traced(d1))
    except NoFormula as fault:
        raise InvalidUtility(f"d2 of {name} isn't found: {fault}; give it too") from fault
    return None, d1, lambda x: jet(slope, x)[1]


def _require_arrays(name: str, label: str, function: Function) -> None:
    for x in (np.float64(0.5), np.linspace(0.05, 1.0, 7), np.linspace(0.05, 1.0, 6).reshape(2, 3)):
        with np.errstate(all="ignore"):
            try:
                out = np.asarray(function(x))
            except Exception as fault:
                raise InvalidUtility(
                    f"{label} of {name} must take an array of gaps; at one of shape "
                    f"{np.shape(x)} it raised {type(fault).__name__}: {fault}"
                ) from fault
        if out.shape != np.shape(x) or out.dtype.kind not in "fiu":
            raise InvalidUtility(
                f"{label} of {name} must return real numbers in the shape of its argument: for "
                f"shape {np.shape(x)} it returned shape {out.shape}, {out.dtype}"
            )
        if not np.isfinite(out).all():
            raise InvalidUtility(f"{label} of {name} must be finite on (0, 1]; it returned {out}")


# Steps of the differences, relative to the gap: the best of them is believed at each gap.
STEPS = np.array([3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5])


def differences(f: Function, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return f' by Richardson's differences, and how far off truncation and rounding may be."""
    x = gaps[:, None]
    h = np.minimum(x * STEPS, 1.001 - x)
    with np.errstate(all="ignore"):
        size = np.abs(f(x + h)) + np.abs(f(x - h))
        half = (f(x + h / 2) - f(x - h / 2)) / h
        full = (f(x + h) - f(x - h)) / (2 * h)
        error = np.abs(half - full) / 3 + 4e-16 * (size + x * np.abs(half)) / h
        best = np.argmin(np.where(np.isnan(error), np.inf, error), axis=1), np.arange(len(gaps))
        return (half + (half - full) / 3)[best[::-1]], error[best[::-1]]


def _require_derivative(
    name: str, plain: tuple[str, Function], derivative: tuple[str, Function]
) -> None:
    rng = np.random.default_rng(20230517)
    gaps = np.concatenate([rng.uniform(0.02, 0.96, 40), 10 ** rng.uniform(-4, -1.7, 20)])
    found, error = differences(plain[1], gaps)
    with np.errstate(all="ignore"):
        given = derivative[1](gaps)
        off = np.abs(found - given) - 3e-3 * np.abs(given) - 4 * error
    wrong = ~(off <= 0)
    if wrong.any():
        at = int(np.argmax(np.where(wrong, np.nan_to_num(off / (error + 1e-300), nan=np.inf), -1)))
        raise InvalidUtility(
            f"{derivative[0]} of {name} is not the derivative of its {plain[0]}: at the gap "
            f"{gaps[at]:.6g} it gives {given[at]:.6g}, where differences of {plain[0]} give "
            f"{found[at]:.6g}"
        )
