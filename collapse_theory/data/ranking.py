"""One prompt with its ranked completions: the record that reward models are trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.data.messages import Turns
from collapse_theory.data.nested import shown
from collapse_theory.errors import CollapseError
from collapse_theory.values import Array, Value


@dataclass(frozen=True, eq=False)
class Ranking(Value):
    """A prompt, its completions and how they are ranked.

    Parameters
    ----------
    prompt : str
        What was asked last; "" where it isn't known (pairs of whole transcripts).
    completions : tuple of str
        Two or more, none of them empty.
    ranks : tuple of int, optional
        One a completion, 0 the best; equal ranks are ties. Any increasing numbers are taken (1, 2,
        4 becomes 0, 1, 2). Best first unless given.
    kind : str, optional
        The kind of prompt, which a prompt-aware loss chooses its utility by.
    turns : tuple of (role, text), optional
        What was said before the prompt: a system message, earlier turns. A third entry is JSON of
        what else a message has, such as the calls of a tool.
    margins : array_like, shape (K, K), or float, optional
        Entry (i, j): by how much completion i should be above the worse j. A number is that of all
        pairs.
    pair_weights : array_like, shape (K, K), optional
        Entry (i, j): how much the pair counts in which i is better than j.
    weight : float
        How much the prompt counts beside others.

    Raises
    ------
    CollapseError
        A ValueError: one completion, an empty text, ranks that don't match, or nothing to compare.

    Examples
    --------
    >>> Ranking("2 + 2?", ("4", "four", "5"), ranks=(1, 1, 2))
    Ranking('2 + 2?', 3 completions, ranks 0 0 1)
    """

    prompt: str
    completions: tuple[str, ...]
    ranks: tuple[int, ...] = ()
    kind: str | None = None
    turns: Turns = ()
    margins: Array | None = None
    pair_weights: Array | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise CollapseError(f"the prompt must be text, got {shown(self.prompt)}")
        completions = _texts(self.completions)
        ranks: Any = self.ranks
        if ranks is None or (isinstance(ranks, tuple) and not ranks):
            ranks = range(len(completions))
        if self.kind is not None and (not isinstance(self.kind, str) or not self.kind.strip()):
            raise CollapseError(f"the kind must be text, got {shown(self.kind)}")
        ranks = _dense(ranks, len(completions))
        weight = finite_number("the weight", self.weight)
        if weight < 0:
            raise CollapseError(f"the weight must be 0 or more, got {weight:g}")
        self._set(
            completions=completions,
            ranks=ranks,
            turns=tuple(tuple(map(str, turn)) for turn in self.turns),
            margins=_table(self.margins, "margins", ranks),
            pair_weights=_table(self.pair_weights, "pair_weights", ranks),
            weight=weight,
        )
        super().__post_init__()
        if self.pair_weights is not None and (self.pair_weights < 0).any():
            raise CollapseError("pair_weights must be 0 or more")

    @property
    def asked(self) -> str:
        """The prompt, or where a tool spoke last what the user said before that."""
        said = (turn[1] for turn in reversed(self.turns) if turn[0] == "user")
        return self.prompt or next(said, "")

    @property
    def identical(self) -> bool:
        """Whether completions of different ranks are the same text: such pairs don't count."""
        return len(set(zip(self.completions, self.ranks, strict=True))) > len(set(self.completions))

    def row(self) -> dict[str, Any]:
        """Return the ranking as a row of columns, which every reader of rows takes.

        Examples
        --------
        >>> Ranking("2 + 2?", ("4", "5")).row()["ranks"]
        [0, 1]
        """
        return {
            "prompt": self.prompt,
            "completions": list(self.completions),
            "ranks": list(self.ranks),
            "kind": self.kind,
            "turns": [list(turn) for turn in self.turns],
            "margins": None if self.margins is None else self.margins.tolist(),
            "pair_weights": None if self.pair_weights is None else self.pair_weights.tolist(),
            "weight": self.weight,
        }

    def __len__(self) -> int:
        return len(self.completions)

    def __repr__(self) -> str:
        ranks = " ".join(map(str, self.ranks))
        kind = "" if self.kind is None else f", kind {self.kind!r}"
        return f"Ranking({shown(self.prompt, 60)}, {len(self)} completions, ranks {ranks}{kind})"


def ranks_of_scores(scores: Iterable[Any]) -> tuple[int, ...]:
    """Return the ranks of scores: the highest is 0, equal scores share a rank.

    Raises
    ------
    CollapseError
        For a score that is no finite number.

    Examples
    --------
    >>> ranks_of_scores([0.5, 2, 0.5, -1])
    (1, 0, 1, 2)
    """
    return _dense([-finite_number("a score", score) for score in scores])


def _dense(values: Any, size: int | None = None) -> tuple[int, ...]:
    """Return whole numbers from 0 on in the order of `values`, equal where they are."""
    _require_list(values, "ranks must be a list of numbers")
    numbers = [finite_number("a rank", value) for value in values]
    if size is not None and len(numbers) != size:
        raise CollapseError(f"{size} completions but {len(numbers)} ranks: give one a completion")
    if len(set(numbers)) < 2:
        raise CollapseError("all completions have the same rank: there is nothing to compare")
    place = {number: at for at, number in enumerate(sorted(set(numbers)))}
    return tuple(place[number] for number in numbers)


def finite_number(what: str, value: Any) -> float:
    """Return a number as a float; `what` names it in the error for anything else."""
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise CollapseError(f"{what} must be a finite number, got {shown(value)}")
    return number


def _table(values: Any, name: str, ranks: tuple[int, ...]) -> np.ndarray | None:
    """Return a table of pairs as an array, 0 where no pair is compared; None where all are 0.

    Weights that are all 0 stay: they say that nothing is compared.
    """
    if values is None or (isinstance(values, list | tuple) and not values):
        return None
    size = len(ranks)
    try:
        table = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.array(np.nan)
    if not np.isfinite(table).all() or table.shape not in ((), (size, size)):
        raise CollapseError(
            f"{name} must be a finite number, or a table of {size} by {size} of them, a row the "
            f"better and a column the worse completion; got {shown(values, 60)}"
        )
    pairs = np.less.outer(ranks, ranks)
    return np.where(pairs, table, 0.0) if table.any() or name == "pair_weights" else None


def _texts(values: Any) -> tuple[str, ...]:
    _require_list(values, "completions must be a list of texts")
    texts = tuple(values)
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise CollapseError(f"completion {at} must be text, got {shown(text)}")
        if not text.strip():
            raise CollapseError(f"completion {at} is empty")
    if len(texts) < 2:
        raise CollapseError(f"{len(texts)} completion: a ranking needs two or more")
    return texts


def _require_list(values: Any, otherwise: str) -> None:
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | dict):
        raise CollapseError(f"{otherwise}, got {shown(values)}")
