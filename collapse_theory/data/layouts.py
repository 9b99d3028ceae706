"""The columns that public ranking data comes in: one small reader a layout, and their registry.

A layout is recognised by its columns. Each reader turns one row into a `Ranking`, or, where a row
holds a single completion (HelpSteer), into a `Scored` that is gathered by prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collapse_theory.data.conversations import joined_pair
from collapse_theory.data.ranking import Ranking, ranks_of_scores
from collapse_theory.errors import CollapseError

__all__ = ["LAYOUTS", "Layout", "Score", "Scored", "layout_named", "recognise"]

Row = Mapping[str, Any]
Score = str | Mapping[str, float] | None
"""Which column ranks the completions, or a weighted sum of columns; None for the layout's own."""


@dataclass(frozen=True)
class Scored:
    """One completion and its score, of a layout that has a row for each."""

    prompt: str
    completion: str
    score: float


@dataclass(frozen=True)
class Layout:
    """A layout of columns: its name, the columns that tell it, and the reader of one row."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Row, Score], Ranking | Scored]


def _own(row: Row, score: Score) -> Ranking:
    """Completions best first, or with `ranks` (low is good) or `scores` (high is good)."""
    if isinstance(score, Mapping):
        raise CollapseError("score= is one column here: a sum of columns needs one row a response")
    if score is not None and row.get(score) is None:
        raise CollapseError(f"no column {score!r} to rank by; name one by score=")
    ranks, scores = row.get("ranks"), row.get(score or "scores")
    if score is not None or (ranks is None and scores is not None):
        scores, completions = (
            _list(scores, score or "scores"),
            _list(row["completions"], "completions"),
        )
        if len(scores) != len(completions):
            raise CollapseError(
                f"{len(completions)} completions but {len(scores)} scores: give one a completion"
            )
        ranks = ranks_of_scores(scores)
    return Ranking(_text(row, "prompt"), row["completions"], () if ranks is None else ranks)


def _nectar(row: Row, score: Score) -> Ranking:
    """Nectar (berkeley-nest): a list of answers, each with its rank, 1 the best."""
    answers = _list(row["answers"], "answers")
    ranks = ranks_of_scores(-_number(_item(a, "answers").get("rank"), "rank") for a in answers)
    return Ranking(_text(row, "prompt"), tuple(a.get("answer", "") for a in answers), ranks)


def _ultrafeedback(row: Row, score: Score) -> Ranking:
    """UltraFeedback (openbmb): a list of completions, each with ratings by aspect and scores."""
    answers = [_item(a, "completions") for a in _list(row["completions"], "completions")]
    ranks = ranks_of_scores(_feedback(answer, score) for answer in answers)
    texts = tuple(answer.get("response", "") for answer in answers)
    return Ranking(_text(row, "instruction"), texts, ranks)


def _feedback(answer: Row, score: Score) -> float:
    # Not overall_score first: in the published file some 1s of it are written as 10.
    if score is not None:
        return _scored(answer, score)
    if answer.get("fine-grained_score") is not None:
        return _scored(answer, "fine-grained_score")
    aspects = answer.get("annotations") or {}
    ratings = [a.get("Rating") for a in aspects.values() if isinstance(a, Mapping)]
    known = [float(r) for r in ratings if r is not None and str(r).strip().isdigit()]
    return sum(known) / len(known) if known else _scored(answer, "overall_score")


def _helpsteer(row: Row, score: Score) -> Scored:
    """HelpSteer and HelpSteer2 (nvidia): one response a row, ratings 0 to 4 by attribute."""
    if not isinstance(row["response"], str) or not row["response"].strip():
        raise CollapseError("the response is empty")
    return Scored(_text(row, "prompt"), row["response"], _scored(row, score or "helpfulness"))


def _pairs(row: Row, score: Score) -> Ranking:
    """A chosen and a rejected completion: texts or messages, with a prompt or with none."""
    turns, prompt, chosen, rejected = joined_pair(row)
    return Ranking(prompt, (chosen, rejected), turns=turns)


LAYOUTS = (
    Layout("nectar", ("prompt", "answers"), _nectar),
    Layout("ultrafeedback", ("instruction", "completions"), _ultrafeedback),
    Layout("own", ("prompt", "completions"), _own),
    Layout("helpsteer", ("prompt", "response"), _helpsteer),
    Layout("pairs", ("chosen", "rejected"), _pairs),
)
"""Tried in this order; to read another layout is one reader and one line here."""


def layout_named(name: str) -> Layout:
    """Return the layout of that name."""
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    known = ", ".join(layout.name for layout in LAYOUTS)
    raise CollapseError(f"unknown layout {name!r}; known: {known}")


def recognise(row: Row) -> Layout | None:
    """Return the layout whose columns a row has; None if it has those of none.

    Examples
    --------
    >>> recognise({"prompt": "", "chosen": "yes", "rejected": "no"}).name
    'pairs'
    """
    for layout in LAYOUTS:
        if all(name in row for name in layout.columns):
            return layout
    return None


def _text(row: Row, name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str):
        raise CollapseError(f"{name} must be text, got {type(text).__name__}")
    if not text.strip():
        raise CollapseError(f"the {name} is empty")
    return text


def _list(values: Any, name: str) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise CollapseError(f"{name} must be a list, got {type(values).__name__}")
    return list(values)


def _item(value: Any, name: str) -> Row:
    if not isinstance(value, Mapping):
        raise CollapseError(f"{name} must hold objects, got {type(value).__name__}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool | str) or value is None or not math.isfinite(float(value)):
        raise CollapseError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _scored(row: Row, score: str | Mapping[str, float]) -> float:
    weights = {score: 1.0} if isinstance(score, str) else score
    total = 0.0
    for name, weight in weights.items():
        if name not in row:
            raise CollapseError(f"no column {name!r} to rank by; name one by score=")
        total += weight * _number(row[name], name)
    return total
