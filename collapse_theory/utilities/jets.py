"""A tree's value and exact first and second derivatives, propagated together through it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.utilities.family import log_sigmoid
from collapse_theory.utilities.nodes import Tree, add, call, negate, rebuilt

__all__ = ["accurate", "jet"]

# A jet: value, first and second derivative; None is a derivative that is zero everywhere, so
# that 0 * inf at a pole doesn't become NaN.
Jet = tuple[Any, Any, Any]


@lru_cache(maxsize=256)
def accurate(tree: Tree) -> Tree:
    """Return the tree with log(1 + u) as log1p(u) and exp(u) - 1 as expm1(u).

    sqrt(log(1 + x)) would lose all digits of its slope at x = 1e-17 otherwise.
    """
    made = rebuilt(tree, accurate)
    if made[0] == "call" and made[1] == "log" and made[2][0] == "add" and ONE in made[2]:
        return call("log1p", _without(made[2], ONE))
    if made[0] == "add":
        for term in made[1:]:
            bare = negate(term) if term[0] == "neg" else term
            unit = ONE if term[0] == "neg" else negate(ONE)
            if bare[:2] == ("call", "exp") and unit in made:
                whole = call("expm1", bare[2])
                rest = [t for t in made[1:] if t not in (term, unit)]
                if len(rest) == len(made) - 3:
                    return add([*rest, negate(whole) if term[0] == "neg" else whole])
    return made


ONE = ("num", 1.0)


def _without(tree: Tree, term: Tree) -> Tree:
    terms = list(tree[1:])
    terms.remove(term)
    return add(terms)


# -- derivatives -------------------------------------------------------------------------


def jet(tree: Tree, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return U, U' and U'' at the gaps `x`."""
    gaps = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        found = _jet(accurate(tree), gaps)
    zero, first, second = (np.zeros_like(gaps) + (0.0 if part is None else part) for part in found)
    return zero[()], first[()], second[()]


def _jet(tree: Tree, x: np.ndarray) -> Jet:
    kind = tree[0]
    if kind == "x":
        return x, 1.0, None
    if kind == "num":
        return tree[1], None, None
    if kind == "call":
        u = _jet(tree[2], x)
        return _chain(_DERIVATIVES[tree[1]](u[0]), u)
    if kind == "pow":
        return _power_jet(tree, x)
    parts = [_jet(t, x) for t in tree[1:]]
    if kind == "neg":
        return tuple(_scale(-1.0, part) for part in parts[0])
    if kind == "div":
        return _quotient(*parts)
    if kind == "min":
        return _least(parts, x)
    join = _sum if kind == "add" else _product
    whole = parts[0]
    for part in parts[1:]:
        whole = join(whole, part)
    return whole


def _plus(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def _scale(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a * b


def _sum(f: Jet, g: Jet) -> Jet:
    return f[0] + g[0], _plus(f[1], g[1]), _plus(f[2], g[2])


def _product(f: Jet, g: Jet) -> Jet:
    first = _plus(_scale(f[1], g[0]), _scale(f[0], g[1]))
    cross = _scale(2.0, _scale(f[1], g[1]))
    return f[0] * g[0], first, _plus(_plus(_scale(f[2], g[0]), cross), _scale(f[0], g[2]))


def _quotient(f: Jet, g: Jet) -> Jet:
    # From (f/g) g = f, differentiated: no squares of g that could underflow.
    inverse = 1.0 / g[0] if isinstance(g[0], np.ndarray) else np.float64(1.0) / g[0]
    ratio = f[0] / g[0]
    first = _scale(_plus(f[1], _scale(-ratio, g[1])), inverse)
    rest = _plus(_scale(_scale(-2.0, first), g[1]), _scale(-ratio, g[2]))
    return ratio, first, _scale(_plus(f[2], rest), inverse)


def _chain(outer: tuple[Any, Any, Any], u: Jet) -> Jet:
    value_, first, second = outer
    bend = _scale(_scale(second, u[1]), u[1])
    return value_, _scale(first, u[1]), _plus(bend, _scale(first, u[2]))


def _power_jet(tree: Tree, x: np.ndarray) -> Jet:
    base, exponent = _jet(tree[1], x), _jet(tree[2], x)
    if tree[2][0] == "num":
        u, c = base[0], tree[2][1]
        first = None if c == 0 else c * u ** (c - 1)
        second = None if c in (0, 1) else c * (c - 1) * u ** (c - 2)
        return _chain((u**c, first, second), base)
    logarithm = _chain(_DERIVATIVES["log"](base[0]), base)
    product = _product(exponent, logarithm)
    return _chain(_DERIVATIVES["exp"](product[0]), product)


def _least(parts: list[Jet], x: np.ndarray) -> Jet:
    """Return the jet of the branch that is the least at each gap."""
    values, first, second = (
        np.stack([np.zeros_like(x) + (0.0 if part[k] is None else part[k]) for part in parts])
        for k in range(3)
    )
    active = np.argmin(values, axis=0)[None]
    value_, slope, bend = (np.take_along_axis(a, active, 0)[0] for a in (values, first, second))
    return value_, slope, bend


def _d_log(u: Any) -> Jet:
    inverse = np.float64(1.0) / u
    return np.log(u), inverse, -inverse * inverse


def _d_log1p(u: Any) -> Jet:
    inverse = 1.0 / (1.0 + u)
    return np.log1p(u), inverse, -inverse * inverse


def _d_sqrt(u: Any) -> Jet:
    root = np.sqrt(u)
    return root, 0.5 / root, -0.25 / (root * u)


def _d_exp(u: Any) -> Jet:
    e = np.exp(u)
    return e, e, e


def _d_expm1(u: Any) -> Jet:
    e = np.exp(u)
    return np.expm1(u), e, e


def _d_atan(u: Any) -> Jet:
    w = 1.0 / np.hypot(1.0, u)
    return np.arctan(u), w * w, -2.0 * (u * w) * w * w * w


def _d_tanh(u: Any) -> Jet:
    # sech^2 by exponentials: 1 - tanh^2 would be 0 or noise where tanh is near 1.
    e = np.exp(-2.0 * np.abs(u))
    sech2, t = 4.0 * e / (1.0 + e) ** 2, np.tanh(u)
    return t, sech2, -2.0 * t * sech2


def _d_erf(u: Any) -> Jet:
    bell = 2.0 / np.sqrt(np.pi) * np.exp(-u * u)
    return special.erf(u), bell, -2.0 * u * bell


def _d_sin(u: Any) -> Jet:
    s = np.sin(u)
    return s, np.cos(u), -s


def _d_cos(u: Any) -> Jet:
    c = np.cos(u)
    return c, -np.sin(u), -c


def _d_sigmoid(u: Any) -> Jet:
    s = special.expit(u)
    bell = s * special.expit(-u)
    return s, bell, -np.tanh(u / 2) * bell


def _d_logsigmoid(u: Any) -> Jet:
    fall = special.expit(-u)
    return log_sigmoid(u), fall, -fall * special.expit(u)


_DERIVATIVES: dict[str, Callable[[Any], Jet]] = {
    "log": _d_log,
    "log1p": _d_log1p,
    "sqrt": _d_sqrt,
    "exp": _d_exp,
    "expm1": _d_expm1,
    "atan": _d_atan,
    "tanh": _d_tanh,
    "erf": _d_erf,
    "sin": _d_sin,
    "cos": _d_cos,
    "sigmoid": _d_sigmoid,
    "logsigmoid": _d_logsigmoid,
}
