"""Closed forms of Plackett-Luce rewards in a box: n completions, and the limit law.

Inside the box the derivative by each reward is zero: with S_k = sum_{j >= k} exp(r_j) and
A_i = sum_{k <= i} 1/S_k, exp(-r_i) = A_i. Then A_i S_{i+1} = A_{i-1} S_i = C is one constant, so
exp(r_i) = S_i / (C + 1) and the inner rewards are equally spaced, by log((C + 1)/C). Of p tied at
the top and q at the bottom, x = exp(-w) S_{p+1} in a box of width w:

    sum_{j=1}^{p} x / (x + j) = C,    x = q exp(-w) ((C+1)/C)**(n-p-q),

q is the least whole number from C on that leaves no ranked completion out, and p the number at
which C <= x <= C + 1; the gaps at the ends are log((C+1)/x) and log(q/C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.laws import BetaDensity, Density, RewardLaw, discrete_law
from collapse_theory.lazy import special
from collapse_theory.numerics.checks import positive
from collapse_theory.numerics.roots import bisect
from collapse_theory.utilities import PlackettLuce

LISTWISE = "the optimality conditions of the stages: docs/listwise.md"
RTOL = 4 * float(np.finfo(np.float64).eps)
FAR_EXPONENT = 40.0  # exp(-FAR_EXPONENT) is nothing beside 1
TAIL_MASS = 2.0**-60  # the mass left out below the law under a penalty: rounding of the whole
SUMMED_TERMS = 64  # up to so many terms are summed; more are a difference of digamma functions


def listwise_gaps(unit: PlackettLuce, n: int) -> np.ndarray:
    """Return the gaps (n-1,) of the optimal rewards in the box [0, 1], beta that of the scores."""
    width, free = unit.beta, n - unit.stages(n)
    # C below exp(-40): the scores are equally spaced down to the bottom group, to rounding.
    steepest = (math.log(free) - width) / (n - free)
    if steepest < -FAR_EXPONENT:
        gaps = np.zeros(n - 1)
        gaps[: n - free] = -steepest
        gaps[n - free - 1] += math.log(free)
        return gaps / gaps.sum()
    low, high = 1, n - free
    while True:
        p = (low + high) // 2
        t, log_x = _constant(n, free, width, p)
        if log_x > np.logaddexp(0.0, t) and low < high and p < high:
            low = p + 1  # the next reward would be above the box
        elif log_x < t and low < high and p > low:
            high = p - 1  # the last of the tied would be below its top
        else:
            break
    q = _tied_below(t, free, n - p)
    inner = n - p - q
    gaps = np.zeros(n - 1)
    if inner == 0:
        gaps[p - 1] = 1.0
        return gaps
    gaps[p : p + inner - 1] = np.logaddexp(0.0, -t)
    gaps[p - 1] = max(np.logaddexp(0.0, t) - log_x, 0.0)
    gaps[n - q - 1] = max(math.log(q) - t, 0.0)
    return gaps / gaps.sum()


def _tied_below(t: float, free: int, most: int) -> int:
    """Return q, the number tied at the bottom, from t = log C."""
    return min(max(math.ceil(math.exp(t)), free, 1), most)


def _constant(n: int, free: int, width: float, p: int) -> tuple[float, float]:
    """Return log C and log x with `p` tied at the top, whether or not they should be."""
    from scipy.optimize import brentq

    def log_x(t: float) -> float:
        q = _tied_below(t, free, n - p)
        return math.log(q) - width + (n - p - q) * float(np.logaddexp(0.0, -t))

    def excess(t: float) -> float:
        return _log_sum(log_x(t), p) - t

    high = math.log(n - p)
    over = excess(high)
    if over >= 0:
        return high + over, log_x(high)  # none is inside
    step = 1.0
    while excess(high - step) < 0:
        step *= 2
    t = float(brentq(excess, high - step, high, xtol=1e-300, rtol=RTOL))  # pyright: ignore[reportArgumentType]
    return t, log_x(t)


def _log_sum(log_x: float, p: int) -> float:
    """Return the logarithm of sum_{j=1}^{p} x / (x + j)."""
    if log_x > 30 + math.log(p):
        return math.log(p)  # far above any root, where x is at most C + 1 <= n
    x = math.exp(log_x)
    if p <= SUMMED_TERMS or x < 1:
        return log_x + math.log(float((1.0 / (x + np.arange(1.0, p + 1))).sum()))
    return log_x + math.log(special.digamma(x + p + 1) - special.digamma(x + 1))


def listwise_law(unit: PlackettLuce) -> RewardLaw:
    """Return the limit law in the box [0, 1]: uniform inside, and atoms of different mass.

    With w the width that the scores have, the density of the scores is 1/(e + w) on [0, w], the
    atom at the bottom 1/(e + w) and that at the top (e - 1)/(e + w). With a fixed number of
    picks, all but those few end at the bottom.
    """
    if unit.top is not None:
        return discrete_law([0.0], [1.0], reference=LISTWISE)
    whole = math.e + unit.beta
    atoms = [[0.0, 1.0 / whole], [1.0, (math.e - 1.0) / whole]]
    return RewardLaw(atoms, (BetaDensity(1, 1, mass=unit.beta / whole),), reference=LISTWISE)


@dataclass(frozen=True)
class PenalisedScores:
    """The limit law of the scores s = beta r under the penalty kappa mean s**2.

    It has mean 0, and on (-inf, 1/(2 kappa)] the density

    K (1 + 2 kappa - 2 kappa x) exp(2 kappa x - kappa x**2) = K (g + g'),  g = exp(2kx - kx**2).

    As kappa grows 2 kappa X tends to 1 - E, with E exponential of mean 1; as it falls
    sqrt(2 kappa) X tends to a standard normal variable.
    """

    kappa: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", positive(self.kappa, "kappa"))

    @property
    def high(self) -> float:
        """The top of the support."""
        return 0.5 / self.kappa

    @property
    def variance(self) -> float:
        """1/(2 kappa) - 1 + K g(1/(2 kappa)), whose terms cancel for large kappa."""
        if self.kappa < 2:
            return self.high - 1.0 + self._top
        return self.density.variance

    @property
    def log_factor(self) -> float:
        """The logarithm of K."""
        if self._peak >= 0:
            return math.log(self._crown) - self.kappa
        return math.log(self._top) - 1.0 + 0.25 / self.kappa

    def pdf(self, x: Any) -> np.ndarray:
        """Return the density at scores `x` that are no higher than the top."""
        return self._at(self.high - np.asarray(x))

    @cached_property
    def density(self) -> Density:
        """The law down to where a mass of 2**-60 is left, which doesn't show in float64."""
        k, deviation = self.kappa, math.sqrt(0.5 / self.kappa)
        reach = self._reach
        around = self._peak + deviation * np.array([-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0])
        return Density.fit(
            lambda d, upper: self._at(d if upper else reach - d),
            self.high - reach,
            self.high,
            finest=1.0 / max(1.0, abs(1.0 - 2.0 * k), math.sqrt(k)),
            knots=self.high - around,
            mass=1.0,
            bounded_below=False,
        )

    # In v = 1/(2 kappa) - x, the distance from the top, g is `_top` times
    # h(v) = exp((1-2k) v - k v**2) = exp(k peak**2 - k (v - peak)**2), the density
    # 2 k (1+v) h = h - h', and its integrals are those of h.

    @property
    def _peak(self) -> float:
        """Where h is largest; negative where it falls from the top on."""
        return (0.5 - self.kappa) / self.kappa

    @property
    def _gauss(self) -> float:
        """Half the integral of exp(-k v**2)."""
        return 0.5 * math.sqrt(math.pi / self.kappa)

    @cached_property
    def _crown(self) -> float:
        """K times the largest g where that is below the top."""
        z = math.sqrt(self.kappa) * self._peak
        return 1.0 / (math.exp(-(z**2)) + self._gauss * float(special.erfc(-z)))

    @cached_property
    def _top(self) -> float:
        """K g(1/(2 kappa)), the share of the mass that is g' and not g."""
        z = math.sqrt(self.kappa) * self._peak
        if z >= 0:
            return self._crown * math.exp(-(z**2))
        return 1.0 / (1.0 + self._gauss * float(special.erfcx(-z)))

    def _weighed(self, v: Any) -> np.ndarray:
        """Return K g."""
        k = self.kappa
        if self._peak >= 0:
            return self._crown * np.exp(-k * (v - self._peak) ** 2)
        return self._top * np.exp((1.0 - 2.0 * k) * v - k * v**2)

    def _at(self, v: np.ndarray) -> np.ndarray:
        return 2.0 * self.kappa * (1.0 + v) * self._weighed(v)

    @cached_property
    def _reach(self) -> float:
        """The distance from the top beyond which the mass `TAIL_MASS` lies."""
        root = math.sqrt(self.kappa)

        def excess(v: float) -> float:  # K (g + ∫ g beyond v) is the mass beyond
            z = root * (v - self._peak)
            beyond = 2.0 if z < 0 else float(self._weighed(v) * special.erfcx(z))
            return float(self._weighed(v)) + self._gauss * beyond - TAIL_MASS

        end = 1.0 / max(root, self.kappa) + max(self._peak, 0.0)  # less than a tail has left
        while excess(end) > 0:
            end *= 2.0
        return bisect(excess, 0.5 * end, end)
