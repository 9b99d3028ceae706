"""Laws by name: discrete, empirical, beta and uniform; and from a short text, without `eval`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.beta import BetaDensity
from collapse_theory.laws.law import RewardLaw
from collapse_theory.numerics.checks import finite_array

_LONGEST = 500
LAW_TEXT = (
    "a wanted law is 'two-valued', 'uniform', 'arcsine', 'beta(0.5, 0.5)', 'atoms 0.3 + uniform' "
    "(a mass of 0.3 at each end), 'levels 0.4 0.2 0.4' (masses at equally spaced rewards), or a "
    "sum such as '0.3*beta(0.5) + 0.7*uniform'"
)
_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_VALUE = rf"{_NUMBER}(?:\s*/\s*{_NUMBER})?"
_TERM = re.compile(
    rf"(?:(?P<weight>{_VALUE})\s*\*\s*)?(?:"
    r"(?P<name>two-valued|uniform|arcsine)"
    rf"|beta\s*\(\s*(?P<a>{_VALUE})\s*(?:,\s*(?P<b>{_VALUE})\s*)?\)"
    rf"|atoms?\s+(?P<atom>{_VALUE})"
    rf"|levels?\s+(?P<levels>{_VALUE}(?:(?:\s*,\s*|\s+){_VALUE})*)"
    r")",
    re.ASCII,
)
# Masses, and the places of atoms or the exponents of Beta densities on [0, 1].
_Pieces = list[tuple[float, float | tuple[float, float]]]
_NAMED: dict[str, _Pieces] = {
    "two-valued": [(0.5, 0.0), (0.5, 1.0)],
    "uniform": [(1.0, (1.0, 1.0))],
    "arcsine": [(1.0, (0.5, 0.5))],
}


def beta_law(
    a: float, b: float | None = None, low: float = 0.0, high: float = 1.0, **fields: Any
) -> RewardLaw:
    """Return the Beta(a, b) law on [low, high].

    pdf(x) = u^(a-1) (1-u)^(b-1) / (B(a, b) (high - low)),  u = (x - low) / (high - low)

    Parameters
    ----------
    a, b : float
        Positive exponents; `b` is `a` unless given.
    low, high : float
        Ends of the support.
    **fields
        Further fields of the `RewardLaw`, such as `method` or `reference`.

    Examples
    --------
    >>> from collapse_theory.laws import beta_law
    >>> beta_law(0.5).var()
    0.125
    """
    return RewardLaw(parts=(BetaDensity(a, a if b is None else b, low, high),), **fields)


def uniform_law(low: float = 0.0, high: float = 1.0, **fields: Any) -> RewardLaw:
    """Return the uniform law on [low, high].

    Examples
    --------
    >>> from collapse_theory.laws import uniform_law
    >>> uniform_law(0, 2).cdf(0.5)
    0.25
    """
    return beta_law(1.0, 1.0, low, high, **fields)


def discrete_law(locations: Any, masses: Any, **fields: Any) -> RewardLaw:
    """Return the law of point masses: P(X = locations_i) = masses_i.

    Parameters
    ----------
    locations, masses : (k,) arrays
        Where the atoms are and how heavy; masses are nonnegative and sum to 1.
    **fields
        Further fields of the `RewardLaw`.

    Examples
    --------
    >>> from collapse_theory.laws import discrete_law
    >>> discrete_law([0, 1], [0.5, 0.5])
    RewardLaw(atoms: 0.5 at 0, 0.5 at 1)
    """
    places = finite_array(locations, "locations", 1)
    weights = finite_array(masses, "masses", 1)
    if places.shape != weights.shape:
        raise CollapseError(f"{places.size} locations need as many masses, not {weights.size}")
    return RewardLaw(np.column_stack([places, weights]), **fields)


def empirical_law(rewards: Any, weights: Any = None, **fields: Any) -> RewardLaw:
    """Return the empirical law of a sample: weight_i / sum of weights at each reward.

    Parameters
    ----------
    rewards : (n,) array
        The sample, in any order; equal rewards become one atom.
    weights : (n,) array, optional
        Nonnegative weights, not all 0; equal ones unless given.
    **fields
        Further fields of the `RewardLaw`.

    Examples
    --------
    >>> from collapse_theory.laws import empirical_law
    >>> empirical_law([1.0, 0.0, 1.0, 1.0])
    RewardLaw(atoms: 0.25 at 0, 0.75 at 1)
    """
    sample = finite_array(rewards, "rewards", 1)
    counts = np.ones(sample.size) if weights is None else finite_array(weights, "weights", 1)
    if sample.size == 0 or sample.shape != counts.shape:
        raise CollapseError(f"{sample.size} rewards with {counts.size} weights make no sample")
    if (counts < 0).any() or not counts.any():
        raise CollapseError("weights must be nonnegative and not all 0")
    places, index = np.unique(sample, return_inverse=True)
    sums = np.bincount(index, weights=counts / counts.max(), minlength=places.size)
    return RewardLaw(np.column_stack([places, sums / sums.sum()]), **fields)


def law_of_text(text: str) -> RewardLaw:
    """Return the law on [0, 1] that a short text describes.

    Parameters
    ----------
    text : str
        A sum of "two-valued", "uniform", "arcsine", "beta(a, b)", "beta(a)", "atoms p" (a mass p
        at each end) and "levels p q ..." (masses at equally spaced rewards from 0 to 1; whole
        numbers are counts). Terms may have weights; those without one share what is left equally.

    Raises
    ------
    CollapseError
        A ValueError, for a text that is none of these, or masses that don't add up.

    Examples
    --------
    >>> from collapse_theory.laws import law_of_text
    >>> law_of_text("atoms 0.3 + uniform")
    RewardLaw(atoms: 0.3 at 0, 0.3 at 1; uniform on [0, 1] of mass 0.4)
    >>> law_of_text("levels 1 1 1")
    RewardLaw(atoms: 0.333 at 0, 0.333 at 0.5, 0.333 at 1)
    """
    if not isinstance(text, str):
        raise CollapseError(f"a law's text must be a str, not {text!r}; {LAW_TEXT}")
    if len(text) > _LONGEST:
        raise CollapseError(f"the text has {len(text)} characters; at most {_LONGEST} are read")
    weighted: list[tuple[float, _Pieces]] = []
    unweighted: list[_Pieces] = []
    for found in _terms(text):
        if found["weight"] or found["atom"]:
            weighted.append((_number(found["weight"] or "1"), _pieces(found)))
        else:
            unweighted.append(_pieces(found))
    given = sum(weight * mass for weight, pieces in weighted for mass, _ in pieces)
    rest = 1.0 - given
    if rest < -1e-9 or (unweighted and rest <= 1e-12) or (not unweighted and abs(rest) > 1e-9):
        raise CollapseError(f"the masses in {text!r} add up to {given:.6g}; they must make 1")
    weighted += [(rest / len(unweighted), pieces) for pieces in unweighted]
    made = [(weight * mass, at) for weight, pieces in weighted for mass, at in pieces]
    total = sum(mass for mass, _ in made)
    made = [(mass / total, at) for mass, at in made if mass > 0]
    return RewardLaw(
        [(at, mass) for mass, at in made if isinstance(at, float)],
        tuple(BetaDensity(*at, 0.0, 1.0, mass) for mass, at in made if isinstance(at, tuple)),
    )


def _terms(text: str) -> list[re.Match[str]]:
    found, place = [], 0
    flat = text.strip().lower()
    while True:
        term = _TERM.match(flat, place)
        if term is None:
            shown = ascii(flat[place : place + 30])
            raise CollapseError(f"found {shown} where a law was expected; {LAW_TEXT}")
        found.append(term)
        joint = re.compile(r"\s*\+\s*").match(flat, term.end())
        if joint is None:
            break
        place = joint.end()
    if term.end() != len(flat):
        shown = ascii(flat[term.end() : term.end() + 30])
        raise CollapseError(f"found {shown} after {term.group()!a}; {LAW_TEXT}")
    return found


def _pieces(found: re.Match[str]) -> _Pieces:
    """Return one term without its weight."""
    if found["name"]:
        return _NAMED[found["name"]]
    if found["atom"]:
        return [(_number(found["atom"]), place) for place in (0.0, 1.0)]
    if found["a"]:
        return [(1.0, (_number(found["a"]), _number(found["b"] or found["a"])))]
    return _levels(re.findall(_VALUE, found["levels"]))


def _levels(texts: list[str]) -> _Pieces:
    masses = np.array([_number(text) for text in texts])
    if len(texts) < 2:
        raise CollapseError(f"levels need two or more masses, got {texts[0]!r}; {LAW_TEXT}")
    total = float(masses.sum())
    counts = all(re.fullmatch("[0-9]+", text) for text in texts) and total > 0
    if not counts and abs(total - 1.0) > 1e-6:
        raise CollapseError(f"the masses of the levels add up to {total:.6g}, not to 1")
    places = np.linspace(0.0, 1.0, len(texts))
    return list(zip((masses / total).tolist(), places.tolist(), strict=True))


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    bottom = float(below) if below else 1.0
    value = float(above) / bottom if bottom else np.inf
    if not np.isfinite(value):
        raise CollapseError(f"{text!r} is no finite number")
    return value
