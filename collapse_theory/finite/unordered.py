"""Newton's method for programs that keep no order: strongly concave, with nothing to hold apart."""

from __future__ import annotations

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.finite.log_newton import settles
from collapse_theory.numerics.graph_systems import graph_solver
from collapse_theory.programs import Answer, ListwiseProgram, Program

MOST_STEPS = 200
SHORTEST = 1e-15  # of a step, to which its end is told
ROUNDING = 1e-15  # of the largest reward: no step is shorter
NEAR = 1e-6  # of the largest reward: below it steps shrink quadratically, or are rounding
LEFT = 0.1  # of how steeply f rises along a step: what is left of it near the maximum


class Unordered:
    """Newton's method with a line search, for a smooth utility and centers of rewards.

    Below gap 0 a utility goes on along its tangent, so that U'' jumps there, and at the optimum
    many gaps lie at the jump: each step takes the U'' of the side that a gap is on, and goes to the
    maximum along the step, or nearly, which for a U' that is piecewise smooth converges from
    anywhere (L. Qi, J. Sun, Mathematical Programming 58 (1993), 353-367; J. Sun, Mathematics of
    Operations Research 22 (1997), 183-203).
    """

    name = "newton"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether no order is kept, and U' has no jumps."""
        return isinstance(program, Program) and program.least_gap < 0 and not program.utility.kinks

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the optimal rewards."""
        graph, converged, last = program.graph, False, np.inf
        r = np.full(graph.k, np.mean(program.centers))
        force, bend = _forces(program, r)
        for _ in budget.rounds(MOST_STEPS):
            solve = graph_solver(graph.a, graph.b, bend, 0.0, program.stiffness(r))
            if solve is None:
                break
            step = solve(force)
            r, force, bend = _near_the_top(program, r, step, LEFT * float(force @ step))
            size = float(np.abs(step).max()) / (float(np.abs(r).max()) or 1.0)
            near = size < NEAR and (size >= 0.5 * last or settles(size, last))
            converged = size <= ROUNDING or near
            if converged:
                break
            last = size
        return Answer(
            rewards=r,
            multipliers=np.zeros(len(graph.a)),  # of an order that isn't kept
            iterations=budget.used,
            unique=True,
            converged=converged,
        )


def _forces(program: Program, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient, and the edges' curvature."""
    slopes, bend = program.slopes(program.graph.differences(r))
    return program.graph.divergence(slopes) - program.pull(r), bend


def _near_the_top(
    program: Program, r: np.ndarray, step: np.ndarray, left: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rewards on the way of a step at which f rises or falls by `left` at most, or its end
    where f still rises; and the forces there.
    """
    low, high, part = 0.0, 1.0, 1.0
    while True:
        ahead = r + part * step
        force, bend = _forces(program, ahead)
        rise = float(force @ step)
        reached = rise >= -left and (part == 1.0 or rise <= left)
        if reached or high - low < SHORTEST:
            return ahead, force, bend
        low, high = (part, high) if rise > 0 else (low, part)
        part = (low + high) / 2
