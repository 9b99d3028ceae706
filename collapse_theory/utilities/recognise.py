"""From a tree to exact weights of the families it is a sum of; what fits none is an Expression."""

from __future__ import annotations

import math
from fractions import Fraction

from collapse_theory.errors import InvalidUtility, ParseError
from collapse_theory.utilities import nodes
from collapse_theory.utilities.algebra import moved
from collapse_theory.utilities.base import Combination, Utility
from collapse_theory.utilities.families import (
    Exponential,
    Family,
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
from collapse_theory.utilities.nodes import Tree, is_num

__all__ = ["combination"]

# a x + b with exact a and b.
Affine = tuple[Fraction, Fraction]

ONE = Fraction(1)


def combination(tree: Tree) -> Combination:
    """Return the tree as an exact combination of families and of `Expression` terms.

    Constants distribute over sums. Arguments a x + b are kept exact to the end, where the
    scale a and the shift b/a become floats.
    """
    flat = affine(tree)
    if flat is not None:
        return Combination(flat[1], {Linear(): flat[0]} if flat[0] else {})
    kind = tree[0]
    found: Combination | None = None
    if kind == "add":
        total = Combination(Fraction(0))
        for term in tree[1:]:
            total += combination(term)
        return total
    if kind == "neg":
        return combination(tree[1]) * -ONE
    if kind == "mul":
        found = _product(tree)
    elif kind == "div":
        found = _fraction(tree)
    elif kind == "call":
        found = _called(tree[1], tree[2])
    elif kind == "min":
        found = _envelope(tree)
    return found or _as_power(tree) or _atom(tree)


def affine(tree: Tree) -> Affine | None:
    """Return (a, b) where the tree is exactly a x + b."""
    kind = tree[0]
    if kind == "x":
        return ONE, Fraction(0)
    if kind == "num":
        return Fraction(0), Fraction(tree[1])
    if kind not in ("neg", "add", "mul", "div"):
        return None
    parts = []
    for child in tree[1:]:
        part = affine(child)
        if part is None:
            return None
        parts.append(part)
    if kind == "neg":
        return -parts[0][0], -parts[0][1]
    if kind == "add":
        return sum((a for a, _ in parts), Fraction(0)), sum((b for _, b in parts), Fraction(0))
    if kind == "div":
        (a, b), (slope, divisor) = parts
        return None if slope else (a / _nonzero(divisor), b / divisor)
    a, b = parts[0]
    for c, d in parts[1:]:
        if a and c:
            return None
        a, b = a * d + b * c, b * d
    return a, b


def _nonzero(divisor: Fraction) -> Fraction:
    if not divisor:
        raise ParseError("the utility divides by zero")
    return divisor


# -- products and fractions --------------------------------------------------------------


def _product(tree: Tree) -> Combination | None:
    constant, slopes, others = ONE, [], []
    for factor in tree[1:]:
        part = affine(factor)
        if part is None:
            others.append(factor)
        elif part[0]:
            slopes.append(part)
        else:
            constant *= part[1]
    if not others and len(slopes) == 2:
        (a, b), (c, d) = slopes
        quadratic = {Squared(0.0): -a * c, Linear(): a * d + b * c}
        return Combination(b * d, quadratic) * constant
    rest = [f for f in tree[1:] if f in others or (affine(f) or (0, 0))[0]]
    if len(rest) < len(tree) - 1:
        return combination(nodes.mul(rest)) * constant
    return None


def _fraction(tree: Tree) -> Combination | None:
    above, below = tree[1], tree[2]
    divisor = affine(below)
    if divisor is not None and not divisor[0]:
        return combination(above) * (1 / _nonzero(divisor[1]))
    if below[0] == "mul" and is_num(below[1]):
        rest = nodes.mul(below[2:])
        return combination(nodes.div(above, rest)) * (1 / _nonzero(Fraction(below[1][1])))
    if above[0] == "mul" and is_num(above[1]):
        return combination(nodes.div(nodes.mul(above[2:]), below)) * Fraction(above[1][1])
    if is_num(above) and above[1] != 1:
        return combination(nodes.div(nodes.num(1.0), below)) * Fraction(above[1])
    dividend = affine(above)
    if dividend is not None and divisor is not None and dividend[0]:
        # (c x + d)/(a x + b) = c/a + (d - c b/a)/(a x + b).
        ratio = dividend[0] / divisor[0]
        rest = combination(nodes.div(nodes.num(1.0), below))
        return Combination(ratio) + rest * (dividend[1] - ratio * divisor[1])
    return None


# -- families ----------------------------------------------------------------------------


def _at(family: Family, line: Affine, weight: Fraction = ONE) -> Combination:
    """Return the family at x + b/a, its scale already being a."""
    return moved(Combination.of(family), _float(line[1] / abs(line[0]))) * weight


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidUtility("a constant of the utility overflows float64") from None


def _scale(line: Affine) -> float:
    scale = abs(_float(line[0]))
    if not scale:
        raise InvalidUtility("a factor of x in the utility underflows float64")
    return scale


def _base_power(tree: Tree) -> tuple[Affine, float] | None:
    """Return ((a, b), p) where the tree is (a x + b)**p."""
    line = affine(tree)
    if line is not None:
        return (line, 1.0) if line[0] else None
    if tree[0] == "pow" and is_num(tree[2]):
        inner = _base_power(tree[1])
        p = tree[2][1]
        # (u**2)**0.5 is |u|: only a plain affine base.
        return (inner[0], p) if inner and inner[1] == 1 else None
    if tree[0] == "call" and tree[1] == "sqrt":
        inner = _base_power(tree[2])
        return (inner[0], 0.5) if inner and inner[1] == 1 else None
    if tree[0] == "div" and tree[1] == ("num", 1.0):
        inner = _base_power(tree[2])
        return (inner[0], -inner[1]) if inner else None
    return None


def _as_power(tree: Tree) -> Combination | None:
    found = _base_power(tree)
    if found is None:
        return None
    line, p = found
    a, b = line
    if p == 0:
        return Combination(ONE)
    if p == 1:
        return Combination(b, {Linear(): a})
    if p == 2:
        return moved(Combination.of(Squared(0.0)), _float(b / a)) * -(a * a)
    if a < 0 or p > 1:
        return None
    try:
        weight = a ** int(p) if p in (-1, -2, -3) else Fraction(float(a) ** p)
    except OverflowError:
        raise InvalidUtility("a factor of the utility overflows float64") from None
    if p > 0:
        return _at(Power(p), line, weight)
    return _at(NegativePower(-p), line, -weight)


def _called(name: str, argument: Tree) -> Combination | None:
    line = affine(argument)
    if line is None:
        return None
    a, b = line
    if not a:
        return combination(nodes.call(name, nodes.num(_float(b))))
    if name == "log":
        return _logarithm(line)
    if name == "log1p":
        line = (a, b + 1)
        # Far from the pole log1p keeps digits that log(x + 1e20) - log(1e20) would lose.
        return _logarithm(line) if abs(line[1]) <= 1000 * a else None
    if name in ("exp", "expm1"):
        return _exponential(line, 1 if name == "expm1" else 0)
    if name == "logsigmoid":
        scale = _scale(line)
        family = LogSigmoid(scale) if a > 0 else LabelSmoothing(1.0, scale)
        return _at(family, line if a > 0 else (-a, -b))
    if name == "sin" and 0 < a <= Fraction(math.pi):
        return _at(Sine(_scale(line)), line)
    return None


def _logarithm(line: Affine) -> Combination | None:
    if line[0] < 0:
        return None
    return Combination(Fraction(math.log(_scale(line)))) + _at(Log(), line)


def _exponential(line: Affine, less: int) -> Combination | None:
    """Return exp(a x + b) - less: exp(b) - exp(b) (1 - exp(a x)) - less."""
    if line[0] > 0:
        return None
    try:
        weight = Fraction(math.exp(_float(line[1])))
    except OverflowError:
        raise InvalidUtility("a factor exp(...) of the utility overflows float64") from None
    return Combination(weight - less, {Exponential(_scale(line)): -weight})


def _envelope(tree: Tree) -> Combination | None:
    """Return a min of lines as hinges: each kink m at which the slope drops by d is d min(x, m)."""
    lines = [affine(t) for t in tree[1:]]
    if any(line is None for line in lines):
        return None
    # At -inf the steepest line is the least; the others take over at rising gaps.
    given = {line for line in lines if line is not None}
    left = sorted(given, key=lambda line: (-line[0], line[1]))
    current, weights, constant = left[0], {}, left[0][1]
    while True:
        later = [line for line in left if line[0] < current[0]]
        if not later:
            break
        # Of lines that cross at one gap the flattest, the last, is the least beyond it.
        crossing = {(b - current[1]) / (current[0] - a): (a, b) for a, b in later}
        kink = min(crossing)
        if kink <= 0:
            return None  # a hinge below 0 matters to shifts and to wrongly ordered pairs
        following = crossing[kink]
        hinge = Hinge(_float(kink))
        weights[hinge] = weights.get(hinge, Fraction(0)) + current[0] - following[0]
        current = following
    if current[0]:
        weights[Linear()] = weights.get(Linear(), Fraction(0)) + current[0]
    return Combination(constant, weights)


# -- what fits no family -----------------------------------------------------------------


def _atom(tree: Tree) -> Combination:
    """Return the tree as one Expression, in a form that its own text reads back as."""
    from collapse_theory.utilities.expression import Expression

    plain = canonical(tree)
    if plain != tree:
        return combination(plain)
    weights: dict[Utility, Fraction] = {Expression(tree): ONE}
    return Combination(Fraction(0), weights)


def canonical(tree: Tree) -> Tree:
    """Return the tree with each affine part written in one way."""
    line = affine(tree)
    if line is not None:
        return _line_tree(line)
    made = nodes.rebuilt(tree, canonical)
    line = affine(made)
    return made if line is None else _line_tree(line)


def _line_tree(line: Affine) -> Tree:
    """Return a x + b as a tree: a*(x + s) where b is no float, as in 0.3*(x + 0.1)."""
    a = _float(line[0])
    if not a:
        return nodes.num(_float(line[1]))
    b, shift = line[1], _float(line[1] / Fraction(a))
    exact = Fraction(a) * Fraction(shift)
    for candidate in (b, exact):
        if Fraction(_float(candidate)) == candidate:
            constant = nodes.num(_float(candidate))
            slope = nodes.mul([nodes.num(a), nodes.X])
            if not candidate:
                return slope
            return nodes.add([slope, constant] if a > 0 or candidate < 0 else [constant, slope])
    return nodes.mul([nodes.num(a), nodes.add([nodes.X, nodes.num(shift)])])
