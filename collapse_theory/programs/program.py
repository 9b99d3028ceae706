"""The concave program of one prompt, whatever is compared and whatever holds the rewards.

    maximise    sum_e w_e U(r_a - r_b - m_e) - kappa mean r_i**2 - c sum_e w_e (r_a + r_b)**2
    subject to  r_a >= r_b on each edge e = (a, b), and 0 <= r <= 1 in the box;  sum_e w_e = 1.

Of an Anchored domain the first penalty is kappa mean (r_i - center_i)**2, and no order is kept.

A box of another width is the unit box of a scaled utility. Of a full ranking the gaps d_k =
r_k - r_{k+1} between neighbours are the better unknowns: every pair's gap is a sum of them, and the
derivative G_k of the objective by d_k is a sum of U' over the pairs that straddle k. All terms are
positive, so both keep full relative accuracy however small a gap is (docs/theory.md#in-the-gaps).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from collapse_theory.errors import CollapseError, InvalidUtility, NoOptimum
from collapse_theory.numerics.checks import count, ranked
from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.domain import Box, Domain, as_domain
from collapse_theory.programs.graph import Graph
from collapse_theory.programs.plackett_luce import ListwiseProgram, program_text
from collapse_theory.programs.smooth_gaps import SmoothGaps
from collapse_theory.utilities import (
    Continued,
    Loss,
    PlackettLuce,
    Utility,
    continued,
    require_concave,
    require_increasing,
)
from collapse_theory.values import shown_by_repr

EPS = float(np.finfo(np.float64).eps)
MOST_SMOOTH = 10**10  # completions: beyond, rounding takes the digits of the certificate
MOST_KINKED = 1000  # completions: a graph of half a million pairs, and some ten seconds
WIDEST_CHECKED = 1000.0  # the gap up to which concavity is looked at without a box before a solve


@dataclass(frozen=True)
class Answer:
    """What a solver found: the gaps of a full ranking, or the rewards of a graph's nodes.

    Attributes
    ----------
    gaps : numpy.ndarray, shape (n-1,), optional
        Between neighbours of a full ranking; in the box in units of its width.
    rewards : numpy.ndarray, shape (k,), optional
        Of the graph's nodes, if there are no `gaps`; in the box within [0, 1].
    smooth : SmoothGaps, optional
        The gaps of very many completions in the box, in place of `gaps`.
    multipliers : numpy.ndarray, shape (edges,), optional
        Of r_a >= r_b, in a graph.
    slopes : numpy.ndarray, shape (edges,), optional
        U' of the pairs; at a kink, a slope between those on its sides.
    edge_gaps : numpy.ndarray, shape (edges,), optional
        The gaps on a graph's edges, where differences of the rewards have too few digits. Then
        just those rewards are 0 or 1 that are at an end of the box.
    iterations : int
    converged : bool
        False if the solver was stopped by its budget.
    unique : bool or None
        Whether no other rewards are as good; None where that is still to be told.
    reference : str or None
        The source of a closed form.
    """

    gaps: np.ndarray | None = None
    rewards: np.ndarray | None = None
    smooth: SmoothGaps | None = None
    multipliers: np.ndarray | None = None
    slopes: np.ndarray | None = None
    edge_gaps: np.ndarray | None = None
    iterations: int = 0
    converged: bool = True
    unique: bool | None = None
    reference: str | None = None


# -- the full ranking, by its gaps ---------------------------------------------------------


def centred(gaps: np.ndarray) -> np.ndarray:
    """Return the rewards with these `gaps` (..., n-1) and mean 0: of symmetric ones each as its
    distance from the middle.
    """
    n, end = gaps.shape[-1] + 1, np.zeros((*gaps.shape[:-1], 1))
    below = np.concatenate([end, -gaps.cumsum(axis=-1)], axis=-1)
    plain = below - below.mean(axis=-1, keepdims=True)
    symmetric = (gaps == gaps[..., ::-1]).all(axis=-1)
    if not symmetric.any():
        return plain
    half = gaps[..., : n // 2].copy()
    half[..., -1] /= 1 + (n + 1) % 2
    top = half[..., ::-1].cumsum(axis=-1)[..., ::-1]
    mirrored = np.concatenate([top, *([end] * (n % 2)), -top[..., ::-1]], axis=-1)
    return np.where(symmetric[..., None], mirrored, plain)


# -- the programs --------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Program:
    """The program of a utility of gaps: what is maximised over what.

    Attributes
    ----------
    loss, domain, n, comparisons
        As asked for; `comparisons` None for the full ranking, best first.
    kappa, c : float
        The weights of the penalties.
    edges : Graph or None
        None for the full ranking, whose graph is made when it is asked for.
    """

    loss: Utility
    domain: Domain
    n: int
    comparisons: Comparisons | None
    kappa: float
    c: float
    edges: Graph | None

    @staticmethod
    def of(
        loss: Loss,
        n: int | None,
        domain: Domain | None = None,
        pairs: Comparisons | None = None,
    ) -> Program | ListwiseProgram:
        """Return the program of `n` completions, or of the `pairs`, checked.

        Raises
        ------
        CollapseError
            A ValueError: n < 2, no domain, a utility that isn't concave or falls.
        NoOptimum
            Where nothing holds the rewards.
        """
        domain = as_domain(domain)
        if isinstance(loss, PlackettLuce):
            return ListwiseProgram.of(loss, n, domain, pairs)
        n = _completions(n, pairs, domain)
        if pairs is None and not (domain.ordered and not domain.own and smooth(loss)):
            ranked(n)
        elif pairs is None and not domain.bounded:
            count(n)
        if domain.own or not domain.ordered:
            graph = Graph.of(pairs or Comparisons.full(ranked(n, MOST_KINKED)))
            program = Program(loss, domain, n, pairs, domain.squares, 0.0, graph)
            if domain.own and np.any(program.graph.node_of < 0):
                raise CollapseError(f"under {domain} every completion must be in a pair")
        elif pairs is None or pairs.full_order() is not None:
            # The penalty of a full ranking, whose mean is 0, is on squares alone.
            program = Program(loss, domain, n, pairs, domain.penalty(n), 0.0, None)
        else:
            graph = Graph.of(pairs, domain.unit)
            program = Program(loss, domain, n, pairs, domain.squares, domain.sums, graph)
        _check_utility(program)
        if program.full and program.kinked:
            ranked(n, MOST_KINKED)
        return program

    __repr__ = program_text
    _repr_pretty_ = shown_by_repr

    @cached_property
    def utility(self) -> Utility:
        """U of gaps in units of the box's width."""
        unit = self.domain.unit
        if not self.domain.ordered and math.isfinite(self.loss.slope_at_zero):
            return continued(self.loss)
        return self.loss if unit == 1 else self.loss.scaled(unit)

    @property
    def least_gap(self) -> float:
        """The least gap on an edge: 0, or none where no order is kept but by an infinite slope."""
        return -math.inf if isinstance(self.utility, Continued) else 0.0

    @property
    def full(self) -> bool:
        """Whether it is a full ranking, which is solved in its gaps."""
        return self.edges is None

    @property
    def box(self) -> bool:
        """Whether rewards lie in [0, 1]."""
        return self.domain.bounded

    @property
    def kinked(self) -> bool:
        """Whether U' jumps at a gap that the domain allows."""
        return any(kink < (1.0 if self.box else np.inf) for kink in self.utility.kinks)

    @cached_property
    def graph(self) -> Graph:
        """The comparison graph."""
        if self.edges is not None:
            return self.edges
        i, j = np.triu_indices(self.n, 1)
        weights = np.full(len(i), 1.0 / len(i))
        return Graph(np.arange(self.n), np.ones(self.n), i, j, weights, np.zeros(len(i)))

    @cached_property
    def d(self) -> np.ndarray:
        """The weight of each node's square: kappa mean r_i**2 is sum_i d_i r_i**2."""
        return self.kappa / self.n * self.graph.sizes

    @cached_property
    def centers(self) -> np.ndarray | float:
        """Where the penalty on squares pulls each node: to the mean over its completions."""
        anchors = self.domain.anchors
        if anchors is None:
            return 0.0
        used = self.graph.node_of >= 0
        node = self.graph.node_of[used]
        return np.bincount(node, anchors[used], self.graph.k) / self.graph.sizes

    @cached_property
    def within_nodes(self) -> float:
        """What the penalty costs where completions of several centers are held equal."""
        anchors, used = self.domain.anchors, self.graph.node_of >= 0
        if anchors is None or self.graph.k == np.count_nonzero(used):
            return 0.0
        off = anchors[used] - np.asarray(self.centers)[self.graph.node_of[used]]
        return self.kappa / self.n * float(off @ off)

    @property
    def margins(self) -> float:
        """How far the margins of the pairs lie apart."""
        return 0.0 if self.edges is None else float(np.ptp(self.edges.m))

    @property
    def floating(self) -> bool:
        """Whether nothing but convention says where a part lies."""
        return not (self.box or self.c > 0 or self.kappa > 0 or self.domain.own)

    @cached_property
    def shares(self) -> np.ndarray:
        """The share of the completions that each node has."""
        return self.graph.sizes / self.n

    def stiffness(self, r: np.ndarray) -> np.ndarray:
        """Return the second derivatives of the penalties by each node's reward, but for sums."""
        own = self.shares * self.domain.cost_slopes(r)[1] if self.domain.own else 0.0
        return 2 * self.d + own

    def slopes(self, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return w U' and -w U'' on each edge."""
        first, second = self.utility.derivatives(gaps - self.graph.m)
        return self.graph.w * first, -self.graph.w * second

    def pull(self, r: np.ndarray) -> np.ndarray:
        """Return the gradient of the penalties."""
        pull = 2 * self.d * (r - self.centers)
        if self.c > 0:
            sums = r[self.graph.a] + r[self.graph.b]
            pull += self.graph.gathered(2 * self.c * self.graph.w * sums)
        if self.domain.own:
            pull += self.shares * self.domain.cost_slopes(r)[0]
        return pull

    def penalty(self, r: np.ndarray) -> float:
        """Return what the penalties take off the mean utility."""
        sums = r[self.graph.a] + r[self.graph.b]
        own = float(self.shares @ self.domain.cost(r)) if self.domain.own else 0.0
        squares = self.d @ (r - self.centers) ** 2 + self.within_nodes
        return float(squares + self.c * (self.graph.w @ sums**2)) + own


def smooth(utility: Utility) -> bool:
    """Whether the gaps in a box are told by few numbers, so that pairs needn't be looked at."""
    return utility.strictly_concave and not utility.kinks


def unit_utility(utility: Utility, domain: Box) -> Utility:
    """Return the utility on [0, 1] that stands for `utility` on a box, checked for its gaps.

    Raises
    ------
    NotConcave, NotIncreasing
        With a gap in (0, width] at which the utility is convex, or beyond which it falls.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.programs import unit_utility
    >>> unit_utility(ct.Log(), ct.Box(0, 2))
    utility('log(x) + 0.6931471805599453')
    """
    if domain.width > 1:
        require_concave(utility, domain.width)
    require_increasing(utility, domain.width)
    return utility if domain.width == 1 else utility.scaled(domain.width)


def in_gaps(program: Program | ListwiseProgram, answer: Answer) -> Answer:
    """Return the answer of a full ranking, found in its rewards, in its gaps.

    In the box the best goes to the upper end and the worst to the lower, which is never a loss. The
    mirrored ranking is as good, and so is the mean of the two: f is concave, and the mean of their
    slopes is a dual solution too.
    """
    assert answer.rewards is not None
    rewards = answer.rewards.copy()
    if program.box:
        rewards[0], rewards[-1] = 1.0, 0.0
    gaps = np.maximum(rewards[:-1] - rewards[1:], 0.0)
    gaps = (gaps + gaps[::-1]) / 2
    slopes = answer.slopes
    if slopes is not None:
        i, j = np.triu_indices(program.n, 1)
        table = np.zeros((program.n, program.n))
        table[i, j] = slopes
        slopes = (slopes + table[program.n - 1 - j, program.n - 1 - i]) / 2
    return replace(answer, gaps=gaps, rewards=None, multipliers=None, slopes=slopes)


# -- what is checked -----------------------------------------------------------------------


def _completions(n: int | None, pairs: Comparisons | None, domain: Domain) -> int:
    if domain.anchors is not None:
        n = len(domain.anchors) if n is None else n
        found = count(n) if pairs is None else pairs.n
        if found != len(domain.anchors):
            raise CollapseError(
                f"{len(domain.anchors)} centers for {found} completions: Anchored takes one each"
            )
    if pairs is None:
        return count(n, MOST_SMOOTH)
    if not isinstance(pairs, Comparisons):
        raise CollapseError(f"comparisons must be a Comparisons, got {pairs!r}")
    if n is not None and count(n) != pairs.n:
        raise CollapseError(
            f"n = {n} differs from the {pairs.n} completions of the comparisons; leave n out"
        )
    return pairs.n


def _check_utility(program: Program) -> None:
    """Raise unless U is concave, takes the margins, and rises in a box or is held without one."""
    utility, domain = program.loss, program.domain
    least = most = 0.0
    if program.edges is not None:
        margins = program.edges.m * domain.unit
        least, most = float(margins.min()), float(margins.max())
    reach = domain.width if domain.bounded else WIDEST_CHECKED
    if reach > 1:
        require_concave(utility, reach)
    if least != 0 or most != 0:
        if isinstance(program.utility, Continued) and program.utility.start is not None:
            raise InvalidUtility(
                f"margins need values of U below gap 0, and {utility} is continued there by its "
                "tangent; use log-sigmoid, a hinge or another utility that has them"
            )
        _check_margins(utility, reach, least, most)
    if domain.bounded:
        require_increasing(utility if least == 0 else utility.shifted(-least), reach)
    elif domain.own:
        return
    elif program.kappa == 0 and not np.any(utility.d1(np.geomspace(1e-6, 1e9, 200)) < 0):
        _check_held(program)


def _check_margins(utility: Utility, reach: float, least: float, most: float) -> None:
    try:
        shifted = utility.shifted(-most) if most > 0 else utility
        require_concave(shifted, reach + max(most, 0.0) - min(least, 0.0))
    except InvalidUtility as fault:
        if most <= 0:
            raise
        raise InvalidUtility(
            f"{utility} can't take the margins of these comparisons, up to {most:g}: U(gap - "
            f"margin) needs values below 0 ({fault})"
        ) from None


def _check_held(program: Program) -> None:
    """Raise for a utility without a maximum: nothing holds it but a penalty on sums, and that only
    where a part of the graph has an odd cycle.
    """
    domain, members = program.domain, np.arange(min(program.n, 7))
    if not program.full:
        graph = program.graph
        free = graph.two_sided if program.c > 0 else np.ones(graph.part.max() + 1, dtype=bool)
        if not free.any():
            return
        part = np.where(graph.node_of >= 0, graph.part[graph.node_of], -1)
        members = np.flatnonzero(part == np.argmax(free))
    names = ", ".join(map(str, members[:6])) + (", ..." if len(members) > 6 else "")
    why = f"the gaps between the completions {names} can grow for ever"
    if domain.sums > 0:
        why = (
            f"the comparisons of the completions {names} are two-sided (no odd cycle), so r_i + "
            "r_j = 0 for every pair costs nothing while the gaps grow"
        )
    raise NoOptimum(
        f"nothing holds the rewards under {domain}: {program.loss} has no maximum, and {why}. Use "
        "a penalty (Confined), a box, or a utility with a maximum (LabelSmoothing, Squared); "
        "max_margin gives the direction in which the rewards run off"
    )
