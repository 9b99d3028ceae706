"""The choice among utilities: those to try, plain ones first, and what the solvers make of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.design.families import PLAIN, fitted, recognised, without_atoms
from collapse_theory.design.hinges import Area, hinge_gains
from collapse_theory.design.link import Link
from collapse_theory.design.mixture import (
    STAGES,
    Term,
    as_hinges,
    hinge,
    hinge_utility,
    mixture,
    smoothed_hinges,
    term_utility,
)
from collapse_theory.design.program import balance, sparse_mixture
from collapse_theory.design.proof import Proof, by_mirror, find_proof, proof_grid
from collapse_theory.design.slope import Bound, cone
from collapse_theory.design.target import Target, outline
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.laws import Density, RewardLaw, discrete_law, spread_law
from collapse_theory.limit import limit
from collapse_theory.programs import Solution
from collapse_theory.utilities import Linear, NegativePower, Utility

# A law as near as this is taken as it is; farther ones may be provably another.
PLAIN_DISTANCE = 1e-3
ROUNDING = 1e-13  # of distances: what is nearer by less is no better
SAMPLES = 4096  # of a quantile function, for fits and for symmetry
MOST_LEVELS = 12  # of graded laws, whose differences are margins
MOST_ATOMS = 60  # up to which the wanted law itself, not its outline, is proved on
# Rates of the log-sigmoids in place of hinges. The forward solver's time grows with the square of
# the rate: .2 s at 100, a second at 200. A level is spread over some 2.2 widths of 1/rate.
RATES, SPREAD = (60.0, 100.0), 2.2
PANELS = 256  # of laws between two others
CELLS = 64  # in which laws are compared before their distance is computed
BETWEEN = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Candidate:
    """A utility, what the forward solver makes of it, and how far that is from what is wanted.

    `solution` is the optimum of n rewards where n of them are wanted, `law` the law of the rewards.
    """

    utility: Utility
    law: RewardLaw
    distance: float
    solution: Solution | None = None


def nearer(first: Candidate | None, second: Candidate | None) -> Candidate | None:
    """Return the candidate that is nearer, the first of two that are as near up to rounding."""
    if first is None or second is None:
        return first or second
    return second if second.distance < first.distance - ROUNDING else first


@dataclass(frozen=True)
class Wanted(ABC):
    """What is wanted of a utility, a law or n rewards, and how near counts as reached."""

    target: Target
    allowed: float

    @cached_property
    def exact(self) -> tuple[Utility, str] | None:
        """The utility that has the wanted law in closed form, and the law's name."""
        return recognised(self.target.law)

    @property
    def graded(self) -> bool:
        """Whether it has levels, few enough for margins at their differences."""
        return not self.target.law.parts and len(self.target.law.atoms) <= MOST_LEVELS

    @property
    @abstractmethod
    def points(self) -> np.ndarray:
        """What is wanted as quantiles at (i - 1/2)/k, rising."""

    def known(self, bound: Bound) -> list[Utility]:
        """Return utilities with closed forms, the exact one first."""
        families = fitted(tuple(self.points.tolist()), bound, self.graded)
        return [*([self.exact[0]] if self.exact else []), *families, Linear(), NegativePower(1.0)]

    @property
    def near(self) -> float:
        """How near is near enough to look no further."""
        # A sample says no more than its law up to its error: the plainest within is enough.
        return self.allowed if self.target.size else min(PLAIN_DISTANCE / 5, self.allowed / 25)

    @abstractmethod
    def forward(self, utility: Utility, most: float = np.inf) -> Candidate | None:
        """Return a utility with what it makes, computed anew; None where it can't be solved.

        Or where it is seen at once that it is farther than `most`.
        """

    @abstractmethod
    def quick(self, bound: Bound) -> Iterator[Iterable[Utility]]:
        """Yield groups of utilities to try, within a bound on the slope."""


class Search:
    """Tries utilities, group by group, and keeps the nearest of those that aren't too steep."""

    def __init__(self, wanted: Wanted, bound: Bound) -> None:
        self.wanted, self.bound = wanted, bound
        self.best: Candidate | None = None
        self.tried: set[Utility] = set()

    def run(self, groups: Iterable[Iterable[Utility]]) -> Search:
        """Try the groups until the nearest of one is near enough, none if it already is."""
        for group in () if self.distance <= self.wanted.near else groups:
            for utility in group:
                if utility in self.tried or not self.bound.allows(utility):
                    continue
                self.tried.add(utility)
                self.best = nearer(self.best, self.wanted.forward(utility, self.distance))
            if self.distance <= self.wanted.near:
                break
        return self

    @property
    def distance(self) -> float:
        """How far the nearest so far is."""
        return np.inf if self.best is None else self.best.distance


@dataclass(frozen=True)
class WantedLaw(Wanted):
    """A law that is wanted; nearness is the Wasserstein-1 distance to it."""

    @property
    def law(self) -> RewardLaw:
        return self.target.law

    @property
    def near(self) -> float:
        if self.target.size or self.graded:
            return self.allowed
        return min(PLAIN_DISTANCE / 2, self.allowed / 5)

    @cached_property
    def shape(self) -> RewardLaw:
        """The law or its outline, which is quicker to work on."""
        return outline(self.law)

    @cached_property
    def cells(self) -> np.ndarray:
        """Places between which laws are compared at a glance."""
        return np.union1d(np.linspace(0.0, 1.0, CELLS + 1), self.law.atoms[:, 0])

    @cached_property
    def quantiles(self) -> np.ndarray:
        return self.law.ppf((np.arange(SAMPLES) + 0.5) / SAMPLES)

    @property
    def points(self) -> np.ndarray:
        return self.quantiles.reshape(-1, 8).mean(axis=1)

    @cached_property
    def asymmetry(self) -> float:
        """A lower bound of the distance to any symmetric law: (1/2) ∫ |Q(u) + Q(1-u) - 1| du.

        For a symmetric Q', |Q(u) - Q'(u)| + |Q(1-u) - 1 + Q'(u)| >= |Q(u) + Q(1-u) - 1|. Every law
        of a strictly concave utility is symmetric.
        """
        return 0.5 * float(np.abs(self.quantiles + self.quantiles[::-1] - 1.0).mean())

    @property
    def skewed(self) -> bool:
        """Whether it is by more than is allowed, and needs no search."""
        return self.asymmetry > self.allowed

    def forward(self, utility: Utility, most: float = np.inf) -> Candidate | None:
        try:
            law = limit(utility)
        except (CollapseError, SolverFailed):
            return None
        # The distance is ∫ |F - G|: no less than |∫ F - G| over cells, which are known at once.
        cells = np.union1d(self.cells, law.atoms[:, 0])
        apart = np.diff(Area.of(self.law)(cells)) - law.distribution.integrals_between(cells)
        if np.abs(apart).sum() > most:
            return None
        return Candidate(utility, law, law.distance(self.law))

    def quick(self, bound: Bound) -> Iterator[Iterable[Utility]]:
        if self.exact:
            yield [self.exact[0]]
        if self.target.size or not (self.graded or self.skewed):
            yield PLAIN
        if self.target.size:
            known = self.known(bound)
            yield [utility for utility in known if not utility.kinks]
            for kinked in (utility for utility in known if utility.kinks and not self.skewed):
                yield from levels(np.array(kinked.kinks), np.ones(1), 0.0)
        if self.graded and not self.skewed:
            yield from graded(evened(self.law), self.allowed, bound)
        if not self.skewed and (self.target.size or not self.graded):
            for terms in stages(self.shape)[:2]:
                yield smooth_fit(self.shape, terms, bound)

    def thorough(self, bound: Bound, search: Search, proved: bool) -> Iterator[Iterable[Utility]]:
        """Yield groups where the quick ones aren't near, cut short once they are."""
        # Sharper terms ask more of the forward solver, with many levels a second each.
        dictionaries = stages(self.shape)[: 1 if self.graded else None]
        if not proved and not self.skewed and search.distance > PLAIN_DISTANCE:
            for terms in dictionaries[0 if self.graded else 2 :]:
                yield smooth_fit(self.shape, terms, bound)
        if search.distance <= self.allowed:
            return
        yield self.known(bound)
        if search.distance <= 1.02 * self.asymmetry + PLAIN_DISTANCE:
            return  # no symmetric law is nearer
        even = symmetrised(self.shape)
        for terms in dictionaries[:2] if self.graded or even is not self.shape else ():
            yield smooth_fit(even, terms, bound)
        if search.best is not None:
            anchor = search.best.law
            for share in BETWEEN:
                between = blend(even, RewardLaw(anchor.atoms, anchor.parts), share)
                yield smooth_fit(between, STAGES[1], bound)

    def proof(self) -> Proof | None:
        return find_proof(self.law) if len(self.law.atoms) <= MOST_ATOMS else by_mirror(self.law)

    def link(self, found: Candidate, bound: Bound) -> Link:
        # An atom can't be spread by a function: the link needs a law without atoms, as log x has.
        if len(found.law.atoms):
            base = self.forward(without_atoms(bound))
            assert base is not None
            found = base
        return Link.of_laws(found.utility, found.law, self.target)


# -- utilities for a law -----------------------------------------------------------------


def stages(law: RewardLaw) -> tuple[tuple[Term, ...], ...]:
    """Return the dictionaries to try for a law, plain ones first.

    Atoms inside the box ask for terms at their differences, as sharp as the levels are wanted.
    """
    atoms = law.atoms[:, 0]
    inner = atoms[(atoms > 1e-9) & (atoms < 1.0 - 1e-9)]
    if not inner.size or inner.size > MOST_LEVELS:
        return STAGES
    apart = np.unique(np.abs(atoms[:, None] - atoms).round(9))
    apart = apart[(apart > 0.01) & (apart < 1.0 - 1e-9)]
    base = STAGES[0] if not law.parts else STAGES[1]
    return tuple((*base, *((m, rate) for m in apart.tolist())) for rate in RATES)


def smooth_fit(law: RewardLaw, terms: tuple[Term, ...], bound: Bound) -> Iterator[Utility]:
    r"""Yield the mixture of terms, not too steep, under which a law is nearest to optimal.

    The weights w >= 0 with sum 1 make the potential as level as they can over the support:

        minimise  sum_x (sum_j w_j gains[x, j])^2,

    by `sparse_mixture`, over the edges of the cone of mixtures within the bound.
    """
    margins, hinges = as_hinges(terms)
    places = proof_grid(law) if law.parts else law.atoms[:, 0]
    made = cone(tuple(map(term_utility, terms)), bound)
    gains, shortfall = hinge_gains(law, places, margins, hinges @ made)
    weights = sparse_mixture(gains)
    if weights.any():
        yield mixture(terms, made @ (weights / shortfall))


def graded(law: RewardLaw, allowed: float, bound: Bound) -> Iterator[list[Utility]]:
    """Yield utilities for graded levels: hinges by the program, smoothed first where that will do.

    The linear program over hinges at the differences of the levels is exact. Smoothed over a width
    1/b they spread each inner level over some 2.2/b; the rate follows from what is allowed. Where
    it would be too sharp the hinges stay.
    """
    atoms, masses = law.atoms.T
    apart = np.abs(atoms[:, None] - atoms).ravel()
    margins = np.unique(np.append(apart[apart > 1e-9], 1.0).round(12))
    # The potential of atoms is largest, if anywhere above them, a hinge's length away.
    reached = (atoms[:, None, None] + margins[:, None] * np.array([-1.0, 1.0])).ravel()
    places = np.unique(np.concatenate([atoms, reached[(reached >= 0) & (reached <= 1)]]))
    made = cone(tuple(map(hinge, margins.tolist())), bound)
    gains, shortfall = hinge_gains(law, places, margins, made)
    found = balance(gains)
    if found.excess > 1e-7:
        return
    weights = made @ (np.where(found.weights > 1e-9, found.weights, 0.0) / shortfall)
    yield from levels(margins, weights, SPREAD * float(masses[1:-1].sum()) / allowed)


def levels(margins: np.ndarray, weights: np.ndarray, least: float) -> Iterator[list[Utility]]:
    """Yield hinges, first smoothed at the rates from `least` on: then their optimum is unique."""
    for rate in RATES:
        if rate >= least:
            yield [smoothed_hinges(margins, weights, rate)]
    yield [hinge_utility(margins, weights)]


def evened(law: RewardLaw) -> RewardLaw:
    """Return a law of levels with the masses of opposite ones made equal, if they lie opposite.

    Those of a sample of grades are uneven by chance, and no utility has its law exactly.
    """
    places, masses = law.atoms.T
    if np.abs(places + places[::-1] - 1.0).max() > 1e-9:
        return law
    return discrete_law(0.5 * (places + 1.0 - places[::-1]), 0.5 * (masses + masses[::-1]))


def symmetrised(law: RewardLaw) -> RewardLaw:
    """Return the law of quantiles (Q(u) + 1 - Q(1-u))/2: of the symmetric laws, one of the nearest.

    Its distance is `WantedLaw.asymmetry`.
    """
    share = np.linspace(0.0, 1.0, PANELS + 1)
    low = law.ppf(np.clip(share, 1e-12, 1.0 - 1e-12))
    high = law.ppf(np.clip(1.0 - share, 1e-12, 1.0 - 1e-12))
    places = 0.5 * (low + 1.0 - high)
    if np.abs(places - low).max() < 1e-9:
        return law
    places = np.maximum.accumulate(0.5 * (places + 1.0 - places[::-1]))
    return spread_law(places, np.full(PANELS, 1.0 / PANELS), narrow=1e-9)


def blend(first: RewardLaw, second: RewardLaw, share: float) -> RewardLaw:
    """Return the mixture (1 - share) first + share second, densities in panels of equal mass."""
    atoms = np.vstack([first.atoms * [1.0, 1.0 - share], second.atoms * [1.0, share]])
    u = np.linspace(0.0, 1.0, PANELS + 1)
    u = np.unique(np.concatenate([u, u[1] * np.geomspace(1e-4, 0.5, 8)]))
    parts = []
    for law, weight in ((first, 1.0 - share), (second, share)):
        for part in law.parts:
            places = part.ppf(u * part.mass)
            kept = np.append(True, np.diff(places) > 1e-12)
            shares = u[kept]
            shares[-1] = 1.0
            heights = weight * part.mass * np.diff(shares) / np.diff(places[kept])
            parts.append(Density.steps(places[kept], heights))
    return RewardLaw(atoms, tuple(parts))
