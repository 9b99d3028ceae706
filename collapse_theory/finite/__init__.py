"""The optimum for n completions: one program, the solvers that fit it, one certificate."""

from __future__ import annotations

from collapse_theory.finite.many import Solutions, solve_many
from collapse_theory.finite.solve import METHODS, SOLVERS, Method, solve

__all__ = ["METHODS", "SOLVERS", "Method", "Solutions", "solve", "solve_many"]


def __dir__() -> list[str]:
    return __all__
