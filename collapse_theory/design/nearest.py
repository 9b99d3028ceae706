"""For laws out of reach: the nearest law found that a concave utility has."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.design.inverse import beta_utility, graded_utility
from collapse_theory.design.search import Candidate, forward, nearer, smooth_fit, stages
from collapse_theory.laws import BetaDensity, RewardLaw, discrete_law, spread_law, uniform_panels
from collapse_theory.laws.constructors import beta_law
from collapse_theory.utilities import Exponential, Linear, NegativePower, Utility

PANELS = 256
CLOSE_DISTANCE = 1e-3
MOST_LEVELS = 8  # equal levels, up to so many, are among the candidates


def asymmetry(law: RewardLaw) -> float:
    """Return a lower bound of the distance to any symmetric law: (1/2) ∫ |Q(u) + Q(1-u) - 1| du.

    For a symmetric Q', |Q(u) - Q'(u)| + |Q(1-u) - 1 + Q'(u)| >= |Q(u) + Q(1-u) - 1|. Every law of a
    strictly concave utility is symmetric.
    """
    u = (np.arange(4096) + 0.5) / 4096
    q = law.ppf(u)
    return 0.5 * float(np.abs(q + q[::-1] - 1.0).mean())


def symmetrised(law: RewardLaw) -> RewardLaw:
    """Return the law of quantiles (Q(u) + 1 - Q(1-u))/2: of the symmetric laws, one of the nearest.

    Its distance is `asymmetry`.
    """
    if asymmetry(law) < 1e-9:
        return law
    share = np.linspace(0.0, 1.0, PANELS + 1)
    q = law.ppf(np.clip(share, 1e-12, 1.0))
    places = 0.5 * (q + 1.0 - law.ppf(np.clip(1.0 - share, 1e-12, 1.0)))
    places = np.maximum.accumulate(0.5 * (places + 1.0 - places[::-1]))
    return spread_law(places, np.full(PANELS, 1.0 / PANELS), narrow=1e-9)


def nearest(shape: RewardLaw, wanted: RewardLaw) -> Candidate:
    """Return the nearest law found that a concave utility has; a local answer.

    `shape` is the wanted law or its outline, which is quicker to work on.

    Tried are the families with closed forms at their best parameters, smooth mixtures fitted to
    the symmetrised law, and these again for laws between it and the best one so far.
    """
    best = _closed_forms(shape, wanted)
    even = symmetrised(shape)
    least = asymmetry(shape)
    if best is not None and best.distance <= 1.02 * least + CLOSE_DISTANCE:
        return best  # no symmetric law is nearer
    dictionaries = stages(even)[:2]
    for terms in dictionaries:
        best = nearer(best, smooth_fit(even, wanted, terms))
    assert best is not None
    anchor = best.law
    for share in (0.25, 0.5, 0.75):
        between = _blend(even, RewardLaw(anchor.atoms, anchor.parts), share)
        best = nearer(best, smooth_fit(between, wanted, dictionaries[-1]))
    assert best is not None
    return best


def _closed_forms(shape: RewardLaw, wanted: RewardLaw) -> Candidate | None:
    from scipy.optimize import minimize_scalar

    def of_beta(a: float) -> float:
        return beta_law(a).distance(shape)

    def of_mass(mass: float) -> float:
        rest = BetaDensity(1.0, 1.0, mass=1.0 - 2.0 * mass)
        return RewardLaw([[0.0, mass], [1.0, mass]], (rest,)).distance(shape)

    tries: list[Utility] = [Linear(), NegativePower(1.0)]
    options = {"xatol": 1e-4, "maxiter": 40}
    a: Any = minimize_scalar(of_beta, bounds=(0.01, 1.0), method="bounded", options=options)
    mass: Any = minimize_scalar(of_mass, bounds=(1e-4, 0.499), method="bounded", options=options)
    exponential = Exponential(_short(1.0 / mass.x - 2.0))
    steps = range(2, MOST_LEVELS + 1)
    equal = [
        discrete_law(np.linspace(0, 1, k + 1), np.full(k + 1, 1 / (k + 1))).distance(shape)
        for k in steps
    ]
    tries += [exponential, graded_utility(steps[int(np.argmin(equal))])]
    # A law without atoms can carry a link, so it comes first and is kept where it does as well.
    best = forward(beta_utility(_short(a.x)), wanted)
    for utility in tries:
        other = forward(utility, wanted)
        if best is None or (other is not None and other.distance < best.distance - CLOSE_DISTANCE):
            best = other
    return best


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _blend(first: RewardLaw, second: RewardLaw, share: float) -> RewardLaw:
    """Return the mixture (1 - share) first + share second, densities in panels of equal mass."""
    atoms = np.vstack([first.atoms * [1.0, 1.0 - share], second.atoms * [1.0, share]])
    u = np.linspace(0.0, 1.0, PANELS + 1)
    u = np.unique(np.concatenate([u, u[1] * np.geomspace(1e-4, 0.5, 8)]))
    parts = []
    for law, weight in ((first, 1.0 - share), (second, share)):
        for part in law.parts:
            edges = part.ppf(u * part.mass)
            kept = np.append(True, np.diff(edges) > 1e-12)
            shares = u[kept]
            shares[-1] = 1.0
            parts.append(uniform_panels(edges[kept], weight * part.mass * np.diff(shares)))
    return RewardLaw(atoms, tuple(parts))
