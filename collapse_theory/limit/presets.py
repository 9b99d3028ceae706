"""The losses that people train with, under one roof: each with its program and what comes of it.

One place for the command line's table and the figure: a preset is one line of `PRESETS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from collapse_theory.errors import CollapseError, NoOptimum
from collapse_theory.finite import solve
from collapse_theory.laws import RewardLaw
from collapse_theory.limit.solve import limit
from collapse_theory.programs import Box, Centered, Confined, Domain, Free, Solution
from collapse_theory.utilities import (
    Hinge,
    LabelSmoothing,
    LogSigmoid,
    Loss,
    PlackettLuce,
    Squared,
)
from collapse_theory.values import Value


@dataclass(frozen=True, eq=False)
class Preset(Value):
    """A way of training: a loss, and what holds the rewards.

    Attributes
    ----------
    name : str
        Short, as the field says it.
    loss : Utility or PlackettLuce
        Its utility of a gap, or the listwise loss.
    domain : Box, Confined, Centered or Free
        Where the rewards may lie, or what holds them.
    formula : str
        Both in short, as matplotlib's mathtext.
    instead : str
        Where there is no optimum, what training does instead; else empty.

    Examples
    --------
    >>> from collapse_theory.limit.presets import preset
    >>> preset("best of K").solve(4).rewards.tolist()
    [1.0, 0.0, 0.0, 0.0]
    >>> preset("pairs, logits").solve(4) is None
    True
    """

    name: str
    loss: Loss
    domain: Domain
    formula: str
    instead: str = ""

    def none(self, n: int) -> str:
        """Return why n completions have no optimum, an empty text where they have one."""
        if isinstance(self.domain, Centered) and n == 2:
            return "none: r_1 + r_2 = 0 costs nothing while their gap grows"
        return self.instead

    def solve(self, n: int = 8) -> Solution | None:
        """Return the optimal rewards of n completions, None where there is no optimum."""
        return None if self.none(n) else solve(self.loss, n, self.domain)

    def law(self) -> RewardLaw | None:
        """Return the limit law, None where there is no optimum."""
        return None if self.instead else limit(self.loss, self.domain)

    def refused(self) -> bool:
        """Whether the solvers find no optimum either, as `instead` says."""
        for ask in (
            lambda: solve(self.loss, 8, self.domain),
            lambda: limit(self.loss, self.domain),
        ):
            try:
                ask()
            except NoOptimum:
                continue
            return False
        return True


_RUNS_OFF = "none: the gaps grow without end, in the limit equally spaced (ct.max_margin)"
_APART = "none: all rewards 1 or more apart are as good; the least norm is equally spaced"
_PENALTY, _CENTRING = r"$\,-\,0.02\,r^2$", r"$\,-\,0.01\,(r_i+r_j)^2$"

PRESETS: tuple[Preset, ...] = (
    Preset("pairs, sigmoid rewards", LogSigmoid(4.0), Box(), r"$\log\sigma(4x)$ in [0, 1]"),
    Preset("pairs, logits", LogSigmoid(), Free(), r"$\log\sigma(x)$", _RUNS_OFF),
    Preset("pairs, penalty", LogSigmoid(), Confined(0.02), rf"$\log\sigma(x)${_PENALTY}"),
    Preset("pairs, centring", LogSigmoid(), Centered(0.01), rf"$\log\sigma(x)${_CENTRING}"),
    Preset(
        "pairs, smoothed labels",
        LabelSmoothing(0.1),
        Free(),
        r"$0.9\,\log\sigma(x)+0.1\,\log\sigma(-x)$",
    ),
    Preset(
        "pairs, margin and penalty",
        LogSigmoid().shifted(-1.0),
        Confined(0.02),
        rf"$\log\sigma(x-1)${_PENALTY}",
    ),
    Preset("hinge, sigmoid rewards", Hinge(1 / 3), Box(), r"$\min(x,\,1/3)$ in [0, 1]"),
    Preset("hinge, logits", Hinge(1.0), Free(), r"$\min(x,\,1)$", _APART),
    Preset("squared (IPO)", Squared(1.0), Free(), r"$-(x-1)^2$"),
    Preset("squared, penalty", Squared(1.0), Confined(0.02), rf"$-(x-1)^2${_PENALTY}"),
    Preset(
        "listwise, sigmoid rewards",
        PlackettLuce(beta=4.0),
        Box(),
        r"$\log\,$softmax$(4r)$ in [0, 1]",
    ),
    Preset("listwise, logits", PlackettLuce(), Free(), r"$\log\,$softmax$(r)$", _RUNS_OFF),
    Preset(
        "listwise, penalty",
        PlackettLuce(),
        Confined(0.02),
        rf"$\log\,$softmax$(r)${_PENALTY}",
    ),
    Preset(
        "best of K",
        PlackettLuce(top=1, beta=4.0),
        Box(),
        r"$\log\,$softmax$(4r)_1$ in [0, 1]",
    ),
    Preset(
        "best of K, penalty",
        PlackettLuce(top=1),
        Confined(0.02),
        rf"$\log\,$softmax$(r)_1${_PENALTY}",
    ),
)


def preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises
    ------
    CollapseError
        A ValueError, for an unknown name; it lists the known ones.
    """
    for one in PRESETS:
        if one.name == name:
            return one
    known = ", ".join(repr(one.name) for one in PRESETS)
    raise CollapseError(f"no preset is called {name!r}; known are {known}")
