"""Proofs that no concave utility has a given law: a direction that helps under every hinge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collapse_theory.design.hinges import Area, hinge_gains, law_nodes
from collapse_theory.design.program import balance
from collapse_theory.laws import RewardLaw, discrete_law
from collapse_theory.numerics.checks import answer
from collapse_theory.values import Value

# Bounds below this are taken for rounding; the gains of a law that is out of reach are far above.
LEAST_GAIN = 1e-5
MAX_ROUNDS = 6
# Mirror images nearer than this (Wasserstein-1) may be the law itself, up to its own rounding.
ASYMMETRIC = 1e-6
# From here down the bound is that of `_near_zero`. With a density K is of the order m^2, which the
# second difference of A gives to 1e-8 at 1e-4.
SMALLEST_ATOMS, SMALLEST_DENSITY = 1e-7, 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class Proof(Value):
    r"""A direction in which moving mass helps under every concave utility.

    With K(m) = E (m - |X - X'|)_+ for two independent rewards of `target`, and K_d(m) the same for
    one reward of `target` and one of `direction`, the gain under the hinge min(x, m) is

        gain(m) = 1 - K_d(m) / K(m).

    Moving a small share s of the mass to `direction` raises the mean utility of a pair under the
    hinge by 2 s gain(m) K(m), to first order. If gain(m) > 0 for every m in (0, 1] it does so under
    every mixture of hinges: no concave utility with finite energy has `target` as its law.

    Attributes
    ----------
    target : RewardLaw
        The law that is out of reach, on [0, 1].
    direction : RewardLaw
        Where mass is moved to.
    margin : float
        A lower bound of the gain over all real m in (0, 1]. Positive for a direction of the linear
        program; 0 for a mirror image, whose gain is positive at every m but may tend to 0 with m.
    kind : {"program", "mirror"}
        "program": the dual solution of the linear program, checked for all m. "mirror": the
        law is not symmetric and `direction` is its mirror image. As (m - |x|)_+ is a positive
        definite kernel, strictly so for measures on [0, 1], 2 (K - K_d) is the squared norm of
        target - direction and positive; no computation is needed.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> proof = ct.design("levels 0.25 0.5 0.25").proof
    >>> proof.margin > 0.1, bool(proof.gain([0.01, 0.5, 1.0]).min() >= proof.margin)
    (True, True)
    """

    target: RewardLaw
    direction: RewardLaw
    margin: float
    kind: str = "program"

    def gain(self, m: Any) -> Any:
        """Return 1 - K_d(m) / K(m) for margins `m` in (0, 1]."""
        m = np.asarray(m, dtype=np.float64)
        toward, own, _ = _pair(self.target, self.direction, m.ravel())
        return answer((1.0 - toward / own).reshape(m.shape))

    def __repr__(self) -> str:
        if self.kind == "mirror":
            return "Proof(the law isn't symmetric: its mirror image gains under every hinge)"
        count = len(self.direction.atoms)
        points = "1 point" if count == 1 else f"{count} points"
        return f"Proof(mass moved to {points} gains {self.margin:.3g} or more, every hinge)"


def find_proof(law: RewardLaw) -> Proof | None:
    """Return a proof that no concave utility has this law, or None where none was found.

    The dual of the linear program gives a direction that helps under the hinges of its grid; where
    it fails under others, these join the grid. A law that isn't symmetric has its mirror image.
    """
    return _by_program(law) or by_mirror(law)


def by_mirror(law: RewardLaw) -> Proof | None:
    """Return the proof by the mirror image, for a law that isn't symmetric."""
    mirrored = mirror(law)
    return Proof(law, mirrored, 0.0, "mirror") if law.distance(mirrored) > ASYMMETRIC else None


def mirror(law: RewardLaw) -> RewardLaw:
    """Return the law of 1 - X."""
    parts = (part.mirrored().mapped(1.0 - part.low - part.high, 1.0) for part in law.parts)
    atoms = law.atoms * np.array([-1.0, 1.0]) + np.array([1.0, 0.0])
    return RewardLaw(atoms, tuple(parts))


def _by_program(law: RewardLaw) -> Proof | None:
    places = proof_grid(law)
    small = SMALLEST_DENSITY if law.parts else SMALLEST_ATOMS
    margins = np.concatenate([np.geomspace(small, 0.02, 24), np.linspace(0.02, 1.0, 60)[1:]])
    atoms = law.atoms[:, 0]
    if len(atoms) <= 40:
        apart = np.abs(atoms[:, None] - atoms).ravel()
        margins = np.unique(np.concatenate([margins, apart[apart > small]]))
    # The gain for m -> 0, where atoms alone count.
    start = _meetings(law, places, small)[:, None] if len(law.atoms) else np.empty((len(places), 0))
    for _ in range(MAX_ROUNDS):
        gains, _ = hinge_gains(law, places, margins)
        found = balance(np.hstack([gains, 1.0 - start]))
        if found.excess < LEAST_GAIN:
            return None
        kept = found.direction > 1e-6
        masses = found.direction[kept] / found.direction[kept].sum()
        direction = discrete_law(places[kept], masses)
        margin, worst = _least_gain(law, direction, small)
        if margin > LEAST_GAIN:
            return Proof(law, direction, margin)
        known = np.abs(np.log(margins[:, None] / worst)).min(axis=0) < 1e-3
        if known.all():
            return None
        margins = np.append(margins, worst[~known])
    return None


def proof_grid(law: RewardLaw) -> np.ndarray:
    """Return the points mass may be moved to: closer at the ends, and around the law's atoms."""
    half = np.concatenate([[0.0], np.geomspace(1e-4, 0.02, 8), np.linspace(0.02, 0.5, 60)[1:]])
    atoms = law.atoms[:, 0] if len(law.atoms) <= 40 else np.empty(0)
    beside = (atoms[:, None] + np.array([-1e-3, 0.0, 1e-3])).ravel()
    between = 0.5 * (atoms[1:] + atoms[:-1])
    whole = np.concatenate([half, 1.0 - half, beside, 1.0 - beside, between])
    whole = np.sort(whole[(whole >= 0.0) & (whole <= 1.0)])
    return whole[np.append(True, np.diff(whole) > 1e-9)]


def _pair(
    law: RewardLaw, direction: RewardLaw, m: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return K_d(m), K(m), and what a coarser rule changes of K(m)."""
    area = Area.of(law)

    def mean(of: RewardLaw, fine: bool) -> np.ndarray:
        nodes, weights = law_nodes(of, fine)
        return weights @ area.closeness(nodes, m)

    own = mean(law, True)
    error = np.abs(own - mean(law, False)) if law.parts else np.zeros_like(own)
    return mean(direction, True), own, error


def _least_gain(law: RewardLaw, direction: RewardLaw, small: float) -> tuple[float, np.ndarray]:
    """Return a lower bound of the gain over all m in (0, 1], and the margins where it is least.

    K and K_d are convex in m. Between two margins K_d is below its chord, and K above the chords of
    the intervals on either side, prolonged; so the gain is bounded for all m between them. Below
    the smallest margin see `_near_zero`.
    """
    m = _margins(law, direction, small)
    toward, own, error = _pair(law, direction, m)
    # What is off in second differences of A, which is below 1, by rounding too.
    off = 2e-15 + 4.0 * Area.of(law).error
    low, top, high = own - error - off, own + error + off, toward + off
    bounds = _between(m, low, top, high)
    start = _near_zero(law, direction, small)
    margin = min(start, float(bounds.min()))
    order = np.argsort(bounds)[:3]
    worst = np.unique(np.append(m[order], m[order + 1]))
    return margin, worst if bounds.min() < start else np.array([0.5, 1.0, 2.0]) * small


def _near_zero(law: RewardLaw, direction: RewardLaw, small: float) -> float:
    """Return a lower bound of the gain for all m in (0, small].

    With p_a the masses of the law's atoms and rho its density, of mass K_c(m) among itself,

        K(m) >= m sum p_a^2 + K_c(m),    K_d(m) <= m P + m^2 R,

    P the mean of the atoms within `small` of the direction's points, and R that of the highest rho
    there. K_c(m) is the integral of mu_c([z, z+m])^2 over z, and (sum_1^N a_j)^2 <= N sum a_j^2, so
    K_c(m)/m^2 >= K_c(N m)/(N m)^2: one of the N m lies in [small, 2 small]. A ratio of sums is at
    most the larger of the ratios.
    """
    points, masses = direction.atoms.T
    ratios = [0.0]
    if len(law.atoms):
        ratios.append(float(masses @ _meetings(law, points, small)))
    if law.parts:
        tops = [sum(part.bound(x - small, x + small) for part in law.parts) for x in points]
        grid = small * np.linspace(1.0, 2.0, 33)
        own = _among_parts(law, grid)
        least = float((own[:-1] / grid[1:] ** 2).min())
        ratios.append(float(masses @ np.array(tops)) / least if least > 0 else np.inf)
    return 1.0 - max(ratios)


def _meetings(law: RewardLaw, points: np.ndarray, small: float) -> np.ndarray:
    """Return the atoms' mass within `small` of each point, over sum p_a^2; at most 1e12."""
    places, weights = law.atoms.T
    near = np.abs(points[:, None] - places) <= small
    share = weights / weights.max()
    ratio = (near @ share) / float((share**2).sum())
    return ratio / max(float(weights.max()), 1e-12)


def _among_parts(law: RewardLaw, m: np.ndarray) -> np.ndarray:
    """Return a lower bound of K_c(m), of the continuous parts among themselves."""
    none = np.zeros(0)
    area = replace(Area.of(law), atoms=(none, np.zeros(1), np.zeros(1)))
    mass = area.end[1]
    found = []
    for fine in (True, False):
        nodes, weights = law_nodes(law, fine)
        own = slice(len(law.atoms), None)
        found.append(weights[own] @ area.closeness(nodes[own], m))
    return found[0] - np.abs(found[0] - found[1]) - 4.0 * (1e-15 + area.error) * mass


def _margins(law: RewardLaw, direction: RewardLaw, small: float) -> np.ndarray:
    """Return margins from `small` to 1, those at which K or K_d have a kink among them."""
    grid = [np.geomspace(small, 0.05, 160), np.linspace(0.05, 1.0, 300)]
    atoms, points = law.atoms[:, 0], direction.atoms[:, 0]
    if len(atoms) <= 60:
        grid.append(np.abs(atoms[:, None] - atoms).ravel())
        grid.append(np.abs(atoms[:, None] - points).ravel())
    m = np.unique(np.concatenate(grid))
    m = m[(m >= small) & (m <= 1.0)]
    return m[np.append(True, np.diff(m) > 1e-9 * m[1:])]


def _between(m: np.ndarray, low: np.ndarray, top: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return lower bounds of the gain on each interval of margins.

    At the margins K lies between `low` and `top`, and K_d below `high`. K is convex and 0 at 0.
    """
    width = np.diff(m)
    # The least slope before an interval, and the largest after it.
    before = np.concatenate([[low[0] / m[0]], (low[1:-1] - top[:-2]) / width[:-1]])
    after = np.append((top[2:] - low[1:-1]) / width[1:], np.inf)
    # Where the two prolonged chords meet; past either end the other one holds.
    with np.errstate(invalid="ignore", divide="ignore"):
        meet = (low[1:] - low[:-1] - after * width) / (before - after)
    meet = np.where(np.isfinite(meet), np.clip(meet, 0.0, width), width)
    meet[-1] = width[-1]
    bottom = low[:-1] + before * meet
    chord = high[:-1] + (high[1:] - high[:-1]) * meet / width
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = 1.0 - np.array([high[:-1] / low[:-1], high[1:] / low[1:], chord / bottom])
    return np.where(np.isnan(gains), -np.inf, gains).min(axis=0)
