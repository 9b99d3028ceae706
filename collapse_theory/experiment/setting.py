"""What is trained, on what, for how long; and the runs that this asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from collapse_theory.errors import CollapseError, ParseError
from collapse_theory.numerics.checks import whole
from collapse_theory.programs import Box, Centered, Confined, Domain, Free
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss, PromptAwareRankingLoss
from collapse_theory.utilities import as_loss
from collapse_theory.values import Value

DEFAULT = ("x", "log(x+0.1)", "-1/(x+0.1)", "logsigmoid(4*x)", "open=-1/(x+0.1); closed=x")
"""What the paper's experiments trained, and what it proposes: arXiv:2305.17608, section 3."""

PLAIN = "logsigmoid(x) under Free()"
"""The usual loss of reward models: that of Bradley and Terry, which nothing holds."""

# In a box one loss, the prompt-aware one, and that with the kinds swapped; then the usual losses.
STUDIED = (
    *("log(x+0.1)", DEFAULT[-1], "open=x; closed=-1/(x+0.1)", PLAIN),
    "0.9*logsigmoid(x) + 0.1*logsigmoid(-x) under Free()",
    "logsigmoid(x) under Confined(.02)",
)

HELD = {"Confined": Confined, "Centered": Centered, "Free": Free}


@dataclass(frozen=True, eq=False)
class Objective(Value):
    """What a run trains with: one utility for all prompts, or one for each kind of prompt.

    Parameters
    ----------
    text : str
        "log(x+0.1)", or "open=-1/(x+0.1); closed=x", for rewards in the box [0, 1]; with what holds
        them otherwise, "logsigmoid(x) under Confined(0.02)". Anything else is a ParseError.

    Examples
    --------
    >>> Objective("open=-1/(x+0.1); closed=x").utilities
    {'open': '-1/(x + 0.1)', 'closed': 'x'}
    >>> Objective("logsigmoid(x) under Free()").domain
    Free()
    """

    text: str

    def __post_init__(self) -> None:
        super().__post_init__()
        given, parts = self.utilities, [one for one in self._parts[0].split(";") if one.strip()]
        if not parts or len(given) < len(parts) or ("=" in self._parts[0] and "" in given):
            raise ParseError(f"{self.text!r}: give one utility, or kind=utility; kind=utility")
        made = [(f"{kind}=" if kind else "") + str(as_loss(text)) for kind, text in given.items()]
        try:
            self._set(text="; ".join(made) + (f" under {self.domain}" if self._parts[1] else ""))
        except (IndexError, KeyError, TypeError, ValueError):
            raise ParseError(
                f"{self.text!r}: under Confined(kappa), Centered(c) or Free(), not "
                f"{self._parts[2]!r}; leave it out for the box [0, 1]"
            ) from None

    @property
    def _parts(self) -> tuple[str, str, str]:
        return self.text.partition(" under ")

    @property
    def domain(self) -> Domain:
        """What holds the rewards."""
        _, under, held = self._parts
        name, *numbers = [part for part in re.split(r"[\s(),]|kappa=|c=", held) if part] or [""]
        return HELD[name](*map(float, numbers)) if under else Box()

    @property
    def utilities(self) -> dict[str, str]:
        """The utility of each kind; of the kind "" where one serves all prompts."""
        parts = (part.rpartition("=") for part in self._parts[0].split(";") if part.strip())
        return {kind.strip(): text.strip() for kind, _, text in parts}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have a utility of their own; none where one serves all."""
        return tuple(kind for kind in self.utilities if kind)

    @property
    def aware(self) -> bool:
        """Whether the utility depends on the kind of prompt."""
        return bool(self.kinds)

    def loss(self) -> AnyLoss:
        """Return the loss, scaled to slope 1 at gap 0."""
        if self.aware:
            return PromptAwareRankingLoss(self.utilities, self.domain)
        return RankingLoss(self.utilities[""], self.domain)

    def __str__(self) -> str:
        return self.text


# What differs from the defaults: in small settings, fine-tuning, studies, and small ones of these.
_SMALL = {"prompts": 36, "seeds": 1, "steps": 250, "batch": 12, "controls": False}
_SMALL |= {"utilities": ("log(x+0.1)", DEFAULT[-1])}
_FULL = {"full": True, "utilities": ("log(x+0.1)",), "seeds": 1, "rate": 1e-4, "batch": 4}
_FULL |= {"prompts": 72, "steps": 240, "warmup": 20, "checkpoint_every": 40}
_FULL_SMALL = {"prompts": 12, "steps": 8, "warmup": 2, "checkpoint_every": 4}
_STUDY = {"study": True, "utilities": STUDIED, "seeds": 6, "steps": 300, "max_length": 128}
_STUDY_SMALL = {"utilities": (*STUDIED[:2], PLAIN), "prompts": 72, "seeds": 3, "steps": 150}

# The least of each whole number of a setting.
_LEAST = {"seed": 0, "warmup": 0, "seeds": 1, "steps": 1, "batch": 1, "width": 1}
_LEAST |= {"checkpoint_every": 1, "prompts": 6, "max_length": 8}


@dataclass(frozen=True, eq=False)
class Setting(Value):
    """Everything that the outcome depends on, apart from the texts themselves.

    A CollapseError says of a number that it is out of range, of a text that it is no objective.

    Parameters
    ----------
    utilities : tuple of str
        What is trained, as `Objective` reads it.
    seed, seeds : int
        The seed of the prompts' shuffle and of each objective's first run; its runs. A run with the
        seed s holds out the s-th third of the prompts (0, 1, 2, 0, ...).
    steps, batch, prompts : int
        Steps; prompts a step; prompts in all, but with `data` those that are in the file.
    rate, warmup : float, int
        AdamW's learning rate at its highest: it rises over `warmup` steps, then falls as a cosine.
    width, max_length : int
        Of the head's two hidden layers; of prompt and completion in tokens, the rest is cut.
    controls : bool
        Whether to run the controls too: same lengths, neutral prompts, a linear head.
    encoder, data : str
        A model's name or folder, "" for the packaged all-MiniLM-L6-v2; a file of rankings, "" for
        the documentation of Python, NumPy and SciPy.
    full, checkpoint_every : bool, int
        Whether to fine-tune the whole encoder in place of a head on frozen features, and every how
        many steps that is kept; a head's run is kept when it is done.
    study : bool
        Whether the losses are held against each other on held-out prompts (`study.compared`).

    Examples
    --------
    >>> Setting().steps, len(Setting().objectives), Setting.usual(small=True).steps
    (1500, 5, 250)
    """

    utilities: tuple[str, ...] = DEFAULT
    seed: int = 0
    seeds: int = 2
    steps: int = 1500
    prompts: int = 300
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
    study: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in _LEAST.items():
            whole(getattr(self, name), name, least)
        if not 0 < self.rate < 1:
            raise CollapseError(f"rate must lie between 0 and 1, got {self.rate!r}")
        texts = (self.utilities,) if isinstance(self.utilities, str) else self.utilities
        self._set(utilities=tuple(dict.fromkeys(str(Objective(text)) for text in texts)))
        if not self.utilities:
            raise CollapseError("at least one utility is needed")

    @classmethod
    def usual(
        cls, *, small: bool = False, full: bool = False, study: bool = False, **changes: Any
    ) -> Self:
        """Return the usual setting of heads, of the whole encoder or of the study, with changes."""
        usual: dict[str, Any] = dict(_SMALL if small else {})
        usual |= (_FULL | (_FULL_SMALL if small else {})) if full else {}
        usual |= (_STUDY | (_STUDY_SMALL if small else {})) if study else {}
        return cls(**(usual | changes))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is trained."""
        return tuple(Objective(text) for text in self.utilities)


SAME_LENGTHS, NEUTRAL, LINEAR, CERTIFIED = CONTROLS = (
    *("same lengths", "neutral prompts"),
    *("linear head", "linear head, certified optimum"),
)
FOLDS = 3  # each run holds out one


@dataclass(frozen=True, eq=False)
class Run(Value):
    """One training: of an objective, as what control, and its place among the runs, from 1.

    The seed is that of the head's first weights, the order of the prompts, and which third is held
    out. Controls: the same completion lengths for both kinds; these and prompts that don't tell the
    kind; a linear head with an L2 penalty, trained; the optimum of that.
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
    """Return the runs: every objective with every seed, then the controls.

    Those with texts of their own are for the prompt-aware objective, and for the first fixed one
    that holds every reward in place (a linear one leaves the middle free), which has no neutral
    prompts: it asks for the same rewards whether or not the kinds can be told apart. A linear head
    has every seed in a study, and one else.

    >>> chosen = Setting(utilities=("log(x)", "a=x; b=log(x)"), seeds=1)
    >>> print(*runs_of(chosen)[1:4], sep="; ")
    a=x; b=log(x), seed 0; log(x), same lengths, seed 0; a=x; b=log(x), same lengths, seed 0
    """
    objectives, seeds = setting.objectives, range(setting.seed, setting.seed + setting.seeds)
    wanted = [(one, seed, "") for one in objectives for seed in seeds]
    if setting.controls and not (setting.data or setting.full or setting.study):
        aware = [one for one in objectives if one.aware][:1]
        fixed = sorted((one for one in objectives if not one.aware), key=lambda o: str(o) == "x")
        wanted += [(one, setting.seed, SAME_LENGTHS) for one in [*fixed[:1], *aware]]
        wanted += [(one, setting.seed, NEUTRAL) for one in aware]
    if not setting.full and (setting.study or setting.controls):
        for seed in seeds if setting.study else seeds[:1]:
            wanted += [(Objective(PLAIN), seed, control) for control in (LINEAR, CERTIFIED)]
    return tuple(Run(*one, number=number) for number, one in enumerate(wanted, start=1))
