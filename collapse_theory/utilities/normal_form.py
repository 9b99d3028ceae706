"""From text to a utility in normal form: exact weights of families, and one formula for the rest.

`recognised` reads a tree as a sum of families at affine arguments, in exact arithmetic; what is no
family stays an `Expression`. `FormulaSum` brings such sums to normal form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility, ParseError
from collapse_theory.numerics.checks import bracketless
from collapse_theory.utilities import checks, expression
from collapse_theory.utilities.base import Combination, Term, Utility
from collapse_theory.utilities.capped import Hinge, Sine, Squared
from collapse_theory.utilities.expression import Tree, X, is_num
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

    @cached_property
    def _text(self) -> str:
        return expression.text(self.formula)

    def __str__(self) -> str:
        return self._text

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
            if core is None:
                constant += weight * factor
            else:
                cores[core] = cores.get(core, 0) + weight * factor
    floats = {core: rounded(weight) for core, weight in cores.items()}
    by_text = sorted(floats, key=expression.text)
    parts = [expression.mul(expression.num(floats[c]), c) for c in by_text if floats[c]]
    whole = [(1, Term(Expression(expression.add(*parts))))] if parts else []
    return Combination(whole, constant)


def _split(term: Tree) -> tuple[Exact, Tree | None]:
    """Return the exact factor of a term and the rest; no rest where the term is a number."""
    kind = term[0]
    if kind == "num":
        return exact(term[1]), None
    if kind == "mul" and is_num(term[1]):
        return exact(term[1][1]), expression.mul(*term[2:])
    if kind == "div":
        factor, above = _split(term[1])
        divisor, below = _split(term[2])
        if divisor:
            rest = above or expression.ONE
            return ratio(factor, divisor), expression.div(rest, below) if below else rest
    return 1, term


# -- reading a tree ------------------------------------------------------------------------

Line = tuple[Exact, Exact]  # a x + b, exactly


def recognised(tree: Tree) -> Combination:
    """Return the tree as an exact combination of families and of `Expression` terms.

    Constants distribute over sums. Arguments a x + b are kept exact to the end, where the
    scale a and the shift b/a become floats.
    """
    return FormulaSum() + form(tree).sum()


@dataclass
class Form:
    """A part of a tree as it is read, from the leaves up; what is costly is done when asked for.

    Attributes
    ----------
    make, parts : its tree is made of those of its parts
    line : (a, b) where it is a x + b
    power : ((a, b), p) where it is (a x + b)**p
    factored : (k, core) where it is k times another form
    read : returns the families that it is a sum of, or None
    """

    make: Callable[..., Tree] = expression.num
    parts: Sequence[Form] = ()
    line: Line | None = None
    power: tuple[Line, float] | None = None
    factored: tuple[Exact, Form] | None = None
    read: Callable[[], Combination | None] = lambda: None

    def __post_init__(self) -> None:
        if self.line and self.line[0]:
            self.power = self.line, 1.0

    @property
    def number(self) -> Exact | None:
        """The number that it is, if it doesn't depend on x."""
        return self.line[1] if self.line and not self.line[0] else None

    @property
    def split(self) -> tuple[Exact, Form]:
        """The number that it is a multiple of, and the rest."""
        return (1, self) if self.number is None else (self.number, _ONE)

    @cached_property
    def tree(self) -> Tree:
        return _line_tree(*self.line) if self.line else self.make(*(p.tree for p in self.parts))

    def families(self) -> Combination | None:
        if self.line:
            return Linear().at(*self.line)
        if self.factored:
            return self.factored[1].sum() * self.factored[0]
        found = self.read()
        return _power(*self.power) if found is None and self.power else found

    def sum(self) -> Combination:
        found = self.families()
        if found is not None:
            return found
        # As its own text will be read back: constants in it may have come together.
        again = form(self.tree)
        if again.tree == self.tree and again.families() is None:
            return Combination([(1, Term(Expression(self.tree)))])
        return again.sum()


def form(tree: Tree) -> Form:
    return expression.evaluate(tree, Form(line=(1, 0)), _FORMS)


def _times(factor: Exact, form: Form) -> Line | None:
    return form.line and (factor * form.line[0], factor * form.line[1])


class _Forms(expression.Arithmetic):
    """Forms from the forms of the parts."""

    def num(self, value: float) -> Form:
        return Form(line=(0, exact(value)))

    def add(self, *parts: Form) -> Form:
        lines = [part.line for part in parts if part.line]
        if len(lines) == len(parts):
            slopes, constants = zip(*lines, strict=True)
            return Form(line=(sum(slopes), sum(constants)))
        return Form(expression.add, parts, read=lambda: Combination.total(p.sum() for p in parts))

    def mul(self, *parts: Form) -> Form:
        rest = [part for part in parts if part.number is None]
        factor = math.prod((part.number for part in parts if part.number is not None), start=1)
        if not rest:
            return Form(line=(0, factor))
        core = (
            rest[0] if len(rest) == 1 else Form(expression.mul, rest, read=lambda: _product(rest))
        )
        if len(rest) == len(parts):
            return core
        return Form(expression.mul, parts, _times(factor, core), factored=(factor, core))

    def div(self, above: Form, below: Form) -> Form:
        (j, p), (k, q) = above.factored or above.split, below.factored or below.split
        if not k:
            raise ParseError("the utility divides by zero")
        if p is not above or q is not below:
            core = p if q is _ONE else self.div(p, q)
            if j == k:
                return core
            line = _times(ratio(j, k), core)
            return Form(expression.div, (above, below), line, factored=(ratio(j, k), core))
        power = (below.power[0], -below.power[1]) if below.power and above is _ONE else None
        whole = (above, below)
        return Form(expression.div, whole, power=power, read=lambda: self._ratio(*whole))

    def _ratio(self, above: Form, below: Form) -> Combination | None:
        if not above.line or not below.line or above is _ONE:
            return None
        # (c x + d)/(a x + b) = c/a + (d - c b/a)/(a x + b).
        whole = ratio(above.line[0], below.line[0])
        rest = self.div(_ONE, below).sum() * (above.line[1] - whole * below.line[1])
        return Combination([], whole) + rest

    def pow(self, base: Form, exponent: Form) -> Form:
        number, power = exponent.number, None
        if base.power and base.power[1] == 1 and number is not None:  # (u**2)**0.5 is |u|
            power = base.power[0], rounded(number)
        return Form(expression.power, (base, exponent), power=power)

    def min(self, *parts: Form) -> Form:
        return Form(expression.minimum, parts, read=lambda: _envelope([p.line for p in parts]))

    def own(self, utility: Utility, u: Form) -> Form:
        def read() -> Combination | None:
            return utility.at(*u.line) if u.line and u.line[0] > 0 else None

        return Form(partial(expression.own, utility), (u,), read=read)

    def call(self, name: str, u: Form) -> Form:
        power = self.pow(u, self.num(0.5)).power if name == "sqrt" else None
        return Form(
            partial(expression.call, name),
            (u,),
            power=power,
            read=lambda: _called(name, u.line) if u.line else _softplus(name, u.tree),
        )


_FORMS, _ONE = _Forms(), Form(line=(0, 1))


def _product(parts: list[Form]) -> Combination | None:
    """Return the product of two lines."""
    if len(parts) > 2 or not parts[0].line or not parts[1].line:
        return None
    (a, b), (c, d) = parts[0].line, parts[1].line
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


def _called(name: str, line: Line) -> Combination | None:
    """Return the function `name` of a x + b."""
    a, b = line
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
        return form(expression.call("logsigmoid", of[2])).families()
    if name == "log" and of[0] == "div" and of[1] == expression.ONE:
        found = _softplus("log", of[2])
        return found and found * -1
    if name == "log" and of[0] == "add" and len(of) == 3 and expression.ONE in of[1:]:
        name, of = "log1p", of[2] if of[1] == expression.ONE else of[1]
    if name == "log1p" and of[:2] == ("call", "exp"):
        found = form(expression.call("logsigmoid", expression.negate(of[2]))).families()
        return found and found * -1
    return None


def _envelope(lines: list[Line | None]) -> Combination | None:
    """Return a min of lines as hinges: each kink m at which the slope drops by d is d min(x, m)."""
    if None in lines:
        return None
    # At -inf the steepest line is the least; the others take over at rising gaps.
    left = [line for line in lines if line]
    slope, constant = min(left, key=lambda line: (-line[0], line[1]))
    total = Combination([], constant)
    while later := [line for line in left if line[0] < slope]:
        # Of lines that cross at one gap the flattest is the least beyond it.
        kink, a, b = min((ratio(b - constant, slope - a), a, b) for a, b in later)
        if kink <= 0:
            return None  # a hinge below 0 matters to shifts and to wrongly ordered pairs
        total += Combination([(slope - a, Term(Hinge(rounded(kink))))])
        slope, constant = a, b
    return total + Combination([(slope, Term(Linear()))])
