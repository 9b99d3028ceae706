"""Mehrotra's primal-dual interior-point method, and the programs on graphs in its form.

    maximise f(x) subject to s = A x + b >= 0, with multipliers z >= 0 of the constraints.

A step solves (H + A'(z/s)A) dx = grad f + A'(t/s), ds = A dx, dz = t/s - z - (z/s) ds, H minus the
Hessian, for products s z that all become t: first t = 0 (the predictor), which shows how much of
the products a step can take away; then t = (what it leaves / mu)**3 mu - ds dz, the corrector
(S. Mehrotra, SIAM Journal on Optimization 2 (1992), 575-601). f is only concave, so every step is
also shortened until f + t sum log s no longer falls at its end as steeply as it rose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from collapse_theory.finite.active_set import (
    Rows,
    feasible,
    on_pieces,
    polished,
    with_nothing_closed,
)
from collapse_theory.finite.budget import Budget, line_search, max_step
from collapse_theory.finite.tree_gaps import in_tree_gaps
from collapse_theory.numerics.checks import MOST_RANKED
from collapse_theory.numerics.graph_systems import DENSE, graph_solver
from collapse_theory.numerics.roots import bisect
from collapse_theory.programs import Answer, Certificate, ListwiseProgram, Program, certify
from collapse_theory.programs.dual import dual_flow

MOST_STEPS = 120  # of one path; 10 to 40 are usual
COMPLEMENTARITY = 1e-13  # s.z over the size of the objective: there it is rounding
CG_TOL = 1e-5  # what conjugate gradients leave: the next step takes it up, as the gradient is exact
LARGEST_TREE = 1e10  # edges times nodes squared up to which gaps are kept apart: ten seconds or so
BALANCED = 1e-12  # the relative gap up to which the path's slopes at kinks do without a flow's
ROUNDED_GAP = 1e-11  # the relative gap up to which gaps needn't be kept apart

Step = Callable[[np.ndarray | float], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Point(NamedTuple):
    """Unknowns x, the slacks s > 0 of all constraints, and their multipliers z > 0.

    There too: w V' and -w V'' on the edges, and the gradient of the penalties.
    """

    x: np.ndarray
    s: np.ndarray
    z: np.ndarray
    first: np.ndarray
    bend: np.ndarray
    pull: np.ndarray

    @property
    def tight(self) -> np.ndarray:
        """Which constraints hold with equality, as far as this point tells: s < z.

        s in units of the largest gap, the first slacks being gaps, z in those of the largest
        multiplier.
        """
        return self.s * float(self.z.max()) < self.z * float(self.s[: len(self.first)].max())


def path_end(
    program: Program, budget: Budget, enough: float = COMPLEMENTARITY
) -> tuple[GraphBarrier, Point, bool]:
    """Return the program's barrier, the end of its path, and whether that converged."""
    barrier = GraphBarrier(program)
    return barrier, *interior_point(barrier, barrier.start(), budget, enough)


def interior_point(
    barrier: GraphBarrier, point: Point, budget: Budget, enough: float = COMPLEMENTARITY
) -> tuple[Point, bool]:
    """Maximise from a strictly feasible point.

    Returns the last point, and whether it converged.
    """
    last, short = np.inf, False
    for _ in budget.rounds(MOST_STEPS):
        found = _direction(barrier, point, short)
        if found is None:
            return point, False
        now = found[-1]
        point, length = _stepped(barrier, point, *found)
        short = length < 0.3
        left = float(point.s.dot(point.z))
        if left < enough and now < enough:
            return point, True
        if left < 1e-9 and now >= 0.5 * last:
            return point, True  # only rounding is left
        last = now
    return point, False


def _stepped(
    barrier: GraphBarrier,
    point: Point,
    step: tuple[np.ndarray, np.ndarray, np.ndarray],
    target: float,
    now: float,
) -> tuple[Point, float]:
    """Return where a step leads on which f + t sum log s first rises by `now`, and its length."""
    dx, ds, dz = step
    # The share of the way to the boundary: 1 - O(s.z), as quadratic convergence asks for.
    keep = min(max(0.9, 1.0 - float(point.s.dot(point.z))), 0.9999)
    primal = min(1.0, keep * max_step(point.s, ds))
    dual = min(1.0, keep * max_step(point.z, dz))

    def ahead(alpha: float) -> tuple[Point, float]:
        way = alpha * primal
        there = barrier.at(point.x + way * dx, point.s + way * ds, point.z + alpha * dual * dz)
        return there, barrier.rise(there, dx, ds, target)

    alpha, there = line_search(ahead, 1.0, max(now, 1e-14), 12)
    return there, alpha * min(primal, dual)


def _direction(
    barrier: GraphBarrier, point: Point, careful: bool
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], float, float] | None:
    """Return the steps of x, s and z, the product s z that they aim at, and how steeply f +
    t sum log s rises on them.
    """
    s, z, newton = point.s, point.z, barrier.newton(point)
    if newton is None:
        return None
    _, ds, dz = newton(0.0)
    primal, dual = min(1.0, max_step(s, ds)), min(1.0, max_step(z, dz))
    mu, ahead = float(s.dot(z)), float((s + primal * ds).dot(z + dual * dz))
    # After a short step the products s z are brought together first.
    target = max((ahead / mu) ** 3, 0.3 if careful else 0.0) * mu / len(s)
    plain = careful or min(primal, dual) < 0.1
    step = newton(target if plain else target - ds * dz)
    rise = barrier.rise(point, *step[:2], target)
    if not plain and not rise > 0:
        # The second-order term turned the step downhill; without it Newton's step goes uphill.
        step = newton(target)
        rise = barrier.rise(point, *step[:2], target)
    return (step, target, rise) if math.isfinite(float((step[1] + step[2]).sum())) else None


# -- on a graph ----------------------------------------------------------------------------


@dataclass(frozen=True)
class GraphBarrier:
    """A program in the form of the method: s are r_a - r_b, r and 1 - r in the box, t and t - past.

    Kinks are exact: with V the utility that goes on past each kink as before it, U(y) = V(y) -
    sum_j jump_j max(0, y - kink_j), and max(0, y - kink) is the least t with t >= 0 and t >= past
    = y - kink. The unknowns are x = (r, t); each t is eliminated, so that every system is one in
    the nodes. The multipliers of the last constraints tell which slope between U'(kink+) and
    U'(kink-) a pair at a kink has. All is in units of the objective at the start.
    """

    program: Program

    @cached_property
    def first_rewards(self) -> np.ndarray:
        """Where the path begins."""
        return first_rewards(self.program)

    @cached_property
    def unit(self) -> float:
        """The size of the objective at the start."""
        gaps = self.program.graph.differences(self.first_rewards)
        return float(np.abs(self.first_slopes(gaps)[0]) @ gaps) or 1.0

    @cached_property
    def kinks(self) -> tuple[np.ndarray, np.ndarray]:
        """Where U' jumps within reach, and by how much."""
        at = np.array(self.program.utility.kinks, dtype=float)
        if self.program.box:
            at = at[at < 1 - self.program.graph.m.min()]
        sides = self.program.utility.slope(np.multiply.outer(at, 1 + 1e-12 * np.array([-1.0, 1.0])))
        return at, np.maximum(sides[:, 0] - sides[:, 1], 0.0) if len(at) else at

    @cached_property
    def jumps(self) -> np.ndarray:
        """What each t costs, a row a kink."""
        return np.multiply.outer(self.kinks[1], self.program.graph.w) / self.unit

    @cached_property
    def lowest(self) -> float:
        """A lower bound of the gaps at the optimum: 0 where an order is kept.

        f is strongly concave, of modulus 1/memory: from equal rewards the optimum is no farther
        than memory times the gradient there. Twice that leaves the constraints slack.
        """
        program = self.program
        if program.least_gap == 0:
            return 0.0
        equal = np.full(program.graph.k, np.mean(program.centers))
        first = program.slopes(np.zeros(len(program.graph.a)))[0]
        force = program.graph.divergence(first) - program.pull(equal)
        far = np.linalg.norm(force) / (2 * program.d.min())
        return -4.0 * float(far)

    @cached_property
    def _rows(self) -> list[slice]:
        e, k = len(self.program.graph.a), self.program.graph.k if self.program.box else 0
        ends = np.cumsum([0, e, k, k, *[e * len(self.kinks[0])] * 2]).tolist()
        return [slice(*ends) for ends in pairwise(ends)]

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the rows of edges, low ends, high ends; a row a kink of t, and of t - past."""
        edges, low, high, t, off = (rows[at] for at in self._rows)
        return [edges, low, high, t.reshape(-1, len(edges)), off.reshape(-1, len(edges))]

    def first_slopes(self, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return w V' and -w V''; U' at a kink itself counts as beyond it."""
        program, graph = self.program, self.program.graph
        first, bend = program.slopes(gaps)
        for at, jump in zip(*self.kinks, strict=True):
            first = first + np.where(gaps - graph.m >= at, graph.w * jump, 0.0)
        return first, bend

    def start(self) -> Point:
        """Return the point at the first rewards; all its products s z are the same, in all 0.1."""
        r, graph = self.first_rewards, self.program.graph
        y = graph.differences(r) - graph.m
        past = y - self.kinks[0][:, None]
        t = np.maximum(past, 0.0) + 0.1 * float(np.abs(y).max())
        ends = [r, 1 - r] if self.program.box else []
        s = np.concatenate([y + graph.m - self.lowest, *ends, t.ravel(), (t - past).ravel()])
        z = 0.1 / len(s) / s
        if t.size:
            # The two multipliers of each t share its cost.
            share = (t - past) / (2 * t - past)
            both = np.concatenate([self.jumps * share, self.jumps * (1 - share)])
            z[-both.size :] = both.ravel()
        return self.at(np.concatenate([r, t.ravel()]), s, z)

    def at(self, x: np.ndarray, s: np.ndarray, z: np.ndarray) -> Point:
        """Return a point."""
        graph, unit = self.program.graph, self.unit
        first, bend = self.first_slopes(s[: len(graph.a)] + self.lowest)
        return Point(x, s, z, first / unit, bend / unit, self.program.pull(x[: graph.k]) / unit)

    def rise(self, point: Point, dx: np.ndarray, ds: np.ndarray, target: float) -> float:
        """Return the derivative of f + t sum log s along a step."""
        k = len(point.pull)
        gained = point.first.dot(ds[: len(point.first)]) - point.pull.dot(dx[:k])
        cost = self.jumps.ravel().dot(dx[k:]) if len(dx) > k else 0.0
        return float(gained - cost) + target * float((ds / point.s).sum())

    def newton(self, point: Point) -> Step | None:
        """Return what gives the steps of x, s and z to products s z; None where nothing does.

        With alpha and beta the z/s of t and of t - past, dt = (rho + beta dy) / (alpha + beta), y
        the gap and rho the target's force on t less its cost: a pair keeps the weight alpha beta /
        (alpha + beta) beside its -w U'' and the z/s of its gap.
        """
        program, graph, s = self.program, self.program.graph, point.s
        kinked, ratio = len(self.kinks[0]) > 0, point.z / s
        on_edges, low, high, alpha, beta = self.split(ratio)
        both, bend = alpha + beta, point.bend + on_edges
        if kinked:
            bend += (alpha * (beta / both)).sum(axis=0)
        d = program.stiffness(point.x[: graph.k]) / self.unit
        d = d + low + high if program.box else d
        sums = 2 * program.c * graph.w / self.unit
        solve = graph_solver(graph.a, graph.b, bend, sums, d, tol=CG_TOL)
        if solve is None:
            return None

        def step(target: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            aims = target / s
            t_edges, t_low, t_high, t_alpha, t_beta = self.split(aims)
            flow, rho = point.first + t_edges, t_alpha + t_beta - self.jumps
            if kinked:
                flow += (beta / both * rho - t_beta).sum(axis=0)
            right = graph.divergence(flow) - point.pull
            dr = solve(right + t_low - t_high if program.box else right)
            dr = graph.centred(dr) if program.floating else dr
            dx, dg = dr, graph.differences(dr)
            rows = [dg, dr, -dr] if program.box else [dg]
            if kinked:
                dt = (rho + beta * dg) / both
                rows += [dt.ravel(), (dt - dg).ravel()]
                dx = np.concatenate([dr, dt.ravel()])
            ds = np.concatenate(rows)
            return dx, ds, aims - point.z - ratio * ds

        return step

    def rigid(self, point: Point) -> tuple[Rows, np.ndarray]:
        """Return the constraints that hold with equality at all optima, and the edges' gaps then.

        The path of interior points ends where just those do (Goldman and Tucker 1956). At a kink
        both constraints of a pair's t are tight: its slope lies inside the jump.
        """
        tight, graph = point.tight, self.program.graph
        rows, wanted = Rows.of(self.program, tight), np.zeros(len(graph.a))
        for at, on, off in zip(self.kinks[0], *self.split(tight)[3:], strict=True):
            wanted = np.where(on & off, at + graph.m, wanted)
        return rows._replace(edges=rows.edges | (wanted > 0)), wanted

    def slopes(self, point: Point) -> np.ndarray:
        """Return the U' of the pairs, at kinks those that balance the rest."""
        taken = self.split(point.z)[4].sum(axis=0)
        return self.unit * (point.first - taken) / self.program.graph.w


class InteriorPoint:
    """Interior points on the graph, then Newton's method with the closed gaps known.

    The reference for every utility of gaps; kinks are exact.
    """

    name = "newton"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether it is a program of pairs, no more than can be looked at one by one."""
        if not isinstance(program, Program):
            return False
        return not program.full or program.n <= MOST_RANKED

    @np.errstate(all="ignore")
    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return rewards, with the multipliers and slopes that certify them."""
        graph, edges = program.graph, len(program.graph.a)
        still = np.zeros(edges)
        held = program.box or program.domain.own or not program.domain.ordered
        if not held and np.all(program.slopes(still)[0] <= 0):
            return Answer(rewards=np.zeros(graph.k), unique=True)  # no gap is worth opening
        barrier, best, least, relative = GraphBarrier(program), None, np.inf, np.inf
        if not (program.box or program.utility.kinks):
            # Under a penalty most optima keep all gaps open: Newton's method alone finds them.
            best = with_nothing_closed(program, barrier.first_rewards, budget)
            if best is not None:
                certificate = certify(program, best)
                least, relative = certificate.gap, certificate.relative_gap
                best = replace(best, converged=relative < ROUNDED_GAP)
        if best is not None and best.converged:
            return replace(best, iterations=budget.used)
        at = barrier.start()
        # Conjugate gradients take long near the end of the path; a polish from afar does for most.
        for enough in (COMPLEMENTARITY,) if graph.k <= DENSE else (1e-6, 1e-9, 1e-12):
            at, converged = interior_point(barrier, at, budget, enough)
            for answer, certificate in _answers(program, barrier, at, budget):
                if best is None or certificate.gap < least:
                    best, least = replace(answer, converged=converged), certificate.gap
                    relative = certificate.relative_gap
                if relative < BALANCED:
                    break
            if relative < ROUNDED_GAP or budget.spent:
                break
        assert best is not None
        if (
            relative > ROUNDED_GAP
            and program.least_gap == 0
            and not program.utility.kinks
            and edges * graph.k**2 <= LARGEST_TREE
        ):
            best = _kept_apart(program, at, best, least, budget)
        return replace(best, iterations=budget.used, converged=best.converged or not budget.spent)


def _answers(
    program: Program, barrier: GraphBarrier, at: Point, budget: Budget
) -> Iterator[tuple[Answer, Certificate]]:
    """Yield what the end of the path tells, the most exact first."""
    r, edges = at.x[: program.graph.k], len(program.graph.a)
    z, slopes = barrier.unit * at.z, barrier.slopes(at)
    if not program.utility.kinks:
        found = polished(program, r, at.tight, z, budget)
        if found is not None:
            yield found
    elif (exact := on_pieces(program, *barrier.rigid(at), r, budget)) is not None:
        answer = Answer(rewards=exact, multipliers=z[:edges], slopes=slopes)
        yield answer, certify(program, answer)
        dual = dual_flow(program, exact)  # takes longer than all else
        answer = Answer(rewards=exact, multipliers=dual.multipliers, slopes=dual.slopes)
        yield answer, certify(program, answer)
    plain = Answer(rewards=feasible(program, r), multipliers=z[:edges], slopes=slopes)
    yield plain, certify(program, plain)


def _kept_apart(program: Program, at: Point, best: Answer, least: float, budget: Budget) -> Answer:
    """Return the better one of the best answer and that with the gaps kept apart."""
    graph = program.graph
    closed = Rows.of(program, at.tight & np.isfinite(program.utility.slope_at_zero))
    if program.box:
        # What is worse than nothing is pushed to the upper end, and no gap without a force opens.
        top, bottom = (np.bincount(ends, minlength=graph.k) == 0 for ends in (graph.b, graph.a))
        closed = Rows(closed.edges, closed.low | bottom, closed.high | top)
    found = in_tree_gaps(program, closed, at.x[: graph.k], budget)
    if found is None:
        return best
    # A step of the active set is left to the polish: multipliers are its own.
    z = None if best.multipliers is None else np.where(closed.edges, best.multipliers, 0.0)
    answer = replace(best, rewards=found[0], edge_gaps=found[1], slopes=None, multipliers=z)
    return answer if certify(program, answer).gap < least else best


def first_rewards(program: Program) -> np.ndarray:
    """Return strictly feasible rewards: spread by level, off the box at the best scale."""
    graph = program.graph
    if program.box:
        return graph.levels
    shape = graph.centred(graph.levels)
    rise, middle = graph.differences(shape), np.mean(program.centers)
    slopes, pull = program.slopes, program.pull

    def excess(log_scale: float) -> float:
        scale = np.exp(log_scale)
        return float(slopes(scale * rise)[0] @ rise - pull(scale * shape + middle) @ shape)

    low, high = -2.0, 2.0
    while excess(high) > 0 and high < 340:
        low, high = high, high + 2.0
    while not excess(low) > 0 and low > -340:
        low, high = low - 2.0, low
    scale = np.exp(bisect(excess, low, high, rounds=10))
    # Centers in a wrong order would close all gaps: from a part of their spread it isn't far.
    return middle + max(scale, 0.1 * float(np.ptp(program.centers))) * shape
