"""The errors of the package: each says what was given, what was needed and what to do."""

from __future__ import annotations


class CollapseError(ValueError):
    """The base of the package's errors about an input; a ``ValueError``.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.solve("log(x)", 1)
    ... except ct.CollapseError as fault:
    ...     print(fault)
    a ranking needs at least 2 completions, got n = 1
    """


class InvalidUtility(CollapseError):
    """A utility that can't be used: a parameter out of range, or no values where needed.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.Hinge(-1)
    ... except ct.InvalidUtility as fault:
    ...     print(fault)
    m of Hinge must be positive, not -1.0
    """


class ParseError(InvalidUtility):
    """A text that is no utility.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.utility("log(y)")
    ... except ct.ParseError as fault:
    ...     print(fault)
    found 'y' at column 5; the gap is called x
    """


class NotConcave(InvalidUtility):
    """A utility that is convex somewhere among the gaps.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.utility("x**2")
    ... except ct.NotConcave as fault:
    ...     print(fault)
    the utility x**2 is not concave: U''(1) = 2 > 0; a ranking utility must be ...
    """


class NotIncreasing(InvalidUtility):
    """A utility that falls with the gap somewhere among the gaps that a domain allows.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.solve(ct.Squared(0.5), 4)
    ... except ct.NotIncreasing as fault:
    ...     print(fault)
    the utility -(x - 0.5)**2 falls at the gap 0.50025 (U'(1) = -1 < 0): in a box ...
    """


class NoClosedForm(CollapseError):
    """No closed form is known for this utility; the message names the nearest method.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.closed_form("log(x + 0.1)")
    ... except ct.NoClosedForm as fault:
    ...     print(fault)
    no closed form of the limit law is known for log(x + 0.1); ct.limit(u, domain) ...
    """


class NoConicForm(CollapseError):
    """The utility can't be written for a conic solver; ``method="newton"`` can solve it.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.solve("atan(x)", 3, method="conic")
    ... except ct.NoConicForm as fault:
    ...     print(fault)
    atan has no conic form; use method="newton"
    """


class NoOptimum(CollapseError):
    """Nothing holds the rewards: the objective has no maximum.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.solve("logsigmoid(x)", 4, ct.Free())
    ... except ct.NoOptimum as fault:
    ...     print(fault)
    nothing holds the rewards under Free(): logsigmoid(x) has no maximum, and the ...
    """


class OutOfRange(CollapseError):
    """The answer has gaps that float64 can't hold.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> try:
    ...     ct.solve(ct.PlackettLuce(), 8, ct.Confined(1e-300))
    ... except ct.OutOfRange as fault:
    ...     print(fault)
    kappa / beta**2 = 1e-300 is outside [1e-100, 1e+100] for PlackettLuce() and ...
    """


class NotInstalled(ModuleNotFoundError, CollapseError):
    """A package that isn't installed is needed; the message names the extra that brings it."""


class SolverFailed(RuntimeError):
    """No installed solver returned a usable answer."""
