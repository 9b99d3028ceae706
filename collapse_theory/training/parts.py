"""Many completions of a prompt in little memory, and the loss for sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from collapse_theory.errors import CollapseError
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss
from collapse_theory.training.tensors import mean_over_prompts


def in_parts(model: Callable[[Any], Tensor], parts: Iterable[Any]) -> Tensor:
    """Return ``torch.cat([model(part) for part in parts])``, with memory for one part at a time.

    What a model keeps for its gradient is dropped after each part and made again, with the same
    dropout, when the gradient comes to it: a second forward pass is the price, the gradient is the
    same to rounding. So 64 completions of a prompt fit where 4 do. As cached losses do (Gao et al.,
    arXiv:2101.06983), by torch's own checkpoints.

    Parameters
    ----------
    model : callable
        Of a part, to the logits of its texts.
    parts : iterable
        What the model takes; `rows_of` cuts a batch of a tokenizer's into such.

    Examples
    --------
    >>> head = torch.nn.Linear(3, 1)
    >>> batch = {"input": torch.ones(8, 3)}
    >>> tuple(in_parts(lambda part: head(**part), rows_of(batch, 4)).shape)
    (8, 1)
    """
    return torch.cat([checkpoint(model, part, use_reentrant=False) for part in parts])


def rows_of(inputs: Mapping[str, Tensor], size: int) -> Iterator[dict[str, Tensor]]:
    """Yield the inputs of `size` texts at a time.

    Examples
    --------
    >>> import torch
    >>> from collapse_theory.training import rows_of
    >>> [len(part["ids"]) for part in rows_of({"ids": torch.zeros(5, 2)}, 2)]
    [2, 2, 1]
    """
    for start in range(0, len(next(iter(inputs.values()))), size):
        yield {name: of[start : start + size] for name, of in inputs.items()}


class CrossEncoderRankingLoss(nn.Module):
    """A ranking loss for sentence-transformers' ``CrossEncoderTrainer``, used as its ListNetLoss.

    The columns are a query, its documents and their labels, higher is better, equal ones are ties.

    Parameters
    ----------
    model : sentence_transformers.CrossEncoder
        With one label.
    activation_fn : torch.nn.Module, optional
        Of the logits, before the loss; none unless given: a box has its sigmoid already.
    mini_batch_size : int, optional
        Texts that are in memory at a time (`in_parts`); all unless given, or below 1.
    loss : RankingLoss, PromptAwareRankingLoss, or what RankingLoss takes
    kind : callable, optional
        Of a query, to its kind, for a loss with kinds.

    Examples
    --------
    ::

        loss = CrossEncoderRankingLoss(model, loss="log(x + 0.1)", mini_batch_size=16)
        CrossEncoderTrainer(model=model, train_dataset=data, loss=loss).train()
    """

    def __init__(
        self,
        model: Any,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        *,
        loss: Any,
        kind: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__()
        if model.num_labels != 1:
            raise CollapseError(f"the model has {model.num_labels} labels; load it with 1")
        self.model, self.activation_fn = model, activation_fn or nn.Identity()
        self.mini_batch_size, self.kind = mini_batch_size, kind
        self.loss: AnyLoss = loss if isinstance(loss, AnyLoss) else RankingLoss(loss)
        if self.loss.kinds is not None and kind is None:
            raise CollapseError(f"the loss has the kinds {self.loss.kinds}: give kind=, of a query")

    def forward(
        self, inputs: Any, labels: Any, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """Return the mean loss of (queries, lists of documents), with a list of labels for each."""
        queries, documents = inputs
        sizes = [len(of) for of in documents]
        if isinstance(labels, Tensor) or sizes != [len(of) for of in labels]:
            raise CollapseError(f"a label for each document is needed, {sizes}, in lists")
        texts = [(query, text) for query, of in zip(queries, documents, strict=True) for text in of]
        size = max(self.mini_batch_size or 0, 0) or len(texts)

        parts = (
            self.model.preprocess(texts[first : first + size], prompt=prompt, task=task)
            for first in range(0, len(texts), size)
        )

        def scores(part: Any) -> Tensor:
            tensors = {k: v.to(self.model.device) for k, v in part.items() if torch.is_tensor(v)}
            return self.model(part | tensors)["scores"].view(-1)

        made = in_parts(scores, parts) if size < len(texts) else scores(next(parts))
        logits = pad_sequence(list(self.activation_fn(made.float()).split(sizes)), batch_first=True)
        ranks = [(-torch.as_tensor(of)).unique(return_inverse=True)[1] for of in labels]
        order = pad_sequence(ranks, batch_first=True, padding_value=-1).to(logits.device)
        kinds = None if self.kind is None else [self.kind(query) for query in queries]
        return mean_over_prompts(*self.loss.loss_and_counts(logits, kinds, order), None)

    def get_config_dict(self) -> dict[str, Any]:
        """Return what sentence-transformers writes into a model's card."""
        return {"loss": self.loss.to_dict(), "mini_batch_size": self.mini_batch_size}
