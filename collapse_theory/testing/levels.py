r"""Whether a law of somebody's is optimal, from its quantile function alone.

The law is that of Q(t), t even on (0, 1). Its potential V(x) = ∫ U(|x - Q(t)|) dt, less half the
penalty kappa x**2, is level on its support where it is optimal, and in a box nowhere above that
(docs/theory.md#the-limit). Between its breaks Q is smooth but at their ends, and U singular at x =
Q(s), so each side of s is integrated by the double-exponential rule (Takahasi and Mori 1974), which
takes both. Next to s, where Q(t) - x has few digits, Q is a straight line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Box, Domain
from collapse_theory.utilities import Utility

# Steps of the rule: what the next finer one changes is the error of the one before.
STEPS = (0.25, 0.125, 0.0625)
# The rule's points come as near an end as 1e-17 of an interval, and where U has a pole as 1e-100:
# what x**-0.9 asks for.
REACH, AT_POLE = 3.25, 5.0
RESOLVED = 1e-7  # of the spread: what a step may change
STRAIGHT = 1e-6  # Q(t) is a line within it: off by its square, where Q(t) - x keeps 10 digits
LEVELS = 6  # points of each interval at which V is looked at


@dataclass(frozen=True)
class Quantiles:
    """A quantile function, and the shares (breaks) between which it is smooth."""

    ppf: Callable[[Any], Any]
    breaks: tuple[float, ...]

    @classmethod
    def of(cls, law: RewardLaw) -> Quantiles:
        """Return those of a law: breaks at its atoms, at the ends of densities and half-way.

        Where a density is all at its ends, Q is steep half-way.
        """
        places = law.atoms[:, 0]
        ends = np.array([np.linspace(part.low, part.high, 3) for part in law.parts]).ravel()
        shares = [law.distribution(places), law.distribution(places, "left")]
        shares.append(law.distribution(ends))
        return cls(law.distribution.rough, tuple(np.concatenate(shares).tolist()))

    def joined(self, other: Quantiles) -> Quantiles:
        """Return it with the breaks of both; those as near as rounding are one."""
        breaks = np.unique(np.clip([0.0, *self.breaks, *other.breaks, 1.0], 0.0, 1.0))
        far = np.append(np.diff(breaks) > 1e-12, True)
        return Quantiles(self.ppf, tuple(breaks[far].tolist()))

    def distance(self, other: Quantiles) -> float:
        """Return W1 = ∫ |Q(t) - R(t)| dt."""
        both, total = self.joined(other), 0.0
        for low, high in pairwise(both.breaks):
            t, weight = _between(low, high, STEPS[1])[:2]
            total += float(weight @ np.abs(self.ppf(t) - other.ppf(t)))
        return total


@dataclass(frozen=True)
class Level:
    """How level a potential is."""

    # Twice what its maximum is above its mean, over what the largest U of a gap is above the
    # energy: in a box the bound of the certificate of limit laws. NaN where it isn't resolved.
    relative_gap: float
    energy: float  # the law's objective


def level(utility: Utility, domain: Domain, law: Quantiles) -> Level:
    """Return how level the potential of a law is, its largest value looked for at points."""
    kappa = 0.0 if isinstance(domain, Box) else domain.penalty()
    shares, weights, points = _looked_at(law, domain)
    penalty = kappa / 2 * np.array([x * x for _, x in points])
    second = 0.0
    for low, high in pairwise(law.breaks):
        t, weight = _between(low, high, STEPS[1])[:2]
        second += float(weight @ np.asarray(law.ppf(t)) ** 2)
    widest = float(np.ptp(law.ppf(np.array([0.0, 1.0]))))
    before, energy = np.full(len(points), np.inf), np.nan
    with np.errstate(all="ignore"):
        top = float(np.max(utility(np.linspace(0.0, widest, 101)[1:])))
        for step in STEPS:
            found = np.array([_potential(utility, law, x, s, step) for s, x in points]) - penalty
            mean = float(weights @ found[: len(shares)])
            energy = mean - kappa / 2 * second
            if np.isneginf(mean):
                return Level(np.inf, energy)
            spread = max(top - energy, 1e-300)
            missed, before = float(np.abs(found - before).max()), found
            if missed <= RESOLVED * spread:
                return Level(2 * max(float(found.max()) - mean, 0.0) / spread, energy)
    return Level(np.nan, energy)


def _looked_at(
    law: Quantiles, domain: Domain
) -> tuple[np.ndarray, np.ndarray, list[tuple[float | None, float]]]:
    """Return shares, their weights, and the points at which V is looked at.

    Those are Q of the shares, with the share, and the ends of a box that the law doesn't reach.
    """
    node, weight = np.polynomial.legendre.leggauss(LEVELS)
    shares, weights = [], []
    for low, high in pairwise(law.breaks):
        ends = law.ppf(np.array([low + 1e-6 * (high - low), high - 1e-6 * (high - low)]))
        if ends[0] == ends[1]:  # an atom
            shares.append([(low + high) / 2])
            weights.append([high - low])
        else:
            shares.append((low + high) / 2 + (high - low) / 2 * node)
            weights.append((high - low) / 2 * weight)
    flat = np.concatenate(shares)
    places = np.asarray(law.ppf(flat))
    points = list(zip(flat.tolist(), places.tolist(), strict=True))
    if isinstance(domain, Box):
        low, high = law.ppf(np.array([0.0, 1.0]))
        for end, out in ((domain.low, low > domain.low), (domain.high, high < domain.high)):
            points += [(None, end)] * bool(out)
    return flat, np.concatenate(weights), points


def _between(
    low: float, high: float, step: float, reach: float = REACH
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return points of (low, high), their weights, and how far they are from both ends."""
    s = np.arange(-reach, reach + step / 2, step)
    share = 1.0 / (1.0 + np.exp(np.pi * np.sinh(s)))
    other = share[::-1]
    weight = step * np.pi * np.cosh(s) * share * other
    below, above = (high - low) * share, (high - low) * other
    t = np.where(share < 0.5, low + below, high - above)
    return t, (high - low) * weight / weight.sum(), below, above


def _potential(utility: Utility, law: Quantiles, x: float, share: float | None, step: float) -> Any:
    """Return V(x), with x = Q(share) unless no share is given."""
    edges: list[float] = sorted({*law.breaks, *([] if share is None else [share])})
    total = 0.0
    for low, high in pairwise(edges):
        pole = utility.exponent < 0 and share in (low, high)
        t, weight, below, above = _between(low, high, step, AT_POLE if pole else REACH)
        straight = min(STRAIGHT, 1e-3 * (high - low))
        near, away = (low + straight, below) if share == low else (high - straight, above)
        *gaps, beside = np.abs(np.asarray(law.ppf(np.append(t, near))) - x)
        gap = np.array(gaps)
        if share in (low, high):
            gap = np.where(away < straight, away * (beside / straight), gap)
        total += float(weight @ utility(gap))
    return total
