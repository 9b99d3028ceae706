"""What one comparison is worth: utilities of a reward gap."""

from collapse_theory.utilities.algebra import Shifted, Sum
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.checks import require_concave, require_increasing
from collapse_theory.utilities.custom import Custom
from collapse_theory.utilities.expression import Expression, utility
from collapse_theory.utilities.families import (
    Exponential,
    Family,
    Hinge,
    LabelSmoothing,
    Linear,
    Log,
    LogSigmoid,
    NegativePower,
    Power,
    Quadratic,
    Sine,
    Squared,
)
from collapse_theory.utilities.listwise import PlackettLuce
from collapse_theory.utilities.losses import Loss, as_loss

__all__ = [
    "Custom",
    "Exponential",
    "Expression",
    "Family",
    "Hinge",
    "LabelSmoothing",
    "Linear",
    "Log",
    "LogSigmoid",
    "Loss",
    "NegativePower",
    "PlackettLuce",
    "Power",
    "Quadratic",
    "Shifted",
    "Sine",
    "Squared",
    "Sum",
    "Utility",
    "as_loss",
    "require_concave",
    "require_increasing",
    "utility",
]
