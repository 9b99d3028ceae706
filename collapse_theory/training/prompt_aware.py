"""The prompt-aware loss: a ranking loss for each kind of prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from collapse_theory.design import Design, Link
from collapse_theory.errors import CollapseError
from collapse_theory.programs import DomainLike, Solution
from collapse_theory.training.loss import PromptLoss, RankingLoss, require_type
from collapse_theory.training.tensors import looked_at, mean_over_prompts
from collapse_theory.utilities import Loss
from collapse_theory.values import reading

UNLESS_GIVEN = {"domain": None, "pair_weights": None, "offset": None, "normalize": True}


class PromptAwareRankingLoss(PromptLoss):
    """A `RankingLoss` per kind of prompt, on batches in which the kinds are mixed.

    Each prompt's loss is that of its own kind, scaled by that kind's own slope; the batch's loss
    is the mean over prompts. This ends the collapse of the rewards to one law for all prompts.

    Parameters
    ----------
    utilities : mapping of str to Utility, PlackettLuce, str, Design or Link, or to RankingLoss
        The utility (or listwise loss, or design) of each kind, or its loss.
    domain, pair_weights, offset, normalize
        As in `RankingLoss`, for all utilities; or a mapping with an entry for each kind.

    Attributes
    ----------
    kinds : tuple of str
        In the order given: whole numbers as kinds are indices into it.

    Examples
    --------
    >>> import torch
    >>> from collapse_theory.training import PromptAwareRankingLoss
    >>> loss = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": "x"})
    >>> loss(torch.zeros(3, 4), kinds=["open", "closed", "open"])
    tensor(0.0667)
    >>> loss.predict(4, "closed").rewards, loss.predict(4, "open").rewards.round(2)
    (array([1., 1., 0., 0.]), array([1.  , 0.69, 0.31, 0.  ]))
    """

    def __init__(
        self,
        utilities: Mapping[str, Loss | str | Design | Link | RankingLoss],
        domain: DomainLike | Mapping[str, DomainLike] | None = None,
        *,
        pair_weights: Any = None,
        offset: float | Mapping[str, float | None] | None = None,
        normalize: bool | Mapping[str, bool] = True,
    ) -> None:
        super().__init__()
        if not isinstance(utilities, Mapping) or not utilities:
            raise CollapseError(
                f'utilities must be a dict such as {{"open": u1, "closed": u2}}, got {utilities!r}'
            )
        for kind in utilities:
            if not isinstance(kind, str):
                raise CollapseError(f"the names of kinds must be texts, got {kind!r}")
        self.kinds: tuple[str, ...] = tuple(utilities)  # pyright: ignore
        given = {"domain": domain, "pair_weights": pair_weights}
        given |= {"offset": offset, "normalize": normalize}
        for name, value in given.items():
            if isinstance(value, Mapping) and set(value) != set(utilities):
                raise CollapseError(
                    f"{name} must have an entry for each of the kinds {_listed(utilities)}; got "
                    f"{_listed(value)}"
                )
        self.losses = nn.ModuleList()  # a list: a kind's name needn't be a module's
        for kind, of in utilities.items():
            own = {n: v[kind] if isinstance(v, Mapping) else v for n, v in given.items()}
            try:
                if not isinstance(of, RankingLoss):
                    of = RankingLoss(of, **own)
                elif any(own[name] is not UNLESS_GIVEN[name] for name in own):
                    raise CollapseError(f"a RankingLoss has its own {', '.join(own)}")
                self.losses.append(of)
            except CollapseError as fault:
                raise type(fault)(f"the kind {kind!r}: {fault}") from None

    def of_kind(self, kind: Any) -> RankingLoss:
        """Return the loss of the prompts of a kind, given by its name or its index."""
        return self.losses[self._index(kind)]  # pyright: ignore[reportReturnType]

    __getitem__ = of_kind

    def __iter__(self) -> Iterator[str]:
        """Iterate over the kinds."""
        return iter(self.kinds)

    def __contains__(self, kind: object) -> bool:
        """Whether the kind has a utility."""
        return kind in self.kinds

    # -- the loss ------------------------------------------------------------------------

    def forward(
        self,
        logits: Tensor,
        kinds: Any = None,
        ranks: Any = None,
        weights: Any = None,
        *,
        margins: Any = None,
        pair_weights: Any = None,
    ) -> Tensor:
        """Return the mean loss of a batch's prompts; as `RankingLoss`, each by its kind.

        `kinds`, a sequence of str or int or a Tensor of int, shape (B,), are the prompts' kinds:
        whole numbers are indices into the loss's `kinds`. One without a utility is an error.
        """
        found = self.loss_and_counts(logits, kinds, ranks, margins, pair_weights)
        return mean_over_prompts(*found, weights)

    def _where(
        self, kinds: Any = None, ranks: Any = None, **pairs: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        return kinds, ranks, pairs

    def _parts(self, kinds: Any, batch: Tensor) -> Sequence[tuple[RankingLoss, Tensor]]:
        """Return the losses of the kinds that are there, each with its rows, (B, 1)."""
        index = self._indices(kinds, batch)
        found = looked_at(index)
        present = range(len(self.kinds)) if found is None else sorted(set(found)) or [0]
        return [(self.of_kind(k), (index == k)[:, None]) for k in present]

    def rewards(self, logits: Tensor, kinds: Any = None) -> Tensor:
        """Return the rewards that the logits stand for, each row by the domain of its kind.

        The kinds aren't needed where all have the same domain.
        """
        return self._by_kind("rewards", logits, kinds, lambda one: one.domain)

    def report(self, logits: Tensor, kinds: Any = None) -> Tensor:
        """Return the rewards to report, each row by the link of its kind where that has one.

        The kinds aren't needed where none has a link and all have the same domain.
        """
        alike = lambda one: one.domain if one.link is None else one  # noqa: E731
        return self._by_kind("report", logits, kinds, alike)

    def _by_kind(self, method: str, logits: Tensor, kinds: Any, alike: Any) -> Tensor:
        if len(set(map(alike, self.losses))) == 1:
            return getattr(self.losses[0], method)(logits)
        batch = logits[None, :] if logits.ndim == 1 else logits
        made = batch
        for loss, rows in self._parts(kinds, batch):
            made = torch.where(rows, getattr(loss, method)(batch), made)
        return made.view(logits.shape)

    def predict(self, n: int, kind: str, **pairs: Any) -> Solution:
        """Return the rewards of n completions of a prompt of this kind."""
        return self.of_kind(kind).predict(n, **pairs)

    # -- kinds ---------------------------------------------------------------------------

    def _index(self, kind: Any) -> int:
        if isinstance(kind, str) and kind in self.kinds:
            return self.kinds.index(kind)
        number = isinstance(kind, int | np.integer) and not isinstance(kind, bool)
        if number and int(kind) in range(len(self.kinds)):
            return int(kind)
        raise CollapseError(f"the kind {kind!r} has no utility; known kinds: {_listed(self.kinds)}")

    def _indices(self, kinds: Any, batch: Tensor) -> Tensor:
        """Return the number of each row's kind, shape (B,), beside the batch."""
        if kinds is None:
            raise CollapseError(f"kinds= is needed, one of {_listed(self.kinds)} for each prompt")
        if not isinstance(kinds, Tensor):
            one = isinstance(kinds, str) or not isinstance(kinds, Iterable)
            numbers = [self._index(kind) for kind in ([kinds] if one else kinds)]
            kinds = torch.tensor(numbers, dtype=torch.long)
        elif kinds.is_floating_point() or kinds.dtype == torch.bool:
            raise CollapseError(f"kinds must be whole numbers or texts, got {kinds.dtype}")
        index = kinds.reshape(1) if kinds.ndim == 0 else kinds
        for k in set(looked_at(index) or ()):
            self._index(k)
        if index.shape != batch.shape[:1]:
            raise CollapseError(
                f"kinds must be one a prompt, {len(batch)} in all; got shape {tuple(index.shape)}"
            )
        return index.to(batch.device)

    # -- values --------------------------------------------------------------------------

    def _settings(self) -> tuple[Any, ...]:
        return self.kinds, *self.losses

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can hold."""
        losses = {kind: self[kind].to_dict() for kind in self.kinds}
        return {"type": type(self).__name__, "losses": losses}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the loss whose settings `to_dict` wrote."""
        with reading(cls.__name__):
            require_type(cls, data)
            return cls({kind: RankingLoss.from_dict(of) for kind, of in data["losses"].items()})

    def __repr__(self) -> str:
        lines = [f"  {kind!r}: {self[kind]!r}," for kind in self.kinds]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


AnyLoss = RankingLoss | PromptAwareRankingLoss


def _listed(kinds: Any) -> str:
    return ", ".join(map(repr, kinds))
