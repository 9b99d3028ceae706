"""The optimum as the number of completions grows: limit laws, certified."""

from __future__ import annotations

from collapse_theory.limit.atoms import FAMILIES, atom_mass, atom_parameter
from collapse_theory.limit.closed_form import closed_form
from collapse_theory.limit.convergence import Convergence, convergence
from collapse_theory.limit.many import Laws, limit_many
from collapse_theory.limit.prediction import Prediction
from collapse_theory.limit.solve import LimitLaw, limit, predicted_rewards
from collapse_theory.limit.solvers import METHODS, Method

__all__ = [
    "FAMILIES",
    "METHODS",
    "Convergence",
    "Laws",
    "LimitLaw",
    "Method",
    "Prediction",
    "atom_mass",
    "atom_parameter",
    "closed_form",
    "convergence",
    "limit",
    "limit_many",
    "predicted_rewards",
]


def __dir__() -> list[str]:
    return __all__
