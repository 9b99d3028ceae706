"""How far an answer can be from the optimum, computed from the program and the answer alone.

The objective f is concave, so f(s) - f(r) <= <grad f(r), s - r> for every feasible s; what that is
at most depends on what holds the rewards (docs/theory.md#the-certificate):

- in the box of a full ranking, whose extreme points are single gaps of size 1, max_k G_k - sum_k
  G_k d_k with G_k the derivative by the gap d_k (the Frank-Wolfe duality gap: Jaggi 2013);
- in the box of a graph, with h = grad f + B'z and the multipliers z >= 0 of r_a >= r_b, which for a
  feasible s only help: sum_i [max(h_i, 0) - h_i r_i] + z.(r_a - r_b);
- under a penalty sum_i d_i (r_i - c_i)**2, which makes f strongly concave, sum_i h_i**2 / (4 d_i)
  more;
- otherwise Fenchel's bound: slopes q of the pairs and t of the sums r_a + r_b that balance at every
  node give f(s) <= sum_e w_e [sup_{y >= 0} (U(y - m_e) - q_e y) + t_e**2 / (4c)].

At a kink any slope between U'(m+) and U'(m-) is a supergradient and may stand for U'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.numerics.checks import MOST_RANKED
from collapse_theory.numerics.linear import least_tree_paths
from collapse_theory.programs.dual import AT_KINK, at_kinks, dual_flow
from collapse_theory.programs.graph_bounds import (
    GraphForces,
    conjugate_gain,
    possible,
)
from collapse_theory.programs.pair_sums import all_gaps, all_straddling, pair_sums
from collapse_theory.programs.plackett_luce import ListwiseProgram
from collapse_theory.programs.program import EPS, Answer, Program, centred
from collapse_theory.programs.smooth_bounds import penalised_bound, smooth_bound
from collapse_theory.programs.smooth_gaps import SmoothGaps, panel_ratio
from collapse_theory.utilities import PlackettLuce, Stack, Utility
from collapse_theory.values import Value

FIRST_ORDER = 1e-12  # the relative gap above which a bound of the second order is worth its time
MOST_DENSE = 3000  # completions up to which all pairs are looked at; beyond, gaps must be smooth
MOST_FREE = 1500  # where nothing holds them: the first-order rounding of all pairs grows with them
MOST_PATHS = 2000  # nodes up to which the paths of a forest are worth their memory


@dataclass(frozen=True, eq=False)
class Certificate(Value):
    """Objective and bounds of an answer.

    Attributes
    ----------
    objective : float
        In float64, as it is reported.
    gap : float
        No feasible rewards have an objective above ``objective + gap``: the bound, and what
        rounding can be in it and in `objective`.
    relative_gap : float
        How far the answer itself can be from the optimum, over `shortfall`: without the rounding
        of the reported objective, so that U -> cU + d leaves it unchanged. 0 where what is missing
        of U(largest gap) is rounding: then there is nothing to measure a gap by but `gap` itself.
    shortfall : float
        U(largest gap) - objective in a box; without one the spread of U over the pairs.
    """

    objective: float
    gap: float
    relative_gap: float
    shortfall: float


def certify(program: Program | ListwiseProgram, answer: Answer) -> Certificate:
    """Return the certificate of an answer to a program.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.programs import Answer, Program, certify
    >>> program = Program.of(ct.Linear(), 3)
    >>> round(certify(program, Answer(gaps=[0.25, 0.25])).gap, 12)  # half the box is left empty
    0.333333333333
    """
    with np.errstate(all="ignore"):
        if answer.smooth is not None:
            # Each float of the gaps that are written out is within some units of its polynomial.
            return _of_many(program, answer.smooth, 32 * EPS)
        if answer.gaps is None:
            assert isinstance(program, Program)
            return _in_rewards(program, answer)
        gaps = np.asarray(answer.gaps, dtype=np.float64)
        most = MOST_DENSE if program.box else MOST_RANKED if program.kappa > 0 else MOST_FREE
        if program.n > most and isinstance(program, Program):
            ratio = panel_ratio(program.utility, program.n)
            return _of_many(program, *SmoothGaps.fitted(gaps, ratio))
        return _in_gaps(program, gaps, answer.slopes)


def _of_many(program: Program | ListwiseProgram, gaps: SmoothGaps, rough: float) -> Certificate:
    assert isinstance(program, Program)
    if program.box:
        found = smooth_bound(program.utility, gaps, rough)
    else:
        found = penalised_bound(program.utility, gaps, rough, program.kappa)
    return _certificate(found.objective, found.bound, found.rounding, found.shortfall)


def _certificate(
    objective: float, bound: float, rounding: float, shortfall: float, saturated: bool = False
) -> Certificate:
    """Return a certificate; `saturated` says that no pair can have more but for rounding."""
    # NaN where values leave float64 (margins of 1e16 widths): then nothing is certified.
    bound, rounding = (math.inf if math.isnan(x) else x for x in (bound, rounding))
    if saturated or bound == 0 or shortfall == math.inf:
        relative = 0.0 if bound < math.inf else math.inf
    else:
        relative = bound / shortfall if shortfall > 0 else math.inf
    return Certificate(objective, bound + rounding, relative, shortfall)


def certify_rows(utility: Stack, gaps: np.ndarray, kappa: float | None) -> list[Certificate]:
    """Return the certificates of full rankings under utilities without kinks.

    Parameters
    ----------
    utility : Stack
        One a ranking.
    gaps : numpy.ndarray, shape (m, n-1)
    kappa : float or None
        The weight of the penalty kappa mean r_i**2; None in the unit box.
    """
    with np.errstate(all="ignore"):
        at = _pair_forces(utility, gaps, kappa is None)
        found = _in_box(at, gaps) if kappa is None else _held(at, utility, gaps, kappa)
        return [_certificate(*row) for row in zip(*(x.tolist() for x in found), strict=True)]


# -- a full ranking, in its gaps -----------------------------------------------------------


class _Forces(NamedTuple):
    """What the gaps of a full ranking give, or of many, a row each.

    value, rounding : (...) the mean utility, and how far from it float64 may be
    force, size : (..., n-1) G_k, and the sum of the absolute values of its terms
    shortfall : (...) what gaps are measured by
    slopes : (..., pairs) U', at kinks chosen
    extra : what chosen slopes at kinks add to the bound
    saturated : whether U is flat beyond a kink that all pairs have reached
    """

    value: Any
    rounding: Any
    force: np.ndarray
    size: np.ndarray
    shortfall: Any
    slopes: np.ndarray | None = None
    extra: float = 0.0
    saturated: bool = False


def _in_gaps(
    program: Program | ListwiseProgram, gaps: np.ndarray, slopes: np.ndarray | None
) -> Certificate:
    """Return the certificate of a full ranking: in the box, under a penalty, or Fenchel's."""
    if isinstance(program, ListwiseProgram):
        at = _stage_forces(program, gaps)
    elif program.kinked:
        at = _kinked_forces(program, gaps, slopes)
    else:
        at = _pair_forces(program.utility, gaps, program.box)
    found = _in_box(at, gaps) if program.box else _held(at, program.utility, gaps, program.kappa)
    objective, bound, rounding, short = (float(x) for x in found)
    return _certificate(objective, bound, rounding, short, at.saturated)


def _held(
    at: _Forces, utility: Utility | PlackettLuce | Stack, gaps: np.ndarray, kappa: float
) -> tuple[Any, Any, Any, Any]:
    """Return what `_in_box` does under the penalty kappa mean r_i**2, or without one."""
    n, rewards = gaps.shape[-1] + 1, centred(gaps)
    square = kappa * np.mean(rewards**2, axis=-1)
    rounding = at.rounding + (4 + n / 2) * EPS * square
    pulls = 2 * kappa / n * rewards.cumsum(axis=-1)[..., :-1]
    h, errors = _at_nodes(at.force - pulls), _at_nodes(at.size + pulls, 1)
    errors *= (4 + math.sqrt(n)) * EPS
    if kappa > 0:
        bound = _exact_sums((np.abs(h) + errors) ** 2 / (4 * kappa / n))
    else:
        bound = _free_bound(at, utility, gaps, h, errors)
    still = ~gaps.any(axis=-1) & (at.force <= 0).all(axis=-1)  # U doesn't rise from 0
    lost = ~np.isfinite(at.force).all(axis=-1) & ~still
    return (
        at.value - square,
        np.where(still, 0.0, np.where(lost, np.inf, bound + at.extra)),
        np.where(lost, 0.0, rounding),
        np.where(still, 0.0, at.shortfall),
    )


def _at_nodes(on_gaps: np.ndarray, sign: int = -1) -> np.ndarray:
    """Return at each reward the value of the gap below it less that of the gap above, or plus."""
    end = np.zeros((*on_gaps.shape[:-1], 1))
    padded = np.concatenate([end, on_gaps, end], axis=-1)
    return padded[..., 1:] + sign * padded[..., :-1]


def _in_box(at: _Forces, gaps: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """Return objectives, bounds, what rounding can be in the objectives, and shortfalls."""
    n = gaps.shape[-1] + 1
    top = at.force.max(axis=-1)
    # sum_k d_k (top - G_k) + top (1 - sum_k d_k): no difference of large numbers.
    left = gaps * (top[..., None] - at.force)
    bound = _exact_sums(left) + top * _exact_sums(-gaps, 1.0) + at.extra
    # Each G_k is a sum of n**2 / 4 positive terms: it carries about sqrt(n) units of rounding.
    bound = np.maximum(bound, 0.0) + (4 + math.sqrt(n)) * EPS * top
    best = (at.shortfall == 0) | ((n == 2) & (gaps[..., 0] == 1.0))  # nothing can be better
    lost = ~(top < np.inf) & ~best
    if not (best | lost).any():
        return at.value, bound, at.rounding, at.shortfall
    bound, rounding = np.where(lost, np.inf, bound), np.where(lost, 0.0, at.rounding)
    return at.value, np.where(best, 0.0, bound), rounding, np.where(best, 0.0, at.shortfall)


def _exact_sums(rows: np.ndarray, more: float = 0.0) -> Any:
    """Return the sum of each row and `more`, rounded once; NaN where a term isn't finite."""
    if rows.ndim == 1:
        return math.fsum((more, *rows.tolist())) if math.isfinite(rows.sum()) else math.nan
    finite = np.isfinite(rows.sum(axis=1))
    safe = np.where(finite[:, None], rows, 0.0).tolist()
    return np.where(finite, np.array([math.fsum((more, *row)) for row in safe]), np.nan)


def _pair_forces(
    utility: Utility | Stack,
    gaps: np.ndarray,
    box: bool,
    chosen: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]] | None = None,
) -> _Forces:
    """Return the forces of rankings by their pairs; `chosen` takes gaps and slopes, at kinks
    chooses others, and tells what those cost.
    """
    n, x, extra = gaps.shape[-1] + 1, all_gaps(gaps), 0.0
    pairs = x.shape[-1]
    # At a kink at the box's width the slope below it: no gap is wider.
    values, first = utility.value(x), utility.slope(np.minimum(x, 1 - EPS) if box else x)
    size = np.abs(values) + utility.lost(x)
    rounding = _rounding_of_mean(size, np.abs(first) * x, n)
    if chosen is not None:
        first, extra = chosen(x, first)
    force = all_straddling(first / pairs, n)
    if box:
        size, shortfall = force, utility.shortfall(x, 1.0).sum(axis=-1) / pairs
    else:
        size = force if (first >= 0).all() else all_straddling(np.abs(first) / pairs, n)
        shortfall = _spread(utility, x, values, np.full(pairs, 1.0 / pairs), 0.0)
    mean = values.sum(axis=-1) / pairs
    return _Forces(mean, rounding, force, size, shortfall, first, extra)


def _kinked_forces(program: Program, gaps: np.ndarray, slopes: np.ndarray | None) -> _Forces:
    """Return the forces with slopes at kinks that balance best: those given, or a dual flow's."""
    utility = program.utility

    def chosen(x: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, float]:
        if not np.all(np.isfinite(first)):
            return first, 0.0
        given = slopes
        if given is None:
            given = dual_flow(program, _as_rewards(program, gaps), AT_KINK).slopes
        p, lost = at_kinks(utility, x, first, given)
        return p, float(np.mean(lost))

    found = _pair_forces(utility, gaps, program.box, chosen)
    # Where all pairs have reached the last kink, or lack but rounding of what U can be, the
    # shortfall is rounding too, and nothing to measure a gap by.
    kinks = [kink for kink in utility.kinks if kink < 1]
    reached = bool(kinks) and gaps.min() >= kinks[-1] * (1 - 1e-13)
    flat = reached and bool(utility.slope(np.float64(1.0)) == 0)
    rise = float(utility.shortfall(np.float64(0.0), 1.0))
    rounding = math.isfinite(rise) and float(found.shortfall) <= 16 * EPS * rise
    return found._replace(saturated=program.box and (flat or rounding))


def _rounding_of_mean(size: np.ndarray, steep: np.ndarray, terms: float) -> Any:
    """Return how far the mean of U over pairs may be from its true value at the answer.

    A gap that is the sum of `terms` numbers is off by terms/2 units, and four to spare, which moves
    U by `steep` = |U'| x times as much; each U by eight units of its `size`; NumPy's sum in pairs
    by one for each halving.
    """
    pairs = size.shape[-1]
    moved = np.where(np.isfinite(steep), steep, 0.0).sum(axis=-1) / pairs
    whole = size.sum(axis=-1) / pairs
    return EPS * ((8 + math.log2(pairs + 1)) * whole + (4 + terms / 2) * moved)


def _as_rewards(program: Program, gaps: np.ndarray) -> np.ndarray:
    above = np.append(np.cumsum(gaps[::-1])[::-1], 0.0)
    return above if program.box else centred(gaps)


def _free_bound(
    at: _Forces, utility: Any, gaps: np.ndarray, h: np.ndarray, errors: np.ndarray
) -> Any:
    """Return mean sup_y (U(y) - q y) - mean U for balanced slopes q near U'.

    On all pairs q_ij = U'_ij - (h_i - h_j) / n balances, h the gradient of the sum over pairs.
    """
    n = h.shape[-1]
    i, j = np.triu_indices(n, 1)
    assert at.slopes is not None
    shift, rewards = h * ((n - 1) / 2), np.abs(centred(gaps))
    q = possible(utility, at.slopes - (shift[..., i] - shift[..., j]), at.slopes)
    rest = np.abs(pair_sums(q) / len(i)) + errors
    gain = conjugate_gain(utility, all_gaps(gaps), 0.0, q)
    spread = gaps.sum(axis=-1)[..., None]
    return np.mean(gain, axis=-1) + np.vecdot(rest, rewards + spread)


def _stage_forces(program: ListwiseProgram, gaps: np.ndarray) -> _Forces:
    at = program.stages(gaps)
    force = program.utility.beta / program.counted * at.force
    # Every stage carries the rounding of those below it; log1p(tau) moves by at most that. Scores
    # are products, rounded themselves: exp(-158) moves by 158 units in its last place.
    value = np.float64(at.value)
    rounding = (8 + program.n) * EPS * abs(value) + 2 * EPS * force.dot(gaps)
    return _Forces(value, rounding, force, force, np.float64(program.shortfall(gaps)))


# -- a graph, in its rewards ---------------------------------------------------------------


def _in_rewards(program: Program, answer: Answer) -> Certificate:
    """Return the certificate of a graph: see `GraphForces` for the bounds."""
    graph, utility, r = program.graph, program.utility, np.asarray(answer.rewards)
    gaps, rounded = _edge_gaps(program, answer)
    y = gaps - graph.m
    values, (first, second) = utility.value(y), utility.derivatives(y)
    penalty = program.penalty(r)
    objective = float(graph.w @ values) - penalty
    steep = len(values) * graph.w * np.abs(first) * (np.abs(gaps) + np.abs(graph.m))
    size = np.abs(values) + utility.lost(y)
    rounding = float(_rounding_of_mean(len(values) * graph.w * size, steep, 2.0))
    rounding += (4 + math.sqrt(len(gaps))) * EPS * penalty
    short = _graph_shortfall(program, r, gaps, values)
    domain, ordered = program.domain, program.least_gap == 0
    still = not (np.any(r) or domain.own) and domain.ordered and np.all(first <= 0)
    satisfied = np.all(gaps == 1.0) if program.box else still
    if satisfied:
        return _certificate(objective, 0.0, rounding, 0.0)  # no pair can have more
    slopes, z = answer.slopes, answer.multipliers
    if slopes is None and z is None:
        dual = dual_flow(program, r)
        slopes, z = dual.slopes, dual.multipliers
    z = np.zeros_like(gaps) if z is None or not ordered else np.maximum(z, 0.0)
    p, lost = at_kinks(utility, y, first, slopes)
    if not np.all(np.isfinite(p)) or np.any(gaps < program.least_gap):
        return _certificate(objective, math.inf, 0.0, short)
    if not ordered:  # a tangent has no curvature, and ends within rounding
        second = np.maximum(np.abs(second), np.abs(utility.curvature(y + rounded)))
    unsure = np.where(p == first, np.abs(second) * rounded, 0.0)
    forces = GraphForces(program, r, gaps, p, unsure, z)
    bound = forces.bound() + float(graph.w @ lost)
    if not program.box:
        return _certificate(objective, bound, rounding, short)
    if bound > FIRST_ORDER * short and graph.k <= MOST_PATHS and np.array_equal(p, first):
        bound = min(bound, forces.through_the_forest())
    # Nothing is above U(widest); where all pairs have it up to rounding, nothing is missing. At a
    # kink U still falls below it.
    steep = np.maximum(np.abs(first), np.abs(utility.slope(y - AT_KINK * gaps)))
    local = float(graph.w @ (steep * gaps + np.abs(second) * gaps**2))
    bound = min(bound, max(short, 0.0) + EPS * local)
    return _certificate(objective, bound, rounding, short, short <= 16 * EPS * local)


def _edge_gaps(program: Program, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """Return the gaps on the edges, and how far rounding may put them.

    Gaps kept apart stand for themselves on the forest of least gaps, whose sums the others are:
    what they sum up is never larger. They must be those of the rewards up to rounding.
    """
    graph, r = program.graph, np.asarray(answer.rewards)
    gaps, size = graph.differences(r), float(np.abs(r).max())
    if answer.edge_gaps is not None and graph.k <= MOST_PATHS:
        edges, paths = least_tree_paths(graph.a, graph.b, graph.k, answer.edge_gaps)
        sums = (paths[graph.a] - paths[graph.b]) @ answer.edge_gaps[edges]
        if np.all(np.abs(sums - gaps) <= (4 + graph.k) * EPS * size):
            return sums, 2 * graph.k * EPS * np.abs(sums)
    return gaps, np.full_like(gaps, EPS * size)


def _graph_shortfall(
    program: Program, r: np.ndarray, gaps: np.ndarray, values: np.ndarray
) -> float:
    graph, utility = program.graph, program.utility
    if not program.domain.ordered:  # gaps may be 0 by chance
        spread = float(_spread(utility, gaps, values, graph.w, graph.m))
        return max(spread, program.penalty(r))
    if not program.box:
        return float(_spread(utility, gaps, values, graph.w, graph.m))
    margins = np.unique(graph.m)
    if len(margins) > 30:  # then each margin's own function, which keeps digits, takes too long
        return float(graph.w @ (utility.value(1.0 - graph.m) - values))
    of = [graph.m == m for m in margins]
    short = (
        graph.w[e] @ utility.shortfall(gaps[e] - m, 1.0 - m)
        for e, m in zip(of, margins, strict=True)
    )
    return float(sum(short))


def _spread(
    utility: Utility | Stack,
    gaps: np.ndarray,
    values: np.ndarray,
    w: np.ndarray,
    m: np.ndarray | float,
) -> Any:
    """Return what a gap is measured by without a box: the spread of U over the pairs' gaps g.

    Or the mean of |U'| g or -U'' g**2 where that is more, as for two completions, which have but
    one gap; just below a kink, where U still rises.
    """
    first, second = utility.derivatives(gaps * (1 - 1e-6) - m)
    curved = (np.maximum(-second, 0.0) * gaps**2) @ w
    spread = values.max(axis=-1) - values.min(axis=-1)
    return np.maximum(np.maximum(spread, (np.abs(first) * gaps) @ w), curved)
