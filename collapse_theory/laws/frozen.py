"""A reward law with the methods of a frozen distribution of scipy.stats."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import answer, numbers
from collapse_theory.values import Value

_SAME = ("cdf", "sf", "mean", "var", "std", "median", "entropy")
_LOGARITHMS = ("logpdf", "logpmf", "logcdf", "logsf")


@dataclass(frozen=True, eq=False)
class FrozenLaw(Value):
    """A law under the names that scipy.stats gives to a frozen distribution.

    ``scipy.stats.kstest(sample, frozen.cdf)``, ``scipy.stats.probplot(sample, dist=frozen)`` and
    whatever else asks for cdf, ppf, rvs or moments take it as they take ``scipy.stats.beta(2, 3)``.
    A law without atoms has `pdf`, one of atoms alone `pmf`. A law of both has neither, and says so:
    a likelihood by the density of its continuous part alone would be wrong.

    Parameters
    ----------
    law : RewardLaw

    Examples
    --------
    >>> import collapse_theory as ct
    >>> frozen = ct.closed_form("log(x)").to_scipy()
    >>> [round(x, 6) for x in frozen.interval(0.5)], round(frozen.pdf(0.5), 6)
    ([0.146447, 0.853553], 0.63662)
    >>> ct.closed_form("1 - exp(-2*x)").to_scipy().pdf(0.5)
    Traceback (most recent call last):
    ...
    collapse_theory.errors.CollapseError: the law has atoms of mass 0.5 beside its density...
    """

    law: Any

    def __getattr__(self, name: str) -> Any:
        """Return a method that a law has under the same name, or the logarithm of one."""
        if name in _SAME:
            return getattr(self.law, name)
        if name in _LOGARITHMS:
            return lambda x: _log(getattr(self, name.removeprefix("log"))(x))
        raise AttributeError(f"a frozen law has no {name!r}")

    def support(self) -> tuple[float, float]:
        """Return the lowest and the highest point."""
        low, high = self.law.support.tolist()
        return low, high

    def pdf(self, x: Any) -> Any:
        """Return the density; a CollapseError, a ValueError, for a law with atoms."""
        mass = float(self.law.atoms[:, 1].sum())
        if not self.law.parts:
            raise CollapseError("the law has atoms alone, and no density; pmf gives their masses")
        if mass:
            raise CollapseError(
                f"the law has atoms of mass {mass:.6g} beside its density, so that it has no pdf; "
                ".law.pdf is the density of the rest, .law.atoms are the atoms, cdf has both"
            )
        return self.law.pdf(x)

    def pmf(self, k: Any) -> Any:
        """Return the masses; a CollapseError, a ValueError, for a law with a density."""
        if self.law.parts:
            mass = sum(part.mass for part in self.law.parts)
            raise CollapseError(
                f"the law has a density of mass {mass:.6g}, so that it has no pmf; .law.atoms are "
                "its atoms"
            )
        k, (places, masses) = numbers(k, "k"), self.law.atoms.T
        at = np.minimum(np.searchsorted(places, k), places.size - 1)
        return answer(np.where(places[at] == k, masses[at], 0.0))

    def ppf(self, q: Any) -> Any:
        """Return the smallest x with cdf(x) >= q; NaN outside [0, 1], as in scipy.stats."""
        q = numbers(q, "q")
        outside = ~((q >= 0) & (q <= 1))
        return answer(np.where(outside, np.nan, self.law.ppf(np.where(outside, 0.0, q))))

    def isf(self, q: Any) -> Any:
        """Return ppf(1 - q)."""
        return self.ppf(1.0 - numbers(q, "q"))

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Return a sample of the shape `size`: one number, unless given."""
        return self.law.rvs(size, random_state)

    def moment(self, order: int) -> float:
        """Return E X**order."""
        return self.law.moment(order)

    def stats(self, moments: str = "mv") -> Any:
        """Return mean (m), variance (v), skewness (s) and excess kurtosis (k), as asked for."""
        if not moments or set(moments) - set("mvsk"):
            raise CollapseError(f"moments are letters of 'mvsk', got {moments!r}")
        mean, std = self.law.mean(), self.law.std()
        found = {"m": mean, "v": std**2}
        for name, power, normal in (("s", 3, 0.0), ("k", 4, 3.0)):
            if name in moments:
                scaled = self.law.expect(lambda x, k=power: ((x - mean) / std) ** k)
                found[name] = scaled - normal
        chosen = tuple(found[name] for name in "mvsk" if name in moments)
        return chosen[0] if len(chosen) == 1 else chosen

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the ends of equal tails around this share of the mass."""
        low, high = self.ppf(0.5 + np.array([-0.5, 0.5]) * confidence).tolist()
        return low, high

    def expect(
        self,
        func: Callable[[Any], Any] | None = None,
        lb: float | None = None,
        ub: float | None = None,
        conditional: bool = False,
    ) -> float:
        """Return E func(X), of X in [lb, ub] if given, its atoms included; X itself unless given.

        `conditional` divides by the mass there.
        """
        low, high = -math.inf if lb is None else lb, math.inf if ub is None else ub
        function = (lambda x: x) if func is None else np.vectorize(func, otypes=[float])

        def inside(x: np.ndarray) -> np.ndarray:
            here = (x >= low) & (x <= high)
            out = np.zeros(x.shape)
            out[here] = function(x[here]) if here.any() else 0.0
            return out

        found = self.law.expect(inside)
        if not conditional:
            return found
        return found / self.law.expect(lambda x: 1.0 * ((x >= low) & (x <= high)))


def _log(values: Any) -> Any:
    with np.errstate(divide="ignore"):
        return answer(np.log(values))
