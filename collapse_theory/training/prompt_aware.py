"""The prompt-aware loss: a utility per kind of prompt, which ends the collapse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from collapse_theory.errors import CollapseError
from collapse_theory.programs import Domain, Solution
from collapse_theory.training.batches import mean_over_prompts, require_type
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.pairs import as_ranks
from collapse_theory.training.predict import as_float64, gap_of
from collapse_theory.utilities import Loss

__all__ = ["PromptAwareRankingLoss"]


class PromptAwareRankingLoss(nn.Module):
    """A `RankingLoss` per kind of prompt, on batches in which the kinds are mixed.

    Each prompt's loss is that of its own kind, scaled by that kind's own slope; the batch's loss
    is the mean over prompts.

    Parameters
    ----------
    utilities : mapping of str to Utility, PlackettLuce or str
        The utility (or listwise loss) of each kind.
    domain, pair_weights, offset, normalize
        As in `RankingLoss`, for all kinds; or a mapping with an entry for each kind.

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
        utilities: Mapping[str, Loss | str],
        domain: Domain | Mapping[str, Domain] | None = None,
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
        self.kinds: tuple[str, ...] = tuple(utilities)
        options = {
            "domain": domain,
            "pair_weights": pair_weights,
            "offset": offset,
            "normalize": normalize,
        }
        chosen = {name: self._per_kind(name, value) for name, value in options.items()}
        # A list: the names of kinds needn't be names of modules.
        self.losses = nn.ModuleList(
            _made(kind, utilities[kind], {name: of[kind] for name, of in chosen.items()})
            for kind in self.kinds
        )

    def _per_kind(self, name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            return dict.fromkeys(self.kinds, value)
        if set(value) != set(self.kinds):
            raise CollapseError(
                f"{name} must have an entry for each of the kinds {_listed(self.kinds)}; got "
                f"{_listed(value)}"
            )
        return dict(value)

    def __getitem__(self, kind: str) -> RankingLoss:
        """Return the loss of one kind."""
        return self.losses[self._index(kind)]  # pyright: ignore[reportReturnType]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the kinds."""
        return iter(self.kinds)

    def __contains__(self, kind: object) -> bool:
        """Whether the kind has a utility."""
        return kind in self.kinds

    # -- the loss ------------------------------------------------------------------------

    def forward(
        self, logits: Tensor, kinds: Any = None, ranks: Any = None, weights: Any = None
    ) -> Tensor:
        """Return the mean loss of a batch's prompts; as `RankingLoss`, each by its kind.

        Parameters
        ----------
        logits, ranks, weights
            As in `RankingLoss`.
        kinds : sequence of str or int, or Tensor of int, shape (B,)
            The kind of each prompt; whole numbers are indices into `kinds`.

        Raises
        ------
        CollapseError
            For a kind that has no utility, named.
        """
        value, counts = self._each(logits, kinds, ranks)
        return mean_over_prompts(value, counts, weights)

    def per_prompt(self, logits: Tensor, kinds: Any = None, ranks: Any = None) -> Tensor:
        """Return each prompt's loss, shape (B,); 0 and no gradient where no pair is compared."""
        return self._each(logits, kinds, ranks)[0]

    def comparable(self, logits: Tensor, kinds: Any = None, ranks: Any = None) -> Tensor:
        """Return which prompts have a pair to compare, bool, shape (B,)."""
        return self._each(logits.detach(), kinds, ranks)[1]

    def rewards(self, logits: Tensor, kinds: Any = None) -> Tensor:
        """Return the rewards that the logits stand for, each row by the domain of its kind.

        The kinds aren't needed where all have the same domain.
        """
        first = self._at(0).domain
        if all(self[kind].domain == first for kind in self.kinds):
            return self._at(0).rewards(logits)
        batch = logits[None, :] if logits.ndim == 1 else logits
        index = self._indices(kinds, batch)
        made = self._at(0).rewards(batch)
        for k in range(1, len(self.kinds)):
            made = torch.where((index == k)[:, None], self._at(k).rewards(batch), made)
        return made.view(logits.shape)

    def _each(self, logits: Tensor, kinds: Any, ranks: Any) -> tuple[Tensor, Tensor]:
        """Return each prompt's loss and whether it counts.

        Every kind takes the whole batch, with the other kinds' rows as padding: fixed shapes, and
        exactly 0 from rows of others.
        """
        batch = logits[None, :] if logits.ndim == 1 else logits
        index = self._indices(kinds, batch)
        present = list(range(len(self.kinds)))
        if not torch.compiler.is_compiling():
            present = index.unique().tolist() or [0]
        order = as_ranks(ranks, batch, None)
        parts = [
            self._at(k).loss_and_counts(batch, torch.where((index == k)[:, None], order, -1))
            for k in present
        ]
        value = torch.stack([loss for loss, _ in parts]).sum(0)
        return value, torch.stack([counts for _, counts in parts]).any(0)

    # -- what it leads to ----------------------------------------------------------------

    def predict(self, n: int, kind: str) -> Solution:
        """Return the rewards of n completions of a prompt of this kind."""
        return self[kind].predict(n)

    def gap(self, rewards: Any, kinds: Any = None, ranks: Any = None) -> float:
        """Return the mean over prompts of optimum less objective, each by its kind; see there."""
        return gap_of(self.prompt_gaps(rewards, kinds, ranks))

    def prompt_gaps(self, rewards: Any, kinds: Any = None, ranks: Any = None) -> np.ndarray:
        """Return `gap` for each prompt, shape (B,); NaN where no pair is compared."""
        made = as_float64(rewards)
        index = self._indices(kinds, made).numpy()
        order = as_ranks(ranks.cpu() if isinstance(ranks, Tensor) else ranks, made, None)
        order = order.expand(made.shape)
        found = np.full(len(made), np.nan)
        for k in np.unique(index):
            rows = np.flatnonzero(index == k)
            found[rows] = self._at(int(k)).prompt_gaps(made[rows], order[rows])
        return found

    # -- kinds ---------------------------------------------------------------------------

    def _at(self, k: int) -> RankingLoss:
        return self.losses[k]  # pyright: ignore[reportReturnType]

    def _index(self, kind: Any) -> int:
        if isinstance(kind, str) and kind in self.kinds:
            return self.kinds.index(kind)
        if isinstance(kind, int | np.integer) and not isinstance(kind, bool):
            number = int(kind)
            if 0 <= number < len(self.kinds):
                return number
        raise CollapseError(f"the kind {kind!r} has no utility; known kinds: {_listed(self.kinds)}")

    def _indices(self, kinds: Any, batch: Tensor) -> Tensor:
        """Return the number of each row's kind, shape (B,), beside the batch."""
        if kinds is None:
            raise CollapseError(f"kinds= is needed, one of {_listed(self.kinds)} for each prompt")
        if isinstance(kinds, Tensor):
            index = kinds.reshape(1) if kinds.ndim == 0 else kinds
            if index.is_floating_point() or index.dtype == torch.bool:
                raise CollapseError(f"kinds must be whole numbers or texts, got {kinds.dtype}")
            if not torch.compiler.is_compiling():
                for k in index.unique().tolist():
                    self._index(k)
        else:
            listed = (
                [kinds]
                if isinstance(kinds, str) or not isinstance(kinds, Iterable)
                else list(kinds)
            )
            index = torch.tensor([self._index(kind) for kind in listed], dtype=torch.long)
        if index.shape != batch.shape[:1]:
            raise CollapseError(
                f"kinds must be one a prompt, {len(batch)} in all; got shape {tuple(index.shape)}"
            )
        return index.to(batch.device)

    # -- values --------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can hold."""
        losses = {kind: self[kind].to_dict() for kind in self.kinds}
        return {"type": type(self).__name__, "losses": losses}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the loss whose settings `to_dict` wrote."""
        require_type(cls, data)
        losses = {kind: RankingLoss.from_dict(of) for kind, of in data["losses"].items()}
        options = ("domain", "pair_weights", "offset", "normalize")
        chosen = {name: {k: getattr(u, name) for k, u in losses.items()} for name in options}
        return cls({kind: loss.utility for kind, loss in losses.items()}, **chosen)

    def __repr__(self) -> str:
        lines = [f"  {kind!r}: {self[kind]!r}," for kind in self.kinds]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def _made(kind: str, utility: Loss | str, options: dict[str, Any]) -> RankingLoss:
    try:
        return RankingLoss(utility, **options)
    except CollapseError as fault:
        raise type(fault)(f"the kind {kind!r}: {fault}") from None


def _listed(kinds: Any) -> str:
    return ", ".join(repr(kind) for kind in kinds)
