"""The columns that public ranking data comes in: one small reader a layout, and their registry.

A layout is recognised by its columns. Each reader turns one row into a `Ranking`, or, where a row
holds a single completion (HelpSteer), into a `Scored` that is gathered by prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from collapse_theory.data.columns import COMPLETION, COMPLETIONS, ROLES
from collapse_theory.data.messages import (
    Turns,
    asked,
    is_messages,
    is_transcript,
    messages,
    parted,
    reply,
    transcript,
)
from collapse_theory.data.nested import (
    Row,
    as_number,
    folded,
    is_list,
    is_pair,
    opened,
    picked,
)
from collapse_theory.data.ranking import Ranking, finite_number, ranks_of_scores
from collapse_theory.errors import CollapseError

Score = str | Mapping[str, float] | None
"""Which column ranks the completions, or a weighted sum of columns; None for the layout's own."""
_NAMES = {
    "prompt": sorted(ROLES["prompt"], key=lambda name: name.endswith("id")),  # texts first
    "completions": COMPLETIONS,
    "completion": COMPLETION,
    "scores": (*map(folded, ROLES["reward"]), "labels"),
    "ranks": ROLES["rank"],
}
"""What else the columns of layouts are called."""


class Noted(dict[str, Any]):
    """A row whose columns may have other names, and which notes those that are read."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self.read: set[str] = set()

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {folded(name): name for name in self}

    def real(self, name: str) -> str:
        """Return what a column is called here: so, or by the first of its names that holds."""
        if super().get(name) is not None or name not in _NAMES:
            return name
        names = [self._folded[one] for one in _NAMES[name] if one in self._folded]
        there = super().get
        return next((one for one in names if there(one) is not None), names[0] if names else name)

    def has(self, *names: str) -> bool:
        """Whether there is a column of one of these names, or another for it."""
        return any(self.real(name) in self for name in names)

    def __getitem__(self, name: str) -> Any:
        self.read.add(real := self.real(name))
        return super().__getitem__(real)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(real := self.real(name))
        return super().get(real, default)


@dataclass(frozen=True)
class Scored:
    """One completion and its score, of a layout that has a row for each."""

    prompt: Any
    completion: str
    score: float


@dataclass(frozen=True)
class Layout:
    """A layout of columns: its name, the columns that tell it, and the reader of one row.

    A row that `fits` not is of another, though it has these columns.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Noted, Score], Ranking | Scored]
    fits: Callable[[Noted, Score], bool] = lambda row, score: True


def _own(row: Noted, score: Score) -> Ranking:
    """Completions best first, or with ranks (low is good) or scores (high is good).

    These stand beside the completions, or with each: in objects, as Nectar's and UltraFeedback's,
    or as its second.
    """
    values = opened(row["completions"])
    texts: Any
    some = values if is_list(values) else ()
    if some and all(isinstance(one, Mapping) and "role" not in one for one in some):
        each = [Noted(one) for one in some]
        texts, ranks = [one.get("completion") for one in each], _ranks_within(each, score)
    elif some and all(map(is_pair, some)):
        texts = [text for text, _ in some]
        ranks = ranks_of_scores(as_number(number) for _, number in some)
    else:
        texts = [reply(one, "completions") for one in values] if is_list(values) else values
        ranks = _ranks_beside(row, score, texts)
    if is_list(before := opened(row.get("turns"))):  # of a ranking, whose prompt may be in them
        turns, prompt = asked(row["prompt"], tuple(tuple(turn) for turn in before))
    else:
        turns, prompt = _prompt(row["prompt"])
    return Ranking(prompt, texts, ranks, turns=turns)


def _ranks_within(each: list[Noted], score: Score) -> Any:
    """Return the ranks of completions in objects; of none, they come best first."""
    if score is not None:
        return ranks_of_scores(_scored(one, score) for one in each)
    if any(one.get("ranks") is not None for one in each):
        return tuple(as_number(one.get("ranks")) for one in each)
    scores = [_rated(one) for one in each]
    return ranks_of_scores(scores) if any(one is not None for one in scores) else ()


def _rated(one: Noted) -> Any:
    """Return a completion's score; of UltraFeedback's ratings by aspect the mean.

    Those go before its overall_score: in the published file some 1s of that are written as 10.
    """
    aspects = one.get("annotations")
    if isinstance(aspects, Mapping) and one.get("fine-grained_score") is None:
        ratings = [a.get("Rating") for a in aspects.values() if isinstance(a, Mapping)]
        known = [float(r) for r in ratings if r is not None and str(r).strip().isdigit()]
        if known:
            return sum(known) / len(known)
    return as_number(one.get("scores"))


def _ranks_beside(row: Noted, score: Score, completions: Any) -> Any:
    if isinstance(score, Mapping):
        raise CollapseError("score= is one column here: a sum of columns needs one row a response")
    if score is not None and row.get(score) is None:
        raise CollapseError(f"no column {score!r} to rank by; name one by score=")
    if score is None and row.get("ranks") is not None:
        ranks = opened(row["ranks"])
        if folded(row.real("ranks")) == "ranking":
            _require_ranks(ranks)
        return ranks
    column = score or row.real("scores")
    if row.get(column) is None:
        return ()
    scores, listed = _list(row, column), is_list(completions)
    if not listed or len(scores) != len(completions):
        many = len(completions) if listed else "no list of"
        raise CollapseError(f"{many} completions but {len(scores)} {column}: give one a completion")
    return ranks_of_scores(scores)


def _require_ranks(numbers: Any) -> None:
    """Refuse numbers that may be the completions' ranks, or their numbers in order."""
    whole = is_list(numbers) and all(type(value) is int for value in numbers)
    places = [one - min(numbers) for one in numbers] if whole else []
    every = list(range(len(places)))
    if sorted(places) == every and [places[at] for at in places] != every:
        raise CollapseError(
            "the column 'ranking' may hold each completion's rank, or the numbers of the best, the "
            "second and so on: call ranks so, or give scores"
        )


def _long(row: Noted, score: Score) -> Scored:
    """A completion a row, with its score or rank, such as HelpSteer's (nvidia)."""
    if score is not None:
        value = _scored(row, score)
    elif row.get("scores") is not None:
        value = _scored(row, row.real("scores"))
    else:
        value = -_scored(row, row.real("ranks"))
    completion = reply(row["completion"], "completion")
    if not isinstance(completion, str) or not completion.strip():
        raise CollapseError(f"the {row.real('completion')} must be text, got {completion!r:.40}")
    return Scored(_asked(row["prompt"]), completion, value)


def _asked(prompt: Any) -> Any:
    """Return a prompt that isn't empty."""
    if isinstance(prompt, str) and not prompt.strip():
        raise CollapseError("the prompt is empty")
    return prompt


def _two(
    name: str, *columns: str, ranks: Callable[[float], tuple[int, ...]] | None = None
) -> Layout:
    """Return the layout of a prompt, two responses and the number that tells the better one.

    Above 0 the second is preferred, unless `ranks` reads it otherwise.
    """
    prompt, first, second, preferred = columns
    ranks = ranks or (lambda ahead: ranks_of_scores((-ahead, ahead)))

    def read(row: Row, score: Score) -> Ranking:
        told = ranks(_scored(row, score or preferred))
        return ranked(row[prompt], [row[first], row[second]], told)

    return Layout(name, columns, read)


def _summaries(row: Row, score: Score) -> Ranking:
    """TL;DR comparisons (openai/summarize_from_feedback): summaries of a post, and the choice."""
    post, texts = row["info"], picked(_list(row, "summaries"), "text")
    heads = [("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post")]
    said = [f"{head}{post[name].strip()}" for head, name in heads if post.get(name)]
    said = said if post.get("post") else [_asked(post.get("article") or "").strip()]
    return ranked("\n\n".join([*said, "TL;DR:"]), texts, _chosen(_scored(row, "choice")))


def _chosen(at: float) -> tuple[int, int]:
    """Return the ranks of two completions of which the one numbered so is better."""
    if at not in (0, 1):
        raise CollapseError(f"the number of the better completion must be 0 or 1, got {at:g}")
    return (int(at), 1 - int(at))


def ranked(prompt: Any, completions: list[Any], ranks: tuple[int, ...]) -> Ranking:
    turns, asked = _prompt(prompt)
    return Ranking(asked, tuple(completions), ranks, turns=turns)


def _prompt(prompt: Any) -> tuple[Turns, Any]:
    """Return the turns before a prompt, and what was asked: of a text, messages or a transcript."""
    prompt = opened(prompt) if isinstance(prompt, str) and prompt[:2] == "[{" else prompt
    return parted(messages(prompt, "prompt")) if is_messages(prompt) else asked(_asked(prompt))


def _pairs(row: Row, score: Score) -> Ranking:
    """A chosen and a rejected completion: texts or messages, with a prompt or with none.

    Messages that both share are the context, and so are the turns of transcripts.
    """
    pair, prompt = [row["chosen"], row["rejected"]], row.get("prompt")
    if all(isinstance(one, str) for one in pair):
        if not any(is_transcript(one) for one in pair):
            turns, said = ((), "") if prompt is None else _prompt(prompt)
            return Ranking(said, tuple(pair), turns=turns)
        pair = [transcript(pair[0], "chosen"), transcript(pair[1], "rejected")]
        prompt = None  # both hold it
    else:
        pair = [messages(pair[0], "chosen"), messages(pair[1], "rejected")]
    before: Turns = ()
    if is_messages(prompt):
        before = messages(prompt, "prompt")
    elif isinstance(prompt, str) and pair[0][0][0] == "assistant":  # the replies alone
        turns, said = asked(prompt)
        before = (*turns, ("user", said))
    one, other = ((*before, *turns) for turns in pair)
    if one[:-1] != other[:-1]:
        raise CollapseError("chosen and rejected differ before their last message")
    if {one[-1][0], other[-1][0]} != {"assistant"}:
        raise CollapseError("chosen and rejected must end with a reply of the assistant")
    turns, said = parted(one[:-1])
    return Ranking(said, (one[-1][1], other[-1][1]), turns=turns)


def _list(row: Row, name: str) -> list[Any]:
    values = opened(row[name])
    if not isinstance(values, list | tuple):
        raise CollapseError(f"{name} must be a list, got {type(values).__name__}")
    return list(values)


def _scored(row: Row, score: str | Mapping[str, float]) -> float:
    weights = {score: 1.0} if isinstance(score, str) else score
    total = 0.0
    for name, weight in weights.items():
        if name not in row:
            raise CollapseError(f"no column {name!r} to rank by; name one by score=")
        total += weight * finite_number(name, as_number(row[name]))
    return total


def _is_own(row: Noted, score: Score) -> bool:
    """Whether completions are called so, or have ranks or scores."""
    values = opened(row["completions"])
    if not is_list(values) or not values:
        return "completions" in row
    told = Noted(values[0]) if isinstance(values[0], Mapping) else row
    told = score is not None or told.has("ranks", "scores") or is_pair(values[0])
    return "completions" in row or told


def _is_long(row: Noted, score: Score) -> bool:
    return score is not None or row.has("ranks", "scores")


def _is_feedback(row: Noted, score: Score) -> bool:
    values = opened(row["completions"])
    return not is_list(values) or not values or isinstance(values[0], Mapping)


LAYOUTS = (
    Layout("nectar", ("prompt", "answers"), _own, _is_own),
    Layout("ultrafeedback", ("instruction", "completions"), _own, _is_feedback),
    Layout("own", ("prompt", "completions"), _own, _is_own),
    _two("helpsteer2-preference", "prompt", "response_1", "response_2", "preference_strength"),
    _two("helpsteer3", "context", "response1", "response2", "overall_preference"),
    # The number of the better response; score="safer_response_id": of the safer one.
    _two("safe-rlhf", "prompt", "response_0", "response_1", "better_response_id", ranks=_chosen),
    # 1 where A is preferred.
    _two("shp", "history", "human_ref_A", "human_ref_B", "labels", ranks=lambda a: _chosen(1 - a)),
    Layout("summaries", ("info", "summaries", "choice"), _summaries),
    Layout("pairs", ("chosen", "rejected"), _pairs),
    Layout("long", ("prompt", "completion"), _long, _is_long),
)
"""Tried in this order; to read another layout is one reader and one line here."""


def layout_named(name: str) -> Layout:
    """Return the layout of that name."""
    known = {layout.name: layout for layout in LAYOUTS}
    if name not in known:
        raise CollapseError(f"unknown layout {name!r}; known: {', '.join(known)}")
    return known[name]


def recognised(row: Row, score: Score, where: str) -> Layout:
    """Return the layout whose columns a row has.

    Raises
    ------
    CollapseError
        Where it has those of none; `where` names the row.

    Examples
    --------
    >>> recognised({"prompt": "", "chosen": "yes", "rejected": "no"}, None, "line 1").name
    'pairs'
    """
    noted = Noted(row)
    for layout in LAYOUTS:
        if all(map(noted.has, layout.columns)) and layout.fits(noted, score):
            return layout
    wanted = "; ".join(f"{one.name}: {', '.join(one.columns)}" for one in LAYOUTS)
    raise CollapseError(
        f"{where} has the columns {', '.join(map(str, row)) or '(none)'}, which are those "
        f"of no known layout ({wanted})"
    )
