"""The law of the reward under the policy that is best for it at a price on divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws.cells import Cells
from collapse_theory.laws.law import RewardLaw
from collapse_theory.laws.olddensity import Density
from collapse_theory.laws.partition import Partition
from collapse_theory.laws.policy import PolicyLaw
from collapse_theory.laws.reweighted import ReweightedDensity
from collapse_theory.laws.views import View
from collapse_theory.numerics.checks import answer, check_map, finite, positive

__all__ = ["TiltedDensity", "TiltedLaw"]

# The steepest weight over the whole support, and the mass that is too small to be relied on.
_STEEPEST = 1e150
_FAINT = 1e-250


@dataclass(frozen=True, eq=False, repr=False)
class TiltedDensity(ReweightedDensity):
    """A sum of densities times an exponential weight.

    pdf(x) = f(x) exp(level + (x - high) / beta)

    Parameters
    ----------
    parts : tuple of Density
        Densities that cover [low, high]; f is their sum.
    beta : float
        Scale of the weight, positive.
    low, high : float
        The interval, no larger than the support of any part.
    level : float
        Logarithm of the weight at `high`.

    Raises
    ------
    CollapseError
        A ValueError, for a beta that isn't positive, or parts that don't cover the interval.

    Examples
    --------
    >>> from collapse_theory.laws import TiltedDensity, uniform_law
    >>> part = TiltedDensity(uniform_law().parts, 1.0, 0.0, 1.0)
    >>> round(part.mass, 12)  # 1 - exp(-1)
    0.632120558829
    """

    parts: tuple[Density, ...]
    beta: float
    low: float
    high: float
    level: float = 0.0
    mass: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", positive(self.beta, "beta"))
        object.__setattr__(self, "level", finite(self.level, "level"))
        self._set_parts(self.parts, self.low, self.high)
        self._set_mass(float(sum(panels.masses[-1] for panels in self._panels)))

    @property
    def _finest(self) -> float:
        return self.beta

    def _log_weight(self, d: np.ndarray, upper: bool) -> np.ndarray:
        below = d if upper else self.high - self.low - d
        return self.level - below / self.beta

    def _first(self, cells: Cells) -> tuple[float, float]:
        base, center = np.array([cells.mass]), cells.center
        mass = float(self._weighted(base, np.array([center]), cells.view.upper)[0])
        return mass, center * mass

    def _mass_within(self, d: np.ndarray, upper: bool) -> np.ndarray:
        cells, panels = self._cells[upper], self._panels[upper]
        inner = d < cells.edges[0]
        out = np.empty_like(d)
        out[~inner] = panels.mass(d[~inner])
        if inner.any():
            share = cells.view.mass(d[inner]) / (cells.mass or 1.0)
            out[inner] = panels.masses[0] * np.clip(share, 0.0, 1.0)
        return out

    def mapped(self, low: float, scale: float) -> Self:
        """Return the density of low + scale X, for scale > 0."""
        low, scale = check_map(low, scale)
        parts = tuple(part.mapped(low, scale) for part in self.parts)
        ends = low + scale * self.low, low + scale * self.high
        return type(self)(parts, self.beta * scale, *ends, self.level)

    @classmethod
    def _on(cls, cells: tuple[Cells, Cells], parts: tuple[Density, ...], *fields: float) -> Self:
        """Return the density with its cells, which the law has found already."""
        part = cls.__new__(cls)
        object.__setattr__(part, "_cells", cells)
        part.__init__(parts, *fields)
        return part


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
    """

    beta: float = math.inf

    def __post_init__(self) -> None:
        base = self._checked(self.base)
        object.__setattr__(self, "beta", _price(self.beta, base))
        if self.beta == math.inf:
            self._set_law(base.atoms, base.parts)
            return
        cut, sample = self._partition, self._sample
        gained = self._gained
        if gained[sample.masses < _FAINT].sum() > 1e-9:
            raise CollapseError(
                f"with beta = {self.beta:g} all mass goes where the base law has next to none, "
                f"beneath the range of floats; a larger beta is needed for {base!r}"
            )
        atoms = np.column_stack([cut.points, gained[: cut.points.size]])[cut.masses > 0]
        parts: list[Density] = []
        for i, cells in sample.gaps.items():
            # Masses beneath the range of floats are left out.
            if gained[sample.groups == cut.points.size + i].sum() > 1e-290:
                low, high = cut.points[i : i + 2].tolist()
                level = float(self._log_ratio(np.array(high)))
                parts.append(TiltedDensity._on(cells, cut.parts[i], self.beta, low, high, level))
        self._set_law(atoms, tuple(parts))

    @cached_property
    def _partition(self) -> Partition:
        return Partition.of(self.base)

    @cached_property
    def _sample(self) -> _Sample:
        return _Sample.of(self._partition, self.beta, self.base)

    @cached_property
    def _log_normal(self) -> float:
        """log E_P exp((X - origin) / beta)."""
        logs = self._sample.places / self.beta
        if self._sample.mild:
            return math.log1p(float(self._sample.masses @ np.expm1(logs)))
        top = float(logs[self._sample.masses > 0].max())
        return top + math.log(float(self._sample.masses @ np.exp(np.minimum(logs - top, 0.0))))

    @cached_property
    def _logs(self) -> np.ndarray:
        """log w at the points of the sample."""
        return self._sample.places / self.beta - self._log_normal

    @cached_property
    def _gained(self) -> np.ndarray:
        """The masses of the sample's points in the tilted law."""
        with np.errstate(divide="ignore"):
            return np.exp(np.log(self._sample.masses) + self._logs)

    def _log_ratio(self, x: np.ndarray) -> np.ndarray:
        return (x - self._sample.origin) / self.beta - self._log_normal

    def _divergence(self) -> float:
        if self.beta == math.inf:
            return 0.0
        y, masses, gained = self._logs, self._sample.masses, self._gained
        small = np.abs(y) < 0.5
        z = np.where(small, y, 0.0)
        # w log w - w + 1 with w = exp(y) is y expm1(y) - (expm1(y) - y).
        near = z * np.expm1(z) - _expm1_less(z)
        far = np.where(gained > 0, gained * (np.maximum(y, -1e300) - 1.0), 0.0) + masses
        return float(np.where(small, masses * near, far).sum())

    def _share(self) -> float:
        if self.beta == math.inf:
            return 1.0
        y, masses = self._logs, self._sample.masses
        if self._sample.mild:
            return 1.0 / (1.0 + float(masses @ np.expm1(y) ** 2))
        with np.errstate(divide="ignore"):
            squares = np.log(masses) + 2.0 * y
        top = float(squares.max())
        return min(1.0, math.exp(-top) / float(np.exp(squares - top).sum()))

    def ratio(self, x: Any) -> Any:
        """Return w(x), by which completions of reward `x` become more probable."""
        x = np.asarray(x, dtype=np.float64)
        if self.beta == math.inf:
            return answer(np.ones_like(x))
        with np.errstate(over="ignore"):
            return answer(np.exp(self._log_ratio(x)))

    def mapped(self, low: float, scale: float) -> TiltedLaw:
        """Return the law of low + scale X, for scale > 0: the mapped base under scale * beta."""
        low, scale = check_map(low, scale)
        return type(self)(base=self.base.mapped(low, scale), beta=self.beta * scale)

    def _name(self) -> str:
        return f"tilted by beta = {self.beta:g}"


class _Sample(NamedTuple):
    """The base law as points and masses, dense enough to integrate the weight and its square.

    Attributes
    ----------
    origin : float
        Where `places` are counted from: the top, or for a mild weight the mean.
    mild : bool
        Whether log w hardly exceeds 1 in size.
    places, masses : (m,) array
        First the points of the partition, then the nodes of every gap with densities.
    groups : (m,) array
        The point, or the number of points plus the gap, that each of them belongs to.
    gaps : dict of int to the two Cells of a gap
    """

    origin: float
    mild: bool
    places: np.ndarray
    masses: np.ndarray
    groups: np.ndarray
    gaps: dict[int, tuple[Cells, Cells]]

    @classmethod
    def of(cls, cut: Partition, beta: float, base: Any) -> _Sample:
        """Return the sample for the weight exp(x / beta)."""
        mild = bool(cut.points[-1] - cut.points[0] <= beta)
        origin = base.mean() if mild else float(cut.points[-1])
        count = cut.points.size
        places, masses = [cut.points - origin], [cut.masses]
        groups, gaps = [np.arange(count)], {}
        for i, over in enumerate(cut.parts):
            if not over:
                continue
            low, high = cut.points[i : i + 2].tolist()
            gaps[i] = _cells(over, low, high, beta)
            for cells in gaps[i]:
                d, m = cells.points()
                places.append(high - origin - d if cells.view.upper else low - origin + d)
                masses.append(m)
                groups.append(np.full(d.size, count + i))
        every = np.concatenate(masses)
        every = np.maximum(every / every.sum(), 0.0)
        return cls(origin, mild, np.concatenate(places), every, np.concatenate(groups), gaps)


def _cells(parts: tuple[Density, ...], low: float, high: float, beta: float) -> tuple[Cells, Cells]:
    lower = Cells.of(View(parts, low, high, False), lambda d: d / beta, beta)
    upper = Cells.of(View(parts, low, high, True), lambda d: -d / beta, beta)
    return lower, upper


def _price(beta: Any, base: RewardLaw) -> float:
    """Return `beta` checked against the width of the law."""
    if isinstance(beta, int | float) and beta == math.inf:
        return math.inf
    beta = positive(beta, "beta")
    low, high = base.support.tolist()
    if (high - low) / _STEEPEST > beta:
        raise CollapseError(
            f"beta = {beta:g} is beneath the range of floats for rewards between {low:g} and "
            f"{high:g}; as beta falls to 0 all mass goes to the top of the support"
        )
    return beta


def _expm1_less(z: np.ndarray) -> np.ndarray:
    """Return exp(z) - 1 - z for |z| < 0.5, with its full relative accuracy."""
    total = np.zeros_like(z)
    for j in range(16, 1, -1):
        total = (total + 1.0) * z / j
    return total * z
