"""Formulas as trees: nested tuples in one normal form, and their printer.

A tree is one of ("x",), ("num", v), ("neg", t), ("add", t, ...), ("mul", t, ...), ("div", p, q),
("pow", base, exponent), ("call", name, t), ("min", t, ...). The functions below are the only
makers of trees. They fold constants in float arithmetic and keep a normal form in which
``parse(text(tree)) == tree``: a sum holds no sums, a product no products and at most one number
(the first factor), a fraction neither stands inside a product nor inside a fraction, and signs
are pulled out of products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from collapse_theory.errors import ParseError
from collapse_theory.utilities.base import number_text

__all__ = ["FUNCTIONS", "Tree", "X", "add", "call", "div", "minimum", "mul", "negate", "num"]

Tree = tuple[Any, ...]

X: Tree = ("x",)


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _log_sigmoid(z: float) -> float:
    return min(z, 0.0) - math.log1p(math.exp(-abs(z)))


# The functions of one argument, on plain floats: for folding constants.
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "expm1": math.expm1,
    "atan": math.atan,
    "tanh": math.tanh,
    "erf": math.erf,
    "sin": math.sin,
    "cos": math.cos,
    "logsigmoid": _log_sigmoid,
    "sigmoid": _sigmoid,
}


def num(value: float) -> Tree:
    """Return the number `value`, which must be finite."""
    if not math.isfinite(value):
        raise ParseError("a constant in the utility overflows float64 or is not a number")
    return ("num", float(value) + 0.0)  # + 0.0 turns -0.0 into 0.0


def is_num(tree: Tree) -> bool:
    return tree[0] == "num"


def is_negative(tree: Tree) -> bool:
    """Whether the tree prints with a leading minus sign."""
    kind = tree[0]
    if kind == "num":
        return tree[1] < 0
    return kind == "neg" or (kind in ("mul", "div") and is_negative(tree[1]))


def negate(tree: Tree) -> Tree:
    """Return -tree: the sign goes into a leading number, or in front."""
    kind = tree[0]
    if kind == "num":
        return num(-tree[1])
    if kind == "neg":
        return tree[1]
    if kind == "mul" and is_num(tree[1]):
        return ("mul", num(-tree[1][1]), *tree[2:])
    if kind == "div" and (is_num(tree[1]) or (tree[1][0] == "mul" and is_num(tree[1][1]))):
        return ("div", negate(tree[1]), tree[2])
    return ("neg", tree)


def add(terms: Sequence[Tree]) -> Tree:
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
    if term[0] == "neg" and term[1][0] == "add":
        return tuple(negate(t) for t in term[1][1:])
    return term[1:] if term[0] == "add" else (term,)


def mul(factors: Sequence[Tree]) -> Tree:
    """Return the product of `factors`; fractions among them become one fraction."""
    coefficient, above, below = 1.0, [], []
    stack = list(reversed(factors))
    while stack:
        factor = stack.pop()
        kind = factor[0]
        if kind == "num":
            coefficient *= factor[1]
        elif kind == "neg":
            coefficient = -coefficient
            stack.append(factor[1])
        elif kind == "mul":
            stack.extend(reversed(factor[1:]))
        elif kind == "div":
            below.append(factor[2])
            stack.append(factor[1])
        else:
            above.append(factor)
    product = _product(coefficient, above)
    return div(product, mul(below)) if below else product


def _product(coefficient: float, factors: list[Tree]) -> Tree:
    if not factors:
        return num(coefficient)
    if abs(coefficient) != 1:
        return ("mul", num(coefficient), *factors)
    whole = factors[0] if len(factors) == 1 else ("mul", *factors)
    return whole if coefficient == 1 else negate(whole)


def div(above: Tree, below: Tree) -> Tree:
    """Return above/below."""
    if below[0] == "div":
        return div(mul([above, below[2]]), below[1])
    if above[0] == "div":
        return div(above[1], mul([above[2], below]))
    if is_negative(below):
        return div(negate(above), negate(below))
    if is_num(below) and below[1] == 0:
        raise ParseError("the utility divides by zero")
    if is_num(above) and is_num(below):
        return num(above[1] / below[1])
    if above[0] == "neg":
        return negate(div(above[1], below))
    return ("div", above, below)


def power(base: Tree, exponent: Tree) -> Tree:
    """Return base**exponent."""
    if not (is_num(base) and is_num(exponent)):
        return ("pow", base, exponent)
    try:
        return num(math.pow(base[1], exponent[1]))
    except (ValueError, OverflowError):
        shown = f"{number_text(base[1])}**{number_text(exponent[1])}"
        raise ParseError(f"the constant {shown} in the utility is not a finite number") from None


def call(name: str, argument: Tree) -> Tree:
    """Return name(argument)."""
    if not is_num(argument):
        return ("call", name, argument)
    try:
        return num(FUNCTIONS[name](argument[1]))
    except (ValueError, OverflowError):
        shown = f"{name}({number_text(argument[1])})"
        raise ParseError(f"the constant {shown} in the utility is not a finite number") from None


def minimum(arguments: Sequence[Tree]) -> Tree:
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


def rebuilt(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """Return the tree made anew from its changed parts."""
    kind = tree[0]
    if kind in ("x", "num"):
        return tree
    if kind == "call":
        return call(tree[1], change(tree[2]))
    parts = [change(t) for t in tree[1:]]
    if kind == "neg":
        return negate(parts[0])
    if kind in ("div", "pow"):
        return (div if kind == "div" else power)(*parts)
    return {"add": add, "mul": mul, "min": minimum}[kind](parts)


def substituted(tree: Tree, inner: Tree) -> Tree:
    """Return the tree with `inner` in the place of x."""
    return inner if tree == X else rebuilt(tree, lambda t: substituted(t, inner))


def children(tree: Tree) -> tuple[Tree, ...]:
    """Return the parts of a tree that are trees."""
    if tree[0] in ("x", "num"):
        return ()
    return tree[2:] if tree[0] == "call" else tree[1:]


def depth(tree: Tree) -> int:
    """Return how many levels the tree has."""
    return 1 + max((depth(t) for t in children(tree)), default=0)


def text(tree: Tree) -> str:
    """Return the tree as text with the fewest parentheses, which `parse` reads back exactly."""
    kind = tree[0]
    if kind == "x":
        return "x"
    if kind == "num":
        return number_text(tree[1])
    if kind == "neg":
        return "-" + _within(tree[1], "add")
    if kind == "add":
        rest = [f" - {text(negate(t))}" if is_negative(t) else f" + {text(t)}" for t in tree[2:]]
        return text(tree[1]) + "".join(rest)
    if kind == "mul":
        first, *others = tree[1:]
        head = number_text(first[1]) if is_num(first) else _within(first, "add")
        return "*".join([head, *(_within(t, "add") for t in others)])
    if kind == "div":
        return f"{_within(tree[1], 'add')}/{_within(tree[2], 'add', 'mul', 'div', 'neg')}"
    if kind == "pow":
        return _power_text(tree[1], tree[2])
    inside = ", ".join(text(t) for t in children(tree))
    return f"{tree[1] if kind == 'call' else 'min'}({inside})"


def _power_text(base: Tree, exponent: Tree) -> str:
    low = _within(base, "add", "mul", "div", "neg", "pow")
    if is_num(base) and base[1] < 0:
        low = f"({low})"
    signed = exponent[0] == "neg" and exponent[1][0] in ("x", "call", "min", "pow")
    loose = () if signed else ("add", "mul", "div", "neg")
    return f"{low}**{_within(exponent, *loose)}"


def _within(tree: Tree, *loose: str) -> str:
    return f"({text(tree)})" if tree[0] in loose else text(tree)
