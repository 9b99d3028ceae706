"""Which column of a reward log is which: told by the user, or guessed from common names and shapes.

A name may lead into an object: "scores.overall", or "answers.score" for a list of objects.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

from collapse_theory.data.nested import (
    Row,
    folded,
    is_list,
    is_number,
    is_pair,
    like_number,
    opened,
    picked,
    shown,
)
from collapse_theory.errors import CollapseError

_SHOWN = 12  # columns that a message lists
_ASPECTS = re.compile(
    "coherence|consistency|correctness|engagingness|fluency|groundedness|honesty|informativeness|"
    "instruction_following|naturalness|relevance|truthfulness|understandability"
)
_OF_ANYTHING = ("preference", "label", "value")  # rewards where they are numbers
_OF_PAIRS = ("label", "value")  # which of two completions of a row is better, where there are two
_MISSING = frozenset(
    ("", "none", "null", "na", "n/a", "nan", "-")
)  # how missing values are written
_LIKE_REWARDS = re.compile("reward|score|rating", re.IGNORECASE)
_COMPLETIONS = re.compile(r"(response|output|answer|completion|generation|summary)[ _.-]?[12ab]")
Wanted = Mapping[str, str | tuple[str, ...] | bool | None]
Names = str | tuple[str, ...]


# fmt: off
ROLES: Mapping[str, tuple[str, ...]] = {
    "prompt": (
        "prompt", "prompt_id", "instruction", "question", "question_id", "query", "query_id",
        "qid", "q_id", "example_id", "problem", "problem_id", "task_id", "input", "messages",
        "conversation", "context", "seg_id", "segment_id",
    ),
    "reward": (
        "reward", "score", "rating", "rewards", "scores", "ratings", "reward_score",
        "reward_model_score", "rm_score", "fine-grained_score", "overall_score", "preference",
        "helpfulness", "label", "value",
    ),
    "kind": ("kind", "category", "prompt_type"),
    "rank": ("rank", "ranks", "ranking"),
    "step": ("step", "global_step", "training_step", "train_step", "epoch"),
    "split": ("split",),
    "model": ("model", "model_id", "model_name", "generator", "completion_id", "response_id"),
}
"""The columns of a log, and what each is called, best first; how one is read: `frames.READERS`."""

COMPLETIONS = (
    "completions", "responses", "answers", "candidates", "outputs", "generations", "replies",
)
COMPLETION = (
    "completion", "response", "answer", "output", "generation", "reply", "candidate", "text",
)
"""What a ranking has besides: all completions of a prompt, or one in a row."""
# fmt: on

PROMPTS = frozenset((*ROLES["prompt"], "chosen"))
COLUMN_NAMES = frozenset((*chain(*ROLES.values()), *COMPLETIONS, *COMPLETION))


@dataclass(frozen=True)
class Columns:
    """The column of each role that is there, and the values that columns must have.

    Attributes
    ----------
    names : mapping of str
        The column by role, possibly in an object; the reward's may be several, such as those of
        a chosen and a rejected completion.
    lists : bool
        Whether a row holds the rewards of a prompt, not one.
    where : tuple of (column, value)
    guessed : frozenset of str
        The roles that nobody named.
    others : tuple of str
        Further columns that may hold rewards, where these were guessed.
    """

    names: Mapping[str, Names]
    lists: bool = False
    where: tuple[tuple[str, str], ...] = ()
    guessed: frozenset[str] = field(default_factory=frozenset)
    others: tuple[str, ...] = ()

    def paths(self) -> Iterator[str]:
        """Yield each column's name."""
        for name in (*self.names.values(), *(name for name, _ in self.where)):
            yield from (name,) if isinstance(name, str) else name

    @property
    def read(self) -> frozenset[str]:
        """The roles that are read; a chosen and a rejected completion have ranks."""
        return frozenset(self.names) | (frozenset({"rank"}) if self.paired else frozenset())

    @property
    def paired(self) -> bool:
        """Whether the rewards are those of a chosen and a rejected completion."""
        reward = self.names["reward"]
        return not isinstance(reward, str) and "chosen" in reward[0]

    def described(self) -> tuple[tuple[str, str], ...]:
        """Return each role with its column, as text."""
        joined = {r: n if isinstance(n, str) else ", ".join(n) for r, n in self.names.items()}
        return tuple(joined.items())


def find_columns(
    there: Sequence[str],
    sample: Sequence[Row],
    source: str,
    advice: str = "S",
    wanted: Wanted | None = None,
    where: Sequence[tuple[str, str]] = (),
) -> Columns:
    """Return the columns to read among those that are `there`.

    `sample` are the first rows, `wanted` is the column by role (None for the usual one, False for
    none), `where` what columns must have as their values, `source` the file and `advice` the begin
    of what to do, for messages. One that isn't there or is there twice is refused, with what there
    is.
    """
    wanted = wanted or {}
    look = _Look(there, sample, source, advice)
    found: dict[str, Names] = {}
    for role in ROLES:
        name = wanted.get(role)
        if isinstance(name, str):
            found[role] = look.all_named(name) if role == "reward" else look.named(name, role)
        elif isinstance(name, tuple):
            found[role] = tuple(look.named(one, role) for one in name)
        elif name is not False and (guess := look.guessed(role)) is not None:
            found[role] = guess
    if "reward" not in found:
        prompted = "prompt" in found or look.compared
        raise CollapseError(look.missing("reward" if prompted else "prompt"))
    found, lists = _of_one_shape(look, found)
    if "prompt" not in found and not lists:
        raise CollapseError(look.missing("prompt"))
    conditions = tuple((look.named(name, "--where"), value) for name, value in where)
    guessed = frozenset(role for role in found if not isinstance(wanted.get(role), str | tuple))
    columns = Columns(found, lists, conditions, guessed)
    flat = list(replace(columns, where=()).paths())
    if "reward" in guessed:
        read = {name.partition(".")[0] for name in flat} | set(flat)
        others = [name for name in look.like_rewards() if name in there and name not in read]
        columns = replace(columns, others=tuple(others))
    for name in flat:
        if flat.count(name) > 1:
            raise CollapseError(
                f"{source}: the column {name!r} can't be two things at once; give each of "
                f"{', '.join(ROLES)} a column of its own"
            )
    reward = found["reward"]
    if isinstance(reward, str) and is_number(reward):
        raise CollapseError(
            f"{source}: its first line, {', '.join(there)}, holds a number where a name should be; "
            "put a line of names, such as prompt,reward, before it"
        )
    return columns


def _of_one_shape(look: _Look, found: dict[str, Names]) -> tuple[dict[str, Names], bool]:
    """Return the columns with those of lists where rewards are lists, and whether they are."""
    reward = found["reward"]
    lists = not isinstance(reward, str) or look.is_list(reward)
    if isinstance(reward, str) and lists and (inner := look.inner_reward(reward)) is not None:
        found, lists = found | {"reward": inner}, look.is_list(inner)
        beside = f"{reward}.rank"
        if "rank" not in found and look.holds(beside):
            found["rank"] = beside
    rank = found.get("rank")
    if isinstance(rank, str) and look.is_list(rank) != lists:
        del found["rank"]  # of something else
    model = found.get("model")
    if lists and isinstance(model, str) and not look.is_list(model):
        del found["model"]
    return found, lists


@dataclass(frozen=True)
class _Look:
    """A look at the columns of a source: their names, and the first values of each."""

    there: Sequence[str]
    sample: Sequence[Row]
    source: str
    advice: str

    def values(self, path: str) -> list[Any]:
        """Return the first values that are there, those in texts of JSON as they are."""
        found = [opened(picked(row, path)) for row in self.sample]
        there = (not isinstance(v, str) or v.strip().casefold() not in _MISSING for v in found)
        return [v for v, is_there in zip(found, there, strict=True) if is_there and v is not None]

    def holds(self, path: str) -> bool:
        """Whether there is anything at a path."""
        values = [v for value in self.values(path) for v in (value if is_list(value) else [value])]
        return any(value is not None for value in values)

    def is_list(self, path: str) -> bool:
        """Whether the column holds lists, or objects of several numbers."""
        values = self.values(path)
        return bool(values) and isinstance(values[0], list | tuple | Mapping)

    def inner_reward(self, path: str) -> str | None:
        """Return the way to the rewards within a list of objects, None where they are plain."""
        first = self.values(path)[0]
        keys: list[Any] = []
        if isinstance(first, Mapping):
            keys = list(first)
        elif isinstance(first, list | tuple) and first and isinstance(first[0], Mapping):
            keys = list(first[0])
        inside = next(
            (name for name in (*ROLES["reward"], "mean", "overall") if name in keys), None
        )
        aspects = [str(key) for key in keys if _ASPECTS.fullmatch(str(key).casefold())]
        if aspects and not inside and isinstance(first, Mapping):
            raise CollapseError(
                f"{self.source}: {path!r} holds scores by aspect, {', '.join(map(str, keys))}; say "
                f"which is the reward: --reward {path}.{aspects[0]}"
            )
        return f"{path}.{inside}" if inside else None

    def guessed(self, role: str) -> Names | None:
        """Return the column that a role is read from, by its name, else by its shape."""
        for usual in ROLES[role]:
            name = self.match(usual)
            numbers = usual not in _OF_ANYTHING or all(map(like_number, self.values(name or "")))
            if name is not None and numbers and not (self.compared and usual in _OF_PAIRS):
                return name
        if role != "reward":
            return None
        by_shape = (self._chosen_and_rejected, self._several, self._within, self._named_alike)
        return next((found for look in by_shape if (found := look())), None)

    def _several(self) -> Names | None:
        """Return columns such as reward_0, reward_1: one a completion."""
        numbered = re.compile(rf"({'|'.join(map(re.escape, ROLES['reward']))})[ _.-]?\d+")
        found = tuple(name for name in self.there if numbered.fullmatch(name.strip().casefold()))
        return found if len(found) > 1 else None

    def _named_alike(self) -> str | None:
        """Return the one column of numbers that has reward or score in its name."""
        found = [
            name
            for name in self.there
            if _LIKE_REWARDS.search(name) and all(map(like_number, self.values(name)))
        ]
        return found[0] if len(found) == 1 else None

    def _chosen_and_rejected(self) -> Names | None:
        for name in self.there:
            other = name.replace("chosen", "rejected")
            if other != name and other in self.there:
                both = [*self.values(name)[:5], *self.values(other)[:5]]
                flat = [x for one in both for x in (one if isinstance(one, list) else [one])]
                if flat and all(map(like_number, flat)):
                    return name, other
        return None

    def _within(self) -> str | None:
        """Return the way into a column of objects, or of lists of them or of pairs."""
        for ways in (self.inner_reward, lambda name: name if self._has_pairs(name) else None):
            for name in self.there:
                if self.is_list(name) and (way := ways(name)):
                    return way
        return None

    def _has_pairs(self, name: str) -> bool:
        first = self.values(name)[0]
        return is_list(first) and bool(first) and all(map(is_pair, first))

    def all_named(self, pattern: str) -> Names:
        """Return the columns of a pattern such as reward_*; else that of this name."""
        if "*" in pattern and pattern not in self.there:
            found = tuple(name for name in self.there if fnmatchcase(name, pattern))
            return found if len(found) > 1 else self.named(*found or (pattern,), "reward")
        return self.named(pattern, "reward")

    def named(self, name: str, role: str) -> str:
        """Return the column of this name, or the way into it."""
        if (match := self.match(name)) is not None:
            return match
        head, dot, rest = name.partition(".")
        if dot and (match := self.match(head)) is not None and self.holds(f"{match}.{rest}"):
            return f"{match}.{rest}"
        raise CollapseError(
            f"{self.source}: no column is called {name!r} (for {role}); there are "
            f"{_listed(self.there)}{_hint(name, self.there)}"
        )

    def like_rewards(self) -> list[str]:
        """Return the ways to what is called as rewards are, and holds numbers."""
        ways = _ways(self.sample[0]) if self.sample else ()
        return [way for way in ways if _LIKE_REWARDS.search(way.split(".")[-1]) and self.hold(way)]

    def hold(self, path: str) -> bool:
        """Whether numbers are at a path, or lists of them."""
        first = next(iter(self.values(path)), "")
        first = first[0] if is_list(first) and first else first
        return like_number(first[0] if is_list(first) and len(first) == 1 else first)

    def match(self, name: str) -> str | None:
        """Return the column of this name: exactly, else but for capitals, blanks and hyphens."""
        matches = [c for c in self.there if c == name]
        matches = matches or [c for c in self.there if folded(c) == folded(name)]
        if len(matches) > 1:
            raise CollapseError(
                f"{self.source}: {len(matches)} columns are called {name!r}; rename them"
            )
        return matches[0] if matches else None

    @property
    def compared(self) -> list[str]:
        """The columns of the two completions of a row, where it says which is better."""
        found = [name for name in self.there if _COMPLETIONS.fullmatch(name.strip().casefold())]
        found = found or [
            name for name in self.there if re.match("chosen|rejected", name.casefold())
        ]
        return found if len(found) == 2 else []

    def missing(self, role: str) -> str:
        """Return what to say where no column is that of a needed role."""
        if not self.there:
            return (
                f"{self.source} has no columns: neither a line of names, such as prompt,reward, "
                'nor objects of JSON, such as {"prompt": "a", "reward": 0.5}'
            )
        usual = " or ".join(map(repr, ROLES[role][:2]))
        only, hint = "", _hint(role, self.there)
        if role == "reward" and (like := self.like_rewards()):
            hint = f"; did you mean {like[0]!r}?"
        elif role == "reward" and self.compared:
            only = (
                f" (a row has two completions, {_listed(self.compared)}, and may say which is "
                "better; a diagnosis needs the model's reward of each)"
            )
        elif role == "reward" and any(
            self.holds(way) for name in self.there for way in ("rank", f"{name}.rank")
        ):
            only = " (ranks it has, but a diagnosis needs rewards)"
        return (
            f"{self.source}: no column is called {usual}, or alike{only}; there are "
            f"{_listed(self.there)}. {self.advice}ay which holds the {role} with "
            f"--{role} NAME ({role}=... in Python)"
            f"{hint}"
        )


def _listed(there: Sequence[str]) -> str:
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return ", ".join(map(shown, there[:_SHOWN])) + more or "none"


def _hint(name: str, there: Sequence[str]) -> str:
    folded = {column.casefold(): column for column in reversed(there)}
    close = difflib.get_close_matches(name.casefold(), folded, 1, 0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _ways(value: Any, path: str = "", depth: int = 4) -> Iterator[str]:
    """Yield the paths to what an object holds; into a list of objects with and without a number."""
    value = opened(value)
    if isinstance(value, Mapping):
        for name, one in value.items():
            way = f"{path}.{name}" if path else str(name)
            yield way
            yield from _ways(one, way, depth - 1) if depth else ()
    elif is_list(value) and value and isinstance(value[0], Mapping):
        for way in (path, f"{path}.0"):
            yield from _ways(value[0], way, depth)
