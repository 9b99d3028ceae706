"""A primal-dual interior-point method (Mehrotra's) for the program on a comparison graph.

Kinks are exact: with V the utility that goes on past each kink as before it,
U(y) = V(y) - sum_j jump_j max(0, y - kink_j), and max(0, y - kink) is the least t with t >= 0 and
t >= y - kink. Each t is eliminated, so that every system is a Laplacian in the nodes; the
multipliers of the second tell which slope between U'(kink+) and U'(kink-) a pair at a kink has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from collapse_theory.finite.steps import Budget, room
from collapse_theory.programs.graph import GraphProgram
from collapse_theory.programs.laplacian import graph_solver

__all__ = ["Point", "interior_point"]

ROUNDS = 120
ENOUGH = 1e-13  # complementarity, relative to the size of the objective
LOOSE = 1e-5  # what conjugate gradients leave: the next step takes it up, as the gradient is exact


@dataclass(frozen=True)
class Kinks:
    """Where U' jumps, and by how much."""

    at: np.ndarray
    jump: np.ndarray

    def smooth_slope(self, y: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Return V' from U': a kink itself counts as beyond it."""
        return slope + sum(
            (np.where(y >= at, jump, 0.0) for at, jump in zip(self.at, self.jump, strict=True)), 0.0
        )


@dataclass(frozen=True)
class Point:
    """Rewards r and t, the slacks s > 0 of all constraints, and their multipliers z."""

    r: np.ndarray
    t: np.ndarray
    s: np.ndarray
    z: np.ndarray

    def tight(self, edges: int) -> np.ndarray:
        """Return which constraints hold with equality, as far as this point tells."""
        return self.s * float(self.z.max()) < self.z * float(self.s[:edges].max())


@dataclass(frozen=True)
class Barrier:
    """The constraints: r_a - r_b, r and 1 - r in the box, t and t - (y - kink), all >= 0."""

    program: GraphProgram
    kinks: Kinks

    @property
    def edges(self) -> int:
        return len(self.program.graph.a)

    def split(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the rows of edges, low ends, high ends, t, and t - (y - kink)."""
        e, k = self.edges, self.program.graph.k if self.program.box else 0
        lifted = e * len(self.kinks.at)
        return tuple(np.split(rows, np.cumsum([e, k, k, lifted])))

    def slack_steps(self, dr: np.ndarray, dt: np.ndarray) -> np.ndarray:
        """Return how the slacks change."""
        dg = self.program.graph.differences(dr)
        ends = [dr, -dr] if self.program.box else []
        return np.concatenate([dg, *ends, dt, dt - np.tile(dg, len(self.kinks.at))])

    def start(self, r: np.ndarray, level: float) -> Point:
        """Return a point at these rewards with all products s z the same, in all `level`."""
        graph = self.program.graph
        y = graph.differences(r) - graph.m
        past = (y - self.kinks.at[:, None]).ravel()
        t = np.maximum(past, 0.0) + 0.1 * float(np.abs(y).max())
        ends = [r, 1 - r] if self.program.box else []
        s = np.concatenate([y + graph.m, *ends, t, t - past])
        z = level / len(s) / s
        if len(t):
            # The two multipliers of each t share the jump.
            share = np.outer(self.kinks.jump, graph.w).ravel()
            first = (t - past) / (2 * t - past)
            z[-2 * len(t) :] = np.concatenate([share * first, share * (1 - first)])
        return Point(r, t, s, z)

    def slopes(self, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return w V' and -w V''."""
        graph = self.program.graph
        first, bend = self.program.slopes(gaps)
        if len(self.kinks.at):
            y = gaps - graph.m
            first = graph.w * self.kinks.smooth_slope(y, self.program.utility.slope(y))
        return first, bend

    def rise(
        self, point: Point, dr: np.ndarray, dt: np.ndarray, ds: np.ndarray, mu: float
    ) -> float:
        """Return the derivative of objective + mu sum log s along a step."""
        gaps = point.s[: self.edges]
        first = self.slopes(gaps)[0]
        lost = np.outer(self.kinks.jump, self.program.graph.w).ravel() @ dt
        gained = first @ ds[: self.edges] - self.program.pull(point.r) @ dr
        return float(gained - lost + mu * np.sum(ds / point.s))


def interior_point(
    program: GraphProgram, start: np.ndarray | Point, budget: Budget, enough: float = ENOUGH
) -> tuple[Point, np.ndarray, bool]:
    """Maximise from strictly feasible rewards, or go on from a point.

    Returns the point, the slopes U' on the edges (at kinks, those that balance the rest), and
    whether it converged.
    """
    barrier = Barrier(program, _kinks(program))
    with np.errstate(all="ignore"):
        point, converged = _follow(barrier, start, budget, enough)
        gaps = point.s[: barrier.edges]
        first = barrier.slopes(gaps)[0]
        if len(point.t):
            first = first - barrier.split(point.z)[4].reshape(-1, len(gaps)).sum(axis=0)
        return point, first / program.graph.w, converged


def _kinks(program: GraphProgram) -> Kinks:
    at = np.array(program.utility.kinks, dtype=float)
    if program.box:
        at = at[at < 1 - program.graph.m.min()]
    sides = program.utility.slope(np.multiply.outer(at, 1 + 1e-12 * np.array([-1.0, 1.0])))
    return Kinks(at, np.maximum(sides[:, 0] - sides[:, 1], 0.0) if len(at) else at)


def _follow(
    barrier: Barrier, start: np.ndarray | Point, budget: Budget, enough: float
) -> tuple[Point, bool]:
    r = start.r if isinstance(start, Point) else start
    gaps = barrier.program.graph.differences(r)
    size = float(np.abs(barrier.slopes(gaps)[0]) @ gaps) or 1.0
    point = start if isinstance(start, Point) else barrier.start(r, 0.1 * size)
    last, short = np.inf, False
    for _ in budget.rounds(ROUNDS):
        mu = float(point.s @ point.z) / len(point.s)
        found = _direction(barrier, point, mu, short)
        if found is None:
            return point, False
        dr, dt, ds, dz, centring = found
        keep = min(max(0.9, 1.0 - mu * len(point.s) / size), 0.9999)
        primal, dual = min(1.0, keep * room(point.s, ds)), min(1.0, keep * room(point.z, dz))
        rise = barrier.rise(point, dr, dt, ds, centring)
        ahead = point
        for _ in range(12):
            ahead = Point(
                point.r + primal * dr, point.t + primal * dt, point.s + primal * ds, point.z
            )
            fall = -barrier.rise(ahead, dr, dt, ds, centring)
            if fall <= max(rise, 1e-14 * size):
                break
            shrink = max(rise / (rise + fall), 0.1) if rise > 0 else 0.1
            primal, dual = primal * shrink, dual * shrink
        short = min(primal, dual) < 0.3
        point = replace(ahead, z=point.z + dual * dz)
        mu = float(point.s @ point.z)
        if mu < enough * size and rise < enough * size:
            return point, True
        if mu < 1e-9 * size and rise >= 0.5 * last:
            return point, True  # only rounding is left
        last = rise
    return point, False


def _direction(
    barrier: Barrier, point: Point, mu: float, careful: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float] | None:
    """Return the steps of r, t, s and z, and the product s z that they aim at."""
    program, graph = barrier.program, barrier.program.graph
    first, bend = barrier.slopes(point.s[: barrier.edges])
    weight = point.z / point.s
    on_edges, low, high, alpha, beta = barrier.split(weight)
    both = alpha + beta
    bend = bend + on_edges + (alpha * (beta / both)).reshape(-1, len(first)).sum(axis=0)
    ends = low + high if program.box else 0.0
    solve = graph_solver(
        graph.a, graph.b, bend, 2 * program.c * graph.w, 2 * program.d + ends, tol=LOOSE
    )
    if solve is None:
        return None
    still = first, program.pull(point.r), np.outer(barrier.kinks.jump, graph.w).ravel()

    def step(target: np.ndarray | float) -> tuple[np.ndarray, ...]:
        aims = target / point.s
        t_edges, t_low, t_high, t_alpha, t_beta = barrier.split(aims)
        rho = t_alpha + t_beta - still[2]
        flow = still[0] + t_edges + (beta / both * rho - t_beta).reshape(-1, len(first)).sum(axis=0)
        right = graph.divergence(flow) - still[1]
        right = right + t_low - t_high if program.box else right
        dr = solve(right)
        dr = graph.centred(dr) if program.floating else dr
        dg = np.tile(graph.differences(dr), len(barrier.kinks.at))
        dt = (rho + beta * dg) / both
        ds = barrier.slack_steps(dr, dt)
        return dr, dt, ds, aims - point.z - weight * ds

    *_, ds, dz = step(0.0)
    primal, dual = min(1.0, room(point.s, ds)), min(1.0, room(point.z, dz))
    ahead = float((point.s + primal * ds) @ (point.z + dual * dz)) / len(ds)
    # After a short step the products s z are brought together first.
    centring = max((ahead / mu) ** 3, 0.3 if careful else 0.0) * mu
    plain = careful or min(primal, dual) < 0.1
    dr, dt, ds, dz = step(centring if plain else centring - ds * dz)
    if not plain and not barrier.rise(point, dr, dt, ds, centring) > 0:
        # The second-order term turned the step downhill; without it Newton's step goes uphill.
        dr, dt, ds, dz = step(centring)
    if not (np.all(np.isfinite(ds)) and np.all(np.isfinite(dz))):
        return None
    return dr, dt, ds, dz, centring
