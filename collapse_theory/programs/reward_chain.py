"""The bound of rewards' errors by a quadratic form, in the gaps between neighbours of a chain.

A program gives the form's weights, the forces that are left and how sure they are; see
`collapse_theory.programs.reward_error` for why it bounds the error. Unknown are the gaps between
neighbours in the order of the rewards, in which the form Q keeps its digits however small some gaps
are: its entries are sums of positive terms over the pairs that straddle both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.linear import cholesky
from collapse_theory.programs.program import EPS

MOST_REACHES = 30  # in which the reach may be widened; two or three are usual
# Of the largest reward: the least reach of what multipliers close, tried in turn. A short one makes
# Q stiff, a long one leaves gaps far below it without a hold.
LEAST_REACH = (1e-12, 1e-60)


@dataclass(frozen=True)
class Edges:
    """Pairs of a chain of rewards, best first, as the bound sees them.

    Attributes
    ----------
    above, below : numpy.ndarray of int
        The places of both in the chain; in the box its ends are the first and the last place.
    bend : callable
        What -w U'' isn't below where gaps change by up to `reach`.
    sharp : numpy.ndarray
        What the objective loses for each unit that the gap changes, whichever way it can: the
        multiplier of a closed gap, the distance of a slope at a kink from the slopes beside it.
    unsure : numpy.ndarray
        How far rounding may put w U'.
    """

    above: np.ndarray
    below: np.ndarray
    bend: Callable[[np.ndarray], np.ndarray]
    sharp: np.ndarray
    unsure: np.ndarray


@dataclass(frozen=True)
class Chain:
    """A program at its answer, in the gaps between neighbours of a chain of `size` rewards.

    Attributes
    ----------
    extent : float
        How far apart the first and the last reward are.
    box : bool
        Whether both ends stay where they are.
    edges : Edges
    forces : numpy.ndarray, shape (size,)
        What is left of the gradient at each place.
    squares : numpy.ndarray, shape (size, size) or (size,)
        The quadratic form of the penalties on the rewards, or its diagonal.
    loose : numpy.ndarray, shape (size,)
        How far rounding may put a force, for what isn't in `unsure`.
    slack : float
        By how much the answer is off the kinks whose slopes it has.
    moved : float
        How far the rewards were moved, to close gaps that are rounding.
    rigid : float
        A bound that needs no curvature, where all gaps stay at kinks.
    """

    size: int
    extent: float
    box: bool
    edges: Edges
    forces: np.ndarray
    squares: np.ndarray
    loose: np.ndarray
    slack: float = 0.0
    moved: float = 0.0
    rigid: float = math.inf

    def bound(self) -> float:
        """Return the largest distance of a reward from its optimal value."""
        return next(
            (found for found in map(self._bound, LEAST_REACH) if found < math.inf), math.inf
        )

    def _bound(self, narrowest: float) -> float:
        sharp = self.edges.sharp
        least = np.where(sharp > 0, narrowest * self.extent, 0.0)
        reach = least
        for _ in range(MOST_REACHES):
            found = self._within(reach)
            if found is None:
                break
            length, spread, across = found
            if np.all(length * across <= reach):
                return length * float(spread.max()) + self.moved
            # Of what is sharp alone, changes are length sqrt(reach / sharp).
            alone = np.where(sharp > 0, length / sharp, np.inf)
            reach = np.maximum(2 * length * np.minimum(alone, across), least) + 1e-300
        return math.inf

    def _within(self, reach: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
        """Return how long v can be in Q if no gap is off by more than `reach`.

        With it how far a v of length 1 goes in each reward, and in the gap of each edge.
        """
        edges = self.edges
        weight = edges.bend(reach)
        stiff = np.where(edges.sharp > 0, edges.sharp / np.where(reach > 0, reach, 1.0), 0.0)
        both = weight + stiff
        inverse = self._inverse(both)
        if inverse is None:
            return None
        found = inverse[::-1].cumsum(axis=0)[::-1][:, ::-1].cumsum(axis=1)[:, ::-1].diagonal()
        # Rewards are sums of gaps, and their variances of entries of both signs.
        spread = np.sqrt(np.maximum(found, 0.0) + 8 * EPS * self.size * float(np.abs(found).max()))
        across = spread[edges.above] + spread[edges.below]
        with np.errstate(divide="ignore"):
            across = np.minimum(across, 1 / np.sqrt(both))
        # Independent pairs by Cauchy's inequality where that is less than their sum.
        alone = weight * len(weight) * across**2 > 1
        push = math.sqrt(float(np.sum(edges.unsure[alone] ** 2 / weight[alone])))
        push += float(edges.unsure[~alone] @ across[~alone]) + float(self.loose @ spread)
        along = self.forces.cumsum()
        if self.box:
            along = along - along[:-1].mean()  # gaps sum to 1
        push += math.sqrt(max(float(along @ inverse @ along), 0.0))
        # Q(v) <= push sqrt(Q(v)) + slack.
        length = 1.01 * (push + math.hypot(push, 2 * math.sqrt(self.slack))) / 2
        return (length, spread, across) if length < math.inf else None

    def _inverse(self, weight: np.ndarray) -> np.ndarray | None:
        """Return the inverse of Q in the gaps, and in the place of the last where no box holds it.

        In the box gaps sum to 1: the gap that Q holds least is less the sum of the others.
        """
        size = self.size
        table = np.zeros((size, size))
        np.add.at(table, (self.edges.above, self.edges.below), weight)
        # Pairs (i, j) with i <= k and j > l, for gaps k <= l.
        beyond = table[:, ::-1].cumsum(axis=1)[:, ::-1].cumsum(axis=0)
        upper = np.triu(beyond[:-1, 1:])
        form = np.zeros((size, size))
        form[:-1, :-1] = upper + np.triu(upper, 1).T
        form += _by_gaps(np.diag(self.squares) if self.squares.ndim == 1 else self.squares)
        basis, keep, sizes = np.eye(size), np.arange(size), form.diagonal()
        if self.box:
            least = int(np.argmin(sizes[:-1]))
            keep = np.delete(keep, [least, size - 1])
            basis = basis[:, keep]
            basis[least] = -1.0
            cross, sizes = form[keep, least], sizes[keep] + sizes[least]
            form = form[np.ix_(keep, keep)] - cross[:, None] - cross + form[least, least]
        # The shift of the diagonal covers what rounding does to the form and its factors.
        form = form - np.diag(8 * size * EPS * sizes)
        solve = cholesky(form) if np.all(form.diagonal() > 0) else None
        return None if solve is None else basis @ solve(np.eye(len(keep))) @ basis.T


def _by_gaps(squares: np.ndarray) -> np.ndarray:
    """Return a form in rewards as one in the gaps and the last place: r_i = last + gaps from i."""
    return squares.cumsum(axis=0).cumsum(axis=1)
