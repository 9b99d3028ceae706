"""Formulas of utilities in LaTeX, as notebooks show them."""

from __future__ import annotations

from collapse_theory.display import latex_number, latex_text
from collapse_theory.utilities.expression import MINUS_ONE, Tree, X, children, is_negative, negate

_NAMES = {name: rf"\{name}" for name in ("log", "exp", "tanh", "sinh", "cosh", "sin", "cos", "tan")}
_NAMES |= {"atan": r"\arctan", "logsigmoid": r"\log\sigma"}


def latex(tree: Tree) -> str:
    """Return a tree as LaTeX, its numbers with six digits.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> latex(ct.utility("2*sqrt(x) - 1/(x + 0.1)").tree())
    '-\\\\frac{1}{x + 0.1} + 2\\\\,x^{0.5}'
    """
    kind = tree[0]
    if kind == "x":
        return "x"
    if kind == "num":
        return latex_number(tree[1])
    if kind == "add":
        rest = (f" - {latex(negate(t))}" if is_negative(t) else f" + {latex(t)}" for t in tree[2:])
        return latex(tree[1]) + "".join(rest)
    if kind == "mul":
        signed = tree[1] == MINUS_ONE
        factors = (_within(t, "add") for t in tree[1 + signed :])
        return ("-" if signed else "") + r"\,".join(factors)
    if kind == "div":
        if is_negative(tree):
            return f"-{latex(negate(tree))}"
        return rf"\frac{{{latex(tree[1])}}}{{{latex(tree[2])}}}"
    if kind == "pow":
        return f"{_within(tree[1], 'add', 'mul', 'div', 'pow', 'num')}^{{{latex(tree[2])}}}"
    if kind == "own":
        named = tree[1].named and tree[2] == X
        name = latex_text(tree[1].called)
        return name if named else rf"{name}\left({latex(tree[2])}\right)"
    inside = ", ".join(latex(t) for t in children(tree))
    if kind == "call" and tree[1] == "sqrt":
        return rf"\sqrt{{{inside}}}"
    name = r"\min" if kind == "min" else _NAMES.get(tree[1], rf"\operatorname{{{tree[1]}}}")
    return rf"{name}\left({inside}\right)"


def _within(tree: Tree, *loose: str) -> str:
    """Return a part, in brackets where it is looser than what it stands in."""
    bare = tree[0] not in loose or (tree[0] == "num" and tree[1] >= 0)
    return latex(tree) if bare else rf"\left({latex(tree)}\right)"
