"""What is trained, on what, for how long; and the runs that this asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from collapse_theory.errors import CollapseError, ParseError
from collapse_theory.numerics.checks import whole
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss, PromptAwareRankingLoss
from collapse_theory.utilities import utility
from collapse_theory.values import Value

DEFAULT = ("x", "log(x+0.1)", "-1/(x+0.1)", "logsigmoid(4*x)", "open=-1/(x+0.1); closed=x")
"""What the paper's experiments trained, and what it proposes: arXiv:2305.17608, section 3."""


@dataclass(frozen=True, eq=False)
class Objective(Value):
    """What a run trains with: one utility for all prompts, or one for each kind of prompt.

    Parameters
    ----------
    text : str
        "log(x+0.1)", or "open=-1/(x+0.1); closed=x"; anything else is a ParseError.

    Examples
    --------
    >>> Objective("open=-1/(x+0.1); closed=x").utilities
    {'open': '-1/(x + 0.1)', 'closed': 'x'}
    >>> Objective("log(x + 0.1)").aware
    False
    """

    text: str

    def __post_init__(self) -> None:
        super().__post_init__()
        given, parts = self.utilities, [part for part in self.text.split(";") if part.strip()]
        if not parts or len(given) < len(parts) or (self.aware and "" in given):
            raise ParseError(f"{self.text!r}: give one utility, or kind=utility; kind=utility")
        made = [(f"{kind}=" if kind else "") + str(utility(text)) for kind, text in given.items()]
        self._set(text="; ".join(made))

    @property
    def utilities(self) -> dict[str, str]:
        """The utility of each kind; of the kind "" where one serves all prompts."""
        parts = (part.rpartition("=") for part in self.text.split(";") if part.strip())
        return {kind.strip(): text.strip() for kind, _, text in parts}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have a utility of their own; none where one serves all."""
        return tuple(self.utilities) if self.aware else ()

    @property
    def aware(self) -> bool:
        """Whether the utility depends on the kind of prompt."""
        return "=" in self.text

    def loss(self) -> AnyLoss:
        """Return the loss in the box [0, 1], scaled to slope 1 at gap 0."""
        return PromptAwareRankingLoss(self.utilities) if self.aware else RankingLoss(self.text)

    def __str__(self) -> str:
        return self.text


# Of the whole numbers of a setting.
_LEAST = {"seed": 0, "warmup": 0, "seeds": 1, "steps": 1, "batch": 1, "width": 1}
_LEAST |= {"checkpoint_every": 1, "train": 2, "held_out": 2, "max_length": 8}

# What differs from the defaults, by whether all weights are trained and whether it is to be quick.
_FULL: dict[str, Any] = {"full": True, "utilities": ("log(x+0.1)",), "seeds": 1, "rate": 1e-4}
_FULL |= {"train": 48, "held_out": 24, "batch": 4}
_USUAL: dict[tuple[bool, bool], dict[str, Any]] = {
    (False, False): {},
    (False, True): {"utilities": ("log(x+0.1)", DEFAULT[-1]), "controls": False, "seeds": 1}
    | {"train": 24, "held_out": 12, "batch": 12, "steps": 250},
    (True, False): _FULL | {"steps": 240, "warmup": 20, "checkpoint_every": 40},
    (True, True): _FULL
    | {"train": 8, "held_out": 4, "steps": 8, "warmup": 2, "checkpoint_every": 4},
}


@dataclass(frozen=True, eq=False)
class Setting(Value):
    """Everything that the outcome depends on, apart from the texts themselves.

    A CollapseError says of a number that it is out of range, of a text that it is no objective.

    Parameters
    ----------
    utilities : tuple of str
        What is trained, as `Objective` reads it.
    seed, seeds : int
        The seed of the prompts' shuffle and split and of each objective's first run; its runs.
    steps, batch, train, held_out : int
        Steps; prompts a step, to train on and held out. With `data` the last two give the share of
        its prompts that is held out.
    rate, warmup : float, int
        AdamW's learning rate at its highest: it rises over `warmup` steps, then falls as a cosine.
    width, max_length : int
        Of the head's two hidden layers; of prompt and completion in tokens, the rest is cut.
    controls : bool
        Whether to run the controls too: last layer alone, same lengths, neutral prompts.
    encoder, data : str
        A model's name or folder, "" for the packaged all-MiniLM-L6-v2; a file of rankings, "" for
        the documentation of Python, NumPy and SciPy.
    full, checkpoint_every : bool, int
        Whether to fine-tune the whole encoder in place of a head on frozen features, and every how
        many steps that is kept; a head's run is kept when it is done.

    Examples
    --------
    >>> Setting().steps, len(Setting().objectives)
    (1500, 5)
    """

    utilities: tuple[str, ...] = DEFAULT
    seed: int = 0
    seeds: int = 2
    steps: int = 1500
    train: int = 200
    held_out: int = 100
    batch: int = 32
    rate: float = 1e-3
    warmup: int = 30
    width: int = 128
    max_length: int = 256
    checkpoint_every: int = 250
    controls: bool = True
    encoder: str = ""
    data: str = ""
    full: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in _LEAST.items():
            whole(getattr(self, name), name, least)
        if not 0 < self.rate < 1:
            raise CollapseError(f"rate must lie between 0 and 1, got {self.rate!r}")
        texts = (self.utilities,) if isinstance(self.utilities, str) else self.utilities
        made = tuple(dict.fromkeys(str(Objective(text)) for text in texts))
        if not made:
            raise CollapseError("at least one utility is needed")
        self._set(utilities=made)

    @classmethod
    def usual(cls, *, small: bool = False, full: bool = False, **changes: Any) -> Self:
        """Return the usual setting with changes: of heads, or of the whole encoder.

        A small one of heads runs in well under a minute; a step of the whole encoder costs seconds
        on a CPU.
        """
        return cls(**(_USUAL[full, small] | changes))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is trained."""
        return tuple(Objective(text) for text in self.utilities)


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
        return f"{self.objective}{', ' * bool(self.control)}{self.control}, seed {self.seed}"


def runs_of(setting: Setting) -> tuple[Run, ...]:
    """Return the runs: every objective with every seed, then the controls, one seed each.

    The controls are for the prompt-aware objective, if there is one, and for the first fixed one
    that holds every reward in place (a linear one leaves the middle free). The fixed one has no
    neutral prompts: it asks for the same rewards whether or not the kinds can be told apart.

    >>> chosen = Setting(utilities=("log(x)", "a=x; b=log(x)"), seeds=1)
    >>> print(*runs_of(chosen)[1:5], sep="; ")
    a=x; b=log(x), seed 0; log(x), last layer, seed 0; a=x; b=log(x), last layer, seed 0; ...
    """
    objectives, seed = setting.objectives, setting.seed
    wanted = [(one, seed + more, "") for one in objectives for more in range(setting.seeds)]
    if setting.controls and not setting.data and not setting.full:
        aware = [one for one in objectives if one.aware][:1]
        fixed = sorted((one for one in objectives if not one.aware), key=lambda o: str(o) == "x")
        for control in CONTROLS:
            compared = aware if control == NEUTRAL else [*fixed[:1], *aware]
            wanted += [(one, seed, control) for one in compared]
    return tuple(Run(*one, number=number) for number, one in enumerate(wanted, start=1))
