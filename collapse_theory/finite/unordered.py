"""Newton's method for programs that keep no order: strongly concave, with nothing to hold apart."""

from __future__ import annotations

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.numerics.graph_systems import graph_solver
from collapse_theory.numerics.roots import bisect
from collapse_theory.programs import Answer, ListwiseProgram, Program

MOST_STEPS = 200
ROUNDING = 1e-15  # of the largest reward: no step is shorter


class Unordered:
    """Newton's method with an exact line search, for a smooth utility and centers of rewards.

    Below gap 0 a utility goes on along its tangent, so that U'' jumps there, and at the optimum
    many gaps lie at the jump: each step takes the U'' of the side that a gap is on, and goes to the
    maximum along the step, which for a U' that is piecewise smooth converges from anywhere (L. Qi,
    J. Sun, Mathematical Programming 58 (1993), 353-367; J. Sun, Mathematics of Operations Research
    22 (1997), 183-203).
    """

    name = "newton"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether no order is kept, and U' has no jumps."""
        return isinstance(program, Program) and program.least_gap < 0 and not program.utility.kinks

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the optimal rewards."""
        graph, converged = program.graph, False
        r = np.full(graph.k, np.mean(program.centers))
        for _ in budget.rounds(MOST_STEPS):
            slopes, bend = program.slopes(graph.differences(r))
            solve = graph_solver(graph.a, graph.b, bend, 0.0, program.stiffness(r))
            if solve is None:
                break
            step = solve(graph.divergence(slopes) - program.pull(r))

            def rise(part: float, r: np.ndarray = r, step: np.ndarray = step) -> float:
                ahead = r + part * step
                first = program.slopes(graph.differences(ahead))[0]
                return float((graph.divergence(first) - program.pull(ahead)) @ step)

            ahead = r + step * (1.0 if rise(1.0) >= 0 else bisect(rise, 0.0, 1.0))
            converged = float(np.abs(ahead - r).max()) <= ROUNDING * float(np.abs(ahead).max())
            r = ahead
            if converged:
                break
        return Answer(rewards=r, unique=True, converged=converged)
