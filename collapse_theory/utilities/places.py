"""Gaps at which a formula needs care: kinks, zeros of its sums, and where it is 0/0."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from collapse_theory.numerics.taylor import taylor
from collapse_theory.utilities.expression import (
    Arithmetic,
    Tree,
    accurate,
    add,
    children,
    evaluate,
    is_num,
    rebuilt,
    substituted,
    value,
)
from collapse_theory.utilities.functions import FUNCTIONS

# Kinks are looked for at gaps up to here: beyond any box, and any confined support in use.
MAX_KINK = 1000.0

# At this gap poles are larger than this, but the weakest, and logarithms are not.
TINY, POLE = 1e-200, 1e10

# -- kinks and landmarks -----------------------------------------------------------------


def kinks(tree: Tree, width: float) -> tuple[float, ...]:
    """Return the gaps in (0, width] at which the least branch of a min changes."""
    found: set[float] = set()
    for least in _subtrees(tree, "min"):
        branches = [accurate(b) for b in least[1:]]

        def active(x: np.ndarray, branches: list[Tree] = branches) -> np.ndarray:
            return np.argmin(np.stack([value(b, x) + 0 * x for b in branches]), axis=0)

        found.update(_changes(active, width))
    return tuple(sorted(found))


def roots(tree: Tree, width: float) -> tuple[float, ...]:
    """Return the gaps at which a part of the tree changes sign: where narrow bumps sit.

    exp(-(k (x-c))**2), atan(k (x-c)), 1/(1 + (k (x-c))**2) all bend within 1/k of c.
    """
    found: set[float] = set()
    for part in dict.fromkeys(_subtrees(tree, "add") + _subtrees(tree, "call")):
        found.update(_changes(lambda x, part=part: (value(part, x) + 0 * x < 0).astype(int), width))
    return tuple(sorted(found))


def pole(tree: Tree) -> float:
    """Return the largest gap, at most 0, at which the formula has a pole; -inf where none has.

    Beyond it the formula stands for another function: -1/(x + 0.1) is 10 at -0.2.
    """
    divisors = [t[2] for t in _subtrees(tree, "div")] + [t[1] for t in _subtrees(tree, "pow")]
    divisors += [t[2] for t in _subtrees(tree, "call") if t[1] == "log"]
    parts = [part for d in divisors for part in (d, *_subtrees(d, "add"))]
    found = {0.0}
    for part in dict.fromkeys(parts):
        signs = lambda y, part=part: (value(part, -y) + 0 * y < 0).astype(int)  # noqa: E731
        found.update(-y for y in _changes(signs, MAX_KINK))
    for gap in sorted(found, reverse=True) if divisors else []:
        with np.errstate(all="ignore"):
            far, near, nearer = value(tree, gap + np.array([1e-3, 1e-6, 1e-9]))
        # A logarithm falls by 6.9 with each step; what has a value there moves less and less.
        if not abs(nearer - near) <= 0.3 * abs(near - far):
            return gap
    return -np.inf


def _subtrees(tree: Tree, kind: str) -> list[Tree]:
    if tree[0] == "series":
        return _subtrees(tree[2], kind)
    if tree[0] == "own" and kind != "div":
        return _subtrees(substituted(tree[1].formula, tree[2]), kind) if tree[1].formula else []
    own = [tree] if tree[0] == kind else []
    return own + [t for child in children(tree) for t in _subtrees(child, kind)]


def _changes(choice: Callable[[np.ndarray], np.ndarray], width: float) -> list[float]:
    """Return the gaps at which the integer `choice` changes, by bisection between grid points."""
    grid = _grid(width)
    with np.errstate(all="ignore"):
        chosen = choice(grid)
        at = np.flatnonzero(chosen[1:] != chosen[:-1])[:1000]
        low, high, before = grid[at], grid[at + 1], chosen[at]
        while at.size:
            middle = low + (high - low) / 2
            if not ((low < middle) & (middle < high)).any():
                break
            same = choice(middle) == before
            low, high = np.where(same, middle, low), np.where(same, high, middle)
    return high.tolist()


@lru_cache(maxsize=8)
def _grid(width: float) -> np.ndarray:
    steps = np.concatenate([np.geomspace(1e-15, 1.0, 600), np.linspace(0, 1, 4002)[1:]])
    wider = width * np.geomspace(1 / width, 1.0, 2000) if width > 1 else steps[:0]
    return np.unique(np.concatenate([min(width, 1.0) * steps, wider]))


# -- 0/0 -----------------------------------------------------------------------------------


class _Analytic(Arithmetic):
    """Values at complex numbers, for formulas that are analytic; NaN for a min."""

    def min(self, *parts: Any) -> Any:
        return np.nan * parts[0]

    def call(self, name: str, u: Any) -> Any:
        row = FUNCTIONS[name]
        return (row.analytic or row.value)(u)

    def own(self, utility: Any, u: Any) -> Any:
        return u * np.nan if utility.formula is None else evaluate(utility.formula, u, self)


_ANALYTIC = _Analytic()


def regular(tree: Tree, width: float) -> Tree:
    """Return the tree with series for those of its parts that are 0/0 at a gap in [0, width].

    Quotients of two parts that vanish, and what is inf - inf or 0 * inf at the gap 0.
    """
    if not _subtrees(tree, "div") and tree[0] != "add":
        return tree
    return _with_series(rebuilt(tree, lambda part: regular(part, width)), width)


def _with_series(tree: Tree, width: float) -> Tree:
    with np.errstate(all="ignore"):
        gaps = _lost(tree, width)
        # A bump so narrow that no circle sees it lies at a zero of a part.
        marks = np.array(roots(tree, width)) if gaps else np.empty(0)
        if gaps and tree[0] == "add":
            # Only what is inf - inf: beside it log(x) and sqrt(x) have no series.
            size = [abs(value(part, np.float64(TINY))) for part in tree[1:]]
            steep = [part for part, here in zip(tree[1:], size, strict=True) if here > POLE]
            if 2 <= len(steep) < len(size):
                rest = [part for part in tree[1:] if part not in steep]
                return add(_with_series(add(*steep), width), _with_series(add(*rest), width))
    for gap in gaps:
        whole = tree
        found = taylor(lambda z, whole=whole: evaluate(whole, z, _ANALYTIC) + 0 * z, gap, marks)
        tree = ("series", found, tree) if found else tree
    return tree


def _lost(tree: Tree, width: float) -> list[float]:
    """Return the gaps at which the tree has no value, or no digits, though its limit may."""
    if tree[0] == "div" and not is_num(tree[1]) and not is_num(tree[2]):
        zeros = np.array([0.0, *roots(tree[2], width)])
        return [gap for gap in zeros if _vanishes(tree[1], gap) and _vanishes(tree[2], gap)]
    zero = np.float64(0.0)
    singular = tree[0] == "add" or (tree[0] == "mul" and bool(_subtrees(tree, "div")))
    if not singular or not np.isnan(value(tree, zero)):
        return []
    # x*log(x) is lost at 0 itself, and has no series; (1 - exp(-x))/x**2 is a pole, as 1/x is.
    own = (part for part in children(tree) if np.isnan(value(part, zero)))
    return [0.0] if all(abs(value(part, np.float64(TINY))) > POLE for part in own) else []


def _vanishes(tree: Tree, gap: float) -> bool:
    beside = np.float64(1.1 * gap or 0.1)  # a plain float raises where it leaves float64
    return bool(abs(value(tree, gap)) < 1e-13 * abs(value(tree, beside)))
