"""Formulas as trees: made in one normal form, printed, and evaluated in several arithmetics.

A tree is one of ("x",), ("num", v), ("add", t, ...), ("mul", t, ...), ("div", p, q),
("pow", base, exponent), ("call", name, t), ("min", t, ...); -t is -1 times t. The functions `num`
to `minimum` are the only makers of trees. They fold constants in float arithmetic and keep a normal
form in which ``parse(text(tree)) == tree``: a sum holds no sums, a product no products and at most
one number, the first factor, a fraction neither stands inside a product nor inside a fraction.
("own", u, t) is a utility of one's own at t. In trees that are evaluated and never printed
("series", taylor, t) stands for t where it is 0/0.

`evaluate` walks a tree once; what its operations mean is the matter of an `Arithmetic`: values on
NumPy or torch, exact derivatives (`Jets`), CVXPY expressions (`Cones`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from collapse_theory.errors import NoConicForm, ParseError
from collapse_theory.numerics.taylor import Taylor
from collapse_theory.utilities.checks import number_text
from collapse_theory.utilities.functions import FUNCTIONS

Tree = tuple[Any, ...]

X: Tree = ("x",)


# -- makers ------------------------------------------------------------------------------


def num(value: float) -> Tree:
    """Return the number `value`, which must be finite."""
    if not math.isfinite(value):
        raise ParseError("a constant in the utility overflows float64 or is not a number")
    return ("num", float(value) + 0.0)  # + 0.0 turns -0.0 into 0.0


ONE, MINUS_ONE = num(1.0), num(-1.0)


def is_num(tree: Tree) -> bool:
    return tree[0] == "num"


def is_negative(tree: Tree) -> bool:
    """Whether the tree prints with a leading minus sign."""
    if tree[0] == "num":
        return tree[1] < 0
    return tree[0] in ("mul", "div") and is_negative(tree[1])


def negate(tree: Tree) -> Tree:
    """Return -tree."""
    return mul(MINUS_ONE, tree)


def add(*terms: Tree) -> Tree:
    """Return the sum of `terms`."""
    if len(terms) == 1:
        return terms[0]
    flat: list[Tree] = []
    for term in terms:
        for part in _summands(term):
            # Leading numbers fold, as they do when the text is read from the left.
            if len(flat) == 1 and is_num(flat[0]) and is_num(part):
                flat[0] = num(flat[0][1] + part[1])
            else:
                flat.append(part)
    return flat[0] if len(flat) == 1 else ("add", *flat)


def _summands(term: Tree) -> tuple[Tree, ...]:
    if term[:2] == ("mul", MINUS_ONE) and term[2][0] == "add" and len(term) == 3:
        return tuple(negate(t) for t in term[2][1:])
    return term[1:] if term[0] == "add" else (term,)


def mul(*factors: Tree) -> Tree:
    """Return the product of `factors`; fractions among them become one fraction."""
    coefficient, above, below = 1.0, [], []
    stack = list(reversed(factors))
    while stack:
        factor = stack.pop()
        kind = factor[0]
        if kind == "num":
            coefficient *= factor[1]
        elif kind == "mul":
            stack.extend(reversed(factor[1:]))
        elif kind == "div":
            below.append(factor[2])
            stack.append(factor[1])
        else:
            above.append(factor)
    if coefficient != 1 or not above:
        above.insert(0, num(coefficient))
    product = above[0] if len(above) == 1 else ("mul", *above)
    return div(product, mul(*below)) if below else product


def div(above: Tree, below: Tree) -> Tree:
    """Return above/below."""
    if below[0] == "div":
        return div(mul(above, below[2]), below[1])
    if above[0] == "div":
        return div(above[1], mul(above[2], below))
    if is_negative(below):
        return div(negate(above), negate(below))
    if is_num(below) and below[1] == 0:
        raise ParseError("the utility divides by zero")
    if is_num(above) and is_num(below):
        return num(above[1] / below[1])
    return ("div", above, below)


def power(base: Tree, exponent: Tree) -> Tree:
    """Return base**exponent."""
    if not (is_num(base) and is_num(exponent)):
        return ("pow", base, exponent)
    shown = f"{number_text(base[1])}**{number_text(exponent[1])}"
    return _folded(lambda: math.pow(base[1], exponent[1]), shown)


def call(name: str, argument: Tree) -> Tree:
    """Return name(argument)."""
    if not is_num(argument):
        return ("call", name, argument)
    shown = f"{name}({number_text(argument[1])})"
    return _folded(lambda: FUNCTIONS[name].value(argument[1], math), shown)


def own(utility: Any, argument: Tree) -> Tree:
    """Return a utility of one's own at an argument."""
    return ("own", utility, argument)


def _folded(constant: Callable[[], float], shown: str) -> Tree:
    try:
        return num(constant())
    except (ValueError, OverflowError):
        raise ParseError(f"the constant {shown} in the utility is not a finite number") from None


def minimum(*arguments: Tree) -> Tree:
    """Return min(arguments)."""
    flat: list[Tree] = []
    for argument in arguments:
        flat.extend(argument[1:] if argument[0] == "min" else (argument,))
    flat = list(dict.fromkeys(flat))
    if len(flat) == 1:
        return flat[0]
    if all(is_num(a) for a in flat):
        return num(min(a[1] for a in flat))
    return ("min", *flat)


_MAKERS: dict[str, Callable[..., Tree]] = {
    "add": add,
    "mul": mul,
    "div": div,
    "pow": power,
    "min": minimum,
}
_CALLS: dict[str, Callable[..., Tree]] = {"call": call, "own": own}


def rebuilt(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """Return the tree made anew from its changed parts."""
    parts = [change(t) for t in children(tree)]
    if not parts:
        return tree
    if tree[0] in _CALLS:
        return _CALLS[tree[0]](tree[1], parts[0])
    return _MAKERS[tree[0]](*parts)


def substituted(tree: Tree, inner: Tree) -> Tree:
    """Return the tree with `inner` in the place of x."""
    return inner if tree == X else rebuilt(tree, lambda t: substituted(t, inner))


def children(tree: Tree) -> tuple[Tree, ...]:
    """Return the parts of a tree that are trees."""
    if tree[0] in ("x", "num"):
        return ()
    return tree[2:] if tree[0] in _CALLS else tree[1:]


def depth(tree: Tree) -> int:
    """Return how many levels the tree has."""
    return 1 + max((depth(t) for t in children(tree)), default=0)


# -- text --------------------------------------------------------------------------------


def text(tree: Tree) -> str:
    """Return the tree as text with the fewest parentheses, which `parse` reads back exactly."""
    kind = tree[0]
    if kind == "x":
        return "x"
    if kind == "num":
        return number_text(tree[1])
    if kind == "add":
        rest = [f" - {text(negate(t))}" if is_negative(t) else f" + {text(t)}" for t in tree[2:]]
        return text(tree[1]) + "".join(rest)
    if kind == "mul":
        product = "*".join(_within(t, "add") for t in tree[1:])
        return f"-{product[3:]}" if tree[1] == MINUS_ONE else product
    if kind == "div":
        return f"{_within(tree[1], 'add')}/{_within(tree[2], 'add', 'mul', 'div')}"
    if kind == "pow":
        return _power_text(tree[1], tree[2])
    if kind == "own":
        named = tree[1].named and tree[2] == X
        return tree[1].called if named else f"{tree[1].called}({text(tree[2])})"
    inside = ", ".join(text(t) for t in children(tree))
    return f"{tree[1] if kind == 'call' else 'min'}({inside})"


def _power_text(base: Tree, exponent: Tree) -> str:
    low = _within(base, "add", "mul", "div", "pow")
    if is_num(base) and base[1] < 0:
        low = f"({low})"
    signed = exponent[:2] == ("mul", MINUS_ONE) and len(exponent) == 3 and exponent[2][0] != "add"
    loose = () if signed else ("add", "mul", "div")
    return f"{low}**{_within(exponent, *loose)}"


def _within(tree: Tree, *loose: str) -> str:
    return f"({text(tree)})" if tree[0] in loose else text(tree)


# -- evaluation --------------------------------------------------------------------------


def evaluate(tree: Tree, x: Any, within: Arithmetic) -> Any:
    """Return the tree at `x` in the arithmetic `within`."""
    kind = tree[0]
    if kind == "x":
        return x
    if kind == "num":
        return within.num(tree[1])
    if kind == "call":
        return within.call(tree[1], evaluate(tree[2], x, within))
    if kind == "series":
        return within.series(tree[1], tree[2], x)
    if kind == "own":
        return within.own(tree[1], evaluate(tree[2], x, within))
    return getattr(within, kind)(*[evaluate(t, x, within) for t in tree[1:]])


class Arithmetic:
    """Values on the array namespace `xp` (NumPy or torch); numbers stay plain floats."""

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp

    def num(self, value: float, /) -> Any:
        return value

    def add(self, *parts: Any) -> Any:
        return reduce(operator.add, parts)

    def mul(self, *parts: Any) -> Any:
        return reduce(operator.mul, parts)

    def div(self, a: Any, b: Any, /) -> Any:
        return a / b

    def pow(self, a: Any, b: Any, /) -> Any:
        return a**b

    def min(self, *parts: Any) -> Any:
        return reduce(self._smaller, parts)

    def _smaller(self, a: Any, b: Any) -> Any:
        # torch.minimum takes no plain numbers.
        if type(a) is float:
            a, b = b, a
        if type(a) is float:
            return min(a, b)
        return self.xp.clip(a, max=b) if type(b) is float else self.xp.minimum(a, b)

    def call(self, name: str, u: Any, /) -> Any:
        return FUNCTIONS[name].value(u, self.xp)

    def own(self, utility: Any, u: Any) -> Any:
        return utility.value(u, self.xp)

    def series(self, series: Taylor, tree: Tree, x: Any) -> Any:
        """Return the tree at x, near the centre of its series by that."""
        found = evaluate(tree, series.away(x, self.xp), self)
        return series.filled(x, found, 0, self.xp)


# A jet: value, first and second derivative; None is a derivative that is zero everywhere, so
# that 0 * inf at a pole doesn't become NaN.
Jet = tuple[Any, Any, Any]


def plus(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def times(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a * b


class Jets(Arithmetic):
    """Value, first and second derivative, propagated together."""

    def num(self, value: float) -> Jet:
        return value, None, None

    def add(self, *parts: Jet) -> Jet:
        return reduce(lambda f, g: (f[0] + g[0], plus(f[1], g[1]), plus(f[2], g[2])), parts)

    def mul(self, *parts: Jet) -> Jet:
        return reduce(self._product, parts)

    def _product(self, f: Jet, g: Jet) -> Jet:
        first = plus(times(f[1], g[0]), times(f[0], g[1]))
        cross = times(2.0, times(f[1], g[1]))
        return f[0] * g[0], first, plus(plus(times(f[2], g[0]), cross), times(f[0], g[2]))

    def div(self, f: Jet, g: Jet) -> Jet:
        # From (f/g) g = f, differentiated: no squares of g that could underflow.
        inverse = np.float64(1.0) / g[0]
        ratio = f[0] / g[0]
        first = times(plus(f[1], times(-ratio, g[1])), inverse)
        rest = plus(times(times(-2.0, first), g[1]), times(-ratio, g[2]))
        return ratio, first, times(plus(f[2], rest), inverse)

    def pow(self, base: Jet, exponent: Jet) -> Jet:
        if exponent[1] is not None or not isinstance(exponent[0], int | float):
            return self.call("exp", self._product(exponent, self.call("log", base)))
        u, c = base[0], exponent[0]
        first = None if c == 0 else c * u ** (c - 1)
        second = None if c in (0, 1) else c * (c - 1) * u ** (c - 2)
        return self._chain(u**c, first, second, base)

    def min(self, *parts: Jet) -> Jet:
        """Return the jet of the branch that is the least at each gap, and just above it.

        Of branches that meet, as those of min(2*x, tanh(x)) do at gap 0, the least slope goes on.
        """
        shape = np.broadcast_shapes(*(np.shape(part[0]) for part in parts))
        whole = [
            np.stack([np.zeros(shape) + (0.0 if part[k] is None else part[k]) for part in parts])
            for k in range(3)
        ]
        slopes = np.where(whole[0] == whole[0].min(axis=0), whole[1], np.inf)
        tied = (slopes < np.inf).sum(axis=0) > 1
        active = np.where(tied, np.argmin(slopes, axis=0), np.argmin(whole[0], axis=0))[None]
        value, first, second = (np.take_along_axis(a, active, 0)[0] for a in whole)
        return value, first, second

    def call(self, name: str, u: Jet) -> Jet:
        row = FUNCTIONS[name]
        f = row.value(u[0])
        return self._chain(f, *row.slopes(u[0], f), u)

    def own(self, utility: Any, u: Jet) -> Jet:
        first, second = utility.derivatives(u[0])
        return self._chain(utility.value(u[0]), first, second, u)

    filled = staticmethod(Taylor.filled)

    def series(self, series: Taylor, tree: Tree, x: Jet) -> Jet:
        found = [0.0 if f is None else f for f in evaluate(tree, (x[0], 1.0, None), self)]
        zeroth, first, second = (self.filled(series, x[0], f, k) for k, f in enumerate(found))
        return self._chain(zeroth, first, second, x)

    def _chain(self, value: Any, first: Any, second: Any, u: Jet) -> Jet:
        bend = times(times(second, u[1]), u[1])
        return value, times(first, u[1]), plus(bend, times(first, u[2]))


def accurate(tree: Tree) -> Tree:
    """Return the tree with log(1 + u) as log1p(u) and exp(u) - 1 as expm1(u).

    sqrt(log(1 + x)) would lose all digits of its slope at x = 1e-17 otherwise.
    """
    made = rebuilt(tree, accurate)
    if made[0] == "call" and made[1] == "log" and made[2][0] == "add" and ONE in made[2]:
        terms = list(made[2][1:])
        terms.remove(ONE)
        return call("log1p", add(*terms))
    if made[0] == "add":
        for term in made[1:]:
            negative = is_negative(term)
            bare, unit = (negate(term), ONE) if negative else (term, MINUS_ONE)
            if bare[:2] == ("call", "exp") and unit in made:
                whole = call("expm1", bare[2])
                rest = [t for t in made[1:] if t not in (term, unit)]
                if len(rest) == len(made) - 3:
                    return add(*rest, negate(whole) if negative else whole)
    return made


_NUMPY, _JETS = Arithmetic(), Jets()


def value(tree: Tree, x: Any, xp: Any = np) -> Any:
    """Return the tree at x on the array namespace `xp` (NumPy or torch)."""
    return evaluate(tree, x, _NUMPY if xp is np else Arithmetic(xp))


def jet(tree: Tree, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return U, U' and U'' at the gaps `x`."""
    gaps = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        found = evaluate(tree, (gaps, 1.0, None), _JETS)
    zeroth, first, second = (np.zeros_like(gaps) + (0.0 if d is None else d) for d in found)
    return zeroth[()], first[()], second[()]


# -- the conic form ----------------------------------------------------------------------


class Cones(Arithmetic):
    """CVXPY expressions by the rules of DCP, `xp` being CVXPY; `NoConicForm` without a cone."""

    def num(self, value: float) -> Any:
        return self.xp.Constant(value)

    def mul(self, *parts: Any) -> Any:
        return reduce(self._product, parts)

    def _product(self, a: Any, b: Any) -> Any:
        if not (a.is_constant() or b.is_constant()):
            raise _no_cone("a product of two functions of the gap")
        return self.xp.multiply(a, b)

    def div(self, a: Any, b: Any) -> Any:
        return a / b if b.is_constant() else self._product(a, self.xp.inv_pos(b))

    def pow(self, a: Any, b: Any) -> Any:
        if b.is_constant():
            return cone_of_power(self.xp, a, float(b.value))
        if a.is_constant() and a.value > 0:
            return self.xp.exp(float(np.log(a.value)) * b)
        raise _no_cone("a power whose base and exponent depend on the gap")

    def min(self, *parts: Any) -> Any:
        return self.xp.minimum(*parts)

    def call(self, name: str, u: Any) -> Any:
        cone = FUNCTIONS[name].cone
        if cone is None:
            raise _no_cone(name)
        return cone(self.xp, u)

    def own(self, utility: Any, u: Any) -> Any:
        if utility.formula is None:
            raise _no_cone(str(utility))
        return evaluate(utility.formula, u, self)


def cone_of_power(cp: Any, base: Any, p: float) -> Any:
    """Return base**p; cones take it by a fraction near p, of a denominator up to 1024."""
    if p and not 1e-3 <= abs(p) <= 1e3:
        raise _no_cone(f"a power of {number_text(p)}")
    return cp.power(base, p)


def conic(tree: Tree, cp: Any, gap: Any) -> Any:
    """Return the tree at `gap` for CVXPY; `NoConicForm` unless its rules (DCP) show it concave."""
    made = evaluate(tree, gap, Cones(cp))
    if not made.is_concave():
        raise NoConicForm(
            f"{text(tree)} is not concave by CVXPY's rules, so it has no conic form; "
            'use method="newton"'
        )
    return made


def _no_cone(what: str) -> NoConicForm:
    return NoConicForm(f'{what} has no conic form; use method="newton"')
