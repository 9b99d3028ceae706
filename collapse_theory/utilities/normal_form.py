"""From text to a utility in normal form: exact weights of families, and one formula for the rest.

`recognised` reads a tree as a sum of families at affine arguments, in exact arithmetic; what is no
family stays an `Expression`. `FormulaSum` brings such sums to normal form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility, ParseError
from collapse_theory.numerics.checks import bracketless
from collapse_theory.utilities import checks, expression
from collapse_theory.utilities.base import Combination, Term, Utility
from collapse_theory.utilities.capped import Hinge, Sine, Squared
from collapse_theory.utilities.expression import ONE, Tree, X
from collapse_theory.utilities.families import (
    Exponential,
    LabelSmoothing,
    Linear,
    Log,
    LogSigmoid,
    NegativePower,
    Power,
    exponential,
)
from collapse_theory.utilities.floats import Exact, exact, ratio, rounded
from collapse_theory.utilities.formula import filled
from collapse_theory.utilities.parser import FAMILIES, parse
from collapse_theory.utilities.plackett_luce import PlackettLuce
from collapse_theory.values import reads

# The longest text that `from_dict` reads: a design can be a sum of hundreds of hinges.
LONGEST_SAVED = 200_000

Loss = Utility | PlackettLuce


# -- text --------------------------------------------------------------------------------


def utility(text: str | Utility) -> Utility:
    """Return the utility that `text` describes.

    The text is a formula in the gap x: numbers, ``pi``, ``e``, ``+ - * / **``, parentheses,
    ``log log1p sqrt exp expm1 atan asinh tanh erf sin cos sigmoid logsigmoid``, ``ln log2 log10
    softplus relu abs``, ``min``, ``max`` and families such as ``LogSigmoid(4)``. It is read
    without `eval`. Families are recognised, so that ``utility("log(x + 0.1)")`` equals
    ``Log().shifted(0.1)`` and gets the same solvers.

    Parameters
    ----------
    text
        The formula, or a utility, which is returned unchanged.

    Returns
    -------
    Utility
        In normal form: ``utility(str(u)) == u``.

    Raises
    ------
    ParseError
        Where the text is no formula; names what was found, and where.
    NotConcave
        Where the utility is convex at some gap in (0, 1].
    InvalidUtility
        Where it has no values in (0, 1], or doesn't depend on x.

    Examples
    --------
    >>> from collapse_theory.utilities import utility
    >>> utility("logsigmoid(4*x)")
    LogSigmoid(beta=4.0)
    >>> str(utility("log(x + 0.1) + 3*x - 2"))
    'log(x + 0.1) + 3*x - 2'
    """
    if isinstance(text, Utility):
        checks.require_concave(text, 1.0)  # known, but for a class of one's own
        return text
    if isinstance(text, type) and issubclass(text, Utility | PlackettLuce):
        raise InvalidUtility(bracketless(text))
    listwise = PlackettLuce.parse(text) if isinstance(text, str) else text
    if isinstance(listwise, PlackettLuce):
        raise InvalidUtility(
            f"{listwise} is worth what the whole ranking is, so it is no utility of a gap; "
            "ct.solve, ct.limit and ct.closed_form take it as it is"
        )
    if not isinstance(text, str):
        raise ParseError(f"a utility is a text such as 'log(x + 0.1)', got {type(text).__name__}")
    return _read(text, tuple(FAMILIES.values()))


@lru_cache(maxsize=256)
def _read(text: str, _: tuple[type[Utility], ...]) -> Utility:
    """Return the utility of a text, read once; anew where `register` has changed the words."""
    return recognised(parse(text)).utility()


def as_loss(given: Loss | str) -> Loss:
    """Return the utility of a gap or the listwise loss that `given` is, or that its text says.

    Nothing is evaluated: the text is ``PlackettLuce(top=..., beta=...)``, or a formula.

    Parameters
    ----------
    given : Utility, PlackettLuce or str

    Raises
    ------
    ParseError
        Where the text is neither.

    Examples
    --------
    >>> from collapse_theory.utilities import as_loss
    >>> as_loss("plackett-luce"), as_loss("PlackettLuce(top=1, beta=2)")
    (PlackettLuce(), PlackettLuce(top=1, beta=2))
    >>> as_loss("logsigmoid(x)")
    LogSigmoid(beta=1.0)
    """
    if isinstance(given, PlackettLuce):
        return given
    listwise = PlackettLuce.parse(given) if isinstance(given, str) else None
    return utility(given) if listwise is None else listwise


@reads("Utility")
def _saved(data: dict[str, Any]) -> Utility:
    """Return the utility that `Utility.to_dict` wrote."""
    if not isinstance(data.get("text"), str) or set(data) - {"type", "text"}:
        raise InvalidUtility(
            f"a dict with type 'Utility' and a text alone was needed, got {data!r}"
        )
    return recognised(parse(data["text"], longest=LONGEST_SAVED)).utility()


# -- what is no sum of families ------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Expression(Utility):
    """A utility that is no sum of families, as a tree; made by `utility` and by sums.

    `value`, `slope` and `curvature` are exact: the derivatives are propagated through the tree.
    """

    formula: Tree  # pyright: ignore[reportIncompatibleVariableOverride]

    def value(self, x: Any, xp: Any = np) -> Any:
        tree = self.regular or self.formula
        if xp is not np:
            return expression.value(tree, x, xp)
        with np.errstate(all="ignore"):
            found = expression.value(tree, x)
        return filled(x, found, lambda: float(expression.value(tree, np.float64(1e-300))))

    def tree(self, inner: Tree = X) -> Tree:
        return self.formula if inner == X else expression.substituted(self.formula, inner)

    def at(self, scale: Exact = 1, shift: Exact = 0) -> Combination:
        return recognised(expression.substituted(self.formula, _line_tree(scale, shift)))


# -- sums with formulas in them ------------------------------------------------------------


class FormulaSum(Combination):
    """A sum in which formulas, or families with negative weights, become one `Expression`."""

    def utility(self) -> Utility:
        parts = [(w, t) for w, t in self.parts if w]
        odd = [(w, t) for w, t in parts if _is_odd(t.of, w)]
        for _, term in odd:
            if term.of.own_functions:
                raise InvalidUtility(f"{term.of}, a function of one's own, can't be subtracted")
        if not odd:
            return super().utility()
        try:
            return self._with_one(odd)
        except InvalidUtility:
            # Convex or flat alone: it takes the families' help, so they become one.
            made = self._with_one([(w, t) for w, t in parts if not t.of.own_functions])
        checks.concavity(made, 1.0)  # of 1 - exp(-x) + ..., not beside the 1 of its exponential
        return made

    def _with_one(self, odd: list[tuple[Exact, Term]]) -> Utility:
        rest = [part for part in self.parts if part not in odd]
        return (Combination(rest, self.constant) + _gathered(odd)).utility()


def _is_odd(of: Utility, weight: Exact) -> bool:
    return isinstance(of, Expression) or (weight < 0 and not isinstance(of, Linear))


def _gathered(weighted: list[tuple[Exact, Term]]) -> Combination:
    """Return the weighted sum as one Expression and a constant.

    Its terms are sorted by their text, their weights added exactly, so that the sum does not
    depend on the order in which it was written.
    """
    constant, cores = exact(0.0), dict[Tree, Exact]()
    for weight, term in weighted:
        tree = term.tree
        for part in tree[1:] if tree[0] == "add" else (tree,):
            factor, core = _split(part)
            if core == ONE:
                constant += weight * factor
            else:
                cores[core] = cores.get(core, 0) + weight * factor
    floats = {core: rounded(weight) for core, weight in cores.items()}
    by_text = sorted(floats, key=expression.text)
    parts = [expression.mul(expression.num(floats[c]), c) for c in by_text if floats[c]]
    whole = [(1, Term(Expression(expression.add(*parts))))] if parts else []
    return Combination(whole, constant)


# -- reading a tree ------------------------------------------------------------------------

Line = tuple[Exact, Exact]  # a x + b, exactly


def recognised(tree: Tree) -> Combination:
    """Return the tree as an exact combination of families and of `Expression` terms.

    Constants distribute over sums. Arguments a x + b are kept exact to the end, where the
    scale a and the shift b/a become floats.
    """
    return FormulaSum() + _sum(tree)


def _sum(tree: Tree) -> Combination:
    found = families(tree)
    if found is not None:
        return found
    # As its own text will be read back: constants in it may have come together.
    again = normal(tree)
    return _sum(again) if again != tree else Combination([(1, Term(Expression(tree)))])


def families(tree: Tree) -> Combination | None:
    """Return the families that a tree is a sum of, where it is one."""
    if whole := _line(tree):
        return Linear().at(*whole)
    factor, core = _split(tree)
    if core is not tree:
        return _sum(core) * factor
    kind, parts = tree[0], expression.children(tree)
    if kind == "add":
        return Combination.total(map(_sum, parts))
    lines = [line for part in parts if (line := _line(part))]
    if len(lines) == len(parts):
        if kind == "min":
            return _envelope(lines)
        if kind == "mul" and len(lines) == 2:
            return _product(*lines)
        if kind == "div" and parts[0] != ONE:
            return _quotient(lines[0], lines[1], parts[1])
        if kind == "own" and lines[0][0] > 0:
            return tree[1].at(*lines[0])
    found = None
    if kind == "call":
        found = _called(tree[1], *lines[0]) if lines else _softplus(tree[1], normal(parts[0]))
    power = _as_power(tree)
    return _power(*power) if found is None and power else found


@lru_cache(maxsize=512)  # asked of a tree at each step of reading it
def _line(tree: Tree) -> Line | None:
    """Return (a, b) where the tree is a x + b."""
    kind = tree[0]
    if kind == "x":
        return 1, 0
    if kind == "num":
        return 0, exact(tree[1])
    lines: list[Line] = []
    for part in tree[1:] if kind in ("add", "mul", "div") else ():
        line = _line(part)
        if line is None:
            return None
        lines.append(line)
    if kind == "add":
        return sum(a for a, _ in lines), sum(b for _, b in lines)
    if kind == "div" and not lines[1][0]:
        (a, b), (_, divisor) = lines
        if not divisor:
            raise ParseError("the utility divides by zero")
        return ratio(a, divisor), ratio(b, divisor)
    steep = [line for line in lines if line[0]]
    if kind != "mul" or len(steep) > 1:
        return None
    a, b = steep[0] if steep else (0, 1)
    factor = math.prod(b for a, b in lines if not a)
    return factor * a, factor * b


def _number(tree: Tree) -> Exact | None:
    """Return the number that a tree is, if it doesn't depend on x."""
    line = _line(tree)
    return line[1] if line and not line[0] else None


def _split(tree: Tree) -> tuple[Exact, Tree]:
    """Return the number that a tree is a multiple of, and the rest."""
    number = _number(tree)
    if number is not None:
        return number, ONE
    if tree[0] == "mul":
        numbers = {part: _number(part) for part in tree[1:]}
        rest = [part for part in tree[1:] if numbers[part] is None]
        if len(rest) < len(tree) - 1:
            factors = (n for n in map(numbers.get, tree[1:]) if n is not None)
            return math.prod(factors), expression.mul(*rest)
    if tree[0] == "div":
        (j, p), (k, q) = _split(tree[1]), _split(tree[2])
        if not k:
            raise ParseError("the utility divides by zero")
        if q == ONE or (p, q) != tree[1:]:
            return ratio(j, k), p if q == ONE else expression.div(p, q)
    return 1, tree


def normal(tree: Tree) -> Tree:
    """Return the tree with its lines, and common factors of fractions, written shortly."""
    line = _line(tree)
    if line:
        return _line_tree(*line)
    if tree[0] == "div":
        factor, core = _split(tree)
        if factor == 1 and core is not tree:
            return normal(core)
    return expression.rebuilt(tree, normal)


def _as_power(tree: Tree) -> tuple[Line, float] | None:
    """Return (a, b) and p where the tree is (a x + b)**p."""
    line = _line(tree)
    if line:
        return (line, 1.0) if line[0] else None
    if tree[0] == "div" and tree[1] == ONE:
        below = _as_power(tree[2])
        return below and (below[0], -below[1])
    if tree[:2] == ("call", "sqrt"):
        return _as_power(expression.power(tree[2], expression.num(0.5)))
    base, number = (_as_power(tree[1]), _number(tree[2])) if tree[0] == "pow" else (None, None)
    if base and base[1] == 1 and number is not None:  # (u**2)**0.5 is |u|
        return base[0], rounded(number)
    return None


def _quotient(above: Line, line: Line, below: Tree) -> Combination:
    """Return (c x + d)/(a x + b) = c/a + (d - c b/a)/(a x + b)."""
    whole = ratio(above[0], line[0])
    rest = _sum(expression.div(ONE, below)) * (above[1] - whole * line[1])
    return Combination([], whole) + rest


def _product(one: Line, other: Line) -> Combination:
    """Return the product of two lines."""
    (a, b), (c, d) = one, other
    return Combination([(-a * c, Term(Squared(0.0))), (a * d + b * c, Term(Linear()))], b * d)


def _line_tree(a: Exact, b: Exact) -> Tree:
    """Return a x + b as a tree: a*(x + s) where b is no float, as in 0.3*(x + 0.1)."""
    slope = rounded(a)
    if not slope:
        return expression.num(rounded(b))
    shift = rounded(ratio(b, exact(slope)))
    for constant in (b, exact(slope) * exact(shift)):
        if exact(rounded(constant)) == constant:
            parts = expression.mul(expression.num(slope), X), expression.num(rounded(constant))
            if not constant:
                return parts[0]
            return expression.add(*(parts if slope > 0 or constant < 0 else parts[::-1]))
    return expression.mul(expression.num(slope), expression.add(X, expression.num(shift)))


# -- families of lines ---------------------------------------------------------------------


def _power(line: Line, p: float) -> Combination | None:
    """Return (a x + b)**p."""
    a, b = line
    if p == 0:
        return Combination([], 1)
    if p == 1:
        return Linear().at(a, b)
    if p == 2:
        return Squared(0.0).at(abs(a), b if a > 0 else -b) * -1
    if a < 0 or p > 1:
        return None
    if p in (-1, -2, -3):  # exactly, so that 3/(3*x) is 1/x
        return NegativePower(-p).at(shift=ratio(b, a)) * -ratio(1, a ** int(-p))
    return Power(p).at(a, b) if p > 0 else NegativePower(-p).at(a, b) * -1


def _called(name: str, a: Exact, b: Exact) -> Combination | None:
    """Return the function `name` of a x + b."""
    if not a:
        return Combination([], exact(expression.call(name, expression.num(rounded(b)))[1]))
    if name == "log" and a > 0:
        return Log().at(a, b)
    if name == "log1p" and abs(b + 1) <= 1000 * a:
        # Far from the pole log1p keeps digits that log(x + 1e20) - log(1e20) would lose.
        return Log().at(a, b + 1)
    if name in ("exp", "expm1") and a < 0:
        # exp(a x + b) = exp(b) - exp(b) (1 - exp(a x)).
        weight, family = exact(exponential(rounded(b))), Exponential(-rounded(a))
        return Combination([(-weight, Term(family))], weight - (name == "expm1"))
    if name == "logsigmoid":
        return LogSigmoid().at(a, b) if a > 0 else LabelSmoothing(1.0).at(-a, -b)
    if name == "sin" and 0 < a <= math.pi:
        return Sine(1.0).at(a, b)
    return None


def _softplus(name: str, of: Tree) -> Combination | None:
    """Return log-sigmoid written with other functions: log(sigmoid(u)), log(1 + exp(u)), ..."""
    if name == "log" and of[:2] == ("call", "sigmoid"):
        return families(expression.call("logsigmoid", of[2]))
    if name == "log" and of[0] == "div" and of[1] == ONE:
        found = _softplus("log", of[2])
        return found and found * -1
    if name == "log" and of[0] == "add" and len(of) == 3 and ONE in of[1:]:
        name, of = "log1p", of[2] if of[1] == ONE else of[1]
    if name == "log1p" and of[:2] == ("call", "exp"):
        found = families(expression.call("logsigmoid", expression.negate(of[2])))
        return found and found * -1
    return None


def _envelope(lines: list[Line]) -> Combination | None:
    """Return a min of lines as hinges: each kink m at which the slope drops by d is d min(x, m)."""
    # At -inf the steepest line is the least; the others take over at rising gaps.
    slope, constant = min(lines, key=lambda line: (-line[0], line[1]))
    total = Combination([], constant)
    while later := [line for line in lines if line[0] < slope]:
        # Of lines that cross at one gap the flattest is the least beyond it.
        kink, a, b = min((ratio(b - constant, slope - a), a, b) for a, b in later)
        if kink <= 0:
            return None  # a hinge below 0 matters to shifts and to wrongly ordered pairs
        total += Combination([(slope - a, Term(Hinge(rounded(kink))))])
        slope, constant = a, b
    return total + Combination([(slope, Term(Linear()))])
