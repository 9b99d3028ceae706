"""The inverse problem for n rewards: the same programs, and proofs by checking finitely many m."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.design.families import PLAIN, without_atoms
from collapse_theory.design.link import Link
from collapse_theory.design.mixture import STAGES, Term, mixture, term_utility
from collapse_theory.design.program import balance, sparse_mixture
from collapse_theory.design.search import Candidate, Search, Wanted
from collapse_theory.design.slope import Bound, cone
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.numerics.checks import answer
from collapse_theory.utilities import Utility
from collapse_theory.values import Array, Value

SAME_GAP = 1e-9  # gaps nearer than this are one
LEAST_GAIN = 1e-7
MOST_REWARDS = 32  # up to which the linear program of a proof is solved
# Rates of the terms with margins at the wanted gaps, in units of one over the smallest gap.
SHARPNESS = (2.0, 6.0, 20.0)
SHARPEST = 400.0
MOST_MARGINS = 80  # at the wanted gaps, evenly picked where there are more
ASYMMETRIC = 1e-6


@dataclass(frozen=True, eq=False, repr=False)
class RankedProof(Value):
    """Other rewards that are better to first order under every hinge.

    With d_ij the change of the gap of pair i < j, from `rewards` to `better`, the mean utility of a
    pair under min(x, m) changes at the rate

        D(m) = mean of (d_ij where the gap is below m, min(d_ij, 0) where it is m, else 0),

    and gain(m) = D(m) / (m - mean min(gap, m)). If D(m) >= 0 for all m in (0, 1], and D(1) > 0, no
    concave utility that increases up to the gap 1 has `rewards` as its optimum.

    Attributes
    ----------
    rewards, better : (n,) arrays
        Best first, in [0, 1].
    margin : float
        The least gain over all m above the smallest gap. D takes finitely many values, so this is
        exact up to rounding. Positive for kind "program", 0 for "mirror".
    kind : {"program", "mirror"}
        "program": found by a linear program. "mirror": the rewards aren't symmetric, as
        r_i + r_(n+1-i) isn't 1. Their mirror image has the same gaps, so `better`, half way
        between, is strictly better under every strictly concave utility; no computation is needed.
    """

    rewards: Array
    better: Array
    margin: float
    kind: str = "program"

    def gain(self, m: Any) -> Any:
        """Return D(m) / (m - mean min(gap, m)) for margins above the smallest gap, else 0."""
        m = np.asarray(m, dtype=np.float64)
        gaps, change = _pairs(self.rewards), _pairs(self.better) - _pairs(self.rewards)
        flat = m.reshape(-1, 1)
        below, at = gaps < flat - SAME_GAP, np.abs(gaps - flat) <= SAME_GAP
        rate = (below * change + at * np.minimum(change, 0.0)).mean(axis=1)
        short = np.maximum(flat - gaps, 0.0).mean(axis=1)
        found = np.where(short > SAME_GAP, rate / np.maximum(short, SAME_GAP), 0.0)
        return answer(found.reshape(m.shape))

    def __repr__(self) -> str:
        if self.kind == "mirror":
            return "RankedProof(not symmetric: half way to the mirror image is strictly better)"
        return f"RankedProof(other rewards gain {self.margin:.3g} or more, every hinge)"


def find_ranked_proof(rewards: np.ndarray) -> RankedProof | None:
    """Return a proof that no concave utility has these rewards as its optimum, or None."""
    if len(rewards) <= MOST_REWARDS and (found := _by_program(rewards)):
        return found
    mirrored = 1.0 - rewards[::-1]
    if np.abs(mirrored - rewards).max() <= ASYMMETRIC:
        return None
    return RankedProof(rewards, 0.5 * (rewards + mirrored), 0.0, "mirror")


def _by_program(rewards: np.ndarray) -> RankedProof | None:
    """Return rewards that are better under every hinge, by a linear program, or None.

    Maximised is the least gain over the margins that count, the different gaps but the smallest:
    below one, down to the next, the same pairs count, none loses, and the shortfall is smaller.
    """
    from scipy.optimize import linprog

    n = len(rewards)
    gaps = _pairs(rewards)
    rising = np.sort(gaps)
    levels = rising[1:][np.diff(rising) > SAME_GAP, None]
    if not levels.size:
        return None
    steps = np.vstack([np.ones(n), (np.arange(n) < np.arange(n)[:, None]).astype(float)])
    changes = np.array([_pairs(step) for step in steps]).T  # (pairs, steps)
    size, count = changes.shape
    # Unknown: masses on the step vectors, the least gain t, and e_ij <= min(d_ij, 0) a pair. For
    # each margin t times the shortfall is at most the sum of d_ij below and of e_ij at it.
    below = (gaps < levels - SAME_GAP).astype(float)
    at = (np.abs(gaps - levels) <= SAME_GAP).astype(float)
    short = np.maximum(levels - gaps, 0.0).sum(axis=1, keepdims=True)
    least = np.hstack([-below @ changes, short, -at]) / short
    own = np.hstack([-changes, np.zeros((size, 1)), np.eye(size)])
    found = linprog(
        np.concatenate([np.zeros(count), [-1.0], np.zeros(size)]),
        A_ub=np.vstack([least, own]),
        b_ub=np.concatenate([-below @ gaps / short[:, 0], -gaps]),
        A_eq=np.concatenate([np.ones(count), np.zeros(1 + size)])[None, :],
        b_eq=[1.0],
        bounds=[(0.0, None)] * count + [(None, None)] + [(None, 0.0)] * size,
        method="highs",
    )
    if found.x is None or found.x[count] < LEAST_GAIN:
        return None
    masses = np.maximum(found.x[:count], 0.0)
    better = steps.T @ (masses / masses.sum())
    margin = float(RankedProof(rewards, better, 0.0).gain(levels).min())
    return RankedProof(rewards, better, margin) if margin > LEAST_GAIN else None


def _pairs(rewards: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(len(rewards), 1)
    return rewards[i] - rewards[j]


@dataclass(frozen=True)
class WantedRewards(Wanted):
    """Rewards of n completions that are wanted; nearness is the mean distance to them."""

    rewards: np.ndarray

    @property
    def graded(self) -> bool:
        # Under min(x, 1/k) the optimum is one of several unless k + 1 divides n.
        return False

    @property
    def points(self) -> np.ndarray:
        return self.rewards[::-1]

    def forward(self, utility: Utility, most: float = np.inf) -> Candidate | None:
        try:
            solution = solve(utility, len(self.rewards))
        except (CollapseError, SolverFailed):
            return None
        distance = float(np.abs(solution.rewards - self.rewards).mean())
        return Candidate(utility, solution.law, distance, solution)

    def quick(self, bound: Bound) -> Iterator[Iterable[Utility]]:
        yield PLAIN
        if self.target.size:
            yield self.known(bound)
        for terms in self.dictionaries():
            yield self.fits(terms, bound)
        yield self.known(bound)

    def thorough(self, bound: Bound, search: Search, proved: bool) -> Iterator[Iterable[Utility]]:
        """Yield nothing: for n rewards the quick ones are all."""
        yield from ()

    def dictionaries(self) -> Iterator[tuple[Term, ...]]:
        """Yield the terms to try, plain ones first, then with margins at the wanted gaps."""
        yield from STAGES[:2]
        gaps = np.unique(_pairs(self.rewards).round(9))
        gaps = gaps[gaps > 1e-6]
        step = float(np.diff(np.append(0.0, gaps)).clip(2e-3).min())
        margins = gaps[gaps < 1.0 - 1e-9]
        if len(margins) > MOST_MARGINS:
            margins = margins[np.linspace(0, len(margins) - 1, MOST_MARGINS).astype(int)]
        for sharp in SHARPNESS:
            rate = float(f"{min(sharp / step, SHARPEST):.3g}")
            yield (*STAGES[1], *((m, rate) for m in margins.tolist()))

    def fits(self, terms: tuple[Term, ...], bound: Bound) -> Iterator[Utility]:
        """Yield mixtures that balance the forces over the wanted gaps, in squares and at most."""
        n, gaps = len(self.rewards), -np.diff(self.rewards)
        utilities = tuple(map(term_utility, terms))
        x, made = _pairs(self.rewards), cone(utilities, bound)
        slopes = np.array([np.broadcast_to(u.d1(x), x.shape) for u in utilities]).T
        shortfall = np.array([float(np.mean(u.shortfall(x, 1.0))) for u in utilities]) @ made
        useful = shortfall > 1e-12
        force = _forces(slopes, n) @ made
        gains = (force - gaps @ force)[:, useful] / shortfall[useful]
        open_gaps = gaps > SAME_GAP
        found = [sparse_mixture(gains[open_gaps])]
        if not open_gaps.all():
            found.append(balance(gains).weights)
        for weights in found:
            if weights.any():
                yield mixture(terms, made[:, useful] @ (weights / shortfall[useful]))

    def proof(self) -> RankedProof | None:
        return find_ranked_proof(self.rewards)

    def link(self, found: Candidate, bound: Bound) -> Link:
        # The link needs rewards that all differ, as those of log x do.
        if found.solution is None or (found.solution.gaps < 1e-6).any():
            base = self.forward(without_atoms(bound))
            assert base is not None
            found = base
        assert found.solution is not None
        return Link.of_rewards(found.utility, found.solution.rewards, self.rewards, self.target)


def _forces(slopes: np.ndarray, n: int) -> np.ndarray:
    """Return the mean over pairs of the slopes that straddle each gap k, for (pairs, columns)."""
    i, j = np.triu_indices(n, 1)
    marks = np.zeros((n, slopes.shape[1]))
    np.add.at(marks, i, slopes)
    np.subtract.at(marks, j, slopes)
    return np.cumsum(marks, axis=0)[:-1] / len(i)
