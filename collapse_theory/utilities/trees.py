"""What a tree is worth: its value on any backend, its kinks and its conic form."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from collapse_theory.errors import NoConicForm
from collapse_theory.lazy import special
from collapse_theory.utilities.family import log_sigmoid
from collapse_theory.utilities.jets import accurate, jet
from collapse_theory.utilities.nodes import Tree, children, text

__all__ = ["accurate", "conic", "evaluated", "has_min", "jet", "kinks", "roots", "value"]

# -- values on any backend ---------------------------------------------------------------


def value(tree: Tree, x: Any, xp: Any = np) -> Any:
    """Return U(x) on the array namespace `xp` (NumPy or torch)."""
    return evaluated(accurate(tree), x, xp)


def evaluated(tree: Tree, x: Any, xp: Any) -> Any:
    """Return the tree at x as it stands; `value` takes its accurate form."""
    kind = tree[0]
    if kind == "x":
        return x
    if kind == "num":
        return tree[1]
    parts = [evaluated(t, x, xp) for t in children(tree)]
    if kind == "call":
        return _function(tree[1], xp)(parts[0])
    if kind == "neg":
        return -parts[0]
    if kind == "div":
        return parts[0] / parts[1]
    if kind == "pow":
        return parts[0] ** parts[1]
    whole = parts[0]
    for part in parts[1:]:
        if kind == "add":
            whole = whole + part
        elif kind == "mul":
            whole = whole * part
        else:
            whole = _smaller(whole, part, xp)
    return whole


def _smaller(a: Any, b: Any, xp: Any) -> Any:
    # torch.minimum takes no plain numbers; numbers in a tree are floats, gaps arrays or tensors.
    if type(a) is float:
        a, b = b, a
    if type(a) is float:
        return min(a, b)
    return xp.clip(a, max=b) if type(b) is float else xp.minimum(a, b)


def _function(name: str, xp: Any) -> Callable[[Any], Any]:
    if name == "logsigmoid":
        return lambda z: log_sigmoid(z, xp)
    if xp is np and name in ("erf", "sigmoid"):
        return special.erf if name == "erf" else special.expit
    return getattr(xp, "arctan" if name == "atan" else name)


# -- kinks and landmarks -----------------------------------------------------------------


def has_min(tree: Tree) -> bool:
    """Whether a min stands anywhere in the tree."""
    return tree[0] == "min" or any(has_min(t) for t in children(tree))


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


def _full(tree: Tree, x: np.ndarray) -> np.ndarray:
    return np.asarray(evaluated(tree, x, np)) + 0 * x


def kinks(tree: Tree, width: float) -> tuple[float, ...]:
    """Return the gaps in (0, width] at which the least branch of a min changes."""
    found: set[float] = set()
    for least in _subtrees(tree, "min"):
        branches = [accurate(b) for b in dict.fromkeys(least[1:])]

        def active(x: np.ndarray, branches: list[Tree] = branches) -> np.ndarray:
            return np.argmin(np.stack([_full(b, x) for b in branches]), axis=0)

        found.update(_changes(active, width))
    return tuple(sorted(found))


def roots(tree: Tree, width: float) -> tuple[float, ...]:
    """Return the gaps at which a sum in the tree changes sign: where narrow bumps sit.

    exp(-(k (x-c))**2), atan(k (x-c)), 1/(1 + (k (x-c))**2) all bend within 1/k of c.
    """
    found: set[float] = set()
    for part in dict.fromkeys(_subtrees(tree, "add")):
        found.update(_changes(lambda x, part=part: (_full(part, x) < 0).astype(int), width))
    return tuple(sorted(found))


def _subtrees(tree: Tree, kind: str) -> list[Tree]:
    own = [tree] if tree[0] == kind else []
    return own + [t for child in children(tree) for t in _subtrees(child, kind)]


# -- the conic form ----------------------------------------------------------------------


def conic(tree: Tree, cp: Any, gap: Any) -> Any:
    """Return the tree at `gap` as a concave CVXPY expression by the rules of DCP.

    Raises
    ------
    NoConicForm
        Where a function has no cone, or the rules don't show that the result is concave.
    """
    made = _conic(tree, cp, gap)
    if not made.is_concave():
        raise NoConicForm(
            f"{text(tree)} is not concave by CVXPY's rules, so it has no conic form; "
            'use method="newton"'
        )
    return made


def _conic(tree: Tree, cp: Any, gap: Any) -> Any:
    kind = tree[0]
    if kind == "x":
        return gap
    if kind == "num":
        return cp.Constant(tree[1])
    if kind == "pow" and tree[1][0] == "num" and tree[1][1] > 0:
        return cp.exp(float(np.log(tree[1][1])) * _conic(tree[2], cp, gap))
    if kind == "pow":
        if tree[2][0] != "num":
            raise _no_cone(text(tree))
        return cp.power(_conic(tree[1], cp, gap), tree[2][1])
    parts = [_conic(t, cp, gap) for t in children(tree)]
    if kind == "call":
        return _conic_call(tree[1], cp, parts[0])
    if kind == "neg":
        return -parts[0]
    if kind == "add":
        return sum(parts[1:], parts[0])
    if kind == "min":
        return cp.minimum(*parts)
    if kind == "div":
        if parts[1].is_constant():
            return parts[0] / parts[1]
        parts = [parts[0], cp.inv_pos(parts[1])]
    whole = parts[0]
    for part in parts[1:]:
        if not (whole.is_constant() or part.is_constant()):
            raise _no_cone(text(tree))
        whole = cp.multiply(whole, part)
    return whole


def _conic_call(name: str, cp: Any, z: Any) -> Any:
    if name == "logsigmoid":
        return -cp.logistic(-z)
    if name == "expm1":
        return cp.exp(z) - 1
    if name in ("log", "log1p", "exp", "sqrt"):
        return getattr(cp, name)(z)
    raise _no_cone(name)


def _no_cone(what: str) -> NoConicForm:
    return NoConicForm(f'{what} has no conic form; use method="newton"')
