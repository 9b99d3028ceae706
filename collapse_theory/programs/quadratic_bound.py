"""The bound of rewards' errors by a quadratic form, in the differences along a tree of the nodes.

A program gives the form's weights, the forces that are left and how sure they are; see
`collapse_theory.programs.reward_error` for why it bounds the error. Of the graph of these weights
the tree of the heaviest is taken.
In the differences along it the form's entries are sums of weights of one sign, and scaled to a
diagonal of 1 its eigenvalues are at least 1 over the number of edges, as no edge is heavier than
those of the tree between its ends: whatever the weights, none of their digits is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.numerics.linear import Tree, half_solver
from collapse_theory.programs.graph import Graph
from collapse_theory.programs.program import EPS

MOST_REACHES = 30  # in which the reach may be widened; two or three are usual
# Of the largest reward: the least reach of what multipliers close, tried in turn. A short one makes
# Q stiff, a long one leaves gaps far below it without a hold.
LEAST_REACH = (1e-12, 1e-60)


@dataclass(frozen=True)
class QuadraticBound:
    """A program at its answer, as the bound sees it.

    size : the largest reward
    box : whether node 0 is the box, which stays
    a, b : (edges,) the better and the worse node of each pair
    bend : what -w U'' isn't below where gaps change by up to a reach (edges,)
    sharp : (edges,) what the objective loses for each unit that the gap changes, whichever way it
        can: a closed gap's multiplier, the distance of a slope at a kink from those beside it
    unsure : (edges,) how far rounding may put w U'
    forces : (nodes,) what is left of the gradient
    squares : (nodes, nodes) the quadratic form of the penalties, no entry below 0
    loose : (nodes,) how far rounding may put a force, for what isn't in `unsure`
    slack : by how much the answer is off the kinks whose slopes it has
    moved : how far the rewards were moved, to close gaps that are rounding
    rigid : a bound that needs no curvature, where all gaps stay at kinks
    parts : the graph, where nothing but convention says where its parts lie: their means are 0
    """

    size: float
    box: bool
    a: np.ndarray
    b: np.ndarray
    bend: Callable[[np.ndarray], np.ndarray]
    sharp: np.ndarray
    unsure: np.ndarray
    forces: np.ndarray
    squares: np.ndarray
    loose: np.ndarray
    slack: float = 0.0
    moved: float = 0.0
    rigid: float = math.inf
    parts: Graph | None = None

    def bound(self) -> float:
        """Return the largest distance of a reward from its optimal value."""
        return next((e for e in map(self._bound, LEAST_REACH) if e < math.inf), self.rigid)

    def _bound(self, narrowest: float) -> float:
        least = np.where(self.sharp > 0, narrowest * self.size, 0.0)
        reach = least
        for _ in range(MOST_REACHES):
            found = self._within(reach)
            if found is None:
                break
            length, spread, across = found
            if np.all(length * across <= reach):
                return min(length * float(spread.max()) + self.moved, self.rigid)
            # Of what is sharp alone, changes are length sqrt(reach / sharp).
            alone = np.where(self.sharp > 0, length / self.sharp, np.inf)
            reach = np.maximum(2 * length * np.minimum(alone, across), least) + 1e-300
        return math.inf

    def _within(self, reach: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
        """Return how long v can be in Q if no gap is off by more than `reach`.

        With it how far a v of length 1 goes in each reward, and in the gap of each edge.
        """
        weight = self.bend(reach)
        stiff = np.where(self.sharp > 0, self.sharp / np.where(reach > 0, reach, 1.0), 0.0)
        both = weight + stiff
        table = np.zeros_like(self.squares)
        np.add.at(table, (self.a, self.b), both)
        table += table.T
        np.fill_diagonal(table, 0.0)
        if not np.isfinite(table.sum()):
            return None
        tree = Tree.heaviest(table)
        form = tree.form(table)
        if self.squares.any():
            form += tree.under(tree.under(self.squares).T)
        below, along = tree.below, tree.under(self.forces)
        if self.box:
            below, form, along = below[:, 1:], form[1:, 1:], along[1:]
        if self.parts is not None:
            below = np.apply_along_axis(self.parts.centred, 0, below)
        # The shift of the diagonal covers what rounding does to the form and its factors.
        form = np.ascontiguousarray(form)
        form.ravel()[:: len(form) + 1] *= 1 - 8 * len(form) * EPS
        half = half_solver(form) if np.all(form.diagonal() > 0) else None
        if half is None:
            return None
        spread = np.sqrt((half(below.T) ** 2).sum(axis=0))
        with np.errstate(divide="ignore"):
            across = np.minimum(spread[self.a] + spread[self.b], 1 / np.sqrt(both))
        # Independent pairs by Cauchy's inequality where that is less than their sum.
        alone = weight * len(weight) * across**2 > 1
        push = math.sqrt(float(np.sum(self.unsure[alone] ** 2 / weight[alone])))
        push += float(self.unsure[~alone] @ across[~alone]) + float(self.loose @ spread)
        push += float(np.linalg.norm(half(along[:, None])))
        # Q(v) <= push sqrt(Q(v)) + slack.
        length = 1.01 * (push + math.hypot(push, 2 * math.sqrt(self.slack))) / 2
        return (length, spread, across) if length < math.inf else None
