"""What is wanted, in all the forms it comes in, as one law on [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws import (
    LAW_TEXT,
    BetaDensity,
    Density,
    RewardLaw,
    empirical_law,
    law_of_text,
)
from collapse_theory.values import Array, Value

__all__ = ["Target", "outline", "sampling_error", "spread_law", "target_of", "uniform_panels"]

# Panels of equal mass that a continuous distribution of SciPy's is read with: off by 1e-5 in W1.
PANELS = 512
# Atoms that an outline keeps as they are, from this mass on, and the panels for the others.
HEAVY, OUTLINE = 0.004, 256
# E W1 of a sample is at most ∫ sqrt(F(1-F)/n). Twice that held in 95 to 99.9 of 100 samples of 200
# rewards from six laws, two values the least often.
SPREAD = 2.0


@dataclass(frozen=True, eq=False)
class Target(Value):
    """A wanted law, mapped affinely onto [0, 1].

    Attributes
    ----------
    law : RewardLaw
        On [0, 1], with both ends in its support.
    low, high : float
        The ends of the wanted law as it was given: a reward r in [0, 1] stands for
        low + (high - low) r.
    error : float
        How far (Wasserstein-1, on [0, 1]) a sample may be from the law it was drawn from; 0 for a
        target that is no sample.
    rewards : numpy.ndarray or None
        The n wanted rewards on [0, 1], best first, where n of them were given.
    """

    law: RewardLaw
    low: float = 0.0
    high: float = 1.0
    error: float = 0.0
    rewards: Array | None = None

    def unmapped(self, rewards: np.ndarray) -> np.ndarray:
        """Return rewards of [0, 1] on the scale that the wanted law was given on."""
        return self.low + (self.high - self.low) * rewards

    def levels(self, n: int) -> np.ndarray:
        """Return the n rewards that stand for the law, best first, from 1 to 0.

        They are those given, or the law's quantiles at the midpoints (i - 1/2)/n, mapped affinely
        onto [0, 1].
        """
        if self.rewards is not None and len(self.rewards) == n:
            return self.rewards
        found = self.law.quantiles(n)
        if not found[0] > found[-1]:
            raise CollapseError(f"the {n} quantiles of the wanted law are all {found[0]:.6g}")
        return (found - found[-1]) / (found[0] - found[-1])


def target_of(target: Any, n: int | None = None) -> Target:
    """Return a wanted law in any of its forms as one law on [0, 1].

    Parameters
    ----------
    target : str, RewardLaw, scipy.stats distribution, mapping or array
        A short text (see `collapse_theory.laws.law_of_text`), a law, a frozen distribution of
        scipy.stats with bounded support, a dict of quantiles {probability: reward}, or rewards: a
        sample, or with n of them and `n` given the wanted rewards themselves. What doesn't reach
        from 0 to 1 is mapped affinely.
    n : int, optional
        The number of completions.

    Raises
    ------
    CollapseError
        A ValueError, for anything else, NaN, or a law of a single reward.

    Examples
    --------
    >>> from collapse_theory.design import target_of
    >>> target_of({0: 1, 0.5: 2, 1: 5}).law.ppf([0.25, 0.75])
    array([0.125, 0.625])
    >>> target_of([1, 2, 3, 4, 5]).law
    RewardLaw(atoms: 0.2 at 0, 0.2 at 0.25, 0.2 at 0.5, 0.2 at 0.75, 0.2 at 1)
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return _mapped(law_of_text(target))
    if isinstance(target, RewardLaw):
        return _mapped(target)
    if isinstance(target, Mapping):
        return _mapped(_of_quantiles(target))
    if callable(getattr(target, "ppf", None)) and callable(getattr(target, "cdf", None)):
        return _mapped(_of_scipy(target))
    return _of_sample(target, n)


def uniform_panels(edges: np.ndarray, masses: np.ndarray) -> Density:
    """Return the density that spreads each mass evenly between two neighbouring edges."""
    return Density.steps(edges, masses / np.diff(edges))


def spread_law(
    edges: np.ndarray,
    masses: np.ndarray,
    atoms: Sequence[tuple[float, float]] = (),
    narrow: float = 0.0,
) -> RewardLaw:
    """Return the law of atoms, and of masses spread evenly between neighbouring edges.

    Where two edges are no farther apart than `narrow` their mass is an atom.
    """
    flat = np.diff(edges) <= narrow
    points = [*atoms, *zip(edges[:-1][flat].tolist(), masses[flat].tolist(), strict=True)]
    low, high = edges[:-1][~flat], edges[1:][~flat]
    parts = (uniform_panels(np.append(low, high[-1]), masses[~flat]),) if low.size else ()
    total = sum(mass for _, mass in points) + sum(part.mass for part in parts)
    if abs(total - 1.0) > 1e-9:
        raise CollapseError(f"the masses of the wanted law add up to {total!r}, not to 1")
    return RewardLaw([point for point in points if point[1] > 0], parts)


def outline(law: RewardLaw) -> RewardLaw:
    """Return a law of many atoms with its light ones spread over panels: a sample's outline."""
    if len(law.atoms) <= OUTLINE:
        return law
    places, masses = law.atoms.T
    # The ends too may be light: they join the nearest panel.
    heavy = masses >= HEAVY
    below = np.cumsum(np.where(heavy, 0.0, masses))
    share = below[-1] * np.linspace(0.0, 1.0, OUTLINE + 1)
    light = np.flatnonzero(~heavy)
    if light.size < 2:
        return law
    edges = np.interp(share, np.append(0.0, below[light]), np.append(0.0, places[light]))
    edges[-1] = 1.0
    kept = np.append(True, np.diff(edges) > 1e-9)
    edges, share = edges[kept], share[kept]
    edges[-1], share[-1] = 1.0, below[-1]
    panels = uniform_panels(edges, np.diff(share))
    return RewardLaw(law.atoms[heavy], (*law.parts, panels))


def sampling_error(law: RewardLaw, count: float) -> float:
    """Return how far the empirical law of `count` independent rewards is from their own law.

    2 ∫ sqrt(F(x) (1 - F(x)) / count) dx, which holds in 95 of 100 cases or more: a law of two
    values attains that.
    """
    x = law.atoms[:, 0]
    below = law.cdf(x[:-1])
    return SPREAD * float(np.sqrt(below * (1.0 - below) / count) @ np.diff(x))


def _mapped(law: RewardLaw, error: float = 0.0, rewards: np.ndarray | None = None) -> Target:
    low, high = (float(end) for end in law.support)
    if not low < high:
        raise CollapseError(
            f"the wanted law is the single reward {low:.6g}; a ranking needs two or more"
        )
    if (low, high) == (0.0, 1.0):
        plain = law if type(law) is RewardLaw and law.objective is None else _plain(law)
        return Target(plain, 0.0, 1.0, error, rewards)
    width = high - low
    moved = _plain(law).mapped(-low / width, 1.0 / width)
    # Rounding must not leave an end outside the box, or short of it.
    atoms = moved.atoms.copy()
    atoms[:, 0] = np.clip(atoms[:, 0], 0.0, 1.0)
    for end in (0.0, 1.0):
        atoms[np.abs(atoms[:, 0] - end) < 1e-14, 0] = end
    return Target(RewardLaw(atoms, moved.parts), low, high, error, rewards)


def _plain(law: RewardLaw) -> RewardLaw:
    return RewardLaw(law.atoms, law.parts)


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
    """Return a frozen distribution of scipy.stats: Beta and uniform exactly, others in panels."""
    name = getattr(getattr(given, "dist", None), "name", "")
    low, high = (float(end) for end in given.support())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise CollapseError(
            f"the wanted law must have bounded support, got [{low}, {high}]; give a truncated "
            "distribution, or a dict of quantiles"
        )
    if callable(getattr(given, "pmf", None)) and not callable(getattr(given, "pdf", None)):
        return _of_discrete(given, low, high)
    if name == "beta":
        a, b, _, _ = given.dist._parse_args(*given.args, **given.kwds)[0] + (0, 0)
        return RewardLaw((), (BetaDensity(float(a), float(b), low, high),))
    if name == "uniform":
        return RewardLaw((), (BetaDensity(1.0, 1.0, low, high),))
    share = np.linspace(0.0, 1.0, PANELS + 1)
    tail = share[1] * np.geomspace(1e-6, 0.5, 12)
    share = np.concatenate([share[:1], tail, share[1:-1], 1.0 - tail[::-1], share[-1:]])
    edges = np.asarray(given.ppf(share), dtype=np.float64)
    if not np.isfinite(edges).all() or (np.diff(edges) < 0).any():
        raise CollapseError("the distribution's ppf has to rise from its support's ends on")
    return spread_law(edges, np.diff(share), narrow=1e-13 * (high - low))


def _of_discrete(given: Any, low: float, high: float) -> RewardLaw:
    values = np.asarray(getattr(given, "xk", np.arange(low, high + 1)), dtype=np.float64)
    if values.size > 100_000:
        raise CollapseError(f"the wanted law has {values.size} atoms; at most 100,000 are read")
    masses = np.asarray(given.pmf(values), dtype=np.float64)
    return RewardLaw(np.column_stack([values, masses / masses.sum()]))


def _of_sample(given: Any, n: int | None) -> Target:
    try:
        rewards = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise CollapseError(f"{given!r} is no wanted law; {LAW_TEXT}") from None
    if rewards.ndim != 1 or rewards.size < 2:
        raise CollapseError(
            f"rewards must be a list of two or more numbers, got shape {rewards.shape}; {LAW_TEXT}"
        )
    if not np.isfinite(rewards).all():
        bad = int(np.argmin(np.isfinite(rewards)))
        raise CollapseError(f"rewards[{bad}] is {rewards[bad]}; every reward must be finite")
    law = empirical_law(rewards)
    if n is not None and rewards.size == n:
        found = _mapped(law)
        best_first = np.sort(rewards)[::-1]
        unit = np.clip((best_first - found.low) / (found.high - found.low), 0.0, 1.0)
        return Target(found.law, found.low, found.high, 0.0, unit)
    found = _mapped(law)
    return Target(found.law, found.low, found.high, sampling_error(found.law, rewards.size))
