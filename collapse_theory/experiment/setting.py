"""What is trained, on what, for how long; and the runs that this asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Self

from collapse_theory.errors import CollapseError, ParseError
from collapse_theory.training import PromptAwareRankingLoss, RankingLoss
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
        "log(x+0.1)", or "open=-1/(x+0.1); closed=x".

    Raises
    ------
    ParseError
        A ValueError, for a text that is no objective.

    Examples
    --------
    >>> Objective("open=-1/(x+0.1); closed=x").utilities
    (('open', '-1/(x + 0.1)'), ('closed', 'x'))
    >>> Objective("log(x + 0.1)").aware
    False
    """

    text: str

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = _kind_and_utility(self.text)
        kinds = [kind for kind, _ in pairs]
        one = len(pairs) == 1 and "=" not in self.text
        if not (one or (pairs and all(kinds) and len(set(kinds)) == len(kinds))):
            raise ParseError(f"{self.text!r}: give one utility, or kind=utility; kind=utility")
        made = [(f"{kind}=" if kind else "") + str(utility(text)) for kind, text in pairs]
        self._set(text="; ".join(made))

    @property
    def utilities(self) -> tuple[tuple[str, str], ...]:
        """Kind and utility; the kind is "" where one utility serves all prompts."""
        return tuple(_kind_and_utility(self.text))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have a utility of their own; none where one serves all."""
        return tuple(kind for kind, _ in self.utilities if kind)

    @property
    def aware(self) -> bool:
        """Whether the utility depends on the kind of prompt."""
        return bool(self.kinds)

    def loss(self) -> RankingLoss | PromptAwareRankingLoss:
        """Return the loss in the box [0, 1], scaled to slope 1 at gap 0."""
        return (
            PromptAwareRankingLoss(dict(self.utilities)) if self.aware else RankingLoss(self.text)
        )

    def __str__(self) -> str:
        return self.text


def _kind_and_utility(text: str) -> list[tuple[str, str]]:
    parts = (part.rpartition("=") for part in text.split(";") if part.strip())
    return [(kind.strip(), value.strip()) for kind, _, value in parts]


# The least value of each whole number.
_LEAST = {2: ("train", "held_out"), 8: ("max_length",), 0: ("seed", "warmup")}
_LEAST[1] = ("seeds", "steps", "batch", "width", "checkpoint_every")


@dataclass(frozen=True, eq=False)
class Setting(Value):
    """Everything that the outcome depends on, apart from the texts themselves.

    Parameters
    ----------
    utilities : tuple of str
        What is trained, as `Objective` reads it.
    seed : int
        Of the prompts' shuffle and split, and of the first run.
    seeds : int
        Runs of each objective, with the seeds seed, seed + 1, ...
    steps, batch : int
        Steps, and prompts a step.
    train, held_out : int
        Prompts. With `data` the share held_out / (train + held_out) of its prompts is held out.
    rate, warmup : float, int
        AdamW's learning rate at its highest: it rises over `warmup` steps, then falls as a cosine.
    width, max_length : int
        Of the head's two hidden layers; of prompt and completion in tokens, the rest is cut.
    checkpoint_every : int
        Steps, where the whole encoder is trained; a head's run is kept when it is done.
    controls : bool
        Whether to run the controls too: last layer alone, same lengths, neutral prompts.
    encoder : str
        A model's name or folder; "" for the packaged all-MiniLM-L6-v2.
    data : str
        A file of rankings; "" for the documentation of Python, NumPy and SciPy.
    full : bool
        Whether to fine-tune the whole encoder in place of a head on frozen features.

    Raises
    ------
    CollapseError
        For a number out of range or a text that is no objective.

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
        for least, name in ((least, name) for least, names in _LEAST.items() for name in names):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CollapseError(f"{name} must be a whole number from {least} on, got {value!r}")
        if not 0 < self.rate < 1:
            raise CollapseError(f"rate must lie between 0 and 1, got {self.rate!r}")
        texts = (self.utilities,) if isinstance(self.utilities, str) else self.utilities
        made = tuple(dict.fromkeys(str(Objective(text)) for text in texts))
        if not made:
            raise CollapseError("at least one utility is needed")
        self._set(utilities=made)

    @classmethod
    def small(cls, **changes: Any) -> Self:
        """Return a setting that runs in well under a minute: fewer prompts, steps and runs."""
        chosen: dict[str, Any] = {"utilities": ("log(x+0.1)", DEFAULT[-1]), "controls": False}
        chosen |= {"seeds": 1, "steps": 250, "train": 24, "held_out": 12, "batch": 12}
        chosen |= {"checkpoint_every": 100}
        return cls(**(chosen | changes))

    @classmethod
    def whole_encoder(cls, *, small: bool = False, **changes: Any) -> Self:
        """Return a setting for fine-tuning all weights: a step costs seconds on a CPU."""
        chosen: dict[str, Any] = {"utilities": ("log(x+0.1)",), "seeds": 1, "full": True}
        chosen |= {"train": 48, "held_out": 24, "batch": 4, "rate": 1e-4}
        chosen |= {"steps": 240, "warmup": 20, "checkpoint_every": 40}
        if small:
            chosen |= {"train": 8, "held_out": 4, "steps": 8, "warmup": 2, "checkpoint_every": 4}
        return cls(**(chosen | changes))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is trained."""
        return tuple(Objective(text) for text in self.utilities)

    def differences(self, other: Setting) -> tuple[str, ...]:
        """Return "name: other's value, now this one's" for each field in which two differ."""
        values = ((f.name, getattr(other, f.name), getattr(self, f.name)) for f in fields(self))
        return tuple(f"{name}: {old}, now {new}" for name, old, new in values if old != new)


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
    objectives, seed = setting.objectives, setting.seed
    wanted = [(one, seed + more, "") for one in objectives for more in range(setting.seeds)]
    if setting.controls and not setting.data and not setting.full:
        aware = [one for one in objectives if one.aware][:1]
        fixed = sorted(
            (one for one in objectives if not one.aware), key=lambda one: str(one) == "x"
        )
        for control in CONTROLS:
            compared = aware if control == NEUTRAL else [*fixed[:1], *aware]
            wanted += [(one, seed, control) for one in compared]
    return tuple(Run(*one, number=number) for number, one in enumerate(wanted, start=1))
