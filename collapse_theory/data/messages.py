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

# What begins a turn, by the group that says who speaks. Control tokens are marks wherever they are,
# Alpaca's headings and Vicuna's capitals where both speak.
_TOKENS = re.compile(
    r"<\|im_start\|>\s*(\w+)|<\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>|<start_of_turn>(\w+)|"
    r"<\|(user|assistant|system|prompter)\|>|(\[/?INST\])"
)
_NVIDIA = re.compile(r"\n?<extra_id_\d>(User|Assistant|System)\n?")
_HASHES = re.compile(r"\s*### ?(Human|User|Assistant|System|Instruction|Input|Response):")
_CAPITALS = re.compile(r"(?:^|\s|(?<=</s>))(USER|ASSISTANT):")
# Blank lines part the turns of Anthropic's transcripts, and no other names begin one: a user may
# well quote "Q:" and "A:". Where none of them has an answer, lines part the turns.
_OPENING = re.compile(r"\s*(?:System:.*?\n\s*?\n\s*)?(Human|User):|\s*?\n\s*?\n\s*(H):", re.DOTALL)
_BLANK = re.compile(r"\s*?\n\s*?\n")

_SYSTEM = re.compile(r"\[INST\]\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)  # in Llama 2's first turn
_CLOSING = (
    r"\s|</?s>|<bos>|<eos>|<end_of_turn>|<\|(?:im_end|end|eot_id|eom_id|\w+_of_\w+|endoftext)\|>"
)
_ENDS = re.compile(rf"^(?:{_CLOSING})+|(?:{_CLOSING})+$")
_ROLES = {
    **dict.fromkeys(("user", "human", "h", "prompter", "[inst]", "instruction", "input"), "user"),
    **dict.fromkeys(("assistant", "a", "model", "[/inst]", "response"), "assistant"),
    "system": "system",
}

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
    """Return the text of a completion: a text itself, or one turn of the assistant."""
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, str) and _TOKENS.search(value):
        turns = _spoken(value, name)
    elif is_messages(value):
        turns = messages(value, name)
    else:
        return value
    (role, text, *_), *more = turns
    if more or role != "assistant":
        raise CollapseError(f"{name} must be one message of the assistant each")
    return text


# -- transcripts -------------------------------------------------------------------------------


def _marks(text: str) -> tuple[re.Pattern[str], str] | None:
    """Return what begins a transcript's turns, and who speaks before; None for another text."""
    if _TOKENS.search(text):
        return _TOKENS, ""
    if _NVIDIA.search(text):
        return _NVIDIA, "user"
    opening, blank = _OPENING.match(text), _BLANK.match(text)
    heading = _HASHES.match(text)
    if (heading and heading[1] not in ("Input", "Response")) or (
        opening is None and _both(text, "### Instruction:", "### Response:")
    ):
        return _HASHES, "system"
    if opening is None and _both(text, "USER:", "ASSISTANT:"):
        return _CAPITALS, "system"
    names = ("H", "A") if opening and opening[2] else ("Human|User", "Assistant")
    names = (opening[1], "Assistant") if opening and opening[1] else names
    between = (r"\n[ \t\r]*\n\s*", r"\n\s*")
    marks = [re.compile(rf"(?:^\s*|{gap})(System|{'|'.join(names)}):") for gap in between]
    if opening is None:  # the assistant begins
        return (marks[0], "") if blank and text.lstrip().startswith("Assistant:") else None
    for mark in marks:
        if any(found[1] == names[1] for found in mark.finditer(text)):
            return mark, ""
    return (marks[0], "") if blank else None


def _both(text: str, *names: str) -> bool:
    return all(name in text for name in names)


def _spoken(text: str, name: str) -> Turns:
    """Return the turns that are marked in a text; `name` says what it is."""
    marks = _marks(text)
    if marks is None:
        raise CollapseError(f"{name} is no transcript, though what it is compared with is one")
    text = _SYSTEM.sub(r"<|system|>\1[INST]", text)
    begins = [*marks[0].finditer(text)]
    ends = [*(mark.start() for mark in begins[1:]), len(text)]
    turns = [(marks[1], text[: begins[0].start()])] if text[: begins[0].start()].strip() else []
    for mark, end in zip(begins, ends, strict=True):
        who = mark[mark.lastindex or 0].lower()
        turns.append((who, text[mark.end() : end]))
    made: list[Turn] = []
    for who, said in turns:
        said = _ENDS.sub("", said)
        if who == "input" and made:  # of Alpaca, a part of the instruction
            made[-1] = (made[-1][0], f"{made[-1][1]}\n\n{said}")
        elif said or who:
            made.append((_ROLES.get(who, who or "nobody"), said))
    return tuple(made)


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
    turns = list(_spoken(text, name))
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
