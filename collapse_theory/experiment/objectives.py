"""What a run trains with: one utility for all prompts, or one for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from collapse_theory.errors import CollapseError, ParseError
from collapse_theory.utilities import utility
from collapse_theory.values import Value

if TYPE_CHECKING:
    from collapse_theory.training.loss import PromptAwareRankingLoss, RankingLoss

__all__ = ["DEFAULT", "Objective"]


@dataclass(frozen=True, eq=False)
class Objective(Value):
    """One utility for all prompts, or one for each kind of prompt.

    Parameters
    ----------
    utilities : tuple of (str, str)
        Kind and utility; the kind is "" where one utility serves all prompts.

    Examples
    --------
    >>> Objective.parse("open=-1/(x+0.1); closed=x")
    Objective('open=-1/(x + 0.1); closed=x')
    >>> Objective.parse("log(x + 0.1)").aware
    False
    """

    utilities: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        pairs = tuple((str(kind).strip(), _canonical(text)) for kind, text in self.utilities)
        kinds = [kind for kind, _ in pairs]
        if not pairs or len(set(kinds)) < len(kinds) or ("" in kinds and len(kinds) > 1):
            raise CollapseError(
                f"an objective is one utility, or one for each of several kinds, got {pairs!r}"
            )
        object.__setattr__(self, "utilities", pairs)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the objective that a text says: "x", or "open=-1/(x+0.1); closed=x".

        Raises
        ------
        ParseError
            A ValueError, for a text that is no objective.
        """
        parts = [part.strip() for part in text.split(";") if part.strip()]
        if "=" not in text:
            if len(parts) != 1:
                raise ParseError(f"{text!r}: give one utility, or kind=utility; kind=utility")
            return cls((("", parts[0]),))
        pairs = [part.partition("=") for part in parts]
        for kind, _, value in pairs:
            if not kind.strip() or not value.strip():
                raise ParseError(f"{text!r}: write each part as kind=utility, with ; between two")
        return cls(tuple((kind, value) for kind, _, value in pairs))

    @property
    def aware(self) -> bool:
        """Whether the utility depends on the kind of prompt."""
        return self.utilities[0][0] != ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have a utility of their own; none where one serves all."""
        return tuple(kind for kind, _ in self.utilities) if self.aware else ()

    def loss(self) -> RankingLoss | PromptAwareRankingLoss:
        """Return the loss in the box [0, 1], scaled to slope 1 at gap 0."""
        from collapse_theory.training.loss import PromptAwareRankingLoss, RankingLoss

        if self.aware:
            return PromptAwareRankingLoss(dict(self.utilities))
        return RankingLoss(self.utilities[0][1])

    def __str__(self) -> str:
        if not self.aware:
            return self.utilities[0][1]
        return "; ".join(f"{kind}={text}" for kind, text in self.utilities)

    def __repr__(self) -> str:
        return f"Objective({str(self)!r})"


def _canonical(text: str) -> str:
    return str(utility(text.strip()))


DEFAULT = ("x", "log(x+0.1)", "-1/(x+0.1)", "logsigmoid(4*x)", "open=-1/(x+0.1); closed=x")
"""What the paper's experiments trained, and what it proposes."""
