"""The optimum for n completions: Newton's method of our own, and a conic reference."""

from __future__ import annotations

from collapse_theory.finite.held import held_solution, penalty
from collapse_theory.finite.solve import METHODS, solve

__all__ = ["METHODS", "held_solution", "penalty", "solve"]
