"""What one comparison is worth: utilities of a reward gap; and what a whole ranking is worth."""

from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.capped import Hinge, Quadratic, Sine, Squared
from collapse_theory.utilities.checks import require_concave, require_increasing
from collapse_theory.utilities.continued import Continued, continued
from collapse_theory.utilities.custom import Custom
from collapse_theory.utilities.families import (
    Exponential,
    LabelSmoothing,
    Linear,
    Log,
    LogSigmoid,
    NegativePower,
    Power,
)
from collapse_theory.utilities.many import Many, named
from collapse_theory.utilities.normal_form import Expression, Loss, as_loss, utility
from collapse_theory.utilities.parser import register
from collapse_theory.utilities.plackett_luce import PlackettLuce
from collapse_theory.utilities.stack import Stack, form

__all__ = [
    "Continued",
    "Custom",
    "Exponential",
    "Expression",
    "Hinge",
    "LabelSmoothing",
    "Linear",
    "Log",
    "LogSigmoid",
    "Loss",
    "Many",
    "NegativePower",
    "PlackettLuce",
    "Power",
    "Quadratic",
    "Sine",
    "Squared",
    "Stack",
    "Utility",
    "as_loss",
    "continued",
    "form",
    "named",
    "register",
    "require_concave",
    "require_increasing",
    "utility",
]


def __dir__() -> list[str]:
    return __all__
