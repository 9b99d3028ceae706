"""Batches of rankings: each completion encoded once, with labels that `Trainer` counts right."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from collapse_theory.data.messages import as_message
from collapse_theory.data.ranking import Ranking
from collapse_theory.data.ranking_rows import Reader
from collapse_theory.errors import CollapseError
from collapse_theory.training.labels import RankingLabels, identical, labels_of

logger = logging.getLogger(__name__)

# Tokenizers without a limit say 1e30; no encoder reads a million tokens.
NO_LIMIT = 1_000_000

# In one text, as transcripts write them.
SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}

# Counters in shared memory, of processes told apart by their numbers: 32 kB.
PROCESSES = 4096


@dataclass(eq=False)
class RankingCollator:
    """Turn rankings into a batch: K encodings for K completions, where pairs make K (K - 1).

    Parameters
    ----------
    tokenizer : transformers tokenizer
        With a pad token.
    max_length : int, optional
        Tokens beyond it are cut on the right; the tokenizer's own limit unless given.
    kinds : sequence of str, or a loss, optional
        The kinds that labels index, in the loss's order: ``kinds=loss.kinds``. Without them the
        kinds of the rankings are left out of the labels. Of a loss with weights by rank give the
        loss itself: prompts that these leave without a pair then don't count.
    template : str, optional
        How a prompt and a completion are put together. "chat": the tokenizer's chat template;
        "pair": two segments; "joined": one text with a blank line between, closed by the
        end-of-text token; "plain": the same without the blank line, as TRL has it. "auto": "chat"
        where there is such a template, "pair" where the tokenizer parts segments, else "joined".
    pad_to_multiple_of : int, optional
        Pad lengths to a multiple of it.

    Notes
    -----
    A row is read as `RankingDataset` reads it, in any layout with a ranking to a row.

    A batch of B prompts has ``input_ids`` and the tokenizer's other inputs of shape (N, L), N the
    completions of all prompts one after another, and ``labels``, a `RankingLabels`.
    """

    tokenizer: Any
    max_length: int | None = None
    kinds: Any = None
    template: str = "auto"
    pad_to_multiple_of: int | None = None

    def __post_init__(self) -> None:
        if getattr(self.tokenizer, "pad_token_id", None) is None:
            raise CollapseError(
                "the tokenizer has no pad token; set one, and tell the model: "
                "tokenizer.pad_token = tokenizer.eos_token; "
                "model.config.pad_token_id = tokenizer.pad_token_id"
            )
        self.template = template_for(self.tokenizer, self.template)
        self.max_length = _longest(self.tokenizer, self.max_length)
        self.loss = self.kinds if hasattr(self.kinds, "loss_and_counts") else None
        self.kinds = _kinds(self.kinds)
        self.reader = Reader(None, "kind", None, None)
        self._named = False
        self._counts = torch.zeros(PROCESSES, dtype=torch.int64).share_memory_()

    @property
    def identical(self) -> int:
        """How many prompts so far had completions of different ranks that have the same tokens.

        Such pairs don't count. Those that a `DataLoader`'s workers met are among them; each process
        of a distributed training has its own.
        """
        return int(self._counts.sum())

    def __call__(self, rankings: Sequence[Ranking | Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of these rankings, or rows of them."""
        rows = [self._read(row) for row in rankings]
        more = {"padding": True, "pad_to_multiple_of": self.pad_to_multiple_of}
        batch = encode(
            self.tokenizer, rows, self.template, self.max_length, return_tensors="pt", **more
        )
        return {**batch, "labels": self.labels(rows, batch["input_ids"])}

    def labels(self, rankings: Sequence[Ranking], tokens: Tensor | None = None) -> RankingLabels:
        """Return the labels of rankings; `tokens` (N, L) tell which completions are the same."""
        if tokens is None:
            alike = [[r.completions.index(text) for text in r.completions] for r in rankings]
        else:
            rows = tokens.split([len(ranking) for ranking in rankings])
            alike = [row.unique(dim=0, return_inverse=True)[1].tolist() for row in rows]
        labels = labels_of(rankings, alike)
        self._count(rankings, alike, tokens is not None and tokens.shape[1] == self.max_length)
        if self.kinds is not None:
            labels["kinds"] = torch.tensor([self._index(ranking) for ranking in rankings])
        if self.loss is not None:  # its weights by rank may leave a prompt without a pair
            zeros = torch.zeros(labels["ranks"].shape)
            found = self.loss.loss_and_counts(zeros, labels.get("kinds"), labels["ranks"])
            labels["weights"] = labels["weights"] * found[1]
        return labels

    def fits(self, ranking: Ranking | Mapping[str, Any]) -> bool:
        """Whether nothing of a ranking would be cut: ``data.filter(collator.fits, "too long")``."""
        rows = [self._read(ranking)]
        tokens = encode(self.tokenizer, rows, self.template, None)["input_ids"]
        return self.max_length is None or max(map(len, tokens)) <= self.max_length

    def _read(self, row: Any) -> Ranking:
        try:
            return self.reader.ranking(row)
        except CollapseError as fault:
            if self.reader.layout is None and isinstance(row, Mapping):
                advice = "rows of a datasets.Dataset need TrainingArguments("
                raise CollapseError(f"{fault}; {advice}remove_unused_columns=False)") from None
            raise

    def _index(self, ranking: Ranking) -> int:
        if ranking.kind in self.kinds:
            return self.kinds.index(ranking.kind)
        known = ", ".join(map(repr, self.kinds))
        given = "no kind" if ranking.kind is None else f"the kind {ranking.kind!r}"
        raise CollapseError(
            f"the prompt {ranking.asked[:60]!r} has {given}; known kinds: {known}. "
            "RankingDataset.from_file(..., kinds=...) finds such rows beforehand"
        )

    def _count(self, rankings: Sequence[Ranking], alike: Any, cut: bool) -> None:
        """Count, and name once, completions that can't be told apart and columns not used."""
        same = [
            one for one, numbers in zip(rankings, alike, strict=True) if identical(one, numbers)
        ]
        if same and not self.identical:
            logger.warning(
                "%scompletions of %r are the same: nothing can rank them, and their pairs don't "
                "count (RankingCollator.identical counts such prompts)",
                f"cut at max_length={self.max_length} tokens, " if cut else "",
                same[0].asked[:60],
            )
        self._counts[os.getpid() % PROCESSES] += len(same)
        if self.reader.unused and not self._named:
            self._named = True
            logger.warning("columns not used: %s", ", ".join(self.reader.unused))


def _kinds(kinds: Any) -> tuple[str, ...] | None:
    listed = getattr(kinds, "kinds", kinds)
    if listed is None:
        return None
    texts = isinstance(listed, Sequence) and not isinstance(listed, str)
    if not texts or not listed or not all(isinstance(kind, str) for kind in listed):
        raise CollapseError(f"kinds must be a list of texts, such as loss.kinds; got {kinds!r}")
    if len(set(listed)) < len(listed):
        raise CollapseError(f"kinds has one twice: {kinds!r}")
    return tuple(listed)


# -- texts -------------------------------------------------------------------------------

TEMPLATES = ("chat", "pair", "joined", "plain")


def _texts(tokenizer: Any, template: str, ranking: Ranking) -> list[Any]:
    """Return each completion with its prompt: one text, or for "pair" two segments."""
    said = [*ranking.turns, *([("user", ranking.prompt)] if ranking.prompt else [])]
    end = tokenizer.eos_token or ""
    completions = [text.removesuffix(end) for text in ranking.completions]
    if template == "chat":
        before = [as_message(turn) for turn in said]
        chats = [[*before, {"role": "assistant", "content": text}] for text in completions]
        return tokenizer.apply_chat_template(chats, tokenize=False)
    # Who speaks is written where there was more than one turn of talk.
    named = any(turn[0] == "assistant" for turn in said)
    asked = "\n\n".join(f"{SPEAKERS.get(t[0], t[0])}: {t[1]}" if named else t[1] for t in said)
    if template == "pair":
        return [(asked.strip(), text) for text in completions]
    if template == "joined":
        asked = f"{asked.strip()}\n\n".lstrip()
    return [f"{asked}{text}{end}" for text in completions]


def template_for(tokenizer: Any, template: str = "auto") -> str:
    """Return the template to use: as asked and known, or the one that suits the tokenizer."""
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


def _longest(tokenizer: Any, max_length: int | None) -> int | None:
    """Return the number of tokens to cut at: as given, the tokenizer's own limit, or None."""
    if max_length is None:
        limit = getattr(tokenizer, "model_max_length", None)
        return int(limit) if limit is not None and limit < NO_LIMIT else None
    least = tokenizer.num_special_tokens_to_add(pair=True) + 2
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < least:
        raise CollapseError(
            f"max_length must be a whole number of tokens, {least} or more; got {max_length!r}"
        )
    return max_length


def encode(
    tokenizer: Any,
    rankings: Sequence[Ranking],
    template: str,
    max_length: int | None,
    **options: Any,
) -> Any:
    """Return the tokens of all completions, one after another; `options` are the tokenizer's.

    What is too long is cut on the right; of two segments tokens go from the longer first, so that
    a long prompt leaves something of the completions.
    """
    texts = [text for ranking in rankings for text in _texts(tokenizer, template, ranking)]
    segments = map(list, zip(*texts, strict=True)) if template == "pair" else [texts]
    return tokenizer(
        *segments,
        # A chat template writes its special tokens itself.
        add_special_tokens=template != "chat",
        truncation="longest_first" if max_length is not None else False,
        max_length=max_length,
        **options,
    )
