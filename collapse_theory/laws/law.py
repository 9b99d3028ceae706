"""The law of the rewards of one prompt: point masses and densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.display import latex_number, latex_text
from collapse_theory.errors import CollapseError
from collapse_theory.laws.curves import Curves, draw, turn
from collapse_theory.laws.distance import wasserstein
from collapse_theory.laws.frozen import FrozenLaw
from collapse_theory.laws.part import Part
from collapse_theory.laws.quantiles import DistributionFunction, running_sum
from collapse_theory.numerics.checks import (
    answer,
    check_map,
    check_span,
    finite,
    finite_array,
    numbers,
    whole,
)
from collapse_theory.values import Value, frozen_array

if TYPE_CHECKING:
    from collapse_theory.laws.policy import BestOfLaw, TiltedLaw

_MASS_TOLERANCE, _MOST_N = 1e-9, 10**8
_LISTED_ATOMS = 6  # atoms at most that a name lists


@dataclass(frozen=True, eq=False, repr=False)
class RewardLaw(Value):
    """A probability law on the line: atoms, and densities between them.

    Parameters
    ----------
    atoms : (k, 2) array
        Location and mass of each point mass; sorted here, equal locations merged.
    parts : tuple of Part
        The continuous parts; their supports may overlap.
    objective : float, optional
        Mean utility over pairs, for a law that maximises it.
    gap, relative_gap : float, optional
        Bounds on how far the objective is from the best one, never negative.
    method, status : str, optional
        How the law was computed, and whether the bounds met the tolerance.
    reference : str, optional
        Source of a closed form.

    Raises
    ------
    CollapseError
        A ValueError, for negative or non-finite masses, or a total that isn't 1 within 1e-9.

    Examples
    --------
    >>> from collapse_theory.laws import BetaDensity, RewardLaw
    >>> law = RewardLaw([[0, 0.25], [1, 0.25]], (BetaDensity(1, 1, mass=0.5),))
    >>> law
    RewardLaw(atoms: 0.25 at 0, 0.25 at 1; uniform on [0, 1] of mass 0.5)
    >>> law.ppf([0.1, 0.5, 0.9]), law.quantiles(4)
    (array([0. , 0.5, 1. ]), array([1.  , 0.75, 0.25, 0.  ]))
    """

    atoms: Any = ()
    parts: tuple[Part, ...] = ()
    objective: float | None = None
    gap: float | None = None
    relative_gap: float | None = None
    method: str | None = None
    status: str | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = (self.parts,) if isinstance(self.parts, Part) else tuple(self.parts)
        for part in parts:
            if not isinstance(part, Part):
                raise CollapseError(f"parts must be densities, not {part!r}")
        self._set(atoms=frozen_array(_atoms(self.atoms)), parts=parts)
        if not abs(self._total - 1.0) <= _MASS_TOLERANCE:
            raise CollapseError(f"the masses of a law must sum to 1; these sum to {self._total!r}")
        for name in ("objective", "gap", "relative_gap"):
            if getattr(self, name) is not None:
                self._set(**{name: float(getattr(self, name))})

    @cached_property
    def _total(self) -> float:
        return float(running_sum(self.atoms[:, 1])[-1]) + sum(part.mass for part in self.parts)

    @cached_property
    def distribution(self) -> DistributionFunction:
        """F, for arrays: with its limits from the left, its integral and its inverse."""
        return DistributionFunction(self.atoms, self.parts)

    @property
    def support(self) -> np.ndarray:
        """The (2,) array of the lowest and the highest point of the law."""
        return np.array(self.distribution.support)

    def pdf(self, x: Any) -> Any:
        """Return the density at `x`, a number or an array, of the parts that aren't atoms."""
        return answer(self.distribution.pdf(numbers(x, "x")))

    def cdf(self, x: Any) -> Any:
        """Return F(x), the mass at or below `x`, a number or an array; NaN where that is NaN.

        It is continuous from the right, and 1 from the top on.
        """
        return answer(self.distribution(numbers(x, "x")))

    def sf(self, x: Any) -> Any:
        """Return 1 - F(x), the mass above `x`, which keeps its digits however small it is.

        Examples
        --------
        >>> from collapse_theory.laws import beta_law
        >>> round(beta_law(1, 50).sf(0.9) / 1e-50, 9)  # (1 - x)^50
        1.0
        """
        return answer(self.distribution.above(numbers(x, "x")))

    def ppf(self, q: Any) -> Any:
        """Return the smallest x with cdf(x) >= `q`; at q = 0 the lower end of the support.

        It is nondecreasing in `q`, and cdf(ppf(q)) >= q in floating point.

        Parameters
        ----------
        q : float or array
            Probabilities; outside [0, 1], or NaN, they are a CollapseError, a ValueError.

        Examples
        --------
        >>> from collapse_theory.laws import beta_law
        >>> round(beta_law(0.5, 0.5).ppf(1 / 3), 12)
        0.25
        """
        q = numbers(q, "probabilities")
        bad = ~((q >= 0) & (q <= 1))
        if bad.any():
            raise CollapseError(f"probabilities must lie in [0, 1], got {q[bad].flat[0]}")
        return answer(self.distribution.ppf(q))

    def rvs(self, size: Any = None, rng: Any = None) -> Any:
        """Return rewards drawn from the law, by inversion of the cdf.

        `size` is the shape of the sample, None for one number; `rng` a Generator, or what
        `numpy.random.default_rng` takes.

        Examples
        --------
        >>> from collapse_theory.laws import uniform_law
        >>> uniform_law().rvs(3, rng=0).round(3)
        array([0.637, 0.27 , 0.041])
        """
        try:
            uniform = np.asarray(np.random.default_rng(rng).random(size))
        except (TypeError, ValueError):
            raise CollapseError(
                "rvs needs a size of whole numbers, and a Generator, a whole number or None as "
                f"rng; got size = {size!r}, rng = {rng!r}"
            ) from None
        return answer(self.distribution.rough(uniform))

    def mean(self) -> float:
        """Return the mean, ∫ x dF(x)."""
        places, masses = self.atoms.T
        return (float(places @ masses) + sum(p.mass * p.mean for p in self.parts)) / self._total

    def var(self) -> float:
        """Return the variance, from second moments about the mean: nothing cancels."""
        mean = self.mean()
        places, masses = self.atoms.T
        spread = sum(p.mass * (p.variance + (p.mean - mean) ** 2) for p in self.parts)
        return (float((places - mean) ** 2 @ masses) + spread) / self._total

    def std(self) -> float:
        """Return the standard deviation."""
        return self.var() ** 0.5

    def median(self) -> float:
        """Return the median: ppf(1/2), to within rounding."""
        return answer(self.distribution.rough(np.array(0.5)))

    def moment(self, k: int) -> float:
        """Return the moment E X**k about 0, for k = 0, 1, 2, ...

        Examples
        --------
        >>> from collapse_theory.laws import uniform_law
        >>> round(uniform_law().moment(4), 12)
        0.2
        """
        power = finite(whole(k, "k", 0), "k")
        return self.expect(lambda x: x**power)

    def expect(self, function: Callable[[np.ndarray], Any]) -> float:
        """Return E function(X), by quadrature on panels that are halved until each is resolved.

        The function takes an array of rewards to an array of their values, finite ones (else that
        is a CollapseError, a ValueError); it may have kinks, and grow next to an end of the support
        as a logarithm does.

        Examples
        --------
        >>> import numpy as np
        >>> from collapse_theory.laws import beta_law
        >>> round(beta_law(0.5).expect(np.log), 9)  # -2 log 2
        -1.386294361
        """
        if not callable(function):
            raise CollapseError(f"expect needs a function of an array of rewards, not {function!r}")

        def values(x: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):
                found = numbers(function(x), "the values of the function")
            if found.shape not in (x.shape, ()) or not np.isfinite(found).all():
                raise CollapseError(
                    f"the function must give a finite value for each of {x.size} rewards "
                    f"between {x.min():.6g} and {x.max():.6g}, not {found}"
                )
            return np.broadcast_to(found, x.shape)

        places, masses = self.atoms.T
        atoms = float(masses @ values(places)) if places.size else 0.0
        return (atoms + sum(part.expect(values) for part in self.parts)) / self._total

    def entropy(self) -> float:
        """Return the entropy in nats: -∫ f log f of a density f, -sum m log m of atoms.

        A law of atoms and densities has neither: that is a CollapseError, a ValueError.

        Examples
        --------
        >>> from collapse_theory.laws import uniform_law
        >>> round(uniform_law(0, 2).entropy(), 12)  # log 2
        0.69314718056
        """
        from collapse_theory.laws.policy import cut_of

        masses = self.atoms[:, 1]
        if not self.parts:
            return float(-(masses @ np.log(masses))) + 0.0
        if masses.size:
            raise CollapseError(f"a law of atoms and densities has no entropy: {self.name}")

        def surprise(part: Part, d: np.ndarray, upper: bool) -> np.ndarray:
            return -np.log(np.maximum(part.density(d, upper), 1e-300))

        gaps = cut_of(self).gaps.values()
        return sum(gap.integral(partial(surprise, gap)) for gap in gaps)

    def quantiles(self, n: int) -> np.ndarray:
        """Return the (n,) quantiles ppf((i - 1/2) / n), best first, for n up to 100,000,000.

        Examples
        --------
        >>> from collapse_theory.laws import uniform_law
        >>> uniform_law().quantiles(2)
        array([0.75, 0.25])
        """
        count = whole(n, "n")
        if count > _MOST_N:
            raise CollapseError(f"quantiles are listed for n up to {_MOST_N:,}; ppf gives any one")
        return self.ppf((np.arange(count, 0, -1) - 0.5) / count)

    def distance(self, other: Any) -> float:
        """Return the Wasserstein-1 distance to `other`, W1 = ∫ |F(x) - G(x)| dx.

        That is a law in any form that `collapse_theory.laws.law_of` reads: an array is a sample.

        Examples
        --------
        >>> from collapse_theory.laws import discrete_law, uniform_law
        >>> uniform_law().distance(discrete_law([0, 1], [0.5, 0.5]))
        0.25
        >>> uniform_law().distance([0, 1])  # a sample
        0.25
        """
        from collapse_theory.laws.reading import law_of

        return wasserstein(self.distribution, law_of(other).distribution)

    def best_of(self, k: float) -> BestOfLaw:
        """Return the law of the best of `k` independent rewards, P(X <= x) = F(x)^k.

        Its `kl` and `effective_sample_size` say how far the policy that keeps the best of k
        completions is from the one that draws them. A k below 1 is a CollapseError, a ValueError.

        Examples
        --------
        >>> from collapse_theory.laws import uniform_law
        >>> best = uniform_law().best_of(4)
        >>> round(best.mean(), 12), round(best.kl, 6)  # 4/5 and log 4 - 3/4
        (0.8, 0.636294)
        """
        from collapse_theory.laws.policy import BestOfLaw

        return BestOfLaw(base=self, k=k)

    def tilted(self, beta: float) -> TiltedLaw:
        """Return the law with density exp(x / beta) / Z to this one.

        That is the law of the reward under the policy that maximises the mean reward less `beta`
        times its KL divergence from the one that draws from this law. A `beta` of inf changes
        nothing; as it falls to 0 all mass goes to the top. One that isn't positive, or is beneath
        the range of floats, is a CollapseError, a ValueError.

        Examples
        --------
        >>> from collapse_theory.laws import discrete_law
        >>> law = discrete_law([0, 1], [0.5, 0.5]).tilted(0.5)
        >>> law.atoms.round(6).tolist()  # 1 and e^2, over their sum
        [[0.0, 0.119203], [1.0, 0.880797]]
        """
        from collapse_theory.laws.policy import TiltedLaw

        return TiltedLaw(base=self, beta=beta)

    def rewards(self, n: int) -> np.ndarray:
        """Return the rewards that the law predicts for n completions, corrected for finite n.

        Only the laws of `ct.limit` know the program that the correction comes from; of any other
        this is a CollapseError, a ValueError.
        """
        raise CollapseError(
            f"only a law from ct.limit(u) predicts the rewards of {n} completions; quantiles(n) "
            "gives the plain quantiles of any law"
        )

    def plot(self, ax: Any = None, *, label: str | None = None, color: Any = None) -> Any:
        """Draw the law: its density as a curve, its atoms as stems on a second scale.

        Laws that are drawn on the same axes stand beside each other; `ax.legend()` names them, by
        `label`. Without `ax` it opens a pyplot figure. Returns the axes of the density.
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(layout="constrained")[1]
        label = self.name if label is None else label
        draw(ax, Curves.of([self]), [{"label": label, "color": color} | turn(ax)])
        return ax

    def to_scipy(self) -> FrozenLaw:
        """Return the law under the names of a frozen distribution of scipy.stats.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy import stats
        >>> import collapse_theory as ct
        >>> frozen = ct.limit("log(x + 0.1)").to_scipy()
        >>> frozen.support(), round(frozen.cdf(0), 4)
        ((0.0, 1.0), 0.184)
        >>> bool(stats.kstest(np.linspace(0, 1, 1000), frozen.cdf).pvalue < 1e-6)
        True
        """
        return FrozenLaw(self)

    def mapped(self, low: float, scale: float) -> RewardLaw:
        """Return the law of low + scale X, for scale > 0.

        `method` and `reference` stay; the certificate (objective, gaps, status) belongs to the
        unmapped program and goes.
        """
        low, scale = check_map(low, scale)
        atoms = np.column_stack([low + scale * self.atoms[:, 0], self.atoms[:, 1]])
        parts = tuple(part.mapped(low, scale) for part in self.parts)
        return RewardLaw(atoms, parts, method=self.method, reference=self.reference)

    @property
    def name(self) -> str:
        """The law in words: its atoms, and its densities with their families.

        Examples
        --------
        >>> import collapse_theory as ct
        >>> ct.closed_form("log(x)").name
        'Beta(1/2, 1/2) on [0, 1]'
        """
        texts = []
        if 0 < len(self.atoms) <= _LISTED_ATOMS:
            places = ", ".join(f"{mass:.3g} at {place:.4g}" for place, mass in self.atoms.tolist())
            texts.append(f"atoms: {places}")
        elif len(self.atoms):
            low, high = self.atoms[0, 0], self.atoms[-1, 0]
            texts.append(f"{len(self.atoms)} atoms between {low:.4g} and {high:.4g}")
        alone = not texts and len(self.parts) == 1
        for part in self.parts:
            mass = "" if alone else f" of mass {part.mass:.3g}"
            texts.append(f"{part.name} on {part.interval}{mass}")
        return "; ".join(texts)

    def __repr__(self) -> str:
        return f"RewardLaw({self.name})"

    def _lines(self) -> tuple[str, ...]:
        gap = None if self.relative_gap is None else f"relative gap {self.relative_gap:.1e}"
        how = None if self.method is None else f"by {self.method}"
        known = " ".join(filter(None, [gap and f"{gap},", self.status, how]))
        return repr(self), *filter(None, [known, self.reference])

    def _latex(self) -> str:
        terms = [
            rf"{latex_number(mass)}\,\delta_{{{latex_number(place)}}}"
            for place, mass in self.atoms.tolist()
        ]
        if len(terms) > _LISTED_ATOMS:
            terms = [rf"\text{{{len(terms)} atoms}}"]
        alone = not terms and len(self.parts) == 1
        for part in self.parts:
            share = "" if alone else rf"{latex_number(part.mass)}\,"
            terms.append(rf"{share}{latex_text(part.name + ' on ' + part.interval)}")
        return " + ".join(terms)


def _atoms(atoms: Any) -> np.ndarray:
    """Return `atoms` as a (k, 2) array: sorted, equal locations merged, zero masses dropped."""
    array = numbers(atoms, "atoms")
    if array.ndim and not array.size:
        return np.empty((0, 2))
    array = finite_array(array, "atoms", 2)
    if array.shape[1] != 2:
        raise CollapseError(f"atoms must be pairs of location and mass, not {array.shape}")
    if (array[:, 1] < 0).any():
        where, mass = array[np.argmin(array[:, 1])]
        raise CollapseError(f"masses must not be negative; the atom at {where} has {mass}")
    array = array[array[:, 1] > 0]
    # + 0.0 makes one location of 0.0 and -0.0.
    places, index = np.unique(array[:, 0] + 0.0, return_inverse=True)
    if places.size == array.shape[0]:
        masses = array[np.argsort(array[:, 0], kind="stable"), 1]
    else:
        masses = np.bincount(index, weights=array[:, 1], minlength=places.size)
    if places.size:
        check_span(places[0], places[-1])
    return np.column_stack([places, masses])
