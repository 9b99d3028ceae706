"""Everything that the experiment's outcome depends on, apart from the texts themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from collapse_theory.errors import CollapseError
from collapse_theory.experiment.objectives import DEFAULT, Objective
from collapse_theory.values import Value

__all__ = ["Setting"]

_LEAST = {
    "seed": 0,
    "seeds": 1,
    "steps": 1,
    "train": 2,
    "held_out": 2,
    "batch": 1,
    "warmup": 0,
    "width": 1,
    "max_length": 8,
    "checkpoint_every": 1,
}


@dataclass(frozen=True, eq=False)
class Setting(Value):
    """What is trained, on what, for how long.

    Parameters
    ----------
    utilities : tuple of str
        What is trained, as `Objective.parse` reads it.
    seed : int
        Of the prompts' shuffle and split, and of the first run.
    seeds : int
        Runs of each objective, with the seeds seed, seed + 1, ...
    steps : int
    train, held_out : int
        Prompts. With `data` the share held_out / (train + held_out) of its prompts is held out.
    batch : int
        Prompts a step.
    rate : float
        AdamW's learning rate at its highest: it rises over `warmup` steps, then falls as a cosine.
    warmup : int
    width : int
        Of the head's two hidden layers.
    max_length : int
        Tokens of prompt and completion together; what is longer is cut.
    checkpoint_every : int
        Steps.
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
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CollapseError(f"{name} must be a whole number from {least} on, got {value!r}")
        if not 0 < self.rate < 1:
            raise CollapseError(f"rate must lie between 0 and 1, got {self.rate!r}")
        texts = (self.utilities,) if isinstance(self.utilities, str) else self.utilities
        made = tuple(dict.fromkeys(str(Objective.parse(text)) for text in texts))
        if not made:
            raise CollapseError("at least one utility is needed")
        object.__setattr__(self, "utilities", made)

    @classmethod
    def small(cls, **changes: Any) -> Self:
        """Return a setting that runs in well under a minute: fewer prompts, steps and runs."""
        chosen: dict = {
            "utilities": ("log(x+0.1)", DEFAULT[-1]),
            "seeds": 1,
            "steps": 250,
            "train": 24,
            "held_out": 12,
            "batch": 12,
            "checkpoint_every": 100,
            "controls": False,
        }
        return cls(**(chosen | changes))

    @classmethod
    def whole_encoder(cls, *, small: bool = False, **changes: Any) -> Self:
        """Return a setting for fine-tuning all weights: a step costs seconds on a CPU."""
        chosen: dict = {
            "utilities": ("log(x+0.1)",),
            "seeds": 1,
            "steps": 240,
            "train": 48,
            "held_out": 24,
            "batch": 4,
            "rate": 1e-4,
            "warmup": 20,
            "checkpoint_every": 40,
            "full": True,
        }
        if small:
            chosen |= {"steps": 8, "train": 8, "held_out": 4, "warmup": 2, "checkpoint_every": 4}
        return cls(**(chosen | changes))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is trained."""
        return tuple(Objective.parse(text) for text in self.utilities)

    def differences(self, other: Setting) -> tuple[str, ...]:
        """Return "name: this value, not that" for each field in which two settings differ."""
        found = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                found.append(f"{field.name}: {_short(theirs)}, now {_short(mine)}")
        return tuple(found)


def _short(value: object) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
