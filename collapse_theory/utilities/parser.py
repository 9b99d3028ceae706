"""From text to a tree, without `eval`: Python's own grammar and a short list of what is allowed."""

from __future__ import annotations

import ast
import math
import re

from collapse_theory.errors import ParseError
from collapse_theory.utilities.nodes import (
    FUNCTIONS,
    Tree,
    X,
    add,
    call,
    depth,
    div,
    minimum,
    mul,
    negate,
    num,
    power,
    text,
)

__all__ = ["LONGEST", "parse", "text"]

LONGEST = 1000
DEEPEST = 50

CONSTANTS = {"pi": math.pi, "e": math.e}
ALIASES = {"arctan": "atan"}
ALLOWED = (
    "allowed are the gap x, numbers, pi, e, + - * / **, parentheses, min(..., ...) and "
    + ", ".join(sorted(FUNCTIONS))
)

# A number must not run into a name or another number ("1if", "0x10", "1_000", "1.real").
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|[-+*/(),]|[ \t\r\n]+"
)
_NAMES = {"x", "min", *CONSTANTS, *ALIASES, *FUNCTIONS}


def parse(source: str, longest: int = LONGEST) -> Tree:
    """Return the tree of a formula in x.

    Constants are folded in float arithmetic. Nothing is ever evaluated as Python code.

    Parameters
    ----------
    source
        The text, of at most `longest` characters.
    longest
        The limit on its length.

    Raises
    ------
    ParseError
        With what was found, at which column, and what is allowed.
    """
    if not isinstance(source, str):
        raise ParseError(f"a utility is a text such as 'log(x + 0.1)', got {type(source).__name__}")
    if len(source) > longest:
        raise ParseError(f"the utility has {len(source)} characters; at most {longest} are allowed")
    if not source.strip():
        raise ParseError(f"the text of the utility is empty; {ALLOWED}")
    # One tree for each top-level term: a sum of any length nests no deeper than its terms.
    pieces = [_converted(piece, start) for piece, start in _terms(source)]
    tree = pieces[0] if len(pieces) == 1 else add(pieces)
    _require_shallow(depth(tree))
    return tree


def _terms(source: str) -> list[tuple[str, int]]:
    """Return the top-level terms of a sum with their signs, and the column each starts at."""
    level, previous, start, pieces = 0, "", 0, []
    place = 0
    while place < len(source):
        found = _TOKEN.match(source, place)
        if found is None:
            raise _unexpected(source, place)
        token = found.group().strip()
        name = found.group("name")
        if name and name not in _NAMES:
            raise ParseError(f"found {_shown(name)} at column {place + 1}; {ALLOWED}")
        binary = token in ("+", "-") and bool(previous) and previous not in "+-*/(,"
        if level == 0 and binary:
            pieces.append((source[start:place], start))
            start = place
        level += {"(": 1, ")": -1}.get(token, 0)
        previous = token or previous
        place = found.end()
    return [*pieces, (source[start:], start)]


def _unexpected(source: str, place: int) -> ParseError:
    number = re.match(r"[0-9.][A-Za-z0-9_.]*", source[place:])
    found = number.group() if number else source[place]
    return ParseError(f"found {_shown(found)} at column {place + 1}; {ALLOWED}")


def _shown(found: str) -> str:
    # ascii() keeps control characters and look-alikes out of the message.
    return ascii(found if len(found) <= 30 else found[:27] + "...")


def _converted(piece: str, start: int) -> Tree:
    # Spaces for line breaks, and parentheses so that Python doesn't see an indent.
    flat = re.sub(r"\s", " ", piece)
    lead = len(flat) - len(flat.lstrip())
    try:
        body = ast.parse(flat[lead:], mode="eval").body
    except SyntaxError as fault:
        column = start + lead + (fault.offset or 1)
        raise ParseError(
            f"{_shown(piece.strip())} is not a formula: {fault.msg} at column {column}; {ALLOWED}"
        ) from None
    except (RecursionError, MemoryError):
        raise ParseError(_TOO_DEEP) from None
    except ValueError as fault:
        raise ParseError(f"{_shown(piece.strip())} is not a formula: {fault}") from None
    return _Converter(start + lead + 1).tree(body, 1)


_TOO_DEEP = f"the utility is nested too deeply; at most {DEEPEST} levels are allowed"


def _require_shallow(levels: int) -> None:
    if levels > DEEPEST:
        raise ParseError(_TOO_DEEP)


_LEFT_TO_RIGHT = (ast.Add, ast.Sub, ast.Mult, ast.Div)


class _Converter:
    """From Python's syntax tree to ours; `origin` is the column of its first character."""

    def __init__(self, origin: int) -> None:
        self.origin = origin

    def fault(self, node: ast.expr, found: str) -> ParseError:
        return ParseError(f"found {found} at column {self.origin + node.col_offset}; {ALLOWED}")

    def tree(self, node: ast.expr, level: int) -> Tree:
        """Convert, walking down chains such as a + b*c - d to the left without recursion."""
        _require_shallow(level)
        chain: list[tuple[ast.operator, ast.expr]] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, _LEFT_TO_RIGHT):
            chain.append((node.op, node.right))
            node = node.left
        terms = [self.leaf(node, level)]
        for operator, right in reversed(chain):
            operand = self.tree(right, level + 1)
            if isinstance(operator, ast.Add):
                terms.append(operand)
            elif isinstance(operator, ast.Sub):
                terms.append(negate(operand))
            else:
                join = div if isinstance(operator, ast.Div) else _times
                terms = [join(add(terms), operand)]
        return add(terms)

    def leaf(self, node: ast.expr, level: int) -> Tree:
        match node:
            case ast.Constant(value=bool() | complex() | str() | bytes()):
                raise self.fault(node, "a constant that is no real number")
            case ast.Constant(value=int() | float() as value):
                return self.number(node, value)
            case ast.Name(id="x"):
                return X
            case ast.Name(id=name) if name in CONSTANTS:
                return num(CONSTANTS[name])
            case ast.Name(id=name):
                raise self.fault(node, f"{_shown(name)} without an argument in parentheses")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return negate(self.tree(operand, level + 1))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.tree(operand, level + 1)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return power(self.tree(left, level + 1), self.tree(right, level + 1))
            case ast.Call():
                return self.called(node, level)
        raise self.fault(node, _described(node))

    def number(self, node: ast.expr, value: float) -> Tree:
        try:
            return num(float(value))
        except (OverflowError, ParseError):
            raise self.fault(node, "a number too large for float64") from None

    def called(self, node: ast.Call, level: int) -> Tree:
        if not isinstance(node.func, ast.Name) or node.func.id in ("x", *CONSTANTS):
            raise self.fault(node, "a call of something that is no function")
        name = ALIASES.get(node.func.id, node.func.id)
        if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            raise self.fault(node, f"{name} with a starred or keyword argument")
        least, most = (2, math.inf) if name == "min" else (1, 1)
        if not least <= len(node.args) <= most:
            needed = "two or more arguments" if name == "min" else "one argument"
            raise self.fault(node, f"{name} with {len(node.args)} arguments (it takes {needed})")
        arguments = [self.tree(a, level + 1) for a in node.args]
        return minimum(arguments) if name == "min" else call(name, arguments[0])


def _times(left: Tree, right: Tree) -> Tree:
    return mul([left, right])


def _described(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        return "the operator //"
    if isinstance(node, ast.Tuple):
        return "a comma outside the parentheses of min"
    return f"{type(node).__name__.lower()}"
