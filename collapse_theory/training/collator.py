"""Batches of rankings: each completion encoded once, prompts of different sizes together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.training.encoding import encode, longest, template_for
from collapse_theory.training.labels import PADDING, RankingLabels, kind_table

__all__ = ["RankingCollator", "as_ranking"]

logger = logging.getLogger(__name__)


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
        self.max_length = longest(self.tokenizer, self.max_length)
        self.kinds = _kinds(self.kinds)

    def __call__(self, rankings: Sequence[Ranking | Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of these rankings.

        Raises
        ------
        CollapseError
            For something that is no ranking, and for a kind that isn't among the kinds.
        """
        rows = [as_ranking(row) for row in rankings]
        batch = dict(
            encode(self.tokenizer, rows, self.template, self.max_length, self.pad_to_multiple_of)
        )
        self._warn_alike(rows, batch["input_ids"])
        batch["labels"] = self.labels(rows)
        return batch

    def labels(self, rankings: Sequence[Ranking]) -> RankingLabels:
        """Return the labels of rankings: ranks, and with kinds their indices."""
        size = max(len(ranking) for ranking in rankings)
        ranks = torch.full((len(rankings), size), PADDING, dtype=torch.long)
        for row, ranking in zip(ranks, rankings, strict=True):
            row[: len(ranking)] = torch.tensor(ranking.ranks)
        labels = RankingLabels(ranks=ranks)
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
        start = 0
        for ranking in rankings:
            rows = tokens[start : start + len(ranking)]
            start += len(ranking)
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
    if kinds is None:
        return None
    listed = getattr(kinds, "kinds", kinds)
    if (
        not isinstance(listed, Sequence)
        or isinstance(listed, str)
        or not listed
        or not all(isinstance(kind, str) for kind in listed)
    ):
        raise CollapseError(f"kinds must be a list of texts, such as loss.kinds; got {kinds!r}")
    if len(set(listed)) < len(tuple(listed)):
        raise CollapseError(f"kinds has one twice: {kinds!r}")
    return tuple(listed)


def as_ranking(row: Any) -> Ranking:
    """Return a ranking as it is, or made of a row with prompt and completions."""
    if isinstance(row, Ranking):
        return row
    if isinstance(row, Mapping) and {"prompt", "completions"} <= set(row):
        ranks = row.get("ranks")
        return Ranking(
            row["prompt"],
            tuple(row["completions"]),
            () if ranks is None else ranks,
            row.get("kind"),
            tuple(row.get("turns") or ()),
        )
    if isinstance(row, Mapping):
        raise CollapseError(
            f"a row has the columns {', '.join(row) or '(none)'} but a ranking needs prompt and "
            "completions; give RankingDataset.from_records(rows), or for rows as they are "
            "TrainingArguments(remove_unused_columns=False)"
        )
    raise CollapseError(f"the collator takes rankings, got a {type(row).__name__}")
