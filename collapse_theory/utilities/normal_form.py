"""From text to a utility in normal form: exact weights of families, and one formula for the rest.

`recognised` reads a tree as a sum of families at affine arguments, in exact arithmetic; what is no
family stays an `Expression`. `FormulaSum` brings such sums to normal form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility, NotConcave, ParseError
from collapse_theory.utilities import checks, expression
from collapse_theory.utilities.base import Combination, Term, Utility, rounded
from collapse_theory.utilities.expression import Tree, X, is_num
from collapse_theory.utilities.families import (
    Exponential,
    Hinge,
    LabelSmoothing,
    Linear,
    Log,
    LogSigmoid,
    NegativePower,
    Power,
    Sine,
    Squared,
)
from collapse_theory.utilities.parser import parse
from collapse_theory.utilities.plackett_luce import PlackettLuce
from collapse_theory.values import reads

__all__ = ["Expression", "Loss", "as_loss", "utility"]

# The longest text that `from_dict` reads: a design can be a sum of hundreds of hinges.
LONGEST_SAVED = 200_000

# Kinks are looked for at gaps up to here: beyond any box, and any confined support in use.
MAX_KINK = 1000.0

Loss = Utility | PlackettLuce


# -- text --------------------------------------------------------------------------------


def utility(text: str | Utility) -> Utility:
    """Return the utility that `text` describes.

    The text is a formula in the gap x: numbers, ``pi``, ``e``, ``+ - * / **``, parentheses,
    ``log log1p sqrt exp expm1 atan tanh erf sin cos sigmoid logsigmoid`` and ``min``. It is
    read without `eval`. Families are recognised, so that ``utility("log(x + 0.1)")`` equals
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
        return text
    if isinstance(text, PlackettLuce):
        raise InvalidUtility(
            f"{text} is worth what the whole ranking is, so it is no utility of a gap; ct.solve, "
            "ct.limit and ct.closed_form take it as it is"
        )
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
    if not isinstance(data.get("text"), str):
        raise InvalidUtility(f"a dict with type 'Utility' and a text was needed, got {data!r}")
    return recognised(parse(data["text"], longest=LONGEST_SAVED)).utility()


# -- what is no sum of families ------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Expression(Utility):
    """A utility that is no sum of families, as a tree; made by `utility` and by sums.

    `value`, `slope` and `curvature` are exact: the derivatives are propagated through the tree.
    """

    tree: Tree

    @cached_property
    def _accurate(self) -> Tree:
        return expression.accurate(self.tree)

    def value(self, x: Any, xp: Any = np) -> Any:
        if xp is not np:
            return expression.value(self._accurate, x, xp)
        with np.errstate(all="ignore"):
            found = expression.value(self._accurate, x)
        near = np.float64(1e-300)
        return _filled(x, found, lambda: float(expression.value(self._accurate, near)))

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first, second = self._plain(x)
        first = _filled(x, first, lambda: self.slope_at_zero)
        return first, _filled(x, second, lambda: float(self._plain(1e-100)[1]))

    def _plain(self, x: Any) -> tuple[Any, Any]:
        """Return U' and U'' as they come from the tree, where 0*inf at the gap 0 may be NaN."""
        return expression.jet(self._accurate, x)[1:]

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return expression.conic(self.tree, cp, cp.multiply(reference, ratio))

    @cached_property
    def _text(self) -> str:
        return expression.text(self.tree)

    def __str__(self) -> str:
        return self._text

    # Looked at once: each takes many evaluations of the tree.

    @cached_property
    def slope_at_zero(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        return checks.slope_at_zero(self._plain)

    @cached_property
    def exponent(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().exponent

    @cached_property
    def kinks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return expression.kinks(self.tree, MAX_KINK)

    @cached_property
    def landmarks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(sorted({*expression.roots(self.tree, 1.0), *self.kinks}))

    @cached_property
    def strictly_concave(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        return checks.strictly_concave_formula(self.derivatives, self.kinks)

    def at(self, scale: float = 1.0, shift: float = 0.0) -> Combination:
        line = _line_tree((Fraction(scale), Fraction(shift)))
        return recognised(expression.substituted(self.tree, line))


def _filled(x: Any, found: Any, limit: Callable[[], float]) -> Any:
    """Return `found` with its limit where 0*inf at the gap 0 made it NaN, as in x*log(x)."""
    lost = np.isnan(found) & (np.asarray(x) == 0)
    return np.where(lost, limit(), found)[()] if np.any(lost) else found


# -- sums with formulas in them ------------------------------------------------------------


class FormulaSum(Combination):
    """A sum in which formulas, or families with negative weights, become one `Expression`."""

    def utility(self) -> Utility:
        weights = {term: weight for term, weight in self.weights.items() if weight}
        odd = {t: w for t, w in weights.items() if _is_odd(t.of, w)}
        if not odd:
            return super().utility()
        formula, merged = _gathered(odd), False
        try:
            if formula.weights:
                (term,) = formula.weights
                checks.require_concave(term.of, 1.0, trust=False)
        except NotConcave:
            # Convex alone: it takes the families' help to be concave, so they become one.
            merged = True
            odd = {t: w for t, w in weights.items() if not t.of.own_functions}
            formula = _gathered(odd)
        rest = {t: w for t, w in weights.items() if t not in odd}
        made = (Combination(rest, self.constant) + formula).utility()
        if merged:
            checks.require_concave(made, 1.0, trust=False)
        return made


def _is_odd(of: Utility, weight: Fraction) -> bool:
    return isinstance(of, Expression) or (weight < 0 and not isinstance(of, Linear))


def _gathered(weights: dict[Term, Fraction]) -> Combination:
    """Return the weighted sum as one Expression and a constant.

    Its terms are sorted by their text, their weights added exactly, so that the sum does not
    depend on the order in which it was written.
    """
    constant, cores = Fraction(0), dict[Tree, Fraction]()
    for term, weight in weights.items():
        tree = term.of.tree if isinstance(term.of, Expression) else parse(str(term))
        for part in tree[1:] if tree[0] == "add" else (tree,):
            factor, core = _split(part)
            if core is None:
                constant += weight * factor
            else:
                cores[core] = cores.get(core, Fraction(0)) + weight * factor
    floats = {core: rounded(weight) for core, weight in cores.items()}
    by_text = sorted(floats, key=expression.text)
    parts = [expression.mul(expression.num(floats[c]), c) for c in by_text if floats[c]]
    whole = {Term(Expression(expression.add(*parts))): 1} if parts else {}
    return Combination(whole, constant)


def _split(term: Tree) -> tuple[Fraction, Tree | None]:
    """Return the exact factor of a term and the rest; no rest where the term is a number."""
    kind = term[0]
    if kind == "num":
        return Fraction(term[1]), None
    if kind == "mul" and is_num(term[1]):
        return Fraction(term[1][1]), expression.mul(*term[2:])
    if kind == "div":
        factor, above = _split(term[1])
        divisor, below = _split(term[2])
        if divisor:
            rest = above or expression.ONE
            return factor / divisor, expression.div(rest, below) if below else rest
    return Fraction(1), term


# -- affine trees --------------------------------------------------------------------------

# a x + b with exact a and b.
Line = tuple[Fraction, Fraction]


class _Lines(expression.Arithmetic):
    """Exact lines a x + b; raises `_NoLine` where the result is none."""

    def num(self, value: float) -> Line:
        return Fraction(0), Fraction(value)

    def add(self, *lines: Line) -> Line:
        return sum((a for a, _ in lines), Fraction(0)), sum((b for _, b in lines), Fraction(0))

    def mul(self, *lines: Line) -> Line:
        a, b = lines[0]
        for c, d in lines[1:]:
            if a and c:
                raise _NoLine
            a, b = a * d + b * c, b * d
        return a, b

    def div(self, line: Line, divisor: Line) -> Line:
        if divisor[0]:
            raise _NoLine
        if not divisor[1]:
            raise ParseError("the utility divides by zero")
        return line[0] / divisor[1], line[1] / divisor[1]

    def other(self, *_: Any) -> Line:
        raise _NoLine

    pow = min = call = other


class _NoLine(Exception):
    """The tree is not affine."""


_LINES = _Lines()


def affine(tree: Tree) -> Line | None:
    """Return (a, b) where the tree is exactly a x + b."""
    try:
        return expression.evaluate(tree, (Fraction(1), Fraction(0)), _LINES)
    except _NoLine:
        return None


def canonical(tree: Tree) -> Tree:
    """Return the tree with each affine part written in one way."""
    line = affine(tree)
    if line is not None:
        return _line_tree(line)
    made = expression.rebuilt(tree, canonical)
    line = affine(made)
    return made if line is None else _line_tree(line)


def _line_tree(line: Line) -> Tree:
    """Return a x + b as a tree: a*(x + s) where b is no float, as in 0.3*(x + 0.1)."""
    a = rounded(line[0])
    if not a:
        return expression.num(rounded(line[1]))
    b, shift = line[1], rounded(line[1] / Fraction(a))
    exact = Fraction(a) * Fraction(shift)
    for candidate in (b, exact):
        if Fraction(rounded(candidate)) == candidate:
            constant = expression.num(rounded(candidate))
            slope = expression.mul(expression.num(a), X)
            if not candidate:
                return slope
            return expression.add(
                *((slope, constant) if a > 0 or candidate < 0 else (constant, slope))
            )
    return expression.mul(expression.num(a), expression.add(X, expression.num(shift)))


# -- recognition ---------------------------------------------------------------------------


def recognised(tree: Tree) -> Combination:
    """Return the tree as an exact combination of families and of `Expression` terms.

    Constants distribute over sums. Arguments a x + b are kept exact to the end, where the
    scale a and the shift b/a become floats.
    """
    line = affine(tree)
    if line is not None:
        return _of_line(line)
    kind, found = tree[0], None
    if kind == "add":
        return sum((recognised(term) for term in tree[1:]), _constant(0))
    if kind == "mul":
        found = _product(tree)
    elif kind == "div":
        found = _fraction(tree)
    elif kind == "call":
        found = _called(tree[1], tree[2])
    elif kind == "min":
        found = _envelope(tree)
    return found or _power(tree) or _formula(tree)


def _constant(value: float | Fraction) -> FormulaSum:
    return FormulaSum({}, value)


def _of_line(line: Line) -> FormulaSum:
    return FormulaSum({Term(Linear()): line[0]}, line[1])


def _formula(tree: Tree) -> Combination:
    """Return the tree as one Expression, in a form that its own text reads back as."""
    plain = canonical(tree)
    return FormulaSum({Term(Expression(tree)): 1}) if plain == tree else recognised(plain)


def _product(tree: Tree) -> Combination | None:
    constant, lines, rest = Fraction(1), [], []
    for factor in tree[1:]:
        line = affine(factor)
        if line is not None and not line[0]:
            constant *= line[1]
            continue
        rest.append(factor)
        lines += [line] if line else []
    if len(lines) == len(rest) == 2:
        (a, b), (c, d) = lines
        return (
            FormulaSum({Term(Squared(0.0)): -a * c, Term(Linear()): a * d + b * c}, b * d)
            * constant
        )
    if len(rest) < len(tree) - 1:
        return recognised(expression.mul(*rest)) * constant
    return None


def _fraction(tree: Tree) -> Combination | None:
    above, below = tree[1], tree[2]
    divisor, dividend = affine(below), affine(above)
    if divisor is not None and not divisor[0]:
        if not divisor[1]:
            raise ParseError("the utility divides by zero")
        return recognised(above) * (1 / divisor[1])
    if below[0] == "mul" and is_num(below[1]):
        if not below[1][1]:
            raise ParseError("the utility divides by zero")
        rest = expression.div(above, expression.mul(*below[2:]))
        return recognised(rest) * (1 / Fraction(below[1][1]))
    if above[0] == "mul" and is_num(above[1]):
        return recognised(expression.div(expression.mul(*above[2:]), below)) * Fraction(above[1][1])
    if is_num(above) and above[1] != 1:
        return recognised(expression.div(expression.ONE, below)) * Fraction(above[1])
    if dividend is not None and divisor is not None and dividend[0]:
        # (c x + d)/(a x + b) = c/a + (d - c b/a)/(a x + b).
        ratio = dividend[0] / divisor[0]
        rest = recognised(expression.div(expression.ONE, below))
        return _constant(ratio) + rest * (dividend[1] - ratio * divisor[1])
    return None


def _at(family: Utility, line: Line) -> Combination:
    """Return the family at x + b/a, its scale already being |a|."""
    return _constant(0) + family.at(shift=rounded(line[1] / abs(line[0])))


def _scale(line: Line) -> float:
    scale = abs(rounded(line[0]))
    if not scale:
        raise InvalidUtility("a factor of x in the utility underflows float64")
    return scale


def _base_power(tree: Tree) -> tuple[Line, float] | None:
    """Return ((a, b), p) where the tree is (a x + b)**p."""
    line = affine(tree)
    if line is not None:
        return (line, 1.0) if line[0] else None
    if tree[0] == "div" and tree[1] == expression.ONE:
        inner = _base_power(tree[2])
        return (inner[0], -inner[1]) if inner else None
    if tree[:2] == ("call", "sqrt"):
        tree = ("pow", tree[2], expression.num(0.5))
    if tree[0] == "pow" and is_num(tree[2]):
        inner = _base_power(tree[1])
        # (u**2)**0.5 is |u|: only a plain affine base.
        return (inner[0], tree[2][1]) if inner and inner[1] == 1 else None
    return None


def _power(tree: Tree) -> Combination | None:
    found = _base_power(tree)
    if found is None:
        return None
    (a, b), p = found
    if p == 0:
        return _constant(1)
    if p == 1:
        return _of_line((a, b))
    if p == 2:
        return _at(Squared(0.0), (Fraction(1), b / a)) * -(a * a)
    if a < 0 or p > 1:
        return None
    try:
        weight = a ** int(p) if p in (-1, -2, -3) else Fraction(float(a) ** p)
    except OverflowError:
        raise InvalidUtility("a factor of the utility overflows float64") from None
    return _at(Power(p), (a, b)) * weight if p > 0 else _at(NegativePower(-p), (a, b)) * -weight


def _called(name: str, argument: Tree) -> Combination | None:
    line = affine(argument)
    if line is None:
        return None
    a, b = line
    if not a:
        return recognised(expression.call(name, expression.num(rounded(b))))
    if name == "log":
        return _logarithm(line)
    # Far from the pole log1p keeps digits that log(x + 1e20) - log(1e20) would lose.
    if name == "log1p":
        return _logarithm((a, b + 1)) if abs(b + 1) <= 1000 * a else None
    if name in ("exp", "expm1"):
        return _exponential(line, 1 if name == "expm1" else 0)
    if name == "logsigmoid":
        if a > 0:
            return _at(LogSigmoid(_scale(line)), line)
        return _at(LabelSmoothing(1.0, _scale(line)), (-a, -b))
    if name == "sin" and 0 < a <= Fraction(math.pi):
        return _at(Sine(_scale(line)), line)
    return None


def _logarithm(line: Line) -> Combination | None:
    if line[0] < 0:
        return None
    return _constant(math.log(_scale(line))) + _at(Log(), line)


def _exponential(line: Line, less: int) -> Combination | None:
    """Return exp(a x + b) - less: exp(b) - exp(b) (1 - exp(a x)) - less."""
    if line[0] > 0:
        return None
    try:
        weight = Fraction(math.exp(rounded(line[1])))
    except OverflowError:
        raise InvalidUtility("a factor exp(...) of the utility overflows float64") from None
    return FormulaSum({Term(Exponential(_scale(line))): -weight}, weight - less)


def _envelope(tree: Tree) -> Combination | None:
    """Return a min of lines as hinges: each kink m at which the slope drops by d is d min(x, m)."""
    lines = [affine(t) for t in tree[1:]]
    if None in lines:
        return None
    # At -inf the steepest line is the least; the others take over at rising gaps.
    left = sorted({line for line in lines if line}, key=lambda line: (-line[0], line[1]))
    current, total = left[0], _constant(left[0][1])
    while later := [line for line in left if line[0] < current[0]]:
        # Of lines that cross at one gap the flattest, the last, is the least beyond it.
        crossing = {(b - current[1]) / (current[0] - a): (a, b) for a, b in later}
        kink = min(crossing)
        if kink <= 0:
            return None  # a hinge below 0 matters to shifts and to wrongly ordered pairs
        following = crossing[kink]
        total += FormulaSum({Term(Hinge(rounded(kink))): current[0] - following[0]})
        current = following
    return total + FormulaSum({Term(Linear()): current[0]})
