"""The law of the best of k rewards."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.cells import Cells
from collapse_theory.laws.olddensity import Density
from collapse_theory.laws.partition import Partition
from collapse_theory.laws.policy import PolicyLaw
from collapse_theory.laws.reweighted import ReweightedDensity
from collapse_theory.laws.views import View
from collapse_theory.numerics.checks import answer, check_map, finite

__all__ = ["BestOfDensity", "BestOfLaw"]


def _draws(k: Any) -> float:
    k = finite(k, "k")
    if k < 1:
        raise CollapseError(f"the best of k draws needs k >= 1, not {k}")
    return k


def _log_share(below: Any, above: Any) -> np.ndarray:
    """Return log F from the masses below and above, both from the smaller of them."""
    below, above = np.asarray(below), np.asarray(above)
    total = below + above
    with np.errstate(divide="ignore"):
        return np.where(below < above, np.log(below / total), np.log1p(-above / total))


def _power_gain(log_top: Any, share: Any, k: float) -> Any:
    """Return F^k - (F - m)^k for log F and the share m/F, without cancellation."""
    with np.errstate(divide="ignore"):
        return np.exp(k * log_top) * -np.expm1(k * np.log1p(-np.minimum(share, 1.0)))


@dataclass(frozen=True, eq=False, repr=False)
class BestOfDensity(ReweightedDensity):
    """The continuous part of the best of k draws between two points of the base law.

    pdf(x) = k F(x)^(k-1) f(x),  F(x) = below + ∫_low^x f,  over the total mass of the base law

    Parameters
    ----------
    parts : tuple of Density
        Those of the base law that cover [low, high]; f is their sum.
    k : float
        How many are drawn, at least 1.
    low, high : float
        The interval, no larger than the support of any part.
    below, above : float
        Masses of the base law below `low` and above `high`, atoms there included.

    Raises
    ------
    CollapseError
        A ValueError, for k < 1, negative masses, or parts that don't cover the interval.

    Examples
    --------
    >>> from collapse_theory.laws import BestOfDensity, uniform_law
    >>> best = BestOfDensity(uniform_law().parts, 3, 0.0, 1.0)
    >>> round(best.cdf(0.5), 12), round(best.mean, 12)
    (0.125, 0.75)
    """

    parts: tuple[Density, ...]
    k: float
    low: float
    high: float
    below: float = 0.0
    above: float = 0.0
    mass: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", _draws(self.k))
        for name in ("below", "above"):
            value = finite(getattr(self, name), name)
            object.__setattr__(self, name, value)
            if value < 0:
                raise CollapseError(f"{name} must not be negative, got {value}")
        self._set_parts(self.parts, self.low, self.high)
        top = self.below + self._inner
        self._set_mass(float(_power_gain(self._log_top, self._inner / top, self.k)))

    @cached_property
    def _inner(self) -> float:
        """The mass of the base law between `low` and `high`."""
        return float(sum(p.cdf(self.high) - p.cdf(self.low) for p in self.parts))

    @property
    def _total(self) -> float:
        return self.below + self._inner + self.above

    @property
    def _log_top(self) -> np.ndarray:
        return _log_share(self.below + self._inner, self.above)

    @property
    def _finest(self) -> float:
        return self.high - self.low

    def _base_mass(self, d: np.ndarray, upper: bool) -> np.ndarray:
        near = View(self.parts, self.low, self.high, upper).mass(d)
        return np.clip(near, 0.0, self._inner)

    def _log_cdf(self, near: np.ndarray, upper: bool) -> np.ndarray:
        """Return log F where the base law's mass to one end is `near`."""
        far = self._inner - near
        if upper:
            return _log_share(self.below + far, self.above + near)
        return _log_share(self.below + near, self.above + far)

    def _log_weight(self, d: np.ndarray, upper: bool) -> np.ndarray:
        if self.k == 1.0:
            return np.full_like(d, -math.log(self._total))
        logs = self._log_cdf(self._base_mass(d, upper), upper)
        return (self.k - 1.0) * logs + math.log(self.k) - math.log(self._total)

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        near = self._base_mass(d, upper)
        if upper:
            return _power_gain(self._log_top, near / (self.below + self._inner), self.k)
        reached = np.where(near > 0, self.below + near, 1.0)
        return _power_gain(self._log_cdf(near, False), near / reached, self.k)

    def _first(self, cells: Cells) -> tuple[float, float]:
        upper = cells.view.upper
        mass = float(self._mass_within(cells.edges[:1], upper)[0])
        share = cells.center / float(cells.edges[0])
        if not upper and self.below == 0.0:
            # The base law's mass within d is about d**a, with a from share = a/(a+1).
            a = self.k * share / max(1.0 - share, 1e-3)
            share = a / (a + 1.0)
        return mass, share * float(cells.edges[0]) * mass

    def _density(self, d: np.ndarray, upper: bool) -> np.ndarray:
        # At the lower end a weight of 0 may meet an infinite density; next to it neither is.
        return super()._density(d if upper else np.maximum(d, 1e-290 * self._half), upper)

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        low, scale = check_map(low, scale)
        parts = tuple(part.mapped(low, scale) for part in self.parts)
        ends = low + scale * self.low, low + scale * self.high
        return type(self)(parts, self.k, *ends, self.below, self.above)


@dataclass(frozen=True, eq=False, repr=False)
class BestOfLaw(PolicyLaw):
    """The law of the largest of k independent rewards; see `RewardLaw.best_of`.

    P(X <= x) = F(x)^k. An atom of `base` at a has the mass F(a)^k - F(a-)^k, and the density is
    k F^(k-1) f. With [F^k h(F)] summed over the intervals between atoms, h taken at their ends,

        kl = sum over atoms G log(G/m) + sum [F^k (log k + (k-1) log F - (k-1)/k)]
        1/effective_sample_size = sum over atoms G^2/m + sum [k^2/(2k-1) F^(2k-1)]

    for an atom of mass m that gets the mass G. Without atoms these are log k - (k-1)/k and
    k^2/(2k-1); with atoms both are smaller.

    Parameters
    ----------
    base : RewardLaw
        The law of one reward.
    k : float
        How many are drawn, at least 1; a number between integers interpolates F^k.

    References
    ----------
    Beirami et al., "Theoretical guarantees on the best-of-n alignment policy", arXiv:2401.01879:
    log k - (k-1)/k is the divergence without ties, and a bound with them.
    """

    k: float = 1.0

    def __post_init__(self) -> None:
        base = self._checked(self.base)
        object.__setattr__(self, "k", _draws(self.k))
        if self.k == 1.0:
            self._set_law(base.atoms, base.parts)
            return
        cut = self._partition
        atoms = np.column_stack([cut.points, self._gained])[cut.masses > 0]
        parts: list[Density] = []
        for i, over in enumerate(cut.parts):
            below, above = float(cut.below[i, 1]), float(cut.above[i + 1, 0])
            if over and _gain_of(cut, i, self.k) > 1e-290:
                ends = float(cut.points[i]), float(cut.points[i + 1])
                parts.append(BestOfDensity(over, self.k, *ends, below, above))
        self._set_law(atoms, tuple(parts))

    @cached_property
    def _partition(self) -> Partition:
        return Partition.of(self.base)

    @cached_property
    def _gained(self) -> np.ndarray:
        """The masses of the atoms in the law of the best, one a point of the partition."""
        cut = self._partition
        reached = cut.below[:, 1]
        share = np.divide(cut.masses, reached, out=np.zeros_like(reached), where=reached > 0)
        return _power_gain(_log_share(reached, cut.above[:, 1]), share, self.k)

    def _over_gaps(self, function: Any) -> float:
        """Return the sum of function(F) - function(F before) over the gaps with densities."""
        cut = self._partition
        logs = _log_share(cut.below, cut.above)
        gaps = np.flatnonzero([bool(over) for over in cut.parts])
        return float((function(logs[gaps + 1, 0]) - function(logs[gaps, 1])).sum())

    def _divergence(self) -> float:
        k, cut = self.k, self._partition
        if k == 1.0:
            return 0.0
        here = (cut.masses > 0) & (self._gained > 0)
        gained, masses = self._gained[here], cut.masses[here] / cut.total
        atoms = float((gained * np.log(gained / masses)).sum())

        def primitive(logs: np.ndarray) -> np.ndarray:
            finite_logs = np.where(np.isfinite(logs), logs, 0.0)
            inside = math.log(k) - (k - 1.0) / k + (k - 1.0) * finite_logs
            return np.exp(k * logs) * inside  # 0 at F = 0

        return max(0.0, atoms + self._over_gaps(primitive))

    def _share(self) -> float:
        k, cut = self.k, self._partition
        if k == 1.0:
            return 1.0
        here = cut.masses > 0
        atoms = float((self._gained[here] ** 2 / cut.masses[here]).sum() * cut.total)
        power = 2.0 * k - 1.0
        gaps = self._over_gaps(lambda logs: k**2 / power * np.exp(power * logs))
        return min(1.0, 1.0 / (atoms + gaps))

    def ratio(self, x: Any) -> Any:
        """Return w(x), by which completions of reward `x` become more probable."""
        x = np.asarray(x, dtype=np.float64)
        cut = self._partition
        f = np.asarray(self.base.cdf(x))
        out = self.k * f ** (self.k - 1.0)
        i = np.minimum(np.searchsorted(cut.points, x), cut.points.size - 1)
        at_atom = (cut.points[i] == x) & (cut.masses[i] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_atom = self._gained[i] / (cut.masses[i] / cut.total)
        return answer(np.where(at_atom, of_atom, out))

    def mapped(self, low: float, scale: float) -> BestOfLaw:
        """Return the law of low + scale X, for scale > 0: the best of k of the mapped base."""
        return type(self)(base=self.base.mapped(low, scale), k=self.k)

    def _name(self) -> str:
        return f"the best of {self.k:g}"


def _gain_of(cut: Partition, i: int, k: float) -> float:
    """Return the mass that the gap i gets in the law of the best of k."""
    reached = float(cut.below[i + 1, 0])
    if reached <= 0:
        return 0.0
    log_top = _log_share(reached, cut.above[i + 1, 0])
    return float(_power_gain(log_top, cut.inner[i] / reached, k))
