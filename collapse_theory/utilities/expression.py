"""Utilities from text: the families it is made of, and one Expression for what fits none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from collapse_theory.errors import InvalidUtility
from collapse_theory.utilities import nodes, trees
from collapse_theory.utilities.algebra import assemble
from collapse_theory.utilities.base import Combination, Utility
from collapse_theory.utilities.listwise import PlackettLuce
from collapse_theory.utilities.nodes import Tree, X, is_num
from collapse_theory.utilities.parser import parse
from collapse_theory.utilities.recognise import combination

__all__ = ["Expression", "utility"]

# The longest text that `from_dict` reads: a design can be a sum of hundreds of hinges.
LONGEST_SAVED = 200_000

# Kinks are looked for at gaps up to here: beyond any box, and any confined support in use.
WIDEST = 1000.0


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
        In canonical form: ``utility(str(u)) == u``.

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
    return _assembled(parse(text))


def saved(text: str) -> Utility:
    """Return the utility whose text was saved: of any sensible length."""
    return _assembled(parse(text, longest=LONGEST_SAVED))


def _assembled(tree: Tree) -> Utility:
    # x without a value anywhere (log(0 - x*x)) can't be told from the tree; assemble looks.
    return assemble(combination(tree))


@dataclass(frozen=True, eq=False, repr=False)
class Expression(Utility):
    """A utility that is no sum of families, as a tree; made by `utility` and by sums.

    `value`, `slope` and `curvature` are exact: the derivatives are propagated through the tree.
    """

    tree: Tree

    @classmethod
    def gather(cls, weights: dict[Utility, Fraction]) -> tuple[Expression | None, Fraction]:
        """Return the weighted sum as one Expression, and the constant beside it.

        Its terms are sorted by their text, their weights added exactly, so that the sum does
        not depend on the order in which it was written.
        """
        constant, cores = Fraction(0), {}
        for part, weight in weights.items():
            tree = part.tree if isinstance(part, Expression) else parse(str(part))
            for term in tree[1:] if tree[0] == "add" else (tree,):
                factor, core = _split(term)
                if core is None:
                    constant += weight * factor
                else:
                    cores[core] = cores.get(core, Fraction(0)) + weight * factor
        floats = {core: _float(w) for core, w in cores.items()}
        terms = [_weighted(w, core) for core, w in sorted(floats.items(), key=_text_of) if w]
        return (cls(nodes.add(terms)) if terms else None), constant

    # -- the formula ---------------------------------------------------------------------

    def value(self, x: Any, xp: Any = np) -> Any:
        if xp is not np:
            return trees.evaluated(self._accurate, x, xp)
        with np.errstate(all="ignore"):
            found = trees.value(self.tree, x, np)
        return _filled(x, found, lambda: float(trees.value(self.tree, np.float64(1e-300))))

    @cached_property
    def _accurate(self) -> Tree:
        # Kept here: torch.compile warns of a call that is cached elsewhere.
        return trees.accurate(self.tree)

    def slope(self, x: Any) -> Any:
        return self.derivatives(x)[0]

    def curvature(self, x: Any) -> Any:
        return self.derivatives(x)[1]

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, first, second = trees.jet(self.tree, x)
        first = _filled(x, first, lambda: self.slope_at_zero)
        return first, _filled(x, second, lambda: self._near(1e-100)[1])

    def _near(self, x: float) -> tuple[float, float]:
        _, first, second = trees.jet(self.tree, np.asarray(x))
        return float(first), float(second)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        return nodes.text(self.tree)

    # -- what solvers ask ----------------------------------------------------------------

    @cached_property
    def slope_at_zero(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        at_zero = float(trees.jet(self.tree, np.asarray(0.0))[1])
        if math.isfinite(at_zero):
            return at_zero
        # 0*inf at the gap 0 says nothing: look whether the slope still grows near it.
        near, nearer = self._near(1e-60)[0], self._near(1e-100)[0]
        if math.isfinite(nearer) and abs(near - nearer) <= 1e-9 * abs(nearer):
            return nearer
        return math.inf

    @cached_property
    def exponent(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        if math.isfinite(self.slope_at_zero):
            return 1.0
        for power in (-120, -60, -30, -15, -10, -7, -5):
            here, there = self._local_exponent(power), self._local_exponent(power // 2)
            if math.isfinite(here) and math.isfinite(there):
                break
        else:
            return 1.0
        if abs(here - there) <= 1e-7:
            return round(here, 9) + 0.0
        # A factor log x leaves p + c/log x: drop the second term.
        half = power // 2
        return round((power * here - half * there) / (power - half), 3) + 0.0

    def _local_exponent(self, power: int) -> float:
        """Return 1 + x U''/U' at x = 10**power."""
        x = 10.0**power
        first, second = self._near(x)
        ratio = second / first * x if first > 0 else math.nan
        # U'' can underflow to 0 or overflow long before U' does.
        return 1 + ratio if math.isfinite(ratio) and ratio else math.nan

    @cached_property
    def kinks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return trees.kinks(self.tree, WIDEST) if trees.has_min(self.tree) else ()

    @cached_property
    def landmarks(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(sorted({*trees.roots(self.tree, 1.0), *self.kinks}))

    @cached_property
    def strictly_concave(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Between kinks U is analytic: it is affine on all of a piece or strictly concave there.
        ends = [0.0, *(k for k in self.kinks if k < 1), 1.0]
        for low, high in pairwise(ends):
            x = low + (high - low) * np.linspace(0.01, 0.99, 99)
            first, second = self.derivatives(x)
            bent = second < -1e-11 * np.abs(first) / x
            if not bent.any():
                return False
        return True

    @property
    def concave_range(self) -> tuple[float, float]:
        return 0.0, 1.0  # looked at by `assemble`, which makes all that leaves the package

    # -- algebra -------------------------------------------------------------------------

    def combination(self) -> Combination:
        return combination(self.tree)

    def rescaled(self, b: float) -> Combination:
        return combination(nodes.substituted(self.tree, nodes.mul([nodes.num(b), X])))

    def moved(self, e: float) -> Combination:
        return combination(nodes.substituted(self.tree, nodes.add([X, nodes.num(e)])))

    def conic(self, cp: Any, ratio: Any, reference: Any) -> Any:
        return trees.conic(self.tree, cp, cp.multiply(reference, ratio))


def _filled(x: Any, found: Any, limit: Callable[[], float]) -> Any:
    """Return `found` with its limit where 0*inf at the gap 0 made it NaN, as in x*log(x)."""
    lost = np.isnan(found) & (np.asarray(x) == 0)
    return np.where(lost, limit(), found)[()] if np.any(lost) else found


def _float(weight: Fraction) -> float:
    try:
        return float(weight)
    except OverflowError:
        raise InvalidUtility("a weight of the utility is too large for float64") from None


def _text_of(item: tuple[Tree, float]) -> str:
    return nodes.text(item[0])


def _split(term: Tree) -> tuple[Fraction, Tree | None]:
    """Return the exact factor of a term and the rest; no rest where the term is a number."""
    kind = term[0]
    if kind == "num":
        return Fraction(term[1]), None
    if kind == "neg":
        factor, core = _split(term[1])
        return -factor, core
    if kind == "mul" and is_num(term[1]):
        return Fraction(term[1][1]), nodes.mul(term[2:])
    if kind == "div":
        factor, above = _split(term[1])
        divisor, below = _split(term[2])
        if divisor:
            rest = above or nodes.num(1.0)
            return factor / divisor, nodes.div(rest, below) if below else rest
    return Fraction(1), term


def _weighted(weight: float, core: Tree) -> Tree:
    return nodes.mul([nodes.num(weight), core])
