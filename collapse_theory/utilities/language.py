"""What names mean beside the functions of the table, in texts and among NumPy's functions.

A function that is made of NumPy's, SciPy's or torch's writes down its own formula: it is called
with `x` itself, which answers each of them with a tree.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from collapse_theory.utilities import expression
from collapse_theory.utilities.expression import (
    Tree,
    X,
    add,
    call,
    div,
    minimum,
    mul,
    negate,
    num,
    power,
)
from collapse_theory.utilities.functions import FUNCTIONS

CONSTANTS = {"pi": math.pi, "e": math.e}
# NumPy's, SciPy's and torch's names of functions; texts and traced functions take them.
ALIASES = {
    "arctan": "atan",
    "arcsinh": "asinh",
    "ln": "log",
    "expit": "sigmoid",
    "logistic": "sigmoid",
    "log_expit": "logsigmoid",
    "log_sigmoid": "logsigmoid",
    "absolute": "abs",
    "minimum": "min",
    "maximum": "max",
    "pow": "power",
}
MACROS: dict[str, Callable[[Tree], Tree]] = {
    "log2": lambda u: div(call("log", u), num(math.log(2))),
    "log10": lambda u: div(call("log", u), num(math.log(10))),
    "softplus": lambda u: negate(call("logsigmoid", negate(u))),
    "relu": lambda u: negate(minimum(num(0), negate(u))),
    "abs": lambda u: negate(minimum(u, negate(u))),
}
MAKERS: dict[str, Callable[..., Tree]] = {
    **{name: partial(call, name) for name in FUNCTIONS},
    **MACROS,
    "min": minimum,
    "max": lambda *parts: negate(minimum(*map(negate, parts))),
    "power": power,
}
COUNTS = {"min": (2, math.inf), "max": (2, math.inf), "power": (2, 2)}  # arguments, unless one

# What people write, or call the gap, and what to write instead.
MARKS = {
    "^": "a power is written **",
    "%": "there is no remainder",
    "|": "write abs(x)",
    "[": "write parentheses",
    "{": "write parentheses",
    "\u2212": "a minus is written -",
    "\u2013": "a minus is written -",
    "\u00d7": "a product is written *",
    "\u00b7": "a product is written *",
    "\u00f7": "a fraction is written /",
    "\u00b2": "a power is written **",
    "\u221a": "write sqrt(x)",
    "\u03c3": "write sigmoid(x)",
}
GAPS = ("X", "d", "delta", "diff", "gap", "margin", "r", "t", "u", "y", "z")


class NoFormula(ValueError):
    """A function isn't made of the functions of the language."""


class _Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """A formula that writes itself down as NumPy's and torch's functions are called on it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return self._called(ufunc.__name__, inputs, {**options, "method": method != "__call__"})

    @classmethod
    def __torch_function__(
        cls, function: Any, _: Any, inputs: Any = (), options: Any = None
    ) -> Any:
        return cls._called(function.__name__, inputs, options or {})

    @classmethod
    def _called(cls, name: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if name not in _NAMED or any(options.values()):
            raise TypeError(f"{name} is no function of the language")
        trees = (t.tree if isinstance(t, _Traced) else num(float(t)) for t in inputs)
        return cls(_NAMED[name](*trees))

    def clip(self, min: Any = None, max: Any = None, **_: Any) -> Any:
        """What np.clip calls."""
        above = self if min is None else self._called("max", (self, min), {})
        return above if max is None else self._called("min", (above, max), {})


_NAMED: dict[str, Callable[..., Tree]] = {
    **MAKERS,
    **{alias: MAKERS[name] for alias, name in ALIASES.items()},
    "add": add,
    "subtract": lambda a, b: add(a, negate(b)),
    "multiply": mul,
    "divide": div,
    "float_power": power,
    "square": lambda u: power(u, num(2.0)),
    "reciprocal": lambda u: div(num(1.0), u),
    "logaddexp": lambda a, b: add(a, negate(call("logsigmoid", add(a, negate(b))))),
    "negative": negate,
    "positive": lambda u: u,
}


def traced(value: Callable[[Any], Any]) -> Tree:
    """Return the formula of a function; `NoFormula` where it calls what the language lacks."""
    try:
        tree = value(_Traced(X)).tree
    except Exception as fault:
        raise NoFormula(
            f"its value isn't made of the functions that formulas know ({type(fault).__name__}: "
            f"{fault})"
        ) from fault
    gaps = np.linspace(0.05, 1.0, 20)
    with np.errstate(all="ignore"):
        try:
            found = np.asarray(value(gaps), dtype=float)
        except Exception:  # of torch's functions, which torch knows
            found = np.asarray(value(sys.modules["torch"].as_tensor(gaps)), dtype=float)
        read = expression.value(expression.accurate(tree), gaps) + 0 * gaps
    if found.shape != gaps.shape or not np.allclose(read, found, rtol=1e-9, atol=1e-12):
        raise NoFormula("its value is no single formula")
    return tree
