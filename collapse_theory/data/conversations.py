"""Pairs of completions as people store them: texts, messages, whole transcripts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from collapse_theory.errors import CollapseError

__all__ = ["joined_pair"]

Turns = tuple[tuple[str, str], ...]
REPLY = "\n\nAssistant:"  # what comes before every reply in Anthropic's transcripts


def joined_pair(row: Mapping[str, Any]) -> tuple[Turns, str, str, str]:
    """Return the turns before the prompt, the prompt, the chosen and the rejected completion.

    `chosen` and `rejected` are texts or lists of messages; `prompt` too, or absent. Messages that
    both share are the context; without a prompt, transcripts in Anthropic's form are parted after
    the last reply that both share.

    Examples
    --------
    >>> joined_pair({"prompt": "2 + 2?", "chosen": "4", "rejected": "5"})
    ((), '2 + 2?', '4', '5')
    >>> start = "\\n\\nHuman: 2 + 2?\\n\\nAssistant:"
    >>> joined_pair({"chosen": start + " 4", "rejected": start + " 5"})[2:]
    ('4', '5')
    """
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if isinstance(prompt, list | tuple):
            turns = _messages(prompt, "prompt")
            return (*_parted(turns), chosen, rejected)
        if prompt is not None and not isinstance(prompt, str):
            raise CollapseError(f"the prompt must be text, got {type(prompt).__name__}")
        if prompt is None:
            return ((), *_transcripts(chosen, rejected))
        return (), prompt, chosen, rejected
    before = _messages(prompt, "prompt") if isinstance(prompt, list | tuple) else ()
    one = (*before, *_messages(chosen, "chosen"))
    other = (*before, *_messages(rejected, "rejected"))
    if not before and isinstance(prompt, str) and one[0][0] == "assistant":
        # The messages are the replies alone.
        one, other = (("user", prompt), *one), (("user", prompt), *other)
    if len(one) != len(other) or one[:-1] != other[:-1]:
        raise CollapseError("chosen and rejected differ before their last message")
    return (*_parted(one[:-1]), one[-1][1], other[-1][1])


def _messages(values: Any, name: str) -> Turns:
    if not isinstance(values, list | tuple) or not values:
        raise CollapseError(f"{name} must be text or a list of messages, got {values!r:.40}")
    turns = []
    for message in values:
        role, text = _message(message)
        if not isinstance(role, str) or not isinstance(text, str):
            raise CollapseError(f"a message of {name} needs a role and a content that are text")
        turns.append((role, text))
    return tuple(turns)


def _message(message: Any) -> tuple[Any, Any]:
    return (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (0, 0)


def _parted(turns: Turns) -> tuple[Turns, str]:
    """Part the last message, the prompt, from those before it."""
    if not turns:
        return (), ""
    if turns[-1][0] != "user":
        raise CollapseError(f"the last message before the reply is by {turns[-1][0]!r}, not 'user'")
    return turns[:-1], turns[-1][1]


def _transcripts(chosen: str, rejected: str) -> tuple[str, str, str]:
    same = takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))
    shared = "".join(one for one, _ in same)
    if REPLY not in shared:
        return "", chosen, rejected
    at = shared.rfind(REPLY) + len(REPLY)
    return shared[:at].strip(), chosen[at:].strip(), rejected[at:].strip()
