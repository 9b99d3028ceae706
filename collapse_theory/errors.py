"""The errors of the package: each says what was given, what was needed and what to do."""

from __future__ import annotations


class CollapseError(ValueError):
    """The base of the package's errors about an input; a ``ValueError``."""


class InvalidUtility(CollapseError):
    """A utility that can't be used: a parameter out of range, or no values where needed."""


class ParseError(InvalidUtility):
    """A text that is no utility."""


class NotConcave(InvalidUtility):
    """A utility that is convex somewhere among the gaps."""


class NotIncreasing(InvalidUtility):
    """A utility that falls with the gap somewhere among the gaps that a domain allows."""


class NoClosedForm(CollapseError):
    """No closed form is known for this utility; the message names the nearest method."""


class NoConicForm(CollapseError):
    """The utility can't be written for a conic solver; ``method="newton"`` can solve it."""


class NoOptimum(CollapseError):
    """Nothing holds the rewards: the objective has no maximum."""


class OutOfRange(CollapseError):
    """The answer has gaps that float64 can't hold."""


class NotInstalled(ModuleNotFoundError, CollapseError):
    """A package that isn't installed is needed; the message names the extra that brings it."""


class SolverFailed(RuntimeError):
    """No installed solver returned a usable answer."""
