"""Which column of a log is which: by name, with suggestions where a name isn't there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_theory.errors import CollapseError

__all__ = ["Columns", "find_columns"]

# What the two needed columns are called when nobody says; the first that is there is taken.
PROMPT_NAMES = ("prompt", "prompt_id", "instruction", "question", "query")
REWARD_NAMES = ("reward", "score", "rating")
_SHOWN = 12


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read; None for one that isn't there."""

    prompt: str
    reward: str
    kind: str | None = None
    rank: str | None = None
    step: str | None = None
    where: tuple[tuple[str, str], ...] = ()

    def needed(self) -> list[str]:
        """Return each column that is read, once."""
        names = [self.prompt, self.reward, self.kind, self.rank, self.step]
        names += [name for name, _ in self.where]
        return list(dict.fromkeys(name for name in names if name is not None))


def find_columns(
    there: Sequence[str],
    source: str,
    prompt: str | None = None,
    reward: str | None = None,
    kind: str | bool | None = None,
    rank: str | bool | None = None,
    step: str | bool | None = None,
    where: Sequence[tuple[str, str]] = (),
) -> Columns:
    """Return the columns to read among those that are `there`.

    Raises
    ------
    CollapseError
        A ValueError, for a column that isn't there or is there twice; it lists what there is.
    """
    found = Columns(
        prompt=_needed("prompt", prompt, PROMPT_NAMES, there, source),
        reward=_needed("reward", reward, REWARD_NAMES, there, source),
        kind=_optional("kind", kind, there, source),
        rank=_optional("rank", rank, there, source),
        step=_optional("step", step, there, source),
        where=tuple((_named(name, "--where", there, source), value) for name, value in where),
    )
    used = [n for n in (found.prompt, found.reward, found.kind, found.rank, found.step) if n]
    for name in used:
        if used.count(name) > 1:
            raise CollapseError(
                f"{source}: the column {name!r} can't be two things at once; give each of prompt, "
                "reward, kind, rank and step a column of its own"
            )
    return found


def _needed(
    role: str, name: str | None, usual: Sequence[str], there: Sequence[str], source: str
) -> str:
    if name is not None:
        return _named(name, role, there, source)
    for candidate in usual:
        if (match := _match(candidate, there, source)) is not None:
            return match
    raise CollapseError(
        f"{source}: no column is called {' or '.join(map(repr, usual[:2]))}; there are "
        f"{_listed(there)}. The first line of a CSV file names its columns; say which holds the "
        f"{role} with --{role}-column ({role}=... in Python){_hint(role, there)}"
    )


def _optional(role: str, name: str | bool | None, there: Sequence[str], source: str) -> str | None:
    if name is False:
        return None
    if name is None or name is True:
        return _match(role, there, source)
    return _named(name, role, there, source)


def _named(name: str, role: str, there: Sequence[str], source: str) -> str:
    if (match := _match(name, there, source)) is not None:
        return match
    raise CollapseError(
        f"{source}: no column is called {name!r} (for {role}); there are {_listed(there)}"
        f"{_hint(name, there)}"
    )


def _match(name: str, there: Sequence[str], source: str) -> str | None:
    """Return the column of this name: exactly, else but for case and spaces around it."""
    matches = [c for c in there if c == name]
    matches = matches or [c for c in there if c.strip().casefold() == name.strip().casefold()]
    if len(matches) > 1:
        raise CollapseError(f"{source}: {len(matches)} columns are called {name!r}; rename them")
    return matches[0] if matches else None


def _listed(there: Sequence[str]) -> str:
    if not there:
        return "none"
    names = [repr(name if len(name) <= 40 else f"{name[:37]}...") for name in there[:_SHOWN]]
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return ", ".join(names) + more


def _hint(name: str, there: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.casefold(), [c.casefold() for c in there], 1, 0.6)
    for column in there:
        if close and column.casefold() == close[0]:
            return f"; did you mean {column!r}?"
    return ""
