"""From text to a tree, without `eval`: a parser by recursive descent, a function a rule.

    sum      = product { ("+" | "-") product }
    product  = factor { ("*" | "/") factor }
    factor   = ("+" | "-") factor  |  atom [ "**" factor ]
    atom     = number | "x" | "pi" | "e" | name "(" sum { "," sum } ")" | "(" sum ")"
             | family "(" [ [ name "=" ] sum { "," [ name "=" ] sum } ] ")" [ "(" sum ")" ]

These are Python's rules, so that -x**2 is -(x**2) and 2**-x**2 is 2**(-(x**2)).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from keyword import iskeyword
from typing import NamedTuple, TypeVar

from collapse_theory.errors import InvalidUtility, ParseError
from collapse_theory.utilities import capped, families
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.expression import (
    Tree,
    X,
    add,
    depth,
    div,
    is_num,
    mul,
    negate,
    num,
    power,
)
from collapse_theory.utilities.families import Family
from collapse_theory.utilities.formula import FROZEN
from collapse_theory.utilities.language import (
    ALIASES,
    CONSTANTS,
    COUNTS,
    GAPS,
    MAKERS,
    MARKS,
)
from collapse_theory.values import names

LONGEST = 1000  # characters
DEEPEST = 50  # levels of the tree: all that walks down a tree may do so by recursion
_NESTED = 2 * DEEPEST  # levels of the text: a sign in parentheses is two, and one of the tree

FAMILIES: dict[str, type[Utility]] = {
    f.__name__: f
    for f in (*vars(families).values(), *vars(capped).values())
    if isinstance(f, type) and issubclass(f, Family) and is_dataclass(f)
}
_OURS = frozenset(FAMILIES.values())
ALLOWED = (
    "allowed are the gap x, numbers, pi, e, + - * / **, parentheses, min(..., ...), max(..., ...), "
    + f"{', '.join(sorted({*MAKERS, 'ln'} - {*COUNTS}))} and families such as LogSigmoid(4)"
)
_TOO_DEEP = f"the utility is nested too deeply; at most {DEEPEST} levels are allowed"

# A number must not run into a name or another number ("1if", "0x10", "1_000", "1.real").
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>\*\*|//|[-+*/(),=])|[ \t\r\n]+"
)
_OLD_OCTAL = re.compile(r"0[0-9]*[1-9][0-9]*")  # 007, which Python refuses too
_NAMES = {"x", *CONSTANTS, *ALIASES, *MAKERS, *FAMILIES}
_FIELDS = {name for family in FAMILIES.values() for name in names(family)}
Kind = TypeVar("Kind", bound=type[Utility])


def register(kind: Kind) -> Kind:
    """Make the name of a class of utilities a word of the language; a decorator.

    ``Name(2)`` is then read wherever a utility's text is, alone, in sums and at an argument, as in
    ``Name(2)(x + 0.1)``, and a utility of that class says and saves itself so. The class becomes a
    frozen dataclass; its fields are its parameters, numbers.

    Parameters
    ----------
    kind : type
        A subclass of `Utility` with `value` at least.

    Raises
    ------
    InvalidUtility
        Where it is no such class, or its name has a meaning already.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> @ct.register
    ... class Root(ct.Utility):
    ...     shift: float
    ...     def value(self, x, xp=np):
    ...         return xp.sqrt(x + self.shift)
    >>> str(ct.utility("Root(0.1) + 2*Root(1)(3*x)"))
    'Root(0.1) + 2*Root(1)(3*x)'
    """
    if not (isinstance(kind, type) and issubclass(kind, Utility)):
        raise InvalidUtility(
            f"a class of utilities, a subclass of ct.Utility, was needed: {kind!r}"
        )
    name, known = kind.__name__, FAMILIES.get(kind.__name__)
    again = known and (known.__module__, known.__qualname__) == (kind.__module__, kind.__qualname__)
    if kind in _OURS or (not again and name in _NAMES | _FIELDS):
        raise InvalidUtility(f"the name {name} has a meaning in utilities already; take another")
    made = kind
    if "__dataclass_params__" not in vars(kind):
        made = dataclass(frozen=True, eq=False, repr=False)(kind)
    elif not vars(kind)["__dataclass_params__"].frozen:
        raise InvalidUtility(FROZEN.format(name))
    made.named = True
    FAMILIES[name] = made
    _NAMES.add(name)
    _FIELDS.update(names(made))
    return made


def parse(source: str, longest: int = LONGEST) -> Tree:
    """Return the tree of a formula in x, of at most `longest` characters; nothing is evaluated.

    A `ParseError` says what was found, at which column, and what is allowed.
    """
    if len(source) > longest:
        raise ParseError(f"the utility has {len(source)} characters; at most {longest} are allowed")
    if not source.strip():
        raise ParseError(f"the text of the utility is empty; {ALLOWED}")
    reader = _Reader(_tokens(source))
    tree = reader.sum(0)
    reader.expect("")
    if len(source) > DEEPEST and depth(tree) > DEEPEST:  # a character adds a level at most
        raise ParseError(_TOO_DEEP)
    return tree


class _Token(NamedTuple):
    kind: str | None
    text: str
    column: int


def _tokens(source: str) -> list[_Token]:
    """Return the numbers, names and marks of the text, and an empty token at its end."""
    tokens, place = [], 0
    while place < len(source):
        found = _TOKEN.match(source, place)
        if found is None:
            number = re.match(r"[0-9.][A-Za-z0-9_.]*", source[place:])
            bad = number.group() if number else source[place]
            hint = "numbers are plain, and a product is written 2*x" if number else ""
            raise _unexpected(_Token("bad", bad, place + 1), hint=MARKS.get(bad, hint))
        token = _Token(found.lastgroup, found.group(), place + 1)
        if token.kind == "name" and token.text not in _NAMES:
            after = source[found.end() :].lstrip()
            if not (token.text in _FIELDS and after.startswith("=")):
                raise _unexpected(token, hint=_meant(token.text, after, source))
        if token.kind == "number" and _OLD_OCTAL.fullmatch(token.text):
            raise _unexpected(token, f"{_shown(token.text)}, a number with leading zeros,")
        tokens += [token] if token.kind else []  # None is white space
        place = found.end()
    return [*tokens, _Token("end", "", len(source) + 1)]


def _meant(name: str, after: str, source: str) -> str:
    """Return what to write in the place of an unknown name, if anything is near."""
    known, folded = {each.lower(): each for each in sorted(_NAMES)}, name.lower()
    near = get_close_matches(folded, known, 1, 0.88)
    if after.startswith("."):
        return "functions stand alone: log(x), not np.log(x)"
    if name in GAPS and not after.startswith("(") and not re.search(r"\bx\b", source):
        return "the gap is called x"
    if near:
        return f"is {_example(known[near[0]])} meant?"
    if folded in ("inf", "nan", "infinity"):
        return "numbers are finite"
    if iskeyword(name):
        return "write the formula in x alone"
    if after.startswith("("):
        return ""
    return f'write a number in its place, as in f"{{{name[:20]}}}*x"'


def _example(name: str) -> str:
    """Return how a name is written: ``Hinge(m)``, ``log(x)``, ``pi``."""
    arguments = ", ".join(names(FAMILIES[name])) if name in FAMILIES else "x"
    return name if name == "x" or name in CONSTANTS else f"{name}({arguments})"


def _unexpected(token: _Token, found: str | None = None, hint: str = "") -> ParseError:
    found = found or (_shown(token.text) if token.text else "the end")
    return ParseError(f"found {found} at column {token.column}; {hint or ALLOWED}")


def _shown(found: str) -> str:
    # ascii() keeps control characters and look-alikes out of the message.
    return ascii(found if len(found) <= 30 else found[:27] + "...")


class _Reader:
    """Reads tokens from the left; `level` counts how deeply nested a rule is entered."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.left = iter(tokens)
        self.token = next(self.left)

    def taken(self, *marks: str) -> str | None:
        """Step over the token where it is one of `marks`, and return it."""
        found = self.token.text
        if found not in marks:
            return None
        self.token = next(self.left, self.token)
        return found

    def expect(self, mark: str) -> None:
        if self.token.text == ",":
            raise _unexpected(
                self.token, "a comma outside the parentheses of min", "decimals have a point: 0.5"
            )
        if self.taken(mark) is None:
            operand = self.token.kind in ("number", "name") or self.token.text == "("
            raise _unexpected(self.token, hint="a product is written *" if operand else "")

    def sum(self, level: int) -> Tree:
        if level > _NESTED:
            raise ParseError(_TOO_DEEP)
        terms = [self.product(level)]
        while sign := self.taken("+", "-"):
            term = self.product(level)
            terms.append(negate(term) if sign == "-" else term)
        return add(*terms)

    def product(self, level: int) -> Tree:
        start = self.token
        made = self.factor(level)
        while sign := self.taken("*", "/", "//"):
            if sign == "//":
                raise _unexpected(start, "the operator //")
            made = (mul if sign == "*" else div)(made, self.factor(level))
        return made

    def factor(self, level: int) -> Tree:
        if level > _NESTED:
            raise ParseError(_TOO_DEEP)
        if sign := self.taken("+", "-"):
            operand = self.factor(level + 1)
            return negate(operand) if sign == "-" else operand
        made = self.atom(level)
        return power(made, self.factor(level + 1)) if self.taken("**") else made

    def atom(self, level: int) -> Tree:
        token = self.token
        if self.taken("("):
            made = self.sum(level + 1)
            self.expect(")")
            return made
        if token.kind not in ("number", "name"):
            raise _unexpected(token)
        self.taken(token.text)
        if token.kind == "name":
            return self.named(token, level)
        if not math.isfinite(float(token.text)):
            raise _unexpected(token, "a number too large for float64")
        return num(float(token.text))

    def named(self, token: _Token, level: int) -> Tree:
        name = ALIASES.get(token.text, token.text)
        called = self.taken("(")
        if name == "x" or name in CONSTANTS:
            if called:
                raise _unexpected(token, "a call of something that is no function")
            return X if name == "x" else num(CONSTANTS[name])
        if not called:
            without = f"{_shown(name)} without an argument in parentheses"
            raise _unexpected(token, without, f"write {_example(name)}")
        if name in FAMILIES:
            return self.family(token, level)
        found: list[Tree] = []
        while not self.taken(")"):
            found.append(self.sum(level + 1))
            if not self.taken(",") and self.token.text != ")":
                raise _unexpected(self.token)
        least, most = COUNTS.get(name, (1, 1))
        if not least <= len(found) <= most:
            needed = {1: "one argument", 2: "two arguments"}.get(most, "two or more arguments")
            raise _unexpected(token, f"{name} with {len(found)} arguments (it takes {needed})")
        return MAKERS[name](*found)

    def family(self, token: _Token, level: int) -> Tree:
        """Return the formula of a family, written as its repr is: ``LogSigmoid(beta=4)``."""
        given, named = list[float](), dict[str, float]()
        while not self.taken(")"):
            field = self.token.text if self.token.text in _FIELDS else None
            if field:
                self.taken(field)
                self.expect("=")
                if field in named:
                    raise _unexpected(token, f"{field} twice in {token.text}")
            value = self.sum(level + 1)
            if not is_num(value):
                raise _unexpected(token, f"{token.text} of what is no number")
            if field:
                named[field] = value[1]
            else:
                given.append(value[1])
            if not self.taken(",") and self.token.text != ")":
                raise _unexpected(self.token)
        try:
            made = FAMILIES[token.text](*given, **named)
        except (TypeError, InvalidUtility) as fault:
            takes = ", ".join(names(FAMILIES[token.text])) or "nothing"
            why = str(fault) if isinstance(fault, InvalidUtility) else ""
            found = f"{token.text} with other than its parameters (it takes {takes})"
            raise _unexpected(token, found, why) from None
        if not self.taken("("):
            return made.tree()
        inner = self.sum(level + 1)
        self.expect(")")
        return made.tree(inner)
