"""Laws as users have them: a law, a text, one of scipy.stats, quantiles, or a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.beta import BetaDensity
from collapse_theory.laws.constructors import LAW_TEXT, empirical_law, law_of_text
from collapse_theory.laws.density import Density
from collapse_theory.laws.frozen import FrozenLaw
from collapse_theory.laws.law import RewardLaw
from collapse_theory.numerics.checks import numbers

# Panels that a continuous distribution of SciPy's is read with, of equal mass but in its tails: off
# by some 1e-5 in W1 where its support is bounded, 1e-4 standard deviations where not.
PANELS, TAIL_PANELS, TAIL_SHARES = 512, 160, (1e-9, 0.05)
# The atoms that are read at most, and the mass that an unbounded discrete law may lose at an end.
MOST, LOST_MASS = 100_000, 1e-15
_BETA = {"uniform": (1.0, 1.0), "arcsine": (0.5, 0.5)}


def law_of(given: Any) -> RewardLaw:
    """Return a law in any of its forms as a `RewardLaw`.

    Parameters
    ----------
    given : RewardLaw, str, scipy.stats distribution, mapping or array
        A law, a short text (see `law_of_text`), a frozen distribution of scipy.stats (Beta, uniform
        and discrete ones exactly, others in some 800 panels), a dict of quantiles
        {probability: reward}, or a sample of rewards.

    Raises
    ------
    CollapseError
        A ValueError, for anything else, NaN, or a law without a mean.

    Examples
    --------
    >>> from collapse_theory.laws import law_of
    >>> law_of({0: 1, 0.5: 2, 1: 5}).ppf([0.25, 0.75])
    array([1.5, 3.5])
    >>> law_of([1, 1, 2, 2])
    RewardLaw(atoms: 0.5 at 1, 0.5 at 2)
    """
    if isinstance(given, RewardLaw | FrozenLaw):
        return given.law if isinstance(given, FrozenLaw) else given
    if isinstance(given, str):
        return law_of_text(given)
    if isinstance(given, Mapping):
        return _of_quantiles(given)
    if callable(getattr(given, "ppf", None)) and callable(getattr(given, "support", None)):
        return _of_scipy(given)
    rewards = numbers(given, "a law that has no ppf, and a sample of rewards,")
    if rewards.ndim != 1 or not rewards.size:
        raise CollapseError(
            f"a sample must be a list of rewards, got the shape {rewards.shape}; {LAW_TEXT}"
        )
    if not np.isfinite(rewards).all():
        bad = int(np.argmin(np.isfinite(rewards)))
        raise CollapseError(f"rewards[{bad}] is {rewards[bad]}; every reward must be finite")
    return empirical_law(rewards)


def spread_law(
    edges: np.ndarray,
    masses: np.ndarray,
    atoms: Sequence[tuple[float, float]] = (),
    narrow: float = 0.0,
) -> RewardLaw:
    """Return the law of atoms, and of masses spread evenly between neighbouring edges.

    Where two edges are no farther apart than `narrow` their mass is an atom.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.laws import spread_law
    >>> spread_law(np.array([0.0, 1.0, 1.0, 3.0]), np.array([0.25, 0.5, 0.25]))
    RewardLaw(atoms: 0.5 at 1; density on [0, 3] of mass 0.5)
    """
    flat = np.diff(edges) <= narrow
    points = [*atoms, *zip(edges[:-1][flat].tolist(), masses[flat].tolist(), strict=True)]
    low, high = edges[:-1][~flat], edges[1:][~flat]
    edges = np.append(low, high[-1:])
    parts = (Density.steps(edges, masses[~flat] / np.diff(edges)),) if low.size else ()
    total = sum(mass for _, mass in points) + sum(part.mass for part in parts)
    if abs(total - 1.0) > 1e-9:
        raise CollapseError(f"the masses of the law add up to {total!r}, not to 1")
    return RewardLaw([point for point in points if point[1] > 0], parts)


def _of_quantiles(table: Mapping[Any, Any]) -> RewardLaw:
    """Return the law with the given quantiles: evenly spread between two, an atom where equal."""
    try:
        pairs = sorted((float(q), float(r)) for q, r in table.items())
    except (TypeError, ValueError):
        raise CollapseError(f"quantiles are pairs of numbers, got {dict(table)!r}") from None
    q, r = np.array(pairs).reshape(-1, 2).T
    if len(q) < 2 or not np.isfinite(r).all() or not ((q >= 0) & (q <= 1)).all():
        raise CollapseError(
            "quantiles need two or more probabilities in [0, 1] with finite rewards, such as "
            f"{{0.1: 0, 0.5: 0.4, 0.9: 1}}; got {dict(table)!r}"
        )
    if (np.diff(q) <= 0).any() or (np.diff(r) < 0).any():
        raise CollapseError(f"quantiles must rise with their probabilities, got {dict(table)!r}")
    # Below the lowest and above the highest quantile the mass sits at them.
    return spread_law(r, np.diff(q), [(r[0], q[0]), (r[-1], 1.0 - q[-1])])


def _of_scipy(given: Any) -> RewardLaw:
    """Return a distribution of scipy.stats: Beta and uniform exactly, others in panels."""
    name = getattr(getattr(given, "dist", None), "name", "")
    try:
        low, high = (float(end) for end in given.support())
        mean = float(given.mean())
    except (TypeError, ValueError):
        raise CollapseError(
            f"{given!r} needs its parameters, one number each, as in scipy.stats.beta(2, 3)"
        ) from None
    if not np.isfinite(mean):
        raise CollapseError(f"a law needs a finite mean; {name or given!r} has the mean {mean}")
    if callable(getattr(given, "pmf", None)) and not callable(getattr(given, "pdf", None)):
        return _of_discrete(given, low, high)
    if name in (*_BETA, "beta"):
        a, b = _BETA.get(name) or given.dist._parse_args(*given.args, **given.kwds)[0]
        return RewardLaw((), (BetaDensity(float(a), float(b), low, high),))
    tail = np.geomspace(*TAIL_SHARES, TAIL_PANELS)
    inner = np.linspace(tail[-1], 1.0 - tail[-1], PANELS + 1)
    share = np.concatenate([[0.0], tail, inner[1:-1], 1.0 - tail[::-1], [1.0]])
    edges = np.asarray(given.ppf(share), dtype=np.float64)
    # What lies beyond the last finite quantiles of an unbounded law sits at them.
    inside = slice(int(low == -np.inf), -1 if high == np.inf else None)
    edges, share = edges[inside], share[inside]
    if not np.isfinite(edges).all() or (np.diff(edges) < 0).any():
        raise CollapseError("the distribution's ppf has to rise from its support's ends on")
    ends = [(edges[0], share[0]), (edges[-1], 1.0 - share[-1])]
    return spread_law(edges, np.diff(share), ends, 1e-13 * (edges[-1] - edges[0]))


def _of_discrete(given: Any, low: float, high: float) -> RewardLaw:
    values = getattr(given, "xk", None)
    if values is None:
        low, high = max(low, float(given.ppf(LOST_MASS))), min(high, float(given.isf(LOST_MASS)))
        if not high - low < MOST:
            raise CollapseError(f"the law has {high - low + 1:.0f} atoms; at most {MOST} are read")
        values = np.arange(low, high + 1)
    masses = np.asarray(given.pmf(values), dtype=np.float64)
    return RewardLaw(np.column_stack([values, masses / masses.sum()]))
