"""What was said, as turns: from lists of messages, and from transcripts in one text.

A turn is (role, text), or (role, text, JSON) where the message has more: the calls of a tool, the
name of one. Transcripts are texts with the speakers written in them, as hh-rlhf, Nectar and
HelpSteer2 publish conversations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from collapse_theory.errors import CollapseError

Turn = tuple[str, ...]
Turns = tuple[Turn, ...]

# Blank lines part the turns of Anthropic's transcripts, and no other names begin one: a user may
# well quote "Q:" and "A:". Where none of them has an answer, lines part the turns. A line of its
# own begins those of Nvidia's, whose first turn, the user's, comes without its mark.
_OPENING = re.compile(r"\s*(?:System:.*?\n\s*?\n\s*)?(Human|User):", re.DOTALL)
_HASHES = re.compile(r"\s*### ?(Human|User|Assistant|System):")
_BLANK = re.compile(r"\s*?\n\s*?\n")
_NVIDIA = re.compile(r"\n?<extra_id_\d>(User|Assistant|System)\n?")
_ROLES = {"Human": "user", "User": "user", "System": "system", "Assistant": "assistant"}

# A message's own; the rest is kept beside its text.
_PLAIN = frozenset({"role", "content"})


# -- messages ----------------------------------------------------------------------------------


def is_messages(value: Any) -> bool:
    """Whether this is a list of messages, or of turns."""
    return isinstance(value, list | tuple) and bool(value) and not isinstance(value[0], str)


def messages(values: Any, name: str) -> Turns:
    """Return a list of messages, each with a role and a content, as turns.

    A content in parts is one text if its parts are texts; a message that only calls tools has none.
    """
    if not isinstance(values, list | tuple) or not values:
        raise CollapseError(f"{name} must be text or a list of messages, got {values!r:.40}")
    return tuple(_turn(message, name) for message in values)


def _turn(message: Any, name: str) -> Turn:
    there = message if isinstance(message, Mapping) else {}
    more = {key: value for key, value in there.items() if key not in _PLAIN and value is not None}
    role, text = there.get("role"), _content(there.get("content"), name)
    if text is None and more.get("tool_calls"):
        text = ""
    if not (isinstance(role, str) and isinstance(text, str)):
        raise CollapseError(f"a message of {name} needs a role and a content that are text")
    return (role, text, json.dumps(more, sort_keys=True)) if more else (role, text)


def _content(content: Any, name: str) -> Any:
    if not isinstance(content, list | tuple):
        return content
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise CollapseError(f"a message of {name} has a part of the type {kind!r}, not text")
        texts.append(text)
    return "".join(texts)


def as_message(turn: Turn) -> dict[str, Any]:
    """Return a turn as the message that chat templates take.

    >>> as_message(("tool", "4", '{"name": "add"}'))
    {'role': 'tool', 'content': '4', 'name': 'add'}
    """
    return {"role": turn[0], "content": turn[1], **(json.loads(turn[2]) if turn[2:] else {})}


def parted(turns: Turns) -> tuple[Turns, str]:
    """Part what the user asked last from the turns before it; "" where a tool spoke last."""
    if not turns:
        return (), ""
    if turns[-1][0] in ("tool", "function", "ipython"):
        return turns, ""
    if turns[-1][0] != "user":
        raise CollapseError(f"the last message before the reply is by {turns[-1][0]!r}, not 'user'")
    return turns[:-1], turns[-1][1]


def reply(value: Any, name: str) -> Any:
    """Return the text of a completion: a text itself, or one message of the assistant."""
    if isinstance(value, Mapping):
        value = [value]
    if not is_messages(value):
        return value
    (role, text, *_), *more = messages(value, name)
    if more or role != "assistant":
        raise CollapseError(f"{name} must be one message of the assistant each")
    return text


# -- transcripts -------------------------------------------------------------------------------


def _marks(text: str) -> re.Pattern[str] | None:
    """Return what parts the turns of a transcript; None for a text that is none."""
    if _NVIDIA.search(text):
        return _NVIDIA
    if _HASHES.match(text):
        return _HASHES
    opening, blank = _OPENING.match(text), _BLANK.match(text)
    user = "Human|User" if opening is None else opening[1]
    between = (r"\n[ \t\r]*\n\s*", r"\n\s*")
    blanks, lines = (re.compile(rf"(?:^\s*|{gap})(System|{user}|Assistant):") for gap in between)
    if opening is None:  # the assistant begins
        return blanks if blank and text.lstrip().startswith("Assistant:") else None
    for marks in (blanks, lines):
        if any(mark[1] == "Assistant" for mark in marks.finditer(text)):
            return marks
    return blanks if blank else None


def is_transcript(text: Any) -> bool:
    """Whether a text is a conversation with its speakers written in it.

    >>> is_transcript("\\n\\nHuman: Hi\\n\\nAssistant:"), is_transcript("Human: a short history")
    (True, False)
    """
    return isinstance(text, str) and _marks(text) is not None


def transcript(text: str, name: str) -> Turns:
    """Return the turns of a transcript; an assistant who hasn't spoken yet is left out.

    Raises
    ------
    CollapseError
        Where the speakers don't take turns.

    Examples
    --------
    >>> transcript("\\n\\nHuman: Hi\\n\\nAssistant: Hello.\\n\\nHuman: Why?\\n\\nAssistant:", "it")
    (('user', 'Hi'), ('assistant', 'Hello.'), ('user', 'Why?'))
    """
    marks = _marks(text)
    if marks is None:
        raise CollapseError(f"{name} is no transcript, though what it is compared with is one")
    first, *rest = marks.split(text)
    pieces = [("Human", first)] if first.strip() else []
    pieces += zip(rest[::2], rest[1::2], strict=True)
    turns = [(_ROLES[mark], said.strip()) for mark, said in pieces]
    if turns[-1] == ("assistant", ""):
        turns.pop()
    talk = [role for role, _ in turns if role != "system"]
    alternate = all(role == ("user", "assistant")[at % 2] for at, role in enumerate(talk))
    if not talk or not alternate or not all(said for _, said in turns):
        raise CollapseError(
            f"{name} is a transcript whose speakers don't take turns: "
            f"{', '.join(role for role, _ in turns) or 'nobody speaks'}; give it as messages"
        )
    return tuple(turns)


def asked(prompt: str, before: Turns = ()) -> tuple[Turns, str]:
    """Return the turns before a prompt and the prompt, a transcript in it taken apart.

    Examples
    --------
    >>> asked("\\n\\nHuman: Hi\\n\\nAssistant: Hello.\\n\\nHuman: 2 + 2?\\n\\nAssistant: ")
    ((('user', 'Hi'), ('assistant', 'Hello.')), '2 + 2?')
    """
    if not is_transcript(prompt):
        return before, prompt
    return parted((*before, *transcript(prompt, "the prompt")))
