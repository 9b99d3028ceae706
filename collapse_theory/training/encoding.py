"""How a prompt and a completion become one text, or a pair of texts, for a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError

__all__ = ["TEMPLATES", "encode", "longest", "template_for"]

Texts = tuple[list[str], list[str] | None]


def _pair(tokenizer: Any, rankings: Sequence[Ranking]) -> Texts:
    """Two segments, as encoders such as BERT were trained with: [CLS] prompt [SEP] completion."""
    first = [asked(ranking) for ranking in rankings for _ in ranking.completions]
    return first, [text for ranking in rankings for text in ranking.completions]


def _joined(tokenizer: Any, rankings: Sequence[Ranking]) -> Texts:
    """One text, a blank line between the two, closed by the end-of-text token."""
    end = tokenizer.eos_token or ""
    texts = [
        f"{asked(ranking)}\n\n{text}{end}" if asked(ranking) else f"{text}{end}"
        for ranking in rankings
        for text in ranking.completions
    ]
    return texts, None


def _chat(tokenizer: Any, rankings: Sequence[Ranking]) -> Texts:
    """The tokenizer's own chat template."""
    chats = []
    for ranking in rankings:
        before = [{"role": role, "content": text} for role, text in ranking.turns]
        if ranking.prompt:
            before.append({"role": "user", "content": ranking.prompt})
        chats += [[*before, {"role": "assistant", "content": t}] for t in ranking.completions]
    return tokenizer.apply_chat_template(chats, tokenize=False), None


TEMPLATES: dict[str, Callable[[Any, Sequence[Ranking]], Texts]] = {
    "chat": _chat,
    "pair": _pair,
    "joined": _joined,
}


def asked(ranking: Ranking) -> str:
    """Return what comes before the completion: earlier turns and the prompt."""
    return "\n\n".join([*(text for _, text in ranking.turns), ranking.prompt]).strip()


def template_for(tokenizer: Any, template: str) -> str:
    """Return the template to use: as asked, or the one that suits the tokenizer.

    "auto" is "chat" where the tokenizer has a chat template, "pair" where it parts two segments by
    a special token, else "joined".

    Raises
    ------
    CollapseError
        For an unknown template, and for "chat" without a chat template.
    """
    chat = bool(getattr(tokenizer, "chat_template", None))
    if template == "auto":
        if chat:
            return "chat"
        single, pair = (tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
        return "pair" if pair > single else "joined"
    if template not in TEMPLATES:
        known = ", ".join(["auto", *TEMPLATES])
        raise CollapseError(f"unknown template {template!r}; known: {known}")
    if template == "chat" and not chat:
        raise CollapseError('the tokenizer has no chat template; use template="joined" or "auto"')
    return template


def longest(tokenizer: Any, max_length: int | None) -> int | None:
    """Return the number of tokens to cut at: as given, the tokenizer's own limit, or None."""
    if max_length is not None:
        least = tokenizer.num_special_tokens_to_add(pair=True) + 2
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < least:
            raise CollapseError(
                f"max_length must be a whole number of tokens, {least} or more; got {max_length!r}"
            )
        return max_length
    limit = getattr(tokenizer, "model_max_length", None)
    # Tokenizers without a limit say 1e30.
    return int(limit) if limit is not None and limit < 1_000_000 else None


def encode(
    tokenizer: Any,
    rankings: Sequence[Ranking],
    template: str,
    max_length: int | None,
    multiple: int | None = None,
) -> Any:
    """Return the tokens of all completions, one after another, padded to the longest.

    What is too long is cut on the right; of two segments tokens go from the longer first, so that
    a long prompt leaves something of the completions.
    """
    first, second = TEMPLATES[template](tokenizer, rankings)
    return tokenizer(
        first,
        second,
        # A chat template writes its special tokens itself.
        add_special_tokens=template != "chat",
        truncation="longest_first" if max_length is not None else False,
        max_length=max_length,
        padding=True,
        pad_to_multiple_of=multiple,
        return_tensors="pt",
    )
