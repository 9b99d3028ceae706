"""The registry of families: a new utility is one class and one line here."""

from __future__ import annotations

from collapse_theory.utilities.bounded import Hinge, Quadratic, Sine, Squared
from collapse_theory.utilities.family import Family
from collapse_theory.utilities.powers import Linear, Log, NegativePower, Power
from collapse_theory.utilities.saturating import Exponential, LabelSmoothing, LogSigmoid

__all__ = [
    "FAMILIES",
    "Exponential",
    "Family",
    "Hinge",
    "LabelSmoothing",
    "Linear",
    "Log",
    "LogSigmoid",
    "NegativePower",
    "Power",
    "Quadratic",
    "Sine",
    "Squared",
]

FAMILIES: tuple[type[Family], ...] = (
    Linear,
    Power,
    Log,
    NegativePower,
    LogSigmoid,
    LabelSmoothing,
    Exponential,
    Quadratic,
    Squared,
    Sine,
    Hinge,
)
