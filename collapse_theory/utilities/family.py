"""What a family of utilities is, and what their formulas and texts share."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.utilities.base import Utility, number_text

__all__ = ["Family", "grouped", "log_sigmoid", "times"]


class Family(Utility):
    """A utility with a name and parameters; its text is written for any argument."""

    def text(self, argument: str) -> str:
        """Return the utility's text at `argument`, an expression such as ``x + 0.1``."""
        raise NotImplementedError

    def gain(self, x: Any, step: Any) -> Any:
        """Return U(x + step) - U(x) for steps >= 0; families do it without cancellation."""
        return self.value(x + step) - self.value(x)

    def shortfall(self, x: Any, top: float) -> Any:
        if type(self).gain is Family.gain:
            return super().shortfall(x, top)
        return self.gain(x, top - x)

    def __str__(self) -> str:
        return self.text("x")


def log_sigmoid(z: Any, xp: Any = np) -> Any:
    """Return log(1/(1+exp(-z))) without overflow."""
    # min(z, 0) = (z - |z|)/2 exactly.
    return (z - xp.abs(z)) / 2 - xp.log1p(xp.exp(-xp.abs(z)))


def grouped(argument: str) -> str:
    return argument if argument == "x" else f"({argument})"


def times(factor: float, argument: str) -> str:
    return argument if factor == 1 else f"{number_text(factor)}*{grouped(argument)}"
