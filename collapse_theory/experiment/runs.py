"""The runs that a setting asks for, in the order in which they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from collapse_theory.experiment.objectives import Objective
from collapse_theory.experiment.settings import Setting
from collapse_theory.values import Value

__all__ = ["CONTROLS", "LAST_LAYER", "NEUTRAL", "SAME_LENGTHS", "Run", "runs_of"]

LAST_LAYER, SAME_LENGTHS, NEUTRAL = CONTROLS = ("last layer", "same lengths", "neutral prompts")


@dataclass(frozen=True, eq=False)
class Run(Value):
    """One training.

    Attributes
    ----------
    objective : Objective
    seed : int
        Of the head's first weights and the order of the prompts.
    control : str
        "" or one of `CONTROLS`: the last hidden layer alone as features; the same completion
        lengths for both kinds; these and prompts that don't tell the kind.
    number : int
        Its place among the runs, from 1.
    """

    objective: Objective
    seed: int
    control: str = ""
    number: int = 1

    @property
    def folder(self) -> str:
        """A name for its folder: readable, and unlike any other run's."""
        words = re.sub(r"[^a-z0-9.]+", "-", f"{self.objective} {self.control}".lower()).strip("-")
        return f"{self.number:02d}-{words[:48].strip('-')}-seed-{self.seed}"

    def __str__(self) -> str:
        control = f", {self.control}" if self.control else ""
        return f"{self.objective}{control}, seed {self.seed}"


def runs_of(setting: Setting) -> tuple[Run, ...]:
    """Return the runs: every objective with every seed, then the controls, one seed each.

    The controls are for the prompt-aware objective, if there is one, and for the first fixed one
    that holds every reward in place (a linear one leaves the middle free). The fixed one has no
    neutral prompts: it asks for the same rewards whether or not the kinds can be told apart.

    Examples
    --------
    >>> for run in runs_of(Setting(utilities=("log(x)", "a=x; b=log(x)"), seeds=1)):
    ...     print(run)
    log(x), seed 0
    a=x; b=log(x), seed 0
    log(x), last layer, seed 0
    a=x; b=log(x), last layer, seed 0
    log(x), same lengths, seed 0
    a=x; b=log(x), same lengths, seed 0
    a=x; b=log(x), neutral prompts, seed 0
    """
    objectives = setting.objectives
    seeds = range(setting.seed, setting.seed + setting.seeds)
    wanted = [(objective, seed, "") for objective in objectives for seed in seeds]
    if setting.controls and not setting.data and not setting.full:
        aware = [objective for objective in objectives if objective.aware][:1]
        fixed = [objective for objective in objectives if not objective.aware]
        fixed = sorted(fixed, key=lambda objective: str(objective) == "x")[:1]
        both = (*fixed, *aware)
        wanted += [(objective, setting.seed, LAST_LAYER) for objective in both]
        wanted += [(objective, setting.seed, SAME_LENGTHS) for objective in both]
        wanted += [(objective, setting.seed, NEUTRAL) for objective in aware]
    return tuple(Run(*one, number=number) for number, one in enumerate(wanted, start=1))
