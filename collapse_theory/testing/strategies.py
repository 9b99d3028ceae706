"""Hypothesis strategies for what the package takes: utilities, domains, comparisons, laws.

They shrink to small examples of few digits, and what they make prints as code that makes it again,
given the names of `collapse_theory` and of this room.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from collapse_theory.errors import CollapseError
from collapse_theory.laws import BetaDensity, RewardLaw
from collapse_theory.programs import (
    Box,
    Centered,
    Comparisons,
    Confined,
    Domain,
    Free,
    ListwiseProgram,
    Program,
)
from collapse_theory.utilities import (
    Exponential,
    Hinge,
    LabelSmoothing,
    Linear,
    Log,
    LogSigmoid,
    Loss,
    NegativePower,
    PlackettLuce,
    Power,
    Quadratic,
    Sine,
    Squared,
    Utility,
    register,
    utility,
)

Utilities = st.SearchStrategy[Utility]

# -- numbers -------------------------------------------------------------------------------


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Return positive numbers spread evenly over the decades from `low` to `high`.

    They have three digits, and now and then all; they shrink to 1 or what is nearest to it.

    Examples
    --------
    >>> from hypothesis import given
    >>> from collapse_theory.testing import numbers
    >>> @given(numbers(0.1, 10))
    ... def check(found):
    ...     assert 0.1 <= found <= 10
    >>> check()
    """

    def short(exponent: float) -> float:
        return min(max(float(f"{10.0**exponent:.3g}"), low), high)

    exponents = st.floats(math.log10(low), math.log10(high))
    whole = exponents.map(lambda exponent: min(max(10.0**exponent, low), high))
    return st.one_of(exponents.map(short), exponents.map(short), whole)


def hundredths(low: float, high: float) -> st.SearchStrategy[float]:
    """Return the multiples of 1/100 from `low` to `high`; they shrink to 0 or the nearest to it."""
    return st.integers(round(100 * low), round(100 * high)).map(lambda k: k / 100)


# -- utilities -----------------------------------------------------------------------------


@register
@dataclass(frozen=True, eq=False)
class Saturating(Utility):
    """U(x) = x / (x + k), k > 0: a class such as users write.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.testing import Saturating
    >>> ct.solve(Saturating(0.5), 4).rewards.round(3)
    array([1.   , 0.736, 0.264, 0.   ])
    """

    k: float

    def value(self, x: Any, xp: Any = np) -> Any:
        return x / (x + self.k)

    def derivatives(self, x: Any) -> tuple[Any, Any]:
        first = self.k / (x + self.k) ** 2
        return first, -2 * first / (x + self.k)


# The families with their parameters, rising in the box [0, 1] but for those with a maximum.
FAMILIES: dict[type[Loss], st.SearchStrategy[Any]] = {
    Linear: st.just(Linear()),
    Log: st.just(Log()),
    Power: hundredths(0.02, 0.9).map(Power),
    NegativePower: numbers(0.01, 4).map(NegativePower),
    LogSigmoid: numbers(0.01, 1000).map(LogSigmoid),
    Exponential: numbers(0.01, 1000).map(Exponential),
    Quadratic: numbers(1e-3, 0.5).map(Quadratic),
    Sine: numbers(0.01, 1.57).map(Sine),
    Hinge: hundredths(0.05, 0.95).map(Hinge),
    LabelSmoothing: st.builds(LabelSmoothing, hundredths(0.01, 0.45), numbers(0.1, 10)),
    Squared: numbers(0.1, 10).map(Squared),
    Saturating: numbers(0.01, 100).map(Saturating),
    PlackettLuce: st.builds(PlackettLuce, st.none() | st.integers(1, 4), numbers(0.1, 100)),
}


def _texts(*formulas: str) -> Utilities:
    """Return formulas with a number at each {}."""
    return st.builds(lambda text, k: utility(text.format(k)), st.sampled_from(formulas), RATES)


RATES = numbers(0.1, 20)
STEEP = (FAMILIES[Log], FAMILIES[Power], FAMILIES[NegativePower])
STEEP_TEXTS = (_texts("sqrt(log(1 + {}*x))", "atan({}*sqrt(x))"),)
SHIFTED = (
    numbers(1e-6, 100).map(Log().shifted),
    st.builds(lambda g, e: Power(g).shifted(e), hundredths(0.1, 0.9), numbers(1e-6, 100)),
    st.builds(lambda g, e: NegativePower(g).shifted(e), numbers(0.1, 3), numbers(0.01, 100)),
    st.builds(lambda b, m: LogSigmoid(b).shifted(-m), numbers(1, 50), hundredths(0.01, 0.5)),
)
SMOOTH = (
    *(FAMILIES[kind] for kind in (LogSigmoid, Exponential, Quadratic, Sine, Saturating)),
    *SHIFTED,
)
SMOOTH_TEXTS = (_texts("tanh({}*x)", "atan({}*x)", "erf({}*x)", "log(log({}*x + 2))"),)
KINKED_TEXTS = (_texts("min(log(x + 0.1), x - 1/(1 + {}))", "min(2*x, tanh({}*x))"),)
HELD = (FAMILIES[LabelSmoothing], FAMILIES[Squared])


def utilities(
    *,
    strictly_concave: bool | None = None,
    finite_slope: bool | None = None,
    kinked: bool | None = None,
    maximum: bool = False,
    texts: bool = True,
    terms: int = 3,
    weights: tuple[float, float] = (1e-3, 1e3),
) -> Utilities:
    """Return concave utilities: families, shifted ones, texts, one of our own, weighted sums.

    Parameters
    ----------
    strictly_concave, finite_slope, kinked : bool, optional
        Only those that are strictly concave, have a finite U'(0), have a kink in (0, 1); or with
        False only those that aren't or haven't. Both unless given.
    maximum : bool
        Those with a maximum, as `Free` needs, instead of those that rise on [0, 1].
    texts : bool
        Whether formulas that are no sum of families are among the terms.
    terms : int
        The most terms of a sum.
    weights : pair of float
        Between which their weights are.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import collapse_theory as ct
    >>> from collapse_theory.testing import utilities
    >>> @settings(max_examples=20, database=None)
    ... @given(utilities(strictly_concave=True))
    ... def three_completions_are_evenly_spaced(u):
    ...     assert abs(ct.solve(u, 3).rewards[1] - 0.5) < 1e-9
    >>> three_completions_are_evenly_spaced()
    """
    steep = STEEP + STEEP_TEXTS * texts
    smooth = SMOOTH + SMOOTH_TEXTS * texts
    kinks = (FAMILIES[Hinge], *KINKED_TEXTS * texts)
    linear = (FAMILIES[Linear],)
    if strictly_concave is False:
        steep, smooth, kinks = (), (), (FAMILIES[Hinge],)
    allowed = linear + smooth + steep * (not finite_slope) + kinks * (kinked is not False)
    needed = [steep] * (finite_slope is False) + [kinks] * (kinked is True) + [HELD] * maximum
    if not all(needed):
        raise CollapseError("no utility of this room is like that: leave a filter out")
    weighted = [st.tuples(numbers(*weights), st.one_of(*group)) for group in needed or [allowed]]
    rest = st.lists(
        st.tuples(numbers(*weights), st.one_of(*allowed)), max_size=max(terms - len(weighted), 0)
    )
    sums = st.builds(lambda first, rest: _sum([*first, *rest]), st.tuples(*weighted), rest)

    def fits(u: Utility) -> bool:
        return (
            strictly_concave in (None, u.strictly_concave)
            and finite_slope in (None, math.isfinite(u.slope_at_zero))
            and kinked in (None, any(kink < 1 for kink in u.kinks))
            and (not maximum or bool(u.d1(1e9) < 0))
        )

    return sums.filter(fits)


def _sum(parts: list[tuple[float, Utility]]) -> Utility:
    return reduce(add, (weight * u for weight, u in parts))


def losses(**filters: Any) -> st.SearchStrategy[Loss]:
    """Return `utilities` and listwise losses; the filters are those of `utilities`.

    Examples
    --------
    >>> from hypothesis import given
    >>> from collapse_theory.testing import losses
    >>> @given(losses())
    ... def check(found):
    ...     assert callable(found.value)
    >>> check()
    """
    return st.one_of(utilities(**filters), FAMILIES[PlackettLuce])


# -- programs and laws ---------------------------------------------------------------------


def domains(*, bounded: bool | None = None, free: bool = True) -> st.SearchStrategy[Domain]:
    """Return boxes, [0, 1] first, and penalties; `Free` only with `free`.

    `bounded` True gives boxes alone, False no box.

    Examples
    --------
    >>> from hypothesis import given
    >>> from collapse_theory.testing import domains
    >>> @given(domains(bounded=True))
    ... def check(found):
    ...     assert found.bounded
    >>> check()
    """
    boxes = st.builds(lambda low, width: Box(low, low + width), hundredths(-5, 5), numbers(0.01, 5))
    walled = (st.just(Box()), boxes)
    penalties = (numbers(1e-3, 10).map(Confined), numbers(1e-3, 10).map(Centered))
    open_ = penalties + (st.just(Free()),) * free
    return st.one_of(*walled * (bounded is not False), *open_ * (bounded is not True))


@st.composite
def comparisons(draw: Callable[..., Any], most: int = 9, ties: bool | None = None) -> Comparisons:
    """Return weighted pairs of up to `most` completions in an order of their own.

    The best is compared with the worst. `ties` says whether two of more than three are held equal.

    Examples
    --------
    >>> from hypothesis import given
    >>> from collapse_theory.testing import comparisons
    >>> @given(comparisons())
    ... def check(found):
    ...     assert found.n >= 2
    >>> check()
    """
    n = draw(st.integers(2, most))
    order = draw(st.permutations(range(n)))
    tied = n > 3 and (draw(st.booleans()) if ties is None else ties)
    places = [(i, j) for i in range(n) for j in range(i + 1, n) if not tied or (i, j) != (1, 2)]
    size = draw(st.integers(0, 25))
    pairs = [*draw(st.lists(st.sampled_from(places), min_size=size, max_size=size)), (0, n - 1)]
    some = st.sampled_from((1.0, 2.0, 0.5, 0.1, 1.25, 0.3))
    weights = draw(st.lists(some, min_size=len(pairs), max_size=len(pairs)))
    better, worse = np.array(order)[np.array(pairs).T]
    return Comparisons(n, better, worse, np.array(weights), (tuple(order[1:3]),) if tied else ())


def law(
    atoms: list[tuple[float, float]], betas: list[tuple[float, float, float, float, float]]
) -> RewardLaw:
    """Return the law of atoms (place, mass) and Beta(a, b) densities (a, b, low, width, mass).

    The masses are scaled to sum to 1.

    Examples
    --------
    >>> from collapse_theory.testing import law
    >>> law([(0.0, 1.0)], [(1, 1, 0.0, 2.0, 3.0)])
    RewardLaw(atoms: 0.25 at 0; uniform on [0, 2] of mass 0.75)
    """
    total = sum(mass for _, mass in atoms) + sum(beta[-1] for beta in betas)
    parts = tuple(BetaDensity(a, b, low, low + w, mass / total) for a, b, low, w, mass in betas)
    return RewardLaw([(place, mass / total) for place, mass in atoms], parts)


def laws() -> st.SearchStrategy[RewardLaw]:
    """Return laws of up to four atoms and two Beta densities, within a few units of 0.

    A failing example is printed by Hypothesis as a call of `law`.

    Examples
    --------
    >>> from hypothesis import given
    >>> from collapse_theory.testing import laws
    >>> @given(laws())
    ... def check(found):
    ...     assert abs(found.cdf(found.support[1]) - 1) < 1e-9
    >>> check()
    """
    places, masses = st.integers(-16, 16).map(lambda i: i / 8), numbers(0.01, 1)
    shapes = numbers(0.05, 6)
    atom = st.tuples(places, masses)
    beta = st.tuples(shapes, shapes, places, numbers(0.05, 3), masses)
    return st.one_of(
        st.builds(law, st.lists(atom, min_size=1, max_size=4), st.lists(beta, max_size=2)),
        st.builds(law, st.lists(atom, max_size=4), st.lists(beta, min_size=1, max_size=2)),
    )


@st.composite
def programs(
    draw: Callable[..., Any],
    losses: st.SearchStrategy[Loss] | None = None,
    domains: st.SearchStrategy[Domain] | None = None,
    ns: st.SearchStrategy[int] | None = None,
    pairs: st.SearchStrategy[Comparisons | None] | None = None,
) -> Program | ListwiseProgram:
    """Return programs that have an optimum: what `ct.solve` is given, checked.

    Parameters
    ----------
    losses, domains, ns : strategies, optional
        Utilities that rise, the box [0, 1], and 2 to 12 completions unless given. Where a domain is
        `Free`, utilities with a maximum take the place of `losses` that have none.
    pairs : strategy, optional
        Of `Comparisons`, or None for a full ranking of `ns`; full rankings alone unless given.

    Examples
    --------
    >>> from hypothesis import given
    >>> from collapse_theory.testing import programs
    >>> @given(programs())
    ... def check(found):
    ...     assert found.n >= 2
    >>> check()
    """
    domain = draw(st.just(Box()) if domains is None else domains)
    loss = draw(utilities() if losses is None else losses)
    if isinstance(domain, Free) and not (isinstance(loss, Utility) and loss.d1(1e9) < 0):
        loss = draw(utilities(maximum=True))
    graph = draw(pairs) if pairs is not None else None
    n = graph.n if graph else draw(st.integers(2, 12) if ns is None else ns)
    try:
        return Program.of(loss, n, domain, graph)
    except CollapseError:
        reject()
