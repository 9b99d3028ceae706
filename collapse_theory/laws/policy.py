"""Laws of the reward under a policy that a reward model has improved: best of k, and tilted.

Both are the base law P times a weight w. Between the atoms of P and the ends of its densities each
density times w is a density again (`Density.reweighted`); the divergence and the effective sample
size are in closed form for the best of k, and integrals over the same panels for a tilt.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.density import Density
from collapse_theory.laws.law import RewardLaw
from collapse_theory.laws.part import Part
from collapse_theory.laws.quantiles import running_sum
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import answer, check_map, finite, positive

# The steepest weight over the whole support; the mass that is too small to be relied on, and that
# which is left out.
_STEEPEST, _FAINT_MASS, _NO_MASS = 1e150, 1e-250, 1e-290
_LOG_NO_MASS = math.log(_NO_MASS)
# Within this share of a weight's scale it is constant to rounding; and masses of this share of the
# whole are so small that their square is nothing.
_CONSTANT_SHARE, _SQUARED_MASS = 2.0**-52, 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class PolicyLaw(RewardLaw, ABC):
    """The law of the reward when completions are drawn from an improved policy.

    The base policy's rewards follow the law `base` = P. The improved policy makes a completion of
    reward x more or less probable by the factor w(x) = dQ/dP(x), so that its rewards follow Q.
    Completions of equal reward are treated alike; then divergences between the two policies are
    those between the two laws. `RewardLaw.best_of` and `RewardLaw.tilted` make such laws.

    Attributes
    ----------
    base : RewardLaw
        The law of the reward under the base policy.
    kl : float
        KL(Q || P) = E_Q log w, in nats.
    effective_sample_size : float
        1 / E_P w^2 in (0, 1]: n completions drawn from the base policy and weighted by w are worth
        as many as this share of n drawn from the improved one (Kish's formula).

    Examples
    --------
    >>> from collapse_theory.laws import uniform_law
    >>> law = uniform_law().tilted(0.5)
    >>> law.policy, round(law.kl, 4), round(law.effective_sample_size, 4)
    ('tilted by beta = 0.5', 0.1516, 0.7616)
    """

    atoms: Any = field(init=False, default=())
    parts: tuple[Part, ...] = field(init=False, default=())
    objective: float | None = field(init=False, default=None)
    gap: float | None = field(init=False, default=None)
    relative_gap: float | None = field(init=False, default=None)
    method: str | None = field(init=False, default=None)
    status: str | None = field(init=False, default=None)
    reference: str | None = field(init=False, default=None)
    base: RewardLaw

    def __post_init__(self) -> None:
        if not isinstance(self.base, RewardLaw):
            raise CollapseError(
                f"base must be a RewardLaw, not {self.base!r}; empirical_law(rewards) makes one "
                "of a sample"
            )
        self._set(**self._checked())
        atoms, parts = (self.base.atoms, self.base.parts) if self._idle else self._weighted()
        self._set(atoms=atoms, parts=tuple(parts))
        super().__post_init__()

    @cached_property
    def kl(self) -> float:
        """KL divergence of the policy from its base, in nats."""
        return 0.0 if self._idle else self._divergence()

    @cached_property
    def effective_sample_size(self) -> float:
        """1 / E_P w^2, a share in (0, 1]."""
        return 1.0 if self._idle else min(1.0, 1.0 / self._second_moment())

    def ratio(self, x: Any) -> Any:
        """Return w(x), by which completions of reward `x`, in the base law's support, gain."""
        x = np.asarray(x, dtype=np.float64)
        return answer(np.ones_like(x) if self._idle else self._ratio(x))

    @abstractmethod
    def _checked(self) -> dict[str, float]:
        """Return the parameter of the policy, checked."""

    @property
    @abstractmethod
    def _idle(self) -> bool:
        """Whether the policy is the base policy."""

    @abstractmethod
    def _weighted(self) -> tuple[np.ndarray, list[Density]]:
        """Return the atoms and densities of the law."""

    @abstractmethod
    def _divergence(self) -> float: ...

    @abstractmethod
    def _second_moment(self) -> float: ...

    @abstractmethod
    def _ratio(self, x: np.ndarray) -> np.ndarray: ...

    @property
    @abstractmethod
    def policy(self) -> str:
        """What was done to the base law, in words."""

    @property
    def name(self) -> str:
        """The law in words, with what was done to the base law."""
        return f"{super().name}; {self.policy}"


# -- the base law, cut -----------------------------------------------------------------------------


class _Cut(NamedTuple):
    """A law cut at its atoms and at the ends of its densities."""

    points: np.ndarray  # (p,)
    masses: np.ndarray  # (p,), of the atoms there, 0 where there is none
    inner: np.ndarray  # (p-1,), masses between neighbouring points
    below: np.ndarray  # (p, 2), masses below each point, without and with its atom
    above: np.ndarray  # (p, 2), masses above, with and without it
    gaps: dict[int, Density]  # the density between points i and i+1, where there is one

    @property
    def total(self) -> float:
        """The mass of the law: 1 but for rounding."""
        return float(self.below[-1, 1])

    def kept(self, gained: np.ndarray) -> np.ndarray:
        """Return the atoms with the masses `gained`, one a point."""
        return np.column_stack([self.points, gained])[self.masses > 0]


@lru_cache(maxsize=16)
def cut_of(law: RewardLaw) -> _Cut:
    """Return a law cut at its atoms and at the ends of its densities."""
    points = law.distribution.points
    masses = np.zeros(points.size)
    masses[np.searchsorted(points, law.atoms[:, 0])] = law.atoms[:, 1]
    inner = np.zeros(points.size - 1)
    for part in law.parts:
        # A gap that is the whole part holds its mass to the last digit.
        inner += np.diff(part.cdf(points))
    every = np.empty(2 * points.size - 1)
    every[::2], every[1::2] = masses, inner
    below, above = running_sum(every)[1:], running_sum(every[::-1])[1:][::-1]
    below, above = np.append(0.0, below), np.append(above, 0.0)
    gaps = {}
    for i, (low, high) in enumerate(pairwise(points.tolist())):
        parts = [p for p in law.parts if p.low <= low and p.high >= high]
        if parts:
            gaps[i] = _between(parts, low, high, float(inner[i]))
    return _Cut(points, masses, inner, below.reshape(-1, 2), above.reshape(-1, 2), gaps)


def _between(parts: list[Part], low: float, high: float, mass: float) -> Density:
    """Return the sum of densities that all cover [low, high], as one."""
    first = parts[0]
    if len(parts) == 1 and isinstance(first, Density) and first.support == (low, high):
        return first

    def density(d: np.ndarray, upper: bool) -> np.ndarray:
        starts = [p.high - high if upper else low - p.low for p in parts]
        return np.sum([p.from_end(s + d, upper) for p, s in zip(parts, starts, strict=True)], 0)

    # A part that begins further out is smooth here.
    exponents = (
        min(p.exponents[0] if p.low == low else 0.0 for p in parts),
        min(p.exponents[1] if p.high == high else 0.0 for p in parts),
    )
    return Density.fit(
        density,
        low,
        high,
        exponents=exponents,
        knots=np.concatenate([p.knots() for p in parts]),
        mass=mass,
        bounded_below=all(p.bounded_below or p.low < low for p in parts),
    )


# -- the best of k ---------------------------------------------------------------------------------


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

    Examples
    --------
    >>> from collapse_theory.laws import uniform_law
    >>> best = uniform_law().best_of(2)
    >>> round(best.cdf(0.5), 12), round(best.mean(), 12)
    (0.25, 0.666666666667)
    """

    k: float = 1.0

    def _checked(self) -> dict[str, float]:
        k = finite(self.k, "k")
        if not 1 <= k <= _STEEPEST:
            raise CollapseError(f"the best of k draws needs k >= 1, up to {_STEEPEST:g}, not {k:g}")
        return {"k": k}

    @property
    def _idle(self) -> bool:
        return self.k == 1.0

    def _weighted(self) -> tuple[np.ndarray, list[Density]]:
        cut, parts = cut_of(self.base), []
        for i, gap in cut.gaps.items():
            gained = _gained(cut.below[i + 1, 0], cut.above[i + 1, 0], cut.inner[i], self.k)
            if gained > _NO_MASS:
                parts.append(self._of_gap(gap, cut.below[i, 1], cut.above[i + 1, 0]).scaled(gained))
        return cut.kept(self._atoms), parts

    def _of_gap(self, gap: Density, below: float, above: float) -> Density:
        """Return the density F^(k-1) f between two points of the base law, brought to mass 1."""
        k, inner = self.k, gap.mass

        def log_weight(d: np.ndarray, upper: bool) -> np.ndarray:
            near = np.clip(gap.mass_within(d, upper), 0.0, inner)
            far = inner - near
            ends = (below + far, above + near) if upper else (below + near, above + far)
            return (k - 1.0) * _log_share(*ends)

        (p, at_high), grows = gap.exponents, below == 0.0
        # Next to `low`, where nothing is below, F is a power itself; elsewhere it changes by 1/k
        # of what is there.
        exponents = (k * (p + 1.0) - 1.0 if grows else p), at_high
        lower = _CONSTANT_SHARE * (gap.high - gap.low) if grows else _scale(gap, below, k, False)
        upper = _scale(gap, below + inner, k, True)
        return gap.reweighted(log_weight, (lower, upper), exponents)[0]

    @cached_property
    def _atoms(self) -> np.ndarray:
        """The masses of the atoms in the law of the best, one a point of the cut."""
        cut = cut_of(self.base)
        return _gained(cut.below[:, 1], cut.above[:, 1], cut.masses, self.k)

    def _over_gaps(self, function: Any) -> float:
        """Return the sum of function(F) - function(F before) over the gaps with densities."""
        cut = cut_of(self.base)
        logs, gaps = _log_share(cut.below, cut.above), np.array(list(cut.gaps), dtype=int)
        return float((function(logs[gaps + 1, 0]) - function(logs[gaps, 1])).sum())

    def _divergence(self) -> float:
        k, cut = self.k, cut_of(self.base)
        here = (cut.masses > 0) & (self._atoms > 0)
        gained, masses = self._atoms[here], cut.masses[here] / cut.total
        atoms = float((gained * np.log(gained / masses)).sum())

        def primitive(logs: np.ndarray) -> np.ndarray:
            finite_logs = np.where(np.isfinite(logs), logs, 0.0)
            inside = math.log(k) - (k - 1.0) / k + (k - 1.0) * finite_logs
            return np.exp(k * logs) * inside  # 0 at F = 0

        return max(0.0, atoms + self._over_gaps(primitive))

    def _second_moment(self) -> float:
        k, cut = self.k, cut_of(self.base)
        here = cut.masses > 0
        atoms = float((self._atoms[here] ** 2 / cut.masses[here]).sum() * cut.total)
        power = 2.0 * k - 1.0
        return atoms + self._over_gaps(lambda logs: k**2 / power * np.exp(power * logs))

    def _ratio(self, x: np.ndarray) -> np.ndarray:
        cut = cut_of(self.base)
        out = self.k * np.asarray(self.base.cdf(x)) ** (self.k - 1.0)
        i = np.minimum(np.searchsorted(cut.points, x), cut.points.size - 1)
        at_atom = (cut.points[i] == x) & (cut.masses[i] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(at_atom, self._atoms[i] / (cut.masses[i] / cut.total), out)

    def mapped(self, low: float, scale: float) -> BestOfLaw:
        """Return the law of low + scale X, for scale > 0: the best of k of the mapped base."""
        return type(self)(base=self.base.mapped(low, scale), k=self.k)

    @property
    def policy(self) -> str:
        return f"the best of {self.k:g}"


def _log_share(below: Any, above: Any) -> np.ndarray:
    """Return log F from the masses below and above, both from the smaller of them."""
    below, above = np.asarray(below), np.asarray(above)
    total = below + above
    with np.errstate(divide="ignore"):
        return np.where(below < above, np.log(below / total), np.log1p(-above / total))


def _gained(below: Any, above: Any, mass: Any, k: float) -> Any:
    """Return F^k - (F - m)^k, without cancellation, for a mass m that reaches up to F."""
    share = np.divide(mass, below, out=np.zeros_like(below), where=np.asarray(below) > 0)
    with np.errstate(divide="ignore"):
        gain = -np.expm1(k * np.log1p(-np.minimum(share, 1.0)))
        return np.exp(k * _log_share(below, above)) * gain


def _scale(gap: Density, reached: float, k: float, upper: bool) -> float:
    """Return within which distance of an end, where F is `reached`, F^k hardly changes."""
    power = gap.exponents[upper] != 0.0
    held = _SQUARED_MASS * math.sqrt(reached / k) if power else reached / k
    return float(gap.distance_holding(np.array([min(held, 0.5 * gap.mass)]), upper)[0])


# -- tilted ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class TiltedLaw(PolicyLaw):
    """The law with the density exp(x / beta) / Z to `base`; see `RewardLaw.tilted`.

    dQ/dP(x) = w(x) = exp(x / beta) / Z,  Z = E_P exp(X / beta)

    It maximises E_Q X - beta KL(Q || P), the objective of reinforcement learning from human
    feedback, over all laws Q. The divergence is kl = E_Q X / beta - log Z, computed as the integral
    of w log w - w + 1 >= 0 so that nothing cancels; 1/effective_sample_size = E_P w^2.

    Parameters
    ----------
    base : RewardLaw
        The law of the reward under the base policy.
    beta : float
        The price of a nat of divergence in units of reward; positive, inf leaves the law alone.

    References
    ----------
    Rafailov et al., "Direct preference optimization", arXiv:2305.18290, eq. 4; Korbak et al., "RL
    with KL penalties is better viewed as Bayesian inference", arXiv:2205.11275, eq. 5.

    Examples
    --------
    >>> from collapse_theory.laws import uniform_law
    >>> tilted = uniform_law().tilted(1.0)  # density e^x / (e - 1)
    >>> round(tilted.pdf(0.0), 6)
    0.581977
    """

    beta: float = math.inf

    def _checked(self) -> dict[str, float]:
        if isinstance(self.beta, int | float) and self.beta == math.inf:
            return {"beta": math.inf}
        beta = positive(self.beta, "beta")
        low, high = self.base.support.tolist()
        if beta < max((high - low) / _STEEPEST, _NO_MASS):
            raise CollapseError(
                f"beta = {beta:g} is beneath the range of floats for rewards between {low:g} and "
                f"{high:g}; as beta falls to 0 all mass goes to the top of the support"
            )
        return {"beta": beta}

    @property
    def _idle(self) -> bool:
        return self.beta == math.inf

    def _weighted(self) -> tuple[np.ndarray, list[Density]]:
        cut, sample = cut_of(self.base), self._sample
        if sample.gained[sample.masses < _FAINT_MASS].sum() > 1e-9:
            raise CollapseError(
                f"with beta = {self.beta:g} all mass goes where the base law has next to none, "
                f"beneath the range of floats; a larger beta is needed for {self.base!r}"
            )
        kept = [(part, log_mass) for part, log_mass in sample.gaps if log_mass > _LOG_NO_MASS]
        parts = [part.scaled(math.exp(log_mass)) for part, log_mass in kept]
        return cut.kept(sample.gained[: cut.points.size]), parts

    @cached_property
    def _sample(self) -> _Sample:
        return _Sample.of(cut_of(self.base), self.beta)

    def _divergence(self) -> float:
        y, masses = self._sample.log_ratios, self._sample.masses
        small = np.abs(y) < 0.5
        z = np.where(small, y, 0.0)
        # w log w - w + 1 with w = exp(y) is y expm1(y) - (exp(y) - 1 - y), that by Kummer's 1F1.
        near = z * np.expm1(z) - 0.5 * z * z * special.hyp1f1(1.0, 3.0, z)
        far = self._sample.gained * (y - 1.0) + masses
        return float(np.where(small, masses * near, far).sum())

    def _second_moment(self) -> float:
        sample = self._sample
        if sample.mild:
            return 1.0 + float(sample.masses @ np.expm1(sample.log_ratios) ** 2)
        return float(sample.gained @ np.exp(np.minimum(sample.log_ratios, 700.0)))

    def _ratio(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp((x - self.base.support[1]) / self.beta - self._sample.log_normal)

    def mapped(self, low: float, scale: float) -> TiltedLaw:
        """Return the law of low + scale X, for scale > 0: the mapped base under scale * beta."""
        low, scale = check_map(low, scale)
        return type(self)(base=self.base.mapped(low, scale), beta=self.beta * scale)

    @property
    def policy(self) -> str:
        return f"tilted by beta = {self.beta:g}"


class _Sample(NamedTuple):
    """A law and its tilt as points: the points of the cut first, then the nodes of every gap."""

    masses: np.ndarray  # of the base law, of sum 1
    log_ratios: np.ndarray  # log w
    gained: np.ndarray  # the tilted masses
    log_normal: float  # log w(x) = (x - top) / beta - log_normal, for the top of the law
    mild: bool  # whether log w hardly exceeds 1 in size
    gaps: list[tuple[Density, float]]  # tilted, of mass 1, and the logarithms of their masses

    @classmethod
    def of(cls, cut: _Cut, beta: float) -> _Sample:
        """Return the sample for the weight exp(x / beta)."""
        top = float(cut.points[-1])
        masses, logs, gaps = [cut.masses], [(cut.points - top) / beta], []
        for i, gap in cut.gaps.items():
            below = top - float(cut.points[i + 1])
            tilted, log_mass = _tilted(gap, beta)
            d, held = gap.points(tilted)
            masses.append(np.maximum(held, 0.0))
            logs.append(-(below + d) / beta)
            gaps.append((tilted, log_mass - below / beta))
        m, y = np.concatenate(masses), np.concatenate(logs)
        m = m / m.sum()
        # About its mean a weight that hardly changes loses nothing to cancellation.
        mean, mild = float(m @ y), top - float(cut.points[0]) <= beta
        with np.errstate(divide="ignore"):
            sizes = np.log(m) + y
        if mild:
            log_normal = mean + math.log1p(float(m @ np.expm1(y - mean)))
        else:
            most = float(sizes.max())
            log_normal = most + math.log(float(np.exp(sizes - most).sum()))
        gaps = [(part, log_mass - log_normal) for part, log_mass in gaps]
        return cls(m, y - log_normal, np.exp(sizes - log_normal), log_normal, mild, gaps)


def _tilted(gap: Density, beta: float) -> tuple[Density, float]:
    """Return the density times exp((x - high) / beta), brought to mass 1, and its log mass."""
    width = gap.high - gap.low

    def log_weight(d: np.ndarray, upper: bool) -> np.ndarray:
        return -(d if upper else width - d) / beta

    scale = tuple(beta * (_CONSTANT_SHARE if p else 1.0) for p in gap.exponents)
    return gap.reweighted(log_weight, (scale[0], scale[1]))
