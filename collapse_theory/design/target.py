"""What is wanted, in all the forms it comes in, as one law on [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws import Density, RewardLaw, law_of
from collapse_theory.numerics.checks import numbers
from collapse_theory.values import Array, Value

# Atoms that an outline keeps as they are, from this mass on, and the panels for the others.
HEAVY, OUTLINE = 0.004, 256
# E W1 of a sample is at most ∫ sqrt(F(1-F)/n). Twice that held in 95 to 99.9 of 100 samples of 200
# rewards from six laws, two values the least often.
SPREAD = 2.0
NUMBERS = (
    "a list of numbers is a sample, as 'sample 1 2 2 5'; 'rewards 1 0.8 0.3 0' are the rewards of "
    "so many completions themselves"
)


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
        The n wanted rewards on [0, 1], best first, where they themselves were given.
    size : int
        How many numbers a sample had; 0 for a target that is no sample.
    """

    law: RewardLaw
    low: float = 0.0
    high: float = 1.0
    error: float = 0.0
    rewards: Array | None = None
    size: int = 0

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

    A list of numbers is a sample, as everywhere in the package, typed or not. Its n quantiles at
    the midpoints (i - 1/2)/n are what n completions should get: for n numbers those are the numbers
    themselves, so with `n` their count, or as "rewards 1 0.8 0.3 0", they are taken as exact.

    Parameters
    ----------
    target : str, RewardLaw, scipy.stats distribution, mapping or array
        A short text (see `collapse_theory.laws.law_of_text`), a law, a frozen distribution of
        scipy.stats with bounded support, a dict of quantiles {probability: reward}, or a sample: an
        array, "1, 2, 2, 5" or "sample 1 2 2 5". "rewards 1 0.8 0.3 0" are the rewards of so many
        completions. What doesn't reach from 0 to 1 is mapped affinely.
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
    if isinstance(target, str) and (listed := _listed(target)) is not None:
        exact, target = listed
        if exact and n not in (None, len(target)):
            raise CollapseError(f"{len(target)} rewards are wanted, and n = {n} completions")
        n = len(target) if exact else n
    try:
        law, is_law = law_of(target), hasattr(target, "ppf")
    except CollapseError as fault:
        raise CollapseError(f"{fault}; {NUMBERS}") from None
    if is_law:
        own: Any = target
        ends = np.asarray(own.support() if callable(own.support) else own.support)
        if not np.isfinite(ends).all():
            raise CollapseError(
                f"the wanted law must have bounded support, got {ends.tolist()}; give a truncated "
                "distribution, or a dict of quantiles"
            )
    found = _mapped(law)
    if is_law or isinstance(target, str | Mapping):
        return found
    best_first = np.sort(numbers(target, "the wanted rewards"))[::-1]
    size = best_first.size
    if n != size:
        return replace(found, error=sampling_error(found.law, size), size=size)
    unit = np.clip((best_first - found.low) / (found.high - found.low), 0.0, 1.0)
    return replace(found, rewards=unit)


def _listed(text: str) -> tuple[bool, list[float]] | None:
    """Return whether the numbers of a text are the rewards themselves, and them; None for none."""
    word, _, rest = text.strip().partition(" ")
    named = word in ("sample", "rewards")
    parts = (rest if named else text).replace(",", " ").split()
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if named and len(found) < 2:
        raise CollapseError(f"{text!r} isn't a list of two numbers or more; {NUMBERS}")
    return (word == "rewards", found) if len(found) > 1 else None


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
    panels = Density.steps(edges, np.diff(share) / np.diff(edges))
    return RewardLaw(law.atoms[heavy], (*law.parts, panels))


def sampling_error(law: RewardLaw, count: float) -> float:
    """Return how far the empirical law of `count` independent rewards is from their own law.

    2 ∫ sqrt(F(x) (1 - F(x)) / count) dx, which holds in 95 of 100 cases or more: a law of two
    values attains that.
    """
    x = law.atoms[:, 0]
    below = law.cdf(x[:-1])
    return SPREAD * float(np.sqrt(below * (1.0 - below) / count) @ np.diff(x))


def _mapped(law: RewardLaw) -> Target:
    low, high = (float(end) for end in law.support)
    if not low < high:
        raise CollapseError(
            f"the wanted law is the single reward {low:.6g}; a ranking needs two or more"
        )
    plain = RewardLaw(law.atoms, law.parts)
    if (low, high) == (0.0, 1.0):
        return Target(plain)
    width = high - low
    moved = plain.mapped(-low / width, 1.0 / width)
    # Rounding must not leave an end outside the box, or short of it.
    atoms = moved.atoms.copy()
    atoms[:, 0] = np.clip(atoms[:, 0], 0.0, 1.0)
    for end in (0.0, 1.0):
        atoms[np.abs(atoms[:, 0] - end) < 1e-14, 0] = end
    return Target(RewardLaw(atoms, moved.parts), low, high)
