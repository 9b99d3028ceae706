"""Batches of rankings: each completion encoded once, with labels that `Trainer` counts right."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError

logger = logging.getLogger(__name__)

PADDING = -1

# Tokenizers without a limit say 1e30; no encoder reads a million tokens.
NO_LIMIT = 1_000_000


@dataclass(eq=False)
class RankingCollator:
    """Turn rankings into a batch: K encodings for K completions, where pairs make K (K - 1).

    Parameters
    ----------
    tokenizer : transformers tokenizer
        With a pad token.
    max_length : int, optional
        Tokens beyond it are cut on the right; the tokenizer's own limit unless given.
    kinds : sequence of str, or a loss that has kinds, optional
        The kinds that labels index, in the loss's order: ``kinds=loss.kinds``. Without them the
        kinds of the rankings are left out of the labels.
    template : str, optional
        How a prompt and a completion are put together. "chat": the tokenizer's chat template;
        "pair": two segments; "joined": one text with a blank line between, closed by the
        end-of-text token. "auto": the first that suits the tokenizer.
    pad_to_multiple_of : int, optional
        Pad lengths to a multiple of it.

    Raises
    ------
    CollapseError
        A ValueError: no pad token, no kinds, an unknown template, a `max_length` without room.

    Notes
    -----
    A batch of B prompts has ``input_ids`` and the tokenizer's other inputs of shape (N, L), N the
    completions of all prompts one after another, and ``labels``, a `RankingLabels`.
    """

    tokenizer: Any
    max_length: int | None = None
    kinds: Any = None
    template: str = "auto"
    pad_to_multiple_of: int | None = None
    _warned: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if getattr(self.tokenizer, "pad_token_id", None) is None:
            raise CollapseError(
                "the tokenizer has no pad token; set one, and tell the model: "
                "tokenizer.pad_token = tokenizer.eos_token; "
                "model.config.pad_token_id = tokenizer.pad_token_id"
            )
        self.template = template_for(self.tokenizer, self.template)
        self.max_length = _longest(self.tokenizer, self.max_length)
        self.kinds = _kinds(self.kinds)

    def __call__(self, rankings: Sequence[Ranking | Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of these rankings.

        Raises
        ------
        CollapseError
            For something that is no ranking, and for a kind that isn't among the kinds.
        """
        rows = [as_ranking(row) for row in rankings]
        batch = encode(
            self.tokenizer,
            rows,
            self.template,
            self.max_length,
            padding=True,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors="pt",
        )
        self._warn_alike(rows, batch["input_ids"])
        return {**batch, "labels": self.labels(rows)}

    def labels(self, rankings: Sequence[Ranking]) -> RankingLabels:
        """Return the labels of rankings: ranks, and with kinds their indices."""
        size = max(len(ranking) for ranking in rankings)
        rows = [[*ranking.ranks, *[PADDING] * (size - len(ranking))] for ranking in rankings]
        labels = RankingLabels(ranks=torch.tensor(rows))
        if self.kinds is not None:
            labels["kinds"] = torch.tensor([self._index(ranking) for ranking in rankings])
            labels["table"] = torch.full((len(rankings),), kind_table(self.kinds))
        return labels

    def _index(self, ranking: Ranking) -> int:
        if ranking.kind in self.kinds:
            return self.kinds.index(ranking.kind)
        known = ", ".join(map(repr, self.kinds))
        given = "no kind" if ranking.kind is None else f"the kind {ranking.kind!r}"
        raise CollapseError(
            f"the prompt {ranking.prompt[:60]!r} has {given}; known kinds: {known}. "
            "RankingDataset.from_file(..., kinds=...) finds such rows beforehand"
        )

    def _warn_alike(self, rankings: Sequence[Ranking], tokens: Tensor) -> None:
        """Say once where cutting made completions of a prompt alike: nothing ranks them then."""
        if self._warned or self.max_length is None or tokens.shape[1] < self.max_length:
            return
        sizes = [len(ranking) for ranking in rankings]
        for ranking, rows in zip(rankings, tokens.split(sizes), strict=True):
            if len(rows.unique(dim=0)) < len(set(ranking.completions)):
                self._warned = True
                logger.warning(
                    "cut at max_length=%d tokens, completions of %r are the same: nothing can "
                    "rank them; give a larger max_length or shorter prompts",
                    self.max_length,
                    ranking.prompt[:60],
                )
                return


def _kinds(kinds: Any) -> tuple[str, ...] | None:
    listed = getattr(kinds, "kinds", kinds)
    if kinds is None:
        return None
    texts = isinstance(listed, Sequence) and not isinstance(listed, str)
    if not texts or not listed or not all(isinstance(kind, str) for kind in listed):
        raise CollapseError(f"kinds must be a list of texts, such as loss.kinds; got {kinds!r}")
    if len(set(listed)) < len(listed):
        raise CollapseError(f"kinds has one twice: {kinds!r}")
    return tuple(listed)


def as_ranking(row: Any) -> Ranking:
    """Return a ranking as it is, or made of a row with prompt and completions."""
    if isinstance(row, Ranking):
        return row
    if not isinstance(row, Mapping):
        raise CollapseError(f"the collator takes rankings, got a {type(row).__name__}")
    if not {"prompt", "completions"} <= set(row):
        raise CollapseError(
            f"a row has the columns {', '.join(row) or '(none)'} but a ranking needs prompt and "
            "completions; give RankingDataset.from_records(rows), or for rows as they are "
            "TrainingArguments(remove_unused_columns=False)"
        )
    ranks, turns = row.get("ranks"), row.get("turns")
    given = () if ranks is None else ranks, row.get("kind"), tuple(turns or ())
    return Ranking(row["prompt"], row["completions"], *given)


# -- texts -------------------------------------------------------------------------------

Texts = tuple[list[str], list[str] | None]


def _pair(tokenizer: Any, rankings: Sequence[Ranking]) -> Texts:
    """Two segments, as encoders such as BERT were trained with: [CLS] prompt [SEP] completion."""
    first = [_asked(ranking) for ranking in rankings for _ in ranking.completions]
    return first, [text for ranking in rankings for text in ranking.completions]


def _joined(tokenizer: Any, rankings: Sequence[Ranking]) -> Texts:
    """One text, a blank line between the two, closed by the end-of-text token."""
    first, second = _pair(tokenizer, rankings)
    end = tokenizer.eos_token or ""
    both = zip(first, second or (), strict=True)
    return [f"{asked}\n\n{text}{end}" if asked else f"{text}{end}" for asked, text in both], None


def _chat(tokenizer: Any, rankings: Sequence[Ranking]) -> Texts:
    """The tokenizer's own chat template."""
    chats = []
    for ranking in rankings:
        turns = [*ranking.turns, *([("user", ranking.prompt)] if ranking.prompt else [])]
        before = [{"role": role, "content": text} for role, text in turns]
        chats += [[*before, {"role": "assistant", "content": t}] for t in ranking.completions]
    return tokenizer.apply_chat_template(chats, tokenize=False), None


TEMPLATES: dict[str, Callable[[Any, Sequence[Ranking]], Texts]] = {
    "chat": _chat,
    "pair": _pair,
    "joined": _joined,
}


def _asked(ranking: Ranking) -> str:
    """Return what comes before the completion: earlier turns and the prompt."""
    return "\n\n".join([*(text for _, text in ranking.turns), ranking.prompt]).strip()


def template_for(tokenizer: Any, template: str = "auto") -> str:
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
    first, second = TEMPLATES[template](tokenizer, rankings)
    return tokenizer(
        first,
        second,
        # A chat template writes its special tokens itself.
        add_special_tokens=template != "chat",
        truncation="longest_first" if max_length is not None else False,
        max_length=max_length,
        **options,
    )


# -- labels ------------------------------------------------------------------------------


class RankingLabels(dict[str, Any]):
    """A dict of tensors: `ranks` (B, K), and with kinds `kinds` (B,) and `table` (B,).

    `ranks` has 0 for the best, equal ranks for ties, -1 for padding (Trainer pads with -100, which
    is padding too). `kinds` are indices into the collator's kinds; `table` is a digest of those
    kinds, so that a loss with others notices.

    Trainer counts the items of an accumulated batch as ``labels.ne(-100).sum()``. Here an item is
    a prompt with something to compare, so that a batch of prompts in parts has the mean, and the
    gradient, of the whole.

    Examples
    --------
    >>> labels = RankingLabels(ranks=torch.tensor([[0, 1, 1], [0, 1, -1], [0, 0, 0]]))
    >>> labels.ne(-100).sum()
    tensor(2)
    """

    def ne(self, other: Any) -> Tensor:
        """Return which prompts count, bool, shape (B,); `other` is what Trainer pads with."""
        ranks = self["ranks"]
        lowest = ranks.masked_fill(ranks < 0, torch.iinfo(ranks.dtype).max).amin(1)
        return ranks.amax(1) > lowest

    def to(self, *args: Any, **kwargs: Any) -> RankingLabels:
        """Return the labels with each tensor moved as `Tensor.to` moves it."""
        return type(self)({name: value.to(*args, **kwargs) for name, value in self.items()})


def require_labels(labels: Any) -> None:
    """Raise unless the labels are those that the collator made, or a dict of their tensors."""
    if not isinstance(labels, Mapping) or "ranks" not in labels:
        raise CollapseError(
            f"labels must be those of RankingCollator, got {type(labels).__name__}; give Trainer "
            "data_collator=RankingCollator(tokenizer)"
        )


def kind_table(kinds: Sequence[str]) -> int:
    """Return a number that tells a list of kinds from any other, the same in all processes."""
    text = "\0".join(kinds).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


def to_grid(logits: Tensor, ranks: Tensor) -> Tensor:
    """Return logits of shape (B, K) from those of the completions one after another.

    Padding has the logit 0.

    Raises
    ------
    CollapseError
        Unless there is one logit a completion.

    Examples
    --------
    >>> logits = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> to_grid(logits, torch.tensor([[0, 1, 2], [1, 0, -1]]))
    tensor([[1., 2., 3.],
            [4., 5., 0.]])
    """
    present = ranks >= 0
    count = int(present.sum())
    if logits.numel() != count:
        advice = "use RankingCollator for the batches, and one process a device (torchrun)"
        if logits.ndim > 1 and logits.shape[0] == count:
            advice = f"the model has {logits.shape[-1]} labels; load it with num_labels=1"
        raise CollapseError(
            f"{count} completions but logits of shape {tuple(logits.shape)}: {advice}"
        )
    grid = torch.zeros(ranks.shape, dtype=logits.dtype, device=logits.device)
    # Row by row, as the collator put the completions: no copy a prompt.
    return grid.masked_scatter(present, logits.reshape(-1))
